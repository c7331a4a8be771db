//! Carries out what a [`Session`] decides over a transport: the only place where bytes, time and
//! wakers meet.

mod io;
mod leaving;
mod observed;
mod seated;

use std::fmt;
use std::io::Result;
use std::task::{Context, Poll, ready};

use http::Version;
use tautline_frame::session::{Action, Interest, Progress, Session};
use tautline_frame::{CloseCode, WriteQueue};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::leaving::{OnDrop, close_on_drop};
use crate::error::Chain;
use crate::observe::Observed;
use crate::seats::Seats;
use crate::shutdown::ShutdownSignal;
use crate::tasks::Place;
use crate::timer::{Timer, now};
use crate::transport::Peer;
use crate::wakers::Wakers;

/// What is known of a connection besides its messages.
pub(crate) struct Info<S> {
    pub(crate) peer: Peer,
    /// One word of every idle connection instead of three.
    special: Option<Box<Special<S>>>,
}

/// What few connections have.
struct Special<S> {
    /// Without this, it is HTTP/1.1.
    version: Version,
    subprotocol: Option<String>,
    direct: Option<Direct<S>>,
}

impl<S> Default for Special<S> {
    fn default() -> Self {
        Self { version: Version::default(), subprotocol: None, direct: None }
    }
}

impl<S> Info<S> {
    pub(crate) fn new(peer: Peer, version: Version, subprotocol: Option<String>) -> Self {
        let special = (version != Version::default() || subprotocol.is_some())
            .then(|| Box::new(Special { version, subprotocol, direct: None }));
        Self { peer, special }
    }

    pub(crate) fn version(&self) -> Version {
        self.special.as_ref().map_or_else(Version::default, |special| special.version)
    }

    pub(crate) fn subprotocol(&self) -> Option<&str> {
        self.special.as_ref()?.subprotocol.as_deref()
    }

    #[inline]
    fn direct(&self) -> Option<&Direct<S>> {
        self.special.as_ref()?.direct.as_ref()
    }
}

pub(crate) struct Connection<S> {
    session: Session,
    /// Dropped at the end, whoever still holds the connection.
    io: Option<S>,
    timer: Timer,
    /// The tasks that wait, if the connection is not split.
    pub(crate) seats: Seats,
    pub(crate) info: Info<S>,
    shutdown: Option<ShutdownSignal>,
    /// The connection counts in a server until the end.
    place: Option<Place>,
    /// Who watches it, if anybody does.
    observed: Option<Box<Observed>>,
    /// What to do if it is dropped before its end.
    on_drop: OnDrop<S>,
}

/// How a transport moves bytes that it holds in pieces of its own, with fewer steps than by
/// [`AsyncRead`] and [`AsyncWrite`]. Function pointers, since not every stream can.
pub(crate) struct Direct<S> {
    /// Moves what has arrived to the session, or tells it of the end.
    pub(crate) take: fn(&mut S, &mut Context<'_>, &mut Session) -> Poll<Result<()>>,
    /// Takes bytes off the queue, large payloads without a copy, and returns how many. Nothing of
    /// them is held back, so there is nothing to flush.
    pub(crate) give: fn(&mut S, &mut Context<'_>, &mut WriteQueue) -> Poll<Result<usize>>,
}

impl<S> Connection<S> {
    pub(crate) fn new(io: Option<S>, session: Session, info: Info<S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        Self {
            session,
            io,
            timer: Timer::default(),
            seats: Seats::default(),
            info,
            shutdown: None,
            place: None,
            observed: None,
            on_drop: close_on_drop,
        }
    }

    /// Moves bytes in this way.
    #[cfg(feature = "http2")]
    pub(crate) fn move_by(&mut self, direct: Option<Direct<S>>) {
        self.info.special.get_or_insert_default().direct = direct;
    }

    /// Goes on with the timer that it was opened with.
    pub(crate) fn go_on_with(&mut self, timer: Timer) {
        self.timer = timer;
    }

    /// Closes with 1001 when the server shuts down.
    pub(crate) fn watch(&mut self, shutdown: ShutdownSignal) {
        self.shutdown = Some(shutdown);
    }

    #[inline(always)]
    pub(crate) const fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    #[inline(always)]
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) const fn get_ref(&self) -> Option<&S> {
        self.io.as_ref()
    }

    /// Whether messages may be compressed.
    #[inline]
    pub(crate) fn compresses(&self) -> bool {
        self.session.protocol().compression().is_some()
    }
}

/// Without messages: what the peers send each other does not belong in logs.
impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.info.peer)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if !self.session.is_done() {
            tracing::debug!(peer = %self.info.peer, "connection dropped before its end");
            (self.on_drop)(self);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Carries out what the session says, until the task has what it waits for or has to wait.
    #[inline(always)]
    pub(crate) fn drive<T>(
        &mut self,
        wakers: Wakers<'_>,
        mut wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        self.session.handle_wake();
        self.check_shutdown(wakers);
        self.check_mail();
        loop {
            let interest = match wanted(&mut self.session) {
                Progress::Done(given) => return Poll::Ready(given),
                Progress::Needs(interest) => interest,
            };
            // Writing does not change what a reader waits for. It asks again when something has
            // arrived.
            loop {
                match self.session.poll_action(interest) {
                    Action::Read if self.read(wakers) => break,
                    Action::Read => {}
                    Action::Write | Action::Flush => self.write(wakers),
                    Action::Shutdown => self.shut_down(wakers),
                    Action::Yield => break ready!(self.poll_turn_of_others(wakers)),
                    Action::Wait => break ready!(self.poll_deadline(wakers)),
                    Action::Done => break self.end_if_done(),
                }
                if interest == Interest::Write {
                    break;
                }
            }
        }
    }

    #[inline]
    fn check_shutdown(&mut self, wakers: Wakers<'_>) {
        if let Some(shutdown) = &mut self.shutdown
            && shutdown.poll(wakers.write)
        {
            self.go_away();
        }
    }

    #[cold]
    fn go_away(&mut self) {
        let Some(shutdown) = self.shutdown.take() else { return };
        // A connection that is already closing continues with that. With a code that a server
        // must not send, the peer sees the end of the stream at the deadline.
        if self.session.close(shutdown.code().into(), now()).is_err() {
            let _ = self.session.close(CloseCode::GOING_AWAY.into(), now());
        }
    }

    /// The end. The user may hold the connection much longer, for instance in a table of writers.
    /// Neither the peer nor the system's buffers must wait for that.
    #[cold]
    fn end_if_done(&mut self) {
        if !self.session.is_done() {
            return;
        }
        let Some(io) = self.io.take() else { return };
        self.drop_transport(io);
        self.shutdown = None;
        self.end_observing();
        self.place = None;
        self.timer = Timer::default();
        let protocol = self.session.protocol();
        let by = if protocol.closed_first() {
            Some("us")
        } else {
            protocol.peer_close().map(|_| "the peer")
        };
        tracing::debug!(
            peer = %self.info.peer,
            received = protocol.peer_close().map(tracing::field::display),
            sent = protocol.sent_close().map(tracing::field::display),
            by,
            pauses = Some(protocol.pauses()).filter(|pauses| *pauses > 0),
            error = self.session.failure().map(|error| tracing::field::display(Chain(error))),
            "connection closed"
        );
    }
}

#[cfg(all(test, target_pointer_width = "64", not(tautline_loom)))]
mod tests {
    use super::*;

    // Words had come one by one, and a server's idle connection took 84 bytes more: what the
    // allocator leaves between them grows in steps: glibc's has as much room for 544 bytes.
    #[test]
    fn an_idle_connection_stays_small() {
        /// As large as a socket is in a release build.
        type Socket = [&'static u8; 4];
        assert_eq!(size_of::<Connection<Socket>>(), 552);
    }
}
