//! Admission that is an async closure, or an async function.
//!
//! [`mutate_fn`] makes an [`Admission`] of one that changes what is written, [`validate_fn`] of one that refuses. A closure
//! that needs more than its arguments does not capture it: it is handed over once ([`mutate_fn_with`], [`validate_fn_with`])
//! and given to each call by reference. What needs both halves, or [`Admission::handles`], implements the trait.

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Attributes};
use crate::status::Result;

/// An async closure or function of these arguments. It is implemented for all that fit, and for nothing else.
pub trait AdmissionFn<Arguments>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, arguments: Arguments) -> impl Future<Output = Result<()>> + Send;
}

impl<A, B, F, Answer> AdmissionFn<(A, B)> for F
where
    F: Fn(A, B) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<()>> + Send,
{
    fn call(&self, (a, b): (A, B)) -> impl Future<Output = Result<()>> + Send {
        self(a, b)
    }
}

impl<A, B, C, F, Answer> AdmissionFn<(A, B, C)> for F
where
    F: Fn(A, B, C) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<()>> + Send,
{
    fn call(&self, (a, b, c): (A, B, C)) -> impl Future<Output = Result<()>> + Send {
        self(a, b, c)
    }
}

/// Makes admission of an async closure that changes what is written, or refuses it, before it is validated; not for deletions.
/// The types of its parameters have to be written down.
///
/// # Examples
///
/// ```
/// use quarterdeck_registry::admission::{self, Attributes};
/// use quarterdeck_registry::{ApiServer, MemoryStorage};
/// use serde_json::Value;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sign = admission::mutate_fn(async |write: &Attributes<'_>, object: &mut Value| {
///     object["metadata"]["annotations"]["example.com/writer"] = write.user.name.as_str().into();
///     Ok(())
/// });
///
/// let server = ApiServer::builder(MemoryStorage::new()).admission(sign).start().await?;
/// # Ok(())
/// # }
/// ```
pub fn mutate_fn<F>(f: F) -> impl Admission
where
    F: for<'a> AdmissionFn<(&'a Attributes<'a>, &'a mut Value)>,
{
    Mutate { with: (), f: Alone(f) }
}

/// Does what [`mutate_fn`] does, for a closure whose first argument is `with`.
pub fn mutate_fn_with<T, F>(with: T, f: F) -> impl Admission
where
    T: Send + Sync + 'static,
    F: for<'a> AdmissionFn<(&'a T, &'a Attributes<'a>, &'a mut Value)>,
{
    Mutate { with, f }
}

/// Makes admission of an async closure that refuses what is written, when nothing changes any more; the object is absent for
/// deletions. The types of its parameters have to be written down.
///
/// # Examples
///
/// ```
/// use quarterdeck_registry::admission::{self, Attributes};
/// use quarterdeck_registry::{ApiServer, MemoryStorage, Status};
/// use serde_json::Value;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let no_secrets = admission::validate_fn(async |write: &Attributes<'_>, _: Option<&Value>| {
///     if write.is_core("secrets") {
///         return Err(Status::forbidden_object(write.resource, write.name, "keep secrets elsewhere"));
///     }
///     Ok(())
/// });
///
/// let server = ApiServer::builder(MemoryStorage::new()).admission(no_secrets).start().await?;
/// # Ok(())
/// # }
/// ```
pub fn validate_fn<F>(f: F) -> impl Admission
where
    F: for<'a> AdmissionFn<(&'a Attributes<'a>, Option<&'a Value>)>,
{
    Validate { with: (), f: Alone(f) }
}

/// Does what [`validate_fn`] does, for a closure whose first argument is `with`.
pub fn validate_fn_with<T, F>(with: T, f: F) -> impl Admission
where
    T: Send + Sync + 'static,
    F: for<'a> AdmissionFn<(&'a T, &'a Attributes<'a>, Option<&'a Value>)>,
{
    Validate { with, f }
}

/// A closure that needs nothing but its arguments.
struct Alone<F>(F);

impl<A, B, C, F: AdmissionFn<(B, C)>> AdmissionFn<(A, B, C)> for Alone<F> {
    fn call(&self, (_, b, c): (A, B, C)) -> impl Future<Output = Result<()>> + Send {
        self.0.call((b, c))
    }
}

struct Mutate<T, F> {
    with: T,
    f: F,
}

impl<T, F> fmt::Debug for Mutate<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("mutate_fn").field(&std::any::type_name::<F>()).finish()
    }
}

#[async_trait]
impl<T, F> Admission for Mutate<T, F>
where
    T: Send + Sync + 'static,
    F: for<'a> AdmissionFn<(&'a T, &'a Attributes<'a>, &'a mut Value)>,
{
    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        self.f.call((&self.with, attributes, object)).await
    }
}

struct Validate<T, F> {
    with: T,
    f: F,
}

impl<T, F> fmt::Debug for Validate<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("validate_fn").field(&std::any::type_name::<F>()).finish()
    }
}

#[async_trait]
impl<T, F> Admission for Validate<T, F>
where
    T: Send + Sync + 'static,
    F: for<'a> AdmissionFn<(&'a T, &'a Attributes<'a>, Option<&'a Value>)>,
{
    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        self.f.call((&self.with, attributes, object)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Method, Request, StatusCode};
    use http_body_util::BodyExt as _;
    use serde_json::json;
    use tower::ServiceExt as _;

    use super::*;
    use crate::admission::Operation;
    use crate::{ApiServer, Body, MemoryStorage, Status, User};

    const MAPS: &str = "/api/v1/namespaces/default/configmaps";

    async fn server(admission: impl Admission) -> ApiServer {
        ApiServer::builder(MemoryStorage::new()).admission(admission).start().await.unwrap()
    }

    async fn send(server: &ApiServer, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::full(body.to_string())).unwrap();
        let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
        let code = answer.status();
        (code, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    fn map(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
    }

    #[tokio::test]
    async fn a_closure_changes_what_is_written() {
        let sign = mutate_fn(async |write: &Attributes<'_>, object: &mut Value| {
            if write.is_core("configmaps") {
                object["data"]["writer"] = write.user.name.as_str().into();
            }
            Ok(())
        });

        let (code, made) = send(&server(sign).await, Method::POST, MAPS, &map("a")).await;

        assert_eq!(code, StatusCode::CREATED, "{made}");
        assert_eq!(made["data"], json!({"writer": "kubernetes-admin"}));
    }

    /// Keeps maps from being deleted.
    async fn keep(write: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        if write.is_core("configmaps") && write.operation == Operation::Delete {
            assert_eq!(object, None);
            return Err(Status::forbidden_object(write.resource, write.name, "maps are for ever"));
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_function_refuses_a_deletion() {
        let server = server(validate_fn(keep)).await;
        send(&server, Method::POST, MAPS, &map("a")).await;

        let (code, status) = send(&server, Method::DELETE, &format!("{MAPS}/a"), &json!({})).await;

        assert_eq!(code, StatusCode::FORBIDDEN);
        assert_eq!(status["message"], "configmaps \"a\" is forbidden: maps are for ever");
    }

    #[tokio::test]
    async fn what_a_closure_works_with_is_one_value_for_all_writes() {
        let count = mutate_fn_with(
            Mutex::new(0),
            async |seen: &Mutex<u32>, write: &Attributes<'_>, object: &mut Value| {
                if write.is_core("configmaps") {
                    let mut seen = seen.lock().unwrap();
                    *seen += 1;
                    object["data"]["count"] = seen.to_string().into();
                }
                Ok(())
            },
        );
        let server = server(count).await;

        send(&server, Method::POST, MAPS, &map("a")).await;
        let (_, second) = send(&server, Method::POST, MAPS, &map("b")).await;

        assert_eq!(second["data"]["count"], "2");
    }

    #[test]
    fn it_says_which_closure_it_is() {
        let keeps = validate_fn_with("x", async |_: &&str, _: &Attributes<'_>, _: Option<&Value>| Ok(()));

        let shown = format!("{keeps:?} {:?}", validate_fn(keep));

        assert!(shown.starts_with("validate_fn(\"quarterdeck_registry::"), "{shown}");
        assert!(shown.contains("keep"), "{shown}");
    }
}
