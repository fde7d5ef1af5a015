//! Who is who over the network: a certificate authority, certificates, service accounts' tokens, kubeconfigs.
//!
//! [`Authority`] makes all certificates of a cluster. [`ClientCertificates`] and [`ServiceAccountTokens`] are the
//! authenticators that know users by them; [`OpenId`] knows those of an identity provider, [`RequestHeaders`] those of a proxy.
//! What a listener shows and whom it trusts can be replaced while it runs: [`ServerTls`], [`Authorities`].

mod authority;
mod certificates;
mod handshake;
mod kubeconfig;
mod open_id;
mod request_headers;
mod server_tls;
mod service_accounts;
mod signing;
mod token_keys;

pub(crate) use authority::roots;
pub use authority::{Authority, AuthorityError, Identity};
pub use certificates::{Authorities, ClientCertificates, PeerCertificate};
pub use kubeconfig::{kubeconfig, kubeconfig_by_name};
pub use open_id::{OpenId, OpenIdError};
pub use request_headers::RequestHeaders;
pub use server_tls::ServerTls;
pub use service_accounts::{ISSUER, ServiceAccountKey, ServiceAccountTokens};
