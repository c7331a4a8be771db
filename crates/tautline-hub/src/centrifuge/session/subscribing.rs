//! Subscriptions as they begin, and what waited for that.

use std::time::Instant;

use super::Session;
use super::answers::{is_by_client, is_over};
use super::channels::{By, Subscription, Then};
use crate::centrifuge::codes::{ClientError, Disconnect};
use crate::centrifuge::convert;
use crate::centrifuge::data::Since;
use crate::centrifuge::payload::NotJson;
use crate::centrifuge::request::{Stream, Subscribed};
use crate::centrifuge::wire;

impl Subscribed {
    /// Whether the client has everything that it had missed.
    pub(super) fn is_recovered(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.recovered.is_some())
    }
}

impl Session {
    /// The client wants no subscription that does not recover what it has missed.
    pub(super) fn unrecovered(&mut self, id: u32, channel: &str, now: Instant) {
        self.left.push_back(channel.to_owned());
        self.send_error(id, &ClientError::UNRECOVERABLE_POSITION);
        self.settle(channel, None, now);
    }

    pub(super) fn subscribed(
        &mut self,
        id: u32,
        channel: &str,
        since: Option<Since>,
        done: &Subscribed,
        now: Instant,
    ) {
        if is_over(done.expiry) {
            self.left.push_back(channel.to_owned());
            self.send_error(id, &ClientError::EXPIRED);
            self.settle(channel, None, now);
            return;
        }
        let Ok(result) = self.subscribe_result(since, done) else {
            return self.disconnect(Disconnect::INAPPROPRIATE_PROTOCOL);
        };
        self.send(&wire::Reply { id, subscribe: Some(result), ..Default::default() });
        self.settle(channel, Some(done), now);
    }

    /// The state of a channel after the application's answer; then what waited for it happens.
    pub(super) fn settle(&mut self, channel: &str, done: Option<&Subscribed>, now: Instant) {
        let subscription = done.map(|done| self.subscription(done, By::Client, now));
        if self.is_closed() {
            return;
        }
        for then in self.channels.settle(channel, subscription) {
            match then {
                Then::Unsubscribe { id } => self.unsubscribe_command(id, channel),
                Then::Subscribe { id, request } => self.subscribe_command(id, request),
                Then::End(unsubscribe) => {
                    self.unsubscribe(channel, unsubscribe);
                }
            }
        }
    }

    /// Notes a subscription that the server has made.
    pub(super) fn keep(&mut self, channel: &str, done: &Subscribed, by: By, now: Instant) {
        let subscription = self.subscription(done, by, now);
        self.channels.subscribed(channel.to_owned(), subscription);
    }

    fn subscription(&mut self, done: &Subscribed, by: By, now: Instant) -> Subscription {
        self.next_number += 1;
        Subscription {
            serial: self.next_number,
            by,
            info: done.info.clone(),
            lifetime: self.lifetime(done.expiry, now),
            client_refreshes: by == By::Client && is_by_client(done.expiry),
        }
    }

    pub(super) fn subscribe_result(
        &self,
        since: Option<Since>,
        done: &Subscribed,
    ) -> Result<wire::SubscribeResult, NotJson> {
        let wire::Expiry { expires, ttl } = convert::expiry(done.expiry);
        let mut result = wire::SubscribeResult {
            expires,
            ttl,
            data: convert::payload(&done.data, self.format)?,
            was_recovering: since.is_some() || done.is_recovered(),
            ..Default::default()
        };
        let Some(stream) = &done.stream else { return Ok(result) };
        result.positioned = true;
        result.recoverable = stream.recoverable;
        result.epoch = stream.position.epoch.to_string();
        result.offset = stream.position.offset;
        if let Some(recovered) = &stream.recovered {
            result.recovered = true;
            result.offset = recovered_from(since, stream);
            result.publications = recovered
                .iter()
                .map(|publication| convert::publication(publication, self.format))
                .collect::<Result<_, _>>()?;
        }
        Ok(result)
    }
}

/// Where a client is that gets what it has missed: ahead of the first of these.
fn recovered_from(since: Option<Since>, stream: &Stream) -> u64 {
    let first = stream.recovered.iter().flatten().next();
    match (since, first) {
        (Some(since), _) => since.offset,
        (None, Some(first)) => first.offset.saturating_sub(1),
        (None, None) => stream.position.offset,
    }
}
