//! JSONPath as printer columns of custom kinds write it.
//!
//! The dialect is that of `kubectl -o jsonpath` between the braces: fields (`.a.b`, `\.` for a dot in a name,
//! `['a']`), indexes and slices (`[0]`, `[-1]`, `[1:3]`), all elements (`[*]`, `.*`), all descendants (`..a`), several
//! of these (`[0,2]`), and the elements of a list that pass a test (`[?(@.a=="b")]`, `[?(@.a)]`).

use serde_json::Value;

use super::cell;

/// A `jsonPath` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized column definition \"{path}\"")]
pub struct JsonPathError {
    path: String,
}

/// A path that picks values from a JSON document.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Slice { start: Option<i64>, end: Option<i64>, step: usize },
    Index(i64),
    All,
    Descendants,
    Several(Vec<Step>),
    Filter(Filter),
}

/// The test that an element of a list has to pass: its value at `left` exists or, with a comparison, compares so.
#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: JsonPath,
    comparison: Option<(Operator, Operand)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Literal(Value),
    Path(JsonPath),
}

impl JsonPath {
    /// Reads a path that begins with a dot.
    ///
    /// # Errors
    ///
    /// [`JsonPathError`] if it does not begin with a dot or is not in the dialect.
    pub fn parse(path: &str) -> Result<Self, JsonPathError> {
        path.starts_with('.')
            .then(|| Self::parse_steps(path))
            .flatten()
            .ok_or_else(|| JsonPathError { path: path.to_owned() })
    }

    /// Returns the values that the path picks, in the order of the document.
    #[must_use]
    pub fn find<'a>(&'a self, document: &'a Value) -> Vec<&'a Value> {
        self.steps.iter().fold(vec![document], |values, step| {
            let mut found = Vec::new();
            for value in values {
                step.find(value, &mut found);
            }
            found
        })
    }

    fn parse_steps(mut rest: &str) -> Option<Self> {
        let mut steps = Vec::new();
        if rest == "." {
            return Some(Self { steps });
        }
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Descendants);
                let (field, after) = if after.starts_with('[') { (None, after) } else { field(after)? };
                steps.extend(field);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (field, after) = if after.starts_with('[') { (None, after) } else { field(after)? };
                steps.extend(field);
                rest = after;
            } else {
                let (inside, after) = bracket(rest)?;
                steps.push(selection(inside)?);
                rest = after;
            }
        }
        Some(Self { steps })
    }
}

/// Takes the name of a field off the front of a path.
fn field(path: &str) -> Option<(Option<Step>, &str)> {
    let mut name = String::new();
    let mut chars = path.char_indices();
    let mut end = path.len();
    while let Some((index, char)) = chars.next() {
        match char {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => {
                end = index;
                break;
            }
            ']' | '{' | '}' | '(' | ')' | ' ' => return None,
            char => name.push(char),
        }
    }
    match name.as_str() {
        "" => None,
        "*" => Some((Some(Step::All), &path[end..])),
        _ => Some((Some(Step::Field(name)), &path[end..])),
    }
}

/// Takes a bracket off the front of a path: what is inside, and what comes after.
fn bracket(path: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut quote = None;
    for (index, char) in path.char_indices() {
        match (quote, char) {
            (Some(open), char) if open == char => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(char),
            (None, '[') => depth += 1,
            (None, ']') if depth == 1 => return Some((&path[1..index], &path[index + 1..])),
            (None, ']') => depth = depth.checked_sub(1)?,
            (None, _) if depth == 0 => return None,
            (None, _) => {}
        }
    }
    None
}

fn selection(inside: &str) -> Option<Step> {
    let inside = inside.trim();
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(test) = inside.strip_prefix("?(") {
        return filter(test.strip_suffix(')')?).map(Step::Filter);
    }
    if let Some(name) = quoted(inside, '\'') {
        return Some(Step::Field(name.replace("\\.", ".")));
    }
    if inside.contains(',') {
        return inside.split(',').map(selection).collect::<Option<_>>().map(Step::Several);
    }
    let mut bounds =
        inside.split(':').map(|bound| (!bound.is_empty()).then(|| bound.parse::<i64>()).transpose());
    let start = bounds.next()?.ok()?;
    let Some(end) = bounds.next() else {
        return start.map(Step::Index);
    };
    let step = bounds.next().transpose().ok()?.flatten().unwrap_or(1);
    let step = usize::try_from(step).ok().filter(|step| *step > 0)?;
    bounds.next().is_none().then_some(Step::Slice { start, end: end.ok()?, step })
}

/// What stands between two of these quotes, if nothing else is there.
fn quoted(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote)?.strip_suffix(quote).filter(|inner| !inner.contains(quote))
}

fn filter(test: &str) -> Option<Filter> {
    let side = |text: &str| text.trim().strip_prefix('@').and_then(JsonPath::parse_steps);
    let Some(at) = test.find(['=', '!', '<', '>']) else {
        return Some(Filter { left: side(test)?, comparison: None });
    };
    let right = test[at..].trim_start_matches(['=', '!', '<', '>']);
    let operator = match &test[at..test.len() - right.len()] {
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        _ => return None,
    };
    let right = right.trim();
    let operand = match quoted(right, '\'').or_else(|| quoted(right, '"')) {
        Some(text) => Operand::Literal(text.into()),
        None if right.starts_with('@') => Operand::Path(side(right)?),
        None => Operand::Literal(serde_json::from_str(right).ok().filter(|value: &Value| !value.is_null())?),
    };
    Some(Filter { left: side(&test[..at])?, comparison: Some((operator, operand)) })
}

impl Step {
    fn find<'a>(&'a self, value: &'a Value, found: &mut Vec<&'a Value>) {
        match self {
            Self::Field(name) => found.extend(value.get(name)),
            Self::All => found.extend(children(value)),
            Self::Descendants => descend(value, found),
            Self::Several(steps) => steps.iter().for_each(|step| step.find(value, found)),
            Self::Filter(filter) => {
                found.extend(cell::items(value).iter().filter(|element| filter.passes(element)));
            }
            Self::Index(index) => {
                let list = cell::items(value);
                found.extend(position(*index, list.len()).and_then(|index| list.get(index)));
            }
            Self::Slice { start, end, step } => {
                let list = cell::items(value);
                let bound = |bound: &Option<i64>, missing: usize| {
                    bound.map_or(missing, |bound| {
                        position(bound, list.len()).unwrap_or_default().min(list.len())
                    })
                };
                let (start, end) = (bound(start, 0), bound(end, list.len()));
                found.extend(list.get(start..end).unwrap_or_default().iter().step_by(*step));
            }
        }
    }
}

/// The index that a number means: negative ones count from the end.
fn position(index: i64, length: usize) -> Option<usize> {
    let from_end = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + from_end } else { index }).ok()
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    children(value).for_each(|child| descend(child, found));
}

impl Filter {
    fn passes(&self, element: &Value) -> bool {
        let left = self.left.find(element);
        let Some((operator, right)) = &self.comparison else {
            return !left.is_empty();
        };
        let right = match right {
            Operand::Literal(value) => Some(value),
            Operand::Path(path) => path.find(element).first().copied(),
        };
        match (left.as_slice(), right) {
            ([left], Some(right)) => operator.holds(left, right),
            _ => false,
        }
    }
}

impl Operator {
    fn holds(self, left: &Value, right: &Value) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let ordering = match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
            _ => None,
        };
        let Some(ordering) = ordering else { return false };
        match self {
            Self::Equal => ordering == Equal,
            Self::NotEqual => ordering != Equal,
            Self::Less => ordering == Less,
            Self::LessOrEqual => ordering != Greater,
            Self::Greater => ordering == Greater,
            Self::GreaterOrEqual => ordering != Less,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &str, document: &Value) -> Vec<Value> {
        JsonPath::parse(path).expect(path).find(document).into_iter().cloned().collect()
    }

    #[test]
    fn a_path_picks_fields_elements_and_descendants() {
        let document = json!({
            "a": {"b.c": 1, "d": null},
            "l": [{"k": "a", "v": 1}, {"k": "b", "v": 2}, {"v": 3}],
        });

        for (path, expected) in [
            (".a.b\\.c", json!([1])),
            (".a['b.c']", json!([1])),
            (".a.d", json!([null])),
            (".a.none.deeper", json!([])),
            (".l[0].k", json!(["a"])),
            (".l[-1].v", json!([3])),
            (".l[5].v", json!([])),
            (".l[*].v", json!([1, 2, 3])),
            (".l[1:].v", json!([2, 3])),
            (".l[0:2].v", json!([1, 2])),
            (".l[::2].v", json!([1, 3])),
            (".l[0,2].v", json!([1, 3])),
            (".l[?(@.k==\"b\")].v", json!([2])),
            (".l[?(@.k!='b')].v", json!([1])),
            (".l[?(@.v >= 2)].v", json!([2, 3])),
            (".l[?(@.k)].v", json!([1, 2])),
            ("..k", json!(["a", "b"])),
            (".a.*", json!([1, null])),
        ] {
            assert_eq!(Value::from(found(path, &document)), expected, "{path}");
        }
    }

    #[test]
    fn a_path_out_of_the_dialect_is_refused() {
        for path in ["", "a", ".a[", ".a[x]", ".a[?(b)]", ".a[0", "..", ".a..", ".a{b}", ".a[0:1:0]"] {
            let error = JsonPath::parse(path).expect_err(path);

            assert_eq!(error.to_string(), format!("unrecognized column definition \"{path}\""));
        }
    }
}
