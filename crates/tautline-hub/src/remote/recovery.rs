//! What subscribers have missed and this node does not have, or not any more: read from the broker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::{Remote, relay};
use crate::begin::Fetched;
use crate::broker::{BrokerError, History, Keep, Range};
use crate::clock::now;
use crate::delivery::Delivery;
use crate::inbox::target::{State, Target};
use crate::line::{Line, in_order};
use crate::log::GapReason;
use crate::position::Position;
use crate::subscribe::Subscribe;
use crate::topic::Topic;

/// How many topics are read at the same time. Enough for a node to which everybody comes back: with 5 ms between it
/// and the broker, these are 50,000 topics in a second.
const AT_ONCE: usize = 256;

/// How far back the last publication is looked for that can be decoded.
const LATEST: usize = 32;

/// How long a subscriber waits for those ahead of it. Then it reads for itself: they may need more than this node
/// keeps, or something that is gone, which helps nobody else.
const TURN: Duration = Duration::from_secs(5);

/// One topic is read for one subscriber after the other: what was read for the first one is here for those behind
/// it, in as far as this node keeps it. When thousands come back at once, the broker is asked once, and not thousands
/// of times.
#[derive(Debug)]
pub(super) struct Turns([Mutex<()>; AT_ONCE]);

impl Turns {
    pub(super) const fn new() -> Self {
        Self([const { Mutex::const_new(()) }; AT_ONCE])
    }

    async fn of(&self, target: &Target) -> Option<MutexGuard<'_, ()>> {
        let turn = self.0[target.id as usize % AT_ONCE].lock();
        tokio::time::timeout(TURN, turn).await.ok()
    }
}

/// What a subscriber needs of a topic that is not here.
enum Lack {
    /// Where it ends.
    End,
    /// What was published last.
    Last,
    /// What is behind this position, or some of it.
    Since(Position),
}

impl Lack {
    fn of(state: &State, how: &Subscribe) -> Option<Self> {
        let line = state.line.as_ref()?;
        match (line.log(), how.since) {
            (_, None) if how.last_value && state.lacks_last() => Some(Self::Last),
            (None, None) => Some(Self::End),
            (None, Some(since)) => Some(Self::Since(since)),
            (Some(_), None) => None,
            (Some(log), Some(since)) => match log.since(since) {
                Err(GapReason::Trimmed | GapReason::Ahead) => Some(Self::Since(since)),
                Err(_) if how.last_value && state.lacks_last() => Some(Self::Last),
                _ => None,
            },
        }
    }
}

impl Remote {
    /// What the broker has behind a subscriber's position, if this node does not have all of that.
    pub(crate) async fn fetch_for(
        &self,
        target: &Arc<Target>,
        keep: Keep,
        how: &Subscribe,
    ) -> Result<Option<Fetched>, BrokerError> {
        let Some(topic) = target.topic() else { return Ok(None) };
        if Lack::of(&target.lock(), how).is_none() {
            return Ok(None);
        }
        let _turn = self.turns.of(target).await;
        let lack = Lack::of(&target.lock(), how);
        match lack {
            None => Ok(None),
            Some(Lack::End) => {
                let end = self.history(topic, Range::After(u64::MAX), 0).await?;
                self.answered(target, u64::MAX, &end);
                Ok(None)
            }
            Some(Lack::Last) => self.fetch_last(target, topic).await.map(|()| None),
            Some(Lack::Since(since)) => {
                self.reach(target, topic, since).await?;
                let fetched = self.fetch_since(target, topic, keep, since).await?;
                if fetched.is_none() && how.last_value && target.lacks_last_behind(since) {
                    self.fetch_last(target, topic).await?;
                }
                Ok(fetched)
            }
        }
    }

    /// Whoever comes from another node may be ahead of this one: fetches what lies between, as far as there is any.
    async fn reach(
        &self,
        target: &Arc<Target>,
        topic: &Topic,
        there: Position,
    ) -> Result<(), BrokerError> {
        let mut goal = there.offset;
        let mut end = target.end();
        while let Some(here) = end
            && here.epoch == there.epoch
            && here.offset < goal
        {
            let history =
                self.history(topic, Range::After(here.offset), relay::MOST_AT_ONCE).await?;
            // It may say any offset; more is published all the time.
            goal = goal.min(history.top.offset);
            self.answered(target, here.offset, &history);
            end = target.end().filter(|end| *end != here);
        }
        Ok(())
    }

    /// What is behind a position, up to where this node has the rest, or to the end of what is to be kept.
    async fn fetch_since(
        &self,
        target: &Arc<Target>,
        topic: &Topic,
        keep: Keep,
        since: Position,
    ) -> Result<Option<Fetched>, BrokerError> {
        let is_new = match target.lock().line.as_ref().and_then(Line::log) {
            None => true,
            Some(log) if log.since(since).err() == Some(GapReason::Trimmed) => false,
            Some(_) => return Ok(None),
        };
        let limit = keep.messages.clamp(1, relay::MOST_AT_ONCE);
        let history = self.history(topic, Range::After(since.offset), limit).await?;
        // A subscriber may say any offset: that it is beyond the end does not tell that something is gone.
        let is_made_up = is_new && history.top.offset < since.offset;
        self.answered(target, if is_made_up { u64::MAX } else { since.offset }, &history);
        if !history.complete || since.epoch != history.top.epoch {
            return Ok(None);
        }
        let mut missed = in_order(topic, since.offset, &history);
        let mut read = Position { offset: history.read_to, ..since };
        let is_here = |read: Position| {
            target.has_since(read)
                && target.end().is_none_or(|end| end.offset >= history.top.offset)
        };
        while missed.len() < keep.messages && !is_here(read) {
            let more = self.history(topic, Range::After(read.offset), limit).await?;
            // It may be behind the end of what is here, if a part is not all of it.
            self.answered(target, read.offset, &more);
            if !more.complete || more.top.epoch != read.epoch || more.read_to <= read.offset {
                break;
            }
            let last = missed.last().and_then(Delivery::position).unwrap_or(since);
            missed.extend(in_order(topic, last.offset, &more));
            read.offset = more.read_to;
        }
        if let Some(line) = &mut target.lock().line {
            line.restore(&missed, read.offset, now());
        }
        Ok(Some(Fetched { missed, read_to: read.offset }))
    }

    /// The end of the history, with its last publication.
    async fn fetch_last(&self, target: &Arc<Target>, topic: &Topic) -> Result<(), BrokerError> {
        let mut history = self.history(topic, Range::Latest, 1).await?;
        if history.publications.is_empty() && history.read_to > 0 {
            // What comes last may be what cannot be decoded.
            history = self.history(topic, Range::Latest, LATEST).await?;
        }
        let is_known = target.end().is_some();
        if history.publications.is_empty() && is_known {
            // There is none, which says nothing about where those end that were here.
            return Ok(());
        }
        history.publications.truncate(1);
        let last = history.publications.first().map(|(offset, _)| *offset);
        let ahead = last.map_or(u64::MAX, |last| last - 1);
        let read_to = last.map_or(0, |_| history.read_to);
        self.answered(target, ahead, &History { complete: true, read_to, ..history });
        Ok(())
    }
}
