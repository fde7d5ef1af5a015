//! An agent's certificates: how it gets the first one, and how they are renewed before they end.
//!
//! Start at [`Join`]: with a client that knows a bootstrap token it asks for a certificate by which the node is known
//! (`system:node:NAME`), keeps it in a directory, and gives a client that shows it; [`ClientRotation`] renews it.
//! [`ServingCertificate`] does the same for the certificate that the agent's server shows to whoever calls it. Names, requests and
//! files are those of Kubernetes' kubelet.
//!
//! Who approves and signs such requests is in `controllers`; with what key, behind
//! [`CertificateSigner`](quarterdeck_core::certificates::CertificateSigner).

mod credential;
mod error;
mod figures;
mod join;
mod order;
mod renewal;
mod request;
mod serving;
mod shown;
mod store;

pub use credential::Credential;
pub use error::JoinError;
pub use join::{ClientRotation, Join, Joined};
pub use serving::ServingCertificate;
pub use shown::ShownCertificate;
