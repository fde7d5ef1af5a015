//! Bounds of expressions in the Common Expression Language.
//!
//! Parsers of the language call themselves for what is within brackets, and so does whoever goes through what they make, for each
//! part of it: `a.b.c.d` is four deep. A text of a few kilobytes ends the stack of a thread, and with it the program. So before an
//! expression is parsed that somebody else wrote, [`too_deep`] looks at its text, and what is not too deep for that is parsed and
//! evaluated [`with_stack`] enough for it.

/// How deep brackets and conditions may nest.
const MOST_NESTED: usize = 64;
/// How many operators, fields and calls may follow on each other, those around them counted too.
const MOST_CHAINED: usize = 250;

/// What the deepest expression takes of a stack, in bytes: as measured, and half as much again. Without optimisation each call takes
/// twenty times as much, so that ten nested brackets would end the 2 MiB that a thread has.
const STACK: usize = if cfg!(debug_assertions) { 48 << 20 } else { 1 << 20 };

/// Calls what parses or evaluates an expression that is not [`too_deep`], on a stack that is large enough for it: this thread's, or
/// a new one.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::expression::with_stack;
///
/// assert_eq!(with_stack(|| "parsed"), "parsed");
/// ```
pub fn with_stack<T>(call: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK, STACK, call)
}

/// Returns why an expression is not to be parsed, if so.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::expression::too_deep;
///
/// assert_eq!(too_deep("object.spec.replicas > 1 && object.metadata.name != '((('"), None);
/// assert_eq!(too_deep(&"(".repeat(100)).unwrap(), "nests deeper than 64");
/// assert_eq!(too_deep(&format!("object{}", ".a".repeat(300))).unwrap(), "chains more than 250 operators");
/// ```
#[must_use]
pub fn too_deep(text: &str) -> Option<String> {
    let mut levels = vec![Level::default()];
    let (mut chained, mut conditions) = (0, 0);
    let mut scan = Scan { rest: text };
    while let Some(token) = scan.next() {
        let level = levels.last_mut()?;
        match token {
            Token::Open => levels.push(Level::default()),
            Token::Close => {
                chained -= level.chained;
                conditions -= level.conditions;
                // One that closes nothing is for the parser to refuse.
                match levels.len() {
                    1 => levels[0] = Level::default(),
                    _ => drop(levels.pop()),
                }
                // What is in brackets is called, or indexes what is before it.
                levels.last_mut()?.chained += 1;
                chained += 1;
            }
            Token::Comma => {
                chained -= level.chained;
                conditions -= level.conditions;
                *level = Level::default();
            }
            // Parsers make a tree of these that is as flat as can be.
            Token::Logical => {
                chained -= level.chained;
                level.chained = 0;
            }
            Token::Condition => {
                level.conditions += 1;
                conditions += 1;
            }
            Token::Link => {
                level.chained += 1;
                chained += 1;
            }
        }
        if levels.len() - 1 + conditions > MOST_NESTED {
            return Some(format!("nests deeper than {MOST_NESTED}"));
        }
        if chained > MOST_CHAINED {
            return Some(format!("chains more than {MOST_CHAINED} operators"));
        }
    }
    None
}

/// What is between brackets, up to now.
#[derive(Default)]
struct Level {
    chained: usize,
    conditions: usize,
}

/// What makes an expression deeper, or begins anew.
enum Token {
    Open,
    Close,
    Comma,
    Logical,
    Condition,
    Link,
}

/// The text that is left.
struct Scan<'t> {
    rest: &'t str,
}

impl Scan<'_> {
    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes.min(self.rest.len())..];
    }

    fn next(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.chars().next()?;
            let is_word = |char: char| char.is_alphanumeric() || char == '_';
            if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
                continue;
            }
            if matches!(first, '"' | '\'') {
                self.string(false);
                continue;
            }
            if is_word(first) {
                let word = &self.rest[..self.rest.find(|char| !is_word(char)).unwrap_or(self.rest.len())];
                self.skip(word.len());
                let is_prefix = matches!(word, "r" | "R" | "b" | "B")
                    || matches!(word.to_ascii_lowercase().as_str(), "br" | "rb");
                if is_prefix && self.rest.starts_with(['"', '\'']) {
                    self.string(word.contains(['r', 'R']));
                } else if word == "in" {
                    return Some(Token::Link);
                }
                continue;
            }
            let known = ["&&", "||", "==", "!=", "<=", ">=", ".?", "[?"];
            let token = known.into_iter().find(|token| self.rest.starts_with(token));
            self.skip(token.map_or(first.len_utf8(), str::len));
            return Some(match (token, first) {
                (Some("&&" | "||"), _) => Token::Logical,
                (_, '(' | '[' | '{') => Token::Open,
                (_, ')' | ']' | '}') => Token::Close,
                (_, ',') => Token::Comma,
                (_, '?') => Token::Condition,
                (_, '.' | '+' | '-' | '*' | '/' | '%' | '<' | '>' | '!' | '=') => Token::Link,
                _ => continue,
            });
        }
    }

    fn string(&mut self, is_raw: bool) {
        let triple = ["\"\"\"", "'''"].into_iter().find(|quote| self.rest.starts_with(quote));
        let quote = triple.unwrap_or(&self.rest[..1]).to_owned();
        self.skip(quote.len());
        while !self.rest.is_empty() && !self.rest.starts_with(&quote) {
            let escapes = self.rest.starts_with('\\') && !is_raw;
            let next = self.rest.chars().take(if escapes { 2 } else { 1 });
            self.skip(next.map(char::len_utf8).sum());
        }
        self.skip(quote.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(before: &str, part: &str, times: usize) -> Option<String> {
        too_deep(&format!("{before}{}", part.repeat(times)))
    }

    #[test]
    fn whatever_makes_a_parser_call_itself_is_bounded() {
        for (before, part) in [
            ("a", ".b"),
            ("a", ".?b"),
            ("a", "[0]"),
            ("a", ".b()"),
            ("1", " + 1"),
            ("1", " == 1"),
            ("1", " in a"),
            ("", "!"),
            ("", "-"),
            ("", "a.b.c(d) < "),
            ("", "(a.b + "),
        ] {
            assert_eq!(repeated(before, part, 20), None, "{part}");
            assert!(repeated(before, part, 300).is_some(), "{part}");
        }
        for part in ["(", "[", "{1: ", "a.all(b, ", "a ? b : ", "a && b ? c : (", "a(b, c ? d : "] {
            assert_eq!(repeated("", part, 30), None, "{part}");
            assert_eq!(repeated("", part, 100).unwrap(), "nests deeper than 64", "{part}");
        }
    }

    #[test]
    fn what_stands_side_by_side_is_not_deep() {
        assert_eq!(repeated("true", " && a.b.c == [1, 2].size()", 1000), None);
        assert_eq!(repeated("true", " || (a.b.c ? d : e)", 20), None);
        assert_eq!(repeated("[", "a.b.c(d) + 1, ", 1000), None);
        assert_eq!(repeated("{", "'a': b ? c : d, ", 1000), None);
        assert_eq!(repeated("", ")", 200), None);
    }

    #[test]
    fn texts_and_comments_are_passed_over() {
        let deep = "(".repeat(100) + &".a".repeat(300);
        for text in [
            format!("'{deep}'"),
            format!("\"{deep}\\\"{deep}\""),
            format!("'''{deep}'{deep}'''"),
            format!("r'\\' + b\"{deep}\""),
            format!("rb'{deep}\\' == a"),
            format!("a // {deep}\n && b"),
            format!("'ä{deep}"),
        ] {
            assert_eq!(too_deep(&text), None, "{text}");
        }
        assert!(too_deep(&format!("r'\\' + {deep}")).is_some());
        assert!(too_deep(&format!("'\\'' + {deep}")).is_some());
    }
}
