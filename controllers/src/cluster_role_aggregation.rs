//! Cluster roles that others are collected in: an aggregated role has the rules of all roles that its selectors choose.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, Patch, PatchParams};
use quarterdeck_core::client::{Context, Informer, ObjectKey, Reconcile, Requeue, WorkQueue, work};
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::labels::Selector;
use serde_json::json;

use crate::meta::{self, is_terminating};

const COMPONENT: &str = "clusterrole-aggregation-controller";

/// Keeps the rules of aggregated cluster roles.
#[derive(Debug)]
pub struct ClusterRoleAggregationController(Context);

impl ClusterRoleAggregationController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("clusterrole-aggregation-controller"))
    }
}

#[async_trait]
impl Component for ClusterRoleAggregationController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let roles = self.0.informers.of::<ClusterRole>();
        let queue = WorkQueue::new().measured(&self.0.metrics, COMPONENT);
        let (of_role, known) = (queue.clone(), roles.clone());
        // Any role may be selected by any other, and there are few that select.
        let _subscription = roles.subscribe(move |_| {
            let roles = known.store().list();
            let aggregated = roles.iter().filter(|role| role.aggregation_rule.is_some());
            aggregated.for_each(|role| of_role.add(ObjectKey::of(&**role)));
        });
        let collector = Arc::new(Collector { context: self.0.clone(), roles: roles.clone() });
        if stop.or(roles.synced()).await.is_some() {
            work(COMPONENT, &queue, 1, collector, stop).await;
        }
        Ok(())
    }
}

struct Collector {
    context: Context,
    roles: Informer<ClusterRole>,
}

#[async_trait]
impl Reconcile for Collector {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(role) = self.roles.store().get(key) else { return Ok(Requeue::No) };
        let Some(rule) = role.aggregation_rule.as_ref().filter(|_| !is_terminating(&*role)) else {
            return Ok(Requeue::No);
        };
        let mut rules: Vec<PolicyRule> = Vec::new();
        for selector in rule.cluster_role_selectors.iter().flatten() {
            let selector = Selector::try_from(selector)?;
            // In the order of their names.
            let others =
                self.roles.store().list().into_iter().filter(|other| meta::name(&**other) != key.name);
            for other in others.filter(|other| selector.matches_map(meta::labels(&**other))) {
                for rule in other.rules.iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        if role.rules.as_deref().unwrap_or_default() == rules {
            return Ok(Requeue::No);
        }
        let api: Api<ClusterRole> = Api::all(self.context.client.clone());
        let wanted = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": key.name}, "rules": rules,
        });
        let params = PatchParams::apply(COMPONENT).force();
        match api.patch(&key.name, &params, &Patch::Apply(wanted)).await {
            Ok(_) => Ok(Requeue::No),
            // To apply is to create what is gone, which is not for this controller.
            Err(kube::Error::Api(_)) if api.get_opt(&key.name).await?.is_none() => Ok(Requeue::No),
            Err(error) => Err(error.into()),
        }
    }
}
