//! Text: bytes that are known to be UTF-8, shared without copying.

use std::borrow::{Borrow, Cow};
use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

use bytes::{Bytes, BytesMut};

use crate::utf8::InvalidUtf8;

/// UTF-8 text that is cheap to clone, and that can share the memory of a receive buffer.
///
/// It dereferences to `str`, at no cost: the bytes are checked once, when the value is made.
///
/// ```
/// use tautline_frame::Text;
///
/// let text = Text::from("héllo");
/// assert_eq!(text, "héllo");
/// assert_eq!(text.len(), 6);
/// assert!(text.starts_with('h'));
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
// In this order: the compiler would put the field with a niche first.
#[repr(C)]
pub struct Text {
    /// Always UTF-8. Nothing outside this file can set it, and nothing in it changes it.
    bytes: Bytes,
    checked: Checked,
}

/// The only value of a word after the bytes of a text. Its other values are the niche in which a
/// [`Message`](crate::Message), and every `Option` and `Result` around one, keeps its discriminant.
/// So the `Bytes` are at the start of all of them, and moving one copies the same pairs of words at
/// every step. With a tag in front they would shift by a word from step to step, and each load
/// would wait for two stores: that was a third of the time of a message of 16 bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
enum Checked {
    #[default]
    Utf8,
}

impl Text {
    /// The empty text; does not allocate.
    #[must_use]
    pub const fn empty() -> Self {
        Self::from_valid(Bytes::new())
    }

    /// The text of a string literal or another `'static` string; neither allocates nor copies.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self::from_valid(Bytes::from_static(text.as_bytes()))
    }

    /// The text as a string slice, at no cost.
    #[inline]
    #[must_use]
    #[expect(unsafe_code, reason = "the bytes were checked when the value was made")]
    pub fn as_str(&self) -> &str {
        // SAFETY: `bytes` is UTF-8. Only `from_valid` sets it, which is private to this file. Its
        // callers pass the bytes of a `str` or `String`, or bytes that `simdutf8` accepted, or are
        // `from_checked`, whose callers checked every byte. No method changes the bytes of a value,
        // and `Bytes` allows nobody else to.
        unsafe { std::str::from_utf8_unchecked(&self.bytes) }
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

    /// Whether the text is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes must be valid UTF-8: [`as_str`](Self::as_str) relies on it.
    const fn from_valid(bytes: Bytes) -> Self {
        Self { bytes, checked: Checked::Utf8 }
    }

    /// The bytes must be those of a message that the protocol has checked from the first to the
    /// last, as they arrived. [`as_str`](Self::as_str) relies on it: calling this without the check
    /// breaks the safety of the crate.
    pub(crate) fn from_checked(bytes: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Self::from_valid(bytes)
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
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

/// A map with `Text` keys can be searched with a `&str`.
impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// As `str` does: see [`Borrow<str>`](Borrow).
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from_valid(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// Takes over the memory of the string, without copying.
impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from_valid(Bytes::from(text))
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

/// Takes over the memory of the string, without copying.
impl From<Box<str>> for Text {
    fn from(text: Box<str>) -> Self {
        Self::from(String::from(text))
    }
}

/// Takes over the memory of an owned string; copies a borrowed one.
impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::from(text),
            Cow::Owned(text) => Self::from(text),
        }
    }
}

impl From<char> for Text {
    fn from(char: char) -> Self {
        Self::from(&*char.encode_utf8(&mut [0; 4]))
    }
}

impl FromStr for Text {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
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

impl TryFrom<BytesMut> for Text {
    type Error = InvalidUtf8;

    fn try_from(bytes: BytesMut) -> Result<Self, InvalidUtf8> {
        Self::try_from(bytes.freeze())
    }
}

impl TryFrom<Vec<u8>> for Text {
    type Error = InvalidUtf8;

    fn try_from(bytes: Vec<u8>) -> Result<Self, InvalidUtf8> {
        Self::try_from(Bytes::from(bytes))
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        text.bytes
    }
}

/// Copies the text.
impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

/// Joins all pieces to one text, as `String` does.
macro_rules! collect_from {
    ($($piece:ty),*) => {$(
        impl<'a> FromIterator<$piece> for Text {
            fn from_iter<I: IntoIterator<Item = $piece>>(pieces: I) -> Self {
                Self::from(String::from_iter(pieces))
            }
        }
    )*};
}

collect_from!(char, &'a char, &'a str, String, Box<str>, Cow<'a, str>);

impl FromIterator<Self> for Text {
    fn from_iter<I: IntoIterator<Item = Self>>(pieces: I) -> Self {
        let mut text = String::new();
        pieces.into_iter().for_each(|piece| text.push_str(&piece));
        Self::from(text)
    }
}

/// Comparison with the other text types, both ways.
macro_rules! equal_to {
    ($($other:ty),*) => {$(
        impl PartialEq<$other> for Text {
            fn eq(&self, other: &$other) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }

        impl PartialEq<Text> for $other {
            fn eq(&self, other: &Text) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }
    )*};
}

equal_to!(str, &str, String, Cow<'_, str>);

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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    // `as_str` checked the bytes again, so a loop over the characters of a message took time
    // quadratic in its length.
    #[test]
    fn a_text_is_a_str_in_the_same_place() {
        let bytes = Bytes::from("a\u{e9}\u{1f600}");
        let text = Text::try_from(bytes.clone()).unwrap();
        assert!(std::ptr::eq(text.as_bytes(), &*bytes));
        assert!(std::ptr::eq(text.as_str().as_bytes(), &*bytes));
        assert_eq!(text.chars().count(), 3);
        assert_eq!(text.into_bytes(), bytes);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_no_text() {
        for bytes in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
            assert_eq!(Text::try_from(Bytes::from(bytes)), Err(InvalidUtf8));
            assert_eq!(Text::try_from(BytesMut::from(bytes)), Err(InvalidUtf8));
            assert_eq!(Text::try_from(bytes.to_vec()), Err(InvalidUtf8));
        }
    }

    #[test]
    fn a_text_is_made_of_whatever_holds_text() {
        let expected = Text::from_static("h\u{e9}");
        let made = [
            Text::from("h\u{e9}"),
            Text::from(String::from("h\u{e9}")),
            Text::from(&String::from("h\u{e9}")),
            Text::from(Box::<str>::from("h\u{e9}")),
            Text::from(Cow::Borrowed("h\u{e9}")),
            Text::from(Cow::Owned(String::from("h\u{e9}"))),
            "h\u{e9}".parse().unwrap(),
            Text::try_from(BytesMut::from("h\u{e9}")).unwrap(),
            Text::try_from(Vec::from("h\u{e9}")).unwrap(),
            ['h', '\u{e9}'].iter().collect(),
            ['h', '\u{e9}'].into_iter().collect(),
            ["h", "\u{e9}"].into_iter().collect(),
            ["h", "\u{e9}"].map(String::from).into_iter().collect(),
            ["h", "\u{e9}"].map(Box::<str>::from).into_iter().collect(),
            ["h", "\u{e9}"].map(Cow::from).into_iter().collect(),
            ['h', '\u{e9}'].map(Text::from).into_iter().collect(),
        ];
        for text in made {
            assert_eq!(text, expected);
        }
        assert_eq!(String::from(expected.clone()), "h\u{e9}");
        assert_eq!(Bytes::from(expected), "h\u{e9}".as_bytes());
        assert_eq!(Text::default(), Text::empty());
    }

    #[test]
    fn a_text_equals_the_other_types_of_text_both_ways() {
        let text = Text::from("abc");
        let (string, cow) = (String::from("abc"), Cow::from("abc"));
        assert_eq!(text, "abc");
        assert_eq!("abc", text);
        assert_eq!(text, *"abc");
        assert_eq!(*"abc", text);
        assert_eq!(text, string);
        assert_eq!(string, text);
        assert_eq!(text, cow);
        assert_eq!(cow, text);
        assert_ne!(text, "abd");
        assert_ne!("abd", text);
    }

    #[test]
    fn a_map_of_texts_is_searched_with_a_str() {
        let hasher = RandomState::new();
        assert_eq!(hasher.hash_one(Text::from("abc")), hasher.hash_one("abc"));
        let map = HashMap::from([(Text::from("abc"), 1)]);
        assert_eq!(map.get("abc"), Some(&1));
        let set = BTreeSet::from(["b", "a", "\u{e9}", "ab"].map(Text::from));
        assert!(set.contains("a"));
        assert!(set.iter().map(Text::as_str).eq(BTreeSet::from(["b", "a", "\u{e9}", "ab"])));
    }
}
