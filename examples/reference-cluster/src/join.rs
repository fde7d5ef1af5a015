//! An agent that joins a cluster with a bootstrap token, as kubelet does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use quarterdeck_agent::ServerSettings;
use quarterdeck_agent::certificates::{Credential, Join, JoinError, Joined, ServingCertificate};
use quarterdeck_core::client::MeasuredLayer;
use quarterdeck_core::component::{BoxError, Component};
use quarterdeck_core::metrics::Metrics;
use serde_json::json;

use crate::agent::{Known, Place, USER, pem};
use crate::cli::AgentOptions;
use crate::error::{Failure, Result};
use crate::parts::Part;
use crate::server::write_private;

/// The link to the certificate by which an agent is known.
const CURRENT: &str = "kubelet-client-current.pem";
/// How long to wait before somebody is told for what.
const QUIET: Duration = Duration::from_secs(3);

/// An agent whose certificates are its own affair.
pub(crate) struct Joining<'a> {
    options: &'a AgentOptions,
    node: String,
    /// Where certificates are kept.
    directory: PathBuf,
    /// Where the cluster is.
    cluster: Kubeconfig,
    /// The same, with a token.
    bootstrap: Option<Kubeconfig>,
}

impl<'a> Joining<'a> {
    /// Reads what is asked for; nothing if the kubeconfig holds an identity and that is to be used.
    pub(crate) fn read(options: &'a AgentOptions) -> Result<Option<Self>> {
        let file = &options.part.kubeconfig;
        let own = file.exists().then(|| read(file)).transpose()?;
        let kept = own.as_ref().and_then(joined_before);
        if own.is_some() && kept.is_none() {
            return Ok(None);
        }
        let bootstrap = match &options.bootstrap_kubeconfig {
            // Who has joined can do without.
            Some(file) if own.is_none() || file.exists() => Some(read(file)?),
            _ => None,
        };
        let Some(cluster) = own.or_else(|| bootstrap.clone()) else { return Ok(None) };
        let before = kept.as_ref().and_then(|(node, _)| node.clone());
        let node = options.hostname_override.clone().or(before).unwrap_or_else(host_name);
        let before = kept.and_then(|(_, file)| file.parent().map(Path::to_owned));
        let directory = options.cert_dir.clone().or(before).unwrap_or_else(|| options.data.join("pki"));
        Ok(Some(Self { options, node, directory, cluster, bootstrap }))
    }

    /// Joins, or goes on as before.
    pub(crate) async fn run(self, place: Place) -> Result<Known> {
        let config = config(&self.cluster).await?;
        let authority = pem(config.root_cert.as_deref().unwrap_or_default());
        if authority.is_empty() {
            return Err(Failure::new(
                "the kubeconfig names no authority, so that the agent cannot tell whether it is the API server that calls it; add certificate-authority-data",
            ));
        }
        let metrics = Metrics::new();
        metrics.with_process();
        let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        let measured = MeasuredLayer::new(&metrics, host);
        let joined = self.join(&config, (&metrics, &measured)).await?;
        self.remember(&config, &authority)?;
        let part = Part::with_client(self.cluster, joined.client, metrics, measured, &self.options.part)?;
        let mut renewals: Vec<Box<dyn Component>> = Vec::new();
        if self.options.rotate_certificates {
            renewals.push(Box::new(joined.rotation));
        }
        let names = [self.node.clone(), place.address.to_string()];
        let serve = if self.options.rotate_server_certificates {
            let serving = ServingCertificate::new(&part.context, &self.node, names, &self.directory);
            let settings = ServerSettings::resolving(place.listen, serving.resolver(), &authority);
            renewals.push(Box::new(serving));
            settings
        } else {
            ServerSettings::self_signed(place.listen, names, &authority)
        };
        let serve = serve.map_err(|error| Failure::because("the agent's server cannot be set up", &error))?;
        Ok(Known { part, node: self.node, serve, renewals })
    }

    async fn join(&self, config: &Config, (metrics, measured): (&Metrics, &MeasuredLayer)) -> Result<Joined> {
        let (base, measured) = (config.clone(), measured.clone());
        let connect = move |credential: &Credential| -> std::result::Result<Client, BoxError> {
            let mut config = base.clone();
            config.auth_info = AuthInfo {
                client_certificate_data: Some(STANDARD.encode(credential.certificate())),
                client_key_data: Some(STANDARD.encode(credential.key()).into()),
                ..AuthInfo::default()
            };
            Ok(ClientBuilder::try_from(config)?.with_layer(&measured).build())
        };
        let mut join = Join::new(&self.node, &self.directory, connect).metrics(metrics);
        if let Some(bootstrap) = &self.bootstrap {
            let client = Client::try_from(self::config(bootstrap).await?);
            join = join.bootstrap(client.map_err(|error| unusable(&error))?);
        }
        let mut joining = std::pin::pin!(join.run());
        let joined = match tokio::time::timeout(QUIET, &mut joining).await {
            Ok(joined) => joined,
            Err(_) => {
                let server = &config.cluster_url;
                println!(
                    "{} waits for its certificate from {server}: `kubectl get csr` there shows the request, `kubectl certificate approve` approves it.",
                    self.node
                );
                joining.await
            }
        };
        joined.map_err(|error| self.explain(&error))
    }

    /// Writes the kubeconfig, which leads to the certificate that is in use.
    fn remember(&self, config: &Config, authority: &str) -> Result<()> {
        let file = &self.options.part.kubeconfig;
        if file.exists() {
            return Ok(());
        }
        let directory = std::path::absolute(&self.directory).unwrap_or_else(|_| self.directory.clone());
        let current = directory.join(CURRENT);
        let mut cluster = json!({
            "server": config.cluster_url.to_string(),
            "certificate-authority-data": STANDARD.encode(authority),
        });
        if let Some(name) = &config.tls_server_name {
            cluster["tls-server-name"] = name.as_str().into();
        }
        let user = format!("{USER}{}", self.node);
        // JSON is YAML.
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "default-cluster", "cluster": cluster}],
            "contexts": [{"name": "default-context", "context": {"cluster": "default-cluster", "user": user}}],
            "current-context": "default-context",
            "users": [{"name": user, "user": {"client-certificate": current, "client-key": current}}],
        });
        write_private(file, &format!("{text:#}\n"))
    }

    /// Says what to do.
    fn explain(&self, error: &JoinError) -> Failure {
        let what = format!("{} cannot join the cluster", self.node);
        let bootstrap = self.options.bootstrap_kubeconfig.as_deref().unwrap_or(&self.options.part.kubeconfig);
        let bootstrap = bootstrap.display();
        let advice = match error {
            JoinError::NoCertificate { .. } => {
                "start it with --bootstrap-kubeconfig and a kubeconfig that holds a token".to_owned()
            }
            JoinError::Unauthorized => format!(
                "the token in {bootstrap} is unknown or has expired; make another, a secret bootstrap-token-ID in kube-system, and see that the API server has --enable-bootstrap-token-auth"
            ),
            JoinError::Forbidden(_) => {
                "bind the role system:node-bootstrapper to the group system:bootstrappers".to_owned()
            }
            JoinError::Untrusted(_) => {
                format!("correct certificate-authority-data or the server's address in {bootstrap}")
            }
            JoinError::Denied { name, .. } | JoinError::Failed { name, .. } => {
                format!("`kubectl delete csr {name}` lets it ask again")
            }
            JoinError::Unusable { .. } => {
                "see that the clocks agree, and start it again to ask for another".to_owned()
            }
            JoinError::Refused(_) => "see what the API server has against it".to_owned(),
            JoinError::Request(_) => "choose another name with --hostname-override".to_owned(),
            _ => return Failure::because(&what, error),
        };
        Failure::new(format!("{}; {advice}", Failure::because(&what, error)))
    }
}

fn read(file: &Path) -> Result<Kubeconfig> {
    let read = Kubeconfig::read_from(file);
    read.map_err(|error| Failure::because(&format!("cannot use the kubeconfig {}", file.display()), &error))
}

async fn config(kubeconfig: &Kubeconfig) -> Result<Config> {
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| unusable(&error))?;
    // As in the other parts: see there.
    config.default_retry = false;
    Ok(config)
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    Failure::because("cannot use the kubeconfig", error)
}

/// Returns the node and the certificate's file, if a kubeconfig is one that [`Joining::remember`] wrote.
fn joined_before(kubeconfig: &Kubeconfig) -> Option<(Option<String>, PathBuf)> {
    let named = kubeconfig.auth_infos.first()?;
    let file = PathBuf::from(named.auth_info.as_ref()?.client_certificate.as_ref()?);
    let node = named.name.strip_prefix(USER).map(str::to_owned);
    file.ends_with(CURRENT).then_some((node, file))
}

/// Returns this machine's name, in the form that nodes' names have.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase()
}
