//! Users by their client certificates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use http::request::Parts;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::hash::fnv1a;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::{AuthorityError, roots};
use crate::layers::authentication::Authenticator;
use crate::user::User;

/// The certificate that a client showed, already verified by TLS. Listeners put it in a request's extensions. Cheap to clone:
/// all requests of a connection share one.
#[derive(Debug, Clone)]
pub struct PeerCertificate(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    der: CertificateDer<'static>,
    /// Whom it names, or why it names nobody, read when the first request asks.
    user: OnceLock<Result<User, String>>,
    /// Which authorities were asked about it, and what they said.
    asked: Mutex<BTreeMap<u64, bool>>,
}

impl PeerCertificate {
    /// Takes a certificate that TLS has verified.
    #[must_use]
    pub fn new(der: CertificateDer<'static>) -> Self {
        Self(Arc::new(Shown { der, user: OnceLock::new(), asked: Mutex::default() }))
    }

    /// Returns the certificate.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    /// Returns the name that the certificate has.
    ///
    /// # Errors
    ///
    /// Why it has none.
    pub(super) fn common_name(&self) -> Result<String, String> {
        self.user().as_ref().map(|user| user.name.clone()).map_err(Clone::clone)
    }

    fn user(&self) -> &Result<User, String> {
        self.0.user.get_or_init(|| user(&self.0.der))
    }
}

fn user(der: &[u8]) -> Result<User, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let text =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().map(str::to_owned);
    let subject = certificate.subject();
    let mut names = subject.iter_common_name();
    let name = names.next().and_then(|name| text(name).ok());
    if names.next().is_some() {
        // Which of them counts, others may see otherwise.
        return Err("the certificate has several names".into());
    }
    let name = name.filter(|name| !name.is_empty()).ok_or("the certificate names nobody")?;
    let groups = subject.iter_organization().filter_map(|group| text(group).ok());
    Ok(User { name, groups: groups.collect(), ..User::default() })
}

/// Knows users by their certificates: the common name is the user's, each organisation a group.
#[derive(Debug)]
pub struct ClientCertificates;

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        let certificate = parts.extensions.get::<PeerCertificate>();
        certificate.map(|certificate| certificate.user().clone()).transpose()
    }
}

/// Some certificate authorities.
#[derive(Debug)]
pub(super) struct Issuers {
    verifier: Arc<dyn ClientCertVerifier>,
    /// What a certificate remembers them by.
    id: u64,
    clock: Clock,
}

impl Issuers {
    /// Reads authorities from PEM.
    pub(super) fn new(pem: &str, clock: Clock) -> Result<Self, AuthorityError> {
        let general = |why: String| AuthorityError::Tls(rustls::Error::General(why));
        let roots = roots(pem)?;
        if roots.is_empty() {
            return Err(general("there is no certificate of an authority".into()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let verifier = verifier.map_err(|error| general(error.to_string()))?;
        Ok(Self { verifier, id: fnv1a(pem.bytes()), clock })
    }

    /// Whether one of them has signed a certificate. It is found out once for a connection, as TLS does.
    pub(super) fn have_signed(&self, certificate: &PeerCertificate) -> bool {
        let mut asked = certificate.0.asked.lock().expect("nothing panics while it holds a certificate");
        *asked.entry(self.id).or_insert_with(|| {
            let now = u64::try_from(self.clock.now().as_second()).unwrap_or_default();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
            self.verifier.verify_client_cert(certificate.der(), &[], now).is_ok()
        })
    }
}

/// Knows users by their certificates as [`ClientCertificates`] does, but only by those of some authorities: for listeners that
/// trust others too.
#[derive(Debug)]
pub struct CertificatesOf(Issuers);

impl CertificatesOf {
    /// Takes certificates of these authorities (PEM).
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if the text holds no certificates.
    pub fn new(authorities: &str, clock: Clock) -> Result<Self, AuthorityError> {
        Ok(Self(Issuers::new(authorities, clock)?))
    }
}

#[async_trait]
impl Authenticator for CertificatesOf {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        let certificate = parts.extensions.get::<PeerCertificate>();
        let certificate = certificate.filter(|certificate| self.0.have_signed(certificate));
        certificate.map(|certificate| certificate.user().clone()).transpose()
    }
}
