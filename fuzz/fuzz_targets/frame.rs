//! `Codec`: any cut of the bytes gives the same frames and the same error, they are those that an
//! independent parser reads, and what is encoded again is what came.
//!
//! Input: flags (1: server; 2: RSV1 allowed; 4: a limit of 300 bytes), two bytes for the cuts, the
//! stream.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tautline_frame::{Codec, Frame, ProtocolError, Role, Rsv};
use tautline_fuzz::{Input, Pieces};
use tautline_wire::read_frame;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let flags = input.byte();
    let seed = input.pair();
    let stream = input.rest();
    let role = if flags & 1 != 0 { Role::Server } else { Role::Client };
    let allowed = if flags & 2 != 0 { Rsv::RSV1 } else { Rsv::NONE };
    let limit = if flags & 4 != 0 { 300 } else { usize::MAX };
    let codec = || Codec::with_limits(role, allowed, limit);

    let whole = decode(codec(), std::iter::once(stream));
    assert_eq!(whole, decode(codec(), Pieces::new(stream, seed)), "cuts change the outcome");
    assert_eq!(whole, decode(codec(), Pieces::new(stream, 0)), "single bytes change the outcome");
    check(role, &whole.0, stream);
});

fn decode<'a>(
    mut codec: Codec,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Option<ProtocolError>) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(buffer.capacity() < 1 << 20, "a declared length must size nothing");
    }
    (frames, None)
}

fn check(role: Role, frames: &[Frame], mut stream: &[u8]) {
    let (encoder, decoder) = match role {
        Role::Server => (Codec::new(Role::Client), Codec::new(Role::Server)),
        Role::Client => (Codec::new(Role::Server), Codec::new(Role::Client)),
    };
    for frame in frames {
        let (raw, len) = read_frame(stream).expect("the parser reads it too");
        let first = u8::from(frame.fin) << 7 | frame.rsv.bits() | frame.opcode.bits();
        assert_eq!((raw.first, &raw.payload[..]), (first, &frame.payload[..]));
        assert!(raw.minimal && raw.masked() == (role == Role::Server));
        let mut again = BytesMut::new();
        encoder.encode(frame, &mut again).expect("what was received may be sent");
        assert_eq!(again.len(), len, "as long as it was");
        if !raw.masked() {
            assert_eq!(again, stream[..len], "and byte for byte the same");
        }
        if frame.rsv.is_none() {
            assert_eq!(decoder.clone().decode(&mut again).as_ref(), Ok(&Some(frame.clone())));
        }
        stream = &stream[len..];
    }
}
