//! What clients ask for, and what applications answer.

use std::collections::BTreeMap;
use std::fmt;

use super::data::{ClientInfo, Expiry, Publication, Since};
use super::payload::Payload;
use crate::position::Position;

/// A request that waits for its [`Answer`]. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// What a client asks for, or, of [`Refresh`](Self::Refresh) and
/// [`SubRefresh`](Self::SubRefresh) without a token, the session itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Request {
    /// Who is it, and may it come in? Answered with [`Answer::Connect`].
    Connect(ConnectRequest),
    /// May it stay? Answered with [`Answer::Refresh`].
    Refresh(RefreshRequest),
    /// May it subscribe, and what has it missed? Answered with [`Answer::Subscribe`].
    Subscribe(SubscribeRequest),
    /// May it stay subscribed? Answered with [`Answer::SubRefresh`].
    SubRefresh(SubRefreshRequest),
    /// Publish. Answered with [`Answer::Publish`]. The client need not be subscribed to the channel.
    Publish(PublishRequest),
    /// Who is in this channel? Answered with [`Answer::Presence`].
    Presence(String),
    /// How many are in this channel? Answered with [`Answer::PresenceStats`].
    PresenceStats(String),
    /// What was published? Answered with [`Answer::History`].
    History(HistoryRequest),
    /// A call of the application's own. Answered with [`Answer::Rpc`].
    Rpc(RpcRequest),
}

/// A client's first request.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// Says who it is, as the application issued it; empty if the client has none.
    pub token: String,
    /// For the application.
    pub data: Payload,
    /// The name of the client's program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What stands for headers with clients that cannot set any. They are not more trustworthy than
    /// `data`.
    pub headers: BTreeMap<String, String>,
    /// Where the client was in the channels that the server had subscribed it to. It says nothing about
    /// whether it may be in them.
    pub positions: BTreeMap<String, Since>,
}

/// Without the token, data and headers.
impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

/// That the connection shall live on.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RefreshRequest {
    /// A new token of the client; none if the application refreshes it by itself.
    pub token: Option<String>,
}

/// Without the token.
impl fmt::Debug for RefreshRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshRequest").finish_non_exhaustive()
    }
}

/// A subscription.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SubscribeRequest {
    /// To what: 1 to 255 bytes.
    pub channel: String,
    /// Says that it may, as the application issued it; empty if the client has none.
    pub token: String,
    /// For the application.
    pub data: Payload,
    /// What was published since then is wanted.
    pub since: Option<Since>,
    /// The client wants its position to be watched, so that it hears of losses. It is the application that
    /// decides.
    pub positioned: bool,
    /// The client wants to recover what it will have missed. It is the application that decides.
    pub recoverable: bool,
    /// The client wants to know who comes and goes. It is the application that decides.
    pub join_leave: bool,
}

/// Without the token and data.
impl fmt::Debug for SubscribeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeRequest")
            .field("channel", &self.channel)
            .field("since", &self.since)
            .field("positioned", &self.positioned)
            .field("recoverable", &self.recoverable)
            .field("join_leave", &self.join_leave)
            .finish_non_exhaustive()
    }
}

/// That a subscription shall live on.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SubRefreshRequest {
    /// To what.
    pub channel: String,
    /// A new token of the client; none if the application refreshes it by itself.
    pub token: Option<String>,
}

/// Without the token.
impl fmt::Debug for SubRefreshRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubRefreshRequest").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// A publication by a client.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PublishRequest {
    /// Where to: 1 to 255 bytes.
    pub channel: String,
    /// What.
    pub data: Payload,
}

/// A part of a channel's history.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HistoryRequest {
    /// Of what: 1 to 255 bytes.
    pub channel: String,
    /// At most so many publications, up to
    /// [`Config::max_history`](crate::centrifuge::Config::max_history); fewer if they are long, see
    /// [`Hub::history`](crate::Hub::history). With 0, only the position of the newest one is wanted.
    pub limit: usize,
    /// Those after this position, or, if `reverse`, those before it. Without it, from the oldest or the
    /// newest one on.
    pub since: Option<Since>,
    /// Newest first.
    pub reverse: bool,
}

/// A call.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RpcRequest {
    /// Of what.
    pub method: String,
    /// With what.
    pub data: Payload,
}

/// What an application answers to a [`Request`] that it grants.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The client is connected.
    Connect(Connected),
    /// It may stay until then, or for ever.
    Refresh(Option<Expiry>),
    /// It is subscribed.
    Subscribe(Subscribed),
    /// It may stay subscribed until then, or for ever.
    SubRefresh(Option<Expiry>),
    /// It is published.
    Publish,
    /// Who is there.
    Presence(Vec<ClientInfo>),
    /// How many are there.
    PresenceStats {
        /// Connections.
        clients: u32,
        /// Users, of which each may have several.
        users: u32,
    },
    /// What was published.
    History(HistoryPage),
    /// What the call returned.
    Rpc(Payload),
}

/// A client that may come in.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Connected {
    /// Who it is. Empty for one that is not known.
    pub user: String,
    /// About the connection, for other clients.
    pub info: Payload,
    /// For the client itself.
    pub data: Payload,
    /// How long it may stay; for ever, if there is none.
    pub expiry: Option<Expiry>,
    /// What the server has subscribed it to.
    pub subscriptions: BTreeMap<String, Subscribed>,
}

impl Connected {
    /// A client of this user.
    #[must_use]
    pub fn new(user: impl Into<String>) -> Self {
        Self { user: user.into(), ..Self::default() }
    }
}

/// A subscription that is made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Subscribed {
    /// About the subscription, for other clients.
    pub info: Payload,
    /// For the client itself.
    pub data: Payload,
    /// How long it lives; for ever, if there is none.
    pub expiry: Option<Expiry>,
    /// Where the client is in the history, if the channel has one, and its positions are watched.
    pub stream: Option<Stream>,
}

/// Where a subscription begins in a history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stream {
    /// The newest publication. What follows it is sent.
    pub position: Position,
    /// The client shall ask for what it has missed when it comes back.
    pub recoverable: bool,
    /// What was published between the client's position and this one, oldest first, if it is complete;
    /// or, where only the latest one counts, that one, or nothing if the client has it. `None` if nothing was
    /// asked for, or it is not complete any more.
    pub recovered: Option<Vec<Publication>>,
}

impl Stream {
    /// A subscription that begins after this position.
    #[must_use]
    pub const fn new(position: Position) -> Self {
        Self { position, recoverable: false, recovered: None }
    }
}

/// A part of a channel's history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HistoryPage {
    /// In the order that was asked for.
    pub publications: Vec<Publication>,
    /// Of the newest one that there is.
    pub position: Position,
}

impl HistoryPage {
    /// These publications of a history that reaches to this position.
    #[must_use]
    pub const fn new(publications: Vec<Publication>, position: Position) -> Self {
        Self { publications, position }
    }
}
