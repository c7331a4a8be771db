//! Data of applications.

use std::fmt;

use bytes::Bytes;
use serde::de::Deserialize;
use serde::ser::Serialize;
use tautline::{Kind, Message};

use super::json;

/// Data of an application: JSON for clients that have JSON, any bytes for those that have Protobuf.
///
/// What an SDK for JavaScript sends and receives as a value is JSON here. A client that has JSON cannot be
/// sent anything else: it is closed with
/// [`INAPPROPRIATE_PROTOCOL`](crate::centrifuge::Disconnect::INAPPROPRIATE_PROTOCOL).
///
/// ```
/// use tautline_hub::centrifuge::Payload;
///
/// let sum = Payload::json(&[1, 2, 3])?;
/// assert_eq!(sum, Payload::from("[1,2,3]"));
/// assert_eq!(sum.parse::<Vec<u8>>()?, [1, 2, 3]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Payload {
    bytes: Bytes,
    /// It is known to be JSON; otherwise nobody has looked.
    is_json: bool,
}

/// The data are not JSON, and the client has JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing more to tell")]
pub struct NotJson;

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data are not JSON, which a client with JSON needs")
    }
}

impl std::error::Error for NotJson {}

impl Payload {
    /// A value, as JSON.
    ///
    /// # Errors
    /// If JSON has no such value.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::from_json(serde_json::to_vec(value)?.into()))
    }

    /// What is known to be JSON.
    pub(super) fn from_json(bytes: Bytes) -> Self {
        Self { bytes, is_json: true }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, which are not copied.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Whether there are none: the client sent no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Reads it as JSON.
    ///
    /// # Errors
    /// If it is not JSON, or not such a value.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }

    /// The bytes, if they are JSON or none.
    pub(super) fn checked(&self) -> Result<Bytes, NotJson> {
        if !self.is_json && !self.bytes.is_empty() {
            json::check(&self.bytes).map_err(|_| NotJson)?;
        }
        Ok(self.bytes.clone())
    }

    /// As a message to publish: a text if it is known to be JSON.
    pub(super) fn into_message(self) -> Message {
        let kind = if self.is_json { Kind::Text } else { Kind::Binary };
        kind.message(self.bytes.clone()).unwrap_or(Message::Binary(self.bytes))
    }
}

/// Without the data: what users send to each other does not belong in logs.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.bytes.len())
    }
}

/// Equal bytes.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Payload {}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, is_json: false }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// The bytes of a message.
impl From<Message> for Payload {
    fn from(message: Message) -> Self {
        message.into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_for_clients_that_have_json() {
        assert_eq!(Payload::from("{\"a\":1}").checked(), Ok(Bytes::from("{\"a\":1}")));
        assert_eq!(Payload::default().checked(), Ok(Bytes::new()));
        assert_eq!(Payload::from("hello").checked(), Err(NotJson));
        assert_eq!(Payload::from(vec![0xFF]).checked(), Err(NotJson));
    }

    #[test]
    fn json_is_published_as_text_and_other_bytes_as_they_are() {
        assert_eq!(Payload::json("a").unwrap().into_message(), Message::text("\"a\""));
        assert_eq!(Payload::from(vec![1]).into_message(), Message::binary(vec![1]));
    }

    // What users send to each other does not belong in logs.
    #[test]
    fn debug_hides_the_data() {
        assert_eq!(format!("{:?}", Payload::from("secret")), "Payload(6 bytes)");
    }
}
