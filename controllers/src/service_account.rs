//! What every namespace has from the start: the service account `default`, and the certificate of the cluster's authority
//! in the config map `kube-root-ca.crt`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta};
use quarterdeck_core::client::{
    Context, Informer, ObjectKey, Reconcile, Requeue, Selector, Subscription, Watched, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};

use crate::meta::{self, is_terminating, posting};

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";

/// What the config map's readers should know, in upstream's annotation.
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// Keeps the service account `default` in every namespace.
#[derive(Debug)]
pub struct ServiceAccountController(Context);

impl ServiceAccountController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("service-account-controller"))
    }
}

#[async_trait]
impl Component for ServiceAccountController {
    fn name(&self) -> String {
        "serviceaccount-controller".into()
    }

    async fn run(self: Box<Self>, stop: Stop) -> Result<(), BoxError> {
        let name = self.name();
        in_every_namespace::<ServiceAccount>(&self.0, &name, ACCOUNT, BTreeMap::new(), stop).await
    }
}

/// Keeps the config map `kube-root-ca.crt` in every namespace, with the certificate that clients in pods trust.
#[derive(Debug)]
pub struct RootCaPublisher {
    context: Context,
    certificate: String,
}

impl RootCaPublisher {
    /// Makes the publisher of `certificate`, in PEM. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context, certificate: impl Into<String>) -> Self {
        Self { context: context.account("root-ca-cert-publisher"), certificate: certificate.into() }
    }
}

#[async_trait]
impl Component for RootCaPublisher {
    fn name(&self) -> String {
        "root-ca-certificate-publisher".into()
    }

    async fn run(self: Box<Self>, stop: Stop) -> Result<(), BoxError> {
        let name = self.name();
        let data = BTreeMap::from([(KEY.to_owned(), self.certificate)]);
        in_every_namespace::<ConfigMap>(&self.context, &name, ROOT_CA, data, stop).await
    }
}

/// An object that every namespace has under one name.
trait Standard:
    Watched + serde::Serialize + kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
{
    fn new(metadata: ObjectMeta, data: BTreeMap<String, String>) -> Self;

    /// Returns what `self` should be, if it is something else.
    fn corrected(&self, data: &BTreeMap<String, String>) -> Option<Self>;
}

impl Standard for ServiceAccount {
    fn new(metadata: ObjectMeta, _: BTreeMap<String, String>) -> Self {
        Self { metadata, ..Self::default() }
    }

    fn corrected(&self, _: &BTreeMap<String, String>) -> Option<Self> {
        None
    }
}

impl Standard for ConfigMap {
    fn new(mut metadata: ObjectMeta, data: BTreeMap<String, String>) -> Self {
        metadata.annotations = Some([(DESCRIPTION.0.into(), DESCRIPTION.1.into())].into());
        Self { metadata, data: Some(data), ..Self::default() }
    }

    fn corrected(&self, data: &BTreeMap<String, String>) -> Option<Self> {
        if self.data.as_ref() == Some(data) && meta::annotation(self, DESCRIPTION.0).is_some() {
            return None;
        }
        let mut corrected = self.clone();
        let annotations = corrected.metadata.annotations.get_or_insert_default();
        annotations.insert(DESCRIPTION.0.into(), DESCRIPTION.1.into());
        corrected.data = Some(data.clone());
        corrected.binary_data = None;
        Some(corrected)
    }
}

async fn in_every_namespace<K: Standard>(
    context: &Context,
    component: &str,
    name: &'static str,
    data: BTreeMap<String, String>,
    mut stop: Stop,
) -> Result<(), BoxError> {
    let namespaces = context.informers.of::<Namespace>();
    let objects = context.informers.selected::<K>(Selector::all().fields(format!("metadata.name={name}")));
    let queue = WorkQueue::new().measured(&context.metrics, component);
    let _subscriptions = follow(&namespaces, &objects, name, &queue);
    let keeper = Arc::new(Keeper {
        context: context.clone(),
        namespaces: namespaces.clone(),
        objects: objects.clone(),
        name,
        data,
    });
    let synced = async { tokio::join!(namespaces.synced(), objects.synced()) };
    if stop.or(synced).await.is_some() {
        work(component, &queue, 1, keeper, stop).await;
    }
    Ok(())
}

fn follow<K: Standard>(
    namespaces: &Informer<Namespace>,
    objects: &Informer<K>,
    name: &'static str,
    queue: &WorkQueue<String>,
) -> [Subscription; 2] {
    let (of_namespace, of_object) = (queue.clone(), queue.clone());
    [
        namespaces.subscribe(move |event| of_namespace.add(meta::name(&**event.object()).into())),
        objects.subscribe(move |event| {
            // A server that ignores the selector sends all objects; the others are nobody's business here.
            if meta::name(&**event.object()) == name {
                of_object.add(meta::namespace(&**event.object()).into());
            }
        }),
    ]
}

struct Keeper<K> {
    context: Context,
    namespaces: Informer<Namespace>,
    objects: Informer<K>,
    name: &'static str,
    data: BTreeMap<String, String>,
}

#[async_trait]
impl<K: Standard> Reconcile for Keeper<K> {
    type Key = String;

    async fn reconcile(&self, namespace: &String) -> Result<Requeue, BoxError> {
        let known = self.namespaces.store().get(&ObjectKey::new("", namespace));
        if known.is_none_or(|namespace| is_terminating(&*namespace)) {
            return Ok(Requeue::No);
        }
        let api: Api<K> = Api::namespaced(self.context.client.clone(), namespace);
        let object = self.objects.store().get(&ObjectKey::new(namespace, self.name));
        match object {
            Some(object) => {
                if let Some(corrected) = object.corrected(&self.data) {
                    api.replace(self.name, &posting(), &corrected).await?;
                }
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.into()), ..ObjectMeta::default() };
                match api.create(&posting(), &K::new(metadata, self.data.clone())).await {
                    Ok(_) => {}
                    // The informer is behind: the object exists, or the namespace goes.
                    Err(kube::Error::Api(status))
                        if status.is_already_exists() || status.is_forbidden() || status.is_not_found() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(Requeue::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_that_was_changed_is_corrected() {
        let data = BTreeMap::from([(KEY.to_owned(), "certificate".to_owned())]);
        let good = ConfigMap::new(ObjectMeta::default(), data.clone());
        assert!(good.corrected(&data).is_none());

        let mut changed = good.clone();
        changed.data.as_mut().unwrap().insert("more".into(), "x".into());

        assert_eq!(changed.corrected(&data), Some(good));
    }
}
