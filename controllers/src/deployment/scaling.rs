//! Sizes of replica sets.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use quarterdeck_core::client::EventType;

use super::revisions::Sets;
use super::{Deployer, annotations, numbers};
use crate::meta;

impl Deployer {
    /// Gives `set` the size, notes the deployment's numbers on it, and returns whether its size changed.
    pub(super) async fn resize(
        &self,
        deployment: &Deployment,
        set: &mut ReplicaSet,
        size: i32,
    ) -> kube::Result<bool> {
        let before = numbers::size(set);
        let noted = annotations::note_numbers(deployment, set);
        if before == size && !noted {
            return Ok(false);
        }
        set.spec.replicas = Some(size);
        self.write_set(set).await?;
        if before == size {
            return Ok(false);
        }
        let way = if size > before { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {} from {before} to {size}", meta::name(set));
        self.recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
        Ok(true)
    }

    /// Brings all replica sets to the deployment's number, without rolling anything out.
    pub(super) async fn scale_all(&self, deployment: &Deployment, sets: &mut Sets) -> kube::Result<()> {
        if let Some(only) = only(sets) {
            if numbers::size(only) != numbers::wanted(deployment) {
                self.resize(deployment, only, numbers::wanted(deployment)).await?;
            }
            return Ok(());
        }
        if sets.new.as_ref().is_some_and(|new| is_saturated(deployment, new)) {
            for set in sets.old.iter_mut().filter(|set| numbers::size(set) > 0) {
                self.resize(deployment, set, 0).await?;
            }
            return Ok(());
        }
        if numbers::recreates(deployment) {
            return Ok(());
        }
        let mut active: Vec<_> =
            sets.old.iter().chain(&sets.new).filter(|set| numbers::size(set) > 0).cloned().collect();
        let grows = numbers::wanted(deployment) > 0
            && numbers::wanted(deployment) + numbers::max_surge(deployment) > numbers::total(&active);
        // The greatest first; among equals the newer grows first and the older shrinks first.
        active.sort_by_key(|set| {
            let created = meta::created(set);
            (Reverse(numbers::size(set)), grows.then_some(Reverse(created)), (!grows).then_some(created))
        });
        let sizes = numbers::proportions(deployment, &active);
        for (set, size) in active.iter_mut().zip(sizes) {
            self.resize(deployment, set, size).await?;
            let uid = meta::uid(set);
            if let Some(known) =
                sets.old.iter_mut().chain(&mut sets.new).find(|known| meta::uid(*known) == uid)
            {
                known.clone_from(set);
            }
        }
        Ok(())
    }
}

/// Returns the only replica set with pods; if none has any, the newest.
fn only(sets: &mut Sets) -> Option<&mut ReplicaSet> {
    match sets.all().filter(|set| numbers::size(set) > 0).count() {
        0 => sets.new.as_mut().or(sets.old.last_mut()),
        1 => sets.old.iter_mut().chain(&mut sets.new).find(|set| numbers::size(set) > 0),
        _ => None,
    }
}

/// Whether the new replica set alone is all that the deployment wanted when it was sized.
fn is_saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let wanted = numbers::wanted(deployment);
    annotations::desired(new) == Some(wanted)
        && numbers::size(new) == wanted
        && numbers::available(new) == wanted
}
