//! When a certificate is renewed: decisions without a clock and without the network.

use std::ops::Range;
use std::time::{Duration, SystemTime};

/// Certificates that are valid for less are renewed after half of that, others after two thirds.
const SHORT: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// How often the authority is asked at least when it wants the certificate to be renewed: it may move
/// that forward, because it has to revoke the certificate (RFC 9773 section 4.3).
const LOOK: Duration = Duration::from_secs(6 * 60 * 60);

/// What is waited after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// Pauses take up at most this part of the lifetime, so that there are several attempts in any.
const PAUSE_OF_LIFETIME: u32 = 20;

/// What to do about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Renew,
    /// Ask again after this time, at most.
    Wait(Duration),
}

/// When one certificate is to be renewed.
#[derive(Debug)]
pub(crate) struct Schedule {
    valid: Range<SystemTime>,
    /// The place within a window that the authority suggests, from 0 to 1. It is chosen once, at
    /// random, lest all clients come at the same time.
    place: f64,
    failures: u32,
    /// No attempt before this.
    paused: Option<SystemTime>,
}

impl Schedule {
    /// For a certificate that is valid in this time.
    pub(crate) const fn new(valid: Range<SystemTime>, place: f64) -> Self {
        Self { valid, place, failures: 0, paused: None }
    }

    /// What to do, where the authority suggests to renew within `window`, or suggests nothing.
    pub(crate) fn next(&self, window: Option<&Range<SystemTime>>, now: SystemTime) -> Next {
        let due = window.map_or_else(|| self.by_lifetime(), |window| self.within(window));
        let due = self.paused.map_or(due, |paused| paused.max(due));
        match due.duration_since(now) {
            Ok(wait) if !wait.is_zero() => Next::Wait(wait.min(LOOK)),
            _ => Next::Renew,
        }
    }

    /// An attempt has failed now.
    pub(crate) fn failed(&mut self, now: SystemTime) {
        let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        let pause = doubled.min(LOOK).min(lifetime(&self.valid) / PAUSE_OF_LIFETIME);
        self.failures = self.failures.saturating_add(1);
        self.paused = Some(now + pause);
    }

    fn by_lifetime(&self) -> SystemTime {
        let lifetime = lifetime(&self.valid);
        self.valid.start + if lifetime < SHORT { lifetime / 2 } else { lifetime * 2 / 3 }
    }

    /// RFC 9773 section 4.2; never later than the lifetime has it, should the window be wrong.
    fn within(&self, window: &Range<SystemTime>) -> SystemTime {
        let due = window.start + lifetime(window).mul_f64(self.place.clamp(0.0, 1.0));
        due.min(self.valid.end - lifetime(&self.valid) / PAUSE_OF_LIFETIME)
    }
}

/// Nothing where the end comes first.
fn lifetime(range: &Range<SystemTime>) -> Duration {
    range.end.duration_since(range.start).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    /// So many seconds after the certificate was issued.
    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn valid_for(seconds: u64) -> Schedule {
        Schedule::new(at(0)..at(seconds), 0.5)
    }

    fn wait(seconds: u64) -> Next {
        Next::Wait(Duration::from_secs(seconds))
    }

    #[test]
    fn without_a_suggestion_a_certificate_is_renewed_after_two_thirds_or_half_of_its_life() {
        for (lifetime, due) in [(90 * DAY, 60 * DAY), (6 * DAY, 3 * DAY), (20, 10)] {
            let schedule = valid_for(lifetime);
            assert_eq!(schedule.next(None, at(due - 1)), wait(1), "{lifetime}");
            assert_eq!(schedule.next(None, at(due)), Next::Renew, "{lifetime}");
            assert_eq!(schedule.next(None, at(2 * lifetime)), Next::Renew, "{lifetime}");
        }
    }

    #[test]
    fn it_looks_again_every_six_hours_whenever_it_is_due() {
        let schedule = valid_for(90 * DAY);
        assert_eq!(schedule.next(None, at(0)), wait(DAY / 4));
        assert_eq!(schedule.next(Some(&(at(70 * DAY)..at(72 * DAY))), at(0)), wait(DAY / 4));
    }

    #[test]
    fn what_the_authority_suggests_counts_at_the_chosen_place() {
        let schedule = valid_for(90 * DAY);
        let window = at(70 * DAY)..at(72 * DAY);
        assert_eq!(schedule.next(Some(&window), at(71 * DAY - 5)), wait(5));
        assert_eq!(schedule.next(Some(&window), at(71 * DAY)), Next::Renew);
        // It is to be revoked.
        assert_eq!(schedule.next(Some(&(at(0)..at(1))), at(DAY)), Next::Renew);
    }

    #[test]
    fn a_window_that_is_too_late_or_turned_around_does_not_let_it_expire() {
        let schedule = valid_for(90 * DAY);
        let last = 90 * DAY - 90 * DAY / 20;
        for window in [at(100 * DAY)..at(110 * DAY), at(95 * DAY)..at(1)] {
            assert_eq!(schedule.next(Some(&window), at(last - 1)), wait(1), "{window:?}");
            assert_eq!(schedule.next(Some(&window), at(last)), Next::Renew, "{window:?}");
        }
    }

    #[test]
    fn after_failures_it_waits_longer_each_time_but_tries_several_times_in_any_lifetime() {
        let mut schedule = valid_for(90 * DAY);
        let due = at(60 * DAY);
        for pause in [60, 120, 240, 480] {
            schedule.failed(due);
            assert_eq!(schedule.next(None, due), wait(pause));
        }
        for _ in 0..100 {
            schedule.failed(due);
        }
        assert_eq!(schedule.next(None, due), wait(DAY / 4));

        let mut schedule = valid_for(20);
        schedule.failed(at(10));
        assert_eq!(schedule.next(None, at(10)), wait(1));
        assert_eq!(schedule.next(None, at(11)), Next::Renew);
    }
}
