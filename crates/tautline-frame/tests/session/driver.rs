//! A second driver of a [`Session`], besides that of the `tautline` crate: over two pipes in
//! memory, without tokio, at the time that a test chooses.

use std::time::Instant;

use bytes::{Buf, BytesMut};
use tautline_frame::session::{Action, Progress, Session};

/// One direction of a transport: accepts this many bytes until they are read.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) bytes: BytesMut,
    pub(crate) capacity: usize,
    pub(crate) ended: bool,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: BytesMut::new(), capacity, ended: false }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) session: Session,
    /// How often it yielded.
    pub(crate) turns: usize,
}

impl End {
    /// One wake-up of a task that wants something: `None` when it has to wait.
    pub(crate) fn wake<T>(
        &mut self,
        input: &mut Pipe,
        output: &mut Pipe,
        now: Instant,
        mut wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Option<T> {
        self.session.handle_wake();
        loop {
            let interest = match wanted(&mut self.session) {
                Progress::Done(given) => return Some(given),
                Progress::Needs(interest) => interest,
            };
            match self.session.poll_action(interest) {
                Action::Read => self.read(input, now),
                Action::Write => self.write(output, now),
                Action::Flush => self.session.handle_flushed(|| now),
                Action::Shutdown => {
                    output.ended = true;
                    self.session.handle_shut();
                }
                Action::Yield => {
                    self.turns += 1;
                    self.session.handle_turn(now);
                    return None;
                }
                Action::Wait if self.session.poll_timeout().is_some_and(|due| due <= now) => {
                    if self.session.should_probe() {
                        self.read(input, now);
                    }
                    self.session.handle_timeout(now);
                    output.ended |= self.session.is_done();
                }
                Action::Wait => return None,
                Action::Done => output.ended = true,
            }
        }
    }

    fn read(&mut self, input: &mut Pipe, now: Instant) {
        if input.bytes.is_empty() {
            return match input.ended {
                true => self.session.handle_eof(now),
                false => self.session.handle_read_blocked(),
            };
        }
        let (buffer, most) = self.session.read_buffer();
        let count = most.min(input.bytes.len());
        buffer.extend_from_slice(&input.bytes.split_to(count));
        self.session.handle_read(count, now);
    }

    fn write(&mut self, output: &mut Pipe, now: Instant) {
        let queue = self.session.queue();
        let count = queue.chunk().len().min(output.capacity - output.bytes.len());
        if count == 0 {
            return self.session.handle_write_blocked(now);
        }
        output.bytes.extend_from_slice(&queue.chunk()[..count]);
        queue.advance(count);
        self.session.handle_written(|| now);
    }
}
