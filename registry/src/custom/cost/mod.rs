//! What an expression of the Common Expression Language costs, before it is evaluated.
//!
//! The same walk serves twice: over a schema, whose bounds say what an object may come to ([`Shape`]), and over the values at
//! hand ([`Values`]). A step is an operator or a function; a macro such as `all` takes its steps once for each element. What
//! functions cost and return is in `functions`: what is not listed there is refused.

mod functions;
mod ground;

use std::rc::Rc;

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr};

use ground::{Ground, LONGEST};

pub(crate) use ground::{Shape, Values};

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

/// What is found out about an expression.
#[derive(Debug)]
pub(crate) struct Found {
    /// How many steps it takes at most.
    pub cost: u64,
    /// Why it can never be evaluated, if so.
    pub problem: Option<String>,
}

impl Found {
    /// Looks at an expression about `this` and what it was before.
    pub(super) fn of<G: Ground>(expression: &IdedExpr, this: G, old: G) -> Self {
        Self::about(expression, [("self", this), ("oldSelf", old)])
    }

    /// Looks at an expression about these variables.
    pub(crate) fn about<'n, G: Ground>(
        expression: &IdedExpr,
        variables: impl IntoIterator<Item = (&'n str, G)>,
    ) -> Self {
        let whole = |ground| Part { ground: Some(ground), ..Part::made(0) };
        let variables = variables.into_iter().map(|(name, ground)| (name.to_owned(), whole(ground)));
        Self::walk(expression, variables.collect())
    }

    /// Looks at an expression about variables of these names, of which nothing else is known.
    pub(crate) fn about_anything(expression: &IdedExpr, names: &[&str]) -> Self {
        let variables = names.iter().map(|name| ((*name).to_owned(), Part::<Shape<'_>>::unknown()));
        Self::walk(expression, variables.collect())
    }

    fn walk<G: Ground>(expression: &IdedExpr, variables: Vec<(String, Part<G>)>) -> Self {
        let mut walk = Walk { variables, problem: None };
        let cost = walk.part(&expression.expr).cost;
        Self { cost, problem: walk.problem }
    }
}

/// What is known of a part of an expression: it is a part of what the expression is about, or made by it.
#[derive(Clone)]
struct Part<G> {
    ground: Option<G>,
    /// How many elements or bytes it has, if it is made.
    size: u64,
    /// How many it has at any depth, if it is made.
    weight: u64,
    /// What its elements are, if it is made.
    element: Option<Rc<Part<G>>>,
    /// Whether it may be anything.
    unknown: bool,
    cost: u64,
}

impl<G: Ground> Part<G> {
    /// A value without elements.
    fn made(size: u64) -> Self {
        Self { ground: None, size, weight: size, element: None, unknown: false, cost: 0 }
    }

    /// A list of so many elements.
    fn list(size: u64, element: Self) -> Self {
        let weight = size.saturating_mul(element.weight().saturating_add(1));
        let element = Some(Rc::new(Self { cost: 0, ..element }));
        Self { weight, element, ..Self::made(size) }
    }

    fn unknown() -> Self {
        Self { unknown: true, ..Self::made(LONGEST) }
    }

    fn size(&self) -> u64 {
        self.ground.as_ref().map_or(0, Ground::size).max(self.size)
    }

    fn weight(&self) -> u64 {
        self.ground.as_ref().map_or(0, Ground::weight).max(self.weight)
    }

    fn with_cost(self, cost: u64) -> Self {
        Self { cost, ..self }
    }

    /// Either of the two, without what they cost.
    fn or(self, other: &Self) -> Self {
        let element = match (self.element, &other.element) {
            (Some(one), Some(two)) if !Rc::ptr_eq(&one, two) => Some(Rc::new((*one).clone().or(two))),
            (one, two) => one.or_else(|| two.clone()),
        };
        let ground = match (self.ground, other.ground.clone()) {
            (Some(one), Some(two)) => Some(one.or(two)),
            (one, two) => one.or(two),
        };
        Self {
            ground,
            element,
            size: self.size.max(other.size),
            weight: self.weight.max(other.weight),
            unknown: self.unknown || other.unknown,
            cost: 0,
        }
    }

    /// Any of its elements or members.
    fn elements(&self) -> Self {
        let ground = self.ground.as_ref().map(|ground| {
            ground
                .elements()
                .map_or_else(Self::unknown, |ground| Self { ground: Some(ground), ..Self::made(0) })
        });
        self.any_of(ground)
    }

    /// What a macro goes through.
    fn iterated(&self) -> Self {
        let ground = self.ground.as_ref().map(|ground| {
            let (items, key) = ground.iterated();
            match (items, key) {
                (None, None) => Self::unknown(),
                (ground, key) => Self { ground, ..Self::made(key.unwrap_or_default()) },
            }
        });
        self.any_of(ground)
    }

    fn any_of(&self, ground: Option<Self>) -> Self {
        let unknown = self.unknown.then(Self::unknown);
        let parts = ground.into_iter().chain(self.element.as_deref().cloned()).chain(unknown);
        // Of what has no elements, there is nothing to go through.
        parts.reduce(|one, two| one.or(&two)).unwrap_or_else(|| Self::made(1))
    }

    /// What it takes to copy it.
    fn copied(&self) -> u64 {
        if G::EXACT { self.weight() / BYTES_PER_STEP } else { 0 }
    }
}

struct Walk<G> {
    variables: Vec<(String, Part<G>)>,
    problem: Option<String>,
}

impl<G: Ground> Walk<G> {
    fn part(&mut self, expression: &Expr) -> Part<G> {
        match expression {
            Expr::Unspecified => Part::made(0),
            Expr::Literal(LiteralValue::String(text)) => Part::made(text.len() as u64),
            Expr::Literal(LiteralValue::Bytes(bytes)) => Part::made(bytes.inner().len() as u64),
            Expr::Literal(_) => Part::made(1),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(loops) => self.comprehension(loops),
            Expr::List(list) => {
                let parts = list.elements.iter().map(|element| self.part(&element.expr)).collect();
                Self::literal(parts, list.elements.len())
            }
            Expr::Map(map) => {
                let mut parts = Vec::new();
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        parts.push(self.part(&entry.key.expr));
                        parts.push(self.part(&entry.value.expr));
                    }
                }
                Self::literal(parts, map.entries.len())
            }
            Expr::Struct(of) => {
                self.refuse(|| format!("undeclared reference to '{}' (in container '')", of.type_name));
                Part::made(0)
            }
        }
    }

    fn refuse(&mut self, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(problem);
    }

    /// A list or a map that is written out.
    fn literal(parts: Vec<Part<G>>, size: usize) -> Part<G> {
        let sum = |of: fn(&Part<G>) -> u64| parts.iter().map(of).fold(1, u64::saturating_add);
        let (cost, copied, weight) = (sum(|part| part.cost), sum(Part::copied), sum(Part::weight));
        let element = parts.into_iter().reduce(|one, two| one.or(&two)).unwrap_or_else(|| Part::made(0));
        Part { weight, ..Part::list(size as u64, element) }.with_cost(cost.saturating_add(copied))
    }

    fn select(&mut self, select: &SelectExpr) -> Part<G> {
        let operand = self.part(&select.operand.expr);
        let mut parts: Vec<Part<G>> = operand.element.as_deref().cloned().into_iter().collect();
        match operand.ground.as_ref().map(|ground| ground.member(&select.field)) {
            Some(Ok(Some(ground))) => parts.push(Part { ground: Some(ground), ..Part::made(0) }),
            Some(Ok(None)) => parts.push(Part::unknown()),
            Some(Err(problem)) => self.refuse(|| problem),
            None => {}
        }
        if operand.unknown {
            parts.push(Part::unknown());
        }
        let found = parts.into_iter().reduce(|one, two| one.or(&two)).unwrap_or_else(|| Part::made(1));
        if select.test {
            return Part::made(1).with_cost(operand.cost);
        }
        let cost = operand.cost.saturating_add(found.copied());
        found.with_cost(cost)
    }

    fn variable(&mut self, name: &str) -> Part<G> {
        let known = self.variables.iter().rev().find(|(known, _)| known == name);
        if let Some((_, part)) = known {
            return part.clone().with_cost(0);
        }
        if !TYPES.contains(&name) {
            self.refuse(|| format!("undeclared reference to '{name}' (in container '')"));
        }
        Part::made(0)
    }

    fn call(&mut self, call: &CallExpr) -> Part<G> {
        let prefixed = call.target.as_ref().and_then(|target| match &target.expr {
            Expr::Ident(prefix) => Some(format!("{prefix}.{}", call.func_name)),
            _ => None,
        });
        let qualified = prefixed.filter(|name| functions::is_qualified(name));
        let target = call.target.iter().filter(|_| qualified.is_none()).map(|target| &target.expr);
        let written: Vec<&Expr> = target.chain(call.args.iter().map(|argument| &argument.expr)).collect();
        let parts: Vec<Part<G>> = written.iter().map(|part| self.part(part)).collect();
        let name = qualified.as_deref().unwrap_or(&call.func_name);
        if functions::asks(name) && !self.variables.iter().any(|(known, _)| known == "authorizer") {
            self.refuse(|| format!("undeclared reference to '{name}' (in container '')"));
        }
        match functions::call(name, &written, &parts) {
            Ok(part) => part,
            Err(problem) => {
                self.refuse(|| problem);
                Part::unknown()
            }
        }
    }

    /// A macro that goes through a list or a map.
    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Part<G> {
        let range = self.part(&loops.iter_range.expr);
        let times = range.size();
        let init = self.part(&loops.accu_init.expr);
        let known = self.variables.len();
        let element = range.iterated().with_cost(0);
        let copied = element.copied();
        // What is gathered is a list, which grows with each step, or no more than a number.
        let gathers = matches!(loops.accu_init.expr, Expr::List(_));
        let so_far = Part::made(if gathers && G::EXACT { times } else { 1 });
        self.variables.push((loops.iter_var.clone(), element.clone()));
        self.variables.extend(loops.iter_var2.clone().map(|name| (name, element)));
        self.variables.push((loops.accu_var.clone(), so_far));
        let condition = self.part(&loops.loop_cond.expr).cost;
        let step = self.part(&loops.loop_step.expr);
        let each = condition.saturating_add(step.cost).saturating_add(copied).max(1);
        let all = if gathers {
            let element = step.element.as_deref().cloned().unwrap_or_else(|| Part::made(0));
            Part::list(times, element)
        } else {
            Part::made(1)
        };
        self.variables.push((loops.accu_var.clone(), all));
        let result = self.part(&loops.result.expr);
        self.variables.truncate(known);
        // What is gathered is copied at each step: as lists of what its elements weigh.
        let gathered = if gathers { result.copied() } else { 0 };
        let each = each.saturating_add(gathered);
        let cost = [range.cost, range.copied(), init.cost, result.cost]
            .into_iter()
            .fold(times.saturating_mul(each), u64::saturating_add);
        result.with_cost(cost)
    }
}
