//! Masking with the vectors of x86-64: AVX2 where the CPU has it, else SSE2, which all have.
#![allow(unsafe_code, reason = "vector intrinsics load and store through raw pointers")]

use core::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_set1_epi32, _mm_storeu_si128, _mm_xor_si128,
    _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::key_at;

/// Writes `len` bytes of `src`, masked, to `dst`. No byte is done alone: what is left behind the
/// last whole vector is covered by a vector that ends with the payload and overlaps its forerunner.
/// It is loaded before anything is stored, so that masking in place masks nothing twice.
///
/// # Safety
///
/// - The CPU has AVX2.
/// - `len` is at least 32.
/// - `src` is valid for reads and `dst` for writes of `len` bytes.
/// - `src` and `dst` are equal, or their ranges do not overlap.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    const LANE: usize = size_of::<__m256i>();
    let last = len - LANE;
    let mut at = 0;
    // SAFETY: the caller vouches for AVX2 and for `len` bytes behind both pointers. Every access is
    // of `LANE` bytes, unaligned, and starts at `last` at most, which is `len - LANE`.
    unsafe {
        let mask = _mm256_set1_epi32(key as i32);
        let last_mask = _mm256_set1_epi32(key_at(key, last) as i32);
        let tail = _mm256_xor_si256(_mm256_loadu_si256(src.add(last).cast()), last_mask);
        while len - at >= 4 * LANE {
            let (from, to) = (src.add(at), dst.add(at));
            let a = _mm256_xor_si256(_mm256_loadu_si256(from.cast()), mask);
            let b = _mm256_xor_si256(_mm256_loadu_si256(from.add(LANE).cast()), mask);
            let c = _mm256_xor_si256(_mm256_loadu_si256(from.add(2 * LANE).cast()), mask);
            let d = _mm256_xor_si256(_mm256_loadu_si256(from.add(3 * LANE).cast()), mask);
            _mm256_storeu_si256(to.cast(), a);
            _mm256_storeu_si256(to.add(LANE).cast(), b);
            _mm256_storeu_si256(to.add(2 * LANE).cast(), c);
            _mm256_storeu_si256(to.add(3 * LANE).cast(), d);
            at += 4 * LANE;
        }
        while at < last {
            let block = _mm256_xor_si256(_mm256_loadu_si256(src.add(at).cast()), mask);
            _mm256_storeu_si256(dst.add(at).cast(), block);
            at += LANE;
        }
        _mm256_storeu_si256(dst.add(last).cast(), tail);
    }
}

/// Writes `len` bytes of `src`, masked, to `dst`, in the manner of [`avx2`].
///
/// # Safety
///
/// - `len` is at least 16.
/// - `src` is valid for reads and `dst` for writes of `len` bytes.
/// - `src` and `dst` are equal, or their ranges do not overlap.
#[inline]
pub(super) unsafe fn sse2(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    const LANE: usize = size_of::<__m128i>();
    let last = len - LANE;
    let mut at = 0;
    // SAFETY: SSE2 is part of x86-64. The caller vouches for `len` bytes behind both pointers; every
    // access is of `LANE` bytes, unaligned, and starts at `last` at most, which is `len - LANE`.
    unsafe {
        let mask = _mm_set1_epi32(key as i32);
        let last_mask = _mm_set1_epi32(key_at(key, last) as i32);
        let tail = _mm_xor_si128(_mm_loadu_si128(src.add(last).cast()), last_mask);
        while len - at >= 4 * LANE {
            let (from, to) = (src.add(at), dst.add(at));
            let a = _mm_xor_si128(_mm_loadu_si128(from.cast()), mask);
            let b = _mm_xor_si128(_mm_loadu_si128(from.add(LANE).cast()), mask);
            let c = _mm_xor_si128(_mm_loadu_si128(from.add(2 * LANE).cast()), mask);
            let d = _mm_xor_si128(_mm_loadu_si128(from.add(3 * LANE).cast()), mask);
            _mm_storeu_si128(to.cast(), a);
            _mm_storeu_si128(to.add(LANE).cast(), b);
            _mm_storeu_si128(to.add(2 * LANE).cast(), c);
            _mm_storeu_si128(to.add(3 * LANE).cast(), d);
            at += 4 * LANE;
        }
        while at < last {
            let block = _mm_xor_si128(_mm_loadu_si128(src.add(at).cast()), mask);
            _mm_storeu_si128(dst.add(at).cast(), block);
            at += LANE;
        }
        _mm_storeu_si128(dst.add(last).cast(), tail);
    }
}
