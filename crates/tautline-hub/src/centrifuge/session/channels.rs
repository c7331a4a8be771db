//! The channels of a session, and what waits for them.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::lifetime::{Due, Lifetime};
use crate::centrifuge::codes::Unsubscribe;
use crate::centrifuge::payload::Payload;
use crate::centrifuge::wire;

#[derive(Debug)]
pub(super) enum Channel {
    /// The application was asked. What the client and the server want of it in the meantime waits.
    Subscribing {
        then: VecDeque<Then>,
    },
    Subscribed(Subscription),
}

#[derive(Debug)]
pub(super) struct Subscription {
    /// Which one of those that the channel had.
    pub(super) serial: u64,
    pub(super) by: By,
    /// About it, for other clients.
    pub(super) info: Payload,
    pub(super) lifetime: Option<Lifetime>,
    /// It was told when it expires, so it may refresh it.
    pub(super) client_refreshes: bool,
}

/// Who made a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Client,
    Server,
}

/// What happens to a channel next.
#[derive(Debug)]
pub(super) enum Then {
    /// The client unsubscribes.
    Unsubscribe { id: u32 },
    /// And subscribes again.
    Subscribe { id: u32, request: wire::SubscribeRequest },
    /// The server unsubscribes it.
    End(Unsubscribe),
}

#[derive(Debug, Default)]
pub(super) struct Channels {
    by_name: HashMap<String, Channel>,
    /// How many [`Then`] there are.
    deferred: usize,
    /// When something is due for one of them, or before.
    soonest: Option<Instant>,
}

impl Channels {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) const fn deferred(&self) -> usize {
        self.deferred
    }

    pub(super) const fn soonest(&self) -> Option<Instant> {
        self.soonest
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name
            .iter()
            .filter(|(_, channel)| matches!(channel, Channel::Subscribed(_)))
            .map(|(name, _)| name.as_str())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Channel> {
        self.by_name.get(name)
    }

    pub(super) fn subscription(&self, name: &str) -> Option<&Subscription> {
        match self.by_name.get(name)? {
            Channel::Subscribed(subscription) => Some(subscription),
            Channel::Subscribing { .. } => None,
        }
    }

    /// Whether the channel is being subscribed to and will be left then, so that it can be subscribed to
    /// again after that.
    pub(super) fn will_be_left(&self, name: &str) -> bool {
        match self.by_name.get(name) {
            Some(Channel::Subscribing { then }) => {
                matches!(then.back(), Some(Then::Unsubscribe { .. } | Then::End(_)))
            }
            _ => false,
        }
    }

    /// Whether the application was asked about this channel, and has not answered.
    pub(super) fn is_subscribing(&self, name: &str) -> bool {
        matches!(self.by_name.get(name), Some(Channel::Subscribing { .. }))
    }

    /// What is to happen when the application has answered, if it was asked.
    pub(super) fn defer(&mut self, name: &str, next: Then) {
        if let Some(Channel::Subscribing { then }) = self.by_name.get_mut(name) {
            then.push_back(next);
            self.deferred += 1;
        }
    }

    pub(super) fn begin(&mut self, name: String) {
        self.by_name.insert(name, Channel::Subscribing { then: VecDeque::new() });
    }

    /// Subscribed, or refused if there is no subscription. Returns what waited for that.
    pub(super) fn settle(
        &mut self,
        name: &str,
        subscription: Option<Subscription>,
    ) -> VecDeque<Then> {
        let before = match subscription {
            Some(subscription) => self.subscribed(name.to_owned(), subscription),
            None => self.by_name.remove(name),
        };
        let Some(Channel::Subscribing { then }) = before else { return VecDeque::new() };
        self.deferred -= then.len();
        then
    }

    pub(super) fn subscribed(
        &mut self,
        name: String,
        subscription: Subscription,
    ) -> Option<Channel> {
        self.note(subscription.lifetime);
        self.by_name.insert(name, Channel::Subscribed(subscription))
    }

    /// Ends a subscription.
    pub(super) fn leave(&mut self, name: &str) -> Option<Subscription> {
        self.subscription(name)?;
        match self.by_name.remove(name)? {
            Channel::Subscribed(subscription) => Some(subscription),
            Channel::Subscribing { .. } => None,
        }
    }

    /// Sets how long the subscription with this serial lives, if it is still there.
    pub(super) fn refresh(&mut self, name: &str, serial: u64, lifetime: Option<Lifetime>) -> bool {
        match self.by_name.get_mut(name) {
            Some(Channel::Subscribed(subscription)) if subscription.serial == serial => {
                subscription.lifetime = lifetime;
                self.note(lifetime);
                true
            }
            _ => false,
        }
    }

    fn note(&mut self, lifetime: Option<Lifetime>) {
        let at = lifetime.and_then(Lifetime::at);
        self.soonest = self.soonest.into_iter().chain(at).min();
    }

    /// What is due by now, with the serial of each subscription.
    pub(super) fn take_due(&mut self, grace: Duration, now: Instant) -> Vec<(String, u64, Due)> {
        if self.soonest.is_none_or(|soonest| now < soonest) {
            return Vec::new();
        }
        let mut due = Vec::new();
        self.soonest = None;
        for (name, channel) in &mut self.by_name {
            let Channel::Subscribed(Subscription { lifetime: Some(lifetime), serial, .. }) =
                channel
            else {
                continue;
            };
            if let Some(what) = lifetime.take_due(grace, now) {
                due.push((name.clone(), *serial, what));
            }
            self.soonest = self.soonest.into_iter().chain(lifetime.at()).min();
        }
        due
    }
}
