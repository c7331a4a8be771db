//! The micro benchmark of masking: the library's function over a buffer in cache, as a connection
//! would call it.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The sizes that are measured, in bytes.
const SIZES: &[usize] = &[16, 125, 1 << 10, 1 << 16, 1 << 20];
/// How long each size is measured.
const TIME: Duration = Duration::from_millis(40);
/// Bytes between two looks at the clock.
const BATCH: usize = 4 << 20;

/// Small payloads lie one behind the other in a buffer of this size, as they do in what a
/// connection reads: masking the same few bytes again and again would measure how long a store
/// takes to be read back.
const BUFFER: usize = 16 << 10;

/// Prints a line for each size: `mask BYTES GB/S`.
pub fn mask(mut apply: impl FnMut([u8; 4], &mut [u8])) {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    for &size in SIZES {
        let mut buffer = vec![7_u8; (BUFFER / size).max(1) * size];
        let turns = (BATCH / buffer.len()).max(1);
        let bytes = (turns * buffer.len()) as f64;
        // The best of several: what is slower was disturbed.
        let mut best = f64::MAX;
        let begin = Instant::now();
        while begin.elapsed() < TIME {
            let start = Instant::now();
            for _ in 0..turns {
                for payload in buffer.chunks_exact_mut(size) {
                    apply(black_box(key), black_box(payload));
                }
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("mask {size} {:.3}", bytes / best / 1e9);
    }
}
