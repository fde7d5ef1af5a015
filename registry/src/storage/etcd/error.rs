//! What goes wrong with etcd, and what that means.

use std::error::Error;
use std::io;
use std::time::Duration;

use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::StorageError;

use crate::status::chain;

/// gRPC's codes, as far as they decide something.
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const OUT_OF_RANGE: i32 = 11;
const UNAUTHENTICATED: i32 = 16;

/// Why [`EtcdStorage`](super::EtcdStorage) could not be connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No member was named.
    #[error("no etcd member is named: give at least one, such as https://127.0.0.1:2379")]
    NoEndpoints,
    /// The address of a member makes no sense.
    #[error("the etcd member {endpoint:?} {why}: write it like https://127.0.0.1:2379")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The cluster does not let the user in, or not where it has to be.
    #[error(
        "etcd refuses the user: check name, password and certificate, and that its role reads and writes the keys"
    )]
    Refused(#[source] BoxError),
    /// No member answers, or the cluster has no leader.
    #[error("no etcd member answers at {endpoints}: check that etcd runs there, and the certificates")]
    Unreachable {
        /// The members that were asked.
        endpoints: String,
        /// What became of the last attempt.
        source: BoxError,
    },
}

/// Why a request to etcd failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The revision asked for is gone.
    Compacted,
    /// The revision asked for is still to come.
    Future,
    /// The answer is larger than what is read at once.
    AnswerTooLarge,
    /// etcd will never take such a request.
    Invalid(String),
    /// etcd's space is used up.
    Full(BoxError),
    /// The user may not do it.
    Refused(BoxError),
    /// There was no good answer.
    Down(Down),
}

/// A request that got no good answer.
#[derive(Debug)]
pub(super) struct Down {
    /// Whether the request may have been carried out.
    pub may_have_happened: bool,
    pub source: BoxError,
}

/// What a member had to say, or did not say in time.
#[derive(Debug, thiserror::Error)]
enum MemberError {
    #[error("{endpoint} did not answer within {limit:?}")]
    Silent { endpoint: String, limit: Duration },
    #[error("{endpoint}: {what}")]
    Said { endpoint: String, what: String },
}

impl Failure {
    /// A member did not answer in time.
    pub(super) fn silent(endpoint: &str, limit: Duration) -> Self {
        let source = MemberError::Silent { endpoint: endpoint.to_owned(), limit };
        Self::Down(Down { may_have_happened: true, source: source.into() })
    }

    /// A member answered what makes no sense, or ended the conversation.
    pub(super) fn said(endpoint: &str, what: &str) -> Self {
        let source = MemberError::Said { endpoint: endpoint.to_owned(), what: what.to_owned() };
        Self::Down(Down { may_have_happened: true, source: source.into() })
    }

    /// Tells what an error of the client means.
    pub(super) fn of(endpoint: &str, error: &etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = error else {
            return Self::said(endpoint, &chain(error));
        };
        let (code, message) = (i32::from(status.code()), status.message());
        let said = || -> BoxError {
            let mut what = message.to_owned();
            if let Some(source) = status.source() {
                what = format!("{what}: {}", chain(source));
            }
            MemberError::Said { endpoint: endpoint.to_owned(), what }.into()
        };
        // "compacted", "future" and "too large" come under the same code.
        match code {
            OUT_OF_RANGE if message.contains("has been compacted") => Self::Compacted,
            OUT_OF_RANGE if message.contains("future revision") => Self::Future,
            OUT_OF_RANGE if message.contains("message length too large") => Self::AnswerTooLarge,
            RESOURCE_EXHAUSTED if message.contains("database space exceeded") => Self::Full(said()),
            RESOURCE_EXHAUSTED if message.contains("larger than max") => Self::too_large(),
            INVALID_ARGUMENT if message.contains("request is too large") => Self::too_large(),
            INVALID_ARGUMENT if message.contains("too many operations") => Self::Invalid(
                "it has more conditions or writes than etcd takes at once (--max-txn-ops)".to_owned(),
            ),
            INVALID_ARGUMENT if message.contains("key is not provided") => {
                Self::Invalid("a key is empty".to_owned())
            }
            PERMISSION_DENIED | UNAUTHENTICATED => Self::Refused(said()),
            INVALID_ARGUMENT if message.contains("user name is empty") => Self::Refused(said()),
            INVALID_ARGUMENT if message.contains("authentication failed") => Self::Refused(said()),
            _ => Self::Down(Down { may_have_happened: !was_never_sent(status), source: said() }),
        }
    }

    fn too_large() -> Self {
        Self::Invalid("it is larger than what etcd takes at once (--max-request-bytes)".to_owned())
    }
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid(why) => Self::Invalid(why),
            Failure::Full(source) => Self::Full(source),
            Failure::Refused(source) | Failure::Down(Down { source, .. }) => Self::Unavailable(source),
            Failure::AnswerTooLarge => {
                Self::Unavailable("a single value is larger than what is read at once".into())
            }
            Failure::Compacted | Failure::Future => {
                Self::Unavailable("etcd does not know a revision that it named itself".into())
            }
        }
    }
}

/// Returns whether a request failed before it left, because there was nobody to send it to.
fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if let Some(
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable,
        ) = kind
        {
            return true;
        }
        next = error.source();
    }
    false
}
