//! The client's side: the request, and the check of the response (RFC 6455 section 4.1, RFC 8441
//! section 5).

use std::fmt;

#[cfg(feature = "http1")]
use bytes::{BufMut as _, BytesMut};
use http::header::{AUTHORIZATION, Entry, HOST, HeaderMap, HeaderValue};
#[cfg(feature = "http1")]
use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use http::uri::{Scheme, Uri};
use http::{Method, Request, Response, Version};
use tautline_frame::Compression;

use crate::authority::Authority;
use crate::connect::{self, connection_field};
use crate::error::BuildError;
use crate::head::ConnectProtocol;
use crate::headers::Headers;
#[cfg(feature = "http1")]
use crate::http1::{put_header, put_headers};
use crate::key::ACCEPT_LEN;
use crate::negotiate::{Agreed, Proposal, text};
use crate::response::ResponseError;
use crate::token::{Lines, lines};
use crate::upgrade;
use crate::uri::WsUri;

/// A builder for a client's opening request: for HTTP/1.1 ([`build`](Self::build), or
/// `encode` with the feature `http1`), or for HTTP/2 and HTTP/3
/// ([`build_connect`](Self::build_connect)).
///
/// ```
/// use tautline_handshake::{ClientRequest, Headers, WsUri};
///
/// let uri = WsUri::parse("ws://example.com/chat")?;
/// let (request, _expectation) = ClientRequest::new(&uri)
///     .headers(Headers::from_iter([("origin", "http://example.com")]))
///     .subprotocols(["chat.v2", "chat.v1"])
///     .build()?;
/// assert_eq!(request.uri(), "/chat");
/// assert_eq!(request.headers()["sec-websocket-protocol"], "chat.v2, chat.v1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ClientRequest<'a> {
    uri: &'a WsUri,
    extra: Headers,
    proposal: Proposal,
}

impl<'a> ClientRequest<'a> {
    /// A request for `uri` without any optional headers.
    #[must_use]
    pub fn new(uri: &'a WsUri) -> Self {
        let proposal =
            Proposal { subprotocols: Vec::new(), subprotocol_required: true, compression: None };
        Self { uri, extra: Headers::new(), proposal }
    }

    /// Sets all headers of the application at once, replacing those set before. `Host` replaces the
    /// URI's; `Authorization` replaces the URI's credentials. The handshake's own headers, and
    /// those that would announce a body, are refused by [`build`](Self::build).
    #[must_use]
    pub fn headers(mut self, headers: Headers) -> Self {
        self.extra = headers;
        self
    }

    /// The subprotocols to offer, in order of preference, replacing those set before. They must be
    /// tokens without duplicates (RFC 6455 section 4.1, requirement 10).
    #[must_use]
    pub fn subprotocols<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.proposal.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a server that chooses none of the offered subprotocols is refused, as browsers do.
    /// Default: yes. RFC 6455 leaves it to the client (section 4.2.2, step 5.5: `/subprotocol/`
    /// null).
    #[must_use]
    pub const fn subprotocol_required(mut self, yes: bool) -> Self {
        self.proposal.subprotocol_required = yes;
        self
    }

    /// Offers `permessage-deflate` (RFC 7692) with these settings. Default: no extension is
    /// offered.
    #[must_use]
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.proposal.compression = Some(compression);
        self
    }

    /// Returns the HTTP/1.1 request, with a fresh key, and what the response must contain. The
    /// request's URI is the path and query; the [`WsUri`] says where to connect.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the first header or subprotocol that cannot be sent.
    pub fn build(self) -> Result<(Request<()>, Expectation), BuildError> {
        let extra = self.extra.finish()?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, host(&extra, self.uri)?);
        let accept = upgrade::ask(&mut headers)?;
        self.proposal.offer(&mut headers)?;
        add(&mut headers, &extra, self.uri)?;

        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = self.uri.request_target();
        *request.headers_mut() = headers;
        Ok((request, Expectation { way: Way::Upgrade { accept }, proposal: self.proposal }))
    }

    /// Appends the HTTP/1.1 request to `dst`, with a fresh key, and returns what the response must
    /// contain. The bytes are those that [`encode_request`](crate::encode_request) makes of what
    /// [`build`](Self::build) returns, but no map of headers is made for them.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use tautline_handshake::{ClientRequest, WsUri};
    ///
    /// let uri = WsUri::parse("ws://example.com/chat")?;
    /// let mut head = BytesMut::new();
    /// let _expectation = ClientRequest::new(&uri).encode(&mut head)?;
    /// assert!(head.starts_with(b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), with nothing appended.
    #[cfg(feature = "http1")]
    pub fn encode(self, dst: &mut BytesMut) -> Result<Expectation, BuildError> {
        let extra = self.extra.finish()?;
        let own_host = own_host(&extra)?;
        let (subprotocols, extensions) = self.proposal.fields()?;
        let (key, accept) = upgrade::fresh_key()?;

        dst.put_slice(b"GET ");
        dst.put_slice(self.uri.path_and_query().as_bytes());
        dst.put_slice(b" HTTP/1.1\r\nHost: ");
        match own_host {
            Some(value) => dst.put_slice(value.as_bytes()),
            None => self.uri.put_authority(dst),
        }
        dst.put_slice(b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
        dst.put_slice(&key);
        dst.put_slice(b"\r\nSec-WebSocket-Version: 13\r\n");
        if let Some(names) = subprotocols {
            put_header(&SEC_WEBSOCKET_PROTOCOL, names.as_bytes(), dst);
        }
        if let Some(offer) = extensions {
            put_header(&SEC_WEBSOCKET_EXTENSIONS, offer.as_bytes(), dst);
        }
        put_headers(&extra, |name| *name != HOST, dst);
        if let Some(value) = self.uri.authorization()
            && !extra.contains_key(AUTHORIZATION)
        {
            put_header(&AUTHORIZATION, value.as_bytes(), dst);
        }
        dst.put_slice(b"\r\n");
        Ok(Expectation { way: Way::Upgrade { accept }, proposal: self.proposal })
    }

    /// Returns the HTTP/2 or HTTP/3 request, an extended CONNECT (RFC 8441 section 5, RFC 9220),
    /// and what the response must contain. It may be sent only to a server that has sent
    /// `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 8441 section 3), and its stream stays open.
    ///
    /// The request's URI has `:scheme`, which is `https` for `wss` and `http` for `ws`,
    /// `:authority` and `:path`; among its extensions is `:protocol`, a [`ConnectProtocol`]. A
    /// `Host` that was set becomes the `:authority`. The version is HTTP/2; for HTTP/3 the caller
    /// changes it.
    ///
    /// ```
    /// use tautline_handshake::{ClientRequest, ConnectProtocol, WsUri};
    ///
    /// let uri = WsUri::parse("wss://example.com/chat")?;
    /// let (request, _expectation) = ClientRequest::new(&uri).build_connect()?;
    /// assert_eq!(request.method(), http::Method::CONNECT);
    /// assert_eq!(request.uri(), "https://example.com/chat");
    /// assert_eq!(request.extensions().get(), Some(&ConnectProtocol::WEBSOCKET));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the first header or subprotocol that cannot be sent.
    pub fn build_connect(self) -> Result<(Request<()>, Expectation), BuildError> {
        let extra = self.extra.finish()?;
        if let Some(name) = connection_field(&extra) {
            return Err(BuildError::ConnectionHeader(name.clone()));
        }
        let mut headers = HeaderMap::with_capacity(8);
        connect::ask(&mut headers);
        self.proposal.offer(&mut headers)?;
        add(&mut headers, &extra, self.uri)?;

        let uri = Uri::builder()
            .scheme(if self.uri.is_secure() { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(host(&extra, self.uri)?.as_bytes())
            .path_and_query(self.uri.path_and_query())
            .build()
            .map_err(|_| BuildError::Host)?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request.extensions_mut().insert(ConnectProtocol::WEBSOCKET);
        Ok((request, Expectation { way: Way::Connect, proposal: self.proposal }))
    }
}

/// Adds the application's headers except `Host`, and the URI's credentials unless others were set.
fn add(headers: &mut HeaderMap, extra: &HeaderMap, uri: &WsUri) -> Result<(), BuildError> {
    for (name, value) in extra.iter().filter(|(name, _)| *name != HOST) {
        let added = headers.try_append(name, value.clone());
        added.map_err(|_| BuildError::TooManyHeaders(name.clone()))?;
    }
    if let (Some(value), Entry::Vacant(entry)) = (uri.authorization(), headers.entry(AUTHORIZATION))
    {
        entry.insert(value.clone());
    }
    Ok(())
}

fn host(extra: &HeaderMap, uri: &WsUri) -> Result<HeaderValue, BuildError> {
    match own_host(extra)? {
        None => text(HOST, uri.authority_for_host_header()),
        Some(value) => Ok(value.clone()),
    }
}

/// The `Host` that the application has set.
fn own_host(extra: &HeaderMap) -> Result<Option<&HeaderValue>, BuildError> {
    match lines(extra, &HOST) {
        Lines::None => Ok(None),
        Lines::Several => Err(BuildError::Host),
        Lines::One(value) => {
            let valid = value.to_str().is_ok_and(Authority::is_valid);
            if valid { Ok(Some(value)) } else { Err(BuildError::Host) }
        }
    }
}

/// Omits the values of headers, the query and the subprotocols, which may contain credentials.
impl fmt::Debug for ClientRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest")
            .field("uri", &self.uri)
            .field("headers", &self.extra)
            .field("proposal", &self.proposal)
            .finish()
    }
}

/// What the response to a [`ClientRequest`] must contain.
#[derive(Clone)]
pub struct Expectation {
    way: Way,
    proposal: Proposal,
}

/// How the connection is opened.
#[derive(Clone)]
enum Way {
    Upgrade {
        /// The value of `Sec-WebSocket-Accept`.
        accept: [u8; ACCEPT_LEN],
    },
    Connect,
}

impl Expectation {
    /// Checks that the server's response opens the connection and chooses only what was offered.
    /// Only after `Ok` may the client send frames.
    ///
    /// # Errors
    ///
    /// A [`ResponseError`]; the client must then end the connection. After
    /// [`ResponseError::Status`] the response is an ordinary HTTP response with headers and a body.
    pub fn check<T>(&self, response: &Response<T>) -> Result<Agreed, ResponseError> {
        match &self.way {
            Way::Upgrade { accept } => upgrade::check_response(response, accept)?,
            Way::Connect => connect::check_response(response)?,
        }
        self.proposal.check(response.headers())
    }
}

impl fmt::Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expectation").field("proposal", &self.proposal).finish_non_exhaustive()
    }
}
