//! Masking with NEON, which every aarch64 CPU of Rust's targets has.
#![allow(unsafe_code, reason = "vector intrinsics load and store through raw pointers")]

use core::arch::aarch64::{
    uint8x16_t, vdupq_n_u32, veorq_u8, vld1q_u8, vreinterpretq_u8_u32, vst1q_u8,
};

use super::key_at;

/// Writes `len` bytes of `src`, masked, to `dst`. No byte is masked alone: what is left after the
/// last whole vector is covered by a vector that ends with the payload and overlaps the one before.
/// It is loaded before anything is stored, so that masking in place masks nothing twice.
///
/// # Safety
///
/// - `len` is at least 16.
/// - `src` is valid for reads and `dst` for writes of `len` bytes.
/// - `src` and `dst` are equal, or their ranges do not overlap.
#[inline]
pub(super) unsafe fn neon(key: u32, src: *const u8, dst: *mut u8, len: usize) {
    const LANE: usize = size_of::<uint8x16_t>();
    let last = len - LANE;
    let mut at = 0;
    // SAFETY: NEON is part of the target. The caller vouches for `len` bytes at both pointers;
    // every access is of `LANE` bytes, of no alignment, and starts at `last` at most, which is
    // `len - LANE`.
    unsafe {
        let mask = vreinterpretq_u8_u32(vdupq_n_u32(key));
        let last_mask = vreinterpretq_u8_u32(vdupq_n_u32(key_at(key, last)));
        let tail = veorq_u8(vld1q_u8(src.add(last)), last_mask);
        while len - at >= 4 * LANE {
            let (from, to) = (src.add(at), dst.add(at));
            let a = veorq_u8(vld1q_u8(from), mask);
            let b = veorq_u8(vld1q_u8(from.add(LANE)), mask);
            let c = veorq_u8(vld1q_u8(from.add(2 * LANE)), mask);
            let d = veorq_u8(vld1q_u8(from.add(3 * LANE)), mask);
            vst1q_u8(to, a);
            vst1q_u8(to.add(LANE), b);
            vst1q_u8(to.add(2 * LANE), c);
            vst1q_u8(to.add(3 * LANE), d);
            at += 4 * LANE;
        }
        while at < last {
            let block = veorq_u8(vld1q_u8(src.add(at)), mask);
            vst1q_u8(dst.add(at), block);
            at += LANE;
        }
        vst1q_u8(dst.add(last), tail);
    }
}
