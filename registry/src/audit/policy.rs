//! Which requests are told of, and how much.

use serde::Deserialize;

use super::{Level, Stage};
use crate::request::{RequestInfo, ResourceRequest};
use crate::user::User;

/// What is told of which requests: the first rule that matches decides, and of what none matches nothing is told.
///
/// Bodies of secrets, config maps, token reviews and requests for tokens are never told, whatever the rules say; nor is a request's
/// body that is not what its path takes: it may be one of these.
///
/// # Examples
///
/// ```
/// use quarterdeck_registry::audit::Policy;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = Policy::from_yaml(
///     "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, verbs: [watch]}, {level: Metadata}]}",
/// )?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde::de::IgnoredAny,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It is no YAML, or has fields that policies do not have.
    #[error("the audit policy cannot be read")]
    Syntax(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is of another kind or version.
    #[error("the audit policy has to be of kind Policy and apiVersion audit.k8s.io/v1, and is {0} of {1}")]
    Kind(String, String),
    /// It has no rules.
    #[error("the audit policy has no rules: nothing would be told")]
    Empty,
    /// A rule contradicts itself.
    #[error("rule {0} of the audit policy {1}")]
    Rule(usize, &'static str),
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict<'a> {
    pub(super) level: Level,
    /// Whether what is asked and answered is nobody else's business.
    pub(super) is_confidential: bool,
    omitted: [&'a [Stage]; 2],
    pub(super) omits_managed_fields: bool,
}

impl Verdict<'_> {
    /// Whether a stage is told.
    pub(super) fn tells(&self, stage: Stage) -> bool {
        self.level > Level::None && !self.omitted.iter().any(|omitted| omitted.contains(&stage))
    }
}

impl Policy {
    /// Reads a policy (YAML or JSON).
    ///
    /// # Errors
    ///
    /// [`PolicyError`].
    pub fn from_yaml(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = serde_saphyr::from_str(text).map_err(|error| PolicyError::Syntax(error.into()))?;
        if policy.kind != "Policy" || policy.api_version != "audit.k8s.io/v1" {
            return Err(PolicyError::Kind(policy.kind, policy.api_version));
        }
        if policy.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|why| PolicyError::Rule(index, why))?;
        }
        Ok(policy)
    }

    /// Says what is told of a request.
    pub(super) fn verdict(&self, user: &User, verb: &str, request: &RequestInfo) -> Verdict<'_> {
        let rule = self.rules.iter().find(|rule| rule.matches(user, verb, request));
        let level = rule.map_or(Level::None, |rule| rule.level);
        let is_confidential = is_confidential(request);
        let most = if is_confidential { Level::Metadata } else { Level::RequestResponse };
        Verdict {
            level: level.min(most),
            is_confidential,
            omitted: [&self.omit_stages, rule.map_or(&[], |rule| &rule.omit_stages)],
            omits_managed_fields: rule
                .and_then(|rule| rule.omit_managed_fields)
                .unwrap_or(self.omit_managed_fields),
        }
    }
}

/// Whether the bodies of a request are nobody else's business.
fn is_confidential(request: &RequestInfo) -> bool {
    let RequestInfo::Resource(ResourceRequest { group, resource, subresource, .. }) = request else {
        return false;
    };
    match group.as_str() {
        "" => {
            matches!(resource.as_str(), "secrets" | "configmaps")
                || (resource == "serviceaccounts" && subresource.as_deref() == Some("token"))
        }
        "authentication.k8s.io" => resource == "tokenreviews",
        _ => false,
    }
}

impl Rule {
    fn check(&self) -> Result<(), &'static str> {
        let is_of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if is_of_resources && !self.paths.is_empty() {
            return Err("names both resources or namespaces and nonResourceURLs: write two rules");
        }
        if self.paths.iter().any(|path| path != "*" && !path.starts_with('/')) {
            return Err("has a nonResourceURL that does not begin with \"/\"");
        }
        if self.paths.iter().any(|path| path.trim_end_matches('*').contains('*') || path.ends_with("**")) {
            return Err("has a nonResourceURL with a \"*\" that is not at its end");
        }
        if self.resources.iter().any(|of| of.resources.is_empty() && !of.resource_names.is_empty()) {
            return Err("has resourceNames without resources");
        }
        if self.resources.iter().any(|of| of.group.contains('/')) {
            return Err("has a group with a version: write the group alone");
        }
        Ok(())
    }

    fn matches(&self, user: &User, verb: &str, request: &RequestInfo) -> bool {
        let lists = |list: &[String], wanted: &str| list.is_empty() || list.iter().any(|one| one == wanted);
        lists(&self.users, &user.name)
            && (self.user_groups.is_empty() || self.user_groups.iter().any(|group| user.is_in(group)))
            && lists(&self.verbs, verb)
            && match request {
                RequestInfo::Resource(request) => {
                    self.paths.is_empty()
                        && lists(&self.namespaces, request.authorized_namespace().unwrap_or_default())
                        && (self.resources.is_empty() || self.resources.iter().any(|of| of.includes(request)))
                }
                RequestInfo::Path(path) => {
                    self.namespaces.is_empty()
                        && self.resources.is_empty()
                        && (self.paths.is_empty() || self.paths.iter().any(|spec| is_at(path, spec)))
                }
            }
    }
}

/// Whether a path is what a policy writes so: all of it, or its beginning.
fn is_at(path: &str, spec: &str) -> bool {
    spec.strip_suffix('*').map_or(spec == path, |begin| path.starts_with(begin))
}

impl GroupResources {
    fn includes(&self, request: &ResourceRequest) -> bool {
        if self.group != request.group {
            return false;
        }
        let name = request.name.as_deref().unwrap_or_default();
        let has_name = self.resource_names.is_empty() || self.resource_names.iter().any(|one| one == name);
        self.resources.is_empty() || has_name && self.resources.iter().any(|one| is(one, request))
    }
}

/// Whether a resource is what a policy writes so: `pods`, `pods/log`, `pods/*`, `*/scale` or `*`.
fn is(spec: &str, request: &ResourceRequest) -> bool {
    let subresource = request.subresource.as_deref();
    match spec.split_once('/') {
        None => spec == "*" || (spec == request.resource && subresource.is_none()),
        Some(("*", below)) => subresource == Some(below),
        Some((resource, "*")) => resource == request.resource,
        Some((resource, below)) => resource == request.resource && subresource == Some(below),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn policy(rest: &str) -> Result<Policy, PolicyError> {
        Policy::from_yaml(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rest}"))
    }

    fn level(policy: &Policy, method: Method, path: &str) -> Level {
        let request = RequestInfo::parse(&method, &path.parse().unwrap()).unwrap();
        let verb = match &request {
            RequestInfo::Resource(request) => request.verb.unwrap().as_str().to_owned(),
            RequestInfo::Path(_) => method.as_str().to_lowercase(),
        };
        policy.verdict(&User::new("ann").group("crew"), &verb, &request).level
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy(
            r#"
omitStages: [RequestReceived]
rules:
- level: None
  users: [bob]
- level: None
  verbs: [watch]
- level: None
  nonResourceURLs: ["/healthz*", "/version"]
- level: RequestResponse
  userGroups: [crew]
  namespaces: [deep]
  resources: [{group: "", resources: [pods, "services/*"]}]
- level: Request
  resources: [{group: apps, resources: ["*/scale", deployments], resourceNames: [web]}]
- level: RequestResponse
  resources: [{group: ""}]
- level: Metadata
  resources: [{group: batch, resources: ["*"]}]
  omitStages: [ResponseStarted]
"#,
        )
        .unwrap();
        for (method, path, expected) in [
            (Method::GET, "/api/v1/pods?watch=1", Level::None),
            (Method::GET, "/healthz/ping", Level::None),
            (Method::GET, "/version", Level::None),
            (Method::GET, "/api/v1/namespaces/deep/pods/p", Level::RequestResponse),
            (Method::GET, "/apis/apps/v1/namespaces/a/deployments/web/scale", Level::Request),
            (Method::GET, "/apis/apps/v1/namespaces/a/deployments/web", Level::Request),
            (Method::GET, "/apis/apps/v1/namespaces/a/deployments/other", Level::None),
            (Method::GET, "/apis/apps/v1/namespaces/a/deployments/web/status", Level::None),
            (Method::GET, "/apis/batch/v1/namespaces/a/jobs/j/status", Level::Metadata),
            (Method::GET, "/api/v1/secrets", Level::Metadata),
            (Method::GET, "/api/v1/namespaces/a/configmaps/c", Level::Metadata),
            (Method::POST, "/api/v1/namespaces/a/serviceaccounts/s/token", Level::Metadata),
            (Method::GET, "/api/v1/namespaces/a/serviceaccounts/s", Level::RequestResponse),
            (Method::GET, "/apis", Level::None),
        ] {
            assert_eq!(level(&policy, method, path), expected, "{path}");
        }
        let request = RequestInfo::parse(&Method::GET, &"/apis/batch/v1/jobs".parse().unwrap()).unwrap();
        let verdict = policy.verdict(&User::new("ann"), "list", &request);
        assert!(!verdict.tells(Stage::RequestReceived) && !verdict.tells(Stage::ResponseStarted));
        assert!(verdict.tells(Stage::ResponseComplete));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let refused = |rest: &str| policy(rest).unwrap_err().to_string();
        assert!(refused("rules: [{level: All}]").contains("cannot be read"));
        assert!(refused("rules: [{level: None, user: [x]}]").contains("cannot be read"));
        assert!(refused("rules: []").contains("no rules"));
        let both = "rules: [{level: None, namespaces: [a], nonResourceURLs: [/x]}]";
        assert!(refused(both).starts_with("rule 0 of the audit policy names both"));
        assert!(refused("rules: [{level: None, nonResourceURLs: [/x*/y]}]").contains("not at its end"));
        let other = Policy::from_yaml("{apiVersion: v1, kind: Pod}").unwrap_err().to_string();
        assert!(other.contains("Pod of v1"), "{other}");
    }
}
