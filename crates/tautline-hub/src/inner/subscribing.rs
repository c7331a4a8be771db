//! How members subscribe, and leave what they are subscribed to.

use std::sync::Arc;

use super::Inner;
use crate::begin::{Fetched, begin};
use crate::clock::now;
use crate::inbox::member::{NoNumber, Shared};
use crate::inbox::target::{State, Target};
use crate::inbox::{Entry, Joining};
use crate::options::Action;
use crate::presence::{JoinError, MemberInfo};
use crate::remote::Remote;
use crate::subscribe::{Start, Subscribe, SubscribeError};
use crate::table::Full;
use crate::topic::{Filter, Topic};

impl Inner {
    pub(crate) async fn subscribe(
        &self,
        member: &Arc<Shared>,
        filter: &Filter,
        how: &Subscribe,
    ) -> Result<Start, SubscribeError> {
        if self.has_ended() {
            return Err(SubscribeError::Ended);
        }
        if !self.allows(&member.info, Action::Subscribe(filter)) {
            return Err(SubscribeError::Refused);
        }
        let asked = self.ask_for(filter)?;
        let fetched = match &self.remote {
            Some(remote) => {
                remote.join(&asked.target).await.map_err(SubscribeError::Broker)?;
                self.fetch_for(remote, &asked.target, how).await?
            }
            None => None,
        };
        // Asked before the lock is taken: it is the application's code.
        let is_present = !how.hidden && self.has_presence(filter);
        let mut state = asked.target.lock();
        self.join(member, &asked.target, &mut state, how, (fetched, is_present))
    }

    pub(crate) fn has_presence(&self, filter: &Filter) -> bool {
        match filter {
            Filter::Topic(topic) => self.attendance.is_some() && self.options_of(topic).presence,
            Filter::Pattern(_) => false,
        }
    }

    /// Who subscribes to a topic with presence is present.
    fn attend(&self, member: &Shared, topic: &Topic, how: &Subscribe) -> Result<(), JoinError> {
        let Some(attendance) = &self.attendance else { return Ok(()) };
        let info = MemberInfo::new(member.info.user.clone())
            .connection_data(member.info.data.clone())
            .topic_data(how.data.clone());
        attendance.join(topic, member.id.number, &info)
    }

    /// The target of this topic or pattern, which stays while this is held.
    fn ask_for(&self, filter: &Filter) -> Result<Asked<'_>, SubscribeError> {
        loop {
            let target = self.target_of(filter);
            let target = target.map_err(|Full(most)| SubscribeError::TooManyTopics(most))?;
            let mut state = target.lock();
            if !state.gone {
                state.asked += 1;
                drop(state);
                return Ok(Asked { inner: self, target });
            }
        }
    }

    async fn fetch_for(
        &self,
        remote: &Remote,
        target: &Arc<Target>,
        how: &Subscribe,
    ) -> Result<Option<Fetched>, SubscribeError> {
        let Some(keep) = target.topic().and_then(|topic| self.keep(topic)) else {
            return Ok(None);
        };
        remote.fetch_for(target, keep, how).await.map_err(SubscribeError::Broker)
    }

    /// Under the lock of the target: what was published before is recovered or not, and what is published
    /// afterwards comes behind that. Under it, too, the member becomes present, as it leaves: it is present as
    /// long as it is subscribed.
    fn join(
        &self,
        member: &Arc<Shared>,
        target: &Arc<Target>,
        state: &mut State,
        how: &Subscribe,
        (fetched, is_present): (Option<Fetched>, bool),
    ) -> Result<Start, SubscribeError> {
        let most = self.options.max_subscriptions;
        let sub = member.join(target, most).map_err(|none| match none {
            NoNumber::Ended => SubscribeError::Ended,
            NoNumber::There => SubscribeError::AlreadySubscribed,
            NoNumber::TooMany => SubscribeError::TooMany(most),
        })?;
        if let Some(topic) = target.topic().filter(|_| is_present)
            && let Err(error) = self.attend(member, topic, how)
        {
            member.leave(target.id);
            member.give_back(sub);
            return Err(SubscribeError::Presence(error));
        }
        state.trim(now());
        let (start, recovered) = begin(state.history(), how, fetched);
        state.join(&member.inbox);
        let slow = how.slow.clone().unwrap_or_else(|| member.slow.clone());
        let (seat, tag, watches) = (member.seat, how.tag, how.watches);
        let of = target.clone();
        let joining = Joining { seat, sub, target: of, start, recovered, slow, watches, tag };
        member.inbox.push(Entry::Subscribe(Box::new(joining)));
        if let Some(remote) = &self.remote {
            // Until there was a subscriber, nobody wanted what is still missing.
            remote.look_for_missing(target, state);
        }
        Ok(start)
    }

    pub(crate) fn unsubscribe(
        &self,
        member: &Arc<Shared>,
        filter: &Filter,
        code: Option<u32>,
    ) -> bool {
        let Some(target) = self.table.find(filter) else { return false };
        let mut state = target.lock();
        let Some(sub) = member.leave(target.id) else { return false };
        if let (Some(attendance), Filter::Topic(topic)) = (&self.attendance, filter) {
            attendance.leave(topic, member.id.number);
        }
        let is_last = state.leave(&member.inbox);
        let told = code.map(|code| (target.clone(), code));
        member.inbox.push(Entry::Unsubscribe { seat: member.seat, sub, told });
        drop(state);
        if is_last {
            self.retire(&target);
        }
        true
    }
}

/// A target that somebody is about to subscribe to: it is not taken out meanwhile.
struct Asked<'a> {
    inner: &'a Inner,
    target: Arc<Target>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.target.lock().asked -= 1;
        self.inner.retire(&self.target);
    }
}
