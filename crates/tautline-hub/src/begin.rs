//! Where a subscription starts: decided under the lock of its topic, without I/O.

use crate::delivery::Delivery;
use crate::log::{GapReason, Log};
use crate::position::Position;
use crate::subscribe::{Start, Subscribe};

/// What a subscription begins with, and what it gets first.
pub(crate) fn begin(log: Option<&Log>, how: &Subscribe) -> (Start, Vec<Delivery>) {
    let position = log.map(Log::top);
    let gap = match (how.since, log) {
        (Some(since), Some(log)) => match log.since(since) {
            Ok(missed) => return recovered(since, missed.cloned().collect()),
            Err(reason) => Some(reason),
        },
        (Some(_), None) => Some(GapReason::Unavailable),
        (None, _) => None,
    };
    if how.last_value
        && let Some(last) = log.and_then(Log::latest)
        && let Some(position) = last.position()
    {
        return (Start::Last { position }, vec![last.clone()]);
    }
    let start = match gap {
        Some(reason) => Start::Gap { reason, position },
        None => Start::Live { position },
    };
    (start, Vec::new())
}

fn recovered(since: Position, missed: Vec<Delivery>) -> (Start, Vec<Delivery>) {
    let position = missed.last().and_then(Delivery::position).unwrap_or(since);
    (Start::Recovered { count: missed.len(), position }, missed)
}
