//! The rooms: each is a topic of the hub, which keeps what was said there. Who is in which room is kept
//! here. Everything is bounded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tautline::Prepared;
use tautline_hub::broker::Range;
use tautline_hub::{Hub, HubBuilder, Keep, Member, MemberId, Position, PublishError, TopicOptions};
use tautline_hub::{Topic, broker::BrokerError};

use crate::outlet::{now, with_position};

const MAX_ROOMS: usize = 1_000;
const MAX_PEOPLE: usize = 200; // names in one room
const MAX_CONNECTIONS: usize = 1_000; // in one room; one name may have several
const HISTORY: usize = 100; // messages that a room remembers, as long as they fit into
const HISTORY_BYTES: usize = 128 * 1024; // which everybody who enters gets, and for so long:
const HISTORY_AGE: Duration = Duration::from_secs(60 * 60);

#[derive(Clone)]
pub(crate) struct Rooms {
    hub: Hub,
    /// Those that somebody is in.
    rooms: Arc<Mutex<HashMap<Topic, Room>>>,
}

#[derive(Default)]
struct Room {
    here: BTreeMap<String, usize>, // connections by name
    members: HashSet<MemberId>,
}

/// A place in a room, released when it is dropped.
pub(crate) struct Seat {
    rooms: Rooms,
    member: MemberId,
    room: Topic,
    name: String,
}

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
    Hub::builder().max_topics(MAX_ROOMS).topics(move |_| TopicOptions::new().history(keep))
}

impl Rooms {
    pub(crate) fn new(hub: Hub) -> Self {
        Self { hub, rooms: Arc::default() }
    }

    pub(crate) const fn hub(&self) -> &Hub {
        &self.hub
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the others, and this one who is here. `None` means that the room is full.
    pub(crate) fn enter(&self, member: &Member, room: Topic, name: String) -> Option<Seat> {
        let mut rooms = self.lock();
        let full = rooms.get(&room).is_some_and(|room| {
            room.members.len() >= MAX_CONNECTIONS
                || (room.here.len() >= MAX_PEOPLE && !room.here.contains_key(&name))
        });
        if full {
            return None;
        }
        let entered = rooms.entry(room.clone()).or_default();
        let connections = entered.here.entry(name.clone()).or_insert(0);
        *connections += 1;
        if *connections == 1 {
            entered.tell(&self.hub, "joined", &name);
        }
        entered.members.insert(member.id());
        member.send(json!({ "type": "here", "here": entered.names() }).to_string());
        drop(rooms);
        Some(Seat { rooms: self.clone(), member: member.id(), room, name })
    }

    /// What was said in a room, oldest first.
    pub(crate) async fn history(&self, room: &Topic) -> Result<String, BrokerError> {
        let kept = self.hub.history(room, Range::Latest, HISTORY).await?;
        let place = |offset| Position { offset, ..kept.top };
        let said = kept.publications.iter().rev().filter_map(|(offset, publication)| {
            Some(with_position(publication.message().as_text()?, place(*offset)))
        });
        let said: Vec<String> = said.collect();
        Ok(format!(r#"{{"type":"history","messages":[{}]}}"#, said.join(",")))
    }
}

impl Seat {
    pub(crate) async fn say(&self, id: &str, text: &str) -> Result<(), PublishError> {
        let message = json!({
            "type": "message",
            "at": now(),
            "id": id,
            "from": self.name,
            "text": text,
        });
        self.rooms.hub.publish(&self.room, message.to_string()).await.map(drop)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock();
        let Some(room) = rooms.get_mut(&self.room) else { return };
        room.members.remove(&self.member);
        if room.members.is_empty() {
            rooms.remove(&self.room);
        } else {
            room.leave(&self.rooms.hub, &self.name);
        }
    }
}

impl Room {
    fn leave(&mut self, hub: &Hub, name: &str) {
        let Some(connections) = self.here.get_mut(name) else { return };
        *connections -= 1;
        if *connections == 0 {
            self.here.remove(name);
            self.tell(hub, "left", name);
        }
    }

    fn tell(&self, hub: &Hub, what: &str, name: &str) {
        let event = json!({ "type": "presence", what: name, "here": self.names() });
        let event = Prepared::new(event.to_string()); // framed once for all
        for member in &self.members {
            hub.send(*member, event.clone());
        }
    }

    fn names(&self) -> Value {
        self.here.keys().map(String::as_str).collect()
    }
}
