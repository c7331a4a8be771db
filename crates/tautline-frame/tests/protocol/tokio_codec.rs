//! `Codec` through the traits of `tokio_util::codec`.

use std::error::Error;
use std::io;

use bytes::{Bytes, BytesMut};
use tautline_frame::{Codec, Frame, OpCode, ProtocolError, Role, Rsv};
use tokio_util::codec::{Decoder, Encoder};

use crate::peer::*;

fn decode(codec: &mut Codec, wire: &mut BytesMut) -> io::Result<Option<Frame>> {
    Decoder::decode(codec, wire)
}

#[test]
fn frames_go_through_the_traits() {
    for role in ROLES {
        let bytes = frames(role, &[(TEXT_PART, b"Hel"), (PING, b""), (LAST_PART, b"lo")]);
        let mut codec = Codec::new(role);
        let mut wire = BytesMut::from(&bytes[..bytes.len() - 1]);
        let first = decode(&mut codec, &mut wire).unwrap().unwrap();
        let payload = Bytes::from_static(b"Hel");
        let expected = Frame { fin: false, rsv: Rsv::NONE, opcode: OpCode::Text, payload };
        assert_eq!(first, expected);
        assert_eq!(decode(&mut codec, &mut wire).unwrap().unwrap().opcode, OpCode::Ping);
        assert_eq!(decode(&mut codec, &mut wire).unwrap(), None);
        wire.extend_from_slice(&bytes[bytes.len() - 1..]);
        assert_eq!(decode(&mut codec, &mut wire).unwrap().unwrap().payload, "lo");
        assert!(wire.is_empty());

        let mut out = BytesMut::new();
        Encoder::encode(&mut codec, first, &mut out).unwrap();
        assert_eq!(read(role, &out).0, [Sent(TEXT_PART, b"Hel".to_vec())]);
    }
}

// The protocol error is inside the `io::Error` that the traits require.
#[test]
fn errors_are_invalid_data_with_their_cause() {
    let cause = |error: &io::Error| {
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let source: &(dyn Error + 'static) = error.get_ref().unwrap();
        *source.downcast_ref::<ProtocolError>().unwrap()
    };
    let mut codec = Codec::new(Role::Server);
    let error = decode(&mut codec, &mut BytesMut::from(&b"\x81\x00"[..])).unwrap_err();
    assert_eq!(cause(&error), ProtocolError::MaskMissing);
    let payload = Bytes::from(vec![0; 126]);
    let frame = Frame { fin: true, rsv: Rsv::NONE, opcode: OpCode::Ping, payload };
    let error = Encoder::encode(&mut codec, frame, &mut BytesMut::new()).unwrap_err();
    assert_eq!(cause(&error), ProtocolError::ControlTooLong);
}
