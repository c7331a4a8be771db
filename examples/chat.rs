//! A chat: one port serves the page and its sockets.
//!
//! ```sh
//! cargo run --example chat                                  # open http://127.0.0.1:8080 in two windows
//! cargo run --example chat -- --listen 0.0.0.0:8080         # for everybody on the network
//! ```
//!
//! A browser connects to `/ws?room=ROOM&name=NAME` and sends each message as `id LF text`. It hears JSON:
//! `welcome` (who is here, what was said), then `message` and `presence`. A message whose id the room
//! already has is dropped, so a browser sends again after a reconnect whatever it has not seen come back.

mod support;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tautline::{CloseCode, CloseFrame, Config, Server, Text, Upgrade, UpgradeRequest, WebSocket};
use tokio::sync::broadcast::{self, error::RecvError};

type BoxError = Box<dyn Error + Send + Sync>;

const MAX_NAME: usize = 24; // characters, as in the page
const MAX_ROOM_NAME: usize = 32; // characters, as in the page
const MAX_ID: usize = 64; // bytes
const MAX_MESSAGE: usize = 8 * 1024; // bytes: the page's 2000 UTF-16 units take up to 6000, and the id
const MAX_ROOMS: usize = 1_000;
const MAX_PEOPLE: usize = 200; // names in one room
const MAX_CONNECTIONS: usize = 1_000; // in one room; one name may have several
const HISTORY: usize = 100; // messages that a room remembers
const QUEUE: usize = 64; // events that one slow reader may be behind before it starts over

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [listen] = support::arguments(["--listen"])?;
    let server = Server::bind(listen.unwrap_or_else(|| "127.0.0.1:8080".into())).await?;
    println!("chat on http://{}", server.local_addr()?);

    let rooms = Rooms::default();
    server
        .config(Config::new().max_message_size(MAX_MESSAGE))
        .shutdown_on(support::stopped())
        .fallback(|request, _peer| async move { page(&request) })
        .on_upgrade(|request: UpgradeRequest| async move {
            let refuse = |status| plain(status, "expected: /ws?room=ROOM&name=NAME\n");
            ticket(request.uri()).map(Upgrade::new).map_err(refuse)
        })
        .serve_with(move |ws, ticket| chat(ws, ticket, rooms.clone()))
        .await?;
    Ok(())
}

/// One person's connection, from the first welcome to the last word.
async fn chat(mut ws: WebSocket, ticket: Ticket, rooms: Rooms) -> Result<(), BoxError> {
    let Some((seat, welcome, mut events)) = rooms.enter(ticket) else {
        let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "no free place")?;
        return Ok(ws.close_with(frame).await?);
    };
    ws.send(welcome).await?;
    loop {
        tokio::select! {
            message = ws.next() => {
                let Some(message) = message else { return Ok(()) };
                let message = message?;
                let line = message.as_text().and_then(|text| text.split_once('\n'));
                let Some((id, text)) = line.filter(|(id, _)| id.len() <= MAX_ID) else {
                    let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "expected: id LF text")?;
                    return Ok(ws.close_with(frame).await?);
                };
                seat.say(id, text);
            }
            event = events.recv() => match event {
                Ok(event) => ws.feed(event).await?, // written by the next `next`, many at a time
                Err(RecvError::Lagged(_)) => {
                    // This reader is slower than the room: it gets the room as it is now.
                    let Some((welcome, fresh)) = seat.look() else { return Ok(()) };
                    events = fresh;
                    ws.send(welcome).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

// ---- Rooms ---------------------------------------------------------------------------------------

#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, Room>>>);

struct Room {
    epoch: u128,                       // when the room was made: `seq` counts from there
    seq: u64,                          // messages so far
    history: VecDeque<(String, Text)>, // "name LF id", and the event as it was sent
    here: BTreeMap<String, usize>,     // connections by name
    events: broadcast::Sender<Text>,
}

/// A place in a room, given back when it is dropped.
struct Seat {
    rooms: Rooms,
    ticket: Ticket,
}

struct Ticket {
    room: String,
    name: String,
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` means that everything is full.
    fn enter(&self, ticket: Ticket) -> Option<(Seat, Text, broadcast::Receiver<Text>)> {
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
    fn say(&self, id: &str, text: &str) {
        if let Some(room) = self.rooms.lock().get_mut(&self.ticket.room) {
            room.say(&self.ticket.name, id, text);
        }
    }

    fn look(&self) -> Option<(Text, broadcast::Receiver<Text>)> {
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
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((key, event.clone()));
        self.events.send(event).ok(); // nobody may be listening
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

// ---- HTTP ----------------------------------------------------------------------------------------

fn page(request: &Request<()>) -> Response<Bytes> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let (content_type, body) = match request.uri().path() {
        "/" => ("text/html; charset=utf-8", include_str!("chat/index.html")),
        "/style.css" => ("text/css; charset=utf-8", include_str!("chat/style.css")),
        "/app.js" => ("text/javascript; charset=utf-8", include_str!("chat/app.js")),
        "/connection.js" => ("text/javascript; charset=utf-8", include_str!("chat/connection.js")),
        "/icon.svg" => ("image/svg+xml", include_str!("chat/icon.svg")),
        _ => return plain(StatusCode::NOT_FOUND, "not found\n"),
    };
    let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The page runs and loads what this server serves, and nothing else; what people write cannot become code.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn plain(status: StatusCode, body: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
    *answer.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, text);
    answer
}

/// Where a socket wants to sit; otherwise the status of the refusal.
fn ticket(uri: &Uri) -> Result<Ticket, StatusCode> {
    if uri.path() != "/ws" {
        return Err(StatusCode::NOT_FOUND);
    }
    let query = uri.query().unwrap_or_default();
    let room = parameter(query, "room", MAX_ROOM_NAME).ok_or(StatusCode::BAD_REQUEST)?;
    let name = parameter(query, "name", MAX_NAME).ok_or(StatusCode::BAD_REQUEST)?;
    Ok(Ticket { room, name })
}

/// A parameter of the query that is fit to be shown: not empty, not too long, without control characters.
fn parameter(query: &str, name: &str, max: usize) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let value = percent_decode(value)?.trim().to_owned();
    let fit =
        !value.is_empty() && value.chars().count() <= max && !value.contains(char::is_control);
    fit.then_some(value)
}

/// RFC 3986 section 2.1.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16)?.try_into().ok();
            let (high, low): (u8, u8) = (digit()?, digit()?);
            high * 16 + low
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}
