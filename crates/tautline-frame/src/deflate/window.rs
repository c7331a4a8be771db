//! The newest bytes of what a peer sent compressed.

/// Keeps the newest bytes, up to a size, and no more memory than for as many as there were.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    bytes: Vec<u8>,
    /// Where the oldest byte is, once all of `size` is in use.
    start: usize,
}

impl Window {
    pub(super) const fn new(size: usize) -> Self {
        Self { size, bytes: Vec::new(), start: 0 }
    }

    /// The bytes, older ones first.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        let (newer, older) = self.bytes.split_at(self.start);
        [older, newer]
    }

    /// Drops the bytes, and their memory.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.size);
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        let mut data = &data[data.len().saturating_sub(self.size)..];
        if self.bytes.len() < self.size {
            let (first, rest) = data.split_at(data.len().min(self.size - self.bytes.len()));
            self.grow(first.len());
            self.bytes.extend_from_slice(first);
            data = rest;
        }
        while !data.is_empty() {
            let (first, rest) = data.split_at(data.len().min(self.size - self.start));
            self.bytes[self.start..][..first.len()].copy_from_slice(first);
            self.start = (self.start + first.len()) % self.size;
            data = rest;
        }
    }

    /// Doubles, but never beyond what can be used.
    fn grow(&mut self, additional: usize) {
        let len = self.bytes.len() + additional;
        if len > self.bytes.capacity() {
            let capacity = len.next_power_of_two().min(self.size);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_newest_bytes_and_no_more_memory_than_them() {
        let data: Vec<u8> = (0..2000u32).map(|i| (i * 31 / 7) as u8).collect();
        for step in [1, 3, 255, 256, 257, 700, 2000] {
            let mut window = Window::new(256);
            let mut pushed = 0;
            for piece in data.chunks(step) {
                window.push(piece);
                pushed += piece.len();
                let newest = &data[pushed.saturating_sub(256)..pushed];
                assert_eq!(window.parts().concat(), newest, "{step} {pushed}");
                assert!(window.bytes.capacity() <= pushed.next_power_of_two().min(256));
            }
        }
    }

    #[test]
    fn of_size_zero_it_holds_nothing() {
        let mut window = Window::new(0);
        window.push(b"abc");
        assert_eq!(window.parts(), [b"", b""]);
    }
}
