//! Masking of payloads (RFC 6455 section 5.3), and the keys for it (section 10.3).
//!
//! Payloads shorter than 128 bytes are done by portable code that is inlined where it is called; the
//! choice of a vector unit, made at run time, would cost them more than it gains. This is the only
//! module of the workspace that contains `unsafe` code.
#![allow(unsafe_code, reason = "calls of the vector backends, and appending without zero-filling")]

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
mod key;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

use bytes::BytesMut;

pub use key::{RandomUnavailable, random_key};

/// Payloads of this many bytes and more are given to the vectors that the CPU has.
const WIDE: usize = 128;

/// Masks `data`, or unmasks it, which is the same, in place (RFC 6455 section 5.3).
///
/// `offset` is the number of bytes of the same payload that have been masked before, so that a
/// payload can be done in pieces as it arrives. Only its remainder by four matters.
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
    if data.len() < WIDE {
        scalar::apply(key, data);
    } else {
        apply_wide(key, data);
    }
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
    let key = u32::from_le_bytes(key);
    if src.len() < WIDE {
        let start = dst.len();
        dst.extend_from_slice(src);
        scalar::apply(key, &mut dst[start..]);
    } else {
        copy_wide(key, src, dst);
    }
}

/// The key, turned so that it begins with the byte for position `offset`. Its bytes stand in
/// little-endian order: the first byte on the wire is the lowest.
#[inline]
fn key_at(key: u32, offset: usize) -> u32 {
    key.rotate_right(8 * (offset % 4) as u32)
}

#[inline(never)]
fn apply_wide(key: u32, data: &mut [u8]) {
    let at = data.as_mut_ptr();
    // SAFETY: both pointers are that of `data`, which is borrowed mutably, so it is valid for reads
    // and writes of its length.
    if !unsafe { vector(key, at, at, data.len()) } {
        scalar::apply(key, data);
    }
}

#[inline(never)]
fn copy_wide(key: u32, src: &[u8], dst: &mut BytesMut) {
    dst.reserve(src.len());
    let start = dst.len();
    let spare = dst.spare_capacity_mut();
    debug_assert!(spare.len() >= src.len());
    // SAFETY: `src` is valid for reads of its length, and `spare`, which is borrowed mutably and so
    // does not overlap it, for writes of at least as many bytes after `reserve`.
    if unsafe { vector(key, src.as_ptr(), spare.as_mut_ptr().cast(), src.len()) } {
        // SAFETY: the bytes up to `start` were there before, and `vector` has written all of the
        // `src.len()` bytes behind them.
        unsafe { dst.set_len(start + src.len()) };
    } else {
        dst.extend_from_slice(src);
        scalar::apply(key, &mut dst[start..]);
    }
}

/// Writes `len` bytes of `src`, masked, to `dst` with the widest vectors of this CPU. Without any,
/// does nothing and returns `false`.
///
/// # Safety
///
/// - `src` is valid for reads and `dst` for writes of `len` bytes.
/// - `src` and `dst` are equal, or their ranges do not overlap.
#[inline]
unsafe fn vector(key: u32, src: *const u8, dst: *mut u8, len: usize) -> bool {
    if len < WIDE {
        return false;
    }
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was detected, `WIDE` is more than 32, and the caller vouches for the rest.
            unsafe { x86::avx2(key, src, dst, len) };
        } else {
            // SAFETY: `WIDE` is more than 16, and the caller vouches for the rest.
            unsafe { x86::sse2(key, src, dst, len) };
        }
        true
    }
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    {
        if !std::arch::is_aarch64_feature_detected!("neon") {
            return false;
        }
        // SAFETY: NEON was detected, `WIDE` is more than 16, and the caller vouches for the rest.
        unsafe { aarch64::neon(key, src, dst, len) };
        true
    }
    #[cfg(not(any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_endian = "little")
    )))]
    {
        let _ = (key, src, dst);
        false
    }
}
