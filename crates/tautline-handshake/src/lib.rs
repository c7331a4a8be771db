//! The opening handshake of WebSocket connections, for clients and servers: [RFC 6455] sections 3,
//! 4, 9, 10.2 and 11.3, the negotiation of `permessage-deflate` of [RFC 7692] sections 5 and 7.1,
//! and extended CONNECT over HTTP/2 and HTTP/3 ([RFC 8441] section 5, [RFC 9220]).
//!
//! The crate is pure: it opens no socket, starts no task and reads no clock. Requests and responses
//! are those of the [`http`] crate, so it works with any HTTP stack. The feature `http1` (on by
//! default) adds parsing them from bytes and encoding them, for those who have no HTTP stack.
//!
//! A whole handshake, both roles, in memory:
//!
//! ```
//! # #[cfg(feature = "http1")] {
//! use bytes::BytesMut;
//! use tautline_handshake::{
//!     ClientRequest, HeadLimits, OriginPolicy, RequestHeadReader, ResponseHeadReader,
//!     ServerRequest, WsUri, encode_request, encode_response,
//! };
//!
//! // The client writes its request.
//! let uri = WsUri::parse("ws://example.com/chat")?;
//! let (request, expectation) =
//!     ClientRequest::new(&uri).subprotocols(["chat.v2", "chat.v1"]).build()?;
//! let mut wire = BytesMut::new();
//! encode_request(&request, &mut wire);
//!
//! // The server reads it, checks it and answers.
//! let request = RequestHeadReader::new(HeadLimits::default()).read(&mut wire)?.expect("complete");
//! let checked = ServerRequest::check(&request)?;
//! OriginPolicy::SameOrigin.allows(request.headers(), checked.authority())?;
//! let (response, agreed) = checked.accept(&["chat.v1"], None);
//! assert_eq!(agreed.subprotocol.as_deref(), Some("chat.v1"));
//! encode_response(&response.map(|()| ""), &mut wire);
//!
//! // The client checks the answer; after that, both sides speak in frames.
//! let response = ResponseHeadReader::new(HeadLimits::default()).read(&mut wire)?.expect("complete");
//! let agreed = expectation.check(&response)?;
//! assert_eq!(agreed.subprotocol.as_deref(), Some("chat.v1"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # HTTP/2 and HTTP/3
//!
//! The same types take and answer an extended CONNECT: [`ClientRequest::build_connect`] makes the
//! request, and [`ServerRequest::check`] applies the rules of the request's HTTP version. Over
//! HTTP/2 there is no key and no accept value; the response that opens the connection is a 200.
//!
//! ```
//! use tautline_handshake::{ClientRequest, ServerRequest, WsUri};
//!
//! let uri = WsUri::parse("wss://example.com/chat")?;
//! let (request, expectation) = ClientRequest::new(&uri).subprotocols(["chat.v1"]).build_connect()?;
//! let (response, at_server) = ServerRequest::check(&request)?.accept(&["chat.v1"], None);
//! assert_eq!(response.status(), 200);
//! assert_eq!(expectation.check(&response)?, at_server);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A server's refusal
//!
//! Every [`HandshakeError`] has a status and a complete response ([`HandshakeError::to_response`]):
//! a server that refuses a request sends it, then closes the connection.
//!
//! ```
//! use tautline_handshake::{HandshakeError, ServerRequest};
//!
//! let plain = http::Request::get("/").header("host", "example.com").body(())?;
//! let error = ServerRequest::check(&plain).expect_err("no Upgrade");
//! assert_eq!(error, HandshakeError::MissingUpgrade);
//! let response = error.to_response();
//! assert_eq!(response.status(), 426);
//! assert_eq!(response.headers()["sec-websocket-version"], "13");
//! # Ok::<(), http::Error>(())
//! ```
//!
//! # Where the RFCs leave a choice
//!
//! - The unused bits of the key's last character may have any value: an example in the RFC sets one
//!   of them.
//! - The `Upgrade` of a 101 must be `websocket` alone; anything else in it would be a second
//!   protocol on top.
//! - A client that offers subprotocols refuses a server that chooses none, as browsers do, unless
//!   [`ClientRequest::subprotocol_required`] says otherwise.
//! - A window of 8 bits is accepted for the peer's compressor and refused for our own.
//! - Line endings are CR LF only. Folded headers are read in responses and refused in requests.
//!
//! # Features
//!
//! - `http1` (default): parsing HTTP/1.1 heads, with `httparse`, and encoding them.
//! - `idna`: non-ASCII host names in URIs.
//!
//! [RFC 6455]: https://www.rfc-editor.org/rfc/rfc6455
//! [RFC 8441]: https://www.rfc-editor.org/rfc/rfc8441
//! [RFC 9220]: https://www.rfc-editor.org/rfc/rfc9220
//! [RFC 7692]: https://www.rfc-editor.org/rfc/rfc7692
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod authority;
mod client;
mod connect;
mod deflate;
mod error;
mod extension;
mod head;
mod headers;
#[cfg(feature = "http1")]
mod http1;
mod key;
mod negotiate;
mod origin;
mod response;
mod server;
mod subprotocol;
mod token;
mod upgrade;
mod uri;

pub use client::{ClientRequest, Expectation};
pub use connect::is_connect_request;
pub use deflate::DeflateError;
pub use error::{BuildError, ConnectRefusal, HandshakeError, HeadError, text_response};
pub use extension::ExtensionError;
pub use head::{ConnectProtocol, ForwardedHost, RequestHead};
pub use headers::Headers;
#[cfg(feature = "http1")]
pub use http1::{
    BodyFraming, BodyReader, HeadLimits, RequestHeadReader, ResponseHeadReader, body_framing,
    encode_request, encode_response, encode_response_to_head,
};
pub use key::accept_key;
pub use negotiate::{Agreed, Offer};
pub use origin::{
    InvalidOrigin, Origin, OriginError, OriginList, OriginMismatch, OriginPolicy, OriginPredicate,
};
pub use response::ResponseError;
pub use server::{ServerRequest, ServerResponse};
pub use subprotocol::SubprotocolError;
pub use upgrade::is_upgrade_request;
pub use uri::{MAX_URI_LEN, UriError, WsUri};
