//! The tasks between a hub and its broker.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Remote, within};
use crate::broker::{BoxFuture, BrokerError, Range};
use crate::inbox::target::{Relay, Target};
use crate::line::Line;
use crate::sync::lock;
use crate::topic::{Filter, Topic};

/// How many subscriptions one request to the broker makes.
pub(super) const JOINS_AT_ONCE: usize = 1024;
/// How much of a history is asked for at once.
pub(super) const MOST_AT_ONCE: usize = 1000;
/// How many histories are asked for at the same time.
const FETCHES: usize = 16;
/// How often the positions of all topics are compared with those of the broker: a last message that was lost
/// leaves no hole.
const CHECK: Duration = Duration::from_secs(40);
/// Of how many topics in one request.
const TOPICS_OF_A_CHECK: usize = 512;
/// How long to wait before a request is made again that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A topic or a pattern that the broker is to subscribe.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) target: Arc<Target>,
    pub(super) done: oneshot::Sender<Result<(), BrokerError>>,
}

/// Subscribes and unsubscribes, one request after the other, so that what is decided later is done later.
pub(super) async fn join_and_leave(remote: Arc<Remote>, mut joining: mpsc::Receiver<Join>) {
    loop {
        let mut joins = Vec::new();
        tokio::select! {
            _ = joining.recv_many(&mut joins, JOINS_AT_ONCE) => {}
            () = remote.changed.notified() => {}
        }
        // Who joins again what was left is behind that: it found the former target gone.
        remote.leave().await;
        if !joins.is_empty() {
            remote.subscribe(joins).await;
        }
    }
}

impl Remote {
    /// Ends what nobody is subscribed to.
    async fn leave(&self) {
        let left = std::mem::take(&mut *lock(&self.left));
        for target in &left {
            target.lock().relay = Relay::Yes;
        }
        let out: Vec<_> = left.into_iter().filter(|target| self.table.take_out(target)).collect();
        for some in out.chunks(JOINS_AT_ONCE) {
            self.unsubscribe(some.iter().map(|target| target.filter.clone()).collect()).await;
        }
    }

    async fn subscribe(&self, joins: Vec<Join>) {
        let is_new = |join: &&Join| !join.target.lock().is_relayed();
        let mut filters: Vec<Filter> =
            joins.iter().filter(is_new).map(|join| join.target.filter.clone()).collect();
        filters.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        filters.dedup();
        let failed = self.subscribe_all(filters).await;
        let mut nobodys = Vec::new();
        for Join { target, done } in joins {
            let failure = failed.get(&target.filter);
            {
                let mut state = target.lock();
                // One that is in the list of those to leave stays there.
                if failure.is_none() && state.relay == Relay::No {
                    state.relay = Relay::Yes;
                }
                if state.gone || !state.is_relayed() {
                    nobodys.push(target.filter.clone());
                }
            }
            // Who asked may have given up.
            let _ = done.send(failure.map_or(Ok(()), |error| Err(error.clone())));
        }
        // The broker would go on trying, or has subscribed what nobody waited for any more.
        let is_anybodys = |filter: &Filter| {
            self.table.find(filter).is_some_and(|target| target.lock().is_relayed())
        };
        nobodys.retain(|filter| !is_anybodys(filter));
        self.unsubscribe(nobodys).await;
    }

    /// Has the broker subscribe all of these. Returns those that it did not, and why.
    async fn subscribe_all(&self, filters: Vec<Filter>) -> HashMap<Filter, BrokerError> {
        let mut failed = HashMap::new();
        if filters.is_empty() {
            return failed;
        }
        match within(self.broker.subscribe(filters.clone())).await {
            // One of them is refused: the others are not to suffer.
            Err(BrokerError::Refused(_)) if filters.len() > 1 => {
                for filter in filters {
                    if let Err(error) = within(self.broker.subscribe(vec![filter.clone()])).await {
                        failed.insert(filter, error);
                    }
                }
            }
            Err(error) => failed.extend(filters.into_iter().map(|it| (it, error.clone()))),
            Ok(()) => {}
        }
        failed
    }

    async fn unsubscribe(&self, filters: Vec<Filter>) {
        if filters.is_empty() {
            return;
        }
        if let Err(error) = within(self.broker.unsubscribe(filters)).await {
            // What still arrives is for nobody.
            tracing::debug!(%error, "the broker did not unsubscribe");
        }
    }

    /// One that lacks something.
    fn next_missing(&self) -> Option<(Arc<Target>, u64)> {
        loop {
            let target = lock(&self.missing).pop_front()?;
            let asks = {
                let mut state = target.lock();
                state.listed = false;
                let is_wanted = state.is_wanted() && !state.gone;
                let asks = state.line.as_ref().and_then(Line::asks).filter(|_| is_wanted);
                state.fetching = asks.is_some();
                asks
            };
            if let Some(after) = asks {
                return Some((target, after));
            }
        }
    }

    async fn fetch(self: Arc<Self>, target: Arc<Target>, after: u64) {
        if let Some(topic) = target.topic() {
            self.fetch_topic(&target, topic, after).await;
        }
        let mut state = target.lock();
        state.fetching = false;
        self.look_for_missing(&target, &mut state);
    }

    async fn fetch_topic(&self, target: &Arc<Target>, topic: &Topic, after: u64) {
        let limit = if after == u64::MAX { 0 } else { MOST_AT_ONCE };
        match within(self.broker.history(topic, Range::After(after), limit)).await {
            Ok(history) => self.answered(target, after, &history),
            Err(error) => {
                tracing::debug!(%topic, %error, "what a topic lacks could not be fetched");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Compares all positions with those of the broker. Of a topic that it knows nothing of, something may have
    /// come and gone while it was away. Returns whether it could be done.
    async fn check_all(&self, was_away: bool) -> bool {
        let wanted = self.table.wanted();
        let followed: Vec<_> =
            wanted.into_iter().filter(|target| target.lock().line.is_some()).collect();
        for some in followed.chunks(TOPICS_OF_A_CHECK) {
            let topics: Vec<Topic> =
                some.iter().filter_map(|target| target.topic().cloned()).collect();
            let tops = match within(self.broker.tops(topics)).await {
                Ok(tops) => tops,
                Err(error) => {
                    tracing::debug!(%error, "positions could not be checked");
                    return false;
                }
            };
            for (target, newest) in some.iter().zip(tops) {
                let mut state = target.lock();
                match (&mut state.line, newest) {
                    (Some(line), Some(newest)) => line.newest(newest),
                    (Some(line), None) if was_away => line.unsure(),
                    _ => {}
                }
                self.look_for_missing(target, &mut state);
            }
        }
        true
    }
}

/// Fetches what topics lack.
pub(super) async fn fetch(remote: Arc<Remote>) {
    let mut fetches = JoinSet::new();
    loop {
        while fetches.len() < FETCHES
            && let Some((target, after)) = remote.next_missing()
        {
            fetches.spawn(remote.clone().fetch(target, after));
        }
        tokio::select! {
            () = remote.missed.notified(), if fetches.len() < FETCHES => {}
            Some(_) = fetches.join_next() => {}
        }
    }
}

/// Checks positions from time to time, and whenever the broker is back: then until it could be done.
pub(super) async fn check(remote: Arc<Remote>) {
    let mut was_away = false;
    loop {
        let pause = if was_away && remote.is_connected() { PAUSE } else { CHECK };
        was_away |= tokio::time::timeout(pause, remote.returned.notified()).await.is_ok();
        was_away &= !remote.check_all(was_away).await;
    }
}

/// Publishes what was kept, when the broker is back.
pub(super) async fn send_kept(remote: Arc<Remote>) {
    loop {
        let mut state = remote.state.subscribe();
        let next = if remote.is_connected() { lock(&remote.outbox).next() } else { Vec::new() };
        if next.is_empty() {
            // Kept while connected is only what could not be sent just now.
            let _ = tokio::time::timeout(PAUSE, state.changed()).await;
            continue;
        }
        let sending =
            next.iter().map(|parcel| -> BoxFuture<'_, _> { Box::pin(remote.send(parcel)) });
        let results = in_turn(sending.collect(), can_wait).await;
        let failed = results.last().is_some_and(can_wait);
        for (parcel, result) in next.iter().zip(&results) {
            if let Err(error) = result
                && !error.is_retryable()
            {
                tracing::warn!(topic = %parcel.topic, %error, "what was kept is lost");
            }
        }
        lock(&remote.outbox).gone(results.len() - usize::from(failed));
        if failed {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether it is sent again, ahead of all that come behind it.
fn can_wait<T>(result: &Result<T, BrokerError>) -> bool {
    result.as_ref().is_err_and(BrokerError::is_retryable)
}

/// Begins all of these in their order, and then waits for one after the other, until all have ended or one has
/// ended so that it `fails` them. Those behind that one are given up at once: if they went on, one might overtake it.
/// Returns what has ended, up to that one.
async fn in_turn<T>(all: Vec<BoxFuture<'_, T>>, fails: fn(&T) -> bool) -> Vec<T> {
    let mut ended: Vec<Option<T>> = all.iter().map(|_| None).collect();
    let mut all = Begun(all);
    let mut begun = false;
    // Without the budget of a task: if it ended among them, those behind could begin before these.
    let waiting = tokio::task::unconstrained(poll_fn(|cx| {
        let is_first = !std::mem::replace(&mut begun, true);
        for (one, ended) in all.0.iter_mut().zip(&mut ended) {
            if ended.is_none() {
                match one.as_mut().poll(cx) {
                    Poll::Ready(result) => *ended = Some(result),
                    Poll::Pending if is_first => continue,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if ended.as_ref().is_some_and(fails) {
                return Poll::Ready(());
            }
        }
        if ended.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    }));
    waiting.await;
    // If one has failed before those ahead of it have ended, they are sent again with it.
    ended.into_iter().map_while(|ended| ended).collect()
}

/// Given up from the back: a client of a broker leaves out what nobody waits for any more, while it goes on to send.
/// So it has sent what comes first of these, and none behind one that it has left out.
struct Begun<'a, T>(Vec<BoxFuture<'a, T>>);

impl<T> Drop for Begun<'_, T> {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The first of them was dropped first, and left out; what came behind it was sent before it was dropped, too, and so
    // overtook it.
    #[tokio::test]
    async fn what_is_given_up_is_given_up_from_the_back() {
        struct Given<'a>(usize, &'a std::sync::Mutex<Vec<usize>>);
        impl Drop for Given<'_> {
            fn drop(&mut self) {
                lock(self.1).push(self.0);
            }
        }
        let given_up = std::sync::Mutex::new(Vec::new());
        let all = (0..5).map(|number| -> BoxFuture<'_, bool> {
            let given = Given(number, &given_up);
            Box::pin(async move {
                let _given = given;
                if number > 1 {
                    std::future::pending::<()>().await;
                }
                number < 1
            })
        });
        assert_eq!(in_turn(all.collect(), |went| !went).await, [true, false]);
        assert_eq!(*lock(&given_up), [0, 1, 4, 3, 2]);
    }

    // They are begun in their order, whatever they wait for, and their results are in it, too.
    #[tokio::test]
    async fn what_is_kept_is_sent_in_its_order() {
        let begun = std::sync::Mutex::new(Vec::new());
        let (gates, waits): (Vec<_>, Vec<_>) =
            (0..300).map(|_| tokio::sync::oneshot::channel::<()>()).unzip();
        let all = waits.into_iter().enumerate().map(|(number, wait)| -> BoxFuture<'_, usize> {
            let begun = &begun;
            Box::pin(async move {
                // Each takes of the budget that a task has.
                tokio::task::consume_budget().await;
                lock(begun).push(number);
                wait.await.unwrap();
                number
            })
        });
        let open = async {
            tokio::task::yield_now().await;
            assert_eq!(lock(&begun).len(), 300);
            for gate in gates.into_iter().rev() {
                gate.send(()).unwrap();
            }
        };
        let (results, ()) = tokio::join!(in_turn(all.collect(), |_| false), open);
        let order: Vec<_> = (0..300).collect();
        assert_eq!((results, begun.into_inner().unwrap()), (order.clone(), order));
    }

    // One that had failed for its deadline was sent again behind the next one, which had got through: subscribers had
    // them in the wrong order.
    #[tokio::test]
    async fn nothing_overtakes_what_has_failed() {
        let begun = std::sync::Mutex::new(Vec::new());
        let all = (0..9).map(|number| -> BoxFuture<'_, Result<(), BrokerError>> {
            let begun = &begun;
            Box::pin(async move {
                if number >= 3 {
                    tokio::task::yield_now().await;
                }
                lock(begun).push(number);
                match number {
                    4 => Err(BrokerError::Unsupported("that is not to be waited for")),
                    6 => Err(BrokerError::unavailable("late")),
                    _ => Ok(()),
                }
            })
        });
        let results = in_turn(all.collect(), can_wait).await;
        assert_eq!(begun.into_inner().unwrap(), [0, 1, 2, 3, 4, 5, 6]);
        let good: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, true, true, true, false, true, false]);
    }
}
