//! Running pods on one node: the trait that the node agent drives.
//!
//! Start at [`Runtime`]. Implement it, then prove the implementation with
//! [`runtime_suite!`](crate::runtime_suite). The defaults (processes of the host, Docker, simulated) live in `agent`.
//!
//! What a runtime does beyond running (finding images, reading logs) is a trait of its own, [`Images`] and [`Logs`], that
//! it hands out if it can. What a pod asks of Kubernetes (volumes, probes, restarts, environment from other objects) is
//! worked out by the agent: a runtime sees host paths, plain values and one attempt after the other.

mod images;
mod logs;
mod status;
mod types;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::component::BoxError;
pub use crate::protocol::Protocol;
pub use images::{Credentials, Image, Images};
pub use logs::{LogChunks, LogOptions, Logs};
pub use status::{
    ContainerState, ContainerStatus, Event, EventKind, Exit, ExitReason, Machine, MountSupport,
    NoPortMapping, PORT_MAP_CONDITION, PORT_MAP_SEPARATOR, PodState, PodStatus, PortMapping, RuntimeInfo,
    Started,
};
pub use types::{
    Capabilities, ContainerKey, ContainerSpec, Dns, Mount, PodPort, PodSandbox, PodUid, Resources, Seccomp,
    Security,
};

/// What happens to containers, as [`Runtime::events`] yields it. Ends with an error, or never.
pub type Events = BoxStream<'static, Result<Event, RuntimeError>>;

/// The pods and containers of one node.
///
/// A pod is a sandbox (network, name) that containers are started in. A container is started in attempts, which the
/// caller numbers: a [`ContainerKey`] names one attempt of one container of one pod.
///
/// # Contract
///
/// 1. **Starting is idempotent.** `start_pod` of a pod that is ready, and `start_container` of an attempt that is held,
///    whether it runs or has ended, start nothing and return what is there.
/// 2. **Pods have addresses.** A ready pod that is not on the host's network has at least one address, and no two ready
///    pods of the runtime share one. The address stays while the pod is ready.
/// 3. **Containers need their pod.** `start_container` in a pod that is not held, or not ready, is
///    [`RuntimeError::PodNotRunning`].
/// 4. **One attempt at a time.** While an attempt of a container runs, and after a later one was started, starting another
///    is [`RuntimeError::Conflict`] and changes nothing.
/// 5. **What it cannot do it refuses.** A sandbox or container that asks for something that the runtime cannot give is
///    [`RuntimeError::Unsupported`], and nothing is started or held of it. It is never started without.
/// 6. **Ends are told as they were.** An exit is in `pods`, and is the same there as in the event, with the code
///    that the program returned. A code that was lost is `None`, never a guess.
/// 7. **A stop stops.** When `stop_container` returns, the attempt does not run. It is asked to end (SIGTERM) at
///    once, and ended by force (SIGKILL) when it has not ended after the grace period, not earlier. Of two stops at a time the
///    shorter grace wins. Stopping what has ended, or is not held, succeeds.
/// 8. **Removal is whole.** `remove_pod` ends what runs, without grace, and gives back everything that the runtime
///    holds of the pod. Removing what is not held succeeds. A pod started later under the same uid is a new one.
/// 9. **The last dead attempt stays.** The newest ended attempt of each container is listed by `pods`, and its logs
///    are readable, until a later attempt has ended or the pod is removed. Older ones are gone.
/// 10. **Events have no gap.** A stream yields each start and end that happens after `events` returned, in order
///     per container, or ends with [`RuntimeError::Missed`] when its reader fell behind by more than a bound of the
///     implementation, or the source was interrupted. Then: open another, and read `pods`.
/// 11. **Pods outlive the value.** Dropping the runtime ends nothing. A new value over the same place lists the pods and
///     containers that are still there with the same ids and start times, restarts none of them, and sees them end.
/// 12. **A dropped future abandons the wait.** What had begun is finished, or undone, or listed by `pods`, continued when the call is
///     made again, and gone after `remove_pod`.
///
/// Calls for one pod come one after the other; calls for different pods at once. A `stop_container` may come while another
/// one waits.
#[async_trait]
pub trait Runtime: Debug + Send + Sync + 'static {
    /// Returns what the runtime is and what the machine that it runs pods on has.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unavailable`]: the node is not ready.
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError>;

    /// Returns every pod that is held, ordered by uid, with its containers, ordered by name and attempt.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unavailable`].
    async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError>;

    /// Makes a pod's sandbox: network, host ports, host name. A pod that was lost gets a new sandbox; its containers
    /// have ended.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unsupported`]; [`RuntimeError::Exhausted`] if a host port is taken or there is no address left.
    async fn start_pod(&self, pod: &PodSandbox) -> Result<PodStatus, RuntimeError>;

    /// Starts an attempt of a container and returns when it runs.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unsupported`], [`RuntimeError::PodNotRunning`], [`RuntimeError::Conflict`];
    /// [`RuntimeError::ImageMissing`] if the image must be pulled first; [`RuntimeError::CannotRun`] if there is
    /// no such program or the like. After an error nothing of the attempt runs, and its number may be used again.
    async fn start_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<Started, RuntimeError>;

    /// Ends an attempt of a container and returns when it has ended.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unavailable`].
    async fn stop_container(&self, container: &ContainerKey, grace: Duration) -> Result<(), RuntimeError>;

    /// Removes a pod: its containers, running or not, their logs, its network, everything.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unavailable`]: what is left is still listed by `pods`; call again.
    async fn remove_pod(&self, pod: &PodUid) -> Result<(), RuntimeError>;

    /// Streams what happens to containers from now on.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unavailable`].
    async fn events(&self) -> Result<Events, RuntimeError>;

    /// Returns access to images, if the runtime has such a thing. Without, containers start whatever their image says.
    fn images(&self) -> Option<&dyn Images> {
        None
    }

    /// Returns access to logs, if the runtime keeps them.
    fn logs(&self) -> Option<&dyn Logs> {
        None
    }

    /// Ends what the runtime does in the background and gives back what it holds besides pods, such as an empty bridge.
    /// Pods go on running (clause 11); a caller that wants them gone removes them first.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unavailable`].
    async fn close(&self) -> Result<(), RuntimeError> {
        Ok(())
    }
}

const _: Option<&dyn Runtime> = None; // object safety is API: losing it must not compile

/// Why a call to a runtime failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime cannot do what was asked, and did nothing. Tell the user; asking again gives the same answer.
    #[error("not supported by this runtime: {what}")]
    Unsupported {
        /// What it cannot do, and what to do instead, for the user.
        what: String,
    },
    /// The pod is not held or its sandbox was lost. Start the pod first.
    #[error("pod {0} is not running")]
    PodNotRunning(PodUid),
    /// Another attempt of the container is in the way. Read `pods` and decide again.
    #[error("cannot start {container}: attempt {held} of it is held")]
    Conflict {
        /// The attempt that was to be started.
        container: ContainerKey,
        /// The attempt that runs, or is newer.
        held: u32,
    },
    /// No such container is held, so it has no logs either.
    #[error("container {0} is not held")]
    ContainerNotFound(ContainerKey),
    /// The image is not there. Pull it.
    #[error("image {0:?} is not present")]
    ImageMissing(String),
    /// The image could not be pulled. Tell the user, and try again later.
    #[error("cannot pull image {image:?}")]
    PullFailed {
        /// The image.
        image: String,
        /// What the registry or the engine said.
        #[source]
        source: BoxError,
    },
    /// The container was made but its program could not be run. Counts as an attempt that failed at once.
    #[error("cannot run {container}: {message}")]
    CannotRun {
        /// The attempt.
        container: ContainerKey,
        /// Why, for the user.
        message: String,
    },
    /// Something that the pod needs is taken: a host port, an address. Tell the user, and try again later.
    #[error("exhausted: {what}")]
    Exhausted {
        /// What is taken, for the user.
        what: String,
    },
    /// Events were missed. Open another stream, and read `pods`.
    #[error("events were missed")]
    Missed,
    /// The runtime failed in a way that the caller can only wait out. What was asked may have happened.
    #[error("the runtime is unavailable")]
    Unavailable(#[source] BoxError),
}

impl RuntimeError {
    /// Says that the runtime cannot do `what`.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    /// Says that the runtime failed because of `source`.
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::Unavailable(source.into())
    }
}
