//! What the stream of a connection that is kept open returns, and its state.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tautline_frame::Message;
use tokio::time::Instant;

use super::cause::Cause;
use crate::transport::Peer;

/// What happened to a [`Reconnecting`](crate::reconnect::Reconnecting) connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection is open, and the hook for it has ended. What it sent went before everything
    /// else.
    Connected(Connected),
    /// A message was received.
    Message(Message),
    /// The connection ended, or an attempt to open one failed. The next attempt follows.
    Disconnected(Disconnected),
}

impl Event {
    /// The message, if it is one.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// An attempt to connect, for hooks and connectors.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(super) failures: u32,
    pub(super) last: Option<Arc<Cause>>,
}

impl Attempt {
    /// How many attempts in a row have failed before it, or ended too soon to be
    /// [healthy](crate::reconnect::Backoff::healthy_after).
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Why the last connection ended, or was not opened. `None` before the first one.
    #[must_use]
    pub fn last_cause(&self) -> Option<&Cause> {
        self.last.as_deref()
    }
}

/// A connection that was opened.
#[derive(Debug)]
pub struct Connected {
    pub(super) attempt: Attempt,
    pub(super) peer: Peer,
    pub(super) subprotocol: Option<String>,
}

impl Connected {
    /// The attempt that succeeded: [`Attempt::last_cause`] is `None` for the first connection.
    #[must_use]
    pub const fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Who is at the other end.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The subprotocol that was agreed on (RFC 6455 section 1.9).
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }
}

/// A connection that ended or was not opened, with another attempt to follow. Messages that it was
/// handed and had not written are gone: they are not sent again.
#[derive(Clone, Debug)]
pub struct Disconnected {
    pub(super) cause: Arc<Cause>,
    pub(super) retry_in: Duration,
}

impl Disconnected {
    /// Why.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// How long after this event the next attempt begins.
    #[must_use]
    pub const fn retry_in(&self) -> Duration {
        self.retry_in
    }
}

/// The state of a [`Reconnecting`](crate::reconnect::Reconnecting) connection, from
/// [`state`](crate::reconnect::Reconnecting::state).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// A connection is being opened, or the stream has not been polled yet.
    Connecting,
    /// A connection is open, as far as is known.
    Connected,
    /// There is no connection; the next attempt begins at this time.
    #[non_exhaustive]
    Waiting {
        /// When, by the clock of the runtime.
        until: Instant,
        /// Why there is none.
        cause: Arc<Cause>,
    },
    /// No other attempt will be made.
    Stopped(Stopped),
}

impl State {
    /// Whether a connection is open, as far as is known.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected)
    }
}

/// Why no other attempt to connect will be made.
#[derive(Clone, Debug)]
pub struct Stopped {
    why: Why,
    cause: Option<Arc<Cause>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The verdict on the cause.
    Verdict,
    /// Too many failures in a row.
    Failures,
    /// This end closed it.
    Closed,
    /// The stream was dropped.
    Dropped,
}

impl Stopped {
    pub(super) fn by(why: Why, cause: impl Into<Option<Arc<Cause>>>) -> Self {
        Self { why, cause: cause.into() }
    }

    /// Why the last connection ended, or was not opened. `None` if this end
    /// [closed](crate::reconnect::Sender::close) it or dropped the stream.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_deref()
    }

    /// Whether this end [closed](crate::reconnect::Sender::close) it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.why == Why::Closed
    }

    /// Whether it was stopped after [too many failures](crate::reconnect::Backoff::max_failures), though
    /// another attempt might have succeeded.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.why == Why::Failures
    }
}

/// This level only: [`source`](Error::source) has the next.
impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::Verdict => "connecting again would not help",
            Why::Failures => "too many attempts to connect failed",
            Why::Closed => "the connection was closed by this end",
            Why::Dropped => "the stream of the connection was dropped",
        })
    }
}

impl Error for Stopped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.as_deref()?)
    }
}

/// Why a message was not sent, or may not have been.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SendError {
    /// There is no connection, and messages do not wait for one
    /// ([`WhileAway::Fail`](crate::reconnect::WhileAway::Fail)). This is the message.
    NotConnected(Message),
    /// There is no connection, and no room for what waits for one
    /// ([`WhileAway::Keep`](crate::reconnect::WhileAway::Keep)); or, from
    /// [`try_send`](crate::reconnect::Sender::try_send), the queue of the connection is full. This
    /// is the message.
    Full(Message),
    /// No other connection will be opened.
    #[non_exhaustive]
    Stopped {
        /// The message, which no connection was handed.
        message: Message,
        /// Why.
        stopped: Stopped,
    },
    /// The connection was handed the message, and ended before everything was written. Whether the
    /// peer received it is not known. It is not sent again.
    Interrupted(tautline_frame::session::Error),
}

impl SendError {
    /// The message, if no connection was handed it, so that it can be sent again without the danger
    /// that it arrives twice.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::NotConnected(message) | Self::Full(message) | Self::Stopped { message, .. } => {
                Some(message)
            }
            Self::Interrupted(_) => None,
        }
    }
}

/// This level only: [`source`](Error::source) has the next.
impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected(_) => "there is no connection",
            Self::Full(_) => "there is no room for another message",
            Self::Stopped { .. } => "no other connection will be opened",
            Self::Interrupted(_) => "the connection ended before the message was written",
        })
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Stopped { stopped, .. } => Some(stopped),
            Self::Interrupted(error) => Some(error),
            Self::NotConnected(_) | Self::Full(_) => None,
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;
    use crate::error::tests::assert_one_level_each;

    #[test]
    fn each_error_tells_its_own_level() {
        let cause = || Arc::new(Cause::Failed(tautline_frame::session::Error::ConnectionLost));
        for why in [Why::Verdict, Why::Failures] {
            let stopped = Stopped::by(why, cause());
            assert_one_level_each(&stopped);
            let message = Message::from("never sent");
            let error = SendError::Stopped { message, stopped };
            assert_one_level_each(&error);
            assert_eq!(error.into_message().unwrap().as_text(), Some("never sent"));
        }
        for why in [Why::Closed, Why::Dropped] {
            assert_one_level_each(&Stopped::by(why, None));
        }
        let error = SendError::Interrupted(tautline_frame::session::Error::Closed);
        assert_one_level_each(&error);
        assert!(error.into_message().is_none());
    }
}
