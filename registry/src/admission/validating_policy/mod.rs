//! Policies: rules of the cluster's own for what is written, in the Common Expression Language.
//!
//! [`ValidatingPolicies`] follows the policies and their bindings that are stored. Which parameters a binding brings is in
//! `params`, what the expressions of a policy come to in `evaluate`.

mod evaluate;
mod params;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Value, json};

use super::expressions::{Checks, Expressions, Inputs};
use super::matching::{self, Event};
use super::{Admission, Attributes};
use crate::beside::LongWork;
use crate::figures::{self, AdmissionFigures};
use crate::layers::authorization::Authorization;
use crate::resource::Resource;
use crate::sparing::Sparing;
use crate::status::{Result, Status};
use evaluate::{Annotation, Check, Decision, Verdict};

pub(super) const POLICIES: &str = "/registry/validatingadmissionpolicies/";
const BINDINGS: &str = "/registry/validatingadmissionpolicybindings/";
/// How many bytes the value of an audit annotation may have.
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// Upstream's `ValidatingAdmissionPolicy`: evaluates policies for the writes that they and their bindings are about.
#[derive(Debug, Default)]
pub struct ValidatingPolicies {
    expressions: Arc<Expressions>,
    long: LongWork,
    authorization: OnceLock<Authorization>,
    /// What is logged of policies that fail.
    failed: Sparing,
    figures: AdmissionFigures,
}

/// Why a write is refused.
struct Denial {
    message: String,
    reason: Option<String>,
}

/// A policy, one of its bindings, and the write that both are about.
struct Bound<'a> {
    policy: &'a str,
    spec: &'a Value,
    binding: &'a str,
    binding_spec: &'a Value,
    event: &'a Event<'a>,
    version: &'a Resource,
}

impl Bound<'_> {
    fn deny(&self, message: &str, reason: Option<String>) -> Denial {
        let (policy, binding) = (self.policy, self.binding);
        let message = format!(
            "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}"
        );
        Denial { message, reason }
    }
}

/// What was found about a write so far.
#[derive(Default)]
struct Findings {
    denials: Vec<Denial>,
    /// Whether the audit log knows of a failure: it has room for one.
    told: bool,
}

/// The annotations of one policy: those of all its bindings, each once.
type Annotations = BTreeMap<String, Vec<String>>;

/// Whether what goes wrong with a policy lets writes through.
fn is_lenient(spec: &Value) -> bool {
    spec["failurePolicy"] == "Ignore"
}

/// The version in which a policy or a binding is about a write.
fn version<'a>(event: &Event<'a>, resources: &Value) -> Result<Option<&'a Resource>> {
    let in_namespace = matching::in_namespace(event, &resources["namespaceSelector"]);
    let selects = matching::selects_object(event, &resources["objectSelector"]);
    if matches!(in_namespace, Ok(false)) || matches!(selects, Ok(false)) {
        return Ok(None);
    }
    let equivalent = resources["matchPolicy"] != "Exact";
    let named = |rule: &Value| {
        let names = rule["resourceNames"].as_array().filter(|names| !names.is_empty());
        names.is_none_or(|names| names.iter().any(|name| *name == event.name()))
    };
    let rules = |field: &str| matching::version_for(event, &resources[field], equivalent, named);
    if rules("excludeResourceRules").is_some() {
        return Ok(None);
    }
    let found = match resources["resourceRules"].as_array().is_none_or(Vec::is_empty) {
        true => Some(event.attributes.resource),
        false => rules("resourceRules"),
    };
    if let Some(version) = found {
        in_namespace.and(selects)?;
        matching::refuse_unconverted(event, version)?;
    }
    Ok(found)
}

impl ValidatingPolicies {
    pub(super) fn counting(figures: AdmissionFigures) -> Self {
        Self { figures, ..Self::default() }
    }

    /// Tells the log that a policy fails, and where. Why may quote what is written: that is for its writer alone.
    fn say_failed(&self, (policy, spec): (&str, &Value), binding: &str, at: &str) {
        let failure_policy = if is_lenient(spec) { "Ignore" } else { "Fail" };
        self.failed.say(|left_out| {
            tracing::warn!(
                policy,
                binding,
                at,
                failure_policy,
                left_out,
                "a policy fails or costs too much: its failurePolicy says whether writes are refused; look at it there"
            );
        });
    }

    /// Evaluates a policy for all its bindings.
    async fn policy(
        &self,
        policy: (&str, &Value),
        bindings: &[(&str, &Value)],
        event: &Event<'_>,
        findings: &mut Findings,
    ) -> Result<()> {
        let (name, spec) = policy;
        let misconfigured = |at: &str, why: &dyn std::fmt::Display| {
            self.say_failed(policy, "", at);
            let message = format!(
                "ValidatingAdmissionPolicy '{name}' denied request: failed to configure policy: {why}"
            );
            (!is_lenient(spec)).then_some(Denial { message, reason: None })
        };
        let version = match self::version(event, &spec["matchConstraints"]) {
            Ok(Some(version)) => version,
            Ok(None) => return Ok(()),
            Err(status) => {
                findings.denials.extend(misconfigured("matchConstraints", &status.message));
                return Ok(());
            }
        };
        let kind = match params::kind(&spec["paramKind"], event.attributes.world) {
            Ok(kind) => kind,
            Err(why) => {
                findings.denials.extend(misconfigured("paramKind", &why));
                return Ok(());
            }
        };
        let mut annotations = Annotations::new();
        for (binding, binding_spec) in bindings {
            let bound = Bound { policy: name, spec, binding, binding_spec, event, version };
            let params = match self::version(event, &binding_spec["matchResources"]) {
                Ok(None) => continue,
                Ok(Some(_)) => {
                    params::collect(kind, &binding_spec["paramRef"], event).map_err(|why| ("paramRef", why))
                }
                Err(status) => Err(("matchResources", status.message)),
            };
            if let Err((at, _)) = &params {
                self.say_failed(policy, binding, at);
            }
            match params {
                Ok(params) => self.binding(&bound, params, findings, &mut annotations).await?,
                Err(_) if is_lenient(spec) => {}
                Err((_, why)) => {
                    let message = format!("failed to configure binding: {why}");
                    findings.denials.push(bound.deny(&message, None));
                }
            }
        }
        for (key, values) in annotations {
            event.attributes.annotate(format!("{name}/{key}"), values.join(", "));
        }
        Ok(())
    }

    /// Evaluates a policy for one binding, with each of its parameters.
    async fn binding(
        &self,
        bound: &Bound<'_>,
        params: Vec<Option<Value>>,
        findings: &mut Findings,
        annotations: &mut Annotations,
    ) -> Result<()> {
        let namespace = bound.event.namespace_object()?;
        let inputs = matching::inputs(bound.event, bound.version).with("namespaceObject", namespace);
        for params in params {
            let inputs = inputs.clone().with("params", params);
            let verdict = self.verdict(bound, inputs).await;
            if let Some(at) = &verdict.failed {
                self.say_failed((bound.policy, bound.spec), bound.binding, at);
            }
            self.judge(bound, verdict, findings, annotations);
        }
        Ok(())
    }

    /// Evaluates a policy, again when authorizers have decided what it asks.
    async fn verdict(&self, bound: &Bound<'_>, inputs: Inputs) -> Verdict {
        let (checks, inputs) = (Checks::about(bound.event), Arc::new(inputs));
        loop {
            let (expressions, spec) = (self.expressions.clone(), bound.spec.clone());
            let (inputs, asked) = (inputs.clone(), checks.clone());
            let evaluate = move || evaluate::policy(&spec, &expressions, &inputs, &asked);
            let verdict = self.long.run(evaluate).await;
            if !checks.decide(self.authorization.get(), bound.event.attributes.user).await {
                return verdict;
            }
        }
    }

    /// Does with what a policy came to what its binding says.
    fn judge(
        &self,
        bound: &Bound<'_>,
        verdict: Verdict,
        findings: &mut Findings,
        annotations: &mut Annotations,
    ) {
        let counted = figures::Bound { policy: bound.policy, binding: bound.binding };
        let count = |action, check: Check| self.figures.checked(counted, action, check.error, check.took);
        let actions = &bound.binding_spec["validationActions"];
        for (index, decision) in verdict.denials {
            let Decision { message, reason, check } = decision;
            for action in actions.as_array().into_iter().flatten().filter_map(Value::as_str) {
                match action {
                    "Deny" => {
                        count("deny", check);
                        findings.denials.push(bound.deny(&message, reason.clone()));
                    }
                    "Warn" => {
                        count("warn", check);
                        bound.event.attributes.warn(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                            bound.policy, bound.binding
                        ));
                    }
                    "Audit" => {
                        count("audit", check);
                        if !findings.told {
                            findings.told = true;
                            tell(bound, index, &message);
                        }
                    }
                    _ => {}
                }
            }
        }
        verdict.passed_over.into_iter().for_each(|check| count("allow", check));
        for annotation in verdict.annotations {
            match annotation {
                Annotation::Publish { key, mut value } => {
                    value.truncate(value.floor_char_boundary(LONGEST_ANNOTATION));
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                Annotation::Failed(message, check) => {
                    count("deny", check);
                    findings.denials.push(bound.deny(&message, None));
                }
            }
        }
    }
}

/// Tells the audit log of an expression that does not hold.
fn tell(bound: &Bound<'_>, index: usize, message: &str) {
    let text = |text: &str| Value::from(text).to_string();
    let value = format!(
        "[{{\"message\":{},\"policy\":{},\"binding\":{},\"expressionIndex\":{index},\"validationActions\":{}}}]",
        text(message),
        text(bound.policy),
        text(bound.binding),
        bound.binding_spec["validationActions"]
    );
    bound.event.attributes.annotate("validation.policy.admission.k8s.io/validation_failure", value);
}

/// Refuses a write for the first reason found.
fn refusal(event: &Event<'_>, denial: Denial) -> Status {
    let mut status = matching::forbidden(event, &denial.message).cause(json!({"message": denial.message}));
    let reason = denial.reason.unwrap_or_else(|| "Invalid".into());
    status.code = match reason.as_str() {
        "Forbidden" => StatusCode::FORBIDDEN,
        "Unauthorized" => StatusCode::UNAUTHORIZED,
        "RequestEntityTooLarge" => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    status.foreign_reason(reason)
}

#[async_trait]
impl Admission for ValidatingPolicies {
    fn start(&self, authorization: &Authorization) {
        let _ = self.authorization.set(authorization.clone());
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let resource = attributes.resource;
        // Policies are never about policies: nobody could get rid of them.
        let exempt = resource.group == "admissionregistration.k8s.io"
            && matches!(
                &*resource.plural,
                "validatingadmissionpolicies" | "validatingadmissionpolicybindings"
            );
        !exempt && attributes.is_asked() && attributes.world.has(BINDINGS)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let event = Event::new(attributes, object);
        let mut bindings: BTreeMap<&str, Vec<(&str, &Value)>> = BTreeMap::new();
        for (_, binding) in attributes.world.range(BINDINGS, None) {
            let spec = &binding.parsed()["spec"];
            let policy = spec["policyName"].as_str().unwrap_or_default();
            bindings.entry(policy).or_default().push((&binding.header.name, spec));
        }
        let mut findings = Findings::default();
        for (policy, bindings) in bindings {
            // A binding may be there before its policy.
            let Some(found) = attributes.world.get(&format!("{POLICIES}{policy}")) else { continue };
            self.policy((policy, &found.parsed()["spec"]), &bindings, &event, &mut findings).await?;
        }
        match findings.denials.into_iter().next() {
            None => Ok(()),
            Some(denial) => Err(refusal(&event, denial)),
        }
    }
}
