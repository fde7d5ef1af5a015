//! How many pods each replica set may have. No I/O.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::annotations;
use super::revisions::Sets;

pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
}

pub(super) fn total<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i32 {
    sets.into_iter().map(size).sum()
}

pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused.unwrap_or_default()
}

/// Whether all old pods go before the first new one comes.
pub(super) fn recreates(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// Whether the deployment's number changed since its replica sets were sized.
pub(super) fn is_resized(deployment: &Deployment, sets: &[ReplicaSet]) -> bool {
    let mut active = sets.iter().filter(|set| size(set) > 0);
    active.any(|set| annotations::desired(set).is_some_and(|desired| desired != wanted(deployment)))
}

/// Resolves a number or a share of `of`.
fn scaled(value: Option<&IntOrString>, of: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let share =
                text.strip_suffix('%').and_then(|share| share.parse::<i64>().ok()).unwrap_or_default();
            let product = share * i64::from(of);
            let rounded = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// How many pods above the wanted number there may be, and how many below it may be unavailable, during a rollout.
fn bounds(deployment: &Deployment) -> (i32, i32) {
    if recreates(deployment) {
        return (0, 0);
    }
    let strategy = deployment.spec.strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), wanted(deployment), true);
    let missing = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let unavailable = scaled(missing, wanted(deployment), false);
    // Shares of a small number may both be nothing; without either, no rollout could move.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    bounds(deployment).0
}

pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    bounds(deployment).1.min(wanted(deployment))
}

/// Returns the size that the new replica set may have now, given all active replica sets (it included).
pub(super) fn new_size(deployment: &Deployment, sets: &[&ReplicaSet], new: &ReplicaSet) -> i32 {
    let wanted = wanted(deployment);
    if recreates(deployment) {
        return wanted;
    }
    let room = wanted + max_surge(deployment) - total(sets.iter().copied());
    if room <= 0 { size(new) } else { size(new) + room.min(wanted - size(new)) }
}

/// Returns by how much old replica sets that are not all available shrink first, oldest first, and which are left over to
/// shrink: at most `most` pods in all.
pub(super) fn unhealthy(old: &[ReplicaSet], most: i32) -> Vec<i32> {
    let mut left = most;
    old.iter()
        .map(|set| {
            let shrink = (size(set) - available(set)).clamp(0, left.max(0));
            left -= shrink;
            shrink
        })
        .collect()
}

/// Returns how many pods old replica sets may lose now, whatever their health.
pub(super) fn may_lose(deployment: &Deployment, sets: &Sets) -> i32 {
    let new = sets.new.as_ref();
    let least = wanted(deployment) - max_unavailable(deployment);
    let not_yet = new.map_or(0, |new| size(new) - available(new));
    total(sets.all()) - least - not_yet
}

/// Returns how many available pods there are above what must stay.
pub(super) fn spare(deployment: &Deployment, sets: &Sets) -> i32 {
    let least = wanted(deployment) - max_unavailable(deployment);
    sets.all().map(available).sum::<i32>() - least
}

/// Spreads a changed number over replica sets in proportion to their sizes. Returns the new size of each.
///
/// `sets` come with the greatest first, which takes what rounding leaves.
pub(super) fn proportions(deployment: &Deployment, sets: &[ReplicaSet]) -> Vec<i32> {
    let allowed = if wanted(deployment) > 0 { wanted(deployment) + max_surge(deployment) } else { 0 };
    let change = allowed - total(sets);
    let mut done = 0;
    let mut sizes: Vec<i32> = sets
        .iter()
        .map(|set| {
            let share = if change == 0 || size(set) == 0 || change == done {
                0
            } else if change > 0 {
                share(deployment, set).min(change - done)
            } else {
                share(deployment, set).max(change - done)
            };
            done += share;
            size(set) + share
        })
        .collect();
    if let Some(first) = sizes.first_mut() {
        *first = (*first + change - done).max(0);
    }
    sizes
}

/// The replica set's share of the change, rounded.
fn share(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    if wanted(deployment) == 0 {
        return -size(set);
    }
    let before = annotations::most(set)
        .filter(|most| *most > 0)
        .unwrap_or_else(|| deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or_default());
    if before <= 0 {
        return 0;
    }
    let (now, before) = (i64::from(wanted(deployment) + max_surge(deployment)), i64::from(before));
    let grown = (2 * i64::from(size(set)) * now + before).div_euclid(2 * before);
    i32::try_from(grown).unwrap_or(i32::MAX) - size(set)
}

#[cfg(test)]
mod tests;
