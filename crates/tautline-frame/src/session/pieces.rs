//! Messages that the user takes in pieces.

use std::time::Instant;

use bytes::Bytes;

use super::inbox::Kept;
use super::{Error, Interest, Phase, Progress, Reading, Session};
use crate::compression::Compress;
use crate::message::{Kind, Message};
use crate::protocol::{Piece, Protocol};

impl Session {
    /// The beginning of the next message, whose contents [`poll_piece`](Self::poll_piece) returns;
    /// or the end, with its error once.
    pub fn poll_start(
        &mut self,
        now: impl Fn() -> Instant,
    ) -> Progress<Option<Result<Kind, Error>>> {
        self.skip_message();
        self.reading = Reading::Start;
        if self.must_yield() {
            return Progress::Needs(Interest::Read);
        }
        let kind = match self.take_kept() {
            // It comes in pieces after all.
            Some(Kept::Message(message)) => {
                let kind = message.kind();
                self.put_back(Kept::Piece(Piece::End));
                if !message.is_empty() {
                    self.put_back(Kept::Piece(Piece::Data(message.into_bytes())));
                }
                Some(kind)
            }
            Some(Kept::Piece(piece)) => start_of(&piece),
            None => {
                // What has arrived of a message that was being collected is due now.
                self.unread |= self.protocol.is_collecting();
                self.receive_next_piece(now).and_then(|piece| start_of(&piece))
            }
        };
        if let Some(kind) = kind {
            self.reading = Reading::Pieces;
            return Progress::Done(Some(Ok(kind)));
        }
        if self.is_done() {
            return Progress::Done(self.end().map(Err));
        }
        Progress::Needs(Interest::Read)
    }

    /// The next bytes of the message that [`poll_start`](Self::poll_start) began; `None` when it is
    /// complete.
    ///
    /// # Errors
    /// The message will not be completed: why the connection ended, or [`Error::Unfinished`] if the
    /// peer closed it in order.
    pub fn poll_piece(
        &mut self,
        now: impl Fn() -> Instant,
    ) -> Progress<Result<Option<Bytes>, Error>> {
        if self.must_yield() {
            return Progress::Needs(Interest::Read);
        }
        let kept = self.take_kept().and_then(Kept::into_piece);
        match kept.or_else(|| self.receive_next_piece(now)) {
            Some(Piece::Data(data)) => return Progress::Done(Ok(Some(data))),
            Some(Piece::Start(_) | Piece::End) => {
                self.reading = Reading::Start;
                return Progress::Done(Ok(None));
            }
            None => {}
        }
        if self.is_done() {
            return Progress::Done(Err(self.end().unwrap_or(Error::Unfinished)));
        }
        Progress::Needs(Interest::Read)
    }

    /// Drops the rest of the message that [`poll_start`](Self::poll_start) began, as it arrives.
    #[inline]
    pub fn skip_message(&mut self) {
        if self.reading == Reading::Pieces {
            self.skip_rest();
        }
    }

    #[cold]
    fn skip_rest(&mut self) {
        self.reading = Reading::Start;
        while let Some(piece) = self.take_kept().and_then(Kept::into_piece) {
            if piece == Piece::End {
                return;
            }
        }
        self.protocol.skip_message();
    }

    /// The next message among what was kept.
    pub(super) fn take_kept_message(&mut self, now: impl Fn() -> Instant) -> Option<Message> {
        match self.take_kept()? {
            Kept::Message(message) => Some(message),
            Kept::Piece(piece) => {
                let was_open = self.protocol.is_open();
                let collected = self.collect(start_of(&piece)?);
                if was_open && !self.protocol.is_open() {
                    // It may have been kept for long: the deadline of our Close counts from now.
                    self.protocol.restart_close(now());
                }
                collected
            }
        }
    }

    /// The message that was kept in pieces, as a whole. `None` if its end has not arrived: the
    /// protocol collects the rest.
    fn collect(&mut self, kind: Kind) -> Option<Message> {
        let mut data = Vec::new();
        let complete = loop {
            let piece = match self.take_kept().and_then(Kept::into_piece) {
                // What came next was not kept.
                None if self.inbox.is_some() => return None,
                None => self.protocol.poll_due_piece(),
                kept => Ok(kept),
            };
            match piece {
                Ok(Some(Piece::Data(piece))) => data.extend_from_slice(&piece),
                Ok(Some(Piece::Start(_) | Piece::End)) => break true,
                Ok(None) => break false,
                Err(error) => {
                    self.fail(error);
                    return None;
                }
            }
        };
        if let Err(error) = self.protocol.admit_collected(data.len()) {
            self.fail(error);
        } else if complete {
            return kind.message(data);
        } else {
            self.protocol.collect_rest(data);
        }
        None
    }

    /// The next piece that has not been kept. If something was not kept that should have been, what
    /// comes after it must not be delivered either.
    fn receive_next_piece(&mut self, now: impl Fn() -> Instant) -> Option<Piece> {
        while let Some(piece) = self.receive_piece(&now) {
            if self.inbox.is_none() {
                return Some(piece);
            }
        }
        None
    }

    /// The next piece of what has been read.
    pub(super) fn receive_piece(&mut self, now: impl Fn() -> Instant) -> Option<Piece> {
        let piece = self.receive_by(Protocol::handle_arrived_pieces, now)?;
        if piece == Piece::End {
            self.read.release();
        }
        Some(piece)
    }
}

/// Messages that the user writes in pieces.
impl Session {
    /// Begins a message: see [`Protocol::begin_message`]. Call [`poll_room`](Self::poll_room)
    /// first.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Error::Unfinished`] while another message is under way.
    pub fn begin_message(&mut self, kind: Kind, compress: Compress) -> Result<(), Error> {
        Ok(self.protocol.begin_message(kind, compress)?)
    }

    /// Room for a piece of the message that was begun, or for its end; an error when the connection
    /// is closing or has failed.
    #[must_use]
    pub fn poll_writable(&self) -> Progress<Result<(), Error>> {
        if !self.protocol.is_open() {
            return Progress::Done(Err(self.failure().cloned().unwrap_or(Error::Closed)));
        }
        match self.protocol.is_writable() {
            true => Progress::Done(Ok(())),
            false => Progress::Needs(Interest::Write),
        }
    }

    /// Queues a piece of the message.
    ///
    /// # Errors
    /// As [`Protocol::write_message`].
    pub fn write_message(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.lend_queue();
        Ok(self.protocol.write_message(bytes)?)
    }

    /// Queues a piece of the message, without a copy if it is long.
    ///
    /// # Errors
    /// As [`Protocol::write_message`].
    pub fn write_message_bytes(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.lend_queue();
        Ok(self.protocol.write_message_bytes(bytes)?)
    }

    /// Queues what was written and is collected for a fragment.
    pub fn flush_message(&mut self) {
        self.lend_queue();
        self.protocol.flush_message();
    }

    /// Queues the end of the message.
    ///
    /// # Errors
    /// As [`Protocol::finish_message`].
    pub fn finish_message(&mut self) -> Result<(), Error> {
        self.lend_queue();
        Ok(self.protocol.finish_message()?)
    }

    /// Gives the message up. If anything of it was written, the connection fails with 1011 and
    /// [`Error::Unfinished`].
    pub fn abort_message(&mut self, now: Instant) {
        if self.protocol.abort_message(now) {
            self.note_failure(Error::Unfinished);
            if self.phase == Phase::Running {
                self.phase = Phase::Ending;
            }
        }
    }

    fn lend_queue(&mut self) {
        if !self.protocol.queue().has_buffer() {
            self.lend_buffer();
        }
    }
}

const fn start_of(piece: &Piece) -> Option<Kind> {
    match piece {
        Piece::Start(kind) => Some(*kind),
        // Not reached: what is left of the message before is taken or skipped.
        Piece::Data(_) | Piece::End => None,
    }
}
