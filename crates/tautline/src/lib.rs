#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod accept;
pub mod auth;
mod builder;
pub mod calls;
mod client;
mod connection;
mod connections;
mod drain;
mod error;
mod forwarded;
pub mod futures;
#[cfg(any(doc, doctest))]
pub mod guide;
mod handler;
mod handshake_io;
mod headers;
#[cfg(feature = "http2")]
mod http2;
mod limits;
#[cfg(all(test, tautline_loom))]
mod loom_tests;
mod message_reader;
mod message_writer;
#[cfg(feature = "metrics")]
pub mod metrics;
mod networks;
mod observe;
mod outcome;
mod parting;
mod percent;
mod proxy_protocol;
pub mod reconnect;
mod registry;
mod runtime;
mod seats;
mod senders;
mod server;
mod shutdown;
mod split;
mod stats;
mod sync;
mod tasks;
mod timer;
mod transport;
mod wakers;
mod websocket;

// The public face.
pub use accept::{AcceptError, Acceptor, Incoming, Upgrade, UpgradeRequest, accept};
pub use builder::WebSocketBuilder;
pub use client::{
    Client, ConnectError, ConnectStage, CookieJar, DialAttempt, DialError, IntoRequest,
    InvalidProxy, IpFamily, Proxies, Proxy, ProxyError, RedirectError, RequestAttempt, Resolve,
    SocksReply, connect,
};
pub use connections::Connections;
pub use drain::Drain;
pub use error::{BoxError, TryFeedError};
pub use forwarded::{Forwarded, TrustedProxies};
pub use handler::HandlerResult;
#[cfg(feature = "http2")]
pub use http2::{Http2, Http2Config, Http2Error};
pub use limits::{LimitCounts, Limits};
pub use message_reader::MessageReader;
pub use message_writer::MessageWriter;
pub use networks::{InvalidNetwork, Networks};
pub use proxy_protocol::ProxyHeaderError;
pub use registry::{ConnectionId, ConnectionInfo, Registry};
pub use senders::{ClosingSender, DroppingSender, LatestSender, SenderCounts};
pub use server::{ListenOptions, Server, ServerHandle, ServerStage};
#[cfg(feature = "service")]
pub use server::{OnUpgrade, RequestBody};
#[cfg(feature = "router")]
pub use server::{Params, RouteError, Router};
#[cfg(not(tautline_loom))]
pub use split::Prefetch;
pub use split::{Reader, ReuniteError, TrySent, Writer};
pub use stats::ConnectionStats;
pub use tautline_frame::session::Error;
#[cfg(feature = "tls")]
pub use transport::{
    Certificates, ClientAuth, ClientCertificate, ClientTls, InvalidPin, PublicKeyPin,
    RevocationLists, ServerCertificate, ServerTls, ServerTlsBuilder, TlsError, TlsInfo,
};
pub use transport::{Peer, Transport};
pub use websocket::{Parts, WebSocket};

pub use tautline_frame::{
    CloseCode, CloseFrame, Compress, Compression, Config, Excess, InvalidCloseFrame, Kind,
    MemoryBudget, Message, Prepared, ProtocolError, Rate, Role, Text, Timeout,
};
pub use tautline_handshake::{
    Agreed, BuildError, ForwardedHost, HandshakeError, HeadError, HeadLimits, InvalidOrigin,
    Origin, OriginError, OriginList, OriginMismatch, OriginPolicy, OriginPredicate, RequestHead,
    ResponseError, UriError, WsUri, text_response,
};

// Crates whose types are in the signatures above.
pub use bytes;
pub use http;
// For its `CookieStore` as a `CookieJar`.
#[cfg(feature = "cookies")]
pub use cookie_store;
// Values of `calls::JsonRpc`.
#[cfg(feature = "json-rpc")]
pub use serde_json;
// Networks, of `Limits::exempt`.
pub use ipnet;
// For `ClientTls::from_config` and `ServerTls::from_config` alone, which take the settings of this
// very version.
#[cfg(feature = "tls")]
pub use rustls;
