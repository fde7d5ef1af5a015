//! The roles and bindings that a cluster starts with: Kubernetes' default policy as data.
//!
//! Start at [`roles`] and [`bindings`]. `users` has what people are given, `components` what the parts of a
//! cluster are given, `controllers` what each controller is given. The policy is that of Kubernetes 1.33 with
//! the features that are on by default. What goes beyond it is in `own`.
//!
//! Clients see these objects as they stand here: rules are in upstream's order, and the lists in a rule are
//! sorted, as upstream sorts them. Writing the objects to the storage is not done here.

mod components;
mod controllers;
mod own;
#[cfg(test)]
mod tests;
mod users;

/// A rule of a default role: of resources, or of paths.
#[derive(Debug)]
pub(super) struct Rule {
    pub verbs: &'static [&'static str],
    pub groups: &'static [&'static str],
    pub resources: &'static [&'static str],
    /// The objects that it is limited to; all if empty.
    pub names: &'static [&'static str],
    /// Paths beside resources, `nonResourceURLs`.
    pub urls: &'static [&'static str],
}

/// A default role, of the cluster or (with a namespace) of a namespace.
#[derive(Debug)]
pub(super) struct Role {
    pub namespace: Option<&'static str>,
    pub name: &'static str,
    /// Labels beside `kubernetes.io/bootstrapping`, which every default object has.
    pub labels: &'static [(&'static str, &'static str)],
    /// Keys of labels: the role has the rules of all roles that have one of them with the value `true`.
    pub aggregates: &'static [&'static str],
    pub rules: &'static [Rule],
}

/// Whom a default role is given to.
#[derive(Debug)]
pub(super) enum Subject {
    User(&'static str),
    Group(&'static str),
    /// A service account in `kube-system`.
    ServiceAccount(&'static str),
}

/// A default binding, of the cluster or (with a namespace) of a namespace.
#[derive(Debug)]
pub(super) struct Binding {
    pub namespace: Option<&'static str>,
    pub name: &'static str,
    /// A role of the cluster, or, if the binding has a namespace, of that namespace.
    pub role: &'static str,
    pub subjects: &'static [Subject],
}

/// Returns all default roles.
pub(super) fn roles() -> impl Iterator<Item = &'static Role> {
    [users::ROLES, components::ROLES, controllers::ROLES, own::ROLES].into_iter().flatten()
}

/// Returns all default bindings.
pub(super) fn bindings() -> impl Iterator<Item = &'static Binding> {
    [users::BINDINGS, components::BINDINGS, controllers::BINDINGS, own::BINDINGS].into_iter().flatten()
}

type List = &'static [&'static str];

const SYSTEM: &str = "kube-system";
const PUBLIC: &str = "kube-public";

const ADMISSION: List = &["admissionregistration.k8s.io"];
const ANY: List = &["*"];
const APPS: List = &["apps"];
const AUTHENTICATION: List = &["authentication.k8s.io"];
const AUTHORIZATION: List = &["authorization.k8s.io"];
const AUTOSCALING: List = &["autoscaling"];
const BATCH: List = &["batch"];
const CERTIFICATES: List = &["certificates.k8s.io"];
const COORDINATION: List = &["coordination.k8s.io"];
const CORE: List = &[""];
const DISCOVERY: List = &["discovery.k8s.io"];
const EXTENSIONS: List = &["extensions"];
const NETWORKING: List = &["networking.k8s.io"];
const NODE: List = &["node.k8s.io"];
const POLICY: List = &["policy"];
const RBAC: List = &["rbac.authorization.k8s.io"];
const STORAGE: List = &["storage.k8s.io"];
/// Workloads moved from one group to the other; rules still name both.
const WORKLOADS: List = &["apps", "extensions"];

const CREATE: List = &["create"];
const GET: List = &["get"];
const LIST_WATCH: List = &["list", "watch"];
const PATCH: List = &["patch"];
const PATCH_UPDATE: List = &["patch", "update"];
const READ: List = &["get", "list", "watch"];
const READ_DELETE: List = &["delete", "get", "list", "watch"];
const READ_PUT: List = &["get", "list", "update", "watch"];
const READ_UPDATE: List = &["get", "list", "patch", "update", "watch"];
const READ_WRITE: List = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const UPDATE: List = &["update"];
const WRITE: List = &["create", "delete", "deletecollection", "patch", "update"];

/// What every component that reports events has.
const EVENTS: Rule = resources(&["create", "patch", "update"], &["", "events.k8s.io"], &["events"]);

const fn resources(verbs: List, groups: List, resources: List) -> Rule {
    named(verbs, groups, resources, &[])
}

const fn named(verbs: List, groups: List, resources: List, names: List) -> Rule {
    Rule { verbs, groups, resources, names, urls: &[] }
}

const fn paths(verbs: List, urls: List) -> Rule {
    Rule { verbs, groups: &[], resources: &[], names: &[], urls }
}

const fn role(name: &'static str, rules: &'static [Rule]) -> Role {
    Role { namespace: None, name, labels: &[], aggregates: &[], rules }
}

const fn role_in(namespace: &'static str, name: &'static str, rules: &'static [Rule]) -> Role {
    Role { namespace: Some(namespace), ..role(name, rules) }
}

/// Gives a role by a binding of the same name.
const fn bind(role: &'static str, subjects: &'static [Subject]) -> Binding {
    Binding { namespace: None, name: role, role, subjects }
}

const fn bind_in(namespace: &'static str, role: &'static str, subjects: &'static [Subject]) -> Binding {
    Binding { namespace: Some(namespace), ..bind(role, subjects) }
}
