//! Masking of payloads (RFC 6455 section 5.3), and the keys for it (section 10.3).
//!
//! Payloads shorter than 128 bytes are masked inline, with what every CPU of the target has;
//! choosing wider vectors at run time would cost them more than it gains. Besides one block in
//! `text.rs`, this is the only `unsafe` code of the workspace.
#![allow(unsafe_code, reason = "calls of the backends, and appending without zero-filling")]

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
mod key;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use bytes::BytesMut;

pub use key::{RandomUnavailable, random_key};

/// Payloads shorter than this many bytes do not fill a vector that every CPU of the target has.
const VECTOR: usize = 16;
/// Payloads of at least this many bytes gain from the widest vectors that the CPU has; measured.
const WIDE: usize = 128;
/// Payloads of at least this many bytes gain from aligned stores, and from vectors as long as a
/// cache line; measured.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 512;

/// Masks `data`, or unmasks it, which is the same, in place (RFC 6455 section 5.3).
///
/// `offset` is the number of bytes of the same payload that have been masked before, so that a
/// payload can be masked in pieces as it arrives. Only its remainder modulo four matters.
///
/// ```
/// use tautline_frame::mask;
///
/// let key = [0x37, 0xfa, 0x21, 0x3d];
/// let mut data = *b"\x7f\x9f\x4d\x51\x58";
/// mask::apply(key, 0, &mut data[..3]);
/// mask::apply(key, 3, &mut data[3..]);
/// assert_eq!(&data, b"Hello");
/// ```
#[inline]
pub fn apply(key: [u8; 4], offset: usize, data: &mut [u8]) {
    let key = key_at(u32::from_le_bytes(key), offset);
    let at = data.as_mut_ptr();
    // SAFETY: both pointers are that of `data`, which is borrowed mutably, so it is valid for reads
    // and writes of its length.
    unsafe { xor(key, at, at, data.len()) };
}

/// Appends `src`, masked from the first byte of `key`, to `dst`, in one pass over the bytes.
///
/// ```
/// use bytes::BytesMut;
/// use tautline_frame::mask;
///
/// let mut frame = BytesMut::from(&b"\x81\x85\x37\xfa\x21\x3d"[..]);
/// mask::copy([0x37, 0xfa, 0x21, 0x3d], b"Hello", &mut frame);
/// assert_eq!(&frame[..], b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
/// ```
#[inline]
pub fn copy(key: [u8; 4], src: &[u8], dst: &mut BytesMut) {
    dst.reserve(src.len());
    // It has exactly the length of `src`, or this panics before anything is written.
    let spare = &mut dst.spare_capacity_mut()[..src.len()];
    // SAFETY: `src` is valid for reads of its length, and `spare`, which is borrowed mutably and so
    // does not overlap it, for writes of as many bytes.
    unsafe { xor(u32::from_le_bytes(key), src.as_ptr(), spare.as_mut_ptr().cast(), src.len()) };
    // SAFETY: the first `dst.len()` bytes were there before, and `xor` has just written all of the
    // `src.len()` bytes after them, which are within the capacity.
    unsafe { dst.set_len(dst.len() + src.len()) };
}

/// Like [`copy`], into a new vector.
#[inline]
pub(crate) fn to_vec(key: [u8; 4], src: &[u8]) -> Vec<u8> {
    let len = src.len();
    let mut data = Vec::with_capacity(len);
    // SAFETY: `src` is valid for reads of its length; `data` has just been made with room for as
    // many bytes, and does not overlap what was there before.
    unsafe { xor(u32::from_le_bytes(key), src.as_ptr(), data.as_mut_ptr(), len) };
    // SAFETY: `xor` has just written all of the `len` bytes, which are within the capacity.
    unsafe { data.set_len(len) };
    data
}

/// The key, turned so that it begins with the byte for position `offset`. Its bytes are in
/// little-endian order: the first byte on the wire is the lowest.
#[inline]
fn key_at(key: u32, offset: usize) -> u32 {
    key.rotate_right(8 * (offset % 4) as u32)
}

/// Writes `len` bytes of `src`, masked, to `dst`.
///
/// # Safety
///
/// - `src` is valid for reads and `dst` for writes of `len` bytes.
/// - `src` and `dst` are equal, or their ranges do not overlap.
#[inline]
unsafe fn xor(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    if len < VECTOR {
        // SAFETY: the caller vouches for the pointers.
        unsafe { scalar::xor(key, src, dst, len) };
    } else if len < WIDE {
        // SAFETY: the caller vouches for the pointers, and `len` is `VECTOR` at least.
        unsafe { baseline(key, src, dst, len) };
    } else {
        // SAFETY: the caller vouches for the pointers, and `len` is `WIDE` at least.
        unsafe { wide(key, src, dst, len) };
    }
}

/// [`xor`] with what every CPU of the target has.
///
/// # Safety
///
/// As for [`xor`], and `len` is at least `VECTOR`.
#[inline]
unsafe fn baseline(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    use aarch64::neon as backend;
    #[cfg(not(any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_endian = "little")
    )))]
    use scalar::xor as backend;
    #[cfg(target_arch = "x86_64")]
    use x86::sse2 as backend;

    // SAFETY: the caller vouches for the pointers and for a length of 16 at least.
    unsafe { backend(key, src, dst, len) };
}

/// [`xor`] with the widest vectors of the CPU.
///
/// # Safety
///
/// As for [`xor`], and `len` is at least `WIDE`.
#[inline(never)]
unsafe fn wide(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        if len < LONG {
            // SAFETY: AVX2 was detected; the caller vouches for the pointers and for more than 32
            // bytes.
            return unsafe { x86::avx2(key, src, dst, len) };
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: AVX-512F was detected; the caller vouches for the pointers, and there are
            // more than 128 bytes.
            return unsafe { x86::avx512(key, src, dst, len) };
        }
        // SAFETY: AVX2 was detected; the caller vouches for the pointers, and there are more than
        // 64 bytes.
        return unsafe { x86::avx2_aligned(key, src, dst, len) };
    }
    // SAFETY: the caller vouches for the pointers and for a length that is more than `VECTOR`.
    unsafe { baseline(key, src, dst, len) };
}
