//! The replica sets of a deployment: one per template that it had.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::{Api, DeleteParams, ObjectMeta};
use quarterdeck_core::client::EventType;
use quarterdeck_core::component::BoxError;

use super::status::{Progress, has_deadline, set_progress};
use super::{Deployer, annotations, hash, numbers};
use crate::meta::{self, controller_of, controller_reference, posting};

const HASH: &str = "pod-template-hash";

/// A deployment's replica sets.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// That of the present template, if it exists.
    pub(super) new: Option<ReplicaSet>,
    /// Those of former templates, oldest first.
    pub(super) old: Vec<ReplicaSet>,
}

impl Sets {
    /// Sorts out which of `sets` has the deployment's template. Of several, the oldest has it.
    pub(super) fn of(deployment: &Deployment, mut sets: Vec<ReplicaSet>) -> Self {
        sets.sort_by(|one, other| {
            (meta::created(one), meta::name(one)).cmp(&(meta::created(other), meta::name(other)))
        });
        let template = bare(&deployment.spec.template);
        let new = sets
            .iter()
            .position(|set| template_of(set).is_some_and(|of| bare(of) == template))
            .map(|at| sets.remove(at));
        Self { new, old: sets }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }
}

fn template_of(set: &ReplicaSet) -> Option<&PodTemplateSpec> {
    set.spec.template.as_ref()
}

/// The template without the label that replica sets add.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let metadata = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH);
    }
    metadata.labels.take_if(|labels| labels.is_empty());
    metadata.annotations.take_if(|annotations| annotations.is_empty());
    metadata.creation_timestamp = None;
    template
}

impl Deployer {
    /// Sorts the replica sets, and brings revision, annotations and `minReadySeconds` of the new one up to date.
    pub(super) async fn find_sets(
        &self,
        deployment: &mut Deployment,
        sets: Vec<ReplicaSet>,
    ) -> Result<Sets, BoxError> {
        let mut sets = Sets::of(deployment, sets);
        let revision = sets.old.iter().map(annotations::revision).max().unwrap_or_default() + 1;
        let Some(new) = &mut sets.new else { return Ok(sets) };

        let noted = annotations::note_revision(deployment, new, revision);
        let seconds = deployment.spec.min_ready_seconds.unwrap_or_default();
        if noted || new.spec.min_ready_seconds.unwrap_or_default() != seconds {
            new.spec.min_ready_seconds = (seconds != 0).then_some(seconds);
            self.write_set(new).await?;
        }
        let mut changed = adopt_revision(deployment, annotations::revision(new));
        if has_deadline(deployment) && Progress::of(deployment).is_none() {
            let message = format!("Found new replica set {:?}", meta::name(new));
            set_progress(deployment, "True", "FoundNewReplicaSet", message, self.context.clock.now());
            changed = true;
        }
        if changed {
            self.write_status(deployment).await?;
        }
        Ok(sets)
    }

    /// Like [`find_sets`](Self::find_sets), and makes the new replica set if there is none.
    pub(super) async fn ensure_sets(
        &self,
        deployment: &mut Deployment,
        sets: Vec<ReplicaSet>,
    ) -> Result<Sets, BoxError> {
        let mut sets = self.find_sets(deployment, sets).await?;
        if sets.new.is_none() {
            sets.new = Some(self.create_set(deployment, &sets).await?);
        }
        Ok(sets)
    }

    async fn create_set(&self, deployment: &mut Deployment, sets: &Sets) -> Result<ReplicaSet, BoxError> {
        let revision = sets.old.iter().map(annotations::revision).max().unwrap_or_default() + 1;
        let mut new = new_set(deployment);
        let active: Vec<_> = sets.old.iter().chain([&new]).collect();
        let size = numbers::new_size(deployment, &active, &new);
        new.spec.replicas = Some(size);
        annotations::note_revision(deployment, &mut new, revision);
        annotations::note_numbers(deployment, &mut new);

        let api: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), meta::namespace(deployment));
        let (set, created) = match api.create(&posting(), &new).await {
            Ok(set) => (set, true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let known = api.get_opt(meta::name(&new)).await?;
                match known.filter(|known| is_ours(deployment, known)) {
                    Some(known) => (known, false),
                    None => return self.collide(deployment, kube::Error::Api(status)).await,
                }
            }
            Err(error) => return self.fail(deployment, &new, error).await,
        };
        let now = self.context.clock.now();
        let mut changed = adopt_revision(deployment, annotations::revision(&set));
        if created {
            if size > 0 {
                let message = format!("Scaled up replica set {} from 0 to {size}", meta::name(&set));
                self.recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
            }
            if has_deadline(deployment) {
                let message = format!("Created new replica set {:?}", meta::name(&set));
                set_progress(deployment, "True", "NewReplicaSetCreated", message, now);
                changed = true;
            }
        }
        if changed {
            self.write_status(deployment).await?;
        }
        Ok(set)
    }

    /// Another template has the same hash: the next try counts the collision in.
    async fn collide(&self, deployment: &mut Deployment, error: kube::Error) -> Result<ReplicaSet, BoxError> {
        let status = deployment.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
        self.write_status(deployment).await?;
        Err(error.into())
    }

    async fn fail(
        &self,
        deployment: &mut Deployment,
        new: &ReplicaSet,
        error: kube::Error,
    ) -> Result<ReplicaSet, BoxError> {
        let reason = match &error {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        };
        let message = format!("Failed to create new replica set {:?}: {reason}", meta::name(new));
        if has_deadline(deployment) {
            let now = self.context.clock.now();
            set_progress(deployment, "False", "ReplicaSetCreateError", message.clone(), now);
            self.write_status(deployment).await?;
        }
        self.recorder.event(deployment, EventType::Warning, "ReplicaSetCreateError", message);
        Err(error.into())
    }

    /// Deletes replica sets that the deployment's history has no room for.
    pub(super) async fn clean_up(&self, deployment: &Deployment, sets: &mut Sets) -> kube::Result<()> {
        let limit = deployment.spec.revision_history_limit;
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return Ok(()) };
        let mut kept: Vec<_> = sets.old.iter().filter(|set| !meta::is_terminating(*set)).collect();
        let surplus = kept.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        kept.sort_by_key(|set| (annotations::revision(*set), Reverse(meta::created(*set))));

        let api: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), meta::namespace(deployment));
        for set in kept.into_iter().take(surplus).filter(|set| is_at_rest(set)) {
            match api.delete(meta::name(set), &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether it has no pods, and its controller knows that it wants none.
fn is_at_rest(set: &ReplicaSet) -> bool {
    let status = set.status.clone().unwrap_or_default();
    numbers::size(set) == 0 && status.replicas == 0 && set.metadata.generation <= status.observed_generation
}

/// Gives the deployment its newest replica set's revision; returns whether it had another.
fn adopt_revision(deployment: &mut Deployment, revision: i64) -> bool {
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    let revision = revision.to_string();
    let changes = annotations.get(annotations::REVISION) != Some(&revision);
    annotations.insert(annotations::REVISION.into(), revision);
    changes
}

/// Whether a replica set that stands where the new one is to be is the new one, which the informer has not shown yet.
fn is_ours(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let same = template_of(set).is_some_and(|template| bare(template) == bare(&deployment.spec.template));
    same && controller_of(&set.metadata).is_some_and(|owner| owner.uid == meta::uid(deployment))
}

fn new_set(deployment: &Deployment) -> ReplicaSet {
    let spec = deployment.spec.clone();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash::hash(&spec.template, collisions);

    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", meta::name(deployment))),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}
