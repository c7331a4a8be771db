//! A connection without its transport: bytes, commands and the time in; messages, bytes and deadlines out.

mod compressed;
mod receive;
mod short;
mod transmit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::deflate::Deflate;
use crate::frame_reader::FrameReader;
use crate::state::{Event, State, Verdict};
use crate::timers::{Timers, is_due, jittered};
use crate::utf8::Utf8Checker;
use crate::{
    CloseCode, CloseFrame, Compression, Config, OpCode, Role, Rsv, SendError, Timeout, WriteQueue,
};

/// One end of a WebSocket connection as a state machine, without I/O and without a clock.
///
/// The methods fall into four kinds, and their names tell which:
///
/// 1. `handle_*`: what happened outside. [`handle_data`](Self::handle_data), [`handle_eof`](Self::handle_eof),
///    [`handle_received`](Self::handle_received), [`handle_written`](Self::handle_written),
///    [`handle_blocked`](Self::handle_blocked), [`handle_broken`](Self::handle_broken),
///    [`handle_timeout`](Self::handle_timeout). [`take_short`](Self::take_short) is a short cut of the first.
/// 2. Plain verbs: what the user wants. [`send`](Self::send), [`ping`](Self::ping), [`close`](Self::close).
/// 3. `poll_*`: what is to be done outside. [`poll_transmit`](Self::poll_transmit), then write from
///    [`queue`](Self::queue); [`poll_timeout`](Self::poll_timeout); [`poll_ending`](Self::poll_ending).
/// 4. Questions: [`is_open`](Self::is_open), [`ready`](Self::ready), [`peer_close`](Self::peer_close) and the like.
///
/// After every call of the first two kinds, whoever drives it asks the third kind.
///
/// ```
/// use std::time::Instant;
/// use bytes::{Buf, BytesMut};
/// use tautline_frame::{Config, Message, Protocol, Role};
///
/// let now = Instant::now();
/// let mut client = Protocol::new(Role::Client, Config::new(), now);
/// let mut server = Protocol::new(Role::Server, Config::new(), now);
///
/// client.send(Message::from("hello"))?;
/// client.poll_transmit();
/// let len = client.queue().remaining();
/// let mut wire = BytesMut::from(&client.queue().copy_to_bytes(len)[..]);
///
/// let message = server.handle_data(&mut wire, now)?;
/// assert_eq!(message, Some(Message::from("hello")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Protocol {
    role: Role,
    config: Arc<Config>,
    state: State,
    reader: FrameReader,
    /// The fragmented message that is being received.
    incoming: Option<Box<Incoming>>,
    utf8: Utf8Checker,
    /// What was negotiated of permessage-deflate.
    deflate: Option<Box<Deflate>>,
    /// The message that is being sent in fragments.
    outgoing: Option<Box<Outgoing>>,
    queue: WriteQueue,
    /// One slot, never a queue: of several pings only the newest needs its answer (RFC 6455 section 5.5.3).
    /// Boxed, since it stands here only while the queue is full.
    pong: Option<Box<Bytes>>,
    /// The Close that is still to be encoded.
    close: Option<Box<CloseFrame>>,
    pings: Pings,
    timers: Timers,
    last_received: Instant,
    peer_close: Option<Box<CloseFrame>>,
    sent_close: Option<CloseCode>,
    /// The closing handshake was ours to start.
    closed_first: bool,
    /// Nothing can be written any more.
    broken: bool,
    /// Whether the peer may still be sending what nobody reads: after a failure, or when it went on behind its Close.
    unread: bool,
}

#[derive(Debug)]
struct Incoming {
    text: bool,
    /// Its first frame had RSV1.
    compressed: bool,
    /// Compressed, and not without a single byte.
    started: bool,
    fragments: u32,
    /// What has come of it, inflated.
    data: Vec<u8>,
}

#[derive(Debug)]
struct Outgoing {
    /// Those of the next fragment.
    opcode: OpCode,
    rsv: Rsv,
    rest: Bytes,
}

/// Pings of ours: at most one is under way, and whoever asks meanwhile shares it.
#[derive(Debug, Default)]
struct Pings {
    last_id: u64,
    state: PingState,
    /// The newest ping that was answered, and how long that took.
    answered: Option<(u64, Duration)>,
}

#[derive(Debug, Default, PartialEq)]
enum PingState {
    #[default]
    None,
    /// Asked for, not encoded.
    Due,
    /// Encoded; written when the transport has taken the stream up to this position.
    Queued(u64),
    /// Written at this time.
    Written(Instant),
}

/// How the transport is to be ended: who closes first is a rule of the protocol (RFC 6455 section 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a transport has to handle each")]
pub enum Ending {
    /// Shut down the write side; then it is over. A server after the closing handshake.
    Shutdown,
    /// Wait until the peer ends the stream, then shut down. A client after the closing handshake, so that the waiting
    /// state of TCP (TIME_WAIT) is the server's.
    AwaitEof,
    /// Shut down the write side, then read and discard until the stream ends: after a failure, so that what the peer
    /// was still sending does not turn into a reset that destroys our Close on its way.
    Drain,
}

impl Protocol {
    /// A connection whose opening handshake is complete, without extensions.
    #[must_use]
    pub fn new(role: Role, config: impl Into<Arc<Config>>, now: Instant) -> Self {
        let config = config.into();
        let keepalive =
            config.ping_interval.and_then(|interval| now.checked_add(jittered(interval)));
        // As if something had been received so long before that the first ping is due at the random time, not at that
        // time postponed to the full interval.
        let last_received = keepalive
            .zip(config.ping_interval)
            .and_then(|(keepalive, interval)| keepalive.checked_sub(interval))
            .unwrap_or(now);
        Self {
            role,
            state: State::Open,
            reader: FrameReader::new(role, Rsv::NONE, config.max_frame_size),
            incoming: None,
            utf8: Utf8Checker::default(),
            deflate: None,
            outgoing: None,
            queue: WriteQueue::default(),
            pong: None,
            close: None,
            pings: Pings::default(),
            timers: Timers { keepalive, ..Timers::default() },
            last_received,
            peer_close: None,
            sent_close: None,
            closed_first: false,
            broken: false,
            unread: false,
            config,
        }
    }

    /// Compresses and inflates from here on: what the opening handshake agreed on, seen from this end (RFC 7692). To be
    /// called once, before the first message: what either end knows of earlier messages is forgotten.
    ///
    /// ```
    /// use std::time::Instant;
    /// use bytes::{Buf, BytesMut};
    /// use tautline_frame::{Compression, Config, Message, Protocol, Role};
    ///
    /// let now = Instant::now();
    /// let mut client = Protocol::new(Role::Client, Config::new(), now);
    /// let mut server = Protocol::new(Role::Server, Config::new(), now);
    /// client.set_compression(Compression::new());
    /// server.set_compression(Compression::new());
    ///
    /// let message = Message::from("again ".repeat(100));
    /// client.send(message.clone())?;
    /// client.poll_transmit();
    /// let len = client.queue().remaining();
    /// assert!(len < 50);
    ///
    /// let mut wire = BytesMut::from(&client.queue().copy_to_bytes(len)[..]);
    /// assert_eq!(server.handle_data(&mut wire, now)?, Some(message));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "deflate")]
    pub fn set_compression(&mut self, settings: Compression) {
        debug_assert!(self.incoming.is_none(), "a message is under way");
        self.reader.allow(Rsv::RSV1);
        self.deflate = Some(Box::new(Deflate::new(settings)));
    }

    /// How messages are compressed, if that was agreed on.
    #[must_use]
    pub fn compression(&self) -> Option<&Compression> {
        self.deflate.as_ref().map(|deflate| deflate.settings())
    }

    /// The role of this end.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether messages may be sent: no Close was sent or received, and nothing failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether a message that is sent now is taken without passing the write mark by more than itself.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.outgoing.is_none() && self.has_room()
    }

    /// The Close that the peer sent.
    #[must_use]
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.peer_close.as_deref()
    }

    /// The code of the Close that this end sent, once it is encoded.
    #[must_use]
    pub const fn sent_close(&self) -> Option<CloseCode> {
        self.sent_close
    }

    /// Whether this end closed before it had heard of a Close of the peer's.
    #[must_use]
    pub const fn closed_first(&self) -> bool {
        self.closed_first
    }

    /// How many bytes of the current frame are missing when `buffered` bytes of it have arrived; 0 when no header is
    /// complete. What the peer declares, within [`Config::max_frame_size`]: a hint for the size of a read, not for that
    /// of an allocation.
    #[must_use]
    pub fn missing(&self, buffered: usize) -> usize {
        self.reader.missing(buffered)
    }

    /// Pings the peer; [`pong`](Self::pong) tells of the answer under the number that is returned. A ping that is under
    /// way already is shared.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the connection is not open.
    pub fn ping(&mut self) -> Result<u64, SendError> {
        if self.state.on(Event::SendPing).1 != Verdict::Act {
            return Err(SendError::Closed);
        }
        if self.pings.state == PingState::None {
            self.pings.last_id += 1;
            self.pings.state = PingState::Due;
        }
        Ok(self.pings.last_id)
    }

    /// The round-trip time of the ping with this number, or of a later one, once it was answered.
    #[must_use]
    pub fn pong(&self, id: u64) -> Option<Duration> {
        self.pings.answered.filter(|(answered, _)| *answered >= id).map(|(_, time)| time)
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.2): the Close follows the messages that were sent before.
    /// Does nothing when the connection is closing already.
    ///
    /// # Errors
    /// [`SendError::CloseCode`] when a server sends [`CloseCode::MANDATORY_EXTENSION`], which is the client's.
    pub fn close(&mut self, frame: CloseFrame, now: Instant) -> Result<(), SendError> {
        if self.role == Role::Server && frame.code() == CloseCode::MANDATORY_EXTENSION {
            return Err(SendError::CloseCode(frame.code()));
        }
        if self.state == State::Open {
            self.closed_first = true;
            self.start_close(frame, Event::SendClose, now);
        }
        Ok(())
    }

    /// Counts [`Config::close_timeout`] anew, if something waits for it: for who hands in bytes long after they arrived.
    #[inline]
    pub fn restart_close(&mut self, now: Instant) {
        if self.timers.close.is_some() {
            self.timers.close = now.checked_add(self.config.close_timeout);
        }
    }

    /// Whether this end holds a compressor of its own, which [`handle_timeout`](Self::handle_timeout) gives back when it is idle.
    #[must_use]
    pub fn holds_compressor(&self) -> bool {
        self.deflate.as_ref().is_some_and(|deflate| deflate.deadline().is_some())
    }

    /// The first deadline, at which [`handle_timeout`](Self::handle_timeout) is to be called. It may move with every
    /// other call; a call that comes early does nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.timers.next();
        match self.deflate.as_ref().and_then(|deflate| deflate.deadline()) {
            None => first,
            Some(compressor) => Some(first.map_or(compressor, |first| first.min(compressor))),
        }
    }

    /// Does what is due: pings a silent peer, or gives it up.
    ///
    /// # Errors
    /// The deadline that passed; the connection has failed then. After [`Timeout::Ping`] a Close is left to be written
    /// if the transport takes it.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Timeout> {
        if is_due(self.timers.close, now) {
            self.abandon();
            return Err(Timeout::Close);
        }
        if is_due(self.timers.send, now) {
            self.abandon();
            return Err(Timeout::Send);
        }
        if is_due(self.timers.ping, now) {
            // Any byte is a sign of life, for as long as a ping's timeout: a pong may stand behind a long message.
            self.timers.ping = match self.pings.state {
                PingState::Written(at) => {
                    at.max(self.last_received).checked_add(self.config.ping_timeout)
                }
                _ => None,
            };
        }
        if is_due(self.timers.ping, now) {
            let frame = CloseFrame::new(CloseCode::INTERNAL_ERROR, "ping timeout");
            let frame = frame.unwrap_or(CloseFrame::from(CloseCode::INTERNAL_ERROR));
            self.fail(frame, now);
            return Err(Timeout::Ping);
        }
        if is_due(self.timers.keepalive, now) {
            self.keep_alive(now);
        }
        if let Some(deflate) = &mut self.deflate {
            deflate.handle_timeout(now);
        }
        Ok(())
    }

    fn keep_alive(&mut self, now: Instant) {
        self.timers.keepalive = None;
        let Some(interval) = self.config.ping_interval else { return };
        if self.state != State::Open {
            return;
        }
        // Activity only notes the time; the timer is moved here, when it fires.
        let silent_until = self.last_received.checked_add(interval);
        if !is_due(silent_until, now) {
            self.timers.keepalive = silent_until;
        } else {
            self.timers.keepalive = now.checked_add(interval);
            // Not an error in any state that gets here.
            let _ = self.ping();
        }
    }

    /// The transport ended. Gives whether that was in order: after the closing handshake, or after the peer's Close.
    pub fn handle_eof(&mut self) -> bool {
        let in_order = match self.state {
            State::Closed => self.peer_close.is_some() || self.unread,
            State::CloseReceived => true,
            State::Open | State::CloseSent => false,
        };
        if self.state == State::CloseReceived {
            // The peer may have ended its half only: our answer is still owed.
            self.outgoing = None;
            self.encode_close();
        }
        self.state = self.state.on(Event::Eof).0;
        self.unread = false;
        self.incoming = None;
        self.end_compression();
        self.stop_liveness();
        in_order
    }

    /// How the transport is to be ended, once everything was encoded that the peer must hear; `None` before.
    #[must_use]
    pub fn poll_ending(&self) -> Option<Ending> {
        if self.state != State::Closed || self.close.is_some() {
            return None;
        }
        Some(match self.role {
            _ if self.unread => Ending::Drain,
            Role::Server => Ending::Shutdown,
            Role::Client => Ending::AwaitEof,
        })
    }

    /// RFC 6455 section 7.1.7, Fail the WebSocket Connection: tell the peer why, and read nothing of it any more.
    fn fail(&mut self, frame: CloseFrame, now: Instant) {
        let (next, verdict) = self.state.on(Event::Fail);
        self.incoming = None;
        self.outgoing = None;
        self.pong = None;
        self.unread = true;
        if verdict == Verdict::Act {
            self.start_close(frame, Event::Fail, now);
        } else {
            self.state = next;
        }
        self.end_compression();
        self.stop_liveness();
    }

    fn start_close(&mut self, frame: CloseFrame, event: Event, now: Instant) {
        self.state = self.state.on(event).0;
        self.close = Some(Box::new(frame));
        self.stop_compressing();
        if self.timers.close.is_none() {
            self.timers.close = now.checked_add(self.config.close_timeout);
        }
    }

    /// Nothing more can be told to the peer.
    fn abandon(&mut self) {
        self.state = State::Closed;
        self.incoming = None;
        self.close = None;
        self.outgoing = None;
        self.pong = None;
        self.timers = Timers::default();
        self.end_compression();
        self.stop_liveness();
    }

    /// Nothing more is compressed or inflated; what was agreed on is still known.
    fn end_compression(&mut self) {
        if let Some(deflate) = &mut self.deflate {
            deflate.end();
        }
    }

    /// Nothing more is compressed; what the peer sends is still inflated.
    fn stop_compressing(&mut self) {
        if let Some(deflate) = &mut self.deflate {
            deflate.stop_sending();
        }
    }

    fn stop_liveness(&mut self) {
        self.pings.state = PingState::None;
        self.timers.keepalive = None;
        self.timers.ping = None;
    }
}
