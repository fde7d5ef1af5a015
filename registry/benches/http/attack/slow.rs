//! Connections that take all the time in the world.

use std::time::Duration;

use quarterdeck_core::component::BoxError;
use tokio::io::AsyncWriteExt as _;

use crate::access::{How, Stream};
use crate::figures::Figures;
use crate::load::Work;
use crate::objects::MAPS;
use crate::process::Child;

/// How much more memory a server may hold while they are open, in KiB: what a reader's connection has to hold is a piece of its
/// list and what HTTP buffers.
const MORE: f64 = 256.0 * 1024.0;
/// How long another client's request may take beside them.
const LATE: Duration = Duration::from_secs(1);

/// Opens so many: a third sends heads byte by byte, a third bodies, and a third reads no list.
pub(super) fn slow(server: &Child, figures: &mut Figures, count: usize) -> Result<(), BoxError> {
    let before = server.resident()?;
    let dialer = server.access(How::Certificate).dialer(b"http/1.1")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let held = runtime.block_on(async {
        let mut held = Vec::with_capacity(count);
        for index in 0..count {
            let mut stream = dialer.dial().await?;
            stream.write_all(begin(index).as_bytes()).await?;
            stream.flush().await?;
            held.push(stream);
        }
        Ok::<_, BoxError>(held)
    })?;
    let more = server.resident()? - before;
    figures.memory("slow connections: more resident while they are open", "attack", more.max(0.0));
    if more > MORE {
        return Err(format!("the server holds {more:.0} KiB more").into());
    }
    let trickle = runtime.spawn(trickle(held));
    let rate = server.load(How::Certificate, "get", Work::new(2000, 4))?;
    figures.times("GETs beside slow connections", "attack", rate);
    trickle.abort();
    // What was open is closed before it is looked at what is left.
    let _ = runtime.block_on(trickle);
    if rate.p99 > LATE {
        return Err(format!("p99 of another client was {:?}", rate.p99).into());
    }
    Ok(())
}

/// How a connection begins.
fn begin(index: usize) -> String {
    match index % 3 {
        0 => "GET /version HTTP/1.1\r\nhost: localhost\r\nx: ".to_owned(),
        1 => format!(
            "POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{{"
        ),
        _ => format!("GET {MAPS} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    }
}

/// Sends another byte on every connection that sends, again and again. Those that the server closed are left.
async fn trickle(mut held: Vec<Stream>) {
    let mut every = tokio::time::interval(Duration::from_millis(200));
    loop {
        every.tick().await;
        for (index, stream) in held.iter_mut().enumerate() {
            if index % 3 != 2 {
                let _ = stream.write_all(b" ").await;
                let _ = stream.flush().await;
            }
        }
    }
}
