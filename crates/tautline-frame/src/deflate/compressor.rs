//! From a message to compressed bytes (RFC 7692 section 7.2.1).

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};

use super::TAIL;
use super::kept::{self, Kept};
use super::window::Window;

/// What a flush may need beyond the data. With less room than this it could be cut in two, and
/// would be repeated.
const FLUSH_ROOM: usize = 32;

/// How many bytes are looked at before binary data is compressed, in pieces from all over it.
const SAMPLE: usize = 256;
const PIECES: usize = 8;

/// How many compressors a thread keeps, which compresses one message at a time.
const KEPT_COMPRESSORS: usize = 2;

/// How much room for output a thread keeps, in bytes.
const KEPT_SCRATCH: usize = 64 << 10;

thread_local! {
    /// They have forgotten what they compressed.
    static COMPRESSORS: Kept<Box<Compressor>> = const { Kept::new(KEPT_COMPRESSORS) };
    static SCRATCH: Kept<Vec<u8>> = const { Kept::new(1) };
}

#[derive(Debug)]
pub(super) struct Compressor {
    stream: Compress,
    window_bits: u8,
    level: u8,
}

impl Compressor {
    /// A compressor with an empty context.
    pub(super) fn borrow(window_bits: u8, level: u8) -> Box<Self> {
        let kept =
            kept::take(&COMPRESSORS, |kept| kept.window_bits == window_bits && kept.level == level);
        kept.unwrap_or_else(|| {
            let level_of = Compression::new(u32::from(level));
            let stream = Compress::new_with_window_bits(level_of, false, window_bits);
            Box::new(Self { stream, window_bits, level })
        })
    }

    pub(super) fn give_back(mut self: Box<Self>) {
        self.forget();
        kept::give(&COMPRESSORS, self);
    }

    /// Begins with an empty window again.
    pub(super) fn forget(&mut self) {
        self.stream.reset();
    }

    /// Continues as if these bytes had been compressed, after everything was forgotten.
    pub(super) fn remember(&mut self, sent: &Window) {
        let bytes = sent.parts().concat();
        if !bytes.is_empty() {
            // In one piece: it takes a dictionary at its start only. Cannot fail there.
            let _ = self.stream.set_dictionary(&bytes);
        }
    }

    /// The payload of the message, or `None` when it would have `limit` bytes or more. It has to
    /// [`forget`](Self::forget) after that.
    pub(super) fn compress(&mut self, message: &[u8], limit: usize) -> Option<Bytes> {
        if message.is_empty() {
            // RFC 7692 section 7.2.3.6. Compressors have nothing to flush then, or write it twice.
            return (limit > 1).then(|| Bytes::from_static(&[0]));
        }
        let mut out = kept::take(&SCRATCH, |_| true).unwrap_or_default();
        let whole = self.compress_into(message, &mut out, limit);
        if !whole || out.len() >= limit {
            give_scratch(out);
            return None;
        }
        if out.capacity() > KEPT_SCRATCH {
            // It would not be kept anyway.
            return Some(Bytes::from(out));
        }
        let compressed = Bytes::copy_from_slice(&out);
        give_scratch(out);
        Some(compressed)
    }

    /// Compresses a piece of a message and writes what it likes.
    pub(super) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.run(piece, out, FlushCompress::None, usize::MAX);
    }

    /// Compresses a piece of a message and writes everything, but for the [`TAIL`] at its end.
    pub(super) fn flush(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.compress_into(piece, out, usize::MAX);
    }

    /// Returns whether all of it is in `out`.
    fn compress_into(&mut self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
        let whole = self.run(input, out, FlushCompress::Sync, limit.saturating_add(TAIL.len()));
        if !whole || !out.ends_with(&TAIL) {
            return false;
        }
        out.truncate(out.len() - TAIL.len());
        true
    }

    /// Returns whether all of the input was taken, and all that is to be written is in `out`.
    fn run(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        flush: FlushCompress,
        limit: usize,
    ) -> bool {
        loop {
            if out.capacity() - out.len() < FLUSH_ROOM {
                out.reserve(input.len() / 2 + FLUSH_ROOM);
            }
            let consumed = self.stream.total_in();
            if self.stream.compress_vec(input, out, flush).is_err() {
                return false;
            }
            input = &input[(self.stream.total_in() - consumed) as usize..];
            if input.is_empty() && out.len() < out.capacity() {
                return true;
            }
            if out.len() >= limit {
                return false;
            }
        }
    }
}

fn give_scratch(mut scratch: Vec<u8>) {
    if scratch.capacity() <= KEPT_SCRATCH {
        scratch.clear();
        kept::give(&SCRATCH, scratch);
    }
}

/// The payload of a message as a block that is not compressed (RFC 1951 section 3.2.4), after
/// whatever was flushed before, with the first byte of the empty one that ends every message. For a
/// message of less than 64 KiB.
pub(super) fn stored(message: &[u8]) -> Bytes {
    let len = message.len() as u16;
    let mut out = Vec::with_capacity(message.len() + 6);
    out.push(0);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(!len).to_le_bytes());
    out.extend_from_slice(message);
    out.push(0);
    Bytes::from(out)
}

/// Whether the bytes are spread as evenly as those of compressed or encrypted data, going by a
/// sample: then compressing them is work for nothing.
pub(super) fn looks_random(data: &[u8]) -> bool {
    if data.len() < SAMPLE {
        return false;
    }
    let mut counts = [0u8; 256];
    let (piece, step) = (SAMPLE / PIECES, data.len() / PIECES);
    for start in (0..PIECES).map(|index| index * step) {
        for &byte in &data[start..start + piece] {
            counts[usize::from(byte)] = counts[usize::from(byte)].saturating_add(1);
        }
    }
    // The number of pairs of equal bytes, each twice: with n bytes of k equally frequent values
    // about n * (n - 1) / k. Random data has k = 256, text and numbers 50 and less; in between,
    // there is something to gain.
    let pairs: u32 = counts.iter().map(|&count| u32::from(count)).map(|n| n * n - n).sum();
    let n = SAMPLE as u32;
    pairs < n * (n - 1) / 160
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(len: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn random_data_is_told_from_text_and_numbers() {
        for len in [256, 300, 1000, 16 << 10, 1 << 20] {
            assert!(looks_random(&random(len)), "{len}");
            let text: Vec<u8> = b"{\"symbol\":\"TAUT\",\"price\":101.25,\"size\":300},"
                .iter()
                .copied()
                .cycle()
                .take(len)
                .collect();
            assert!(!looks_random(&text), "{len}");
            let numbers: Vec<u8> = (0..len as u32 / 4).flat_map(u32::to_le_bytes).collect();
            assert!(!looks_random(&numbers), "{len}");
        }
        assert!(!looks_random(&random(255)), "too short to tell");
    }

    #[test]
    fn a_sample_of_one_value_alone_does_not_overflow_its_count() {
        assert!(!looks_random(&[7; 4096]));
    }

    // RFC 7692 section 7.2.3.1 has these bytes for "Hello".
    #[test]
    fn hello_is_the_example_of_the_rfc() {
        let mut compressor = Compressor::borrow(15, 6);
        let first = compressor.compress(b"Hello", usize::MAX);
        assert_eq!(first.as_deref(), Some(&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..]));
        // Section 7.2.3.2: with the window of the first message.
        let second = compressor.compress(b"Hello", usize::MAX);
        assert_eq!(second.as_deref(), Some(&[0xF2, 0x00, 0x11, 0x00, 0x00][..]));
    }

    #[test]
    fn what_does_not_become_smaller_is_not_given() {
        let data = random(5000);
        let mut compressor = Compressor::borrow(15, 6);
        assert_eq!(compressor.compress(&data, data.len()), None);
        compressor.forget();
        let compressed = compressor.compress(&data, usize::MAX).unwrap();
        assert!(compressed.len() > data.len() && compressed.len() < data.len() + 64);
    }
}
