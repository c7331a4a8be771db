//! What nodes tell each other, and how it is written: a version, a kind, the node that tells it, and
//! what the kind has. Numbers are LEB128 unless they are hashes or nodes, which are 8 bytes, big
//! endian; strings and data have their length before them.

mod error;
mod read;
mod write;

pub use self::error::SignalError;
pub(super) use self::read::decode;
pub(super) use self::write::{
    MAX_CHANGES_LEN, MAX_MEMBERS_LEN, ask, beat, bye, delta, digests, piece, put_disconnected,
    put_joined, put_left,
};
use crate::id::NodeId;
use crate::presence::digest::{BucketDigests, Digest};
use crate::presence::mark::{Buckets, Mark};
use crate::topic::Topic;

/// The first byte: how the rest is to be read.
const VERSION: u8 = 1;

/// Kinds of signals.
const BEAT: u8 = 1;
const DELTA: u8 = 2;
const ASK: u8 = 3;
const DIGESTS: u8 = 4;
const PIECE: u8 = 5;
const BYE: u8 = 6;

/// What begins a change. The connection is that of the change before.
const JOINED_TOO: u8 = 0;
/// With its number, user and data.
const JOINED: u8 = 1;
const LEFT: u8 = 2;
const DISCONNECTED: u8 = 3;

/// What begins a mark.
const AT_CONNECTION: u8 = 0;
const AT_TOPIC: u8 = 1;
const AT_END: u8 = 2;

/// Something that a node tells all others.
///
/// The members of a node have a version, which each change increases by 1 and which may wrap. What is
/// told of them is as of a version, and was told in the order of versions.
#[derive(Debug)]
pub(super) enum Signal<'a> {
    /// The node is there, with these members.
    Beat {
        version: u64,
        digest: Digest,
        /// It knows nobody, and all others shall tell it that they are there.
        hello: bool,
    },
    /// Changes that lead to `version`, one each; of some that wait together, the first ones. They
    /// follow each other without a hole.
    Delta { version: u64, changes: Vec<Heard<'a>> },
    /// A question to `owner`.
    Ask {
        owner: NodeId,
        /// For the digests of its buckets.
        digests: bool,
        /// For the members in these.
        buckets: Buckets,
    },
    /// The digests of its buckets.
    Digests { version: u64, digests: Box<BucketDigests> },
    /// All members from a mark to another one.
    Piece { version: u64, from: Mark, to: Mark, members: Vec<HeardMember<'a>> },
    /// The node ends.
    Bye,
}

/// A change of another node.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// A member joined a topic, or has other data there.
    Joined(HeardMember<'a>),
    /// A connection left a topic.
    Left { number: u64, topic: Topic },
    /// A connection left all its topics.
    Disconnected { number: u64 },
}

/// A member of another node.
#[derive(Clone, Debug)]
pub(super) struct HeardMember<'a> {
    pub(super) number: u64,
    pub(super) user: &'a str,
    pub(super) connection_data: &'a [u8],
    pub(super) topic: Topic,
    pub(super) topic_data: &'a [u8],
}
