//! What a pod may do to the node that it runs on: the Pod Security Standards, by labels of namespaces.
//!
//! Start at [`PodSecurity`]. A namespace's labels choose a [`Level`] for each of three modes: pods that break `enforce` are
//! refused, what breaks `warn` or `audit` is warned of and noted in the audit event, for what makes pods too. The rules and
//! messages are those of `k8s.io/pod-security-admission` of Kubernetes 1.33; each check is a function in `checks`.

mod checks;
mod namespace;
mod policy;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use serde_json::Value;

pub use policy::{Level, LevelVersion, Policy, Version};

use super::{Admission, Attributes, Operation};
use crate::resource::Subresource;
use crate::status::{Result, Status};
use crate::validation::FieldError;
use checks::{Pod, Violation, details, violations};

/// What the annotations of audit events begin with.
const AUDIT: &str = "pod-security.kubernetes.io/";

/// Upstream's `PodSecurity`.
///
/// # Examples
///
/// ```
/// # use quarterdeck_registry::{ApiServer, MemoryStorage};
/// use quarterdeck_registry::admission::{Exemptions, Level, LevelVersion, PodSecurity, Policy};
///
/// let baseline = LevelVersion::latest(Level::Baseline);
/// let defaults = Policy { enforce: baseline, audit: baseline, warn: LevelVersion::latest(Level::Restricted) };
/// let exemptions = Exemptions { namespaces: vec!["kube-system".into()], ..Exemptions::default() };
///
/// let builder = ApiServer::builder(MemoryStorage::new()).pod_security(PodSecurity { defaults, exemptions });
/// ```
#[derive(Debug, Clone, Default)]
pub struct PodSecurity {
    /// What holds in namespaces whose labels do not say (default: everything is allowed).
    pub defaults: Policy,
    /// What is not looked at (default: nothing is left out).
    pub exemptions: Exemptions,
}

/// What [`PodSecurity`] does not look at.
#[derive(Debug, Clone, Default)]
pub struct Exemptions {
    /// Pods that these users write.
    pub usernames: Vec<String>,
    /// Pods of these runtime classes.
    pub runtime_classes: Vec<String>,
    /// Pods in these namespaces.
    pub namespaces: Vec<String>,
}

impl PodSecurity {
    /// Says in the audit event that something is exempt, and why.
    fn is_exempt(&self, attributes: &Attributes<'_>) -> bool {
        let is_in = |list: &[String], name: &str| list.iter().any(|known| known == name);
        let why = if is_in(&self.exemptions.namespaces, attributes.namespace.unwrap_or_default()) {
            "namespace"
        } else if is_in(&self.exemptions.usernames, &attributes.user.name) {
            "user"
        } else {
            return false;
        };
        attributes.annotate(format!("{AUDIT}exempt"), why);
        true
    }

    fn is_class_exempt(&self, spec: &Value) -> bool {
        let class = spec["runtimeClassName"].as_str().filter(|class| !class.is_empty());
        class.is_some_and(|class| self.exemptions.runtime_classes.iter().any(|known| known == class))
    }

    /// Returns what the namespace of a write asks for; absent if the namespace is not known.
    fn policy(&self, attributes: &Attributes<'_>) -> Option<(Policy, Vec<FieldError>)> {
        let name = attributes.namespace.unwrap_or_default();
        match attributes.world.get(&format!("/registry/namespaces/{name}")) {
            Some(namespace) => Some(self.defaults.of_labels(&namespace.parsed()["metadata"]["labels"])),
            // Without the kind, a namespace is a name.
            None => attributes
                .world
                .resources()
                .get("", "v1", "namespaces")
                .is_none()
                .then(|| (self.defaults, Vec::new())),
        }
    }

    fn pod(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        if self.is_exempt(attributes) {
            return Ok(());
        }
        let Some((policy, errors)) = self.policy(attributes) else {
            let name = attributes.namespace.unwrap_or_default();
            return Err(Status::internal(format!("failed to lookup namespace {name:?}")));
        };
        if errors.is_empty() && policy.is_privileged() {
            attributes.annotate(format!("{AUDIT}enforce-policy"), "privileged:latest");
            return Ok(());
        }
        if attributes.old.is_some_and(|old| !is_significant(pod, old)) {
            return Ok(());
        }
        let whole = Pod { metadata: &pod["metadata"], spec: &pod["spec"] };
        self.evaluate(attributes, &policy, &errors, &whole, true)
    }

    /// Looks at what pods are to be made from: nothing is refused, the pods will be.
    fn template(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        if self.is_exempt(attributes) {
            return Ok(());
        }
        let Some((policy, errors)) = self.policy(attributes) else {
            let name = attributes.namespace.unwrap_or_default();
            let why = format!("failed to lookup namespace {name:?}: namespace {name:?} not found");
            attributes.annotate(format!("{AUDIT}error"), why);
            return Ok(());
        };
        let judges = [policy.warn, policy.audit].iter().any(|mode| mode.level != Level::Privileged);
        if errors.is_empty() && !judges {
            return Ok(());
        }
        match template_of(&attributes.resource.plural, object) {
            Value::Null => Ok(()),
            template => {
                let pod = Pod { metadata: &template["metadata"], spec: &template["spec"] };
                self.evaluate(attributes, &policy, &errors, &pod, false)
            }
        }
    }

    fn evaluate(
        &self,
        attributes: &Attributes<'_>,
        policy: &Policy,
        errors: &[FieldError],
        pod: &Pod<'_>,
        enforces: bool,
    ) -> Result<()> {
        if self.is_class_exempt(pod.spec) {
            attributes.annotate(format!("{AUDIT}exempt"), "runtimeClass");
            return Ok(());
        }
        if !errors.is_empty() {
            attributes
                .annotate(format!("{AUDIT}error"), format!("Failed to parse policy: {}", aggregate(errors)));
        }
        // Most namespaces ask for the same in all modes.
        let mut known: Vec<(LevelVersion, Vec<Violation>)> = Vec::with_capacity(3);
        let mut broken = |asked: LevelVersion| {
            let at = known.iter().position(|(of, _)| *of == asked).unwrap_or_else(|| {
                known.push((asked, violations(asked, pod)));
                known.len() - 1
            });
            let found = &known[at].1;
            (!found.is_empty()).then(|| format!("violate PodSecurity \"{asked}\": {}", details(found)))
        };
        let refusal = if enforces {
            attributes.annotate(format!("{AUDIT}enforce-policy"), policy.enforce.to_string());
            // The message is in the third person.
            broken(policy.enforce).map(|broken| broken.replacen("violate", "violates", 1))
        } else {
            None
        };
        if let Some(broken) = broken(policy.audit) {
            attributes.annotate(format!("{AUDIT}audit-violations"), format!("would {broken}"));
        }
        if let Some(why) = refusal {
            return Err(Status::forbidden_object(attributes.resource, attributes.name, why));
        }
        if let Some(broken) = broken(policy.warn) {
            attributes.warn(format!("would {broken}"));
        }
        Ok(())
    }
}

/// Puts several errors into one text, as upstream does.
fn aggregate(errors: &[FieldError]) -> String {
    match errors {
        [one] => one.to_string(),
        several => {
            let texts: Vec<_> = several.iter().map(FieldError::to_string).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}

/// Whether pods are made from objects of a kind.
fn makes_pods(group: &str, plural: &str) -> bool {
    match group {
        "" => matches!(plural, "replicationcontrollers" | "podtemplates"),
        "apps" => matches!(plural, "replicasets" | "deployments" | "statefulsets" | "daemonsets"),
        "batch" => matches!(plural, "jobs" | "cronjobs"),
        _ => false,
    }
}

/// What an object of such a kind makes pods from.
fn template_of<'v>(plural: &str, object: &'v Value) -> &'v Value {
    match plural {
        "podtemplates" => &object["template"],
        "cronjobs" => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &object["spec"]["template"],
    }
}

/// Whether an update changes anything of a pod that is looked at: containers, and their images.
fn is_significant(new: &Value, old: &Value) -> bool {
    const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let list = |pod: &Value, list: &str| pod["spec"][list].as_array().cloned().unwrap_or_default();
    let differs = |new_container: &Value, old_container: &Value| {
        let key = format!("{SECCOMP}{}", new_container["name"].as_str().unwrap_or_default());
        let annotation =
            |pod: &Value| pod["metadata"]["annotations"][&key].as_str().unwrap_or_default().to_owned();
        new_container["image"] != old_container["image"] || annotation(new) != annotation(old)
    };
    let changed = ["containers", "initContainers"].into_iter().any(|field| {
        let (new, old) = (list(new, field), list(old, field));
        new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| differs(new, old))
    });
    let known = list(old, "ephemeralContainers");
    changed
        || list(new, "ephemeralContainers").iter().any(|new| {
            let old = known.iter().find(|old| old["name"] == new["name"]);
            old.is_none_or(|old| differs(new, old))
        })
}

#[async_trait]
impl Admission for PodSecurity {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let (group, plural) = (&*attributes.resource.group, &*attributes.resource.plural);
        let is_pod = group.is_empty() && plural == "pods";
        let is_looked_at = match attributes.subresource {
            None => is_pod || makes_pods(group, plural) || (group.is_empty() && plural == "namespaces"),
            // These change nothing that is looked at. A new one is looked at until it is known.
            Some(Subresource::Status | Subresource::Binding | Subresource::Eviction | Subresource::Log) => {
                false
            }
            Some(_) => is_pod,
        };
        is_looked_at && attributes.operation != Operation::Delete
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let Some(object) = object else { return Ok(()) };
        match &*attributes.resource.plural {
            "namespaces" => self.namespace(attributes, object).await,
            "pods" => self.pod(attributes, object),
            _ => self.template(attributes, object),
        }
    }
}
