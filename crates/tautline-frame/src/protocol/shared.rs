//! Sending a message that many connections share.

use bytes::Bytes;

use super::Protocol;
use crate::error::SendError;
use crate::header::Rsv;
use crate::prepared::Prepared;
use crate::role::Role;

impl Protocol {
    /// Queues a message that was prepared for many connections: a server sends the frame that all
    /// of them share, a client a masked copy. If compression was negotiated, the compressed form is
    /// shared among all who have agreed on the same parameters. It refers to no earlier message,
    /// and this end's compression context begins anew after it (RFC 7692 section 7.1.1).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_prepared(&mut self, prepared: &Prepared) -> Result<(), SendError> {
        let shares = self.role == Role::Server && self.deflate.is_none() && self.sends_whole();
        if shares && self.is_open() {
            self.queue.push_frame(prepared.frame());
            self.count_sent();
            return Ok(());
        }
        self.send_any_prepared(prepared)
    }

    #[inline(never)]
    fn send_any_prepared(&mut self, prepared: &Prepared) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        if self.is_writing() {
            return Err(SendError::Unfinished);
        }
        self.count_sent();
        let deflate = self.deflate.as_mut().filter(|_| !self.broken);
        let compressed = deflate.and_then(|it| it.share(prepared, &mut self.turn));
        let (rsv, payload, frame) = match compressed {
            Some(compressed) => (Rsv::RSV1, &compressed.payload, &compressed.frame),
            None => (Rsv::NONE, prepared.payload(), prepared.frame()),
        };
        if !self.sends_whole() {
            let (opcode, payload) = (prepared.message().kind().opcode(), Bytes::clone(payload));
            self.send_in_fragments(rsv, opcode, payload);
        } else if self.role == Role::Server {
            self.queue.push_frame(frame);
        } else {
            let (opcode, payload) = (prepared.message().kind().opcode(), Bytes::clone(payload));
            self.push(true, rsv, opcode, payload);
        }
        Ok(())
    }
}
