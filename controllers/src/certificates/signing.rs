//! Signing what is approved.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use quarterdeck_core::certificates::{CertificateSigner, SignError, SigningOrder};
use quarterdeck_core::client::{Context, Informer, ObjectKey, Reconcile, Requeue};
use quarterdeck_core::clock::later;
use quarterdeck_core::component::{BoxError, Component, Stop};

use super::request::Asked;
use super::{follow, is, is_issued, say};
use crate::meta::{self, posting};

const COMPONENT: &str = "certificatesigningrequest-signing-controller";

/// No certificate is good for less.
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);
/// By how much certificates begin earlier, for clocks that are behind.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Certificates that are good for less get the time back at their end by which they begin earlier.
const SHORT: SignedDuration = SignedDuration::from_hours(8);

/// Signs the certificates that were asked for and approved, for `kubernetes.io/kube-apiserver-client`,
/// `kubernetes.io/kube-apiserver-client-kubelet`, `kubernetes.io/kubelet-serving` and `kubernetes.io/legacy-unknown`. A request that
/// its signer does not let ask for such a certificate fails.
#[derive(Debug)]
pub struct CertificateSigningController {
    context: Context,
    signer: Arc<dyn CertificateSigner>,
    longest: Duration,
}

impl CertificateSigningController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context, signer: Arc<dyn CertificateSigner>) -> Self {
        Self {
            context: context.account("certificate-controller"),
            signer,
            longest: Duration::from_secs(365 * 24 * 3600),
        }
    }

    /// Sets for how long certificates are good at most, and where the request says nothing (default: 365 days).
    #[must_use]
    pub fn longest(mut self, duration: Duration) -> Self {
        self.longest = duration;
        self
    }
}

#[async_trait]
impl Component for CertificateSigningController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, stop: Stop) -> Result<(), BoxError> {
        let Self { context, signer, longest } = *self;
        let longest = SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX);
        let of_all = context.clone();
        let make = |requests| Signing { context, signer, longest, requests };
        follow(COMPONENT, &of_all, make, stop).await;
        Ok(())
    }
}

struct Signing {
    context: Context,
    signer: Arc<dyn CertificateSigner>,
    longest: SignedDuration,
    requests: Informer<CertificateSigningRequest>,
}

#[async_trait]
impl Reconcile for Signing {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(request) = self.requests.store().get(key) else { return Ok(Requeue::No) };
        let is_refused = is(&request, "Denied") || is(&request, "Failed");
        if is_issued(&request) || is_refused || !is(&request, "Approved") {
            return Ok(Requeue::No);
        }
        let spec = &request.spec;
        let usages = spec.usages.as_deref().unwrap_or_default();
        let checked = match Asked::read(&spec.request.0) {
            Ok(asked) => asked.check(&spec.signer_name, usages).map(|checked| checked.map(|()| asked.der)),
            Err(error) => Some(Err(error)),
        };
        // Other signers have controllers of their own.
        let Some(checked) = checked else { return Ok(Requeue::No) };
        let signed = match checked {
            Ok(der) => self.sign(&der, &request, usages).await,
            Err(why) => Err(SignError::Refused(why)),
        };
        let mut told = (*request).clone();
        match signed {
            Ok(certificate) => {
                let certificate = ByteString(certificate.into_bytes());
                told.status.get_or_insert_default().certificate = Some(certificate);
            }
            Err(SignError::Refused(why)) => {
                let now = Time(self.context.clock.now());
                say(&mut told, "Failed", "SignerValidationFailure", why, now);
            }
            Err(error) => return Err(error.into()),
        }
        let api: Api<CertificateSigningRequest> = Api::all(self.context.client.clone());
        match api.replace_status(meta::name(&told), &posting(), &told).await {
            Ok(_) => Ok(Requeue::No),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Requeue::No),
            Err(error) => Err(error.into()),
        }
    }
}

impl Signing {
    async fn sign(
        &self,
        der: &[u8],
        request: &CertificateSigningRequest,
        usages: &[String],
    ) -> Result<String, SignError> {
        let now = self.context.clock.now();
        let good_for = good_for(request.spec.expiration_seconds, self.longest);
        let until = later(now, good_for);
        let until = if good_for < SHORT { until } else { later(until, -BACKDATE) };
        let order =
            SigningOrder { request: der, usages, not_before: later(now, -BACKDATE), not_after: until };
        self.signer.sign(&order).await
    }
}

/// Returns for how long a certificate is good: as asked for, within bounds.
pub(super) fn good_for(asked: Option<i32>, longest: SignedDuration) -> SignedDuration {
    let Some(seconds) = asked else { return longest };
    let asked = SignedDuration::from_secs(seconds.into());
    if asked > longest { longest } else { asked.max(SHORTEST) }
}
