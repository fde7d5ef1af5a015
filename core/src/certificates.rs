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
    /// The request (PKCS #10), in DER: what was checked is what is signed.
    pub request: &'a [u8],
    /// What the certificate is good for, in the words of `certificates.k8s.io`: `client auth`, `digital signature`.
    pub usages: &'a [String],
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
}

/// Reads a request (PKCS #10) in PEM, and returns it in DER. Whoever looks at a request reads it by this function: were there two
/// ways to find it in a text, one request could be checked and another be signed.
///
/// A text that holds anything else that looks like a block of PEM is refused, and so is a block behind the first. Other text around
/// the block is passed over.
///
/// ```
/// use quarterdeck_core::certificates::{NotARequest, decode_request};
///
/// let pem = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";
///
/// assert_eq!(decode_request(pem.as_bytes()), Ok(vec![0x30, 0x00]));
/// assert_eq!(decode_request(format!("{pem}{pem}").as_bytes()), Err(NotARequest));
/// ```
///
/// # Errors
///
/// [`NotARequest`] if there is not exactly one block, of the type `CERTIFICATE REQUEST`.
pub fn decode_request(pem: &[u8]) -> Result<Vec<u8>, NotARequest> {
    const BEGIN: &[u8] = b"-----BEGIN";
    let blocks = pem.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
    let block = pem::parse(pem).ok().filter(|block| blocks == 1 && block.tag() == "CERTIFICATE REQUEST");
    block.map(pem::Pem::into_contents).filter(|der| !der.is_empty()).ok_or(NotARequest)
}

/// What should have been a request for a certificate is none. The words are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("PEM block type must be CERTIFICATE REQUEST")]
pub struct NotARequest;

/// Signs certificates with the key of an authority.
///
/// # Contract
///
/// 1. The certificate has the subject as it is, the alternative names and the public key of the request, whose own signature was
///    checked. What else a request asks for does not count.
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
