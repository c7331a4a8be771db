//! What an attacker, or a user, can make a process hold: these tests measure the whole process,
//! which is why they have a separate one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod bomb;
mod http2;
mod pinned;
mod siege;
mod waiting;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The bytes that the process has allocated and not freed.
fn allocated() -> usize {
    ALLOCATOR.current_usage()
}

/// One test at a time: allocations of others would count.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
