//! What functions cost, and how large what they return may be.

use kube_cel::cel::common::ast::{Expr, LiteralValue};

use super::super::patterns::Compiled;
use super::ground::{Ground, LONGEST};
use super::{BYTES_PER_STEP, Part};
use crate::admission::expressions::LONGEST_REASON;

/// What it takes to compile the least pattern, which the evaluator does at each call.
const COMPILE: u64 = 10_000;
/// What it takes for each of a pattern's states.
const COMPILE_STATE: u64 = 100;
/// Up to which cost a pattern that is no constant is compiled to see whether it is one.
const MOST_GIVEN: u64 = 1_000_000;
/// How many times as many states a class of letters beyond ASCII has at least.
const CLASS: u64 = 5;
/// By how much less that counts before there are values: most lists are far shorter than they may be.
const FORESEEN: u64 = 10;
/// Beyond this no list may be counted out.
const LONGEST_RANGE: i64 = 10_000;

/// Whether these are the name of a library and of a function in it.
pub(super) fn is_qualified(name: &str) -> bool {
    name.starts_with("math.")
        || name.starts_with("format.")
        || matches!(
            name,
            "sets.contains"
                | "sets.equivalent"
                | "sets.intersects"
                | "lists.range"
                | "strings.quote"
                | "base64.encode"
                | "base64.decode"
                | "jsonpatch.escapeKey"
                | "ip.isCanonical"
                | "optional.none"
                | "optional.of"
                | "optional.ofNonZeroValue"
        )
}

/// Whether a function is one of the variable `authorizer`, and of what that returns.
pub(super) fn asks(name: &str) -> bool {
    const KNOWN: [&str; 14] = [
        "allowed",
        "check",
        "error",
        "errored",
        "fieldSelector",
        "group",
        "labelSelector",
        "name",
        "namespace",
        "path",
        "reason",
        "resource",
        "serviceAccount",
        "subresource",
    ];
    KNOWN.contains(&name)
}

/// What a call comes to, on parts the first of which may be what it is called on.
///
/// # Errors
///
/// That there is no such function, or that it can never be called so.
pub(super) fn call<G: Ground>(name: &str, written: &[&Expr], parts: &[Part<G>]) -> Result<Part<G>, String> {
    let (result, work) = outcome(name, written, parts)?;
    let own = parts.iter().map(|part| part.cost).fold(1, u64::saturating_add);
    // Operators take what they are given as it is, functions a copy.
    let copied = if name.starts_with(['_', '!', '-', '@']) {
        0
    } else {
        parts.iter().map(Part::copied).fold(0, u64::saturating_add)
    };
    Ok(result.with_cost(own.saturating_add(work).saturating_add(copied)))
}

/// What a call returns, and how many steps it takes besides one.
fn outcome<G: Ground>(name: &str, written: &[&Expr], parts: &[Part<G>]) -> Result<(Part<G>, u64), String> {
    let size = |index: usize| parts.get(index).map_or(0, Part::size);
    let first = || parts.first().cloned().unwrap_or_else(|| Part::made(0));
    let any = || parts.iter().cloned().reduce(|one, two| one.or(&two)).unwrap_or_else(|| Part::made(0));
    let sum = parts.iter().map(Part::size).fold(0, u64::saturating_add);
    let weight = parts.iter().map(Part::weight).fold(0, u64::saturating_add);
    let steps = |bytes: u64| bytes / BYTES_PER_STEP;
    let scalar = |work: u64| (Part::made(1), work);
    Ok(match name {
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
            scalar(steps(parts.iter().map(Part::weight).min().unwrap_or_default()))
        }
        "@in" | "in" | "_in_" => scalar(size(1).max(steps(weight))),
        "_&&_" | "_||_" | "!_" | "-_" | "_-_" | "_*_" | "_/_" | "_%_" | "@not_strictly_false" | "has" => {
            scalar(0)
        }
        "_?_:_" => {
            let branches = parts.iter().skip(1).cloned();
            (branches.reduce(|one, two| one.or(&two)).unwrap_or_else(|| Part::made(0)), 0)
        }
        "_[_]" | "_[?_]" | "_?._" => {
            let element = first().elements();
            let copied = element.copied();
            (element, copied)
        }
        "_+_" => {
            let whole = Part { size: sum, weight, ..any() };
            let work = if G::EXACT { steps(weight) } else { 0 };
            // A sum is made, though its elements may not be.
            let element = whole.elements();
            (Part { weight, ..Part::list(sum, element) }, work)
        }
        "size" | "hasValue" => scalar(0),
        "contains" | "startsWith" | "endsWith" | "indexOf" | "lastIndexOf" | "isSorted" | "sum" => {
            scalar(steps(weight))
        }
        "matches" | "find" | "findAll" => return pattern(name, written, parts),
        "replace" => {
            let made = size(0).saturating_add(1).saturating_mul(size(2)).saturating_add(size(0));
            (Part::made(made), steps(made.saturating_add(sum)))
        }
        "split" => {
            let made = size(0).saturating_add(1);
            (Part { weight: made, ..Part::list(made, Part::made(size(0))) }, made.saturating_add(steps(sum)))
        }
        "join" => {
            let each = first().elements().size().saturating_add(size(1));
            let by_weight = first().weight().saturating_add(size(0).saturating_mul(size(1)));
            let made = size(0).saturating_mul(each);
            let made = if G::EXACT { by_weight.max(1) } else { made };
            (Part::made(made), steps(made))
        }
        "format" => return formatted(written, parts),
        "lists.range" => match written.first() {
            Some(Expr::Literal(LiteralValue::Int(count))) if *count.inner() <= LONGEST_RANGE => {
                let count = u64::try_from(*count.inner()).unwrap_or_default();
                (Part::list(count, Part::made(1)), count)
            }
            _ => return Err(format!("lists.range takes a constant of at most {LONGEST_RANGE}")),
        },
        "strings.quote" | "jsonpatch.escapeKey" | "base64.encode" => {
            let made = sum.saturating_mul(6).saturating_add(4);
            (Part::made(made), steps(made))
        }
        "reason" => (Part::made(LONGEST_REASON as u64), 0),
        // What authorizers are asked is counted when it is asked.
        name if asks(name) => scalar(0),
        "getQuery" => {
            let made = size(0).saturating_add(1);
            (Part::list(made, Part::list(made, Part::made(made))), made)
        }
        name if name.starts_with("math.") || is_scalar(name) => scalar(steps(sum)),
        name if name.starts_with("format.") || is_text(name) => {
            // Numbers and the like are written in fewer bytes than this; a text is no longer than it was.
            let made = sum.saturating_add(64);
            (Part::made(made), steps(made))
        }
        name => return lists(name, parts),
    })
}

/// What functions on lists and on options return, and how many steps they take.
fn lists<G: Ground>(name: &str, parts: &[Part<G>]) -> Result<(Part<G>, u64), String> {
    let size = |index: usize| parts.get(index).map_or(0, Part::size);
    let first = || parts.first().cloned().unwrap_or_else(|| Part::made(0));
    let any = || parts.iter().cloned().reduce(|one, two| one.or(&two)).unwrap_or_else(|| Part::made(0));
    let weight = parts.iter().map(Part::weight).fold(0, u64::saturating_add);
    let steps = |bytes: u64| bytes / BYTES_PER_STEP;
    Ok(match name {
        "sets.contains" | "sets.equivalent" | "sets.intersects" => {
            let pairs = size(0).max(1).saturating_mul(size(1).max(1));
            (Part::made(1), pairs.saturating_mul(2).saturating_add(weight))
        }
        "distinct" => (first(), size(0).saturating_mul(size(0)).saturating_add(weight)),
        "sort" => (first(), size(0).saturating_mul(32).saturating_add(weight)),
        "slice" | "reverse" => (first(), steps(weight)),
        "flatten" => {
            // As if each element were a list of the same size as all.
            let inner = first().elements();
            let many = first().size().saturating_mul(inner.size().max(1));
            let element = inner.elements().or(&inner);
            (Part::list(many, element), steps(many))
        }
        "first" | "last" | "min" | "max" | "math.greatest" | "math.least" => {
            (any().elements().or(&any()), steps(weight))
        }
        "dyn" | "value" | "orValue" | "or" | "optional.of" | "optional.ofNonZeroValue" => {
            let either = any().elements().or(&any());
            (Part { element: either.element.clone(), ..either }, 0)
        }
        "optional.none" => (Part::made(1), 0),
        name => return Err(format!("undeclared reference to '{name}' (in container '')")),
    })
}

/// Functions that return a number, a truth, a time or the like.
fn is_scalar(name: &str) -> bool {
    let known = [
        "bool",
        "int",
        "uint",
        "double",
        "duration",
        "timestamp",
        "quantity",
        "isQuantity",
        "isInteger",
        "asInteger",
        "asApproximateFloat",
        "sign",
        "add",
        "sub",
        "isGreaterThan",
        "isLessThan",
        "compareTo",
        "isURL",
        "semver",
        "isSemver",
        "major",
        "minor",
        "patch",
        "ip",
        "isIP",
        "ip.isCanonical",
        "family",
        "isLoopback",
        "isUnspecified",
        "isLinkLocalMulticast",
        "isLinkLocalUnicast",
        "isGlobalUnicast",
        "isIPv4",
        "isIPv6",
        "cidr",
        "isCIDR",
        "containsIP",
        "containsCIDR",
        "prefixLength",
        "masked",
        "isCIDRv4",
        "isCIDRv6",
        "getFullYear",
        "getMonth",
        "getDayOfYear",
        "getDayOfMonth",
        "getDate",
        "getDayOfWeek",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ];
    known.contains(&name)
}

/// Functions that return a text no longer than what they are given.
fn is_text(name: &str) -> bool {
    let known = [
        "string",
        "bytes",
        "base64.decode",
        "charAt",
        "lowerAscii",
        "upperAscii",
        "substring",
        "trim",
        "url",
        "getScheme",
        "getHost",
        "getHostname",
        "getPort",
        "getEscapedPath",
        "validate",
    ];
    known.contains(&name)
}

/// A text that is written out.
fn constant<'e>(expression: Option<&&'e Expr>) -> Option<&'e str> {
    match expression {
        Some(Expr::Literal(LiteralValue::String(text))) => Some(text.inner()),
        _ => None,
    }
}

/// A function that takes a pattern.
fn pattern<G: Ground>(name: &str, written: &[&Expr], parts: &[Part<G>]) -> Result<(Part<G>, u64), String> {
    let size = |index: usize| parts.get(index).map_or(0, Part::size);
    let weight = match constant(written.get(1)) {
        Some(text) => {
            // When there are values, the definition was looked at long ago.
            if !G::EXACT
                && let Err(error) = Compiled::new(text)
            {
                return Err(format!("invalid {name} argument: {error}"));
            }
            states(text)
        }
        None => match given(parts.get(1)) {
            Some(texts) => {
                let most = texts.iter().map(|text| states(text)).max().unwrap_or_default();
                // Nobody has looked at it before: it is bounded as one that is written out, unless it costs too much as it is.
                let is_cheap = most.saturating_mul(COMPILE_STATE) <= MOST_GIVEN;
                let broken = || texts.iter().find_map(|text| Compiled::new(text).err());
                if let Some(error) = is_cheap.then(broken).flatten() {
                    return Err(format!("invalid {name} argument: {error}"));
                }
                most
            }
            // It may repeat anything as often as a pattern can, letters of all languages among it.
            None if G::EXACT => size(1).saturating_mul(1000 * CLASS).max(1000),
            None => size(1).saturating_mul(1000).max(1000),
        },
    };
    let looked_at = size(0).saturating_add(1) / BYTES_PER_STEP;
    let compile = COMPILE.max(weight.saturating_mul(COMPILE_STATE)) / if G::EXACT { 1 } else { FORESEEN };
    let work = compile.saturating_add(looked_at.saturating_mul(1 + weight / 16));
    let made = match name {
        "findAll" => Part { weight: size(0), ..Part::list(size(0).saturating_add(1), Part::made(size(0))) },
        "find" => Part::made(size(0)),
        _ => Part::made(1),
    };
    Ok((made, work))
}

/// The texts that a part may be, if they are at hand.
fn given<G: Ground>(part: Option<&Part<G>>) -> Option<Vec<&str>> {
    part?.ground.as_ref()?.texts().filter(|texts| !texts.is_empty())
}

/// About how many states a pattern has: what is repeated counts as often as it is, and classes of letters beyond ASCII much.
fn states(pattern: &str) -> u64 {
    let mut states = pattern.len() as u64;
    for part in pattern.split('{').skip(1) {
        let counts = part.split_once('}').map_or("", |(counts, _)| counts).split(',');
        let most = counts.filter_map(|count| count.trim().parse::<u64>().ok()).max();
        states = states.saturating_mul(most.unwrap_or(1).max(1));
    }
    let broad = ["\\p", "\\P", "\\w", "\\W", "\\d", "\\D", "\\s", "\\S", "\\b", "(?i"];
    let classes = broad.iter().map(|class| pattern.matches(class).count() as u64).sum::<u64>();
    states.saturating_mul(1 + classes.saturating_mul(CLASS - 1))
}

/// `format`, which writes numbers with as many digits as its pattern says.
fn formatted<G: Ground>(written: &[&Expr], parts: &[Part<G>]) -> Result<(Part<G>, u64), String> {
    let Some(text) = constant(written.first()) else {
        return Err("format takes a constant".to_owned());
    };
    let digits = text.split("%.").skip(1).map(|rest| {
        let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse::<u64>().unwrap_or(if end == 0 { 0 } else { LONGEST })
    });
    let most = digits.max().unwrap_or_default();
    if most > 100 {
        return Err("format writes at most 100 digits".to_owned());
    }
    let given = parts.get(1).map_or(0, |list| list.weight().max(list.elements().size()));
    // A byte may be written as eight, and a number as some hundred digits.
    let numbers = (text.len() as u64).saturating_mul(512);
    let made = given.saturating_mul(8).saturating_add(numbers);
    Ok((Part::made(made), made / BYTES_PER_STEP))
}
