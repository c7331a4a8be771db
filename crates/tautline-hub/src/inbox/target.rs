//! What can be subscribed to, and who of this node is: a topic or a pattern.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::inbox::{Entry, Inbox};
use crate::line::Line;
use crate::log::Log;
use crate::position::Position;
use crate::sync::lock;
use crate::topic::{Filter, Topic};

/// A topic or a pattern that somebody of this node is subscribed to, or that has a history.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: u64,
    pub(crate) filter: Filter,
    state: Mutex<State>,
}

/// What changes of it, under its lock: whoever publishes or subscribes holds it, so that for each subscriber
/// everything is either ahead of its start or behind it.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// It was taken out of the tables: who finds it like this looks again.
    pub(crate) gone: bool,
    /// Workers that have subscribers, and how many.
    interest: Vec<(Arc<Inbox>, u32)>,
    /// How many are about to subscribe.
    pub(crate) asked: u32,
    /// What is kept here.
    pub(crate) log: Option<Log>,
    /// Since when nobody is subscribed, if somebody was.
    unused_since: Option<Instant>,
    /// What a broker keeps, as this node follows it.
    pub(crate) line: Option<Line>,
    pub(crate) relay: Relay,
    /// It is in the list of those of which something is to be fetched.
    pub(crate) listed: bool,
    /// Something of it is being fetched.
    pub(crate) fetching: bool,
}

/// Whether the broker has subscribed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Relay {
    #[default]
    No,
    Yes,
    /// It has, and this is in the list of those that nobody is subscribed to any more.
    Leaving,
}

/// Who takes out targets that nobody wants any more.
pub(crate) trait Retire: Send + Sync {
    /// Takes it out, unless somebody wants it again, or it has a history.
    fn retire(&self, target: &Arc<Target>);
}

impl Target {
    pub(crate) fn new(id: u64, filter: Filter, kept: Kept) -> Self {
        let state = match kept {
            Kept::Nowhere => State::default(),
            Kept::Here(log) => State { log: Some(log), ..State::default() },
            Kept::ByBroker(line) => State { line: Some(line), ..State::default() },
        };
        Self { id, filter, state: Mutex::new(state) }
    }

    /// Of a topic.
    pub(crate) const fn topic(&self) -> Option<&Topic> {
        match &self.filter {
            Filter::Topic(topic) => Some(topic),
            Filter::Pattern(_) => None,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Where what this node has of the topic ends, which a broker keeps.
    pub(crate) fn end(&self) -> Option<Position> {
        self.lock().line.as_ref().and_then(Line::log).map(Log::top)
    }

    /// Whether neither what came after this position is here, nor the last publication.
    pub(crate) fn lacks_last_behind(&self, position: Position) -> bool {
        let state = self.lock();
        let log = state.line.as_ref().and_then(Line::log);
        state.lacks_last() && log.is_none_or(|log| log.since(position).is_err())
    }

    /// Whether this node has everything behind this position, as far as it has any of the topic.
    pub(crate) fn has_since(&self, position: Position) -> bool {
        let state = self.lock();
        state.line.as_ref().and_then(Line::log).is_none_or(|log| log.since(position).is_ok())
    }
}

/// Where the history of a topic is.
#[derive(Debug)]
pub(crate) enum Kept {
    Nowhere,
    Here(Log),
    ByBroker(Line),
}

impl State {
    /// The history, in as far as it is known here.
    pub(crate) fn history(&self) -> Option<&Log> {
        self.log.as_ref().or_else(|| self.line.as_ref()?.log())
    }

    /// The last publication may be with the broker, and is not here.
    pub(crate) fn lacks_last(&self) -> bool {
        let nothing_here = |log: &Log| log.is_empty() && log.top().offset > 0;
        self.line.as_ref().is_some_and(|line| line.log().is_none_or(nothing_here))
    }

    /// Forgets what is too old.
    pub(crate) fn trim(&mut self, now: Instant) {
        if let Some(log) = self.log.as_mut().or_else(|| self.line.as_mut()?.log_mut()) {
            log.trim(now);
        }
    }

    /// One more subscriber of this worker. Returns whether it is the first one of all.
    pub(crate) fn join(&mut self, inbox: &Arc<Inbox>) -> bool {
        let is_first = self.interest.is_empty();
        match self.interest.iter_mut().find(|(other, _)| Arc::ptr_eq(other, inbox)) {
            Some((_, count)) => *count += 1,
            None => self.interest.push((inbox.clone(), 1)),
        }
        is_first
    }

    /// One less. Returns whether it was the last one of all.
    pub(crate) fn leave(&mut self, inbox: &Arc<Inbox>) -> bool {
        let Some(index) = self.interest.iter().position(|(other, _)| Arc::ptr_eq(other, inbox))
        else {
            return false;
        };
        let count = &mut self.interest[index].1;
        *count -= 1;
        if *count == 0 {
            self.interest.swap_remove(index);
            if self.interest.is_empty() {
                self.interest = Vec::new();
                return true;
            }
        }
        false
    }

    /// Nobody is subscribed from now on.
    pub(crate) const fn is_left(&mut self, now: Instant) {
        self.unused_since = Some(now);
    }

    /// Nothing of it is missed: nobody is subscribed, and it has no history, or nothing was kept there for as long
    /// as somebody may come back. Until then its epoch goes on, although there is nothing in it.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let waits = |log: &Log| {
            let unused = self.unused_since.map(|since| now.saturating_duration_since(since));
            unused.is_some_and(|unused| unused < log.age())
        };
        self.is_unused() && !self.log.as_ref().is_some_and(waits)
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.interest.iter().map(|(_, count)| *count as usize).sum()
    }

    /// Nobody is subscribed, and nothing is kept here that is not elsewhere.
    pub(crate) fn is_unused(&self) -> bool {
        self.interest.is_empty() && self.asked == 0 && self.log.as_ref().is_none_or(Log::is_empty)
    }

    /// Whether the broker has to be told when this is taken out.
    pub(crate) fn is_relayed(&self) -> bool {
        self.relay != Relay::No
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.interest.is_empty()
    }

    /// Hands this to each worker that has subscribers. Returns one that has more to do than publishers should
    /// leave it.
    pub(crate) fn tell(&self, mut entry: impl FnMut() -> Entry) -> Option<Arc<Inbox>> {
        let mut crowded = None;
        for (inbox, _) in &self.interest {
            if !inbox.push(entry()) {
                crowded = Some(inbox.clone());
            }
        }
        crowded
    }
}
