//! Endpoints: the addresses of the pods that stand behind each service, in one object per service.

mod subsets;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Endpoints;
use kube::api::{Api, DeleteParams, ObjectMeta};
use quarterdeck_core::client::{
    Context, Event, EventType, Informer, ObjectKey, Reconcile, Recorder, Requeue, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};

use self::subsets::Subsets;
use crate::meta::{self, posting};
use crate::pod::Pod;
use crate::service::{Service, follow};

const COMPONENT: &str = "endpoint-controller";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", COMPONENT);

/// Says that a service has more pods than its endpoints can name.
const OVER_CAPACITY: (&str, &str) = ("endpoints.kubernetes.io/over-capacity", "truncated");

/// How many services are worked on at once.
const WORKERS: usize = 5;

/// Keeps the `v1` endpoints of services with a selector.
#[derive(Debug)]
pub struct EndpointsController(Context);

impl EndpointsController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("endpoint-controller"))
    }
}

#[async_trait]
impl Component for EndpointsController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let informers = &context.informers;
        let (services, pods, endpoints) =
            (informers.of::<Service>(), informers.of::<Pod>(), informers.of::<Endpoints>());
        let queue = WorkQueue::new().measured(&context.metrics, COMPONENT);
        let keeper = Arc::new(Keeper {
            recorder: context.recorder(COMPONENT),
            services: services.clone(),
            pods: pods.clone(),
            endpoints: endpoints.clone(),
            context: context.clone(),
        });
        let (known, changed) = (services.store().clone(), queue.clone());
        let _subscriptions = (
            follow(&services, &pods, &queue),
            // Endpoints that nobody has a service for belong to somebody else, unless this controller made them.
            endpoints.subscribe(move |event| {
                let (object, key) = (event.object(), ObjectKey::of(&**event.object()));
                let ours = meta::labels(&**object).get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1);
                if known.get(&key).is_some() || (ours && !matches!(event, Event::Deleted(_))) {
                    changed.add(key);
                }
            }),
        );
        let synced = async { tokio::join!(services.synced(), pods.synced(), endpoints.synced()) };
        if stop.or(synced).await.is_some() {
            work(COMPONENT, &queue, WORKERS, keeper, stop).await;
        }
        Ok(())
    }
}

struct Keeper {
    context: Context,
    recorder: Recorder,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
}

#[async_trait]
impl Reconcile for Keeper {
    type Key = ObjectKey;

    fn recorder(&self) -> Option<&Recorder> {
        Some(&self.recorder)
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let known = self.endpoints.store().get(key);
        match (self.services.store().get(key), known) {
            (None, Some(_)) => self.delete(key).await?,
            (Some(service), known) if service.selects() => {
                let wanted = self.wanted(&service);
                self.write(&service, known.as_deref(), wanted).await?;
            }
            _ => {}
        }
        Ok(Requeue::No)
    }
}

impl Keeper {
    fn wanted(&self, service: &Service) -> Endpoints {
        let mut subsets = Subsets::default();
        for pod in self.pods.store().namespace(meta::namespace(service)) {
            if service.selects_pod(&pod) {
                subsets.add(service, &pod);
            }
        }
        let (subsets, truncated) = subsets.into_list();
        let annotations =
            truncated.then(|| BTreeMap::from([(OVER_CAPACITY.0.into(), OVER_CAPACITY.1.into())]));
        Endpoints {
            metadata: ObjectMeta {
                name: service.metadata.name.clone(),
                namespace: service.metadata.namespace.clone(),
                labels: Some(service.labels_of_endpoints(MANAGED_BY)),
                annotations,
                ..ObjectMeta::default()
            },
            subsets: (!subsets.is_empty()).then_some(subsets),
        }
    }

    async fn write(
        &self,
        service: &Service,
        known: Option<&Endpoints>,
        wanted: Endpoints,
    ) -> kube::Result<()> {
        let api: Api<Endpoints> = Api::namespaced(self.context.client.clone(), meta::namespace(service));
        let result = match known {
            Some(known) if agree(known, &wanted) => return Ok(()),
            Some(known) => {
                let endpoints = merged(known, wanted);
                api.replace(meta::name(service), &posting(), &endpoints).await
            }
            None => api.create(&posting(), &wanted).await,
        };
        match result {
            Ok(_) => Ok(()),
            // The namespace goes, and its endpoints with it.
            Err(kube::Error::Api(status)) if known.is_none() && status.is_forbidden() => Ok(()),
            // The informer is behind: it will show what is there, and that brings the service back here.
            Err(kube::Error::Api(status)) if known.is_none() && status.is_already_exists() => Ok(()),
            Err(error) => {
                let verb = if known.is_none() { "create" } else { "update" };
                let conflict = matches!(&error, kube::Error::Api(status) if status.is_conflict());
                if !conflict {
                    let reason =
                        format!("FailedTo{}Endpoint", if known.is_none() { "Create" } else { "Update" });
                    let message =
                        format!("Failed to {verb} endpoint for service {}: {error}", ObjectKey::of(service));
                    self.recorder.event(service, EventType::Warning, &reason, message);
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, key: &ObjectKey) -> kube::Result<()> {
        let api: Api<Endpoints> = Api::namespaced(self.context.client.clone(), &key.namespace);
        match api.delete(&key.name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn agree(known: &Endpoints, wanted: &Endpoints) -> bool {
    known.subsets.as_deref().unwrap_or_default() == wanted.subsets.as_deref().unwrap_or_default()
        && meta::labels(known) == meta::labels(wanted)
        && meta::annotation(known, OVER_CAPACITY.0) == meta::annotation(wanted, OVER_CAPACITY.0)
}

/// The known object with the wanted content; annotations of others stay.
fn merged(known: &Endpoints, wanted: Endpoints) -> Endpoints {
    let mut merged = known.clone();
    let truncated = meta::annotation(&wanted, OVER_CAPACITY.0).map(str::to_owned);
    let annotations = merged.metadata.annotations.get_or_insert_default();
    match truncated {
        Some(truncated) => annotations.insert(OVER_CAPACITY.0.into(), truncated),
        None => annotations.remove(OVER_CAPACITY.0),
    };
    merged.metadata.labels = wanted.metadata.labels;
    merged.subsets = wanted.subsets;
    merged
}
