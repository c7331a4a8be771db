//! Limits: what a peer may make an endpoint hold (RFC 6455 section 10.4).

use std::time::Duration;

use tautline_frame::{Config, Message, ProtocolError, Role};

use crate::peer::*;

fn with_message_limit(role: Role, limit: usize) -> End {
    End::with(role, Config::new().ping_interval(None).max_message_size(limit))
}

#[test]
fn what_was_set_can_be_read_and_is_never_less_than_the_least() {
    const CONFIG: Config = Config::new()
        .max_message_size(1)
        .max_frame_size(2)
        .max_fragments(0)
        .ping_timeout(Duration::from_secs(3))
        .close_timeout(Duration::from_secs(4))
        .write_mark(5);
    let config = CONFIG.fragment_size(6).ping_interval(Duration::ZERO).send_timeout(None);
    let config = config.message_timeout(Duration::from_secs(7));
    assert_eq!(config.get_max_message_size(), 1);
    assert_eq!(config.get_max_frame_size(), 2);
    assert_eq!(config.get_max_fragments(), 1);
    assert_eq!(config.get_ping_timeout(), Duration::from_secs(3));
    assert_eq!(config.get_close_timeout(), Duration::from_secs(4));
    assert_eq!(config.get_write_mark(), 1 << 10);
    assert_eq!(config.get_fragment_size(), Some(1 << 10));
    assert_eq!(config.get_ping_interval(), Some(Duration::from_millis(1)));
    assert_eq!(config.get_send_timeout(), None);
    assert_eq!(config.get_message_timeout(), Some(Duration::from_secs(7)));
}

// Daphne (CVE-2026-44545) and others had no limit unless the user set one.
#[test]
fn the_defaults_are_finite() {
    assert_eq!(Config::DEFAULT_MAX_MESSAGE_SIZE, 16 << 20);
    assert_eq!(Config::DEFAULT_MAX_FRAME_SIZE, 16 << 20);
    assert_eq!(Config::DEFAULT_MAX_FRAGMENTS, 128 << 10);
    assert_eq!(Config::DEFAULT_WRITE_MARK, 64 << 10);
    let limit = Config::DEFAULT_MAX_FRAME_SIZE;
    for role in ROLES {
        let mut end = End::new(role);
        assert_eq!(end.receive_bytes(&header(role, BINARY, limit as u64)), Ok(vec![]));
        let mut end = End::new(role);
        let result = end.receive_bytes(&header(role, BINARY, limit as u64 + 1));
        assert_eq!(result, Err(ProtocolError::FrameTooLong { limit }));
        let mut end = End::new(role);
        let begun = [frame(role, BINARY_PART, b"x"), header(role, PART, limit as u64)].concat();
        assert_eq!(end.receive_bytes(&begun), Err(ProtocolError::MessageTooLong { limit }));
    }
}

#[test]
fn the_message_limit_is_inclusive() {
    let error = ProtocolError::MessageTooLong { limit: 1000 };
    for role in ROLES {
        for (whole, part) in [(TEXT, TEXT_PART), (BINARY, BINARY_PART)] {
            let payload = [b'x'; 1001];
            let mut end = with_message_limit(role, 1000);
            assert_eq!(end.receive(whole, &payload[..1000]).unwrap()[0].len(), 1000);
            let exact = end.receive_all(&[(part, &payload[..999]), (LAST_PART, &payload[..1])]);
            assert_eq!(exact.unwrap()[0].len(), 1000);
            let over = end.receive_all(&[(part, &payload[..1000]), (PART, b""), (LAST_PART, b"x")]);
            assert_eq!(over, Err(error));
            assert_eq!(end.written(), [close_for(error, 1009)]);
            let mut end = with_message_limit(role, 1000);
            assert_eq!(end.receive(whole, &payload), Err(error));
        }
        let mut end = with_message_limit(role, 0);
        assert_eq!(end.receive(TEXT, b""), Ok(vec![Message::from("")]));
        assert!(end.receive(TEXT, b"x").is_err());
    }
}

#[test]
fn the_frame_limit_is_inclusive() {
    let error = ProtocolError::FrameTooLong { limit: 1000 };
    for role in ROLES {
        let config = Config::new().max_frame_size(1000);
        let mut end = End::with(role, config);
        assert_eq!(end.receive(BINARY, &[0; 1000]).unwrap()[0].len(), 1000);
        let two = end.receive_all(&[(BINARY_PART, &[0; 1000]), (LAST_PART, &[0; 1000])]);
        assert_eq!(two.unwrap()[0].len(), 2000, "a message may be longer than a frame");
        assert_eq!(end.receive(BINARY_PART, &[0; 1001]), Err(error));
        assert_eq!(end.written(), [close_for(error, 1009)]);
    }
}

// The header is enough; no payload has to arrive.
#[test]
fn too_long_a_message_is_refused_by_its_header() {
    for role in ROLES {
        for first in [TEXT, BINARY, TEXT_PART, BINARY_PART] {
            let mut end = with_message_limit(role, 1000);
            let result = end.receive_bytes(&header(role, first, 1001));
            assert_eq!(result, Err(ProtocolError::MessageTooLong { limit: 1000 }));
        }
        for first in [PART, LAST_PART] {
            let mut end = with_message_limit(role, 1000);
            end.receive(BINARY_PART, &[0; 600]).unwrap();
            let result = end.receive_bytes(&header(role, first, 401));
            assert_eq!(result, Err(ProtocolError::MessageTooLong { limit: 1000 }));
        }
    }
}

// undici (b4c287b38) limited each frame and not their sum; Bandit (CVE-2026-42786) had no limit on
// the sum.
#[test]
fn the_limit_is_for_the_sum_of_the_fragments() {
    for role in ROLES {
        let mut end = with_message_limit(role, 1000);
        assert_eq!(end.receive(BINARY_PART, &[0; 900]), Ok(vec![]));
        for _ in 0..10 {
            assert_eq!(end.receive(PING, &[0; 125]), Ok(vec![]), "control frames do not count");
        }
        assert_eq!(end.written().len(), 10);
        let error = ProtocolError::MessageTooLong { limit: 1000 };
        assert_eq!(end.receive(PART, &[0; 900]), Err(error));
        assert_eq!(end.written(), [close_for(error, 1009)]);
        assert!(end.delivered.is_empty());
    }
}

// undici (CVE-2026-1528) combined the two halves of a long length wrongly: 2^32 + 5 must not read
// as 5. NATS and others read huge lengths as negative.
#[test]
fn huge_lengths_are_too_long_and_nothing_else() {
    for role in ROLES {
        for len in [(1 << 32) + 5, 1 << 32, 1 << 31, (1 << 63) - 1, 0x7FFF_FFFF_FFFF_FFFC] {
            let mut end = End::new(role);
            let mut bytes = header(role, BINARY, len);
            bytes.extend_from_slice(b"hello and more");
            let error = ProtocolError::FrameTooLong { limit: Config::DEFAULT_MAX_FRAME_SIZE };
            assert_eq!(end.receive_bytes(&bytes), Err(error), "{len}");
            assert_eq!(end.written(), [close_for(error, 1009)]);
        }
    }
}

// gorilla (CVE-2020-27813): two lengths whose sum overflowed its counter got past the limit.
// libsoup (CVE-2026-0716) read beyond its buffer when no limit was set.
#[test]
fn without_limits_huge_lengths_wait_and_their_sums_do_not_wrap() {
    const LONGEST: u64 = (1 << 63) - 1;
    for role in ROLES {
        let config = || Config::new().max_message_size(usize::MAX).max_frame_size(usize::MAX);
        let mut end = End::with(role, config());
        assert_eq!(end.receive_bytes(&header(role, BINARY, LONGEST)), Ok(vec![]));
        assert_eq!(end.receive_bytes(&[0; 1000]), Ok(vec![]));
        assert_eq!(end.protocol.missing(1000) as u64, LONGEST - 1000);
        assert_eq!(end.buffer.len(), 1000);

        let mut end = End::with(role, config());
        end.receive(BINARY_PART, &[0; 500]).unwrap();
        assert_eq!(end.receive_bytes(&header(role, PART, LONGEST)), Ok(vec![]));
        let limit = LONGEST as usize;
        let mut end = End::with(role, config().max_message_size(limit));
        end.receive(BINARY_PART, &[0; 1]).unwrap();
        let result = end.receive_bytes(&header(role, LAST_PART, LONGEST));
        assert_eq!(result, Err(ProtocolError::MessageTooLong { limit }));
    }
}

// rust-websocket (CVE-2022-35922) and Java-WebSocket (#1507) allocated what a header declared.
#[test]
fn a_declared_length_takes_no_memory() {
    for role in ROLES {
        let config = Config::new().max_message_size(1 << 40).max_frame_size(1 << 40);
        for declared in [1 << 30, 1 << 40] {
            let mut end = End::with(role, config.clone());
            end.receive_bytes(&header(role, BINARY, declared)).unwrap();
            end.receive_bytes(&[1; 100]).unwrap();
            assert!(end.buffer.capacity() < 1024, "{}", end.buffer.capacity());
            let mut end = End::with(role, config.clone());
            let begun = [frame(role, BINARY_PART, b"x"), header(role, LAST_PART, declared - 1)];
            let begun = begun.concat();
            end.receive_bytes(&begun).unwrap();
            end.receive_bytes(&[b'x'; 100]).unwrap();
            assert!(end.buffer.capacity() < 1024, "{}", end.buffer.capacity());
        }
    }
}

// A message of the maximum length, in the pieces in which a socket returns it.
#[test]
fn a_message_at_the_default_limit_arrives() {
    let payload = pattern(Config::DEFAULT_MAX_MESSAGE_SIZE);
    for role in ROLES {
        let mut end = End::new(role);
        for piece in frame(role, BINARY, &payload).chunks(256 << 10) {
            end.receive_bytes(piece).unwrap();
        }
        assert!(end.delivered == [Message::from(&payload[..])]);
    }
}

// Section 5.5: a control frame is short by itself. A frame limit below 125 refused Closes with
// 1009.
#[test]
fn control_frames_are_not_held_to_the_frame_limit() {
    for role in ROLES {
        let mut end = End::with(role, Config::new().max_frame_size(10));
        assert_eq!(end.receive(PING, &[7; 125]), Ok(vec![]));
        assert_eq!(end.written(), [Sent(PONG, vec![7; 125])]);
        assert_eq!(end.receive(BINARY, &[7; 11]), Err(ProtocolError::FrameTooLong { limit: 10 }));
    }
}
