//! Signing certificates: what the authority of a cluster does for those who ask by a certificate signing request.
//!
//! Implement [`CertificateSigner`] for a key that lives elsewhere, such as in a security module. The default, `Authority` with a
//! key in a file, lives in `registry`; the controller that decides what is signed lives in `controllers`.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::component::BoxError;

/// What is to be signed, and for how long and for what the certificate is good.
#[derive(Debug, Clone, Copy)]
pub struct SigningOrder<'a> {
    /// The request (PKCS #10), in PEM.
    pub request: &'a str,
    /// What the certificate is good for, in the words of `certificates.k8s.io`: `client auth`, `digital signature`.
    pub usages: &'a [String],
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
}

/// Signs certificates with the key of an authority.
///
/// # Contract
///
/// 1. The certificate has the subject, the alternative names and the public key of the request, whose own signature was checked.
/// 2. It is good for the usages of the order, whatever the request says of usages, and never an authority's.
/// 3. It is good from and until the times of the order, but no longer than the authority's own certificate.
/// 4. Its serial number cannot be guessed.
/// 5. Dropping the future abandons the wait; a certificate that nobody got harms nobody.
#[async_trait]
pub trait CertificateSigner: fmt::Debug + Send + Sync + 'static {
    /// Signs a certificate, and returns it in PEM, with whatever leads from it to the authority.
    ///
    /// # Errors
    ///
    /// [`SignError::Refused`] if the order can never be signed, [`SignError::Unavailable`] if it cannot be signed now.
    async fn sign(&self, order: &SigningOrder<'_>) -> Result<String, SignError>;
}

const _: Option<&dyn CertificateSigner> = None; // object safety is API: losing it must not compile

/// Why a certificate was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The request is broken or asks for what this authority never signs. Fail the request; to try again is in vain.
    #[error("{0}")]
    Refused(String),
    /// The key cannot be used now. Try again.
    #[error("the authority cannot sign at present")]
    Unavailable(#[source] BoxError),
}
