//! Why no connection was opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Response, StatusCode};
use tautline_handshake::{BuildError, HeadError, ResponseError, UriError};

use super::attempts::DialError;
use super::proxy::{InvalidProxy, ProxyError};
use super::redirect::RedirectError;
use super::status::is_temporary;
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

    /// Whether the same attempt may succeed later, because the cause is the network, or a server
    /// that is down or overloaded:
    ///
    /// - [`Resolve`](Self::Resolve), [`Tcp`](Self::Tcp), [`UnixSocket`](Self::UnixSocket),
    ///   [`Connector`](Self::Connector), [`Io`](Self::Io) and [`Timeout`](Self::Timeout);
    /// - [`Proxy`](Self::Proxy), if [`ProxyError::is_retryable`] says so;
    /// - a [refusal](Self::Refused), or a response whose head cannot be read, with a temporary
    ///   status: 408, 425, 429, and those from 500 on except 501 and 505. The header `retry-after`
    ///   says when to try again, if the server sent it;
    /// - `Tls`, if the stream failed in the middle of the handshake;
    /// - [`OnRequest`](Self::OnRequest), if an error of the system ([`io::Error`]) is at its root,
    ///   such as a failed connection to the server that has the tokens.
    ///
    /// It is `false` for what stays the same until somebody changes it: the URI, the request, the
    /// settings, a certificate that is not trusted, a redirection, 401, 403, 404, and a server that
    /// does not speak WebSocket.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Tcp { .. }
            | Self::UnixSocket { .. }
            | Self::Connector(_)
            | Self::Io(_)
            | Self::Timeout { .. } => true,
            Self::Proxy { error, .. } => error.is_retryable(),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.is_retryable(),
            Self::Refused(_) | Self::Head { .. } => self.status().is_some_and(is_temporary),
            #[cfg(feature = "http2")]
            Self::NoHttp2 => false,
            Self::OnRequest(error) => is_of_the_system(&**error),
            Self::Redirect(_)
            | Self::Uri(_)
            | Self::Request(_)
            | Self::ProxySettings(_)
            | Self::NoTls
            | Self::Runtime(_)
            | Self::Response(_) => false,
        }
    }
}

fn is_of_the_system(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<io::Error>)
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
    use crate::client::attempts::DialAttempt;
    use crate::client::proxy::{Proxy, SocksReply};
    use crate::error::tests::assert_one_level_each;

    fn refused(status: u16) -> ConnectError {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        ConnectError::Refused(Box::new(response))
    }

    fn head(status: Option<u16>) -> ConnectError {
        let status = status.map(|status| StatusCode::from_u16(status).expect("a status"));
        ConnectError::Head { error: HeadError::Header, status }
    }

    fn proxy(error: ProxyError) -> ConnectError {
        ConnectError::Proxy { proxy: "http://p:3128".into(), error }
    }

    fn undialled() -> DialError {
        DialError::new(vec![DialAttempt::new(([192, 0, 2, 1], 80).into(), io())])
    }

    fn io() -> io::Error {
        io::Error::other("a failure of the system")
    }

    #[test]
    fn time_heals_what_the_network_or_an_overloaded_server_refused() {
        for error in [
            ConnectError::Resolve { host: "a.test".into(), error: io() },
            ConnectError::Tcp { host: "::1".into(), port: 80, error: undialled() },
            ConnectError::UnixSocket { path: "/run/a.sock".into(), error: io() },
            ConnectError::Connector(io()),
            proxy(ProxyError::Tcp(undialled())),
            proxy(ProxyError::Io(io())),
            proxy(ProxyError::Head {
                error: HeadError::Header,
                status: StatusCode::from_u16(502).ok(),
            }),
            proxy(ProxyError::Socks(SocksReply::HostUnreachable)),
            ConnectError::Io(io()),
            ConnectError::Timeout { stage: ConnectStage::Connect, tried: Some(undialled()) },
            ConnectError::Timeout { stage: ConnectStage::Tls, tried: None },
            ConnectError::OnRequest(Box::new(ConnectError::Io(io()))),
            head(Some(503)),
        ] {
            assert!(error.is_retryable(), "{error}");
            assert_one_level_each(&error);
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 507, 599] {
            assert!(refused(status).is_retryable(), "{status}");
        }
    }

    #[test]
    fn time_heals_nothing_that_somebody_has_to_change() {
        for error in [
            ConnectError::Uri(UriError::Scheme),
            ConnectError::Request(BuildError::Host),
            ConnectError::NoTls,
            ConnectError::ProxySettings(Proxy::new("ftp://p").unwrap_err()),
            proxy(ProxyError::Authentication),
            proxy(ProxyError::NotSocks5),
            proxy(ProxyError::Socks(SocksReply::NotAllowed)),
            ConnectError::Runtime(io()),
            ConnectError::Response(ResponseError::WrongAccept),
            ConnectError::Redirect(RedirectError::TooMany { limit: 3 }),
            ConnectError::Redirect(RedirectError::Location(UriError::Scheme)),
            ConnectError::OnRequest("logged out".into()),
            head(None),
            head(Some(400)),
        ] {
            assert!(!error.is_retryable(), "{error}");
            assert_one_level_each(&error);
        }
        for status in [200, 204, 301, 307, 400, 401, 403, 404, 426, 501, 505] {
            assert!(!refused(status).is_retryable(), "{status}");
            assert_one_level_each(&refused(status));
        }
    }

    // In the log of a service with several upstreams, "the TCP connection failed" did not say
    // which.
    #[test]
    fn an_error_names_the_host_and_the_port() {
        let tcp = |host: &str| {
            let error = undialled();
            ConnectError::Tcp { host: host.into(), port: 9001, error }
        };
        let resolve = ConnectError::Resolve { host: "a.test".into(), error: io() };
        assert_eq!(resolve.to_string(), "the name a.test was not resolved");
        assert_eq!(tcp("a.test").to_string(), "the TCP connection to a.test:9001 failed");
        assert_eq!(tcp("::1").to_string(), "the TCP connection to [::1]:9001 failed");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn time_heals_no_certificate() {
        let distrust = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let distrust = io::Error::new(io::ErrorKind::InvalidData, distrust);
        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
        for (error, retryable) in [
            (TlsError::Handshake(distrust), false),
            (TlsError::Handshake(cut), true),
            (TlsError::ServerName, false),
            (TlsError::NoRoots, false),
            (TlsError::NoProvider, false),
        ] {
            assert_eq!(error.is_retryable(), retryable, "{error}");
            let error = ConnectError::from(error);
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert_one_level_each(&error);
        }
    }
}
