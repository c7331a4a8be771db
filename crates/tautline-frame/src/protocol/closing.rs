//! How a connection begins to close, and how long that may take (RFC 6455 section 7.1.1), whatever
//! the peer does.

use std::time::Instant;

use super::Protocol;
use crate::close::CloseFrame;
use crate::config::{DISCARD_PAUSE, DISCARDED_AT_ONCE, MAX_CLOSE_TIMEOUTS};
use crate::state::{Event, State, Verdict};
use crate::timers::{Timers, jittered};

/// What is known of how a connection closes: in one box, since an open one has none of it.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Our Close, while it is still to be encoded.
    pub(super) due: Option<CloseFrame>,
    pub(super) ours: OurClose,
    /// The peer's Close.
    pub(super) theirs: Option<CloseFrame>,
    /// The connection must have ended by then.
    pub(super) deadline: Option<Instant>,
    /// How far the deadline may be extended.
    pub(super) last: Option<Instant>,
    /// How many bytes were discarded since the last pause.
    discarded: usize,
}

/// How far our Close has got.
#[derive(Debug, Default)]
pub(super) enum OurClose {
    /// There is none yet, or it waits for what goes out first.
    #[default]
    Awaited,
    /// Encoded; written when the transport has taken the stream up to this position.
    Queued(u64),
    Written,
}

impl Protocol {
    /// Restarts [`Config::close_timeout`](crate::Config::close_timeout) if it is running: for a
    /// driver that hands in bytes long after they arrived.
    pub fn restart_close(&mut self, now: Instant) {
        if self.close_deadline().is_some() {
            self.start_closing(now);
        }
    }

    /// The time by which the connection must have ended, once it is closing.
    pub(super) fn close_deadline(&self) -> Option<Instant> {
        self.closing.as_ref()?.deadline
    }

    /// Closing has begun, and has a deadline from now on.
    pub(super) fn begin_closing(&mut self, now: Instant) {
        if self.close_deadline().is_none() {
            self.start_closing(now);
        }
    }

    fn start_closing(&mut self, now: Instant) {
        let timeout = self.config.close_timeout;
        let deadline = now.checked_add(timeout);
        let last = timeout.checked_mul(MAX_CLOSE_TIMEOUTS);
        let last = last.and_then(|last| now.checked_add(last));
        let closing = self.closing.get_or_insert_default();
        (closing.deadline, closing.last) = (deadline, last);
    }

    /// So many bytes arrived that are nobody's any more. They are read, or a reset would destroy our
    /// Close on its way; but a peer that goes on and on has others wait for that.
    pub(crate) fn note_discarded(&mut self, count: usize) {
        let Some(closing) = &mut self.closing else { return };
        closing.discarded += count;
        if closing.discarded >= DISCARDED_AT_ONCE {
            closing.discarded = 0;
            // Those who began together do not go on together.
            self.pause_discarding(jittered(DISCARD_PAUSE));
        }
    }

    /// Whether our Close is still to be encoded.
    pub(super) fn owes_close(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.due.is_some())
    }

    /// Our Close will not be encoded any more.
    pub(super) fn drop_close(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.due = None;
        }
    }

    /// Something was written. A peer that still takes what goes before our Close is not late. What
    /// is written after it, such as answers to pings, does not count.
    pub(super) fn extend_close(&mut self, now: Instant) {
        let Some(closing) = &mut self.closing else { return };
        if closing.deadline.is_none() {
            // It is over, or the deadline is never.
            return;
        }
        match closing.ours {
            OurClose::Written => return,
            OurClose::Queued(end) if end <= self.queue.written() => {
                closing.ours = OurClose::Written;
            }
            OurClose::Awaited | OurClose::Queued(_) => {}
        }
        let close = now.checked_add(self.config.close_timeout);
        closing.deadline = close.min(closing.last.or(close));
    }
}

impl Protocol {
    /// RFC 6455 section 7.1.7, Fail the WebSocket Connection: tells the peer why, and processes no
    /// more of its data.
    pub(super) fn fail(&mut self, frame: CloseFrame, now: Instant) {
        let (next, verdict) = self.state.on(Event::Fail);
        self.incoming = None;
        let cut_off = self.has_rest();
        self.outgoing = None;
        self.pong = None;
        self.must_drain = true;
        if verdict == Verdict::Act {
            self.start_close(frame, Event::Fail, now);
        } else {
            if cut_off
                && let Some(closing) = &mut self.closing
                && closing.due.is_some()
            {
                // Our Close waited behind a message that goes out in fragments. The peer is told
                // why it gets no more of it.
                closing.due = Some(frame);
            }
            self.state = next;
        }
        self.end_compression();
        self.stop_liveness();
    }

    pub(super) fn start_close(&mut self, frame: CloseFrame, event: Event, now: Instant) {
        self.state = self.state.on(event).0;
        self.closing.get_or_insert_default().due = Some(frame);
        self.stop_compressing();
        self.stop_limits();
        self.begin_closing(now);
    }

    /// Nothing more can be sent to the peer.
    pub(super) fn abandon(&mut self) {
        self.state = State::Closed;
        self.incoming = None;
        self.outgoing = None;
        self.pong = None;
        self.timers = Timers::default();
        if let Some(closing) = &mut self.closing {
            // What the peer has said remains.
            (closing.due, closing.deadline) = (None, None);
        }
        self.end_compression();
        self.stop_liveness();
    }
}
