//! Who may have policies read parameters. A policy shows what its parameters hold to whoever writes what it is about, so who
//! names them has to be allowed to read them. The rules are those of `k8s.io/kubernetes/pkg/registry/admissionregistration`.

use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Attributes, Operation};
use crate::cache::World;
use crate::layers::authorization::{Authorization, Decision};
use crate::request::{RequestInfo, ResourceRequest, Verb};
use crate::status::{Result, Status};
use crate::user::{MASTERS, User};
use crate::validation::FieldError;

/// Who writes a policy with a `paramKind` needs the right to get all objects of that kind, who writes a binding with a `paramRef`
/// the right to get what it refers to.
#[derive(Debug)]
pub(crate) struct ParameterRights(Authorization);

/// A group, a version and a plural, each perhaps `*`.
type Path = (String, String, String);

impl ParameterRights {
    pub(crate) fn new(authorization: Authorization) -> Self {
        Self(authorization)
    }

    async fn may_get(&self, user: &User, path: Path, namespace: &str, name: &str) -> bool {
        let (group, version, resource) = path;
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let request = RequestInfo::Resource(ResourceRequest {
            verb: Some(Verb::Get),
            group,
            version,
            namespace: given(namespace),
            resource,
            name: given(name),
            subresource: None,
        });
        matches!(self.0.decide(user, &request, Verb::Get.as_str(), "").await, Decision::Allow(_))
    }

    /// Checks a policy. Returns why it is refused.
    async fn policy(&self, attributes: &Attributes<'_>, spec: &Value) -> Option<FieldError> {
        let kind = &spec["paramKind"];
        let is_old = attributes.old.is_some_and(|old| old["spec"]["paramKind"] == *kind);
        let path = path_of(kind, attributes.world);
        if kind.is_null() || is_old || self.may_get(attributes.user, path, "*", "*").await {
            return None;
        }
        let text = |field: &str| kind[field].as_str().unwrap_or_default();
        let why = format!(
            "user {:?} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            attributes.user.name,
            text("kind"),
            text("apiVersion"),
        );
        Some(FieldError::forbidden("spec.paramKind", &why))
    }

    /// Checks a binding. Returns why it is refused.
    async fn binding(&self, attributes: &Attributes<'_>, spec: &Value) -> Option<FieldError> {
        let reference = &spec["paramRef"];
        let is_old = attributes.old.is_some_and(|old| {
            let old = &old["spec"];
            old["paramRef"] == *reference && old["policyName"] == spec["policyName"]
        });
        if reference.is_null() || is_old {
            return None;
        }
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let path = path_of(&kind_of(spec, attributes.world), attributes.world);
        if self.may_get(attributes.user, path, text("namespace"), text("name")).await {
            return None;
        }
        let why = format!(
            "user {:?} does not have \"get\" permission on the object referenced by paramRef",
            attributes.user.name
        );
        Some(FieldError::forbidden("spec.paramRef", &why))
    }
}

/// Returns the kind of the parameters of a binding's policy. Which it is may not be known yet.
fn kind_of(binding: &Value, world: &World) -> Value {
    let policy = binding["policyName"].as_str().unwrap_or_default();
    let policy = world.get(&format!("{}{policy}", super::validating_policy::POLICIES));
    policy.map(|policy| policy.parsed()["spec"]["paramKind"].clone()).unwrap_or_default()
}

/// Returns where objects of a kind are, as far as that is known.
fn path_of(kind: &Value, world: &World) -> Path {
    let any = || "*".to_owned();
    let api_version = kind["apiVersion"].as_str().filter(|it| it.matches('/').count() < 2);
    let Some(api_version) = api_version else { return (any(), any(), any()) };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let mut resources = world.resources().all().iter();
    let resource = resources.find(|it| it.api_version() == api_version && kind["kind"] == *it.kind);
    (group.to_owned(), version.to_owned(), resource.map_or_else(any, |resource| resource.plural.to_string()))
}

#[async_trait]
impl Admission for ParameterRights {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.resource.group == "admissionregistration.k8s.io"
            && attributes.subresource.is_none()
            && attributes.operation != Operation::Delete
            && !attributes.user.is_in(MASTERS)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let Some(object) = object else { return Ok(()) };
        let resource = attributes.resource;
        let refusal = match &*resource.kind {
            "ValidatingAdmissionPolicy" => self.policy(attributes, &object["spec"]).await,
            "ValidatingAdmissionPolicyBinding" => self.binding(attributes, &object["spec"]).await,
            _ => None,
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let refuse = |error| Status::invalid(&resource.group, &resource.kind, name, &[error]);
        refusal.map_or(Ok(()), |error| Err(refuse(error)))
    }
}
