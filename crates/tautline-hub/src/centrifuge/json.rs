//! JSON as the protocol writes it: one line, members that are zero or empty left out, and the data
//! of applications as they are.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A value of a member.
pub(super) trait Value: Default + PartialEq {
    fn write(&self, out: &mut String);

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;

    /// Reads what stands in a member: `null` is as good as no member.
    fn read_member<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::<Read<Self>>::deserialize(from)?.map(|read| read.0).unwrap_or_default())
    }
}

/// What serde's collections read.
struct Read<T>(T);

impl<'de, T: Value> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::read(from).map(Self)
    }
}

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Adds a member, unless its value is the one that it has without being written, or `always`. The
    /// name is an identifier of Rust: a raw one if it is also a keyword.
    pub(super) fn member(&mut self, name: &str, value: &impl Value, always: bool) {
        if !always && *value == Default::default() {
            return;
        }
        self.name(name.strip_prefix("r#").unwrap_or(name));
        value.write(self.out);
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        write_text(name, self.out);
        self.out.push(':');
    }

    pub(super) fn end(self) {
        self.out.push('}');
    }
}

/// Writes a string with its quotes.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some(c @ ('"' | '\\')) => out.extend(['\\', c]),
            Some(c) => {
                // A `String` takes whatever is written.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Reads an object, where serde's derived code would also take an array of its members.
pub(super) fn read_object<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Members<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(members))
        }
    }

    from.deserialize_map(Members(PhantomData))
}

/// Checks that these bytes are one value of JSON, and nothing else.
pub(super) fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<&RawValue>(bytes).map(|_| ())
}

macro_rules! impl_scalar {
    ($($type:ty),*) => { $(
        impl Value for $type {
            fn write(&self, out: &mut String) {
                let _ = write!(out, "{self}");
            }

            fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::deserialize(from)
            }
        }
    )* };
}

impl_scalar!(bool, i32, i64, u32, u64);

impl Value for String {
    fn write(&self, out: &mut String) {
        write_text(self, out);
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::deserialize(from)
    }
}

/// A value of JSON whatever it is. Where one is written it has been checked.
impl Value for Bytes {
    fn write(&self, out: &mut String) {
        let text = std::str::from_utf8(self).unwrap_or("null");
        // Lines separate messages. In a value they only stand between tokens, as white space.
        let mut lines = text.split('\n');
        out.extend(lines.next());
        for line in lines {
            out.push(' ');
            out.push_str(line);
        }
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(from).map_err(D::Error::custom)?;
        Ok(Self::copy_from_slice(raw.get().as_bytes()))
    }

    /// `null` is a value like others.
    fn read_member<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::read(from)
    }
}

impl<T: Value> Value for Option<T> {
    fn write(&self, out: &mut String) {
        match self {
            Some(value) => value.write(out),
            None => out.push_str("null"),
        }
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::<Read<T>>::deserialize(from)?.map(|read| read.0))
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, out: &mut String) {
        out.push('[');
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            value.write(out);
        }
        out.push(']');
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<Read<T>>::deserialize(from)?.into_iter().map(|read| read.0).collect())
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn write(&self, out: &mut String) {
        let mut object = Object::begin(out);
        for (name, value) in self {
            object.name(name);
            value.write(object.out);
        }
        object.end();
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Read<T>>::deserialize(from)?;
        Ok(map.into_iter().map(|(name, read)| (name, read.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &impl Value) -> String {
        let mut out = String::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn strings_are_escaped_as_serde_json_reads_them() {
        for text in ["", "a", "größe", "\"", "\\", "a\"b\\c", "\0\u{1f}\n\t\r", "\u{7f}\u{2028}😀"]
        {
            let json = written(&text.to_owned());
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text, "{json}");
            assert!(!json.contains('\n'));
        }
    }

    // An application may hand over JSON that is set over several lines; a line is a message.
    #[test]
    fn data_are_written_in_one_line() {
        let pretty = "{\n  \"a\": \"\\n\",\r\n  \"b\": [\n1\n]\n}\n";
        let json = written(&Bytes::from(pretty));
        assert!(!json.contains('\n'), "{json}");
        let (is, was): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&json).unwrap(), serde_json::from_str(pretty).unwrap());
        assert_eq!(is, was);
    }

    #[test]
    fn one_value_is_json_and_anything_else_is_not() {
        for json in ["null", "1", " \"a\" ", "{\"a\":[1,{}]}"] {
            assert!(check(json.as_bytes()).is_ok(), "{json}");
        }
        for not in [&b""[..], b"{", b"1 2", b"hello", b"\"\xff\"", b"{\"a\":\"\n\"}", b"{}{}"] {
            assert!(check(not).is_err(), "{not:?}");
        }
    }
}
