//! A client's connection, without I/O and without a clock.

mod answers;
mod channels;
mod commands;
mod lifetime;
mod outbox;
mod pulse;
mod subscribing;
mod verbs;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tautline::Message;

use self::channels::{Channels, Subscription};
use self::lifetime::{Due, Lifetime};
use self::outbox::Outbox;
use self::pulse::{Beat, Pulse};
use super::codes::{ClientError, Disconnect, Unsubscribe};
use super::config::Config;
use super::convert;
use super::data::{ClientInfo, Since};
use super::format::{DecodeError, Format};
use super::payload::{NotJson, Payload};
use super::request::{RefreshRequest, Request, RequestId, SubRefreshRequest};
use super::wire;

/// The longest name of a channel or method, in bytes.
pub(super) const MAX_NAME: usize = 255;

/// A client's connection as a state machine, without I/O and without a clock: frames, answers and the time
/// in; frames, requests and deadlines out.
///
/// The methods are of four kinds, as those of
/// [`Protocol`](https://docs.rs/tautline-frame/latest/tautline_frame/struct.Protocol.html):
///
/// 1. `handle_*`: what happened outside. [`handle_frame`](Self::handle_frame),
///    [`handle_timeout`](Self::handle_timeout).
/// 2. Plain verbs: what the application wants. [`answer`](Self::answer),
///    [`publication`](Self::publication), [`membership`](Self::membership), [`message`](Self::message),
///    [`subscribe`](Self::subscribe), [`unsubscribe`](Self::unsubscribe), [`refresh`](Self::refresh),
///    [`disconnect`](Self::disconnect).
/// 3. `poll_*`: what is to be done outside. [`poll_event`](Self::poll_event),
///    [`poll_transmit`](Self::poll_transmit), [`poll_close`](Self::poll_close),
///    [`poll_timeout`](Self::poll_timeout).
/// 4. Questions: [`is_connected`](Self::is_connected), [`client_info`](Self::client_info),
///    [`channels`](Self::channels), [`fault`](Self::fault).
///
/// After every call of the first two kinds, the driver calls those of the third: events until there are
/// none, then frames until there are none, then the close, which comes after the last frame.
///
/// ```
/// use std::time::Instant;
/// use tautline_hub::centrifuge::{Answer, Config, Connected, Event, Format, Request, Session};
///
/// let now = Instant::now();
/// let mut session = Session::new(Config::new(), Format::Json, "client-1", now);
/// session.handle_frame(br#"{"id":1,"connect":{"token":"secret"}}"#)?;
///
/// let Some(Event::Request(id, Request::Connect(connect))) = session.poll_event() else { panic!() };
/// assert_eq!(connect.token, "secret");
/// session.answer(id, Ok(Answer::Connect(Connected::new("alice"))), now);
/// let reply = session.poll_transmit().unwrap();
/// assert_eq!(
///     reply.as_text(),
///     Some(r#"{"id":1,"connect":{"client":"client-1","ping":25,"pong":true}}"#),
/// );
/// # Ok::<(), tautline_hub::centrifuge::DecodeError>(())
/// ```
pub struct Session {
    config: Arc<Config>,
    format: Format,
    client: String,
    state: State,
    channels: Channels,
    pending: HashMap<RequestId, Pending>,
    next_number: u64,
    events: VecDeque<Event>,
    /// Channels that were left, of which the driver has not been told.
    left: VecDeque<String>,
    outbox: Outbox,
    fault: Option<&'static str>,
}

enum State {
    /// The first command has not come, or the application has not answered it. Those that came after
    /// it wait.
    New {
        stale: Option<Instant>,
        early: Option<Early>,
    },
    /// The client may not come in. It is expected to go.
    Refused {
        stale: Option<Instant>,
    },
    Open(Box<Open>),
    /// To be closed with this, or, without it, closed.
    Closed(Option<Disconnect>),
}

/// What came while the application decides about the first command.
#[derive(Default)]
struct Early {
    commands: VecDeque<wire::Command>,
    /// Of the frames in which they came.
    bytes: usize,
}

/// A client that is connected.
struct Open {
    user: String,
    info: Payload,
    pulse: Pulse,
    lifetime: Option<Lifetime>,
    /// It was told when the connection expires, so it may refresh it.
    client_refreshes: bool,
}

/// What a request of a client was, and the id of its command. Without an id it is the session's own.
#[derive(Debug)]
enum Pending {
    Connect { id: u32, positions: BTreeMap<String, Since> },
    Refresh { id: Option<u32> },
    Subscribe { id: u32, channel: String, since: Option<Since>, rejects: bool },
    SubRefresh { id: Option<u32>, channel: String, serial: u64 },
    Publish { id: u32 },
    Presence { id: u32 },
    PresenceStats { id: u32 },
    History { id: u32 },
    Rpc { id: u32 },
}

/// What the driver of a session has to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Carry out what a client asks for, and [answer](Session::answer) it.
    Request(RequestId, Request),
    /// The client sent this, without waiting for an answer.
    Message(Payload),
    /// The subscription to this channel is over, whoever ended it.
    Left(String),
}

/// Without what users send to each other.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("client", &self.client)
            .field("format", &self.format)
            .field("channels", &self.channels.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A connection whose WebSocket handshake is complete. `client` is what it will be called, by itself
    /// and others: unique among all connections of all servers.
    #[must_use]
    pub fn new(
        config: impl Into<Arc<Config>>,
        format: Format,
        client: impl Into<String>,
        now: Instant,
    ) -> Self {
        let config = config.into();
        Self {
            format,
            client: client.into(),
            state: State::New { stale: now.checked_add(config.stale_after), early: None },
            channels: Channels::default(),
            pending: HashMap::new(),
            next_number: 0,
            events: VecDeque::new(),
            left: VecDeque::new(),
            outbox: Outbox::new(format, config.max_queue),
            fault: None,
            config,
        }
    }

    /// Takes a frame of the client, text or binary.
    ///
    /// # Errors
    /// Why it is not one of the protocol. Nothing in it is carried out, and the connection is to be closed.
    pub fn handle_frame(&mut self, frame: &[u8]) -> Result<(), DecodeError> {
        if self.is_closed() {
            return Ok(());
        }
        let commands = self.format.decode(frame, &self.config).inspect_err(|error| {
            self.disconnect(error.disconnect());
        })?;
        if let State::New { early: Some(early), .. } = &mut self.state {
            // Nobody knows yet who this is.
            early.bytes += frame.len();
            if early.bytes > self.config.max_frame {
                self.disconnect(Disconnect::TOO_MANY_REQUESTS);
            }
        }
        for command in commands {
            self.command(command);
        }
        Ok(())
    }

    /// Does what is due by now, see [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::New { stale, .. } | State::Refused { stale } => {
                if stale.is_some_and(|stale| now >= stale) {
                    self.disconnect(Disconnect::STALE);
                }
            }
            State::Open(_) => self.open_timeout(now),
            State::Closed(_) => {}
        }
    }

    fn open_timeout(&mut self, now: Instant) {
        let grace = self.config.grace;
        let State::Open(open) = &mut self.state else { return };
        let beat = open.pulse.take_due(now);
        let due = open.lifetime.as_mut().and_then(|lifetime| lifetime.take_due(grace, now));
        match beat {
            Some(Beat::Ping) => self.send(&wire::Reply::default()),
            Some(Beat::Missed) => return self.disconnect(Disconnect::NO_PONG),
            None => {}
        }
        match due {
            Some(Due::Ask) => {
                let request = Request::Refresh(RefreshRequest { token: None });
                self.ask(Pending::Refresh { id: None }, request);
            }
            Some(Due::Over) => return self.disconnect(Disconnect::EXPIRED),
            None => {}
        }
        for (channel, serial, due) in self.channels.take_due(grace, now) {
            match due {
                Due::Ask => {
                    let request = SubRefreshRequest { channel: channel.clone(), token: None };
                    let pending = Pending::SubRefresh { id: None, channel, serial };
                    self.ask(pending, Request::SubRefresh(request));
                }
                Due::Over => self.expired(&channel),
            }
        }
    }

    /// Ends a subscription that was not refreshed. A client cannot subscribe again to what the server
    /// subscribed it to, but it can come back.
    fn expired(&mut self, channel: &str) {
        match self.channels.subscription(channel) {
            Some(Subscription { by: channels::By::Server, .. }) => {
                self.disconnect(Disconnect::SUBSCRIPTION_EXPIRED);
            }
            Some(_) => {
                self.unsubscribe(channel, Unsubscribe::EXPIRED);
            }
            None => {}
        }
    }

    /// The next thing that is to be done. What was left comes first: it may be subscribed to again.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.left.pop_front().map(Event::Left).or_else(|| self.events.pop_front())
    }

    /// The next channel that was left.
    pub(super) fn poll_left(&mut self) -> Option<String> {
        self.left.pop_front()
    }

    /// The next frame that is to be sent.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        self.outbox.pop()
    }

    /// Why the connection is to be closed, if it is, once: after the last frame of
    /// [`poll_transmit`](Self::poll_transmit).
    pub fn poll_close(&mut self) -> Option<Disconnect> {
        match &mut self.state {
            State::Closed(disconnect) => disconnect.take(),
            _ => None,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if nothing else happens. It may turn
    /// out that nothing was due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::New { stale, .. } | State::Refused { stale } => *stale,
            State::Open(open) => {
                let lifetime = open.lifetime.and_then(Lifetime::at);
                [open.pulse.at(), lifetime, self.channels.soonest()].into_iter().flatten().min()
            }
            State::Closed(_) => None,
        }
    }

    /// Before it is connected: what the client will be called.
    pub(super) fn set_client(&mut self, client: &str) {
        client.clone_into(&mut self.client);
    }

    /// Whether there are frames to send.
    pub(super) fn has_frames(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether the client can be given an answer of any length, or needs none any more.
    pub(super) fn takes_answers(&self) -> bool {
        self.outbox.has_room() || self.is_closed()
    }

    /// Whether commands wait for subscriptions that have not been answered yet.
    pub(super) const fn has_deferred(&self) -> bool {
        self.channels.deferred() > 0
    }

    /// Whether the client has not been let in yet.
    pub(super) fn is_connecting(&self) -> bool {
        !self.is_connected() && !self.is_closed()
    }

    /// Whether something has ended the connection.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// Whether commands wait for the answer to the first one.
    pub(super) fn has_early(&self) -> bool {
        matches!(&self.state, State::New { early: Some(early), .. } if !early.commands.is_empty())
    }

    /// Whether the client has been let in, and nothing has ended the connection since.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Who the client is, as others in this channel see it. Without a user before it is connected.
    #[must_use]
    pub fn client_info(&self, channel: &str) -> ClientInfo {
        let mut info = ClientInfo::new(&*self.client, "");
        if let State::Open(open) = &self.state {
            info.user.clone_from(&open.user);
            info.connection = open.info.clone();
        }
        if let Some(subscription) = self.channels.subscription(channel) {
            info.subscription = subscription.info.clone();
        }
        info
    }

    /// Whether the client is subscribed to this channel.
    pub(super) fn is_subscribed(&self, channel: &str) -> bool {
        self.channels.subscription(channel).is_some()
    }

    /// The channels that the client is subscribed to, in no order.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.names()
    }

    /// What the client did against the protocol, for logs, when the connection is closed with
    /// [`BAD_REQUEST`](Disconnect::BAD_REQUEST) though its frames could be read.
    #[must_use]
    pub const fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// Closes the connection, if nothing has closed it before. Requests that wait for answers are
    /// forgotten. Frames that wait are still to be sent, unless it is
    /// [`SLOW`](Disconnect::SLOW).
    pub fn disconnect(&mut self, disconnect: Disconnect) {
        if self.is_closed() {
            return;
        }
        if disconnect == Disconnect::SLOW {
            self.outbox.clear();
        }
        self.state = State::Closed(Some(disconnect));
        self.channels = Channels::default();
        self.pending.clear();
        self.left.clear();
        self.events.retain(|event| matches!(event, Event::Message(_)));
    }

    /// The client broke a rule.
    fn bad_request(&mut self, why: &'static str) {
        self.fault.get_or_insert(why);
        self.disconnect(Disconnect::BAD_REQUEST);
    }

    /// Nothing follows the end, which may come in the middle of what a call has to say.
    fn send(&mut self, reply: &wire::Reply) {
        if !self.is_closed() && self.outbox.push(reply).is_err() {
            self.disconnect(Disconnect::SLOW);
        }
    }

    fn send_push(&mut self, push: wire::Push) {
        self.send(&wire::Reply { push: Some(push), ..wire::Reply::default() });
    }

    /// Sends what had to be made of data of the application.
    fn send_made(&mut self, push: Result<wire::Push, NotJson>) {
        match push {
            Ok(push) => self.send_push(push),
            Err(NotJson) => self.disconnect(Disconnect::INAPPROPRIATE_PROTOCOL),
        }
    }

    fn send_error(&mut self, id: u32, error: &ClientError) {
        let error = Some(convert::error(error));
        self.send(&wire::Reply { id, error, ..wire::Reply::default() });
    }

    /// Asks the application, unless it is over.
    fn ask(&mut self, pending: Pending, request: Request) {
        if self.is_closed() {
            return;
        }
        let id = RequestId(self.next_number);
        self.next_number += 1;
        self.pending.insert(id, pending);
        self.events.push_back(Event::Request(id, request));
    }
}

#[cfg(test)]
mod tests;
