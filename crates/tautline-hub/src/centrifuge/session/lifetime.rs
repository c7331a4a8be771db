//! How long a connection or subscription lives.

use std::time::{Duration, Instant};

use crate::centrifuge::data::{Expiry, Refresher};

/// When something ends that can be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The client refreshes it before.
    Client { ends: Instant },
    /// The application will be asked to refresh it.
    Server { ask: Instant },
    /// It has been asked, and may take until then, or for ever.
    Asked { ends: Option<Instant> },
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask the application.
    Ask,
    /// End it.
    Over,
}

impl Lifetime {
    /// `None` for one that ends beyond what the clock can tell.
    pub(super) fn new(expiry: Expiry, grace: Duration, now: Instant) -> Option<Self> {
        let at = now.checked_add(expiry.after)?;
        match expiry.by {
            Refresher::Client => Some(Self::Client { ends: at.checked_add(grace)? }),
            Refresher::Server => Some(Self::Server { ask: at }),
        }
    }

    pub(super) const fn at(self) -> Option<Instant> {
        match self {
            Self::Client { ends: at } | Self::Server { ask: at } => Some(at),
            Self::Asked { ends } => ends,
        }
    }

    /// What is due by now, if anything. After [`Due::Ask`] the answer is due within `grace`.
    pub(super) fn take_due(&mut self, grace: Duration, now: Instant) -> Option<Due> {
        if self.at().is_none_or(|at| now < at) {
            return None;
        }
        match self {
            Self::Client { .. } | Self::Asked { .. } => Some(Due::Over),
            Self::Server { .. } => {
                *self = Self::Asked { ends: now.checked_add(grace) };
                Some(Due::Ask)
            }
        }
    }
}
