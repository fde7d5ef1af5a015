use std::sync::Mutex;
use std::time::Duration;

use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use serde_json::json;

use super::*;
use crate::client::Context;
use crate::random::Random;

/// A server that makes tokens for an hour, numbered, and believes the last one.
#[derive(Debug)]
struct Issuer {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    has_account: bool,
    /// No tokens are made.
    is_broken: bool,
    issued: u32,
    /// What was asked, and with which proof.
    log: Vec<String>,
}

impl Issuer {
    fn new() -> Arc<Self> {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
        Arc::new(Self { clock, state: Mutex::default() })
    }

    fn client(self: &Arc<Self>) -> Client {
        let issuer = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let issuer = issuer.clone();
            async move { issuer.answer(request).await }
        });
        Client::new(service, "default")
    }

    /// Returns a client of the account `worker`.
    fn worker(self: &Arc<Self>) -> Client {
        let accounts = TokenAccounts::new(self.client(), self.client(), self.clock.clone());
        accounts.client("worker")
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (head, body) = request.into_parts();
        body.collect().await?;
        let proof = head.headers.get(AUTHORIZATION).map_or("", |proof| proof.to_str().unwrap());
        let path = head.uri.path().trim_start_matches("/api/v1/namespaces/");
        let mut state = self.state.lock().unwrap();
        state.log.push(format!("{} {path} {proof}", head.method).trim_end().to_owned());
        let refusal = |code: u16, reason: &str| {
            (code, json!({"kind": "Status", "code": code, "reason": reason, "message": reason}))
        };
        let (code, answer) = match (head.method.as_str(), path) {
            ("POST", "kube-system/serviceaccounts/worker/token") if !state.has_account => {
                refusal(404, "NotFound")
            }
            ("POST", "kube-system/serviceaccounts/worker/token") if state.is_broken => {
                refusal(500, "InternalError")
            }
            ("POST", "kube-system/serviceaccounts/worker/token") => {
                state.issued += 1;
                let end = Time(self.clock.now() + Duration::from_secs(3600));
                let status = json!({"token": format!("t{}", state.issued), "expirationTimestamp": end});
                (201, json!({"metadata": {}, "spec": {"audiences": []}, "status": status}))
            }
            ("POST", "kube-system/serviceaccounts") => {
                state.has_account = true;
                (201, json!({"metadata": {"name": "worker"}}))
            }
            ("GET", _) if proof != format!("Bearer t{}", state.issued) => refusal(401, "Unauthorized"),
            _ => (200, json!({"metadata": {}, "items": []})),
        };
        Ok(Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()))?)
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}

async fn list(client: &Client) -> kube::Result<usize> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    Ok(maps.list(&ListParams::default()).await?.items.len())
}

const TOKEN: &str = "POST kube-system/serviceaccounts/worker/token";

#[tokio::test(start_paused = true)]
async fn an_account_is_made_if_it_is_missing_and_its_token_is_shown_until_it_is_old() {
    let issuer = Issuer::new();
    let client = issuer.worker();
    assert!(issuer.log().is_empty(), "nothing is asked before it is needed");

    list(&client).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600 * 4 / 5 - 1)).await;
    list(&client).await.unwrap();
    let first = issuer.log();
    tokio::time::sleep(Duration::from_secs(1)).await;
    list(&client).await.unwrap();

    let made = "POST kube-system/serviceaccounts";
    let shown = "GET default/configmaps Bearer t1";
    assert_eq!(first, [TOKEN, made, TOKEN, shown, shown]);
    assert_eq!(issuer.log(), [TOKEN, "GET default/configmaps Bearer t2"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_is_good_to_its_end_and_then_the_reason_is_told() {
    let issuer = Issuer::new();
    let client = issuer.worker();
    list(&client).await.unwrap();
    issuer.set(|state| state.is_broken = true);

    tokio::time::sleep(Duration::from_secs(3599)).await;
    let old = list(&client).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let none = list(&client).await;
    issuer.set(|state| state.is_broken = false);
    let again = list(&client).await;

    assert!(old.is_ok(), "{old:?}");
    let why = none.unwrap_err().to_string();
    assert!(why.contains("no token for the service account kube-system/worker"), "{why}");
    assert!(why.contains("InternalError"), "{why}");
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_not_shown_again() {
    let issuer = Issuer::new();
    let client = issuer.worker();
    list(&client).await.unwrap();
    issuer.set(|state| state.issued += 1);

    let refused = list(&client).await;
    let again = list(&client).await;

    assert!(matches!(&refused, Err(Error::Api(status)) if status.code == 401), "{refused:?}");
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_at_once_wait_for_one_token() {
    let issuer = Issuer::new();
    issuer.set(|state| state.has_account = true);
    let client = issuer.worker();

    let all = futures::future::join_all((0..10).map(|_| list(&client))).await;

    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let asked = issuer.log().iter().filter(|line| *line == TOKEN).count();
    assert_eq!(asked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_part_with_an_account_writes_as_the_account_and_reads_with_all_others() {
    let issuer = Issuer::new();
    let tokens = TokenAccounts::new(issuer.client(), issuer.client(), issuer.clock.clone());
    let all = Context::new(issuer.client(), issuer.clock.clone(), Random::seeded(1));
    let without = all.account("worker");
    let all = all.with_accounts(move |name| tokens.client(name));
    let own = all.account("worker");

    list(&own.client).await.unwrap();
    let written = issuer.log();
    let _followed = own.informers.of::<ConfigMap>();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let read = issuer.log();
    list(&without.client).await.unwrap_err();

    assert_eq!(written.last().unwrap(), "GET default/configmaps Bearer t1");
    assert!(read.iter().all(|line| line == "GET /api/v1/configmaps"), "{read:?}");
    assert!(!read.is_empty());
    assert_eq!(issuer.log().last().unwrap(), "GET default/configmaps", "without accounts all are one");
    assert_eq!(format!("{:?}", all.informers), format!("{:?}", own.informers));
}
