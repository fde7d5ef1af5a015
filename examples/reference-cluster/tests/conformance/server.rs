//! The server that answers: any tower service that takes HTTP requests, with its types erased.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One API server, called in process. Clones call the same server.
#[derive(Debug, Clone)]
pub(crate) struct Server(BoxCloneSyncService<Request<Bytes>, Response<Body>, BoxError>);

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Value,
}

impl Server {
    /// Erases the types of `service`, whose requests carry bodies of type `In` and whose answers carry `Out`.
    pub(crate) fn new<S, In, Out>(service: S) -> Self
    where
        S: Service<Request<In>, Response = Response<Out>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        In: From<Bytes> + 'static,
        Out: http_body::Body<Data = Bytes> + Send + 'static,
        Out::Error: Into<BoxError>,
    {
        let erased = service
            .map_request(|request: Request<Bytes>| request.map(In::from))
            .map_response(|response: Response<Out>| {
                response.map(|body| body.map_err(Into::into).boxed_unsync())
            })
            .map_err(Into::into);
        Self(BoxCloneSyncService::new(erased))
    }

    /// Sends a request; the answer's body still streams.
    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<Bytes>,
    ) -> Result<Response<Body>, BoxError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "localhost")
            .header("Accept-Encoding", "identity")
            .header("User-Agent", "conform/1"); // the manager's name in managedFields
        if body.is_some() || ["POST", "PUT", "PATCH"].contains(&method) {
            request = request.header("Content-Length", body.as_ref().map_or(0, Bytes::len));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body.unwrap_or_default())?;
        tokio::time::timeout(PATIENCE, self.0.clone().oneshot(request)).await?
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<Bytes>,
    ) -> Result<Answer, BoxError> {
        let (head, body) = self.open(method, path, headers, body).await?.into_parts();
        let mut body = tokio::time::timeout(PATIENCE, body.collect()).await??.to_bytes();
        if method == "HEAD" {
            body.clear(); // what carries HTTP sends none
        }
        let content = decode(header(&head.headers, "content-type").unwrap_or_default(), &body);
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, content })
    }
}

/// A header as text; the last one, if there are several.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()
}

fn decode(media_type: &str, body: &[u8]) -> Value {
    if media_type.contains("json")
        && let Ok(value) = serde_json::from_slice(body)
    {
        return value;
    }
    if media_type.contains("yaml")
        && let Ok(value) = serde_saphyr::from_slice::<Value>(body)
    {
        return json!({ "$yaml": value });
    }
    if media_type.contains("protobuf") {
        let start: String = body.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        return json!({ "$protobuf": start });
    }
    String::from_utf8_lossy(body).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_decoded_by_its_media_type() {
        assert_eq!(decode("application/json", b"[1]"), json!([1]));
        assert_eq!(decode("application/json", b"oops"), json!("oops"));
        assert_eq!(decode("application/yaml", b"a: [1, x]"), json!({"$yaml": {"a": [1, "x"]}}));
        assert_eq!(
            decode("application/vnd.kubernetes.protobuf", b"k8s\0rest"),
            json!({"$protobuf": "6b387300"})
        );
        assert_eq!(decode("text/plain", b"ok"), json!("ok"));
        assert_eq!(decode("", b""), json!(""));
    }
}
