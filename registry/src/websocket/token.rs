//! Tokens in the place where browsers can put them: among a WebSocket's subprotocols.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};

use super::is_asked;

/// What a subprotocol begins with that is a token, in base64 of the kind for URLs.
const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Makes a token among the subprotocols of a WebSocket's request the token of the request.
///
/// # Errors
///
/// Why the token cannot be read; then the headers stay as they are.
pub(crate) fn take_token(headers: &mut HeaderMap) -> Result<(), &'static str> {
    if !is_asked(headers) || headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        offered.map(str::trim).partition(|protocol| protocol.starts_with(PREFIX));
    let encoded = match tokens.as_slice() {
        [] => return Ok(()),
        [token] => &token[PREFIX.len()..],
        _ => return Err("several subprotocols are tokens"),
    };
    let token =
        URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "the subprotocol with the token is not base64url")?;
    if token.is_empty() {
        return Ok(());
    }
    // One has to be left that the answer can name: browsers insist on that, and the token must not be repeated.
    if others.is_empty() {
        return Err("there is no subprotocol beside the token");
    }
    let others = HeaderValue::from_str(&others.join(",")).map_err(|_| "the subprotocols are no text")?;
    let mut bearer = HeaderValue::from_bytes(&[b"Bearer ".as_slice(), &token].concat())
        .map_err(|_| "the token has characters that no token has")?;
    bearer.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, bearer);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
    Ok(())
}
