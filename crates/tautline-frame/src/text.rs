//! Text: bytes that are known to be UTF-8, shared without a copy.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::utf8::InvalidUtf8;

/// UTF-8 text that is cheap to clone and to slice from a receive buffer.
///
/// The bytes were checked when the value was made. This crate keeps `unsafe` out of everything but masking, so
/// [`as_str`](Self::as_str) looks at them once more, at the speed of the CPU's vector instructions; code that only passes
/// text on ([`as_bytes`](Self::as_bytes), [`len`](Self::len), sending it) pays nothing. Take `as_str` once rather than in a loop.
///
/// ```
/// use tautline_frame::Text;
///
/// let text = Text::from("héllo");
/// assert_eq!(&*text, "héllo");
/// assert_eq!(text.len(), 6);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
// In this order: the compiler would put what has values to spare first.
#[repr(C)]
pub struct Text {
    bytes: Bytes,
    checked: Checked,
}

/// The one value of a word behind the bytes of a text. Its other values are where a [`Message`](crate::Message), and every
/// `Option` and `Result` around one, keeps what it is. So the `Bytes` stand at the start of all of them, and moving one copies the
/// same pairs of words at every step. With a tag in front they would shift by a word from step to step, and each load would
/// wait for two stores: that was a third of the time of a message of 16 bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u64)]
enum Checked {
    #[default]
    Utf8,
}

impl Text {
    /// The empty text; no allocation.
    #[must_use]
    pub const fn empty() -> Self {
        Self::from_valid(Bytes::new())
    }

    /// A text that stands in the program; no allocation and no copy.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self::from_valid(Bytes::from_static(text.as_bytes()))
    }

    /// The text as a string slice. Linear in the length: see the [type](Self).
    #[must_use]
    pub fn as_str(&self) -> &str {
        match simdutf8::basic::from_utf8(&self.bytes) {
            Ok(text) => text,
            Err(_) => unreachable!("checked when the value was made, and never changed since"),
        }
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the text, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    const fn from_valid(bytes: Bytes) -> Self {
        Self { bytes, checked: Checked::Utf8 }
    }

    /// For bytes that were checked from the first to the last.
    pub(crate) fn from_checked(bytes: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Self::from_valid(bytes)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from_valid(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from_valid(Bytes::from(text))
    }
}

impl TryFrom<Bytes> for Text {
    type Error = InvalidUtf8;

    fn try_from(bytes: Bytes) -> Result<Self, InvalidUtf8> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self::from_valid(bytes)),
            Err(_) => Err(InvalidUtf8),
        }
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        text.bytes
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
