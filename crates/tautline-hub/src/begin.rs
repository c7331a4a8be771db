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
    /// Up to which offset these are all, in as far as they can be decoded.
    pub(crate) read_to: u64,
}

/// What a subscription begins with, and what it gets first.
pub(crate) fn begin(
    log: Option<&Log>,
    how: &Subscribe,
    fetched: Option<Fetched>,
) -> (Start, Vec<Delivery>) {
    let position = log.map(Log::top);
    let since = match (how.since, position) {
        // What was fetched is of the history that was there then.
        (Some(since), Some(top)) if how.any_epoch && fetched.is_none() => {
            Some(Position { epoch: top.epoch, ..since })
        }
        (since, _) => since,
    };
    let gap = match (since, log) {
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
        // What lies between is still to arrive, and the subscriber had it, or it is of what is gone: nothing that was
        // fetched helps.
        Err(GapReason::Ahead) => return Err(GapReason::Ahead),
        Err(reason) => reason,
    };
    let Some(Fetched { mut missed, read_to }) = fetched else { return Err(reason) };
    // What has not arrived here yet comes when it does.
    let here = Position { offset: read_to.min(log.top().offset), ..since };
    missed.retain(|delivery| delivery.position().is_some_and(|it| it.offset <= here.offset));
    missed.extend(log.since(here)?.cloned());
    Ok(missed)
}

#[cfg(test)]
mod handover;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Keep;
    use crate::position::Epoch;
    use crate::topic::Topic;

    // What was fetched may be ahead of what has arrived. A subscriber who had been given all of it was told that the history
    // had gone back.
    #[test]
    fn what_has_not_arrived_yet_is_left_for_later() {
        let position = |offset| Position { epoch: Epoch::from_u64(1), offset };
        let topic = Topic::new("a").unwrap();
        let delivery = |offset| {
            let place = Some((position(offset), offset - 1));
            Delivery::new(topic.clone(), offset.to_string().into(), place)
        };
        let log = Log::new(Keep::last(10), Epoch::from_u64(1), 5);
        let how = Subscribe::new().since(position(2));
        let fetched = |read_to| Some(Fetched { missed: (3..=7).map(delivery).collect(), read_to });
        for read_to in [7, 9] {
            let (start, missed) = begin(Some(&log), &how, fetched(read_to));
            assert_eq!(start, Start::Recovered { count: 3, position: position(5) });
            let offsets = missed.iter().filter_map(Delivery::position).map(|it| it.offset);
            assert!(offsets.eq(3..=5));
        }
        // Some of it is missing between that and what is here.
        let few = Some(Fetched { missed: vec![delivery(3)], read_to: 3 });
        assert!(matches!(begin(Some(&log), &how, few).0, Start::Gap { .. }));
    }

    // The broker went back between what was fetched and the beginning, or this node began behind a subscriber of another
    // one: it was told that it had everything, and got what it had a second time.
    #[test]
    fn who_is_ahead_of_this_node_is_told_so_whatever_was_fetched() {
        let position = |offset| Position { epoch: Epoch::from_u64(1), offset };
        let log = Log::new(Keep::last(10), Epoch::from_u64(1), 5);
        let how = Subscribe::new().since(position(7));
        let fetched = Fetched { missed: Vec::new(), read_to: 7 };
        let start = begin(Some(&log), &how, Some(fetched)).0;
        let gap = Start::Gap { reason: GapReason::Ahead, position: Some(position(5)) };
        assert_eq!(start, gap);
    }
}
