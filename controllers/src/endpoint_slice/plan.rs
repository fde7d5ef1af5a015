//! Which slices to write so that they hold the wanted endpoints with as few writes as possible.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::Wanted;
use crate::meta;

/// One slice holds at most so many endpoints.
const CAPACITY: usize = 100;

/// What to write. Slices to create lack their metadata.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

impl Plan {
    pub(super) fn append(&mut self, mut other: Plan) {
        self.create.append(&mut other.create);
        self.update.append(&mut other.update);
        self.delete.append(&mut other.delete);
    }
}

/// A slice that exists, and what is to be in it.
struct Draft {
    slice: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// Compares the slices of one family that exist with the wanted endpoints.
pub(super) fn plan(
    existing: &[Arc<EndpointSlice>],
    wanted: Wanted,
    labels: &BTreeMap<String, String>,
) -> Plan {
    let mut plan = Plan::default();
    let mut left: Vec<_> = existing.to_vec();
    let family = wanted.family.as_str();
    for (ports, endpoints) in wanted.by_ports {
        let (same, other) = left.into_iter().partition(|slice| of(slice) == ports);
        left = other;
        plan.append(of_ports(family, same, &ports, endpoints, labels));
    }
    // A service without endpoints has one empty slice, which says that it was looked at.
    let nothing_else = plan.create.is_empty() && plan.update.is_empty() && left.len() == existing.len();
    if nothing_else && left.iter().all(|slice| !is_placeholder(slice)) {
        plan.create.push(new_slice(family, &[], Vec::new()));
    } else if nothing_else && let Some(at) = left.iter().position(|slice| is_placeholder(slice)) {
        let kept = left.remove(at);
        if meta::labels(&*kept) != labels {
            plan.update.push(EndpointSlice::clone(&kept));
        }
    }
    plan.delete.append(&mut left);
    for slice in &mut plan.update {
        slice.metadata.labels = Some(labels.clone());
    }
    plan
}

fn of(slice: &EndpointSlice) -> &[EndpointPort] {
    slice.ports.as_deref().unwrap_or_default()
}

fn is_placeholder(slice: &EndpointSlice) -> bool {
    of(slice).is_empty() && slice.endpoints.as_deref().unwrap_or_default().is_empty()
}

fn of_ports(
    family: &str,
    existing: Vec<Arc<EndpointSlice>>,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
    labels: &BTreeMap<String, String>,
) -> Plan {
    let mut missing: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut drafts: Vec<Draft> = existing
        .into_iter()
        .map(|slice| {
            let held = slice.endpoints.as_deref().unwrap_or_default();
            let kept: Vec<_> = held.iter().filter_map(|held| missing.remove(&identity(held))).collect();
            let changed = kept != held || meta::labels(&*slice) != labels;
            Draft { slice, endpoints: kept, changed }
        })
        .collect();

    let mut missing: Vec<Endpoint> = missing.into_values().collect();
    // Slices that are written anyway take what is missing; one that is not is written only if that saves a new one.
    for draft in drafts.iter_mut().filter(|draft| draft.changed && !draft.endpoints.is_empty()) {
        fill(draft, &mut missing);
    }
    if !missing.is_empty()
        && let Some(draft) = drafts
            .iter_mut()
            .filter(|draft| !draft.changed && draft.endpoints.len() + missing.len() <= CAPACITY)
            .max_by_key(|draft| draft.endpoints.len())
    {
        fill(draft, &mut missing);
    }
    for draft in drafts.iter_mut().filter(|draft| draft.endpoints.is_empty()) {
        fill(draft, &mut missing);
    }

    let mut plan = Plan::default();
    for draft in drafts {
        if draft.endpoints.is_empty() {
            plan.delete.push(draft.slice);
        } else if draft.changed {
            plan.update.push(EndpointSlice {
                endpoints: Some(draft.endpoints),
                ..EndpointSlice::clone(&draft.slice)
            });
        }
    }
    for piece in missing.chunks(CAPACITY) {
        plan.create.push(new_slice(family, ports, piece.to_vec()));
    }
    plan
}

/// What makes two endpoints the same one, in two states: the pod, or else the address.
fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
    format!("{}/{uid}", endpoint.addresses.first().map_or("", String::as_str))
}

fn fill(draft: &mut Draft, missing: &mut Vec<Endpoint>) {
    let room = CAPACITY.saturating_sub(draft.endpoints.len()).min(missing.len());
    if room > 0 {
        draft.endpoints.extend(missing.drain(..room));
        draft.changed = true;
    }
}

fn new_slice(family: &str, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        address_type: family.into(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
        ..EndpointSlice::default()
    }
}

#[cfg(test)]
mod tests;
