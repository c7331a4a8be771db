//! A connection without its transport: bytes, commands and the time in; messages, bytes and
//! deadlines out.

mod closing;
mod compressed;
mod counts;
mod fast_path;
mod incoming;
mod limited;
mod outgoing;
mod pieces;
mod pings;
mod receive;
mod shared;
mod transmit;
mod turns;
mod underway;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use self::closing::Closing;
pub use self::incoming::Piece;
use self::incoming::{Delivery, Incoming};
use self::limited::Limited;
use self::outgoing::Outgoing;
use self::pings::{PingState, Pings};
use self::underway::Underway;
use crate::close::{CloseCode, CloseFrame};
use crate::compression::Compression;
use crate::config::Config;
use crate::deflate::Deflate;
use crate::error::{SendError, Timeout};
use crate::frame_reader::FrameReader;
use crate::header::Rsv;
use crate::role::Role;
use crate::state::{Event, State};
use crate::timers::{Timers, is_due, jittered};
use crate::turn::Turn;
use crate::utf8::Utf8Checker;
use crate::write_queue::WriteQueue;

/// One end of a WebSocket connection as a state machine, without I/O and without a clock.
///
/// The methods are of four kinds, which their names show:
///
/// 1. `handle_*`: what happened outside. [`handle_data`](Self::handle_data),
///    [`handle_eof`](Self::handle_eof), [`handle_received`](Self::handle_received),
///    [`handle_written`](Self::handle_written), [`handle_blocked`](Self::handle_blocked),
///    [`handle_broken`](Self::handle_broken), [`handle_timeout`](Self::handle_timeout).
///    [`take_short`](Self::take_short) is the fast path of the first, and
///    [`begin_turn`](Self::begin_turn) says that others have had their turn.
/// 2. Plain verbs: what the user wants. [`send`](Self::send), [`ping`](Self::ping),
///    [`close`](Self::close).
/// 3. `poll_*`: what is to be done outside. [`poll_transmit`](Self::poll_transmit), then write from
///    [`queue`](Self::queue); [`poll_timeout`](Self::poll_timeout);
///    [`poll_ending`](Self::poll_ending).
/// 4. Questions: [`is_open`](Self::is_open), [`ready`](Self::ready),
///    [`peer_close`](Self::peer_close), [`is_turn_over`](Self::is_turn_over) and the like.
///
/// After every call of the first two kinds, the driver calls those of the third.
///
/// # Turns
/// What is cheap for a peer to send may be expensive to process. So all work on received bytes is
/// counted, in bytes and in frames, inflated ones too, and a connection's turn ends after about 130
/// us of work: after 512 frames, 320 KiB that are not compressed, or 80 KiB that are inflated, even
/// in the middle of a message. Then `take_short` returns `None` and `handle_data` returns
/// `Ok(None)`, with the rest left in the buffer, until [`begin_turn`](Self::begin_turn) is called.
/// [`is_turn_over`](Self::is_turn_over) distinguishes this from missing bytes. A driver of several
/// connections lets others have their turn in between; a driver of a single one begins the next
/// turn at once. Then call `handle_data` again, even with an empty buffer: the inflater may have
/// more output.
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
pub struct Protocol {
    role: Role,
    config: Arc<Config>,
    state: State,
    reader: FrameReader,
    /// The message that is being received, where it is in fragments, compressed or handed on in
    /// pieces.
    incoming: Option<Box<Incoming>>,
    /// Whether the message that is being received, fragmented or not, makes progress.
    underway: Option<Box<Underway>>,
    utf8: Utf8Checker,
    /// What was negotiated of permessage-deflate.
    deflate: Option<Box<Deflate>>,
    /// The message that is being sent in fragments, or in pieces.
    outgoing: Option<Box<Outgoing>>,
    queue: WriteQueue,
    /// One slot, never a queue: of several pings only the newest needs its answer (RFC 6455 section
    /// 5.5.3). Boxed, since it is set only while the queue is full.
    pong: Option<Box<Bytes>>,
    pings: Pings,
    timers: Timers,
    turn: Turn,
    /// What has to be remembered of rates and other limits.
    limited: Option<Box<Limited>>,
    /// Messages received and sent, each to its end. They wrap, and `Limited` has how often.
    received: u32,
    sent: u32,
    /// Bytes of frames that were read.
    arrived: u64,
    last_received: Instant,
    sent_close: Option<CloseCode>,
    /// Set once closing has begun, and kept to the end.
    closing: Option<Box<Closing>>,
    /// This end started the closing handshake.
    closed_first: bool,
    /// The end of the transport is left to the peer: see [`Ending::AwaitEof`].
    awaits_eof: bool,
    /// The transport can no longer be written to.
    broken: bool,
    /// Whether the peer may still be sending what is not delivered, so that its input is to be read
    /// and discarded before the transport is dropped: after a failure, or when it sent more after
    /// its Close. See [`Ending::Drain`].
    must_drain: bool,
}

/// How the transport is to be ended: who closes first is a rule of the protocol (RFC 6455 section
/// 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a transport has to handle each")]
pub enum Ending {
    /// Shut down the write side; then it is over. A server after the closing handshake.
    Shutdown,
    /// Wait until the peer ends the stream, then shut down. A client after the closing handshake,
    /// so that the waiting state of TCP (TIME_WAIT) is the server's; not on a stream of HTTP/2, see
    /// [`Protocol::end_at_once`].
    AwaitEof,
    /// Shut down the write side, then read and discard until the stream ends: after a failure, so
    /// that what the peer was still sending does not turn into a reset that destroys our Close on
    /// its way.
    Drain,
}

/// Without messages, windows and payloads: what users send to each other does not belong in logs.
impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protocol")
            .field("role", &self.role)
            .field("state", &self.state)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl Protocol {
    /// A connection whose opening handshake is complete, without extensions.
    #[must_use]
    pub fn new(role: Role, config: impl Into<Arc<Config>>, now: Instant) -> Self {
        let config = config.into();
        let keepalive =
            config.ping_interval.and_then(|interval| now.checked_add(jittered(interval)));
        // In the past, so that the first ping is due at the random time and not a full interval
        // from now.
        let last_received = keepalive
            .zip(config.ping_interval)
            .and_then(|(keepalive, interval)| keepalive.checked_sub(interval))
            .unwrap_or(now);
        Self {
            role,
            state: State::Open,
            reader: FrameReader::new(role, Rsv::NONE, config.max_frame_size),
            incoming: None,
            underway: None,
            utf8: Utf8Checker::default(),
            deflate: None,
            outgoing: None,
            queue: WriteQueue::default(),
            pong: None,
            pings: Pings::default(),
            timers: Timers { keepalive, ..Timers::default() },
            turn: Turn::WHOLE,
            limited: Limited::from_config(&config, now),
            received: 0,
            sent: 0,
            arrived: 0,
            last_received,
            sent_close: None,
            closing: None,
            closed_first: false,
            awaits_eof: role == Role::Client,
            broken: false,
            must_drain: false,
            config,
        }
    }

    /// Enables compression with the settings that the opening handshake negotiated, as seen from
    /// this end (RFC 7692). To be called once, before the first message: the context of earlier
    /// messages is lost.
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

    /// Has a client end the transport after the closing handshake as a server does, without waiting
    /// for the peer to end it first. For transports that have no waiting state of TCP, for whose
    /// sake RFC 6455 section 7.1.1 has the client wait, such as a stream of HTTP/2 (RFC 8441 section
    /// 5).
    pub const fn end_at_once(&mut self) {
        self.awaits_eof = false;
    }

    /// How messages are compressed, if that was negotiated.
    #[must_use]
    pub fn compression(&self) -> Option<&Compression> {
        self.deflate.as_ref().map(|deflate| deflate.settings())
    }

    /// The role of this end.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether messages may be sent: no Close was sent or received, and the connection has not
    /// failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.allows(Event::SendData)
    }

    /// Whether there is room for a message: fewer bytes are queued than the write mark, and no
    /// other message is still going out in fragments.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.outgoing.is_none() && self.has_room()
    }

    /// Whether no message is being received, nor any frame of one: what comes next from the peer
    /// starts a frame.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.reader.current().is_none() && self.incoming.is_none()
    }

    /// The peer's Close, once received.
    #[must_use]
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.closing.as_ref()?.theirs.as_ref()
    }

    /// The code of this end's Close, once it is encoded.
    #[must_use]
    pub const fn sent_close(&self) -> Option<CloseCode> {
        self.sent_close
    }

    /// Whether this end closed before it had received the peer's Close.
    #[must_use]
    pub const fn closed_first(&self) -> bool {
        self.closed_first
    }

    /// How many bytes of the current frame are missing when `buffered` bytes of it have arrived; 0
    /// when no header is complete. This is what the peer declares, within
    /// [`Config::max_frame_size`]: a hint for the size of a read, not of an allocation.
    #[must_use]
    pub fn missing(&self, buffered: usize) -> usize {
        if self.is_streaming() { 0 } else { self.reader.missing(buffered) }
    }

    /// Whether the message that is being received is handed on, or skipped, as it arrives: there
    /// is no need for room for a frame of it.
    #[inline]
    pub(crate) fn is_streaming(&self) -> bool {
        self.delivery() != Delivery::Whole
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.2): the Close follows the messages that
    /// were sent before. Does nothing if the connection is already closing.
    ///
    /// # Errors
    /// [`SendError::CloseCode`] when a server sends [`CloseCode::MANDATORY_EXTENSION`], which only
    /// a client may send.
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

    /// Whether this end holds a compressor, which [`handle_timeout`](Self::handle_timeout) returns
    /// to the pool when it is idle.
    #[must_use]
    pub fn holds_compressor(&self) -> bool {
        self.deflate.as_ref().is_some_and(|deflate| deflate.deadline().is_some())
    }

    /// The next deadline, at which [`handle_timeout`](Self::handle_timeout) is to be called. Every
    /// other call may move it. Calling `handle_timeout` early does nothing.
    #[must_use]
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Called at every wake-up, and the keepalive is nearly always the only deadline.
        let boxed = self.deflate.is_some()
            | self.underway.is_some()
            | self.closing.is_some()
            | self.limited.is_some();
        let pings = self.pings.asked.is_some() | (self.pings.keepalive != PingState::None);
        if !(boxed | pings | self.timers.send.is_some()) {
            return self.timers.keepalive;
        }
        self.first_deadline()
    }

    #[inline(never)]
    fn first_deadline(&self) -> Option<Instant> {
        let mut first = self.timers.next();
        let ping = self.pings.keepalive.deadline(self.config.ping_timeout);
        let pong = self.pings.asked.as_ref().and_then(|asked| asked.deadline);
        let compressor = self.deflate.as_ref().and_then(|deflate| deflate.deadline());
        let message = self.underway.as_ref().and_then(|underway| underway.deadline());
        let limit = self.limited.as_ref().and_then(|limited| limited.deadline());
        let boxed = [ping, pong, compressor, message, limit, self.close_deadline()];
        for other in boxed.into_iter().flatten() {
            first = Some(first.map_or(other, |first| first.min(other)));
        }
        first
    }

    /// Does what is due: pings a silent peer, or gives up on it.
    ///
    /// # Errors
    /// The deadline that passed. The connection has failed then. After [`Timeout::Ping`],
    /// [`Timeout::Message`] and [`Timeout::Memory`] a Close is to be written if the transport accepts it. After
    /// [`Timeout::Send`] it can no longer be written to: see
    /// [`handle_broken`](Self::handle_broken).
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Timeout> {
        if is_due(self.close_deadline(), now) {
            self.abandon();
            return Err(Timeout::Close);
        }
        if is_due(self.timers.send, now) {
            self.handle_broken(now);
            return Err(Timeout::Send);
        }
        if is_due(self.pings.keepalive.deadline(self.config.ping_timeout), now) {
            let ping = std::mem::take(&mut self.pings.keepalive);
            self.check_for_life(&ping, now)?;
        }
        if let Some(asked) = self.pings.asked.as_mut().filter(|asked| is_due(asked.deadline, now)) {
            asked.deadline = None;
            asked.answered = Some((asked.id, Err(Timeout::Ping)));
            let ping = std::mem::take(&mut asked.state);
            self.check_for_life(&ping, now)?;
        }
        self.check_underway(now)?;
        self.check_limited(now)?;
        if is_due(self.timers.keepalive, now) {
            self.keep_alive(now);
        }
        if let Some(deflate) = &mut self.deflate {
            deflate.handle_timeout(now);
        }
        Ok(())
    }

    /// The transport has ended. Returns whether that was in order, which is after the closing
    /// handshake or after the peer's Close. What is queued may still be written, within
    /// [`Config::close_timeout`]: the peer may have ended only its half.
    pub fn handle_eof(&mut self, now: Instant) -> bool {
        let in_order = match self.state {
            State::Closed => self.peer_close().is_some() || self.must_drain,
            State::CloseReceived => true,
            State::Open | State::CloseSent => false,
        };
        // The peer may have ended only its half: the rest of a message under way, and our answer
        // after it, are still owed.
        if self.state == State::CloseReceived && !self.has_rest() {
            self.encode_close();
        }
        self.state = self.state.on(Event::Eof).0;
        // An end without a Close has a deadline too.
        self.begin_closing(now);
        self.must_drain = false;
        self.incoming = None;
        self.end_compression();
        self.stop_liveness();
        in_order
    }

    /// How the transport is to be ended, once everything that the peer is owed has been encoded;
    /// `None` before.
    #[must_use]
    pub fn poll_ending(&self) -> Option<Ending> {
        if self.state != State::Closed || self.owes_close() {
            return None;
        }
        Some(match (self.must_drain, self.awaits_eof) {
            (true, _) => Ending::Drain,
            (false, true) => Ending::AwaitEof,
            (false, false) => Ending::Shutdown,
        })
    }

    /// Nothing more is compressed or inflated; the settings are kept.
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
        self.pings.stop();
        self.timers.keepalive = None;
        self.underway = None;
        self.stop_limits();
    }
}
