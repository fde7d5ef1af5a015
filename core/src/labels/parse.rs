//! The string form of label selectors.
//!
//! ```text
//! selector    = [ requirement { "," requirement } ]
//! requirement = [ "!" ] key | key ( "=" | "==" | "!=" | ">" | "<" ) [ value ] | key ( "in" | "notin" ) "(" values ")"
//! values      = [ value ] { "," [ value ] }
//! ```
//!
//! Blanks separate words. `in` and `notin` are words like any other where a key or a value stands. Errors say what was
//! found and what was expected, in upstream's words, clients show them.

use super::{Operator, Requirement, SelectorError, quote, validate_label_key};

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut tokens = Tokens::scan(text);
    let mut requirements = Vec::new();
    loop {
        match tokens.peek() {
            "" => return Ok(requirements),
            token if token == "!" || is_word(token) => {}
            token => return Err(found(token, ", expected: !, identifier, or 'end of string'")),
        }
        let requirement = requirement(&mut tokens)
            .map_err(|error| SelectorError::new(format!("unable to parse requirement: {error}")))?;
        requirements.push(requirement);
        match tokens.next() {
            "" => return Ok(requirements),
            "," => {
                let after = tokens.peek();
                if after != "!" && !is_word(after) {
                    return Err(found(after, ", expected: identifier after ','"));
                }
            }
            token => return Err(found(token, ", expected: ',' or 'end of string'")),
        }
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, SelectorError> {
    let mut key = tokens.next();
    let negated = key == "!";
    if negated {
        key = tokens.next();
    }
    if !is_word(key) {
        return Err(found(key, ", expected: identifier"));
    }
    let problems = validate_label_key(key);
    if !problems.is_empty() {
        // Upstream has no path to report here, and prints that it has none.
        let text = format!("<nil>: Invalid value: {}: {}", quote(key), problems.join("; "));
        return Err(SelectorError::new(text));
    }
    if negated {
        return Requirement::try_new(key, Operator::DoesNotExist, [""; 0]);
    }
    if matches!(tokens.peek(), "" | ",") {
        return Requirement::try_new(key, Operator::Exists, [""; 0]);
    }
    let operator = match tokens.next() {
        "=" => Operator::Equals,
        "==" => Operator::DoubleEquals,
        "!=" => Operator::NotEquals,
        ">" => Operator::GreaterThan,
        "<" => Operator::LessThan,
        "in" => Operator::In,
        "notin" => Operator::NotIn,
        token => return Err(found(token, &format!(", expected: {BINARY_OPERATORS}"))),
    };
    let values = match operator {
        Operator::In | Operator::NotIn => value_set(tokens)?,
        _ => vec![exact_value(tokens)?],
    };
    Requirement::try_new(key, operator, values)
}

fn exact_value<'a>(tokens: &mut Tokens<'a>) -> Result<&'a str, SelectorError> {
    if matches!(tokens.peek(), "" | ",") {
        return Ok("");
    }
    let value = tokens.next();
    if is_word(value) { Ok(value) } else { Err(found(value, ", expected: identifier")) }
}

fn value_set<'a>(tokens: &mut Tokens<'a>) -> Result<Vec<&'a str>, SelectorError> {
    let open = tokens.next();
    if open != "(" {
        return Err(found(open, " expected: '('"));
    }
    let first = tokens.peek();
    if first == ")" {
        tokens.next();
        return Ok(vec![""]);
    }
    if first != "," && !is_word(first) {
        return Err(found(first, ", expected: ',', ')' or identifier"));
    }
    let mut values = Vec::new();
    loop {
        match tokens.next() {
            word if is_word(word) => {
                values.push(word);
                match tokens.peek() {
                    "," => {}
                    ")" => break,
                    token => return Err(found(token, ", expected: ',' or ')'")),
                }
            }
            "," => {
                if values.is_empty() {
                    values.push("");
                }
                match tokens.peek() {
                    ")" => {
                        values.push("");
                        break;
                    }
                    "," => {
                        tokens.next();
                        values.push("");
                    }
                    _ => {}
                }
            }
            token => return Err(found(token, ", expected: ',', or identifier")),
        }
    }
    tokens.next();
    Ok(values)
}

fn found(token: &str, expected: &str) -> SelectorError {
    SelectorError::new(format!("found '{token}'{expected}"))
}

/// The words and symbols of a selector. The end of the text is the empty token, any number of times.
struct Tokens<'a> {
    tokens: Vec<&'a str>,
    position: usize,
}

impl<'a> Tokens<'a> {
    fn scan(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = skip_blanks(text);
        while !rest.is_empty() {
            let length = token_length(rest);
            let (token, after) = rest.split_at(length);
            tokens.push(token);
            rest = skip_blanks(after);
        }
        Self { tokens, position: 0 }
    }

    fn peek(&self) -> &'a str {
        self.tokens.get(self.position).copied().unwrap_or_default()
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.position += 1;
        token
    }
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

fn token_length(text: &str) -> usize {
    if text.starts_with("==") || text.starts_with("!=") {
        2
    } else if text.starts_with(is_symbol) {
        1
    } else {
        let end = |char| is_symbol(char) || matches!(char, ' ' | '\t' | '\r' | '\n');
        text.find(end).unwrap_or(text.len())
    }
}

fn is_symbol(char: char) -> bool {
    matches!(char, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !token.starts_with(is_symbol)
}
