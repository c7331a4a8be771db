//! The client's side: the request, and the check of the response (RFC 6455 section 4.1).

use std::fmt;

use http::header::{
    AUTHORIZATION, CONNECTION, Entry, HOST, HeaderMap, HeaderName, HeaderValue,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};

use crate::authority::Authority;
use crate::deflate::{DeflateConfig, DeflateError, DeflateParams, is_deflate};
use crate::error::BuildError;
use crate::extension::{ExtensionError, parse_extensions};
use crate::extra::ExtraHeaders;
use crate::key::{accept_key, generate_key};
use crate::subprotocol;
use crate::token::{Lines, has_member, lines, members, trim_ows};
use crate::uri::WsUri;

/// A client's opening request in the making (RFC 6455 section 4.1).
///
/// ```
/// use tautline_handshake::{ClientRequest, WsUri};
///
/// let uri = WsUri::parse("ws://example.com/chat")?;
/// let (request, _expectation) = ClientRequest::new(&uri)
///     .header("origin", "http://example.com")
///     .subprotocols(["chat.v2", "chat.v1"])
///     .build()?;
/// assert_eq!(request.uri(), "/chat");
/// assert_eq!(request.headers()["sec-websocket-protocol"], "chat.v2, chat.v1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientRequest {
    uri: WsUri,
    extra: ExtraHeaders,
    subprotocols: Vec<String>,
    subprotocol_required: bool,
    deflate: Option<DeflateConfig>,
}

impl ClientRequest {
    /// A request for `uri` with nothing optional in it.
    #[must_use]
    pub fn new(uri: &WsUri) -> Self {
        Self {
            uri: uri.clone(),
            extra: ExtraHeaders::default(),
            subprotocols: Vec::new(),
            subprotocol_required: true,
            deflate: None,
        }
    }

    /// Adds a header. `Host` replaces the URI's; `Authorization` replaces the URI's credentials; the
    /// handshake's own headers, and those that would announce a body, are refused by
    /// [`build`](Self::build).
    #[must_use]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.extra.add(name, value);
        self
    }

    /// Adds subprotocols to the offer, in order of preference: tokens, none of them twice
    /// (RFC 6455 section 4.1, requirement 10).
    #[must_use]
    pub fn subprotocols<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.subprotocols.extend(names.into_iter().map(Into::into));
        self
    }

    /// Whether a server that chooses none of the offered subprotocols is refused, as browsers do.
    /// Default: yes. RFC 6455 leaves it to the client (section 4.2.2, step 5.5: `/subprotocol/` null).
    #[must_use]
    pub const fn subprotocol_required(mut self, yes: bool) -> Self {
        self.subprotocol_required = yes;
        self
    }

    /// Offers `permessage-deflate` (RFC 7692). Default: no extension is offered.
    #[must_use]
    pub const fn deflate(mut self, config: DeflateConfig) -> Self {
        self.deflate = Some(config);
        self
    }

    /// The request, with a fresh key, and what the response must hold. The request's URI is the
    /// path and query; where to connect is the [`WsUri`]'s to tell.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the first header or subprotocol that cannot be sent.
    pub fn build(self) -> Result<(Request<()>, Expectation), BuildError> {
        let subprotocols = subprotocol::check_all(self.subprotocols.iter().map(String::as_bytes))?;
        let extra = self.extra.finish()?;
        let key = generate_key().map_err(|_| BuildError::Random)?;

        let mut headers = HeaderMap::with_capacity(8 + extra.len());
        headers.insert(HOST, host(&extra, &self.uri)?);
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_KEY, text(&key)?);
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if !subprotocols.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, text(&subprotocols.join(", "))?);
        }
        if let Some(config) = &self.deflate {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, text(&config.offer().to_string())?);
        }
        for (name, value) in extra.iter().filter(|(name, _)| *name != HOST) {
            headers.append(name, value.clone());
        }
        if let (Some(value), Entry::Vacant(entry)) =
            (self.uri.authorization(), headers.entry(AUTHORIZATION))
        {
            entry.insert(value.clone());
        }

        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = self.uri.request_target();
        *request.headers_mut() = headers;
        let expectation = Expectation {
            accept: accept_key(key.as_bytes()),
            subprotocols,
            subprotocol_required: self.subprotocol_required,
            deflate: self.deflate,
        };
        Ok((request, expectation))
    }
}

fn host(extra: &HeaderMap, uri: &WsUri) -> Result<HeaderValue, BuildError> {
    match lines(extra, &HOST) {
        Lines::None => text(&uri.authority_for_host_header()),
        Lines::Several => Err(BuildError::Host),
        Lines::One(value) => {
            let valid = value.to_str().is_ok_and(Authority::is_valid);
            if valid { Ok(value.clone()) } else { Err(BuildError::Host) }
        }
    }
}

fn text(value: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_str(value).map_err(|_| BuildError::HeaderValue)
}

/// What the response to a [`ClientRequest`] must hold.
#[derive(Clone, Debug)]
pub struct Expectation {
    accept: String,
    subprotocols: Vec<String>,
    subprotocol_required: bool,
    deflate: Option<DeflateConfig>,
}

/// What client and server agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The subprotocol that the server chose among the offered ones.
    pub subprotocol: Option<String>,
    /// The parameters of `permessage-deflate`, if the server accepted the offer.
    pub deflate: Option<DeflateParams>,
}

impl Expectation {
    /// Checks the server's response (RFC 6455 section 4.1, the list under "Once the client's opening
    /// handshake has been sent"). Only after `Ok` may the client send frames.
    ///
    /// # Errors
    ///
    /// A [`ResponseError`]; the client must then end the connection. After
    /// [`ResponseError::Status`] the response is an ordinary HTTP response with headers and a body.
    pub fn check<T>(&self, response: &Response<T>) -> Result<Accepted, ResponseError> {
        let headers = response.headers();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ResponseError::Status(response.status()));
        }
        if response.version() != Version::HTTP_11 {
            return Err(ResponseError::HttpVersion);
        }
        let mut upgrades = members(headers, &UPGRADE).filter(|member| !member.is_empty());
        let websocket = |member: &[u8]| member.eq_ignore_ascii_case(b"websocket");
        if !upgrades.next().is_some_and(websocket) || upgrades.next().is_some() {
            return Err(ResponseError::Upgrade);
        }
        if !has_member(headers, &CONNECTION, "upgrade") {
            return Err(ResponseError::Connection);
        }
        match lines(headers, &SEC_WEBSOCKET_ACCEPT) {
            Lines::None => return Err(ResponseError::MissingAccept),
            Lines::Several => return Err(ResponseError::DuplicateAccept),
            Lines::One(value) if trim_ows(value.as_bytes()) != self.accept.as_bytes() => {
                return Err(ResponseError::WrongAccept);
            }
            Lines::One(_) => {}
        }
        Ok(Accepted {
            deflate: self.check_extensions(headers)?,
            subprotocol: self.check_subprotocol(headers)?,
        })
    }

    fn check_subprotocol(&self, headers: &HeaderMap) -> Result<Option<String>, ResponseError> {
        match lines(headers, &SEC_WEBSOCKET_PROTOCOL) {
            Lines::None if self.subprotocols.is_empty() || !self.subprotocol_required => Ok(None),
            Lines::None => Err(ResponseError::MissingSubprotocol),
            Lines::Several => Err(ResponseError::DuplicateSubprotocol),
            Lines::One(value) => {
                let chosen = trim_ows(value.as_bytes());
                let offered = self.subprotocols.iter().find(|name| name.as_bytes() == chosen);
                offered.cloned().map(Some).ok_or(ResponseError::SubprotocolNotOffered)
            }
        }
    }

    fn check_extensions(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<DeflateParams>, ResponseError> {
        let mut accepted = None;
        for extension in parse_extensions(headers).map_err(ResponseError::Extensions)? {
            let config = self.deflate.as_ref().filter(|_| is_deflate(&extension));
            let config = config.ok_or(ResponseError::ExtensionNotOffered)?;
            if accepted.is_some() {
                return Err(ResponseError::DuplicateExtension);
            }
            accepted = Some(config.check_answer(&extension).map_err(ResponseError::Deflate)?);
        }
        Ok(accepted)
    }
}

/// Why a client cannot go on with a server's response (RFC 6455 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseError {
    /// A status other than 101: a refusal, a redirection, a demand for credentials.
    Status(StatusCode),
    /// The response is not HTTP/1.1.
    HttpVersion,
    /// `Upgrade` is not `websocket` and nothing else.
    Upgrade,
    /// `Connection` does not list `upgrade`.
    Connection,
    /// No `Sec-WebSocket-Accept`: whatever answered does not speak WebSocket.
    MissingAccept,
    /// `Sec-WebSocket-Accept` stands twice.
    DuplicateAccept,
    /// `Sec-WebSocket-Accept` does not answer our key.
    WrongAccept,
    /// Subprotocols were offered and none was chosen; see [`ClientRequest::subprotocol_required`].
    MissingSubprotocol,
    /// `Sec-WebSocket-Protocol` stands twice.
    DuplicateSubprotocol,
    /// The chosen subprotocol was not offered.
    SubprotocolNotOffered,
    /// `Sec-WebSocket-Extensions` breaks its grammar.
    Extensions(ExtensionError),
    /// An extension was not offered.
    ExtensionNotOffered,
    /// `permessage-deflate` was accepted twice.
    DuplicateExtension,
    /// The answer about `permessage-deflate` is not one that the offer allows.
    Deflate(DeflateError),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => {
                return write!(f, "the server answered {status} instead of switching protocols");
            }
            Self::Extensions(error) => return error.fmt(f),
            Self::Deflate(error) => return error.fmt(f),
            Self::HttpVersion => "the server's response is not HTTP/1.1",
            Self::Upgrade => "the server's Upgrade is not websocket",
            Self::Connection => "the server's Connection does not list Upgrade",
            Self::MissingAccept => "the server sent no Sec-WebSocket-Accept",
            Self::DuplicateAccept => "the server sent Sec-WebSocket-Accept twice",
            Self::WrongAccept => "the server's Sec-WebSocket-Accept does not answer our key",
            Self::MissingSubprotocol => "the server chose none of the offered subprotocols",
            Self::DuplicateSubprotocol => "the server sent Sec-WebSocket-Protocol twice",
            Self::SubprotocolNotOffered => "the server chose a subprotocol that was not offered",
            Self::ExtensionNotOffered => "the server chose an extension that was not offered",
            Self::DuplicateExtension => "the server accepted permessage-deflate twice",
        })
    }
}

impl std::error::Error for ResponseError {}
