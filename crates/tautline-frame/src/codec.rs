//! Raw frames, without messages and automatic replies.

use bytes::{Bytes, BytesMut};

use crate::config::{Config, SLICE_THRESHOLD};
use crate::error::ProtocolError;
use crate::frame_reader::FrameReader;
use crate::header::{Header, Rsv};
use crate::mask;
use crate::opcode::{MAX_CONTROL_PAYLOAD, OpCode};
use crate::role::Role;

/// One frame (RFC 6455 section 5.2), unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields are the wire format's, which is final")]
pub struct Frame {
    /// Whether this is the last frame of its message.
    pub fin: bool,
    /// The reserved bits.
    pub rsv: Rsv,
    /// The kind of frame.
    pub opcode: OpCode,
    /// The payload.
    pub payload: Bytes,
}

/// Decodes bytes to frames and encodes frames to bytes.
///
/// It checks the rules for a single frame: bits, lengths, masking, control frames. It does not
/// check those that concern several frames (fragments, UTF-8, the closing handshake): that is the
/// work of [`Protocol`](crate::Protocol). With the feature `tokio-codec` it implements
/// `tokio_util::codec::{Decoder, Encoder}`.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use tautline_frame::{Codec, Frame, OpCode, Role, Rsv};
///
/// let frame = Frame { fin: true, rsv: Rsv::NONE, opcode: OpCode::Text, payload: Bytes::from_static(b"hi") };
/// let mut wire = BytesMut::new();
/// Codec::new(Role::Client).encode(&frame, &mut wire)?;
/// assert_eq!(Codec::new(Role::Server).decode(&mut wire)?, Some(frame));
/// # Ok::<(), tautline_frame::ProtocolError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Codec {
    role: Role,
    reader: FrameReader,
}

impl Codec {
    /// A codec for this end of a connection, without extensions, for frames of up to
    /// [`Config::DEFAULT_MAX_FRAME_SIZE`] bytes.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self::with_limits(role, Rsv::NONE, Config::DEFAULT_MAX_FRAME_SIZE)
    }

    /// A codec that accepts the reserved bits in `allowed`, and payloads of up to `max_frame_size`
    /// bytes.
    #[must_use]
    pub fn with_limits(role: Role, allowed: Rsv, max_frame_size: usize) -> Self {
        Self { role, reader: FrameReader::new(role, allowed, max_frame_size) }
    }

    /// Takes the next frame off the buffer; `None` while bytes are missing.
    ///
    /// # Errors
    /// The rule that the frame breaks. Nothing more can be decoded from the stream then.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        let header = match self.reader.current() {
            Some(header) => *header,
            None => match self.reader.read_header(buffer)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        self.reader.unmask(buffer, usize::MAX);
        let Some(len) = self.reader.finish() else { return Ok(None) };
        let payload = take_payload(buffer, len);
        Ok(Some(Frame { fin: header.fin, rsv: header.rsv, opcode: header.opcode, payload }))
    }

    /// Appends the frame to the buffer. A client's frame is masked with a fresh key.
    ///
    /// # Errors
    /// [`ControlTooLong`](ProtocolError::ControlTooLong) or
    /// [`ControlFragmented`](ProtocolError::ControlFragmented) for a control frame that the
    /// protocol forbids. Nothing was appended.
    pub fn encode(&self, frame: &Frame, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        if frame.opcode.is_control() {
            if frame.payload.len() > MAX_CONTROL_PAYLOAD {
                return Err(ProtocolError::ControlTooLong);
            }
            if !frame.fin {
                return Err(ProtocolError::ControlFragmented);
            }
        }
        let header = Header {
            fin: frame.fin,
            rsv: frame.rsv,
            opcode: frame.opcode,
            mask: self.role.fresh_key(),
            len: frame.payload.len() as u64,
        };
        header.append(buffer);
        match header.mask {
            Some(key) => mask::copy(key, &frame.payload, buffer),
            None => buffer.extend_from_slice(&frame.payload),
        }
        Ok(())
    }
}

/// Takes a whole payload off the start of the buffer: a large one as a slice of the buffer, a small
/// one as a copy.
///
/// Always inlined, and made from a `Vec`, which is inlined too: a `Bytes` that is passed between
/// functions in memory is stored word by word and loaded in pairs of words, and each such load
/// waits for the stores.
#[inline(always)]
pub(crate) fn take_payload(buffer: &mut BytesMut, len: usize) -> Bytes {
    if len < SLICE_THRESHOLD {
        let payload = Bytes::from(buffer[..len].to_vec());
        bytes::Buf::advance(buffer, len);
        payload
    } else {
        buffer.split_to(len).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_in_any_pieces_and_both_directions() {
        for (sender, receiver) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
            let frames: Vec<Frame> = [0usize, 1, 125, 126, 5000, 65_535, 65_536]
                .into_iter()
                .map(|len| Frame {
                    fin: true,
                    rsv: Rsv::NONE,
                    opcode: OpCode::Binary,
                    payload: (0..len).map(|i| (i * 7) as u8).collect(),
                })
                .collect();
            let mut wire = BytesMut::new();
            for frame in &frames {
                Codec::new(sender).encode(frame, &mut wire).unwrap();
            }
            for step in [1, 7, 4096, usize::MAX] {
                let mut codec = Codec::new(receiver);
                let mut buffer = BytesMut::new();
                let mut got = Vec::new();
                for piece in wire.chunks(step) {
                    buffer.extend_from_slice(piece);
                    while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                        got.push(frame);
                    }
                }
                assert!(got == frames && buffer.is_empty(), "{sender:?} {step}");
            }
        }
    }

    // RFC 6455 section 5.5.
    #[test]
    fn control_frames_that_must_not_exist_are_not_encoded() {
        let frame = |fin, len| Frame {
            fin,
            rsv: Rsv::NONE,
            opcode: OpCode::Ping,
            payload: vec![0; len].into(),
        };
        let mut out = BytesMut::new();
        let codec = Codec::new(Role::Server);
        assert_eq!(codec.encode(&frame(true, 126), &mut out), Err(ProtocolError::ControlTooLong));
        assert_eq!(codec.encode(&frame(false, 1), &mut out), Err(ProtocolError::ControlFragmented));
        assert!(out.is_empty());
        assert_eq!(codec.encode(&frame(true, 125), &mut out), Ok(()));
    }

    // rust-websocket (CVE-2022-35922) allocated what a header declared.
    #[test]
    fn a_declared_length_sizes_no_allocation() {
        let mut buffer = BytesMut::from(&[0x82u8, 127, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF][..]);
        let mut codec = Codec::new(Role::Client);
        assert_eq!(codec.decode(&mut buffer), Ok(None));
        assert!(buffer.capacity() < 1024);
        let mut buffer =
            BytesMut::from(&[0x82u8, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255][..]);
        let limit = Config::DEFAULT_MAX_FRAME_SIZE;
        assert_eq!(
            Codec::new(Role::Client).decode(&mut buffer),
            Err(ProtocolError::FrameTooLong { limit })
        );
    }

    // RFC 6455 section 10.3. curl (CVE-2025-10148) kept one key for a whole connection.
    #[test]
    fn a_client_masks_each_frame_with_a_fresh_key_and_a_server_none() {
        let frame = Frame {
            fin: true,
            rsv: Rsv::NONE,
            opcode: OpCode::Ping,
            payload: Bytes::from_static(b"x"),
        };
        let mut keys = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut out = BytesMut::new();
            Codec::new(Role::Client).encode(&frame, &mut out).unwrap();
            assert_eq!(out[1], 0x81);
            keys.insert(out[2..6].to_vec());
        }
        assert!(keys.len() > 990, "{} different keys of 1000", keys.len());
        let mut out = BytesMut::new();
        Codec::new(Role::Server).encode(&frame, &mut out).unwrap();
        assert_eq!(out, [0x89, 0x01, b'x'][..]);
    }
}
