//! The head of a request, borrowed from its owner.

use std::borrow::Cow;
use std::fmt;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, TRANSFER_ENCODING};
use http::{Method, Request, Uri, Version, request};

use crate::authority::Authority;
use crate::error::HandshakeError;
use crate::token::{Lines, lines, trim_ows};

/// The `:protocol` of an extended CONNECT (RFC 8441 section 4), for which the `http` crate has no
/// field.
///
/// It is one of the [extensions](http::Extensions) of a request: [`ClientRequest::build_connect`]
/// puts it there, and [`RequestHead`] looks for it there. HTTP/2 crates have their own types for
/// it; a server passes their value on with [`RequestHead::with_protocol`].
///
/// [`ClientRequest::build_connect`]: crate::ClientRequest::build_connect
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectProtocol(Cow<'static, str>);

impl ConnectProtocol {
    /// WebSocket (RFC 8441 section 5).
    pub const WEBSOCKET: Self = Self(Cow::Borrowed("websocket"));

    /// A protocol of this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The host that a client asked for, with its port if there is one, as a trusted proxy tells it
/// (`host` of RFC 7239 section 5.3, `X-Forwarded-Host`).
///
/// It is one of the [extensions](http::Extensions) of a request. [`OriginPolicy::SameOrigin`]
/// compares with it in place of `Host`, which is the one that the proxy asked for.
///
/// ```
/// use tautline_handshake::ForwardedHost;
///
/// assert_eq!(ForwardedHost::new("app.example:8443").unwrap().as_str(), "app.example:8443");
/// assert!(ForwardedHost::new("app.example/path").is_none());
/// ```
///
/// [`OriginPolicy::SameOrigin`]: crate::OriginPolicy::SameOrigin
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForwardedHost(String);

impl ForwardedHost {
    /// This host; `None` if it is not `host` or `host:port` (RFC 3986 section 3.2).
    #[must_use]
    pub fn new(host: impl Into<String>) -> Option<Self> {
        Some(host.into()).filter(|host| Authority::is_valid(host)).map(Self)
    }

    /// The host as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The head of a request of any HTTP version, by reference.
///
/// It is made from a `&http::Request<T>` or from `&http::request::Parts`, so that the framework
/// keeps its request.
///
/// ```
/// use tautline_handshake::{RequestHead, is_upgrade_request};
///
/// let request = http::Request::get("/").header("host", "example.com").body("any body")?;
/// assert_eq!(RequestHead::from(&request).authority()?, Some("example.com"));
/// let (parts, _body) = request.into_parts();
/// assert!(!is_upgrade_request(&parts));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
    /// The `:protocol` of an extended CONNECT.
    pub(crate) protocol: Option<&'a str>,
    forwarded_host: Option<&'a str>,
}

impl<'a, T> From<&'a Request<T>> for RequestHead<'a> {
    fn from(request: &'a Request<T>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            protocol: request.extensions().get().map(ConnectProtocol::as_str),
            forwarded_host: request.extensions().get().map(ForwardedHost::as_str),
        }
    }
}

impl<'a> From<&'a request::Parts> for RequestHead<'a> {
    fn from(parts: &'a request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            protocol: parts.extensions.get().map(ConnectProtocol::as_str),
            forwarded_host: parts.extensions.get().map(ForwardedHost::as_str),
        }
    }
}

impl<'a> RequestHead<'a> {
    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The [`ForwardedHost`] among the extensions of the request.
    #[must_use]
    pub const fn forwarded_host(&self) -> Option<&'a str> {
        self.forwarded_host
    }

    /// The head with this `:protocol`, in place of a [`ConnectProtocol`] among the request's
    /// extensions. For a request that came over HTTP/2, pass what the HTTP/2 crate received:
    /// `parts.extensions.get::<hyper::ext::Protocol>()`, for instance.
    ///
    /// ```
    /// use tautline_handshake::{RequestHead, ServerRequest};
    ///
    /// let request = http::Request::connect("https://example.com/chat")
    ///     .version(http::Version::HTTP_2)
    ///     .header("sec-websocket-version", "13")
    ///     .body(())?;
    /// let head = RequestHead::from(&request).with_protocol(Some("websocket"));
    /// let (response, _agreed) = ServerRequest::check(head)?.accept::<&str>(&[], None);
    /// assert_eq!(response.status(), 200);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn with_protocol(mut self, protocol: Option<&'a str>) -> Self {
        self.protocol = protocol;
        self
    }

    /// The host that an HTTP/1 request is for, with its port if it has one (RFC 9112 section 3.2).
    /// There must be exactly one well-formed `Host`; a target in absolute form, which a server must
    /// accept, takes precedence over it (section 3.2.2). HTTP/1.0 requires neither: `None`.
    ///
    /// # Errors
    /// [`HandshakeError::MissingHost`], [`DuplicateHost`](HandshakeError::DuplicateHost) or
    /// [`InvalidHost`](HandshakeError::InvalidHost); [`HandshakeError::Target`] for a target that
    /// is neither a path nor such a URI.
    pub fn authority(&self) -> Result<Option<&'a str>, HandshakeError> {
        if self.version < Version::HTTP_11 && !self.headers.contains_key(HOST) {
            return Ok(None);
        }
        if !self.uri.path().starts_with('/') {
            return Err(HandshakeError::Target);
        }
        let host = match lines(self.headers, &HOST) {
            Lines::One(value) => value,
            Lines::None => return Err(HandshakeError::MissingHost),
            Lines::Several => return Err(HandshakeError::DuplicateHost),
        };
        let host = host.to_str().map(str::trim).map_err(|_| HandshakeError::InvalidHost)?;
        if !Authority::is_valid(host) {
            return Err(HandshakeError::InvalidHost);
        }
        match self.uri.scheme_str() {
            None => return Ok(Some(host)),
            Some("http" | "ws" | "https" | "wss") => {}
            Some(_) => return Err(HandshakeError::Target),
        }
        // RFC 9110 section 4.2.4: userinfo in it is an error.
        let named = self.uri.authority().map(http::uri::Authority::as_str);
        let named = named.filter(|named| Authority::is_valid(named));
        named.map(Some).ok_or(HandshakeError::Target)
    }

    /// No body, and no `Expect: 100-continue`: what follows the head is frames.
    pub(crate) fn check_no_body(&self) -> Result<(), HandshakeError> {
        if self.headers.contains_key(TRANSFER_ENCODING) {
            return Err(HandshakeError::TransferEncoding);
        }
        match lines(self.headers, &CONTENT_LENGTH) {
            Lines::None => {}
            Lines::One(value) if trim_ows(value.as_bytes()) == b"0" => {}
            Lines::One(_) | Lines::Several => return Err(HandshakeError::ContentLength),
        }
        if self.headers.contains_key(EXPECT) {
            return Err(HandshakeError::Expect);
        }
        Ok(())
    }
}

/// Omits the values of headers and the query, which may contain credentials.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("path", &self.uri.path())
            .field("version", &self.version)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}
