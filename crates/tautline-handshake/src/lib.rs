//! The opening handshake of WebSocket connections, for clients and servers: [RFC 6455] sections 3, 4,
//! 9, 10.2 and 11.3, and the negotiation of `permessage-deflate` of [RFC 7692] sections 5 and 7.1.
//!
//! The crate is pure: it opens no socket, starts no task and reads no clock. Requests and responses are
//! those of the [`http`] crate, so it fits behind any HTTP stack; the feature `http1` (on by default)
//! adds reading them from bytes and writing them, for a stack of one's own.
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
//! let request = ServerRequest::check(request)?;
//! OriginPolicy::SameOrigin.allows(request.request().headers())?;
//! let mut response = request.respond();
//! if let Some(name) = request.select_subprotocol(&["chat.v1"]) {
//!     response = response.subprotocol(name);
//! }
//! let response = response.build()?.map(|()| "");
//! encode_response(&response, &mut wire);
//!
//! // The client checks the answer; after that, both sides speak in frames.
//! let response = ResponseHeadReader::new(HeadLimits::default()).read(&mut wire)?.expect("complete");
//! let accepted = expectation.check(&response)?;
//! assert_eq!(accepted.subprotocol.as_deref(), Some("chat.v1"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A server's refusal
//!
//! Every [`HandshakeError`] has a status and a whole response ([`HandshakeError::to_response`]): a server
//! that refuses answers, then closes.
//!
//! ```
//! use tautline_handshake::{HandshakeError, ServerRequest};
//!
//! let plain = http::Request::get("/").header("host", "example.com").body(())?;
//! let error = ServerRequest::check(plain).expect_err("no Upgrade");
//! assert_eq!(error, HandshakeError::MissingUpgrade);
//! let response = error.to_response();
//! assert_eq!(response.status(), 426);
//! assert_eq!(response.headers()["sec-websocket-version"], "13");
//! # Ok::<(), http::Error>(())
//! ```
//!
//! # Where the RFCs leave a choice
//!
//! - The unused bits of the key's last character may have any value: an example of the RFC sets one.
//! - A 101 names `websocket` alone in `Upgrade`; more would be a second protocol on top.
//! - A client that offers subprotocols refuses a server that chooses none, as browsers do, unless
//!   [`ClientRequest::subprotocol_required`] says otherwise.
//! - A window of 8 bits is accepted for the peer's compressor and refused for our own.
//! - Line endings are CR LF only; folded headers and bytes before the first line are refused.
//!
//! # Features
//!
//! - `http1` (default): HTTP/1.1 heads from and to bytes, with `httparse`.
//! - `idna`: host names beyond ASCII in URIs.
//!
//! [RFC 6455]: https://www.rfc-editor.org/rfc/rfc6455
//! [RFC 7692]: https://www.rfc-editor.org/rfc/rfc7692
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod authority;
mod client;
mod deflate;
mod error;
mod extension;
mod extra;
#[cfg(feature = "http1")]
mod http1;
mod key;
mod origin;
mod server;
mod subprotocol;
mod token;
mod uri;

pub use client::{Accepted, ClientRequest, Expectation, ResponseError};
pub use deflate::{DeflateConfig, DeflateError, DeflateParams};
pub use error::{BuildError, HandshakeError, HeadError, text_response};
pub use extension::{Extension, ExtensionError, Param, parse_extensions};
#[cfg(feature = "http1")]
pub use http1::{
    BodyFraming, BodyReader, HeadLimits, RequestHeadReader, ResponseHeadReader, body_framing,
    encode_request, encode_response, encode_response_to_head,
};
pub use key::accept_key;
pub use origin::{InvalidOrigin, Origin, OriginPolicy};
pub use server::{ServerRequest, ServerResponse, check_host, is_upgrade_request};
pub use subprotocol::SubprotocolError;
pub use uri::{MAX_URI_LEN, UriError, WsUri};
