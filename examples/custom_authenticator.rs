//! An authenticator of one's own: whoever sends a known API key in a header is the user it was given to.
//!
//! `cargo run --example custom_authenticator`

use std::collections::BTreeMap;
use std::error::Error;

use async_trait::async_trait;
use http::Request;
use http::request::Parts;
use quarterdeck::prelude::*;
use quarterdeck::registry::{Authenticator, Body};
use tower::ServiceExt as _;

/// API keys, and whose they are. A real one keeps hashes of keys, and compares them in constant time.
#[derive(Debug)]
struct ApiKeys(BTreeMap<String, User>);

#[async_trait]
impl Authenticator for ApiKeys {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        // No key: another authenticator may know who this is.
        let Some(key) = parts.headers.get("x-api-key") else { return Ok(None) };
        let user = key.to_str().ok().and_then(|key| self.0.get(key));
        // A wrong one: nobody else is asked. The log tells why, the client is told `Unauthorized`.
        user.cloned().map(Some).ok_or_else(|| "nobody has this API key".into())
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let robot = User::new("robot").group("system:masters");
    let keys =
        ApiKeys(BTreeMap::from([("open sesame".to_owned(), robot), ("hello".to_owned(), User::new("eve"))]));
    let server = ApiServer::builder(MemoryStorage::new()).authenticator(keys).start().await?;

    // As a listener calls it: what is asked is known, and who asks is not.
    let code = async |key: Option<&str>| -> Result<u16, Box<dyn Error>> {
        let mut request = Request::get("/api/v1/namespaces/default");
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let answer = server.clone().oneshot(request.body(Body::empty())?).await?;
        Ok(answer.status().as_u16())
    };

    assert_eq!(code(Some("open sesame")).await?, 200, "an administrator");
    assert_eq!(code(Some("hello")).await?, 403, "a user whom nobody gave a role");
    assert_eq!(code(Some("guess")).await?, 401, "nobody");
    assert_eq!(code(None).await?, 401, "nobody");
    println!("the key decides who asks");
    Ok(())
}
