//! Which address of a host is tried next, and when (RFC 8305). Decisions only.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// RFC 8305 section 5: how long an attempt has before the next address is tried in parallel.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// RFC 8305 section 3: how long IPv4 addresses wait for IPv6 ones that are still being looked up.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// How many attempts run in parallel. When another one is due, the oldest is given up: it has had two
/// seconds, in which the system repeats a lost SYN once.
const PARALLEL: usize = 8;

/// How many addresses of a name are tried. The others are ignored: with 250 ms for each, the later ones
/// would wait for a quarter of a minute.
const MOST_ADDRESSES: usize = 64;

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Start an attempt at this address. Attempts are numbered from 0 in the order of these steps.
    Try(SocketAddr),
    /// End the attempt of this number, which has no result yet.
    GiveUp(usize),
    /// Wait for a result: of an attempt, of a look-up, or that of time, if there is one.
    Wait(Option<Instant>),
    /// No address is left, and no attempt.
    Over,
}

/// The addresses of one host, and the attempts at them.
#[derive(Debug)]
pub(super) struct Race {
    v4: VecDeque<SocketAddr>,
    v6: VecDeque<SocketAddr>,
    /// All that were ever found: a second look-up may find them again.
    known: Vec<SocketAddr>,
    /// The family of the next attempt, if it has an address.
    next_is_v6: bool,
    /// Attempts without a result, the oldest first.
    running: VecDeque<usize>,
    started: usize,
    /// When the next attempt is due although others run.
    due: Option<Instant>,
    /// Until when IPv4 addresses wait for others.
    hold: Option<Instant>,
    resolving: bool,
}

impl Race {
    /// Nothing is found yet.
    pub(super) const fn new() -> Self {
        Self {
            v4: VecDeque::new(),
            v6: VecDeque::new(),
            known: Vec::new(),
            next_is_v6: true,
            running: VecDeque::new(),
            started: 0,
            due: None,
            hold: None,
            resolving: true,
        }
    }

    /// Whether an address was found.
    pub(super) fn has_addresses(&self) -> bool {
        !self.known.is_empty()
    }

    /// A look-up has found these addresses, of one family or of both, in the order of preference.
    /// `awaits_v6`: IPv6 addresses may come from another look-up.
    pub(super) fn found(&mut self, addresses: &[SocketAddr], awaits_v6: bool, now: Instant) {
        if !self.has_addresses()
            && let Some(first) = addresses.first()
        {
            // Section 4: the resolver's order says which family comes first.
            self.next_is_v6 = awaits_v6 || first.is_ipv6();
            self.hold = awaits_v6.then(|| now + RESOLUTION_DELAY);
        }
        for address in addresses {
            if self.known.len() < MOST_ADDRESSES && !self.known.contains(address) {
                self.known.push(*address);
                let family = if address.is_ipv6() { &mut self.v6 } else { &mut self.v4 };
                family.push_back(*address);
            }
        }
        if !awaits_v6 || !self.v6.is_empty() {
            self.hold = None;
        }
    }

    /// No more addresses will be found.
    pub(super) const fn resolved(&mut self) {
        self.resolving = false;
        self.hold = None;
    }

    /// The attempt of this number has failed. The next one need not wait (section 5).
    pub(super) fn failed(&mut self, number: usize) {
        self.running.retain(|running| *running != number);
        self.due = None;
    }

    /// What to do now. After [`Step::Try`] and [`Step::GiveUp`] it is asked again.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if self.v4.is_empty() && self.v6.is_empty() {
            let over = self.running.is_empty() && !self.resolving;
            return if over { Step::Over } else { Step::Wait(None) };
        }
        let later = |time: &Instant| *time > now;
        if let Some(time) = self.hold.filter(later).or(self.due.filter(later)) {
            return Step::Wait(Some(time));
        }
        if self.running.len() == PARALLEL
            && let Some(oldest) = self.running.pop_front()
        {
            return Step::GiveUp(oldest);
        }
        let Some(address) = self.take() else { return Step::Wait(None) };
        self.running.push_back(self.started);
        self.started += 1;
        self.due = Some(now + ATTEMPT_DELAY);
        Step::Try(address)
    }

    /// The families in turn (section 4).
    fn take(&mut self) -> Option<SocketAddr> {
        let (first, second) = match self.next_is_v6 {
            true => (&mut self.v6, &mut self.v4),
            false => (&mut self.v4, &mut self.v6),
        };
        let address = first.pop_front().or_else(|| second.pop_front())?;
        self.next_is_v6 = !address.is_ipv6();
        Some(address)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    fn parse(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().expect("an address")).collect()
    }

    fn v4(number: usize) -> SocketAddr {
        format!("192.0.2.{number}:1").parse().expect("an address")
    }

    /// The addresses that are tried, one after the other, if each fails at once.
    fn order(race: &mut Race, now: Instant) -> Vec<SocketAddr> {
        let mut order = Vec::new();
        while let Step::Try(address) = race.step(now) {
            race.failed(order.len());
            order.push(address);
        }
        order
    }

    #[test]
    fn families_take_turns_beginning_with_the_resolver_s_first() {
        let now = Instant::now();
        let mut race = Race::new();
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        race.found(&found, false, now);
        race.resolved();
        let expected = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(order(&mut race, now), expected);
        assert_eq!(race.step(now), Step::Over);
        let mut race = Race::new();
        race.found(&parse(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]), false, now);
        assert_eq!(order(&mut race, now), parse(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]));
        assert_eq!(race.step(now), Step::Wait(None));
    }

    #[test]
    fn the_next_address_waits_for_250_ms_or_a_failure() {
        let now = Instant::now();
        let mut race = Race::new();
        race.found(&[v4(1), v4(2), v4(3)], false, now);
        race.resolved();
        assert_eq!(race.step(now), Step::Try(v4(1)));
        let due = now + ATTEMPT_DELAY;
        assert_eq!(race.step(now), Step::Wait(Some(due)));
        assert_eq!(race.step(due), Step::Try(v4(2)));
        race.failed(0);
        assert_eq!(race.step(due), Step::Try(v4(3)));
        assert_eq!(race.step(due), Step::Wait(None));
        race.failed(1);
        assert_eq!(race.step(due), Step::Wait(None));
        race.failed(2);
        assert_eq!(race.step(due), Step::Over);
    }

    #[test]
    fn the_first_family_does_not_wait_for_the_other_but_ipv4_for_50_ms() {
        let now = Instant::now();
        let [six, four] = parse(&["[::1]:1", "1.1.1.1:1"])[..] else { panic!("two") };
        // IPv6 is there: nothing is waited for.
        let mut race = Race::new();
        race.found(&[six], false, now);
        assert_eq!(race.step(now), Step::Try(six));
        assert_eq!(race.step(now), Step::Wait(None));
        race.found(&[four], false, now);
        assert_eq!(race.step(now), Step::Wait(Some(now + ATTEMPT_DELAY)));
        // IPv4 is there first, and IPv6 comes in time, or too late, or not at all.
        let held = now + RESOLUTION_DELAY;
        let begun = || {
            let mut race = Race::new();
            race.found(&[four], true, now);
            assert_eq!(race.step(now), Step::Wait(Some(held)));
            race
        };
        let mut race = begun();
        race.found(&[six], false, now);
        assert_eq!(race.step(now), Step::Try(six));
        let mut race = begun();
        assert_eq!(race.step(held), Step::Try(four));
        race.found(&[six], false, held);
        assert_eq!(race.step(held + ATTEMPT_DELAY), Step::Try(six));
        let mut race = begun();
        race.found(&[], false, now);
        assert_eq!(race.step(now), Step::Try(four));
        let mut race = begun();
        race.resolved();
        assert_eq!(race.step(now), Step::Try(four));
    }

    #[test]
    fn a_ninth_attempt_takes_the_place_of_the_oldest() {
        let mut now = Instant::now();
        let mut race = Race::new();
        race.found(&(1..=10).map(v4).collect::<Vec<_>>(), false, now);
        race.resolved();
        for number in 1..=PARALLEL {
            assert_eq!(race.step(now), Step::Try(v4(number)));
            now += ATTEMPT_DELAY;
        }
        assert_eq!(race.step(now), Step::GiveUp(0));
        assert_eq!(race.step(now), Step::Try(v4(9)));
        race.failed(4);
        assert_eq!(race.step(now), Step::Try(v4(10)));
        // No address is left: those that run are left alone.
        assert_eq!(race.step(now + 10 * ATTEMPT_DELAY), Step::Wait(None));
    }

    #[test]
    fn addresses_are_tried_once_and_not_without_bound() {
        let now = Instant::now();
        let mut race = Race::new();
        race.found(&[v4(1), v4(1)], false, now);
        race.found(&[v4(2), v4(1)], false, now);
        assert_eq!(order(&mut race, now), [v4(1), v4(2)]);
        let mut race = Race::new();
        race.found(&(1..=200).map(v4).collect::<Vec<_>>(), false, now);
        assert_eq!(order(&mut race, now).len(), MOST_ADDRESSES);
    }
}
