//! What to compress, and how (RFC 7692): the user's side of permessage-deflate.

use std::time::Duration;

use crate::config::{BEST_RATIO_LEVEL, BEST_RATIO_THRESHOLD, BEST_RATIO_WINDOW_BITS};

/// How messages are compressed (permessage-deflate, RFC 7692).
///
/// *Own* is what this end sends, *peer* what it receives, whichever of the two is the server. These
/// settings are preferences and limits; the opening handshake may narrow them.
///
/// By default this end compresses each message on its own, with a compressor that all connections
/// of a thread share, so that a connection holds no memory for it; the peer may refer back to its
/// earlier messages. For that, a connection keeps what such a reference can reach: as much as the
/// peer has sent, at most 32 KiB.
///
/// | preset | own context | peer's context | level | for |
/// |---|---|---|---|---|
/// | [`new`](Self::new) | no | yes | 2 | servers and clients of any size |
/// | [`low_memory`](Self::low_memory) | no | no | 2 | very many connections: nothing is kept between messages |
/// | [`best_ratio`](Self::best_ratio) | yes, of 8 KiB | yes | 6 | few connections, or costly bytes |
///
/// Compressing a secret together with text that an attacker chooses lets the attacker learn the
/// secret from the lengths (CRIME, BREACH): send such messages with [`Compress::Never`].
///
/// ```
/// use tautline_frame::Compression;
///
/// let feed = Compression::best_ratio().level(4).own_window_bits(12);
/// assert!(feed.get_own_context_takeover());
/// ```
///
/// A setter has the name of its setting; the getter has the prefix `get_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compression {
    own_compression: bool,
    own_context_takeover: bool,
    peer_context_takeover: bool,
    own_window_bits: u8,
    peer_window_bits: u8,
    pub(crate) level: u8,
    pub(crate) threshold: usize,
    pub(crate) idle: Duration,
}

impl Default for Compression {
    fn default() -> Self {
        Self::new()
    }
}

impl Compression {
    /// The largest LZ77 window, 32 KiB, which is also the default of RFC 7692 (section 7.1.2).
    pub const MAX_WINDOW_BITS: u8 = 15;

    /// The smallest window with which this end compresses: zlib and its relatives cannot compress
    /// with 8 bits.
    pub const MIN_OWN_WINDOW_BITS: u8 = 9;

    /// The smallest window of RFC 7692, 256 bytes: a peer may compress with it.
    pub const MIN_PEER_WINDOW_BITS: u8 = 8;

    /// The lowest level that builds codes for the message at hand: level 1 uses the fixed ones, and
    /// sends a quarter more for JSON. Levels above it gain little on messages of some KiB: see the
    /// table in `docs/performance.md`.
    pub const DEFAULT_LEVEL: u8 = 2;

    /// 256 bytes. Below this, a message on its own hardly becomes smaller, and compressing it costs
    /// more than sending it.
    pub const DEFAULT_THRESHOLD: usize = 256;

    /// Ten seconds: longer than the pauses of a chat or a feed that is in use, short compared to
    /// the life of an idle connection.
    pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

    /// The default: little memory on this end, whatever the peer does.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            own_compression: true,
            own_context_takeover: false,
            peer_context_takeover: true,
            own_window_bits: Self::MAX_WINDOW_BITS,
            peer_window_bits: Self::MAX_WINDOW_BITS,
            level: Self::DEFAULT_LEVEL,
            threshold: Self::DEFAULT_THRESHOLD,
            idle: Self::DEFAULT_IDLE_TIMEOUT,
        }
    }

    /// No memory between messages, on either end: the peer is asked to compress each message on its
    /// own too.
    #[must_use]
    pub const fn low_memory() -> Self {
        Self::new().peer_context_takeover(false)
    }

    /// The fewest bytes on the wire: both ends refer back to earlier messages. With messages of
    /// more than 8 KiB, [`own_window_bits(15)`](Self::own_window_bits) may gain a little more. A
    /// connection that sends holds some 225 KiB for its compressor, until it has been idle for
    /// [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub const fn best_ratio() -> Self {
        Self::new()
            .own_context_takeover(true)
            .own_window_bits(BEST_RATIO_WINDOW_BITS)
            .level(BEST_RATIO_LEVEL)
            .threshold(BEST_RATIO_THRESHOLD)
    }

    /// Whether this end compresses at all. Default: yes. If not, it only inflates what the peer
    /// compresses, whatever [`Compress`] says. The same applies to a connection whose peer limits
    /// this end to a window of 8 bits (RFC 7692 section 7.1.2), with which zlib and its relatives
    /// cannot compress.
    #[must_use]
    pub const fn own_compression(mut self, yes: bool) -> Self {
        self.own_compression = yes;
        self
    }

    /// Whether what this end sends may refer back to its earlier messages (RFC 7692 section 7.1.1).
    /// Default: no. If so, messages that resemble each other become far smaller, and each
    /// connection that sends holds a compressor: see [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub const fn own_context_takeover(mut self, yes: bool) -> Self {
        self.own_context_takeover = yes;
        self
    }

    /// Whether what the peer sends may refer back to its earlier messages (RFC 7692 section 7.1.1).
    /// Default: yes. If so, a connection keeps the newest bytes that it received compressed, at
    /// most 2 to the power of [`peer_window_bits`](Self::peer_window_bits).
    #[must_use]
    pub const fn peer_context_takeover(mut self, yes: bool) -> Self {
        self.peer_context_takeover = yes;
        self
    }

    /// How far back in bytes, as a power of two, what this end sends may refer (RFC 7692 section
    /// 7.1.2). 9 to 15; other values become the nearest of these. Default: 15, which is 32 KiB.
    #[must_use]
    pub const fn own_window_bits(mut self, bits: u8) -> Self {
        self.own_window_bits = clamp(bits, Self::MIN_OWN_WINDOW_BITS);
        self
    }

    /// How far back in bytes, as a power of two, what the peer sends may refer (RFC 7692 section
    /// 7.1.2). 8 to 15; other values become the nearest of these. Default: 15, which is 32 KiB. The
    /// handshake asks for at least 9, since most compressors cannot do 8; a peer may choose 8 by
    /// itself. A server can only limit clients whose offer has `client_max_window_bits`; browsers'
    /// offers have it.
    #[must_use]
    pub const fn peer_window_bits(mut self, bits: u8) -> Self {
        self.peer_window_bits = clamp(bits, Self::MIN_PEER_WINDOW_BITS);
        self
    }

    /// From 1, the fastest, to 9, the smallest; other values become the nearest of these. Default:
    /// [`DEFAULT_LEVEL`](Self::DEFAULT_LEVEL).
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = match level {
            0 => 1,
            1..=9 => level,
            _ => 9,
        };
        self
    }

    /// Messages of fewer bytes are sent uncompressed, except with [`Compress::Always`]. Default:
    /// [`DEFAULT_THRESHOLD`](Self::DEFAULT_THRESHOLD).
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// How long a connection keeps its compressor without compressing a message; it is dropped
    /// after at most twice this. The next message then begins with an empty window, which the
    /// protocol allows a sender at any time. This is checked while the connection waits for
    /// messages. Default: [`DEFAULT_IDLE_TIMEOUT`](Self::DEFAULT_IDLE_TIMEOUT). It has no effect
    /// without [`own_context_takeover`](Self::own_context_takeover).
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle = timeout;
        self
    }

    /// Whether this end compresses what it sends.
    #[must_use]
    pub const fn get_own_compression(&self) -> bool {
        self.own_compression
    }

    /// Whether this end refers back to its earlier messages.
    #[must_use]
    pub const fn get_own_context_takeover(&self) -> bool {
        self.own_context_takeover
    }

    /// Whether the peer may refer back to its earlier messages.
    #[must_use]
    pub const fn get_peer_context_takeover(&self) -> bool {
        self.peer_context_takeover
    }

    /// The largest window of what this end sends, as a power of two in bytes: 9 to 15.
    #[must_use]
    pub const fn get_own_window_bits(&self) -> u8 {
        self.own_window_bits
    }

    /// The largest window of what the peer sends, as a power of two in bytes: 8 to 15.
    #[must_use]
    pub const fn get_peer_window_bits(&self) -> u8 {
        self.peer_window_bits
    }

    /// The level, 1 to 9: see [`level`](Self::level).
    #[must_use]
    pub const fn get_level(&self) -> u8 {
        self.level
    }

    /// The size in bytes from which messages are compressed: see [`threshold`](Self::threshold).
    #[must_use]
    pub const fn get_threshold(&self) -> usize {
        self.threshold
    }

    /// When an idle connection drops its compressor: see [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub const fn get_idle_timeout(&self) -> Duration {
        self.idle
    }
}

const fn clamp(bits: u8, min: u8) -> u8 {
    if bits < min {
        min
    } else if bits > Compression::MAX_WINDOW_BITS {
        Compression::MAX_WINDOW_BITS
    } else {
        bits
    }
}

/// Whether to compress one message, on a connection that has agreed on compression; on others
/// nothing is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "yes, no, or leave it to the library")]
pub enum Compress {
    /// If it is worth it: from [`Compression::threshold`] on, and if the result is smaller, or,
    /// below 16 KiB and with [`own_context_takeover`](Compression::own_context_takeover), at most 6
    /// bytes longer. Binary data that looks compressed or encrypted already is sent uncompressed,
    /// and so are most messages after many in a row that did not become smaller.
    #[default]
    Auto,
    /// Always, even if the result is larger.
    Always,
    /// Never. For secrets beside text that others choose (CRIME, BREACH: the length reveals the
    /// secret), and for data that is compressed already. Such messages stay out of the compression
    /// context.
    Never,
}
