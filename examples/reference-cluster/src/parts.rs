//! The parts that talk to an API server, each as a process of its own.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use quarterdeck_core::certificates::CertificateSigner;
use quarterdeck_core::client::{Context, KubeconfigClient, MeasuredLayer, TokenAccounts};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{BoxError, Component, Stop, Supervisor};
use quarterdeck_core::diagnostics::Diagnostics;
use quarterdeck_core::loopback::LoopbackServer;
use quarterdeck_core::metrics::Metrics;
use quarterdeck_core::random::Random;
use quarterdeck_proxy::{AddressTable, Mode, Proxy, RoundRobin};
use quarterdeck_registry::tls::{Authorities, Authority};
use quarterdeck_scheduler::{DefaultScheduler, SchedulerDriver};

use crate::access;
use crate::cli::{ControllersOptions, PartOptions, ProxyPartOptions, SchedulerOptions};
use crate::election::elected;
use crate::error::{Failure, Result};
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
    let mut part = Part::open(&options.part).await?;
    let root_ca = match &options.root_ca_file {
        Some(path) => root_ca(path)?,
        None => authority(&part.kubeconfig)?,
    };
    let mut settings = quarterdeck_controllers::Options::default().root_ca(root_ca);
    settings.certificate_signer = signer(options)?;
    let accounts = part.accounts(&options.part).await?;
    let context = part.context.clone().with_accounts(move |name| accounts.client(name));
    let controllers = quarterdeck_controllers::all(&context, settings);
    let work = elected(&part.context, &options.election, "kube-controller-manager", controllers)?;
    part.run("The controllers", work).await
}

/// Reads by which certificates pods are to believe the API server.
fn root_ca(path: &Path) -> Result<String> {
    let text = access::read(path)?;
    let authorities = Authorities::new(&text, Clock::system());
    authorities.map_err(|error| Failure::because(&format!("cannot use {}", path.display()), &error))?;
    Ok(text)
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
pub(crate) struct Part {
    pub(crate) context: Context,
    pub(crate) kubeconfig: Kubeconfig,
    measured: MeasuredLayer,
    diagnostics: Option<LoopbackServer<Diagnostics>>,
    /// The clients that follow the kubeconfig.
    followed: Vec<KubeconfigClient>,
}

impl Part {
    /// Reads the kubeconfig, and makes what the part needs of it. The client follows it.
    pub(crate) async fn open(options: &PartOptions) -> Result<Self> {
        Self::open_with(options, |_| Ok(())).await
    }

    /// Does what [`open`](Self::open) does, and has `read` hear what the kubeconfig says, each time.
    pub(crate) async fn open_with(
        options: &PartOptions,
        read: impl Fn(&Config) -> std::result::Result<(), BoxError> + Send + Sync + 'static,
    ) -> Result<Self> {
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
        let counted = measured.clone();
        let followed = KubeconfigClient::open(&options.kubeconfig, move |config| {
            read(&config)?;
            Ok(client(config, &counted)?)
        });
        let followed = followed.await.map_err(|error| unusable(&*error))?;
        let mut part = Self::with_client(kubeconfig, followed.client(), metrics, measured, options)?;
        part.followed.push(followed);
        Ok(part)
    }

    /// Makes what the part needs of a client whose requests are `measured`.
    pub(crate) fn with_client(
        kubeconfig: Kubeconfig,
        client: Client,
        metrics: Metrics,
        measured: MeasuredLayer,
        options: &PartOptions,
    ) -> Result<Self> {
        let context = Context::new(client, Clock::system(), Random::from_os()).with_metrics(metrics);
        let checked = measured.clone();
        context.health.ready("api-server", move || checked.checked());
        let diagnostics = diagnostics(&context, options)?;
        Ok(Self { context, kubeconfig, measured, diagnostics, followed: Vec::new() })
    }

    /// Returns the clients of service accounts, whose tokens the part's own user asks for.
    async fn accounts(&mut self, options: &PartOptions) -> Result<TokenAccounts> {
        let measured = self.measured.clone();
        let nobody = KubeconfigClient::open(&options.kubeconfig, move |mut config| {
            // With the part's certificate on the connection, a token would prove nothing.
            config.auth_info = AuthInfo::default();
            // The accounts' names do not say which program it is.
            config.headers.push((USER_AGENT, HeaderValue::from_static("kube-controller-manager")));
            Ok(client(config, &measured)?)
        });
        let nobody =
            nobody.await.map_err(|error| Failure::because("no client for service accounts", &*error))?;
        let accounts =
            TokenAccounts::new(self.context.client.clone(), nobody.client(), self.context.clock.clone());
        self.followed.push(nobody);
        Ok(accounts)
    }

    /// Runs the part's components until Ctrl-C.
    pub(crate) async fn run(self, name: &str, components: Vec<Box<dyn Component>>) -> Result<()> {
        let stop = ctrl_c();
        let cluster = self.kubeconfig.clusters.first().and_then(|cluster| cluster.cluster.as_ref());
        let server = cluster.and_then(|cluster| cluster.server.as_deref()).unwrap_or_default();
        println!("{name}: running, with the API server at {server}. Ctrl-C stops it.");
        let mut supervisor = Supervisor::new().grace_period(GRACE);
        if let Some(diagnostics) = self.diagnostics {
            println!("Metrics and health are shown at http://{}", diagnostics.local_address());
            supervisor = supervisor.with(diagnostics);
        }
        for followed in self.followed {
            supervisor.push(Box::new(followed));
        }
        for component in components {
            supervisor.push(component);
        }
        report(&supervisor.run(stop).await)
    }
}

/// Makes a client whose requests are counted, and sent once.
fn client(mut config: Config, measured: &MeasuredLayer) -> kube::Result<Client> {
    // kube repeats what was answered 503 or 504, a creation that may have happened, too, and later and later. Parts look
    // again by themselves.
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(measured).build())
}

/// Opens the socket for metrics and health, if it is asked for.
fn diagnostics(context: &Context, options: &PartOptions) -> Result<Option<LoopbackServer<Diagnostics>>> {
    let Some(address) = options.metrics_bind_address else { return Ok(None) };
    let diagnostics = Diagnostics::new(context.metrics.clone(), context.health.clone());
    let server = LoopbackServer::bind("diagnostics", diagnostics, address);
    server.map(Some).map_err(|error| Failure::because("metrics and health have no socket", &error))
}

/// Returns the certificate of the cluster's authority, as PEM.
pub(crate) fn authority(kubeconfig: &Kubeconfig) -> Result<String> {
    let cluster = kubeconfig.clusters.first().and_then(|cluster| cluster.cluster.as_ref());
    decode(cluster.and_then(|cluster| cluster.certificate_authority_data.clone()))
}

/// Reads what a kubeconfig has as base64.
pub(crate) fn decode(data: Option<String>) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::PostParams;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_write_that_may_have_happened_is_not_sent_again() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let measured = MeasuredLayer::new(&Metrics::new(), server.clone());
        let client = client(Config::new(server.parse().unwrap()), &measured).unwrap();
        // Answers once. Who asks again finds nobody.
        let answer = async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            drop(listener);
            let mut request = vec![0; 1 << 10];
            assert!(connection.read(&mut request).await.unwrap() > 0);
            let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":503}"#;
            let head =
                "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{status}", status.len());
            connection.write_all(answer.as_bytes()).await.unwrap();
            connection.shutdown().await.unwrap();
            // Who closes on what was not read has the answer lost.
            connection.read_to_end(&mut request).await.unwrap();
        };

        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        let (params, map) = (PostParams::default(), ConfigMap::default());
        let (created, ()) = tokio::join!(maps.create(&params, &map), answer);

        assert!(matches!(&created, Err(kube::Error::Api(status)) if status.code == 503), "{created:?}");
    }
}
