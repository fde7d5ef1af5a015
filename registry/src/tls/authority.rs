//! The certificate authority of a cluster.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quarterdeck_core::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::handshake::AnyCertificate;
use crate::user::{AUTHENTICATED, User};

/// For how many days the authority's certificate is good.
const AUTHORITY_DAYS: i64 = 3650;
/// For how many days other certificates are good. They are made anew at every start.
const CERTIFICATE_DAYS: i64 = 365;

/// Makes the certificates of a cluster.
pub struct Authority {
    certificate: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
    now: Timestamp,
    clock: Option<Clock>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Why an authority cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: check that the directory exists and is yours")]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error(
        "{0} holds no usable key or certificate: restore it, or move the directory away to start with a new authority"
    )]
    Broken(PathBuf),
    /// A file holds no key that could sign tokens.
    #[error(
        "{0} holds no key that can sign tokens: give a PEM file with a private key, RSA of 2048 to 8192 bits or on the curve P-256 or P-384"
    )]
    SigningKey(PathBuf),
    /// A file holds no keys that tokens could be checked by, or one that is of no use for it.
    #[error(
        "{0} does not hold keys that tokens can be checked by: give a PEM file with public keys, private keys or certificates, all RSA of 2048 to 8192 bits or on the curve P-256 or P-384"
    )]
    VerifyingKeys(PathBuf),
    /// A certificate cannot be made, for instance for a name that is none.
    #[error("cannot make a certificate")]
    Certificate(#[source] rcgen::Error),
    /// A user is in more groups than a certificate can name.
    #[error("{0} is in more than one group: a certificate names one")]
    Groups(String),
    /// TLS cannot be set up with a certificate.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

impl Authority {
    /// Makes a new authority, in memory.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Certificate`].
    pub fn new(now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Certificate)?;
        Self::sign_own(key, now)
    }

    fn sign_own(key: KeyPair, now: Timestamp) -> Result<Self, AuthorityError> {
        let mut params = params("kubernetes-ca", &[], now, AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(AuthorityError::Certificate)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key), now, clock: None })
    }

    /// Takes the authority that a directory holds (`ca.crt`, `ca.key`), or makes one and leaves it there.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]; what is in the directory is never overwritten.
    pub fn load_or_create(directory: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let (certificate, key) = (directory.join("ca.crt"), directory.join("ca.key"));
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::File { path, source }
        };
        if !certificate.exists() && !key.exists() {
            fs::create_dir_all(directory).map_err(file(directory))?;
            let authority = Self::new(now)?;
            write_private(&key, &authority.issuer.key().serialize_pem()).map_err(file(&key))?;
            fs::write(&certificate, &authority.certificate).map_err(file(&certificate))?;
            return Ok(authority);
        }
        Self::load(&certificate, &key, now)
    }

    /// Takes the authority whose certificate and key are in these files.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::File`] and [`AuthorityError::Broken`].
    pub fn load(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| AuthorityError::File { path: path.to_owned(), source })
        };
        let (text, private) = (read(certificate)?, read(key)?);
        let pair = KeyPair::from_pem(&private).map_err(|_| AuthorityError::Broken(key.to_owned()))?;
        let issuer = Issuer::from_ca_cert_pem(&text, pair)
            .map_err(|_| AuthorityError::Broken(certificate.to_owned()))?;
        Ok(Self { certificate: text, issuer, now, clock: None })
    }

    /// Makes certificates that begin when they are made, and has TLS look at others' certificates by this clock (default: they begin
    /// when the authority was taken or made, and TLS reads the system's clock).
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or(self.now, Clock::now)
    }

    /// Returns the authority's certificate, as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Makes the certificate of a server that answers under these names and addresses.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Certificate`] if a name is none.
    pub fn server(&self, common_name: &str, names: &[String]) -> Result<Identity, AuthorityError> {
        let mut params = params(common_name, names, self.now(), CERTIFICATE_DAYS)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// Makes the certificate by which a user is known.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Groups`] if the user is in several groups besides that of all authenticated users.
    pub fn client(&self, user: &User) -> Result<Identity, AuthorityError> {
        let mut params = params(&user.name, &[], self.now(), CERTIFICATE_DAYS)?;
        name_group(&mut params, user)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// Makes the certificate of a node's agent: it is known by it as `user`, and answers under these names and addresses.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Certificate`] if a name is none.
    pub fn node(&self, user: &User, names: &[String]) -> Result<Identity, AuthorityError> {
        let mut params = params(&user.name, names, self.now(), CERTIFICATE_DAYS)?;
        name_group(&mut params, user)?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Identity, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Certificate)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Certificate)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Returns the roots that clients and servers of the cluster trust.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`].
    pub fn roots(&self) -> Result<Arc<RootCertStore>, AuthorityError> {
        roots(&self.certificate)
    }

    /// Returns the TLS settings of a server that asks clients for certificates. Who requires them refuses all others in the
    /// handshake. Who does not takes any: the client has to hold the key, and
    /// [`ClientCertificates`](super::ClientCertificates) finds out at each request whose it is.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`].
    pub fn server_config(
        &self,
        identity: &Identity,
        requires: bool,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        self.server_config_for(identity, requires, "")
    }

    /// Does what [`server_config`](Self::server_config) does, and asks for clients' certificates of other authorities (PEM) as well.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`].
    pub fn server_config_for(
        &self,
        identity: &Identity,
        requires: bool,
        others: &str,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = roots(&format!("{}\n{others}", self.certificate))?;
        let verifier: Arc<dyn ClientCertVerifier> = if requires {
            WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| AuthorityError::Tls(rustls::Error::General(error.to_string())))?
        } else {
            AnyCertificate::new(&roots, &provider)
        };
        let (chain, key) = identity.der()?;
        let time: Arc<dyn TimeProvider> = match &self.clock {
            Some(clock) => Arc::new(ClockOfTls(clock.clone())),
            None => Arc::new(DefaultTimeProvider),
        };
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(AuthorityError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A clock, as TLS asks it.
#[derive(Debug)]
struct ClockOfTls(Clock);

impl TimeProvider for ClockOfTls {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl Identity {
    /// Returns when the certificate ends.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if it is none.
    pub fn not_after(&self) -> Result<Timestamp, AuthorityError> {
        let broken = |why: String| AuthorityError::Tls(rustls::Error::General(why));
        let (chain, _) = self.der()?;
        let first = chain.first().ok_or_else(|| broken("there is no certificate".into()))?;
        let (_, read) = X509Certificate::from_der(first).map_err(|error| broken(error.to_string()))?;
        let end = Timestamp::from_second(read.validity().not_after.timestamp());
        end.map_err(|error| broken(error.to_string()))
    }

    /// Returns those certificates (PEM) by which others check this one: all that follow it, or itself if it is alone and signed by
    /// itself. Empty if there are none: then others have to know who signed it.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if there is no certificate.
    pub fn issuers(&self) -> Result<String, AuthorityError> {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        const END: &str = "-----END CERTIFICATE-----";
        let broken = |why: String| AuthorityError::Tls(rustls::Error::General(why));
        let (chain, _) = self.der()?;
        let first = chain.first().ok_or_else(|| broken("there is no certificate".into()))?;
        let (_, read) = X509Certificate::from_der(first).map_err(|error| broken(error.to_string()))?;
        let is_own = chain.len() == 1 && read.subject().as_raw() == read.issuer().as_raw();
        // A key may lie between them.
        let sections = self.certificate.split(BEGIN).skip(1).filter_map(|rest| rest.split_once(END));
        let sections = sections.map(|(text, _)| format!("{BEGIN}{text}{END}\n"));
        Ok(sections.skip(usize::from(!is_own)).collect())
    }

    /// Returns the certificate chain and the key as TLS takes them.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if they are no PEM.
    pub fn der(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let broken = |error: rustls::pki_types::pem::Error| {
            AuthorityError::Tls(rustls::Error::General(error.to_string()))
        };
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(broken)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(broken)?;
        Ok((chain, key))
    }
}

/// Reads trusted roots from PEM.
pub(crate) fn roots(pem: &str) -> Result<Arc<RootCertStore>, AuthorityError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|error| AuthorityError::Tls(rustls::Error::General(error.to_string())))?;
        roots.add(certificate).map_err(AuthorityError::Tls)?;
    }
    Ok(Arc::new(roots))
}

fn params(
    name: &str,
    names: &[String],
    now: Timestamp,
    days: i64,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(AuthorityError::Certificate)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    let day = |at: Timestamp| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(i32::from(date.year()), month, day)
    };
    params.not_before = day(now - SignedDuration::from_hours(24));
    params.not_after = day(now + SignedDuration::from_hours(24 * days));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(serial_number().map_err(AuthorityError::Certificate)?);
    Ok(params)
}

/// Returns a serial number that nobody can guess.
pub(super) fn serial_number() -> Result<SerialNumber, rcgen::Error> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| rcgen::Error::RemoteKeyError)?;
    serial[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&serial))
}

/// Names the user's group in a certificate. Everybody whom a certificate names is authenticated, so that group is left out.
fn name_group(params: &mut CertificateParams, user: &User) -> Result<(), AuthorityError> {
    let mut groups = user.groups.iter().filter(|group| *group != AUTHENTICATED);
    if let Some(group) = groups.next() {
        params.distinguished_name.push(DnType::OrganizationName, group.as_str());
    }
    match groups.next() {
        None => Ok(()),
        Some(_) => Err(AuthorityError::Groups(user.name.clone())),
    }
}

/// Writes a file that nobody else reads. An existing one is an error.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::authentication::Authenticator;
    use crate::tls::{ClientCertificates, PeerCertificate};
    use http::Request;

    #[tokio::test]
    async fn a_user_is_known_by_the_certificate_that_names_it() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = Authority::new(now).unwrap();
        let identity = authority.client(&User::admin()).unwrap();
        let (chain, _) = identity.der().unwrap();
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.extensions.insert(PeerCertificate::new(chain[0].clone()));

        let known = ClientCertificates::new(authority.certificate(), Clock::following_tokio(now)).unwrap();
        let user = known.authenticate(&parts).await.unwrap().unwrap();

        assert_eq!(user.name, "kubernetes-admin");
        assert_eq!(user.groups, ["system:masters"]);
    }
}
