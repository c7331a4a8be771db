//! An unfinished message has to make progress.

use tautline_frame::{Config, Message, Role, Timeout};

use crate::peer::*;

/// As by default.
const TIMEOUT: u64 = 30;

fn end(role: Role) -> End {
    End::new(role)
}

fn gave_up(end: &mut End) {
    let close = Sent(CLOSE, close_body(1008, "message timeout"));
    assert_eq!(end.written(), [close]);
    assert!(!end.protocol.is_open());
    assert_eq!(end.receive(LAST_PART, b"late"), Ok(vec![]));
}

/// Bytes with which an unfinished message begins: a frame that is not complete, and one of several
/// frames.
fn beginnings(role: Role) -> [Vec<u8>; 3] {
    let mut part_of_one = frame(role, TEXT, &[b'a'; 100]);
    part_of_one.truncate(60);
    [header(role, BINARY, 100), part_of_one, frame(role, TEXT_PART, b"a")]
}

// 40 connections sent an unfinished message of 16.3 kB each and answered pings from then on: 658 MB
// were held for as long as they wanted.
#[test]
fn an_unfinished_message_that_does_not_get_on_is_given_up_whatever_else_comes() {
    for role in ROLES {
        for beginning in beginnings(role) {
            let mut end = end(role);
            assert_eq!(end.receive_bytes(&beginning), Ok(vec![]));
            assert_eq!(end.deadline_in(), Some(secs(TIMEOUT)));
            let in_frame = beginning[0] != TEXT_PART;
            for _ in 1..TIMEOUT {
                end.wait(secs(1)).unwrap();
                if !in_frame {
                    end.receive_all(&[(PING, b"alive"), (PONG, b"alive"), (PART, b"")]).unwrap();
                    end.written();
                }
            }
            assert_eq!(end.wait(secs(1)), Err(Timeout::Message), "{role:?}");
            gave_up(&mut end);
        }
    }
}

// Unread bytes at the deadline may be the rest of the message, so it is checked again a second
// later. A peer whose pings were there at just that moment got the whole time once more, again and
// again.
#[test]
fn pings_at_the_moment_of_the_deadline_put_it_off_by_no_more_than_a_second() {
    for role in ROLES {
        let mut end = end(role);
        end.receive(TEXT_PART, b"a").unwrap();
        for _ in 0..TIMEOUT - 1 {
            end.wait(secs(1)).unwrap();
            end.receive(PING, b"").unwrap();
            end.written();
        }
        end.now += secs(1);
        // Arrived, but not read.
        end.protocol.handle_received(end.now);
        assert_eq!(end.protocol.handle_timeout(end.now), Err(Timeout::Message), "{role:?}");

        // If the user is busy, it is checked again soon, and has time until somebody reads.
        let mut end = self::end(role);
        end.receive(TEXT_PART, b"a").unwrap();
        end.now += secs(TIMEOUT);
        end.protocol.handle_received(end.now);
        assert_eq!(end.protocol.handle_timeout(end.now), Ok(()));
        assert_eq!(end.deadline_in(), Some(secs(1)));
        assert_eq!(end.receive(LAST_PART, b"b"), Ok(vec![Message::from("ab")]));
    }
}

#[test]
fn a_slow_upload_is_let_be() {
    for role in ROLES {
        for first in [TEXT, TEXT_PART] {
            let mut end = end(role);
            let wire = frame(role, first, &[b'a'; 100]);
            for byte in &wire {
                assert_eq!(end.delivered, []);
                end.receive_bytes(&[*byte]).unwrap();
                end.wait(secs(TIMEOUT - 1)).unwrap();
            }
            if first == TEXT_PART {
                end.receive(LAST_PART, b"").unwrap();
            }
            assert_eq!(end.delivered, [Message::from("a".repeat(100))]);
            end.wait(secs(1000)).unwrap();
            assert_eq!(end.deadline_in(), None, "no message, no deadline");
        }
    }
}

// A byte now and then would keep a lot of memory for almost nothing.
#[test]
fn who_has_much_held_sends_more() {
    for role in ROLES {
        for (each, given_up) in [(10, true), (1000, false)] {
            let mut end = end(role);
            end.receive(BINARY_PART, &pattern(1 << 20)).unwrap();
            let mut result = Ok(());
            for _ in 0..10 {
                end.receive(PART, &pattern(each)).unwrap();
                result = result.and(end.wait(secs(10)));
            }
            assert_eq!(result.is_err(), given_up, "{role:?} {each}");
        }
    }
}

// A connection keeps its block for a long frame while it waits for the rest: one for 1 MiB would be
// held by a byte now and then.
#[test]
fn a_block_that_is_hardly_filled_counts_as_held() {
    for role in ROLES {
        for (each, given_up) in [(10, true), (1000, false)] {
            let mut end = end(role);
            end.buffer = bytes::BytesMut::with_capacity(1 << 20);
            let wire = frame(role, BINARY, &pattern(1 << 20));
            end.receive_bytes(&wire[..1000]).unwrap();
            let mut result = Ok(());
            for step in 0..10 {
                let from = 1000 + step * each;
                end.receive_bytes(&wire[from..from + each]).unwrap();
                result = result.and(end.wait(secs(10)));
            }
            assert_eq!(result.is_err(), given_up, "{role:?} {each}");
        }
    }
}

// Unread bytes may be the rest: a user that only sends for a while must not blame the peer.
#[test]
fn bytes_that_nobody_has_looked_at_put_it_off() {
    for role in ROLES {
        let mut end = end(role);
        end.receive(TEXT_PART, b"a").unwrap();
        for _ in 0..10 {
            end.now += secs(TIMEOUT);
            end.protocol.handle_received(end.now);
            end.wait(secs(0)).unwrap();
        }
        end.receive(PING, b"").unwrap();
        end.written();
        assert_eq!(end.wait(secs(TIMEOUT)), Err(Timeout::Message));
        gave_up(&mut end);
    }
}

#[test]
fn it_can_be_turned_off() {
    for role in ROLES {
        let config = Config::new().ping_interval(None).message_timeout(None);
        let mut end = End::with(role, config);
        end.receive(TEXT_PART, b"a").unwrap();
        assert_eq!(end.deadline_in(), None);
        end.wait(secs(100_000)).unwrap();
        assert_eq!(end.receive(LAST_PART, b"b"), Ok(vec![Message::from("ab")]));
    }
}
