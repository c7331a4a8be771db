//! What the connections of a thread share: compressors and inflaters between messages, and room for their output.

use std::cell::RefCell;

use super::compressor::Compressor;
use super::inflater::Inflater;
use crate::config::INFLATE_STEP;

/// How many of each a thread keeps. A thread compresses one message at a time; it inflates several when messages arrive in
/// pieces.
const KEPT_COMPRESSORS: usize = 2;
const KEPT_INFLATERS: usize = 8;

/// How much room for output a thread keeps, in bytes.
pub(super) const KEPT_SCRATCH: usize = 64 << 10;

/// Boxed, all of them: connections hold a pointer to what they borrow, and nothing is moved.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "they are handed over as they are")]
struct Pool {
    compressors: Vec<Box<Compressor>>,
    inflaters: Vec<Box<Inflater>>,
    scratch: Vec<u8>,
    /// What one step of inflating goes to, of [`INFLATE_STEP`] bytes once it was needed.
    step: Vec<u8>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Does something with the thread's pool; `None` when the thread is about to end.
fn with<T>(action: impl FnOnce(&mut Pool) -> T) -> Option<T> {
    POOL.try_with(|pool| action(&mut pool.borrow_mut())).ok()
}

pub(super) fn take_compressor(
    mut fits: impl FnMut(&Compressor) -> bool,
) -> Option<Box<Compressor>> {
    with(|pool| {
        pool.compressors
            .iter()
            .position(|kept| fits(kept))
            .map(|index| pool.compressors.remove(index))
    })?
}

/// It must have forgotten what it compressed.
pub(super) fn give_compressor(compressor: Box<Compressor>) {
    with(|pool| {
        if pool.compressors.len() == KEPT_COMPRESSORS {
            // The oldest: it may have settings that nobody asks for any more.
            pool.compressors.remove(0);
        }
        pool.compressors.push(compressor);
    });
}

pub(super) fn take_inflater() -> Option<Box<Inflater>> {
    with(|pool| pool.inflaters.pop())?
}

pub(super) fn give_inflater(inflater: Box<Inflater>) {
    with(|pool| {
        if pool.inflaters.len() < KEPT_INFLATERS {
            pool.inflaters.push(inflater);
        }
    });
}

/// An empty buffer.
pub(super) fn take_scratch() -> Vec<u8> {
    with(|pool| std::mem::take(&mut pool.scratch)).unwrap_or_default()
}

pub(super) fn give_scratch(mut scratch: Vec<u8>) {
    if scratch.capacity() <= KEPT_SCRATCH {
        scratch.clear();
        with(|pool| pool.scratch = scratch);
    }
}

/// An empty buffer with room for [`INFLATE_STEP`] bytes.
pub(super) fn take_step() -> Vec<u8> {
    let mut step = with(|pool| std::mem::take(&mut pool.step)).unwrap_or_default();
    step.reserve_exact(INFLATE_STEP);
    step
}

pub(super) fn give_step(mut step: Vec<u8>) {
    step.clear();
    with(|pool| pool.step = step);
}
