//! RFC 6455 sections 5.5.1, 7.1 and 7.4: the closing handshake and its codes.

use tautline_frame::{
    CloseCode, CloseFrame, Config, InvalidCloseFrame, Message, ProtocolError, Role, SendError,
};

use crate::peer::*;

fn normal() -> CloseFrame {
    CloseFrame::from(CloseCode::NORMAL)
}

/// An endpoint that has sent its Close.
fn closing(role: Role) -> End {
    let mut end = End::new(role);
    end.protocol.close(normal(), end.now).unwrap();
    assert_eq!(end.written(), [Sent(CLOSE, close_body(1000, ""))]);
    end
}

// Section 5.5.1: the answer echoes the code, and here the reason with it; section 7.4.2 and the
// IANA registry for which codes there are. 1012 to 1014 were registered later and are refused by
// implementations that stopped at the RFC.
#[test]
fn valid_codes_are_taken_and_echoed() {
    let codes = (1000..=1003).chain(1007..=1014).chain([3000, 3001, 3999, 4000, 4500, 4999]);
    for code in codes {
        for role in ROLES {
            for reason in ["", "bye", "auf später"] {
                let mut end = End::new(role);
                assert_eq!(end.receive(CLOSE, &close_body(code, reason)), Ok(vec![]));
                let peer = end.protocol.peer_close().unwrap();
                assert_eq!((peer.code().as_u16(), peer.reason()), (code, reason));
                assert_eq!(end.protocol.sent_close(), None, "not encoded");
                assert_eq!(end.written(), [Sent(CLOSE, close_body(code, reason))], "{role:?}");
                assert_eq!(end.protocol.sent_close().map(CloseCode::as_u16), Some(code));
                assert!(!end.protocol.is_open());
            }
        }
    }
}

// Section 7.4.1: 1005, 1006 and 1015 never appear on the wire, 1004 is reserved; section 7.4.2: nor
// do 0 to 999, unregistered codes up to 2999, and codes above 4999. Autobahn's cases 7.9.
#[test]
fn invalid_codes_are_refused() {
    let borders = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    for code in borders {
        for role in ROLES {
            let mut end = End::new(role);
            let error = ProtocolError::CloseCode(code);
            assert_eq!(end.receive(CLOSE, &close_body(code, "reason")), Err(error));
            assert_eq!(end.written(), [close_for(error, 1002)]);
            assert_eq!(end.protocol.peer_close(), None);
        }
    }
}

// Section 5.5.1: a body may be empty, which reads as 1005; the answer to it is empty, too.
#[test]
fn an_empty_close_is_answered_with_an_empty_close() {
    for role in ROLES {
        let mut end = End::new(role);
        assert_eq!(end.receive(CLOSE, b""), Ok(vec![]));
        assert_eq!(end.protocol.peer_close(), Some(&CloseFrame::empty()));
        assert_eq!(end.protocol.peer_close().map(CloseFrame::code), Some(CloseCode::NO_STATUS));
        assert_eq!(end.written(), [Sent(CLOSE, vec![])]);
        assert_eq!(end.protocol.sent_close(), Some(CloseCode::NO_STATUS));
    }
}

// Section 5.5.1: a body begins with a code of two bytes.
#[test]
fn a_close_body_of_one_byte_is_refused() {
    for role in ROLES {
        let mut end = End::new(role);
        assert_eq!(end.receive(CLOSE, &[3]), Err(ProtocolError::CloseLength));
        assert_eq!(end.written(), [close_for(ProtocolError::CloseLength, 1002)]);
    }
}

// Section 5.5.1 and 8.1: the reason is UTF-8; Autobahn's case 7.5.1.
#[test]
fn a_reason_that_is_not_utf8_is_refused() {
    for role in ROLES {
        for reason in [&b"\xff"[..], b"abc\xc3", b"\xed\xa0\x80", b"\xce\xba\xe1\xbd\xb9\xf4\x90"] {
            let mut end = End::new(role);
            let result = end.receive(CLOSE, &close_body(1000, reason));
            assert_eq!(result, Err(ProtocolError::CloseReason), "{reason:x?}");
            assert_eq!(end.written(), [close_for(ProtocolError::CloseReason, 1007)]);
        }
    }
}

// Section 5.5: 125 bytes are a code and 123 bytes of reason.
#[test]
fn the_longest_reason_goes_both_ways() {
    let reason = "r".repeat(123);
    for role in ROLES {
        let mut end = End::new(role);
        assert_eq!(end.receive(CLOSE, &close_body(4000, &reason)), Ok(vec![]));
        assert_eq!(end.protocol.peer_close().unwrap().reason(), reason);
        let mut end = End::new(role);
        let frame = CloseFrame::new(CloseCode::NORMAL, &*reason).unwrap();
        end.protocol.close(frame, end.now).unwrap();
        assert_eq!(end.written(), [Sent(CLOSE, close_body(1000, &reason))]);
    }
    let too_long = CloseFrame::new(CloseCode::NORMAL, "r".repeat(124));
    assert_eq!(too_long, Err(InvalidCloseFrame::ReasonTooLong(124)));
}

// Section 7.4.1: what must not be sent cannot be requested.
#[test]
fn local_codes_cannot_be_sent() {
    for local in [CloseCode::NO_STATUS, CloseCode::ABNORMAL, CloseCode::TLS] {
        let code = local.as_u16();
        assert_eq!(CloseCode::new(code), Err(InvalidCloseFrame::Code(code)));
        assert_eq!(CloseFrame::new(local, ""), Err(InvalidCloseFrame::Code(code)));
        for role in ROLES {
            let mut end = End::new(role);
            end.protocol.close(CloseFrame::from(local), end.now).unwrap();
            assert_eq!(end.written(), [Sent(CLOSE, vec![])], "no number on the wire");
            assert_eq!(end.protocol.sent_close(), Some(CloseCode::NO_STATUS));
        }
    }
}

// Section 7.4.1: 1010 is for clients; "not used by the server, because it can fail the handshake
// instead".
#[test]
fn mandatory_extension_is_the_clients_code() {
    let frame = || CloseFrame::from(CloseCode::MANDATORY_EXTENSION);
    let mut server = End::new(Role::Server);
    let refused = Err(SendError::CloseCode(CloseCode::MANDATORY_EXTENSION));
    assert_eq!(server.protocol.close(frame(), server.now), refused);
    assert!(server.protocol.is_open(), "nothing has happened");
    assert_eq!(server.written(), []);
    let mut client = End::new(Role::Client);
    assert_eq!(client.protocol.close(frame(), client.now), Ok(()));
    assert_eq!(client.written(), [Sent(CLOSE, close_body(1010, ""))]);
}

// Section 7.1.2: our Close, the peer's answer, and the connection is closed.
#[test]
fn a_close_of_ours_ends_with_the_peers() {
    for role in ROLES {
        let mut end = closing(role);
        assert_eq!(end.protocol.poll_ending(), None);
        assert_eq!(end.receive(CLOSE, &close_body(1000, "")), Ok(vec![]));
        assert_eq!(end.written(), [], "their Close was the answer");
        assert!(end.protocol.poll_ending().is_some());
    }
}

// Section 5.5.1: when both close at once, each Close counts as the answer to the other.
#[test]
fn crossing_closes_end_the_connection() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.close(normal(), end.now).unwrap();
        // The peer's Close arrives before ours is encoded; ours is sent anyway, with its own code.
        assert_eq!(end.receive(CLOSE, &close_body(4001, "mine")), Ok(vec![]));
        assert_eq!(end.protocol.poll_ending(), None, "the peer must hear our Close first");
        assert_eq!(end.written(), [Sent(CLOSE, close_body(1000, ""))]);
        assert!(end.protocol.poll_ending().is_some());
        assert_eq!(end.protocol.sent_close(), Some(CloseCode::NORMAL));
        assert_eq!(end.protocol.peer_close().map(|frame| frame.code().as_u16()), Some(4001));
    }
}

// Section 5.5.1: "MUST NOT send any more data frames after sending a Close frame".
#[test]
fn nothing_is_sent_after_our_close() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.send(Message::from("before")).unwrap();
        end.protocol.close(normal(), end.now).unwrap();
        assert!(!end.protocol.is_open());
        assert_eq!(end.protocol.send(Message::from("after")), Err(SendError::Closed));
        assert_eq!(end.protocol.ping(), Err(SendError::Closed));
        // A second close changes nothing.
        let again = CloseFrame::from(CloseCode::GOING_AWAY);
        assert_eq!(end.protocol.close(again, end.now), Ok(()));
        let expected = [Sent(TEXT, b"before".to_vec()), Sent(CLOSE, close_body(1000, ""))];
        assert_eq!(end.written(), expected);
        assert_eq!(end.protocol.send(Message::from("after")), Err(SendError::Closed));
        end.receive(CLOSE, b"").unwrap();
        assert_eq!(end.protocol.send(Message::from("after")), Err(SendError::Closed));
        assert_eq!(end.written(), []);
    }
}

// The same once the peer has closed, before and after our answer is encoded.
#[test]
fn nothing_is_sent_after_the_peers_close_but_its_answer() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.send(Message::from("before")).unwrap();
        end.receive(CLOSE, &close_body(1000, "")).unwrap();
        for _ in 0..2 {
            assert_eq!(end.protocol.send(Message::from("after")), Err(SendError::Closed));
            assert_eq!(end.protocol.ping(), Err(SendError::Closed));
            assert_eq!(end.protocol.close(CloseFrame::empty(), end.now), Ok(()));
            end.protocol.poll_transmit();
        }
        let expected = [Sent(TEXT, b"before".to_vec()), Sent(CLOSE, close_body(1000, ""))];
        assert_eq!(end.written(), expected);
    }
}

// Section 5.5.1: an endpoint that has closed still gets what the peer sends up to its Close.
#[test]
fn messages_are_delivered_between_our_close_and_the_peers() {
    for role in ROLES {
        let mut end = closing(role);
        let list: [(u8, &[u8]); 5] =
            [(TEXT, b"one"), (TEXT_PART, b"t"), (PING, b""), (LAST_PART, b"wo"), (CLOSE, b"")];
        let got = end.receive_all(&list);
        assert_eq!(got, Ok(vec![Message::from("one"), Message::from("two")]));
        assert_eq!(end.written(), [Sent(PONG, vec![])]);
    }
}

// Section 1.4: what comes after the peer's Close is discarded, in the same read or later, whatever
// it is.
#[test]
fn everything_after_the_peers_close_is_discarded() {
    for role in ROLES {
        for close_first in [false, true] {
            let mut end = if close_first { closing(role) } else { End::new(role) };
            let late = [(TEXT, &b"last"[..]), (CLOSE, b""), (TEXT, b"late"), (CLOSE, b"x")];
            assert_eq!(end.receive_all(&late), Ok(vec![Message::from("last")]));
            assert_eq!(end.receive(TEXT, b"later"), Ok(vec![]));
            assert_eq!(end.receive_bytes(&[0xFF; 100]), Ok(vec![]), "not even frames");
            assert!(end.buffer.is_empty());
            assert_eq!(end.protocol.peer_close(), Some(&CloseFrame::empty()), "the first counts");
            let closes = usize::from(!close_first);
            assert_eq!(end.written().len(), closes);
        }
    }
}

// Section 7.1.7, when our Close has already been sent: there is no second one.
#[test]
fn an_error_after_our_close_sends_no_second_close() {
    for role in ROLES {
        let mut end = closing(role);
        let error = ProtocolError::CloseLength;
        assert_eq!(end.receive(CLOSE, &[3]), Err(error));
        assert_eq!(end.written(), []);
        assert_eq!(end.protocol.sent_close(), Some(CloseCode::NORMAL));
        assert_eq!(end.protocol.peer_close(), None);
        assert_eq!(end.receive(TEXT, b"late"), Ok(vec![]));
        // If it is not encoded yet, the first one is still sent.
        let mut end = End::new(role);
        end.protocol.close(normal(), end.now).unwrap();
        assert_eq!(end.receive(0x83, b""), Err(ProtocolError::ReservedOpcode(3)));
        assert_eq!(end.written(), [Sent(CLOSE, close_body(1000, ""))]);
    }
}

// A Close with 1000 that waited behind fragments went out after the first of them: the peer saw its
// message cut off, and no reason.
#[test]
fn an_error_that_cuts_off_a_message_is_what_the_close_tells() {
    for role in ROLES {
        let config = Config::new().fragment_size(Some(1024)).write_mark(1024);
        let mut end = End::with(role, config);
        end.protocol.send(Message::from(vec![7; 10_000])).unwrap();
        end.protocol.close(normal(), end.now).unwrap();
        assert_eq!(end.receive(0x83, b""), Err(ProtocolError::ReservedOpcode(3)));
        let written = end.written();
        let [_cut_off, close] = &written[..] else { panic!("{} frames", written.len()) };
        assert_eq!(*close, Sent(CLOSE, close_body(1002, "reserved opcode 0x3")));
        assert_eq!(end.protocol.sent_close(), Some(CloseCode::PROTOCOL_ERROR));
    }
}

// Section 7.1.7: "MUST NOT continue to attempt to process data".
#[test]
fn nothing_is_read_or_sent_after_a_failure_but_its_close() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.send(Message::from("before")).unwrap();
        let list: [(u8, &[u8]); 3] = [(TEXT, b"good"), (0x83, b""), (TEXT, b"late")];
        assert_eq!(end.receive_all(&list), Err(ProtocolError::ReservedOpcode(3)));
        assert_eq!(end.delivered, [Message::from("good")]);
        assert!(!end.protocol.is_open());
        assert_eq!(end.protocol.send(Message::from("after")), Err(SendError::Closed));
        assert_eq!(end.protocol.ping(), Err(SendError::Closed));
        assert_eq!(end.protocol.close(normal(), end.now), Ok(()));
        assert_eq!(end.receive_all(&[(TEXT, b"x"), (PING, b"x"), (CLOSE, b"")]), Ok(vec![]));
        let close = close_for(ProtocolError::ReservedOpcode(3), 1002);
        assert_eq!(end.written(), [Sent(TEXT, b"before".to_vec()), close]);
        assert_eq!(end.protocol.peer_close(), None, "not read");
    }
}
