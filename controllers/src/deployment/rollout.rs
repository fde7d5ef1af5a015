//! From the old template's pods to the new one's.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use quarterdeck_core::client::Requeue;
use quarterdeck_core::component::BoxError;

use super::revisions::Sets;
use super::{Deployer, numbers, status};

impl Deployer {
    /// Replaces pods a few at a time, within surge and unavailability.
    pub(super) async fn roll(
        &self,
        deployment: &mut Deployment,
        sets: Vec<ReplicaSet>,
    ) -> Result<Requeue, BoxError> {
        let mut sets = self.ensure_sets(deployment, sets).await?;
        if self.grow_new(deployment, &mut sets).await? || self.shrink_old(deployment, &mut sets).await? {
            return self.write_rollout(deployment, &sets).await;
        }
        if status::is_complete(deployment) {
            self.clean_up(deployment, &mut sets).await?;
        }
        self.write_rollout(deployment, &sets).await
    }

    async fn grow_new(&self, deployment: &Deployment, sets: &mut Sets) -> Result<bool, BoxError> {
        let active: Vec<_> = sets.all().collect();
        let Some(new) = &sets.new else { return Ok(false) };
        let wanted = numbers::wanted(deployment);
        let size =
            if numbers::size(new) > wanted { wanted } else { numbers::new_size(deployment, &active, new) };
        match &mut sets.new {
            Some(new) => Ok(self.resize(deployment, new, size).await?),
            None => Ok(false),
        }
    }

    async fn shrink_old(&self, deployment: &Deployment, sets: &mut Sets) -> Result<bool, BoxError> {
        if numbers::total(&sets.old) == 0 {
            return Ok(false);
        }
        let may_lose = numbers::may_lose(deployment, sets);
        if may_lose <= 0 {
            return Ok(false);
        }
        let mut changed = false;
        let unhealthy = numbers::unhealthy(&sets.old, may_lose);
        for (set, shrink) in sets.old.iter_mut().zip(unhealthy) {
            changed |= shrink > 0 && self.resize(deployment, set, numbers::size(set) - shrink).await?;
        }
        let mut spare = numbers::spare(deployment, sets);
        for set in &mut sets.old {
            let shrink = numbers::size(set).min(spare);
            if shrink > 0 {
                spare -= shrink;
                changed |= self.resize(deployment, set, numbers::size(set) - shrink).await?;
            }
        }
        Ok(changed)
    }

    /// Ends all old pods, waits until they are gone, and then starts the new ones.
    pub(super) async fn recreate(
        &self,
        deployment: &mut Deployment,
        sets: Vec<ReplicaSet>,
    ) -> Result<Requeue, BoxError> {
        let mut sets = self.find_sets(deployment, sets).await?;
        let mut shrunk = false;
        for set in &mut sets.old {
            shrunk |= self.resize(deployment, set, 0).await?;
        }
        if shrunk || self.old_pods_run(&sets) {
            return self.write_rollout(deployment, &sets).await;
        }
        let all = sets.old.into_iter().chain(sets.new).collect();
        let mut sets = self.ensure_sets(deployment, all).await?;
        if let Some(new) = &mut sets.new {
            self.resize(deployment, new, numbers::wanted(deployment)).await?;
        }
        if status::is_complete(deployment) {
            self.clean_up(deployment, &mut sets).await?;
        }
        self.write_rollout(deployment, &sets).await
    }
}
