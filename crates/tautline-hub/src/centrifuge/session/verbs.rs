//! What the application wants of a client, unasked.

use std::time::Instant;

use super::answers::{is_by_client, is_over};
use super::channels::{By, Subscription, Then};
use super::{Session, State};
use crate::centrifuge::codes::{Disconnect, Unsubscribe};
use crate::centrifuge::convert;
use crate::centrifuge::data::{ClientInfo, Expiry, Membership, Publication};
use crate::centrifuge::payload::Payload;
use crate::centrifuge::push;
use crate::centrifuge::request::Subscribed;
use crate::centrifuge::wire;

impl Session {
    /// Sends a publication to the client, if it is subscribed to the channel. Returns whether it is.
    ///
    /// [`Publication::push`] makes the same message for all clients of a format; whoever sends that keeps
    /// to the order of what the session sends.
    pub fn publication(&mut self, channel: &str, publication: &Publication) -> bool {
        let is_subscribed = self.channels.subscription(channel).is_some();
        if is_subscribed {
            self.send_made(push::publication(self.format, channel, publication));
        }
        is_subscribed
    }

    /// Tells the client who comes into a channel or leaves it, if it is subscribed to it. Returns whether it
    /// is.
    pub fn membership(
        &mut self,
        channel: &str,
        membership: Membership,
        client: &ClientInfo,
    ) -> bool {
        let is_subscribed = self.channels.subscription(channel).is_some();
        if is_subscribed {
            self.send_made(push::membership(self.format, channel, membership, client));
        }
        is_subscribed
    }

    /// Sends data to the client outside of any channel. Returns whether it is connected.
    pub fn message(&mut self, data: &Payload) -> bool {
        let is_connected = self.is_connected();
        if is_connected {
            let data = convert::payload(data, self.format);
            self.send_made(data.map(|data| wire::Push {
                message: Some(wire::Data { data }),
                ..Default::default()
            }));
        }
        is_connected
    }

    /// Tells the client that the server has subscribed it to a channel, and notes it. What it would recover
    /// is not sent. Returns whether it is done: not if the client is subscribed to it, or about to be; nor if it
    /// is not connected. With more than
    /// [`Config::max_channels`](crate::centrifuge::Config::max_channels) the connection is closed.
    pub fn subscribe(&mut self, channel: &str, subscribed: &Subscribed, now: Instant) -> bool {
        let is_new = self.channels.get(channel).is_none();
        if !self.is_connected() || !is_new || is_over(subscribed.expiry) {
            return false;
        }
        if self.channels.len() >= self.config.max_channels {
            self.disconnect(Disconnect::CHANNEL_LIMIT);
            return false;
        }
        let Ok(data) = convert::payload(&subscribed.data, self.format) else {
            self.disconnect(Disconnect::INAPPROPRIATE_PROTOCOL);
            return false;
        };
        self.keep(channel, subscribed, By::Server, now);
        let mut subscribe = wire::Subscribe { data, ..Default::default() };
        if let Some(stream) = &subscribed.stream {
            subscribe.positioned = true;
            subscribe.recoverable = stream.recoverable;
            subscribe.epoch = stream.position.epoch.to_string();
            subscribe.offset = stream.position.offset;
        }
        self.send_push(wire::Push {
            channel: channel.to_owned(),
            subscribe: Some(subscribe),
            ..Default::default()
        });
        self.is_connected()
    }

    /// Ends a subscription, whoever made it, and tells the client. If the client is about to be subscribed,
    /// it is when it has been. Returns whether there is such a subscription.
    pub fn unsubscribe(&mut self, channel: &str, unsubscribe: Unsubscribe) -> bool {
        if self.channels.is_subscribing(channel) {
            if !self.channels.will_be_left(channel) {
                self.channels.defer(channel, Then::End(unsubscribe));
            }
            return true;
        }
        if self.channels.leave(channel).is_none() {
            return false;
        }
        self.left.push_back(channel.to_owned());
        self.send_push(wire::Push {
            channel: channel.to_owned(),
            unsubscribe: Some(convert::unsubscribe(&unsubscribe)),
            ..Default::default()
        });
        true
    }

    /// Something of this channel was lost on the way to the client. It recovers by subscribing again, or, if
    /// the server had subscribed it, by coming back.
    pub fn lost(&mut self, channel: &str) {
        match self.channels.subscription(channel) {
            Some(Subscription { by: By::Server, .. }) => {
                self.disconnect(Disconnect::INSUFFICIENT_STATE);
            }
            _ => {
                self.unsubscribe(channel, Unsubscribe::INSUFFICIENT_STATE);
            }
        }
    }

    /// Sets how long the connection lives, and tells the client. Without a time it does not expire; with
    /// none left, it is closed. Returns whether the client is connected.
    pub fn refresh(&mut self, expiry: Option<Expiry>, now: Instant) -> bool {
        let lifetime = self.lifetime(expiry, now);
        let State::Open(open) = &mut self.state else { return false };
        if is_over(expiry) {
            self.disconnect(Disconnect::EXPIRED);
            return false;
        }
        open.lifetime = lifetime;
        open.client_refreshes |= is_by_client(expiry);
        let refresh = Some(convert::expiry(expiry));
        self.send_push(wire::Push { refresh, ..Default::default() });
        self.is_connected()
    }
}
