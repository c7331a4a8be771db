//! RFC 6455 section 7.1: how the transport ends, and whether the end was clean.

use tautline_frame::{CloseCode, CloseFrame, Config, Ending, Message, ProtocolError, Role};

use crate::peer::*;

/// After a closing handshake without errors: section 7.1.1, the server closes first.
fn clean(role: Role) -> Ending {
    match role {
        Role::Server => Ending::Shutdown,
        Role::Client => Ending::AwaitEof,
    }
}

fn close(end: &mut End) {
    end.protocol.close(CloseFrame::from(CloseCode::NORMAL), end.now).unwrap();
}

// Section 7.1.1, whichever end started.
#[test]
fn after_the_handshake_the_server_shuts_down_and_the_client_waits() {
    for role in ROLES {
        let mut end = End::new(role);
        assert_eq!(end.protocol.poll_ending(), None);
        close(&mut end);
        assert_eq!(end.protocol.poll_ending(), None);
        end.written();
        assert_eq!(end.protocol.poll_ending(), None, "the answer is missing");
        end.receive(CLOSE, b"").unwrap();
        assert_eq!(end.protocol.poll_ending(), Some(clean(role)));

        let mut end = End::new(role);
        end.receive(CLOSE, b"").unwrap();
        assert_eq!(end.protocol.poll_ending(), None, "our answer is missing");
        end.written();
        assert_eq!(end.protocol.poll_ending(), Some(clean(role)));

        let mut end = End::new(role);
        close(&mut end);
        end.receive(CLOSE, b"").unwrap();
        end.written();
        assert_eq!(end.protocol.poll_ending(), Some(clean(role)), "crossing");
    }
}

// The waiting state of TCP (TIME_WAIT) is for the server to have; a stream of HTTP/2 has none. After a
// failure the rest is drained all the same.
#[test]
fn a_client_of_a_transport_without_a_waiting_state_ends_it_at_once_rfc8441_5() {
    let mut end = End::new(Role::Client);
    end.protocol.end_at_once();
    close(&mut end);
    end.written();
    assert_eq!(end.protocol.poll_ending(), None, "the answer is missing");
    end.receive(CLOSE, b"").unwrap();
    assert_eq!(end.protocol.poll_ending(), Some(Ending::Shutdown));

    let mut end = End::new(Role::Client);
    end.protocol.end_at_once();
    end.receive(0x83, b"").unwrap_err();
    end.written();
    assert_eq!(end.protocol.poll_ending(), Some(Ending::Drain));
}

// Section 7.1.7. A socket that is closed with unread bytes in it sends a reset, which can destroy
// the Close that tells the peer what it did.
#[test]
fn after_a_failure_the_rest_is_drained() {
    for role in ROLES {
        for close_first in [false, true] {
            let mut end = End::new(role);
            if close_first {
                close(&mut end);
                end.written();
            }
            end.receive(0x83, b"").unwrap_err();
            let before = end.protocol.poll_ending();
            assert_eq!(before, close_first.then_some(Ending::Drain), "the Close comes first");
            end.written();
            assert_eq!(end.protocol.poll_ending(), Some(Ending::Drain));
            end.receive(TEXT, b"still sending").unwrap();
            assert_eq!(end.protocol.poll_ending(), Some(Ending::Drain));
            assert!(end.protocol.handle_eof(end.now), "the peer ended as it was told");
        }
    }
}

// The same for a peer that continues after its own Close: our answer must not be lost to a reset.
#[test]
fn bytes_behind_the_peers_close_are_drained() {
    for role in ROLES {
        for together in [true, false] {
            let mut end = End::new(role);
            if together {
                end.receive_all(&[(CLOSE, b""), (TEXT, b"late")]).unwrap();
            } else {
                end.receive(CLOSE, b"").unwrap();
                end.receive(TEXT, b"late").unwrap();
            }
            assert_eq!(end.written(), [Sent(CLOSE, vec![])]);
            assert_eq!(end.protocol.poll_ending(), Some(Ending::Drain));
            assert!(end.protocol.handle_eof(end.now));
            assert_eq!(end.protocol.poll_ending(), Some(clean(role)), "nothing left to drain");
        }
    }
}

// Section 7.1.4 and 7.1.5: clean only if the closing handshake was complete; otherwise it is 1006.
#[test]
fn the_end_of_the_stream_is_in_order_after_the_peers_close_only() {
    type Act = fn(&mut End);
    let cases: [(&str, Act, bool); 8] = [
        ("open", |_| {}, false),
        ("inside a frame", |end| drop(end.receive_bytes(&[0x81])), false),
        ("inside a message", |end| drop(end.receive(TEXT_PART, b"x")), false),
        ("after our Close", |end| close(end), false),
        ("after our Close was written", |end| (close(end), end.written()).1.clear(), false),
        ("after the peer's Close", |end| drop(end.receive(CLOSE, b"")), true),
        ("after both", |end| drop((end.receive(CLOSE, b""), end.written())), true),
        ("after a failure", |end| drop((end.receive(0x83, b""), end.written())), true),
    ];
    for role in ROLES {
        for (name, act, in_order) in cases {
            let mut end = End::new(role);
            act(&mut end);
            assert_eq!(end.protocol.handle_eof(end.now), in_order, "{role:?} {name}");
            assert!(!end.protocol.is_open(), "{name}");
            assert!(end.protocol.send(Message::from("x")).is_err(), "{name}");
            assert_eq!(end.receive(TEXT, b"x"), Ok(vec![]), "{name}");
        }
    }
}

// A peer may end its half right after its Close, and still read: it must get the answer.
#[test]
fn the_answer_to_a_close_goes_out_after_the_end_of_the_stream() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.send(Message::from("queued")).unwrap();
        end.receive(CLOSE, &close_body(1001, "")).unwrap();
        assert!(end.protocol.handle_eof(end.now));
        assert_eq!(end.protocol.sent_close(), Some(CloseCode::GOING_AWAY));
        let expected = [Sent(TEXT, b"queued".to_vec()), Sent(CLOSE, close_body(1001, ""))];
        assert_eq!(end.written(), expected);
        assert_eq!(end.protocol.poll_ending(), Some(clean(role)));
    }
}

// The end stops the liveness checks: there is no one left to ping.
#[test]
fn the_end_of_the_stream_stops_the_pings() {
    for role in ROLES {
        let mut end = End::with(role, Config::new().ping_interval(secs(10)));
        assert!(!end.protocol.handle_eof(end.now));
        assert_eq!(
            end.deadline_in(),
            Some(tautline_frame::Config::DEFAULT_CLOSE_TIMEOUT),
            "that of the end alone"
        );
        assert_eq!(end.written(), []);
    }
}

// A transport that can be read but no longer written: what the peer sent before is still delivered.
#[test]
fn a_broken_write_side_leaves_the_messages_that_came() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.send(Message::from("lost")).unwrap();
        end.protocol.handle_broken(end.now);
        assert!(end.protocol.is_flushed() && !end.protocol.is_open());
        let list: [(u8, &[u8]); 3] = [(TEXT, b"kept"), (PING, b"x"), (CLOSE, b"")];
        assert_eq!(end.receive_all(&list), Ok(vec![Message::from("kept")]));
        assert_eq!(end.written(), [], "nobody would take it");
        assert_eq!(end.protocol.peer_close(), Some(&CloseFrame::empty()));
        assert!(end.protocol.poll_ending().is_some());
        assert!(end.protocol.handle_eof(end.now));

        let mut end = End::new(role);
        end.protocol.handle_broken(end.now);
        assert_eq!(end.receive(0x83, b""), Err(ProtocolError::ReservedOpcode(3)));
        assert_eq!(end.written(), []);
        assert_eq!(end.protocol.poll_ending(), Some(Ending::Drain));

        let mut end = End::new(role);
        end.protocol.handle_broken(end.now);
        assert!(!end.protocol.handle_eof(end.now), "no Close came");
    }
}
