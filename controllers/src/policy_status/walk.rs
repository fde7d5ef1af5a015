//! A walk through an expression that finds out what each part comes to, and what can never be.

use std::collections::BTreeMap;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};

use super::known;
use super::places::Places;
use super::types::{Class, Type};

/// How deep an expression is looked into: nobody writes what is deeper.
const DEEPEST: usize = 200;
/// How many problems are told of one expression.
const MOST_PROBLEMS: usize = 10;
/// How many bytes are told of the types of arguments.
const LONGEST_LIST: usize = 1024;
/// Macros that the parser leaves as they are: what is within knows names that nothing is known of.
const MACROS: [&str; 9] = [
    "all",
    "bind",
    "exists",
    "existsOne",
    "exists_one",
    "optFlatMap",
    "optMap",
    "transformList",
    "transformMap",
];

/// Something that can never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// At which byte of the expression, if that is known.
    pub(super) at: Option<usize>,
    pub(super) message: String,
}

/// What is known of an expression.
pub(super) struct Walk<'d, 'w> {
    /// Names and their types, later ones first.
    scope: Vec<(String, Type<'d>)>,
    /// The policy's variables that come before.
    variables: &'w BTreeMap<&'w str, Type<'d>>,
    places: Places<'w>,
    problems: Vec<Problem>,
    depth: usize,
}

impl<'d, 'w> Walk<'d, 'w> {
    /// Finds out what an expression comes to in whose scope are these types, and these variables of the policy.
    pub(super) fn through(
        expression: &IdedExpr,
        text: &'w str,
        scope: Vec<(String, Type<'d>)>,
        variables: &'w BTreeMap<&'w str, Type<'d>>,
    ) -> (Type<'d>, Vec<Problem>) {
        let places = Places::of(text);
        let mut walk = Self { scope, variables, places, problems: Vec::new(), depth: 0 };
        let ty = walk.part(&expression.expr);
        (ty, walk.problems)
    }

    fn problem(&mut self, at: Option<usize>, message: String) -> Type<'d> {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { at, message });
        }
        Type::Unknown
    }

    fn part(&mut self, expression: &Expr) -> Type<'d> {
        if self.depth == DEEPEST {
            // What is not looked at is not counted either.
            self.places.forget();
            return Type::Unknown;
        }
        self.depth += 1;
        let ty = match expression {
            Expr::Literal(literal) => of_literal(literal),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(loops) => self.comprehension(loops),
            Expr::List(list) => {
                let elements = list.elements.iter().map(|element| self.part(&element.expr));
                let elements: Vec<_> = elements.collect();
                Type::list(any(elements))
            }
            Expr::Map(map) => {
                let mut values = Vec::new();
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.part(&entry.key.expr);
                        values.push(self.part(&entry.value.expr));
                    }
                }
                Type::map(any(values))
            }
            Expr::Unspecified | Expr::Struct(_) => {
                self.places.forget();
                Type::Unknown
            }
        };
        self.depth -= 1;
        ty
    }

    fn variable(&self, name: &str) -> Type<'d> {
        let known = self.scope.iter().rev().find(|(known, _)| known == name);
        known.map_or(Type::Unknown, |(_, ty)| ty.clone())
    }

    fn select(&mut self, select: &SelectExpr) -> Type<'d> {
        let operand = self.part(&select.operand.expr);
        let at = self.places.next(&format!(".{}", select.field));
        let field = self.field(&operand, &select.field, at);
        if select.test { Type::Bool } else { field }
    }

    fn field(&mut self, operand: &Type<'d>, name: &str, at: Option<usize>) -> Type<'d> {
        if let (Type::Variables, Some(ty)) = (operand, self.variables.get(name)) {
            return ty.clone();
        }
        operand.field(name).unwrap_or_else(|why| self.problem(at, why))
    }

    fn call(&mut self, call: &CallExpr) -> Type<'d> {
        let arguments: Vec<&Expr> = call.args.iter().map(|argument| &argument.expr).collect();
        match (&call.target, call.func_name.as_str(), arguments.as_slice()) {
            (None, operators::OPT_SELECT, [operand, Expr::Literal(LiteralValue::String(field))]) => {
                let operand = self.part(operand);
                let at = self.places.next(&format!(".?{}", field.inner()));
                self.field(&operand, field.inner(), at)
            }
            (None, operators::INDEX | operators::OPT_INDEX, [operand, index]) => self.index(operand, index),
            (None, operators::CONDITIONAL, [condition, one, other]) => {
                let condition = self.part(condition);
                let (one, other) = (self.part(one), self.part(other));
                if condition.class().is_some_and(|class| class != Class::Bool) {
                    return self.overload("_?_:_", None, &[condition, one, other]);
                }
                one.or(&other)
            }
            (None, operators::LOGICAL_NOT, [operand]) => {
                let at = self.places.next("!");
                let operand = self.part(operand);
                if operand.class().is_some_and(|class| class != Class::Bool) {
                    return self.overload("!_", at, &[operand]);
                }
                Type::Bool
            }
            (None, operators::NEGATE, [operand]) => {
                let operand = self.part(operand);
                if operand.class().is_some_and(|class| class != Class::Number) {
                    return self.overload("-_", None, &[operand]);
                }
                operand
            }
            (None, operator, [one, other]) if sign(operator).is_some() => {
                let one = self.part(one);
                let at = sign(operator).and_then(|sign| self.places.next(sign));
                let other = self.part(other);
                self.operator(operator, at, one, other)
            }
            (target, name, arguments) => self.function(target.as_deref(), name, arguments),
        }
    }

    fn index(&mut self, operand: &Expr, index: &Expr) -> Type<'d> {
        let operand = self.part(operand);
        let ty = self.part(index);
        let is_list = matches!(operand, Type::List(_));
        let fits = match operand.class() {
            Some(Class::List) => ty.class().is_none_or(|class| class == Class::Number),
            Some(Class::Members) => ty.class().is_none_or(|class| class != Class::List),
            Some(_) => false,
            None => !matches!(operand, Type::Question(_)),
        };
        if !fits {
            return self.overload("_[_]", None, &[operand, ty]);
        }
        match index {
            Expr::Literal(LiteralValue::String(name)) if !is_list => self.field(&operand, name.inner(), None),
            _ => operand.element(),
        }
    }

    /// What an operator between two values comes to.
    fn operator(&mut self, operator: &str, at: Option<usize>, one: Type<'d>, other: Type<'d>) -> Type<'d> {
        let classes = (one.class(), other.class());
        let is = |class: Option<Class>, wanted: Class| class.is_none_or(|class| class == wanted);
        let both = |wanted: Class| is(classes.0, wanted) && is(classes.1, wanted);
        let alike = match classes {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        let ordered = |class: Option<Class>| !matches!(class, Some(Class::List | Class::Members));
        let (fits, result) = match operator {
            operators::EQUALS | operators::NOT_EQUALS => (alike, Type::Bool),
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
                (alike && ordered(classes.0) && ordered(classes.1), Type::Bool)
            }
            operators::LOGICAL_AND | operators::LOGICAL_OR => (both(Class::Bool), Type::Bool),
            operators::IN => {
                let within =
                    !matches!(classes.1, Some(Class::Bool | Class::Number | Class::Text | Class::Bytes));
                (within, Type::Bool)
            }
            operators::ADD => {
                let adds = |class: Option<Class>| !matches!(class, Some(Class::Bool | Class::Members));
                (alike && adds(classes.0) && adds(classes.1), one.clone().or(&other))
            }
            // Times are told apart from numbers by nothing that is known here.
            operators::MODULO | operators::MULTIPLY | operators::DIVIDE | operators::SUBSTRACT => {
                (both(Class::Number), one.clone().or(&other))
            }
            _ => (true, Type::Unknown),
        };
        if fits { result } else { self.overload(operator, at, &[one, other]) }
    }

    /// Says that an operator or a function takes no such values.
    fn overload(&mut self, name: &str, at: Option<usize>, given: &[Type<'d>]) -> Type<'d> {
        let given = list(given);
        self.problem(at, format!("found no matching overload for '{name}' applied to '({given})'"))
    }

    fn function(&mut self, target: Option<&IdedExpr>, name: &str, arguments: &[&Expr]) -> Type<'d> {
        if MACROS.contains(&name) {
            self.places.forget();
            return Type::Unknown;
        }
        // What is known by no name begins the name of a function, such as `math.greatest`.
        let prefix = match target.map(|target| &target.expr) {
            Some(Expr::Ident(prefix)) if !self.scope.iter().any(|(known, _)| known == prefix) => Some(prefix),
            _ => None,
        };
        let on = target.filter(|_| prefix.is_none()).map(|target| self.part(&target.expr));
        let given: Vec<Type<'d>> = arguments.iter().map(|argument| self.part(argument)).collect();
        if let Some(Type::Question(of)) = on {
            return known::question(of, name).unwrap_or_else(|| {
                let message =
                    format!("found no matching overload for '{name}' applied to '{of}.({})'", list(&given));
                self.problem(None, message)
            });
        }
        let qualified = prefix.map_or_else(|| name.to_owned(), |prefix| format!("{prefix}.{name}"));
        known::result(&qualified, on.as_ref().or(given.first()).unwrap_or(&Type::Unknown))
    }

    /// A macro that goes through a list or a map.
    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Type<'d> {
        let range = self.part(&loops.iter_range.expr);
        let element = range.iterated().unwrap_or_else(|| {
            let message = format!(
                "expression of type '{range}' cannot be range of a comprehension (must be list, map, or dynamic)"
            );
            self.problem(None, message)
        });
        let known = self.scope.len();
        self.scope.push((loops.iter_var.clone(), element));
        let ty = self.body(loops);
        self.scope.truncate(known);
        ty
    }

    /// What a macro does with each element. The parser wraps what was written into steps of its own.
    fn body(&mut self, loops: &ComprehensionExpr) -> Type<'d> {
        let Expr::Call(step) = &loops.loop_step.expr else { return self.not_a_macro() };
        match (&loops.accu_init.expr, step.func_name.as_str(), step.args.as_slice()) {
            // `all` and `exists`.
            (
                Expr::Literal(LiteralValue::Boolean(_)),
                operator @ (operators::LOGICAL_AND | operators::LOGICAL_OR),
                [_, condition],
            ) => {
                let condition = self.part(&condition.expr);
                self.operator(operator, None, Type::Bool, condition)
            }
            // `exists_one`.
            (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [condition, ..]) => {
                self.condition(&condition.expr);
                Type::Bool
            }
            // `filter`, and `map` with a condition.
            (Expr::List(_), operators::CONDITIONAL, [condition, step, _]) => {
                self.condition(&condition.expr);
                match &step.expr {
                    Expr::Call(step) => self.gathered(step),
                    _ => self.not_a_macro(),
                }
            }
            (Expr::List(_), ..) => self.gathered(step),
            _ => self.not_a_macro(),
        }
    }

    fn condition(&mut self, condition: &Expr) {
        let condition = self.part(condition);
        if condition.class().is_some_and(|class| class != Class::Bool) {
            self.overload("_?_:_", None, &[condition]);
        }
    }

    /// A list of what each element becomes.
    fn gathered(&mut self, step: &CallExpr) -> Type<'d> {
        match step.args.last().map(|last| &last.expr) {
            Some(Expr::List(one)) if step.func_name == operators::ADD && one.elements.len() == 1 => {
                Type::list(self.part(&one.elements[0].expr))
            }
            _ => self.not_a_macro(),
        }
    }

    fn not_a_macro(&mut self) -> Type<'d> {
        self.places.forget();
        Type::Unknown
    }
}

fn of_literal<'d>(literal: &LiteralValue) -> Type<'d> {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// The type of what is of any of these types.
fn any<'d>(types: Vec<Type<'d>>) -> Type<'d> {
    types.into_iter().reduce(|one, other| one.or(&other)).unwrap_or(Type::Unknown)
}

fn list(types: &[Type<'_>]) -> String {
    let mut list = types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    list.truncate(list.floor_char_boundary(LONGEST_LIST));
    list
}

/// How an operator between two values is written.
fn sign(operator: &str) -> Option<&'static str> {
    Some(match operator {
        operators::LOGICAL_AND => "&&",
        operators::LOGICAL_OR => "||",
        operators::ADD => "+",
        // It also begins numbers.
        operators::SUBSTRACT => "",
        operators::MULTIPLY => "*",
        operators::DIVIDE => "/",
        operators::MODULO => "%",
        operators::EQUALS => "==",
        operators::NOT_EQUALS => "!=",
        operators::GREATER_EQUALS => ">=",
        operators::LESS_EQUALS => "<=",
        operators::GREATER => ">",
        operators::LESS => "<",
        operators::IN => "in",
        _ => return None,
    })
}
