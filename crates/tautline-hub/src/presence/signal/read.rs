//! Reads signals. What is read is bounded by the length of the signal: each change takes two bytes at
//! least.

use super::error::SignalError;
use super::{
    ASK, AT_CONNECTION, AT_END, AT_TOPIC, BEAT, BYE, DELTA, DIGESTS, DISCONNECTED, Heard,
    HeardMember, JOINED, JOINED_TOO, LEFT, PIECE, Signal, VERSION,
};
use crate::id::NodeId;
use crate::presence::config::{MAX_DATA_LEN, MAX_SIGNAL_LEN, MAX_USER_LEN};
use crate::presence::digest::{BUCKETS, Digest};
use crate::presence::mark::{Buckets, Mark, key_of};
use crate::topic::{MAX_LEN, Topic, TopicError};

/// Reads a signal, and who tells it.
pub(in crate::presence) fn decode(bytes: &[u8]) -> Result<(NodeId, Signal<'_>), SignalError> {
    if bytes.len() > MAX_SIGNAL_LEN {
        return Err(SignalError::TooLong(bytes.len()));
    }
    let mut reader = Reader(bytes);
    let version = reader.byte()?;
    if version != VERSION {
        return Err(SignalError::Version(version));
    }
    let kind = reader.byte()?;
    let node = NodeId::from_u64(reader.word()?);
    let signal = match kind {
        BEAT => Signal::Beat {
            version: reader.number()?,
            digest: Digest { count: reader.number()?, hash: reader.word()? },
            hello: reader.flag()?,
        },
        DELTA => Signal::Delta { version: reader.number()?, changes: reader.changes()? },
        ASK => {
            let (owner, digests) = (NodeId::from_u64(reader.word()?), reader.flag()?);
            let mut buckets = Buckets::default();
            for word in &mut buckets.0 {
                *word = reader.word()?;
            }
            Signal::Ask { owner, digests, buckets }
        }
        DIGESTS => {
            let (version, mut digests) = (reader.number()?, Box::new([0; BUCKETS]));
            for digest in digests.iter_mut() {
                *digest = reader.word()?;
            }
            Signal::Digests { version, digests }
        }
        PIECE => reader.piece()?,
        BYE => Signal::Bye,
        kind => return Err(SignalError::Kind(kind)),
    };
    match reader.0.len() {
        0 => Ok((node, signal)),
        len => Err(SignalError::Trailing(len)),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], SignalError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(SignalError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, SignalError> {
        let (byte, rest) = self.0.split_first().ok_or(SignalError::Truncated)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn flag(&mut self) -> Result<bool, SignalError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(SignalError::Tag(tag)),
        }
    }

    fn word(&mut self) -> Result<u64, SignalError> {
        let (word, rest) = self.0.split_first_chunk().ok_or(SignalError::Truncated)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*word))
    }

    fn number(&mut self) -> Result<u64, SignalError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has one bit, and no last byte is empty but the only one.
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return Err(SignalError::Number);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(SignalError::Number)
    }

    /// A length, which is not believed beyond what is possible here.
    fn len(
        &mut self,
        most: usize,
        error: impl Fn(usize) -> SignalError,
    ) -> Result<usize, SignalError> {
        let number = self.number()?;
        let len = usize::try_from(number).unwrap_or(usize::MAX);
        if len > most { Err(error(len)) } else { Ok(len) }
    }

    fn text(
        &mut self,
        most: usize,
        error: impl Fn(usize) -> SignalError,
    ) -> Result<&'a str, SignalError> {
        let len = self.len(most, error)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| SignalError::Utf8)
    }

    fn data(&mut self) -> Result<&'a [u8], SignalError> {
        let len = self.len(MAX_DATA_LEN, SignalError::DataTooLong)?;
        self.take(len)
    }

    fn topic(&mut self) -> Result<Topic, SignalError> {
        let name = self.text(MAX_LEN, |len| SignalError::Topic(TopicError::TooLong(len)))?;
        Topic::new(name).map_err(SignalError::Topic)
    }

    fn joined(
        &mut self,
        tag: u8,
        before: Option<&HeardMember<'a>>,
    ) -> Result<HeardMember<'a>, SignalError> {
        let (number, user, connection_data) = match (tag, before) {
            (JOINED, _) => {
                (self.number()?, self.text(MAX_USER_LEN, SignalError::UserTooLong)?, self.data()?)
            }
            (JOINED_TOO, Some(before)) => (before.number, before.user, before.connection_data),
            (tag, _) => return Err(SignalError::Tag(tag)),
        };
        let (topic, topic_data) = (self.topic()?, self.data()?);
        Ok(HeardMember { number, user, connection_data, topic, topic_data })
    }

    fn changes(&mut self) -> Result<Vec<Heard<'a>>, SignalError> {
        let mut changes: Vec<Heard<'a>> = Vec::new();
        while !self.0.is_empty() {
            let change = match self.byte()? {
                LEFT => Heard::Left { number: self.number()?, topic: self.topic()? },
                DISCONNECTED => Heard::Disconnected { number: self.number()? },
                tag => {
                    let before = match changes.last() {
                        Some(Heard::Joined(member)) => Some(member),
                        _ => None,
                    };
                    Heard::Joined(self.joined(tag, before)?)
                }
            };
            changes.push(change);
        }
        if changes.is_empty() { Err(SignalError::Truncated) } else { Ok(changes) }
    }

    fn mark(&mut self) -> Result<Mark, SignalError> {
        match self.byte()? {
            AT_CONNECTION => Ok(Mark::At(self.word()?, None)),
            AT_TOPIC => Ok(Mark::At(self.word()?, Some(self.topic()?))),
            AT_END => Ok(Mark::End),
            tag => Err(SignalError::Tag(tag)),
        }
    }

    fn piece(&mut self) -> Result<Signal<'a>, SignalError> {
        let (version, from, to) = (self.number()?, self.mark()?, self.mark()?);
        if from >= to {
            return Err(SignalError::Order);
        }
        let mut members: Vec<HeardMember<'a>> = Vec::new();
        let mut last = from.clone();
        while !self.0.is_empty() {
            let tag = self.byte()?;
            let member = self.joined(tag, members.last())?;
            let mark = Mark::At(key_of(member.number), Some(member.topic.clone()));
            if mark <= last || mark > to {
                return Err(SignalError::Order);
            }
            last = mark;
            members.push(member);
        }
        Ok(Signal::Piece { version, from, to, members })
    }
}
