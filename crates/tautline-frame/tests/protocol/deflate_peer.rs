//! An end that compresses, and the other end of its connection: zlib, driven by hand.

use std::sync::atomic::{AtomicU64, Ordering};

use flate2::{Compress as Zlib, Compression as Level, FlushCompress};
use tautline_frame::{Compression, Config, Message, Role};

use crate::inflate::inflate;
use crate::peer::*;

/// RSV1, beside FIN and the opcode.
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// "Hello", as in RFC 7692 section 7.2.3.1.
pub(crate) const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];

pub(crate) fn end(role: Role, compression: Compression) -> End {
    with(role, Config::new().ping_interval(None), compression)
}

pub(crate) fn with(role: Role, config: Config, compression: Compression) -> End {
    let mut end = End::with(role, config);
    end.protocol.set_compression(compression);
    end
}

/// One that keeps nothing between messages.
pub(crate) fn forgetful(role: Role) -> End {
    end(role, Compression::low_memory())
}

/// A peer's compressor: whole messages, with the previous ones in its window.
pub(crate) struct Sender(pub(crate) Zlib);

impl Sender {
    pub(crate) fn new() -> Self {
        Self(Zlib::new(Level::new(6), false))
    }

    pub(crate) fn message(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = self.flush(data, FlushCompress::Sync);
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - 4);
        out
    }

    pub(crate) fn flush(&mut self, data: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 1024);
        self.0.compress_vec(data, &mut out, flush).unwrap();
        out
    }
}

/// What a peer with a window of `bits` makes of compressed messages, each appended to the one
/// before.
pub(crate) fn inflated(bits: u8, messages: &[Vec<u8>]) -> Option<Vec<u8>> {
    let stream: Vec<u8> =
        messages.iter().flat_map(|message| [message, &TAIL[..]].concat()).collect();
    inflate(&stream, 1 << bits)
}

pub(crate) fn words(len: usize) -> Vec<u8> {
    let mut state = 12345u32;
    let mut text = String::new();
    while text.len() < len {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        text += ["price ", "bid ", "ask ", "size ", "time ", "venue "][(state >> 16) as usize % 6];
        text += &(state >> 20).to_string();
    }
    text.truncate(len);
    text.into_bytes()
}

pub(crate) fn noise(len: usize) -> Vec<u8> {
    static STATE: AtomicU64 = AtomicU64::new(0x2545_F491_4F6C_DD1D);
    let mut state = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

pub(crate) fn text(bytes: &[u8]) -> Message {
    Message::from(std::str::from_utf8(bytes).unwrap())
}
