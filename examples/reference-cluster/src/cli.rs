//! What can be asked for on the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use http::HeaderName;

/// A Kubernetes-style cluster: all of it in one process, or one part.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logs: LogOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is told of what happens, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogOptions {
    /// What is logged to standard error: error, warn, info, debug or trace, for all or per module.
    #[arg(long, global = true, default_value = "warn", env = "QUARTERDECK_LOG")]
    pub(crate) log: String,
    /// How it is logged.
    #[arg(long, global = true, value_enum, default_value = "text", env = "QUARTERDECK_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Where spans are sent: an OpenTelemetry collector's address for OTLP over HTTP, as http://127.0.0.1:4318 (default: nowhere).
    #[cfg(feature = "otel")]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) tracing_endpoint: Option<http::Uri>,
    /// How many of a million traces are sent that do not begin elsewhere.
    #[cfg(feature = "otel")]
    #[arg(long, global = true, default_value_t = 1_000_000, value_name = "NUMBER")]
    pub(crate) tracing_sampling_rate_per_million: u32,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// An object of JSON, for programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a whole cluster in this process, until Ctrl-C.
    Up(UpOptions),
    /// Runs the API server alone.
    Apiserver(ServerOptions),
    /// Runs the scheduler alone.
    Scheduler(PartOptions),
    /// Runs the controllers alone.
    Controllers(ControllersOptions),
    /// Runs the agent of one node alone.
    Agent(AgentOptions),
    /// Runs the service proxy alone.
    Proxy(ProxyPartOptions),
}

impl Command {
    /// Returns the name of what runs.
    pub(crate) fn part(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Apiserver(_) => "apiserver",
            Self::Scheduler(_) => "scheduler",
            Self::Controllers(_) => "controllers",
            Self::Agent(_) => "agent",
            Self::Proxy(_) => "proxy",
        }
    }
}

/// Where objects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageKind {
    /// In memory: nothing outlives the process.
    Memory,
    /// In files under the data directory.
    Embedded,
}

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeKind {
    /// Docker if an engine answers, else processes.
    Auto,
    /// Containers of a Docker engine.
    Docker,
    /// Programs of this machine.
    Process,
    /// Nothing: pods only seem to run.
    Simulated,
}

/// A part that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The scheduler.
    Scheduler,
    /// The controllers.
    Controllers,
    /// The agents of all nodes.
    Agent,
    /// The service proxy.
    Proxy,
}

/// The API server's options.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerOptions {
    /// Where everything is kept: objects, keys, kubeconfigs, the agents' state.
    #[arg(long, default_value_os_t = default_data(), env = "QUARTERDECK_DATA")]
    pub(crate) data: PathBuf,
    /// Where objects are kept.
    #[arg(long, value_enum, default_value = "embedded")]
    pub(crate) storage: StorageKind,
    /// Which objects are encrypted in the store, and with which keys (apiserver.config.k8s.io/v1 EncryptionConfiguration; default:
    /// none). Those not encrypted with the first key are written again at the start.
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    /// Where to listen, with TLS.
    #[arg(long, default_value = "0.0.0.0:6443", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Where to listen without TLS and without authentication: a loopback address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) insecure_listen: Option<SocketAddr>,
    /// The address at which nodes and pods reach the API server (default: the one listened on, or this machine's).
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) advertise_address: Option<IpAddr>,
    /// Where services' addresses come from.
    #[arg(long, default_value = "10.254.0.0/16", value_name = "NETWORK")]
    pub(crate) service_cidr: String,
    /// Where to write the administrator's kubeconfig (default: DATA/kubeconfig).
    #[arg(long, value_name = "FILE")]
    pub(crate) write_kubeconfig: Option<PathBuf>,
    /// How many nodes there are; each has an agent.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) nodes: u16,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
}

/// Who is let in besides those with the cluster's own certificates and tokens, and what is written down. The names are those
/// of kube-apiserver.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessOptions {
    /// Let in whoever gives no proof, as system:anonymous (default: only where health is told).
    #[arg(long)]
    pub(crate) anonymous_auth: bool,
    /// A file of tokens: lines of token,user,uid,"group1,group2".
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// Let in who comes with a bootstrap token, a secret in kube-system.
    #[arg(long)]
    pub(crate) enable_bootstrap_token_auth: bool,
    /// The private key (PEM) that signs service accounts' tokens (default: DATA/pki/sa.key, made at the first start).
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_signing_key_file: Option<PathBuf>,
    /// Further keys (PEM, public or private) by which service accounts' tokens are checked; for each file once.
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_key_file: Vec<PathBuf>,
    /// The authorities (PEM) of proxies that name the user in headers.
    #[arg(long, value_name = "FILE")]
    pub(crate) requestheader_client_ca_file: Option<PathBuf>,
    /// The names that those proxies' certificates may have (default: any).
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "requestheader_client_ca_file")]
    pub(crate) requestheader_allowed_names: Vec<String>,
    /// The headers that name the user.
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', default_value = "x-remote-user")]
    pub(crate) requestheader_username_headers: Vec<HeaderName>,
    /// The headers that name the user's groups.
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', default_value = "x-remote-group")]
    pub(crate) requestheader_group_headers: Vec<HeaderName>,
    /// What headers begin with that tell more of the user.
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',', default_value = "x-remote-extra-")]
    pub(crate) requestheader_extra_headers_prefix: Vec<String>,
    /// The identity provider (OpenID Connect) whose tokens are taken: an https:// address.
    #[arg(long, value_name = "URL", requires_all = ["oidc_client_id", "oidc_jwks_file"])]
    pub(crate) oidc_issuer_url: Option<String>,
    /// Who the identity provider's tokens have to be for.
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub(crate) oidc_client_id: Option<String>,
    /// The identity provider's keys (JWKS). They are read at the start; the provider is not asked.
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    pub(crate) oidc_jwks_file: Option<PathBuf>,
    /// The claim that names the user.
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub(crate) oidc_username_claim: String,
    /// What users' names begin with; - for nothing (default: the issuer and #, but nothing for e-mail addresses).
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    pub(crate) oidc_username_prefix: Option<String>,
    /// The claim that names the user's groups (default: none).
    #[arg(long, value_name = "CLAIM")]
    pub(crate) oidc_groups_claim: Option<String>,
    /// What groups' names begin with.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub(crate) oidc_groups_prefix: String,
    /// What the audit log tells (audit.k8s.io/v1 Policy).
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    /// Where the audit log is written, one event per line.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub(crate) audit_log_path: Option<PathBuf>,
}

impl ServerOptions {
    /// Returns where the administrator's kubeconfig is written.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.write_kubeconfig.clone().unwrap_or_else(|| self.data.join("kubeconfig"))
    }

    /// Returns the names of the nodes.
    pub(crate) fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(|number| format!("node-{number}")).collect()
    }
}

/// The options of a whole cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// What runs containers.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) runtime: RuntimeKind,
    /// Parts to leave out.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) disable: Vec<Part>,
    #[command(flatten)]
    pub(crate) proxy: ProxyOptions,
}

/// The service proxy's options.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProxyOptions {
    /// Where the proxy shows its ports, at /proxy/ports: a loopback address (default: nowhere as root, where services'
    /// own addresses work; else 127.0.0.1:10249).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) proxy_endpoint: Option<SocketAddr>,
}

/// The options of a part that talks to an API server.
#[derive(Debug, Clone, Args)]
pub(crate) struct PartOptions {
    /// Where the API server is, and who this part is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// Where /metrics, /livez, /readyz and /healthz are shown, without TLS and without authentication: a loopback address
    /// (default: nowhere).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_bind_address: Option<SocketAddr>,
}

/// The options of the controllers alone. The names are those of kube-controller-manager.
#[derive(Debug, Clone, Args)]
pub(crate) struct ControllersOptions {
    #[command(flatten)]
    pub(crate) part: PartOptions,
    /// The certificate of the authority that signs what CertificateSigningRequests ask for (default: nobody signs).
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub(crate) cluster_signing_cert_file: Option<PathBuf>,
    /// The key of that authority.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub(crate) cluster_signing_key_file: Option<PathBuf>,
}

/// The options of a service proxy alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProxyPartOptions {
    #[command(flatten)]
    pub(crate) part: PartOptions,
    #[command(flatten)]
    pub(crate) proxy: ProxyOptions,
}

/// The options of an agent.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentOptions {
    #[command(flatten)]
    pub(crate) part: PartOptions,
    /// What runs containers.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) runtime: RuntimeKind,
    /// Where the agent keeps its state.
    #[arg(long, default_value_os_t = default_data().join("agent"))]
    pub(crate) data: PathBuf,
    /// Leave the node's pods running on Ctrl-C; the agent takes them over when it is started again (default: they end).
    #[arg(long)]
    pub(crate) keep_pods: bool,
    /// Where the agent answers the API server, with TLS (default: this machine's address, any port).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

/// Where data is kept unless told otherwise: the system's place for it, or the user's.
fn default_data() -> PathBuf {
    if let Some(data) = std::env::var_os("XDG_DATA_HOME") {
        return PathBuf::from(data).join("quarterdeck");
    }
    match std::env::var_os("HOME") {
        Some(home) if home != "/root" => PathBuf::from(home).join(".local/share/quarterdeck"),
        _ => PathBuf::from("/var/lib/quarterdeck"),
    }
}
