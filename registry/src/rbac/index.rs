//! Who is given which roles, compiled from bindings and roles for decisions in microseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use quarterdeck_core::storage::{Key, Revision};
use serde_json::Value;

use super::bootstrap::{default_bindings, default_roles};
use super::rule::PolicyRule;
use crate::cache::World;
use crate::object::Object;
use crate::user::User;

pub(super) const CLUSTER_ROLES: &str = "/registry/clusterroles/";
pub(super) const CLUSTER_BINDINGS: &str = "/registry/clusterrolebindings/";
pub(super) const ROLES: &str = "/registry/roles/";
pub(super) const BINDINGS: &str = "/registry/rolebindings/";
/// What roles and bindings are stored under.
pub(super) const PREFIXES: [&str; 4] = [CLUSTER_ROLES, CLUSTER_BINDINGS, ROLES, BINDINGS];

/// Which part of the default policy a server cannot store, for it does not serve the kinds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unstored {
    pub cluster: bool,
    pub namespaces: bool,
}

impl Unstored {
    /// Says it of a server that stores something below these prefixes.
    pub(super) fn beside(stored: &[&str]) -> Self {
        let lacks = |prefixes: [&str; 2]| prefixes.iter().any(|prefix| !stored.contains(prefix));
        Self { cluster: lacks([CLUSTER_ROLES, CLUSTER_BINDINGS]), namespaces: lacks([ROLES, BINDINGS]) }
    }

    /// Whether an object of the default policy is of that part.
    fn has(self, object: &Value) -> bool {
        if object["metadata"]["namespace"].is_null() { self.cluster } else { self.namespaces }
    }
}

/// What was read of an object of a revision.
type Read<T> = (Revision, T);

/// What bindings of one revision grant.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The revision of the world that it was made of.
    pub revision: Revision,
    /// By namespace; what holds in the cluster stands under the empty one.
    grants: BTreeMap<String, Arc<Grants>>,
    /// What was read, to be used again while it stays as it is.
    bindings: BTreeMap<Key, Read<Arc<Binding>>>,
    roles: BTreeMap<Key, Read<Arc<[PolicyRule]>>>,
}

/// The grants of one namespace, or of the cluster. They are kept while the bindings and the roles that they are made of stay as
/// they are, and looked up by holder once somebody asks: who changes roles in one namespace keeps nobody waiting in another.
#[derive(Debug)]
struct Grants {
    sources: Vec<Source>,
    holders: OnceLock<Holders>,
}

/// A binding, with what its role allows or the name of the role that is missing.
#[derive(Debug)]
struct Source {
    binding: Arc<Binding>,
    rules: Result<Arc<[PolicyRule]>, String>,
}

/// Who is given something: for each user and group the numbers of a source and of one of its subjects.
#[derive(Debug, Default)]
struct Holders {
    users: BTreeMap<Arc<str>, Vec<(u32, u32)>>,
    groups: BTreeMap<Arc<str>, Vec<(u32, u32)>>,
}

/// A role, as somebody is given it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant<'a> {
    /// What the role allows, or the name of the role that is missing.
    pub rules: &'a Result<Arc<[PolicyRule]>, String>,
    binding: &'a Binding,
    subject: &'a Subject,
}

impl Grant<'_> {
    /// Returns by which binding, in upstream's words.
    pub(super) fn why(&self) -> Arc<str> {
        self.subject.why.get_or_init(|| self.binding.why(self.subject).into()).clone()
    }
}

impl Source {
    fn is_same(&self, other: &Self) -> bool {
        let rules = match (&self.rules, &other.rules) {
            (Ok(one), Ok(other)) => Arc::ptr_eq(one, other),
            (one, other) => one == other,
        };
        rules && Arc::ptr_eq(&self.binding, &other.binding)
    }
}

impl Grants {
    /// Makes grants, or takes those of before if they are the same.
    fn new(sources: Vec<Source>, before: Option<&Arc<Self>>) -> Arc<Self> {
        let is_same = |before: &&Arc<Self>| {
            before.sources.len() == sources.len()
                && before.sources.iter().zip(&sources).all(|(before, now)| before.is_same(now))
        };
        match before.filter(is_same) {
            Some(before) => before.clone(),
            None => Arc::new(Self { sources, holders: OnceLock::new() }),
        }
    }

    fn holders(&self) -> &Holders {
        self.holders.get_or_init(|| {
            let mut holders = Holders::default();
            for (number, source) in (0..).zip(&self.sources) {
                for (place, subject) in (0..).zip(&source.binding.subjects) {
                    let of = if subject.is_group { &mut holders.groups } else { &mut holders.users };
                    of.entry(subject.name.clone()).or_default().push((number, place));
                }
            }
            holders
        })
    }

    /// Returns what a user is given, by name first and then by groups.
    fn of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = Grant<'a>> {
        let holders = self.holders();
        let of_groups = user.groups.iter().filter_map(|group| holders.groups.get(group.as_str()));
        let of_user = holders.users.get(user.name.as_str());
        of_user.into_iter().chain(of_groups).flatten().map(|(source, subject)| {
            let Source { binding, rules } = &self.sources[*source as usize];
            Grant { rules, binding, subject: &binding.subjects[*subject as usize] }
        })
    }
}

/// A binding, as it was read.
#[derive(Debug)]
struct Binding {
    namespace: String,
    name: String,
    role_kind: String,
    role: String,
    subjects: Vec<Subject>,
}

#[derive(Debug)]
struct Subject {
    is_group: bool,
    /// What authentication calls it.
    name: Arc<str>,
    /// What messages call it.
    shown: Box<str>,
    /// By which binding it is given something, once somebody asked.
    why: OnceLock<Arc<str>>,
}

impl Index {
    /// Compiles what a world holds, and what it cannot hold of the default roles and bindings. What did not change since `before`
    /// is not read again.
    pub(super) fn new(world: &World, before: &Self, unstored: Unstored) -> Self {
        let roles = [CLUSTER_ROLES, ROLES].iter().flat_map(|prefix| world.range(prefix, None));
        let bindings = [CLUSTER_BINDINGS, BINDINGS].iter().flat_map(|prefix| world.range(prefix, None));
        let roles = roles
            .map(|(key, object)| read(key, object, &before.roles, |role| PolicyRule::all_of(role).into()));
        let bindings = bindings.map(|(key, object)| {
            read(key, object, &before.bindings, |binding| Arc::new(Binding::of(binding)))
        });
        let mut all_roles = BTreeMap::new();
        let mut all_bindings = BTreeMap::new();
        if unstored.cluster || unstored.namespaces {
            let roles = default_roles().filter(|role| unstored.has(role));
            all_roles = defaults(roles, &before.roles, |role| PolicyRule::all_of(role).into());
            let bindings = default_bindings().filter(|binding| unstored.has(binding));
            let of = |binding: &Value| Arc::new(Binding::of(binding));
            all_bindings = defaults(bindings, &before.bindings, of);
        }
        all_roles.extend(roles);
        all_bindings.extend(bindings);
        let mut sources: BTreeMap<&str, Vec<Source>> = BTreeMap::new();
        for (_, binding) in all_bindings.values() {
            let source = Source { binding: binding.clone(), rules: binding.rules(&all_roles) };
            sources.entry(&binding.namespace).or_default().push(source);
        }
        let grants = sources.into_iter().map(|(namespace, sources)| {
            (namespace.to_owned(), Grants::new(sources, before.grants.get(namespace)))
        });
        let grants = grants.collect();
        Self { revision: world.revision, grants, bindings: all_bindings, roles: all_roles }
    }

    /// Returns what a user is given in the cluster and, if it is not empty, in a namespace: once, however many bindings give it.
    pub(super) fn grants<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
    ) -> impl Iterator<Item = Grant<'a>> {
        let places = [Some(""), Some(namespace).filter(|namespace| !namespace.is_empty())];
        let grants = places.into_iter().flatten().filter_map(|place| self.grants.get(place));
        let mut seen = BTreeSet::new();
        grants.flat_map(|grants| grants.of(user)).filter(move |grant| {
            grant.rules.as_ref().map_or(true, |rules| rules.is_empty() || seen.insert(rules.as_ptr()))
        })
    }
}

/// Reads an object, or takes what was read of it before.
fn read<T: Clone>(
    key: &Key,
    object: &Object,
    before: &BTreeMap<Key, Read<T>>,
    read: impl FnOnce(&Value) -> T,
) -> (Key, Read<T>) {
    let known = before.get(key).filter(|(revision, _)| *revision == object.revision);
    let value = known.map_or_else(|| read(&object.value()), |(_, known)| known.clone());
    (key.clone(), (object.revision, value))
}

/// Reads objects of the default policy as if they were stored, or takes what was read of them before.
fn defaults<T: Clone>(
    objects: impl Iterator<Item = Value>,
    before: &BTreeMap<Key, Read<T>>,
    read: impl Fn(&Value) -> T,
) -> BTreeMap<Key, Read<T>> {
    let objects = objects.map(|object| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let namespace = text(&object["metadata"]["namespace"]);
        let key = match kind.as_str() {
            "ClusterRole" => format!("{CLUSTER_ROLES}{name}"),
            "ClusterRoleBinding" => format!("{CLUSTER_BINDINGS}{name}"),
            "Role" => format!("{ROLES}{namespace}/{name}"),
            _ => format!("{BINDINGS}{namespace}/{name}"),
        };
        let key = Key::from(key);
        let known = before.get(&key).filter(|(revision, _)| *revision == Revision(0));
        let value = known.map_or_else(|| read(&object), |(_, known)| known.clone());
        (key, (Revision(0), value))
    });
    objects.collect()
}

impl Binding {
    fn of(binding: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = text(&binding["metadata"]["namespace"]);
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        let subject = |subject: &Value| {
            let (kind, mut name) = (text(&subject["kind"]), text(&subject["name"]));
            let mut shown = name.clone();
            if kind == "ServiceAccount" {
                let own = text(&subject["namespace"]);
                let of = if own.is_empty() { &namespace } else { &own };
                if of.is_empty() {
                    return None;
                }
                shown = format!("{name}/{of}");
                name = format!("system:serviceaccount:{of}:{name}");
            }
            let is_group = kind == "Group";
            (is_group || kind == "User" || kind == "ServiceAccount").then(|| Subject {
                is_group,
                name: name.into(),
                shown: format!("{kind} {shown:?}").into(),
                why: OnceLock::new(),
            })
        };
        Self {
            name: text(&binding["metadata"]["name"]),
            role_kind: text(&binding["roleRef"]["kind"]),
            role: text(&binding["roleRef"]["name"]),
            subjects: subjects.filter_map(subject).collect(),
            namespace,
        }
    }

    /// Returns what the role allows, or that there is no such role, in upstream's words.
    fn rules(&self, roles: &BTreeMap<Key, Read<Arc<[PolicyRule]>>>) -> Result<Arc<[PolicyRule]>, String> {
        let Self { namespace, role_kind, role, .. } = self;
        let key = match role_kind.as_str() {
            "ClusterRole" => format!("{CLUSTER_ROLES}{role}"),
            _ => format!("{ROLES}{namespace}/{role}"),
        };
        let rules = roles.get(key.as_str()).map(|(_, rules)| rules.clone());
        rules.ok_or_else(|| {
            format!("{}.rbac.authorization.k8s.io {role:?} not found", role_kind.to_lowercase())
        })
    }

    fn why(&self, subject: &Subject) -> String {
        let Self { namespace, name, role_kind, role, .. } = self;
        let binding = match namespace.as_str() {
            "" => format!("ClusterRoleBinding {name:?}"),
            namespace => format!("RoleBinding {:?}", format!("{name}/{namespace}")),
        };
        format!("RBAC: allowed by {binding} of {role_kind} {role:?} to {}", subject.shown)
    }
}
