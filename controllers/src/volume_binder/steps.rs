//! What the binder writes.

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
};
use kube::Resource;
use kube::api::Api;
use quarterdeck_core::client::{EventType, ObjectKey};

use super::{Binder, CHOSEN, COMPLETED, PROVISIONER, claim_ref, volume_of};
use crate::meta::{self, posting};

impl Binder {
    /// Binds a claim to a volume: first the volume, which says whose it is, then the claim. Each step is done once; whoever
    /// is interrupted goes on where it was.
    pub(super) async fn bind(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> kube::Result<()> {
        let mut volume = volume.clone();
        if claim_ref(&volume).and_then(|reference| reference.uid.as_deref()) != Some(meta::uid(claim)) {
            let chosen = claim_ref(&volume).is_none();
            volume.spec.get_or_insert_default().claim_ref = Some(reference(claim));
            if chosen {
                annotate(&mut volume, CHOSEN);
            }
            volume = self.volumes_api().replace(meta::name(&volume), &posting(), &volume).await?;
        }
        let volume = self.set_volume_phase(&volume, "Bound").await?;
        let mut claim = claim.clone();
        if volume_of(&claim).is_none() {
            claim.spec.get_or_insert_default().volume_name = volume.metadata.name.clone();
            annotate(&mut claim, CHOSEN);
        }
        if meta::annotation(&claim, COMPLETED).is_none() {
            annotate(&mut claim, COMPLETED);
            claim = self.claims_api(&claim).replace(meta::name(&claim), &posting(), &claim).await?;
        }
        let mut status = claim.status.clone().unwrap_or_default();
        let spec = volume.spec.unwrap_or_default();
        status.phase = Some("Bound".into());
        status.access_modes = spec.access_modes;
        // What a claim has grown to is for whoever lets it grow to say.
        status.capacity = status.capacity.take().or(spec.capacity);
        self.set_claim_status(&claim, status).await
    }

    /// Says what became of a volume.
    pub(super) async fn settle(&self, volume: &PersistentVolume) -> kube::Result<()> {
        let phase = match claim_ref(volume) {
            None => "Available",
            // It is meant for a claim that has not come yet.
            Some(reference) if reference.uid.as_deref().is_none_or(str::is_empty) => "Available",
            Some(reference) => {
                let key = ObjectKey::new(
                    reference.namespace.clone().unwrap_or_default(),
                    reference.name.clone().unwrap_or_default(),
                );
                match self.claim_of(&key, reference).await? {
                    None => "Released",
                    Some(claim) => match volume_of(&claim) {
                        Some(name) if name == meta::name(volume) => "Bound",
                        // The binding is half done: the claim has its turn.
                        None => return Ok(()),
                        Some(_) => return self.release(volume).await,
                    },
                }
            }
        };
        self.set_volume_phase(volume, phase).await.map(|_| ())
    }

    /// Returns the claim that a volume belongs to; absent if it is gone, or another of that name.
    async fn claim_of(
        &self,
        key: &ObjectKey,
        reference: &ObjectReference,
    ) -> kube::Result<Option<PersistentVolumeClaim>> {
        let is_it = |claim: &PersistentVolumeClaim| reference.uid.as_deref() == Some(meta::uid(claim));
        if let Some(claim) = self.claims.store().get(key).filter(|claim| is_it(claim)) {
            return Ok(Some(PersistentVolumeClaim::clone(&claim)));
        }
        // A volume that is released is never bound again, so the server has the last word.
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &key.namespace);
        Ok(api.get_opt(&key.name).await?.filter(is_it))
    }

    /// Takes a volume back from a claim that has another.
    async fn release(&self, volume: &PersistentVolume) -> kube::Result<()> {
        let mut volume = volume.clone();
        let spec = volume.spec.get_or_insert_default();
        let was_chosen = volume
            .metadata
            .annotations
            .as_mut()
            .is_some_and(|annotations| annotations.remove(CHOSEN).is_some());
        match (was_chosen, &mut spec.claim_ref) {
            // What somebody meant for the claim stays meant for one of that name.
            (false, Some(reference)) => {
                reference.uid = None;
                reference.resource_version = None;
            }
            _ => spec.claim_ref = None,
        }
        let released = self.volumes_api().replace(meta::name(&volume), &posting(), &volume).await?;
        self.set_volume_phase(&released, "Available").await.map(|_| ())
    }

    /// Says whose work it is to make a volume for a claim.
    pub(super) async fn wait_for_provisioner(
        &self,
        claim: &PersistentVolumeClaim,
        provisioner: &str,
    ) -> kube::Result<()> {
        if provisioner == "kubernetes.io/no-provisioner" {
            let why =
                "no persistent volumes available for this claim and its storage class has no provisioner";
            self.recorder.event(claim, EventType::Normal, "FailedBinding", why);
            return self.set_claim_phase(claim, "Pending").await;
        }
        if meta::annotation(claim, PROVISIONER) != Some(provisioner) {
            let mut told = claim.clone();
            let annotations = told.metadata.annotations.get_or_insert_default();
            annotations.insert(PROVISIONER.into(), provisioner.into());
            annotations.insert("volume.beta.kubernetes.io/storage-provisioner".into(), provisioner.into());
            self.claims_api(claim).replace(meta::name(claim), &posting(), &told).await?;
        }
        let why = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        self.recorder.event(claim, EventType::Normal, "ExternalProvisioning", why);
        self.set_claim_phase(claim, "Pending").await
    }

    pub(super) async fn set_claim_phase(
        &self,
        claim: &PersistentVolumeClaim,
        phase: &str,
    ) -> kube::Result<()> {
        let mut status = claim.status.clone().unwrap_or_default();
        status.phase = Some(phase.into());
        if phase != "Bound" {
            status.access_modes = None;
            status.capacity = None;
        }
        self.set_claim_status(claim, status).await
    }

    async fn set_claim_status(
        &self,
        claim: &PersistentVolumeClaim,
        status: PersistentVolumeClaimStatus,
    ) -> kube::Result<()> {
        if claim.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut told = claim.clone();
        told.status = Some(status);
        self.claims_api(claim).replace_status(meta::name(claim), &posting(), &told).await.map(|_| ())
    }

    async fn set_volume_phase(
        &self,
        volume: &PersistentVolume,
        phase: &str,
    ) -> kube::Result<PersistentVolume> {
        if volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
            return Ok(volume.clone());
        }
        let mut told = volume.clone();
        let status = told.status.get_or_insert_default();
        status.phase = Some(phase.into());
        status.message = None;
        self.volumes_api().replace_status(meta::name(volume), &posting(), &told).await
    }

    fn volumes_api(&self) -> Api<PersistentVolume> {
        Api::all(self.context.client.clone())
    }

    fn claims_api(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.context.client.clone(), meta::namespace(claim))
    }
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

fn annotate(object: &mut impl Resource, key: &str) {
    object.meta_mut().annotations.get_or_insert_default().insert(key.into(), "yes".into());
}
