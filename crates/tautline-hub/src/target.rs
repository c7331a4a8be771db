//! What can be subscribed to, and who of this node is: a topic or a pattern.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::inbox::{Entry, Inbox};
use crate::log::Log;
use crate::sync::lock;
use crate::topic::Filter;

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
    pub(crate) log: Option<Log>,
}

/// Who takes out targets that nobody wants any more.
pub(crate) trait Retire: Send + Sync {
    /// Takes it out, unless somebody wants it again, or it has a history.
    fn retire(&self, target: &Arc<Target>);
}

impl Target {
    pub(crate) fn new(id: u64, filter: Filter, log: Option<Log>) -> Self {
        Self { id, filter, state: Mutex::new(State { log, ..State::default() }) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
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

    pub(crate) fn subscribers(&self) -> usize {
        self.interest.iter().map(|(_, count)| *count as usize).sum()
    }

    /// Nobody is subscribed, and nothing is kept.
    pub(crate) fn is_unused(&self) -> bool {
        self.interest.is_empty() && self.log.as_ref().is_none_or(Log::is_empty)
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
