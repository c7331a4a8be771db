//! Per-thread buffers, lent to connections while they work: an idle connection holds none. They are
//! for drivers of a [`Session`](crate::session::Session) whose transport needs its own buffers.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use bytes::BytesMut;

/// 65 KiB: the most that one read takes. The messages of many wake-ups of a busy connection fit, as
/// does one message of 64 KiB with its header, and the buffer stays in the L2 cache.
pub const BUFFER_SIZE: usize = 65 << 10;

/// How many buffers a thread keeps: a poll works with two, and a thread polls one connection at a
/// time. The others are for connections that wait with half a frame.
const KEPT: usize = 16;

thread_local! {
    #[expect(clippy::vec_box, reason = "a buffer changes hands with every wake-up; moving words just written waits for that")]
    static POOL: RefCell<Vec<Box<BytesMut>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer of [`BUFFER_SIZE`] bytes, which are not initialised.
#[must_use]
pub fn take() -> Box<BytesMut> {
    // A connection may be dropped, and write for the last time, while its thread ends and the pool
    // is gone.
    let kept = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
    kept.unwrap_or_else(|| Box::new(BytesMut::with_capacity(BUFFER_SIZE)))
}

/// Returns a buffer to the pool. A buffer of another size, or one that messages still share, is
/// dropped: a message that is a slice of a buffer is at least half of it.
pub fn give(mut buffer: Box<BytesMut>) {
    buffer.clear();
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let room = pool.len() < KEPT;
        // Nearly always nothing was taken off its front.
        let whole = |buffer: &BytesMut| buffer.capacity() == BUFFER_SIZE;
        if room && (whole(&buffer) || buffer.try_reclaim(BUFFER_SIZE) && whole(&buffer)) {
            pool.push(buffer);
        }
    });
}

/// How many blocks for long frames there may be for each core before there are [too
/// many](is_crowded).
const CROWD: usize = 8;

/// How many [`LargeBlock`]s there are.
static LARGE: AtomicUsize = AtomicUsize::new(0);

/// The size of a block for a long frame, larger than those of the pool, in which a connection has a
/// part of it. Counted while it exists.
#[derive(Debug)]
pub(crate) struct LargeBlock(NonZeroUsize);

impl LargeBlock {
    /// `None` for a block no larger than those of the pool.
    pub(crate) fn new(size: usize) -> Option<Self> {
        let size = NonZeroUsize::new(size).filter(|size| size.get() > BUFFER_SIZE)?;
        LARGE.fetch_add(1, Ordering::Relaxed);
        Some(Self(size))
    }

    pub(crate) const fn size(&self) -> usize {
        self.0.get()
    }
}

impl Drop for LargeBlock {
    fn drop(&mut self) {
        LARGE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether so many connections of the process have parts of long frames that the blocks for them no
/// longer fit into the caches.
#[inline]
pub(crate) fn is_crowded() -> bool {
    static MOST: OnceLock<usize> = OnceLock::new();
    let large = LARGE.load(Ordering::Relaxed);
    large > CROWD
        && large
            > *MOST.get_or_init(|| CROWD * available_parallelism().map_or(1, NonZeroUsize::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_unless_a_message_shares_it() {
        let buffer = take();
        let address = buffer.as_ptr();
        give(buffer);
        let mut buffer = take();
        assert_eq!(buffer.as_ptr(), address);

        buffer.extend_from_slice(&[7; 5000]);
        let message = buffer.split_to(5000).freeze();
        give(buffer);
        assert_ne!(take().as_ptr(), address);
        assert!(message.iter().all(|&byte| byte == 7));
    }

    #[test]
    fn small_and_huge_buffers_and_a_flood_of_them_are_let_go() {
        give(Box::new(BytesMut::with_capacity(100)));
        give(Box::new(BytesMut::with_capacity(2 * BUFFER_SIZE)));
        POOL.with_borrow(|pool| assert!(pool.is_empty()));
        for _ in 0..100 {
            give(Box::new(BytesMut::with_capacity(BUFFER_SIZE)));
        }
        POOL.with_borrow(|pool| assert_eq!(pool.len(), KEPT));
    }
}
