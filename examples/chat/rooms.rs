//! The rooms: each is a topic of the hub, which keeps what was said there, and knows who is there.
//! Everything is bounded.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use tautline_hub::broker::{BrokerError, Range};
use tautline_hub::{Hub, HubBuilder, Keep, Position, PublishError, Topic, TopicOptions, presence};

use crate::outlet::{now, with_position};

const MAX_ROOMS: usize = 1_000;
const MAX_PEOPLE: usize = 200; // names in one room
const MAX_CONNECTIONS: usize = 1_000; // in one room; one name may have several
const HISTORY: usize = 100; // messages that a room remembers, as long as they fit into
const HISTORY_BYTES: usize = 128 * 1024; // which everybody who enters gets, and for so long:
const HISTORY_AGE: Duration = Duration::from_secs(60 * 60);

/// What a connection asks for.
pub(crate) struct Ticket {
    pub(crate) room: Topic,
    pub(crate) name: String,
    /// The last message that it has, if it was here before.
    pub(crate) since: Option<Position>,
}

impl Ticket {
    /// `None` if the name of the room cannot be that of a topic.
    pub(crate) fn new(room: &str, name: String, since: Option<Position>) -> Option<Self> {
        Some(Self { room: topic(room)?, name, since })
    }
}

/// A room may have any name, but a topic has dots, white space and wildcards only where they mean something.
fn topic(room: &str) -> Option<Topic> {
    let mut name = String::from("room.");
    for c in room.chars() {
        if c.is_whitespace() || matches!(c, '.' | '*' | '>' | '%') {
            write!(name, "%{:04x}", u32::from(c)).ok()?;
        } else {
            name.push(c);
        }
    }
    Topic::new(name).ok()
}

/// A hub whose topics are rooms.
pub(crate) fn hub() -> HubBuilder {
    let keep = Keep::last(HISTORY).bytes(HISTORY_BYTES).age(HISTORY_AGE);
    let room = TopicOptions::new().history(keep).presence(true);
    // That somebody left is told at once: the page overlooks who only reloads it.
    let presence = presence::Config::new().grace(Duration::ZERO);
    Hub::builder().max_topics(MAX_ROOMS).topics(move |_| room).presence(presence)
}

/// The names of those who are in a room, on all nodes.
pub(crate) fn here(hub: &Hub, room: &Topic) -> BTreeSet<String> {
    let present = hub.presence(room, MAX_CONNECTIONS);
    let members = present.into_iter().flat_map(|present| present.members);
    members.map(|member| member.info.user.to_string()).collect()
}

/// Whether there is no place for this one. Those who come at the same moment may still become some more.
pub(crate) fn is_full(hub: &Hub, room: &Topic, name: &str) -> bool {
    let present = hub.present(room).unwrap_or_default();
    present.members >= MAX_CONNECTIONS
        || (present.users >= MAX_PEOPLE && !here(hub, room).contains(name))
}

/// What was said in a room, oldest first.
pub(crate) async fn history(hub: &Hub, room: &Topic) -> Result<String, BrokerError> {
    let kept = hub.history(room, Range::Latest, HISTORY).await?;
    let place = |offset| Position { offset, ..kept.top };
    let said = kept.publications.iter().rev().filter_map(|(offset, publication)| {
        Some(with_position(publication.message().as_text()?, place(*offset)))
    });
    let said: Vec<String> = said.collect();
    Ok(format!(r#"{{"type":"history","messages":[{}]}}"#, said.join(",")))
}

pub(crate) async fn say(
    hub: &Hub,
    room: &Topic,
    from: &str,
    id: &str,
    text: &str,
) -> Result<(), PublishError> {
    let message = json!({ "type": "message", "at": now(), "id": id, "from": from, "text": text });
    hub.publish(room, message.to_string()).await.map(drop)
}
