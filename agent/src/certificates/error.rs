//! Why there is no certificate.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use kube::core::Status;
use quarterdeck_core::component::BoxError;

/// Why a node got no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// There is no certificate that can be used, and nobody to ask for one.
    #[error(
        "{directory} holds no certificate of {node} that is good now, and there is no bootstrap token to ask for one with"
    )]
    NoCertificate {
        /// Where certificates are kept.
        directory: PathBuf,
        /// The node.
        node: String,
    },
    /// The API server does not know who asks (401): the token is unknown or has expired. Ask with another one.
    #[error("the API server does not know who asks for a certificate (401 Unauthorized)")]
    Unauthorized,
    /// Whoever asks may not (403). Give them the right: upstream's role for it is `system:node-bootstrapper`.
    #[error("asking for a certificate is not allowed: {0}")]
    Forbidden(String),
    /// The API server shows a certificate of an authority that is not trusted, or for another name. Correct the authority or the
    /// address.
    #[error("the API server's certificate is not trusted: {0}")]
    Untrusted(rustls::Error),
    /// The request was denied.
    #[error("the request {name} was denied: {message}")]
    Denied {
        /// The CertificateSigningRequest.
        name: String,
        /// What whoever denied it says.
        message: String,
    },
    /// The signer signs no such request.
    #[error("the request {name} failed: {message}")]
    Failed {
        /// The CertificateSigningRequest.
        name: String,
        /// What the signer says.
        message: String,
    },
    /// What was signed cannot be used.
    #[error("the certificate that {name} got is of no use: {message}")]
    Unusable {
        /// The CertificateSigningRequest.
        name: String,
        /// Why.
        message: String,
    },
    /// The API server refuses the request as it is.
    #[error("the API server refuses a request for a certificate")]
    Refused(#[source] kube::Error),
    /// A file cannot be read or written.
    #[error("cannot use {path}: check that the directory is yours and has room")]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A key or a request cannot be made, for instance for a name that is none.
    #[error("cannot make a request for a certificate")]
    Request(#[source] rcgen::Error),
    /// No client can be made of the certificate.
    #[error("the certificate cannot be used to connect")]
    Connect(#[source] BoxError),
}

/// What a failure to talk to the API server means.
pub(super) enum Verdict {
    /// It may pass. Try again.
    Passing(String),
    /// It is there already.
    Exists,
    /// It does not get better by itself.
    Final(JoinError),
}

impl Verdict {
    pub(super) fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            error => match untrusted(&error) {
                Some(reason) => Self::Final(JoinError::Untrusted(reason)),
                None => Self::Passing(crate::host::chain(&error)),
            },
        }
    }

    pub(super) fn of_status(status: Box<Status>) -> Self {
        match status.code {
            401 => Self::Final(JoinError::Unauthorized),
            403 => Self::Final(JoinError::Forbidden(status.message)),
            409 if status.is_already_exists() => Self::Exists,
            // An old revision, too much to do, or nobody at home.
            409 | 410 | 429 | 500.. => Self::Passing(status.message),
            _ => Self::Final(JoinError::Refused(kube::Error::Api(status))),
        }
    }
}

/// Returns what is wrong with the server's certificate, if that is what an error comes of.
fn untrusted(error: &(dyn Error + 'static)) -> Option<rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found @ rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return Some(found.clone());
        }
        // What an I/O error wraps is not its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}
