//! References to variables in texts: `$(NAME)`.

/// Replaces `$(NAME)` by what `lookup` knows of `NAME`. What it does not know stays as it is; `$$` is one `$`.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(escaped) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = escaped;
        } else if let Some((name, behind)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => expanded.push_str(&value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = behind;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_what_is_unknown_stays() {
        let lookup = |name: &str| (name == "A").then(|| "x".to_owned());
        let cases = [
            ("$(A)-$(B)", "x-$(B)"),
            ("$$(A) costs $5", "$(A) costs $5"),
            ("$$$(A)", "$x"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$()", "$()"),
        ];

        for (text, expected) in cases {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }
}
