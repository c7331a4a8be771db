//! What is published while the broker is away: kept up to a number of bytes, and published in its order when the
//! broker is back. Without I/O.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::broker::Keep;
use crate::topic::Topic;

/// A publication for the broker.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) topic: Topic,
    pub(crate) encoded: Bytes,
    pub(crate) keep: Option<Keep>,
    /// By which the broker knows it again, if it is published twice.
    pub(crate) id: Bytes,
}

/// What one counts beside its bytes.
const OVERHEAD: usize = 256;

/// What waits for the broker.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// 0: nothing is kept.
    limit: usize,
    waiting: VecDeque<Parcel>,
    bytes: usize,
}

/// It is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) usize);

impl Parcel {
    fn size(&self) -> usize {
        self.encoded.len() + OVERHEAD
    }
}

impl Outbox {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Whether anything is kept at all.
    pub(crate) const fn keeps(&self) -> bool {
        self.limit > 0
    }

    /// Whether something waits: then everything that follows does, or it would come first.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, parcel: Parcel) -> Result<(), Full> {
        if self.bytes + parcel.size() > self.limit {
            return Err(Full(self.limit));
        }
        self.bytes += parcel.size();
        self.waiting.push_back(parcel);
        Ok(())
    }

    /// The next one, which stays until it is [gone](Self::gone).
    pub(crate) fn next(&self) -> Option<&Parcel> {
        self.waiting.front()
    }

    pub(crate) fn gone(&mut self) {
        if let Some(parcel) = self.waiting.pop_front() {
            self.bytes -= parcel.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &'static str) -> Parcel {
        let topic = Topic::new("a").unwrap();
        Parcel { topic, encoded: Bytes::from_static(text.as_bytes()), keep: None, id: Bytes::new() }
    }

    #[test]
    fn what_waits_is_bounded_and_goes_in_its_order() {
        let mut outbox = Outbox::new(2 * (OVERHEAD + 1));
        assert!(outbox.keeps() && !outbox.is_waiting());
        assert_eq!(outbox.push(parcel("1")), Ok(()));
        assert_eq!(outbox.push(parcel("2")), Ok(()));
        assert_eq!(outbox.push(parcel("3")), Err(Full(2 * (OVERHEAD + 1))));
        assert_eq!(outbox.next().unwrap().encoded, "1");
        assert_eq!(outbox.next().unwrap().encoded, "1", "until it is gone");
        outbox.gone();
        assert_eq!(outbox.push(parcel("4")), Ok(()));
        for text in ["2", "4"] {
            assert_eq!(outbox.next().unwrap().encoded, text);
            outbox.gone();
        }
        outbox.gone();
        assert!(!outbox.is_waiting() && outbox.bytes == 0);
        assert!(!Outbox::new(0).keeps());
    }
}
