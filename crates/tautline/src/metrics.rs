//! What a server counts through the facade of the `metrics` crate: feature `metrics`,
//! and [`Server::metrics`](crate::Server::metrics).
//!
//! [`ALL`] has the names; `docs/operations/metrics.md` of the repository has them with their
//! meaning. A connection adds what it has counted when it has nothing left to do, once a second at
//! most, and at its end: a message costs nothing. So what the last second of a burst has brought
//! may be seen when the connection is next heard of, with its next ping at the latest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::metrics::{Counter, Gauge, counter, gauge, histogram};
use tautline_frame::{CloseFrame, Protocol, Strikes};

// Of `Metric`, for those who describe metrics to their recorder.
pub use ::metrics::Unit;

use crate::outcome::Outcome;
use crate::registry::Totals;

/// How often a connection adds what it has counted.
const INTERVAL: Duration = Duration::from_secs(1);

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name. Exporters for Prometheus write underscores for its dots.
    pub name: &'static str,
    /// What kind it is of.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub description: &'static str,
}

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It grows and shrinks.
    Gauge,
    /// It has many values.
    Histogram,
}

const OPEN: &str = "tautline.server.connections";
const HANDSHAKES: &str = "tautline.server.handshakes";
const HANDSHAKE_DURATION: &str = "tautline.server.handshake.duration";
const MESSAGES: &str = "tautline.server.messages";
const IO: &str = "tautline.server.io";
const QUEUED: &str = "tautline.server.queued";
const CLOSES: &str = "tautline.server.closes";
const FULL: &str = "tautline.server.full";
const LIMITS: &str = "tautline.server.limits";

/// OpenTelemetry's attribute for what goes in and out.
const DIRECTION: &str = "network.io.direction";
const OUTCOME: &str = "outcome";
const REASON: &str = "reason";

/// All of them.
pub const ALL: &[Metric] = &[
    Metric {
        name: OPEN,
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[],
        description: "WebSockets that are open",
    },
    Metric {
        name: HANDSHAKES,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[OUTCOME],
        description: "Opening handshakes that have ended",
    },
    Metric {
        name: HANDSHAKE_DURATION,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        labels: &[OUTCOME],
        description: "Time from accepting to the answer, TLS included",
    },
    Metric {
        name: MESSAGES,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[DIRECTION],
        description: "Messages that were received or queued",
    },
    Metric {
        name: IO,
        kind: Kind::Counter,
        unit: Unit::Bytes,
        labels: &[DIRECTION],
        description: "Bytes of frames that were read or written, within TLS",
    },
    Metric {
        name: QUEUED,
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        labels: &[],
        description: "Bytes that wait for slow readers",
    },
    Metric {
        name: CLOSES,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &["code", "by"],
        description: "WebSockets that have ended",
    },
    Metric {
        name: FULL,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[],
        description: "Times that `max_connections` has stopped accepting",
    },
    Metric {
        name: LIMITS,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[REASON],
        description: "Times that a limit has struck",
    },
];

/// What the connections of a server count with.
pub(crate) struct Instruments {
    open: Gauge,
    queued: Gauge,
    messages: [Counter; 2],
    io: [Counter; 2],
    full: Counter,
    rates: Rates,
}

/// The limits over time of single connections.
struct Rates {
    message: Counter,
    byte: Counter,
    control: Counter,
    memory: Counter,
}

/// A counter of how often the limit has struck whose setting has this name.
pub(crate) fn limit_counter(setting: &'static str) -> Counter {
    counter!(LIMITS, REASON => setting)
}

impl Default for Instruments {
    fn default() -> Self {
        for metric in ALL {
            let Metric { name, unit, description, .. } = *metric;
            match metric.kind {
                Kind::Counter => ::metrics::describe_counter!(name, unit, description),
                Kind::Gauge => ::metrics::describe_gauge!(name, unit, description),
                Kind::Histogram => ::metrics::describe_histogram!(name, unit, description),
            }
        }
        let both = |name: &'static str| {
            ["receive", "transmit"].map(|direction| counter!(name, DIRECTION => direction))
        };
        Self {
            open: gauge!(OPEN),
            queued: gauge!(QUEUED),
            messages: both(MESSAGES),
            io: both(IO),
            full: counter!(FULL),
            rates: Rates {
                message: limit_counter("message_rate"),
                byte: limit_counter("byte_rate"),
                control: limit_counter("control_rate"),
                memory: limit_counter("memory_budget"),
            },
        }
    }
}

impl Instruments {
    pub(crate) fn opened(&self, outcome: Outcome, time: Duration) {
        let outcome = match outcome {
            Outcome::Opened => "opened",
            Outcome::Answered => "answered",
            Outcome::Invalid => "invalid",
            Outcome::Proxy => "proxy",
            Outcome::Timeout => "timeout",
            Outcome::Tls => "tls",
            Outcome::Io => "io",
            Outcome::Internal => "internal",
        };
        counter!(HANDSHAKES, OUTCOME => outcome).increment(1);
        histogram!(HANDSHAKE_DURATION, OUTCOME => outcome).record(time);
    }

    pub(crate) fn is_full(&self) {
        self.full.increment(1);
    }
}

impl Rates {
    fn add(&self, now: &Strikes, added: &Strikes) {
        for (counter, now, added) in [
            (&self.message, now.message_rate, added.message_rate),
            (&self.byte, now.byte_rate, added.byte_rate),
            (&self.control, now.control_rate, added.control_rate),
            (&self.memory, now.memory_budget, added.memory_budget),
        ] {
            counter.increment(now - added);
        }
    }
}

impl std::fmt::Debug for Instruments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instruments")
    }
}

/// Those of one connection.
pub(crate) struct Meter {
    instruments: Arc<Instruments>,
    /// What was added already, and when.
    added: Totals,
    strikes: Strikes,
    at: Option<Instant>,
    queued: u64,
}

impl Meter {
    pub(crate) fn new(instruments: Arc<Instruments>) -> Self {
        instruments.open.increment(1.0);
        let (added, strikes) = (Totals::default(), Strikes::default());
        Self { instruments, added, strikes, at: None, queued: 0 }
    }

    /// By the time of the last read, which has been asked for anyway.
    #[inline]
    pub(crate) fn report(&mut self, totals: &Totals, queued: u64, protocol: &Protocol) {
        let heard = protocol.last_received();
        if queued != self.queued {
            self.queue(queued);
        }
        let due = self.at.is_none_or(|at| heard.saturating_duration_since(at) >= INTERVAL);
        if due {
            self.at = Some(heard);
            self.add(totals, protocol.strikes());
        }
    }

    #[cold]
    fn queue(&mut self, queued: u64) {
        self.instruments.queued.increment(queued as f64 - self.queued as f64);
        self.queued = queued;
    }

    fn add(&mut self, totals: &Totals, strikes: Strikes) {
        let added = std::mem::replace(&mut self.added, *totals);
        let Instruments { messages: [received, sent], io: [read, written], rates, .. } =
            &*self.instruments;
        received.increment(totals.messages_received - added.messages_received);
        sent.increment(totals.messages_sent - added.messages_sent);
        read.increment(totals.bytes_received - added.bytes_received);
        written.increment(totals.bytes_sent - added.bytes_sent);
        if strikes != self.strikes {
            rates.add(&strikes, &self.strikes);
            self.strikes = strikes;
        }
    }

    /// The connection has ended.
    pub(crate) fn end(&mut self, totals: &Totals, protocol: &Protocol) {
        self.add(totals, protocol.strikes());
        // The code of whoever closed first, which the other echoes; 1006 as RFC 6455 section 7.1.5
        // has it for an end without any.
        let (peer, ours) = (protocol.peer_close().map(CloseFrame::code), protocol.sent_close());
        let (code, by) = match (protocol.closed_first(), peer, ours) {
            (true, _, Some(code)) | (false, None, Some(code)) => (code.as_u16(), "server"),
            (_, Some(code), _) => (code.as_u16(), "client"),
            (_, None, None) => (1006, "none"),
        };
        counter!(CLOSES, "code" => code.to_string(), "by" => by).increment(1);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.instruments.open.decrement(1.0);
        if self.queued > 0 {
            self.queue(0);
        }
    }
}
