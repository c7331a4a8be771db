//! What is wrong with a URI.

use std::fmt;

/// Why a text is not a URI that can be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UriError {
    /// Longer than [`MAX_URI_LEN`](crate::MAX_URI_LEN).
    TooLong,
    /// A space, a line break or another control character; percent-encode it.
    ControlOrSpace,
    /// A `#`: WebSocket URIs have no fragment (RFC 6455 section 3).
    Fragment,
    /// The text does not start with `ws://` or `wss://`.
    Scheme,
    /// The host is missing or is not a name, an IPv4 address or a bracketed IPv6 address.
    Host,
    /// The host has non-ASCII characters, and the feature `idna` is off.
    InternationalHost,
    /// The port is not a number from 1 to 65535.
    Port,
    /// The user name or password has a control character, or the user name a colon (RFC 7617
    /// section 2).
    Userinfo,
    /// A `%` without two hexadecimal digits after it.
    PercentEncoding,
    /// A `\`, which some read as `/` and others do not.
    Backslash,
    /// A user name or a password in a reference that somebody else made, where it mostly hides the
    /// host (RFC 9110 section 4.2.4): see [`WsUri::join`](super::WsUri::join).
    Credentials,
    /// A `ws+unix:` URI without an absolute path of a socket.
    SocketPath,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the URI is longer than 65534 bytes",
            Self::ControlOrSpace => "the URI has a space or a control character",
            Self::Fragment => "the URI has a fragment; write a `#` of the path as `%23`",
            Self::Scheme => "the URI does not start with ws:// or wss://",
            Self::Host => "the URI's host is missing or malformed",
            Self::InternationalHost => {
                "the URI's host is not ASCII; turn on the feature `idna` of tautline-handshake"
            }
            Self::Port => "the URI's port is not a number from 1 to 65535",
            Self::Userinfo => "the URI's user name or password cannot be sent as Basic credentials",
            Self::PercentEncoding => "the URI has a `%` without two hexadecimal digits after it",
            Self::Backslash => "the URI has a backslash",
            Self::Credentials => "the reference has a user name or a password",
            Self::SocketPath => "the URI has no absolute path of a Unix socket",
        })
    }
}

impl std::error::Error for UriError {}
