//! Who is who over the network: a certificate authority, certificates, service accounts' tokens, kubeconfigs.
//!
//! [`Authority`] makes all certificates of a cluster. [`ClientCertificates`] and [`ServiceAccountTokens`] are the
//! authenticators that know users by them.

mod authority;
mod certificates;
mod kubeconfig;
mod service_accounts;

pub(crate) use authority::roots;
pub use authority::{Authority, AuthorityError, Identity};
pub use certificates::{ClientCertificates, PeerCertificate};
pub use kubeconfig::kubeconfig;
pub use service_accounts::{ISSUER, ServiceAccountKey, ServiceAccountTokens};
