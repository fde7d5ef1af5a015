//! The API server of the reference cluster: its store, its certificates, its listeners.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{Component, Supervisor};
use quarterdeck_core::files::FollowFiles;
use quarterdeck_core::storage::Storage;
use quarterdeck_registry::etcd_v2::EtcdV2View;
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::node_connector::TlsNodes;
use quarterdeck_registry::storage::{EmbeddedOptions, EncryptedStorage, Encryption, MemoryStorage};
use quarterdeck_registry::tls::{Authorities, Authority, AuthorityError, Identity, ServiceAccountKey};
use quarterdeck_registry::{ApiServer, ApiServerBuilder, User};

use crate::access::{Access, apart, client_authorities, proxy_authorities};
use crate::bindings;
use crate::certificates::Renewal;
use crate::cli::{AccessOptions, ServerOptions, StorageKind};
use crate::copies;
use crate::error::{Failure, Result};
use crate::etcd;
use crate::files;
use crate::parts::ctrl_c;
use crate::serving::{Reach, Serving, names};
use crate::sockets::Sockets;
use crate::up::report;

/// What a cluster signs with.
pub(crate) struct Identities {
    /// Makes certificates.
    pub(crate) authority: Arc<Authority>,
    /// Signs service accounts' tokens, and knows the keys by which they are checked.
    pub(crate) key: ServiceAccountKey,
    /// The authorities whose certificates users show.
    pub(crate) clients: Authorities,
    /// The authorities of proxies that name users in headers, if there are any.
    pub(crate) proxies: Option<Authorities>,
}

impl Identities {
    /// Takes what the data directory holds, or makes it.
    pub(crate) fn open(options: &ServerOptions) -> Result<Self> {
        fs::create_dir_all(&options.data).map_err(|error| {
            let data = options.data.display();
            Failure::new(format!("cannot use the data directory {data}: {error}; choose another with --data"))
        })?;
        let pki = options.data.join("pki");
        let authority = Authority::load_or_create(&pki, Clock::system().now());
        let authority = authority.map_err(|error| Failure::because("no certificate authority", &error))?;
        let authority = Arc::new(authority.with_clock(Clock::system()));
        let key = service_account_key(&options.access, &pki);
        let key = key.map_err(|error| Failure::because("no key for service accounts' tokens", &error))?;
        let clients = client_authorities(&options.access, authority.certificate())?;
        let proxies = proxy_authorities(&options.access)?;
        if let Some(proxies) = &proxies {
            apart(&options.access, &clients, proxies)?;
        }
        Ok(Self { authority, key, clients, proxies })
    }
}

/// Takes the keys of service accounts' tokens that the options name, or the cluster's own.
fn service_account_key(
    options: &AccessOptions,
    pki: &Path,
) -> std::result::Result<ServiceAccountKey, AuthorityError> {
    let signing = options.service_account_signing_key_file.as_deref();
    let key = signing.map_or_else(|| ServiceAccountKey::load_or_create(pki), ServiceAccountKey::load)?;
    options.service_account_key_file.iter().try_fold(key, |key, path| key.trusting(path))
}

/// Runs the API server until Ctrl-C.
pub(crate) async fn run(options: ServerOptions) -> Result<()> {
    let sockets = Sockets::bind(&options).await?;
    let (url, port) = (sockets.url(), sockets.port());
    let identities = Identities::open(&options)?;
    let reach = Reach::open(&options, &identities.authority, &url)?;
    let Store { storage, raw } = storage(&options).await?;
    write_kubeconfigs(&options, &reach)?;
    let nodes = TlsNodes::new();
    let builder = ApiServer::builder_shared(storage).node_connector(nodes.clone());
    let access = Access::open(&options.access, &identities)?;
    let builder = configure(builder, &options, port, identities.key.clone(), access);
    let server =
        builder.start().await.map_err(|error| Failure::because("the API server did not start", &error))?;
    attach(&nodes, &server, &identities.authority)?;
    bindings::make(&server, &options.access).await;
    let again = {
        let (options, server) = (options.clone(), server.clone());
        move || {
            attach(&nodes, &server, &reach.authority)?;
            write_kubeconfigs(&options, &reach)
        }
    };
    let listeners = listen(&options, (&server, raw), &identities, sockets, again)?;
    let stop = ctrl_c();
    println!("The API server is ready at {url}");
    println!("The administrator's kubeconfig is {}", options.kubeconfig().display());
    println!("The other parts' are in {}", options.data.join("kubeconfigs").display());
    let mut supervisor = Supervisor::new();
    for listener in listeners {
        supervisor.push(listener);
    }
    let ended = supervisor.run(stop).await;
    server.shutdown().await;
    report(&ended)
}

/// Sets a server up as the reference cluster's.
pub(crate) fn configure(
    builder: ApiServerBuilder,
    options: &ServerOptions,
    port: u16,
    key: ServiceAccountKey,
    access: Access,
) -> ApiServerBuilder {
    let builder = builder.service_cidr(&options.service_cidr).token_issuer(key.clone());
    let builder = access.apply(builder, key);
    match advertised(options) {
        Some(address) => builder.advertise_address(SocketAddr::new(address, port)),
        None => builder,
    }
}

/// Where objects are kept.
pub(crate) struct Store {
    /// What the server reads and writes.
    pub(crate) storage: Arc<dyn Storage>,
    /// What lies below: secrets may be encrypted there.
    pub(crate) raw: Arc<dyn Storage>,
}

/// Opens the store, and brings what is in it to the first of the keys.
pub(crate) async fn storage(options: &ServerOptions) -> Result<Store> {
    // A wrong file is told of before anything is touched.
    let encryption = encryption(options)?;
    let raw: Arc<dyn Storage> = match options.storage {
        _ if !options.etcd.etcd_servers.is_empty() => etcd::open(&options.etcd).await?,
        StorageKind::Memory => Arc::new(MemoryStorage::new()),
        StorageKind::Embedded => {
            let opened = EmbeddedOptions::default().sync(options.fsync).open(copies::store(&options.data));
            Arc::new(opened.map_err(|error| Failure::because("cannot open the store", &error))?)
        }
    };
    // Without a configuration too: what was encrypted is then missed, and not passed over.
    let storage = EncryptedStorage::shared(raw.clone(), encryption);
    let rewritten = storage.rewrite().await;
    let rewritten = rewritten.map_err(|error| Failure::because("cannot encrypt the store anew", &error))?;
    if rewritten > 0 {
        tracing::info!(rewritten, "objects were written again, as the encryption configuration has it");
    }
    Ok(Store { storage: Arc::new(storage), raw })
}

/// Reads what is to be encrypted.
fn encryption(options: &ServerOptions) -> Result<Encryption> {
    let Some(path) = &options.encryption_provider_config else { return Ok(Encryption::none()) };
    let encryption = Encryption::from_file(path);
    encryption.map_err(|error| Failure::because(&format!("cannot use {}", path.display()), &error))
}

/// Lets a server reach the agents of other processes.
fn attach(nodes: &TlsNodes, server: &ApiServer, authority: &Authority) -> Result<()> {
    let tls = |error| Failure::because("cannot set up TLS", &error);
    let user = User::new("kube-apiserver-kubelet-client").group("system:masters");
    let identity = authority.client(&user).map_err(tls)?;
    nodes.attach(server, &identity, authority.roots().map_err(tls)?).map_err(tls)
}

/// Serves on sockets. Before certificates end they are made again, with what `again` makes.
pub(crate) fn listen(
    options: &ServerOptions,
    (server, raw): (&ApiServer, Arc<dyn Storage>),
    identities: &Identities,
    sockets: Sockets,
    again: impl Fn() -> Result<()> + Send + 'static,
) -> Result<Vec<Box<dyn Component>>> {
    let service = server.registry().settings.first_service_address();
    let serving = Arc::new(Serving::open(options, identities, names(options, service))?);
    let places = files::connections();
    let listener = Listener::tls_on(server.clone(), sockets.secure, serving.tls()).max_connections(places);
    let mut listeners: Vec<Box<dyn Component>> = vec![Box::new(listener)];
    if let Some(path) = &options.access.requestheader_client_ca_file {
        let serving = serving.clone();
        listeners.push(Box::new(FollowFiles::new([path], move || Ok(serving.read_proxies()?))));
    }
    if let Some(path) = &options.access.client_ca_file {
        let serving = serving.clone();
        listeners.push(Box::new(FollowFiles::new([path], move || Ok(serving.read_clients()?))));
    }
    if let (Some(certificate), Some(key)) = (&options.tls_cert_file, &options.tls_private_key_file) {
        let serving = serving.clone();
        listeners.push(Box::new(FollowFiles::new([certificate, key], move || Ok(serving.read_given()?))));
    }
    listeners.push(Box::new(Renewal::new(Clock::system(), serving.end()?, move || {
        again()?;
        serving.renew()
    })));
    if let Some(socket) = sockets.insecure {
        let listener = Listener::insecure_on(server.clone(), socket);
        let listener = listener.map_err(|error| Failure::because("no insecure listener", &error))?;
        listeners.push(Box::new(listener.max_connections(places)));
    }
    if let Some(socket) = sockets.view {
        println!("What is stored is shown at http://{}/v2/keys/", socket.local_address());
        listeners.push(Box::new(socket.serving(EtcdV2View::new(raw))));
    }
    Ok(listeners)
}

/// Returns the address at which others reach this machine, if it has one.
pub(crate) fn advertised(options: &ServerOptions) -> Option<IpAddr> {
    let listened = Some(options.listen.ip()).filter(|address| !address.is_unspecified());
    let given = options.advertise_address.or(listened).or_else(own_address);
    given.filter(|address| !address.is_loopback() && !address.is_unspecified())
}

/// Returns the address from which this machine would call another. Nothing is sent.
pub(crate) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // A documentation address (RFC 5737): only the route to it is looked up.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Writes the administrator's kubeconfig.
pub(crate) fn write_admin_kubeconfig(options: &ServerOptions, reach: &Reach) -> Result<()> {
    write_kubeconfig(&options.kubeconfig(), reach, &User::admin())
}

/// Writes a user's kubeconfig.
pub(crate) fn write_kubeconfig(path: &Path, reach: &Reach, user: &User) -> Result<()> {
    let identity = reach.authority.client(user);
    let identity = identity.map_err(|error| Failure::because("cannot make a certificate", &error))?;
    write_private(path, &reach.kubeconfig(user, &identity))
}

/// Writes the kubeconfigs of the administrator and of every component, and what pods are to believe the server by.
fn write_kubeconfigs(options: &ServerOptions, reach: &Reach) -> Result<()> {
    write_admin_kubeconfig(options, reach)?;
    let directory = options.data.join("kubeconfigs");
    write_private(&options.data.join("root-ca.crt"), &reach.root_ca)?;
    let components =
        [("scheduler", User::scheduler()), ("controllers", User::controllers()), ("proxy", User::proxy())];
    for (name, user) in components {
        write_kubeconfig(&directory.join(name), reach, &user)?;
    }
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let addresses: Vec<String> =
        [own_address(), Some(loopback)].into_iter().flatten().map(|address| address.to_string()).collect();
    for (number, node) in (1..).zip(options.node_names()) {
        let name = if number == 1 { "agent".to_owned() } else { format!("agent-{number}") };
        let user = User::node(&node);
        let names = [vec![node], addresses.clone()].concat();
        let identity: Identity = reach
            .authority
            .node(&user, &names)
            .map_err(|error| Failure::because("cannot make a certificate", &error))?;
        write_private(&directory.join(name), &reach.kubeconfig(&user, &identity))?;
    }
    Ok(())
}

/// Writes a file that only its owner reads, in place of an earlier one.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot write {}: {error}; check that its directory is yours", path.display()))
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&fresh, path));
    written.map_err(|error| {
        // It holds a key.
        let _ = fs::remove_file(&fresh);
        failed(error)
    })
}
