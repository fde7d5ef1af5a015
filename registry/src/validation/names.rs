//! Rules for names, keys, ports and addresses: each returns what is wrong with a text, and nothing when it is valid.
//!
//! Keys and values of labels, and DNS subdomains, are checked by [`quarterdeck_core::labels`].

use std::net::IpAddr;

use quarterdeck_core::labels::{validate_dns1123_subdomain, validate_label_key};

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const MAX_LABEL: usize = 63;
const MAX_SUBDOMAIN: usize = 253;

/// How the objects of a kind may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameRule {
    /// A DNS subdomain (RFC 1123): most kinds.
    Subdomain,
    /// A DNS label (RFC 1123): namespaces.
    Label,
    /// A DNS label that starts with a letter (RFC 1035): services.
    Label1035,
    /// Anything that can be a segment of a path: roles and their bindings.
    PathSegment,
}

impl NameRule {
    /// Returns what is wrong with `name`.
    pub fn check(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => validate_dns1123_subdomain(name),
            Self::Label => dns_label(name),
            Self::Label1035 => dns1035_label(name),
            Self::PathSegment => path_segment(name),
        }
    }

    /// Returns what is wrong with `prefix` as the beginning of a generated name: it may end in a dash.
    pub fn check_prefix(self, prefix: &str) -> Vec<String> {
        match (self, prefix.strip_suffix('-')) {
            (Self::PathSegment, _) => path_segment_prefix(prefix),
            // What stands before the dash is followed by something in the end.
            (_, Some(stem)) if !stem.is_empty() => {
                let mut masked: String = stem.to_owned();
                masked.pop();
                masked.push('a');
                self.check(&masked)
            }
            _ => self.check(prefix),
        }
    }
}

/// The text of a rule that is a regular expression, with examples of what it allows.
pub(super) fn pattern_rule(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    let examples =
        if examples.is_empty() { String::new() } else { format!("e.g. {}", examples.join(" or ")) };
    format!("{rule} ({examples}regex used for validation is '{pattern}')")
}

/// The text of a rule on a text's length.
pub(super) fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn has_shape(text: &str, first: fn(u8) -> bool, last: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| first(*b))
        && bytes.last().is_some_and(|b| last(*b))
        && text.bytes().all(inner)
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn lower_digit_or_dash(byte: u8) -> bool {
    lower_or_digit(byte) || byte == b'-'
}

/// A DNS label (RFC 1123, lower case).
pub fn dns_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > MAX_LABEL {
        problems.push(too_long(MAX_LABEL));
    }
    if !has_shape(text, lower_or_digit, lower_or_digit, lower_digit_or_dash) {
        let labels =
            text.split('.').all(|part| has_shape(part, lower_or_digit, lower_or_digit, lower_digit_or_dash));
        problems.push(if labels {
            "must not contain dots".to_owned()
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                        must start and end with an alphanumeric character";
            pattern_rule(rule, LABEL, &["my-name", "123-abc"])
        });
    }
    problems
}

/// A DNS label that starts with a letter (RFC 1035, lower case).
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > MAX_LABEL {
        problems.push(too_long(MAX_LABEL));
    }
    if !has_shape(text, |byte| byte.is_ascii_lowercase(), lower_or_digit, lower_digit_or_dash) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                    alphabetic character, and end with an alphanumeric character";
        problems.push(pattern_rule(rule, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    problems
}

/// A DNS subdomain (RFC 1123, lower case).
pub(super) fn subdomain(text: &str) -> Vec<String> {
    validate_dns1123_subdomain(text)
}

/// A DNS subdomain whose first label is `*`.
pub(super) fn wildcard_subdomain(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > MAX_SUBDOMAIN {
        problems.push(too_long(MAX_SUBDOMAIN));
    }
    let rest = text.strip_prefix("*.").unwrap_or_default();
    if !rest.split('.').all(|part| has_shape(part, lower_or_digit, lower_or_digit, lower_digit_or_dash)) {
        let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                    consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        let pattern = format!("\\*\\.{LABEL}(\\.{LABEL})*");
        problems.push(pattern_rule(rule, &pattern, &["*.example.com"]));
    }
    problems
}

/// A name that can be a segment of a path.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    path_segment_prefix(text)
}

fn path_segment_prefix(text: &str) -> Vec<String> {
    ["/", "%"]
        .iter()
        .filter(|part| text.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// The key of a label, an annotation, a finalizer …: a name after an optional DNS subdomain and a slash.
pub(super) fn qualified_name(text: &str) -> Vec<String> {
    validate_label_key(text)
}

/// The name of a port, as IANA has them (RFC 6335).
pub(super) fn port_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 15 {
        problems.push(too_long(15));
    }
    if text.is_empty() || !text.bytes().all(lower_digit_or_dash) {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// The name of an environment variable: printable ASCII without an equals sign.
pub(super) fn environment_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.is_empty() {
        problems.push("environment variable name must be non-empty".to_owned());
    }
    if text.chars().any(|char| !matches!(char, ' '..='~') || char == '=') {
        problems.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    problems
}

/// A key of a config map or a secret: it becomes the name of a file.
pub(super) fn config_key(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > MAX_SUBDOMAIN {
        problems.push(too_long(MAX_SUBDOMAIN));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        problems.push(pattern_rule(rule, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

/// The name of a header of HTTP.
pub(super) fn header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![pattern_rule(rule, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A number of percent, as text.
pub(super) fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let rule = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![pattern_rule(rule, "[0-9]+%", &["1%", "93%"])]
}

/// An address of either family.
pub(super) fn ip(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Ok(_) => Vec::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// A range of addresses of either family.
pub(super) fn cidr(text: &str) -> Vec<String> {
    match text.parse::<ipnet::IpNet>() {
        Ok(_) => Vec::new(),
        Err(_) => vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()],
    }
}

/// The number of a user or a group.
pub(super) const IDS: (i64, i64) = (0, 0xffff_ffff);

/// A name of a driver, a class or a protocol with a domain before a slash: `acme.io/foo`.
pub(super) fn domain_prefixed_path(text: &str) -> Vec<(String, String)> {
    let Some((host, path)) = text.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty())
    else {
        return vec![(
            text.to_owned(),
            "must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned(),
        )];
    };
    let mut problems: Vec<_> =
        subdomain(host).into_iter().map(|problem| (host.to_owned(), problem)).collect();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !path.bytes().all(allowed) {
        let rule = pattern_rule("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]);
        problems.push((path.to_owned(), rule));
    }
    problems
}
