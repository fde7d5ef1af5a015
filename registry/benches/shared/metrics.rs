//! What servers count by themselves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use quarterdeck_core::component::BoxError;

/// How often a log was synced: ours, and etcd's, which counts under the same name.
pub(crate) const LOG_SYNCS: &str = "etcd_disk_wal_fsync_duration_seconds_count";
/// A server that does not answer in this time is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns what a server answers to a GET, head included.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String, BoxError> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the value of one of a server's metrics that has no labels.
pub(crate) fn counter(address: SocketAddr, name: &str) -> Result<f64, BoxError> {
    value(&get(address, "/metrics")?, name).ok_or_else(|| format!("{address} counts no {name}").into())
}

/// Returns the value of a metric that has no labels, if it is there.
pub(crate) fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
