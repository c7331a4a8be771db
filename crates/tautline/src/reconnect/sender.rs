//! The sender that outlives connections.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tautline_frame::Message;
use tautline_frame::session::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};

use super::event::{SendError, State};
use super::shared::{Asked, Shared, Way};
use crate::error::TryFeedError;
use crate::split::Writer;
use crate::transport::Transport;

/// Sends messages through whichever connection is open, and controls the
/// [`Reconnecting`](crate::reconnect::Reconnecting) stream that it was made by. Clones send through
/// the same one.
///
/// A message is handed to one connection at most: nothing is sent twice. What a connection was
/// handed is written even while nobody polls the stream; but only the stream opens connections.
pub struct Sender<S = Transport> {
    pub(super) shared: Arc<Shared<S>>,
}

impl<S> Clone for Sender<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<S> Sender<S> {
    /// Tries to connect now: cuts a wait short, starts an attempt over, and replaces an open
    /// connection. Delays start over too. Call it when the system tells of a new network, or a user
    /// does not want to wait.
    ///
    /// A connection that is replaced is sent a Close with 1001, and not waited for. Messages that
    /// were received and not returned by the stream are discarded, so that resuming brings them
    /// again.
    pub fn reconnect_now(&self) {
        self.shared.ask(Asked::Reconnect);
    }

    /// Closes the connection in order, with 1000, and opens no other. The stream returns what is
    /// received until then, and ends. It must be polled for this; dropping it closes without
    /// waiting.
    pub fn close(&self) {
        self.shared.ask(Asked::Close);
    }

    /// The state, to look at and to wait for.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// How much of [`WhileAway::Keep`](crate::reconnect::WhileAway::Keep) is taken, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.shared.kept_bytes()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// Sends a message. While a connection is open, it is handed the message, and everything that
    /// is queued is written, as [`Writer::send`] does. While there is none,
    /// [`WhileAway`](crate::reconnect::WhileAway) says what happens: it fails, waits, or the
    /// message is kept. The [`Handover`] tells which.
    ///
    /// Cancel safe: the message has been handed over (or kept) as a whole or not at all.
    ///
    /// # Errors
    /// [`SendError`]. All but [`SendError::Interrupted`] return the message: no connection was
    /// handed it.
    pub async fn send(&self, message: impl Into<Message>) -> Result<Handover, SendError> {
        let message = message.into();
        loop {
            let mut changed = pin!(self.shared.changed());
            // From here on a change is noticed, even one before the first poll.
            changed.as_mut().enable();
            let (mut writer, generation) = match self.shared.way(&message)? {
                Way::Live(writer, generation) => (writer, generation),
                Way::Kept(outcome) => return Ok(Handover(Outcome::Kept(outcome))),
                Way::Wait => {
                    changed.await;
                    continue;
                }
            };
            let room = tokio::select! {
                room = writer.ready() => room,
                () = changed => continue,
            };
            match room.map(|()| writer.try_feed(message.clone())) {
                Ok(Ok(())) => return self.written(writer, generation).await,
                // Another sender was faster.
                Ok(Err(TryFeedError::Full(_))) => {}
                // The stream has not noticed yet. The message waits for the next connection.
                Ok(Err(TryFeedError::Failed(_))) | Err(_) => {
                    self.shared.disconnected(Some(generation));
                }
            }
        }
    }

    /// Waits until everything that is queued is written.
    async fn written(&self, mut writer: Writer<S>, generation: u64) -> Result<Handover, SendError> {
        loop {
            let mut changed = pin!(self.shared.changed());
            changed.as_mut().enable();
            let replaced = !self.shared.is_current(generation);
            tokio::select! {
                biased;
                result = writer.flush() => {
                    result.map_err(SendError::Interrupted)?;
                    return Ok(Handover(Outcome::HandedOver));
                }
                () = std::future::ready(()), if replaced => {
                    return Err(SendError::Interrupted(Error::Closed));
                }
                () = changed => {}
            }
        }
    }

    /// Like [`send`](Self::send), without waiting. A message that a connection is handed is written
    /// when one that was passed to [`Writer::try_feed`] would be.
    ///
    /// # Errors
    /// [`SendError`], with the message. [`SendError::Full`] if the queue of the connection is full,
    /// and [`SendError::NotConnected`] without a connection in the mode
    /// [`WhileAway::Wait`](crate::reconnect::WhileAway::Wait).
    pub fn try_send(&self, message: impl Into<Message>) -> Result<Handover, SendError> {
        let message = message.into();
        loop {
            let (mut writer, generation) = match self.shared.way(&message)? {
                Way::Live(writer, generation) => (writer, generation),
                Way::Kept(outcome) => return Ok(Handover(Outcome::Kept(outcome))),
                Way::Wait => return Err(SendError::NotConnected(message)),
            };
            match writer.try_feed(message.clone()) {
                Ok(()) => return Ok(Handover(Outcome::HandedOver)),
                Err(TryFeedError::Full(message)) => return Err(SendError::Full(message)),
                Err(TryFeedError::Failed(_)) => self.shared.disconnected(Some(generation)),
            }
        }
    }
}

impl<S> fmt::Debug for Sender<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("state", &*self.shared.state.borrow())
            .finish_non_exhaustive()
    }
}

/// What became of a message: a connection was handed it, or it is kept for the next one. As a
/// future it is ready when a connection was handed it; dropping it changes nothing.
///
/// A connection that was handed a message may still end before the peer has received it. Only an
/// answer of the peer tells that it has.
#[derive(Debug)]
pub struct Handover(Outcome);

#[derive(Debug)]
enum Outcome {
    HandedOver,
    Kept(oneshot::Receiver<Result<(), SendError>>),
}

impl Handover {
    /// Whether a connection was handed the message. A message that is kept is handed over later,
    /// which this does not notice: await it.
    #[must_use]
    pub const fn is_handed_over(&self) -> bool {
        matches!(self.0, Outcome::HandedOver)
    }
}

impl Future for Handover {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Outcome::Kept(outcome) = &mut self.0 else { return Poll::Ready(Ok(())) };
        // Whoever takes a message out of the outbox says what became of it.
        let outcome = ready!(Pin::new(outcome).poll(cx))
            .unwrap_or(Err(SendError::Interrupted(Error::Closed)));
        self.0 = Outcome::HandedOver;
        Poll::Ready(outcome)
    }
}
