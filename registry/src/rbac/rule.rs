//! A rule of a role: what it allows, and whether it covers another.
//!
//! The rules are those of `k8s.io/kubernetes/pkg/apis/rbac/v1` (what a rule matches) and
//! `k8s.io/component-helpers/auth/rbac/validation` (what covers what).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::request::{RequestInfo, ResourceRequest};

/// What stands for all verbs, groups, resources or paths.
pub(crate) const ALL: &str = "*";

/// A rule of a role: verbs on resources of groups, or on paths that are no resource's. `*` stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRule {
    /// What may be done.
    #[serde(deserialize_with = "texts")]
    pub verbs: Vec<String>,
    /// Of which groups; the core group is empty.
    #[serde(deserialize_with = "texts")]
    pub api_groups: Vec<String>,
    /// With which resources: `pods`, `pods/log`, `*/scale`.
    #[serde(deserialize_with = "texts")]
    pub resources: Vec<String>,
    /// With which objects only; with all if none is named.
    #[serde(deserialize_with = "texts")]
    pub resource_names: Vec<String>,
    /// With which other paths; a star at the end stands for all that begin so.
    #[serde(rename = "nonResourceURLs", deserialize_with = "texts")]
    pub non_resource_urls: Vec<String>,
}

/// Reads a list that may be null.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl PolicyRule {
    /// Reads the rules of a role; what is no rule grants nothing.
    pub(crate) fn all_of(role: &Value) -> Vec<Self> {
        let rules = role["rules"].as_array().into_iter().flatten();
        rules.filter_map(|rule| Self::deserialize(rule).ok()).collect()
    }

    /// Returns the two rules that allow everything.
    pub(crate) fn everything() -> [Self; 2] {
        let all = || vec![ALL.to_owned()];
        [
            Self { verbs: all(), api_groups: all(), resources: all(), ..Self::default() },
            Self { verbs: all(), non_resource_urls: all(), ..Self::default() },
        ]
    }

    /// Returns whether the rule allows what is asked.
    #[must_use]
    pub fn allows(&self, verb: &str, request: &RequestInfo) -> bool {
        has(&self.verbs, verb)
            && match request {
                RequestInfo::Path(path) => self.non_resource_urls.iter().any(|rule| covers_path(rule, path)),
                RequestInfo::Resource(request) => {
                    has(&self.api_groups, &request.group)
                        && self.resources.iter().any(|resource| is_of(resource, request))
                        && self.names(request.name.as_deref().unwrap_or_default())
                }
            }
    }

    fn names(&self, name: &str) -> bool {
        self.resource_names.is_empty() || self.resource_names.iter().any(|known| known == name)
    }

    /// Returns whether what `part` allows is allowed by this rule alone. `part` is one of [`Self::parts`].
    fn covers(&self, part: &Self) -> bool {
        let resources = |wanted: &String| {
            let subresource = wanted.split_once('/').map(|(_, below)| below);
            self.resources.iter().any(|resource| {
                resource == ALL
                    || resource == wanted
                    || subresource.is_some_and(|below| resource.strip_prefix("*/") == Some(below))
            })
        };
        let paths = |wanted: &String| self.non_resource_urls.iter().any(|rule| covers_path(rule, wanted));
        part.verbs.iter().all(|verb| has(&self.verbs, verb))
            && part.api_groups.iter().all(|group| has(&self.api_groups, group))
            && part.resources.iter().all(resources)
            && part.non_resource_urls.iter().all(paths)
            && match part.resource_names.as_slice() {
                [] => self.resource_names.is_empty(),
                names => names.iter().all(|name| self.names(name)),
            }
    }

    /// Takes a rule apart into rules of one verb on one resource, or one name of one, or one path.
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        let one = |text: &String| vec![text.clone()];
        let of_resources = self.api_groups.iter().flat_map(move |group| {
            self.resources.iter().flat_map(move |resource| {
                self.verbs.iter().flat_map(move |verb| {
                    let part = Self {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    let named = self.resource_names.iter().map({
                        let part = part.clone();
                        move |name| Self { resource_names: one(name), ..part.clone() }
                    });
                    named.chain(self.resource_names.is_empty().then_some(part)).collect::<Vec<_>>()
                })
            })
        });
        let of_paths = self.non_resource_urls.iter().flat_map(move |url| {
            let part = move |verb| Self { verbs: one(verb), non_resource_urls: one(url), ..Self::default() };
            self.verbs.iter().map(part)
        });
        of_resources.chain(of_paths)
    }
}

/// Returns whether a list has a text, or stands for all.
fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|known| known == ALL || known == text)
}

/// Returns whether a rule's resource is the one that is asked for: `pods`, `pods/log`, `*/scale`, `*`.
fn is_of(rule: &str, request: &ResourceRequest) -> bool {
    if rule == ALL {
        return true;
    }
    match request.subresource_name() {
        // A path may hold an encoded slash.
        None => rule == request.resource && !rule.contains('/'),
        Some(subresource) => rule.split_once('/').is_some_and(|(resource, below)| {
            below == subresource && (resource == ALL || resource == request.resource)
        }),
    }
}

/// Returns whether a rule's path covers a path: it is the same, or ends in a star behind what the path begins with.
fn covers_path(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

/// Into how many parts rules are taken apart at most to be compared with what somebody holds: a few thousand make the largest
/// of the default roles.
const MAX_PARTS: usize = 20_000;
/// How often rules are compared with rules at most: a second's work at worst, where the default roles need a thousandth.
const MAX_COMPARISONS: usize = 20_000_000;

/// There are more parts in some rules than are compared.
#[derive(Debug)]
pub(crate) struct TooManyParts;

impl PolicyRule {
    /// Returns how many [`parts`](Self::parts) there are.
    fn count(&self) -> usize {
        let of_resources = [&self.api_groups, &self.resources, &self.verbs].into_iter().map(Vec::len);
        let of_resources = of_resources.fold(self.resource_names.len().max(1), usize::saturating_mul);
        of_resources.saturating_add(self.non_resource_urls.len().saturating_mul(self.verbs.len()))
    }
}

/// Returns what of `wanted` no rule of `held` covers, in parts.
///
/// # Errors
///
/// [`TooManyParts`] if it would take too long to find out.
pub(crate) fn missing(held: &[PolicyRule], wanted: &[PolicyRule]) -> Result<Vec<PolicyRule>, TooManyParts> {
    if wanted.len().saturating_mul(held.len()) > MAX_COMPARISONS {
        return Err(TooManyParts);
    }
    // What one rule covers as a whole need not be taken apart.
    let open = || wanted.iter().filter(|wanted| !held.iter().any(|rule| rule.covers(wanted)));
    let parts = open().map(PolicyRule::count).fold(0, usize::saturating_add);
    if parts > MAX_PARTS || parts.saturating_mul(held.len()) > MAX_COMPARISONS {
        return Err(TooManyParts);
    }
    let parts = open().flat_map(PolicyRule::parts);
    Ok(parts.filter(|part| !held.iter().any(|rule| rule.covers(part))).collect())
}

/// Describes rules as upstream lists what somebody lacks: one on a line, in order, those that differ by verbs as one.
pub(crate) fn describe(parts: Vec<PolicyRule>) -> String {
    let mut of_resources: BTreeMap<_, PolicyRule> = BTreeMap::new();
    let mut of_paths = Vec::new();
    for part in parts {
        if part.resources.is_empty() {
            of_paths.push(part);
            continue;
        }
        let place = (part.api_groups.clone(), part.resources.clone(), part.resource_names.clone());
        match of_resources.entry(place) {
            Entry::Occupied(mut known) => known.get_mut().verbs.extend(part.verbs),
            Entry::Vacant(place) => drop(place.insert(part)),
        }
    }
    let all = of_resources.values().chain(&of_paths);
    let lines: BTreeSet<String> = all.map(ToString::to_string).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let fields = fields.iter().filter(|(_, list)| !list.is_empty());
        let fields: Vec<_> = fields.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
        write!(f, "{{{}}}", fields.join(", "))
    }
}

/// Writes texts as Go quotes a list of them.
pub(crate) fn quoted(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    fn rules(rules: Value) -> Vec<PolicyRule> {
        PolicyRule::all_of(&json!({ "rules": rules }))
    }

    fn request(path: &str) -> RequestInfo {
        RequestInfo::parse(&Method::GET, &path.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_would_take_too_long_to_compare_is_not_compared() {
        let many = |prefix: &str| {
            let rule = |number| json!({"apiGroups": [""], "resources": [format!("{prefix}{number}")], "verbs": ["get"]});
            rules((0..10_000).map(rule).collect())
        };

        assert!(missing(&many("held"), &many("wanted")).is_err());
        let everything = rules(json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]));
        assert!(missing(&everything, &many("wanted")).unwrap().is_empty());
    }

    #[test]
    fn a_rule_allows_its_verbs_groups_and_resources_and_stars_stand_for_all() {
        let allows = |rule: Value, verb, path| rules(json!([rule]))[0].allows(verb, &request(path));
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]});
        assert!(allows(pods.clone(), "get", "/api/v1/namespaces/a/pods/p"));
        assert!(!allows(pods.clone(), "delete", "/api/v1/namespaces/a/pods/p"));
        assert!(!allows(pods.clone(), "get", "/apis/x/v1/namespaces/a/pods/p"));
        assert!(!allows(pods.clone(), "get", "/api/v1/namespaces/a/pods/p/log"));
        assert!(!allows(pods, "get", "/pods"));
        let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
        assert!(allows(all.clone(), "get", "/apis/x/v1/things/p/log"));
        assert!(!allows(all, "get", "/metrics"));
    }

    #[test]
    fn subresources_are_named_alone_or_for_every_resource() {
        let allows = |resource: &str, path| {
            let rule = json!([{"apiGroups": ["apps"], "resources": [resource], "verbs": ["get"]}]);
            rules(rule)[0].allows("get", &request(path))
        };
        let scale = "/apis/apps/v1/namespaces/a/deployments/d/scale";
        assert!(allows("deployments/scale", scale) && allows("*/scale", scale) && allows("*", scale));
        assert!(
            !allows("deployments", scale) && !allows("*/status", scale) && !allows("deployments/*", scale)
        );
        assert!(!allows("*/scale", "/apis/apps/v1/namespaces/a/deployments/d"));
        assert!(!allows("deployments/scale", "/apis/apps/v1/namespaces/a/deployments%2Fscale/d"));
    }

    #[test]
    fn names_and_paths_bound_a_rule() {
        let named = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["*"]}]);
        let named = &rules(named)[0];
        assert!(named.allows("get", &request("/api/v1/namespaces/a/configmaps/one")));
        assert!(!named.allows("get", &request("/api/v1/namespaces/a/configmaps/two")));
        assert!(!named.allows("list", &request("/api/v1/namespaces/a/configmaps")));
        let paths = &rules(json!([{"nonResourceURLs": ["/logs/*", "/made-up"], "verbs": ["get"]}]))[0];
        assert!(paths.allows("get", &request("/logs/x/y")) && paths.allows("get", &request("/made-up")));
        assert!(!paths.allows("get", &request("/logs")) && !paths.allows("get", &request("/made-up/more")));
    }

    #[test]
    fn what_is_missing_is_described_in_parts_that_differ_by_more_than_verbs() {
        let held = rules(json!([
            {"apiGroups": [""], "resources": ["configmaps", "*/status"], "verbs": ["get"]},
            {"nonResourceURLs": ["/logs/*"], "verbs": ["*"]},
        ]));
        let lacks = |wanted: Value| describe(missing(&held, &rules(wanted)).unwrap());
        assert_eq!(
            lacks(
                json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["x"], "verbs": ["get"]}])
            ),
            ""
        );
        assert_eq!(lacks(json!([{"apiGroups": [""], "resources": ["pods/status"], "verbs": ["get"]}])), "");
        assert_eq!(lacks(json!([{"nonResourceURLs": ["/logs/a", "/logs/*"], "verbs": ["get", "*"]}])), "");
        assert_eq!(
            lacks(
                json!([{"apiGroups": ["", "x"], "resources": ["configmaps", "secrets"], "verbs": ["get", "list"]}])
            ),
            "{APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"list\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}\n\
             {APIGroups:[\"x\"], Resources:[\"configmaps\"], Verbs:[\"get\" \"list\"]}\n\
             {APIGroups:[\"x\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
        );
        assert_eq!(
            lacks(json!([{"nonResourceURLs": ["/x"], "verbs": ["get"]}])),
            "{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}"
        );
    }

    #[test]
    fn a_rule_of_names_does_not_cover_all_names() {
        let held = rules(
            json!([{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["*"]}]),
        );
        let all = rules(json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]));
        assert_eq!(missing(&held, &all).unwrap().len(), 1);
        assert!(missing(&PolicyRule::everything(), &all).unwrap().is_empty());
        assert_eq!(missing(&all, &PolicyRule::everything()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_rule_grants_nothing() {
        let read = rules(json!([{"verbs": null}, {"verbs": "get"}, 7]));
        assert_eq!(read, [PolicyRule::default()]);
        assert!(!read[0].allows("get", &request("/metrics")));
    }

    #[test]
    fn a_rule_of_a_hundred_million_parts_is_not_taken_apart() {
        let many = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        let huge = PolicyRule {
            verbs: many(100),
            api_groups: many(1000),
            resources: many(1000),
            ..PolicyRule::default()
        };

        assert!(missing(&[], std::slice::from_ref(&huge)).is_err());
        assert!(missing(&PolicyRule::everything(), &[huge]).unwrap().is_empty(), "one rule covers it");
    }
}
