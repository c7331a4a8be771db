//! What waits for a member whose connection has no room: without I/O.

use std::collections::{HashMap, VecDeque};

use tautline::Prepared;

use crate::delivery::Delivery;
use crate::log::GapReason;
use crate::numbers::SubNumber;
use crate::outlet::Outgoing;
use crate::presence;
use crate::slow::{Pushed, Slow, Waiting};
use crate::subscribe::Start;
use crate::topic::{Filter, Topic};

/// What waits, subscription by subscription, and what else the member is told: all in the order in which it
/// came.
#[derive(Debug, Default)]
pub(super) struct Behind {
    waiting: HashMap<SubNumber, Waiting>,
    /// Whose turn it is.
    turns: VecDeque<Turn>,
    /// How many turns are of those that were dropped. Until they are taken out, what follows of the same
    /// subscription goes a little earlier.
    stale: usize,
    /// What events count.
    events: usize,
    /// What counts of everything.
    bytes: usize,
}

#[derive(Debug)]
enum Turn {
    Of(SubNumber),
    Event(Event),
}

/// What is not a publication, kept until there is room.
#[derive(Debug)]
pub(super) enum Event {
    Started { filter: Filter, start: Start, recovered: Vec<Delivery>, tag: u64 },
    Gap(Topic, GapReason),
    Unsubscribed(Filter, u32),
    Presence(Box<presence::Event>),
    Message(Prepared),
}

/// What an event counts beside its bytes.
const EVENT: usize = 512;

impl Event {
    pub(super) fn of(outgoing: &Outgoing<'_>) -> Option<Self> {
        Some(match outgoing {
            Outgoing::Started { filter, start, recovered, tag } => Self::Started {
                filter: (*filter).clone(),
                start: **start,
                recovered: recovered.to_vec(),
                tag: *tag,
            },
            Outgoing::Gap(topic, reason) => Self::Gap((*topic).clone(), *reason),
            Outgoing::Unsubscribed(filter, code) => Self::Unsubscribed((*filter).clone(), *code),
            Outgoing::Presence(event) => Self::Presence(Box::new((*event).clone())),
            Outgoing::Message(message) => Self::Message((*message).clone()),
            Outgoing::Delivery(_) => return None,
        })
    }

    fn outgoing(&self) -> Outgoing<'_> {
        match self {
            Self::Started { filter, start, recovered, tag } => {
                Outgoing::Started { filter, start, recovered, tag: *tag }
            }
            Self::Gap(topic, reason) => Outgoing::Gap(topic, *reason),
            Self::Unsubscribed(filter, code) => Outgoing::Unsubscribed(filter, *code),
            Self::Presence(event) => Outgoing::Presence(event),
            Self::Message(message) => Outgoing::Message(message),
        }
    }

    fn size(&self) -> usize {
        EVENT
            + match self {
                Self::Message(message) => message.message().len(),
                Self::Presence(event) => {
                    let info = &event.member.info;
                    info.user.len() + info.connection_data.len() + info.topic_data.len()
                }
                _ => 0,
            }
    }
}

impl Behind {
    /// A publication waits.
    pub(super) fn push(&mut self, sub: SubNumber, delivery: Delivery, slow: &Slow) -> Pushed {
        let waiting = self.waiting.entry(sub).or_default();
        let before = waiting.bytes();
        let pushed = waiting.push(delivery, slow);
        self.bytes = self.bytes - before + waiting.bytes();
        if let Pushed::Waits { dropped, replaced } = pushed {
            if replaced == 0 {
                self.turns.push_back(Turn::Of(sub));
            }
            self.stale += usize::try_from(dropped).unwrap_or(0);
            self.forget_stale();
        }
        pushed
    }

    /// Whether it can wait at no other one's cost.
    pub(super) fn fits(&self, sub: SubNumber, delivery: &Delivery, slow: &Slow) -> bool {
        match self.waiting.get(&sub) {
            Some(waiting) => waiting.fits(delivery, slow),
            None => delivery.size() <= slow.limit,
        }
    }

    /// What was recovered waits, ahead of all that is published.
    pub(super) fn recover(&mut self, sub: SubNumber, recovered: Vec<Delivery>) {
        self.turns.extend(recovered.iter().map(|_| Turn::Of(sub)));
        self.waiting.entry(sub).or_default().recover(recovered);
    }

    /// Takes the turns of those that were dropped out when they are the most: of each subscription the first
    /// ones.
    fn forget_stale(&mut self) {
        if self.stale < 32 || self.stale * 2 < self.turns.len() {
            return;
        }
        let mut left: HashMap<SubNumber, usize> =
            self.waiting.iter().map(|(sub, waiting)| (*sub, waiting.len())).collect();
        let mut kept = VecDeque::with_capacity(self.turns.len() - self.stale);
        while let Some(turn) = self.turns.pop_back() {
            if let Turn::Of(sub) = turn {
                match left.get_mut(&sub) {
                    Some(count) if *count > 0 => *count -= 1,
                    _ => continue,
                }
            }
            kept.push_front(turn);
        }
        self.turns = kept;
        self.stale = 0;
    }

    pub(super) fn event(&mut self, event: Event) {
        self.events += event.size();
        self.turns.push_back(Turn::Event(event));
    }

    /// How many bytes count.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes + self.events
    }

    /// Whether a publication waits for this subscription.
    pub(super) fn has(&self, sub: SubNumber) -> bool {
        self.waiting.get(&sub).is_some_and(|waiting| waiting.len() > 0)
    }

    /// Drops what waits for this subscription, and its turns. Returns how many publications that were.
    pub(super) fn forget(&mut self, sub: SubNumber) -> usize {
        let waiting = self.waiting.remove(&sub).unwrap_or_default();
        self.bytes -= waiting.bytes();
        let before = self.turns.len();
        self.turns.retain(|turn| !matches!(turn, Turn::Of(other) if *other == sub));
        self.stale -= before - self.turns.len() - waiting.len();
        waiting.len()
    }

    /// How many publications wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(Waiting::len).sum()
    }

    /// What goes next: it stays until it has [gone](Self::gone).
    pub(super) fn next(&mut self) -> Option<Outgoing<'_>> {
        while let Some(Turn::Of(sub)) = self.turns.front()
            && self.waiting.get(sub).is_none_or(|waiting| waiting.len() == 0)
        {
            self.waiting.remove(sub);
            self.turns.pop_front();
            self.stale -= 1;
        }
        match self.turns.front()? {
            Turn::Event(event) => Some(event.outgoing()),
            Turn::Of(sub) => self.waiting.get(sub)?.front().map(Outgoing::Delivery),
        }
    }

    /// The next one has gone. Returns the subscription for which nothing waits any more.
    pub(super) fn gone(&mut self) -> Option<SubNumber> {
        match self.turns.pop_front()? {
            Turn::Event(event) => {
                self.events -= event.size();
                None
            }
            Turn::Of(sub) => {
                let waiting = self.waiting.get_mut(&sub)?;
                let before = waiting.bytes();
                waiting.pop();
                self.bytes = self.bytes - before + waiting.bytes();
                if waiting.len() > 0 {
                    return None;
                }
                self.waiting.remove(&sub);
                Some(sub)
            }
        }
    }

    pub(super) fn is_empty(&mut self) -> bool {
        self.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(text: &str) -> Delivery {
        Delivery::new(Topic::new("a").unwrap(), text.into(), None)
    }

    fn text(outgoing: Option<Outgoing<'_>>) -> Option<String> {
        match outgoing? {
            Outgoing::Delivery(delivery) => Some(delivery.publication().message().to_string()),
            Outgoing::Message(message) => Some(message.message().to_string()),
            Outgoing::Gap(topic, _) => Some(format!("gap in {topic}")),
            other => Some(format!("{other:?}")),
        }
    }

    fn drain(behind: &mut Behind) -> (Vec<String>, Vec<SubNumber>) {
        let (mut texts, mut subs) = (Vec::new(), Vec::new());
        while let Some(text) = text(behind.next()) {
            texts.push(text);
            subs.extend(behind.gone());
        }
        assert_eq!((behind.bytes(), behind.len(), behind.turns.len()), (0, 0, 0));
        assert_eq!(behind.stale, 0);
        (texts, subs)
    }

    #[test]
    fn all_goes_in_the_order_in_which_it_came() {
        let mut behind = Behind::default();
        let slow = Slow::default();
        for (sub, text) in [(1, "1a"), (2, "2a"), (1, "1b"), (1, "1c")] {
            behind.push(sub, delivery(text), &slow);
        }
        behind.event(Event::Message("event".into()));
        behind.push(2, delivery("2b"), &slow);
        let (texts, subs) = drain(&mut behind);
        assert_eq!(texts, ["1a", "2a", "1b", "1c", "event", "2b"]);
        assert_eq!(subs, [1, 2]);
    }

    // Each that is dropped leaves a turn behind: of a member that never reads, there would be more and more.
    #[test]
    fn the_turns_of_what_was_dropped_are_bounded() {
        let mut behind = Behind::default();
        let slow = Slow::drop_oldest(delivery("0000").size() * 3);
        for number in 0..1000 {
            behind.push(1, delivery(&format!("{number:4}")), &slow);
            behind.push(2, delivery("rare"), &Slow::latest(usize::MAX));
            if number == 997 {
                behind.event(Event::Message("event".into()));
            }
        }
        assert!(behind.turns.len() < 50, "{}", behind.turns.len());
        let (texts, _) = drain(&mut behind);
        assert_eq!(texts, ["rare", " 997", " 998", " 999", "event"]);
    }

    #[test]
    fn what_was_recovered_comes_behind_the_start_and_ahead_of_the_rest() {
        let mut behind = Behind::default();
        behind.event(Event::Gap(Topic::new("b").unwrap(), GapReason::Epoch));
        behind.recover(1, vec![delivery("1"), delivery("2")]);
        behind.push(1, delivery("3"), &Slow::drop_oldest(0));
        behind.push(1, delivery("4"), &Slow::default());
        assert_eq!(drain(&mut behind).0, ["gap in b", "1", "2", "4"]);
    }

    // All that waited for a subscription was dropped, and it ended: its number counted as one for which something
    // waits, and was never given back.
    #[test]
    fn what_was_dropped_does_not_wait() {
        let mut behind = Behind::default();
        behind.push(1, delivery("1"), &Slow::drop_oldest(0));
        assert!(!behind.has(1));
    }

    // A turn of one that was dropped was left when all others of its subscription had gone. The next subscription with
    // the same number got its first publication ahead of its start.
    #[test]
    fn a_subscription_begins_without_the_turns_of_the_former_one() {
        let mut behind = Behind::default();
        let slow = Slow::drop_oldest(delivery("1a").size() * 2);
        for (sub, text) in [(1, "1a"), (1, "1b"), (2, "2"), (1, "1c")] {
            behind.push(sub, delivery(text), &slow);
        }
        for gone in ["1b", "1c"] {
            assert_eq!(text(behind.next()).as_deref(), Some(gone));
            behind.gone();
        }
        assert_eq!(behind.forget(1), 0);
        behind.event(Event::Message("start".into()));
        behind.push(1, delivery("next"), &slow);
        assert_eq!(drain(&mut behind).0, ["2", "start", "next"]);
    }

    #[test]
    fn what_waits_for_one_subscription_can_be_dropped() {
        let mut behind = Behind::default();
        let slow = Slow::default();
        for (sub, text) in [(1, "1a"), (2, "2a"), (1, "1b")] {
            behind.push(sub, delivery(text), &slow);
        }
        assert_eq!(behind.forget(1), 2);
        assert_eq!(behind.forget(1), 0);
        assert!(!behind.has(1) && behind.has(2));
        assert_eq!(behind.bytes(), delivery("2a").size());
        assert_eq!(drain(&mut behind).0, ["2a"]);
    }

    #[test]
    fn with_a_subscription_go_the_turns_of_what_was_dropped_of_it() {
        let mut behind = Behind::default();
        let slow = Slow::drop_oldest(delivery("1a").size());
        for (sub, text) in [(1, "1a"), (2, "2a"), (1, "1b"), (2, "2b"), (1, "1c")] {
            behind.push(sub, delivery(text), &slow);
        }
        assert_eq!((behind.stale, behind.forget(1), behind.stale), (3, 1, 1));
        assert_eq!(drain(&mut behind).0, ["2b"]);
    }
}
