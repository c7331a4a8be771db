//! A message that is received in pieces.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_core::{FusedStream, Stream};
use tautline_frame::session::Error;
use tautline_frame::{Kind, Message};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use crate::futures::Receive;
use crate::timer::now;

/// A message that is received in pieces, as [`next_message`](crate::WebSocket::next_message)
/// returns it: as an [`AsyncRead`] and [`AsyncBufRead`], or as a [`Stream`] of [`Bytes`]. The
/// pieces follow what arrives, whatever the frames of the peer. Nothing is kept: a peer that sends
/// faster than you read is slowed down by its own connection.
///
/// Text is checked as it arrives (RFC 6455 section 8.1), and the first wrong byte is an error; a
/// piece may end in the middle of a character. A compressed message is inflated as it arrives.
/// While you wait for a piece, pings are answered, as in [`next`](crate::WebSocket::next).
///
/// The end of the message is the end of the reader. If the connection ends first, that is an error,
/// also if the peer closed it in order ([`Error::Unfinished`]): half a message is never taken for a
/// whole one. The error is repeated by further reads; it is not returned again by the connection.
///
/// If it is dropped before the end, the rest of the message is skipped, as it arrives, by the next
/// call that receives.
///
/// # Cancel safety
/// A piece that was not returned comes next, whatever was dropped.
///
/// ```
/// use futures_util::StreamExt;
/// use tautline::{Kind, Role, WebSocket};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (near, far) = tokio::io::duplex(1024);
/// # let mut peer = WebSocket::builder(Role::Client).build(near);
/// # let mut ws = WebSocket::builder(Role::Server).build(far);
/// # tokio::spawn(async move { peer.send("x".repeat(5000)).await?; peer.send("short").await });
/// let mut message = ws.next_message().await?.expect("a message");
/// assert_eq!(message.kind(), Kind::Text);
/// let mut length = 0;
/// while let Some(piece) = message.next().await {
///     length += piece?.len();
/// }
/// assert_eq!(length, 5000);
/// drop(message);
///
/// // As a whole after all, up to a limit.
/// let message = ws.next_message().await?.expect("a message");
/// assert_eq!(message.into_message(1024).await?.as_text(), Some("short"));
/// # Ok(())
/// # }
/// ```
#[must_use = "a message that is not read is skipped"]
pub struct MessageReader<'a, C> {
    from: &'a mut C,
    kind: Kind,
    /// What has arrived and was not read.
    piece: Bytes,
    /// What `read_to_end` has read so far.
    collected: Vec<u8>,
    state: State,
    /// Skips the rest. A function pointer, because `Drop` does not know the bounds of `C`.
    skip: fn(&mut C),
}

#[derive(Debug)]
enum State {
    Open,
    Ended,
    Failed(Error),
}

impl<C> fmt::Debug for MessageReader<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("kind", &self.kind)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<C> Drop for MessageReader<'_, C> {
    fn drop(&mut self) {
        if matches!(self.state, State::Open) {
            (self.skip)(self.from);
        }
    }
}

impl<C> MessageReader<'_, C> {
    /// Whether the message is text or binary.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

#[expect(private_bounds, reason = "`C` is `WebSocket` or `Reader`")]
impl<'a, C: Receive> MessageReader<'a, C> {
    pub(crate) async fn start(from: &'a mut C) -> Result<Option<Self>, Error> {
        let start = |cx: &mut Context<'_>| from.poll_reading(cx, |session| session.poll_start(now));
        let kind = match poll_fn(start).await {
            Some(kind) => kind?,
            None => return Ok(None),
        };
        let (piece, collected, state) = (Bytes::new(), Vec::new(), State::Open);
        Ok(Some(Self { from, kind, piece, collected, state, skip: C::skip_message }))
    }

    /// Waits until there is something in `piece`; false at the end.
    fn poll_piece(&mut self, cx: &Context<'_>) -> Poll<Result<bool, Error>> {
        if !self.piece.is_empty() {
            return Poll::Ready(Ok(true));
        }
        match &self.state {
            State::Open => {}
            State::Ended => return Poll::Ready(Ok(false)),
            State::Failed(error) => return Poll::Ready(Err(error.clone())),
        }
        Poll::Ready(match ready!(self.from.poll_reading(cx, |session| session.poll_piece(now))) {
            Ok(Some(piece)) => {
                self.piece = piece;
                Ok(true)
            }
            Ok(None) => {
                self.state = State::Ended;
                Ok(false)
            }
            Err(error) => {
                self.state = State::Failed(error.clone());
                Err(error)
            }
        })
    }

    /// Reads the rest of the message, up to a limit in bytes, inclusive. Cancel safe: calling it again
    /// continues, and returns all of it.
    ///
    /// # Errors
    /// [`Error::TooLong`] if there is more: the connection is open, and the message is skipped when
    /// this is dropped. Otherwise why the connection ended.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Bytes, Error> {
        while poll_fn(|cx| self.poll_piece(cx)).await? {
            if self.piece.len() > limit.saturating_sub(self.collected.len()) {
                return Err(Error::TooLong { limit });
            }
            self.collected.extend_from_slice(&std::mem::take(&mut self.piece));
        }
        Ok(std::mem::take(&mut self.collected).into())
    }

    /// Reads the rest of the message, up to a limit in bytes, inclusive: the whole of it if nothing
    /// was read before. If the future is dropped, so is the message, and the connection goes on with
    /// the next one.
    ///
    /// # Errors
    /// As [`read_to_end`](Self::read_to_end); [`Error::Utf8`] if what was read before ended in the
    /// middle of a character.
    pub async fn into_message(mut self, limit: usize) -> Result<Message, Error> {
        let bytes = self.read_to_end(limit).await?;
        self.kind.message(bytes).ok_or(Error::Utf8)
    }
}

impl<C: Receive> Stream for MessageReader<'_, C> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_terminated() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.poll_piece(cx)) {
            Ok(true) => Some(Ok(std::mem::take(&mut self.piece))),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

impl<C: Receive> FusedStream for MessageReader<'_, C> {
    fn is_terminated(&self) -> bool {
        self.piece.is_empty() && !matches!(self.state, State::Open)
    }
}

impl<C: Receive> AsyncRead for MessageReader<'_, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0 && ready!(self.poll_piece(cx))? {
            let count = self.piece.len().min(buffer.remaining());
            buffer.put_slice(&self.piece[..count]);
            self.piece.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: Receive> AsyncBufRead for MessageReader<'_, C> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_piece(cx))?;
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.piece.advance(count);
    }
}
