//! What the API server shows to clients, and by what they believe it.
//!
//! Who is given a certificate of another authority shows that to everybody but the cluster's own parts: they ask for a name that
//! only the cluster's own certificate has, as kube-apiserver asks itself.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use quarterdeck_registry::User;
use quarterdeck_registry::tls::{Authority, AuthorityError, Identity, kubeconfig, kubeconfig_by_name};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConfig};

use crate::access::read;
use crate::cli::ServerOptions;
use crate::error::{Failure, Result};
use crate::server::advertised;

/// What the cluster's own parts call the server that shows others another certificate than the cluster's own.
const OWN_NAME: &str = "apiserver.quarterdeck.internal";

/// How clients find the server, and by what they believe it.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) authority: Arc<Authority>,
    /// The authorities that clients believe (PEM): the cluster's own, and whoever signed another certificate of the server.
    pub(crate) authorities: String,
    url: String,
    /// Whether the server is given another certificate.
    is_given: bool,
}

impl Reach {
    /// Of a server that shows the cluster's own certificate.
    pub(crate) fn own(authority: &Arc<Authority>, url: &str) -> Self {
        let authorities = authority.certificate().to_owned();
        Self { authority: authority.clone(), authorities, url: url.to_owned(), is_given: false }
    }

    pub(crate) fn open(options: &ServerOptions, authority: &Arc<Authority>, url: &str) -> Result<Self> {
        let mut reach = Self::own(authority, url);
        if let Some(given) = Given::open(options)? {
            reach.is_given = true;
            reach.authorities.push('\n');
            reach.authorities.push_str(&given.issuers);
        }
        Ok(reach)
    }

    /// Writes the kubeconfig of a user.
    pub(crate) fn kubeconfig(&self, user: &User, identity: &Identity) -> String {
        let Self { authorities, url, .. } = self;
        if self.is_given {
            kubeconfig_by_name(url, OWN_NAME, authorities, &user.name, identity)
        } else {
            kubeconfig(url, authorities, &user.name, identity)
        }
    }
}

/// What the server shows to clients, and whose certificates it asks for.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) authority: Arc<Authority>,
    pub(crate) names: Vec<String>,
    pub(crate) options: ServerOptions,
}

impl Serving {
    /// Makes the cluster's own certificate and reads what there is besides. Returns when the former ends.
    pub(crate) fn make(&self) -> Result<(Arc<ServerConfig>, Timestamp)> {
        let access = &self.options.access;
        let others = [&access.requestheader_client_ca_file, &access.client_ca_file].into_iter().flatten();
        let others = others.map(|path| read(path)).collect::<Result<Vec<_>>>()?.join("\n");
        let own = self.authority.server("kube-apiserver", &self.names).map_err(unusable)?;
        let config = self.authority.server_config_for(&own, false, &others).map_err(unusable)?;
        let end = own.not_after().map_err(unusable)?;
        let Some(given) = Given::open(&self.options)? else { return Ok((config, end)) };
        let mut config = (*config).clone();
        let own = certified(&own).map_err(|error| Failure::because("cannot set up TLS", &error))?;
        config.cert_resolver = Arc::new(ByName { own: Arc::new(own), given: given.key });
        Ok((Arc::new(config), end))
    }
}

fn unusable(error: AuthorityError) -> Failure {
    Failure::because("cannot set up TLS", &error)
}

/// Shows the cluster's own certificate to those who ask for it, and another to everybody else.
#[derive(Debug)]
struct ByName {
    own: Arc<CertifiedKey>,
    given: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().is_some_and(|name| name == OWN_NAME);
        Some(if asked { self.own.clone() } else { self.given.clone() })
    }
}

/// The certificate that the options name.
struct Given {
    key: Arc<CertifiedKey>,
    /// Those by which clients believe it, as far as they are in its file.
    issuers: String,
}

impl Given {
    fn open(options: &ServerOptions) -> Result<Option<Self>> {
        let (Some(path), Some(key)) = (&options.tls_cert_file, &options.tls_private_key_file) else {
            return Ok(None);
        };
        let identity = Identity { certificate: read(path)?, key: read(key)? };
        has(path, &identity.certificate, &["CERTIFICATE"], "certificate")?;
        has(key, &identity.key, &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"], "private key")?;
        let issuers = identity.issuers().map_err(|error| because(path, &error))?;
        match certified(&identity) {
            Ok(key) => Ok(Some(Self { key: Arc::new(key), issuers })),
            Err(AuthorityError::Tls(Error::InconsistentKeys(InconsistentKeys::KeyMismatch))) => {
                let (path, key) = (path.display(), key.display());
                Err(Failure::new(format!("the key in {key} is not that of the first certificate in {path}")))
            }
            Err(error) => Err(because(key, &error)),
        }
    }
}

fn because(path: &Path, error: &AuthorityError) -> Failure {
    Failure::because(&format!("cannot use {}", path.display()), error)
}

/// Checks that a file has a section of one of these kinds.
fn has(path: &Path, text: &str, kinds: &[&str], what: &str) -> Result<()> {
    if kinds.iter().any(|kind| text.contains(&format!("-----BEGIN {kind}-----"))) {
        return Ok(());
    }
    Err(Failure::new(format!("cannot use {}: it holds no {what} (PEM)", path.display())))
}

fn certified(identity: &Identity) -> std::result::Result<CertifiedKey, AuthorityError> {
    let (chain, key) = identity.der()?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(AuthorityError::Tls)
}

/// Returns the names and addresses under which the server is reached.
pub(crate) fn names(options: &ServerOptions, service: IpAddr) -> Vec<String> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        OWN_NAME,
    ];
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut addresses: Vec<IpAddr> =
        [Some(loopback), Some(options.listen.ip()), advertised(options), Some(service)]
            .into_iter()
            .flatten()
            .collect();
    addresses.retain(|address| !address.is_unspecified());
    addresses.sort();
    addresses.dedup();
    names.into_iter().map(str::to_owned).chain(addresses.iter().map(ToString::to_string)).collect()
}
