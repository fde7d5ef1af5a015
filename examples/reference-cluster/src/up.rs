//! A whole cluster in one process.

use std::net::{IpAddr, Ipv4Addr};

use quarterdeck::{ControlPlane, ControlPlaneBuilder};
use quarterdeck_core::component::{EndReason, Ended, Supervisor};
use quarterdeck_proxy::RoundRobin;

use crate::cli::{Part, UpOptions};
use crate::error::{Failure, Result};
use crate::parts::{ctrl_c, set_up_proxy};
use crate::runtimes::{self, Opened};
use crate::server::{self, Identities};

/// Runs a cluster until Ctrl-C.
pub(crate) async fn up(options: UpOptions) -> Result<()> {
    let identities = Identities::open(&options.server)?;
    let storage = server::storage(&options.server)?;
    let controllers = quarterdeck_controllers::Options::default().root_ca(identities.authority.certificate());
    let mut plane = ControlPlane::builder_shared(storage).controller_options(controllers);
    let configured = (options.server.clone(), identities.key.clone());
    plane = plane.api_server(move |builder| server::configure(builder, &configured.0, configured.1));
    let runs = |part: Part| !options.disable.contains(&part);
    if !runs(Part::Controllers) {
        plane = plane.without_controllers();
    }
    if !runs(Part::Scheduler) {
        plane = plane.without_scheduler();
    }
    let mut opened = None;
    if runs(Part::Agent) {
        (plane, opened) = with_nodes(plane, &options).await?;
    }
    if runs(Part::Proxy) {
        let proxy = options.proxy.clone();
        plane = plane.load_balancer(RoundRobin::new()).proxy(move |made| set_up_proxy(made, &proxy));
    }
    let plane = plane.build().map_err(|error| Failure::because("the cluster cannot be assembled", &error))?;
    let cluster =
        plane.start().await.map_err(|error| Failure::because("the cluster did not start", &error))?;
    let listening = server::listen(&options.server, cluster.server(), &identities).await;
    let listening = match listening {
        Ok(listening) => listening,
        Err(error) => {
            cluster.stop().await;
            return Err(error);
        }
    };
    server::write_admin_kubeconfig(&options.server, &identities.authority, &listening.url)?;
    let stop = ctrl_c();
    greet(&options, &listening.url, opened.as_ref());
    let mut supervisor = Supervisor::new();
    for listener in listening.listeners {
        supervisor = supervisor.with(listener);
    }
    supervisor = supervisor.with(Running(cluster));
    let ended = supervisor.grace_period(std::time::Duration::from_secs(30)).run(stop).await;
    report(&ended)
}

/// Adds the nodes, each with a runtime of its own.
async fn with_nodes(
    mut plane: ControlPlaneBuilder,
    options: &UpOptions,
) -> Result<(ControlPlaneBuilder, Option<Opened>)> {
    let data = options.server.data.clone();
    let mut first = None;
    for (number, name) in (1..).zip(options.server.node_names()) {
        let opened = runtimes::open(options.runtime, &name, number, &data.join("nodes")).await?;
        plane = plane.node_shared(name, opened.runtime.clone());
        first.get_or_insert(opened);
    }
    let address = server::own_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let root = data.join("nodes");
    plane = plane.agents(move |name, agent| agent.root_dir(root.join(name)).addresses(vec![address]));
    Ok((plane, first))
}

/// A cluster, as a component: it ends with the others.
struct Running(quarterdeck::Cluster);

#[async_trait::async_trait]
impl quarterdeck_core::component::Component for Running {
    fn name(&self) -> String {
        "cluster".into()
    }

    async fn run(
        self: Box<Self>,
        mut stop: quarterdeck_core::component::Stop,
    ) -> std::result::Result<(), quarterdeck_core::component::BoxError> {
        let mut cluster = self.0;
        let first = stop.or(cluster.ended()).await;
        let ended = cluster.stop().await;
        match first {
            None => Ok(()),
            Some(()) => {
                let why = ended.first().map_or_else(|| "the cluster ended".to_owned(), ToString::to_string);
                Err(why.into())
            }
        }
    }
}

fn greet(options: &UpOptions, url: &str, runtime: Option<&Opened>) {
    let kubeconfig = options.server.kubeconfig();
    println!("The cluster is ready: the API server answers at {url}");
    if let Some(Opened { info, .. }) = runtime {
        println!("Pods run with {} {} on {} node(s)", info.name, info.version, options.server.nodes);
    }
    println!("The administrator's kubeconfig is {}. Try:", kubeconfig.display());
    println!();
    println!("  export KUBECONFIG={}", kubeconfig.display());
    println!("  kubectl get nodes -o wide");
    println!("  kubectl create deployment web --image=host --replicas=2 -- sleep 1000");
    println!("  kubectl get pods -o wide");
    println!();
    println!("Ctrl-C stops it.");
}

/// Says what ended badly.
pub(crate) fn report(ended: &[Ended]) -> Result<()> {
    let bad = ended.iter().find(|ended| !matches!(ended.reason, EndReason::Stopped));
    bad.map_or(Ok(()), |ended| Err(Failure::new(ended.to_string())))
}
