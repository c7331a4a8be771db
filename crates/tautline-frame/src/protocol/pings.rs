//! Our pings: those for keepalive, and those that a user asks for.

use std::time::{Duration, Instant};

use super::Protocol;
use crate::close::{CloseCode, CloseFrame};
use crate::error::{SendError, Timeout};
use crate::state::{Event, State};
use crate::timers::is_due;

/// Our pings, of two kinds. Keepalive asks whether the peer is alive: any byte is an answer. A user
/// asks for the pong and its round-trip time; asking again while such a ping is under way shares
/// it.
#[derive(Debug, Default)]
pub(super) struct Pings {
    pub(super) keepalive: PingState,
    /// Whether a ping is due, or encoded and not written: checked at every write.
    pub(super) under_way: bool,
    /// How long the last pong took, in microseconds; 0 before the first.
    pub(super) round_trip: u32,
    /// Set from a user's first ping on. Boxed, since most connections never have one.
    pub(super) asked: Option<Box<AskedPings>>,
}

#[derive(Debug, Default)]
pub(super) struct AskedPings {
    pub(super) state: PingState,
    /// The number of the newest one.
    pub(super) id: u64,
    /// The time by which the pong must have arrived.
    pub(super) deadline: Option<Instant>,
    /// The number of the newest ping that is over, with the time that its pong took, or the
    /// timeout.
    pub(super) answered: Option<(u64, Result<Duration, Timeout>)>,
}

impl Pings {
    /// To be called after a change to either.
    pub(super) fn note(&mut self) {
        let is_under_way = |ping: &_| matches!(ping, PingState::Due | PingState::Queued(_));
        let asked = self.asked.as_ref().is_some_and(|asked| is_under_way(&asked.state));
        self.under_way = asked || is_under_way(&self.keepalive);
    }

    /// A pong has taken this long.
    pub(super) fn measured(&mut self, time: Duration) {
        self.round_trip = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
    }

    /// Stops all pings.
    pub(super) fn stop(&mut self) {
        self.keepalive = PingState::None;
        if let Some(asked) = &mut self.asked {
            asked.state = PingState::None;
            asked.deadline = None;
        }
        self.note();
    }

    /// Whether any of them waits for a sign of life.
    pub(super) fn are_unanswered(&self, last_received: Instant) -> bool {
        let asked = self.asked.as_ref();
        self.keepalive.is_unanswered(last_received)
            || asked.is_some_and(|asked| asked.state.is_unanswered(last_received))
    }
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum PingState {
    #[default]
    None,
    /// Asked for, not encoded.
    Due,
    /// Encoded; written when the transport has taken the stream up to this position.
    Queued(u64),
    /// Written at this time.
    Written(Instant),
}

impl PingState {
    /// The time by which something must have been received, if the ping was written.
    pub(super) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        match self {
            Self::Written(at) => at.checked_add(timeout),
            Self::None | Self::Due | Self::Queued(_) => None,
        }
    }

    /// Whether it is due or under way, and nothing was received since it was written.
    pub(super) fn is_unanswered(&self, last_received: Instant) -> bool {
        match self {
            Self::None => false,
            Self::Due | Self::Queued(_) => true,
            Self::Written(at) => last_received < *at,
        }
    }

    /// The queue has been written up to this position. Returns whether that has sent the ping.
    pub(super) fn handle_written(&mut self, position: u64, now: Instant) -> bool {
        let leaves = matches!(self, Self::Queued(end) if *end <= position);
        if leaves {
            *self = Self::Written(now);
        }
        leaves
    }
}

impl Protocol {
    /// Pings the peer, and returns a number to ask [`pong`](Self::pong) about. A ping that was
    /// asked for before and is under way is shared.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the connection is not open.
    pub fn ping(&mut self) -> Result<u64, SendError> {
        if !self.state.allows(Event::SendPing) {
            return Err(SendError::Closed);
        }
        let asked = self.pings.asked.get_or_insert_default();
        if asked.state == PingState::None {
            asked.id += 1;
            asked.state = PingState::Due;
        }
        let id = asked.id;
        self.pings.note();
        Ok(id)
    }

    /// The round-trip time of the ping with this number, or of a later one, once it has been
    /// answered; [`Timeout::Ping`] once [`Config::ping_timeout`](crate::Config::ping_timeout) has
    /// passed since it was written, whatever else the peer sent.
    #[must_use]
    pub fn pong(&self, id: u64) -> Option<Result<Duration, Timeout>> {
        let answered = self.pings.asked.as_ref()?.answered;
        answered.filter(|(answered, _)| *answered >= id).map(|(_, time)| time)
    }

    /// Whether the newest ping that was asked for has its [`pong`](Self::pong); `None` if none was.
    pub(crate) fn newest_pong(&self) -> Option<bool> {
        let asked = self.pings.asked.as_ref()?;
        Some(self.pong(asked.id).is_some())
    }

    /// A ping has timed out: if nothing at all was received since it was written, the peer is gone.
    /// Any byte is a sign of life (RFC 6455 section 5.5.2 asks for a pong, but that may follow a
    /// long message, or have the wrong payload).
    pub(super) fn check_for_life(&mut self, ping: &PingState, now: Instant) -> Result<(), Timeout> {
        if !ping.is_unanswered(self.last_received) {
            return Ok(());
        }
        let frame = CloseFrame::new(CloseCode::INTERNAL_ERROR, "ping timeout");
        let frame = frame.unwrap_or(CloseFrame::from(CloseCode::INTERNAL_ERROR));
        self.fail(frame, now);
        Err(Timeout::Ping)
    }

    pub(super) fn keep_alive(&mut self, now: Instant) {
        self.timers.keepalive = None;
        let Some(interval) = self.config.ping_interval else { return };
        if self.state != State::Open {
            return;
        }
        // Activity only notes the time; the timer is moved here, when it fires.
        let silent_until = self.last_received.checked_add(interval);
        if !is_due(silent_until, now) {
            self.timers.keepalive = silent_until;
        } else {
            self.timers.keepalive = now.checked_add(interval);
            let heard = self.last_received;
            if !self.pings.are_unanswered(heard) {
                // A ping that was answered waits for nothing more, though its time is not up.
                self.pings.keepalive = PingState::Due;
                self.pings.note();
            }
        }
    }
}
