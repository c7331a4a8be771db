//! A message that is sent in pieces.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_sink::Sink;
use tautline_frame::session::{Error, Listener, Progress, Session};
use tautline_frame::{Compress, Kind};
use tokio::io::AsyncWrite;

use crate::futures::Transmit;
use crate::timer::now;

/// How much one `write` takes: as much as a fragment.
const WRITE: usize = 64 << 10;

/// A message that is sent in pieces, as [`message_writer`](crate::WebSocket::message_writer)
/// returns it: as an [`AsyncWrite`], or as a [`Sink`] of [`Bytes`], which are sent without a copy
/// if they are long. [`finish`](Self::finish) completes the message.
///
/// What is written is collected up to 64 KiB and goes out as a fragment then, or when it is
/// flushed. With [`Config::fragment_size`](crate::Config::fragment_size) set, fragments are no
/// longer than that. Text is checked (RFC 6455 section 8.1): a piece may end in the middle of a
/// character, but a wrong byte is an error, and its piece is not sent. Where compression was agreed
/// on, the message is compressed as it is written, if that seems worth it: see
/// [`compress`](Self::compress).
///
/// While it is open, writers of the same connection wait. Pings and pongs pass between its
/// fragments.
///
/// If it is dropped before it is finished, the connection fails with 1011: the peer must not take a
/// half of the message for the whole. [`abort`](Self::abort) does the same by name. A message of
/// which nothing was written is dropped without that.
///
/// # Cancel safety
/// Dropping the future of a write loses nothing that it reported as written. After a cancelled
/// [`finish`](Self::finish) the message is complete, or the connection fails.
#[must_use = "a message that is not finished fails the connection"]
pub struct MessageWriter<'a, C> {
    to: &'a mut C,
    kind: Kind,
    compress: Compress,
    state: State,
    /// Gives it up. A function pointer, because `Drop` does not know the bounds of `C`.
    abort: fn(&mut C),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// It waits for its turn among those that send.
    New,
    Open,
    Finished,
}

impl<C> fmt::Debug for MessageWriter<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageWriter")
            .field("kind", &self.kind)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<C> Drop for MessageWriter<'_, C> {
    fn drop(&mut self) {
        if self.state == State::Open {
            (self.abort)(self.to);
        }
    }
}

impl<C> MessageWriter<'_, C> {
    /// Whether to compress the message, where that was agreed on. By default
    /// ([`Compress::Auto`]) it is compressed unless its first bytes look compressed already. To be
    /// called before the first write.
    pub fn compress(mut self, compress: Compress) -> Self {
        self.compress = compress;
        self
    }
}

#[expect(private_bounds, reason = "`C` is `WebSocket` or `Writer`")]
impl<'a, C: Transmit> MessageWriter<'a, C> {
    pub(crate) fn new(to: &'a mut C, kind: Kind) -> Self {
        let abort = |to: &mut C| to.change(|session| session.abort_message(now()));
        Self { to, kind, compress: Compress::Auto, state: State::New, abort }
    }

    /// Completes the message and writes everything that is queued.
    ///
    /// # Errors
    /// [`Error::Utf8`] if it is a text and ends in the middle of a character; the connection fails
    /// then, as if it had been dropped. Otherwise why the connection failed.
    pub async fn finish(mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// Sends what was written so far as a fragment, and writes everything that is queued. Cancel
    /// safe.
    ///
    /// # Errors
    /// Why the connection failed.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush_all(cx)).await
    }

    /// Gives the message up. If anything of it was written, the connection fails with 1011.
    pub fn abort(self) {}

    /// Waits for room for `act`, and begins the message before it if necessary.
    fn poll_act<T>(
        &mut self,
        cx: &Context<'_>,
        mut act: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        let Self { to, kind, compress, state, .. } = self;
        if *state == State::Finished {
            // The message that is open now, if any, is another's.
            return Poll::Ready(Err(Error::Unfinished));
        }
        to.poll_session(None, cx, |session, listener| {
            if *state == State::New {
                match poll_begin(session, listener, *kind, *compress) {
                    Progress::Done(Ok(())) => *state = State::Open,
                    Progress::Done(Err(error)) => return Progress::Done(Err(error)),
                    Progress::Needs(interest) => return Progress::Needs(interest),
                }
            }
            match session.poll_writable() {
                Progress::Done(Ok(())) => Progress::Done(act(session)),
                Progress::Done(Err(error)) => Progress::Done(Err(error)),
                Progress::Needs(interest) => Progress::Needs(interest),
            }
        })
    }

    fn poll_finish(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        if self.state != State::Finished {
            ready!(self.poll_act(cx, Session::finish_message))?;
            self.state = State::Finished;
        }
        self.to.poll_written(cx)
    }

    fn poll_flush_all(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        if self.state == State::Open {
            ready!(self.poll_act(cx, |session| {
                session.flush_message();
                Ok(())
            }))?;
        }
        self.to.poll_written(cx)
    }
}

/// The message begins in the same step in which there is room, or another writer could begin one in
/// between.
fn poll_begin(
    session: &mut Session,
    listener: Listener,
    kind: Kind,
    compress: Compress,
) -> Progress<Result<(), Error>> {
    match session.poll_room(listener, now) {
        Progress::Done(Ok(())) => Progress::Done(session.begin_message(kind, compress)),
        other => other,
    }
}

impl<C: Transmit> AsyncWrite for MessageWriter<'_, C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = &buffer[..buffer.len().min(WRITE)];
        ready!(self.poll_act(cx, |session| session.write_message(taken)))?;
        Poll::Ready(Ok(taken.len()))
    }

    /// What was written goes out as a fragment.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_all(cx).map_err(io::Error::from)
    }

    /// Does what [`finish`](MessageWriter::finish) does.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx).map_err(io::Error::from)
    }
}

impl<C: Transmit> Sink<Bytes> for MessageWriter<'_, C> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_act(cx, |_| Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, piece: Bytes) -> Result<(), Error> {
        if self.state != State::Open {
            return Err(Error::Unfinished);
        }
        self.get_mut().to.change(|session| session.write_message_bytes(piece))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush_all(cx)
    }

    /// Does what [`finish`](MessageWriter::finish) does.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_finish(cx)
    }
}
