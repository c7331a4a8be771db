//! Masking word by word: payloads too short for a vector, and every payload on a CPU without its
//! own backend.
#![allow(unsafe_code, reason = "one routine for both in place and from buffer to buffer")]

use super::key_at;

/// Writes `len` bytes of `src`, masked, to `dst`. What is left after the last whole word is covered
/// by a word that ends with the payload and overlaps the one before. It is loaded before anything
/// is stored, so that masking in place masks nothing twice.
///
/// # Safety
///
/// - `src` is valid for reads and `dst` for writes of `len` bytes.
/// - `src` and `dst` are equal, or their ranges do not overlap.
#[inline]
pub(super) unsafe fn xor(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    let last_key = key_at(key, len);
    // SAFETY: the caller vouches for `len` bytes at both pointers. Every access is unaligned; one
    // of eight bytes starts at `len - 8` at most, one of four at 0 or at `len - 4`, and those of
    // one byte are below `len`. The pointers are not dereferenced where `len` is 0.
    unsafe {
        if len >= 8 {
            let last = len - 8;
            let tail = load64(src.add(last)) ^ double(last_key);
            let key = double(key);
            let mut at = 0;
            while at < last {
                let word = load64(src.add(at)) ^ key;
                dst.add(at).cast::<[u8; 8]>().write(word.to_le_bytes());
                at += 8;
            }
            dst.add(last).cast::<[u8; 8]>().write(tail.to_le_bytes());
        } else if len >= 4 {
            let last = len - 4;
            let head = load32(src) ^ key;
            let tail = load32(src.add(last)) ^ last_key;
            dst.cast::<[u8; 4]>().write(head.to_le_bytes());
            dst.add(last).cast::<[u8; 4]>().write(tail.to_le_bytes());
        } else {
            for (at, key) in key.to_le_bytes().into_iter().take(len).enumerate() {
                dst.add(at).write(src.add(at).read() ^ key);
            }
        }
    }
}

#[inline]
fn double(key: u32) -> u64 {
    u64::from(key) << 32 | u64::from(key)
}

/// # Safety
///
/// `src` is valid for reads of eight bytes.
#[inline]
unsafe fn load64(src: *const u8) -> u64 {
    // SAFETY: the caller vouches for the bytes, and an array of bytes has no alignment.
    u64::from_le_bytes(unsafe { src.cast::<[u8; 8]>().read() })
}

/// # Safety
///
/// `src` is valid for reads of four bytes.
#[inline]
unsafe fn load32(src: *const u8) -> u32 {
    // SAFETY: the caller vouches for the bytes, and an array of bytes has no alignment.
    u32::from_le_bytes(unsafe { src.cast::<[u8; 4]>().read() })
}
