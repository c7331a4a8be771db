//! A message as it is published, and how it goes from one node to another.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tautline::{Kind, Message};

use crate::id::{MemberId, NodeId};

/// A message for a topic.
///
/// ```
/// use tautline_hub::Publication;
///
/// let price = Publication::new("TAUT 101.25").key("TAUT");
/// assert_eq!(price.message().as_text(), Some("TAUT 101.25"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Publication {
    message: Message,
    key: Option<Bytes>,
    meta: Option<Bytes>,
    exclude: Option<MemberId>,
    /// The node where it was published, if that has given it to its own subscribers.
    origin: Option<NodeId>,
}

/// The longest [key](Publication::key), in bytes.
pub const MAX_KEY_LEN: usize = 255;

impl Publication {
    /// A publication of this message.
    #[must_use]
    pub fn new(message: impl Into<Message>) -> Self {
        Self { message: message.into(), key: None, meta: None, exclude: None, origin: None }
    }

    /// What it is about, such as the symbol of a price: for those who are too slow, and want the latest
    /// of each key ([`Slow::latest`](crate::Slow::latest)). At most [`MAX_KEY_LEN`] bytes; of a longer
    /// one, the first.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        let key = key.into();
        self.key = Some(key.slice(..key.len().min(MAX_KEY_LEN)));
        self
    }

    /// What a protocol tells of it beside the message, such as who published it. It goes to all nodes,
    /// and means nothing to the hub.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Bytes>) -> Self {
        self.meta = Some(meta.into());
        self
    }

    /// Not for this member.
    #[must_use]
    pub const fn exclude(mut self, member: MemberId) -> Self {
        self.exclude = Some(member);
        self
    }

    /// Subscribers of this node have it.
    pub(crate) const fn published_by(mut self, node: NodeId) -> Self {
        self.origin = Some(node);
        self
    }

    pub(crate) fn is_from(&self, node: NodeId) -> bool {
        self.origin == Some(node)
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// What it is about.
    #[must_use]
    pub const fn get_key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// What a protocol tells of it.
    #[must_use]
    pub const fn get_meta(&self) -> Option<&Bytes> {
        self.meta.as_ref()
    }

    /// Who does not get it.
    #[must_use]
    pub const fn excluded(&self) -> Option<MemberId> {
        self.exclude
    }
}

impl<M: Into<Message>> From<M> for Publication {
    fn from(message: M) -> Self {
        Self::new(message)
    }
}

/// Without the message, which does not belong in logs.
impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("kind", &self.message.kind())
            .field("len", &self.message.len())
            .field("key", &self.key)
            .field("exclude", &self.exclude)
            .finish_non_exhaustive()
    }
}

/// The first byte: how the rest is to be read.
const VERSION: u8 = 1;
/// Bits of the second byte: what is there.
const TEXT: u8 = 1;
const KEY: u8 = 2;
const META: u8 = 4;
const EXCLUDE: u8 = 8;
const ORIGIN: u8 = 16;

/// What came from another node is not a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is of a version that this one does not know: so says its first byte.
    Version(u8),
    /// It ends too early, or has what does not belong there.
    Malformed,
    /// It is said to be text, and is not UTF-8.
    Utf8,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "a publication of version {version}"),
            Self::Malformed => f.write_str("a publication that is cut off or damaged"),
            Self::Utf8 => f.write_str("a text that is not UTF-8"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl Publication {
    /// As brokers carry it from node to node, and keep it in a history: a version, what there is, the
    /// excluded member, the node that it is from, key and meta with their lengths (32 bits, big endian), and the payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let fields = [&self.key, &self.meta];
        let lengths: usize =
            fields.iter().flat_map(|field| field.as_ref()).map(|f| f.len() + 4).sum();
        let payload = self.message.as_bytes();
        let mut out = BytesMut::with_capacity(2 + 24 + lengths + payload.len());
        let mut flags = 0;
        for (flag, there) in [
            (TEXT, self.message.as_text().is_some()),
            (KEY, self.key.is_some()),
            (META, self.meta.is_some()),
            (EXCLUDE, self.exclude.is_some()),
            (ORIGIN, self.origin.is_some()),
        ] {
            flags |= if there { flag } else { 0 };
        }
        out.put_slice(&[VERSION, flags]);
        if let Some(member) = self.exclude {
            out.put_u64(member.node.as_u64());
            out.put_u64(member.number);
        }
        if let Some(node) = self.origin {
            out.put_u64(node.as_u64());
        }
        fields.into_iter().flatten().for_each(|field| put_field(&mut out, field));
        out.put_slice(payload);
        out.freeze()
    }

    /// Reads what [`encode`](Self::encode) made. The payload is a part of `bytes`.
    ///
    /// # Errors
    /// Why it is not one.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        let version = bytes.try_get_u8().map_err(|_| DecodeError::Malformed)?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let flags = bytes.try_get_u8().map_err(|_| DecodeError::Malformed)?;
        if flags & !(TEXT | KEY | META | EXCLUDE | ORIGIN) != 0 {
            return Err(DecodeError::Malformed);
        }
        let exclude = (flags & EXCLUDE != 0).then(|| member(&mut bytes)).transpose()?;
        let origin = (flags & ORIGIN != 0).then(|| node(&mut bytes)).transpose()?;
        let key = (flags & KEY != 0).then(|| take_field(&mut bytes)).transpose()?;
        if key.as_ref().is_some_and(|key| key.len() > MAX_KEY_LEN) {
            return Err(DecodeError::Malformed);
        }
        let meta = (flags & META != 0).then(|| take_field(&mut bytes)).transpose()?;
        let kind = if flags & TEXT != 0 { Kind::Text } else { Kind::Binary };
        let message = kind.message(bytes).ok_or(DecodeError::Utf8)?;
        Ok(Self { message, key, meta, exclude, origin })
    }
}

fn number(bytes: &mut Bytes) -> Result<u64, DecodeError> {
    bytes.try_get_u64().map_err(|_| DecodeError::Malformed)
}

fn node(bytes: &mut Bytes) -> Result<NodeId, DecodeError> {
    number(bytes).map(NodeId::from_u64)
}

fn member(bytes: &mut Bytes) -> Result<MemberId, DecodeError> {
    Ok(MemberId { node: node(bytes)?, number: number(bytes)? })
}

/// Puts a field behind its length. A message is bounded far below what 32 bits can say; a longer field is cut off.
pub(crate) fn put_field(out: &mut BytesMut, field: &[u8]) {
    let len = u32::try_from(field.len()).unwrap_or(u32::MAX);
    out.put_u32(len);
    out.put_slice(&field[..len as usize]);
}

/// Takes a field that [`put_field`] has put.
pub(crate) fn take_field(bytes: &mut Bytes) -> Result<Bytes, DecodeError> {
    let len = bytes.try_get_u32().map_err(|_| DecodeError::Malformed)? as usize;
    if bytes.len() < len {
        return Err(DecodeError::Malformed);
    }
    Ok(bytes.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> MemberId {
        MemberId { node: NodeId::from_u64(7), number: 9 }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let all = [
            Publication::new(""),
            Publication::new("größe"),
            Publication::new(vec![0, 255]),
            Publication::new("a").key("k").meta("m").exclude(member()),
            Publication::new(vec![1; 70_000]).key(vec![]),
            Publication::new("b").meta(vec![2; 70_000]).published_by(NodeId::from_u64(3)),
        ];
        for publication in all {
            assert_eq!(Publication::decode(publication.encode()), Ok(publication));
        }
    }

    // Another node may be of another version, or the broker may be used by others.
    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = Publication::new("a").key("kk").meta("mm").exclude(member()).encode();
        for len in 0..whole.len() - 1 {
            assert_eq!(Publication::decode(whole.slice(..len)), Err(DecodeError::Malformed));
        }
        let with = |index: usize, byte: u8| {
            let mut bytes = whole.to_vec();
            bytes[index] = byte;
            Publication::decode(bytes.into())
        };
        assert_eq!(with(0, 2), Err(DecodeError::Version(2)));
        assert_eq!(with(1, 0x20), Err(DecodeError::Malformed));
        assert_eq!(with(18, 0xFF), Err(DecodeError::Malformed), "a length beyond the end");
        assert_eq!(with(whole.len() - 1, 0xFF), Err(DecodeError::Utf8));
        let mut long = vec![VERSION, KEY, 0, 0, 1, 0];
        long.extend([b'x'; 256]);
        assert_eq!(Publication::decode(long.into()), Err(DecodeError::Malformed));
    }

    #[test]
    fn a_key_is_bounded() {
        let publication = Publication::new("a").key(vec![b'k'; 1000]);
        assert_eq!(publication.get_key().unwrap().len(), MAX_KEY_LEN);
    }
}
