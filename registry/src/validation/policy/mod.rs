//! Rules for kinds that say what others may do: quotas and limits, roles, network policies and ingresses, webhooks and
//! admission policies, certificates, further API servers.

mod access;
mod admission_policies;
mod certificates;
mod ingresses;
mod limits;
mod networks;
mod quotas;
#[cfg(test)]
mod tests;
mod webhooks;

pub(super) use access::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
pub(super) use admission_policies::{ADMISSION_POLICY, ADMISSION_POLICY_BINDING};
pub(super) use certificates::SIGNING_REQUEST;
pub(super) use ingresses::{INGRESS, INGRESS_CLASS};
pub(super) use limits::LIMIT_RANGE;
pub(crate) use limits::precise;
pub(super) use networks::NETWORK_POLICY;
pub(super) use quotas::RESOURCE_QUOTA;
pub(super) use webhooks::{API_SERVICE, MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, client, known_versions};
