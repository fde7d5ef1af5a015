//! Who asks.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;

/// The key in [`User::extra`] by which the proof is told that somebody gave: one certificate, or one token.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// A user, a service account or a component, as authentication found it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, such as `alice` or `system:serviceaccount:default:web`.
    pub name: String,
    /// An identifier that no other user ever has; empty if there is none.
    pub uid: String,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// What else authentication found.
    pub extra: Extra,
}

/// What else is known of a user, by key. Clones share it: the requests of a connection have it in common.
///
/// ```
/// use quarterdeck_registry::User;
///
/// let mut user = User::new("alice");
/// user.extra.insert("example.com/team", ["deck"]);
///
/// assert_eq!(user.extra["example.com/team"], ["deck"]);
/// ```
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Extra(Option<Arc<BTreeMap<String, Vec<String>>>>);

impl Extra {
    /// Sets what a key says.
    pub fn insert<T: Into<String>>(&mut self, key: impl Into<String>, values: impl IntoIterator<Item = T>) {
        let values = values.into_iter().map(Into::into).collect();
        Arc::make_mut(self.0.get_or_insert_default()).insert(key.into(), values);
    }
}

impl Deref for Extra {
    type Target = BTreeMap<String, Vec<String>>;

    fn deref(&self) -> &Self::Target {
        const NOTHING: &BTreeMap<String, Vec<String>> = &BTreeMap::new();
        self.0.as_deref().unwrap_or(NOTHING)
    }
}

impl From<BTreeMap<String, Vec<String>>> for Extra {
    fn from(extra: BTreeMap<String, Vec<String>>) -> Self {
        Self(Some(extra).filter(|extra| !extra.is_empty()).map(Arc::new))
    }
}

impl Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

/// The group whose members may do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// The group of everybody whom authentication knows.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody whom authentication does not know.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// What somebody is called whom authentication does not know.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// The group of the nodes' agents.
pub(crate) const NODES: &str = "system:nodes";

/// Returns namespace and name of the service account that a user is, if it is one.
pub(crate) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

impl User {
    /// Makes a user of this name, in the group of all authenticated users.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), groups: vec![AUTHENTICATED.into()], ..Self::default() }
    }

    /// Adds a group.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.insert(0, group.into());
        self
    }

    /// The administrator: a member of `system:masters`.
    #[must_use]
    pub fn admin() -> Self {
        Self::new("kubernetes-admin").group(MASTERS)
    }

    /// The scheduler.
    #[must_use]
    pub fn scheduler() -> Self {
        Self::new("system:kube-scheduler")
    }

    /// The controllers in common: who reads for them all, and who makes tokens for the accounts that they write as.
    #[must_use]
    pub fn controllers() -> Self {
        Self::new("system:kube-controller-manager")
    }

    /// The proxies.
    #[must_use]
    pub fn proxy() -> Self {
        Self::new("system:kube-proxy")
    }

    /// A service account, as its token makes it known.
    ///
    /// ```
    /// use quarterdeck_registry::User;
    ///
    /// let controller = User::service_account("kube-system", "deployment-controller");
    ///
    /// assert_eq!(controller.name, "system:serviceaccount:kube-system:deployment-controller");
    /// assert!(controller.is_in("system:serviceaccounts:kube-system"));
    /// ```
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let user = Self::new(format!("system:serviceaccount:{namespace}:{name}"));
        user.group(format!("system:serviceaccounts:{namespace}")).group("system:serviceaccounts")
    }

    /// The agent of a node.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self::new(format!("system:node:{name}")).group(NODES)
    }

    /// Returns whether the user is in a group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    /// Returns what a component is called as a writer, if this is one: `kube-scheduler`, or `kubelet` for every agent.
    pub(crate) fn component(&self) -> Option<&str> {
        match self.name.strip_prefix("system:")? {
            _ if self.node_name().is_some() => Some("kubelet"),
            name if !name.contains(':') => Some(name),
            _ => None,
        }
    }

    /// Returns the node whose agent this is, if it is one.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        self.name.strip_prefix("system:node:").filter(|_| self.is_in(NODES))
    }
}
