//! Claims and volumes: each claim gets the smallest volume that fits it, and both say what became of them.
//!
//! Volumes are not made here: that is the work of the provisioner that a storage class names. Nor are they wiped or removed
//! after their claims.

mod fit;
mod steps;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use quarterdeck_core::client::{
    Context, EventType, Informer, ObjectKey, Reconcile, Recorder, Requeue, Subscription, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};

use self::fit::Request;
use crate::meta::{self, is_terminating};

const COMPONENT: &str = "persistentvolume-controller";

/// Says of a claim that it was bound once.
const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Says of a claim or a volume that this controller chose the other, and may take the choice back.
const CHOSEN: &str = "pv.kubernetes.io/bound-by-controller";
/// Says whose work it is to make a volume for a claim.
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The node that a claim's pod was given: a class may wait for it.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Binds claims to volumes.
#[derive(Debug)]
pub struct VolumeBinder(Context);

impl VolumeBinder {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("persistent-volume-binder"))
    }
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Volume(String),
    Claim(ObjectKey),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

#[async_trait]
impl Component for VolumeBinder {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let informers = &context.informers;
        let binder = Arc::new(Binder {
            recorder: context.recorder(COMPONENT),
            claims: informers.of(),
            volumes: informers.of(),
            classes: informers.of(),
            context: context.clone(),
        });
        let queue = WorkQueue::new().measured(&context.metrics, COMPONENT);
        let _subscriptions = binder.follow(&queue);
        let synced = async {
            tokio::join!(binder.claims.synced(), binder.volumes.synced(), binder.classes.synced());
        };
        // One at a time: two claims must not choose the same volume.
        if stop.or(synced).await.is_some() {
            work(COMPONENT, &queue, 1, binder.clone(), stop).await;
        }
        Ok(())
    }
}

struct Binder {
    context: Context,
    recorder: Recorder,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
}

#[async_trait]
impl Reconcile for Binder {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Requeue, BoxError> {
        match key {
            Key::Claim(key) => {
                if let Some(claim) = self.claims.store().get(key) {
                    self.claim(&claim).await?;
                }
            }
            Key::Volume(name) => {
                if let Some(volume) = self.volume(name) {
                    self.settle(&volume).await?;
                }
            }
        }
        Ok(Requeue::No)
    }
}

impl Binder {
    fn follow(&self, queue: &WorkQueue<Key>) -> [Subscription; 3] {
        let (of_claim, of_volume, of_class) = (queue.clone(), queue.clone(), queue.clone());
        let (claims, waiting) = (self.claims.clone(), self.claims.clone());
        [
            self.claims.subscribe(move |event| {
                let claim = event.object();
                of_claim.add(Key::Claim(ObjectKey::of(&**claim)));
                // A claim that is gone leaves its volume.
                if let Some(volume) = volume_of(claim) {
                    of_claim.add(Key::Volume(volume.to_owned()));
                }
            }),
            self.volumes.subscribe(move |event| {
                let volume = event.object();
                of_volume.add(Key::Volume(meta::name(&**volume).into()));
                for claim in claims.store().list().iter().filter(|claim| concerns(volume, claim)) {
                    of_volume.add(Key::Claim(ObjectKey::of(&**claim)));
                }
            }),
            self.classes.subscribe(move |_| {
                for claim in waiting.store().list().iter().filter(|claim| !is_completed(claim)) {
                    of_class.add(Key::Claim(ObjectKey::of(&**claim)));
                }
            }),
        ]
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.store().get(&ObjectKey::new("", name))
    }

    async fn claim(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        if is_completed(claim) {
            return self.check(claim).await;
        }
        if is_terminating(claim) {
            return Ok(());
        }
        match volume_of(claim) {
            Some(name) => match self.volume(name) {
                Some(volume) if is_free_for(&volume, claim) => self.bind(claim, &volume).await,
                // Somebody else has it, or it is still to come.
                _ => self.set_claim_phase(claim, "Pending").await,
            },
            None => self.choose(claim).await,
        }
    }

    /// Checks that the volume of a claim that was bound is still there and the claim's.
    async fn check(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        let lost = |why: &str| {
            self.recorder.event(claim, EventType::Warning, "ClaimLost", why);
        };
        let Some(name) = volume_of(claim) else {
            lost("Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
            return self.set_claim_phase(claim, "Lost").await;
        };
        match self.volume(name) {
            None => {
                if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Lost") {
                    lost("Bound claim has lost its PersistentVolume. Data on the volume is lost!");
                }
                self.set_claim_phase(claim, "Lost").await
            }
            Some(volume) if is_free_for(&volume, claim) => self.bind(claim, &volume).await,
            Some(_) => {
                lost("Two claims are bound to the same volume, this one is bound incorrectly");
                self.set_claim_phase(claim, "Lost").await
            }
        }
    }

    /// Finds a volume for a claim that names none.
    async fn choose(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        let class_name = fit::class_of_claim(claim);
        let class = self.classes.store().get(&ObjectKey::new("", class_name));
        let volumes = self.volumes.store().list();
        let waits = class.as_ref().is_some_and(|class| {
            class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
                && meta::annotation(claim, SELECTED_NODE).is_none()
        });
        let request = Request::of(claim);
        let found = volumes.iter().filter(|volume| !waits || names(volume, claim)).filter(|volume| {
            is_free_for(volume, claim)
                && (names(volume, claim) || is_available(volume))
                && request.fits(volume)
        });
        if let Some(volume) = found.min_by_key(|volume| fit::rank(volume, names(volume, claim))) {
            return self.bind(claim, volume).await;
        }
        match class {
            Some(_) if waits => {
                let why = "waiting for first consumer to be created before binding";
                self.recorder.event(claim, EventType::Normal, "WaitForFirstConsumer", why);
            }
            Some(class) => return self.wait_for_provisioner(claim, &class.provisioner).await,
            None if class_name.is_empty() => {
                let why = "no persistent volumes available for this claim and no storage class is set";
                self.recorder.event(claim, EventType::Normal, "FailedBinding", why);
            }
            None => {
                let why = format!("storageclass.storage.k8s.io {class_name:?} not found");
                self.recorder.event(claim, EventType::Warning, "ProvisioningFailed", why);
            }
        }
        self.set_claim_phase(claim, "Pending").await
    }
}

/// The name of the volume that a claim is bound to or asks for.
fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let name = claim.spec.as_ref()?.volume_name.as_deref();
    name.filter(|name| !name.is_empty())
}

fn is_completed(claim: &PersistentVolumeClaim) -> bool {
    meta::annotation(claim, COMPLETED).is_some()
}

fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether a volume says that it is for this claim.
fn names(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_ref(volume).is_some_and(|reference| {
        reference.name.as_deref() == Some(meta::name(claim))
            && reference.namespace.as_deref() == Some(meta::namespace(claim))
            && reference.uid.as_deref().is_none_or(|uid| uid.is_empty() || uid == meta::uid(claim))
    })
}

/// Whether a volume is nobody's, or this claim's.
fn is_free_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_ref(volume).is_none() || names(volume, claim)
}

/// Whether a volume may be chosen: it was looked at, and is not about to go.
fn is_available(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Available") && !is_terminating(volume)
}

/// Whether a change of a volume means something for a claim: the claim has it, or has none.
fn concerns(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    match volume_of(claim) {
        Some(name) => name == meta::name(volume),
        None => !is_completed(claim),
    }
}
