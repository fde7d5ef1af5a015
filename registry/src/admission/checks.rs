//! The variable `authorizer` of expressions: what its functions ask, and the answers.
//!
//! Expressions are evaluated without waiting, and authorizers may take their time. So an evaluation goes by the answers that are
//! known and notes what is not; then [`Checks::decide`] has the authorizers decide that, and it begins anew. The last evaluation
//! is one that asks nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::{Key, Map, Opaque};
use kube_cel::cel::{Context, ExecutionError, Value as CelValue};

use super::matching::Event;
use crate::layers::authorization::{Authorization, Decision};
use crate::request::{RequestInfo, ResourceRequest, Verb};
use crate::user::User;
use crate::validation::{NameRule, dns_label};

/// What a check costs, upstream's figure: an expression has room for two.
pub(super) const CHECK: u64 = 350_000;
/// How many checks an expression may make before its cost is looked at.
const PER_EXPRESSION: u64 = 3;
/// How many different checks there may be about one write for one policy or webhook: more than their budgets allow.
const KNOWN: usize = 128;
/// How long a reason may be that expressions see.
pub(crate) const LONGEST_REASON: usize = 4096;
/// The name under which the variable holds itself: it is a map, for it has a member besides its functions.
const ITSELF: &str = "@authorizer";

/// Who may do something, or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// Whoever writes.
    Writer,
    /// A service account: its namespace and its name.
    Account(String, String),
}

/// What may be done to something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Path(String),
    Resource(OfResource),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct OfResource {
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    fields: String,
}

/// What an expression asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    who: Who,
    of: Subject,
    verb: String,
}

/// What the functions of the variable are called on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Authorizer(Who),
    Group(Who, String),
    Subject(Who, Subject),
    Decision { allowed: bool, reason: String },
}

impl Opaque for Part {
    fn runtime_type_name(&self) -> &str {
        match self {
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::Group(..) => "kubernetes.authorization.GroupCheck",
            Self::Subject(_, Subject::Path(_)) => "kubernetes.authorization.PathCheck",
            Self::Subject(_, Subject::Resource(_)) => "kubernetes.authorization.ResourceCheck",
            Self::Decision { .. } => "kubernetes.authorization.Decision",
        }
    }
}

/// What the expressions of one policy or webhook ask about one write. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Checks {
    /// What is written, as its writer asked for it.
    written: OfResource,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Whether they are allowed, and why or why not.
    known: BTreeMap<Question, (bool, String)>,
    unknown: BTreeSet<Question>,
    /// How many checks were made since somebody counted.
    count: u64,
}

impl Checks {
    /// Nothing is asked yet.
    pub(super) fn about(event: &Event<'_>) -> Self {
        let resource = event.attributes.resource;
        let written = OfResource {
            group: resource.group.to_string(),
            resource: resource.plural.to_string(),
            subresource: event.subresource().to_owned(),
            namespace: event.namespace().unwrap_or_default().to_owned(),
            name: event.name().to_owned(),
            fields: String::new(),
        };
        Self { written, asked: Arc::default() }
    }

    /// Nothing is asked, of nobody.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { written: OfResource::default(), asked: Arc::default() }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().expect("nothing panics while it holds what was asked")
    }

    /// Has what was asked and is not known be decided. Returns whether there was any: then what came of it is to be evaluated anew.
    pub(super) async fn decide(&self, authorization: Option<&Authorization>, writer: &User) -> bool {
        let unknown = std::mem::take(&mut self.asked().unknown);
        let any = !unknown.is_empty();
        for question in unknown {
            let answer = match authorization {
                Some(authorization) => decide(authorization, writer, &question).await,
                None => (false, "there is nobody to ask".to_owned()),
            };
            self.asked().known.insert(question, answer);
        }
        any
    }

    /// Returns how many checks were made since it was last called.
    pub(super) fn count(&self) -> u64 {
        std::mem::take(&mut self.asked().count)
    }

    /// Adds the variable and its functions.
    pub(super) fn add_to(&self, context: &mut Context<'_>) {
        let itself = Part::Authorizer(Who::Writer);
        let written = Part::Subject(Who::Writer, Subject::Resource(self.written.clone()));
        let members = [(ITSELF, itself), ("requestResource", written)];
        let members = members
            .map(|(name, part)| (Key::String(Arc::new(name.to_owned())), CelValue::Opaque(Arc::new(part))));
        let map = Map { map: Arc::new(members.into_iter().collect()) };
        context.add_variable_from_value("authorizer", CelValue::Map(map));
        context.add_function("path", path);
        context.add_function("group", |this: This<CelValue>, group: Arc<String>| match part(&this)? {
            Part::Authorizer(who) => made(Part::Group(who, group.to_string())),
            _ => Err(ExecutionError::NoSuchOverload),
        });
        context.add_function("serviceAccount", account);
        context.add_function("resource", resource);
        add_setter(context, "subresource", |of, text| of.subresource = text);
        add_setter(context, "namespace", |of, text| of.namespace = text);
        add_setter(context, "name", |of, text| of.name = text);
        add_setter(context, "fieldSelector", |of, text| of.fields = text);
        // None of the authorizers goes by labels.
        add_setter(context, "labelSelector", |_, _| {});
        let checks = self.clone();
        context.add_function("check", move |this: This<CelValue>, verb: Arc<String>| match part(&this)? {
            Part::Subject(who, of) => checks.check(Question { who, of, verb: verb.to_string() }),
            _ => Err(ExecutionError::NoSuchOverload),
        });
        add_getter(context, "allowed", |allowed, _| allowed.into());
        add_getter(context, "reason", |_, reason| reason.into());
        // Authorizers here have no errors of their own: what goes wrong allows nothing, and the reason says it.
        add_getter(context, "errored", |_, _| false.into());
        add_getter(context, "error", |_, _| String::new().into());
    }

    fn check(&self, question: Question) -> Result<CelValue, ExecutionError> {
        let mut asked = self.asked();
        asked.count += 1;
        if let Some((allowed, reason)) = asked.known.get(&question) {
            return made(Part::Decision { allowed: *allowed, reason: reason.clone() });
        }
        if asked.count >= PER_EXPRESSION || asked.known.len() + asked.unknown.len() >= KNOWN {
            return Err(failed("actual cost limit exceeded"));
        }
        asked.unknown.insert(question);
        // Nobody sees this: it is evaluated once more.
        Err(failed("the check is not decided yet"))
    }
}

/// Asks the authorizers.
async fn decide(authorization: &Authorization, writer: &User, question: &Question) -> (bool, String) {
    let account;
    let user = match &question.who {
        Who::Writer => writer,
        Who::Account(namespace, name) => {
            account = User::service_account(namespace, name);
            &account
        }
    };
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let (request, fields) = match &question.of {
        Subject::Path(path) => (RequestInfo::Path(path.clone()), ""),
        Subject::Resource(of) => {
            // A path's namespace lies in itself; here it is what the expression says.
            let is_of_cluster = of.group.is_empty() && of.resource == "namespaces" && of.namespace.is_empty();
            let request = ResourceRequest {
                verb: is_of_cluster.then_some(Verb::List),
                group: of.group.clone(),
                version: "*".into(),
                namespace: given(&of.namespace),
                resource: of.resource.clone(),
                name: given(&of.name),
                subresource: given(&of.subresource),
            };
            (RequestInfo::Resource(request), of.fields.as_str())
        }
    };
    let decision = authorization.decide(user, &request, &question.verb, fields).await;
    let allowed = matches!(decision, Decision::Allow(_));
    let (Decision::Allow(why) | Decision::Deny(why) | Decision::NoOpinion(why)) = decision;
    (allowed, why[..why.floor_char_boundary(LONGEST_REASON)].to_owned())
}

/// An error that is said as it is.
fn failed(why: &str) -> ExecutionError {
    ExecutionError::function_error("", why)
}

fn made(part: Part) -> Result<CelValue, ExecutionError> {
    Ok(CelValue::Opaque(Arc::new(part)))
}

/// What a function is called on.
fn part(This(this): &This<CelValue>) -> Result<Part, ExecutionError> {
    let of = |value: &CelValue| match value {
        CelValue::Opaque(opaque) => opaque.downcast_ref::<Part>().cloned(),
        _ => None,
    };
    let found = match this {
        CelValue::Map(map) => map.map.get(&Key::String(Arc::new(ITSELF.to_owned()))).and_then(of),
        value => of(value),
    };
    found.ok_or(ExecutionError::NoSuchOverload)
}

fn path(this: This<CelValue>, path: Arc<String>) -> Result<CelValue, ExecutionError> {
    match part(&this)? {
        Part::Authorizer(_) if path.trim().is_empty() => Err(failed("path must not be empty")),
        Part::Authorizer(who) => made(Part::Subject(who, Subject::Path(path.to_string()))),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn account(
    this: This<CelValue>,
    namespace: Arc<String>,
    name: Arc<String>,
) -> Result<CelValue, ExecutionError> {
    match part(&this)? {
        Part::Authorizer(_) if !NameRule::Subdomain.check(&name).is_empty() => {
            Err(failed("Invalid service account name"))
        }
        Part::Authorizer(_) if !dns_label(&namespace).is_empty() => {
            Err(failed("Invalid service account namespace"))
        }
        Part::Authorizer(_) => made(Part::Authorizer(Who::Account(namespace.to_string(), name.to_string()))),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn resource(this: This<CelValue>, resource: Arc<String>) -> Result<CelValue, ExecutionError> {
    match part(&this)? {
        Part::Group(..) if resource.trim().is_empty() => Err(failed("resource must not be empty")),
        Part::Group(who, group) => {
            let of = OfResource { group, resource: resource.to_string(), ..OfResource::default() };
            made(Part::Subject(who, Subject::Resource(of)))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

/// Adds a function that says more of the resource that is asked about.
fn add_setter(
    context: &mut Context<'_>,
    name: &'static str,
    set: impl Fn(&mut OfResource, String) + Send + Sync + 'static,
) {
    context.add_function(name, move |this: This<CelValue>, text: Arc<String>| match part(&this)? {
        Part::Subject(who, Subject::Resource(mut of)) => {
            set(&mut of, text.to_string());
            made(Part::Subject(who, Subject::Resource(of)))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    });
}

/// Adds a function that tells something of a decision.
fn add_getter(
    context: &mut Context<'_>,
    name: &'static str,
    get: impl Fn(bool, String) -> CelValue + Send + Sync + 'static,
) {
    context.add_function(name, move |this: This<CelValue>| match part(&this)? {
        Part::Decision { allowed, reason } => Ok(get(allowed, reason)),
        _ => Err(ExecutionError::NoSuchOverload),
    });
}
