//! Nobody gives away more than they hold.
//!
//! Who makes or changes a role must hold what it allows, or have the verb `escalate` on it; who makes or changes a binding
//! must hold what its role allows, or have the verb `bind` on the role. The rules and messages are those of
//! `k8s.io/kubernetes/pkg/registry/rbac`.

use async_trait::async_trait;
use serde_json::Value;

use super::{GROUP, PolicyRule, TooManyParts, describe, missing, quoted};
use crate::admission::{Admission, Attributes, Operation};
use crate::cache::World;
use crate::layers::authorization::Authorization;
use crate::status::{Result, Status};
use crate::user::{MASTERS, User};

/// Refuses roles and bindings that would give somebody more than their author holds.
#[derive(Debug)]
pub(crate) struct Escalation(Authorization);

impl Escalation {
    pub(crate) fn new(authorization: Authorization) -> Self {
        Self(authorization)
    }

    async fn may(&self, user: &User, verb: &str, plural: &str, namespace: Option<&str>, name: &str) -> bool {
        self.0.may(user, verb, (GROUP, plural), namespace, name).await
    }

    /// Checks that a user holds all of some rules.
    fn require(
        &self,
        user: &User,
        namespace: Option<&str>,
        rules: &[PolicyRule],
    ) -> std::result::Result<(), String> {
        let held = self.0.rules(user, namespace.unwrap_or_default());
        let lacking = match missing(&held.rules, rules) {
            Ok(lacking) if lacking.is_empty() => return Ok(()),
            Ok(lacking) => describe(lacking),
            Err(TooManyParts) => "more than can be compared: write fewer or shorter rules".to_owned(),
        };
        Err(format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{lacking}",
            user.name,
            quoted(&user.groups),
        ))
    }

    async fn role(&self, attributes: &Attributes<'_>, role: &Value) -> Result<()> {
        let Attributes { resource, namespace, user, old, name, .. } = *attributes;
        // A name that the server has still to make is nobody's.
        let named = role["metadata"]["name"].as_str().unwrap_or_default();
        if self.may(user, "escalate", &resource.plural, namespace, named).await {
            return Ok(());
        }
        let refuse = |why: String| Status::forbidden_object(resource, name, &why);
        self.require(user, namespace, &PolicyRule::all_of(role)).map_err(refuse)?;
        let aggregates = |role: &Value| !role["aggregationRule"].is_null();
        if (aggregates(role) || old.is_some_and(aggregates))
            && self.require(user, None, &PolicyRule::everything()).is_err()
        {
            return Err(refuse("must have cluster-admin privileges to use the aggregationRule".into()));
        }
        Ok(())
    }

    async fn binding(&self, attributes: &Attributes<'_>, binding: &Value) -> Result<()> {
        let Attributes { resource, namespace, user, name, world, .. } = *attributes;
        let text = |field: &str| binding["roleRef"][field].as_str().unwrap_or_default();
        let (kind, role) = (text("kind"), text("name"));
        let plural = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if self.may(user, "bind", plural, namespace, role).await {
            return Ok(());
        }
        let rules = rules_of(world, plural, namespace, role)?;
        let held = self.require(user, namespace, &rules);
        held.map_err(|why| Status::forbidden_object(resource, name, &why))
    }
}

/// Returns whether an object changes in nothing but what the garbage collector changes.
fn is_as_collected(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["finalizers", "ownerReferences", "managedFields", "resourceVersion"] {
                metadata.remove(field);
            }
        }
        object
    };
    rest(old) == rest(new)
}

/// Returns what a role allows.
fn rules_of(world: &World, plural: &str, namespace: Option<&str>, name: &str) -> Result<Vec<PolicyRule>> {
    let resource = world.resources().get(GROUP, "v1", plural).ok_or_else(Status::unknown_path)?;
    let namespace = namespace.filter(|_| resource.is_namespaced());
    let role = world.get(resource.key(namespace, name).as_str());
    let role = role.ok_or_else(|| Status::not_found(resource, name))?;
    Ok(PolicyRule::all_of(&role.value()))
}

#[async_trait]
impl Admission for Escalation {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.resource.group == GROUP
            && attributes.subresource.is_none()
            && attributes.operation != Operation::Delete
            && !attributes.user.is_in(MASTERS)
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        self.check(attributes, object).await
    }

    /// Checks once more what other admission made of the object.
    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        match object {
            Some(object) => self.check(attributes, object).await,
            None => Ok(()),
        }
    }
}

impl Escalation {
    async fn check(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        if attributes.old.is_some_and(|old| is_as_collected(old, object)) {
            return Ok(());
        }
        match &*attributes.resource.plural {
            "roles" | "clusterroles" => self.role(attributes, object).await,
            "rolebindings" | "clusterrolebindings" => self.binding(attributes, object).await,
            _ => Ok(()),
        }
    }
}
