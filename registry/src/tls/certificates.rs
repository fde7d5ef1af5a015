//! Users by their client certificates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use http::request::Parts;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::hash::fnv1a;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::{AuthorityError, roots};
use crate::layers::authentication::Authenticator;
use crate::sparing::cut;
use crate::user::{CREDENTIAL_ID, User};

/// The certificate that a client showed, with those that may lead from it to an authority. Listeners put it in a request's
/// extensions. Cheap to clone: all requests of a connection share one.
///
/// **Whoever made it may have written anything into it.** TLS has seen that the client holds its key, and nothing else: who signed
/// it, and whether it is good now, [`ClientCertificates`] finds out at each request.
#[derive(Debug, Clone)]
pub struct PeerCertificate(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    der: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
    /// What they say, or why they say nothing, read when the first request asks.
    read: OnceLock<Result<Read, String>>,
    /// Which authorities were asked about it, and what they said.
    asked: Mutex<BTreeMap<u64, Verdict>>,
}

/// What a certificate and its intermediates say.
#[derive(Debug)]
struct Read {
    user: Result<User, String>,
    /// From when to when each of them is good, both included, in seconds since 1970.
    periods: Vec<(i64, i64)>,
}

/// What some authorities said of a certificate, and until when that holds.
#[derive(Debug, Clone)]
struct Verdict {
    said: Result<(), Arc<str>>,
    until: i64,
}

impl PeerCertificate {
    /// Takes a certificate whose key the client holds.
    #[must_use]
    pub fn new(der: CertificateDer<'static>) -> Self {
        Self::with_intermediates(der, Vec::new())
    }

    /// Takes a certificate whose key the client holds, and the certificates that the client showed with it.
    #[must_use]
    pub fn with_intermediates(
        der: CertificateDer<'static>,
        intermediates: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self(Arc::new(Shown { der, intermediates, read: OnceLock::new(), asked: Mutex::default() }))
    }

    /// Returns the certificate, which anybody may have made.
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
        self.user().map(|user| user.name)
    }

    fn user(&self) -> Result<User, String> {
        self.read()?.user.clone()
    }

    fn read(&self) -> Result<&Read, String> {
        let read = self.0.read.get_or_init(|| read(&self.0.der, &self.0.intermediates));
        read.as_ref().map_err(Clone::clone)
    }

    /// When next one of the certificates begins or ends to be good.
    fn next_change(&self, now: i64) -> i64 {
        let Ok(read) = self.read() else { return i64::MAX };
        // A certificate is good until the end of its last second.
        let changes = read.periods.iter().flat_map(|(from, to)| [*from, to.saturating_add(1)]);
        changes.filter(|change| *change > now).min().unwrap_or(i64::MAX)
    }
}

fn read(der: &[u8], intermediates: &[CertificateDer<'_>]) -> Result<Read, String> {
    let period = |certificate: &X509Certificate<'_>| {
        let validity = certificate.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    };
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    // Which ones matter is for who builds the path to say: one that cannot be read leads nowhere.
    let intermediates = intermediates.iter().filter_map(|der| X509Certificate::from_der(der).ok());
    let mut periods: Vec<_> = intermediates.map(|(_, certificate)| period(&certificate)).collect();
    periods.push(period(&certificate));
    Ok(Read { user: user(&certificate, der), periods })
}

fn user(certificate: &X509Certificate<'_>, der: &[u8]) -> Result<User, String> {
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
    let mut user = User { name, groups: groups.collect(), ..User::default() };
    let digest = digest::digest(&digest::SHA256, der);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra.insert(CREDENTIAL_ID, [format!("X509SHA256={digest}")]);
    Ok(user)
}

/// Some certificate authorities, which can be replaced by others: for an authenticator that knows users by certificates of theirs.
/// Clones are replaced together.
#[derive(Debug, Clone)]
pub struct Authorities {
    issuers: Arc<RwLock<Issuers>>,
    clock: Clock,
}

#[derive(Debug, Clone)]
struct Issuers {
    verifier: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    /// What a certificate remembers them by.
    id: u64,
}

impl Issuers {
    fn new(pem: &str) -> Result<Self, AuthorityError> {
        let general = |why: String| AuthorityError::Tls(rustls::Error::General(why));
        let roots = roots(pem)?;
        if roots.is_empty() {
            return Err(general("there is no certificate of an authority".into()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider).build();
        let verifier = verifier.map_err(|error| general(error.to_string()))?;
        Ok(Self { verifier, roots, id: fnv1a(pem.bytes()) })
    }
}

impl Authorities {
    /// Reads authorities from PEM. Their certificates count while they are good by this clock.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if the text holds no certificates.
    pub fn new(pem: &str, clock: Clock) -> Result<Self, AuthorityError> {
        Ok(Self { issuers: Arc::new(RwLock::new(Issuers::new(pem)?)), clock })
    }

    /// Has these authorities (PEM) count from the next request on, and no others.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if the text holds no certificates; then nothing is replaced.
    pub fn replace(&self, pem: &str) -> Result<(), AuthorityError> {
        let issuers = Issuers::new(pem)?;
        *self.issuers.write().expect("no holder panics") = issuers;
        Ok(())
    }

    /// Returns whether one of them is among others, too: whether it has the same key. Who was let sign by one of the others is not
    /// seen by this.
    #[must_use]
    pub fn overlap(&self, others: &Self) -> bool {
        let roots = |of: &Self| of.issuers.read().expect("no holder panics").roots.clone();
        let (own, others) = (roots(self), roots(others));
        let keys = |roots: &RootCertStore| {
            roots.roots.iter().map(|root| root.subject_public_key_info.to_vec()).collect::<Vec<_>>()
        };
        let others = keys(&others);
        keys(&own).iter().any(|key| others.contains(key))
    }

    /// Checks that one of them, or somebody whom they let sign, has signed a certificate that is good now. As signatures do not
    /// change, that is found out once for a connection, and again when one of its certificates begins or ends to be good.
    ///
    /// # Errors
    ///
    /// Why it is no good.
    pub(super) fn check(&self, certificate: &PeerCertificate) -> Result<(), String> {
        let now = self.clock.now().as_second();
        let issuers = self.issuers.read().expect("no holder panics").clone();
        let mut asked = certificate.0.asked.lock().expect("nothing panics while it holds a certificate");
        let known = asked.get(&issuers.id).filter(|verdict| now < verdict.until).cloned();
        let verdict = known.unwrap_or_else(|| {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
            let verified =
                issuers.verifier.verify_client_cert(certificate.der(), &certificate.0.intermediates, at);
            let said = verified.map(|_| ()).map_err(|error| why(&error).into());
            let verdict = Verdict { said, until: certificate.next_change(now) };
            asked.insert(issuers.id, verdict.clone());
            verdict
        });
        verdict.said.map_err(|why| why.to_string())
    }
}

/// Says why a certificate is no good.
fn why(error: &rustls::Error) -> String {
    match error {
        // The signature is checked by the key of whatever authority has the issuer's name.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "no authority of this cluster has signed it".into(),
        other => other.to_string(),
    }
}

/// Knows users by their certificates: the common name is the user's, each organisation a group. A certificate counts if one of
/// some authorities has signed it, and until it expires, however long its connection lives and however its TLS session was
/// resumed. Which certificate it was is told in [`CREDENTIAL_ID`].
#[derive(Debug)]
pub struct ClientCertificates(Authorities);

impl ClientCertificates {
    /// Takes certificates of these authorities (PEM), as long as they are good by this clock.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if the text holds no certificates.
    pub fn new(authorities: &str, clock: Clock) -> Result<Self, AuthorityError> {
        Ok(Self::of(Authorities::new(authorities, clock)?))
    }

    /// Takes certificates of authorities that can be replaced.
    #[must_use]
    pub fn of(authorities: Authorities) -> Self {
        Self(authorities)
    }
}

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        let Some(certificate) = parts.extensions.get::<PeerCertificate>() else { return Ok(None) };
        if let Err(why) = self.0.check(certificate) {
            let name = certificate.common_name().unwrap_or_default();
            return Err(format!("the certificate of {:?} is no good: {why}", cut(&name)));
        }
        certificate.user().map(Some)
    }
}
