//! Why a connection ended or was not opened, and whether to connect again.

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tautline_frame::session::Error as ConnectionError;
use tautline_frame::{CloseCode, CloseFrame};

use super::retry_after::retry_after;
use super::verdict::Verdict;
use crate::client::{ConnectError, ProxyError};
use crate::error::BoxError;

/// IANA's registry of close codes: the application level has nothing that time heals.
const UNAUTHORIZED: u16 = 3000;
const FORBIDDEN: u16 = 3003;

/// Why a connection ended, or why none was opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// No connection was opened.
    Connect(ConnectError),
    /// The server closed the connection in order, with this frame. The code is
    /// [`CloseCode::NO_STATUS`] if it gave none.
    Closed(CloseFrame),
    /// The connection ended in any other way.
    Failed(ConnectionError),
    /// A hook failed, with its error.
    Hook(BoxError),
    /// A hook did not end in time: the one for requests within
    /// [`Client::connect_timeout`](crate::Client::connect_timeout), that of
    /// [`on_connect`](crate::reconnect::Reconnecting::on_connect) within
    /// [`on_connect_timeout`](crate::reconnect::Reconnecting::on_connect_timeout).
    HookTimeout,
    /// [`reconnect_now`](crate::reconnect::Sender::reconnect_now) was called while the connection
    /// was open.
    Requested,
}

impl Cause {
    /// The longest that a `Retry-After` is heeded by [`verdict`](Self::verdict): one
    /// hour. A server that asks for a year would be one without clients.
    pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

    /// The status with which the server refused: see [`ConnectError::status`].
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Connect(error) => error.status(),
            _ => None,
        }
    }

    /// The code with which the server closed the connection.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Closed(frame) => Some(frame.code()),
            _ => None,
        }
    }

    /// How long the server, or the HTTP proxy in front of it, asked to wait in the header
    /// `Retry-After` of a refusal (RFC 9110 section 10.2.3), whether in seconds or as a date. A date
    /// is compared with the `Date` of the response, or with `now` if there is none.
    #[must_use]
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        match self {
            Self::Connect(
                ConnectError::Refused(response)
                | ConnectError::Proxy { error: ProxyError::Refused(response), .. },
            ) => retry_after(response.headers(), now),
            _ => None,
        }
    }

    /// What to do by default:
    ///
    /// | cause | verdict |
    /// |---|---|
    /// | the network, a deadline, a name that is not resolved, a server that is not there | retry |
    /// | refused, by the server or by a proxy, with 408, 425, 429, or 500 and above without 501 and 505 | retry, not before `Retry-After` (at most [an hour](Self::LONGEST_RETRY_AFTER)) |
    /// | refused with any other status: 401, 403, 404, 501, a redirection | stop |
    /// | the certificate, the URI, the request, the settings; a server that is no WebSocket server | stop |
    /// | the stream ended without a Close | retry |
    /// | the server closed with a code that must not be sent, such as 1006, or with a reason that is not text | retry |
    /// | the server broke the protocol in another way, or sent more than a limit allows | stop |
    /// | closed with 1001 (going away), 1005 (no code), 1011 (internal error), 1014 (bad gateway) | retry |
    /// | closed with 1012 (restart) | retry after 5 to 30 s |
    /// | closed with 1013 (overload) | retry after 30 to 60 s |
    /// | closed with 1000: the server is done | stop |
    /// | closed with 1002, 1003, 1007, 1008, 1009, 1010 | stop |
    /// | closed with 3000 (unauthorized), 3003 (forbidden) | stop |
    /// | closed with any other code of applications or libraries | retry |
    /// | a hook of this module failed or took too long | retry |
    /// | the hook [`Client::on_request`](crate::Client::on_request) failed | retry if an [`io::Error`](std::io::Error) is the reason, else stop |
    ///
    /// The times for 1012 are those that IANA's registry of close codes refers to. That for 1013 it
    /// leaves to the user; here it is a minute at most.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict_at(SystemTime::now())
    }

    /// [`verdict`](Self::verdict), by the clock of the caller.
    fn verdict_at(&self, now: SystemTime) -> Verdict {
        match self {
            Self::Connect(error) if !error.is_retryable() => Verdict::Stop,
            Self::Connect(_) => match self.retry_after(now) {
                Some(time) => Verdict::RetryAfter(time.min(Self::LONGEST_RETRY_AFTER)),
                None => Verdict::Retry,
            },
            Self::Closed(frame) => verdict_on_code(frame.code()),
            Self::Failed(error) if error.is_retryable() => Verdict::Retry,
            // More was received than is kept: that says nothing about the server.
            Self::Failed(ConnectionError::Backlog) => Verdict::Retry,
            Self::Failed(_) => Verdict::Stop,
            Self::Hook(_) | Self::HookTimeout => Verdict::Retry,
            Self::Requested => Verdict::RetryNow,
        }
    }
}

/// RFC 6455 section 7.4.1, and IANA's registry of close codes.
fn verdict_on_code(code: CloseCode) -> Verdict {
    let secs = Duration::from_secs;
    match code {
        CloseCode::SERVICE_RESTART => Verdict::RetryWithin { from: secs(5), to: secs(30) },
        CloseCode::TRY_AGAIN_LATER => Verdict::RetryWithin { from: secs(30), to: secs(60) },
        CloseCode::NORMAL
        | CloseCode::PROTOCOL_ERROR
        | CloseCode::UNSUPPORTED_DATA
        | CloseCode::INVALID_FRAME_PAYLOAD_DATA
        | CloseCode::POLICY_VIOLATION
        | CloseCode::MESSAGE_TOO_BIG
        | CloseCode::MANDATORY_EXTENSION => Verdict::Stop,
        code if [UNAUTHORIZED, FORBIDDEN].contains(&code.as_u16()) => Verdict::Stop,
        _ => Verdict::Retry,
    }
}

/// This level only: [`source`](Error::source) has the next.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect(_) => "no connection was opened",
            Self::Closed(frame) => {
                return write!(f, "the server closed the connection with {frame}");
            }
            Self::Failed(_) => "the connection failed",
            Self::Hook(_) => "a hook failed",
            Self::HookTimeout => "a hook took too long",
            Self::Requested => "a new connection was asked for",
        })
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Failed(error) => Some(error),
            Self::Hook(error) => Some(&**error),
            Self::Closed(_) | Self::HookTimeout | Self::Requested => None,
        }
    }
}

impl From<ConnectError> for Cause {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use std::io;

    use bytes::Bytes;
    use http::header::RETRY_AFTER;
    use http::{HeaderValue, Response};
    use tautline_frame::{ProtocolError, Timeout};
    use tautline_handshake::UriError;

    use super::*;
    use crate::client::ConnectStage;
    use crate::error::tests::assert_one_level_each;

    fn refusal(status: u16, retry_after: Option<&'static str>) -> Box<Response<Bytes>> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        if let Some(value) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(value));
        }
        Box::new(response)
    }

    fn refused(status: u16, retry_after: Option<&'static str>) -> Cause {
        ConnectError::Refused(refusal(status, retry_after)).into()
    }

    fn refused_by_proxy(status: u16, retry_after: Option<&'static str>) -> Cause {
        let error = ProxyError::Refused(refusal(status, retry_after));
        ConnectError::Proxy { proxy: "http://p:3128".into(), error }.into()
    }

    fn closed(code: u16) -> Cause {
        Cause::Closed(CloseCode::new(code).map_or_else(|_| CloseFrame::empty(), CloseFrame::from))
    }

    #[test]
    fn what_time_heals_is_retried_and_nothing_else() {
        let within = |from, to| Verdict::RetryWithin {
            from: Duration::from_secs(from),
            to: Duration::from_secs(to),
        };
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let late = ConnectError::Timeout { stage: ConnectStage::Tls, tried: None };
        for (cause, verdict) in [
            (late.into(), Verdict::Retry),
            (ConnectError::Io(reset()).into(), Verdict::Retry),
            (ConnectError::Uri(UriError::Scheme).into(), Verdict::Stop),
            (ConnectError::NoTls.into(), Verdict::Stop),
            (Cause::Failed(ConnectionError::ConnectionLost), Verdict::Retry),
            (Cause::Failed(reset().into()), Verdict::Retry),
            (Cause::Failed(Timeout::Ping.into()), Verdict::Retry),
            (Cause::Failed(ConnectionError::Backlog), Verdict::Retry),
            (Cause::Failed(ProtocolError::Utf8.into()), Verdict::Stop),
            (Cause::Failed(ProtocolError::CloseCode(1006).into()), Verdict::Retry),
            (Cause::Hook("no token".into()), Verdict::Retry),
            (Cause::HookTimeout, Verdict::Retry),
            (Cause::Requested, Verdict::RetryNow),
            (closed(1012), within(5, 30)),
            (closed(1013), within(30, 60)),
        ] {
            assert_eq!(cause.verdict(), verdict, "{cause:?}");
            assert_one_level_each(&cause);
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 520] {
            assert_eq!(refused(status, None).verdict(), Verdict::Retry, "{status}");
        }
        for status in [200, 301, 302, 400, 401, 403, 404, 410, 426, 501, 505] {
            assert_eq!(refused(status, Some("1")).verdict(), Verdict::Stop, "{status}");
        }
        for code in [1001, 1005, 1011, 1014, 3001, 3008, 3999, 4000, 4999] {
            assert_eq!(closed(code).verdict(), Verdict::Retry, "{code}");
        }
        for code in [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003] {
            assert_eq!(closed(code).verdict(), Verdict::Stop, "{code}");
        }
    }

    #[test]
    fn retry_after_is_heeded_up_to_an_hour() {
        let after = |seconds| Verdict::RetryAfter(Duration::from_secs(seconds));
        assert_eq!(refused(503, Some("120")).verdict(), after(120));
        assert_eq!(refused(429, Some("86400")).verdict(), after(3600));
        let date = refused(503, Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_700);
        assert_eq!(date.verdict_at(now), after(77));
        assert_eq!(refused(503, Some("soon")).verdict(), Verdict::Retry);
        assert_eq!(
            (date.status(), date.close_code()),
            (Some(StatusCode::SERVICE_UNAVAILABLE), None)
        );
    }

    // A proxy that answered CONNECT with 503 and `Retry-After: 120` was asked again within a second.
    #[test]
    fn retry_after_of_a_proxy_is_heeded_as_that_of_a_server() {
        let after = |seconds| Verdict::RetryAfter(Duration::from_secs(seconds));
        assert_eq!(refused_by_proxy(503, Some("120")).verdict(), after(120));
        assert_eq!(refused_by_proxy(429, Some("86400")).verdict(), after(3600));
        assert_eq!(refused_by_proxy(502, None).verdict(), Verdict::Retry);
        assert_eq!(refused_by_proxy(407, Some("1")).verdict(), Verdict::Stop);
    }
}
