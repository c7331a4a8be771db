//! Requests of a client that is connected, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tautline::Prepared;
use tokio::sync::oneshot;

use super::application::Application;
use super::client::{Client, how, internal, not_published, start, topic};
use super::codes::{ClientError, Refusal};
use super::config::Config;
use super::data::{ClientInfo, Publication, Since, SinceEpoch};
use super::grant::{ConnectGrant, PublishGrant, SubscribeGrant};
use super::request::{
    Answer, Connected, HistoryPage, HistoryRequest, PublishRequest, Request, RequestId,
    SubscribeRequest, Subscribed,
};
use super::shared::{LEFT, Left, Shared, Starting};
use crate::broker::{BrokerError, History, Range};
use crate::clock::now;
use crate::handle::Member;
use crate::hub::Hub;
use crate::subscribe::Subscribe;
use crate::topic::{Filter, Topic};

/// What it takes to carry out what a client asks for.
pub(super) struct Context<A: Application> {
    pub(super) application: Arc<A>,
    pub(super) hub: Hub,
    pub(super) member: Arc<Member>,
    pub(super) client: Client,
    pub(super) shared: Arc<Shared>,
    pub(super) config: Arc<Config>,
    /// The application has been told of it.
    pub(super) is_connected: AtomicBool,
}

/// The application is told, however the connection ends.
impl<A: Application> Drop for Context<A> {
    fn drop(&mut self) {
        if self.is_connected.load(Ordering::Acquire) {
            self.application.disconnected(&self.client);
        }
    }
}

impl<A: Application> Context<A> {
    /// Carries out a request, and has the session answer it.
    pub(super) async fn carry_out(self: Arc<Self>, id: RequestId, request: Request) {
        let answer = match request {
            // The outlet answers, when it starts.
            Request::Subscribe(request) => match self.subscribe(id, request).await {
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            Request::Refresh(request) => {
                let refreshed = self.application.refresh(&self.client, request.token).await;
                refreshed.map(Answer::Refresh)
            }
            Request::SubRefresh(request) => {
                let (channel, token) = (request.channel, request.token);
                let refreshed = self.application.sub_refresh(&self.client, &channel, token).await;
                refreshed.map(Answer::SubRefresh)
            }
            Request::Publish(request) => self.publish(request).await.map(|()| Answer::Publish),
            Request::Presence(channel) => self.presence(&channel).await.map(Answer::Presence),
            Request::PresenceStats(channel) => self.presence_stats(&channel).await,
            Request::History(request) => self.history(&request).await.map(Answer::History),
            Request::Rpc(request) => {
                self.application.rpc(&self.client, request).await.map(Answer::Rpc)
            }
            // The session asks this once, before there is a context.
            Request::Connect(_) => Err(ClientError::INTERNAL.into()),
        };
        self.answer(id, answer);
    }

    fn answer(&self, id: RequestId, answer: Result<Answer, Refusal>) {
        self.shared.change(|session| session.answer(id, answer, now()));
    }

    /// The session has left a channel.
    pub(super) fn left(&self, left: &Left) {
        if !left.by_hub {
            self.leave(&left.channel);
        }
        self.application.unsubscribed(&self.client, &left.channel);
    }

    fn leave(&self, channel: &str) {
        let member = self.member.id();
        let filter = Topic::new(channel).map(Filter::from);
        if !filter.is_ok_and(|filter| self.hub.unsubscribe(member, &filter, LEFT)) {
            self.shared.lock().has_left(channel);
        }
    }

    /// Makes the server's own subscriptions of a client, and connects it with them.
    pub(super) async fn connect(
        self: Arc<Self>,
        id: RequestId,
        grant: ConnectGrant,
        positions: Vec<(String, Since)>,
    ) {
        let mut connected = Connected::new(grant.user);
        (connected.info, connected.data) = (grant.info, grant.data);
        connected.expiry = grant.expiry;
        let mut answer = Ok(());
        for (channel, grant) in grant.channels {
            let since = positions.iter().find(|(name, _)| *name == channel).map(|(_, at)| *at);
            match self.subscribe_at_connect(&channel, grant, since).await {
                Ok(subscribed) => {
                    connected.subscriptions.insert(channel, subscribed);
                }
                Err(refusal) => {
                    answer = Err(refusal);
                    break;
                }
            }
        }
        let channels: Vec<_> = connected.subscriptions.keys().cloned().collect();
        let answer = answer.map(|()| Answer::Connect(connected));
        if !self.shared.connect(id, answer) {
            // It is told why, and is to hear nothing else.
            for topic in channels.into_iter().filter_map(|channel| Topic::new(channel).ok()) {
                self.member.unsubscribe(topic);
            }
            return;
        }
        self.is_connected.store(true, Ordering::Release);
        self.application.connected(&self.client);
        for channel in channels {
            self.application.subscribed(&self.client, &channel);
        }
        self.shared.open();
        self.member.send(Prepared::new(""));
    }

    async fn subscribe_at_connect(
        &self,
        channel: &str,
        grant: SubscribeGrant,
        since: Option<Since>,
    ) -> Result<Subscribed, Refusal> {
        let how = self.beginning(how(&grant), &topic(channel)?, since).await;
        let (started, start_of) = oneshot::channel();
        let starting = Starting::Connecting { grant, started };
        start(&self.member, &self.shared, channel, starting, how).await?;
        start_of.await.map_err(|_| ClientError::INTERNAL.into())
    }

    async fn subscribe(&self, id: RequestId, request: SubscribeRequest) -> Result<(), Refusal> {
        let (channel, since) = (request.channel.clone(), request.since);
        let grant = self.application.subscribe(&self.client, request).await?;
        let how = self.beginning(how(&grant), &topic(&channel)?, since).await;
        let starting = Starting::Client { request: id, grant };
        start(&self.member, &self.shared, &channel, starting, how).await?;
        self.application.subscribed(&self.client, &channel);
        Ok(())
    }

    /// Where a client's subscription begins: at its position, if there is one such; otherwise nothing is recovered.
    async fn beginning(
        &self,
        mut how: Subscribe,
        topic: &Topic,
        since: Option<Since>,
    ) -> Subscribe {
        let Some(since) = since else { return how };
        how.since = match since.epoch {
            SinceEpoch::Of(epoch) => since.within(epoch),
            SinceEpoch::Foreign => None,
            // It says nothing of the epoch, so it is that of now: of the broker's history, if it is read from there.
            SinceEpoch::Any => {
                how.any_epoch = true;
                let history = self.hub.history(topic, Range::Latest, 0).await;
                history.ok().and_then(|history| since.within(history.top.epoch))
            }
        };
        how
    }

    async fn publish(&self, request: PublishRequest) -> Result<(), Refusal> {
        let channel = request.channel.clone();
        let grant = self.application.publish(&self.client, request).await?;
        let PublishGrant { data, tags, anonymous } = grant;
        let mut publication = Publication::new(data);
        publication.tags = tags;
        publication.info = (!anonymous).then(|| self.client.info(&channel));
        let published = publication.into_published();
        let topic = topic(&channel)?;
        match self.member.publish_as(&topic, published).await {
            Ok(_) => Ok(()),
            Err(error) => Err(not_published(&error)),
        }
    }

    async fn presence(&self, channel: &str) -> Result<Vec<ClientInfo>, Refusal> {
        self.application.presence(&self.client, channel).await?;
        let topic = topic(channel)?;
        let attendance = self.hub.attendance_of(&topic).ok_or(ClientError::NOT_AVAILABLE)?;
        let presence = attendance.presence(&topic, self.config.max_presence);
        Ok(presence.members.iter().map(ClientInfo::of_member).collect())
    }

    async fn presence_stats(&self, channel: &str) -> Result<Answer, Refusal> {
        self.application.presence(&self.client, channel).await?;
        let topic = topic(channel)?;
        let attendance = self.hub.attendance_of(&topic).ok_or(ClientError::NOT_AVAILABLE)?;
        let counts = attendance.counts_with_unnamed(&topic);
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Answer::PresenceStats { clients: count(counts.members), users: count(counts.users) })
    }

    async fn history(&self, request: &HistoryRequest) -> Result<HistoryPage, Refusal> {
        self.application.history(&self.client, request).await?;
        let topic = topic(&request.channel)?;
        let HistoryRequest { limit, since, reverse, .. } = *request;
        let (range, most) = match (reverse, since) {
            (false, since) => (Range::After(since.map_or(0, |since| since.offset)), limit),
            (true, None) => (Range::Latest, limit),
            // What lies before a position is among the latest.
            (true, Some(_)) => (Range::Latest, self.config.max_history),
        };
        let history = self.hub.history(&topic, range, most).await;
        let history = history.map_err(|error| not_read(&error))?;
        if let Some(since) = since {
            let is_known = since.within(history.top.epoch).is_some();
            if !is_known || (!reverse && !history.complete) {
                return Err(ClientError::UNRECOVERABLE_POSITION.into());
            }
        }
        Ok(page(history, limit, since.filter(|_| reverse)))
    }
}

/// What a client gets of a history: if there is a position, only what lies before it.
fn page(history: History, limit: usize, before: Option<Since>) -> HistoryPage {
    let wanted = |offset: u64| before.is_none_or(|before| offset < before.offset);
    let publications = history
        .publications
        .into_iter()
        .filter(|(offset, _)| wanted(*offset))
        .take(limit)
        .map(|(offset, published)| Publication::of_published(&published, offset))
        .collect();
    HistoryPage::new(publications, history.top)
}

fn not_read(error: &BrokerError) -> Refusal {
    match error {
        BrokerError::Unsupported(_) => ClientError::NOT_AVAILABLE.into(),
        _ => internal(error),
    }
}
