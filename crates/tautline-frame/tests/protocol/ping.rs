//! The user's pings, and their round-trip times (RFC 6455 sections 5.5.2 and 5.5.3).

use tautline_frame::{CloseFrame, Config, Message, SendError, Timeout};

use crate::peer::*;

fn body(sent: &[Sent]) -> Vec<u8> {
    match sent {
        [Sent(PING, body)] => body.clone(),
        other => panic!("one ping: {other:?}"),
    }
}

#[test]
fn the_round_trip_is_from_written_to_answered() {
    for role in ROLES {
        let mut end = End::new(role);
        let id = end.protocol.ping().unwrap();
        end.wait(secs(5)).unwrap();
        let ping = body(&end.written());
        assert_eq!(end.protocol.pong(id), None);
        end.wait(secs(3)).unwrap();
        end.receive(PONG, &ping).unwrap();
        assert_eq!(end.protocol.pong(id), Some(Ok(secs(3))));
        assert_eq!(end.protocol.poll_timeout(), None, "nothing is awaited any more");
    }
}

// A pending ping is shared: however many callers ask, one frame is sent.
#[test]
fn pings_that_are_asked_for_meanwhile_share_the_one_under_way() {
    for role in ROLES {
        let mut end = End::new(role);
        let id = end.protocol.ping().unwrap();
        assert_eq!(end.protocol.ping(), Ok(id), "asked for");
        end.protocol.poll_transmit();
        assert_eq!(end.protocol.ping(), Ok(id), "encoded");
        let ping = body(&end.written());
        assert_eq!(end.protocol.ping(), Ok(id), "written");
        assert_eq!(end.written(), []);
        end.receive(PONG, &ping).unwrap();
        assert!(end.protocol.pong(id).is_some());
        let next = end.protocol.ping().unwrap();
        assert_ne!(next, id);
        assert_eq!(end.protocol.pong(next), None);
        let second = body(&end.written());
        assert_ne!(ping, second, "an old pong must not answer a new ping");
        end.wait(secs(2)).unwrap();
        end.receive(PONG, &ping).unwrap();
        assert_eq!(end.protocol.pong(next), None);
        end.receive(PONG, &second).unwrap();
        assert_eq!(end.protocol.pong(next), Some(Ok(secs(2))));
        assert_eq!(
            end.protocol.pong(id),
            Some(Ok(secs(2))),
            "a later answer tells of an earlier ping"
        );
    }
}

// Section 5.5.3: a pong that answers nothing is ignored.
#[test]
fn a_pong_with_another_payload_answers_nothing() {
    for role in ROLES {
        let mut end = End::new(role);
        let id = end.protocol.ping().unwrap();
        let ping = body(&end.written());
        let longer = [&ping[..], &[0]].concat();
        for wrong in [&b""[..], &ping[..7], &longer, &[0xFF; 8], &[0; 125]] {
            end.receive(PONG, wrong).unwrap();
            assert_eq!(end.protocol.pong(id), None);
        }
        end.receive(PONG, &ping).unwrap();
        assert!(end.protocol.pong(id).is_some());
        end.receive(PONG, &ping).unwrap();
        assert_eq!(end.written(), []);
    }
}

// A pong that arrives before its ping can have been read, from a peer that guesses: it measures
// nothing.
#[test]
fn a_pong_ahead_of_its_ping_answers_nothing() {
    for role in ROLES {
        let mut end = End::new(role);
        end.receive(PONG, &1u64.to_be_bytes()).unwrap();
        let id = end.protocol.ping().unwrap();
        end.receive(PONG, &id.to_be_bytes()).unwrap();
        end.protocol.poll_transmit();
        end.receive(PONG, &id.to_be_bytes()).unwrap();
        assert_eq!(end.protocol.pong(id), None);
        let ping = body(&end.written());
        end.receive(PONG, &ping).unwrap();
        assert_eq!(end.protocol.pong(id), Some(Ok(secs(0))));
    }
}

#[test]
fn a_ping_is_refused_when_the_connection_is_not_open() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.close(CloseFrame::empty(), end.now).unwrap();
        assert_eq!(end.protocol.ping(), Err(SendError::Closed));
        let mut end = End::new(role);
        end.receive(CLOSE, b"").unwrap();
        assert_eq!(end.protocol.ping(), Err(SendError::Closed));
        let mut end = End::new(role);
        end.receive(0x83, b"").unwrap_err();
        assert_eq!(end.protocol.ping(), Err(SendError::Closed));
    }
}

// Section 5.5.1: nothing follows a Close; a ping that waited for room is dropped when the Close is
// due first.
#[test]
fn a_ping_that_was_not_encoded_does_not_follow_the_close() {
    for role in ROLES {
        let mut end = End::with(role, Config::new().ping_interval(None).write_mark(1024));
        end.protocol.send(Message::from(pattern(2000))).unwrap();
        end.protocol.ping().unwrap();
        end.protocol.close(CloseFrame::empty(), end.now).unwrap();
        assert_eq!(end.written(), [Sent(BINARY, pattern(2000)), Sent(CLOSE, vec![])]);
    }
}

// A user's ping requires its pong: it fails at its own deadline, whatever else is received, and the
// connection continues. It used to wait as long as anything arrived.
#[test]
fn a_ping_whose_pong_does_not_come_is_over_at_its_deadline_and_the_connection_goes_on() {
    for role in ROLES {
        let config = Config::new().ping_interval(None).ping_timeout(secs(20));
        let mut end = End::with(role, config);
        let id = end.protocol.ping().unwrap();
        let late = body(&end.written());
        for _ in 0..19 {
            end.wait(secs(1)).unwrap();
            end.receive(TEXT, b"flowing").unwrap();
            assert_eq!(end.protocol.pong(id), None);
        }
        end.wait(secs(1)).unwrap();
        assert_eq!(end.protocol.pong(id), Some(Err(Timeout::Ping)));
        assert!(end.protocol.is_open());
        // Its pong arrives late, and answers no other ping.
        let next = end.protocol.ping().unwrap();
        let ping = body(&end.written());
        end.receive(PONG, &late).unwrap();
        assert_eq!(end.protocol.pong(next), None);
        end.receive(PONG, &ping).unwrap();
        assert_eq!(end.protocol.pong(next), Some(Ok(secs(0))));
    }
}

#[test]
fn a_ping_behind_which_nothing_at_all_comes_gives_the_peer_up() {
    for role in ROLES {
        let config = Config::new().ping_interval(None).ping_timeout(secs(20));
        let mut end = End::with(role, config);
        end.protocol.ping().unwrap();
        end.wait(secs(1)).unwrap();
        end.written();
        assert_eq!(end.wait(secs(20)), Err(Timeout::Ping));
        assert!(!end.protocol.is_open());
    }
}

// A pending ping also serves keepalive.
#[test]
fn keepalive_shares_the_users_ping() {
    for role in ROLES {
        let config = Config::new().ping_interval(secs(10)).ping_timeout(secs(60));
        let mut end = End::with(role, config);
        let id = end.protocol.ping().unwrap();
        let ping = body(&end.written());
        end.wait(secs(10)).unwrap();
        end.wait(secs(10)).unwrap();
        assert_eq!(end.written(), [], "one is under way");
        end.receive(PONG, &ping).unwrap();
        assert_eq!(end.protocol.pong(id), Some(Ok(secs(20))));
    }
}
