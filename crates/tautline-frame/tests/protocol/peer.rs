//! The other end of the connection, by hand.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tautline_frame::{Config, Message, Protocol, ProtocolError, Role, Timeout};
pub(crate) use tautline_wire::close_body;
use tautline_wire::{read_frames, with_head};

pub(crate) const ROLES: [Role; 2] = [Role::Client, Role::Server];

// First bytes of frames: FIN and opcode (RFC 6455 section 5.2).
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;
/// The first frame of a message in several.
pub(crate) const TEXT_PART: u8 = 0x01;
/// The first frame of a message in several.
pub(crate) const BINARY_PART: u8 = 0x02;
/// A frame in the middle of a message.
pub(crate) const PART: u8 = 0x00;
/// The last frame of a message in several.
pub(crate) const LAST_PART: u8 = 0x80;

/// A frame as the peer of an endpoint of this role sends it.
pub(crate) fn frame(to: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    tautline_wire::encode(to == Role::Server, first, payload)
}

/// Several frames in a row.
pub(crate) fn frames(to: Role, list: &[(u8, &[u8])]) -> Vec<u8> {
    list.iter().flat_map(|(first, payload)| frame(to, *first, payload)).collect()
}

/// A header alone, with the length in its shortest form.
pub(crate) fn header(to: Role, first: u8, len: u64) -> Vec<u8> {
    with_head(to == Role::Server, &tautline_wire::head(first, len), &[])
}

/// A header with arbitrary length fields.
pub(crate) fn raw_header(to: Role, first: u8, short: u8, extended: &[u8]) -> Vec<u8> {
    with_head(to == Role::Server, &[&[first, short], extended].concat(), &[])
}

/// A frame that the endpoint wrote: its first byte and its payload, unmasked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sent(pub(crate) u8, pub(crate) Vec<u8>);

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#04x} {}", self.0, self.1[..self.1.len().min(140)].escape_ascii())
    }
}

/// A Close frame that the endpoint is to write for an error of the peer.
pub(crate) fn close_for(error: ProtocolError, code: u16) -> Sent {
    Sent(CLOSE, close_body(code, error.to_string()))
}

/// Reads what an endpoint of this role wrote; the masking and the shortest length form are checked
/// on the way (RFC 6455 sections 5.1 and 5.2). The second value is the keys.
pub(crate) fn read(from: Role, bytes: &[u8]) -> (Vec<Sent>, Vec<[u8; 4]>) {
    let (frames, rest) = read_frames(bytes);
    assert!(rest.is_empty(), "whole frames only");
    for frame in &frames {
        assert_eq!(frame.masked(), from == Role::Client, "clients mask, servers do not");
        assert!(frame.minimal, "{} in its shortest form", frame.payload.len());
    }
    let keys = frames.iter().filter_map(|frame| frame.key).collect();
    (frames.into_iter().map(|frame| Sent(frame.first, frame.payload)).collect(), keys)
}

/// An endpoint under test, with its read buffer and its clock.
pub(crate) struct End {
    pub(crate) role: Role,
    pub(crate) protocol: Protocol,
    pub(crate) buffer: BytesMut,
    pub(crate) now: Instant,
    /// Every message, delivered in this order.
    pub(crate) delivered: Vec<Message>,
}

impl End {
    /// Without keepalive.
    pub(crate) fn new(role: Role) -> Self {
        Self::with(role, Config::new().ping_interval(None))
    }

    pub(crate) fn with(role: Role, config: Config) -> Self {
        let now = Instant::now();
        let protocol = Protocol::new(role, config, now);
        Self { role, protocol, buffer: BytesMut::new(), now, delivered: Vec::new() }
    }

    /// Bytes arrive unchanged. Returns the messages that they completed.
    pub(crate) fn receive_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Message>, ProtocolError> {
        self.buffer.extend_from_slice(bytes);
        self.protocol.handle_received(self.now);
        let before = self.delivered.len();
        loop {
            match self.protocol.handle_data(&mut self.buffer, self.now)? {
                Some(message) => self.delivered.push(message),
                None if self.protocol.is_turn_over() => self.protocol.begin_turn(),
                None => break,
            }
        }
        Ok(self.delivered[before..].to_vec())
    }

    /// A frame arrives.
    pub(crate) fn receive(
        &mut self,
        first: u8,
        payload: &[u8],
    ) -> Result<Vec<Message>, ProtocolError> {
        let bytes = frame(self.role, first, payload);
        self.receive_bytes(&bytes)
    }

    /// Several frames arrive at once.
    pub(crate) fn receive_all(
        &mut self,
        list: &[(u8, &[u8])],
    ) -> Result<Vec<Message>, ProtocolError> {
        let bytes = frames(self.role, list);
        self.receive_bytes(&bytes)
    }

    /// The transport accepts everything; returns the frames.
    pub(crate) fn written(&mut self) -> Vec<Sent> {
        let bytes = self.written_bytes();
        read(self.role, &bytes).0
    }

    /// The transport accepts everything; returns the bytes.
    pub(crate) fn written_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.protocol.poll_transmit() {
            let len = self.protocol.queue().remaining();
            bytes.extend(self.protocol.queue().copy_to_bytes(len));
            self.protocol.handle_written(self.now);
        }
        bytes
    }

    /// How many bytes wait to be written.
    pub(crate) fn queued(&mut self) -> usize {
        self.protocol.poll_transmit();
        self.protocol.queue().remaining()
    }

    /// Time passes, and the deadlines are checked.
    pub(crate) fn wait(&mut self, duration: Duration) -> Result<(), Timeout> {
        self.now += duration;
        let result = self.protocol.handle_timeout(self.now);
        if let Some(next) = self.protocol.poll_timeout() {
            assert!(next > self.now, "a deadline in the past would be a busy loop");
        }
        result
    }

    /// Time passes up to the next deadline.
    pub(crate) fn wait_for_deadline(&mut self) -> Result<(), Timeout> {
        let deadline = self.protocol.poll_timeout().expect("a deadline");
        self.wait(deadline - self.now)
    }

    /// How far the next deadline is.
    pub(crate) fn deadline_in(&self) -> Option<Duration> {
        self.protocol.poll_timeout().map(|deadline| deadline - self.now)
    }
}

/// Bytes that differ from their neighbours.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Seconds.
pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
