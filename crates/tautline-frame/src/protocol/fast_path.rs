//! The fast path, in and out, for what nearly every message is: a single short frame, completely
//! received and not compressed.
//!
//! It has no rules of its own: it asks the helpers that the general path (`receive.rs`,
//! `transmit.rs`) is made of. Where one of them refuses, the fast path declines, with nothing
//! changed, and the general path finds the error.
//!
//! The functions that other modules call are always inlined, up to the user's loop, and the
//! functions they call take and return what fits in registers. A message that is passed between
//! functions in memory is stored word by word and loaded in pairs of words, and each such load
//! waits for the stores: measured, that was half of the time of a message of 16 bytes.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::Protocol;
use super::receive::check_utf8;
use crate::header::{Header, Rsv};
use crate::message::Message;
use crate::opcode::OpCode;
use crate::state::Event;
use crate::text::Text;
use crate::write_queue::WriteQueue;

impl Protocol {
    /// Takes the next message off the buffer if it is of the most common kind: a single short
    /// frame, completely received and not compressed. Returns `None` for anything else, right or
    /// wrong, and when the turn is over. Nothing has changed then: call
    /// [`handle_data`](Self::handle_data). Meant for a loop that is inlined up to the user's code,
    /// and that calls [`handle_received`](Self::handle_received) once for each read rather than for
    /// each message.
    ///
    /// ```
    /// use std::time::Instant;
    /// use bytes::BytesMut;
    /// use tautline_frame::{Config, Message, Protocol, Role};
    ///
    /// let mut client = Protocol::new(Role::Client, Config::new(), Instant::now());
    /// // A message and a ping.
    /// let mut wire = BytesMut::from(&b"\x81\x05hello\x89\x00"[..]);
    /// assert_eq!(client.take_short(&mut wire), Some(Message::from("hello")));
    /// assert_eq!(client.take_short(&mut wire), None);
    /// assert_eq!(client.handle_data(&mut wire, Instant::now()), Ok(None));
    /// assert!(client.poll_transmit(), "the pong");
    /// ```
    #[must_use = "it is a message of the peer"]
    #[inline(always)]
    pub fn take_short(&mut self, buffer: &mut BytesMut) -> Option<Message> {
        let text = match *buffer.first()? {
            Header::WHOLE_BINARY => false,
            Header::WHOLE_TEXT => true,
            _ => return None,
        };
        let payload = Bytes::from(self.take_short_payload(text, buffer)?);
        Some(match text {
            true => Message::Text(Text::from_checked(payload)),
            false => Message::Binary(payload),
        })
    }

    fn take_short_payload(&mut self, text: bool, buffer: &mut BytesMut) -> Option<Box<[u8]>> {
        let Some(range) = self.peek_short(buffer) else {
            declined();
            return None;
        };
        let end = range.end;
        let payload = self.reader.copy_whole(buffer.get(range)?)?;
        if text {
            check_utf8(&payload).ok()?;
        }
        if end == buffer.len() {
            // The next read starts at the front again.
            buffer.clear();
        } else {
            buffer.advance(end);
        }
        self.turn.charge_short(end);
        self.count_received();
        Some(payload)
    }

    #[inline(always)]
    fn peek_short(&self, buffer: &[u8]) -> Option<Range<usize>> {
        if self.turn.is_over() || !self.state.allows(Event::ReceiveData) {
            return None;
        }
        let (len, range) = self.reader.peek_whole(buffer)?;
        self.admit_message(Rsv::NONE, len).ok()?;
        Some(range)
    }

    /// Queues a payload as one frame, if it is short and goes out as it is. Returns whether it was
    /// queued.
    #[inline(always)]
    pub(super) fn push_short(&mut self, opcode: OpCode, payload: &[u8]) -> bool {
        let short = WriteQueue::copies(payload.len())
            && self.deflate.is_none()
            && self.sends_whole()
            && self.is_open();
        if short {
            self.push_copied(opcode, payload);
        }
        short
    }

    #[inline(never)]
    fn push_copied(&mut self, opcode: OpCode, payload: &[u8]) {
        let header = self.header(true, Rsv::NONE, opcode, payload.len());
        self.queue.push_copied(&header, payload);
        self.count_sent();
    }
}

/// Marks a branch as unlikely. Otherwise the compiler takes what follows so many checks for cold
/// and inlines nothing there, not even [`BytesMut::advance`]: measured, 27 to 29 instructions for
/// each message.
#[cold]
#[inline(never)]
fn declined() {
    // Or the call is gone before it has told the inliner anything.
    std::hint::black_box(());
}
