//! What can go wrong: rules that the peer broke, commands that the user may not give, and deadlines
//! that passed.

use std::fmt;

use crate::close::{CloseCode, CloseFrame, InvalidCloseBody};

/// A rule that the peer broke. Each has its close code: [`close_code`](Self::close_code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The status code of a Close frame must not appear on the wire (RFC 6455 section 7.4).
    CloseCode(u16),
    /// The body of a Close frame is a single byte: a status code has two (RFC 6455 section 5.5.1).
    CloseLength,
    /// The reason in a Close frame is not UTF-8 (RFC 6455 section 5.5.1).
    CloseReason,
    /// A data frame starts a message while another message is unfinished (RFC 6455 section 5.4).
    ContinuationExpected,
    /// A continuation frame without an unfinished message (RFC 6455 section 5.4).
    ContinuationUnexpected,
    /// A control frame without the FIN bit (RFC 6455 section 5.5).
    ControlFragmented,
    /// A control frame with more than 125 bytes of payload (RFC 6455 section 5.5).
    ControlTooLong,
    /// A frame is longer than [`Config::max_frame_size`](crate::Config::max_frame_size) allows.
    FrameTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A compressed message is not valid DEFLATE data (RFC 1951), or is truncated (RFC 7692 section
    /// 7.2.2).
    Inflate,
    /// A length is encoded in more bytes than it needs (RFC 6455 section 5.2).
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set (RFC 6455 section 5.2).
    LengthTopBit,
    /// A frame from a client is not masked (RFC 6455 section 5.1).
    MaskMissing,
    /// A frame from a server is masked (RFC 6455 section 5.1).
    MaskUnexpected,
    /// A message is longer than [`Config::max_message_size`](crate::Config::max_message_size)
    /// allows.
    MessageTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A reserved bit that no negotiated extension defines for this frame (RFC 6455 section 5.2).
    ReservedBits,
    /// An opcode that the RFC reserves (RFC 6455 section 5.2).
    ReservedOpcode(u8),
    /// A message that is received in pieces is longer than
    /// [`Config::max_streamed_size`](crate::Config::max_streamed_size) allows.
    StreamTooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The peer sends more bytes than [`Config::byte_rate`](crate::Config::byte_rate) allows, and
    /// [`Excess::Close`](crate::Excess::Close) is set.
    TooManyBytes {
        /// The rate, in bytes per second.
        per_second: u64,
    },
    /// The peer sends more control frames than
    /// [`Config::control_rate`](crate::Config::control_rate) allows.
    TooManyControlFrames {
        /// The rate, in frames per second.
        per_second: u64,
    },
    /// A message in more frames than [`Config::max_fragments`](crate::Config::max_fragments)
    /// allows.
    TooManyFragments {
        /// The limit, in frames.
        limit: u32,
    },
    /// A compressed message has more blocks marked as the last one than its data justifies (RFC
    /// 7692 section 7.2.3.4 allows them). One at the end of each flush of a few hundred bytes is
    /// accepted.
    TooManyLastBlocks,
    /// The peer sends more messages than [`Config::message_rate`](crate::Config::message_rate)
    /// allows, and [`Excess::Close`](crate::Excess::Close) is set.
    TooManyMessages {
        /// The rate, in messages per second.
        per_second: u64,
    },
    /// A text message is not UTF-8 (RFC 6455 section 8.1).
    Utf8,
}

impl ProtocolError {
    /// The status code with which an endpoint fails the connection for this error (RFC 6455 section
    /// 7.4.1).
    ///
    /// ```
    /// use tautline_frame::{CloseCode, ProtocolError};
    /// assert_eq!(ProtocolError::MaskMissing.close_code(), CloseCode::PROTOCOL_ERROR);
    /// assert_eq!(ProtocolError::MessageTooLong { limit: 1024 }.close_code(), CloseCode::MESSAGE_TOO_BIG);
    /// ```
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::CloseCode(_)
            | Self::CloseLength
            | Self::ContinuationExpected
            | Self::ContinuationUnexpected
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::MaskMissing
            | Self::MaskUnexpected
            | Self::ReservedBits
            | Self::ReservedOpcode(_) => CloseCode::PROTOCOL_ERROR,
            Self::CloseReason | Self::Inflate | Self::Utf8 => CloseCode::INVALID_FRAME_PAYLOAD_DATA,
            Self::FrameTooLong { .. }
            | Self::MessageTooLong { .. }
            | Self::StreamTooLong { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyBytes { .. }
            | Self::TooManyControlFrames { .. }
            | Self::TooManyFragments { .. }
            | Self::TooManyLastBlocks
            | Self::TooManyMessages { .. } => CloseCode::POLICY_VIOLATION,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloseCode(code) => write!(f, "close code {code} must not be sent"),
            Self::CloseLength => f.write_str("close frame with a body of one byte"),
            Self::CloseReason => f.write_str("close reason is not UTF-8"),
            Self::ContinuationExpected => f.write_str("new message inside an unfinished one"),
            Self::ContinuationUnexpected => f.write_str("continuation without a message"),
            Self::ControlFragmented => f.write_str("fragmented control frame"),
            Self::ControlTooLong => f.write_str("control frame over 125 bytes"),
            Self::FrameTooLong { limit } => {
                write!(f, "frame over max_frame_size ({limit} bytes)")
            }
            Self::Inflate => f.write_str("compressed message that cannot be inflated"),
            Self::LengthNotMinimal => f.write_str("frame length not in its shortest form"),
            Self::LengthTopBit => f.write_str("top bit of a 64-bit frame length is set"),
            Self::MaskMissing => f.write_str("frame from a client is not masked"),
            Self::MaskUnexpected => f.write_str("frame from a server is masked"),
            Self::MessageTooLong { limit } => {
                write!(f, "message over max_message_size ({limit} bytes)")
            }
            Self::ReservedBits => f.write_str("reserved bit without an extension"),
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode:#x}"),
            Self::StreamTooLong { limit } => {
                write!(f, "message over max_streamed_size ({limit} bytes)")
            }
            Self::TooManyBytes { per_second } => {
                write!(f, "more bytes than byte_rate ({per_second} per second)")
            }
            Self::TooManyControlFrames { per_second } => {
                write!(f, "more control frames than control_rate ({per_second} per second)")
            }
            Self::TooManyMessages { per_second } => {
                write!(f, "more messages than message_rate ({per_second} per second)")
            }
            Self::TooManyFragments { limit } => {
                write!(f, "message in more than max_fragments ({limit}) frames")
            }
            Self::TooManyLastBlocks => f.write_str("compressed message with too many last blocks"),
            Self::Utf8 => f.write_str("text message is not UTF-8"),
        }
    }
}

impl std::error::Error for ProtocolError {}

impl From<InvalidCloseBody> for ProtocolError {
    fn from(body: InvalidCloseBody) -> Self {
        match body {
            InvalidCloseBody::Length => Self::CloseLength,
            InvalidCloseBody::Code(code) => Self::CloseCode(code),
            InvalidCloseBody::Reason => Self::CloseReason,
        }
    }
}

/// The frame that tells the peer of it.
impl From<ProtocolError> for CloseFrame {
    fn from(error: ProtocolError) -> Self {
        let code = error.close_code();
        Self::new(code, error.to_string()).unwrap_or_else(|_| Self::from(code))
    }
}

/// Why a command of the user was not carried out. Nothing was sent, and the connection is
/// unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// A Close was sent or received, or the connection ended: no data may follow (RFC 6455 section
    /// 5.5.1).
    Closed,
    /// The status code is not one that this role may send (RFC 6455 section 7.4.1: only clients
    /// send 1010).
    CloseCode(CloseCode),
    /// A message that is sent in pieces is not finished, or none was begun.
    Unfinished,
    /// The text is not UTF-8 (RFC 6455 section 8.1).
    Utf8,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection is closing or closed"),
            Self::CloseCode(code) => write!(f, "close code {code} must not be sent by this role"),
            Self::Unfinished => f.write_str("another message is not finished"),
            Self::Utf8 => f.write_str("text to be sent is not UTF-8"),
        }
    }
}

impl std::error::Error for SendError {}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timeout {
    /// The connection did not end within [`Config::close_timeout`](crate::Config::close_timeout) of
    /// the first Close.
    Close,
    /// The connections of a [`MemoryBudget`](crate::MemoryBudget) held too much for 30 s, this one
    /// no less than the average. The peer is told with 1013, "try again later".
    Memory,
    /// An unfinished message made no progress for
    /// [`Config::message_timeout`](crate::Config::message_timeout).
    Message,
    /// A ping was not answered within [`Config::ping_timeout`](crate::Config::ping_timeout). For
    /// keepalive any byte counts as an answer, so the peer is gone. A user's ping requires its
    /// pong; the connection continues if anything else was received.
    Ping,
    /// The transport accepted no data for [`Config::send_timeout`](crate::Config::send_timeout):
    /// the peer does not read.
    Send,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Close => "the closing handshake took longer than close_timeout",
            Self::Memory => "the memory of all connections was used up for too long",
            Self::Message => "an unfinished message made no progress for message_timeout",
            Self::Ping => "no answer to a ping within ping_timeout",
            Self::Send => "the peer took no data for send_timeout",
        })
    }
}

impl std::error::Error for Timeout {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_error_fits_into_a_close_frame() {
        let error = ProtocolError::TooManyFragments { limit: u32::MAX };
        assert_eq!(CloseFrame::from(error).reason(), error.to_string());
        let error = ProtocolError::MessageTooLong { limit: usize::MAX };
        assert_eq!(CloseFrame::from(error).reason(), error.to_string());
        let error = ProtocolError::TooManyControlFrames { per_second: u64::MAX };
        assert_eq!(CloseFrame::from(error).reason(), error.to_string());
    }
}
