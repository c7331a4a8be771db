//! Per-thread buffers, lent to connections while they work: an idle connection holds none. They are for drivers of a
//! [`Session`](crate::session::Session) whose transport needs its own buffers.

use std::cell::RefCell;

use bytes::BytesMut;

/// 65 KiB: the most that one read takes. The messages of many wake-ups of a busy connection fit, as does one message of 64
/// KiB with its header, and the buffer stays in the L2 cache.
pub const BUFFER_SIZE: usize = 65 << 10;

/// How many buffers a thread keeps: a poll works with two, and a thread polls one connection at a time. The others are for
/// connections that wait with half a frame.
const KEPT: usize = 16;

thread_local! {
    #[expect(clippy::vec_box, reason = "a buffer changes hands with every wake-up; moving words just written waits for that")]
    static POOL: RefCell<Vec<Box<BytesMut>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer of [`BUFFER_SIZE`] bytes, which are not initialised.
#[must_use]
pub fn take() -> Box<BytesMut> {
    // A connection may be dropped, and write for the last time, while its thread ends and the pool is gone.
    let kept = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
    kept.unwrap_or_else(|| Box::new(BytesMut::with_capacity(BUFFER_SIZE)))
}

/// Returns a buffer to the pool. A buffer of another size, or one that messages still share, is dropped: a message that is
/// a slice of a buffer is at least half of it.
pub fn give(mut buffer: Box<BytesMut>) {
    buffer.clear();
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let room = pool.len() < KEPT;
        if room && buffer.try_reclaim(BUFFER_SIZE) && buffer.capacity() == BUFFER_SIZE {
            pool.push(buffer);
        }
    });
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
