//! Every number that is ours to choose, with its reason.

use std::time::Duration;

/// 16 MiB: the largest message of the Autobahn suite, and far more than chats, games and feeds send. Memory is taken as
/// bytes arrive, so the limit costs nothing until a peer uses it.
pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 16 << 20;

/// As a message: one frame may carry it all.
pub const DEFAULT_MAX_FRAME_SIZE: usize = DEFAULT_MAX_MESSAGE_SIZE;

/// Twice what the Autobahn suite sends (4 MiB in frames of 64 bytes). Frames cost time even when they are empty.
pub const DEFAULT_MAX_FRAGMENTS: u32 = 128 << 10;

/// Half of the 60 s after which the most common proxies and load balancers drop a silent connection.
pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(30);

/// Longer than any round trip that a person would bear, with room for a retransmission or two.
pub const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Several round trips on a bad mobile link; short enough that a silent peer does not hold a connection that is over.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that takes not one byte for this long is gone, or holds memory hostage.
pub const DEFAULT_SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// 64 KiB: what is waiting to be written beyond this makes senders wait. Large enough that one write carries hundreds
/// of small messages, small enough to stay in the L2 cache.
pub const DEFAULT_WRITE_MARK: usize = 64 << 10;

/// From this many bytes on, a payload is not copied behind its header but goes out from where it stands, in the same
/// vectored write. Below it, the copy is cheaper than the second buffer: measured, they are level at about 8 KiB.
pub(crate) const CHAIN_THRESHOLD: usize = 8 << 10;

/// From this many bytes on, a received payload is a slice of the read buffer. Below it, it is copied out, so that one
/// small message that the user keeps does not keep a whole read buffer alive.
pub(crate) const SLICE_THRESHOLD: usize = 4 << 10;

/// The first level that builds codes for the message at hand: 1 takes the fixed ones, and sends a quarter more for JSON.
/// Levels above it gain little on messages of some KiB: see the table in `docs/performance.md`.
pub const DEFAULT_COMPRESSION_LEVEL: u8 = 2;

/// 256 bytes. Below this a message on its own hardly becomes smaller, and compressing it costs more than sending it does.
pub const DEFAULT_COMPRESSION_THRESHOLD: usize = 256;

/// Ten seconds: longer than the pauses of a chat or a feed that is in use, short beside the life of an idle connection.
pub const DEFAULT_COMPRESSION_IDLE: Duration = Duration::from_secs(10);

/// zlib's own default: what is beyond it costs twice the time for a per cent.
pub(crate) const BEST_RATIO_LEVEL: u8 = 6;

/// 8 KiB. Looking further back takes half as much time again, and a third more memory, for a few thousandths of the size of
/// messages of some KiB.
pub(crate) const BEST_RATIO_WINDOW_BITS: u8 = 13;

/// Who refers back to earlier messages gains on short ones too, down to the size of the reference.
pub(crate) const BEST_RATIO_THRESHOLD: usize = 32;

/// Limits, deadlines and sizes of a connection; the same for both roles.
///
/// Every limit is finite by default, and the error that tells of it names the setting.
///
/// ```
/// use std::time::Duration;
/// use tautline_frame::Config;
///
/// let config = Config::new()
///     .max_message_size(64 << 10)
///     .ping_interval(Duration::from_secs(10))
///     .ping_timeout(Duration::from_secs(5));
/// # let _ = config;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) max_message_size: usize,
    pub(crate) max_frame_size: usize,
    pub(crate) max_fragments: u32,
    pub(crate) fragment_size: Option<usize>,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) write_mark: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
            max_frame_size: DEFAULT_MAX_FRAME_SIZE,
            max_fragments: DEFAULT_MAX_FRAGMENTS,
            fragment_size: None,
            ping_interval: Some(DEFAULT_PING_INTERVAL),
            ping_timeout: DEFAULT_PING_TIMEOUT,
            close_timeout: DEFAULT_CLOSE_TIMEOUT,
            send_timeout: Some(DEFAULT_SEND_TIMEOUT),
            write_mark: DEFAULT_WRITE_MARK,
        }
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest message that is received, in bytes, inclusive. A longer one ends the connection with 1009 as soon as
    /// a frame header tells of it; of a compressed one, what is inflated counts, as it is inflated. Default:
    /// [`DEFAULT_MAX_MESSAGE_SIZE`]. Memory: a connection holds at most about twice this for a message that is under way.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// The longest frame that is received, in bytes on the wire, compressed or not, inclusive; 1009 beyond it. Default:
    /// [`DEFAULT_MAX_FRAME_SIZE`].
    #[must_use]
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// The most frames that one received message may come in, empty ones included; 1008 beyond it. Default:
    /// [`DEFAULT_MAX_FRAGMENTS`]. At least 1.
    #[must_use]
    pub fn max_fragments(mut self, frames: u32) -> Self {
        self.max_fragments = frames.max(1);
        self
    }

    /// Sends longer messages in frames of this many bytes, so that pings and pongs need not wait for a whole message.
    /// Default: `None`, every message in one frame. At least 1 KiB.
    #[must_use]
    pub fn fragment_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.fragment_size = bytes.into().map(|bytes| bytes.max(1 << 10));
        self
    }

    /// Pings a peer from which nothing was received for this long. Default: [`DEFAULT_PING_INTERVAL`]. `None` turns
    /// keepalive off: then a peer that vanishes is noticed only by sending. At least one millisecond.
    #[must_use]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = interval.into().map(|interval| interval.max(Duration::from_millis(1)));
        self
    }

    /// Gives a peer up when nothing at all is received for this long after a ping was written. Default:
    /// [`DEFAULT_PING_TIMEOUT`].
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// How long the end of a connection may take, from the first Close to the end of the transport (RFC 6455 section
    /// 7.1.1); it counts anew while the peer takes what is still to be written. Default: [`DEFAULT_CLOSE_TIMEOUT`].
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Gives a peer up that takes not one byte for this long while data waits. Default: [`DEFAULT_SEND_TIMEOUT`].
    /// `None`: waits for as long as the transport does.
    #[must_use]
    pub fn send_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.send_timeout = timeout.into();
        self
    }

    /// Senders wait while more than this many bytes are queued. Default: [`DEFAULT_WRITE_MARK`]. At least 1 KiB. Memory:
    /// a connection queues at most this, one message, and three control frames.
    #[must_use]
    pub fn write_mark(mut self, bytes: usize) -> Self {
        self.write_mark = bytes.max(1 << 10);
        self
    }
}
