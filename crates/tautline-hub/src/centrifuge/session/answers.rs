//! What the application answers, and what that is on the wire.

use std::collections::BTreeMap;
use std::time::Instant;

use super::channels::{By, Subscription};
use super::lifetime::Lifetime;
use super::pulse::Pulse;
use super::{Open, Pending, Session, State};
use crate::centrifuge::codes::{ClientError, Disconnect, Refusal};
use crate::centrifuge::convert;
use crate::centrifuge::data::{ClientInfo, Expiry, Refresher, Since};
use crate::centrifuge::payload::NotJson;
use crate::centrifuge::request::{Answer, Connected, HistoryPage, RequestId};
use crate::centrifuge::wire;

impl Session {
    /// Answers a request of [`poll_event`](Self::poll_event).
    ///
    /// Returns whether the answer was still waited for: not if the connection is to be closed, or the
    /// request was answered before. If not, what was done for the request is to be undone, such as a
    /// subscription.
    ///
    /// An answer to another kind of request is an error of the server's for the client
    /// ([`INTERNAL`](ClientError::INTERNAL)).
    pub fn answer(
        &mut self,
        request: RequestId,
        answer: Result<Answer, Refusal>,
        now: Instant,
    ) -> bool {
        let Some(pending) = self.pending.remove(&request) else { return false };
        match (pending, answer) {
            (pending, Err(refusal)) => self.refused(pending, refusal, now),
            (Pending::Connect { id, positions }, Ok(Answer::Connect(connected))) => {
                self.connected(id, &positions, connected, now);
            }
            (Pending::Refresh { id }, Ok(Answer::Refresh(expiry))) => {
                self.refreshed(id, expiry, now);
            }
            (Pending::Subscribe { id, channel, since, rejects }, Ok(Answer::Subscribe(done))) => {
                if rejects && since.is_some() && !done.is_recovered() {
                    self.unrecovered(id, &channel, now);
                } else {
                    self.subscribed(id, &channel, since, &done, now);
                }
            }
            (Pending::SubRefresh { id, channel, serial }, Ok(Answer::SubRefresh(expiry))) => {
                self.sub_refreshed(id, &channel, serial, expiry, now);
            }
            (Pending::Publish { id }, Ok(Answer::Publish)) => {
                self.send(&wire::Reply { id, publish: Some(wire::Empty {}), ..Default::default() });
            }
            (Pending::Presence { id }, Ok(Answer::Presence(clients))) => {
                let presence = self.presence(&clients);
                self.send_result(id, presence, |presence| wire::Reply {
                    presence: Some(presence),
                    ..Default::default()
                });
            }
            (Pending::PresenceStats { id }, Ok(Answer::PresenceStats { clients, users })) => {
                let stats = wire::PresenceStatsResult { num_clients: clients, num_users: users };
                self.send(&wire::Reply { id, presence_stats: Some(stats), ..Default::default() });
            }
            (Pending::History { id }, Ok(Answer::History(page))) => {
                let history = self.history_result(&page);
                self.send_result(id, history, |history| wire::Reply {
                    history: Some(history),
                    ..Default::default()
                });
            }
            (Pending::Rpc { id }, Ok(Answer::Rpc(data))) => {
                let data = convert::payload(&data, self.format);
                self.send_result(id, data, |data| wire::Reply {
                    rpc: Some(wire::Data { data }),
                    ..Default::default()
                });
            }
            (pending, Ok(_)) => self.refused(pending, ClientError::INTERNAL.into(), now),
        }
        true
    }

    /// Sends the result of a command, made of data of the application.
    fn send_result<T>(
        &mut self,
        id: u32,
        result: Result<T, NotJson>,
        reply: impl FnOnce(T) -> wire::Reply,
    ) {
        match result {
            Ok(result) => self.send(&wire::Reply { id, ..reply(result) }),
            Err(NotJson) => self.disconnect(Disconnect::INAPPROPRIATE_PROTOCOL),
        }
    }

    fn presence(&self, clients: &[ClientInfo]) -> Result<wire::PresenceResult, NotJson> {
        let entry =
            |info: &ClientInfo| Ok((info.client.clone(), convert::client_info(info, self.format)?));
        let presence = clients.iter().map(entry).collect::<Result<BTreeMap<_, _>, _>>()?;
        Ok(wire::PresenceResult { presence })
    }

    fn history_result(&self, page: &HistoryPage) -> Result<wire::HistoryResult, NotJson> {
        let publications = page.publications.iter();
        Ok(wire::HistoryResult {
            publications: publications
                .map(|publication| convert::publication(publication, self.format))
                .collect::<Result<_, _>>()?,
            epoch: page.position.epoch.to_string(),
            offset: page.position.offset,
        })
    }

    fn refused(&mut self, pending: Pending, refusal: Refusal, now: Instant) {
        let error = match refusal {
            Refusal::Error(error) => error,
            Refusal::Disconnect(disconnect) => return self.disconnect(disconnect),
        };
        match pending {
            Pending::Connect { id, .. } => self.refuse_connect(id, &error),
            Pending::Refresh { id: None } => self.disconnect(Disconnect::EXPIRED),
            Pending::SubRefresh { id: None, channel, serial } => {
                self.not_refreshed(&channel, serial);
            }
            Pending::Subscribe { id, channel, .. } => {
                self.send_error(id, &error);
                self.settle(&channel, None, now);
            }
            Pending::Refresh { id: Some(id) }
            | Pending::SubRefresh { id: Some(id), .. }
            | Pending::Publish { id }
            | Pending::Presence { id }
            | Pending::PresenceStats { id }
            | Pending::History { id }
            | Pending::Rpc { id } => self.send_error(id, &error),
        }
    }

    /// The client goes after this error, and comes back or not. What it sent after its first command is
    /// not carried out.
    fn refuse_connect(&mut self, id: u32, error: &ClientError) {
        self.send_error(id, error);
        if let State::New { stale, .. } = self.state {
            self.state = State::Refused { stale };
        }
    }

    fn connected(
        &mut self,
        id: u32,
        positions: &BTreeMap<String, Since>,
        connected: Connected,
        now: Instant,
    ) {
        let State::New { early, .. } = &mut self.state else { return };
        let early = early.take().unwrap_or_default();
        if connected.subscriptions.len() > self.config.max_channels {
            return self.disconnect(Disconnect::CHANNEL_LIMIT);
        }
        if is_over(connected.expiry) {
            return self.refuse_connect(id, &ClientError::EXPIRED);
        }
        let Ok(result) = self.connect_result(positions, &connected) else {
            return self.disconnect(Disconnect::INAPPROPRIATE_PROTOCOL);
        };
        let Connected { user, info, expiry, subscriptions, .. } = connected;
        for (channel, subscription) in subscriptions {
            self.keep(&channel, &subscription, By::Server, now);
        }
        self.state = State::Open(Box::new(Open {
            user,
            info,
            pulse: Pulse::new(self.config.ping, now),
            lifetime: self.lifetime(expiry, now),
            client_refreshes: is_by_client(expiry),
        }));
        self.send(&wire::Reply { id, connect: Some(result), ..Default::default() });
        self.catch_up(early);
    }

    fn connect_result(
        &self,
        positions: &BTreeMap<String, Since>,
        connected: &Connected,
    ) -> Result<wire::ConnectResult, NotJson> {
        let wire::Expiry { expires, ttl } = convert::expiry(connected.expiry);
        let mut subs = BTreeMap::new();
        for (channel, subscription) in &connected.subscriptions {
            let since = positions.get(channel).copied();
            let mut result = self.subscribe_result(since, subscription)?;
            // The server's subscriptions are not refreshed by clients.
            (result.expires, result.ttl) = (false, 0);
            subs.insert(channel.clone(), result.into());
        }
        Ok(wire::ConnectResult {
            client: self.client.clone(),
            version: self.config.version.clone(),
            expires,
            ttl,
            data: convert::payload(&connected.data, self.format)?,
            subs,
            ping: self.config.ping.map_or(0, |ping| convert::seconds(ping.interval)),
            pong: self.config.ping.is_some(),
        })
    }

    /// `None` for what does not expire.
    pub(super) fn lifetime(&self, expiry: Option<Expiry>, now: Instant) -> Option<Lifetime> {
        expiry.and_then(|expiry| Lifetime::new(expiry, self.config.grace, now))
    }

    /// By the client's command, or, without an id, by the application itself.
    fn refreshed(&mut self, id: Option<u32>, expiry: Option<Expiry>, now: Instant) {
        if is_over(expiry) {
            return match id {
                Some(id) => self.send_error(id, &ClientError::EXPIRED),
                None => self.disconnect(Disconnect::EXPIRED),
            };
        }
        let lifetime = self.lifetime(expiry, now);
        let State::Open(open) = &mut self.state else { return };
        open.lifetime = lifetime;
        open.client_refreshes |= is_by_client(expiry);
        let Some(id) = id else { return };
        let wire::Expiry { expires, ttl } = convert::expiry(expiry);
        let (client, version) = (self.client.clone(), self.config.version.clone());
        let refresh = Some(wire::RefreshResult { client, version, expires, ttl });
        self.send(&wire::Reply { id, refresh, ..Default::default() });
    }

    /// The application does not refresh the subscription of this serial: if it is another one by now, its own
    /// time counts.
    fn not_refreshed(&mut self, channel: &str, serial: u64) {
        let same = |subscription: &Subscription| subscription.serial == serial;
        if self.channels.subscription(channel).is_some_and(same) {
            self.expired(channel);
        }
    }

    fn sub_refreshed(
        &mut self,
        id: Option<u32>,
        channel: &str,
        serial: u64,
        expiry: Option<Expiry>,
        now: Instant,
    ) {
        if is_over(expiry) {
            return match id {
                Some(id) => self.send_error(id, &ClientError::EXPIRED),
                None => self.not_refreshed(channel, serial),
            };
        }
        // If it is another subscription by now, its own time counts.
        let lifetime = self.lifetime(expiry, now);
        self.channels.refresh(channel, serial, lifetime);
        let Some(id) = id else { return };
        let sub_refresh = Some(convert::expiry(expiry));
        self.send(&wire::Reply { id, sub_refresh, ..Default::default() });
    }
}

/// Whether it has no time at all.
pub(super) const fn is_over(expiry: Option<Expiry>) -> bool {
    matches!(expiry, Some(expiry) if expiry.after.is_zero())
}

pub(super) const fn is_by_client(expiry: Option<Expiry>) -> bool {
    matches!(expiry, Some(Expiry { by: Refresher::Client, .. }))
}
