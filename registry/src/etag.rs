//! Entity tags: what lets clients keep a document until it changes.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest, Sha256};

use crate::body::Body;

/// Returns the hash of a document, as it stands in tags and addresses.
#[must_use]
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Returns the header's value for a hash.
#[must_use]
pub(crate) fn tag(hash: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{hash}\"")).expect("a quoted hash is a header's value")
}

/// Returns whether the client has the document of this hash.
#[must_use]
pub(crate) fn is_known(headers: &HeaderMap, hash: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|known| {
        // A proxy that compresses makes a tag weak; the document is the same.
        let known = known.strip_prefix("W/").unwrap_or(known);
        known == "*" || known.strip_prefix('"').and_then(|known| known.strip_suffix('"')) == Some(hash)
    })
}

/// Answers that the client has the document.
#[must_use]
pub(crate) fn not_modified() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(if_none_match: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(if_none_match));
        is_known(&headers, "AB")
    }

    #[test]
    fn a_tag_is_known_in_lists_and_in_its_weak_form_and_quoted_only() {
        assert!(known("\"AB\"") && known("\"x\", W/\"AB\"") && known("*"));
        assert!(!known("AB") && !known("\"A\"") && !known("\"AB"));
        assert!(!is_known(&HeaderMap::new(), "AB"));
    }
}
