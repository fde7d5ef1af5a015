//! Continue tokens: where a page of a list ended, as the client hands it back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quarterdeck_core::storage::Revision;
use serde::{Deserialize, Serialize};

use crate::status::{Result, Status};

/// What a continue token says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    v: String,
    /// The revision of the list, or [`LATEST`].
    #[serde(default)]
    pub(super) rv: i64,
    #[serde(default)]
    pub(super) start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// The revision of a token that continues with whatever is there by then.
pub(super) const LATEST: i64 = -1;

/// Makes the token of a page at a revision whose last key is `last`.
pub(super) fn token(revision: Revision, prefix: &str, last: &str) -> String {
    // The next page begins behind the last key: with the first key that could follow it.
    let start = format!("{}\0", last.strip_prefix(prefix).unwrap_or(last));
    encode_token(i64::try_from(revision.0).unwrap_or(LATEST), start)
}

/// Writes a token.
pub(super) fn encode_token(rv: i64, start: String) -> String {
    let token = Token { v: TOKEN_VERSION.into(), rv, start };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token can be written"))
}

/// Reads a token that may come from anywhere.
///
/// # Errors
///
/// 400 if it is none of this server's.
pub(super) fn read_token(text: &str) -> Result<Token> {
    let refused = |why: String| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => text.len(),
        };
        refused(format!("illegal base64 data at input byte {at}"))
    })?;
    let token = crate::schema::parse_json(&bytes).map_err(refused)?;
    let token: Token = serde_json::from_value(token).map_err(|error| refused(error.to_string()))?;
    if token.v != TOKEN_VERSION {
        return Err(refused(format!("server does not recognize this encoded version {:?}", token.v)));
    }
    if token.rv == 0 || token.rv < LATEST {
        return Err(refused("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
    }
    if token.start.is_empty() {
        return Err(refused("encoded start key empty (version meta.k8s.io/v1)".into()));
    }
    if token.start.split('/').skip(usize::from(token.start.starts_with('/'))).any(is_no_name) {
        return Err(refused(token.start));
    }
    Ok(token)
}

/// Whether a part of a path leads elsewhere than into what is before it.
fn is_no_name(part: &str) -> bool {
    matches!(part, "" | "." | "..")
}
