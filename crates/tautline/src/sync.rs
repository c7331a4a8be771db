//! The standard library's locks, or loom's when its model checker runs.

#[cfg(tautline_loom)]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
#[cfg(not(tautline_loom))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

/// Locks whatever happened: nothing here is left half done by a panic elsewhere.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
