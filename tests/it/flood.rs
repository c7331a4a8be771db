//! A peer that always sends more: deadlines are kept all the same.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tautline::{Compression, Config, Error, Message, Role, Timeout, WebSocket};
use tautline_frame::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest that a test waits. No passing test comes near it.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

/// The same frame again and again, within the budget of the runtime, as from a socket.
struct Flood {
    frame: Bytes,
    at: usize,
    /// Accepts nothing that is written.
    stuck: bool,
}

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(pin!(tokio::task::consume_budget()).poll(cx));
        while buffer.remaining() > 0 {
            let piece = &this.frame[this.at..];
            let count = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece[..count]);
            this.at = (this.at + count) % this.frame.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.stuck { Poll::Pending } else { Poll::Ready(Ok(bytes.len())) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn agreed() -> Compression {
    Compression::new().own_context_takeover(false).peer_context_takeover(false)
}

/// A server's connection with such a peer: plain messages of 1,000 bytes, or compressed ones of 64
/// KiB.
fn flooded(compressed: bool, stuck: bool, config: Config) -> WebSocket<Flood> {
    let mut client =
        Protocol::new(Role::Client, Config::new(), tokio::time::Instant::now().into_std());
    if compressed {
        client.set_compression(agreed());
    }
    client.send(Message::from(vec![7; if compressed { 64 << 10 } else { 1000 }])).unwrap();
    client.poll_transmit();
    let len = client.queue().remaining();
    let flood = Flood { frame: client.queue().copy_to_bytes(len), at: 0, stuck };
    let builder = WebSocket::builder(Role::Server).config(config);
    if compressed { builder.compression(agreed()) } else { builder }.build(flood)
}

// Every read that was processed to its end restarted `close_timeout`, not only the one with the
// peer's Close: a peer that kept sending delayed the end forever.
#[tokio::test]
async fn a_peer_that_goes_on_sending_does_not_hold_off_the_end_of_a_close() {
    for compressed in [false, true] {
        let mut ws = flooded(compressed, false, Config::new().close_timeout(SHORT));
        let closed = tokio::time::timeout(LONG, ws.close()).await;
        let closed = closed.expect("it ends by its deadline");
        assert!(matches!(closed, Err(Error::Timeout(Timeout::Close))), "{closed:?}");
    }
}

// A connection whose messages inflate to a lot of data yields to others before the runtime's budget
// is used up; it did so without checking its deadlines.
#[tokio::test]
async fn a_peer_that_takes_nothing_and_sends_without_end_is_given_up() {
    for compressed in [false, true] {
        let mut ws = flooded(compressed, true, Config::new().send_timeout(SHORT));
        ws.feed("x").await.unwrap();
        let given_up = async {
            loop {
                if let Err(error) = ws.next().await.expect("an error comes first") {
                    return error;
                }
            }
        };
        let error = tokio::time::timeout(LONG, given_up).await.expect("it ends by its deadline");
        assert!(matches!(error, Error::Timeout(Timeout::Send)), "{error:?}");
    }
}
