//! What a peer may take over time: rates of messages, bytes and control frames, idle time, lifetime,
//! and a share of the memory of all connections.

use std::time::{Duration, Instant};

use super::Protocol;
use crate::budget::Share;
use crate::close::{CloseCode, CloseFrame};
use crate::config::{BUDGET_PATIENCE, BUDGET_PAUSE, Config, IDLE_CHECKS};
use crate::error::{ProtocolError, Timeout};
use crate::rate::{Bucket, Counts, Excess, Strikes, nanoseconds};
use crate::timers::{is_due, jittered};

/// After this long without a byte, what counts the rates is dropped if it says nothing.
const QUIET: u64 = 1_000_000_000;

/// Present only while a limit has something to remember: a peer that keeps to its rates leaves
/// nothing.
#[derive(Debug)]
pub(super) struct Limited {
    messages: Bucket,
    bytes: Bucket,
    controls: Bucket,
    /// When the buckets were last charged.
    charged: Instant,
    /// Nothing is read or handled before.
    pause: Option<Instant>,
    /// How many pauses there were.
    pauses: u64,
    strikes: Strikes,
    idle: Option<Idle>,
    /// When the connection is to close.
    lifetime: Option<Instant>,
    memory: Option<Memory>,
    /// How often the counters of messages received and sent have wrapped.
    pub(super) wraps: [u32; 2],
}

/// What a pause is for.
#[derive(Clone, Copy, Debug)]
enum WaitsFor {
    Messages,
    Bytes,
    Memory,
}

#[derive(Debug)]
struct Idle {
    /// When to check next for messages.
    check: Option<Instant>,
    /// How many checks in a row found none.
    silent: u32,
    /// A message was received since the last check.
    received: bool,
    /// The end of the queue at the last check.
    queued: u64,
    /// How many bytes of control frames were queued since then.
    controls: u64,
}

#[derive(Debug)]
struct Memory {
    share: Share,
    /// Since when it waits for others to let go.
    waits_since: Option<Instant>,
}

impl Limited {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            messages: Bucket::EMPTY,
            bytes: Bucket::EMPTY,
            controls: Bucket::EMPTY,
            charged: now,
            pause: None,
            pauses: 0,
            strikes: Strikes::NONE,
            idle: None,
            lifetime: None,
            memory: None,
            wraps: [0; 2],
        }
    }

    /// For a connection that begins: nearly always there is nothing to remember.
    pub(super) fn from_config(config: &Config, now: Instant) -> Option<Box<Self>> {
        if config.idle_timeout.is_none() && config.max_lifetime.is_none() {
            return None;
        }
        let mut limited = Self::new(now);
        limited.lifetime = config.max_lifetime.and_then(|most| now.checked_add(jittered(most)));
        limited.idle = config.idle_timeout.map(|timeout| Idle {
            check: now.checked_add(timeout / IDLE_CHECKS),
            silent: 0,
            received: false,
            queued: 0,
            controls: 0,
        });
        Some(Box::new(limited))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let idle = self.idle.as_ref().and_then(|idle| idle.check);
        [self.pause, idle, self.lifetime].into_iter().flatten().min()
    }

    /// Whether it may be dropped.
    fn is_void(&self) -> bool {
        let even = self.messages.is_empty() && self.bytes.is_empty() && self.controls.is_empty();
        let holds = self.memory.as_ref().is_some_and(|memory| memory.share.held() > 0);
        let struck = self.pauses > 0 || self.strikes != Strikes::NONE || self.wraps != [0; 2];
        let quiet = self.pause.is_none() && !struck && !holds;
        even && quiet && self.idle.is_none() && self.lifetime.is_none()
    }

    /// Counts what was received. Returns how long to wait, in nanoseconds, and for which rate.
    fn charge(
        &mut self,
        config: &Config,
        counts: Counts,
        elapsed: u64,
    ) -> Result<(u64, WaitsFor), ProtocolError> {
        let mut wait = (0, WaitsFor::Messages);
        if let Some(rate) = config.message_rate {
            wait.0 = self.messages.charge(rate, counts.messages.into(), elapsed);
            if wait.0 > 0 && config.excess == Excess::Close {
                let per_second = rate.get_per_second();
                return Err(ProtocolError::TooManyMessages { per_second });
            }
        }
        if let Some(rate) = config.byte_rate {
            let longer = self.bytes.charge(rate, counts.bytes.into(), elapsed);
            if longer > 0 && config.excess == Excess::Close {
                return Err(ProtocolError::TooManyBytes { per_second: rate.get_per_second() });
            }
            if longer > wait.0 {
                wait = (longer, WaitsFor::Bytes);
            }
        }
        if let Some(rate) = config.control_rate
            && self.controls.charge(rate, counts.controls.into(), elapsed) > 0
        {
            return Err(ProtocolError::TooManyControlFrames { per_second: rate.get_per_second() });
        }
        Ok(wait)
    }
}

/// Rates.
impl Protocol {
    /// So many bytes were read, none at the end of a turn. Counts them and the frames that were
    /// taken since the last call, unless they are few; a peer that is ahead of its rates has to
    /// wait.
    ///
    /// # Errors
    /// The rate that the peer exceeded. The connection has failed.
    #[inline]
    pub(crate) fn charge_rates(&mut self, bytes: usize, now: Instant) -> Result<(), ProtocolError> {
        self.turn.note_read(bytes);
        match self.turn.is_within(&self.config.few) {
            true => Ok(()),
            false => self.charge_counted(now),
        }
    }

    #[inline(never)]
    fn charge_counted(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let counts = self.turn.take_counts();
        let limited = self.limited.get_or_insert_with(|| Box::new(Limited::new(now)));
        let elapsed = nanoseconds(now.saturating_duration_since(limited.charged));
        limited.charged = limited.charged.max(now);
        if let Some(idle) = &mut limited.idle {
            idle.received |= counts.messages > 0;
        }
        let charged = limited.charge(&self.config, counts, elapsed);
        if elapsed > QUIET && limited.is_void() {
            self.limited = None;
        }
        match charged {
            // What ends has a deadline of its own.
            _ if !self.is_open() => {}
            Ok((0, _)) => {}
            Ok((wait, what)) => {
                self.pause_until(now.checked_add(Duration::from_nanos(wait)), what);
            }
            Err(error) => {
                if let Some(limited) = &mut self.limited {
                    limited.strikes.note(&error);
                }
                self.fail(error.into(), now);
                return Err(error);
            }
        }
        Ok(())
    }

    fn pause_until(&mut self, until: Option<Instant>, what: WaitsFor) {
        let Some(limited) = &mut self.limited else { return };
        if limited.pause.is_none() {
            limited.pauses += 1;
            match what {
                WaitsFor::Messages => limited.strikes.message_rate += 1,
                WaitsFor::Bytes => limited.strikes.byte_rate += 1,
                // It counts when the memory is in use, not each time that this is looked at.
                WaitsFor::Memory => {}
            }
        }
        limited.pause = limited.pause.max(until);
        self.turn.end();
    }

    /// Nothing more is read for this long. No rate has struck: the connection is over.
    pub(super) fn pause_discarding(&mut self, time: Duration) {
        let now = self.last_received;
        let limited = self.limited.get_or_insert_with(|| Box::new(Limited::new(now)));
        limited.pause = now.checked_add(time);
        self.turn.end();
    }

    /// Whether nothing more is read for now, since the peer is ahead of its rates, too much memory
    /// is in use, or what it sends is discarded.
    #[must_use]
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.limited.as_ref().is_some_and(|limited| limited.pause.is_some())
    }

    /// How many times the peer had to wait, by [`Config::message_rate`], [`Config::byte_rate`] or
    /// [`Config::memory_budget`].
    #[must_use]
    pub fn pauses(&self) -> u64 {
        self.limited.as_ref().map_or(0, |limited| limited.pauses)
    }

    /// How many times each of the limits over time has struck.
    ///
    /// ```
    /// use std::time::Instant;
    /// use tautline_frame::{Config, Protocol, Role, Strikes};
    ///
    /// let protocol = Protocol::new(Role::Server, Config::new(), Instant::now());
    /// assert_eq!(protocol.strikes(), Strikes::default());
    /// ```
    #[must_use]
    pub fn strikes(&self) -> Strikes {
        self.limited.as_ref().map_or(Strikes::NONE, |limited| limited.strikes)
    }
}

/// Memory.
impl Protocol {
    /// What is received and not complete, and what is queued.
    pub(crate) fn held(&self) -> usize {
        let incoming = self.incoming.as_ref().map_or(0, |incoming| incoming.data.capacity());
        self.queued() + incoming
    }

    /// Whether anything has to be remembered of limits: if not, nothing was held before.
    #[inline]
    pub(crate) const fn is_limited(&self) -> bool {
        self.limited.is_some()
    }

    /// This is what the connection holds, with what its driver does. The time is that of the next
    /// timeout, which is due at once if too much is held.
    #[inline(never)]
    pub(crate) fn note_held(&mut self, held: usize) {
        let Some(budget) = &self.config.memory_budget else { return };
        let charged = self.last_received;
        let limited = self.limited.get_or_insert_with(|| Box::new(Limited::new(charged)));
        let memory = limited
            .memory
            .get_or_insert_with(|| Memory { share: budget.share(), waits_since: None });
        memory.share.set(held);
        if memory.share.is_over() && limited.pause.is_none() && self.is_open() {
            self.pause_until(Some(charged), WaitsFor::Memory);
        }
    }

    /// Nothing is held any more.
    pub(crate) fn release_memory(&mut self) {
        if let Some(limited) = &mut self.limited {
            limited.memory = None;
        }
    }

    /// Whether it has to tell what it [holds](Self::note_held).
    #[inline]
    pub(crate) fn has_budget(&self) -> bool {
        self.config.memory_budget.is_some()
    }

    /// Looks again whether the memory of all is in use.
    fn check_memory(&mut self, now: Instant) -> Result<(), Timeout> {
        let Some(limited) = &mut self.limited else { return Ok(()) };
        let Some(memory) = &mut limited.memory else { return Ok(()) };
        if !memory.share.is_over() {
            memory.waits_since = None;
            return Ok(());
        }
        let since = *memory.waits_since.get_or_insert_with(|| {
            memory.share.strike();
            limited.strikes.memory_budget += 1;
            now
        });
        if now.saturating_duration_since(since) < BUDGET_PATIENCE {
            self.pause_until(now.checked_add(BUDGET_PAUSE), WaitsFor::Memory);
            return Ok(());
        }
        self.fail(frame(CloseCode::TRY_AGAIN_LATER, "out of memory"), now);
        Err(Timeout::Memory)
    }
}

/// Time.
impl Protocol {
    /// A control frame of this many bytes was queued: it is no message.
    pub(super) fn note_queued_control(&mut self, bytes: u64) {
        if let Some(idle) = self.limited.as_mut().and_then(|limited| limited.idle.as_mut()) {
            idle.controls += bytes;
        }
    }

    pub(super) fn check_limited(&mut self, now: Instant) -> Result<(), Timeout> {
        let Some(limited) = &mut self.limited else { return Ok(()) };
        if is_due(limited.pause, now) {
            limited.pause = None;
            if self.is_open() {
                self.check_memory(now)?;
            }
            self.begin_turn();
        }
        let Some(limited) = &mut self.limited else { return Ok(()) };
        if is_due(limited.lifetime, now) {
            limited.lifetime = None;
            let frame = frame(CloseCode::SERVICE_RESTART, "max_lifetime");
            // Neither role may not send this code.
            let _ = self.close(frame, now);
        }
        if let Some(idle) = self.limited.as_ref().and_then(|limited| limited.idle.as_ref())
            && is_due(idle.check, now)
        {
            self.check_idle(now);
        }
        Ok(())
    }

    fn check_idle(&mut self, now: Instant) {
        let under_way = self.may_be_mid_message() || self.queued() > 0 || self.is_writing();
        // Counted here, or the last message before silence would count again at each check.
        let received = self.turn.take_counts().messages;
        let end = self.queue.end();
        let timeout = self.config.idle_timeout;
        let Some(idle) = self.limited.as_mut().and_then(|limited| limited.idle.as_mut()) else {
            return;
        };
        let sent = end != idle.queued + idle.controls;
        let active = under_way || idle.received || received > 0 || sent;
        idle.silent = if active { 0 } else { idle.silent + 1 };
        (idle.received, idle.queued, idle.controls) = (false, end, 0);
        idle.check = timeout.and_then(|timeout| now.checked_add(timeout / IDLE_CHECKS));
        if idle.silent >= IDLE_CHECKS {
            idle.check = None;
            let _ = self.close(frame(CloseCode::GOING_AWAY, "idle_timeout"), now);
        }
    }

    /// Closing has begun: what is left has the deadline of that.
    pub(super) fn stop_limits(&mut self) {
        if let Some(limited) = &mut self.limited {
            (limited.idle, limited.lifetime, limited.pause) = (None, None, None);
        }
    }
}

fn frame(code: CloseCode, reason: &str) -> CloseFrame {
    CloseFrame::new(code, reason).unwrap_or(CloseFrame::from(code))
}
