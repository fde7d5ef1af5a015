//! A CertificateSigningRequest, from the POST to the certificate.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::watcher;

use super::error::{JoinError, Verdict};

/// How long to wait at first before the API server is asked again, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

type Requests = Api<CertificateSigningRequest>;

/// Makes a request, unless it is there already, and waits for the certificate. A request that is deleted meanwhile is made again.
///
/// # Errors
///
/// [`JoinError`], but while the API server is away: that is waited out.
pub(super) async fn issue(client: &Client, request: &CertificateSigningRequest) -> Result<String, JoinError> {
    let api = Api::all(client.clone());
    loop {
        create(&api, request).await?;
        if let Some(answer) = follow(&api, name(request), |request| match request {
            Some(request) => answer(request).map(Some),
            None => Some(None),
        })
        .await?
        {
            return answer;
        }
        tracing::warn!(
            request = name(request),
            "a request for a certificate is gone unanswered, asking again"
        );
    }
}

/// Waits until a request is gone.
///
/// # Errors
///
/// [`JoinError`], as for [`issue`].
pub(super) async fn until_gone(client: &Client, name: &str) -> Result<(), JoinError> {
    follow(&Api::all(client.clone()), name, |request| request.is_none().then_some(())).await
}

/// Returns a request's name.
pub(super) fn name(request: &CertificateSigningRequest) -> &str {
    request.metadata.name.as_deref().unwrap_or_default()
}

async fn create(api: &Requests, request: &CertificateSigningRequest) -> Result<(), JoinError> {
    let mut backoff = Backoff::new();
    loop {
        let Err(error) = api.create(&PostParams::default(), request).await else {
            tracing::info!(
                request = name(request),
                signer = request.spec.signer_name,
                "asked for a certificate"
            );
            return Ok(());
        };
        match Verdict::of(error) {
            Verdict::Exists => return Ok(()),
            Verdict::Passing(reason) => backoff.wait(&reason).await,
            Verdict::Final(error) => return Err(error),
        }
    }
}

/// Follows a request until `read` makes something of it, or of its absence.
async fn follow<T>(
    api: &Requests,
    name: &str,
    mut read: impl FnMut(Option<&CertificateSigningRequest>) -> Option<T>,
) -> Result<T, JoinError> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = pin!(watcher(api.clone(), config));
    let mut backoff = Backoff::new();
    let mut is_listed = false;
    loop {
        let change = changes.next().await.expect("a watcher goes on for ever");
        let found = match change {
            Ok(watcher::Event::Init) => {
                is_listed = false;
                None
            }
            Ok(watcher::Event::InitApply(request)) => {
                is_listed = true;
                read(Some(&request))
            }
            Ok(watcher::Event::InitDone) => {
                backoff = Backoff::new();
                if is_listed { None } else { read(None) }
            }
            Ok(watcher::Event::Apply(request)) => read(Some(&request)),
            Ok(watcher::Event::Delete(_)) => read(None),
            Err(error) => match verdict(error) {
                Verdict::Final(error) => return Err(error),
                Verdict::Passing(reason) => {
                    backoff.wait(&reason).await;
                    None
                }
                Verdict::Exists => None,
            },
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
}

fn verdict(error: watcher::Error) -> Verdict {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Verdict::of(error),
        watcher::Error::WatchError(status) => Verdict::of_status(status),
        error => Verdict::Passing(error.to_string()),
    }
}

/// Returns what a request came to, once it came to something.
fn answer(request: &CertificateSigningRequest) -> Option<Result<String, JoinError>> {
    let status = request.status.as_ref()?;
    let said = |kind: &str| {
        let mut conditions = status.conditions.iter().flatten();
        let condition = conditions.find(|condition| condition.type_ == kind && condition.status == "True")?;
        let reason = condition.reason.as_deref().unwrap_or_default();
        let message = condition.message.as_deref().unwrap_or_default();
        let parts: Vec<&str> = [reason, message].into_iter().filter(|part| !part.is_empty()).collect();
        Some((name(request).to_owned(), parts.join(": ")))
    };
    if let Some((name, message)) = said("Denied") {
        return Some(Err(JoinError::Denied { name, message }));
    }
    if let Some((name, message)) = said("Failed") {
        return Some(Err(JoinError::Failed { name, message }));
    }
    said("Approved")?;
    let certificate = status.certificate.as_ref().filter(|certificate| !certificate.0.is_empty())?;
    Some(Ok(String::from_utf8_lossy(&certificate.0).into_owned()))
}

/// How long to wait after a failure.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(RETRY.0)
    }

    async fn wait(&mut self, reason: &str) {
        tracing::warn!(reason, "the API server cannot be asked for a certificate, trying again");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY.1);
    }
}
