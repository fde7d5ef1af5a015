//! What the API server shows to clients, and by what they believe it.
//!
//! Who is given a certificate of another authority shows that to everybody but the cluster's own parts: they ask for a name that
//! only the cluster's own certificate has, as kube-apiserver asks itself.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use quarterdeck_core::clock::Clock;
use quarterdeck_registry::User;
use quarterdeck_registry::tls::{
    Authorities, Authority, AuthorityError, Identity, ServerTls, kubeconfig, kubeconfig_by_name,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConfig};

use crate::access::{apart, authorities_with, further_clients, read};
use crate::cli::ServerOptions;
use crate::error::{Failure, Result};
use crate::server::{Identities, advertised};

/// What the cluster's own parts call the server that shows others another certificate than the cluster's own.
const OWN_NAME: &str = "apiserver.quarterdeck.internal";

/// How clients find the server, and by what they believe it.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) authority: Arc<Authority>,
    /// The authorities by which pods and strangers believe the server (PEM): the cluster's own, and whoever signed another certificate
    /// of the server. The cluster's own parts need the former alone.
    pub(crate) root_ca: String,
    url: String,
    /// Whether the server is given another certificate.
    is_given: bool,
}

impl Reach {
    /// Of a server that shows the cluster's own certificate.
    pub(crate) fn own(authority: &Arc<Authority>, url: &str) -> Self {
        let root_ca = authority.certificate().to_owned();
        Self { authority: authority.clone(), root_ca, url: url.to_owned(), is_given: false }
    }

    pub(crate) fn open(options: &ServerOptions, authority: &Arc<Authority>, url: &str) -> Result<Self> {
        let mut reach = Self::own(authority, url);
        if let Some(given) = Given::open(options)? {
            reach.is_given = true;
            if given.issuers.is_empty() {
                let file = options.tls_cert_file.as_ref().map(|path| path.display());
                tracing::warn!(
                    file = file.map(tracing::field::display),
                    "the server's certificate comes without that of who signed it, so that pods cannot check it: append that to the file"
                );
            }
            reach.root_ca.push('\n');
            reach.root_ca.push_str(&given.issuers);
        }
        Ok(reach)
    }

    /// Writes the kubeconfig of a user.
    pub(crate) fn kubeconfig(&self, user: &User, identity: &Identity) -> String {
        let own = self.authority.certificate();
        if self.is_given {
            kubeconfig_by_name(&self.url, OWN_NAME, own, &user.name, identity)
        } else {
            kubeconfig(&self.url, own, &user.name, identity)
        }
    }
}

/// What the server shows to clients, and whose certificates it takes. What files hold that are of no use any more leaves in use what
/// they held before.
pub(crate) struct Serving {
    authority: Arc<Authority>,
    names: Vec<String>,
    options: ServerOptions,
    clients: Authorities,
    proxies: Option<Authorities>,
    tls: ServerTls,
    /// One at a time changes it.
    shown: Mutex<Shown>,
}

/// What goes into the settings of the listener.
#[derive(Clone)]
struct Shown {
    own: Identity,
    /// Authorities of users and of proxies (PEM), without the cluster's own.
    clients: String,
    proxies: String,
    given: Option<Given>,
}

impl Serving {
    /// Makes the cluster's own certificate and reads what there is besides.
    pub(crate) fn open(options: &ServerOptions, identities: &Identities, names: Vec<String>) -> Result<Self> {
        let Identities { authority, clients, proxies, .. } = identities;
        let access = &options.access;
        let shown = Shown {
            own: authority.server("kube-apiserver", &names).map_err(unusable)?,
            clients: further_clients(access)?,
            proxies: access
                .requestheader_client_ca_file
                .as_deref()
                .map(read)
                .transpose()?
                .unwrap_or_default(),
            given: Given::open(options)?,
        };
        Ok(Self {
            authority: authority.clone(),
            names,
            options: options.clone(),
            clients: clients.clone(),
            proxies: proxies.clone(),
            tls: ServerTls::new(shown.config(authority)?),
            shown: Mutex::new(shown),
        })
    }

    /// The settings of the listener.
    pub(crate) fn tls(&self) -> ServerTls {
        self.tls.clone()
    }

    /// Returns when the cluster's own certificate ends.
    pub(crate) fn end(&self) -> Result<Timestamp> {
        self.shown().own.not_after().map_err(unusable)
    }

    /// Makes the cluster's own certificate again, whatever became of others' files. Returns when it ends.
    pub(crate) fn renew(&self) -> Result<Timestamp> {
        let own = self.authority.server("kube-apiserver", &self.names).map_err(unusable)?;
        let end = own.not_after().map_err(unusable)?;
        let mut shown = self.shown();
        self.show(&mut shown, |next| next.own = own, |_| Ok(()))?;
        Ok(end)
    }

    /// Reads again who signs for users.
    pub(crate) fn read_clients(&self) -> Result<()> {
        let further = further_clients(&self.options.access)?;
        let own = self.authority.certificate();
        let mut shown = self.shown();
        if let Some(proxies) = &self.proxies {
            apart(&self.options.access, &authorities_with(own, &further)?, proxies)?;
        }
        let replace =
            |next: &Shown| self.clients.replace(&format!("{own}\n{}", next.clients)).map_err(unusable);
        self.show(&mut shown, |next| next.clients = further, replace)
    }

    /// Reads again who signs for proxies.
    pub(crate) fn read_proxies(&self) -> Result<()> {
        let (Some(path), Some(proxies)) = (&self.options.access.requestheader_client_ca_file, &self.proxies)
        else {
            return Ok(());
        };
        let text = read(path)?;
        let mut shown = self.shown();
        let next = Authorities::new(&text, Clock::system()).map_err(|error| because(path, &error))?;
        apart(&self.options.access, &self.clients, &next)?;
        let replace = |next: &Shown| proxies.replace(&next.proxies).map_err(unusable);
        self.show(&mut shown, |next| next.proxies = text, replace)
    }

    /// Reads the certificate again that the options name.
    pub(crate) fn read_given(&self) -> Result<()> {
        let given = Given::open(&self.options)?;
        let issuers = |given: &Option<Given>| given.as_ref().map(|given| given.issuers.clone());
        let mut shown = self.shown();
        let is_other = issuers(&shown.given) != issuers(&given);
        self.show(&mut shown, |next| next.given = given, |_| Ok(()))?;
        if is_other {
            tracing::warn!(
                "somebody else signed the server's new certificate, and kube-root-ca.crt has who signed the old one: for pods to believe it, start the server and the controllers again"
            );
        }
        Ok(())
    }

    /// Shows what was changed once all of it is known to be good.
    fn show(
        &self,
        shown: &mut Shown,
        change: impl FnOnce(&mut Shown),
        replace: impl FnOnce(&Shown) -> Result<()>,
    ) -> Result<()> {
        let mut next = shown.clone();
        change(&mut next);
        let config = next.config(&self.authority)?;
        replace(&next)?;
        self.tls.replace(config);
        *shown = next;
        Ok(())
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().expect("nothing panics while it holds what is shown")
    }
}

impl Shown {
    fn config(&self, authority: &Authority) -> Result<Arc<ServerConfig>> {
        let others = format!("{}\n{}", self.proxies, self.clients);
        let config = authority.server_config_for(&self.own, false, &others).map_err(unusable)?;
        let Some(given) = &self.given else { return Ok(config) };
        let mut config = (*config).clone();
        let own = certified(&self.own).map_err(unusable)?;
        config.cert_resolver = Arc::new(ByName { own: Arc::new(own), given: given.key.clone() });
        Ok(Arc::new(config))
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
#[derive(Clone)]
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

#[cfg(test)]
mod tests;
