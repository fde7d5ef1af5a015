//! Approving the requests of nodes: their first certificate, and each that follows it.

use async_trait::async_trait;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use quarterdeck_core::client::{Context, Informer, ObjectKey, Reconcile, Requeue};
use quarterdeck_core::component::{BoxError, Component, Stop};

use super::request::Asked;
use super::{KUBELET_CLIENT, conditions, follow, is_issued, say};
use crate::meta::{self, posting};

const COMPONENT: &str = "certificatesigningrequest-approving-controller";

/// What users have to be allowed to create for which they need nobody's word, and what is said of it.
const NEW: (&str, &str) =
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
const RENEWED: (&str, &str) =
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");

/// Approves the requests for agents' client certificates: by those who may create `certificatesigningrequests/nodeclient`, and by
/// agents that ask for another of their own and may create `certificatesigningrequests/selfnodeclient`. All others are for people to
/// approve.
#[derive(Debug)]
pub struct CertificateApprovingController(Context);

impl CertificateApprovingController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("certificate-controller"))
    }
}

#[async_trait]
impl Component for CertificateApprovingController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, stop: Stop) -> Result<(), BoxError> {
        let context = self.0.clone();
        follow(COMPONENT, &self.0, |requests| Approver { context, requests }, stop).await;
        Ok(())
    }
}

struct Approver {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
}

#[async_trait]
impl Reconcile for Approver {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(request) = self.requests.store().get(key) else { return Ok(Requeue::No) };
        let is_decided = conditions(&request).iter().any(|of| of.type_ == "Approved" || of.type_ == "Denied");
        if is_decided || is_issued(&request) || request.spec.signer_name != KUBELET_CLIENT {
            return Ok(Requeue::No);
        }
        let Ok(asked) = Asked::read(&request.spec.request.0) else {
            // It never gets better, and somebody may still deny it.
            tracing::debug!(?key, "a request for a certificate cannot be read");
            return Ok(Requeue::No);
        };
        let usages = request.spec.usages.as_deref().unwrap_or_default();
        if !matches!(asked.check(KUBELET_CLIENT, usages), Some(Ok(()))) {
            return Ok(Requeue::No);
        }
        let is_own = request.spec.username.as_deref() == Some(asked.common_name.as_str());
        for (subresource, message) in is_own.then_some(RENEWED).into_iter().chain([NEW]) {
            if self.may(&request, subresource).await? {
                self.approve(&request, message).await?;
                return Ok(Requeue::No);
            }
        }
        // The right may be given later.
        tracing::debug!(
            ?key,
            "an agent's request is left to people: whoever made it may not have it approved"
        );
        Ok(Requeue::RateLimited)
    }
}

impl Approver {
    /// Returns whether whoever made a request may have it approved without anybody's word.
    async fn may(&self, request: &CertificateSigningRequest, subresource: &str) -> kube::Result<bool> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".into()),
                    version: Some("*".into()),
                    resource: Some("certificatesigningrequests".into()),
                    subresource: Some(subresource.into()),
                    verb: Some("create".into()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.context.client.clone());
        let answer = api.create(&posting(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn approve(&self, request: &CertificateSigningRequest, message: &str) -> kube::Result<()> {
        let mut approved = request.clone();
        let now = Time(self.context.clock.now());
        say(&mut approved, "Approved", "AutoApproved", message.into(), now);
        let api: Api<CertificateSigningRequest> = Api::all(self.context.client.clone());
        match api.replace_subresource("approval", meta::name(request), &posting(), &approved).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
