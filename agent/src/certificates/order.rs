//! What an agent asks for: the subject, names and uses of a certificate.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::core::ObjectMeta;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
use sha2::{Digest as _, Sha256};

use super::credential::Credential;

const NODES: &str = "system:nodes";

/// What a certificate is to be.
#[derive(Debug, Clone)]
pub(super) struct Order {
    signer: &'static str,
    usages: [&'static str; 2],
    common_name: String,
    /// Names and addresses, in order.
    names: Vec<String>,
    lifetime: Option<Duration>,
}

impl Order {
    /// Orders the certificate by which a node's agent is known.
    pub(super) fn client(node: &str) -> Self {
        Self {
            signer: "kubernetes.io/kube-apiserver-client-kubelet",
            // Keys of elliptic curves encipher nothing, so that this is all that upstream asks for.
            usages: ["digital signature", "client auth"],
            common_name: format!("system:node:{node}"),
            names: Vec::new(),
            lifetime: None,
        }
    }

    /// Orders the certificate that a node's agent serves with, under these names and addresses.
    pub(super) fn serving(node: &str, names: impl IntoIterator<Item = String>) -> Self {
        // An address is written in one way only.
        let written = |name: String| name.parse().map_or(name, |address: IpAddr| address.to_string());
        let mut names: Vec<String> = names.into_iter().map(written).collect();
        names.sort();
        names.dedup();
        Self {
            signer: "kubernetes.io/kubelet-serving",
            usages: ["digital signature", "server auth"],
            names,
            ..Self::client(node)
        }
    }

    /// Asks for a certificate that is good for so long.
    pub(super) fn lifetime(&mut self, lifetime: Duration) {
        self.lifetime = Some(lifetime);
    }

    /// Returns what to POST to have `key` certified. Its name follows from the key and from what is asked for, as upstream: who is
    /// started again finds what it asked for before.
    ///
    /// # Errors
    ///
    /// A name is none, or the key does not sign.
    pub(super) fn request(&self, key: &KeyPair) -> Result<CertificateSigningRequest, rcgen::Error> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::OrganizationName, NODES);
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        let request = params.serialize_request(key)?.pem()?;
        let seconds = |lifetime: Duration| i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX);
        Ok(CertificateSigningRequest {
            metadata: ObjectMeta { name: Some(self.name(key)), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(request.into_bytes()),
                signer_name: self.signer.into(),
                usages: Some(self.usages.map(str::to_owned).into()),
                expiration_seconds: self.lifetime.map(seconds),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        })
    }

    fn name(&self, key: &KeyPair) -> String {
        let mut digest = Sha256::new();
        let own = [self.signer, &self.common_name].into_iter().chain(self.usages);
        let parts = own.chain(self.names.iter().map(String::as_str)).map(str::as_bytes);
        for part in std::iter::once(key.subject_public_key_info().as_slice()).chain(parts) {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut name = "node-csr-".to_owned();
        for byte in &digest.finalize()[..20] {
            write!(name, "{byte:02x}").expect("a string takes what is written");
        }
        name
    }

    /// Checks that a certificate is what is ordered, and good at this time.
    ///
    /// # Errors
    ///
    /// What it lacks.
    pub(super) fn check(&self, credential: &Credential, now: Timestamp) -> Result<(), String> {
        if credential.common_name() != self.common_name {
            return Err(format!("it names {:?}, not {:?}", credential.common_name(), self.common_name));
        }
        if credential.organizations() != [NODES] {
            return Err(format!("it names the groups {:?}, not {NODES}", credential.organizations()));
        }
        if credential.names() != self.names {
            return Err(format!("it is for {:?}, not {:?}", credential.names(), self.names));
        }
        if now < credential.not_before() {
            return Err(format!("it is good from {} on only", credential.not_before()));
        }
        if now >= credential.not_after() {
            return Err(format!("it expired at {}", credential.not_after()));
        }
        Ok(())
    }
}
