//! Endpoint slices: the addresses of the pods that stand behind each service, in pieces of at most a hundred.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::api::{Api, DeleteParams, ObjectMeta};
use quarterdeck_core::client::{
    Context, Event, Index, Informer, ObjectKey, Reconcile, Requeue, Subscription, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::random::Random;

use self::plan::{Plan, plan};
use crate::expectations::{Expectations, Expected};
use crate::meta::{self, controller_reference, generated, posting};
use crate::pod::Pod;
use crate::service::{Family, Service, address, follow, reference};

const COMPONENT: &str = "endpoint-slice-controller";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: (&str, &str) =
    ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
const ZONE: &str = "topology.kubernetes.io/zone";

/// How many services are worked on at once.
const WORKERS: usize = 5;

/// Keeps the `discovery.k8s.io/v1` endpoint slices of services with a selector.
#[derive(Debug)]
pub struct EndpointSliceController(Context);

impl EndpointSliceController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("endpointslice-controller"))
    }
}

#[async_trait]
impl Component for EndpointSliceController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let informers = &context.informers;
        let (services, pods, nodes) =
            (informers.of::<Service>(), informers.of::<Pod>(), informers.of::<Node>());
        let slices = informers.of::<EndpointSlice>();
        let queue = WorkQueue::new().measured(&context.metrics, COMPONENT);
        let expectations = Arc::new(Expectations::default());
        let keeper = Arc::new(Keeper {
            random: context.random.fork(COMPONENT),
            of_service: slices.index(|slice| service_of(slice).into_iter().collect()),
            services: services.clone(),
            pods: pods.clone(),
            nodes: nodes.clone(),
            expectations: expectations.clone(),
            context: context.clone(),
        });
        let _subscriptions =
            (follow(&services, &pods, &queue), follow_slices(&slices, &queue, &expectations));
        let synced =
            async { tokio::join!(services.synced(), pods.synced(), nodes.synced(), slices.synced()) };
        if stop.or(synced).await.is_some() {
            work(COMPONENT, &queue, WORKERS, keeper, stop).await;
        }
        Ok(())
    }
}

/// The service that a slice of this controller belongs to.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = meta::labels(slice);
    let ours = labels.get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1);
    let service = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(ObjectKey::new(meta::namespace(slice), service))
}

fn follow_slices(
    slices: &Informer<EndpointSlice>,
    queue: &WorkQueue<ObjectKey>,
    expectations: &Arc<Expectations>,
) -> Subscription {
    let (queue, expectations) = (queue.clone(), expectations.clone());
    slices.subscribe(move |event| {
        let slice = event.object();
        if let Event::Updated { old, .. } = event
            && let Some(former) = service_of(old)
        {
            queue.add(former);
        }
        if let Some(key) = service_of(slice) {
            let alive = !matches!(event, Event::Deleted(_));
            expectations.saw(&key, meta::name(&**slice), meta::uid(&**slice), alive);
            queue.add(key);
        }
    })
}

struct Keeper {
    context: Context,
    random: Random,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    of_service: Index<ObjectKey, EndpointSlice>,
    expectations: Arc<Expectations>,
}

#[async_trait]
impl Reconcile for Keeper {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(service) = self.services.store().get(key) else {
            // The slices of a service that is gone are collected, for it owned them.
            self.expectations.forget(key);
            return Ok(Requeue::No);
        };
        if !service.selects() || service.spec.kind == "ExternalName" {
            return Ok(Requeue::No);
        }
        self.settle_overdue(key).await?;
        if !self.expectations.are_met(key) {
            return Ok(Requeue::After(Expectations::PATIENCE));
        }
        let existing = self.of_service.get(key);
        let labels = self.labels(&service);
        let mut families = service.families();
        families.sort();
        families.dedup();
        let mut plans = Plan::default();
        for family in &families {
            let of_family: Vec<_> =
                existing.iter().filter(|slice| slice.address_type == family.as_str()).cloned().collect();
            plans.append(plan(&of_family, self.wanted(&service, *family), &labels));
        }
        let others = existing
            .iter()
            .filter(|slice| families.iter().all(|family| slice.address_type != family.as_str()));
        plans.delete.extend(others.cloned());
        self.carry_out(key, &service, &labels, plans).await?;
        Ok(Requeue::No)
    }
}

/// Endpoints by the ports that they have in common, of one family.
struct Wanted {
    family: Family,
    by_ports: Vec<(Vec<EndpointPort>, Vec<Endpoint>)>,
}

impl Keeper {
    fn labels(&self, service: &Service) -> BTreeMap<String, String> {
        let mut labels = service.labels_of_endpoints(MANAGED_BY);
        labels.insert(SERVICE_NAME.into(), meta::name(service).into());
        labels
    }

    fn wanted(&self, service: &Service, family: Family) -> Wanted {
        let mut by_ports: Vec<(Vec<EndpointPort>, Vec<Endpoint>)> = Vec::new();
        for pod in self.pods.store().namespace(meta::namespace(service)) {
            if !service.selects_pod(&pod) || pod.is_finished() {
                continue;
            }
            let Some(ip) = address(&pod, family) else { continue };
            let endpoint = self.endpoint(service, &pod, ip);
            let ports = ports(service, &pod);
            match by_ports.iter_mut().find(|(known, _)| *known == ports) {
                Some((_, endpoints)) => endpoints.push(endpoint),
                None => by_ports.push((ports, vec![endpoint])),
            }
        }
        Wanted { family, by_ports }
    }

    fn endpoint(&self, service: &Service, pod: &Pod, ip: &str) -> Endpoint {
        let (serving, terminating) = (pod.is_ready(), pod.is_terminating());
        let node = Some(pod.spec.node_name.clone()).filter(|name| !name.is_empty());
        let zone = node.as_ref().and_then(|node| {
            let node = self.nodes.store().get(&ObjectKey::new("", node))?;
            meta::labels(&*node).get(ZONE).cloned()
        });
        Endpoint {
            addresses: vec![ip.into()],
            conditions: Some(EndpointConditions {
                ready: Some(service.spec.publish_not_ready_addresses || (serving && !terminating)),
                serving: Some(serving),
                terminating: Some(terminating),
            }),
            hostname: service.hostname(pod),
            node_name: node,
            target_ref: Some(reference(pod)),
            zone,
            ..Endpoint::default()
        }
    }

    async fn carry_out(
        &self,
        key: &ObjectKey,
        service: &Service,
        labels: &BTreeMap<String, String>,
        plan: Plan,
    ) -> kube::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.context.client.clone(), &key.namespace);
        for slice in plan.update {
            api.replace(meta::name(&slice), &posting(), &slice).await?;
        }
        for mut slice in plan.create {
            let name = generated(&key.name, &self.random);
            slice.metadata = ObjectMeta {
                name: Some(name.clone()),
                generate_name: Some(format!("{}-", key.name)),
                labels: Some(labels.clone()),
                owner_references: Some(vec![controller_reference(service)]),
                ..ObjectMeta::default()
            };
            let expected = Expected::Created(name);
            self.expectations.expect(key, expected.clone());
            match api.create(&posting(), &slice).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) => {
                    self.expectations.settle(key, &expected);
                    // The namespace goes, and its slices with it.
                    return if status.is_forbidden() { Ok(()) } else { Err(kube::Error::Api(status)) };
                }
                Err(error) => return Err(error),
            }
        }
        for slice in plan.delete {
            match api.delete(meta::name(&*slice), &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks the server about what should have shown long ago.
    async fn settle_overdue(&self, key: &ObjectKey) -> kube::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.context.client.clone(), &key.namespace);
        for expected in self.expectations.overdue(key) {
            if let Expected::Created(name) = &expected
                && api.get_opt(name).await?.is_none()
            {
                self.expectations.settle(key, &expected);
            }
        }
        Ok(())
    }
}

/// The ports of `pod` that the service leads to.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let mut ports: Vec<_> = service
        .spec
        .ports
        .iter()
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone()),
                port: Some(port.on(pod)?),
                protocol: Some(port.protocol().into()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort_by(|one, other| {
        (&one.name, one.port, &one.protocol).cmp(&(&other.name, other.port, &other.protocol))
    });
    ports
}
