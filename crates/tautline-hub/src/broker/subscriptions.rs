//! What a node is subscribed to at its broker: what is wanted, and which changes wait in line.

use std::collections::{HashSet, VecDeque};

use tokio::sync::oneshot;

use super::BrokerError;
use crate::topic::Filter;

/// Who waits for a change.
type Confirm = oneshot::Sender<Result<(), BrokerError>>;

/// A change of subscriptions that the broker has to be told.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) subscribe: bool,
    /// What each of those who asked has asked for.
    pub(super) parts: Vec<(Vec<Filter>, Confirm)>,
}

impl Change {
    /// All of it.
    pub(super) fn filters(&self) -> Vec<Filter> {
        self.parts.iter().flat_map(|(filters, _)| filters).cloned().collect()
    }

    /// Tells all who asked.
    pub(super) fn confirm(self, result: &Result<(), BrokerError>) {
        for (_, confirm) in self.parts {
            // Whoever asked may have stopped to wait.
            let _ = confirm.send(result.clone());
        }
    }
}

/// What is wanted, and, while there is a connection, what the broker has yet to be told, in order.
///
/// Each change is one of what is wanted at once, so that nothing is forgotten if whoever asked for it
/// stops to wait.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    wanted: HashSet<Filter>,
    connected: bool,
    waiting: VecDeque<Change>,
}

impl Subscriptions {
    /// Wants these, or no longer. Returns what tells when the broker knows; `None` without a connection.
    pub(super) fn change(
        &mut self,
        filters: Vec<Filter>,
        subscribe: bool,
    ) -> Option<oneshot::Receiver<Result<(), BrokerError>>> {
        if subscribe {
            self.wanted.extend(filters.iter().cloned());
        } else {
            for filter in &filters {
                self.wanted.remove(filter);
            }
        }
        if !self.connected {
            return None;
        }
        let (confirm, confirmed) = oneshot::channel();
        match self.waiting.back_mut() {
            // One command for all that came meanwhile.
            Some(last) if last.subscribe == subscribe => last.parts.push((filters, confirm)),
            _ => self.waiting.push_back(Change { subscribe, parts: vec![(filters, confirm)] }),
        }
        Some(confirmed)
    }

    /// There is a connection: what to subscribe to first.
    pub(super) fn begin(&mut self) -> Vec<Filter> {
        self.connected = true;
        self.wanted.iter().cloned().collect()
    }

    /// The next change to tell the broker.
    pub(super) fn take(&mut self) -> Option<Change> {
        self.waiting.pop_front()
    }

    /// The connection is lost: none of what waits is done.
    pub(super) fn end(&mut self, error: &BrokerError) {
        self.connected = false;
        for change in self.waiting.drain(..) {
            change.confirm(&Err(error.clone()));
        }
    }

    /// The broker refuses these for good: they are not wanted any more.
    pub(super) fn refuse(&mut self, filters: &[Filter]) {
        for filter in filters {
            self.wanted.remove(filter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(names: &[&str]) -> Vec<Filter> {
        names.iter().map(|name| Filter::new(*name).unwrap()).collect()
    }

    fn sorted(mut filters: Vec<Filter>) -> Vec<String> {
        filters.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        filters.iter().map(|filter| filter.as_str().to_owned()).collect()
    }

    #[test]
    fn what_is_wanted_without_a_connection_is_subscribed_with_the_next() {
        let mut all = Subscriptions::default();
        assert!(all.change(filters(&["a", "b", "c.*"]), true).is_none());
        assert!(all.change(filters(&["b"]), false).is_none());
        assert_eq!(sorted(all.begin()), ["a", "c.*"]);
        assert!(all.take().is_none());
        all.end(&BrokerError::unavailable("lost"));
        assert!(all.change(filters(&["d"]), true).is_none());
        assert_eq!(sorted(all.begin()), ["a", "c.*", "d"]);
    }

    #[test]
    fn changes_of_a_connection_keep_their_order_and_equal_ones_are_joined() {
        let mut all = Subscriptions::default();
        all.begin();
        let mut done = [
            all.change(filters(&["a"]), true).unwrap(),
            all.change(filters(&["b"]), true).unwrap(),
            all.change(filters(&["a"]), false).unwrap(),
            all.change(filters(&["a"]), true).unwrap(),
        ];
        let first = all.take().unwrap();
        assert_eq!(
            (sorted(first.filters()), first.subscribe),
            (vec!["a".into(), "b".into()], true)
        );
        first.confirm(&Ok(()));
        assert!(done[0].try_recv().unwrap().is_ok() && done[1].try_recv().unwrap().is_ok());
        let second = all.take().unwrap();
        assert_eq!((sorted(second.filters()), second.subscribe), (vec!["a".into()], false));
        assert!(all.take().unwrap().subscribe);
        assert!(all.take().is_none());
        assert!(done[2].try_recv().is_err(), "nobody said anything about it");
    }

    #[test]
    fn what_waits_when_the_connection_is_lost_is_an_error_and_still_wanted() {
        let mut all = Subscriptions::default();
        all.begin();
        let mut done = all.change(filters(&["a"]), true).unwrap();
        all.end(&BrokerError::unavailable("lost"));
        assert!(done.try_recv().unwrap().is_err());
        assert!(all.take().is_none());
        assert_eq!(sorted(all.begin()), ["a"]);
    }
}
