//! The certificate that a server shows at present.

use std::sync::{Arc, RwLock};

use quarterdeck_core::component::BoxError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificate that an agent's server shows at present, none at first: for
/// [`ServerSettings::resolving`](crate::ServerSettings::resolving). New connections get the one that was shown last.
#[derive(Debug, Default)]
pub struct ShownCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl ShownCertificate {
    /// Shows none: whoever calls is refused by TLS.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a certificate, with whatever leads from it to its authority, and has its key; both PEM.
    ///
    /// # Errors
    ///
    /// Why they are of no use; then the old one stays.
    pub fn show(&self, certificate: &str, key: &str) -> Result<(), BoxError> {
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain?, key, &provider)?;
        *self.0.write().expect("no holder panics") = Some(Arc::new(certified));
        Ok(())
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.read().expect("no holder panics").is_some()
    }
}

impl ResolvesServerCert for ShownCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().expect("no holder panics").clone()
    }
}
