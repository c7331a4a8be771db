//! What a connection reads into: a buffer that is there only while it is needed, and whose size
//! follows what has arrived.

use bytes::BytesMut;

use crate::buffers::{self, LargeBlock};

/// Below this much room for a read, the buffer is made anew: a read of a few bytes costs as much as
/// one of many.
const MIN_READ: usize = buffers::BUFFER_SIZE / 8;

/// The most that one read takes: about as much as one turn of a connection processes.
const MAX_READ: usize = 256 << 10;

/// A part of a frame of up to this size is moved into a separate buffer before the connection
/// waits, so that a peer that stalls in the middle of a frame does not hold a whole read buffer.
const SMALL_REST: usize = MIN_READ / 2;

/// How many times the bytes received of a frame may stay reserved while a connection waits for the
/// rest, and no more than the peer has sent in one frame before. A reader that is faster than its
/// peer often waits in the middle of a frame, and would move the bytes each time; but a peer that
/// sends little and then nothing must not hold a block for long messages.
const RESERVED: usize = 64;

/// Bytes that were read but not taken yet.
#[derive(Debug, Default)]
pub(super) struct ReadBuffer {
    /// None while the connection waits without a part of a frame.
    block: Option<Box<BytesMut>>,
    /// How large the block was made; `None` where it is one of the pool's size or less.
    large: Option<LargeBlock>,
    /// The most that it contained at once since it last had to shrink: what this peer has paid for.
    most: usize,
}

impl ReadBuffer {
    /// A buffer that contains what has arrived already.
    pub(super) fn new(arrived: BytesMut) -> Self {
        let most = arrived.len();
        let block = (most > 0).then(|| Box::new(arrived));
        Self { block, large: LargeBlock::new(most), most }
    }

    /// The bytes, where there is a buffer.
    #[inline]
    pub(super) fn get(&mut self) -> Option<&mut BytesMut> {
        self.block.as_deref_mut()
    }

    /// The size of a large block, or 0.
    fn large(&self) -> usize {
        self.large.as_ref().map_or(0, LargeBlock::size)
    }

    /// The buffer, with room for a read, when so many bytes of the current frame are missing; and
    /// how many bytes to read.
    #[inline]
    pub(super) fn room(&mut self, missing: usize) -> (&mut BytesMut, usize) {
        if self.block.is_none() {
            self.block = Some(buffers::take());
        }
        let ready = self.block.as_ref().is_some_and(|block| {
            self.large.is_none() && missing == 0 && block.capacity() - block.len() >= MIN_READ
        });
        if !ready {
            self.make_room(missing);
        }
        let block = self.block.get_or_insert_with(buffers::take);
        let room = block.capacity() - block.len();
        (block, room.min(MAX_READ))
    }

    /// The buffer, with room for a read, for a message that is handed on as it arrives: twice as
    /// much as before while the peer fills it.
    pub(super) fn room_to_stream(&mut self, filled: bool) -> (&mut BytesMut, usize) {
        let wanted = if filled { (2 * self.most).min(MAX_READ) } else { MIN_READ };
        let mut block = self.block.take().unwrap_or_else(buffers::take);
        if block.capacity() - block.len() < wanted && !block.try_reclaim(wanted) {
            let size = (block.len() + wanted).max(buffers::BUFFER_SIZE);
            block = self.moved(block, size);
        }
        let block = self.block.insert(block);
        let room = block.capacity() - block.len();
        (block, room.min(MAX_READ))
    }

    #[inline(never)]
    fn make_room(&mut self, missing: usize) {
        let mut block = match self.block.take() {
            Some(block) if block.capacity() >= MIN_READ || block.len() >= MIN_READ => block,
            rest => {
                // The small part that the connection waited with, or a full block.
                let mut block = buffers::take();
                if let Some(rest) = rest {
                    block.extend_from_slice(&rest);
                    buffers::give(rest);
                }
                self.large = None;
                block
            }
        };
        let needed = block.len() + missing;
        if needed < self.large() / 2 {
            // It was made for a frame that is gone: new data would keep all of it alive.
            block = self.moved(block, needed.max(buffers::BUFFER_SIZE));
        } else if self.is_short(&block, missing) {
            block = self.grown(block, missing);
        }
        self.block = Some(block);
    }

    /// Whether the block is to be replaced before the next read. The work for a frame stays linear
    /// in its length only if that happens when the block is full, or while next to nothing would
    /// have to be moved.
    fn is_short(&self, block: &BytesMut, missing: usize) -> bool {
        let room = block.capacity() - block.len();
        if missing == 0 {
            return room < MIN_READ;
        }
        let all_at_once = missing <= self.affordable(block) && block.len() <= MIN_READ;
        room < if all_at_once { missing } else { missing.min(MIN_READ) }
    }

    /// By how much a block may grow: by as much as has arrived, now or for an earlier frame. So a
    /// declared length is paid for by bytes received, and the messages of a peer that often sends
    /// long ones are not moved again and again while they grow.
    fn affordable(&self, block: &BytesMut) -> usize {
        block.len().max(self.most).max(buffers::BUFFER_SIZE)
    }

    fn grown(&mut self, mut block: Box<BytesMut>, missing: usize) -> Box<BytesMut> {
        let wanted = missing.saturating_add(MIN_READ).min(self.affordable(&block));
        if block.try_reclaim(wanted) {
            return block;
        }
        let size = (block.len() + wanted).max(buffers::BUFFER_SIZE);
        self.moved(block, size)
    }

    /// Moves the bytes to a block of this size, and returns the old one to the pool.
    fn moved(&mut self, block: Box<BytesMut>, size: usize) -> Box<BytesMut> {
        let mut other = match size {
            buffers::BUFFER_SIZE => buffers::take(),
            _ => Box::new(BytesMut::with_capacity(size)),
        };
        other.extend_from_slice(&block);
        buffers::give(block);
        self.large = LargeBlock::new(size);
        other
    }

    /// `count` bytes were read into the room; returns whether they filled it.
    #[inline]
    pub(super) fn handle_filled(&mut self, count: usize) -> bool {
        let Some(block) = &self.block else { return false };
        self.most = self.most.max(block.len());
        count == MAX_READ || block.len() == block.capacity()
    }

    /// A message was taken. Nothing larger than the pool's buffers outlives its message.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.large.is_some() {
            self.release_large();
        }
    }

    #[cold]
    fn release_large(&mut self) {
        let Some(block) = self.block.take() else { return };
        if block.is_empty() {
            self.large = None;
            return;
        }
        if block.len() > self.large() / 2 {
            // What arrived with the handshake may be long: it is not moved again for each message
            // in it.
            self.block = Some(block);
            return;
        }
        let size = block.len().max(buffers::BUFFER_SIZE);
        let moved = self.moved(block, size);
        self.block = Some(moved);
    }

    /// The connection is about to wait: it keeps no buffer, unless it has a part of a frame. Then
    /// it keeps one of that size, or, above [`SMALL_REST`], the one in which the frame grows: one
    /// of the pool, or one of at most [`RESERVED`] times the part.
    pub(super) fn rest(&mut self) {
        let Some(block) = self.block.take() else { return };
        let len = block.len();
        let small = len <= SMALL_REST && block.capacity() >= buffers::BUFFER_SIZE;
        if len == 0 {
            self.give_back(block);
        } else if small || len < self.large() / RESERVED {
            self.block = Some(Box::new(BytesMut::from(&block[..])));
            self.give_back(block);
            // It grows step by step from here: a peer that sends little after that has not paid for
            // more.
            self.most = len;
            self.large = LargeBlock::new(len);
        } else {
            self.block = Some(block);
        }
    }

    fn give_back(&mut self, block: Box<BytesMut>) {
        buffers::give(block);
        self.large = None;
    }

    /// How much memory it takes.
    pub(super) fn held(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.capacity())
    }

    /// Drops the bytes, but keeps the buffer.
    pub(super) fn clear(&mut self) {
        if let Some(block) = &mut self.block {
            block.clear();
        }
    }

    /// Drops everything.
    pub(super) fn end(&mut self) {
        if let Some(block) = self.block.take() {
            self.give_back(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    /// Receives a frame in pieces, waiting after each if `waits`; returns how many bytes were moved
    /// from one block to another, and the size of the largest block.
    fn arrive(buffer: &mut ReadBuffer, len: usize, piece: usize, waits: bool) -> (usize, usize) {
        let (mut moved, mut largest) = (0, 0);
        let mut arrived = 0;
        while arrived < len {
            let place = buffer.get().map(|block| block.as_ptr());
            let count = piece.min(len - arrived);
            {
                let (room, most) = buffer.room(if arrived == 0 { 0 } else { len - arrived });
                assert!(most >= 1 && room.capacity() - room.len() >= most);
                let count = count.min(most);
                room.put_bytes(7, count);
                arrived += count;
            }
            buffer.handle_filled(arrived);
            if waits {
                buffer.rest();
            }
            let block = buffer.get().expect("a part of a frame");
            assert_eq!(block.len(), arrived);
            largest = largest.max(block.capacity());
            if place.is_some_and(|place| place != block.as_ptr()) {
                moved += arrived;
            }
        }
        (moved, largest)
    }

    // A user's upload of 16 MiB in 4,000 small segments cost 1.44 s of CPU instead of 0.13: while
    // less than half of a frame had come, each read made the buffer anew and copied all that was
    // there.
    #[test]
    fn the_bytes_that_are_moved_for_a_frame_are_linear_in_its_length_however_it_arrives() {
        const LEN: usize = 4 << 20;
        for piece in [500, 1400, 4096, 16 << 10, 100_000, LEN] {
            for waits in [false, true] {
                let (moved, _) = arrive(&mut ReadBuffer::default(), LEN, piece, waits);
                // Below `SMALL_REST`, a part moves at each wait; above it, twice what was there at
                // each doubling.
                let small = SMALL_REST * (SMALL_REST / piece + 1);
                assert!(moved <= 3 * LEN + small, "{piece} {waits}: {moved}");
            }
        }
    }

    // 4,200 bytes of a frame that declared 16 MiB reserved all of them, once such a message had
    // come before.
    #[test]
    fn a_connection_that_waits_reserves_little_for_little() {
        let mut buffer = ReadBuffer::default();
        arrive(&mut buffer, 16 << 20, 1 << 20, false);
        buffer.clear();
        buffer.release();
        buffer.room(16 << 20).0.put_bytes(7, 4200);
        buffer.handle_filled(4200);
        assert!(buffer.get().unwrap().capacity() >= 16 << 20, "all at once, while it goes on");
        buffer.rest();
        assert!(buffer.get().unwrap().capacity() <= RESERVED * 4200);
        // And it grows step by step from there, not at once to what an earlier frame had.
        buffer.room((16 << 20) - 4200);
        assert!(buffer.get().unwrap().capacity() <= 2 * buffers::BUFFER_SIZE);
    }

    // 30 clients that had got one message of 8 MB each, and were busy with something else, held 242
    // MB: the buffer of the message stayed with the connection, and what came behind the message in
    // it kept all of it alive.
    #[test]
    fn the_block_of_a_large_message_goes_with_it() {
        let mut buffer = ReadBuffer::default();
        arrive(&mut buffer, 8 << 20, 1 << 20, false);
        let block = buffer.get().unwrap();
        block.extend_from_slice(b"next");
        let message = block.split_to(8 << 20).freeze();
        buffer.release();
        let block = buffer.get().unwrap();
        assert_eq!(&block[..], b"next");
        assert!(block.capacity() <= buffers::BUFFER_SIZE);
        assert!(message.is_unique(), "nothing else keeps it alive");
    }

    #[test]
    fn a_block_made_for_a_large_frame_is_not_kept_for_small_ones() {
        let mut buffer = ReadBuffer::default();
        arrive(&mut buffer, 1 << 20, 1 << 20, false);
        // A fragment: no message was taken, the bytes were.
        buffer.get().unwrap().clear();
        buffer.get().unwrap().extend_from_slice(&[7; 100]);
        let (room, _) = buffer.room(50_000);
        assert!(room.capacity() <= buffers::BUFFER_SIZE);
    }
}
