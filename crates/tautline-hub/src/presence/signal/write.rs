//! Writes signals.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    ASK, AT_CONNECTION, AT_END, AT_TOPIC, BEAT, BYE, DELTA, DIGESTS, DISCONNECTED, JOINED,
    JOINED_TOO, LEFT, PIECE, VERSION,
};
use crate::id::NodeId;
use crate::presence::config::MAX_SIGNAL_LEN;
use crate::presence::digest::{BucketDigests, Digest};
use crate::presence::mark::{Buckets, Mark};
use crate::topic::Topic;

/// What may stand ahead of changes: version, kind, node and a number.
const DELTA_HEAD: usize = 2 + 8 + 10;

/// What changes may take in a signal.
pub(in crate::presence) const MAX_CHANGES_LEN: usize = MAX_SIGNAL_LEN - DELTA_HEAD;

fn head(kind: u8, node: NodeId, capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(2 + 8 + capacity);
    out.put_slice(&[VERSION, kind]);
    out.put_u64(node.as_u64());
    out
}

pub(in crate::presence) fn beat(node: NodeId, version: u64, digest: Digest, hello: bool) -> Bytes {
    let mut out = head(BEAT, node, 10 + 10 + 8 + 1);
    put_number(&mut out, version);
    put_number(&mut out, digest.count);
    out.put_u64(digest.hash);
    out.put_u8(hello.into());
    out.freeze()
}

/// Changes that were put by the functions below, which lead to `version`.
pub(in crate::presence) fn delta(node: NodeId, version: u64, changes: &[u8]) -> Bytes {
    let mut out = head(DELTA, node, 10 + changes.len());
    put_number(&mut out, version);
    out.put_slice(changes);
    out.freeze()
}

pub(in crate::presence) fn ask(
    node: NodeId,
    owner: NodeId,
    digests: bool,
    buckets: &Buckets,
) -> Bytes {
    let mut out = head(ASK, node, 8 + 1 + size_of::<Buckets>());
    out.put_u64(owner.as_u64());
    out.put_u8(digests.into());
    buckets.0.iter().for_each(|word| out.put_u64(*word));
    out.freeze()
}

pub(in crate::presence) fn digests(node: NodeId, version: u64, digests: &BucketDigests) -> Bytes {
    let mut out = head(DIGESTS, node, 10 + size_of::<BucketDigests>());
    put_number(&mut out, version);
    digests.iter().for_each(|digest| out.put_u64(*digest));
    out.freeze()
}

/// The members between two marks, which were put by [`put_joined`].
pub(in crate::presence) fn piece(
    node: NodeId,
    version: u64,
    from: &Mark,
    to: &Mark,
    members: &[u8],
) -> Bytes {
    let mut out = head(PIECE, node, MAX_SIGNAL_LEN - MAX_MEMBERS_LEN + members.len());
    put_number(&mut out, version);
    put_mark(&mut out, from);
    put_mark(&mut out, to);
    out.put_slice(members);
    out.freeze()
}

/// What members may take in a piece: it has two marks ahead of them, each with a topic of two bytes
/// and its name.
pub(in crate::presence) const MAX_MEMBERS_LEN: usize =
    MAX_CHANGES_LEN - 2 * (1 + 8 + 2 + crate::topic::MAX_LEN);

pub(in crate::presence) fn bye(node: NodeId) -> Bytes {
    head(BYE, node, 0).freeze()
}

/// A member. Of a connection that was put just before, only the topic is put: so it is if `connection`
/// is none.
pub(in crate::presence) fn put_joined(
    out: &mut BytesMut,
    connection: Option<(u64, &str, &[u8])>,
    topic: &Topic,
    data: &[u8],
) {
    match connection {
        None => out.put_u8(JOINED_TOO),
        Some((number, user, data)) => {
            out.put_u8(JOINED);
            put_number(out, number);
            put_bytes(out, user.as_bytes());
            put_bytes(out, data);
        }
    }
    put_bytes(out, topic.as_str().as_bytes());
    put_bytes(out, data);
}

pub(in crate::presence) fn put_left(out: &mut BytesMut, number: u64, topic: &Topic) {
    out.put_u8(LEFT);
    put_number(out, number);
    put_bytes(out, topic.as_str().as_bytes());
}

pub(in crate::presence) fn put_disconnected(out: &mut BytesMut, number: u64) {
    out.put_u8(DISCONNECTED);
    put_number(out, number);
}

fn put_mark(out: &mut BytesMut, mark: &Mark) {
    match mark {
        Mark::At(key, None) => {
            out.put_u8(AT_CONNECTION);
            out.put_u64(*key);
        }
        Mark::At(key, Some(topic)) => {
            out.put_u8(AT_TOPIC);
            out.put_u64(*key);
            put_bytes(out, topic.as_str().as_bytes());
        }
        Mark::End => out.put_u8(AT_END),
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn put_number(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}
