//! Centrifuge's client protocol, version 2: the one that the SDKs of Centrifugo speak, for browsers and
//! Node, Dart, Swift, Java, Go, Python and .NET. They work with a hub as with a Centrifugo server.
//!
//! [`Centrifuge`] serves them; an [`Application`] decides who may connect, subscribe and publish, and carries out
//! their calls; and it has a [`Client`] for each, for what it wants of them. Beneath is a client's connection
//! as a state machine without I/O, the [`Session`], for those who drive it themselves.
//!
//! The protocol is documented at <https://centrifugal.dev/docs/transports/client_protocol>, and its schema is
//! `client.proto` of <https://github.com/centrifugal/protocol>.
//!
//! # From a hub
//! A channel is the [topic](crate::Topic) of its name; names that no topic can have are unknown channels (102). A
//! topic with [history](crate::TopicOptions::history) gives positions, recovery and `history`; without, `history`
//! is not available (108). Publications of clients come back to themselves, as they do with Centrifugo.
//! A topic with [presence](crate::TopicOptions::presence) tells who is in it, on all nodes, and, if the application
//! [grants it](SubscribeGrant::join_leave), who comes and goes, by the hub's rules: a client that comes back in time
//! has not gone. Without, presence is not available (108). Of clients without a user, `presence_stats` counts all
//! as one user, as Centrifugo does. A client is called as the hub calls its [member](crate::MemberId).
//!
//! When a client's position is lost, as after a gap from a broker, it is unsubscribed with 2500, and subscribes
//! again by itself; one that the server had subscribed is closed with 3010. One that reads too slowly is closed
//! with 3008, unless its [`SubscribeGrant::slow`] says otherwise.
//!
//! # Formats
//! JSON is behind the feature `centrifuge`, Protobuf besides behind `centrifuge-protobuf`. A client asks for
//! Protobuf by the subprotocol `centrifuge-protobuf` or by `format=protobuf` in the query of its request,
//! see [`Format::of_request`]. A frame holds several messages in both. Data of applications go through
//! as they are: JSON as it was written, and with Protobuf any bytes. A client with JSON cannot be sent
//! anything but JSON ([`Disconnect::INAPPROPRIATE_PROTOCOL`]), so applications that have clients of both
//! kinds publish JSON. A publication that is not JSON closes every client with JSON that gets it, now or out of the
//! history, and these do not come back by themselves: where clients with Protobuf or plain members may publish, refuse
//! what is not JSON, as by `serde_json::from_slice::<serde::de::IgnoredAny>(data)`.
//!
//! # Commands
//! | command | answer | notes |
//! |---|---|---|
//! | `connect` | [`Answer::Connect`] | the first one, within 15 s; what follows in the meantime waits |
//! | `refresh` | [`Answer::Refresh`] | if [the client refreshes](Expiry::by_client) the connection |
//! | `subscribe` | [`Answer::Subscribe`] | once for each channel, 128 of them |
//! | `sub_refresh` | [`Answer::SubRefresh`] | if the client refreshes the subscription |
//! | `unsubscribe` | by the session | the driver is told: [`Event::Left`] |
//! | `publish` | [`Answer::Publish`] | the client need not be subscribed |
//! | `presence`, `presence_stats` | [`Answer::Presence`], [`Answer::PresenceStats`] | |
//! | `history` | [`Answer::History`] | at most 1000 publications |
//! | `rpc` | [`Answer::Rpc`] | |
//! | `send` | none | [`Event::Message`] |
//! | `ping` | by the session | old clients' pings |
//! | an empty one | none | the answer to a ping |
//!
//! # Pushes
//! | push | made by |
//! |---|---|
//! | `pub` | [`Publication::push`], or [`Session::publication`] |
//! | `join`, `leave` | [`Membership::push`], or [`Session::membership`] |
//! | `message` | [`Session::message`] |
//! | `subscribe` | [`Session::subscribe`] |
//! | `unsubscribe` | [`Session::unsubscribe`], and when a subscription expires |
//! | `refresh` | [`Session::refresh`] |
//! | an empty reply | the session: a ping, every 25 s, to be answered within 10 s |
//! | `connect`, `disconnect` | nobody: the first is for clients that only listen, and the second is a Close frame on a WebSocket |
//!
//! # Codes
//! | | codes | the client |
//! |---|---|---|
//! | errors | 100 to 112, see [`ClientError`]; an application's own 400 to 1999 | tries again after those that are temporary, and after 109 with a new token |
//! | unsubscribed | 2000, 2500 to 2502, see [`Unsubscribe`]; 2100 to 2499, 2600 to 2999 | subscribes again from 2500 on |
//! | closed | 3000 to 3014, see [`Disconnect`]; 4000 to 4499 | connects again |
//! | closed | 3500 to 3509, 1009, see [`Disconnect`]; 4500 to 4999 | stays away |
//!
//! # Recovery
//! A client that subscribes with `recover` says from which offset and epoch ([`Since`]). The answer says where
//! the subscription begins ([`Stream`]), and brings what was missed if all of it is there. Then the client
//! sees `recovered`, and its offset goes on from its own; otherwise it is told the newest offset, and that it
//! was recovering, and has to get the state in another way. A client that cannot do that, one with `getState`
//! of the JavaScript SDK, gets the error 112 instead. An epoch that is not a hub's counts as another one.
//!
//! # What is not supported
//! Subscriptions of the types map (1 to 3) and shared poll (4), and their `publish` and `sub_refresh`
//! (error 108); filters by tags (error 107); deltas, channels as numbers and compression dictionaries,
//! which clients offer and do without; clients that only listen; transports other than WebSocket.

mod application;
mod carry_out;
mod client;
mod codes;
mod config;
mod convert;
mod data;
mod format;
mod grant;
mod json;
mod meta;
mod outlet;
mod payload;
mod push;
mod request;
mod serve;
mod session;
mod shared;
mod wire;

pub use self::application::Application;
pub use self::client::Client;
pub use self::codes::{ClientError, Disconnect, Refusal, Unsubscribe};
pub use self::config::Config;
pub use self::data::{ClientInfo, Expiry, Membership, Publication, Refresher, Since, SinceEpoch};
pub use self::format::{DecodeError, Format};
pub use self::grant::{ConnectGrant, PublishGrant, SubscribeGrant};
pub use self::payload::{NotJson, Payload};
pub use self::request::{
    Answer, ConnectRequest, Connected, HistoryPage, HistoryRequest, PublishRequest, RefreshRequest,
    Request, RequestId, RpcRequest, Stream, SubRefreshRequest, SubscribeRequest, Subscribed,
};
pub use self::serve::Centrifuge;
pub use self::session::{Event, Session};
