//! Nothing is made in a namespace that does not exist or is being deleted, and some namespaces are never deleted.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Attributes, Operation};
use crate::status::{Result, Status};

/// The namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Upstream's `NamespaceLifecycle`.
#[derive(Debug)]
pub struct NamespaceLifecycle;

#[async_trait]
impl Admission for NamespaceLifecycle {
    async fn mutate(&self, attributes: &Attributes<'_>, _object: &mut Value) -> Result<()> {
        if attributes.operation != Operation::Create {
            return Ok(());
        }
        let Some(namespace) = attributes.namespace else { return Ok(()) };
        let Some(object) = attributes.world.get(&format!("/registry/namespaces/{namespace}")) else {
            // Without the kind, a namespace is a name.
            return match attributes.world.resources().get("", "v1", "namespaces") {
                Some(_) => Err(namespace_not_found(namespace)),
                None => Ok(()),
            };
        };
        if object.header.field("status.phase") != "Terminating" {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        Err(Status::forbidden_object(attributes.resource, attributes.name, why).cause(json!({
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        })))
    }

    async fn validate(&self, attributes: &Attributes<'_>, _object: Option<&Value>) -> Result<()> {
        if attributes.operation == Operation::Delete
            && attributes.is_core("namespaces")
            && IMMORTAL.contains(&attributes.name)
        {
            return Err(Status::forbidden_object(
                attributes.resource,
                attributes.name,
                "this namespace may not be deleted",
            ));
        }
        Ok(())
    }
}

fn namespace_not_found(name: &str) -> Status {
    let mut status =
        Status::new(http::StatusCode::NOT_FOUND, "NotFound", format!("namespaces \"{name}\" not found"));
    status.details.insert("name".into(), name.into());
    status.details.insert("kind".into(), "namespaces".into());
    status
}
