//! Users by their client certificates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
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

/// The certificate that a client showed, already verified by TLS, with those that lead from it to an authority. Listeners put it
/// in a request's extensions. Cheap to clone: all requests of a connection share one.
///
/// TLS verifies a certificate when the connection begins, or not even then if the client resumes a session. So who knows users by
/// it asks the [`Clock`] at each request whether it is still good.
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
    own: Period,
    issuer: Vec<u8>,
    intermediates: Vec<Link>,
}

/// An intermediate certificate.
#[derive(Debug)]
struct Link {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    period: Period,
}

/// From when to when a certificate is good, both included, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Period(i64, i64);

impl Period {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self(validity.not_before.timestamp(), validity.not_after.timestamp())
    }

    fn has(self, now: i64) -> bool {
        (self.0..=self.1).contains(&now)
    }
}

/// What some authorities said of a certificate, and until when that holds.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    is_good: bool,
    until: i64,
}

impl PeerCertificate {
    /// Takes a certificate that TLS has verified.
    #[must_use]
    pub fn new(der: CertificateDer<'static>) -> Self {
        Self::with_intermediates(der, Vec::new())
    }

    /// Takes a certificate that TLS has verified, and the certificates that the client showed with it.
    #[must_use]
    pub fn with_intermediates(
        der: CertificateDer<'static>,
        intermediates: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self(Arc::new(Shown { der, intermediates, read: OnceLock::new(), asked: Mutex::default() }))
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
        self.user().map(|user| user.name)
    }

    fn user(&self) -> Result<User, String> {
        self.read()?.user.clone()
    }

    fn read(&self) -> Result<&Read, String> {
        let read = self.0.read.get_or_init(|| read(&self.0.der, &self.0.intermediates));
        read.as_ref().map_err(Clone::clone)
    }

    /// Checks that the certificate and those that lead from it to an authority are good at this time.
    fn check_period(&self, now: i64) -> Result<(), String> {
        let read = self.read()?;
        if !read.own.has(now) {
            return Err("the certificate has expired or is not yet valid".into());
        }
        // TLS has built the path to an authority. Along it nothing may have ended since.
        let (mut issuer, mut left) = (&read.issuer, read.intermediates.len());
        while left > 0 {
            let mut above = read.intermediates.iter().filter(|link| link.subject == *issuer).peekable();
            if above.peek().is_none() {
                break;
            }
            let good = above.find(|link| link.period.has(now));
            let good = good.ok_or("an intermediate certificate has expired or is not yet valid")?;
            (issuer, left) = (&good.issuer, left - 1);
        }
        Ok(())
    }

    /// When next one of the certificates begins or ends to be good.
    fn next_change(&self, now: i64) -> i64 {
        let Ok(read) = self.read() else { return i64::MAX };
        let periods = read.intermediates.iter().map(|link| link.period).chain([read.own]);
        // A certificate is good until the end of its last second.
        let changes = periods.flat_map(|Period(from, to)| [from, to.saturating_add(1)]);
        changes.filter(|change| *change > now).min().unwrap_or(i64::MAX)
    }
}

fn read(der: &[u8], intermediates: &[CertificateDer<'_>]) -> Result<Read, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    // Which ones matter is for who builds the path to say: one that cannot be read leads nowhere.
    let intermediates = intermediates.iter().filter_map(|der| X509Certificate::from_der(der).ok());
    let intermediates = intermediates.map(|(_, certificate)| Link {
        subject: certificate.subject().as_raw().to_vec(),
        issuer: certificate.issuer().as_raw().to_vec(),
        period: Period::of(&certificate),
    });
    Ok(Read {
        user: user(&certificate),
        own: Period::of(&certificate),
        issuer: certificate.issuer().as_raw().to_vec(),
        intermediates: intermediates.collect(),
    })
}

fn user(certificate: &X509Certificate<'_>) -> Result<User, String> {
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

/// Knows users by their certificates: the common name is the user's, each organisation a group. A certificate counts until it
/// expires, however long its connection lives.
#[derive(Debug)]
pub struct ClientCertificates(Clock);

impl ClientCertificates {
    /// Takes whatever certificates TLS has verified, as long as they are good by this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(clock)
    }
}

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        let Some(certificate) = parts.extensions.get::<PeerCertificate>() else { return Ok(None) };
        certificate.check_period(self.0.now().as_second())?;
        certificate.user().map(Some)
    }
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
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let verifier = verifier.map_err(|error| general(error.to_string()))?;
        Ok(Self { verifier, id: fnv1a(pem.bytes()) })
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

    /// Whether one of them, or somebody whom they let sign, has signed a certificate that is good now. As signatures do not
    /// change, that is found out once for a connection, and again when one of its certificates begins or ends to be good.
    pub(super) fn have_signed(&self, certificate: &PeerCertificate) -> bool {
        let now = self.clock.now().as_second();
        let issuers = self.issuers.read().expect("no holder panics").clone();
        let mut asked = certificate.0.asked.lock().expect("nothing panics while it holds a certificate");
        if let Some(verdict) = asked.get(&issuers.id).filter(|verdict| now < verdict.until) {
            return verdict.is_good;
        }
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
        let verified =
            issuers.verifier.verify_client_cert(certificate.der(), &certificate.0.intermediates, at);
        let verdict = Verdict { is_good: verified.is_ok(), until: certificate.next_change(now) };
        asked.insert(issuers.id, verdict);
        verdict.is_good
    }
}

/// Knows users by their certificates as [`ClientCertificates`] does, but only by those of some authorities: for listeners that
/// trust others too.
#[derive(Debug)]
pub struct CertificatesOf(Authorities);

impl CertificatesOf {
    /// Takes certificates of these authorities (PEM).
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if the text holds no certificates.
    pub fn new(authorities: &str, clock: Clock) -> Result<Self, AuthorityError> {
        Ok(Self(Authorities::new(authorities, clock)?))
    }
}

#[async_trait]
impl Authenticator for CertificatesOf {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        let certificate = parts.extensions.get::<PeerCertificate>();
        let certificate = certificate.filter(|certificate| self.0.have_signed(certificate));
        certificate.map(PeerCertificate::user).transpose()
    }
}
