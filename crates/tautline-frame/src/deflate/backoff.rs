//! Which messages are worth trying to compress, going by those before.

use crate::config::{MISSES_BORNE, MOST_SKIPPED_BITS};

/// Counts messages that did not become smaller, and lets more and more of those that follow go
/// untried.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Those on end that did not.
    misses: u8,
    /// How many more are not tried.
    skip: u8,
}

impl Backoff {
    /// Whether the next message is not to be tried.
    pub(super) fn skips(&mut self) -> bool {
        let skips = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        skips
    }

    /// Whether one that was tried became smaller.
    pub(super) fn note(&mut self, gained: bool) {
        self.misses = if gained { 0 } else { self.misses.saturating_add(1) };
        let bits = self.misses.saturating_sub(MISSES_BORNE).min(MOST_SKIPPED_BITS);
        self.skip = (1 << bits) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_64th_is_tried_of_what_never_becomes_smaller_and_all_once_one_does() {
        let mut backoff = Backoff::default();
        let mut tried = 0;
        for _ in 0..6400 {
            if !backoff.skips() {
                tried += 1;
                backoff.note(false);
            }
        }
        assert!((100..130).contains(&tried), "{tried}");
        while backoff.skips() {}
        backoff.note(true);
        for _ in 0..100 {
            assert!(!backoff.skips());
            backoff.note(true);
        }
    }
}
