//! What can be asked for on the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use http::HeaderName;
use k8s_openapi::jiff::SignedDuration;
use quarterdeck_registry::storage::SyncPolicy;

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
    /// What is logged to standard error: error, warn, info, debug or trace, for all or per module. (What fails to reach the API
    /// server is told by whoever asked, with the reason: kube_client says it without.)
    #[arg(long, global = true, default_value = "warn,kube_client=off", env = "QUARTERDECK_LOG")]
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
    Scheduler(SchedulerOptions),
    /// Runs the controllers alone.
    Controllers(ControllersOptions),
    /// Runs the agent of one node alone.
    Agent(AgentOptions),
    /// Runs the service proxy alone.
    Proxy(ProxyPartOptions),
    /// Copies the store of a data directory, while a server runs on it or not.
    Backup(BackupOptions),
    /// Makes a store of a copy, in a data directory that has none.
    Restore(RestoreOptions),
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
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
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
    /// When a write has to be on the disk: always, before it is answered; never, but when the system does it by itself; or at
    /// intervals such as 100ms. All but always may lose answered writes when the machine crashes.
    #[arg(long, default_value_t = SyncPolicy::EveryCommit, value_name = "WHEN")]
    pub(crate) fsync: SyncPolicy,
    #[command(flatten)]
    pub(crate) etcd: EtcdArguments,
    /// Which objects are encrypted in the store, and with which keys (apiserver.config.k8s.io/v1 EncryptionConfiguration; default:
    /// none). Those not encrypted with the first key are written again at the start.
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    /// Where to listen, with TLS.
    #[arg(long, default_value = "0.0.0.0:6443", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// The certificate (PEM) that clients are shown, and behind it those that lead to an authority (default: one of the cluster's
    /// own).
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// Where to listen without TLS and without authentication: a loopback address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) insecure_listen: Option<SocketAddr>,
    /// Where all that is stored is shown in the shape of etcd's first API (`/v2/keys/registry/minions/`), to be read, without
    /// authentication: a loopback address (default: nowhere).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) etcd_v2_listen: Option<SocketAddr>,
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

/// Which etcd cluster objects are kept in, if any. The names are those of kube-apiserver, which knows no user of etcd's.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "etcd")]
#[cfg_attr(not(feature = "etcd"), allow(dead_code, reason = "a binary without etcd only refuses them"))]
pub(crate) struct EtcdArguments {
    /// The members of the etcd cluster that keeps the objects, such as https://10.0.0.1:2379 (default: --storage). Needs a binary
    /// built with the feature `etcd`.
    #[arg(long, value_name = "URLS", value_delimiter = ',', conflicts_with = "storage")]
    pub(crate) etcd_servers: Vec<String>,
    /// The authorities (PEM) that signed the members' certificates (default: those that the system trusts).
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    pub(crate) etcd_cafile: Option<PathBuf>,
    /// The certificate (PEM) that the members are shown.
    #[arg(long, value_name = "FILE", requires_all = ["etcd_servers", "etcd_keyfile"])]
    pub(crate) etcd_certfile: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires_all = ["etcd_servers", "etcd_certfile"])]
    pub(crate) etcd_keyfile: Option<PathBuf>,
    /// The user of etcd's to log in as.
    #[arg(long, value_name = "NAME", requires_all = ["etcd_servers", "etcd_password_file"])]
    pub(crate) etcd_username: Option<String>,
    /// A file with that user's password, on its first line.
    #[arg(long, value_name = "FILE", requires_all = ["etcd_servers", "etcd_username"])]
    pub(crate) etcd_password_file: Option<PathBuf>,
    /// What the keys in etcd begin with.
    #[arg(long, value_name = "PREFIX", default_value = "/registry")]
    pub(crate) etcd_prefix: String,
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
    /// Authorities (PEM) whose certificates users show, besides the cluster's own: the common name is the user, organisations are
    /// groups.
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,
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
    /// How many megabytes (of 1,048,576 bytes) the audit log has before it gives way to a new one; 0 for 100.
    #[arg(long, value_name = "MEGABYTES", default_value_t = 100, requires = "audit_log_path")]
    pub(crate) audit_log_maxsize: u32,
    /// How many of the files that gave way are kept; 0 for all.
    #[arg(long, value_name = "FILES", default_value_t = 0, requires = "audit_log_path")]
    pub(crate) audit_log_maxbackup: u32,
    /// How many days files that gave way are kept, by the time in their names; 0 for all days.
    #[arg(long, value_name = "DAYS", default_value_t = 0, requires = "audit_log_path")]
    pub(crate) audit_log_maxage: u32,
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

/// Which of several processes works. The names are those of kube-scheduler and kube-controller-manager, and so are the defaults, but
/// for times: a standby takes over within the lease's duration and two periods of retry.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Leader election")]
pub(crate) struct ElectionOptions {
    /// Work only while this process holds the Lease.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL")]
    pub(crate) leader_elect: bool,
    /// How long others wait for a renewal before they take over.
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub(crate) leader_elect_lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    #[arg(long, default_value = "7s", value_parser = duration, value_name = "DURATION")]
    pub(crate) leader_elect_renew_deadline: Duration,
    /// How long to wait between tries.
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub(crate) leader_elect_retry_period: Duration,
    /// The Lease's name (default: kube-scheduler or kube-controller-manager).
    #[arg(long, value_name = "NAME")]
    pub(crate) leader_elect_resource_name: Option<String>,
    /// The Lease's namespace.
    #[arg(long, default_value = "kube-system", value_name = "NAMESPACE")]
    pub(crate) leader_elect_resource_namespace: String,
}

/// Reads a duration as Go writes it, such as 1m30s.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.ok_or_else(|| "write it like 15s, 1m30s or 500ms".to_owned())
}

/// The options of the scheduler alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct SchedulerOptions {
    #[command(flatten)]
    pub(crate) part: PartOptions,
    #[command(flatten)]
    pub(crate) election: ElectionOptions,
}

/// The options of the controllers alone. The names are those of kube-controller-manager.
#[derive(Debug, Clone, Args)]
pub(crate) struct ControllersOptions {
    #[command(flatten)]
    pub(crate) part: PartOptions,
    #[command(flatten)]
    pub(crate) election: ElectionOptions,
    /// The certificates (PEM) by which pods believe the API server, for kube-root-ca.crt (default: those in the kubeconfig).
    #[arg(long, value_name = "FILE")]
    pub(crate) root_ca_file: Option<PathBuf>,
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

/// The options of an agent. The names of those about certificates are kubelet's.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentOptions {
    #[command(flatten)]
    pub(crate) part: PartOptions,
    /// Where the API server is, and a bootstrap token: the agent asks for a certificate with it if the file that --kubeconfig names
    /// does not exist, writes that file, and joins again with the token should its certificate expire.
    #[arg(long, value_name = "FILE")]
    pub(crate) bootstrap_kubeconfig: Option<PathBuf>,
    /// Where the certificates of an agent that joins are kept (default: pki below the agent's state).
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// The name of the node of an agent that joins (default: this machine's).
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname_override: Option<String>,
    /// Whether an agent that joins renews its client certificate before it ends.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true")]
    pub(crate) rotate_certificates: bool,
    /// Whether an agent that joins asks the cluster for its serving certificate, and renews it; the API server believes no other
    /// (false: it signs its own).
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true")]
    pub(crate) rotate_server_certificates: bool,
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

/// The options of a copy.
#[derive(Debug, Clone, Args)]
pub(crate) struct BackupOptions {
    /// The data directory whose store is copied.
    #[arg(long, default_value_os_t = default_data(), env = "QUARTERDECK_DATA")]
    pub(crate) data: PathBuf,
    /// Where the copy is made: an empty or a new directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) to: PathBuf,
}

/// The options of a restore.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestoreOptions {
    /// The copy that `quarterdeck backup` made.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) from: PathBuf,
    /// The data directory that gets the store; it must have none.
    #[arg(long, default_value_os_t = default_data(), env = "QUARTERDECK_DATA")]
    pub(crate) data: PathBuf,
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
