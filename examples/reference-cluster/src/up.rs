//! A whole cluster in one process.

use std::net::{IpAddr, Ipv4Addr};

use quarterdeck::{ControlPlane, ControlPlaneBuilder};
use quarterdeck_core::component::{EndReason, Ended, Supervisor};
use quarterdeck_core::runtime::RuntimeInfo;
use quarterdeck_proxy::RoundRobin;

use crate::access::Access;
use crate::bindings;
use crate::cli::{Part, UpOptions};
use crate::error::{Failure, Result};
use crate::parts::{ctrl_c, set_up_proxy};
use crate::runtimes::{self, Opened};
use crate::server::{self, Identities, Store};
use crate::serving::Reach;
use crate::sockets::{Sockets, proxy_endpoint};

/// Runs a cluster until Ctrl-C.
pub(crate) async fn up(options: UpOptions) -> Result<()> {
    let runs = |part: Part| !options.disable.contains(&part);
    let sockets = Sockets::bind(&options.server).await?;
    let endpoint = if runs(Part::Proxy) { proxy_endpoint(&options.proxy)? } else { None };
    let nodes = if runs(Part::Agent) { open_nodes(&options).await? } else { Vec::new() };
    let identities = Identities::open(&options.server)?;
    let (url, port) = (sockets.url(), sockets.port());
    let reach = Reach::open(&options.server, &identities.authority, &url)?;
    let Store { storage, raw } = server::storage(&options.server).await?;
    server::write_admin_kubeconfig(&options.server, &reach)?;
    let controllers = quarterdeck_controllers::Options::default()
        .root_ca(reach.root_ca.as_str())
        .certificate_signer(identities.authority.clone());
    let mut plane = ControlPlane::builder_shared(storage).controller_options(controllers);
    let access = Access::open(&options.server.access, &identities)?;
    let (own, key) = (options.server.clone(), identities.key.clone());
    plane = plane.api_server(move |builder| server::configure(builder, &own, port, key, access));
    if !runs(Part::Controllers) {
        plane = plane.without_controllers();
    }
    if !runs(Part::Scheduler) {
        plane = plane.without_scheduler();
    }
    let runtime = nodes.first().map(|(_, opened)| opened.info.clone());
    plane = with_nodes(plane, &options, nodes);
    if runs(Part::Proxy) {
        plane = plane.load_balancer(RoundRobin::new()).proxy(move |made| set_up_proxy(made, endpoint));
    }
    let plane = plane.build().map_err(|error| Failure::because("the cluster cannot be assembled", &error))?;
    let cluster =
        plane.start().await.map_err(|error| Failure::because("the cluster did not start", &error))?;
    bindings::make(cluster.server(), &options.server.access).await;
    let again = {
        let own = options.server.clone();
        move || server::write_admin_kubeconfig(&own, &reach)
    };
    let listening = server::listen(&options.server, (cluster.server(), raw), &identities, sockets, again);
    let listeners = match listening {
        Ok(listeners) => listeners,
        Err(error) => {
            cluster.stop().await;
            return Err(error);
        }
    };
    let stop = ctrl_c();
    greet(&options, &url, runtime.as_ref());
    let mut supervisor = Supervisor::new();
    for listener in listeners {
        supervisor.push(listener);
    }
    supervisor = supervisor.with(Running(cluster));
    let ended = supervisor.grace_period(std::time::Duration::from_secs(30)).run(stop).await;
    report(&ended)
}

/// Opens the runtimes of the nodes.
async fn open_nodes(options: &UpOptions) -> Result<Vec<(String, Opened)>> {
    let data = options.server.data.join("nodes");
    let mut nodes = Vec::new();
    for name in options.server.node_names() {
        let opened = runtimes::open(options.runtime, &name, &data).await?;
        nodes.push((name, opened));
    }
    Ok(nodes)
}

/// Adds the nodes, each with a runtime of its own.
fn with_nodes(
    mut plane: ControlPlaneBuilder,
    options: &UpOptions,
    nodes: Vec<(String, Opened)>,
) -> ControlPlaneBuilder {
    for (name, opened) in nodes {
        plane = plane.node_shared(name, opened.runtime);
    }
    if !options.disable.contains(&Part::Agent) {
        let address = server::own_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let root = options.server.data.join("nodes");
        plane = plane.agents(move |name, agent| agent.root_dir(root.join(name)).addresses(vec![address]));
    }
    plane
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

fn greet(options: &UpOptions, url: &str, runtime: Option<&RuntimeInfo>) {
    let kubeconfig = options.server.kubeconfig();
    println!("The cluster is ready: the API server answers at {url}");
    if let Some(info) = runtime {
        println!("Pods run with {} {} on {} node(s)", info.name, info.version, options.server.nodes);
    }
    println!("Running: {}", parts(&options.disable).join(", "));
    println!("The administrator's kubeconfig is {}. Try:", kubeconfig.display());
    println!();
    println!("  export KUBECONFIG={}", kubeconfig.display());
    println!("  kubectl get nodes -o wide");
    // Docker starts images; what runs as a process is an image called `host`.
    let image =
        if runtime.is_some_and(|info| info.name == "docker") { "quarterdeck/demo:v1" } else { "host" };
    if options.disable.is_empty() {
        println!("  kubectl create deployment web --image={image} --replicas=2 -- sleep 1000");
        println!("  kubectl get pods -o wide");
    } else {
        println!("  kubectl create configmap greeting --from-literal=text=hello");
        println!("  kubectl get configmaps,secrets,events --all-namespaces");
    }
    println!();
    println!("Ctrl-C stops it.");
}

/// Returns what runs, in words.
fn parts(disabled: &[Part]) -> Vec<&'static str> {
    let others = [
        (Part::Scheduler, "scheduler"),
        (Part::Controllers, "controllers"),
        (Part::Agent, "agent"),
        (Part::Proxy, "proxy"),
    ];
    let others = others.into_iter().filter(|(part, _)| !disabled.contains(part)).map(|(_, name)| name);
    std::iter::once("API server").chain(others).collect()
}

/// Says what ended badly.
pub(crate) fn report(ended: &[Ended]) -> Result<()> {
    let bad = ended.iter().find(|ended| !matches!(ended.reason, EndReason::Stopped));
    bad.map_or(Ok(()), |ended| Err(Failure::new(ended.to_string())))
}
