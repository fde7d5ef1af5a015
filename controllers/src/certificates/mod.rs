//! Requests for certificates: who gets one without anybody's word, signing, and tidying up.
//!
//! The rules are those of `k8s.io/kubernetes/pkg/controller/certificates`. [`request`] reads what is asked for; what is signed with
//! is a [`CertificateSigner`](quarterdeck_core::certificates::CertificateSigner).

mod approving;
mod cleaning;
mod request;
mod signing;
#[cfg(test)]
mod tests;

pub use approving::CertificateApprovingController;
pub use cleaning::CertificateCleanerController;
pub use signing::CertificateSigningController;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quarterdeck_core::client::{Context, Informer, ObjectKey, Reconcile, WorkQueue, work};
use quarterdeck_core::component::Stop;

/// The signer of certificates by which agents are known.
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The signer of certificates that agents serve with.
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// The signer of other users' certificates.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// The signer that promises nothing.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// Runs a reconciler over all requests.
async fn follow<R: Reconcile<Key = ObjectKey>>(
    name: &str,
    context: &Context,
    make: impl FnOnce(Informer<CertificateSigningRequest>) -> R,
    mut stop: Stop,
) {
    let requests = context.informers.of::<CertificateSigningRequest>();
    let queue = WorkQueue::new().measured(&context.metrics, name);
    let added = queue.clone();
    let _subscription = requests.subscribe(move |event| added.add(ObjectKey::of(&**event.object())));
    let reconciler = std::sync::Arc::new(make(requests.clone()));
    if stop.or(requests.synced()).await.is_some() {
        work(name, &queue, 1, reconciler, stop).await;
    }
}

/// Returns what is said of a request.
fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

/// Returns whether something is said of a request, and true.
fn is(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let status = request.status.as_ref();
    status.and_then(|status| status.certificate.as_ref()).is_some_and(|certificate| !certificate.0.is_empty())
}

/// Says something of a request.
fn say(request: &mut CertificateSigningRequest, kind: &str, reason: &str, message: String, now: Time) {
    let condition = CertificateSigningRequestCondition {
        type_: kind.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(now),
        last_transition_time: None,
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
}
