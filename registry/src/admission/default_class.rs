//! A claim without a storage class, and an ingress without a class, get the one that the cluster has for them.

use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Attributes, Operation};
use crate::cache::World;
use crate::status::Result;

/// Upstream's `DefaultStorageClass`.
#[derive(Debug)]
pub struct DefaultStorageClass;

/// Upstream's `DefaultIngressClass`.
#[derive(Debug)]
pub struct DefaultIngressClass;

const STORAGE_MARKS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const INGRESS_MARKS: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];

#[async_trait]
impl Admission for DefaultStorageClass {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("persistentvolumeclaims")
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        const OLDER: &str = "volume.beta.kubernetes.io/storage-class";
        let has_class = !object["spec"]["storageClassName"].is_null()
            || !object["metadata"]["annotations"][OLDER].is_null();
        if !has_class
            && let Some(class) = default_of(attributes.world, "/registry/storageclasses/", &STORAGE_MARKS)
        {
            object["spec"]["storageClassName"] = class.into();
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for DefaultIngressClass {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create
            && attributes.subresource.is_none()
            && attributes.resource.group == "networking.k8s.io"
            && attributes.resource.plural == "ingresses"
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        const OLDER: &str = "kubernetes.io/ingress.class";
        let has_class = !object["spec"]["ingressClassName"].is_null()
            || !object["metadata"]["annotations"][OLDER].is_null();
        if !has_class
            && let Some(class) = default_of(attributes.world, "/registry/ingressclasses/", &INGRESS_MARKS)
        {
            object["spec"]["ingressClassName"] = class.into();
        }
        Ok(())
    }
}

/// Returns the name of the default class: of several the newest, of those the first by name.
fn default_of(world: &World, prefix: &str, marks: &[&str]) -> Option<String> {
    let classes = world.range(prefix, None).map(|(_, class)| class.parsed());
    let defaults =
        classes.filter(|class| marks.iter().any(|mark| class["metadata"]["annotations"][mark] == "true"));
    let created =
        |class: &Value| class["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    let newest = defaults.reduce(|best, next| if created(next) > created(best) { next } else { best });
    newest.and_then(|class| class["metadata"]["name"].as_str().map(str::to_owned))
}
