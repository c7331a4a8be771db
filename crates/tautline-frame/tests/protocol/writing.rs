//! Messages sent in pieces: RFC 6455 section 5.4 as the user writes.

use bytes::Bytes;
use tautline_frame::{Compress, Config, Kind, Message, Role, SendError};

use crate::peer::*;

fn begun(role: Role, kind: Kind) -> End {
    let mut end = End::new(role);
    end.protocol.begin_message(kind, Compress::Auto).unwrap();
    end
}

pub(crate) fn other(role: Role) -> Role {
    if role == Role::Client { Role::Server } else { Role::Client }
}

#[test]
fn fragments_follow_what_is_written() {
    for role in ROLES {
        let mut end = begun(role, Kind::Text);
        end.protocol.write_message(b"a").unwrap();
        end.protocol.write_message("\u{e9}".as_bytes()).unwrap();
        assert_eq!(end.written(), [], "short pieces are collected");
        end.protocol.flush_message();
        assert_eq!(end.written(), [Sent(TEXT_PART, "a\u{e9}".into())]);
        end.protocol.flush_message();
        assert_eq!(end.written(), [], "nothing is no fragment");
        let long = "x".repeat(100_000);
        for piece in long.as_bytes().chunks(10_000) {
            end.protocol.write_message(piece).unwrap();
        }
        let first = end.written();
        assert_eq!(first, [Sent(PART, long[..70_000].into())]);
        end.protocol.finish_message().unwrap();
        assert_eq!(end.written(), [Sent(LAST_PART, long[..30_000].into())]);
        assert!(end.protocol.ready());
        end.protocol.send(Message::from("next")).unwrap();
        assert_eq!(end.written(), [Sent(TEXT, b"next".into())]);
    }
}

#[test]
fn a_message_that_is_finished_before_anything_goes_out_is_one_like_any_other() {
    for role in ROLES {
        for pieces in [&["short", " text"][..], &[]] {
            let mut end = begun(role, Kind::Binary);
            for piece in pieces {
                end.protocol.write_message(piece.as_bytes()).unwrap();
            }
            end.protocol.finish_message().unwrap();
            assert_eq!(end.written(), [Sent(BINARY, pieces.concat().into())]);
        }
        // Also where nothing is left for the last frame.
        let mut end = begun(role, Kind::Binary);
        end.protocol.write_message(b"abc").unwrap();
        end.protocol.flush_message();
        end.protocol.finish_message().unwrap();
        assert_eq!(end.written(), [Sent(BINARY_PART, b"abc".into()), Sent(LAST_PART, b"".into())]);
    }
}

#[test]
fn long_bytes_are_bounded_fragments_and_wait_for_room() {
    for role in ROLES {
        let mut end = begun(role, Kind::Binary);
        let data = Bytes::from(pattern(2_000_000));
        end.protocol.write_message_bytes(data.slice(..10)).unwrap();
        end.protocol.write_message_bytes(data.slice(10..)).unwrap();
        assert!(end.queued() < 400_000, "the rest waits for room");
        assert!(!end.protocol.is_writable());
        assert_eq!(end.protocol.queued(), 2_000_000 + end.queued() - 262_154);
        let wire = end.written_bytes();
        assert!(end.protocol.is_writable());
        end.protocol.finish_message().unwrap();
        let wire = [wire, end.written_bytes()].concat();
        let (frames, _) = read(role, &wire);
        assert!(frames.iter().all(|Sent(_, payload)| payload.len() <= 256 << 10));
        let mut receiver = End::new(other(role));
        assert_eq!(receiver.receive_bytes(&wire), Ok(vec![Message::from(data)]));
    }
}

#[test]
fn the_configured_size_of_fragments_holds_for_pieces_too() {
    for role in ROLES {
        let config = Config::new().ping_interval(None).fragment_size(1024);
        let mut end = End::with(role, config);
        end.protocol.begin_message(Kind::Binary, Compress::Auto).unwrap();
        end.protocol.write_message(&[7; 3000]).unwrap();
        end.protocol.flush_message();
        let lens: Vec<usize> = end.written().iter().map(|Sent(_, it)| it.len()).collect();
        assert_eq!(lens, [1024, 1024, 952]);
    }
}

#[test]
fn pings_pongs_and_a_close_pass_between_fragments() {
    for role in ROLES {
        let mut end = begun(role, Kind::Text);
        end.protocol.write_message(b"a").unwrap();
        end.protocol.flush_message();
        end.receive(PING, b"x").unwrap();
        end.protocol.ping().unwrap();
        end.protocol.write_message(b"b").unwrap();
        end.protocol.flush_message();
        let firsts: Vec<u8> = end.written().iter().map(|Sent(first, _)| *first).collect();
        assert_eq!(firsts, [TEXT_PART, PONG, PART, PING]);
        end.receive(CLOSE, &close_body(1000, "")).unwrap();
        assert_eq!(end.written(), [Sent(CLOSE, close_body(1000, ""))]);
        assert_eq!(end.protocol.write_message(b"c"), Err(SendError::Closed));
        assert_eq!(end.protocol.finish_message(), Err(SendError::Closed));
        assert!(!end.protocol.abort_message(end.now), "there is nobody to tell");
        assert!(end.protocol.poll_ending().is_some());
    }
}

#[test]
fn no_other_message_goes_in_between() {
    for role in ROLES {
        let mut end = begun(role, Kind::Text);
        assert!(!end.protocol.ready());
        assert_eq!(end.protocol.send(Message::from("x")), Err(SendError::Unfinished));
        let second = end.protocol.begin_message(Kind::Text, Compress::Auto);
        assert_eq!(second, Err(SendError::Unfinished));
        end.protocol.finish_message().unwrap();
        assert_eq!(end.protocol.write_message(b"x"), Err(SendError::Unfinished));
        assert_eq!(end.protocol.finish_message(), Err(SendError::Unfinished));
        end.protocol.send(Message::from("x")).unwrap();
    }
}

#[test]
fn text_is_checked_and_a_character_may_be_written_in_two() {
    for role in ROLES {
        let mut end = begun(role, Kind::Text);
        let [first, second] = "\u{e9}".as_bytes() else { panic!() };
        end.protocol.write_message(&[b'a', *first]).unwrap();
        assert_eq!(end.protocol.write_message(b"b"), Err(SendError::Utf8));
        assert_eq!(end.protocol.finish_message(), Err(SendError::Utf8));
        assert!(end.protocol.is_open(), "nothing wrong went out");
        end.protocol.write_message(&[*second]).unwrap();
        end.protocol.finish_message().unwrap();
        assert_eq!(end.written(), [Sent(TEXT, "a\u{e9}".into())]);
    }
}

// Invariant 10: half a message is never taken for a whole one.
#[test]
fn a_message_that_is_given_up_fails_the_connection_with_1011() {
    for role in ROLES {
        for out in [false, true] {
            let mut end = begun(role, Kind::Text);
            end.protocol.write_message(b"half").unwrap();
            if out {
                end.protocol.flush_message();
                assert_eq!(end.written().len(), 1);
            }
            assert!(end.protocol.abort_message(end.now));
            let close = Sent(CLOSE, close_body(1011, "message not finished"));
            assert_eq!(end.written(), [close]);
            assert!(!end.protocol.is_open());
        }
        let mut end = begun(role, Kind::Text);
        assert!(!end.protocol.abort_message(end.now), "nothing was written");
        end.protocol.send(Message::from("x")).unwrap();
        assert_eq!(end.written(), [Sent(TEXT, b"x".into())]);
    }
}
