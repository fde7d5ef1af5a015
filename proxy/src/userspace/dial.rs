//! Connects a client to a backend that answers.

use std::io;
use std::net::SocketAddr;

use quarterdeck_core::balancing::{Backend, Backends, Pick};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::portal::Target;
use super::socket;

/// Why a client got no backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// There is none.
    #[error("there is no backend that is ready")]
    None,
    /// None of those that were tried could be reached.
    #[error("no backend could be reached, {tried} were tried")]
    Unreachable {
        /// How many were tried.
        tried: usize,
        /// What happened at the last one.
        #[source]
        last: io::Error,
    },
}

/// Connects to a backend, to each at most once, within the time that is set for that.
pub(super) async fn dial(target: &Target, client: SocketAddr) -> Result<(TcpStream, Pick), DialError> {
    let settings = &target.shared.settings;
    let mut offered = target.backends();
    let deadline = Instant::now() + settings.total_connect_timeout;
    let (mut tried, mut last) = (0, None);

    while let Some(pick) = target.pick(client, &offered) {
        let now = Instant::now();
        if now >= deadline {
            break;
        }
        tried += 1;
        let connect = socket::connect(target.address(pick.backend), settings.mark);
        let error = match timeout_at(deadline.min(now + settings.connect_timeout), connect).await {
            Ok(Ok(stream)) => return Ok((stream, pick)),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        tracing::debug!(service = ?target.service, backend = %pick.backend.0, %error, "backend does not answer");
        last = Some(error);
        let fewer = without(&offered, pick.backend);
        if fewer.as_slice().len() == offered.as_slice().len() {
            break; // the balancer invents backends
        }
        offered = fewer;
    }
    Err(last.map_or(DialError::None, |last| DialError::Unreachable { tried, last }))
}

fn without(backends: &Backends, failed: Backend) -> Backends {
    Backends::new(backends.as_slice().iter().copied().filter(|backend| *backend != failed))
}
