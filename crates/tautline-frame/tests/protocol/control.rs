//! RFC 6455 section 5.5: pings, pongs, and what control frames may not be.

use bytes::Buf;
use tautline_frame::{CloseFrame, Config, Message, ProtocolError};

use crate::peer::*;

// Section 5.5.3: "identical Application data". ws (1.0.1 and 8.20.1) sent bytes that it had never
// written.
#[test]
fn a_pong_has_exactly_the_payload_of_its_ping() {
    for role in ROLES {
        let mut end = End::new(role);
        for len in 0..=125 {
            let payload = pattern(len);
            assert_eq!(end.receive(PING, &payload), Ok(vec![]));
            assert_eq!(end.written(), [Sent(PONG, payload)], "{role:?} {len}");
        }
    }
}

// Section 5.5.2: with room to write, every ping is answered, even if all came in one read.
// Autobahn's case 2.10.
#[test]
fn ten_pings_in_one_read_get_ten_pongs_in_order() {
    for role in ROLES {
        let mut end = End::new(role);
        let payloads: Vec<Vec<u8>> = (0..10).map(|i| format!("ping {i}").into_bytes()).collect();
        let pings: Vec<(u8, &[u8])> = payloads.iter().map(|payload| (PING, &payload[..])).collect();
        assert_eq!(end.receive_all(&pings), Ok(vec![]));
        let pongs: Vec<Sent> = payloads.into_iter().map(|payload| Sent(PONG, payload)).collect();
        assert_eq!(end.written(), pongs);
    }
}

// Section 5.5.3 lets an endpoint answer the newest ping only. ws-rs (CVE-2020-35896) queued an
// answer for each without bound, for a peer that never reads.
#[test]
fn a_flood_of_pings_while_nothing_is_written_queues_to_the_mark_and_keeps_the_newest() {
    const MARK: usize = 4096;
    for role in ROLES {
        let mut end = End::with(role, Config::new().ping_interval(None).write_mark(MARK));
        for i in 0u32..100_000 {
            end.receive(PING, &[&i.to_be_bytes()[..], &[7; 121]].concat()).unwrap();
            // As a driver does when its transport is blocked.
            end.protocol.poll_transmit();
        }
        let queued = end.queued();
        assert!((MARK..MARK + 131).contains(&queued), "{queued} bytes wait");
        let pongs = end.written();
        let numbers: Vec<u32> = pongs
            .iter()
            .map(|Sent(first, payload)| {
                assert_eq!((*first, payload.len(), &payload[4..]), (PONG, 125, &[7; 121][..]));
                u32::from_be_bytes(payload[..4].try_into().unwrap())
            })
            .collect();
        let answered = numbers.len() as u32 - 1;
        let expected: Vec<u32> = (0..answered).chain([99_999]).collect();
        assert_eq!(numbers, expected, "all up to the mark, then the newest");
    }
}

// Undertow (CVE-2021-3690) leaked a buffer with each pong.
#[test]
fn unsolicited_pongs_are_ignored_and_leave_nothing_behind() {
    for role in ROLES {
        let mut end = End::new(role);
        for i in 0u32..100_000 {
            assert_eq!(end.receive(PONG, &i.to_be_bytes()), Ok(vec![]));
        }
        assert_eq!(end.queued(), 0);
        assert!(end.buffer.is_empty() && end.buffer.capacity() < 4096);
        assert_eq!(end.receive(PONG, &pattern(125)), Ok(vec![]));
        assert_eq!(end.receive(PONG, b""), Ok(vec![]));
        assert_eq!(end.written(), [], "section 5.5.3: no answer is expected");
        assert!(end.protocol.is_open());
    }
}

// Section 5.5: at most 125 bytes; the longer forms are errors whatever their value, and are refused
// at the first two bytes.
#[test]
fn control_frames_over_125_bytes_are_refused() {
    let error = ProtocolError::ControlTooLong;
    for role in ROLES {
        for first in [CLOSE, PING, PONG] {
            let forms: [(u8, &[u8]); 5] = [
                (126, &[0, 126]),
                (126, &[0, 5]),
                (126, &[0xFF, 0xFF]),
                (127, &[0, 0, 0, 0, 0, 0, 0, 5]),
                (127, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            ];
            for (short, extended) in forms {
                let mut end = End::new(role);
                let bytes = raw_header(role, first, short, extended);
                assert_eq!(end.receive_bytes(&bytes), Err(error), "{first:#x} {short}");
                assert_eq!(end.written(), [close_for(error, 1002)]);
                let mut end = End::new(role);
                assert_eq!(end.receive_bytes(&bytes[..1]), Ok(vec![]));
                assert_eq!(end.receive_bytes(&bytes[1..2]), Err(error));
            }
        }
    }
}

// Section 5.5: "MUST NOT be fragmented".
#[test]
fn control_frames_in_fragments_are_refused() {
    let error = ProtocolError::ControlFragmented;
    for role in ROLES {
        for first in [CLOSE, PING, PONG] {
            let mut end = End::new(role);
            assert_eq!(end.receive(first & 0x0F, b""), Err(error));
            assert_eq!(end.written(), [close_for(error, 1002)]);
            assert_eq!(end.protocol.peer_close(), None);
        }
    }
}

// Section 5.5.2: "unless it already received a Close frame".
#[test]
fn a_ping_after_the_peers_close_is_not_answered() {
    for role in ROLES {
        let mut end = End::new(role);
        let body = close_body(1000, "");
        assert_eq!(end.receive_all(&[(CLOSE, &body), (PING, b"late")]), Ok(vec![]));
        assert_eq!(end.written(), [Sent(CLOSE, body)]);
        assert_eq!(end.receive(PING, b"later"), Ok(vec![]));
        assert_eq!(end.written(), []);
    }
}

// Section 5.5.2 requires an answer until the peer's Close, even after our own: a pong is not data.
#[test]
fn a_ping_between_our_close_and_the_peers_is_answered() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.close(CloseFrame::empty(), end.now).unwrap();
        assert_eq!(end.written(), [Sent(CLOSE, vec![])]);
        assert_eq!(end.receive(PING, b"late"), Ok(vec![]));
        assert_eq!(end.written(), [Sent(PONG, b"late".to_vec())]);
        assert_eq!(end.receive(CLOSE, b""), Ok(vec![]));
        assert_eq!(end.receive(PING, b"too late"), Ok(vec![]));
        assert_eq!(end.written(), []);
    }
}

// The fuzz target `conversation` found a pong after a Close: the pong had waited for room below the
// write mark, while a Close does not wait for room.
#[test]
fn a_pong_that_waits_for_room_goes_ahead_of_the_close() {
    for role in ROLES {
        let full = || {
            let mut end = End::with(role, Config::new().ping_interval(None).write_mark(1024));
            end.protocol.send(Message::from(pattern(2000))).unwrap();
            end.receive_all(&[(PING, b"old"), (PING, b"new")]).unwrap();
            end
        };
        let data = Sent(BINARY, pattern(2000));
        let pong = Sent(PONG, b"new".to_vec());

        let mut end = full();
        end.protocol.close(CloseFrame::empty(), end.now).unwrap();
        assert_eq!(end.written(), [data.clone(), pong.clone(), Sent(CLOSE, vec![])]);

        let mut end = full();
        end.receive(CLOSE, b"").unwrap();
        assert_eq!(end.written(), [data.clone(), pong, Sent(CLOSE, vec![])]);

        // After a failure, pings from before the error no longer matter.
        let mut end = full();
        end.receive(0x83, b"").unwrap_err();
        assert_eq!(end.written(), [data, close_for(ProtocolError::ReservedOpcode(3), 1002)]);
    }
}

// The pong that waited is older, and is sent first, even if there is room again before anybody asks
// for bytes.
#[test]
fn a_pong_that_waits_for_room_goes_ahead_of_the_next() {
    for role in ROLES {
        let mut end = End::with(role, Config::new().ping_interval(None).write_mark(1024));
        end.protocol.send(Message::from(pattern(2000))).unwrap();
        end.receive(PING, b"old").unwrap();
        let len = end.protocol.queue().remaining();
        end.protocol.queue().advance(len);
        end.protocol.handle_written(end.now);
        end.receive(PING, b"new").unwrap();
        assert_eq!(end.written(), [Sent(PONG, b"old".to_vec()), Sent(PONG, b"new".to_vec())]);
    }
}

// Pings are answered whatever is being sent, and a slow transport keeps the order.
#[test]
fn pongs_and_messages_keep_their_order() {
    for role in ROLES {
        let mut end = End::new(role);
        end.protocol.send(Message::from("one")).unwrap();
        end.receive(PING, b"a").unwrap();
        end.protocol.send(Message::from("two")).unwrap();
        end.receive(PING, b"b").unwrap();
        let expected = [
            Sent(TEXT, b"one".to_vec()),
            Sent(PONG, b"a".to_vec()),
            Sent(TEXT, b"two".to_vec()),
            Sent(PONG, b"b".to_vec()),
        ];
        assert_eq!(end.written(), expected);
    }
}
