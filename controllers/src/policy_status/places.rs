//! Where in an expression its fields and operators stand: the parser keeps that to itself.

use std::collections::{BTreeMap, VecDeque};

/// Operators, longer ones before those that they begin with.
const OPERATORS: [&str; 14] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "*", "/", "%", "!", "-"];

/// The places of an expression's tokens, by what they are: `.name` and `.?name` for fields, operators as they are written.
///
/// Whoever goes through the expression from the left to the right takes each in its turn.
pub(super) struct Places<'t> {
    text: &'t str,
    at: usize,
    found: BTreeMap<String, VecDeque<usize>>,
}

impl<'t> Places<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let mut places = Self { text, at: 0, found: BTreeMap::new() };
        while places.at < text.len() {
            places.token();
        }
        places
    }

    /// Returns where the next token of this form stands, if that is known.
    pub(super) fn next(&mut self, token: &str) -> Option<usize> {
        self.found.get_mut(token)?.pop_front()
    }

    /// Forgets all places: who goes through the expression has left something out.
    pub(super) fn forget(&mut self) {
        self.found.clear();
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn note(&mut self, token: String, at: usize) {
        self.found.entry(token).or_default().push_back(at);
    }

    fn skip(&mut self, skips: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|char: char| !skips(char)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn token(&mut self) {
        let (rest, at) = (self.rest(), self.at);
        let Some(first) = rest.chars().next() else { return };
        if rest.starts_with("//") {
            self.skip(|char| char != '\n');
        } else if matches!(first, '"' | '\'') {
            self.string(false);
        } else if is_name(first) && !first.is_ascii_digit() {
            let name = self.skip(is_name);
            let is_prefix = matches!(name.to_ascii_lowercase().as_str(), "r" | "b" | "br");
            if is_prefix && self.rest().starts_with(['"', '\'']) {
                self.string(name.ends_with(['r', 'R']));
            } else if name == "in" {
                self.note(name.to_owned(), at);
            }
        } else if first.is_ascii_digit() {
            self.skip(|char| is_name(char) || char == '.');
        } else if first == '.' {
            self.field();
        } else if let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
            self.at += operator.len();
            self.note((*operator).to_owned(), at);
        } else {
            self.at += first.len_utf8();
        }
    }

    /// What begins with a dot: a field, or a function that is called on what is before it.
    fn field(&mut self) {
        let at = self.at;
        self.at += 1;
        self.skip(char::is_whitespace);
        let optional = self.rest().starts_with('?');
        self.at += usize::from(optional);
        self.skip(char::is_whitespace);
        let name = match self.rest().strip_prefix('`') {
            Some(quoted) => {
                let name = &quoted[..quoted.find('`').unwrap_or(quoted.len())];
                self.at = (self.at + name.len() + 2).min(self.text.len());
                name
            }
            None => self.skip(is_name),
        };
        self.skip(char::is_whitespace);
        let is_field = name.chars().next().is_some_and(|first| !first.is_ascii_digit());
        if is_field && !self.rest().starts_with('(') {
            self.note(format!("{}{name}", if optional { ".?" } else { "." }), at);
        }
    }

    fn string(&mut self, is_raw: bool) {
        let rest = self.rest();
        let triple = ["\"\"\"", "'''"].into_iter().find(|quote| rest.starts_with(*quote));
        let quote = triple.unwrap_or(&rest[..1]);
        let mut at = quote.len();
        while at < rest.len() {
            let left = &rest[at..];
            if left.starts_with(quote) {
                at += quote.len();
                break;
            }
            let mut chars = left.chars();
            if chars.next() == Some('\\') && !is_raw {
                chars.next();
            }
            at = rest.len() - chars.as_str().len();
        }
        self.at += at;
    }
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, token: &str) -> Vec<usize> {
        let mut places = Places::of(text);
        std::iter::from_fn(|| places.next(token)).collect()
    }

    #[test]
    fn fields_are_found_and_functions_are_not() {
        assert_eq!(all("a.b.b(c.b) . b", ".b"), [1, 7, 11]);
        assert_eq!(all("a.?b.b[1.5].`b`", ".?b"), [1]);
        assert_eq!(all("a.?b.b[1.5].`b`", ".b"), [4, 11]);
    }

    #[test]
    fn what_is_in_texts_and_comments_is_no_token() {
        for text in
            ["'a.b' + x.b", "\"\\\"x.b\" + x.b", "'''x.b'c'''\n+x.b", "r'\\' + x.b", "1 // x.b\n + x.b"]
        {
            let expected = text.rfind(".b").unwrap();
            assert_eq!(all(text, ".b"), [expected], "{text}");
        }
        assert_eq!(all("'ä' == 'ö\\\\' && a in b", "in"), ["'ä' == 'ö\\\\' && a ".len()]);
        assert_eq!(all("a != b && !c", "!"), [10]);
        assert_eq!(all("a <= b < c", "<"), [7]);
        assert_eq!(all("'open", "."), Vec::<usize>::new());
    }
}
