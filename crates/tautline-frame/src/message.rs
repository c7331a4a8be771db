//! Messages: what a user sends and receives (RFC 6455 section 5.6).

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::opcode::OpCode;
use crate::text::Text;

/// A whole message: text or binary, and nothing else. The library handles ping, pong and close
/// itself.
///
/// ```
/// use tautline_frame::Message;
///
/// let message = Message::from("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(message.len(), 5);
/// ```
///
/// Methods that send take `impl Into<Message>`: pass a `&str`, a `String`, `Bytes` and so on
/// directly. `"hello".into()` does not compile there (E0283), because the compiler cannot tell what
/// to convert to. Where a `Message` is needed, as by
/// [`Sink::send`](https://docs.rs/futures/latest/futures/sink/trait.SinkExt.html#method.send), use
/// [`Message::text`] or
/// [`Message::binary`]:
///
/// ```
/// use tautline_frame::Message;
///
/// let messages = [Message::text("hello"), Message::binary(vec![1, 2, 3])];
/// assert!(messages[0].is_text() && messages[1].is_binary());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 has these two types of message")]
pub enum Message {
    /// UTF-8 text.
    Text(Text),
    /// Any bytes.
    Binary(Bytes),
}

/// The type of a message (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 has these two types of message")]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The type of the message that a frame begins; `None` for other frames.
    pub(crate) const fn of(opcode: OpCode) -> Option<Self> {
        match opcode {
            OpCode::Text => Some(Self::Text),
            OpCode::Binary => Some(Self::Binary),
            _ => None,
        }
    }

    pub(crate) const fn opcode(self) -> OpCode {
        match self {
            Self::Text => OpCode::Text,
            Self::Binary => OpCode::Binary,
        }
    }

    /// A message of this type with these bytes; `None` for a text that is not UTF-8 (RFC 6455
    /// section 8.1).
    ///
    /// ```
    /// use tautline_frame::{Kind, Message};
    ///
    /// assert_eq!(Kind::Text.message("hello"), Some(Message::text("hello")));
    /// assert_eq!(Kind::Text.message(vec![0xFF]), None);
    /// ```
    #[must_use]
    pub fn message(self, bytes: impl Into<Bytes>) -> Option<Message> {
        match self {
            Self::Text => Text::try_from(bytes.into()).ok().map(Message::Text),
            Self::Binary => Some(Message::Binary(bytes.into())),
        }
    }
}

impl Message {
    /// A text message.
    #[must_use]
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message.
    #[must_use]
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    /// Whether this is a text message.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Whether this is a binary message.
    #[must_use]
    pub const fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }

    /// The text of a text message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Binary(_) => None,
        }
    }

    /// The text of a text message, without a copy; `None` for a binary one.
    #[must_use]
    pub fn into_text(self) -> Option<Text> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The payload, whatever the type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload, whatever the type, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The length of the payload in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the payload is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Text is shown unchanged; a binary message is shown as its number of bytes.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Binary(bytes) => write!(f, "{} binary bytes", bytes.len()),
        }
    }
}

/// An empty binary message.
impl Default for Message {
    fn default() -> Self {
        Self::Binary(Bytes::new())
    }
}

/// The payload, whatever the type.
impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// The payload, whatever the type, without a copy.
impl From<Message> for Bytes {
    fn from(message: Message) -> Self {
        message.into_bytes()
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<&String> for Message {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Box<str>> for Message {
    fn from(text: Box<str>) -> Self {
        Self::Text(text.into())
    }
}

impl From<Cow<'_, str>> for Message {
    fn from(text: Cow<'_, str>) -> Self {
        Self::Text(text.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<BytesMut> for Message {
    fn from(bytes: BytesMut) -> Self {
        Self::Binary(bytes.freeze())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<Box<[u8]>> for Message {
    fn from(bytes: Box<[u8]>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl<const N: usize> From<[u8; N]> for Message {
    fn from(bytes: [u8; N]) -> Self {
        Self::from(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_made_of_whatever_holds_text_or_bytes() {
        let texts = [
            Message::text("abc"),
            Message::from(Text::from("abc")),
            Message::from("abc"),
            Message::from(String::from("abc")),
            Message::from(&String::from("abc")),
            Message::from(Box::<str>::from("abc")),
            Message::from(Cow::from("abc")),
        ];
        for message in texts {
            assert_eq!((message.as_text(), message.as_ref()), (Some("abc"), &b"abc"[..]));
            assert_eq!(message.into_text(), Some(Text::from("abc")));
        }
        let binary = [
            Message::binary("abc"),
            Message::from(Bytes::from("abc")),
            Message::from(BytesMut::from("abc")),
            Message::from(Vec::from("abc")),
            Message::from(Box::<[u8]>::from(*b"abc")),
            Message::from(&b"abc"[..]),
            Message::from(b"abc"),
            Message::from(*b"abc"),
        ];
        for message in binary {
            assert_eq!((message.as_text(), message.as_ref()), (None, &b"abc"[..]));
            assert_eq!(message.clone().into_text(), None);
            assert_eq!(Bytes::from(message), "abc");
        }
        assert_eq!(Message::default(), Message::binary(""));
    }
}
