//! Who may approve and sign certificates, and for whom: CertificateApproval, CertificateSigning and
//! CertificateSubjectRestriction of upstream.

use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Attributes, Operation};
use crate::layers::authorization::Authorization;
use crate::resource::Subresource;
use crate::status::{Result, Status};
use crate::user::MASTERS;

const GROUP: &str = "certificates.k8s.io";
/// The signer whose certificates are users' of the API server.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Whoever approves a certificate needs the verb `approve` on its signer, whoever signs it the verb `sign`; and nobody becomes a
/// member of `system:masters` by a certificate.
#[derive(Debug)]
pub(crate) struct CertificateRights(Authorization);

impl CertificateRights {
    pub(crate) fn new(authorization: Authorization) -> Self {
        Self(authorization)
    }

    /// Checks that the user has a right on a signer, by its name or by its domain (`example.com/*`).
    async fn require(&self, attributes: &Attributes<'_>, verb: &str, request: &Value) -> Result<()> {
        let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
        let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
        for name in [Some(signer.to_owned()), domain].into_iter().flatten() {
            if self.0.may(attributes.user, verb, (GROUP, "signers"), None, &name).await {
                return Ok(());
            }
        }
        let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
        Err(Status::forbidden_object(attributes.resource, attributes.name, why))
    }
}

#[async_trait]
impl Admission for CertificateRights {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.resource.group == GROUP
            && attributes.resource.kind == "CertificateSigningRequest"
            && attributes.operation != Operation::Delete
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let Some(new) = object else { return Ok(()) };
        let certificate = |request: &Value| request["status"]["certificate"].clone();
        match (attributes.subresource, attributes.old) {
            (Some(Subresource::Approval), Some(old)) => self.require(attributes, "approve", old).await,
            (Some(Subresource::Status), Some(old)) if certificate(old) != certificate(new) => {
                self.require(attributes, "sign", old).await
            }
            (None, None) if new["spec"]["signerName"] == CLIENT_SIGNER && asks_for_masters(new) => {
                let why = format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed");
                Err(Status::forbidden_object(attributes.resource, attributes.name, why))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the certificate that is asked for would make its holder a member of `system:masters`. What cannot be read is not signed.
fn asks_for_masters(request: &Value) -> bool {
    Subject::of(request).is_ok_and(|subject| subject.organizations.iter().any(|group| group == MASTERS))
}

/// Whom a certificate would name.
pub(super) struct Subject {
    /// The last one, as where users are known by their certificates.
    pub(super) common_name: String,
    organizations: Vec<String>,
}

impl Subject {
    /// Reads whom the certificate would name that a `CertificateSigningRequest` asks for.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    #[cfg(feature = "tls")]
    pub(super) fn of(request: &Value) -> std::result::Result<Self, String> {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        use x509_parser::prelude::{FromDer as _, X509CertificationRequest};
        use x509_parser::x509::AttributeTypeAndValue;

        let pem = STANDARD.decode(request["spec"]["request"].as_str().unwrap_or_default());
        let pem = pem.map_err(|error| error.to_string())?;
        let der = quarterdeck_core::certificates::decode_request(&pem).map_err(|error| error.to_string())?;
        let (_, asked) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
        let subject = &asked.certification_request_info.subject;
        let text = |attribute: &AttributeTypeAndValue<'_>| {
            attribute.as_str().map(str::to_owned).map_err(|error| error.to_string())
        };
        Ok(Self {
            common_name: subject.iter_common_name().last().map(text).transpose()?.unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect::<std::result::Result<_, _>>()?,
        })
    }

    /// Nothing of this build can read what is asked for, or sign it.
    #[cfg(not(feature = "tls"))]
    pub(super) fn of(_: &Value) -> std::result::Result<Self, String> {
        Err("this server was built without TLS".into())
    }
}
