//! Every number that we choose, with its reason.

mod rates;

use std::time::Duration;

use crate::budget::MemoryBudget;
use crate::rate::{Counts, Excess, Rate};

/// The longest wait for a peer that accepts the remaining data slowly, as a multiple of
/// [`Config::close_timeout`]: a minute by default, enough for 16 MiB at 2 Mbit/s.
pub(crate) const MAX_CLOSE_TIMEOUTS: u32 = 12;

/// How far back a reference of compressed data reaches at most, in bytes (RFC 1951 section 2).
pub(crate) const INFLATE_BACK: usize = 1 << 15;

/// How many bytes that the user writes are collected before they are a fragment: one write to the
/// transport.
pub(crate) const FRAGMENT: usize = 64 << 10;

/// The most of a fragment that the user writes at once, and the most that a read takes for a
/// message that is handed on in pieces.
pub(crate) const PIECE: usize = 256 << 10;

/// How many times a connection that ends without waiting still reads, to discard what the peer was
/// sending.
pub(crate) const LAST_READS: u8 = 16;

/// How many bytes are discarded without a pause when a connection has failed and its peer goes on
/// sending: one read.
pub(crate) const DISCARDED_AT_ONCE: usize = 64 << 10;

/// How long that pause is, or half of it: a peer that does not mind our Close has some 1 MB/s until
/// [`Config::close_timeout`] is over, which costs some tenth of a per cent of a core.
pub(crate) const DISCARD_PAUSE: Duration = Duration::from_millis(100);

/// How many bytes of an unfinished message each byte received before the deadline keeps alive. It
/// is about the most that deflate can make of a byte: to have 16 MiB, inflated from 16 KiB, held
/// for as long again takes another 16 KiB.
pub(crate) const HELD_PER_BYTE: usize = 1 << 10;

/// How long a connection that holds much of a memory budget that is used up waits before it looks
/// again: it is not told when others have let go.
pub(crate) const BUDGET_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection waits so before it is given up. As long as an unfinished message may take
/// by default.
pub(crate) const BUDGET_PATIENCE: Duration = Duration::from_secs(30);

/// How many times in [`Config::idle_timeout`] a connection is checked for messages. Activity is not
/// noted as it happens, which would cost something for each message.
pub(crate) const IDLE_CHECKS: u32 = 4;

/// The smallest value that can be set: with less room, each message would wait for the one before
/// it.
const MIN_WRITE_MARK: usize = 1 << 10;

/// From this many bytes on, a payload is not copied after its header but written from its own
/// buffer, in the same vectored write. Below it, the copy is cheaper than the second buffer:
/// measured, they cost the same at about 8 KiB.
pub(crate) const CHAIN_THRESHOLD: usize = 8 << 10;

/// From this many bytes on, a received payload is a slice of the read buffer. Below it, it is
/// copied, so that a message that the user keeps holds no more than twice its size: the runtime
/// crate reads into buffers of 65 KiB, and into larger ones only for a frame that fills them.
pub(crate) const SLICE_THRESHOLD: usize = 33 << 10;

/// What one turn of a connection may do, in units of some 0.4 ns: some 130 us. Other tasks of the
/// thread wait at most that long for each connection that always has more to do. It is a quarter
/// more than 16 messages of 16 KiB: with 256 KiB, a turn ended just before the last of so many, and
/// an echo of them on 64 connections took 4 % more.
pub(crate) const TURN: i32 = 320 << 10;

/// How many bytes are read, unmasked, checked and copied for a unit while many connections have
/// parts of long frames: enough for a message of 1 MiB in one turn. When 64 connections have a part
/// of such a message each at the end of their turn, 64 MiB are in use at once, which the caches do
/// not hold, and which the allocator returns to the system and takes again: measured, an echo took
/// twice the time. Otherwise it is one byte; most of its cost is the kernel's copy.
pub(crate) const PLAIN_PER_UNIT: usize = 4;

/// What a frame costs in addition to its bytes, so that a turn takes at most 512 of them. This
/// crate's work for a frame is only a tenth of that, but most frames reach a handler, which does
/// something too.
pub(crate) const FRAME_COST: i32 = 640;

/// How many bytes are unmasked, checked and copied at once, even at the end of a turn: a smaller
/// step would not be worth the call.
pub(crate) const PLAIN_STEP: usize = 4 << 10;

/// What compressing a message costs, and each of its bytes, in units: more than most messages take.
#[cfg(feature = "deflate")]
pub(crate) const COMPRESS_START_COST: usize = 4 << 10;
#[cfg(feature = "deflate")]
pub(crate) const COMPRESS_COST: usize = 32;

/// From this many bytes on, a message that does not become smaller is dropped from the compressor's
/// context and sent uncompressed. That costs some 20 us, where compressing it cost ten times as
/// much; a shorter message is sent in a stored block, 6 bytes longer than the message, and stays in
/// the context.
#[cfg(feature = "deflate")]
pub(crate) const FORGET_THRESHOLD: usize = 16 << 10;

/// After this many messages in a row that did not become smaller, fewer are tried: every second,
/// fourth and so on.
#[cfg(feature = "deflate")]
pub(crate) const MISSES_BORNE: u8 = 8;

/// At least every 64th is tried, in case later ones can be compressed.
#[cfg(feature = "deflate")]
pub(crate) const MOST_SKIPPED_BITS: u8 = 6;

/// One step of inflating goes through a buffer of this size, which stays in the L1 cache, and takes
/// at most this many input bytes: it takes some 20 us, or 130 us with the worst input, which is
/// nothing but blocks with dynamic codes.
#[cfg(feature = "deflate")]
pub(crate) const INFLATE_STEP: usize = 16 << 10;
#[cfg(feature = "deflate")]
pub(crate) const INFLATE_INPUT_STEP: usize = 1 << 10;

/// What a byte of an inflater's output costs, and a byte of its input: data that hardly shrank
/// takes more time for each byte of output.
#[cfg(feature = "deflate")]
pub(crate) const INFLATE_OUTPUT_COST: usize = 4;
#[cfg(feature = "deflate")]
pub(crate) const INFLATE_INPUT_COST: usize = 32;

/// What an input byte without output costs, and how many of them are free in a step: honest data
/// hardly ever has any, but the codes of a block take up to a hundred times as long as text of
/// their length.
#[cfg(feature = "deflate")]
pub(crate) const BARREN_INPUT_COST: usize = 128;
#[cfg(feature = "deflate")]
pub(crate) const BARREN_INPUT_FREE: usize = 64;

/// What it costs to start inflating, in addition to the bytes of the dictionary.
#[cfg(feature = "deflate")]
pub(crate) const INFLATE_START_COST: usize = 256;

/// How many bytes of the dictionary are copied in the time of a unit: 32 KiB take as long as 8
/// frames.
#[cfg(feature = "deflate")]
pub(crate) const DICTIONARY_BYTES_PER_UNIT: usize = 8;

/// How much work, in units, may go into continuing after last blocks inside a message, for each
/// byte received or inflated. Senders that end each flush with one (RFC 7692 section 7.2.3.4) stay
/// below it: with a window of 32 KiB it takes flushes of 272 bytes.
#[cfg(feature = "deflate")]
pub(crate) const RESTART_UNITS_PER_BYTE: usize = 16;

/// The free allowance: one last block in a message, for senders that end each message with one.
#[cfg(feature = "deflate")]
pub(crate) const FREE_RESTARTS: usize = INFLATE_START_COST + (32 << 10) / DICTIONARY_BYTES_PER_UNIT;

/// zlib's own default: higher levels cost twice the time for one percent.
pub(crate) const BEST_RATIO_LEVEL: u8 = 6;

/// 8 KiB. Larger windows take half as much time again, and a third more memory, to save a few
/// thousandths on messages of a few KiB.
pub(crate) const BEST_RATIO_WINDOW_BITS: u8 = 13;

/// With context takeover, short messages become smaller too, down to the size of a reference.
pub(crate) const BEST_RATIO_THRESHOLD: usize = 32;

/// Limits, deadlines and sizes of a connection; the same for both roles.
///
/// Every limit is finite by default, and the error for it names the setting.
///
/// ```
/// use std::time::Duration;
/// use tautline_frame::Config;
///
/// let config = Config::new()
///     .max_message_size(64 << 10)
///     .ping_interval(Duration::from_secs(10))
///     .ping_timeout(Duration::from_secs(5));
/// assert_eq!(config.get_max_message_size(), 64 << 10);
/// assert_eq!(config.get_close_timeout(), Config::DEFAULT_CLOSE_TIMEOUT);
/// ```
///
/// A setter has the name of its setting; the getter has the prefix `get_`, as in
/// [`std::process::Command`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    pub(crate) max_message_size: usize,
    pub(crate) max_frame_size: usize,
    pub(crate) max_fragments: u32,
    pub(crate) max_streamed_size: Option<u64>,
    pub(crate) fragment_size: Option<usize>,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
    pub(crate) message_timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) write_mark: usize,
    pub(crate) message_rate: Option<Rate>,
    pub(crate) byte_rate: Option<Rate>,
    pub(crate) control_rate: Option<Rate>,
    /// What need not be counted at once, by the rates.
    pub(crate) few: Counts,
    pub(crate) excess: Excess,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) memory_budget: Option<MemoryBudget>,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// 16 MiB: the largest message of the Autobahn suite, and far more than chats, games and feeds
    /// send. Memory is allocated as bytes arrive, so the limit costs nothing until a peer uses it.
    pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 16 << 20;

    /// The same as for messages: one frame may carry a whole message.
    pub const DEFAULT_MAX_FRAME_SIZE: usize = Self::DEFAULT_MAX_MESSAGE_SIZE;

    /// Twice what the Autobahn suite sends (4 MiB in frames of 64 bytes). Frames cost time even
    /// when they are empty.
    pub const DEFAULT_MAX_FRAGMENTS: u32 = 128 << 10;

    /// Half of the 60 s after which the most common proxies and load balancers drop a silent
    /// connection.
    pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(30);

    /// Longer than any round trip that a person would put up with, with room for a retransmission
    /// or two.
    pub const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(20);

    /// Several round trips on a bad mobile link; short enough that a silent peer does not keep a
    /// finished connection open.
    pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

    /// A network may be interrupted for half a minute; an upload that is merely slow sends
    /// something in that time.
    pub const DEFAULT_MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

    /// A peer that accepts not one byte for this long is gone, or is tying up memory.
    pub const DEFAULT_SEND_TIMEOUT: Duration = Duration::from_secs(60);

    /// 64 KiB: senders wait while more than this is queued for writing. Large enough that one write
    /// carries hundreds of small messages, small enough to stay in the L2 cache.
    pub const DEFAULT_WRITE_MARK: usize = 64 << 10;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_message_size: Self::DEFAULT_MAX_MESSAGE_SIZE,
            max_frame_size: Self::DEFAULT_MAX_FRAME_SIZE,
            max_fragments: Self::DEFAULT_MAX_FRAGMENTS,
            max_streamed_size: None,
            fragment_size: None,
            ping_interval: Some(Self::DEFAULT_PING_INTERVAL),
            ping_timeout: Self::DEFAULT_PING_TIMEOUT,
            message_timeout: Some(Self::DEFAULT_MESSAGE_TIMEOUT),
            close_timeout: Self::DEFAULT_CLOSE_TIMEOUT,
            send_timeout: Some(Self::DEFAULT_SEND_TIMEOUT),
            write_mark: Self::DEFAULT_WRITE_MARK,
            message_rate: Some(Self::DEFAULT_MESSAGE_RATE),
            byte_rate: Some(Self::DEFAULT_BYTE_RATE),
            control_rate: Some(Self::DEFAULT_CONTROL_RATE),
            few: Counts {
                bytes: Rate::few(Some(Self::DEFAULT_BYTE_RATE)),
                messages: Rate::few(Some(Self::DEFAULT_MESSAGE_RATE)),
                controls: Rate::few(Some(Self::DEFAULT_CONTROL_RATE)),
            },
            excess: Excess::ReadLater,
            idle_timeout: None,
            max_lifetime: None,
            memory_budget: None,
        }
    }

    /// The longest message that is received, in bytes, inclusive. A longer one ends the connection
    /// with 1009 as soon as a frame header announces it; for a compressed one, the inflated bytes
    /// count, as they are inflated. Default:
    /// [`DEFAULT_MAX_MESSAGE_SIZE`](Self::DEFAULT_MAX_MESSAGE_SIZE). Memory: a connection holds at
    /// most about twice this for an unfinished message, of which as little as 1/1,000, compressed,
    /// may have been received; see [`message_timeout`](Self::message_timeout).
    #[must_use]
    pub const fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// The longest frame that is received, in bytes on the wire, compressed or not, inclusive. A
    /// longer one ends the connection with 1009. Default:
    /// [`DEFAULT_MAX_FRAME_SIZE`](Self::DEFAULT_MAX_FRAME_SIZE).
    #[must_use]
    pub const fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// The most frames in one received message, including empty ones. More end the connection with
    /// 1008. Default: [`DEFAULT_MAX_FRAGMENTS`](Self::DEFAULT_MAX_FRAGMENTS). At least 1.
    #[must_use]
    pub const fn max_fragments(mut self, frames: u32) -> Self {
        self.max_fragments = if frames == 0 { 1 } else { frames };
        self
    }

    /// The longest message that is received in pieces, in bytes, inclusive. A longer one ends the
    /// connection with 1009, as [`max_message_size`](Self::max_message_size) does for a message
    /// that is received as a whole. Default: `None`, any length, since it takes no memory.
    #[must_use]
    pub fn max_streamed_size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_streamed_size = bytes.into();
        self
    }

    /// Sends longer messages in frames of this many bytes, so that pings and pongs need not wait
    /// for a whole message. Default: `None`, every message in one frame. At least 1 KiB.
    #[must_use]
    pub fn fragment_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.fragment_size = bytes.into().map(|bytes| bytes.max(1 << 10));
        self
    }

    /// Pings the peer after receiving nothing for this long. Default:
    /// [`DEFAULT_PING_INTERVAL`](Self::DEFAULT_PING_INTERVAL). `None` turns keepalive off: a peer
    /// that vanishes is then noticed only when sending. At least one millisecond.
    #[must_use]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = interval.into().map(|interval| interval.max(Duration::from_millis(1)));
        self
    }

    /// Fails the connection when nothing at all is received for this long after a ping was written.
    /// Default: [`DEFAULT_PING_TIMEOUT`](Self::DEFAULT_PING_TIMEOUT).
    #[must_use]
    pub const fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// Fails the connection with 1008 when an unfinished message of the peer makes no progress for
    /// this long. Each byte received of its frames is progress, or, once much is held for the
    /// message, including inflated bytes and a buffer of more than 65 KiB that it grows in, one
    /// byte for each 1,024 held; pings and pongs are not. Default:
    /// [`DEFAULT_MESSAGE_TIMEOUT`](Self::DEFAULT_MESSAGE_TIMEOUT). `None`: half a message is kept
    /// for as long as the peer is alive. At least one millisecond.
    #[must_use]
    pub fn message_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.message_timeout = timeout.into().map(|timeout| timeout.max(Duration::from_millis(1)));
        self
    }

    /// How long the end of a connection may take, from the first Close to the end of the transport
    /// (RFC 6455 section 7.1.1). It restarts while the peer accepts what is queued before our
    /// Close, but ends at twelve times this whatever the peer does. Default:
    /// [`DEFAULT_CLOSE_TIMEOUT`](Self::DEFAULT_CLOSE_TIMEOUT).
    #[must_use]
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Fails the connection when the peer accepts no data for this long while some is queued.
    /// Default: [`DEFAULT_SEND_TIMEOUT`](Self::DEFAULT_SEND_TIMEOUT). `None`: waits as long as the
    /// transport does.
    #[must_use]
    pub fn send_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.send_timeout = timeout.into();
        self
    }

    /// Senders wait while more than this many bytes are queued. Default:
    /// [`DEFAULT_WRITE_MARK`](Self::DEFAULT_WRITE_MARK). At least 1 KiB. Memory: a connection
    /// queues at most this, one message, and three control frames.
    #[must_use]
    pub const fn write_mark(mut self, bytes: usize) -> Self {
        self.write_mark = if bytes < MIN_WRITE_MARK { MIN_WRITE_MARK } else { bytes };
        self
    }

    /// The longest message that is received, in bytes: see
    /// [`max_message_size`](Self::max_message_size).
    #[must_use]
    pub const fn get_max_message_size(&self) -> usize {
        self.max_message_size
    }

    /// The longest frame that is received, in bytes: see [`max_frame_size`](Self::max_frame_size).
    #[must_use]
    pub const fn get_max_frame_size(&self) -> usize {
        self.max_frame_size
    }

    /// The most frames of one received message: see [`max_fragments`](Self::max_fragments).
    #[must_use]
    pub const fn get_max_fragments(&self) -> u32 {
        self.max_fragments
    }

    /// The longest message that is received in pieces, in bytes; `None` without a bound: see
    /// [`max_streamed_size`](Self::max_streamed_size).
    #[must_use]
    pub const fn get_max_streamed_size(&self) -> Option<u64> {
        self.max_streamed_size
    }

    /// The length of the frames of a longer message that is sent, in bytes; `None` for one frame:
    /// see [`fragment_size`](Self::fragment_size).
    #[must_use]
    pub const fn get_fragment_size(&self) -> Option<usize> {
        self.fragment_size
    }

    /// How long to receive nothing before a ping is sent; `None` without keepalive: see
    /// [`ping_interval`](Self::ping_interval).
    #[must_use]
    pub const fn get_ping_interval(&self) -> Option<Duration> {
        self.ping_interval
    }

    /// How long to receive nothing after a ping before the connection is failed: see
    /// [`ping_timeout`](Self::ping_timeout).
    #[must_use]
    pub const fn get_ping_timeout(&self) -> Duration {
        self.ping_timeout
    }

    /// How long an unfinished message may make no progress; `None` without a bound: see
    /// [`message_timeout`](Self::message_timeout).
    #[must_use]
    pub const fn get_message_timeout(&self) -> Option<Duration> {
        self.message_timeout
    }

    /// How long the end of a connection may take: see [`close_timeout`](Self::close_timeout).
    #[must_use]
    pub const fn get_close_timeout(&self) -> Duration {
        self.close_timeout
    }

    /// How long the peer may accept no data while some is queued; `None` without a bound: see
    /// [`send_timeout`](Self::send_timeout).
    #[must_use]
    pub const fn get_send_timeout(&self) -> Option<Duration> {
        self.send_timeout
    }

    /// How many bytes may be queued before senders wait: see [`write_mark`](Self::write_mark).
    #[must_use]
    pub const fn get_write_mark(&self) -> usize {
        self.write_mark
    }
}
