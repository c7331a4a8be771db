//! A client, as its application has it.

use std::fmt;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::codes::{ClientError, Disconnect, Refusal, Unsubscribe};
use super::data::{ClientInfo, Expiry};
use super::grant::SubscribeGrant;
use super::payload::Payload;
use super::shared::{Shared, Starting};
use crate::clock::now;
use crate::handle::Member;
use crate::id::MemberId;
use crate::subscribe::{PublishError, Subscribe, SubscribeError};
use crate::topic::Topic;

/// A client that is connected, or was. Clones are of the same client; they do not keep it.
#[derive(Clone)]
pub struct Client {
    id: Arc<str>,
    user: Arc<str>,
    member: (MemberId, Weak<Member>),
    shared: Arc<Shared>,
}

impl Client {
    pub(super) fn new(id: &str, user: &str, member: &Arc<Member>, shared: Arc<Shared>) -> Self {
        let member = (member.id(), Arc::downgrade(member));
        Self { id: id.into(), user: user.into(), member, shared }
    }

    /// What it is called, by itself and other clients: unique among all connections of all nodes.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What it is for the hub.
    #[must_use]
    pub const fn member(&self) -> MemberId {
        self.member.0
    }

    /// Whether it is still there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.lock().session.is_connected()
    }

    /// Who it is, as others in this channel see it.
    #[must_use]
    pub fn info(&self, channel: &str) -> ClientInfo {
        self.shared.lock().session.client_info(channel)
    }

    /// The channels that it is subscribed to, in no order.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        self.shared.lock().session.channels().map(str::to_owned).collect()
    }

    /// Sends data to it outside of any channel. Returns whether it is connected.
    pub fn send(&self, data: impl Into<Payload>) -> bool {
        let data = data.into();
        self.shared.change(|session| session.message(&data))
    }

    /// Subscribes it to a channel. When this returns, it is, and the client is about to be told: this waits while
    /// the client takes nothing, until it is closed for that. If the future is dropped, it may be subscribed.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn subscribe(&self, channel: &str, grant: SubscribeGrant) -> Result<(), Refusal> {
        // Before it is held: it lives as long as the connection.
        self.shared.until_told(channel).await;
        let Some(member) = self.member.1.upgrade() else {
            return Err(Disconnect::CONNECTION_CLOSED.into());
        };
        let how = how(&grant);
        let (started, start_of) = oneshot::channel();
        let starting = Starting::Pushed { channel: channel.to_owned(), grant, started };
        start(&member, &self.shared, channel, starting, how).await?;
        drop(member);
        match start_of.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(ClientError::ALREADY_SUBSCRIBED.into()),
            Err(_) => Err(Disconnect::CONNECTION_CLOSED.into()),
        }
    }

    /// Ends a subscription, whoever made it. Returns whether there was one.
    #[expect(clippy::must_use_candidate, reason = "it is not asked, but told")]
    pub fn unsubscribe(&self, channel: &str, unsubscribe: Unsubscribe) -> bool {
        self.shared.change(|session| session.unsubscribe(channel, unsubscribe))
    }

    /// Sets how long it may stay; for ever, without a time. Returns whether it is connected.
    #[expect(clippy::must_use_candidate, reason = "it is not asked, but told")]
    pub fn refresh(&self, expiry: Option<Expiry>) -> bool {
        self.shared.change(|session| session.refresh(expiry, now()))
    }

    /// Closes its connection.
    pub fn disconnect(&self, disconnect: Disconnect) {
        self.shared.change(|session| session.disconnect(disconnect));
    }
}

/// Without what it is about.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How the hub subscribes.
pub(super) fn how(grant: &SubscribeGrant) -> Subscribe {
    let how = Subscribe::new()
        .last_value(grant.last_value)
        .watch(grant.join_leave)
        .hidden(grant.hidden)
        .presence_data(grant.info.clone().into_bytes());
    match &grant.slow {
        Some(slow) => how.slow(slow.clone()),
        None => how,
    }
}

/// Asks the hub for a subscription. The outlet answers when it starts.
pub(super) async fn start(
    member: &Member,
    shared: &Shared,
    channel: &str,
    starting: Starting,
    how: Subscribe,
) -> Result<(), Refusal> {
    let topic = topic(channel)?;
    let asked = Asked { shared, tag: shared.starting(starting) };
    let subscribed = member.subscribe(topic, how.tag(asked.tag)).await;
    subscribed.map_err(|error| not_subscribed(&error))?;
    // The outlet has it from here on.
    std::mem::forget(asked);
    Ok(())
}

/// A subscription that the hub was asked for and has not made, if this is dropped.
struct Asked<'a> {
    shared: &'a Shared,
    tag: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.shared.not_started(self.tag);
    }
}

/// The topic of a channel: each that can be one.
pub(super) fn topic(channel: &str) -> Result<Topic, Refusal> {
    Topic::new(channel).map_err(|error| {
        tracing::debug!(%error, "a channel cannot be a topic");
        ClientError::UNKNOWN_CHANNEL.into()
    })
}

fn not_subscribed(error: &SubscribeError) -> Refusal {
    match error {
        SubscribeError::Refused => ClientError::PERMISSION_DENIED.into(),
        SubscribeError::AlreadySubscribed => ClientError::ALREADY_SUBSCRIBED.into(),
        SubscribeError::TooMany(_) => ClientError::LIMIT_EXCEEDED.into(),
        SubscribeError::Ended => Disconnect::SHUTDOWN.into(),
        SubscribeError::TooManyTopics(_)
        | SubscribeError::Broker(_)
        | SubscribeError::Presence(_) => internal(error),
    }
}

pub(super) fn not_published(error: &PublishError) -> Refusal {
    match error {
        PublishError::Refused => ClientError::PERMISSION_DENIED.into(),
        PublishError::Ended => Disconnect::SHUTDOWN.into(),
        _ => internal(error),
    }
}

pub(super) fn internal(error: &dyn std::error::Error) -> Refusal {
    tracing::warn!(%error, source = error.source(), "a client's request failed");
    ClientError::INTERNAL.into()
}
