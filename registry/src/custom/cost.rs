//! What an expression of the Common Expression Language costs, before it is evaluated.
//!
//! The same walk serves twice: over a schema, whose bounds say what an object may come to ([`Shape`]), and over the values at
//! hand ([`Values`]). A step is an operator or a function; a macro such as `all` takes its steps once for each element.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{ComprehensionExpr, Expr, LiteralValue};
use serde_json::Value;

use super::schema::{Additional, Schema};

/// How many elements a list or a map may have that states no bound: as many as fit into a request.
const MOST_ITEMS: u64 = 1 << 20;
/// How long a text may be that states no bound.
const LONGEST: u64 = 3 << 20;
/// How many bytes of a text are looked at in one step.
const BYTES_PER_STEP: u64 = 10;
/// Names that stand for types.
const TYPES: [&str; 12] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// What an expression is about: part of a schema, or values.
pub(super) trait Ground: Clone {
    /// The member of this name; absent if nothing is known of it.
    ///
    /// # Errors
    ///
    /// That there can be no such member.
    fn member(&self, name: &str) -> Result<Option<Self>, String>;
    /// The elements of a list, or the values of a map.
    fn elements(&self) -> Option<Self>;
    /// How many elements or bytes there are at most.
    fn size(&self) -> u64;
    /// Whether it is a map: its elements are gone through by key.
    fn is_map(&self) -> bool;
}

/// A part of a schema.
#[derive(Clone, Copy)]
pub(super) struct Shape<'s> {
    schema: &'s Schema,
    /// Whether it has kind, apiVersion and metadata.
    is_object: bool,
}

impl<'s> Shape<'s> {
    pub(super) fn of(schema: &'s Schema, is_object: bool) -> Self {
        Self { schema, is_object }
    }

    /// How many elements or bytes a value of the schema may have.
    pub(super) fn size_of(schema: &Schema) -> u64 {
        let checks = &schema.checks;
        let bound = |bound: Option<usize>, most: u64| bound.map_or(most, |bound| (bound as u64).min(most));
        match schema.kind.as_str() {
            "array" => bound(checks.max_items, MOST_ITEMS),
            "object" if schema.properties.is_empty() => bound(checks.max_properties, MOST_ITEMS),
            "string" => match (&*checks.format, checks.values.is_empty()) {
                (_, false) => 64,
                ("date" | "date-time" | "duration" | "uuid" | "ipv4" | "ipv6", _) => 64,
                _ => bound(checks.max_length, LONGEST),
            },
            "integer" | "number" | "boolean" => 1,
            _ if schema.int_or_string => bound(checks.max_length, LONGEST),
            "object" => schema.properties.len() as u64,
            _ => LONGEST,
        }
    }
}

impl Ground for Shape<'_> {
    fn member(&self, name: &str) -> Result<Option<Self>, String> {
        let schema = self.schema;
        if self.is_object && matches!(name, "apiVersion" | "kind" | "metadata") {
            return Ok(None);
        }
        if let Some(schema) = schema.properties.get(name) {
            return Ok(Some(Self::of(schema, schema.embedded)));
        }
        match &schema.additional {
            Additional::Of(schema) => Ok(Some(Self::of(schema, schema.embedded))),
            Additional::Any => Ok(None),
            // Names that are no identifiers are written otherwise in expressions.
            Additional::Absent if schema.kind == "object" && !schema.preserves && !name.contains("__") => {
                Err(format!("undefined field '{name}'"))
            }
            Additional::Absent => Ok(None),
        }
    }

    fn elements(&self) -> Option<Self> {
        let below = match &self.schema.additional {
            Additional::Of(schema) => Some(&**schema),
            _ => None,
        };
        self.schema.items.as_deref().or(below).map(|schema| Self::of(schema, schema.embedded))
    }

    fn size(&self) -> u64 {
        Self::size_of(self.schema)
    }

    fn is_map(&self) -> bool {
        self.schema.kind == "object"
    }
}

/// The values that a part of an expression may stand for.
#[derive(Clone)]
pub(super) struct Values<'v>(Vec<&'v Value>);

impl<'v> Values<'v> {
    pub(super) fn of(value: &'v Value) -> Self {
        Self(vec![value])
    }
}

impl Ground for Values<'_> {
    fn member(&self, name: &str) -> Result<Option<Self>, String> {
        Ok(Some(Self(self.0.iter().filter_map(|value| value.get(name)).collect())))
    }

    fn elements(&self) -> Option<Self> {
        let lists = self.0.iter().filter_map(|value| value.as_array()).flatten();
        let maps = self.0.iter().filter_map(|value| value.as_object()).flat_map(|members| members.values());
        Some(Self(lists.chain(maps).collect()))
    }

    fn size(&self) -> u64 {
        let size = |value: &&Value| match value {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            Value::String(text) => text.len(),
            _ => 1,
        };
        self.0.iter().map(size).max().unwrap_or_default() as u64
    }

    fn is_map(&self) -> bool {
        self.0.iter().any(|value| value.is_object())
    }
}

/// What is found out about an expression.
#[derive(Debug)]
pub(super) struct Found {
    /// How many steps it takes at most.
    pub cost: u64,
    /// Why it can never be evaluated, if so.
    pub problem: Option<String>,
}

impl Found {
    /// Looks at an expression about `this` and what it was before.
    pub(super) fn of<G: Ground>(expression: &IdedExpr, this: G, old: G) -> Self {
        let variables = vec![
            ("self".to_owned(), Part { ground: Some(this), size: 0, cost: 0 }),
            ("oldSelf".to_owned(), Part { ground: Some(old), size: 0, cost: 0 }),
        ];
        let mut walk = Walk { variables, problem: None };
        let cost = walk.part(&expression.expr).cost;
        Self { cost, problem: walk.problem }
    }
}

/// What is known of a part of an expression.
#[derive(Clone)]
struct Part<G> {
    ground: Option<G>,
    /// How many elements or bytes it has, if there is no ground.
    size: u64,
    cost: u64,
}

impl<G: Ground> Part<G> {
    fn size(&self) -> u64 {
        self.ground.as_ref().map_or(self.size, Ground::size)
    }
}

struct Walk<G> {
    variables: Vec<(String, Part<G>)>,
    problem: Option<String>,
}

impl<G: Ground> Walk<G> {
    fn part(&mut self, expression: &Expr) -> Part<G> {
        let alone = |size: u64| Part { ground: None, size, cost: 0 };
        match expression {
            Expr::Unspecified => alone(0),
            Expr::Literal(LiteralValue::String(text)) => alone(text.len() as u64),
            Expr::Literal(_) => alone(1),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                let operand = self.part(&select.operand.expr);
                let member = operand.ground.map(|ground| ground.member(&select.field));
                let ground = match member {
                    Some(Err(problem)) => {
                        self.problem.get_or_insert(problem);
                        None
                    }
                    Some(Ok(ground)) => ground,
                    None => None,
                };
                Part { ground, size: operand.size, cost: operand.cost }
            }
            Expr::Call(call) => {
                let target = call.target.iter().map(|target| &target.expr);
                let parts: Vec<Part<G>> = target
                    .chain(call.args.iter().map(|argument| &argument.expr))
                    .map(|part| self.part(part))
                    .collect();
                call_cost(&call.func_name, parts)
            }
            Expr::Comprehension(loops) => self.comprehension(loops),
            Expr::List(list) => {
                let parts = list.elements.iter().map(|element| self.part(&element.expr).cost).sum();
                Part { ground: None, size: list.elements.len() as u64, cost: parts }
            }
            Expr::Map(map) => alone(map.entries.len() as u64),
            Expr::Struct(of) => alone(of.entries.len() as u64),
        }
    }

    fn variable(&mut self, name: &str) -> Part<G> {
        let known = self.variables.iter().rev().find(|(known, _)| known == name);
        if let Some((_, part)) = known {
            return Part { cost: 0, ..part.clone() };
        }
        if !TYPES.contains(&name) {
            self.problem.get_or_insert_with(|| format!("undeclared reference to '{name}' (in container '')"));
        }
        Part { ground: None, size: 0, cost: 0 }
    }

    /// A macro that goes through a list or a map.
    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Part<G> {
        let range = self.part(&loops.iter_range.expr);
        let times = range.size();
        let init = self.part(&loops.accu_init.expr);
        let known = self.variables.len();
        let is_map = range.ground.as_ref().is_some_and(Ground::is_map);
        let elements = range.ground.as_ref().and_then(Ground::elements);
        let element = Part { ground: elements.filter(|_| !is_map), size: LONGEST.min(64), cost: 0 };
        self.variables.push((loops.iter_var.clone(), element.clone()));
        self.variables.extend(loops.iter_var2.clone().map(|name| (name, element)));
        self.variables.push((loops.accu_var.clone(), Part { ground: None, size: times, cost: 0 }));
        let step = self.part(&loops.loop_cond.expr).cost + self.part(&loops.loop_step.expr).cost;
        let result = self.part(&loops.result.expr).cost;
        self.variables.truncate(known);
        let all = times.saturating_mul(step.max(1));
        Part { ground: None, size: times, cost: all.saturating_add(range.cost + init.cost + result) }
    }
}

/// What a call costs, on parts the first of which may be what it is called on.
fn call_cost<G: Ground>(function: &str, parts: Vec<Part<G>>) -> Part<G> {
    let cost = parts.iter().fold(1_u64, |cost, part| cost.saturating_add(part.cost));
    let largest = parts.iter().map(Part::size).max().unwrap_or_default();
    let smallest = parts.iter().map(Part::size).min().unwrap_or_default();
    let work = match function {
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => smallest / BYTES_PER_STEP,
        "@in" | "in" | "_in_" => largest,
        "size" | "has" => 0,
        operator if operator.starts_with(['_', '!', '-', '@']) => 0,
        _ => largest / BYTES_PER_STEP,
    };
    let mut parts = parts.into_iter();
    let first = parts.next();
    let (ground, size) = match function {
        "_[_]" => (first.and_then(|part| part.ground?.elements()), largest),
        "_?_:_" => (parts.next().and_then(|part| part.ground), largest),
        "_+_" => (None, largest.saturating_mul(2)),
        "size" => (None, 1),
        _ => (None, largest),
    };
    Part { ground, size, cost: cost.saturating_add(work) }
}
