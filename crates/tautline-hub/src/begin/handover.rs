//! The hand-over between history and live, as a model: a broker, a node, and subscribers that come and go. Without I/O
//! and without a clock; a seed repeats it.
//!
//! What is the crate's own: [`begin`], [`Line`] and its log. What is modelled: the broker, the network, and the order in
//! which `remote/recovery.rs` asks for what a subscriber has missed, each question and each answer being a step of its
//! own.

mod there;

use std::collections::VecDeque;
use std::time::Instant;

use self::there::{Broker, Entry, Subscriber};
use super::*;
use crate::broker::{History, Keep};
use crate::line::{Line, Step, in_order};
use crate::position::Epoch;
use crate::topic::Topic;
use crate::xorshift::Xorshift;

/// How many are asked for at once.
const MOST_AT_ONCE: usize = 1000;
/// How much happens with each seed.
const STEPS: usize = 300;

/// What the broker was asked for, and what it has answered, which is on its way.
struct Asked {
    after: u64,
    limit: usize,
    answer: Option<History>,
}

/// One who is about to subscribe.
struct Joining {
    how: Subscribe,
    stage: Stage,
    asked: Option<Asked>,
    /// The broker has been there.
    is_real: bool,
    /// How many steps lie between what it fetched and its begin.
    waits: u64,
}

impl Joining {
    fn is_fetching(&self) -> bool {
        !matches!(self.stage, Stage::New | Stage::Ready(_))
    }
}

/// As `Remote::fetch_for` goes on.
enum Stage {
    New,
    End,
    Reach { goal: u64, here: Position },
    First { is_new: bool },
    More { missed: Vec<Delivery>, read: Position, top: Position },
    Ready(Option<Fetched>),
}

/// How it is played.
#[derive(Clone, Copy)]
struct Play {
    /// How many the broker keeps.
    most: usize,
    /// And the node.
    keep: Keep,
    /// The broker begins anew, goes back, and forgets.
    restarts: bool,
}

/// What came of it.
#[derive(Debug, Default)]
struct Counts {
    /// Publications that subscribers got.
    got: u64,
    live: u64,
    /// From what the node had.
    recovered: u64,
    /// From what was fetched before.
    handed_over: u64,
    start_gaps: u64,
    gaps: u64,
}

struct World {
    seed: u64,
    play: Play,
    numbers: Xorshift,
    now: Instant,
    topic: Topic,
    broker: Broker,
    line: Line,
    /// What is published arrives.
    is_relayed: bool,
    wire: VecDeque<(Epoch, Entry)>,
    asked: Option<Asked>,
    joining: Vec<Joining>,
    subscribers: Vec<Subscriber>,
    /// Where subscribers were.
    had: Vec<Position>,
    counts: Counts,
}

impl World {
    fn new(seed: u64, play: Play, counts: Counts) -> Self {
        Self {
            seed,
            play,
            numbers: Xorshift(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: Instant::now(),
            topic: Topic::new("a").unwrap(),
            broker: Broker::new(play.most),
            line: Line::new(play.keep),
            is_relayed: false,
            wire: VecDeque::new(),
            asked: None,
            joining: Vec::new(),
            subscribers: Vec::new(),
            had: Vec::new(),
            counts,
        }
    }

    fn step(&mut self) {
        match self.numbers.below(32) {
            0..=9 => self.publish(),
            10..=17 => self.arrive(),
            18..=21 => self.ask(),
            22..=27 if !self.joining.is_empty() => {
                let joining = self.numbers.index(self.joining.len());
                self.advance(joining);
            }
            22..=28 if self.joining.len() < 3 => self.join(),
            29 if self.subscribers.len() > self.numbers.index(6) => {
                let left = self.numbers.index(self.subscribers.len());
                self.had.extend(self.subscribers.swap_remove(left).at);
            }
            30 if self.subscribers.is_empty() && self.joining.is_empty() => {
                // The topic is taken out. What is on its way may still arrive.
                self.line = Line::new(self.play.keep);
                (self.is_relayed, self.asked) = (false, None);
            }
            _ => self.happen(),
        }
    }

    fn publish(&mut self) {
        let (step, is_readable) = (1 + self.numbers.below(3), self.numbers.below(8) > 0);
        let published = (self.broker.epoch(), self.broker.publish(step, is_readable));
        let times = [0, 2, 1, 1, 1, 1, 1, 1, 1, 1][self.numbers.index(10)];
        self.wire.extend((0..times).filter(|_| self.is_relayed).map(|_| published));
    }

    fn arrive(&mut self) {
        let Some((epoch, entry)) = self.wire.pop_front() else { return };
        let position = Position { epoch, offset: entry.offset };
        if !entry.is_readable {
            self.line.passed(position, entry.previous);
            return;
        }
        let place = Some((position, entry.previous));
        let delivery = Delivery::new(self.topic.clone(), entry.publication(), place);
        let steps = self.line.arrived(delivery, self.now);
        self.tell(&steps);
    }

    fn tell(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Gap(_) => self.counts.gaps += 1,
                Step::Deliver(_) => self.counts.got += self.subscribers.len() as u64,
            }
            for subscriber in &mut self.subscribers {
                subscriber.take(step, &self.broker, self.seed);
            }
        }
        if self.numbers.below(4) == 0 {
            self.had.extend(self.subscribers.first().and_then(|subscriber| subscriber.at));
        }
    }

    /// The node asks, the broker answers, or the answer arrives.
    fn ask(&mut self) {
        match self.asked.take() {
            None if !self.subscribers.is_empty() => {
                let limit = |after| if after == u64::MAX { 0 } else { MOST_AT_ONCE };
                let ask = |after| Asked { after, limit: limit(after), answer: None };
                self.asked = self.line.asks().map(ask);
            }
            None => {}
            Some(asked) => match self.answer(asked) {
                Ok((after, history)) => self.answered(after, &history),
                Err(asked) => self.asked = Some(asked),
            },
        }
    }

    /// What has arrived of an answer. It may be a part.
    fn answer(&mut self, asked: Asked) -> Result<(u64, History), Asked> {
        let part = 1 + self.numbers.index(6);
        match asked.answer {
            Some(history) => Ok((asked.after, history)),
            None => {
                let history = self.broker.history(asked.after, asked.limit.min(part));
                Err(Asked { answer: Some(history), ..asked })
            }
        }
    }

    fn answered(&mut self, after: u64, history: &History) {
        let steps = self.line.answered(&self.topic, after, history, self.now);
        self.tell(&steps);
    }

    /// Somebody comes: anew, or back from where somebody was, here or on another node, or from a place that is none.
    fn join(&mut self) {
        let since = match self.numbers.below(10) {
            0 | 1 => None,
            2 => Some(Position { epoch: Epoch::from_u64(1 << 40), offset: self.numbers.below(50) }),
            3 => Some(Position {
                offset: self.broker.top().offset + 1 + self.numbers.below(9),
                ..self.broker.top()
            }),
            4 | 5 => {
                let offset = self.numbers.below(self.broker.top().offset + 1);
                Some(Position { offset, ..self.broker.top() })
            }
            number => {
                let most = if number == 6 { self.had.len() } else { self.had.len().min(10) };
                let back = self.numbers.index(most.max(1)) + 1;
                self.had.len().checked_sub(back).map(|index| self.had[index])
            }
        };
        let waits = if self.numbers.below(3) == 0 { self.numbers.below(60) } else { 0 };
        let how = since.map_or(Subscribe::new(), |since| Subscribe::new().since(since));
        let top = self.broker.top();
        let is_real = since.is_some_and(|it| it.epoch == top.epoch && it.offset <= top.offset);
        self.is_relayed = true;
        self.joining.push(Joining { how, stage: Stage::New, asked: None, is_real, waits });
    }

    /// The next step of one who is about to subscribe.
    fn advance(&mut self, index: usize) {
        let mut joining = self.joining.remove(index);
        let answer = match joining.asked.take().map(|asked| self.answer(asked)) {
            Some(Err(asked)) => {
                joining.asked = Some(asked);
                self.joining.push(joining);
                return;
            }
            Some(Ok(answer)) => Some(answer),
            None => None,
        };
        let mut ask = None;
        joining.stage = match (joining.stage, joining.how.since, answer) {
            (Stage::Ready(fetched), ..) if joining.waits == 0 => {
                self.begin(&joining.how, fetched, joining.is_real);
                return;
            }
            (Stage::Ready(fetched), ..) => {
                joining.waits -= 1;
                Stage::Ready(fetched)
            }
            // One after the other, unless it has waited for long.
            (Stage::New, ..)
                if self.joining.iter().any(Joining::is_fetching) && self.numbers.below(8) > 0 =>
            {
                Stage::New
            }
            (Stage::New, None, _) if self.line.log().is_none() => {
                ask = Some((u64::MAX, 0));
                Stage::End
            }
            (Stage::New, Some(since), _) if self.lacks(since) => {
                self.reach(since, since.offset, None, &mut ask)
            }
            (Stage::Reach { goal, here }, Some(since), Some((after, history))) => {
                self.answered(after, &history);
                self.reach(since, goal.min(history.top.offset), Some(here), &mut ask)
            }
            (Stage::First { is_new }, Some(since), Some((after, history))) => {
                let is_made_up = is_new && history.top.offset < since.offset;
                self.answered(if is_made_up { u64::MAX } else { after }, &history);
                if !history.complete || since.epoch != history.top.epoch {
                    Stage::Ready(None)
                } else {
                    let missed = in_order(&self.topic, since.offset, &history);
                    let read = Position { offset: history.read_to, ..since };
                    self.more(missed, read, history.top, &mut ask)
                }
            }
            (Stage::More { mut missed, mut read, top }, Some(since), Some((after, more))) => {
                self.answered(after, &more);
                if !more.complete || more.top.epoch != read.epoch || more.read_to <= read.offset {
                    self.fetched(missed, read)
                } else {
                    let last = missed.last().and_then(Delivery::position).unwrap_or(since);
                    missed.extend(in_order(&self.topic, last.offset, &more));
                    read.offset = more.read_to;
                    self.more(missed, read, top, &mut ask)
                }
            }
            (Stage::End, _, Some((after, history))) => {
                self.answered(after, &history);
                Stage::Ready(None)
            }
            _ => Stage::Ready(None),
        };
        joining.asked = ask.map(|(after, limit)| Asked { after, limit, answer: None });
        self.joining.push(joining);
    }

    fn lacks(&self, since: Position) -> bool {
        let reason = self.line.log().and_then(|log| log.since(since).err());
        self.line.log().is_none() || matches!(reason, Some(GapReason::Trimmed | GapReason::Ahead))
    }

    fn reach(
        &self,
        since: Position,
        goal: u64,
        before: Option<Position>,
        ask: &mut Option<(u64, usize)>,
    ) -> Stage {
        let end = self.line.log().map(Log::top).filter(|end| Some(*end) != before);
        if let Some(here) = end
            && here.epoch == since.epoch
            && here.offset < goal
        {
            *ask = Some((here.offset, MOST_AT_ONCE));
            return Stage::Reach { goal, here };
        }
        let is_new = match self.line.log() {
            None => true,
            Some(log) if log.since(since).err() == Some(GapReason::Trimmed) => false,
            Some(_) => return Stage::Ready(None),
        };
        *ask = Some((since.offset, self.play.keep.messages.clamp(1, MOST_AT_ONCE)));
        Stage::First { is_new }
    }

    fn more(
        &mut self,
        missed: Vec<Delivery>,
        read: Position,
        top: Position,
        ask: &mut Option<(u64, usize)>,
    ) -> Stage {
        let log = self.line.log();
        let is_here = log.is_none_or(|log| log.since(read).is_ok())
            && log.is_none_or(|log| log.top().offset >= top.offset);
        if missed.len() >= self.play.keep.messages || is_here {
            return self.fetched(missed, read);
        }
        *ask = Some((read.offset, self.play.keep.messages.clamp(1, MOST_AT_ONCE)));
        Stage::More { missed, read, top }
    }

    fn fetched(&mut self, missed: Vec<Delivery>, read: Position) -> Stage {
        self.line.restore(&missed, read.offset, self.now);
        Stage::Ready(Some(Fetched { missed, read_to: read.offset }))
    }

    fn begin(&mut self, how: &Subscribe, fetched: Option<Fetched>, is_real: bool) {
        let (seed, log) = (self.seed, self.line.log());
        let is_here =
            how.since.is_some_and(|since| log.is_some_and(|log| log.since(since).is_ok()));
        let (start, missed) = begin(log, how, fetched);
        let mut subscriber = Subscriber { at: None, gap: None };
        match start {
            Start::Live { position } => {
                assert!(how.since.is_none() && missed.is_empty(), "seed {seed}");
                self.counts.live += 1;
                subscriber.at = Some(position.unwrap());
            }
            Start::Recovered { count, position } => {
                subscriber.at = how.since;
                missed.iter().for_each(|delivery| subscriber.get(delivery, &self.broker, seed));
                assert_eq!((count, Some(position)), (missed.len(), subscriber.at), "seed {seed}");
                self.counts.got += count as u64;
                let of = [&mut self.counts.handed_over, &mut self.counts.recovered];
                *of[usize::from(is_here)] += 1;
            }
            Start::Gap { position, .. } => {
                assert!(missed.is_empty(), "seed {seed}");
                let has_all = self.play.most == usize::MAX && self.play.keep.messages == usize::MAX;
                assert!(!(is_real && has_all), "seed {seed}: {how:?} {start:?}");
                self.counts.start_gaps += 1;
                subscriber.at = Some(position.unwrap());
            }
            Start::Last { .. } => panic!("seed {seed}: nobody asked for it"),
        }
        self.subscribers.push(subscriber);
    }

    /// Something else happens.
    fn happen(&mut self) {
        match self.numbers.below(20) {
            0..=4 => self.line.newest(self.broker.top()),
            5 => self.line.unsure(),
            number @ 6..=9 if self.play.restarts => {
                match number {
                    6 => self.broker.begin_anew(),
                    7 | 8 => self.broker.go_back(1 + self.numbers.index(40)),
                    _ => self.broker.forget(),
                }
                // The connection was lost, and what was on its way, in both directions.
                self.wire.clear();
                self.asked = None;
                self.joining.retain(|joining| joining.asked.is_none());
                self.line.unsure();
            }
            _ => {}
        }
    }

    /// It is quiet: everything arrives, is asked for and answered.
    fn end(mut self) -> Counts {
        self.join();
        while !self.joining.is_empty() {
            self.advance(0);
        }
        while !self.wire.is_empty() {
            self.arrive();
        }
        for _ in 0..10_000 {
            if self.asked.is_none() {
                // As from time to time.
                self.line.newest(self.broker.top());
                if self.line.asks().is_none() {
                    break;
                }
            }
            self.ask();
        }
        let (top, seed) = (self.broker.top(), self.seed);
        assert!(self.asked.is_none() && self.line.asks().is_none(), "seed {seed}");
        assert_eq!(self.line.log().map(Log::top), Some(top), "seed {seed}");
        for at in self.subscribers.iter().filter_map(|subscriber| subscriber.at) {
            assert!(
                at.epoch == top.epoch && at.offset <= top.offset,
                "seed {seed}: {at:?} {top:?}"
            );
            let next = self.broker.next(at).filter(|next| next.offset <= top.offset);
            assert_eq!(next, None, "seed {seed}: silently missing behind {at:?}");
        }
        self.counts
    }
}

fn play(seeds: u64, play: Play) -> Counts {
    let mut counts = Counts::default();
    for seed in 0..seeds {
        let mut world = World::new(seed, play, counts);
        (0..STEPS).for_each(|_| world.step());
        counts = world.end();
    }
    counts
}

#[test]
fn who_comes_back_misses_nothing_where_everything_is_kept() {
    let all = Play { most: usize::MAX, keep: Keep::last(usize::MAX), restarts: false };
    let counts = play(500, all);
    assert_eq!(counts.gaps, 0);
    assert!(counts.recovered > 2000, "{counts:?}");
}

// A node that keeps less than the broker needs both: what was fetched, and what it has behind that.
#[test]
fn who_comes_back_gets_what_the_node_has_behind_what_was_fetched() {
    let (mut handed_over, mut started_late) = (0, 0);
    for keep in [Keep::last(1), Keep::last(5), Keep::last(30).bytes(5 * 386)] {
        let counts = play(300, Play { most: usize::MAX, keep, restarts: false });
        assert_eq!(counts.gaps, 0, "{keep:?}: the broker has everything");
        handed_over += counts.handed_over;
        started_late += counts.start_gaps;
    }
    assert!(handed_over > 300 && started_late > 300, "{handed_over} {started_late}");
}

#[test]
fn who_follows_a_broker_that_forgets_has_everything_in_order_or_is_told() {
    let small = Keep::last(30).bytes(5 * 386);
    for (most, keep) in [(3, small), (4, Keep::last(4)), (20, Keep::last(20)), (usize::MAX, small)]
    {
        let counts = play(300, Play { most, keep, restarts: true });
        assert!(counts.gaps > 300 && counts.recovered > 100, "{counts:?}");
    }
}
