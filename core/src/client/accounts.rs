//! Clients that act as service accounts, by tokens.

use std::fmt;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::client::Body;
use kube::{Client, Error};
use tokio::sync::Mutex;
use tower::service_fn;

use crate::clock::{Clock, later};
use crate::component::BoxError;

/// Where the accounts of a cluster's own parts are.
const NAMESPACE: &str = "kube-system";
/// For how long a token is asked to be good, upstream's figure.
const LIFETIME_SECONDS: i64 = 3600;

/// Makes clients that act as service accounts in `kube-system`, for parts that reach their API server over a network.
///
/// A client gets its token when it first needs one: whoever may `create` `serviceaccounts/token` asks for it, for an hour, and
/// makes the account if it is missing. When four fifths of its life are over, the next request gets another; while there is
/// none to be had, the old one is shown until it ends. A token that is refused is not shown again. All requests of a client
/// wait while it gets a token, and if it gets none they fail with the reason.
///
/// ```no_run
/// use kube::Client;
/// use kube::Config;
/// use kube::config::AuthInfo;
/// use quarterdeck_core::client::{Context, TokenAccounts};
/// use quarterdeck_core::clock::Clock;
/// use quarterdeck_core::random::Random;
///
/// # fn contexts(mut config: Config) -> kube::Result<()> {
/// let manager = Client::try_from(config.clone())?;
/// // Over a connection with a certificate, it would be the certificate's user who acts.
/// config.auth_info = AuthInfo::default();
/// let nobody = Client::try_from(config)?;
/// let accounts = TokenAccounts::new(manager.clone(), nobody, Clock::system());
/// let context = Context::new(manager, Clock::system(), Random::from_os())
///     .with_accounts(move |name| accounts.client(name));
///
/// // Reads as the manager, with all others, and writes as the account.
/// let own = context.account("deployment-controller");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenAccounts {
    manager: Client,
    nobody: Client,
    clock: Clock,
}

impl TokenAccounts {
    /// Makes accounts' clients of two clients of one server: `manager` asks for tokens, and `nobody`, which has no proof of its
    /// own, carries requests to which they are added.
    #[must_use]
    pub fn new(manager: Client, nobody: Client, clock: Clock) -> Self {
        Self { manager, nobody, clock }
    }

    /// Returns a client that acts as the service account `name` in `kube-system`. Nothing is asked yet.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    #[must_use]
    pub fn client(&self, name: &str) -> Client {
        let tokens = Arc::new(Tokens {
            accounts: Api::namespaced(self.manager.clone(), NAMESPACE),
            name: name.into(),
            clock: self.clock.clone(),
            known: Mutex::default(),
        });
        let nobody = self.nobody.clone();
        let service = service_fn(move |request| send(nobody.clone(), tokens.clone(), request));
        Client::new(service, "default")
    }
}

impl fmt::Debug for TokenAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAccounts").finish_non_exhaustive()
    }
}

/// Sends a request with an account's token.
async fn send(
    nobody: Client,
    tokens: Arc<Tokens>,
    mut request: Request<Body>,
) -> Result<Response<Body>, BoxError> {
    let bearer = tokens.bearer().await?;
    request.headers_mut().insert(AUTHORIZATION, bearer.clone());
    let answer = nobody.send(request).await?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        tokens.refused(&bearer).await;
    }
    Ok(answer)
}

/// The tokens of one account.
struct Tokens {
    accounts: Api<ServiceAccount>,
    name: String,
    clock: Clock,
    known: Mutex<Option<Token>>,
}

struct Token {
    bearer: HeaderValue,
    /// From when on another is asked for.
    renew: Timestamp,
    end: Timestamp,
}

impl Tokens {
    /// Returns the header that proves who asks.
    async fn bearer(&self) -> Result<HeaderValue, BoxError> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        if let Some(token) = known.as_ref().filter(|token| now < token.renew) {
            return Ok(token.bearer.clone());
        }
        let error = match self.request().await {
            Ok(token) => return Ok(known.insert(token).bearer.clone()),
            Err(error) => error,
        };
        match known.as_ref().filter(|token| now < token.end) {
            Some(token) => {
                tracing::debug!(account = self.name, error, "the token is not renewed, trying again");
                Ok(token.bearer.clone())
            }
            None => {
                Err(format!("no token for the service account {NAMESPACE}/{}: {error}", self.name).into())
            }
        }
    }

    /// Forgets a token that the server does not believe.
    async fn refused(&self, bearer: &HeaderValue) {
        self.known.lock().await.take_if(|token| token.bearer == *bearer);
    }

    async fn request(&self) -> Result<Token, BoxError> {
        let token = match self.ask().await {
            Err(Error::Api(status)) if status.is_not_found() => {
                self.make_account().await?;
                self.ask().await?
            }
            asked => asked?,
        };
        let made = token.status.and_then(|status| status.token.zip(status.expiration_timestamp));
        let (text, Time(end)) = made.ok_or("the server made none")?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {text}"))?;
        bearer.set_sensitive(true);
        let now = self.clock.now();
        Ok(Token { bearer, renew: later(now, end.duration_since(now) * 4 / 5), end })
    }

    async fn ask(&self) -> kube::Result<TokenRequest> {
        let spec =
            TokenRequestSpec { expiration_seconds: Some(LIFETIME_SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        self.accounts.create_token_request(&self.name, &PostParams::default(), &request).await
    }

    async fn make_account(&self) -> kube::Result<()> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        match self.accounts.create(&PostParams::default(), &account).await {
            // Another instance was faster.
            Err(Error::Api(status)) if status.is_already_exists() => Ok(()),
            made => made.map(drop),
        }
    }
}

#[cfg(test)]
mod tests;
