//! The default roles and bindings, made and repaired when the server starts.
//!
//! As upstream, rules and subjects that are missing are added, what somebody added stays, and an object whose annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is `false` is left alone.

use http::StatusCode;
use quarterdeck_core::storage::Key;
use serde_json::{Map, Value, json};

use super::defaults::{self, Binding, Role, Rule, Subject};
use super::{GROUP, PolicyRule, missing};
use crate::cache::World;
use crate::registry::Registry;
use crate::status::Result;
use crate::user::User;
use crate::write::install::Ready;
use crate::write::{Change, Target};

const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Makes what is missing of the default policy. Kinds that the server does not serve are left out.
pub(crate) async fn bootstrap(registry: &Registry) -> Result<()> {
    let (resources, world) = (registry.resources(), registry.cache.world());
    let roles = defaults::roles().map(|role| (role.namespace, role_object(role)));
    let bindings = defaults::bindings().map(|binding| (binding.namespace, binding_object(binding)));
    let wanted = roles.chain(bindings).filter_map(|(namespace, mut object)| {
        let resource = resources.by_kind(GROUP, object["kind"].as_str()?)?.clone();
        object["apiVersion"] = resource.api_version().into();
        Some(Ready { resource, namespace, object })
    });
    let (present, missing): (Vec<_>, Vec<_>) =
        wanted.partition(|wanted| world.get(key(wanted).as_str()).is_some());
    // Another server of the same cluster may be about the same.
    if !registry.install(&missing).await? {
        for wanted in &missing {
            registry.install(std::slice::from_ref(wanted)).await?;
        }
    }
    for wanted in present {
        repair(registry, &wanted, &world).await?;
    }
    Ok(())
}

fn key(wanted: &Ready) -> Key {
    let name = wanted.object["metadata"]["name"].as_str().unwrap_or_default();
    wanted.resource.key(wanted.namespace, name)
}

/// Adds to an object what it lacks.
async fn repair(registry: &Registry, wanted: &Ready, world: &World) -> Result<()> {
    let Ready { resource, namespace, object } = wanted;
    let repair = Repair(object.clone());
    let Some(present) = world.get(key(wanted).as_str()).map(|present| present.value()) else { return Ok(()) };
    if repair.apply(&present)? == present {
        return Ok(());
    }
    let (user, name) = (User::admin(), object["metadata"]["name"].as_str().unwrap_or_default());
    let target = Target::unasked(resource, *namespace, name, &user);
    match registry.update(&target, &repair).await {
        // Somebody deleted it meanwhile.
        Err(status) if status.code == StatusCode::NOT_FOUND => Ok(()),
        other => other.map(|_| ()),
    }
}

fn kind(kind: &str, namespace: Option<&str>) -> String {
    if namespace.is_some() { kind.to_owned() } else { format!("Cluster{kind}") }
}

/// Adds what an object lacks of this one.
struct Repair(Value);

impl Change for Repair {
    fn apply(&self, present: &Value) -> Result<Value> {
        let (wanted, mut object) = (&self.0, present.clone());
        if object["metadata"]["annotations"][AUTO_UPDATE] == "false" {
            return Ok(object);
        }
        for field in ["labels", "annotations"] {
            for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
                if object["metadata"][field][key].is_null() {
                    object["metadata"][field][key] = value.clone();
                }
            }
        }
        // The rules of an aggregated role are its controller's.
        if wanted["aggregationRule"].is_null() {
            let lacking = missing(&PolicyRule::all_of(present), &PolicyRule::all_of(wanted));
            let lacking = lacking.expect("default roles have a few thousand parts at most");
            extend(&mut object, "rules", lacking.iter().map(rule_value).collect());
        }
        let subjects = wanted["subjects"].as_array().into_iter().flatten();
        let known = present["subjects"].as_array().cloned().unwrap_or_default();
        extend(
            &mut object,
            "subjects",
            subjects.filter(|subject| !known.contains(subject)).cloned().collect(),
        );
        Ok(object)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }
}

fn extend(object: &mut Value, field: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    let mut all = object[field].as_array().cloned().unwrap_or_default();
    all.extend(more);
    object[field] = all.into();
}

/// Writes a rule as it stands in a role.
pub(crate) fn rule_value(rule: &PolicyRule) -> Value {
    let fields = [
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
        ("nonResourceURLs", &rule.non_resource_urls),
    ];
    let fields = fields.iter().filter(|(_, list)| !list.is_empty());
    fields.map(|(name, list)| ((*name).to_owned(), json!(list))).collect::<Map<_, _>>().into()
}

/// Returns the default roles, as they would be stored.
pub(super) fn default_roles() -> impl Iterator<Item = Value> {
    defaults::roles().map(role_object)
}

/// Returns the default bindings, as they would be stored.
pub(super) fn default_bindings() -> impl Iterator<Item = Value> {
    defaults::bindings().map(binding_object)
}

fn metadata(name: &str, namespace: Option<&str>, labels: &[(&str, &str)]) -> Value {
    let mut all: Map<String, Value> =
        labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    all.insert("kubernetes.io/bootstrapping".into(), "rbac-defaults".into());
    let mut metadata = json!({"name": name, "labels": all, "annotations": {AUTO_UPDATE: "true"}});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

/// Returns what a default role allows that stands in no namespace.
pub(crate) fn default_rules(name: &str) -> Vec<PolicyRule> {
    let role = defaults::roles().find(|role| role.name == name && role.namespace.is_none());
    role.map(|role| PolicyRule::all_of(&role_object(role))).unwrap_or_default()
}

fn role_object(role: &Role) -> Value {
    let rules = role.rules.iter().map(|rule: &Rule| {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        rule_value(&PolicyRule {
            verbs: own(rule.verbs),
            api_groups: own(rule.groups),
            resources: own(rule.resources),
            resource_names: own(rule.names),
            non_resource_urls: own(rule.urls),
        })
    });
    let mut object = json!({
        "kind": kind("Role", role.namespace),
        "metadata": metadata(role.name, role.namespace, role.labels),
        "rules": rules.collect::<Vec<_>>(),
    });
    if !role.aggregates.is_empty() {
        let selectors = role.aggregates.iter().map(|label| json!({"matchLabels": {*label: "true"}}));
        object["aggregationRule"] = json!({"clusterRoleSelectors": selectors.collect::<Vec<_>>()});
        object["rules"] = aggregated(role).iter().map(rule_value).collect::<Vec<_>>().into();
    }
    object
}

/// The rules of the default roles that an aggregated role selects: it is of use before any controller runs.
fn aggregated(role: &Role) -> Vec<PolicyRule> {
    let is_selected = |part: &&Role| {
        part.labels.iter().any(|(label, value)| *value == "true" && role.aggregates.contains(label))
    };
    let mut selected: Vec<_> = defaults::roles().filter(is_selected).collect();
    // As the controller collects them, which then finds nothing to do.
    selected.sort_by_key(|part| part.name);
    let mut rules = Vec::new();
    for part in selected {
        let part = PolicyRule::all_of(&role_object(part));
        rules.extend(part.into_iter().filter(|rule| !rules.contains(rule)).collect::<Vec<_>>());
    }
    rules
}

fn binding_object(binding: &Binding) -> Value {
    let subjects = binding.subjects.iter().map(|subject| match subject {
        Subject::User(name) => json!({"kind": "User", "apiGroup": GROUP, "name": name}),
        Subject::Group(name) => json!({"kind": "Group", "apiGroup": GROUP, "name": name}),
        Subject::ServiceAccount(name) => {
            json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
        }
    });
    let mut object = json!({
        "kind": kind("RoleBinding", binding.namespace),
        "metadata": metadata(binding.name, binding.namespace, &[]),
        "roleRef": {"apiGroup": GROUP, "kind": kind("Role", binding.namespace), "name": binding.role},
    });
    extend(&mut object, "subjects", subjects.collect());
    object
}
