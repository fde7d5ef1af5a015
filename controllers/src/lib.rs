//! The default controllers of the Quarterdeck SDK, each usable alone.
//!
//! A controller compares what is wanted with what is there and does the next step, again and again. Each is a
//! [`Component`] made from a [`Context`]; [`all`] makes all of them. They speak nothing but the Kubernetes API, so that
//! they also work on any other API server.
//!
//! ```
//! use quarterdeck_controllers::{Options, all};
//! use quarterdeck_core::client::Context;
//! use quarterdeck_core::clock::Clock;
//! use quarterdeck_core::component::{Stop, Supervisor};
//! use quarterdeck_core::random::Random;
//! use quarterdeck_registry::ApiServer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ApiServer::in_memory().await?;
//! let context = Context::new(server.client(), Clock::system(), Random::from_os());
//! let mut supervisor = Supervisor::new();
//! for controller in all(&context, Options::default()) {
//!     supervisor.push(controller);
//! }
//!
//! let (signal, stop) = Stop::channel();
//! let (ended, ()) = tokio::join!(supervisor.run(stop), async { signal.stop() });
//!
//! assert!(ended.iter().all(|ended| ended.to_string().ends_with("stopped")), "{ended:?}");
//! # Ok(())
//! # }
//! ```
//!
//! A controller has an identity of its own where the context knows how to act as service accounts
//! ([`Context::with_accounts`]): it reads through the informers that all share, as the context's client, and does everything
//! else as its account in `kube-system`, for which a Kubernetes API server has a role of the name `system:controller:ACCOUNT`.
//!
//! | controller | keeps | account |
//! | --- | --- | --- |
//! | [`ReplicationController`] | as many pods as wanted | `replication-controller` |
//! | [`ReplicaSetController`] | as many pods as wanted | `replicaset-controller` |
//! | [`DeploymentController`] | a replica set per template, and the rollout from one to the next | `deployment-controller` |
//! | [`EndpointsController`] | the addresses of the pods behind each service | `endpoint-controller` |
//! | [`EndpointSliceController`] | the addresses of the pods behind each service | `endpointslice-controller` |
//! | [`NamespaceController`] | nothing in namespaces that are deleted | `namespace-controller` |
//! | [`ServiceAccountController`] | a service account in every namespace | `service-account-controller` |
//! | [`RootCaPublisher`] | the authority's certificate in every namespace | `root-ca-cert-publisher` |
//! | [`NodeLifecycleController`] | taints on nodes that are lost, and no pods there | `node-controller` |
//! | [`PodGarbageCollector`] | no pods of nodes that are gone | `pod-garbage-collector` |
//! | [`GarbageCollector`] | nothing that belonged to what is gone | `generic-garbage-collector` |
//! | [`DisruptionController`] | how many pods of each disruption budget may go | `disruption-controller` |
//! | [`ClusterRoleAggregationController`] | the rules of the cluster roles that others are collected in | `clusterrole-aggregation-controller` |
//! | [`ResourceQuotaController`] | how much of each quota is used | `resourcequota-controller` |
//! | [`VolumeBinder`] | claims bound to the volumes that fit them best | `persistent-volume-binder` |
//! | [`ClaimProtectionController`] | claims until nobody uses them | `pvc-protection-controller` |
//! | [`VolumeProtectionController`] | volumes until they are bound no more | `pv-protection-controller` |
//! | [`CertificateApprovingController`] | nodes' requests for certificates approved, where they may make them | `certificate-controller` |
//! | [`CertificateSigningController`] | certificates in requests that are approved | `certificate-controller` |
//! | [`CertificateCleanerController`] | no requests that are answered, or that nobody answers | `certificate-controller` |
//! | [`ValidatingAdmissionPolicyStatusController`] (feature `cel`) | in the status of admission policies what their expressions get wrong | `validatingadmissionpolicy-status-controller` |
//! | [`TokenSecretController`] | tokens in the secrets that are there for them | the context's client |

mod certificates;
mod claim;
mod cluster_role_aggregation;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_slice;
mod endpoints;
mod expectations;
mod garbage_collector;
mod meta;
mod namespace;
mod node_lifecycle;
mod pod;
mod pod_gc;
#[cfg(feature = "cel")]
mod policy_status;
mod replication;
mod resource_quota;
mod service;
mod service_account;
mod token_secret;
mod volume_binder;
mod volume_protection;

pub use certificates::{
    CertificateApprovingController, CertificateCleanerController, CertificateSigningController,
};
pub use cluster_role_aggregation::ClusterRoleAggregationController;
pub use deployment::DeploymentController;
pub use disruption::DisruptionController;
pub use endpoint_slice::EndpointSliceController;
pub use endpoints::EndpointsController;
pub use garbage_collector::GarbageCollector;
pub use namespace::NamespaceController;
pub use node_lifecycle::NodeLifecycleController;
pub use pod_gc::PodGarbageCollector;
#[cfg(feature = "cel")]
pub use policy_status::ValidatingAdmissionPolicyStatusController;
pub use replication::{ReplicaSetController, ReplicationController};
pub use resource_quota::ResourceQuotaController;
pub use service_account::{RootCaPublisher, ServiceAccountController};
pub use token_secret::TokenSecretController;
pub use volume_binder::VolumeBinder;
pub use volume_protection::{ClaimProtectionController, VolumeProtectionController};

use std::sync::Arc;
use std::time::Duration;

use quarterdeck_core::certificates::CertificateSigner;
use quarterdeck_core::client::Context;
use quarterdeck_core::component::Component;

/// What the controllers need to know that [`all`] makes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The certificate of the cluster's authority, in PEM, for the config map `kube-root-ca.crt` (default: none, and no
    /// such config map).
    pub root_ca: Option<String>,
    /// After how much silence a node counts as lost (default: 40 s).
    pub node_grace_period: Duration,
    /// How many finished pods are kept (default: 12,500).
    pub finished_pods: usize,
    /// Who signs certificates that are asked for (default: nobody, and requests that are approved stay without one).
    pub certificate_signer: Option<Arc<dyn CertificateSigner>>,
    /// For how long certificates are good at most that are asked for (default: 365 days).
    pub certificate_duration: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root_ca: None,
            node_grace_period: Duration::from_secs(40),
            finished_pods: 12_500,
            certificate_signer: None,
            certificate_duration: Duration::from_secs(365 * 24 * 3600),
        }
    }
}

impl Options {
    /// Sets the certificate of the cluster's authority, in PEM.
    #[must_use]
    pub fn root_ca(mut self, certificate: impl Into<String>) -> Self {
        self.root_ca = Some(certificate.into());
        self
    }

    /// Sets after how much silence a node counts as lost.
    #[must_use]
    pub fn node_grace_period(mut self, grace: Duration) -> Self {
        self.node_grace_period = grace;
        self
    }

    /// Sets how many finished pods are kept.
    #[must_use]
    pub fn finished_pods(mut self, count: usize) -> Self {
        self.finished_pods = count;
        self
    }

    /// Sets who signs certificates that are asked for.
    #[must_use]
    pub fn certificate_signer(mut self, signer: Arc<dyn CertificateSigner>) -> Self {
        self.certificate_signer = Some(signer);
        self
    }

    /// Sets for how long certificates are good at most that are asked for.
    #[must_use]
    pub fn certificate_duration(mut self, duration: Duration) -> Self {
        self.certificate_duration = duration;
        self
    }
}

/// Makes all controllers, to be run by a [`Supervisor`](quarterdeck_core::component::Supervisor).
#[must_use]
pub fn all(context: &Context, options: Options) -> Vec<Box<dyn Component>> {
    let mut all: Vec<Box<dyn Component>> = vec![
        Box::new(ServiceAccountController::new(context)),
        Box::new(NamespaceController::new(context)),
        Box::new(ReplicationController::new(context)),
        Box::new(ReplicaSetController::new(context)),
        Box::new(DeploymentController::new(context)),
        Box::new(EndpointsController::new(context)),
        Box::new(EndpointSliceController::new(context)),
        Box::new(NodeLifecycleController::new(context).grace_period(options.node_grace_period)),
        Box::new(PodGarbageCollector::new(context).keep_finished(options.finished_pods)),
        Box::new(GarbageCollector::new(context)),
        Box::new(DisruptionController::new(context)),
        Box::new(ClusterRoleAggregationController::new(context)),
        Box::new(ResourceQuotaController::new(context)),
        Box::new(VolumeBinder::new(context)),
        Box::new(ClaimProtectionController::new(context)),
        Box::new(VolumeProtectionController::new(context)),
        Box::new(TokenSecretController::new(context, options.root_ca.clone())),
        Box::new(CertificateApprovingController::new(context)),
        Box::new(CertificateCleanerController::new(context)),
    ];
    #[cfg(feature = "cel")]
    all.push(Box::new(ValidatingAdmissionPolicyStatusController::new(context)));
    if let Some(signer) = options.certificate_signer {
        let signing = CertificateSigningController::new(context, signer);
        all.push(Box::new(signing.longest(options.certificate_duration)));
    }
    if let Some(certificate) = options.root_ca {
        all.push(Box::new(RootCaPublisher::new(context, certificate)));
    }
    all
}
