//! What an attacker, or a user, can make a process hold: these tests measure the whole process,
//! which is why they have a separate one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod bomb;
mod http2;
mod pinned;
mod siege;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The bytes that the process has allocated and not freed.
fn allocated() -> usize {
    ALLOCATOR.current_usage()
}

/// One test at a time: allocations of others would count. So would what the thread of the last test still frees when
/// it ends, such as the buffers that it kept, which made a test fail once that had begun by then.
fn alone() -> MutexGuard<'static, Option<PathBuf>> {
    static TURN: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Such as 4711/task/4712.
    let own = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap());
    while turn.as_ref().is_some_and(|last| *last != own && last.exists()) {
        std::thread::yield_now();
    }
    *turn = Some(own);
    turn
}
