//! Compression of one connection (RFC 7692 section 7.2): deflate and inflate, and what they keep
//! between messages.
//!
//! Memory is the point. Inflaters (40 KiB) and, without context takeover, compressors (330 KiB)
//! belong to the thread and are borrowed for the length of a message. What a peer's next message
//! may refer to is kept as plain bytes, no more of them than there were: that is less than an
//! inflater, and lets any inflater go on.

mod backoff;
mod compressor;
mod inflater;
mod kept;
mod streaming;
mod window;

use std::time::Instant;

use bytes::Bytes;

use self::backoff::Backoff;
use self::compressor::Compressor;
use self::inflater::Inflater;
pub(crate) use self::inflater::{InflateError, More};
pub(crate) use self::streaming::Flush;
use self::streaming::Streaming;
use self::window::Window;
use crate::compression::{Compress, Compression};
use crate::config::{COMPRESS_COST, COMPRESS_START_COST, FORGET_THRESHOLD};
use crate::prepared::{Compressed, Parameters, Prepared};
use crate::timers::is_due;
use crate::turn::Turn;

/// What every compressed message ends with before it is cut off (RFC 7692 section 7.2.1): an empty
/// stored block, without its first byte.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// The compression of one connection.
#[derive(Debug)]
pub(crate) struct Deflate {
    settings: Compression,
    /// With context takeover: the compressor that knows the earlier messages.
    compressor: Option<Box<Compressor>>,
    /// And what it knows of them, for when it has to forget a message that the peer did not get
    /// from it.
    sent: Window,
    /// How far a message is compressed that is sent in pieces.
    streaming: Option<Streaming>,
    /// Which messages are worth trying.
    backoff: Backoff,
    /// Whether it was needed since its time was last looked at.
    used: bool,
    /// When to look whether it is still needed.
    deadline: Option<Instant>,
    /// For the length of a message.
    inflater: Option<Box<Inflater>>,
    /// What the peer's next message may refer to.
    window: Window,
}

impl Deflate {
    pub(crate) fn new(settings: Compression) -> Self {
        let window = |kept: bool, bits: u8| Window::new(if kept { 1 << bits } else { 0 });
        let (own, peer) = (settings.get_own_window_bits(), settings.get_peer_window_bits());
        Self {
            settings,
            compressor: None,
            sent: window(settings.get_own_context_takeover(), own),
            streaming: None,
            backoff: Backoff::default(),
            used: false,
            deadline: None,
            inflater: None,
            window: window(settings.get_peer_context_takeover(), peer),
        }
    }

    pub(crate) const fn settings(&self) -> &Compression {
        &self.settings
    }

    /// The payload of a compressed message, or `None` when it is to go out as it is. `since` is any
    /// time of this connection that has passed.
    pub(crate) fn compress(
        &mut self,
        payload: &[u8],
        text: bool,
        compress: Compress,
        since: Instant,
        turn: &mut Turn,
    ) -> Option<Bytes> {
        let smaller = match compress {
            _ if !self.settings.get_own_compression() => return None,
            Compress::Never => return None,
            Compress::Always => false,
            Compress::Auto if payload.len() < self.settings.threshold.max(1) => return None,
            // UTF-8 never fills its bytes; it is binary data that may be compressed already.
            Compress::Auto if !text && compressor::looks_random(payload) => return None,
            Compress::Auto if self.backoff.skips() => return None,
            Compress::Auto => true,
        };
        turn.charge(
            COMPRESS_START_COST.saturating_add(payload.len().saturating_mul(COMPRESS_COST)),
        );
        let mut compressor = self.compressor();
        let compressed = if self.settings.get_own_context_takeover() {
            let compressed =
                compress_with_context(&mut compressor, &mut self.sent, payload, smaller);
            self.compressor = Some(compressor);
            self.note_use(since);
            compressed
        } else {
            let compressed = compressor.compress(payload, limit(payload, smaller));
            compressor.give_back();
            compressed
        };
        if smaller {
            let gained = compressed.as_ref().is_some_and(|it| it.len() < payload.len());
            self.backoff.note(gained);
        }
        compressed
    }

    /// The compressed form of a message that is shared with other connections, or `None` when it is
    /// to go out as it is.
    pub(crate) fn share<'a>(
        &mut self,
        prepared: &'a Prepared,
        turn: &mut Turn,
    ) -> Option<&'a Compressed> {
        let always = match prepared.compression() {
            _ if !self.settings.get_own_compression() => return None,
            Compress::Never => return None,
            Compress::Always => true,
            Compress::Auto if prepared.payload().len() < self.settings.threshold.max(1) => {
                return None;
            }
            Compress::Auto => false,
        };
        let (window_bits, level) = (self.settings.get_own_window_bits(), self.settings.level);
        let shared = prepared.compressed(Parameters { window_bits, level, always }, |message| {
            let payload = message.as_bytes();
            if !always && !message.is_text() && compressor::looks_random(payload) {
                return None;
            }
            turn.charge(COMPRESS_START_COST + payload.len().saturating_mul(COMPRESS_COST));
            let mut compressor = Compressor::borrow(window_bits, level);
            let compressed = compressor.compress(payload, limit(payload, !always));
            compressor.give_back();
            compressed
        })?;
        // The peer's window has this message in it, and that of our compressor has not.
        self.stop_sending();
        Some(shared)
    }

    fn note_use(&mut self, since: Instant) {
        self.used = true;
        if self.deadline.is_none() {
            self.deadline = since.checked_add(self.settings.idle);
        }
    }

    fn compressor(&mut self) -> Box<Compressor> {
        self.compressor.take().unwrap_or_else(|| {
            Compressor::borrow(self.settings.get_own_window_bits(), self.settings.level)
        })
    }

    /// Inflates some of `input` to the end of `message`, and takes that much off `input`.
    pub(crate) fn inflate(
        &mut self,
        input: &mut &[u8],
        message: &mut Vec<u8>,
        limit: usize,
        turn: &mut Turn,
    ) -> Result<More, InflateError> {
        let window = &self.window;
        let inflater = self.inflater.get_or_insert_with(|| Inflater::borrow(window, turn));
        inflater.inflate(input, message, window, limit, turn)
    }

    /// The message is complete: checks that it was a whole one, and keeps what the next may refer
    /// to.
    pub(crate) fn end_message(
        &mut self,
        message: &mut Vec<u8>,
        limit: usize,
        turn: &mut Turn,
    ) -> Result<(), InflateError> {
        if let Some(mut inflater) = self.inflater.take() {
            inflater.end_message(message, &self.window, limit, turn)?;
            inflater.give_back();
        }
        self.window.push(message);
        Ok(())
    }

    /// Nothing more is sent.
    pub(crate) fn stop_sending(&mut self) {
        self.deadline = None;
        self.streaming = None;
        self.sent.clear();
        if let Some(compressor) = self.compressor.take() {
            compressor.give_back();
        }
    }

    /// Nothing more is sent or received.
    pub(crate) fn end(&mut self) {
        self.stop_sending();
        self.window.clear();
        self.inflater = None;
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the compressor to the thread if it was not needed for a while.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if !is_due(self.deadline, now) {
            return;
        }
        if std::mem::take(&mut self.used) || self.streaming.is_some() {
            self.deadline = now.checked_add(self.settings.idle);
        } else {
            self.stop_sending();
        }
    }
}

/// The most that a message may have.
fn limit(payload: &[u8], smaller: bool) -> usize {
    if smaller { payload.len() } else { usize::MAX }
}

/// What the window holds and what the peer gets compressed must be the same (RFC 7692 section
/// 7.2.3.2). So a short message that does not become smaller is sent in a block that is not
/// compressed: that costs six bytes, where forgetting it costs more time than compressing several
/// others, and a peer can make an echo send many.
fn compress_with_context(
    compressor: &mut Compressor,
    sent: &mut Window,
    payload: &[u8],
    smaller: bool,
) -> Option<Bytes> {
    let short = payload.len() < FORGET_THRESHOLD;
    let most = if short { usize::MAX } else { limit(payload, smaller) };
    match compressor.compress(payload, most) {
        Some(compressed) => {
            sent.push(payload);
            let grew = smaller && compressed.len() >= payload.len();
            Some(if grew { compressor::stored(payload) } else { compressed })
        }
        None => {
            compressor.forget();
            compressor.remember(sent);
            None
        }
    }
}
