//! Encoded frames on their way to the transport.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::buffers;
use crate::config::CHAIN_THRESHOLD;
use crate::header::{Header, Rsv};
use crate::mask;
use crate::prepared::Frame;
use crate::role::Role;

/// Frames in the order of the wire. Small payloads are copied after their headers into one buffer;
/// large ones stay where they are and are sent in the same vectored write.
///
/// It is a [`Buf`]: a transport writes from it and advances it.
#[derive(Default)]
pub struct WriteQueue {
    /// What is sent before `tail`.
    chunks: VecDeque<Bytes>,
    /// What is sent last; the next header is appended here. Boxed, since it is lent and reclaimed
    /// with every wake-up: see `lend_buffer`.
    tail: Option<Box<BytesMut>>,
    /// Total bytes.
    len: usize,
    /// Bytes that have left the queue since it was created.
    written: u64,
    /// The last frame of which a part left and the rest did not.
    cut: Cut,
}

/// Twice the position in the stream of the end of a frame, and one more if it ends a message.
#[derive(Clone, Copy, Default)]
struct Cut(u64);

impl Cut {
    fn of(frame: &Waiting) -> Self {
        Self(frame.end << 1 | u64::from(frame.ends_message))
    }

    const fn end(self) -> u64 {
        self.0 >> 1
    }

    const fn ends_message(self) -> bool {
        self.0 & 1 != 0
    }
}

/// Omits the bytes: what users send to each other does not belong in logs.
impl fmt::Debug for WriteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteQueue")
            .field("len", &self.len)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl WriteQueue {
    /// Lends an empty buffer to a queue that has none; a queue that has one keeps it. It is boxed,
    /// as in [`reclaim_buffer`](Self::reclaim_buffer): moving four words that were just written
    /// would wait for the writes.
    pub fn lend_buffer(&mut self, buffer: Box<BytesMut>) {
        if self.tail.is_none() {
            debug_assert!(buffer.is_empty(), "what stands in it would be sent");
            self.tail = Some(buffer);
        }
    }

    /// Takes the buffer out of an empty queue, which then holds no memory. `None` while something
    /// is queued, or if there is no buffer.
    pub fn reclaim_buffer(&mut self) -> Option<Box<BytesMut>> {
        if self.len > 0 {
            return None;
        }
        if self.chunks.capacity() > 0 {
            self.chunks = VecDeque::new();
        }
        self.tail.take()
    }

    /// Drops what is queued. Its place in the stream stays as it is. The buffer goes back to the
    /// pool.
    pub(crate) fn drop_all(&mut self) {
        if let Some(buffer) = self.tail.take() {
            buffers::give(buffer);
        }
        *self = Self { written: self.written, ..Self::default() };
    }

    /// Whether the queue already has a buffer.
    #[must_use]
    #[inline]
    pub const fn has_buffer(&self) -> bool {
        self.tail.is_some()
    }

    /// How many bytes of the stream have left the queue.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// The position in the stream of the end of the queue.
    pub(crate) const fn end(&self) -> u64 {
        self.written + self.len as u64
    }

    /// How many messages have not left the queue to their end. They are not counted as they come
    /// and go, which would take 1.5 % more instructions for a short message: this reads the headers
    /// of all frames that wait.
    pub(crate) fn messages(&self) -> usize {
        let cut = self.cut.end() > self.written && self.cut.ends_message();
        usize::from(cut) + self.frames().filter(|frame| frame.ends_message).count()
    }

    /// The frames that wait as a whole.
    fn frames(&self) -> Frames<'_> {
        let rest = self.cut.end().saturating_sub(self.written);
        Frames { queue: self, next: 0, slice: &[], skip: rest, end: self.written + rest }
    }

    /// Notes where the frame ends of which a part is about to leave: beyond that, the queue is made
    /// of frames again.
    #[cold]
    #[inline(never)]
    fn cut(&mut self, count: usize) {
        let position = self.written + count as u64;
        if self.cut.end() < position
            && let Some(frame) = self.frames().find(|frame| frame.end >= position)
        {
            self.cut = Cut::of(&frame);
        }
    }

    /// Whether a payload of this length is copied into the buffer, rather than chained.
    #[inline]
    pub(crate) const fn copies(len: usize) -> bool {
        len < CHAIN_THRESHOLD
    }

    /// Appends a frame. The payload is masked here when the header says so (RFC 6455 section 5.3):
    /// in place if nobody else holds it, otherwise while it is copied.
    pub(crate) fn push(&mut self, header: &Header, payload: Bytes) {
        if Self::copies(payload.len()) {
            return self.push_copied(header, &payload);
        }
        let payload = match header.mask {
            Some(key) => masked(key, payload),
            None => payload,
        };
        let tail = self.tail.get_or_insert_default();
        let before = tail.len();
        header.append(tail);
        self.len += tail.len() - before + payload.len();
        self.chunks.push_back(tail.split().freeze());
        self.chunks.push_back(payload);
    }

    /// Takes up to `most` bytes off the front as they are, for a transport that keeps what it is
    /// given: what stands before a large payload, and the payload. `None` if what comes first is in
    /// the buffer, where the next frames go too.
    pub fn split_chunks(&mut self, most: usize) -> Option<[Bytes; 2]> {
        let first = self.chunks.front()?;
        let first = first.slice(..first.len().min(most));
        let rest = most - first.len();
        let second = match self.chunks.get(1) {
            Some(second) => second.slice(..second.len().min(rest)),
            None => Bytes::new(),
        };
        self.advance(first.len() + second.len());
        Some([first, second])
    }

    /// Appends a frame that was encoded before.
    pub(crate) fn push_frame(&mut self, frame: &Frame) {
        let tail = self.tail.get_or_insert_default();
        tail.extend_from_slice(&frame.head);
        self.len += frame.head.len() + frame.payload.len();
        if !frame.payload.is_empty() {
            self.chunks.push_back(tail.split().freeze());
            self.chunks.push_back(frame.payload.clone());
        }
    }

    /// Like [`push`](Self::push), for a payload that is to be copied.
    #[inline(always)]
    pub(crate) fn push_copied(&mut self, header: &Header, payload: &[u8]) {
        let tail = self.tail.get_or_insert_default();
        let before = tail.len();
        header.append(tail);
        match header.mask {
            Some(key) => mask::copy(key, payload, tail),
            None => tail.extend_from_slice(payload),
        }
        self.len += tail.len() - before;
    }
}

/// A frame in the queue.
struct Waiting {
    /// The position in the stream.
    end: u64,
    ends_message: bool,
}

/// Walks from header to header. A header never spans two chunks: it is appended as a whole.
struct Frames<'a> {
    queue: &'a WriteQueue,
    /// Which chunk comes after `slice`; the tail comes after the last.
    next: usize,
    slice: &'a [u8],
    /// How much of `slice`, and of what comes after it, belongs to the frame before.
    skip: u64,
    /// The position in the stream of the end of that frame.
    end: u64,
}

impl Iterator for Frames<'_> {
    type Item = Waiting;

    fn next(&mut self) -> Option<Waiting> {
        while self.skip >= self.slice.len() as u64 {
            self.skip -= self.slice.len() as u64;
            let chunks = &self.queue.chunks;
            self.slice = match chunks.get(self.next) {
                Some(chunk) => chunk,
                None if self.next == chunks.len() => self.queue.tail.as_deref()?,
                None => return None,
            };
            self.next += 1;
        }
        self.slice = self.slice.get(self.skip as usize..)?;
        let (header, len) = Header::decode(self.slice, reader(self.slice)?, Rsv::RSV1).ok()??;
        self.skip = len as u64 + header.len;
        self.end += self.skip;
        Some(Waiting { end: self.end, ends_message: header.fin && !header.opcode.is_control() })
    }
}

/// Who is to read this frame: a server, if it is masked (RFC 6455 section 5.1).
fn reader(frame: &[u8]) -> Option<Role> {
    Some(if Header::is_masked(*frame.get(1)?) { Role::Server } else { Role::Client })
}

fn masked(key: [u8; 4], payload: Bytes) -> Bytes {
    match payload.try_into_mut() {
        Ok(mut owned) => {
            mask::apply(key, 0, &mut owned);
            owned.freeze()
        }
        Err(shared) => {
            let mut copy = BytesMut::with_capacity(shared.len());
            mask::copy(key, &shared, &mut copy);
            copy.freeze()
        }
    }
}

impl Buf for WriteQueue {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        match (self.chunks.front(), &self.tail) {
            (Some(chunk), _) => chunk,
            (None, Some(tail)) => tail,
            (None, None) => &[],
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = self.tail.iter().map(|tail| &tail[..]).filter(|tail| !tail.is_empty());
        let all = self.chunks.iter().map(|chunk| &chunk[..]).chain(tail);
        slices.iter_mut().zip(all).map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count()
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "advanced by more than there is");
        if count < self.len {
            self.cut(count);
        }
        self.len -= count;
        self.written += count as u64;
        match &mut self.tail {
            // Starts again at the front of the buffer, without moving anything.
            Some(tail) if self.chunks.is_empty() && count == tail.len() => tail.clear(),
            _ => self.take_off(count),
        }
    }
}

impl WriteQueue {
    #[inline(never)]
    fn take_off(&mut self, mut count: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            if count < chunk.len() {
                chunk.advance(count);
                return;
            }
            count -= chunk.len();
            self.chunks.pop_front();
        }
        let Some(tail) = &mut self.tail else { return };
        if count == tail.len() {
            tail.clear();
        } else {
            tail.advance(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Rsv;
    use crate::opcode::OpCode;

    fn header(mask: Option<[u8; 4]>, len: usize) -> Header {
        Header { fin: true, rsv: Rsv::NONE, opcode: OpCode::Binary, mask, len: len as u64 }
    }

    fn drain(queue: &mut WriteQueue, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while queue.has_remaining() {
            let chunk = queue.chunk();
            let count = chunk.len().min(step);
            out.extend_from_slice(&chunk[..count]);
            queue.advance(count);
        }
        out
    }

    // Each connection that ended took a buffer of 65 KiB with it, that of its Close, and the next one
    // allocated another.
    #[test]
    fn the_buffer_of_a_connection_that_ends_is_there_for_the_next() {
        let buffer = buffers::take();
        let address = buffer.as_ptr();
        let mut queue = WriteQueue::default();
        queue.lend_buffer(buffer);
        queue.push(&header(None, 5), Bytes::from_static(b"close"));
        queue.drop_all();
        assert!(!queue.has_remaining() && !queue.has_buffer());
        // Had it been freed, it would be this one now.
        let _other = BytesMut::with_capacity(buffers::BUFFER_SIZE);
        let again = buffers::take();
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), address);
    }

    #[test]
    fn small_and_large_payloads_leave_in_order_whatever_the_write_takes() {
        for step in [1, 3, 1000, usize::MAX] {
            let mut queue = WriteQueue::default();
            let mut expected = Vec::new();
            for len in [0, 1, 125, CHAIN_THRESHOLD - 1, CHAIN_THRESHOLD, 70_000, 5] {
                let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let header = header(None, len);
                let mut head = [0; Header::MAX_LEN];
                let head_len = header.encode(&mut head);
                expected.extend_from_slice(&head[..head_len]);
                expected.extend_from_slice(&payload);
                queue.push(&header, payload.into());
            }
            assert_eq!(queue.remaining(), expected.len());
            assert_eq!(drain(&mut queue, step), expected);
        }
    }

    #[test]
    fn what_is_split_off_is_what_would_have_been_written() {
        for most in [1, 2, 7, CHAIN_THRESHOLD, 50_000, usize::MAX] {
            let (mut queue, mut other) = (WriteQueue::default(), WriteQueue::default());
            for len in [3, CHAIN_THRESHOLD, 70_000, 0, 9000, 1] {
                let payload: Bytes = (0..len).map(|i| i as u8).collect();
                queue.push(&header(None, len), payload.clone());
                other.push(&header(None, len), payload);
            }
            let mut out = Vec::new();
            while let Some([first, second]) = queue.split_chunks(most) {
                let count = first.len() + second.len();
                assert!((1..=most).contains(&count), "{count} of {most}");
                out.extend_from_slice(&first);
                out.extend_from_slice(&second);
                other.advance(count);
                assert_eq!(
                    (queue.remaining(), queue.written(), queue.messages()),
                    (other.remaining(), other.written(), other.messages())
                );
            }
            assert_eq!(queue.remaining(), 3, "the last frame is in the buffer");
            out.extend(drain(&mut queue, usize::MAX));
            let mut all = WriteQueue::default();
            for len in [3, CHAIN_THRESHOLD, 70_000, 0, 9000, 1] {
                all.push(&header(None, len), (0..len).map(|i| i as u8).collect());
            }
            assert_eq!(out, drain(&mut all, usize::MAX));
        }
    }

    #[test]
    fn a_shared_payload_is_masked_in_a_copy_and_an_owned_one_in_place() {
        let key = [1, 2, 3, 4];
        let len = CHAIN_THRESHOLD;
        let shared = Bytes::from(vec![0u8; len]);
        let mut queue = WriteQueue::default();
        queue.push(&header(Some(key), len), shared.clone());
        assert!(shared.iter().all(|&byte| byte == 0), "the user's bytes stay as they are");
        let owned = Bytes::from(vec![0u8; len]);
        let address = owned.as_ptr();
        queue.push(&header(Some(key), len), owned);
        assert_eq!(queue.chunks[3].as_ptr(), address, "no copy of what nobody else holds");
        let out = drain(&mut queue, usize::MAX);
        let half = out.len() / 2;
        assert_eq!(out[..half], out[half..]);
        assert!(out[8..half].chunks(4).all(|group| group == key));
    }

    #[test]
    fn messages_are_counted_until_their_last_byte_has_left() {
        use OpCode::{Binary, Continuation, Ping, Text};
        let large = CHAIN_THRESHOLD;
        let frames = [
            (Text, true, 0),
            (Text, true, 5),
            (Ping, true, 3),
            (Binary, false, 0),
            (Continuation, false, large),
            (Ping, true, 0),
            (Continuation, true, 126),
            (Binary, true, large - 1),
            (Binary, true, 70_000),
            (Ping, true, 125),
            (Text, true, 1),
        ];
        for mask in [None, Some([1, 2, 3, 4])] {
            for step in [1, 2, 3, 7, 4096, 70_000, 200_000] {
                let mut queue = WriteQueue::default();
                let (mut ends, mut given) = (Vec::new(), 0);
                assert_eq!(queue.messages(), 0);
                // Others come while the first ones leave.
                for (index, &(opcode, fin, len)) in frames.iter().cycle().take(33).enumerate() {
                    let rsv = if opcode == Text { Rsv::RSV1 } else { Rsv::NONE };
                    queue.push(
                        &Header { fin, rsv, opcode, mask, len: len as u64 },
                        vec![7; len].into(),
                    );
                    if fin && opcode != Ping {
                        ends.push(queue.end());
                    }
                    while queue.has_remaining() && (index % 11 > 6 || given % 2 == 0) {
                        queue.advance(step.min(queue.chunk().len()));
                        given += 1;
                        ends.retain(|&end| end > queue.written());
                        assert_eq!(queue.messages(), ends.len(), "{mask:?} {step} {index}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_queue_gives_its_buffer_back_and_a_full_one_does_not() {
        let mut queue = WriteQueue::default();
        assert!(queue.reclaim_buffer().is_none());
        queue.lend_buffer(Box::new(BytesMut::with_capacity(100)));
        queue.push(&header(None, 3), Bytes::from_static(b"abc"));
        assert!(queue.reclaim_buffer().is_none());
        queue.advance(5);
        assert!(queue.reclaim_buffer().is_some_and(|buffer| buffer.capacity() >= 100));
        assert!(!queue.has_buffer());
    }
}
