//! The two formats, and frames of several messages.

use std::fmt;

#[cfg(feature = "centrifuge-protobuf")]
use prost::Message as _;
use tautline::Message;

use super::codes::Disconnect;
use super::config::Config;
use super::json::Value;
use super::wire;

/// The form that a connection's messages have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JSON: one message in a line, in text frames.
    Json,
    /// Protobuf: each message after its length, in binary frames.
    #[cfg(feature = "centrifuge-protobuf")]
    Protobuf,
}

impl Format {
    /// The subprotocols that a server offers, for
    /// [`Server::subprotocols`](tautline::Server::subprotocols). SDKs that have JSON ask for none.
    pub fn subprotocols() -> impl Iterator<Item = &'static str> {
        [
            "centrifuge-json",
            #[cfg(feature = "centrifuge-protobuf")]
            "centrifuge-protobuf",
        ]
        .into_iter()
    }

    /// The format that a client asks for: by the subprotocol that was agreed on, or by `format=protobuf` in
    /// the query of the request. Without either it is JSON.
    #[must_use]
    pub fn of_request(subprotocol: Option<&str>, query: Option<&str>) -> Self {
        #[cfg(feature = "centrifuge-protobuf")]
        {
            let asks = |part| matches!(part, "format=protobuf" | "cf_protocol=protobuf");
            let by_query = query.is_some_and(|query| query.split('&').any(asks));
            if by_query || subprotocol == Some("centrifuge-protobuf") {
                return Self::Protobuf;
            }
        }
        let _ = (subprotocol, query);
        Self::Json
    }

    /// Reads the commands of a frame.
    pub(super) fn decode(
        self,
        frame: &[u8],
        config: &Config,
    ) -> Result<Vec<wire::Command>, DecodeError> {
        if frame.len() > config.max_frame {
            return Err(DecodeError::TooLong { len: frame.len(), max: config.max_frame });
        }
        let commands = match self {
            Self::Json => decode_json(frame, config.max_commands)?,
            #[cfg(feature = "centrifuge-protobuf")]
            Self::Protobuf => decode_protobuf(frame, config.max_commands)?,
        };
        if commands.is_empty() { Err(DecodeError::Empty) } else { Ok(commands) }
    }
}

/// One command in each line; a line break at the end is none.
fn decode_json<T: Value>(frame: &[u8], max: usize) -> Result<Vec<T>, DecodeError> {
    let frame = frame.strip_suffix(b"\n").unwrap_or(frame);
    let mut commands = Vec::new();
    if frame.is_empty() {
        return Ok(commands);
    }
    for line in frame.split(|byte| *byte == b'\n') {
        check_count(commands.len(), max)?;
        let malformed = |source| DecodeError::malformed(commands.len(), source);
        let mut reader = serde_json::Deserializer::from_slice(line);
        let command = T::read(&mut reader).map_err(malformed)?;
        reader.end().map_err(malformed)?;
        commands.push(command);
    }
    Ok(commands)
}

#[cfg(feature = "centrifuge-protobuf")]
fn decode_protobuf<T: prost::Message + Default>(
    mut frame: &[u8],
    max: usize,
) -> Result<Vec<T>, DecodeError> {
    let mut commands = Vec::new();
    while !frame.is_empty() {
        check_count(commands.len(), max)?;
        let malformed = |source| DecodeError::malformed(commands.len(), source);
        let len = prost::decode_length_delimiter(&mut frame).map_err(malformed)?;
        let Some((bytes, rest)) = frame.split_at_checked(len) else {
            return Err(DecodeError::Truncated { command: commands.len() });
        };
        commands.push(T::decode(bytes).map_err(malformed)?);
        frame = rest;
    }
    Ok(commands)
}

fn check_count(count: usize, max: usize) -> Result<(), DecodeError> {
    if count < max { Ok(()) } else { Err(DecodeError::TooMany { max }) }
}

/// Why a frame is not one of the protocol. It closes the connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// It has more bytes than [`Config::max_frame`](crate::centrifuge::Config::max_frame).
    TooLong {
        /// How many it has.
        len: usize,
        /// How many are possible.
        max: usize,
    },
    /// There is no command in it.
    Empty,
    /// There are more than so many commands in it.
    TooMany {
        /// [`Config::max_commands`](crate::centrifuge::Config::max_commands).
        max: usize,
    },
    /// It ends within a command.
    Truncated {
        /// Within which, from 0 on.
        command: usize,
    },
    /// A command cannot be read.
    Malformed {
        /// Which, from 0 on.
        command: usize,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DecodeError {
    fn malformed(command: usize, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Malformed { command, source: Box::new(source) }
    }

    /// What the connection is closed with.
    #[must_use]
    pub const fn disconnect(&self) -> Disconnect {
        match self {
            Self::TooLong { .. } => Disconnect::MESSAGE_TOO_BIG,
            _ => Disconnect::BAD_REQUEST,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => {
                write!(f, "the frame has {len} bytes, and {max} are possible")
            }
            Self::Empty => f.write_str("the frame has no command"),
            Self::TooMany { max } => write!(f, "the frame has more than {max} commands"),
            Self::Truncated { command } => write!(f, "the frame ends within command {command}"),
            Self::Malformed { command, .. } => write!(f, "command {command} cannot be read"),
        }
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

/// Messages for one frame.
#[derive(Debug)]
pub(super) enum Batch {
    Json(String),
    #[cfg(feature = "centrifuge-protobuf")]
    Protobuf(Vec<u8>),
}

impl Batch {
    pub(super) const fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json(String::new()),
            #[cfg(feature = "centrifuge-protobuf")]
            Format::Protobuf => Self::Protobuf(Vec::new()),
        }
    }

    pub(super) fn push(&mut self, reply: &wire::Reply) {
        match self {
            Self::Json(out) => {
                if !out.is_empty() {
                    out.push('\n');
                }
                reply.write(out);
            }
            #[cfg(feature = "centrifuge-protobuf")]
            Self::Protobuf(out) => {
                let len = reply.encoded_len();
                out.reserve(prost::length_delimiter_len(len) + len);
                // It fails only for want of room, and a `Vec` has all that there is.
                let _ = reply.encode_length_delimited(out);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(out) => out.len(),
            #[cfg(feature = "centrifuge-protobuf")]
            Self::Protobuf(out) => out.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn into_message(self) -> Message {
        match self {
            Self::Json(out) => out.into(),
            #[cfg(feature = "centrifuge-protobuf")]
            Self::Protobuf(out) => out.into(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
