//! A watch over a WebSocket: each event is a message.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::negotiate::Encoding;
use crate::websocket::Socket;

/// How long after a watch's time a message to a client that does not read may wait, and how long a client may take to say goodbye.
const GRACE: Duration = Duration::from_secs(10);

/// Sends all of a watch, which lasts no longer than `life`, and says goodbye. Ends as soon as the client does.
pub(super) async fn serve(
    mut socket: Socket,
    pieces: BoxStream<'static, Bytes>,
    encoding: Encoding,
    life: Duration,
) {
    match timeout(life.saturating_add(GRACE), send(&mut socket, pieces, encoding)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::debug!(%error, "a watch over a WebSocket ended"),
        Err(_) => return tracing::debug!("a watch over a WebSocket ended: its client does not read"),
    }
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    let farewell = async {
        // If the client said goodbye first, this answers it.
        let _ = socket.close(Some(goodbye)).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(GRACE, farewell).await;
}

async fn send(
    socket: &mut Socket,
    mut pieces: BoxStream<'static, Bytes>,
    encoding: Encoding,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            biased;
            heard = socket.next() => match heard.transpose()? {
                None | Some(Message::Close(_)) => return Ok(()),
                // A ping is answered before the next one is read: answers do not pile up.
                Some(_) => socket.flush().await?,
            },
            piece = pieces.next() => {
                let Some(mut piece) = piece else { return Ok(()) };
                while let Some(message) = next_message(&mut piece, encoding) {
                    socket.feed(message?).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

/// Takes the next event off what a watch sends.
fn next_message(piece: &mut Bytes, encoding: Encoding) -> Option<Result<Message, Error>> {
    if encoding == Encoding::Protobuf {
        // The message has a length of its own: that of the stream is not sent.
        let length = u32::from_be_bytes(*piece.first_chunk::<4>()?) as usize;
        let rest = piece.split_off((4 + length).min(piece.len()));
        let message = std::mem::replace(piece, rest).slice(4..);
        return Some(Ok(Message::Binary(message)));
    }
    let end = piece.iter().position(|byte| *byte == b'\n').map_or(piece.len(), |at| at + 1);
    let line = piece.split_to(end);
    if line.is_empty() {
        return None;
    }
    Some(Utf8Bytes::try_from(line).map(Message::Text).map_err(|error| Error::Utf8(error.to_string())))
}
