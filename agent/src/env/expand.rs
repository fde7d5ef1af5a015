//! References to variables in texts: `$(NAME)`.

/// How long an argument or a variable may be, in bytes: longer ones no program can be started with (Linux'
/// `MAX_ARG_STRLEN`). References to references would otherwise double without end.
const LONGEST: usize = 128 * 1024;

/// Replaces `$(NAME)` by what `lookup` knows of `NAME`. What it does not know stays as it is; `$$` is one `$`.
///
/// # Errors
///
/// The text becomes too long; for the user.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
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
        if expanded.len() > LONGEST {
            return Err(format!("a text is longer than {LONGEST} bytes once its references are replaced"));
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
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
            assert_eq!(expand(text, lookup).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn references_that_double_without_end_are_refused() {
        let mut value = "x".repeat(64);
        let outcome = (0..40).try_for_each(|_| {
            value = expand("$(A)$(A)", |_| Some(value.clone()))?;
            Ok::<(), String>(())
        });

        assert!(outcome.unwrap_err().contains("131072 bytes"));
        assert!(value.len() <= 2 * 128 * 1024);
    }
}
