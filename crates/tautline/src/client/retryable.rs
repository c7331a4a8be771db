//! Which failures to open a connection time may heal: the one place that says so, for servers and for
//! proxies.

use std::io;

use http::StatusCode;

use super::ConnectError;
use super::proxy::{ProxyError, SocksReply};

impl ConnectError {
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

impl ProxyError {
    /// Whether the same attempt may succeed later: after failures of the network, temporary
    /// statuses (see [`ConnectError::is_retryable`](crate::ConnectError::is_retryable)), and what a
    /// SOCKS proxy does not reach. Not with credentials that it does not accept, and not if its
    /// rules do not allow it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve(_) | Self::Tcp(_) | Self::Io(_) => true,
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.is_retryable(),
            Self::Refused(_) | Self::Head { .. } => self.status().is_some_and(is_temporary),
            Self::Socks(reply) => is_temporary_reply(*reply),
            Self::Authentication | Self::NotSocks5 => false,
        }
    }
}

/// Whether a server with this answer may answer differently later (RFC 9110 section 15, RFC 6585
/// section 4, RFC 8470 section 5.2).
fn is_temporary(status: StatusCode) -> bool {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
        status => status.is_server_error(),
    }
}

/// What a SOCKS proxy does not reach now it may reach later; what it refuses to do stays so.
const fn is_temporary_reply(reply: SocksReply) -> bool {
    match reply {
        SocksReply::GeneralFailure
        | SocksReply::NetworkUnreachable
        | SocksReply::HostUnreachable
        | SocksReply::ConnectionRefused
        | SocksReply::TtlExpired => true,
        SocksReply::NotAllowed
        | SocksReply::CommandNotSupported
        | SocksReply::AddressTypeNotSupported
        | SocksReply::Unassigned => false,
    }
}

/// Whether an error of the system is at the root of this one.
fn is_of_the_system(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<io::Error>)
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use bytes::Bytes;
    use http::Response;
    use tautline_handshake::{BuildError, HeadError, ResponseError, UriError};

    use super::*;
    use crate::client::dial_error::{DialAttempt, DialError};
    use crate::client::proxy::Proxy;
    use crate::client::{ConnectStage, RedirectError};
    use crate::error::tests::assert_one_level_each;
    #[cfg(feature = "tls")]
    use crate::transport::TlsError;

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
