//! Copies between two connections, both ways, until both ways have ended.

use std::io;
use std::net::Shutdown;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::buffers::Buffers;

/// Copies both ways. The end of one way is passed on and leaves the other way open; an error ends both, and is passed on as a
/// reset.
pub(super) async fn relay(client: &TcpStream, backend: &TcpStream, buffers: &Buffers) -> io::Result<()> {
    let end = tokio::try_join!(copy(client, backend, buffers), copy(backend, client, buffers));
    if end.is_err() {
        reset(client);
        reset(backend);
    }
    end.map(|_| ())
}

/// Makes dropping `stream` tell the other side that something went wrong.
pub(super) fn reset(stream: &TcpStream) {
    // A connection that is gone already cannot be told anything.
    let _ = stream.set_zero_linger();
}

async fn copy(from: &TcpStream, to: &TcpStream, buffers: &Buffers) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut buffer = buffers.take();
        loop {
            match from.try_read(&mut buffer) {
                Ok(0) => return end(to),
                Ok(read) => write_all(to, &buffer[..read]).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // Two fast peers would never wait for each other, and nobody else would get a turn.
            tokio::task::consume_budget().await;
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn end(to: &TcpStream) -> io::Result<()> {
    match SockRef::from(to).shutdown(Shutdown::Write) {
        // It was reset meanwhile, which the other way notices.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        end => end,
    }
}
