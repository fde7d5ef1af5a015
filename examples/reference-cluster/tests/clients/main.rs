//! kube-rs as programs use it: a client that knows nothing but a kubeconfig, and a server behind TLS.
//!
//! [`front`] is the way from one to the other. [`objects`] is about the client, [`watching`] about watchers and what is made of
//! them, [`controller`] about controllers, [`pods`] about what needs nodes, [`election`] about leaders, [`renewal`] about nodes' connections.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod controller;
mod election;
mod front;
mod objects;
mod pods;
mod renewal;
mod watching;

use std::time::Duration;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// The code with which the server refused.
#[track_caller]
fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("the server should have refused: {other:?}"),
    }
}
