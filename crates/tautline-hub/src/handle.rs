//! What a handler holds of its member.

use std::sync::Arc;

use tautline::Prepared;

use crate::id::MemberId;
use crate::inbox::Entry;
use crate::inbox::member::{MemberCounts, MemberInfo, Shared};
use crate::inner::Inner;
use crate::options::Action;
use crate::publication::Publication;
use crate::subscribe::{PublishError, Published, Start, Subscribe, SubscribeError};
use crate::topic::{Filter, Topic};

/// A connection that takes part in a hub. When it is dropped, the connection leaves all topics, and what
/// waited for it is dropped.
#[derive(Debug)]
pub struct Member {
    shared: Arc<Shared>,
    hub: Arc<Inner>,
}

impl Member {
    pub(crate) const fn new(shared: Arc<Shared>, hub: Arc<Inner>) -> Self {
        Self { shared, hub }
    }

    /// Who it is among all members of all nodes.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.shared.id
    }

    /// What was told of it.
    #[must_use]
    pub fn info(&self) -> &MemberInfo {
        &self.shared.info
    }

    /// Subscribes. When this returns, everything that is published from then on, by anybody, comes.
    ///
    /// Cancel safe: a subscription whose future is dropped before it returned is not made, or is there and can
    /// be ended by [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    /// Why there is no subscription.
    pub async fn subscribe(
        &self,
        filter: impl Into<Filter>,
        how: Subscribe,
    ) -> Result<Start, SubscribeError> {
        self.hub.subscribe(&self.shared, &filter.into(), &how).await
    }

    /// Ends a subscription. What was published before is still sent. Returns whether there was one.
    pub fn unsubscribe(&self, filter: impl Into<Filter>) -> bool {
        self.hub.unsubscribe(&self.shared, &filter.into(), None)
    }

    /// Publishes to all others who are subscribed. To have it come back as well, use
    /// [`Hub::publish`](crate::Hub::publish), which does not ask [`authorize`](crate::HubBuilder::authorize): decide
    /// first whether this member may.
    ///
    /// Cancel safe, as that is.
    ///
    /// # Errors
    /// Why it was not published.
    pub async fn publish(
        &self,
        topic: &Topic,
        publication: impl Into<Publication>,
    ) -> Result<Published, PublishError> {
        self.publish_as(topic, publication.into().exclude(self.shared.id)).await
    }

    /// Publishes it as it is, to this one too unless it says otherwise, if the member may.
    pub(crate) async fn publish_as(
        &self,
        topic: &Topic,
        publication: Publication,
    ) -> Result<Published, PublishError> {
        if self.shared.has_ended() {
            return Err(PublishError::Ended);
        }
        if !self.hub.allows(&self.shared.info, Action::Publish(topic)) {
            return Err(PublishError::Refused);
        }
        self.hub.publish(topic, publication).await
    }

    /// Sends a message to this one alone, behind what was published before. This does not wait, however much is on its
    /// way to the worker already; what waits for the connection then is bounded
    /// ([`Attach::limit`](crate::Attach::limit)), and beyond that it is closed.
    pub fn send(&self, message: impl Into<Prepared>) {
        let (seat, message) = (self.shared.seat, message.into());
        self.shared.inbox.push(Entry::Message { seat, message });
    }

    /// How many subscriptions it has.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.shared.subscriptions()
    }

    /// Whether its connection has ended, as far as the hub has noticed: when there was something to send, or
    /// the hub closed it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended()
    }

    /// What became of publications for it so far.
    #[must_use]
    pub fn counts(&self) -> MemberCounts {
        self.shared.counts()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.hub.detach(&self.shared);
    }
}
