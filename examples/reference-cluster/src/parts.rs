//! The parts that talk to an API server, each as a process of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use quarterdeck_agent::{Agent, ServerSettings};
use quarterdeck_core::certificates::CertificateSigner;
use quarterdeck_core::client::{Context, MeasuredLayer};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{Component, Stop, Supervisor};
use quarterdeck_core::diagnostics::{Diagnostics, DiagnosticsServer};
use quarterdeck_core::metrics::Metrics;
use quarterdeck_core::random::Random;
use quarterdeck_proxy::{AddressTable, Mode, Proxy, RoundRobin};
use quarterdeck_registry::tls::Authority;
use quarterdeck_scheduler::{DefaultScheduler, SchedulerDriver};
use secrecy::ExposeSecret as _;

use crate::cli::{AgentOptions, ControllersOptions, PartOptions, ProxyPartOptions, SchedulerOptions};
use crate::election::elected;
use crate::error::{Failure, Result};
use crate::runtimes;
use crate::sockets::proxy_endpoint;
use crate::up::report;

/// How long a part may take to stop: what it consists of stops one after the other.
const GRACE: Duration = Duration::from_secs(30);

/// Runs the scheduler until Ctrl-C.
pub(crate) async fn scheduler(options: &SchedulerOptions) -> Result<()> {
    let part = Part::open(&options.part).await?;
    let random = part.context.random.fork("default-scheduler");
    let driver =
        SchedulerDriver::new(&part.context).scheduler("default-scheduler", DefaultScheduler::new(random));
    let work = elected(&part.context, &options.election, "kube-scheduler", vec![Box::new(driver)])?;
    part.run("The scheduler", work).await
}

/// Runs the controllers until Ctrl-C.
pub(crate) async fn controllers(options: &ControllersOptions) -> Result<()> {
    let part = Part::open(&options.part).await?;
    let authority = authority(&part.kubeconfig)?;
    let mut settings = quarterdeck_controllers::Options::default().root_ca(authority);
    settings.certificate_signer = signer(options)?;
    let controllers = quarterdeck_controllers::all(&part.context, settings);
    let work = elected(&part.context, &options.election, "kube-controller-manager", controllers)?;
    part.run("The controllers", work).await
}

/// Opens the authority that signs what is asked for, if there is one.
fn signer(options: &ControllersOptions) -> Result<Option<Arc<dyn CertificateSigner>>> {
    let (Some(certificate), Some(key)) =
        (&options.cluster_signing_cert_file, &options.cluster_signing_key_file)
    else {
        return Ok(None);
    };
    let authority = Authority::load(certificate, key, Clock::system().now());
    let authority = authority.map_err(|error| Failure::because("nothing can be signed", &error))?;
    Ok(Some(Arc::new(authority)))
}

/// Runs a node's agent until Ctrl-C. Its pods end with it, unless they are to go on.
pub(crate) async fn agent(options: &AgentOptions) -> Result<()> {
    let part = Part::open(&options.part).await?;
    let kubeconfig = &part.kubeconfig;
    let user = kubeconfig.auth_infos.first().map(|user| user.name.clone()).unwrap_or_default();
    let Some(node) = user.strip_prefix("system:node:") else {
        let file = options.part.kubeconfig.display();
        return Err(Failure::new(format!(
            "{file} is no agent's kubeconfig but that of {user:?}: take one that `quarterdeck apiserver` wrote, kubeconfigs/agent"
        )));
    };
    let address = crate::server::own_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let listen = options.listen.unwrap_or(SocketAddr::new(address, 0));
    let runtime = runtimes::open(options.runtime, node, &options.data).await?;
    let (certificate, key) = identity(kubeconfig)?;
    let settings = ServerSettings::tls(listen, &certificate, &key, &authority(kubeconfig)?);
    let settings =
        settings.map_err(|error| Failure::because("the agent's server cannot be set up", &error))?;
    let agent = Agent::new_shared(&part.context, node, runtime.runtime)
        .root_dir(options.data.join(node))
        .addresses(vec![address])
        .end_pods_on_stop(!options.keep_pods)
        .serve(settings);
    let node = node.to_owned();
    part.run(&format!("The agent of {node}"), vec![Box::new(agent)]).await?;
    if options.keep_pods {
        println!("The pods of {node} go on: the agent takes them over when it is started again.");
    }
    Ok(())
}

/// Runs the service proxy until Ctrl-C.
pub(crate) async fn proxy(options: &ProxyPartOptions) -> Result<()> {
    let endpoint = proxy_endpoint(&options.proxy)?;
    let part = Part::open(&options.part).await?;
    let addresses = AddressTable::new();
    let proxy = Proxy::new(&part.context, RoundRobin::new()).addresses(addresses.clone());
    let mut parts: Vec<Box<dyn Component>> = vec![Box::new(set_up_proxy(proxy, endpoint))];
    if !rustix::process::geteuid().is_root() {
        // Without root the addresses of processes are only names: their agent says what for.
        parts.push(Box::new(addresses.follow_pods(&part.context)));
    }
    part.run("The service proxy", parts).await
}

/// Lets services' own addresses work where the proxy may write rules, and shows at `endpoint` where their ports are.
pub(crate) fn set_up_proxy(mut proxy: Proxy, endpoint: Option<TcpListener>) -> Proxy {
    if rustix::process::geteuid().is_root() {
        proxy = proxy.mode(Mode::nftables());
    }
    match endpoint {
        Some(listener) => proxy.endpoint_on(listener),
        None => proxy,
    }
}

/// Returns what fires on Ctrl-C, on the signal to terminate, and when the terminal is closed.
pub(crate) fn ctrl_c() -> Stop {
    use tokio::signal::unix::{SignalKind, signal as on};
    let (signal, stop) = Stop::channel();
    // From here on, not only once the task runs.
    let mut interrupt = on(SignalKind::interrupt()).expect("a program may ask for its signals");
    let mut terminate = on(SignalKind::terminate()).expect("a program may ask for its signals");
    // The terminal is closed.
    let mut hang_up = on(SignalKind::hangup()).expect("a program may ask for its signals");
    let mut any = async move || {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    tokio::spawn(async move {
        any().await;
        signal.stop();
        // A second one means: now.
        any().await;
        std::process::exit(130);
    });
    stop
}

/// A part that talks to an API server, before it runs.
struct Part {
    context: Context,
    kubeconfig: Kubeconfig,
    diagnostics: Option<DiagnosticsServer>,
}

impl Part {
    /// Reads the kubeconfig, and makes what the part needs of it.
    async fn open(options: &PartOptions) -> Result<Self> {
        let unusable = |error: &dyn std::error::Error| {
            let what = format!(
                "cannot use the kubeconfig {}: take one that `quarterdeck apiserver` wrote",
                options.kubeconfig.display()
            );
            Failure::because(&what, error)
        };
        let kubeconfig = Kubeconfig::read_from(&options.kubeconfig).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await;
        let config = config.map_err(|error| unusable(&error))?;
        let metrics = Metrics::new();
        metrics.with_process();
        let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        let measured = MeasuredLayer::new(&metrics, host);
        let builder = ClientBuilder::try_from(config).map_err(|error| unusable(&error))?;
        let client = builder.with_layer(&measured).build();
        let context = Context::new(client, Clock::system(), Random::from_os()).with_metrics(metrics);
        context.health.ready("api-server", move || measured.checked());
        let diagnostics = diagnostics(&context, options)?;
        Ok(Self { context, kubeconfig, diagnostics })
    }

    /// Runs the part's components until Ctrl-C.
    async fn run(self, name: &str, components: Vec<Box<dyn Component>>) -> Result<()> {
        let stop = ctrl_c();
        let cluster = self.kubeconfig.clusters.first().and_then(|cluster| cluster.cluster.as_ref());
        let server = cluster.and_then(|cluster| cluster.server.as_deref()).unwrap_or_default();
        println!("{name}: running, with the API server at {server}. Ctrl-C stops it.");
        let mut supervisor = Supervisor::new().grace_period(GRACE);
        if let Some(diagnostics) = self.diagnostics {
            println!("Metrics and health are shown at http://{}", diagnostics.local_address());
            supervisor = supervisor.with(diagnostics);
        }
        for component in components {
            supervisor.push(component);
        }
        report(&supervisor.run(stop).await)
    }
}

/// Opens the socket for metrics and health, if it is asked for.
fn diagnostics(context: &Context, options: &PartOptions) -> Result<Option<DiagnosticsServer>> {
    let Some(address) = options.metrics_bind_address else { return Ok(None) };
    let diagnostics = Diagnostics::new(context.metrics.clone(), context.health.clone());
    let server = DiagnosticsServer::bind(diagnostics, address);
    server.map(Some).map_err(|error| Failure::because("metrics and health have no socket", &error))
}

/// Returns the certificate of the cluster's authority, as PEM.
fn authority(kubeconfig: &Kubeconfig) -> Result<String> {
    let cluster = kubeconfig.clusters.first().and_then(|cluster| cluster.cluster.as_ref());
    decode(cluster.and_then(|cluster| cluster.certificate_authority_data.clone()))
}

/// Returns the certificate and the key of the user, as PEM.
fn identity(kubeconfig: &Kubeconfig) -> Result<(String, String)> {
    let user = kubeconfig.auth_infos.first().and_then(|user| user.auth_info.as_ref());
    let certificate = user.and_then(|user| user.client_certificate_data.clone());
    let key = user.and_then(|user| user.client_key_data.as_ref()).map(|key| key.expose_secret().to_owned());
    Ok((decode(certificate)?, decode(key)?))
}

fn decode(data: Option<String>) -> Result<String> {
    use base64::Engine as _;
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(data.unwrap_or_default()).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    if text.is_empty() {
        return Err(Failure::new(
            "the kubeconfig holds no certificate: use one that `quarterdeck apiserver` wrote",
        ));
    }
    Ok(text)
}
