//! The end of namespaces: a deleted namespace is emptied, says what remains, and goes when nothing does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PartialObjectMeta};
use quarterdeck_core::client::{Context, Informer, ObjectKey, Reconcile, Requeue, WorkQueue, work};
use quarterdeck_core::component::{BoxError, Component, Stop};

use crate::discovery::{Discovered, Kind, discover};
use crate::meta::{self, is_terminating, posting};

const COMPONENT: &str = "namespace-controller";

/// What holds a namespace until this controller is done with it.
const FINALIZER: &str = "kubernetes";

/// How many namespaces are emptied at once.
const WORKERS: usize = 4;

/// How soon, and how late, it is looked again at a namespace in which something remains.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// Empties namespaces that are deleted.
#[derive(Debug)]
pub struct NamespaceController(Context);

impl NamespaceController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("namespace-controller"))
    }
}

#[async_trait]
impl Component for NamespaceController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let namespaces = context.informers.of::<Namespace>();
        let queue = WorkQueue::with_backoff(BACKOFF.0, BACKOFF.1).measured(&context.metrics, COMPONENT);
        let added = queue.clone();
        let _subscription = namespaces.subscribe(move |event| {
            if is_terminating(&**event.object()) {
                added.add(meta::name(&**event.object()).to_owned());
            }
        });
        let cleaner = Arc::new(Cleaner { namespaces: namespaces.clone(), context });
        if stop.or(namespaces.synced()).await.is_some() {
            work(COMPONENT, &queue, WORKERS, cleaner, stop).await;
        }
        Ok(())
    }
}

struct Cleaner {
    context: Context,
    namespaces: Informer<Namespace>,
}

/// What one pass over a namespace found.
#[derive(Debug, Default)]
struct Pass {
    discovery_failures: Vec<String>,
    failures: Vec<String>,
    /// How many objects remain, by `resource.group`.
    remaining: BTreeMap<String, usize>,
    /// How many objects each finalizer holds.
    finalizers: BTreeMap<String, usize>,
}

impl Pass {
    fn is_clean(&self) -> bool {
        self.discovery_failures.is_empty() && self.failures.is_empty() && self.remaining.is_empty()
    }
}

#[async_trait]
impl Reconcile for Cleaner {
    type Key = String;

    async fn reconcile(&self, name: &String) -> Result<Requeue, BoxError> {
        let known = self.namespaces.store().get(&ObjectKey::new("", name));
        let Some(namespace) = known.filter(|namespace| is_terminating(&**namespace)) else {
            return Ok(Requeue::No);
        };
        if !finalizers(&namespace).any(|finalizer| finalizer == FINALIZER) {
            return Ok(Requeue::No);
        }
        let discovered = discover(&self.context.client).await?;
        let pass = self.empty(name, discovered).await;
        if pass.is_clean() {
            self.finalize(&namespace).await?;
            return Ok(Requeue::No);
        }
        self.tell(&namespace, &pass).await?;
        Ok(Requeue::RateLimited)
    }
}

fn finalizers(namespace: &Namespace) -> impl Iterator<Item = &String> {
    namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten())
}

impl Cleaner {
    /// Deletes everything that can be deleted, pods first: what they use must not vanish under them.
    async fn empty(&self, namespace: &str, discovered: Discovered) -> Pass {
        let mut pass = Pass { discovery_failures: discovered.failures, ..Pass::default() };
        let deletable = discovered.kinds.iter().filter(|kind| {
            kind.namespaced && kind.has("list") && (kind.has("deletecollection") || kind.has("delete"))
        });
        let (pods, others): (Vec<_>, Vec<_>) =
            deletable.partition(|kind| kind.resource.group.is_empty() && kind.resource.plural == "pods");
        for kind in pods {
            self.empty_kind(namespace, kind, &mut pass).await;
        }
        if pass.is_clean() || !pass.discovery_failures.is_empty() {
            for kind in others {
                self.empty_kind(namespace, kind, &mut pass).await;
            }
        }
        pass
    }

    async fn empty_kind(&self, namespace: &str, kind: &Kind, pass: &mut Pass) {
        if let Err(error) = self.try_empty_kind(namespace, kind, pass).await {
            pass.failures.push(match error {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            });
        }
    }

    async fn try_empty_kind(&self, namespace: &str, kind: &Kind, pass: &mut Pass) -> kube::Result<()> {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::namespaced_with(self.context.client.clone(), namespace, &kind.resource);
        if api.list(&ListParams::default().limit(1)).await?.items.is_empty() {
            return Ok(());
        }
        let params = DeleteParams::background();
        if kind.has("deletecollection") {
            api.delete_collection(&params, &ListParams::default()).await?;
        } else {
            for object in api.list(&ListParams::default()).await?.items {
                match api.delete(meta::name(&object), &params).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let left = api.list(&ListParams::default()).await?.items;
        if !left.is_empty() {
            let name = format!("{}.{}", kind.resource.plural, kind.resource.group);
            pass.remaining.insert(name, left.len());
        }
        for finalizer in left.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
            *pass.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        Ok(())
    }

    async fn finalize(&self, namespace: &Namespace) -> kube::Result<()> {
        let mut namespace = namespace.clone();
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        match api.replace_subresource("finalize", meta::name(&namespace), &posting(), &namespace).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes into the namespace what keeps it.
    async fn tell(&self, namespace: &Namespace, pass: &Pass) -> kube::Result<()> {
        let mut told = namespace.clone();
        let status = told.status.get_or_insert_default();
        status.phase = Some("Terminating".into());
        let now = self.context.clock.now();
        status.conditions = Some(conditions(status.conditions.take().unwrap_or_default(), pass, now));
        if told == *namespace {
            return Ok(());
        }
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        match api.replace_status(meta::name(&told), &posting(), &told).await {
            Ok(_) => Ok(()),
            // The next pass tells it.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the conditions of a namespace about which `pass` found out more; others than these five are kept.
fn conditions(mut known: Vec<NamespaceCondition>, pass: &Pass, now: Timestamp) -> Vec<NamespaceCondition> {
    for (kind, holds, reason, message) in findings(pass) {
        let status = if holds { "True" } else { "False" };
        let at = known.iter().position(|condition| condition.type_ == kind);
        let since = at.and_then(|at| {
            let same = known[at].status == status && known[at].reason.as_deref() == Some(reason);
            known[at].last_transition_time.clone().filter(|_| same)
        });
        let condition = NamespaceCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        };
        match at {
            Some(at) => known[at] = condition,
            None => known.push(condition),
        }
    }
    known
}

/// Condition, whether it holds, reason and message, all in upstream's words.
fn findings(pass: &Pass) -> [(&'static str, bool, &'static str, String); 5] {
    let list = |counts: &BTreeMap<String, usize>, verb: &str| {
        let counts: Vec<_> =
            counts.iter().map(|(name, count)| format!("{name} {verb} {count} resource instances")).collect();
        counts.join(", ")
    };
    let discovery = if pass.discovery_failures.is_empty() {
        (false, "ResourcesDiscovered", "All resources successfully discovered".into())
    } else {
        let failures = pass.discovery_failures.join(", ");
        (
            true,
            "DiscoveryFailed",
            format!(
                "Discovery failed for some groups, {} failing: {failures}",
                pass.discovery_failures.len()
            ),
        )
    };
    let deletion = if pass.failures.is_empty() {
        (false, "ContentDeleted", "All content successfully deleted, may be waiting on finalization".into())
    } else {
        let failures = pass.failures.join(", ");
        (
            true,
            "ContentDeletionFailed",
            format!("Failed to delete all resource types, {} remaining: {failures}", pass.failures.len()),
        )
    };
    let remaining = if pass.remaining.is_empty() {
        (false, "ContentRemoved", "All content successfully removed".into())
    } else {
        (
            true,
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", list(&pass.remaining, "has")),
        )
    };
    let finalizers = if pass.finalizers.is_empty() {
        (false, "ContentHasNoFinalizers", "All content-preserving finalizers finished".into())
    } else {
        let finalizers = list(&pass.finalizers, "in");
        (
            true,
            "SomeFinalizersRemain",
            format!("Some content in the namespace has finalizers remaining: {finalizers}"),
        )
    };
    let parsing = (false, "ParsedGroupVersions", "All legacy kube types successfully parsed".into());
    [
        ("NamespaceDeletionDiscoveryFailure", discovery),
        ("NamespaceDeletionGroupVersionParsingFailure", parsing),
        ("NamespaceDeletionContentFailure", deletion),
        ("NamespaceContentRemaining", remaining),
        ("NamespaceFinalizersRemaining", finalizers),
    ]
    .map(|(kind, (holds, reason, message))| (kind, holds, reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_says_what_remains_and_since_when() {
        let pass = Pass {
            remaining: [("configmaps.".into(), 1)].into(),
            finalizers: [("ex.com/f".into(), 1)].into(),
            ..Pass::default()
        };
        let (first, later) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(20).unwrap());

        let told = conditions(Vec::new(), &pass, first);
        let again = conditions(told.clone(), &pass, later);
        let gone = conditions(told.clone(), &Pass::default(), later);

        assert_eq!(told.len(), 5);
        assert_eq!(
            told[3].message.as_deref(),
            Some("Some resources are remaining: configmaps. has 1 resource instances")
        );
        assert_eq!(
            told[4].message.as_deref(),
            Some("Some content in the namespace has finalizers remaining: ex.com/f in 1 resource instances")
        );
        assert_eq!(again, told);
        assert_eq!(
            (gone[3].status.as_str(), gone[3].last_transition_time.clone()),
            ("False", Some(Time(later)))
        );
    }
}
