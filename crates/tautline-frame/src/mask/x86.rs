//! Masking with the vectors of x86-64: AVX-512 or AVX2 if the CPU has it, otherwise SSE2, which
//! every CPU has.
#![allow(unsafe_code, reason = "vector intrinsics load and store through raw pointers")]

use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_set1_epi32, _mm_storeu_si128, _mm_xor_si128,
    _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512, _mm512_xor_si512,
};

use super::key_at;

/// Writes `len` bytes of `src`, masked, to `dst`. No byte is masked alone: what is left after the
/// last whole vector is covered by a vector that ends with the payload and overlaps the one before.
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
    // SAFETY: the caller vouches for AVX2 and for `len` bytes at both pointers. Every access is
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

/// Writes `len` bytes of `src`, masked, to `dst`. In between, each store fills exactly one cache
/// line: a payload follows its header, so it is hardly ever aligned, and stores across two lines
/// take twice the time. The vectors at both ends overlap their neighbours; they are loaded before
/// anything is stored.
///
/// # Safety
///
/// - The CPU has AVX-512F.
/// - `len` is at least 128.
/// - `src` is valid for reads and `dst` for writes of `len` bytes.
/// - `src` and `dst` are equal, or their ranges do not overlap.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn avx512(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    const LANE: usize = size_of::<__m512i>();
    let last = len - LANE;
    let mut at = LANE - dst as usize % LANE;
    // SAFETY: the caller vouches for AVX-512F and for `len` bytes at both pointers. Every access is
    // of `LANE` bytes, unaligned, and starts at `last` at most, which is `len - LANE`; the first
    // `at` is `LANE` at most, so `last` at most.
    unsafe {
        let first_mask = _mm512_set1_epi32(key as i32);
        let mask = _mm512_set1_epi32(key_at(key, at) as i32);
        let last_mask = _mm512_set1_epi32(key_at(key, last) as i32);
        let head = _mm512_xor_si512(_mm512_loadu_si512(src.cast()), first_mask);
        let tail = _mm512_xor_si512(_mm512_loadu_si512(src.add(last).cast()), last_mask);
        while len - at >= 4 * LANE {
            let (from, to) = (src.add(at), dst.add(at));
            let a = _mm512_xor_si512(_mm512_loadu_si512(from.cast()), mask);
            let b = _mm512_xor_si512(_mm512_loadu_si512(from.add(LANE).cast()), mask);
            let c = _mm512_xor_si512(_mm512_loadu_si512(from.add(2 * LANE).cast()), mask);
            let d = _mm512_xor_si512(_mm512_loadu_si512(from.add(3 * LANE).cast()), mask);
            _mm512_storeu_si512(to.cast(), a);
            _mm512_storeu_si512(to.add(LANE).cast(), b);
            _mm512_storeu_si512(to.add(2 * LANE).cast(), c);
            _mm512_storeu_si512(to.add(3 * LANE).cast(), d);
            at += 4 * LANE;
        }
        while at < last {
            let block = _mm512_xor_si512(_mm512_loadu_si512(src.add(at).cast()), mask);
            _mm512_storeu_si512(dst.add(at).cast(), block);
            at += LANE;
        }
        _mm512_storeu_si512(dst.cast(), head);
        _mm512_storeu_si512(dst.add(last).cast(), tail);
    }
}

/// [`avx2`] in the manner of [`avx512`], for payloads that are long enough to gain from aligned
/// stores.
///
/// # Safety
///
/// - The CPU has AVX2.
/// - `len` is at least 64.
/// - `src` is valid for reads and `dst` for writes of `len` bytes.
/// - `src` and `dst` are equal, or their ranges do not overlap.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2_aligned(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    const LANE: usize = size_of::<__m256i>();
    let skip = LANE - dst as usize % LANE;
    // SAFETY: the caller vouches for AVX2 and for `len` bytes at both pointers. The vector at the
    // start is of `LANE` bytes, and loaded before the rest is masked; the rest has `len - LANE`
    // bytes at least, which is `LANE` at least.
    unsafe {
        let head = _mm256_xor_si256(_mm256_loadu_si256(src.cast()), _mm256_set1_epi32(key as i32));
        avx2(key_at(key, skip), src.add(skip), dst.add(skip), len - skip);
        _mm256_storeu_si256(dst.cast(), head);
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
    // SAFETY: SSE2 is part of x86-64. The caller vouches for `len` bytes at both pointers; every
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
