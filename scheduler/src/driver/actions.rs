//! What the driver asks of the API server, beside its own task.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use quarterdeck_core::component::Stop;
use quarterdeck_core::scheduling::{PodInfo, Symbol};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::digest::WatchedPod;

/// How often a bind is sent that the server keeps failing at.
const BIND_ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What came of an action.
#[derive(Debug)]
pub(super) enum Done {
    /// The pod is on the node.
    Bound { pod: Arc<PodInfo>, node: Symbol },
    /// The pod is not on the node, and why; nothing if somebody else disposed of the pod.
    NotBound { pod: Arc<PodInfo>, why: Option<String> },
    /// These pods are on their way out, for the sake of `pod`.
    Evicted { pod: Arc<PodInfo>, node: Symbol, victims: Vec<Arc<PodInfo>> },
    /// The pod's status was brought up to date, as far as the server let us.
    Reported,
}

/// Binds a pod to a node, and says whether it is bound now: if an answer is lost, the pod itself is asked.
pub(super) async fn bind(client: Client, pod: Arc<PodInfo>, node: Symbol, mut stop: Stop) -> Done {
    let pods: Api<WatchedPod> = Api::namespaced(client, pod.namespace());
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid.as_str() },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node.as_str() },
    });
    let mut attempt = 1;
    loop {
        let sent: Result<IgnoredAny, _> =
            pods.create_subresource("binding", pod.name(), &PostParams::default(), &binding).await;
        let error = match sent {
            Ok(_) => return Done::Bound { pod, node },
            Err(error) => error,
        };
        if let kube::Error::Api(status) = &error
            && is_final(status.code)
        {
            let why = (status.code != 404).then(|| status.message.clone());
            return Done::NotBound { pod, why };
        }
        match placed(&pods, &pod, &mut stop).await {
            Placed::On(there) if there == node => return Done::Bound { pod, node },
            Placed::Nowhere if attempt < BIND_ATTEMPTS => attempt += 1,
            Placed::Nowhere => return Done::NotBound { pod, why: Some(error.to_string()) },
            Placed::On(_) | Placed::Gone | Placed::Stopped => return Done::NotBound { pod, why: None },
        }
    }
}

/// Whether an answer says for certain that nothing was done, and that asking again is of no use.
fn is_final(code: u16) -> bool {
    (400..500).contains(&code) && code != 408 && code != 429
}

enum Placed {
    On(Symbol),
    Nowhere,
    Gone,
    Stopped,
}

/// Asks where the pod is until there is an answer.
async fn placed(pods: &Api<WatchedPod>, pod: &PodInfo, stop: &mut Stop) -> Placed {
    let mut pause = PAUSE;
    loop {
        if stop.or(tokio::time::sleep(pause)).await.is_none() {
            return Placed::Stopped;
        }
        pause = (2 * pause).min(LONGEST_PAUSE);
        match pods.get_opt(pod.name()).await {
            Ok(Some(found)) if found.info.uid == pod.uid => {
                return found.info.node.clone().map_or(Placed::Nowhere, Placed::On);
            }
            Ok(_) => return Placed::Gone,
            Err(error) => tracing::debug!(pod = %pod.key, %error, "not known whether the pod was bound"),
        }
    }
}

/// Deletes pods so that `pod` finds room on `node`.
pub(super) async fn evict(
    client: Client,
    pod: Arc<PodInfo>,
    node: Symbol,
    victims: Vec<Arc<PodInfo>>,
) -> Done {
    let mut evicted = Vec::new();
    for victim in victims {
        let pods: Api<WatchedPod> = Api::namespaced(client.clone(), victim.namespace());
        let this_one = Preconditions { uid: Some(victim.uid.to_string()), ..Preconditions::default() };
        let how = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
        match pods.delete(victim.name(), &how).await {
            Ok(_) => evicted.push(victim),
            Err(error) => tracing::debug!(pod = %victim.key, %error, "not evicted"),
        }
    }
    Done::Evicted { pod, node, victims: evicted }
}

/// Patches the pod's status. If that fails, the next attempt to place the pod tries again.
pub(super) async fn report(client: Client, pod: Arc<PodInfo>, status: Value) -> Done {
    let pods: Api<WatchedPod> = Api::namespaced(client, pod.namespace());
    let change = json!({ "metadata": { "uid": pod.uid.as_str() }, "status": status });
    if let Err(error) =
        pods.patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(change)).await
    {
        tracing::debug!(pod = %pod.key, %error, "status not patched");
    }
    Done::Reported
}
