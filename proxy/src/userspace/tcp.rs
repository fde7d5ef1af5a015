//! Serves a local port of TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::dial::{DialError, dial};
use super::portal::{Phase, Phases, Target};
use super::{relay, socket};

/// How long to wait when the machine has no room for another connection: at first, and at most.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Takes connections until the local port closes, then waits for those that exist, within the time that is set for that.
pub(super) async fn serve(listener: TcpListener, target: Arc<Target>, mut phases: Phases) {
    let mut connections = JoinSet::new();
    tokio::select! {
        biased;
        () = phases.reached(Phase::Draining) => {}
        () = accept(&listener, &target, &mut connections) => {}
    }
    drop(listener);

    let drained = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        biased;
        () = phases.reached(Phase::Closed) => {}
        () = drained => {}
        () = tokio::time::sleep(target.shared.settings.drain) => {}
    }
    connections.shutdown().await;
}

async fn accept(listener: &TcpListener, target: &Arc<Target>, connections: &mut JoinSet<()>) {
    let mut pause = PAUSE;
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, client)) => {
                pause = PAUSE;
                // When there are too many connections, others wait here and in the backlog.
                let Ok(permit) = target.shared.permits.clone().acquire_owned().await else { return };
                connections.spawn(connection(stream, client, target.clone(), permit));
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::warn!(service = ?target.service, %error, "cannot accept connections, waiting");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Says whether an error concerns a connection that ended before it was accepted, and not the listener.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    target: Arc<Target>,
    _permit: OwnedSemaphorePermit,
) {
    let (backend, _pick) = match dial(&target, client).await {
        Ok(dialled) => dialled,
        Err(error) => {
            relay::reset(&stream);
            return log(&target, client, &error);
        }
    };
    let tuned = socket::tune(&stream).and_then(|()| socket::tune(&backend));
    let end = match tuned {
        Ok(()) => relay::relay(&stream, &backend, &target.shared.buffers).await,
        Err(error) => Err(error),
    };
    if let Err(error) = end {
        tracing::debug!(service = ?target.service, %client, %error, "connection broke");
    }
}

fn log(target: &Target, client: SocketAddr, error: &DialError) {
    match error {
        DialError::None => tracing::debug!(service = ?target.service, %client, "{error}"),
        DialError::Unreachable { last, .. } => {
            tracing::warn!(service = ?target.service, %client, cause = %last, "{error}");
        }
    }
}
