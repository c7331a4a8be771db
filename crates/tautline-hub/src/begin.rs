//! Where a subscription starts: decided under the lock of its topic, without I/O.

use crate::delivery::Delivery;
use crate::log::{GapReason, Log};
use crate::position::Position;
use crate::subscribe::{Start, Subscribe};

/// What a broker has behind the position of a subscriber, which this node does not have any more.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// In order; nothing is missing between the position and the first of them.
    pub(crate) missed: Vec<Delivery>,
}

/// What a subscription begins with, and what it gets first.
pub(crate) fn begin(
    log: Option<&Log>,
    how: &Subscribe,
    fetched: Option<Fetched>,
) -> (Start, Vec<Delivery>) {
    let position = log.map(Log::top);
    let gap = match (how.since, log) {
        (Some(since), Some(log)) => match since_there(log, since, fetched) {
            Ok(missed) => {
                let position = missed.last().and_then(Delivery::position).unwrap_or(since);
                return (Start::Recovered { count: missed.len(), position }, missed);
            }
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

/// Everything since a position: what this node has, behind what was fetched if that is not enough.
fn since_there(
    log: &Log,
    since: Position,
    fetched: Option<Fetched>,
) -> Result<Vec<Delivery>, GapReason> {
    let reason = match log.since(since) {
        Ok(missed) => return Ok(missed.cloned().collect()),
        Err(reason) => reason,
    };
    let Some(Fetched { mut missed }) = fetched else { return Err(reason) };
    let Some(last) = missed.last().and_then(Delivery::position) else { return Err(reason) };
    missed.extend(log.since(last)?.cloned());
    Ok(missed)
}
