//! Changes of a node's members, in its roster and in the topics.

use std::time::Instant;

use bytes::Bytes;

use super::member::Member;
use super::rooms::Rooms;
use super::roster::{Connection, Joined, Roster, bytes_of_first, bytes_of_member};
use crate::id::MemberId;
use crate::topic::Topic;

/// Who joins what.
#[derive(Clone, Copy)]
pub(super) struct Joining<'a> {
    pub(super) id: MemberId,
    pub(super) user: &'a str,
    pub(super) connection_data: &'a [u8],
    pub(super) topic: &'a Topic,
    pub(super) topic_data: &'a [u8],
}

/// There is no memory for another member.
#[derive(Debug)]
pub(super) struct Full;

impl Joining<'_> {
    /// Whether the connection is in other topics, but is another one than this.
    pub(super) fn differs(&self, roster: &Roster) -> bool {
        roster
            .get(self.id.number)
            .is_some_and(|there| *there.user != *self.user || *there.data != *self.connection_data)
    }

    /// The connection joins, unless the roster would then take more than `most` bytes. The connection
    /// does not [differ](Self::differs).
    pub(super) fn join(
        &self,
        roster: &mut Roster,
        rooms: &mut Rooms,
        most: usize,
    ) -> Result<Joined, Full> {
        let number = self.id.number;
        let first = match roster.get(number) {
            Some(_) => 0,
            None => bytes_of_first(self.user, self.connection_data),
        };
        if roster.bytes() + first + bytes_of_member(self.topic, self.topic_data) > most {
            return Err(Full);
        }
        if roster.get(number).is_none() {
            let user = rooms.share_user(self.user);
            let data = Bytes::copy_from_slice(self.connection_data);
            roster.connect(number, Connection::new(user, data));
        }
        let topic = rooms.share_topic(self.topic);
        let joined = roster.join(number, &topic, self.topic_data);
        let info = roster.get(number).and_then(|connection| connection.info(&topic));
        if let (Joined::New, Some(info)) = (joined, info) {
            rooms.enter(&topic, Member { id: self.id, info });
        }
        Ok(joined)
    }
}

/// The connection leaves the topic; whether it was there.
pub(super) fn leave(
    roster: &mut Roster,
    rooms: &mut Rooms,
    now: Instant,
    id: MemberId,
    topic: &Topic,
) -> bool {
    let Some((info, gone)) = roster.leave(id.number, topic) else { return false };
    if gone {
        rooms.release_user(&info.user);
    }
    rooms.exit(now, topic, Member { id, info });
    true
}

/// The connection leaves all its topics; whether it was in any.
pub(super) fn disconnect(
    roster: &mut Roster,
    rooms: &mut Rooms,
    now: Instant,
    id: MemberId,
) -> bool {
    let Some(connection) = roster.get(id.number) else { return false };
    // From the last one, so that none of the others moves.
    let topics: Vec<Topic> = connection.topics().map(|(topic, _)| topic.clone()).collect();
    for topic in topics.iter().rev() {
        leave(roster, rooms, now, id, topic);
    }
    true
}
