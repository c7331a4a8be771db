//! RFC 6455 sections 5.1 to 5.3: bits, lengths, masks.

use std::collections::HashSet;

use tautline_frame::{Message, ProtocolError, Role};

use crate::peer::*;

// Section 5.1. facil.io (#169) delivered an unmasked frame first and closed later; Bandit
// (GHSA-rhh8-5xw9-c3gm) had a check whose pattern never matched.
#[test]
fn an_unmasked_frame_from_a_client_is_refused_before_its_payload() {
    for first in [TEXT, BINARY, TEXT_PART, CLOSE, PING, PONG] {
        for bytes in [&[first, 0x05][..], &[first, 0x05, b'h', b'e', b'l', b'l', b'o'], &[first, 0]]
        {
            let mut server = End::new(Role::Server);
            assert_eq!(server.receive_bytes(bytes), Err(ProtocolError::MaskMissing), "{bytes:?}");
            assert_eq!(server.written(), [close_for(ProtocolError::MaskMissing, 1002)]);
            assert!(server.delivered.is_empty());
            assert_eq!(server.protocol.peer_close(), None);
        }
    }
}

// Section 5.1.
#[test]
fn a_masked_frame_from_a_server_is_refused_before_its_payload() {
    for first in [TEXT, BINARY, TEXT_PART, CLOSE, PING, PONG] {
        let mut client = End::new(Role::Client);
        let bytes = frame(Role::Server, first, b"hello");
        assert_eq!(client.receive_bytes(&bytes[..2]), Err(ProtocolError::MaskUnexpected));
        assert_eq!(client.receive_bytes(&bytes[2..]), Ok(vec![]));
        assert_eq!(client.written(), [close_for(ProtocolError::MaskUnexpected, 1002)]);
        assert_eq!(client.protocol.peer_close(), None);
    }
}

// Section 5.2: "MUST be 0 unless an extension is negotiated"; that covers every form in which RSV1
// comes with deflate (RFC 7692 section 7.2.3.6: `C1 01 00` is an empty message there).
#[test]
fn reserved_bits_without_an_extension_are_refused_on_every_frame() {
    for role in ROLES {
        for bits in 1..8u8 {
            for first in [TEXT, BINARY, TEXT_PART, CLOSE, PING, PONG] {
                let mut end = End::new(role);
                let result = end.receive(first | bits << 4, &[0]);
                assert_eq!(result, Err(ProtocolError::ReservedBits), "{role:?} {first:#x} {bits}");
                assert_eq!(end.written(), [close_for(ProtocolError::ReservedBits, 1002)]);
            }
        }
        let mut end = End::new(role);
        assert_eq!(end.receive(0xC1, &[]), Err(ProtocolError::ReservedBits));
        assert_eq!(End::new(role).receive(0xC1, &[0]), Err(ProtocolError::ReservedBits));
    }
}

// Section 5.2: opcodes 3 to 7 and B to F.
#[test]
fn reserved_opcodes_are_refused() {
    for role in ROLES {
        for opcode in (0x3..=0x7).chain(0xB..=0xF) {
            for fin in [0, 0x80] {
                let mut end = End::new(role);
                let error = ProtocolError::ReservedOpcode(opcode);
                assert_eq!(end.receive(fin | opcode, b"x"), Err(error));
                assert_eq!(end.written(), [close_for(error, 1002)]);
            }
        }
    }
}

// Section 5.2: "the minimal number of bytes MUST be used to encode the length". Most
// implementations let it pass; the choice here is strict. Tomcat (CVE-2020-13935) looped forever on
// a length that it had not checked.
#[test]
fn a_length_in_more_bytes_than_it_needs_is_refused() {
    let wide = |len: u64| len.to_be_bytes().to_vec();
    let forms: [(u8, Vec<u8>); 7] = [
        (126, vec![0, 0]),
        (126, vec![0, 1]),
        (126, vec![0, 125]),
        (127, wide(0)),
        (127, wide(1)),
        (127, wide(126)),
        (127, wide(0xFFFF)),
    ];
    for role in ROLES {
        for (short, extended) in &forms {
            let mut end = End::new(role);
            let bytes = raw_header(role, BINARY, *short, extended);
            assert_eq!(end.receive_bytes(&bytes), Err(ProtocolError::LengthNotMinimal));
            assert_eq!(end.written(), [close_for(ProtocolError::LengthNotMinimal, 1002)]);
        }
    }
}

// Section 5.2: "the most significant bit MUST be 0". NATS (CVE-2026-27889) took such a length as a
// negative number and panicked, before any authentication; swift-nio (CVE-2026-43678) trapped.
#[test]
fn a_64_bit_length_with_its_top_bit_set_is_refused() {
    for role in ROLES {
        for len in [0x8000_0000_0000_0001, u64::MAX, 0xFFFF_FFFF_FFFF_FFFC, 1 << 63] {
            let mut end = End::new(role);
            let bytes = raw_header(role, BINARY, 127, &u64::to_be_bytes(len));
            assert_eq!(end.receive_bytes(&bytes), Err(ProtocolError::LengthTopBit), "{len:x}");
            assert_eq!(end.written(), [close_for(ProtocolError::LengthTopBit, 1002)]);
        }
    }
}

// Section 5.2: the three forms of a length, at their borders, received.
#[test]
fn lengths_at_the_borders_of_the_three_forms_are_received() {
    for role in ROLES {
        for len in [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 100_000] {
            let payload = pattern(len);
            let mut end = End::new(role);
            let message = Message::from(payload.clone());
            assert_eq!(end.receive(BINARY, &payload), Ok(vec![message]), "{role:?} {len}");
            assert!(end.buffer.is_empty());
        }
    }
}

// Section 5.2: and sent. `peer::read` checks the form.
#[test]
fn lengths_at_the_borders_of_the_three_forms_are_sent() {
    for role in ROLES {
        let mut end = End::new(role);
        for len in [0, 1, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536, 65_537] {
            end.protocol.send(Message::from(pattern(len))).unwrap();
            assert_eq!(end.written(), [Sent(BINARY, pattern(len))], "{role:?} {len}");
        }
    }
}

// After the handshake there are frames and nothing else: a second request in the same packet is not
// one (libwebsockets, CVE-2025-11677, used memory that the first had freed). `G` reads as FIN 0,
// RSV1 and opcode 7; `H` as opcode 8.
#[test]
fn http_behind_the_handshake_is_a_broken_frame() {
    let request = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";
    for (role, bytes, error) in [
        (Role::Server, &request[..], ProtocolError::ReservedOpcode(7)),
        (Role::Client, b"HTTP/1.1 200 OK\r\n\r\n", ProtocolError::ReservedBits),
    ] {
        let mut end = End::new(role);
        assert_eq!(end.receive_bytes(bytes), Err(error));
        assert_eq!(end.written(), [close_for(error, 1002)]);
        assert!(end.delivered.is_empty() && end.buffer.is_empty());
    }
}

// Section 5.3: a key of zeros is a key like any other.
#[test]
fn a_mask_of_zeros_is_taken() {
    let mut server = End::new(Role::Server);
    let bytes = [&[TEXT, 0x85, 0, 0, 0, 0][..], b"Hello"].concat();
    assert_eq!(server.receive_bytes(&bytes), Ok(vec![Message::from("Hello")]));
}

// Section 5.7 has these bytes.
#[test]
fn the_examples_of_the_rfc_are_understood() {
    let mut server = End::new(Role::Server);
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(server.receive_bytes(&masked), Ok(vec![Message::from("Hello")]));
    let mut client = End::new(Role::Client);
    assert_eq!(client.receive_bytes(b"\x81\x05Hello"), Ok(vec![Message::from("Hello")]));
    assert_eq!(client.receive_bytes(b"\x01\x03Hel\x80\x02lo"), Ok(vec![Message::from("Hello")]));
    assert_eq!(client.receive_bytes(b"\x89\x05Hello"), Ok(vec![]));
    assert_eq!(client.written(), [Sent(PONG, b"Hello".to_vec())]);
}

// Section 5.3: the key continues over the pieces of one frame, wherever they are cut, and starts
// over with the next frame.
#[test]
fn the_mask_goes_on_across_reads_and_restarts_with_each_frame() {
    let payload = pattern(150);
    let mut bytes = frame(Role::Server, BINARY, &payload);
    bytes.extend(frame(Role::Server, BINARY, &payload[1..]));
    let expected = [Message::from(payload.clone()), Message::from(&payload[1..])];
    for first in 1..20 {
        for step in [1, 2, 3, 5, 64] {
            let mut server = End::new(Role::Server);
            server.receive_bytes(&bytes[..first]).unwrap();
            for piece in bytes[first..].chunks(step) {
                server.receive_bytes(piece).unwrap();
            }
            assert_eq!(server.delivered, expected, "{first} {step}");
        }
    }
}

// Section 5.3 and 10.3: a fresh unpredictable key for each frame. curl (CVE-2025-10148) kept one
// for a connection.
#[test]
fn a_client_masks_every_frame_with_a_key_of_its_own() {
    let mut client = End::new(Role::Client);
    for _ in 0..1000 {
        client.protocol.send(Message::from("x")).unwrap();
    }
    let bytes = client.written_bytes();
    let (sent, keys) = read(Role::Client, &bytes);
    assert_eq!(sent, vec![Sent(TEXT, b"x".to_vec()); 1000]);
    let different: HashSet<_> = keys.iter().collect();
    // Of 1000 random numbers of 32 bits, two are the same once in some 8600 runs; three pairs
    // practically never.
    assert!(different.len() >= 998, "{}", different.len());
    // None of the bytes of a key is fixed or counts.
    for position in 0..4 {
        let values: HashSet<u8> = keys.iter().map(|key| key[position]).collect();
        assert!(values.len() > 200, "byte {position} takes {} values", values.len());
    }
}

// Section 5.2: whatever the opcode, a header may arrive byte by byte, and nothing happens before it
// is complete.
#[test]
fn an_incomplete_header_waits() {
    for role in ROLES {
        let whole = frame(role, BINARY, &pattern(70_000));
        let header_len = whole.len() - 70_000;
        let mut end = End::new(role);
        for byte in &whole[..header_len - 1] {
            assert_eq!(end.receive_bytes(&[*byte]), Ok(vec![]));
            assert_eq!(end.protocol.missing(end.buffer.len()), 0, "no complete header");
        }
        assert_eq!(end.receive_bytes(&whole[header_len - 1..header_len]), Ok(vec![]));
        assert_eq!(end.protocol.missing(end.buffer.len()), 70_000);
        assert_eq!(end.receive_bytes(&whole[header_len..header_len + 9]), Ok(vec![]));
        assert_eq!(end.protocol.missing(end.buffer.len()), 69_991);
        assert_eq!(end.receive_bytes(&whole[header_len + 9..]), Ok(vec![pattern(70_000).into()]));
        assert_eq!(end.protocol.missing(end.buffer.len()), 0);
    }
}
