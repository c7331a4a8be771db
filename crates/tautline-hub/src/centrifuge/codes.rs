//! Errors, and why connections and subscriptions end: numbers that SDKs act upon.

use std::borrow::Cow;
use std::fmt;

use tautline::{CloseCode, CloseFrame, InvalidCloseFrame};

/// An error in a reply: the request was not carried out.
///
/// Codes below 400 are the protocol's; an application's own are from 400 to 1999. A client tries again
/// by itself after an error that is [temporary](Self::is_temporary), and after
/// [`TOKEN_EXPIRED`](Self::TOKEN_EXPIRED) with a new token. Any other error for a connection or a
/// subscription ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    code: u32,
    message: Cow<'static, str>,
    temporary: bool,
}

impl ClientError {
    /// 100: something failed in the server. Temporary.
    pub const INTERNAL: Self = Self::known(100, "internal server error").temporary();
    /// 101: nobody said who this is.
    pub const UNAUTHORIZED: Self = Self::known(101, "unauthorized");
    /// 102: there is no such channel.
    pub const UNKNOWN_CHANNEL: Self = Self::known(102, "unknown channel");
    /// 103: not for this client.
    pub const PERMISSION_DENIED: Self = Self::known(103, "permission denied");
    /// 104: there is no such method.
    pub const METHOD_NOT_FOUND: Self = Self::known(104, "method not found");
    /// 105: the client is subscribed to this channel, or about to be.
    pub const ALREADY_SUBSCRIBED: Self = Self::known(105, "already subscribed");
    /// 106: more than [`Config::max_channels`](crate::centrifuge::Config::max_channels).
    pub const LIMIT_EXCEEDED: Self = Self::known(106, "limit exceeded");
    /// 107: the request makes no sense.
    pub const BAD_REQUEST: Self = Self::known(107, "bad request");
    /// 108: this server does not have it.
    pub const NOT_AVAILABLE: Self = Self::known(108, "not available");
    /// 109: the token was valid once. The client gets a new one and tries again.
    pub const TOKEN_EXPIRED: Self = Self::known(109, "token expired");
    /// 110: what was asked for has expired, without a token.
    pub const EXPIRED: Self = Self::known(110, "expired");
    /// 111: more than [`Config::max_pending`](crate::centrifuge::Config::max_pending), or than the
    /// application allows. Temporary.
    pub const TOO_MANY_REQUESTS: Self = Self::known(111, "too many requests").temporary();
    /// 112: the history does not reach back to this position any more.
    pub const UNRECOVERABLE_POSITION: Self = Self::known(112, "unrecoverable position");

    const fn known(code: u32, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message), temporary: false }
    }

    /// An error of an application's own: from 400 to 1999 by the rules of the protocol, which is not
    /// checked.
    #[must_use]
    pub fn new(code: u32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), temporary: false }
    }

    /// The same, but such that a client tries again.
    #[must_use]
    pub const fn temporary(mut self) -> Self {
        self.temporary = true;
        self
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> u32 {
        self.code
    }

    /// What it says, to people who look for faults.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the client shall try again.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        self.temporary
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl std::error::Error for ClientError {}

/// Why a connection is closed: the code and reason of its Close frame.
///
/// The code tells the client whether to come back, see [`can_reconnect`](Self::can_reconnect). An
/// application's own are from 4000 to 4999.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    code: CloseCode,
    reason: Cow<'static, str>,
}

impl Disconnect {
    /// 1009: a frame with more than [`Config::max_frame`](crate::centrifuge::Config::max_frame) bytes.
    pub const MESSAGE_TOO_BIG: Self = Self::known(1009, "message size limit exceeded");
    /// 3000: no reason.
    pub const CONNECTION_CLOSED: Self = Self::known(3000, "connection closed");
    /// 3001: the server shuts down.
    pub const SHUTDOWN: Self = Self::known(3001, "shutdown");
    /// 3004: something failed in the server.
    pub const INTERNAL: Self = Self::known(3004, "internal server error");
    /// 3005: the connection was not refreshed in time.
    pub const EXPIRED: Self = Self::known(3005, "connection expired");
    /// 3006: a subscription that the server made was not refreshed in time.
    pub const SUBSCRIPTION_EXPIRED: Self = Self::known(3006, "subscription expired");
    /// 3008: the client takes less than it is sent, and too much waits for it.
    pub const SLOW: Self = Self::known(3008, "slow");
    /// 3009: the connection cannot be written to.
    pub const WRITE_ERROR: Self = Self::known(3009, "write error");
    /// 3010: something was lost on the way to this client. It recovers by coming back.
    pub const INSUFFICIENT_STATE: Self = Self::known(3010, "insufficient state");
    /// 3011: come back at once.
    pub const FORCE_RECONNECT: Self = Self::known(3011, "force reconnect");
    /// 3012: the last ping was not answered.
    pub const NO_PONG: Self = Self::known(3012, "no pong");
    /// 3013: the client sends too much.
    pub const TOO_MANY_REQUESTS: Self = Self::known(3013, "too many requests");
    /// 3014: what the client knows is not valid any more: its token and its positions.
    pub const STATE_INVALIDATED: Self = Self::known(3014, "state invalidated");
    /// 3500: the token is not valid. Final, as are all that follow.
    pub const INVALID_TOKEN: Self = Self::known(3500, "invalid token");
    /// 3501: what the client sent is not in the protocol.
    pub const BAD_REQUEST: Self = Self::known(3501, "bad request");
    /// 3502: the client did not connect in time.
    pub const STALE: Self = Self::known(3502, "stale");
    /// 3503: stay away.
    pub const FORCE_NO_RECONNECT: Self = Self::known(3503, "force disconnect");
    /// 3504: too many connections of this client.
    pub const CONNECTION_LIMIT: Self = Self::known(3504, "connection limit");
    /// 3505: more subscriptions than
    /// [`Config::max_channels`](crate::centrifuge::Config::max_channels) by the server itself.
    pub const CHANNEL_LIMIT: Self = Self::known(3505, "channel limit");
    /// 3506: data that are not JSON, for a client that has JSON.
    pub const INAPPROPRIATE_PROTOCOL: Self = Self::known(3506, "inappropriate protocol");
    /// 3507: not for this client.
    pub const PERMISSION_DENIED: Self = Self::known(3507, "permission denied");
    /// 3508: this server does not have it.
    pub const NOT_AVAILABLE: Self = Self::known(3508, "not available");
    /// 3509: the client made too many errors.
    pub const TOO_MANY_ERRORS: Self = Self::known(3509, "too many errors");

    const fn known(code: u16, reason: &'static str) -> Self {
        let code = match CloseCode::new(code) {
            Ok(code) => code,
            Err(_) => CloseCode::INTERNAL_ERROR,
        };
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// A reason of an application's own: from 4000 to 4999 by the rules of the protocol, of which only
    /// those of WebSocket are checked.
    ///
    /// # Errors
    /// If the code or the reason cannot be in a Close frame.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Result<Self, InvalidCloseFrame> {
        let (code, reason) = (CloseCode::new(code)?, reason.into());
        CloseFrame::new(code, &*reason)?;
        Ok(Self { code, reason })
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether SDKs connect again by themselves: but for codes from 3500 to 3999 and from 4500 to
    /// 4999, and for 1009.
    #[must_use]
    pub const fn can_reconnect(&self) -> bool {
        !matches!(self.code.as_u16(), 1009 | 3500..=3999 | 4500..=4999)
    }

    /// The Close frame that tells it.
    #[must_use]
    pub fn close_frame(&self) -> CloseFrame {
        CloseFrame::new(self.code, &*self.reason).unwrap_or_else(|_| CloseFrame::from(self.code))
    }
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.reason)
    }
}

/// Why a subscription ends that the client did not end.
///
/// From 2500 on, the client subscribes again by itself. An application's own are from 2100 to 2499 and
/// from 2600 to 2999.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    code: u32,
    reason: Cow<'static, str>,
}

impl Unsubscribe {
    /// 2000: the server ends it.
    pub const SERVER: Self = Self::known(2000, "server unsubscribe");
    /// 2500: something was lost on the way to this client. It recovers by subscribing again.
    pub const INSUFFICIENT_STATE: Self = Self::known(2500, "insufficient state");
    /// 2501: it was not refreshed in time.
    pub const EXPIRED: Self = Self::known(2501, "subscription expired");
    /// 2502: what the client knows is not valid any more: its token and its position.
    pub const STATE_INVALIDATED: Self = Self::known(2502, "state invalidated");

    const fn known(code: u32, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// A reason of an application's own: from 2100 to 2499 or from 2600 to 2999 by the rules of the
    /// protocol, which is not checked.
    #[must_use]
    pub fn new(code: u32, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> u32 {
        self.code
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether SDKs subscribe again by themselves.
    #[must_use]
    pub const fn can_resubscribe(&self) -> bool {
        self.code >= 2500
    }
}

impl fmt::Display for Unsubscribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.reason)
    }
}

/// How a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a reply, or the end")]
pub enum Refusal {
    /// By an error in the reply.
    Error(ClientError),
    /// By closing the connection.
    Disconnect(Disconnect),
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        Self::Error(error)
    }
}

impl From<Disconnect> for Refusal {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnect(disconnect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The rule of the protocol's documentation, for each code that there is.
    #[test]
    fn clients_come_back_or_not() {
        let back = [
            Disconnect::CONNECTION_CLOSED,
            Disconnect::SHUTDOWN,
            Disconnect::INTERNAL,
            Disconnect::EXPIRED,
            Disconnect::SUBSCRIPTION_EXPIRED,
            Disconnect::SLOW,
            Disconnect::WRITE_ERROR,
            Disconnect::INSUFFICIENT_STATE,
            Disconnect::FORCE_RECONNECT,
            Disconnect::NO_PONG,
            Disconnect::TOO_MANY_REQUESTS,
            Disconnect::STATE_INVALIDATED,
        ];
        let away = [
            Disconnect::MESSAGE_TOO_BIG,
            Disconnect::INVALID_TOKEN,
            Disconnect::BAD_REQUEST,
            Disconnect::STALE,
            Disconnect::FORCE_NO_RECONNECT,
            Disconnect::CONNECTION_LIMIT,
            Disconnect::CHANNEL_LIMIT,
            Disconnect::INAPPROPRIATE_PROTOCOL,
            Disconnect::PERMISSION_DENIED,
            Disconnect::NOT_AVAILABLE,
            Disconnect::TOO_MANY_ERRORS,
        ];
        for (disconnects, comes_back) in [(&back[..], true), (&away[..], false)] {
            for disconnect in disconnects {
                assert_eq!(disconnect.can_reconnect(), comes_back, "{disconnect}");
                let frame = disconnect.close_frame();
                assert_eq!(frame.to_string(), disconnect.to_string());
                assert_ne!(frame.code(), CloseCode::INTERNAL_ERROR);
            }
        }
        for (code, comes_back) in [(4000, true), (4499, true), (4500, false), (4999, false)] {
            assert_eq!(Disconnect::new(code, "").unwrap().can_reconnect(), comes_back, "{code}");
        }
    }

    #[test]
    fn a_disconnect_fits_a_close_frame() {
        assert_eq!(Disconnect::new(5000, ""), Err(InvalidCloseFrame::Code(5000)));
        assert_eq!(
            Disconnect::new(4000, "x".repeat(124)),
            Err(InvalidCloseFrame::ReasonTooLong(124))
        );
        let frame = Disconnect::new(4000, "x".repeat(123)).unwrap().close_frame();
        assert_eq!(frame.reason().len(), 123);
    }

    #[test]
    fn errors_have_the_codes_of_the_protocol() {
        let all = [
            (100, true, ClientError::INTERNAL),
            (101, false, ClientError::UNAUTHORIZED),
            (102, false, ClientError::UNKNOWN_CHANNEL),
            (103, false, ClientError::PERMISSION_DENIED),
            (104, false, ClientError::METHOD_NOT_FOUND),
            (105, false, ClientError::ALREADY_SUBSCRIBED),
            (106, false, ClientError::LIMIT_EXCEEDED),
            (107, false, ClientError::BAD_REQUEST),
            (108, false, ClientError::NOT_AVAILABLE),
            (109, false, ClientError::TOKEN_EXPIRED),
            (110, false, ClientError::EXPIRED),
            (111, true, ClientError::TOO_MANY_REQUESTS),
            (112, false, ClientError::UNRECOVERABLE_POSITION),
        ];
        for (code, temporary, error) in all {
            assert_eq!((error.code(), error.is_temporary()), (code, temporary), "{error}");
        }
    }

    #[test]
    fn clients_subscribe_again_or_not() {
        let all = [
            (2000, false, Unsubscribe::SERVER),
            (2500, true, Unsubscribe::INSUFFICIENT_STATE),
            (2501, true, Unsubscribe::EXPIRED),
            (2502, true, Unsubscribe::STATE_INVALIDATED),
        ];
        for (code, again, unsubscribe) in all {
            assert_eq!((unsubscribe.code(), unsubscribe.can_resubscribe()), (code, again));
        }
    }
}
