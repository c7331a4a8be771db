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
/// How many are under way at once: one after the other, a broker that is a millisecond away would never catch up
/// with a thousand publications a second, since each that comes meanwhile waits behind them.
const MOST_AT_ONCE: usize = 256;
/// How many bytes are under way at once. A longer one goes alone.
const BYTES_AT_ONCE: usize = 1 << 20;

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

    /// The next ones to send. They stay until they are [gone](Self::gone).
    pub(crate) fn next(&self) -> Vec<Parcel> {
        let mut bytes = 0;
        let fits = |parcel: &&Parcel| {
            bytes += parcel.size();
            bytes <= BYTES_AT_ONCE || bytes == parcel.size()
        };
        self.waiting.iter().take(MOST_AT_ONCE).take_while(fits).cloned().collect()
    }

    /// The first so many have arrived, or never will.
    pub(crate) fn gone(&mut self, count: usize) {
        let gone = self.waiting.drain(..count.min(self.waiting.len()));
        self.bytes -= gone.map(|parcel| parcel.size()).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &'static str) -> Parcel {
        let topic = Topic::new("a").unwrap();
        Parcel { topic, encoded: Bytes::from_static(text.as_bytes()), keep: None, id: Bytes::new() }
    }

    fn texts(outbox: &Outbox) -> Vec<Bytes> {
        outbox.next().into_iter().map(|parcel| parcel.encoded).collect()
    }

    // They went one by one, each when the one before had arrived: after the broker had been away, what was
    // kept grew and grew.
    #[test]
    fn many_are_under_way_at_once_but_not_more_than_is_allowed() {
        let mut outbox = Outbox::new(usize::MAX);
        for _ in 0..=MOST_AT_ONCE {
            outbox.push(parcel("1")).unwrap();
        }
        assert_eq!(outbox.next().len(), MOST_AT_ONCE);
        outbox.gone(MOST_AT_ONCE);
        assert_eq!(outbox.next().len(), 1);
        let long = Bytes::from(vec![0; BYTES_AT_ONCE]);
        outbox.push(Parcel { encoded: long, ..parcel("") }).unwrap();
        outbox.push(parcel("2")).unwrap();
        assert_eq!(texts(&outbox), ["1"]);
        outbox.gone(1);
        assert_eq!(outbox.next().len(), 1, "a long one goes alone");
    }

    #[test]
    fn what_waits_is_bounded_and_goes_in_its_order() {
        let mut outbox = Outbox::new(2 * (OVERHEAD + 1));
        assert!(outbox.keeps() && !outbox.is_waiting());
        assert_eq!(outbox.push(parcel("1")), Ok(()));
        assert_eq!(outbox.push(parcel("2")), Ok(()));
        assert_eq!(outbox.push(parcel("3")), Err(Full(2 * (OVERHEAD + 1))));
        assert_eq!(texts(&outbox), ["1", "2"]);
        assert_eq!(texts(&outbox), ["1", "2"], "until they are gone");
        outbox.gone(1);
        assert_eq!(outbox.push(parcel("4")), Ok(()));
        assert_eq!(texts(&outbox), ["2", "4"]);
        outbox.gone(2);
        assert!(!outbox.is_waiting() && outbox.bytes == 0);
        assert!(!Outbox::new(0).keeps());
    }
}
