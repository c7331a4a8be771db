//! What is sent in DATA.

use std::io::IoSlice;

use bytes::buf::Chain;
use bytes::{Buf, Bytes, BytesMut};

/// Up to this many bytes need no allocation: as many as fit into what a [`Bytes`] takes anyway. `h2`
/// moves that several times for each DATA.
pub(super) const SHORT: usize = 37;

/// The payload of one DATA: a few bytes, or one or two pieces that stay where they are.
#[derive(Debug)]
pub(crate) enum Data {
    Short { bytes: [u8; SHORT], start: u8, left: u8 },
    One(Bytes),
    Two(Box<Chain<Bytes, Bytes>>),
}

impl Data {
    pub(super) const fn empty() -> Self {
        Self::Short { bytes: [0; SHORT], start: 0, left: 0 }
    }

    pub(super) fn pieces([first, second]: [Bytes; 2]) -> Self {
        if second.is_empty() { Self::One(first) } else { Self::Two(Box::new(first.chain(second))) }
    }

    /// The first `count` bytes of these, which has to be no more than there are.
    pub(super) fn copy<'a>(count: usize, slices: impl IntoIterator<Item = &'a [u8]>) -> Self {
        if count <= SHORT {
            let (mut bytes, mut end) = ([0; SHORT], 0);
            for slice in slices {
                let some = slice.len().min(count - end);
                bytes[end..end + some].copy_from_slice(&slice[..some]);
                end += some;
            }
            return Self::Short { bytes, start: 0, left: end as u8 };
        }
        let mut all = BytesMut::with_capacity(count);
        for slice in slices {
            all.extend_from_slice(&slice[..slice.len().min(count - all.len())]);
        }
        Self::One(all.freeze())
    }
}

impl Buf for Data {
    #[inline(always)]
    fn remaining(&self) -> usize {
        match self {
            Self::Short { left, .. } => usize::from(*left),
            Self::One(piece) => piece.len(),
            Self::Two(pieces) => pieces.remaining(),
        }
    }

    #[inline(always)]
    fn chunk(&self) -> &[u8] {
        match self {
            Self::Short { bytes, start, left } => {
                &bytes[usize::from(*start)..][..usize::from(*left)]
            }
            Self::One(piece) => piece,
            Self::Two(pieces) => pieces.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match (self, slices) {
            (Self::Two(pieces), slices) => pieces.chunks_vectored(slices),
            (Self::Short { .. } | Self::One(_), [first, ..]) if self.has_remaining() => {
                *first = IoSlice::new(self.chunk());
                1
            }
            _ => 0,
        }
    }

    #[inline(always)]
    fn advance(&mut self, count: usize) {
        match self {
            Self::Short { start, left, .. } => {
                assert!(count <= usize::from(*left), "advanced by more than there is");
                *start += count as u8;
                *left -= count as u8;
            }
            Self::One(piece) => piece.advance(count),
            Self::Two(pieces) => pieces.advance(count),
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn all_forms_hold_the_bytes_they_were_given() {
        let all: Vec<u8> = (0..200).collect();
        for cut in [0, 1, 30, SHORT, SHORT + 1, 100, 200] {
            for count in [0, 1, 30, SHORT, SHORT + 1, 200] {
                let (first, second) = all.split_at(cut);
                let split = count.min(cut);
                let pieces = [
                    Bytes::copy_from_slice(&first[..split]),
                    Bytes::copy_from_slice(&second[..count - split]),
                ];
                for mut data in [Data::copy(count, [first, second]), Data::pieces(pieces)] {
                    let mut slices = [IoSlice::new(&[]); 4];
                    let used = data.chunks_vectored(&mut slices);
                    let seen = slices[..used].iter().flat_map(|slice| slice.to_vec());
                    assert_eq!(seen.collect::<Vec<u8>>(), all[..count]);
                    let mut out = Vec::new();
                    while data.has_remaining() {
                        out.extend_from_slice(&data.chunk()[..1]);
                        data.advance(1);
                    }
                    assert_eq!(out, all[..count], "{cut} {count}");
                }
            }
        }
        assert!(!Data::empty().has_remaining());
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn what_is_moved_for_each_data_stays_small() {
        assert_eq!(size_of::<Data>(), size_of::<Bytes>() + 8);
    }
}
