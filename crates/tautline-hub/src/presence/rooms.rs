//! The topics with the members of all nodes, and who is told to have joined and left them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::config::{Config, Who};
use super::member::{Change, Counts, Event, Member};
use crate::id::MemberId;
use crate::topic::Topic;

/// Who joins and leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(Arc<str>),
    Member(MemberId),
}

/// One of those in a topic.
#[derive(Debug, Default)]
struct Slot {
    /// How many connections of it are there.
    connections: u32,
    /// There are none, and this is its number among those who are told to have left if they do not
    /// come back.
    leaving: Option<u64>,
}

/// Whose leave is not told yet.
#[derive(Debug)]
struct Leaving {
    at: Instant,
    topic: Topic,
    key: Key,
    member: Member,
}

/// A topic with members, or with some who left just now.
#[derive(Debug, Default)]
struct Room {
    members: HashSet<MemberId>,
    slots: HashMap<Key, Slot>,
    users: usize,
    /// Connections without a user.
    unnamed: usize,
}

/// All topics.
#[derive(Debug)]
pub(super) struct Rooms {
    rooms: HashMap<Topic, Room>,
    /// The names of users, each kept once, and how many connections have them.
    users: HashMap<Arc<str>, usize>,
    /// In the order in which they are told, as all have the same grace time.
    leaving: BTreeMap<u64, Leaving>,
    next_leaving: u64,
    events: VecDeque<Event>,
    config: Config,
}

impl Rooms {
    pub(super) fn new(config: Config) -> Self {
        Self {
            rooms: HashMap::new(),
            users: HashMap::new(),
            leaving: BTreeMap::new(),
            next_leaving: 0,
            events: VecDeque::new(),
            config,
        }
    }

    /// A connection has this user: its name, shared with all others who have it.
    pub(super) fn share_user(&mut self, user: &str) -> Arc<str> {
        if let Some((shared, _)) = self.users.get_key_value(user) {
            let shared = shared.clone();
            self.users.entry(shared.clone()).and_modify(|connections| *connections += 1);
            return shared;
        }
        let shared: Arc<str> = user.into();
        self.users.insert(shared.clone(), 1);
        shared
    }

    /// A connection of this user is gone.
    pub(super) fn release_user(&mut self, user: &str) {
        if let Some(connections) = self.users.get_mut(user) {
            *connections -= 1;
            if *connections == 0 {
                self.users.remove(user);
            }
        }
    }

    /// The topic, with a name that is shared with all others who have it.
    pub(super) fn share_topic(&self, topic: &Topic) -> Topic {
        self.rooms.get_key_value(topic).map_or(topic, |(shared, _)| shared).clone()
    }

    fn key(&self, member: &Member) -> Key {
        if member.info.user.is_empty() || self.config.get_who() == Who::Connections {
            Key::Member(member.id)
        } else {
            Key::User(member.info.user.clone())
        }
    }

    /// A member joined. It was not there.
    pub(super) fn enter(&mut self, topic: &Topic, member: Member) {
        let key = self.key(&member);
        let room = self.rooms.entry(topic.clone()).or_default();
        room.members.insert(member.id);
        room.unnamed += usize::from(member.info.user.is_empty());
        let user = Key::User(member.info.user.clone());
        let counts_apart = user != key && !member.info.user.is_empty();
        for user in std::iter::once(&key).chain(counts_apart.then_some(&user)) {
            let slot = room.slots.entry(user.clone()).or_default();
            slot.connections += 1;
            if slot.connections == 1 && matches!(user, Key::User(_)) {
                room.users += 1;
            }
        }
        let slot = room.slots.entry(key).or_default();
        if slot.connections > 1 {
            return;
        }
        match slot.leaving.take().map(|number| self.leaving.entry(number)) {
            Some(Entry::Occupied(leaving)) => drop(leaving.remove()),
            _ => {
                let change = Change::Joined;
                self.events.push_back(Event { topic: topic.clone(), change, member });
            }
        }
    }

    /// A member left. It was there.
    pub(super) fn exit(&mut self, now: Instant, topic: &Topic, member: Member) {
        let key = self.key(&member);
        let Some((topic, _)) = self.rooms.get_key_value(topic) else { return };
        let topic = topic.clone();
        let Some(room) = self.rooms.get_mut(&topic) else { return };
        room.members.remove(&member.id);
        room.unnamed -= usize::from(member.info.user.is_empty());
        let user = Key::User(member.info.user.clone());
        if user != key
            && let Some(slot) = room.slots.get_mut(&user)
        {
            slot.connections -= 1;
            if slot.connections == 0 {
                room.users -= 1;
                room.slots.remove(&user);
            }
        }
        let Some(slot) = room.slots.get_mut(&key) else { return };
        slot.connections -= 1;
        if slot.connections > 0 {
            return;
        }
        if matches!(key, Key::User(_)) {
            room.users -= 1;
        }
        slot.leaving = Some(self.next_leaving);
        let at = now + self.config.get_grace();
        self.leaving.insert(self.next_leaving, Leaving { at, topic, key, member });
        self.next_leaving += 1;
        if self.leaving.len() > self.config.get_max_leaving()
            && let Some((_, leaving)) = self.leaving.pop_first()
        {
            let event = self.left(leaving);
            self.events.push_back(event);
        }
    }

    /// The grace time is over.
    fn left(&mut self, leaving: Leaving) -> Event {
        let Leaving { topic, key, member, .. } = leaving;
        if let Some(room) = self.rooms.get_mut(&topic) {
            room.slots.remove(&key);
            if room.slots.is_empty() {
                self.rooms.remove(&topic);
            }
        }
        Event { topic, change: Change::Left, member }
    }

    pub(super) fn poll_event(&mut self, now: Instant) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.deadline()? > now {
            return None;
        }
        let (_, leaving) = self.leaving.pop_first()?;
        Some(self.left(leaving))
    }

    /// When somebody is to be told to have left.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.leaving.first_key_value().map(|(_, leaving)| leaving.at)
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn counts(&self, topic: &Topic) -> Counts {
        self.rooms.get(topic).map_or_else(Counts::default, |room| Counts {
            members: room.members.len(),
            users: room.users,
        })
    }

    /// Whether there are connections without a user.
    #[cfg(feature = "centrifuge")]
    pub(super) fn has_unnamed(&self, topic: &Topic) -> bool {
        self.rooms.get(topic).is_some_and(|room| room.unnamed > 0)
    }

    pub(super) fn members(&self, topic: &Topic) -> impl Iterator<Item = MemberId> {
        self.rooms.get(topic).into_iter().flat_map(|room| room.members.iter().copied())
    }

    /// Topics that somebody is in, or has left just now.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// How many are in their grace time.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_name_for_all_connections() {
        let mut rooms = Rooms::new(Config::new());
        let (first, second) = (rooms.share_user("anna"), rooms.share_user("anna"));
        assert!(Arc::ptr_eq(&first, &second));
        rooms.release_user("anna");
        assert!(Arc::ptr_eq(&first, &rooms.share_user("anna")), "one is still there");
        rooms.release_user("anna");
        rooms.release_user("anna");
        assert!(rooms.users.is_empty());
    }
}
