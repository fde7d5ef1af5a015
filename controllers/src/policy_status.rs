//! What is wrong with admission policies that can be seen before anything is written: expressions that no object of the kinds
//! that a policy names has the fields for.
//!
//! Which kinds these are, and what fields they have, is in the API server's discovery and OpenAPI documents ([`documents`]).
//! [`expressions`] goes through a policy's expressions, and [`walk`] through one of them with the types that are known
//! ([`types`], [`known`]). Where nothing is known, nothing is said.

mod documents;
mod expressions;
mod known;
mod places;
mod types;
mod walk;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::admissionregistration::v1::{
    ExpressionWarning, TypeChecking, ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use quarterdeck_core::client::{Context, Informer, ObjectKey, Reconcile, Requeue, WorkQueue, work};
use quarterdeck_core::component::{BoxError, Component, Stop};

use crate::meta::is_terminating;
use documents::Documents;

const COMPONENT: &str = "validatingadmissionpolicy-status-controller";

/// Tells in the status of admission policies what their expressions cannot find in the kinds that they are about.
///
/// A policy is looked at once for each generation. The kinds are those that its rules name, without wildcards, ten at most.
#[derive(Debug)]
pub struct ValidatingAdmissionPolicyStatusController(Context);

impl ValidatingAdmissionPolicyStatusController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account(COMPONENT))
    }
}

#[async_trait]
impl Component for ValidatingAdmissionPolicyStatusController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let policies = self.0.informers.of::<ValidatingAdmissionPolicy>();
        let queue = WorkQueue::new().measured(&self.0.metrics, COMPONENT);
        let changed = queue.clone();
        let _subscription = policies.subscribe(move |event| changed.add(ObjectKey::of(&**event.object())));
        let checker = Arc::new(Checker { client: self.0.client.clone(), policies: policies.clone() });
        if stop.or(policies.synced()).await.is_some() {
            work(COMPONENT, &queue, 1, checker, stop).await;
        }
        Ok(())
    }
}

struct Checker {
    client: Client,
    policies: Informer<ValidatingAdmissionPolicy>,
}

#[async_trait]
impl Reconcile for Checker {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(policy) = self.policies.store().get(key) else { return Ok(Requeue::No) };
        let generation = policy.metadata.generation.unwrap_or_default();
        let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
        if is_terminating(&*policy) || observed.is_some_and(|observed| observed >= generation) {
            return Ok(Requeue::No);
        }
        let warnings = match &policy.spec {
            Some(spec) => self.warnings(spec).await?,
            None => Vec::new(),
        };
        let mut told = (*policy).clone();
        let status = told.status.get_or_insert_default();
        status.observed_generation = Some(generation);
        let expression_warnings = (!warnings.is_empty()).then_some(warnings);
        status.type_checking = Some(TypeChecking { expression_warnings });
        let api: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        let params = PostParams { field_manager: Some(COMPONENT.into()), ..PostParams::default() };
        match api.replace_status(&key.name, &params, &told).await {
            Ok(_) => Ok(Requeue::No),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Requeue::No),
            Err(error) => Err(error.into()),
        }
    }
}

impl Checker {
    async fn warnings(
        &self,
        spec: &ValidatingAdmissionPolicySpec,
    ) -> Result<Vec<ExpressionWarning>, BoxError> {
        let documents = Documents::about(&self.client, spec).await?;
        Ok(expressions::check(spec, &documents).await)
    }
}
