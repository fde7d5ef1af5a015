//! Services and endpoints from the API.

use std::convert::Infallible;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use quarterdeck_core::client::{Context, Event, ObjectKey, WorkQueue};

use super::ServiceTable;
use super::endpoints::Nodes;
use super::resolve::{resolve, service_of};

/// Keeps `table` equal to what the API says, for ever. A change touches the service that it is about, and no other.
pub(crate) async fn follow(context: Context, nodes: Nodes, table: ServiceTable) -> Option<Infallible> {
    let queue = WorkQueue::<ObjectKey>::new();
    let services = context.informers.of::<Service>();
    let slices = context.informers.of::<EndpointSlice>();
    let endpoints = context.informers.of::<Endpoints>();
    let slices_of = slices.index(|slice| service_of(slice).into_iter().collect());
    let _subscriptions = (
        services.subscribe(telling(queue.clone(), |service| Some(ObjectKey::of(service)))),
        slices.subscribe(telling(queue.clone(), service_of)),
        // An Endpoints object has the name of its service.
        endpoints.subscribe(telling(queue.clone(), |endpoints| Some(ObjectKey::of(endpoints)))),
    );
    // Endpoints without their slices would be backends for a moment, and slices come one by one.
    services.synced().await;
    slices.synced().await;
    endpoints.synced().await;

    let update = |key: &ObjectKey| {
        let ports = services.store().get(key).map(|service| {
            let endpoints = endpoints.store().get(key);
            resolve(&service, &slices_of.get(key), endpoints.as_deref(), &nodes)
        });
        table.set(key, ports.unwrap_or_default());
    };
    for service in services.store().list() {
        update(&ObjectKey::of(&*service));
    }
    table.set_complete();
    loop {
        let key = queue.next().await?;
        update(&key);
        queue.done(&key);
    }
}

/// Returns a handler that adds to `queue` which service an object belongs to, and which it belonged to before.
fn telling<K>(
    queue: WorkQueue<ObjectKey>,
    service: impl Fn(&K) -> Option<ObjectKey>,
) -> impl FnMut(Event<'_, K>) {
    move |event| {
        if let Event::Updated { old, .. } = event
            && let Some(key) = service(old)
        {
            queue.add(key);
        }
        if let Some(key) = service(event.object()) {
            queue.add(key);
        }
    }
}
