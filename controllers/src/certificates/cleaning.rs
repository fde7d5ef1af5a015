//! Requests that are answered, or that nobody answers, go after a while.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, DeleteParams, Preconditions};
use quarterdeck_core::client::{Context, Informer, ObjectKey, Reconcile, Requeue};
use quarterdeck_core::component::{BoxError, Component, Stop};
use x509_parser::pem::parse_x509_pem;

use super::{conditions, follow, is_issued};
use crate::meta;

const COMPONENT: &str = "certificatesigningrequest-cleaner-controller";

/// For how long requests stay that were approved, denied or that failed.
const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
/// For how long requests stay that nobody answers.
const PENDING: SignedDuration = SignedDuration::from_hours(24);
/// How long to sleep at most before a request is looked at again.
const LOOK: SignedDuration = SignedDuration::from_hours(1);

/// Deletes requests an hour after they were answered, a day after they were made if nobody answers, and when the certificate that
/// they got has ended.
#[derive(Debug)]
pub struct CertificateCleanerController(Context);

impl CertificateCleanerController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("certificate-controller"))
    }
}

#[async_trait]
impl Component for CertificateCleanerController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, stop: Stop) -> Result<(), BoxError> {
        let context = self.0.clone();
        follow(COMPONENT, &self.0, |requests| Cleaner { context, requests }, stop).await;
        Ok(())
    }
}

struct Cleaner {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
}

#[async_trait]
impl Reconcile for Cleaner {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(request) = self.requests.store().get(key) else { return Ok(Requeue::No) };
        let left = due(&request).map(|due| due.duration_since(self.context.clock.now()));
        match left {
            None => Ok(Requeue::No),
            Some(left) if left.is_positive() => {
                let wait = Duration::try_from(left.min(LOOK)).unwrap_or_default();
                Ok(Requeue::After(wait + Duration::from_millis(1)))
            }
            Some(_) => self.delete(&request).await,
        }
    }
}

impl Cleaner {
    async fn delete(&self, request: &CertificateSigningRequest) -> Result<Requeue, BoxError> {
        let api: Api<CertificateSigningRequest> = Api::all(self.context.client.clone());
        let uid = Preconditions { uid: request.metadata.uid.clone(), ..Preconditions::default() };
        match api.delete(meta::name(request), &DeleteParams::default().preconditions(uid)).await {
            Ok(_) => Ok(Requeue::No),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(Requeue::No),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns when a request is to go; absent if not by anything that is said of it so far.
pub(super) fn due(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let conditions = conditions(request);
    let created = || meta::created(request).map(|at| quarterdeck_core::clock::later(at, PENDING));
    if conditions.is_empty() {
        return created();
    }
    let answered = conditions.iter().filter(|of| matches!(&*of.type_, "Approved" | "Denied" | "Failed"));
    let answered = answered.filter_map(|of| of.last_update_time.as_ref());
    let answered = answered.map(|at| quarterdeck_core::clock::later(at.0, ANSWERED)).min();
    let ended = is_issued(request).then(|| end(request)).flatten();
    answered.into_iter().chain(ended).min()
}

/// Returns when the certificate in a request ends.
fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    let (_, pem) = parse_x509_pem(&certificate.0).ok()?;
    let end = pem.parse_x509().ok()?.validity().not_after.timestamp();
    Timestamp::from_second(end).ok()
}
