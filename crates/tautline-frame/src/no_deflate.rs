//! Replaces `deflate` without the feature of that name: no connection has compression.

use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;

use crate::compression::{Compress, Compression};
use crate::prepared::{Compressed, Prepared};
use crate::turn::Turn;

/// Has no values, so none of its methods is ever called.
#[derive(Debug)]
pub(crate) struct Deflate(Infallible);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "nothing is inflated that could be refused")]
pub(crate) enum InflateError {
    Data,
    TooLong,
    LastBlocks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "nothing is inflated of which there could be more")]
pub(crate) enum More {
    Yes,
    No,
}

/// What else is to be written with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    No,
    Yes,
    End,
}

impl Deflate {
    pub(crate) const fn settings(&self) -> &Compression {
        match self.0 {}
    }

    pub(crate) fn compress(
        &mut self,
        _: &[u8],
        _: bool,
        _: Compress,
        _: Instant,
        _: &mut Turn,
    ) -> Option<Bytes> {
        match self.0 {}
    }

    pub(crate) fn share<'a>(&mut self, _: &'a Prepared, _: &mut Turn) -> Option<&'a Compressed> {
        match self.0 {}
    }

    pub(crate) fn begin(&mut self, _: &[u8], _: bool, _: Compress) -> bool {
        match self.0 {}
    }

    pub(crate) fn compress_piece(&mut self, _: &[u8], _: Flush, _: Instant, _: &mut Turn) -> Bytes {
        match self.0 {}
    }

    pub(crate) fn inflate(
        &mut self,
        _: &mut &[u8],
        _: &mut Vec<u8>,
        _: usize,
        _: &mut Turn,
    ) -> Result<More, InflateError> {
        match self.0 {}
    }

    pub(crate) fn end_message(
        &mut self,
        _: &mut Vec<u8>,
        _: usize,
        _: &mut Turn,
    ) -> Result<(), InflateError> {
        match self.0 {}
    }

    pub(crate) fn stop_sending(&mut self) {
        match self.0 {}
    }

    pub(crate) fn end(&mut self) {
        match self.0 {}
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self.0 {}
    }

    pub(crate) fn handle_timeout(&mut self, _: Instant) {
        match self.0 {}
    }
}
