//! What a client can connect to.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Uri};
use tautline_handshake::{BuildError, WsUri};

use super::ConnectError;

/// What [`Client::connect`](crate::Client::connect) and similar functions take: where to connect
/// to, and optionally headers.
///
/// - Text: `str`, `String`, `Box<str>`, `Arc<str>` and `Cow<str>`, by value or by reference.
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
#[expect(missing_debug_implementations, reason = "the headers hold credentials")]
pub struct Target {
    pub(super) uri: WsUri,
    pub(super) headers: HeaderMap,
}

impl From<WsUri> for Target {
    fn from(uri: WsUri) -> Self {
        Self { uri, headers: HeaderMap::new() }
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
                Ok(WsUri::parse(self.as_ref())?.into())
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
                Ok(WsUri::try_from(self)?.into())
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
        Ok(self.into())
    }
}

impl IntoRequest for &WsUri {}

impl Sealed for &WsUri {
    fn into_target(self) -> Result<Target, ConnectError> {
        Ok(self.clone().into())
    }
}

impl IntoRequest for Request<()> {}

impl Sealed for Request<()> {
    fn into_target(self) -> Result<Target, ConnectError> {
        let (parts, ()) = self.into_parts();
        if parts.method != Method::GET {
            return Err(BuildError::Method.into());
        }
        Ok(Target { uri: WsUri::try_from(parts.uri)?, headers: parts.headers })
    }
}

impl IntoRequest for &Request<()> {}

impl Sealed for &Request<()> {
    fn into_target(self) -> Result<Target, ConnectError> {
        self.clone().into_target()
    }
}
