//! What a client may ask for, and when.

use std::collections::BTreeMap;

use super::channels::{Subscription, Then};
use super::{Early, Event, MAX_NAME, Pending, Session, State};
use crate::centrifuge::codes::{ClientError, Disconnect};
use crate::centrifuge::convert;
use crate::centrifuge::data::Since;
use crate::centrifuge::request::{
    ConnectRequest, HistoryRequest, PublishRequest, RefreshRequest, Request, RpcRequest,
    SubRefreshRequest, SubscribeRequest,
};
use crate::centrifuge::wire;

/// The bit of a subscription's flags by which a client asks for an error if it cannot be recovered.
const REJECT_UNRECOVERED: i64 = 1 << 1;

impl Session {
    /// Carries out a command, or lets it wait for the answer to the first one.
    pub(super) fn command(&mut self, command: wire::Command) {
        match &mut self.state {
            State::New { early: None, .. } => match command.connect {
                Some(connect) => self.connect(command.id, connect),
                None => self.bad_request("the first command does not connect"),
            },
            State::New { early: Some(early), .. } => {
                if early.commands.len() < self.config.max_commands {
                    early.commands.push_back(command);
                } else {
                    self.disconnect(Disconnect::TOO_MANY_REQUESTS);
                }
            }
            State::Refused { .. } => self.bad_request("a command after connecting was refused"),
            State::Open(_) => self.open_command(command),
            State::Closed(_) => {}
        }
    }

    fn connect(&mut self, id: u32, connect: wire::ConnectRequest) {
        if id == 0 {
            return self.bad_request("a command without an id");
        }
        let positions: BTreeMap<_, _> = connect
            .subs
            .into_iter()
            .filter(|(_, sub)| sub.recover)
            .map(|(channel, sub)| (channel, Since::read(sub.offset, &sub.epoch)))
            .collect();
        let pending = Pending::Connect { id, positions: positions.clone() };
        let request = ConnectRequest {
            token: connect.token,
            data: convert::from_wire(connect.data, self.format),
            name: connect.name,
            version: connect.version,
            headers: connect.headers,
            positions,
        };
        self.ask(pending, Request::Connect(request));
        if let State::New { early, .. } = &mut self.state {
            *early = Some(Early::default());
        }
    }

    /// The commands that came in the meantime.
    pub(super) fn catch_up(&mut self, early: Early) {
        for command in early.commands {
            self.command(command);
        }
    }

    /// Of several requests in one command, the first counts.
    fn open_command(&mut self, command: wire::Command) {
        let id = command.id;
        if id == 0 {
            return self.command_without_id(command);
        }
        if command.connect.is_some() {
            self.bad_request("the client is connected already");
        } else if let Some(request) = command.subscribe {
            self.subscribe_command(id, request);
        } else if let Some(request) = command.unsubscribe {
            self.unsubscribe_command(id, &request.channel);
        } else if let Some(request) = command.publish {
            self.publish(id, request);
        } else if let Some(wire::ChannelRequest { channel }) = command.presence {
            if self.is_channel(id, &channel) {
                self.request(id, Pending::Presence { id }, Request::Presence(channel));
            }
        } else if let Some(wire::ChannelRequest { channel }) = command.presence_stats {
            if self.is_channel(id, &channel) {
                self.request(id, Pending::PresenceStats { id }, Request::PresenceStats(channel));
            }
        } else if let Some(request) = command.history {
            self.history(id, request);
        } else if let Some(request) = command.rpc {
            self.rpc(id, request);
        } else if let Some(wire::Data { data }) = command.send {
            self.events.push_back(Event::Message(convert::from_wire(data, self.format)));
        } else if let Some(request) = command.refresh {
            self.refresh_command(id, request);
        } else if let Some(request) = command.sub_refresh {
            self.sub_refresh(id, request);
        } else if command.ping.is_some() {
            self.send(&wire::Reply { id, ping: Some(wire::Empty {}), ..wire::Reply::default() });
        } else {
            self.bad_request("a command that is not known");
        }
    }

    /// A message, or the answer to a ping.
    fn command_without_id(&mut self, command: wire::Command) {
        if let Some(wire::Data { data }) = command.send {
            self.events.push_back(Event::Message(convert::from_wire(data, self.format)));
            return;
        }
        if command != wire::Command::default() {
            return self.bad_request("a command without an id");
        }
        let State::Open(open) = &mut self.state else { return };
        if !open.pulse.answered() {
            self.bad_request("an answer to a ping that was not sent");
        }
    }

    /// Asks the application, unless too much waits for it.
    fn request(&mut self, id: u32, pending: Pending, request: Request) {
        if self.has_room(id) {
            self.ask(pending, request);
        }
    }

    fn has_room(&mut self, id: u32) -> bool {
        let room = self.pending.len() + self.channels.deferred() < self.config.max_pending;
        if !room {
            self.send_error(id, &ClientError::TOO_MANY_REQUESTS);
        }
        room
    }

    /// Whether this can be the name of a channel. If not, the client is told.
    fn is_channel(&mut self, id: u32, channel: &str) -> bool {
        if channel.is_empty() {
            self.bad_request("a command for a channel without a name");
            return false;
        }
        self.is_name(id, channel)
    }

    fn is_name(&mut self, id: u32, name: &str) -> bool {
        if name.len() > MAX_NAME {
            self.send_error(id, &ClientError::BAD_REQUEST);
            return false;
        }
        true
    }

    pub(super) fn subscribe_command(&mut self, id: u32, request: wire::SubscribeRequest) {
        if !self.is_channel(id, &request.channel) {
            return;
        }
        // Other types than 0 are maps of keys, and channels that the server polls for.
        if request.r#type != 0 {
            return self.send_error(id, &ClientError::NOT_AVAILABLE);
        }
        if !request.tf.is_empty() {
            return self.send_error(id, &ClientError::BAD_REQUEST);
        }
        match self.channels.get(&request.channel) {
            Some(_) if self.channels.will_be_left(&request.channel) => {
                if self.has_room(id) {
                    let channel = request.channel.clone();
                    self.channels.defer(&channel, Then::Subscribe { id, request });
                }
            }
            Some(_) => self.send_error(id, &ClientError::ALREADY_SUBSCRIBED),
            None if self.channels.len() >= self.config.max_channels => {
                self.send_error(id, &ClientError::LIMIT_EXCEEDED);
            }
            None => self.begin_subscribe(id, request),
        }
    }

    fn begin_subscribe(&mut self, id: u32, request: wire::SubscribeRequest) {
        if !self.has_room(id) {
            return;
        }
        let channel = request.channel;
        let since = request.recover.then(|| Since::read(request.offset, &request.epoch));
        let rejects = request.flag & REJECT_UNRECOVERED != 0;
        let asked = SubscribeRequest {
            channel: channel.clone(),
            token: request.token,
            data: convert::from_wire(request.data, self.format),
            since,
            positioned: request.positioned,
            recoverable: request.recoverable,
            join_leave: request.join_leave,
        };
        let pending = Pending::Subscribe { id, channel: channel.clone(), since, rejects };
        self.ask(pending, Request::Subscribe(asked));
        self.channels.begin(channel);
    }

    /// A client may unsubscribe from what it is not subscribed to.
    pub(super) fn unsubscribe_command(&mut self, id: u32, channel: &str) {
        if channel.is_empty() {
            return self.bad_request("a command for a channel without a name");
        }
        if self.channels.is_subscribing(channel) {
            if self.has_room(id) {
                self.channels.defer(channel, Then::Unsubscribe { id });
            }
            return;
        }
        if self.channels.leave(channel).is_some() {
            self.left.push_back(channel.to_owned());
        }
        self.send(&wire::Reply { id, unsubscribe: Some(wire::Empty {}), ..wire::Reply::default() });
    }

    fn publish(&mut self, id: u32, request: wire::PublishRequest) {
        if !self.is_channel(id, &request.channel) {
            return;
        }
        // Type 1 is for maps of keys.
        if request.r#type != 0 {
            return self.send_error(id, &ClientError::NOT_AVAILABLE);
        }
        let data = convert::from_wire(request.data, self.format);
        let asked = PublishRequest { channel: request.channel, data };
        self.request(id, Pending::Publish { id }, Request::Publish(asked));
    }

    fn history(&mut self, id: u32, request: wire::HistoryRequest) {
        if !self.is_channel(id, &request.channel) {
            return;
        }
        let max = self.config.max_history;
        let asked = HistoryRequest {
            channel: request.channel,
            limit: usize::try_from(request.limit).map_or(max, |limit| limit.min(max)),
            since: request.since.map(|since| Since::read(since.offset, &since.epoch)),
            reverse: request.reverse,
        };
        self.request(id, Pending::History { id }, Request::History(asked));
    }

    fn rpc(&mut self, id: u32, request: wire::RpcRequest) {
        if !self.is_name(id, &request.method) {
            return;
        }
        let data = convert::from_wire(request.data, self.format);
        let asked = RpcRequest { method: request.method, data };
        self.request(id, Pending::Rpc { id }, Request::Rpc(asked));
    }

    fn refresh_command(&mut self, id: u32, request: wire::RefreshRequest) {
        let State::Open(open) = &self.state else { return };
        if !open.client_refreshes {
            return self.bad_request("it is not for the client to refresh the connection");
        }
        if request.token.is_empty() {
            return self.bad_request("a connection is refreshed without a token");
        }
        let asked = RefreshRequest { token: Some(request.token) };
        self.request(id, Pending::Refresh { id: Some(id) }, Request::Refresh(asked));
    }

    fn sub_refresh(&mut self, id: u32, request: wire::SubRefreshRequest) {
        let wire::SubRefreshRequest { channel, token, r#type } = request;
        if channel.is_empty() {
            return self.bad_request("a command for a channel without a name");
        }
        let Some(subscription) = self.channels.subscription(&channel) else {
            return self.send_error(id, &ClientError::PERMISSION_DENIED);
        };
        let Subscription { serial, client_refreshes, .. } = *subscription;
        // Other types than 0 are for channels that the server polls for.
        if r#type != 0 {
            return self.send_error(id, &ClientError::NOT_AVAILABLE);
        }
        if !client_refreshes {
            return self.bad_request("it is not for the client to refresh the subscription");
        }
        if token.is_empty() {
            return self.send_error(id, &ClientError::BAD_REQUEST);
        }
        let asked = SubRefreshRequest { channel: channel.clone(), token: Some(token) };
        let pending = Pending::SubRefresh { id: Some(id), channel, serial };
        self.request(id, pending, Request::SubRefresh(asked));
    }
}
