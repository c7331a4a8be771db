//! What a client can connect to.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Uri};
use tautline_handshake::{BuildError, WsUri};

use super::ConnectError;
use super::endpoint::Endpoint;

/// What [`Client::connect`](crate::Client::connect) and similar functions take: where to connect
/// to, and optionally headers.
///
/// - Text: `str`, `String`, `Box<str>`, `Arc<str>` and `Cow<str>`, by value or by reference. It is a
///   `ws` or `wss` URI, or on Unix `ws+unix:/path/of/socket:/path?query`: a Unix socket, and what to
///   request there. The path of the socket is absolute; write `%3A` for a colon in it, and `%3F` for
///   a question mark. Without the second path it is `/`. The host of the request is `localhost`.
/// - A URI: [`http::Uri`] or [`WsUri`], by value or by reference. It has the scheme `ws` or `wss`.
/// - With the feature `url`, a `Url` of the crate `url`, by value or by reference. A fragment is
///   refused, as everywhere.
/// - A request: [`http::Request<()>`](http::Request) with such a URI, the method GET, and headers.
///   For this connection, they replace the headers of the same name that are set on the
///   [`Client`](crate::Client). The handshake's own headers, such as `sec-websocket-key`, must not
///   be among them: set subprotocols with [`Client::subprotocols`](crate::Client::subprotocols).
///   The version and the extensions of the request are ignored.
///
/// This trait is sealed, so that it can be extended.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tautline::http::{Request, Uri};
///
/// let ws = tautline::connect("wss://example.com/feed").await?;
///
/// let uri: Uri = "wss://example.com/feed".parse()?;
/// let ws = tautline::connect(uri).await?;
///
/// let request = Request::get("wss://example.com/feed").header("authorization", "Bearer 3f2a");
/// let ws = tautline::connect(request.body(())?).await?;
/// # Ok(())
/// # }
/// ```
pub trait IntoRequest: Sealed {}

/// Where to connect to, and with which headers.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "the headers hold credentials")]
pub struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) headers: HeaderMap,
}

impl From<Endpoint> for Target {
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, headers: HeaderMap::new() }
    }
}

impl IntoRequest for Target {}

impl Sealed for Target {
    fn into_target(self) -> Result<Target, ConnectError> {
        Ok(self)
    }
}

/// The method of [`IntoRequest`], where others cannot name it.
pub trait Sealed {
    fn into_target(self) -> Result<Target, ConnectError>;
}

macro_rules! text {
    ($($text:ty),*) => {$(
        impl IntoRequest for $text {}

        impl Sealed for $text {
            fn into_target(self) -> Result<Target, ConnectError> {
                Ok(Endpoint::parse(self.as_ref())?.into())
            }
        }
    )*};
}

text!(&str, &&str, String, &String, Box<str>, &Box<str>, Arc<str>, &Arc<str>);
text!(Cow<'_, str>, &Cow<'_, str>);

macro_rules! uri {
    ($($uri:ty),*) => {$(
        impl IntoRequest for $uri {}

        impl Sealed for $uri {
            fn into_target(self) -> Result<Target, ConnectError> {
                Ok(Endpoint::from(WsUri::try_from(self)?).into())
            }
        }
    )*};
}

uri!(Uri, &Uri);

#[cfg(feature = "url")]
text!(url::Url, &url::Url);

impl IntoRequest for WsUri {}

impl Sealed for WsUri {
    fn into_target(self) -> Result<Target, ConnectError> {
        Ok(Endpoint::from(self).into())
    }
}

impl IntoRequest for &WsUri {}

impl Sealed for &WsUri {
    fn into_target(self) -> Result<Target, ConnectError> {
        self.clone().into_target()
    }
}

impl IntoRequest for Request<()> {}

impl Sealed for Request<()> {
    fn into_target(self) -> Result<Target, ConnectError> {
        let (parts, ()) = self.into_parts();
        if parts.method != Method::GET {
            return Err(BuildError::Method.into());
        }
        let endpoint = WsUri::try_from(parts.uri)?.into();
        Ok(Target { endpoint, headers: parts.headers })
    }
}

impl IntoRequest for &Request<()> {}

impl Sealed for &Request<()> {
    fn into_target(self) -> Result<Target, ConnectError> {
        self.clone().into_target()
    }
}
