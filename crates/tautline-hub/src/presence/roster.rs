//! The members of one node: its connections, each with the topics that it is in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::config::{CONNECTION_OVERHEAD, MEMBER_OVERHEAD};
use super::digest::{BUCKETS, BucketDigests, Digest, hash_of_connection, hash_of_member};
use super::mark::{Mark, bucket_of, key_of, number_of};
use super::member::MemberInfo;
use crate::topic::Topic;

/// A connection that is in at least one topic.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) user: Arc<str>,
    pub(super) data: Bytes,
    hash: u64,
    /// In order.
    topics: Vec<(Topic, TopicData)>,
}

/// What is told of it in a topic; most have nothing.
type TopicData = Option<Box<Bytes>>;

/// What became of a member that joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It was not there.
    New,
    /// It was there with other data.
    Changed,
    /// It was there.
    Same,
}

/// The members of one node. Digests, counts and memory are kept up to date with each change.
#[derive(Debug)]
pub(super) struct Roster {
    connections: BTreeMap<u64, Connection>,
    digests: Box<BucketDigests>,
    members: usize,
    bytes: usize,
}

impl Connection {
    pub(super) fn new(user: Arc<str>, data: Bytes) -> Self {
        let hash = hash_of_connection(&user, &data);
        Self { user, data, hash, topics: Vec::with_capacity(1) }
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (&Topic, &[u8])> {
        self.topics.iter().map(|(topic, data)| (topic, bytes_of(data)))
    }

    /// What is told of it in a topic that it is in.
    pub(super) fn info(&self, topic: &Topic) -> Option<MemberInfo> {
        let index = self.index(topic).ok()?;
        Some(MemberInfo {
            user: self.user.clone(),
            connection_data: self.data.clone(),
            topic_data: self.topics[index].1.as_deref().cloned().unwrap_or_default(),
        })
    }

    pub(super) fn index(&self, topic: &Topic) -> Result<usize, usize> {
        self.topics.binary_search_by(|(other, _)| other.cmp(topic))
    }

    fn bytes(&self) -> usize {
        bytes_of_first(&self.user, &self.data)
    }
}

fn bytes_of(data: &TopicData) -> &[u8] {
    data.as_deref().map_or(&[], |data| data)
}

/// What a member counts beside its connection.
pub(super) fn bytes_of_member(topic: &Topic, data: &[u8]) -> usize {
    MEMBER_OVERHEAD + topic.as_str().len() + data.len()
}

/// What a member counts whose connection is in no topic yet.
pub(super) fn bytes_of_first(user: &str, connection_data: &[u8]) -> usize {
    CONNECTION_OVERHEAD + user.len() + connection_data.len()
}

impl Roster {
    pub(super) fn new() -> Self {
        let digests = Box::new([0; BUCKETS]);
        Self { connections: BTreeMap::new(), digests, members: 0, bytes: 0 }
    }

    pub(super) fn get(&self, number: u64) -> Option<&Connection> {
        self.connections.get(&key_of(number))
    }

    /// Adds a connection that is not there, and is about to join a topic.
    pub(super) fn connect(&mut self, number: u64, connection: Connection) {
        self.bytes += connection.bytes();
        self.connections.insert(key_of(number), connection);
    }

    /// Lets a connection that is there join a topic.
    pub(super) fn join(&mut self, number: u64, topic: &Topic, data: &[u8]) -> Joined {
        let key = key_of(number);
        let Some(connection) = self.connections.get_mut(&key) else { return Joined::Same };
        let kept = || (!data.is_empty()).then(|| Box::new(Bytes::copy_from_slice(data)));
        let digest = &mut self.digests[bucket_of(key)];
        let joined = match connection.index(topic) {
            Ok(index) => {
                let there = &mut connection.topics[index].1;
                if bytes_of(there) == data {
                    return Joined::Same;
                }
                let before = bytes_of(there);
                let hash = hash_of_member(number, connection.hash, topic, before);
                *digest = digest.wrapping_sub(hash);
                self.bytes -= bytes_of_member(topic, before);
                *there = kept();
                Joined::Changed
            }
            Err(index) => {
                connection.topics.insert(index, (topic.clone(), kept()));
                self.members += 1;
                Joined::New
            }
        };
        *digest = digest.wrapping_add(hash_of_member(number, connection.hash, topic, data));
        self.bytes += bytes_of_member(topic, data);
        joined
    }

    /// Lets a connection leave a topic: what was told of it, if it was there, and whether it is in no
    /// other topic, and so is gone.
    pub(super) fn leave(&mut self, number: u64, topic: &Topic) -> Option<(MemberInfo, bool)> {
        let key = key_of(number);
        let connection = self.connections.get_mut(&key)?;
        let index = connection.index(topic).ok()?;
        let (_, data) = connection.topics.remove(index);
        let hash = hash_of_member(number, connection.hash, topic, bytes_of(&data));
        self.bytes -= bytes_of_member(topic, bytes_of(&data));
        let info = MemberInfo {
            user: connection.user.clone(),
            connection_data: connection.data.clone(),
            topic_data: data.map_or_else(Bytes::new, |data| *data),
        };
        let gone = connection.topics.is_empty();
        if gone {
            self.bytes -= connection.bytes();
            self.connections.remove(&key);
        }
        let digest = &mut self.digests[bucket_of(key)];
        *digest = digest.wrapping_sub(hash);
        self.members -= 1;
        Some((info, gone))
    }

    pub(super) const fn len(&self) -> usize {
        self.members
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What it all takes, as [`Config::max_bytes`](super::Config::max_bytes) counts.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn digest(&self) -> Digest {
        let hash = self.digests.iter().fold(0, |sum: u64, hash| sum.wrapping_add(*hash));
        Digest { count: self.members as u64, hash }
    }

    pub(super) fn digests(&self) -> &BucketDigests {
        &self.digests
    }

    /// The members behind a mark, in order.
    pub(super) fn after(
        &self,
        mark: &Mark,
    ) -> impl Iterator<Item = (u64, &Connection, &Topic, &[u8])> {
        let (key, skipped) = match mark {
            Mark::At(key, topic) => (Some(*key), topic.as_ref()),
            Mark::End => (None, None),
        };
        let range = key.map(|key| self.connections.range(key..)).into_iter().flatten();
        range.flat_map(move |(at, connection)| {
            let from = match skipped {
                Some(topic) if Some(*at) == key => {
                    connection.index(topic).map_or_else(|index| index, |index| index + 1)
                }
                _ => 0,
            };
            connection.topics[from..]
                .iter()
                .map(move |(topic, data)| (number_of(*at), connection, topic, bytes_of(data)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::new(name).unwrap()
    }

    fn roster(members: &[(u64, &str, &'static str)]) -> Roster {
        let mut roster = Roster::new();
        for (number, name, data) in members {
            if roster.get(*number).is_none() {
                roster.connect(*number, Connection::new("anna".into(), Bytes::from_static(b"c")));
            }
            roster.join(*number, &topic(name), data.as_bytes());
        }
        roster
    }

    // Others compare digests whatever way led there.
    #[test]
    fn a_digest_says_who_is_there_and_not_how_it_came_about() {
        let mut long = roster(&[(2, "b", ""), (1, "a", "y"), (1, "b", ""), (258, "a", "")]);
        assert_eq!(long.join(1, &topic("a"), b"x"), Joined::Changed);
        assert_eq!(long.join(1, &topic("a"), b"x"), Joined::Same);
        assert!(matches!(long.leave(2, &topic("b")), Some((_, true))));
        assert!(matches!(long.leave(1, &topic("b")), Some((_, false))));
        assert_eq!(long.leave(1, &topic("b")), None);
        let short = roster(&[(258, "a", ""), (1, "a", "x")]);
        assert_eq!(long.digest(), short.digest());
        assert_eq!(long.digests(), short.digests());
        assert_eq!((long.len(), long.connections(), long.bytes()), (2, 2, short.bytes()));
        assert_ne!(long.digest(), roster(&[(258, "a", ""), (1, "a", "y")]).digest());
        for (number, name) in [(1, "a"), (258, "a")] {
            long.leave(number, &topic(name));
        }
        assert_eq!((long.digest(), long.bytes()), (Digest::default(), 0));
    }

    #[test]
    fn members_come_in_the_order_of_marks_from_any_of_them() {
        let roster = roster(&[(1, "b", ""), (257, "a", ""), (2, "a", ""), (1, "a", "")]);
        let after = |mark: &Mark| -> Vec<_> {
            roster.after(mark).map(|(number, _, topic, _)| (number, topic.to_string())).collect()
        };
        let named = |members: &[(u64, &str)]| -> Vec<_> {
            members.iter().map(|(number, name)| (*number, (*name).to_owned())).collect()
        };
        let all = named(&[(1, "a"), (1, "b"), (257, "a"), (2, "a")]);
        assert_eq!(after(&Mark::start_of(0)), all);
        for (index, (number, name)) in all.iter().enumerate() {
            let mark = Mark::At(key_of(*number), Some(topic(name)));
            assert_eq!(after(&mark), all[index + 1..]);
        }
        assert_eq!(after(&Mark::At(key_of(1), Some(topic("aa")))), all[1..]);
        assert_eq!(after(&Mark::start_of(2)), all[3..]);
        assert!(after(&Mark::End).is_empty());
    }
}
