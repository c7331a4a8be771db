//! The short way in and out, of what nearly every message is: one frame, short, all of it there, not compressed.
//!
//! The functions that others call are always inlined, up to the loop of the user, and those that they call take and give
//! what fits in registers. A message that goes from function to function in memory is stored in words and loaded in pairs
//! of them, and each such load waits for the stores: measured, that was half of the time of a message of 16 bytes.

use bytes::{Buf, Bytes, BytesMut};

use super::Protocol;
use crate::config::CHAIN_THRESHOLD;
use crate::header::{Header, Rsv};
use crate::message::Message;
use crate::opcode::OpCode;
use crate::state::{Event, Verdict};
use crate::text::Text;

impl Protocol {
    /// What [`handle_data`](Self::handle_data) gives first, if that is a message of the most common kind: in one frame, short,
    /// not compressed, and all of it there. `None` for whatever else is there, right or wrong, or when the turn is over, and nothing
    /// has happened then: call `handle_data`. For a loop that is inlined as far as its user, and that tells
    /// [`handle_received`](Self::handle_received) of each read once instead of with each message.
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
        if self.turn.is_over()
            || self.incoming.is_some()
            || self.state.on(Event::ReceiveData).1 != Verdict::Act
        {
            return None;
        }
        let (payload, end) = self.reader.copy_short(buffer, self.config.max_message_size)?;
        // RFC 6455 section 8.1; what is wrong here, the general way finds and tells.
        if text && simdutf8::basic::from_utf8(&payload).is_err() {
            return None;
        }
        buffer.advance(end);
        self.turn.charge_short(end);
        Some(payload)
    }

    /// Queues a payload as one frame, if it is of that kind; gives whether it was.
    #[inline(always)]
    pub(super) fn push_short(&mut self, opcode: OpCode, payload: &[u8]) -> bool {
        let short = payload.len() < CHAIN_THRESHOLD
            && self.deflate.is_none()
            && self.outgoing.is_none()
            && self.state.on(Event::SendData).1 == Verdict::Act
            && self.config.fragment_size.is_none();
        if short {
            self.push_copied(opcode, payload);
        }
        short
    }

    fn push_copied(&mut self, opcode: OpCode, payload: &[u8]) {
        let header = self.header(true, Rsv::NONE, opcode, payload.len());
        self.queue.push_copied(&header, payload);
    }
}
