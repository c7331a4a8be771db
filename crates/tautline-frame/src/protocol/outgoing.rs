//! Sending a message in several frames: because it is longer than a fragment, or because the user
//! writes it in pieces.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Protocol;
use crate::close::{CloseCode, CloseFrame};
use crate::compression::Compress;
use crate::config::{CHAIN_THRESHOLD, FRAGMENT, PIECE};
use crate::deflate::Flush;
use crate::error::SendError;
use crate::header::Rsv;
use crate::message::Kind;
use crate::opcode::OpCode;
use crate::utf8::Utf8Checker;

#[derive(Debug)]
pub(super) struct Outgoing {
    /// The opcode and reserved bits of the next fragment.
    opcode: OpCode,
    rsv: Rsv,
    /// What is not in a fragment yet, as it goes out.
    rest: Bytes,
    /// The most bytes of a fragment.
    size: usize,
    /// What the user writes further; `None` if the message ends with `rest`.
    open: Option<Open>,
}

/// A message that the user has not finished.
#[derive(Debug)]
struct Open {
    kind: Kind,
    compress: Compress,
    coding: Coding,
    utf8: Utf8Checker,
    /// What was written and is not in `rest` yet.
    pending: BytesMut,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Coding {
    /// Decided with the first fragment.
    Undecided,
    Plain,
    Compressed,
}

impl Outgoing {
    /// How many bytes of it are not in a fragment.
    pub(super) fn queued(&self) -> usize {
        self.rest.len() + self.open.as_ref().map_or(0, |open| open.pending.len())
    }

    /// Whether nothing of it went out or was compressed.
    fn is_untouched(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.coding == Coding::Undecided)
    }
}

/// Fragments.
impl Protocol {
    pub(super) fn send_in_fragments(&mut self, rsv: Rsv, opcode: OpCode, payload: Bytes) {
        while self.push_fragment() {}
        let size = self.config.fragment_size.unwrap_or(usize::MAX);
        self.outgoing = Some(Box::new(Outgoing { opcode, rsv, rest: payload, size, open: None }));
        self.push_fragments();
    }

    /// Whether a part of a message waits to be encoded.
    pub(super) fn has_rest(&self) -> bool {
        self.outgoing.as_ref().is_some_and(|it| it.open.is_none() || !it.rest.is_empty())
    }

    pub(super) fn push_fragments(&mut self) {
        while self.has_room() && self.push_fragment() {}
    }

    /// Encodes the next fragment, whether there is room or not. Returns whether more are left.
    fn push_fragment(&mut self) -> bool {
        let Some(outgoing) =
            self.outgoing.as_mut().filter(|it| it.open.is_none() || !it.rest.is_empty())
        else {
            return false;
        };
        let payload = outgoing.rest.split_to(outgoing.size.min(outgoing.rest.len()));
        let opcode = std::mem::replace(&mut outgoing.opcode, OpCode::Continuation);
        let rsv = std::mem::replace(&mut outgoing.rsv, Rsv::NONE);
        let more = !outgoing.rest.is_empty();
        let fin = !more && outgoing.open.is_none();
        if fin {
            self.outgoing = None;
        }
        self.push(fin, rsv, opcode, payload);
        more
    }
}

/// Messages that the user writes in pieces.
impl Protocol {
    /// Begins a message that is sent in pieces, in fragments that follow what is written: see
    /// [`write_message`](Self::write_message). Nothing goes out yet. Until it is finished, no other
    /// message can be sent; pings and pongs pass between its fragments.
    ///
    /// ```
    /// use std::time::Instant;
    /// use bytes::{Buf, BytesMut};
    /// use tautline_frame::{Compress, Config, Kind, Message, Protocol, Role};
    ///
    /// let now = Instant::now();
    /// let mut server = Protocol::new(Role::Server, Config::new(), now);
    /// server.begin_message(Kind::Text, Compress::Auto)?;
    /// server.write_message(b"one part, ")?;
    /// server.flush_message();
    /// server.write_message(b"and another")?;
    /// server.finish_message()?;
    /// assert!(server.poll_transmit());
    ///
    /// let len = server.queue().remaining();
    /// let mut wire = BytesMut::from(&server.queue().copy_to_bytes(len)[..]);
    /// assert_eq!(wire[0], 0x01, "text, and not the last frame");
    /// let mut client = Protocol::new(Role::Client, Config::new(), now);
    /// let message = Message::from("one part, and another");
    /// assert_eq!(client.handle_data(&mut wire, now)?, Some(message));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SendError::Closed`] once a Close was sent or received; [`SendError::Unfinished`] if
    /// another message is under way: ask [`ready`](Self::ready) first.
    pub fn begin_message(&mut self, kind: Kind, compress: Compress) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        if self.outgoing.is_some() {
            return Err(SendError::Unfinished);
        }
        let open = Open {
            kind,
            compress,
            coding: Coding::Undecided,
            utf8: Utf8Checker::default(),
            pending: BytesMut::new(),
        };
        self.outgoing = Some(Box::new(Outgoing {
            opcode: kind.opcode(),
            rsv: Rsv::NONE,
            rest: Bytes::new(),
            size: self.config.fragment_size.unwrap_or(PIECE).min(PIECE),
            open: Some(open),
        }));
        Ok(())
    }

    /// The next bytes of the message. They are collected up to 64 KiB, and then go out as a
    /// fragment. Ask [`is_writable`](Self::is_writable) first, or the queue grows.
    ///
    /// # Errors
    /// [`SendError::Closed`] as above. [`SendError::Utf8`] if the message is a text and these bytes
    /// cannot continue it (RFC 6455 section 8.1); a character may be continued by the next ones.
    /// Nothing of them was taken.
    pub fn write_message(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let open = self.open_message(bytes)?;
        open.pending.extend_from_slice(bytes);
        if open.pending.len() >= FRAGMENT {
            self.flush_pending(Flush::No);
        }
        Ok(())
    }

    /// [`write_message`](Self::write_message) without a copy: long bytes are a fragment as they
    /// are.
    ///
    /// # Errors
    /// As [`write_message`](Self::write_message).
    pub fn write_message_bytes(&mut self, bytes: Bytes) -> Result<(), SendError> {
        if bytes.len() < CHAIN_THRESHOLD {
            return self.write_message(&bytes);
        }
        self.open_message(&bytes)?;
        self.flush_pending(Flush::No);
        self.emit(bytes, Flush::No);
        Ok(())
    }

    /// Sends what was written so far, as a fragment.
    pub fn flush_message(&mut self) {
        self.flush_pending(Flush::Yes);
    }

    /// The message is complete. If nothing of it went out, it is sent as any other.
    ///
    /// # Errors
    /// [`SendError::Closed`] as above. [`SendError::Utf8`] if it is a text and ends in the middle
    /// of a character: it can be continued or aborted.
    pub fn finish_message(&mut self) -> Result<(), SendError> {
        let open = self.open_message(&[])?;
        let mut utf8 = open.utf8;
        utf8.finish().map_err(|_| SendError::Utf8)?;
        let pending = open.pending.split().freeze();
        let (kind, compress) = (open.kind, open.compress);
        if self.outgoing.take_if(|outgoing| outgoing.is_untouched()).is_some() {
            return self.send_payload(kind.opcode(), pending, compress);
        }
        self.count_sent();
        self.emit(pending, Flush::End);
        Ok(())
    }

    /// The message will not be complete. The peer must not take a part for the whole, so the
    /// connection fails with 1011. Returns whether it does: not if nothing was written, nor if it is
    /// closing already.
    pub fn abort_message(&mut self, now: Instant) -> bool {
        let Some(outgoing) = self.outgoing.take_if(|outgoing| outgoing.open.is_some()) else {
            return false;
        };
        if !self.is_open() || (outgoing.is_untouched() && outgoing.queued() == 0) {
            return false;
        }
        let code = CloseCode::INTERNAL_ERROR;
        let frame = CloseFrame::new(code, "message not finished").unwrap_or(CloseFrame::from(code));
        self.fail(frame, now);
        true
    }

    /// Whether a message that is sent in pieces is not finished.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.outgoing.as_ref().is_some_and(|outgoing| outgoing.open.is_some())
    }

    /// Whether there is room for the next piece: fewer bytes are queued than the write mark, and
    /// the pieces before it are encoded.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.has_room() && self.outgoing.as_ref().is_none_or(|outgoing| outgoing.rest.is_empty())
    }

    /// The message, if these bytes may follow.
    fn open_message(&mut self, bytes: &[u8]) -> Result<&mut Open, SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        let open = self.outgoing.as_mut().and_then(|outgoing| outgoing.open.as_mut());
        let Some(open) = open else { return Err(SendError::Unfinished) };
        if open.kind == Kind::Text {
            let mut utf8 = open.utf8;
            utf8.feed(bytes).map_err(|_| SendError::Utf8)?;
            open.utf8 = utf8;
        }
        Ok(open)
    }

    fn flush_pending(&mut self, flush: Flush) {
        let open = self.outgoing.as_mut().and_then(|outgoing| outgoing.open.as_mut());
        let Some(open) = open else { return };
        let pending = open.pending.split().freeze();
        self.emit(pending, flush);
    }

    /// Makes fragments of these bytes, compressed or not, after those before them.
    fn emit(&mut self, bytes: Bytes, flush: Flush) {
        while self.push_fragment() {}
        let Some(outgoing) = &mut self.outgoing else { return };
        let Some(open) = &mut outgoing.open else { return };
        if open.coding == Coding::Undecided && !bytes.is_empty() {
            let text = open.kind == Kind::Text;
            let deflate = self.deflate.as_mut().filter(|_| !self.broken);
            let compressed = deflate.is_some_and(|it| it.begin(&bytes, text, open.compress));
            open.coding = if compressed { Coding::Compressed } else { Coding::Plain };
            // RFC 7692 section 6.1: on the first frame.
            outgoing.rsv = if compressed { Rsv::RSV1 } else { Rsv::NONE };
        }
        outgoing.rest = match &mut self.deflate {
            Some(deflate) if open.coding == Coding::Compressed => {
                deflate.compress_piece(&bytes, flush, self.last_received, &mut self.turn)
            }
            _ => bytes,
        };
        if flush == Flush::End {
            outgoing.open = None;
        }
        self.push_fragments();
    }
}
