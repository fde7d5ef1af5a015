//! The members of an etcd cluster, and which of them is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::Client;
use tokio::sync::OnceCell;

use super::error::{ConnectError, Down, Failure};
use super::options::EtcdOptions;

/// All members, each with a connection of its own.
///
/// One of them is asked until it fails: so a member that hangs costs one request its time, and not every third. etcd-client's
/// own balancing would go on asking it.
#[derive(Clone)]
pub(super) struct Members(Arc<Shared>);

struct Shared {
    members: Vec<Member>,
    options: EtcdOptions,
    /// Which member is asked first.
    preferred: AtomicUsize,
}

/// One member.
struct Member {
    endpoint: String,
    client: OnceCell<Client>,
}

impl Members {
    pub(super) fn new(options: EtcdOptions) -> Result<Self, ConnectError> {
        let member = |endpoint| Member { endpoint, client: OnceCell::new() };
        let members = options.checked_endpoints()?.into_iter().map(member).collect();
        Ok(Self(Arc::new(Shared { members, options, preferred: AtomicUsize::new(0) })))
    }

    /// Returns the members' addresses.
    pub(super) fn endpoints(&self) -> String {
        let endpoints: Vec<_> = self.0.members.iter().map(|member| member.endpoint.as_str()).collect();
        endpoints.join(", ")
    }

    /// Returns how long a request may take.
    pub(super) fn request_timeout(&self) -> Duration {
        self.0.options.request_timeout
    }

    /// Asks one member after the other until one answers. What is asked may be carried out more than once.
    pub(super) async fn read<T, F>(&self, ask: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let members = u32::try_from(self.0.members.len()).unwrap_or(u32::MAX);
        self.ask(self.request_timeout() / members, |_| true, ask).await
    }

    /// Asks a member. The next one is asked only if it is sure that nothing happened.
    pub(super) async fn write<T, F>(&self, ask: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.ask(self.request_timeout(), |down| !down.may_have_happened, ask).await
    }

    async fn ask<T, F>(
        &self,
        limit: Duration,
        may_ask_again: impl Fn(&Down) -> bool,
        ask: impl Fn(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let first = self.preferred();
        let mut index = first;
        loop {
            let member = &self.0.members[index];
            let answer = in_time(&member.endpoint, limit, async { ask(self.client(member).await?).await });
            let down = match answer.await {
                Err(Failure::Down(down)) => down,
                answer => return answer,
            };
            // Whoever comes next asks somebody else.
            let next = self.after(index);
            let _ = self.0.preferred.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
            index = next;
            if index == first || !may_ask_again(&down) {
                return Err(Failure::Down(down));
            }
        }
    }

    /// Returns the member that is asked first.
    pub(super) fn preferred(&self) -> usize {
        self.0.preferred.load(Ordering::Relaxed)
    }

    /// Returns the member behind this one.
    pub(super) fn after(&self, index: usize) -> usize {
        (index + 1) % self.0.members.len()
    }

    /// Makes a connection of its own to a member, has it do something, and says what became of it.
    pub(super) async fn with_own_connection<T, F>(
        &self,
        index: usize,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let endpoint = &self.0.members[index].endpoint;
        in_time(endpoint, self.request_timeout(), async { ask(self.connect(endpoint).await?).await }).await
    }

    /// Returns a member's address.
    pub(super) fn endpoint(&self, index: usize) -> &str {
        &self.0.members[index].endpoint
    }

    async fn client(&self, member: &Member) -> Result<Client, etcd_client::Error> {
        member.client.get_or_try_init(|| self.connect(&member.endpoint)).await.cloned()
    }

    async fn connect(&self, endpoint: &str) -> Result<Client, etcd_client::Error> {
        Client::connect([endpoint], Some(self.0.options.client(endpoint))).await
    }
}

async fn in_time<T>(
    endpoint: &str,
    limit: Duration,
    answer: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| Failure::of(endpoint, &error)),
        Err(_) => Err(Failure::silent(endpoint, limit)),
    }
}
