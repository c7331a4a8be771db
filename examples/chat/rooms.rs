//! Who is in which room, and what was said there: everything is bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tautline::Text;
use tokio::sync::broadcast;

const MAX_ROOMS: usize = 1_000;
const MAX_PEOPLE: usize = 200; // names in one room
const MAX_CONNECTIONS: usize = 1_000; // in one room; one name may have several
const HISTORY: usize = 100; // messages that a room remembers, as long as they fit into
const HISTORY_BYTES: usize = 64 * 1024; // which everybody who enters gets
const QUEUE: usize = 64; // events that one slow reader may be behind before it starts over

#[derive(Clone, Default)]
pub(crate) struct Rooms(Arc<Mutex<HashMap<String, Room>>>);

struct Room {
    epoch: u128,                       // when the room was made: `seq` counts from there
    seq: u64,                          // messages so far
    history: VecDeque<(String, Text)>, // "name LF id", and the event as it was sent
    here: BTreeMap<String, usize>,     // connections by name
    events: broadcast::Sender<Text>,
}

/// A place in a room, released when it is dropped.
pub(crate) struct Seat {
    rooms: Rooms,
    ticket: Ticket,
}

pub(crate) struct Ticket {
    pub(crate) room: String,
    pub(crate) name: String,
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` means that everything is full.
    pub(crate) fn enter(&self, ticket: Ticket) -> Option<(Seat, Text, broadcast::Receiver<Text>)> {
        let mut rooms = self.lock();
        if !rooms.contains_key(&ticket.room) && rooms.len() >= MAX_ROOMS {
            rooms.retain(|_, room| !room.here.is_empty());
            if rooms.len() >= MAX_ROOMS {
                return None;
            }
        }
        let room = rooms.entry(ticket.room.clone()).or_insert_with(Room::new);
        if room.here.values().sum::<usize>() >= MAX_CONNECTIONS
            || (room.here.len() >= MAX_PEOPLE && !room.here.contains_key(&ticket.name))
        {
            return None;
        }
        let connections = room.here.entry(ticket.name.clone()).or_insert(0);
        *connections += 1;
        if *connections == 1 {
            room.tell_presence("joined", &ticket.name);
        }
        let (welcome, events) = (room.welcome(), room.events.subscribe());
        drop(rooms);
        Some((Seat { rooms: self.clone(), ticket }, welcome, events))
    }
}

impl Seat {
    pub(crate) fn say(&self, id: &str, text: &str) {
        if let Some(room) = self.rooms.lock().get_mut(&self.ticket.room) {
            room.say(&self.ticket.name, id, text);
        }
    }

    pub(crate) fn look(&self) -> Option<(Text, broadcast::Receiver<Text>)> {
        let rooms = self.rooms.lock();
        let room = rooms.get(&self.ticket.room)?;
        Some((room.welcome(), room.events.subscribe()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Ticket { room, name } = &self.ticket;
        if let Some(room) = self.rooms.lock().get_mut(room) {
            room.leave(name);
        }
    }
}

impl Room {
    fn new() -> Self {
        Self {
            epoch: now(),
            seq: 0,
            history: VecDeque::new(),
            here: BTreeMap::new(),
            events: broadcast::Sender::new(QUEUE),
        }
    }

    fn say(&mut self, name: &str, id: &str, text: &str) {
        let key = format!("{name}\n{id}");
        if self.history.iter().any(|(known, _)| *known == key) {
            return; // sent again after a reconnect
        }
        self.seq += 1;
        let event = Text::from(format!(
            r#"{{"type":"message","seq":{},"at":{},"id":{},"from":{},"text":{}}}"#,
            self.seq,
            now(),
            json(id),
            json(name),
            json(text)
        ));
        self.history.push_back((key, event.clone()));
        while self.history.len() > HISTORY || self.history_bytes() > HISTORY_BYTES {
            self.history.pop_front();
        }
        self.events.send(event).ok(); // nobody may be listening
    }

    fn history_bytes(&self) -> usize {
        self.history.iter().map(|(_, event)| event.len()).sum()
    }

    fn leave(&mut self, name: &str) {
        let Some(connections) = self.here.get_mut(name) else { return };
        *connections -= 1;
        if *connections == 0 {
            self.here.remove(name);
            self.tell_presence("left", name);
        }
    }

    fn tell_presence(&self, what: &str, name: &str) {
        let (name, here) = (json(name), self.here());
        let event = format!(r#"{{"type":"presence","{what}":{name},"here":{here}}}"#);
        self.events.send(event.into()).ok();
    }

    fn welcome(&self) -> Text {
        let history: Vec<&str> = self.history.iter().map(|(_, event)| event.as_str()).collect();
        let (epoch, here, history) = (self.epoch, self.here(), history.join(","));
        format!(r#"{{"type":"welcome","epoch":{epoch},"here":{here},"history":[{history}]}}"#)
            .into()
    }

    fn here(&self) -> String {
        let names: Vec<String> = self.here.keys().map(|name| json(name)).collect();
        format!("[{}]", names.join(","))
    }
}

/// A JSON string (RFC 8259 section 7).
fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Milliseconds since 1970, as in JavaScript.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
