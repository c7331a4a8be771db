//! What a set of members comes to in a few bytes: the same on all nodes, whatever they were built
//! with, and kept up to date with each change.

use crate::topic::Topic;

/// How many parts the members of a node are in, each with a digest of its own, so that a difference is
/// found without sending everything: 8 bytes for each fit in one signal.
pub(super) const BUCKETS: usize = 256;

/// How many members there are, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) count: u64,
    pub(super) hash: u64,
}

/// The sums of the hashes of each bucket.
pub(super) type BucketDigests = [u64; BUCKETS];

/// What a connection adds to the hashes of its members.
pub(super) fn hash_of_connection(user: &str, data: &[u8]) -> u64 {
    Hash::new().bytes(user.as_bytes()).bytes(data).finish()
}

/// The hash of a member: `connection` is of [`hash_of_connection`].
pub(super) fn hash_of_member(number: u64, connection: u64, topic: &Topic, data: &[u8]) -> u64 {
    let hash = Hash::new().number(number).number(connection);
    hash.bytes(topic.as_str().as_bytes()).bytes(data).finish()
}

/// FNV-1a over words of 8 bytes, with a good mixing of bits after each. It only finds what was lost;
/// whoever makes collisions on purpose only hides what they do themselves.
struct Hash(u64);

impl Hash {
    const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    const fn number(self, number: u64) -> Self {
        // The finalizer of SplitMix64.
        let mut mixed = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01B3);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(mixed ^ (mixed >> 31))
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let whole = self.number(bytes.len() as u64);
        bytes.chunks(8).fold(whole, |hash, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash.number(u64::from_le_bytes(word))
        })
    }

    const fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Nodes of another build compare these numbers with theirs.
    #[test]
    fn hashes_never_change() {
        let connection = hash_of_connection("anna", b"data");
        let member = hash_of_member(7, connection, &Topic::new("a.b").unwrap(), b"123456789");
        assert_eq!((connection, member), (0x8189_D9E7_7176_71D2, 0x0C2D_07CE_5CC3_1F66));
    }

    #[test]
    fn every_part_of_a_member_counts() {
        let topic = |name: &str| Topic::new(name).unwrap();
        let all = [
            hash_of_member(1, 1, &topic("a"), b""),
            hash_of_member(2, 1, &topic("a"), b""),
            hash_of_member(1, 2, &topic("a"), b""),
            hash_of_member(1, 1, &topic("b"), b""),
            hash_of_member(1, 1, &topic("a"), b"\0"),
            hash_of_member(1, 1, &topic("a"), b"\0\0"),
            hash_of_connection("a", b"b"),
            hash_of_connection("ab", b""),
            hash_of_connection("", b"ab"),
        ];
        for (index, hash) in all.iter().enumerate() {
            assert!(!all[..index].contains(hash), "{index}");
        }
    }
}
