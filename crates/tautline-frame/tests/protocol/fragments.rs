//! RFC 6455 section 5.4: messages in several frames.

use tautline_frame::{Config, Message, ProtocolError};

use crate::peer::*;

// Section 5.4.
#[test]
fn fragments_become_one_message() {
    for role in ROLES {
        let mut end = End::new(role);
        assert_eq!(end.receive(TEXT_PART, b"Hel"), Ok(vec![]));
        assert_eq!(end.receive(PART, b"lo "), Ok(vec![]));
        assert_eq!(end.receive(LAST_PART, b"you"), Ok(vec![Message::from("Hello you")]));
        assert_eq!(end.receive(BINARY_PART, &[1, 0xFF]), Ok(vec![]));
        assert_eq!(end.receive(LAST_PART, &[3]), Ok(vec![Message::from(&[1, 0xFF, 3])]));
        assert_eq!(end.receive(TEXT, b"whole"), Ok(vec![Message::from("whole")]));
        assert_eq!(end.written(), []);
    }
}

// Section 5.4: control frames may come between fragments, and section 5.5.2: they are answered as
// soon as practical, not at the end of the message.
#[test]
fn a_ping_between_fragments_is_answered_at_once() {
    for role in ROLES {
        let mut end = End::new(role);
        end.receive(TEXT_PART, b"Hel").unwrap();
        assert_eq!(end.receive(PING, b"now"), Ok(vec![]));
        assert_eq!(end.written(), [Sent(PONG, b"now".to_vec())]);
        assert_eq!(end.receive(PONG, b"unasked"), Ok(vec![]));
        assert_eq!(end.receive(LAST_PART, b"lo"), Ok(vec![Message::from("Hello")]));
        assert_eq!(end.written(), []);
    }
}

// Section 5.4.
#[test]
fn a_continuation_without_a_message_is_refused() {
    let error = ProtocolError::ContinuationUnexpected;
    for role in ROLES {
        for first in [PART, LAST_PART] {
            let mut end = End::new(role);
            assert_eq!(end.receive(first, b"x"), Err(error));
            assert_eq!(end.written(), [close_for(error, 1002)]);
        }
        // Also after a finished message, in one frame or in several.
        let mut end = End::new(role);
        end.receive(TEXT, b"whole").unwrap();
        assert_eq!(end.receive(LAST_PART, b""), Err(error));
        let mut end = End::new(role);
        end.receive_all(&[(TEXT_PART, b"a"), (LAST_PART, b"b")]).unwrap();
        assert_eq!(end.receive(PART, b"c"), Err(error));
        assert_eq!(end.delivered, [Message::from("ab")]);
    }
}

// Section 5.4: fragments of two messages must not be interleaved.
#[test]
fn a_new_message_inside_an_unfinished_one_is_refused() {
    let error = ProtocolError::ContinuationExpected;
    for role in ROLES {
        for first in [TEXT, BINARY, TEXT_PART, BINARY_PART] {
            let mut end = End::new(role);
            end.receive(TEXT_PART, b"a").unwrap();
            end.receive(PING, b"").unwrap();
            assert_eq!(end.receive(first, b"b"), Err(error), "{first:#x}");
            assert_eq!(end.written(), [Sent(PONG, vec![]), close_for(error, 1002)]);
            // The unfinished message is never delivered.
            assert_eq!(end.receive(LAST_PART, b"c"), Ok(vec![]));
            assert!(end.delivered.is_empty());
        }
    }
}

// Section 5.4; the frames of Autobahn's cases 6.1.2 and 6.1.3.
#[test]
fn empty_fragments_are_legal() {
    for role in ROLES {
        for (first, empty) in [(TEXT_PART, Message::from("")), (BINARY_PART, Message::from(b""))] {
            let mut end = End::new(role);
            let all = end.receive_all(&[(first, b""), (PART, b""), (LAST_PART, b"")]);
            assert_eq!(all, Ok(vec![empty]));
        }
        let mut end = End::new(role);
        let all = end.receive_all(&[(TEXT_PART, b""), (PART, b"middle"), (LAST_PART, b"")]);
        assert_eq!(all, Ok(vec![Message::from("middle")]));
    }
}

// RFC 7692 section 6.1, RFC 6455 section 5.2. Compressed frames later than the first slipped
// through in python websockets (before 16.1), compressed control frames in Bandit (before 1.12.5).
#[test]
fn reserved_bits_inside_a_message_are_refused() {
    for role in ROLES {
        for first in [0x40, 0xC0, 0x20, 0x90, 0xC9, 0xCA] {
            let mut end = End::new(role);
            end.receive(TEXT_PART, b"a").unwrap();
            assert_eq!(end.receive(first, b"b"), Err(ProtocolError::ReservedBits), "{first:#x}");
            assert_eq!(end.written(), [close_for(ProtocolError::ReservedBits, 1002)]);
        }
    }
}

// Section 7.1.7: a broken rule ends the connection, whatever was in progress; what follows is not
// read.
#[test]
fn an_error_inside_a_message_discards_it_and_all_that_follows() {
    let wrong: [(u8, &[u8], ProtocolError); 4] = [
        (0x83, b"x", ProtocolError::ReservedOpcode(3)),
        (0x09, b"x", ProtocolError::ControlFragmented),
        (PING, &[0; 126], ProtocolError::ControlTooLong),
        (CLOSE, &[3], ProtocolError::CloseLength),
    ];
    for role in ROLES {
        for (first, payload, error) in wrong {
            let mut end = End::new(role);
            let rest: [(u8, &[u8]); 4] =
                [(TEXT_PART, b"a"), (first, payload), (LAST_PART, b"b"), (TEXT, b"late")];
            assert_eq!(end.receive_all(&rest), Err(error));
            assert_eq!(end.receive_all(&[(PING, b""), (TEXT, b"later")]), Ok(vec![]));
            assert!(end.delivered.is_empty() && end.buffer.is_empty());
            assert_eq!(end.written(), [close_for(error, error.close_code().as_u16())]);
        }
    }
}

// Section 5.5.1: a Close may come between fragments; the message is then never finished.
#[test]
fn a_close_inside_a_message_is_answered_and_the_message_dropped() {
    for role in ROLES {
        let mut end = End::new(role);
        let body = close_body(1001, "");
        let all = end.receive_all(&[(TEXT_PART, b"a"), (CLOSE, &body), (LAST_PART, b"b")]);
        assert_eq!(all, Ok(vec![]));
        assert_eq!(end.written(), [Sent(CLOSE, body)]);
    }
}

// ws (before 8.21.0) kept an object per fragment, so that millions of fragments of a byte took many
// times their size.
#[test]
fn two_hundred_thousand_fragments_of_a_byte_take_memory_by_the_bytes() {
    const COUNT: usize = 200_000;
    for role in ROLES {
        let config = Config::new().ping_interval(None).max_fragments(COUNT as u32);
        let mut end = End::with(role, config);
        let payload = pattern(COUNT);
        end.receive(BINARY_PART, &payload[..1]).unwrap();
        for byte in &payload[1..COUNT - 1] {
            end.receive(PART, &[*byte]).unwrap();
        }
        let message = end.receive(LAST_PART, &payload[COUNT - 1..]).unwrap().remove(0);
        end.delivered.clear();
        assert_eq!(message.as_bytes(), payload);
        let capacity =
            message.into_bytes().try_into_mut().expect("nobody else holds it").capacity();
        assert!(capacity <= 2 * COUNT, "{capacity} bytes for {COUNT}");
        assert!(end.buffer.capacity() < 4096, "{}", end.buffer.capacity());
    }
}

// ws (a2f4e7c0) and undici (c5ed78756) limited the bytes of a message, which empty fragments never
// use up.
#[test]
fn endless_empty_continuations_are_ended_by_the_default_limit() {
    for role in ROLES {
        let mut end = End::new(role);
        let limit = tautline_frame::Config::DEFAULT_MAX_FRAGMENTS;
        let error = ProtocolError::TooManyFragments { limit };
        end.receive(TEXT_PART, b"").unwrap();
        for _ in 1..limit {
            assert_eq!(end.receive(PART, b""), Ok(vec![]));
        }
        assert_eq!(end.receive(PART, b""), Err(error));
        assert_eq!(end.written(), [close_for(error, 1008)]);
    }
}

#[test]
fn the_fragment_limit_is_inclusive_and_counts_each_message_anew() {
    let error = ProtocolError::TooManyFragments { limit: 3 };
    for role in ROLES {
        let mut end = End::with(role, Config::new().max_fragments(3));
        for _ in 0..3 {
            let three = end.receive_all(&[
                (BINARY_PART, b"a"),
                (PING, b""),
                (PART, b"b"),
                (PONG, b""),
                (LAST_PART, b"c"),
            ]);
            assert_eq!(three, Ok(vec![Message::from(b"abc")]));
        }
        let four: [(u8, &[u8]); 4] =
            [(BINARY_PART, b"a"), (PART, b""), (PART, b""), (LAST_PART, b"")];
        assert_eq!(end.receive_all(&four), Err(error));
        let mut end = End::with(role, Config::new().max_fragments(1));
        assert_eq!(end.receive(TEXT, b"one"), Ok(vec![Message::from("one")]));
        let error = ProtocolError::TooManyFragments { limit: 1 };
        assert_eq!(end.receive_all(&[(TEXT_PART, b"a"), (LAST_PART, b"")]), Err(error));
    }
}

// The bytes of an incomplete frame stay in the caller's buffer. A caller that changed them after
// they were checked got a `Text` that was not UTF-8, in safe code.
#[test]
fn bytes_that_change_after_they_were_checked_are_no_text() {
    let now = std::time::Instant::now();
    let mut client = tautline_frame::Protocol::new(
        tautline_frame::Role::Client,
        tautline_frame::Config::new(),
        now,
    );
    let mut buffer = bytes::BytesMut::from(&b"\x81\x05hel"[..]);
    assert_eq!(client.handle_data(&mut buffer, now), Ok(None));
    let last = buffer.len() - 1;
    buffer[last] = 0xff;
    buffer.extend_from_slice(b"lo");
    assert_eq!(client.handle_data(&mut buffer, now), Err(tautline_frame::ProtocolError::Utf8));
}
