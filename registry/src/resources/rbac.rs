//! The group `rbac.authorization.k8s.io`.

use crate::resource::{Resource, Scope};
use crate::strategy::CreateOnUpdate;

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, scope| {
        Resource::builtin("rbac.authorization.k8s.io", "v1", kind, plural, scope).strategy(CreateOnUpdate)
    };
    vec![
        kind("ClusterRole", "clusterroles", Scope::Cluster),
        kind("ClusterRoleBinding", "clusterrolebindings", Scope::Cluster),
        kind("Role", "roles", Scope::Namespaced),
        kind("RoleBinding", "rolebindings", Scope::Namespaced),
    ]
}
