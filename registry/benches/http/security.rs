//! What it costs to know who asks, whether they may, and to keep a record of it.
//!
//! Two servers over TLS are compared. One knows its client by a certificate, finds in 1,000 bindings that it may, runs all built-in
//! admission, gives it a seat by priority and fairness, and tells a file of both stages of the request (level Metadata). The
//! other takes everybody for an administrator, lets everything pass, and tells nobody. Clients show certificates to both.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::request::Parts;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::BoxError;
use quarterdeck_registry::audit::{Audit, AuditFile, Policy};
use quarterdeck_registry::layers::authorization::{Attributes, Authorization, Decision};
use quarterdeck_registry::rbac::Rbac;
use quarterdeck_registry::request::{RequestInfo, ResourceRequest, Verb};
use quarterdeck_registry::tls::{Authority, ClientCertificates};
use quarterdeck_registry::{ApiServer, Authenticator, Authorizer, MemoryStorage, User};
use serde_json::json;

use crate::access::How;
use crate::disk;
use crate::figures::Figures;
use crate::load::Work;
use crate::process::Child;
use crate::references as name;
use crate::serve::{listen, post, run};

/// How many bindings there are, one of which is the client's.
const BINDINGS: usize = 1000;
/// How many creates are measured of each server in one go, 32 at a time.
const CREATES: usize = 10_000;
/// How often each server has its turn. The machine is not equally fast from second to second, so they take turns.
const TURNS: usize = 6;
const DECISIONS: usize = 200_000;
const POLICY: &str = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";

/// Measures both.
pub(crate) fn security(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    decisions(figures, divisor)?;
    let how = How::Certificate;
    let directory = tempfile::tempdir_in(disk::parent())?;
    let servers = [
        (name::CREATE_BARE, Child::server("bare", None)?),
        (name::CREATE_GUARDED, Child::server("guarded", Some(&directory.path().join("audit.log")))?),
    ];
    let creates = (CREATES / divisor).max(1);
    // The first requests of a server cost more than those that follow.
    let warm = 2 * creates;
    for (_, server) in &servers {
        server.load(how, "create", Work::new(warm, 32))?;
    }
    let mut rates = [const { Vec::new() }; 2];
    for turn in 0..TURNS {
        let work = Work::new(creates, 32).from(warm + turn * creates);
        // What a turn leaves to do, as pages to be written, falls into the next: into both equally often.
        let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        for index in order {
            rates[index].push(servers[index].1.load(how, "create", work)?);
        }
    }
    let mut costs = [0.0; 2];
    for (((name, server), rates), cost) in servers.into_iter().zip(rates).zip(&mut costs) {
        server.stop()?;
        *cost = rates.iter().map(|rate| rate.cpu.as_secs_f64()).sum();
        rates.into_iter().for_each(|rate| figures.load(name, how.word(), rate));
    }
    let [bare, guarded] = costs;
    figures.add(name::SECURITY, how.word(), "%", (guarded / bare - 1.0) * 100.0);
    Ok(())
}

/// How long RBAC takes to decide, in this process: of who may, and of who may not, which is asked twice.
fn decisions(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = ApiServer::in_memory().await?;
        bind(&server).await?;
        let registry = server.registry();
        let rbac: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Rbac::new())];
        let authorization = Authorization::new(rbac, registry.cache.clone(), registry.storage.clone());
        let request = RequestInfo::Resource(ResourceRequest {
            verb: Some(Verb::Create),
            group: String::new(),
            version: "v1".into(),
            namespace: Some("default".into()),
            resource: "configmaps".into(),
            name: None,
            subresource: None,
        });
        for (what, user) in [("allowed", client()), ("refused", client_without_rights())] {
            let count = DECISIONS / divisor;
            let started = Instant::now();
            for _ in 0..count {
                let decision = authorization.decide(&user, &request, "create", "").await;
                if matches!(decision, Decision::Allow(_)) != (what == "allowed") {
                    return Err(format!("{}: {decision:?}", user.name).into());
                }
            }
            let each = started.elapsed().as_secs_f64() * 1e6 / count as f64;
            figures.add(&format!("{}, {what}", name::DECISION), "alone", "µs", each);
        }
        Ok(())
    })
}

/// The user whom one of the bindings is about.
fn client() -> User {
    User::new("user-500").group("developers")
}

fn client_without_rights() -> User {
    User::new("nobody").group("developers")
}

/// Gives `edit` in the cluster to many users and groups.
async fn bind(server: &ApiServer) -> Result<(), BoxError> {
    let group = "rbac.authorization.k8s.io";
    for index in 0..BINDINGS {
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("bench-{index}")},
            "subjects": [
                {"apiGroup": group, "kind": "User", "name": format!("user-{index}")},
                {"apiGroup": group, "kind": "Group", "name": format!("group-{index}")},
            ],
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        });
        post(server, &format!("/apis/{group}/v1/clusterrolebindings"), binding).await?;
    }
    Ok(())
}

/// Runs the server that does everything, until standard input ends.
pub(crate) fn guarded(directory: &Path, log: &Path) -> Result<(), BoxError> {
    run(async {
        let authority = Authority::new(Clock::system().now())?;
        let server = ApiServer::builder(MemoryStorage::new())
            .authenticator(ClientCertificates::new(authority.certificate(), Clock::system())?)
            .audit(Audit::new(Policy::from_yaml(POLICY)?, AuditFile::open(log)?))
            .start()
            .await?;
        bind(&server).await?;
        listen(&server, &authority, directory, (&client(), None)).await
    })
}

/// Runs the server that does nothing of it, until standard input ends.
pub(crate) fn bare(directory: &Path) -> Result<(), BoxError> {
    run(async {
        let authority = Authority::new(Clock::system().now())?;
        let server = ApiServer::builder(MemoryStorage::new())
            .authenticator(Anybody)
            .authorizer(Anything)
            .without_admission()
            .without_fairness()
            .start()
            .await?;
        bind(&server).await?;
        listen(&server, &authority, directory, (&client(), None)).await
    })
}

/// Takes everybody for the same user.
#[derive(Debug)]
struct Anybody;

#[async_trait]
impl Authenticator for Anybody {
    async fn authenticate(&self, _: &Parts) -> Result<Option<User>, String> {
        Ok(Some(client()))
    }
}

/// Allows everything.
#[derive(Debug)]
struct Anything;

#[async_trait]
impl Authorizer for Anything {
    async fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::Allow(Arc::default())
    }
}
