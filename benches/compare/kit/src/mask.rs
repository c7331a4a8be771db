//! The micro benchmark of masking: the library's function over a buffer in cache, as a connection would call it.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The sizes that are measured, in bytes.
const SIZES: &[usize] = &[16, 125, 1 << 10, 1 << 16, 1 << 20];
/// How long each size is measured.
const TIME: Duration = Duration::from_millis(40);
/// Bytes between two looks at the clock.
const BATCH: usize = 4 << 20;

/// Prints a line for each size: `mask BYTES GB/S`.
pub fn mask(mut apply: impl FnMut([u8; 4], &mut [u8])) {
    for &size in SIZES {
        let mut data = vec![7_u8; size];
        let mut key = [0x37, 0xfa, 0x21, 0x3d];
        let calls = (BATCH / size).max(1);
        // The best of several: what is slower was disturbed.
        let mut best = f64::MAX;
        let begin = Instant::now();
        while begin.elapsed() < TIME {
            let start = Instant::now();
            for _ in 0..calls {
                apply(black_box(key), black_box(&mut data));
                key[0] = key[0].wrapping_add(1);
            }
            best = best.min(start.elapsed().as_secs_f64() / calls as f64);
        }
        println!("mask {size} {:.3}", size as f64 / best / 1e9);
    }
}
