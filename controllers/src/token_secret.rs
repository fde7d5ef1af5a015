//! Secrets of the type `kubernetes.io/service-account-token`: they get the token of the account that they name, and go with
//! it.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Preconditions};
use quarterdeck_core::client::{
    Context, Informer, ObjectKey, Reconcile, Requeue, Selector, Subscription, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};

use crate::meta::{self, is_terminating, posting};

const COMPONENT: &str = "tokens-controller";
const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// The longest life that a token can have, which ends with the secret that it is bound to.
const LIFETIME_SECONDS: i64 = 1 << 32;

/// Keeps the tokens in secrets that are there for them. It acts as the context's own client does, and not as an account: as
/// upstream, who makes tokens for accounts makes these too.
#[derive(Debug)]
pub struct TokenSecretController {
    context: Context,
    certificate: Option<String>,
}

impl TokenSecretController {
    /// Makes the controller. `certificate`, of the cluster's authority and in PEM, goes beside the tokens. It does nothing
    /// until it runs.
    #[must_use]
    pub fn new(context: &Context, certificate: Option<String>) -> Self {
        Self { context: context.clone(), certificate }
    }
}

#[async_trait]
impl Component for TokenSecretController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let informers = &self.context.informers;
        let secrets = informers.selected::<Secret>(Selector::all().fields(format!("type={TYPE}")));
        let accounts = informers.of::<ServiceAccount>();
        let queue = WorkQueue::new().measured(&self.context.metrics, COMPONENT);
        let _subscriptions = follow(&secrets, &accounts, &queue);
        let keeper = Arc::new(Keeper {
            context: self.context.clone(),
            certificate: self.certificate,
            secrets: secrets.clone(),
        });
        let synced = async { tokio::join!(secrets.synced(), accounts.synced()) };
        if stop.or(synced).await.is_some() {
            work(COMPONENT, &queue, 1, keeper, stop).await;
        }
        Ok(())
    }
}

fn follow(
    secrets: &Informer<Secret>,
    accounts: &Informer<ServiceAccount>,
    queue: &WorkQueue<ObjectKey>,
) -> [Subscription; 2] {
    let (of_secret, of_account, known) = (queue.clone(), queue.clone(), secrets.clone());
    [
        secrets.subscribe(move |event| of_secret.add(ObjectKey::of(&**event.object()))),
        accounts.subscribe(move |event| {
            let account = event.object();
            for secret in known.store().namespace(meta::namespace(&**account)) {
                if meta::annotation(&*secret, ACCOUNT_NAME) == Some(meta::name(&**account)) {
                    of_account.add(ObjectKey::of(&*secret));
                }
            }
        }),
    ]
}

struct Keeper {
    context: Context,
    certificate: Option<String>,
    secrets: Informer<Secret>,
}

#[async_trait]
impl Reconcile for Keeper {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(secret) = self.secrets.store().get(key) else { return Ok(Requeue::No) };
        // A server that ignores the selector sends all secrets.
        if secret.type_.as_deref() != Some(TYPE) || is_terminating(&*secret) {
            return Ok(Requeue::No);
        }
        let Some(name) = meta::annotation(&*secret, ACCOUNT_NAME) else { return Ok(Requeue::No) };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.context.client.clone(), &key.namespace);
        // The server has the last word: a secret whose account is gone goes for good.
        let account = accounts.get_opt(name).await?;
        let named = meta::annotation(&*secret, ACCOUNT_UID);
        match account.filter(|account| named.is_none_or(|uid| uid == meta::uid(account))) {
            Some(account) => self.fill(&secret, &account, &accounts).await?,
            None => self.delete(&secret).await?,
        }
        Ok(Requeue::No)
    }
}

impl Keeper {
    async fn fill(
        &self,
        secret: &Secret,
        account: &ServiceAccount,
        accounts: &Api<ServiceAccount>,
    ) -> kube::Result<()> {
        let mut filled = secret.clone();
        let data = filled.data.get_or_insert_default();
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        data.insert("namespace".into(), text(meta::namespace(secret)));
        if let Some(certificate) = &self.certificate {
            data.insert("ca.crt".into(), text(certificate));
        }
        let annotations = filled.metadata.annotations.get_or_insert_default();
        annotations.insert(ACCOUNT_UID.into(), meta::uid(account).into());
        let has_token =
            filled.data.iter().flatten().any(|(key, token)| key == "token" && !token.0.is_empty());
        if !has_token {
            let token = self.token(secret, account, accounts).await?;
            filled.data.get_or_insert_default().insert("token".into(), text(&token));
        }
        if filled == *secret {
            return Ok(());
        }
        match self.api(secret).replace(meta::name(secret), &posting(), &filled).await {
            Ok(_) => Ok(()),
            // It changed, and comes again, or it is gone.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn token(
        &self,
        secret: &Secret,
        account: &ServiceAccount,
        accounts: &Api<ServiceAccount>,
    ) -> kube::Result<String> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Secret".into()),
                    name: secret.metadata.name.clone(),
                    uid: secret.metadata.uid.clone(),
                }),
                expiration_seconds: Some(LIFETIME_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let issued = accounts.create_token_request(meta::name(account), &posting(), &request).await?;
        Ok(issued.status.and_then(|status| status.token).unwrap_or_default())
    }

    async fn delete(&self, secret: &Secret) -> kube::Result<()> {
        let uid = Preconditions { uid: secret.metadata.uid.clone(), ..Preconditions::default() };
        let params = DeleteParams::default().preconditions(uid);
        match self.api(secret).delete(meta::name(secret), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn api(&self, secret: &Secret) -> Api<Secret> {
        Api::namespaced(self.context.client.clone(), meta::namespace(secret))
    }
}
