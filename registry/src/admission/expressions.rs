//! Expressions that admission evaluates about a write, in the Common Expression Language.
//!
//! [`Expressions`] keeps what was compiled; an [`Evaluation`] evaluates some of them on the same [`Inputs`], within a budget: what
//! an expression would cost on the values at hand is found out before it is evaluated, as for the rules of custom kinds. What it
//! asks authorizers is counted as it asks ([`Checks`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use kube_cel::KubeCelExt;
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, ExecutionError, Program, Value as CelValue};
use quarterdeck_core::expression::with_stack;
use serde_json::{Map as Members, Value};

use super::checks::CHECK;
pub(crate) use super::checks::{Checks, LONGEST_REASON};
use crate::custom::cost::{Found, Values};
use crate::custom::rules::program;

/// How many compiled expressions are kept.
const KEPT: usize = 4096;
/// What one expression may cost.
const PER_CALL: u64 = 1_000_000;
/// What all expressions of a policy may cost on one write.
pub(crate) const PER_POLICY: Budget = Budget { steps: 2_000_000, checks: 10_000_000 / CHECK };
/// What the conditions of one webhook or policy may cost on one write.
pub(crate) const PER_CONDITIONS: Budget =
    Budget { steps: PER_POLICY.steps / 4, checks: PER_POLICY.checks / 4 };

/// How deep the value of a named expression may nest: others nest it deeper.
const MOST_NESTED: usize = 64;
/// How many values all named expressions of a policy may come to: what is written twice in a list is counted twice.
const MOST_VALUES: usize = 500_000;

/// What several expressions may cost together: steps, and how many times they may ask authorizers, which is upstream's number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    steps: u64,
    checks: u64,
}

/// Returns why an expression about variables of these names can never be evaluated, if so.
pub(crate) fn check(text: &str, names: &[&str]) -> Option<String> {
    let program = match program(text) {
        Ok(program) => program,
        Err(error) => return Some(format!("compilation failed: ERROR: <input>: {error}")),
    };
    let problem = Found::about_anything(program.expression(), names).problem?;
    Some(format!("compilation failed: ERROR: <input>: {problem}"))
}

/// What expressions came to, compiled once each.
#[derive(Default)]
pub(crate) struct Expressions(Mutex<BTreeMap<String, Compiled>>);

type Compiled = Result<Arc<Program>, Arc<str>>;

impl std::fmt::Debug for Expressions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expressions").finish_non_exhaustive()
    }
}

impl Expressions {
    fn get(&self, text: &str) -> Compiled {
        let mut known = self.0.lock().expect("nothing panics while it holds the expressions");
        if let Some(compiled) = known.get(text) {
            return compiled.clone();
        }
        let compiled = program(text).map(Arc::new).map_err(Arc::from);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(text.to_owned(), compiled.clone());
        compiled
    }
}

/// What expressions are about: values by their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs(BTreeMap<&'static str, Value>);

impl Inputs {
    /// Adds a value; null if it is absent.
    pub(crate) fn with(mut self, name: &'static str, value: Option<Value>) -> Self {
        self.0.insert(name, value.unwrap_or_default());
        self
    }
}

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Bool(bool),
    Text(String),
    Null,
    /// A value of this type.
    Other(String),
}

/// Why an expression comes to nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EvaluationError {
    /// It failed; the message is complete.
    Failed(String),
    /// The budget is spent: nothing more is evaluated.
    Exhausted,
}

impl std::fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::Exhausted => f.write_str(
                "validation failed due to running out of cost budget, no further validation rules will be run",
            ),
        }
    }
}

/// The name under which expressions find what others came to.
const VARIABLES: &str = "variables";
/// The name under which expressions ask what users may do.
pub(crate) const AUTHORIZER: &str = "authorizer";

/// One evaluation of several expressions.
pub(crate) struct Evaluation<'e> {
    expressions: &'e Expressions,
    inputs: &'e Inputs,
    context: Context<'static>,
    checks: &'e Checks,
    budget: Budget,
    /// Named expressions, in order, and whether they were evaluated.
    defined: Vec<(&'e str, &'e str, bool)>,
    /// Where they are by their names, and those whose names are no words.
    words: BTreeMap<&'e str, usize>,
    others: Vec<usize>,
    /// What named expressions came to, for expressions and for their costs.
    named: Map,
    costs: Value,
    values: usize,
    /// Named expressions that failed, and why.
    broken: BTreeMap<String, String>,
}

impl<'e> Evaluation<'e> {
    pub(crate) fn new(
        expressions: &'e Expressions,
        inputs: &'e Inputs,
        checks: &'e Checks,
        budget: Budget,
    ) -> Self {
        let mut context = Context::default().with_all();
        checks.add_to(&mut context);
        // Of an evaluation that was given up.
        checks.count();
        for (name, value) in &inputs.0 {
            context.add_variable_from_value(*name, to_cel(value));
        }
        context.add_variable_from_value(VARIABLES, CelValue::Map(Map { map: Arc::default() }));
        Self {
            expressions,
            inputs,
            context,
            checks,
            budget,
            defined: Vec::new(),
            words: BTreeMap::new(),
            others: Vec::new(),
            named: Map { map: Arc::default() },
            costs: Value::Object(Members::new()),
            values: MOST_VALUES,
            broken: BTreeMap::new(),
        }
    }

    /// Gives an expression a name, by which later ones know what it comes to. It is evaluated when one of them needs it.
    pub(crate) fn define(&mut self, name: &'e str, text: &'e str) {
        if words(name).eq([name]) {
            self.words.insert(name, self.defined.len());
        } else {
            self.others.push(self.defined.len());
        }
        self.defined.push((name, text, false));
    }

    /// Evaluates an expression.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`], as upstream says it.
    pub(crate) fn evaluate(&mut self, text: &str) -> Result<Outcome, EvaluationError> {
        self.prepare(text)?;
        let value = self.value(text)?;
        Ok(match value {
            CelValue::Bool(value) => Outcome::Bool(value),
            CelValue::String(text) => Outcome::Text(text.as_ref().clone()),
            CelValue::Null => Outcome::Null,
            other => Outcome::Other(other.type_of().to_string()),
        })
    }

    /// Evaluates the named expressions that an expression may need.
    fn prepare(&mut self, text: &str) -> Result<(), EvaluationError> {
        for index in self.needed(text) {
            let (name, named, _) = self.defined[index];
            self.defined[index].2 = true;
            match self.value(named).and_then(|value| self.counted(named, value)) {
                Ok(value) => {
                    self.costs[name] = to_json(&value);
                    // Nobody else holds what expressions see, so that it is not copied for each of them.
                    self.context.add_variable_from_value(VARIABLES, CelValue::Null);
                    Arc::make_mut(&mut self.named.map).insert(Key::String(Arc::new(name.to_owned())), value);
                }
                Err(EvaluationError::Failed(why)) => drop(self.broken.insert(name.to_owned(), why)),
                Err(EvaluationError::Exhausted) => return Err(EvaluationError::Exhausted),
            }
            self.context.add_variable_from_value(VARIABLES, CelValue::Map(self.named.clone()));
        }
        Ok(())
    }

    /// Named expressions that an expression mentions, or one of these does, and that were not evaluated yet; in order.
    fn needed(&self, text: &str) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut left = vec![(text, self.defined.len())];
        while let Some((text, before)) = left.pop() {
            let mentioned = words(text).filter_map(|word| self.words.get(word));
            let others = self.others.iter().filter(|index| text.contains(self.defined[**index].0));
            for index in mentioned.chain(others).copied() {
                let (_, named, is_done) = self.defined[index];
                if index < before && !is_done && needed.insert(index) {
                    left.push((named, index));
                }
            }
        }
        needed
    }

    /// Takes what a named expression came to, if it is not too large for those that are made of it.
    fn counted(&mut self, text: &str, value: CelValue) -> Result<CelValue, EvaluationError> {
        self.values = size(&value, MOST_NESTED, self.values).map_err(|why| failed(text, why))?;
        Ok(value)
    }

    fn value(&mut self, text: &str) -> Result<CelValue, EvaluationError> {
        with_stack(|| self.value_of(text))
    }

    fn value_of(&mut self, text: &str) -> Result<CelValue, EvaluationError> {
        let program = self.expressions.get(text);
        let program = program.map_err(|why| {
            EvaluationError::Failed(format!("compilation error: compilation failed: {why}"))
        })?;
        let inputs = self.inputs.0.iter().map(|(name, value)| (*name, value));
        let known = inputs.chain([(VARIABLES, &self.costs), (AUTHORIZER, &Value::Null)]);
        let found = Found::about(program.expression(), known.map(|(name, value)| (name, Values::of(value))));
        if let Some(problem) = found.problem {
            let why = format!("compilation error: compilation failed: ERROR: <input>: {problem}");
            return Err(EvaluationError::Failed(why));
        }
        if found.cost > PER_CALL {
            return Err(failed(text, "operation cancelled: actual cost limit exceeded"));
        }
        self.budget.steps = self.budget.steps.checked_sub(found.cost).ok_or(EvaluationError::Exhausted)?;
        let value = program.execute(&self.context);
        let checks = self.checks.count();
        if found.cost.saturating_add(checks.saturating_mul(CHECK)) > PER_CALL {
            return Err(failed(text, "operation cancelled: actual cost limit exceeded"));
        }
        self.budget.checks = self.budget.checks.checked_sub(checks).ok_or(EvaluationError::Exhausted)?;
        value.map_err(|error| failed(text, &self.message(&error)))
    }

    /// Says what went wrong in upstream's words, where they are known.
    fn message(&self, error: &ExecutionError) -> String {
        match error {
            ExecutionError::NoSuchKey(key) => match self.broken.get(key.as_str()) {
                Some(why) => format!("composited variable {key:?} fails to evaluate: {why}"),
                None => format!("no such key: {key}"),
            },
            ExecutionError::NoSuchOverload => "no such overload".into(),
            ExecutionError::UndeclaredReference(name) => {
                format!("undeclared reference to '{name}' (in container '')")
            }
            ExecutionError::DivisionByZero(_) => "division by zero".into(),
            ExecutionError::RemainderByZero(_) => "modulus by zero".into(),
            ExecutionError::Overflow(..) => "integer overflow".into(),
            // Others show the values at hand, which may be secret.
            ExecutionError::IndexOutOfBounds(_) => "index out of bounds".into(),
            ExecutionError::FunctionError { function, message } if function.is_empty() => message.clone(),
            ExecutionError::FunctionError { function, message } => format!("{function}: {message}"),
            _ => "no such overload".into(),
        }
    }
}

fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => CelValue::Int(number),
            (None, Some(number)) => CelValue::UInt(number),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| (Key::String(Arc::new(name.clone())), to_cel(value)));
            CelValue::Map(Map { map: Arc::new(members.collect()) })
        }
    }
}

/// Why an expression failed.
fn failed(text: &str, why: &str) -> EvaluationError {
    EvaluationError::Failed(format!("expression '{}' resulted in error: {why}", text.trim()))
}

/// The words of a text: what names in it are made of.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

/// Counts a value and those in it, and returns how many may still come.
///
/// # Errors
///
/// What there is too much of.
fn size(value: &CelValue, nests: usize, left: usize) -> Result<usize, &'static str> {
    let own = match value {
        CelValue::String(text) => 1 + text.len() / 32,
        CelValue::Bytes(bytes) => 1 + bytes.len() / 32,
        _ => 1,
    };
    let left = left.checked_sub(own).ok_or("the variables hold too many values")?;
    let below = || nests.checked_sub(1).ok_or("the variable's value nests deeper than 64");
    match value {
        CelValue::List(items) => {
            let nests = below()?;
            items.iter().try_fold(left, |left, item| size(item, nests, left))
        }
        CelValue::Map(map) => {
            let nests = below()?;
            map.map.values().try_fold(left, |left, value| size(value, nests, left))
        }
        _ => Ok(left),
    }
}

/// What a value is for who counts costs: its size.
fn to_json(value: &CelValue) -> Value {
    match value {
        CelValue::List(items) => items.iter().map(to_json).collect(),
        CelValue::Map(map) => {
            let mut members = Members::new();
            for (key, value) in map.map.iter() {
                let key = match key {
                    Key::String(text) => text.as_ref().clone(),
                    Key::Int(number) => number.to_string(),
                    Key::Uint(number) => number.to_string(),
                    Key::Bool(value) => value.to_string(),
                };
                members.insert(key, to_json(value));
            }
            Value::Object(members)
        }
        CelValue::String(text) => Value::String(text.as_ref().clone()),
        CelValue::Bytes(bytes) => Value::String("b".repeat(bytes.len())),
        CelValue::Bool(value) => Value::Bool(*value),
        _ => Value::from(1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inputs() -> Inputs {
        let object = json!({
            "metadata": {"name": "a", "namespace": "ns", "labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"replicas": 3, "items": ["x", "y"]},
        });
        Inputs::default().with("object", Some(object)).with("oldObject", None)
    }

    fn evaluate(text: &str) -> Result<Outcome, String> {
        let (expressions, inputs, checks) = (Expressions::default(), inputs(), Checks::none());
        let mut evaluation = Evaluation::new(&expressions, &inputs, &checks, PER_POLICY);
        evaluation.evaluate(text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_expression_sees_the_object_and_the_library_of_kubernetes() {
        for text in [
            "object.spec.replicas == 3 && oldObject == null",
            "object.metadata.labels['app.kubernetes.io/name'] == 'web'",
            "has(object.spec.replicas) && !has(object.spec.paused)",
            "object.spec.items.all(item, item in ['x', 'y'])",
            "object.metadata.namespace == 'ns'",
            "quantity('1Gi').isGreaterThan(quantity('1Mi'))",
        ] {
            assert_eq!(evaluate(text), Ok(Outcome::Bool(true)), "{text}");
        }
        assert_eq!(evaluate("'n: ' + object.metadata.name"), Ok(Outcome::Text("n: a".into())));
        assert_eq!(evaluate("null"), Ok(Outcome::Null));
    }

    #[test]
    fn what_goes_wrong_is_said_with_the_expression() {
        let missing = evaluate("object.spec.missing > 1").unwrap_err();
        assert_eq!(missing, "expression 'object.spec.missing > 1' resulted in error: no such key: missing");
        let unknown = evaluate("nothing > 1").unwrap_err();
        assert!(unknown.contains("undeclared reference to 'nothing' (in container '')"), "{unknown}");
    }

    #[test]
    fn named_expressions_are_evaluated_when_one_needs_them() {
        let (expressions, inputs, checks) = (Expressions::default(), inputs(), Checks::none());
        let mut evaluation = Evaluation::new(&expressions, &inputs, &checks, PER_POLICY);
        evaluation.define("broken", "object.nothing.x");
        evaluation.define("twice", "object.spec.replicas * 2");
        evaluation.define("more", "variables.twice + 1");

        assert_eq!(evaluation.evaluate("variables.more == 7"), Ok(Outcome::Bool(true)));
        assert_eq!(evaluation.evaluate("true || variables.broken"), Ok(Outcome::Bool(true)));
        let why = evaluation.evaluate("variables.broken").unwrap_err().to_string();
        assert!(why.contains("composited variable \"broken\" fails to evaluate"), "{why}");
    }

    #[test]
    fn what_costs_too_much_is_not_evaluated() {
        let items: Vec<Value> = (0..2000).map(Value::from).collect();
        let inputs = Inputs::default().with("object", Some(Value::Array(items)));
        let (expressions, checks) = (Expressions::default(), Checks::none());
        let mut evaluation = Evaluation::new(&expressions, &inputs, &checks, PER_POLICY);

        let why = evaluation.evaluate("object.all(a, object.all(b, a + b >= 0))").unwrap_err().to_string();
        let few = Budget { steps: 10, ..PER_POLICY };
        let mut spent = Evaluation::new(&expressions, &inputs, &checks, few);

        assert!(why.ends_with("operation cancelled: actual cost limit exceeded"), "{why}");
        assert_eq!(spent.evaluate("object.all(a, a >= 0)"), Err(EvaluationError::Exhausted));
    }

    #[test]
    fn broken_expressions_are_found_before_there_are_values() {
        let names = ["object", "request"];
        assert_eq!(check("object.x == request.y && size(object.z) > 1", &names), None);
        assert_eq!(check("object.items.exists(i, i.a.startsWith('x'))", &names), None);
        let broken = check("object.x ==", &names).unwrap();
        assert!(broken.starts_with("compilation failed: ERROR: <input>: "), "{broken}");
        let unknown = check("params.x == 1", &names).unwrap();
        assert!(unknown.contains("undeclared reference to 'params'"), "{unknown}");
        let asks = "authorizer.path('/x').check('get').allowed()";
        assert!(check(asks, &names).unwrap().contains("undeclared reference to 'authorizer'"));
        assert_eq!(check(asks, &["authorizer"]), None);
        let unknown = check("object.check('get')", &names).unwrap();
        assert!(unknown.contains("undeclared reference to 'check'"), "{unknown}");
    }
}
