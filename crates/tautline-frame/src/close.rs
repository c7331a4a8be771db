//! Close codes and the body of a Close frame (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::opcode::MAX_CONTROL_PAYLOAD;
use crate::text::Text;

/// Why a connection ends (RFC 6455 section 7.4).
///
/// A value is a code that may be sent (1000 to 1003, 1007 to 1014, 3000 to 4999), or one of three
/// local values: [`NO_STATUS`](Self::NO_STATUS), [`ABNORMAL`](Self::ABNORMAL) and
/// [`TLS`](Self::TLS). An endpoint reports those to its user or in its metrics; they are never
/// sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server is shutting down, or a browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a type of data that this endpoint does not take.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the Close frame had no code. A local value, never sent: such a frame has an empty
    /// body.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a Close frame. A local value, never sent; a `WebSocket`
    /// reports this as an error.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: data that does not fit its type, such as text that is not UTF-8.
    pub const INVALID_FRAME_PAYLOAD_DATA: Self = Self(1007);
    /// 1008: a message against the endpoint's policy.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the server did not negotiate an extension that the client needs. Sent by clients only.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: something unexpected prevented the endpoint from continuing. The RFC speaks of
    /// servers; clients send it too.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; reconnect after a random delay (IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; try again later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid answer from the server behind it (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: TLS could not be set up. A local value, never sent; a client reports it as an error of
    /// connecting.
    pub const TLS: Self = Self(1015);

    /// The code with this number, if it may be sent.
    ///
    /// # Errors
    /// [`InvalidCloseFrame::Code`] for 0 to 999, 1004 to 1006, 1015 to 2999 and from 5000 on.
    ///
    /// ```
    /// use tautline_frame::CloseCode;
    /// assert_eq!(CloseCode::new(1001), Ok(CloseCode::GOING_AWAY));
    /// assert!(CloseCode::new(4000).is_ok());
    /// assert!(CloseCode::new(1006).is_err());
    /// ```
    pub const fn new(code: u16) -> Result<Self, InvalidCloseFrame> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(InvalidCloseFrame::Code(code)),
        }
    }

    /// The number of the code.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Whether this is a value that is never sent (RFC 6455 section 7.4.1).
    const fn is_local(self) -> bool {
        matches!(self, Self::NO_STATUS | Self::ABNORMAL | Self::TLS)
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = InvalidCloseFrame;

    fn try_from(code: u16) -> Result<Self, InvalidCloseFrame> {
        Self::new(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

/// A Close frame's code and reason (RFC 6455 section 5.5.1).
///
/// ```
/// use tautline_frame::{CloseCode, CloseFrame};
///
/// let frame = CloseFrame::new(CloseCode::GOING_AWAY, "back in a minute")?;
/// assert_eq!(frame.to_string(), "1001 back in a minute");
/// # Ok::<(), tautline_frame::InvalidCloseFrame>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloseFrame {
    code: CloseCode,
    reason: Text,
}

impl CloseFrame {
    /// The longest reason, in bytes: what a control frame can hold after the code.
    pub const MAX_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

    /// A frame with this code and reason.
    ///
    /// # Errors
    /// [`InvalidCloseFrame::ReasonTooLong`] over [`MAX_REASON`](Self::MAX_REASON) bytes;
    /// [`InvalidCloseFrame::Code`] for the codes that are never sent, such as
    /// [`CloseCode::NO_STATUS`]: see [`empty`](Self::empty).
    pub fn new(code: CloseCode, reason: impl Into<Text>) -> Result<Self, InvalidCloseFrame> {
        let reason = reason.into();
        if code.is_local() {
            return Err(InvalidCloseFrame::Code(code.as_u16()));
        }
        if reason.len() > Self::MAX_REASON {
            return Err(InvalidCloseFrame::ReasonTooLong(reason.len()));
        }
        Ok(Self { code, reason })
    }

    /// A frame without a body; its code reads as [`CloseCode::NO_STATUS`].
    #[must_use]
    pub const fn empty() -> Self {
        Self { code: CloseCode::NO_STATUS, reason: Text::empty() }
    }

    /// The code; [`CloseCode::NO_STATUS`] if the frame had none.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason: for logs, not for people (RFC 6455 section 7.1.6); empty if the frame had none.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.reason.as_str()
    }

    /// Reads the body of a received Close frame.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, InvalidCloseBody> {
        match body {
            [] => Ok(Self::empty()),
            [_] => Err(InvalidCloseBody::Length),
            [high, low, reason @ ..] => {
                let number = u16::from_be_bytes([*high, *low]);
                let code = CloseCode::new(number).map_err(|_| InvalidCloseBody::Code(number))?;
                let reason = Text::try_from(Bytes::copy_from_slice(reason))
                    .map_err(|_| InvalidCloseBody::Reason)?;
                Ok(Self { code, reason })
            }
        }
    }

    /// The body of the frame as sent on the wire.
    pub(crate) fn encode(&self) -> Bytes {
        if self.code == CloseCode::NO_STATUS {
            return Bytes::new();
        }
        let mut body = BytesMut::with_capacity(2 + self.reason.len());
        body.put_u16(self.code.as_u16());
        body.put_slice(self.reason.as_bytes());
        body.freeze()
    }
}

/// The [empty](CloseFrame::empty) frame.
impl Default for CloseFrame {
    fn default() -> Self {
        Self::empty()
    }
}

/// The frame with this code and no reason. For a code that is never sent it is the
/// [empty](CloseFrame::empty) frame.
impl From<CloseCode> for CloseFrame {
    fn from(code: CloseCode) -> Self {
        if code.is_local() { Self::empty() } else { Self { code, reason: Text::empty() } }
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " {}", self.reason()) }
    }
}

/// What is wrong with the body of a received Close frame. The error that it is stands above:
/// `ProtocolError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidCloseBody {
    Length,
    Code(u16),
    Reason,
}

/// Why a Close frame cannot be made from these values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidCloseFrame {
    /// The number must not be sent (RFC 6455 section 7.4).
    Code(u16),
    /// The reason has this many bytes, more than [`CloseFrame::MAX_REASON`].
    ReasonTooLong(usize),
}

impl fmt::Display for InvalidCloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "close code {code} must not be sent"),
            Self::ReasonTooLong(len) => {
                write!(f, "close reason of {len} bytes is longer than {}", CloseFrame::MAX_REASON)
            }
        }
    }
}

impl std::error::Error for InvalidCloseFrame {}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    // The whole table, each range as its source has it.
    #[test]
    fn exactly_the_codes_of_the_table_are_valid() {
        let table: [(RangeInclusive<u16>, bool); 11] = [
            (0..=999, false),     // RFC 6455 section 7.4.2: not used
            (1000..=1003, true),  // section 7.4.1
            (1004..=1004, false), // reserved
            (1005..=1006, false), // MUST NOT be set by an endpoint
            (1007..=1011, true),
            (1012..=1014, true),    // the IANA registry
            (1015..=1015, false),   // MUST NOT be set by an endpoint
            (1016..=2999, false),   // section 7.4.2: for the protocol, and none registered
            (3000..=3999, true),    // for libraries and applications
            (4000..=4999, true),    // for private use
            (5000..=65_535, false), // of no range
        ];
        let mut next = 0;
        for (codes, valid) in table {
            assert_eq!(*codes.start(), next, "no code is left out");
            next = codes.end().wrapping_add(1);
            for code in codes {
                let taken = valid.then_some(code);
                assert_eq!(CloseCode::try_from(code).map(u16::from).ok(), taken, "{code}");
                let received = CloseFrame::decode(&code.to_be_bytes());
                let received = received.map(|frame| frame.code().as_u16());
                let expected = taken.ok_or(InvalidCloseBody::Code(code));
                assert_eq!(received, expected, "{code}");
            }
        }
        assert_eq!(next, 0, "up to the largest");
    }

    // RFC 6455 section 5.5.1.
    #[test]
    fn the_body_is_empty_or_a_code_with_a_reason_in_utf8() {
        assert_eq!(CloseFrame::decode(b""), Ok(CloseFrame::empty()));
        assert_eq!(CloseFrame::decode(b"\x03"), Err(InvalidCloseBody::Length));
        assert_eq!(CloseFrame::decode(b"\x03\xe8\xff"), Err(InvalidCloseBody::Reason));
        let frame = CloseFrame::decode("\u{3}\u{0}bye".as_bytes());
        assert_eq!(frame, Err(InvalidCloseBody::Code(768)));
        let frame = CloseFrame::decode(b"\x03\xe9bye").unwrap();
        assert_eq!((frame.code(), frame.reason()), (CloseCode::GOING_AWAY, "bye"));
        assert_eq!(frame.encode(), &b"\x03\xe9bye"[..]);
    }

    // RFC 6455 section 7.4.1: 1005, 1006 and 1015 MUST NOT be set in a Close frame; section 5.5:
    // 125 bytes.
    #[test]
    fn what_must_not_be_sent_cannot_be_made() {
        for (local, code) in
            [(CloseCode::NO_STATUS, 1005), (CloseCode::ABNORMAL, 1006), (CloseCode::TLS, 1015)]
        {
            assert_eq!(local.as_u16(), code);
            assert_eq!(CloseCode::new(code), Err(InvalidCloseFrame::Code(code)));
            assert_eq!(CloseFrame::new(local, ""), Err(InvalidCloseFrame::Code(code)));
            assert_eq!(CloseFrame::from(local), CloseFrame::default());
        }
        let long = "x".repeat(124);
        assert_eq!(
            CloseFrame::new(CloseCode::NORMAL, long),
            Err(InvalidCloseFrame::ReasonTooLong(124))
        );
        assert!(CloseFrame::new(CloseCode::NORMAL, "x".repeat(123)).is_ok());
        assert_eq!(CloseFrame::empty().encode(), &b""[..]);
    }
}
