//! The traits of `tokio_util::codec` for [`Codec`]; forwarding only.

use std::io;

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use crate::codec::{Codec, Frame};
use crate::error::ProtocolError;

impl From<ProtocolError> for io::Error {
    fn from(error: ProtocolError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The error is an [`io::Error`] of kind `InvalidData` around the [`ProtocolError`].
impl Decoder for Codec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        Ok(Self::decode(self, buffer)?)
    }
}

/// The error is an [`io::Error`] of kind `InvalidData` around the [`ProtocolError`].
impl Encoder<Frame> for Codec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, buffer: &mut BytesMut) -> io::Result<()> {
        Ok(Self::encode(self, &frame, buffer)?)
    }
}
