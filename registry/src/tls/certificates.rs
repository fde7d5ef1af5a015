//! Users by their client certificates.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use http::request::Parts;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

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
}

impl PeerCertificate {
    /// Takes a certificate that TLS has verified.
    #[must_use]
    pub fn new(der: CertificateDer<'static>) -> Self {
        Self(Arc::new(Shown { der, user: OnceLock::new() }))
    }

    /// Returns the certificate.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0.der
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
    let name = subject.iter_common_name().next().and_then(|name| text(name).ok());
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
