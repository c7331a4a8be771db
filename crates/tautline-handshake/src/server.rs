//! The server's side: the check of the request, and the response (RFC 6455 section 4.2, RFC 8441
//! section 5).

use std::fmt;

use http::header::HeaderValue;
use http::{Response, Version};
use tautline_frame::Compression;

use crate::connect::{self, connection_field};
use crate::error::{BuildError, HandshakeError};
use crate::head::RequestHead;
use crate::headers::Headers;
use crate::negotiate::{Agreed, Offer};
use crate::upgrade;

/// A client's opening request that has passed every check: those of RFC 6455 section 4.2.1 if it
/// came over HTTP/1.1, those of RFC 8441 section 5 if it is an extended CONNECT over HTTP/2 or
/// HTTP/3. It borrows the request.
///
/// The `Origin` is not checked here, since the server chooses the rule for it: see
/// [`OriginPolicy`](crate::OriginPolicy).
///
/// ```
/// use tautline_handshake::ServerRequest;
///
/// let request = http::Request::get("/chat")
///     .header("host", "example.com")
///     .header("upgrade", "websocket")
///     .header("connection", "Upgrade")
///     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .header("sec-websocket-version", "13")
///     .header("sec-websocket-protocol", "chat, superchat")
///     .body(())?;
/// let request = ServerRequest::check(&request)?;
/// assert_eq!(request.offer().subprotocols(), ["chat", "superchat"]);
///
/// let (response, agreed) = request.accept(&["superchat", "chat"], None);
/// assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// assert_eq!(response.headers()["sec-websocket-protocol"], "superchat");
/// assert_eq!(agreed.subprotocol.as_deref(), Some("superchat"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServerRequest<'a> {
    authority: &'a str,
    way: Way,
    offer: Offer<'a>,
}

/// How the connection is opened.
#[derive(Clone)]
enum Way {
    Upgrade {
        /// The value of `Sec-WebSocket-Accept`.
        accept: HeaderValue,
    },
    Connect(Version),
}

impl<'a> ServerRequest<'a> {
    /// Checks a request. Which rules apply depends on its HTTP version.
    ///
    /// # Errors
    ///
    /// The [`HandshakeError`] of the first rule that the request breaks, in this order: version,
    /// method, target, `Host`, body, `Upgrade`, `Connection`, version and key of the protocol,
    /// subprotocols, extensions; over HTTP/2 method, `:protocol`, target, connection-specific
    /// headers, version of the protocol, body, subprotocols, extensions.
    pub fn check(request: impl Into<RequestHead<'a>>) -> Result<Self, HandshakeError> {
        let head = request.into();
        let (authority, way) = if head.version >= Version::HTTP_2 {
            let authority = connect::check(&head)?;
            head.check_no_body()?;
            (authority, Way::Connect(head.version))
        } else {
            let (authority, accept) = upgrade::check(&head)?;
            (authority, Way::Upgrade { accept })
        };
        Ok(Self { authority, way, offer: Offer::read(head.headers)? })
    }

    /// The host that the request is for, with its port if it has one: that of the target, or else
    /// `Host` (RFC 9112 section 3.2.2); over HTTP/2 `:authority`. The origin is compared with it.
    #[must_use]
    pub const fn authority(&self) -> &'a str {
        self.authority
    }

    /// What the client offers.
    #[must_use]
    pub const fn offer(&self) -> &Offer<'a> {
        &self.offer
    }

    /// Returns the response that accepts the request, and what is thereby agreed on: the first of
    /// the `subprotocols` that the client offers, and compression within these settings and the
    /// client's offers. To add headers, see [`respond`](Self::respond).
    #[must_use]
    pub fn accept<S: AsRef<str>>(
        &self,
        subprotocols: &[S],
        compression: Option<&Compression>,
    ) -> (Response<()>, Agreed) {
        self.response(self.offer.select_subprotocol(subprotocols), compression)
    }

    /// Returns a builder for the response that accepts the request.
    pub const fn respond(&self) -> ServerResponse<'_> {
        ServerResponse { request: self, extra: None, subprotocol: None, compression: None }
    }

    fn response(
        &self,
        subprotocol: Option<&str>,
        compression: Option<&Compression>,
    ) -> (Response<()>, Agreed) {
        let mut response = match &self.way {
            Way::Upgrade { accept } => upgrade::response(accept),
            Way::Connect(version) => connect::response(*version),
        };
        let agreed = self.offer.answer(subprotocol, compression, response.headers_mut());
        (response, agreed)
    }
}

/// Omits what is offered: some clients pass a token among the subprotocols.
impl fmt::Debug for ServerRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRequest")
            .field("authority", &self.authority)
            .field("offer", &self.offer)
            .finish_non_exhaustive()
    }
}

/// A builder for the response that accepts a request: a 101 (RFC 6455 section 4.2.2), or a 200 over
/// HTTP/2 (RFC 8441 section 5).
#[derive(Clone)]
#[must_use = "a response does nothing until it is built and sent"]
pub struct ServerResponse<'a> {
    request: &'a ServerRequest<'a>,
    extra: Option<Headers>,
    subprotocol: Option<String>,
    compression: Option<Compression>,
}

impl ServerResponse<'_> {
    /// Sets all headers of the application at once, replacing those set before. The handshake's own
    /// headers, and those that would announce a body, are refused by [`build`](Self::build).
    pub fn headers(mut self, headers: Headers) -> Self {
        self.extra = Some(headers);
        self
    }

    /// Chooses a subprotocol. It must be one that the client offered, in the same case.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Accepts `permessage-deflate` (RFC 7692) within these settings; clients that offer nothing
    /// acceptable are served uncompressed.
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Returns the response, and what is thereby agreed on.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] for a header that cannot be sent in this version of HTTP, and for a
    /// subprotocol that the client did not offer (RFC 6455 section 4.2.2, step 5).
    pub fn build(self) -> Result<(Response<()>, Agreed), BuildError> {
        let extra = self.extra.map(Headers::finish).transpose()?;
        if self.subprotocol.as_ref().is_some_and(|name| !self.request.offer.offers(name)) {
            return Err(BuildError::SubprotocolNotOffered);
        }
        if let (Way::Connect(_), Some(extra)) = (&self.request.way, &extra)
            && let Some(name) = connection_field(extra)
        {
            return Err(BuildError::ConnectionHeader(name.clone()));
        }
        let (mut response, agreed) =
            self.request.response(self.subprotocol.as_deref(), self.compression.as_ref());
        let headers = response.headers_mut();
        for (name, value) in extra.iter().flatten() {
            let added = headers.try_append(name, value.clone());
            added.map_err(|_| BuildError::TooManyHeaders(name.clone()))?;
        }
        Ok((response, agreed))
    }
}

/// Omits the values of headers, which may contain cookies.
impl fmt::Debug for ServerResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerResponse")
            .field("headers", &self.extra)
            .field("subprotocol", &self.subprotocol.is_some())
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}
