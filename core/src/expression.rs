//! Bounds of expressions in the Common Expression Language.
//!
//! Parsers of the language call themselves for what is within brackets, and so does whoever goes through what they make, for each
//! part of it: `a.b.c.d` is four deep. A text of a few kilobytes ends the stack of a thread, and with it the program. So before an
//! expression is parsed that somebody else wrote, [`too_deep`] looks at its text, and what is not too deep for that is parsed and
//! evaluated [`with_stack`] enough for it.

mod shape;
mod tokens;

use shape::{Refusal, Shape};
use tokens::Tokens;

/// How deep brackets and conditions may nest.
const MOST_NESTED: usize = 64;
/// How many operators, fields and calls may follow on each other, those around them counted too.
const MOST_CHAINED: usize = 250;

/// How often a text may negate that is not in the language: `cel` reads what is negated twice in a row twice.
const MOST_NEGATIONS: usize = 16;

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
/// Parsers go on after an error, and what they make of the rest is anybody's guess. So what is not in the language is not to be
/// parsed either, unless it is so short that nothing deep can come of it: then the parser's own words say best what is wrong.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::expression::too_deep;
///
/// assert_eq!(too_deep("object.spec.replicas > 1 && object.metadata.name != '((('"), None);
/// assert_eq!(too_deep(&"(".repeat(100)).unwrap(), "nests deeper than 64");
/// assert_eq!(too_deep(&format!("object{}", ".a".repeat(300))).unwrap(), "chains more than 250 operators");
/// assert_eq!(too_deep(&format!("'\\q' + a{}", ".a".repeat(300))).unwrap(), "has a syntax error at 1:1");
/// ```
#[must_use]
pub fn too_deep(text: &str) -> Option<String> {
    let mut tokens = Tokens::of(text);
    let mut shape = Shape::new();
    let refusal = loop {
        tokens.skip();
        let at = text.len() - tokens.left();
        let refusal = match tokens.next() {
            Ok(Some(token)) => shape.add(token).err(),
            Ok(None) => break shape.end().err().map(|refusal| (refusal, at)),
            Err(()) => Some(Refusal::Syntax),
        };
        if let Some(refusal) = refusal {
            break Some((refusal, at));
        }
    };
    match refusal? {
        (Refusal::Says(why), _) => Some(why),
        (Refusal::Syntax, _) if is_short(text) => None,
        (Refusal::Syntax, at) => {
            let before = &text[..at];
            let start = before.rfind('\n').map_or(0, |end| end + 1);
            let (row, column) = (before.matches('\n').count() + 1, before[start..].chars().count() + 1);
            Some(format!("has a syntax error at {row}:{column}"))
        }
    }
}

/// Whether nothing deep can come of a text, whatever a parser takes it for.
fn is_short(text: &str) -> bool {
    let count = |wanted: &[char]| text.matches(wanted).count();
    let links = count(&['.', '+', '-', '*', '/', '%', '<', '>', '!', '=', '&', '|', ')', ']', '}'])
        + text.matches("in").count();
    count(&['(', '[', '{', '?']) <= MOST_NESTED
        && links <= MOST_CHAINED
        && count(&['!', '-']) <= MOST_NEGATIONS
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
            ("a", " - -a"),
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

    /// The second operand of each is beside the first, which is below all of them.
    #[test]
    fn what_is_chained_to_brackets_makes_what_is_in_them_deeper() {
        let chained = |link: &str, times: usize| {
            format!("{}a{}", "(".repeat(30), (link.repeat(times) + ")").repeat(30))
        };

        assert_eq!(too_deep(&chained(" + c", 5)), None);
        for (link, times) in [(" + c", 20), (".c", 20), (" ? b : c", 3)] {
            assert!(too_deep(&chained(link, times)).is_some(), "{link}");
        }
    }

    #[test]
    fn what_negates_twice_in_a_row_is_refused() {
        for text in ["!!a", "! // b\n !a", "--a", "1 - --a", "a && !!(!!b)"] {
            assert_eq!(
                too_deep(text).unwrap(),
                "negates twice in a row, which would be taken for once",
                "{text}"
            );
        }
        for text in ["!a && !b", "1 - -a", "1 --1", "a != !b", "!-1", "-(-a)", "!(!a)"] {
            assert_eq!(too_deep(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_in_the_language_is_refused_unless_it_is_short() {
        let long = " + a".repeat(8000);
        for text in [
            "a.",
            "a)",
            "(a]",
            "(a",
            "[a",
            "a b",
            "a, b",
            "(a, b)",
            "a[b, c]",
            "{a}",
            "{a: b: c}",
            "a ? b",
            "a ? b ? c : d : e",
            "'a",
            "'\\q'",
            "'\n'",
            "ä",
            "a # b",
            "a & b",
            "a = b",
            "!",
            "a.1b",
            "f(a,)",
            "()",
            "a.in(b)",
            "T{a.b: c}",
            "`a`.b`",
        ] {
            assert_eq!(too_deep(text).filter(|_| !text.contains('`')), None, "{text}");
            assert!(too_deep(&format!("{text}{long}")).is_some(), "{text}");
            assert!(
                too_deep(&format!("{text}{}", (String::from(text) + " + ").repeat(8000))).is_some(),
                "{text}"
            );
        }
        assert_eq!(too_deep(&format!("a ||\n b c{long}")).unwrap(), "has a syntax error at 2:4");
        assert!(too_deep("a.`b-c`").unwrap().starts_with("has a name in backticks"));
    }

    #[test]
    fn what_stands_side_by_side_is_not_deep() {
        assert_eq!(repeated("true", " && a.b.c == [1, 2].size()", 1000), None);
        assert_eq!(repeated("true", " || (a.b.c ? d : e)", 200), None);
        assert_eq!(too_deep(&format!("[{}]", "a.b.c(d) + 1, ".repeat(1000))), None);
        assert_eq!(too_deep(&format!("{{{}}}", "'a': b ? c : d, ".repeat(1000))), None);
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
            format!("bR'{deep}\\' == a"),
            format!("a // {deep}\n && b"),
            format!("'ä{deep}'"),
        ] {
            assert_eq!(too_deep(&text), None, "{text}");
        }
        assert!(too_deep(&format!("r'\\' + {deep}")).is_some());
        assert!(too_deep(&format!("'\\'' + {deep}")).is_some());
    }
}
