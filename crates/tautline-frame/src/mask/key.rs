//! Unpredictable masking keys (RFC 6455 section 10.3).

use std::cell::RefCell;
use std::error::Error;
use std::fmt;

/// How many keys one call of the system's generator returns: a call costs far more than its bytes,
/// and 1 KiB for each thread that masks is little.
const KEYS: usize = 256;
/// Length of a masking key, in bytes (RFC 6455 section 5.2).
const KEY: usize = 4;

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block::EMPTY) };
}

/// Random bytes that no frame has used yet.
struct Block {
    bytes: [u8; KEYS * KEY],
    /// How many of the bytes, from the front, have not been handed out yet.
    left: usize,
}

impl Block {
    const EMPTY: Self = Self { bytes: [0; KEYS * KEY], left: 0 };

    #[inline]
    fn next(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<(), RandomUnavailable>,
    ) -> Result<[u8; KEY], RandomUnavailable> {
        if self.left == 0 {
            fill(&mut self.bytes)?;
            self.left = self.bytes.len();
        }
        let unused = &mut self.bytes[..self.left];
        let Some(slot) = unused.last_chunk_mut::<KEY>() else { return Err(RandomUnavailable) };
        // No copy of a key that was handed out is left here.
        let key = std::mem::take(slot);
        self.left -= KEY;
        Ok(key)
    }
}

/// A fresh masking key from the system's random generator, for one frame (RFC 6455 sections 5.3
/// and 10.3).
///
/// Keys are fetched 256 at a time for each thread; each is handed out once and wiped from the
/// store. A process that forks without `exec` must not continue masking in the child on the thread
/// that forked: it would use the same keys as the parent.
///
/// # Errors
///
/// [`RandomUnavailable`] if the system returns no random bytes. A predictable key lets an attacker
/// choose the bytes on the wire, so there is no fallback here; a caller that sends the frame anyway
/// needs another source of secret bytes. A failure is not remembered: a later call tries again.
///
/// ```
/// let key = tautline_frame::mask::random_key()?;
/// let mut payload = *b"Hello";
/// tautline_frame::mask::apply(key, 0, &mut payload);
/// tautline_frame::mask::apply(key, 0, &mut payload);
/// assert_eq!(&payload, b"Hello");
/// # Ok::<(), tautline_frame::mask::RandomUnavailable>(())
/// ```
#[inline]
pub fn random_key() -> Result<[u8; 4], RandomUnavailable> {
    BLOCK.with_borrow_mut(|block| block.next(from_system))
}

#[cold]
fn from_system(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    getrandom::fill(bytes).map_err(|_| RandomUnavailable)
}

/// The system's random generator failed, so that no masking key can be made (RFC 6455 section
/// 10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RandomUnavailable;

impl fmt::Display for RandomUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system's random generator failed, no masking key can be made")
    }
}

impl Error for RandomUnavailable {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// RFC 6455 section 10.3: fresh for each frame, and unpredictable. Of 1000 random keys two are
    /// equal once in 8600 runs, and four pairs less than once in 10^16; each of the 16 values of a
    /// half byte comes up 500 times in 8000, give or take 22, so ten times that is out of the
    /// question.
    #[test]
    fn keys_are_distinct_and_their_bits_are_spread() {
        let keys: Vec<_> = (0..1000).map(|_| random_key().unwrap()).collect();
        assert!(keys.iter().collect::<HashSet<_>>().len() >= 997);
        let mut counts = [0_u32; 16];
        for byte in keys.concat() {
            counts[usize::from(byte >> 4)] += 1;
            counts[usize::from(byte & 15)] += 1;
        }
        for (half, count) in counts.into_iter().enumerate() {
            assert!((280..=720).contains(&count), "{half:x}: {count} times");
        }
    }

    #[test]
    fn threads_do_not_share_keys() {
        let draw = || (0..KEYS).map(|_| random_key().unwrap()).collect::<Vec<_>>();
        let mut keys = draw();
        keys.extend(std::thread::spawn(draw).join().unwrap());
        assert!(keys.iter().collect::<HashSet<_>>().len() >= 2 * KEYS - 3);
    }

    #[test]
    fn each_byte_is_handed_out_once_and_wiped() {
        let mut block = Block::EMPTY;
        let mut fills = 0_u8;
        for round in 1..=2_u8 {
            for taken in 1..=KEYS {
                let key = block.next(|bytes| {
                    fills += 1;
                    for (at, key) in bytes.chunks_exact_mut(KEY).enumerate() {
                        key.copy_from_slice(&[fills, 0xff, (at >> 8) as u8, at as u8]);
                    }
                    Ok(())
                });
                let at = KEYS - taken;
                assert_eq!(key, Ok([round, 0xff, (at >> 8) as u8, at as u8]));
                assert!(block.bytes[at * KEY..].iter().all(|&byte| byte == 0));
            }
        }
        assert_eq!(fills, 2);
    }

    /// RFC 6455 section 10.3: no key is better than a predictable one.
    #[test]
    fn without_random_bytes_there_is_no_key_and_the_next_call_tries_again() {
        let mut block = Block::EMPTY;
        let failed = block.next(|bytes| {
            bytes[..8].fill(7); // a generator may fail half way
            Err(RandomUnavailable)
        });
        assert_eq!(failed, Err(RandomUnavailable));
        let filled = block.next(|bytes| {
            bytes.fill(9);
            Ok(())
        });
        assert_eq!(filled, Ok([9; 4]));
    }
}
