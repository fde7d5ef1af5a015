//! The kinds that a policy is about, and the OpenAPI documents that tell of their fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use http::Request;
use k8s_openapi::api::admissionregistration::v1::{
    NamedRuleWithOperations, ParamKind, ValidatingAdmissionPolicySpec,
};
use kube::Client;
use serde_json::Value;

use super::types::Schema;

/// How many kinds a policy is compared with.
const MOST_KINDS: usize = 10;

/// A kind, ordered by group and version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    group: String,
    version: String,
    kind: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// A group and one of its versions.
type GroupVersion = (String, String);

/// What the API server tells of the kinds of a policy.
pub(super) struct Documents {
    kinds: BTreeSet<Kind>,
    params: Option<Kind>,
    /// OpenAPI documents, of those versions that have one.
    documents: BTreeMap<GroupVersion, Value>,
}

impl Documents {
    /// Asks the API server about the kinds of a policy. What it does not serve is left out.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub(super) async fn about(client: &Client, spec: &ValidatingAdmissionPolicySpec) -> kube::Result<Self> {
        let rules = spec.match_constraints.iter().flat_map(|of| of.resource_rules.iter().flatten());
        let wanted = named(rules);
        let mut known = Self { kinds: BTreeSet::new(), params: None, documents: BTreeMap::new() };
        if wanted.is_empty() {
            return Ok(known);
        }
        let served = served(client).await?;
        // What is asked for is as much as somebody writes; what is served is not.
        for (of, resources) in wanted.into_iter().filter(|(of, _)| served.contains(of)) {
            let list = match of.0.as_str() {
                "" => client.list_core_api_resources(&of.1).await,
                group => client.list_api_group_resources(&format!("{group}/{}", of.1)).await,
            };
            for resource in found(list)?.map(|list| list.resources).unwrap_or_default() {
                if known.kinds.len() < MOST_KINDS && resources.contains(resource.name.as_str()) {
                    let (group, version) = of.clone();
                    known.kinds.insert(Kind { group, version, kind: resource.kind });
                }
            }
        }
        let params = spec.param_kind.as_ref().and_then(kind_of_params);
        known.params = params.filter(|kind| served.contains(&(kind.group.clone(), kind.version.clone())));
        let kinds: Vec<Kind> = known.kinds.iter().chain(&known.params).cloned().collect();
        for kind in kinds {
            known.load(client, (kind.group, kind.version)).await?;
        }
        Ok(known)
    }

    async fn load(&mut self, client: &Client, of: GroupVersion) -> kube::Result<()> {
        if self.documents.contains_key(&of) {
            return Ok(());
        }
        let path = match of.0.as_str() {
            "" => format!("/openapi/v3/api/{}", of.1),
            group => format!("/openapi/v3/apis/{group}/{}", of.1),
        };
        let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        if let Some(document) = found(client.request::<Value>(request).await)? {
            self.documents.insert(of, document);
        }
        Ok(())
    }

    /// Returns the kinds of the policy's objects of which there is a schema, with it.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&Kind, Schema<'_>)> {
        self.kinds.iter().filter_map(|kind| Some((kind, self.schema(kind)?)))
    }

    /// Returns the schema of the policy's parameters, if it is known.
    pub(super) fn params(&self) -> Option<Schema<'_>> {
        self.schema(self.params.as_ref()?)
    }

    fn schema(&self, kind: &Kind) -> Option<Schema<'_>> {
        let document = self.documents.get(&(kind.group.clone(), kind.version.clone()))?;
        let components = &document["components"]["schemas"];
        let of_kind = |schema: &Value| {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            kinds.into_iter().flatten().any(|of| {
                of["group"] == kind.group && of["version"] == kind.version && of["kind"] == kind.kind
            })
        };
        let (name, schema) = components.as_object()?.iter().find(|(_, schema)| of_kind(schema))?;
        Some(Schema::new(name, schema, components))
    }
}

/// Returns what a server answers, nothing if it does not know of it.
fn found<T>(answer: kube::Result<T>) -> kube::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns all groups' versions that a server has.
async fn served(client: &Client) -> kube::Result<BTreeSet<GroupVersion>> {
    let mut served = BTreeSet::new();
    for version in client.list_core_api_versions().await?.versions {
        served.insert((String::new(), version));
    }
    for group in client.list_api_groups().await?.groups {
        served.extend(group.versions.into_iter().map(|version| (group.name.clone(), version.version)));
    }
    Ok(served)
}

/// Returns the resources that rules name, by version: neither wildcards nor what is below an object.
fn named<'r>(
    rules: impl Iterator<Item = &'r NamedRuleWithOperations>,
) -> BTreeMap<GroupVersion, BTreeSet<&'r str>> {
    let mut wanted: BTreeMap<GroupVersion, BTreeSet<&str>> = BTreeMap::new();
    for rule in rules {
        let all = |list: &'r Option<Vec<String>>| list.as_deref().unwrap_or_default();
        let (groups, versions) = (all(&rule.api_groups), all(&rule.api_versions));
        // A rule about any group or version is about kinds that nobody can foresee.
        if groups.iter().chain(versions).any(|name| name.contains('*')) {
            continue;
        }
        let resources = all(&rule.resources).iter().map(String::as_str);
        let resources: BTreeSet<&str> = resources.filter(|name| !name.contains(['*', '/'])).collect();
        for group in groups.iter().filter(|_| !resources.is_empty()) {
            for version in versions {
                wanted.entry((group.clone(), version.clone())).or_default().extend(&resources);
            }
        }
    }
    wanted
}

fn kind_of_params(params: &ParamKind) -> Option<Kind> {
    let (api_version, kind) = (params.api_version.as_deref()?, params.kind.clone()?);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Some(Kind { group: group.to_owned(), version: version.to_owned(), kind })
}
