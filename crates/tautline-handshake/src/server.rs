//! The server's side: the check of the request, and the response (RFC 6455 section 4.2).

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Uri, Version};

use crate::authority::Authority;
use crate::deflate::{DeflateConfig, DeflateParams, is_deflate};
use crate::error::{BuildError, HandshakeError};
use crate::extension::{Extension, parse_extensions};
use crate::extra::ExtraHeaders;
use crate::key::{accept_key, is_valid_key};
use crate::subprotocol;
use crate::token::{Lines, has_member, lines, trim_ows};

/// Whether a request asks to become a WebSocket: `Upgrade` lists `websocket` and `Connection` lists
/// `upgrade`. Anything else is plain HTTP, for another handler; what asks must still pass
/// [`ServerRequest::check`].
#[must_use]
pub fn is_upgrade_request<T>(request: &Request<T>) -> bool {
    has_member(request.headers(), &UPGRADE, "websocket")
        && has_member(request.headers(), &CONNECTION, "upgrade")
}

/// Checks target and `Host` of a request that is to be answered as plain HTTP (RFC 9112 section 3.2).
///
/// # Errors
/// What [`ServerRequest::check`] says of them. HTTP/1.0 has no need of a `Host`.
///
/// ```
/// use tautline_handshake::{HandshakeError, check_host};
///
/// let request = http::Request::get("/").body(())?;
/// assert_eq!(check_host(&request), Err(HandshakeError::MissingHost));
/// # Ok::<(), http::Error>(())
/// ```
pub fn check_host<T>(request: &Request<T>) -> Result<(), HandshakeError> {
    if request.version() < Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return Ok(());
    }
    check_target_and_host(request.uri(), request.headers())
}

/// A client's opening request that has passed every check of RFC 6455 section 4.2.1.
///
/// The `Origin` is not among them, as its rule is the server's to choose: see
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
/// let request = ServerRequest::check(request)?;
/// assert_eq!(request.subprotocols(), ["chat", "superchat"]);
///
/// let chosen = request.select_subprotocol(&["superchat", "chat"]).expect("both know two");
/// let response = request.respond().subprotocol(chosen).build()?;
/// assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// assert_eq!(response.headers()["sec-websocket-protocol"], "superchat");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerRequest {
    request: Request<()>,
    accept: String,
    subprotocols: Vec<String>,
    extensions: Vec<Extension>,
}

impl ServerRequest {
    /// Checks a request.
    ///
    /// # Errors
    ///
    /// The [`HandshakeError`] of the first rule that the request breaks, in the order in which a server
    /// reads: version, method, target, `Host`, body, `Upgrade`, `Connection`, version and key of the
    /// protocol, subprotocols, extensions.
    pub fn check(request: Request<()>) -> Result<Self, HandshakeError> {
        let headers = request.headers();
        if request.version() != Version::HTTP_11 {
            return Err(HandshakeError::HttpVersion);
        }
        if request.method() != Method::GET {
            return Err(HandshakeError::Method);
        }
        check_target_and_host(request.uri(), headers)?;
        check_no_body(headers)?;
        if !has_member(headers, &UPGRADE, "websocket") {
            return Err(HandshakeError::MissingUpgrade);
        }
        if !has_member(headers, &CONNECTION, "upgrade") {
            return Err(HandshakeError::MissingConnectionUpgrade);
        }
        match lines(headers, &SEC_WEBSOCKET_VERSION) {
            Lines::One(value) if trim_ows(value.as_bytes()) == b"13" => {}
            Lines::One(_) => return Err(HandshakeError::UnsupportedVersion),
            Lines::None => return Err(HandshakeError::MissingVersion),
            Lines::Several => return Err(HandshakeError::DuplicateVersion),
        }
        let key = match lines(headers, &SEC_WEBSOCKET_KEY) {
            Lines::One(value) => trim_ows(value.as_bytes()),
            Lines::None => return Err(HandshakeError::MissingKey),
            Lines::Several => return Err(HandshakeError::DuplicateKey),
        };
        if !is_valid_key(key) {
            return Err(HandshakeError::InvalidKey);
        }
        let accept = accept_key(key);
        let subprotocols = subprotocol::parse_offers(headers)?;
        let extensions = parse_extensions(headers)?;
        Ok(Self { request, accept, subprotocols, extensions })
    }

    /// The request as it came.
    #[must_use]
    pub const fn request(&self) -> &Request<()> {
        &self.request
    }

    /// The request, taken out.
    #[must_use]
    pub fn into_request(self) -> Request<()> {
        self.request
    }

    /// The offered subprotocols in the client's order of preference; empty when it offers none.
    #[must_use]
    pub fn subprotocols(&self) -> &[String] {
        &self.subprotocols
    }

    /// The first of `preferred` that the client offers: the server's order decides.
    #[must_use]
    pub fn select_subprotocol<'a, S: AsRef<str>>(&self, preferred: &'a [S]) -> Option<&'a str> {
        preferred.iter().map(AsRef::as_ref).find(|name| self.offers(name))
    }

    /// The offered extensions in the client's order of preference.
    #[must_use]
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// What `config` makes of the client's offers of `permessage-deflate`; `None` to go on without.
    #[must_use]
    pub fn negotiate_deflate(&self, config: &DeflateConfig) -> Option<DeflateParams> {
        config.accept(&self.extensions)
    }

    /// The `Origin`, which browsers always send and other clients seldom do.
    #[must_use]
    pub fn origin(&self) -> Option<&HeaderValue> {
        self.request.headers().get(http::header::ORIGIN)
    }

    /// The response that accepts the request.
    pub fn respond(&self) -> ServerResponse<'_> {
        ServerResponse {
            request: self,
            extra: ExtraHeaders::default(),
            subprotocol: None,
            deflate: None,
        }
    }

    fn offers(&self, subprotocol: &str) -> bool {
        self.subprotocols.iter().any(|offered| offered == subprotocol)
    }
}

/// `Host` once and well-formed (RFC 9112 section 3.2); a target in absolute form, which a server must
/// take (section 3.2.2), names the same authority, as two names for one request are how requests are
/// smuggled past proxies.
fn check_target_and_host(target: &Uri, headers: &HeaderMap) -> Result<(), HandshakeError> {
    if !target.path().starts_with('/') {
        return Err(HandshakeError::Target);
    }
    let host = match lines(headers, &HOST) {
        Lines::One(value) => value,
        Lines::None => return Err(HandshakeError::MissingHost),
        Lines::Several => return Err(HandshakeError::DuplicateHost),
    };
    let host = host.to_str().map(str::trim).map_err(|_| HandshakeError::InvalidHost)?;
    if !Authority::is_valid(host) {
        return Err(HandshakeError::InvalidHost);
    }
    let default = match target.scheme_str() {
        None => return Ok(()),
        Some("http" | "ws") => 80,
        Some("https" | "wss") => 443,
        Some(_) => return Err(HandshakeError::Target),
    };
    let named = target.authority().and_then(|named| Authority::parse(named.as_str()).ok());
    let named = named.ok_or(HandshakeError::Target)?;
    let host = Authority::parse(host).map_err(|_| HandshakeError::InvalidHost)?;
    let same =
        named.host == host.host && named.port.unwrap_or(default) == host.port.unwrap_or(default);
    if same { Ok(()) } else { Err(HandshakeError::InvalidHost) }
}

/// No body, and no wish for `100 Continue`: what follows the head are frames.
fn check_no_body(headers: &HeaderMap) -> Result<(), HandshakeError> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(HandshakeError::TransferEncoding);
    }
    match lines(headers, &CONTENT_LENGTH) {
        Lines::None => {}
        Lines::One(value) if trim_ows(value.as_bytes()) == b"0" => {}
        Lines::One(_) | Lines::Several => return Err(HandshakeError::ContentLength),
    }
    if headers.contains_key(EXPECT) {
        return Err(HandshakeError::Expect);
    }
    Ok(())
}

/// The `101 Switching Protocols` in the making (RFC 6455 section 4.2.2).
#[derive(Clone, Debug)]
#[must_use = "a response does nothing until it is built and sent"]
pub struct ServerResponse<'a> {
    request: &'a ServerRequest,
    extra: ExtraHeaders,
    subprotocol: Option<String>,
    deflate: Option<DeflateParams>,
}

impl ServerResponse<'_> {
    /// Adds a header, such as `Set-Cookie`. The handshake's own headers, and those that would announce a
    /// body, are refused by [`build`](Self::build).
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.extra.add(name, value);
        self
    }

    /// Chooses a subprotocol: one that the client offered, in its case.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Accepts `permessage-deflate` with what [`ServerRequest::negotiate_deflate`] returned.
    pub const fn deflate(mut self, params: DeflateParams) -> Self {
        self.deflate = Some(params);
        self
    }

    /// The response.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] for a header that cannot be sent, and for a subprotocol or extension that the
    /// client did not offer (RFC 6455 section 4.2.2, step 5).
    pub fn build(self) -> Result<Response<()>, BuildError> {
        let extra = self.extra.finish()?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.version_mut() = Version::HTTP_11;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, text(&self.request.accept)?);
        if let Some(name) = &self.subprotocol {
            if !self.request.offers(name) {
                return Err(BuildError::SubprotocolNotOffered);
            }
            headers.insert(SEC_WEBSOCKET_PROTOCOL, text(name)?);
        }
        if let Some(params) = &self.deflate {
            if !self.request.extensions.iter().any(is_deflate) {
                return Err(BuildError::DeflateNotOffered);
            }
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, text(&params.to_extension().to_string())?);
        }
        for (name, value) in &extra {
            headers.append(name, value.clone());
        }
        Ok(response)
    }
}

fn text(value: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_str(value).map_err(|_| BuildError::HeaderValue)
}
