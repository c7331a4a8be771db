//! The standard library's locks, or loom's when its model checker runs.

#[cfg(tautline_loom)]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
#[cfg(not(tautline_loom))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

/// Locks even after a panic of another holder: nothing behind these locks is left in an
/// inconsistent state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
