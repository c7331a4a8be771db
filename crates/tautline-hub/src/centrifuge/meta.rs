//! What a hub's publication says beside its message, for clients of this protocol.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::data::{ClientInfo, Publication};
use super::payload::Payload;
use crate::publication::{DecodeError, Publication as Published, put_field, take_field};

/// The first byte, so that nodes of other versions can be told apart.
const VERSION: u8 = 1;

impl Publication {
    /// As the hub publishes it. The offset is not in it.
    #[must_use]
    pub fn into_published(self) -> Published {
        let Self { data, info, tags, offset: _ } = self;
        let published = Published::new(data.into_message());
        if info.is_none() && tags.is_empty() {
            return published;
        }
        published.meta(encode(info.as_ref(), &tags))
    }

    /// As the hub delivers it. It need not have been published by a client of this protocol.
    ///
    /// # Errors
    /// If what it says beside its message is not of this protocol, or of another version of it.
    pub fn from_published(published: &Published, offset: u64) -> Result<Self, DecodeError> {
        let (info, tags) = match published.get_meta() {
            Some(meta) => decode(meta.clone())?,
            None => (None, BTreeMap::new()),
        };
        Ok(Self { data: published.message().clone().into(), info, tags, offset })
    }

    /// The same, where what it says beside its message means nothing to clients if it is of another
    /// protocol.
    pub(super) fn of_published(published: &Published, offset: u64) -> Self {
        Self::from_published(published, offset)
            .unwrap_or_else(|_| Self { offset, ..Self::new(published.message().clone()) })
    }
}

fn encode(info: Option<&ClientInfo>, tags: &BTreeMap<String, String>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(&[VERSION, u8::from(info.is_some())]);
    if let Some(ClientInfo { client, user, connection, subscription }) = info {
        let fields =
            [client.as_bytes(), user.as_bytes(), connection.as_bytes(), subscription.as_bytes()];
        fields.into_iter().for_each(|field| put_field(&mut out, field));
    }
    for (name, value) in tags {
        put_field(&mut out, name.as_bytes());
        put_field(&mut out, value.as_bytes());
    }
    out.freeze()
}

type Meta = (Option<ClientInfo>, BTreeMap<String, String>);

fn decode(mut meta: Bytes) -> Result<Meta, DecodeError> {
    let version = meta.try_get_u8().map_err(|_| DecodeError::Malformed)?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let info = match meta.try_get_u8() {
        Ok(0) => None,
        Ok(1) => Some(ClientInfo {
            client: text(&mut meta)?,
            user: text(&mut meta)?,
            connection: Payload::from(take_field(&mut meta)?),
            subscription: Payload::from(take_field(&mut meta)?),
        }),
        _ => return Err(DecodeError::Malformed),
    };
    let mut tags = BTreeMap::new();
    while !meta.is_empty() {
        tags.insert(text(&mut meta)?, text(&mut meta)?);
    }
    Ok((info, tags))
}

fn text(meta: &mut Bytes) -> Result<String, DecodeError> {
    String::from_utf8(take_field(meta)?.into()).map_err(|_| DecodeError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Publication {
        let mut info = ClientInfo::new("c1", "alice");
        info.connection = "{\"name\":\"Alice\"}".into();
        info.subscription = vec![0, 255].into();
        let tags = [("lang", "de"), ("größe", "")];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Publication {
            info: Some(info),
            tags: tags.into(),
            offset: 7,
            ..Publication::new(Payload::json("data").unwrap())
        }
    }

    #[test]
    fn what_is_published_is_delivered() {
        for publication in [whole(), Publication::new("plain"), Publication::new(vec![0, 1])] {
            let offset = publication.offset;
            let published = publication.clone().into_published();
            // As it goes from one node to another.
            let published = Published::decode(published.encode()).unwrap();
            assert_eq!(Publication::from_published(&published, offset), Ok(publication));
        }
    }

    // Publications of others say nothing beside their message, or something else.
    #[test]
    fn what_others_publish_is_delivered_or_an_error() {
        let plain = Publication::from_published(&Published::new("{}"), 3).unwrap();
        assert_eq!((plain.data, plain.info, plain.offset), ("{}".into(), None, 3));
        let meta = |meta: &[u8]| Published::new("{}").meta(meta.to_vec());
        let error = |published| Publication::from_published(&published, 0).unwrap_err();
        assert_eq!(error(meta(b"")), DecodeError::Malformed);
        assert_eq!(error(meta(&[2, 0])), DecodeError::Version(2));
        let whole = encode(whole().info.as_ref(), &BTreeMap::new());
        for len in 1..whole.len() {
            assert_eq!(error(meta(&whole[..len])), DecodeError::Malformed, "{len}");
        }
        assert_eq!(error(meta(&[1, 0, 0, 0, 0, 1, 0xFF, 0, 0, 0, 0])), DecodeError::Utf8);
    }
}
