//! Why no connection was opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Response, StatusCode};
use tautline_handshake::{BuildError, HeadError, ResponseError, UriError};

use super::dial_error::DialError;
use super::proxy::{InvalidProxy, ProxyError};
use super::redirect::RedirectError;
use super::timing::ConnectStage;
use crate::error::BoxError;
use crate::handshake_io::ReadHeadError;
#[cfg(feature = "tls")]
use crate::transport::TlsError;

/// Why no connection was opened.
#[non_exhaustive]
pub enum ConnectError {
    /// Not a valid `ws:` or `wss:` URI.
    Uri(UriError),
    /// A header or subprotocol that cannot be sent.
    Request(BuildError),
    /// The host's name was not resolved. Try again later.
    #[non_exhaustive]
    Resolve {
        /// The host of the URI.
        host: String,
        /// The error of the system.
        error: io::Error,
    },
    /// Connecting failed for every address of the host. Try again later.
    #[non_exhaustive]
    Tcp {
        /// The host of the URI; an IPv6 address is without brackets.
        host: String,
        /// The port of the URI.
        port: u16,
        /// Every address that was tried, and why it failed.
        error: DialError,
    },
    /// A Unix socket cannot be connected to. Try again later.
    #[non_exhaustive]
    UnixSocket {
        /// The path in the `ws+unix:` URI.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The function given to [`Client::connector`](crate::Client::connector) returned an error. Try
    /// again later.
    Connector(io::Error),
    /// There is no tunnel through the proxy.
    #[non_exhaustive]
    Proxy {
        /// The scheme, the host and the port of the proxy.
        proxy: String,
        /// Why.
        error: ProxyError,
    },
    /// A variable of the environment that is for this URI does not name a proxy. Correct it, or see
    /// [`Client::no_proxy`](crate::Client::no_proxy).
    ProxySettings(InvalidProxy),
    /// TLS could not be set up, for instance because the certificate is not trusted. Nothing was
    /// sent in plain text.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// The URI asks for TLS, but the crate was built without the feature `tls`.
    NoTls,
    /// The server has no WebSocket over HTTP/2, and [`Http2::Prior`](crate::Http2::Prior) asked for
    /// nothing else: it did not select HTTP/2 (ALPN), or does not allow extended CONNECT (RFC 8441
    /// section 3).
    #[cfg(feature = "http2")]
    NoHttp2,
    /// There is no tokio runtime, or its time driver is off (`enable_time`). Nothing was sent.
    Runtime(io::Error),
    /// Opening took longer than [`Client::connect_timeout`](crate::Client::connect_timeout), or a
    /// stage of it longer than its own deadline
    /// ([`Client::stage_timeout`](crate::Client::stage_timeout)). Try again later.
    #[non_exhaustive]
    Timeout {
        /// The stage that was not over.
        stage: ConnectStage,
        /// While TCP was connecting: every address that was tried, and why it failed.
        tried: Option<DialError>,
    },
    /// The stream failed or ended before the response was complete. Try again later.
    Io(io::Error),
    /// What arrived is not an HTTP response, or exceeds the limits. The status is known if the
    /// first line was valid up to it.
    #[non_exhaustive]
    Head {
        /// What is wrong.
        error: HeadError,
        /// The status of the response.
        status: Option<StatusCode>,
    },
    /// The server answered with a status other than 101: a refusal (see its status), a redirection
    /// (see its `location`) that was not to be [followed](crate::Client::redirects), a demand for
    /// credentials. The body holds up to 64 KiB, as far as it arrived within 2 seconds and before
    /// the deadline.
    Refused(Box<Response<Bytes>>),
    /// A redirection was to be [followed](crate::Client::redirects), but must not be.
    Redirect(RedirectError),
    /// The hook of [`Client::on_request`](crate::Client::on_request) failed. Nothing was sent.
    OnRequest(BoxError),
    /// The server switched protocols, but not as the RFC requires: it is not a WebSocket server, or
    /// a broken one.
    Response(ResponseError),
}

impl ConnectError {
    /// The status of the server's refusal, or of a response whose head could not be read.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(response) => Some(response.status()),
            Self::Head { status, .. } => *status,
            _ => None,
        }
    }
}

/// Without headers and body of a refusal, which may hold cookies and tokens.
impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple =
            |name: &str, field: &dyn fmt::Debug| f.debug_tuple(name).field(field).finish();
        match self {
            Self::Uri(error) => tuple("Uri", error),
            Self::Request(error) => tuple("Request", error),
            Self::Resolve { host, error } => {
                f.debug_struct("Resolve").field("host", host).field("error", error).finish()
            }
            Self::Tcp { host, port, error } => {
                let mut debug = f.debug_struct("Tcp");
                debug.field("host", host).field("port", port).field("error", error).finish()
            }
            Self::UnixSocket { path, error } => {
                f.debug_struct("UnixSocket").field("path", path).field("error", error).finish()
            }
            Self::Connector(error) => tuple("Connector", error),
            Self::Proxy { proxy, error } => {
                f.debug_struct("Proxy").field("proxy", proxy).field("error", error).finish()
            }
            Self::ProxySettings(error) => tuple("ProxySettings", error),
            #[cfg(feature = "tls")]
            Self::Tls(error) => tuple("Tls", error),
            Self::Io(error) => tuple("Io", error),
            Self::Runtime(error) => tuple("Runtime", error),
            Self::Refused(response) => tuple("Refused", &response.status()),
            Self::Response(error) => tuple("Response", error),
            Self::Redirect(error) => tuple("Redirect", error),
            Self::OnRequest(error) => tuple("OnRequest", error),
            Self::Head { error, status } => {
                f.debug_struct("Head").field("error", error).field("status", status).finish()
            }
            Self::NoTls => f.write_str("NoTls"),
            #[cfg(feature = "http2")]
            Self::NoHttp2 => f.write_str("NoHttp2"),
            Self::Timeout { stage, tried } => {
                f.debug_struct("Timeout").field("stage", stage).field("tried", tried).finish()
            }
        }
    }
}

/// This level only: [`source`](std::error::Error::source) has the next.
impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uri(_) => "the URI is not one of a WebSocket",
            Self::Request(_) => "the request cannot be sent",
            Self::Resolve { host, .. } => return write!(f, "the name {host} was not resolved"),
            Self::Tcp { host, port, .. } if host.contains(':') => {
                return write!(f, "the TCP connection to [{host}]:{port} failed");
            }
            Self::Tcp { host, port, .. } => {
                return write!(f, "the TCP connection to {host}:{port} failed");
            }
            Self::UnixSocket { path, .. } => {
                return write!(f, "the Unix socket {} cannot be connected to", path.display());
            }
            Self::Connector(_) => "the connector failed",
            Self::Proxy { proxy, .. } => return write!(f, "no tunnel through {proxy}"),
            Self::ProxySettings(_) => "the environment's proxy cannot be used",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "TLS could not be set up",
            Self::NoTls => "wss needs the feature `tls`",
            #[cfg(feature = "http2")]
            Self::NoHttp2 => "the server has no WebSocket over HTTP/2",
            Self::Runtime(_) => "the runtime cannot be used",
            Self::Timeout { stage, .. } => return write!(f, "{stage} took too long"),
            Self::Io(_) => "the stream failed during the handshake",
            Self::Head { status: None, .. } => "what the server sent is not an HTTP response",
            Self::Head { status: Some(status), .. } => {
                return write!(f, "the head of the server's response ({status}) cannot be read");
            }
            Self::Refused(response) => {
                return write!(f, "the server refused with {}", response.status());
            }
            Self::Redirect(_) => "the server's redirection must not be followed",
            Self::OnRequest(_) => "the hook that prepares requests failed",
            Self::Response(_) => "the server's response does not open a WebSocket",
        })
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Uri(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Resolve { error, .. }
            | Self::UnixSocket { error, .. }
            | Self::Connector(error)
            | Self::Io(error) => Some(error),
            Self::Tcp { error, .. } => Some(error),
            Self::Proxy { error, .. } => Some(error),
            Self::ProxySettings(error) => Some(error),
            Self::Timeout { tried, .. } => tried.as_ref().map(|tried| tried as _),
            Self::Runtime(error) => Some(error),
            #[cfg(feature = "tls")]
            Self::Tls(error) => Some(error),
            Self::Head { error, .. } => Some(error),
            Self::Response(error) => Some(error),
            Self::Redirect(error) => Some(error),
            Self::OnRequest(error) => Some(&**error),
            #[cfg(feature = "http2")]
            Self::NoHttp2 => None,
            Self::NoTls | Self::Refused(_) => None,
        }
    }
}

impl From<UriError> for ConnectError {
    fn from(error: UriError) -> Self {
        Self::Uri(error)
    }
}

impl From<BuildError> for ConnectError {
    fn from(error: BuildError) -> Self {
        Self::Request(error)
    }
}

impl From<RedirectError> for ConnectError {
    fn from(error: RedirectError) -> Self {
        Self::Redirect(error)
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ResponseError> for ConnectError {
    fn from(error: ResponseError) -> Self {
        Self::Response(error)
    }
}

#[cfg(feature = "tls")]
impl From<TlsError> for ConnectError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<ReadHeadError> for ConnectError {
    fn from(error: ReadHeadError) -> Self {
        match error {
            ReadHeadError::Head(error, status) => Self::Head { error, status },
            ReadHeadError::Io(error) => Self::Io(error),
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    // In the log of a service with several upstreams, "the TCP connection failed" did not say
    // which.
    #[test]
    fn an_error_names_the_host_and_the_port() {
        let tcp = |host: &str| {
            let error = DialError::new(Vec::new());
            ConnectError::Tcp { host: host.into(), port: 9001, error }
        };
        let resolve =
            ConnectError::Resolve { host: "a.test".into(), error: io::ErrorKind::NotFound.into() };
        assert_eq!(resolve.to_string(), "the name a.test was not resolved");
        assert_eq!(tcp("a.test").to_string(), "the TCP connection to a.test:9001 failed");
        assert_eq!(tcp("::1").to_string(), "the TCP connection to [::1]:9001 failed");
    }
}
