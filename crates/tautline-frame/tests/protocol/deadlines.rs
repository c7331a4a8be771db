//! Deadlines of the closing handshake (RFC 6455 section 7.1.1) and of sending.

use std::time::Duration;

use bytes::Buf;
use tautline_frame::{CloseCode, CloseFrame, Config, Message, Role, Timeout};

use crate::peer::*;

const CLOSE_TIMEOUT: Duration = secs(5);
const SEND_TIMEOUT: Duration = secs(60);

fn end(role: Role) -> End {
    let config = Config::new().close_timeout(CLOSE_TIMEOUT).send_timeout(SEND_TIMEOUT);
    End::with(role, config.ping_interval(None))
}

fn closing(role: Role) -> End {
    let mut end = end(role);
    end.protocol.close(CloseFrame::from(CloseCode::NORMAL), end.now).unwrap();
    end
}

fn just_before(duration: Duration) -> Duration {
    duration - Duration::from_nanos(1)
}

/// The peer accepts a byte every four seconds, within each deadline. Returns when it is given up.
fn trickle_out(end: &mut End) -> Duration {
    let mut waited = Duration::ZERO;
    loop {
        end.protocol.queue().advance(1);
        end.protocol.handle_written(end.now);
        waited += secs(4);
        if end.wait(secs(4)) == Err(Timeout::Close) {
            return waited;
        }
    }
}

// Tomcat (CVE-2024-23672) kept connections whose peer never answered the Close. The deadline does
// not depend on whether anybody reads (python websockets fixed that in 14.2).
#[test]
fn a_peer_that_ignores_our_close_is_given_up() {
    for role in ROLES {
        for written in [false, true] {
            let mut end = closing(role);
            if written {
                end.written();
            }
            assert_eq!(end.deadline_in(), Some(CLOSE_TIMEOUT));
            assert_eq!(end.wait(just_before(CLOSE_TIMEOUT)), Ok(()));
            assert_eq!(end.wait(Duration::from_nanos(1)), Err(Timeout::Close));
            assert!(end.protocol.poll_ending().is_some());
            assert_eq!(end.protocol.poll_timeout(), None);
            assert_eq!(end.written(), [], "nothing more is told");
            assert!(!end.protocol.handle_eof(end.now));
        }
    }
}

// A peer that keeps sending messages does not keep the connection open.
#[test]
fn data_does_not_move_the_close_deadline() {
    for role in ROLES {
        let mut end = closing(role);
        end.written();
        for i in 1..5 {
            end.wait(secs(1)).unwrap();
            assert_eq!(end.receive(TEXT, b"more"), Ok(vec![Message::from("more")]));
            assert_eq!(end.deadline_in(), Some(CLOSE_TIMEOUT - secs(i)));
        }
        assert_eq!(end.wait(secs(1)), Err(Timeout::Close));
        assert_eq!(end.receive(TEXT, b"late"), Ok(vec![]));
    }
}

// A user's `close` was never over: the peer ignored our Close and pinged every 4.9 s, and each pong
// that was written restarted the 5 s.
#[test]
fn what_is_written_behind_our_close_does_not_move_its_deadline() {
    for role in ROLES {
        let mut end = closing(role);
        end.written();
        end.wait(secs(4)).unwrap();
        end.receive(PING, b"still here?").unwrap();
        assert_eq!(end.written(), [Sent(PONG, b"still here?".to_vec())]);
        assert_eq!(end.deadline_in(), Some(secs(1)));
        assert_eq!(end.wait(secs(1)), Err(Timeout::Close));
    }
}

// Nor can a peer delay the end forever by accepting what is queued before our Close one byte at a
// time.
#[test]
fn a_peer_that_takes_next_to_nothing_ends_at_twelve_times_the_deadline() {
    for role in ROLES {
        let config = Config::new().close_timeout(CLOSE_TIMEOUT).ping_interval(None);
        let mut end = End::with(role, config.send_timeout(None));
        end.protocol.send(Message::from(pattern(50_000))).unwrap();
        end.protocol.close(CloseFrame::empty(), end.now).unwrap();
        end.protocol.poll_transmit();
        assert_eq!(trickle_out(&mut end), CLOSE_TIMEOUT * 12);
    }
}

// The peer's Close starts the same clock: its transport has to end, too. It is the first Close that
// counts.
#[test]
fn a_peer_that_closes_and_stays_is_given_up() {
    for role in ROLES {
        let mut stays = end(role);
        stays.receive(CLOSE, b"").unwrap();
        stays.written();
        assert_eq!(stays.deadline_in(), Some(CLOSE_TIMEOUT));
        assert_eq!(stays.wait(CLOSE_TIMEOUT), Err(Timeout::Close));

        let mut late = closing(role);
        late.written();
        late.wait(secs(4)).unwrap();
        late.receive(CLOSE, b"").unwrap();
        assert_eq!(late.deadline_in(), Some(secs(1)));
        assert_eq!(late.wait(secs(1)), Err(Timeout::Close));
    }
}

// A client ended its half without a Close while much was queued for it, and then accepted a few
// bytes a minute, or none: only the send deadline was left, and a connection in the middle of
// ending TLS had none at all.
#[test]
fn an_end_of_the_stream_without_a_close_has_the_close_deadline() {
    for role in ROLES {
        let mut end = end(role);
        end.protocol.send(Message::from(pattern(50_000))).unwrap();
        end.protocol.poll_transmit();
        assert!(!end.protocol.handle_eof(end.now));
        assert_eq!(end.deadline_in(), Some(CLOSE_TIMEOUT));
        assert_eq!(trickle_out(&mut end), CLOSE_TIMEOUT * 12);
    }
}

#[test]
fn a_failure_has_the_close_deadline() {
    for role in ROLES {
        let mut end = end(role);
        end.wait(secs(100)).unwrap();
        end.receive(0x83, b"").unwrap_err();
        assert_eq!(end.deadline_in(), Some(CLOSE_TIMEOUT));
        end.written();
        assert_eq!(end.deadline_in(), Some(CLOSE_TIMEOUT));
        assert_eq!(end.wait(CLOSE_TIMEOUT), Err(Timeout::Close));
        // Nor does a second one delay it.
        let mut end = closing(role);
        end.wait(secs(3)).unwrap();
        end.receive(0x83, b"").unwrap_err();
        assert_eq!(end.deadline_in(), Some(secs(2)));
    }
}

#[test]
fn a_broken_write_side_has_the_close_deadline() {
    for role in ROLES {
        let mut end = end(role);
        end.protocol.handle_broken(end.now);
        assert_eq!(end.deadline_in(), Some(CLOSE_TIMEOUT));
        assert_eq!(end.wait(CLOSE_TIMEOUT), Err(Timeout::Close));
    }
}

// A peer that accepts not a single byte is dropped: it may be gone, or be tying up our memory.
#[test]
fn a_transport_that_takes_nothing_is_given_up() {
    for role in ROLES {
        let mut end = end(role);
        end.protocol.send(Message::from(pattern(50_000))).unwrap();
        assert!(end.protocol.poll_transmit());
        assert_eq!(end.protocol.poll_timeout(), None, "not before the transport blocks");
        end.protocol.handle_blocked(end.now);
        assert_eq!(end.deadline_in(), Some(SEND_TIMEOUT));
        // Further attempts, and what is received meanwhile, do not delay it.
        end.wait(secs(20)).unwrap();
        end.protocol.handle_blocked(end.now);
        end.receive(TEXT, b"alive").unwrap();
        end.protocol.send(Message::from("more")).unwrap();
        assert_eq!(end.deadline_in(), Some(secs(40)));
        assert_eq!(end.wait(just_before(secs(40))), Ok(()));
        assert_eq!(end.wait(Duration::from_nanos(1)), Err(Timeout::Send));
        assert!(!end.protocol.is_open() && end.protocol.send(Message::from("x")).is_err());
        // What it had sent is still delivered, for as long as any end may take.
        assert_eq!(end.receive(TEXT, b"before"), Ok(vec![Message::from("before")]));
        assert_eq!(end.deadline_in(), Some(CLOSE_TIMEOUT));
        assert_eq!(end.wait(CLOSE_TIMEOUT), Err(Timeout::Close));
        assert_eq!(end.protocol.poll_timeout(), None);
        assert_eq!(end.protocol.sent_close(), None, "a Close would not be taken either");
        assert!(end.protocol.poll_ending().is_some());
    }
}

#[test]
fn a_single_byte_taken_gives_the_whole_send_timeout_again() {
    for role in ROLES {
        let mut end = end(role);
        end.protocol.send(Message::from(pattern(1000))).unwrap();
        end.protocol.poll_transmit();
        end.protocol.handle_blocked(end.now);
        for _ in 0..1000 {
            assert_eq!(end.wait(just_before(SEND_TIMEOUT)), Ok(()));
            end.protocol.queue().advance(1);
            end.protocol.handle_written(end.now);
            assert_eq!(end.protocol.poll_timeout(), None);
            end.protocol.handle_blocked(end.now);
            assert_eq!(end.deadline_in(), Some(SEND_TIMEOUT));
        }
        end.written_bytes();
        assert_eq!(end.protocol.poll_timeout(), None, "all is written");
    }
}

#[test]
fn without_a_send_timeout_a_blocked_transport_is_waited_for() {
    for role in ROLES {
        let mut end = End::with(role, Config::new().ping_interval(None).send_timeout(None));
        end.protocol.send(Message::from("x")).unwrap();
        end.protocol.poll_transmit();
        end.protocol.handle_blocked(end.now);
        assert_eq!(end.protocol.poll_timeout(), None);
        assert_eq!(end.wait(secs(1_000_000)), Ok(()));
    }
}

// Of several deadlines the first is reported, and each passes in turn.
#[test]
fn the_first_deadline_is_told() {
    for role in ROLES {
        let config = Config::new()
            .ping_interval(secs(100))
            .ping_timeout(secs(30))
            .send_timeout(secs(20))
            .close_timeout(secs(10));
        let mut end = End::with(role, config);
        let keepalive = end.deadline_in().unwrap();
        assert!((secs(50)..=secs(100)).contains(&keepalive));
        end.protocol.ping().unwrap();
        end.written();
        assert_eq!(end.deadline_in(), Some(secs(30)), "the ping's");
        end.protocol.send(Message::from("x")).unwrap();
        end.protocol.poll_transmit();
        end.protocol.handle_blocked(end.now);
        assert_eq!(end.deadline_in(), Some(secs(20)), "the transport's");
        end.protocol.close(CloseFrame::empty(), end.now).unwrap();
        assert_eq!(end.deadline_in(), Some(secs(10)), "the closing handshake's");
        // All of them have passed: the connection is ended by the one that overrides the others.
        assert_eq!(end.wait(secs(1000)), Err(Timeout::Close));
        assert_eq!(end.wait(secs(1000)), Ok(()));
        assert_eq!(end.protocol.poll_timeout(), None);
    }
}
