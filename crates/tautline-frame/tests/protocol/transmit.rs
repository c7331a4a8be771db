//! Sending: frames, fragments, and their order.

use bytes::Buf;
use tautline_frame::{CloseFrame, Compress, Config, Kind, Message, Prepared, Role};

use crate::peer::*;

fn with(role: Role, fragment: Option<usize>, mark: usize) -> End {
    let config = Config::new().ping_interval(None).fragment_size(fragment).write_mark(mark);
    End::with(role, config)
}

/// The transport accepts this many bytes.
fn take(end: &mut End, count: usize) -> Vec<u8> {
    assert!(end.protocol.poll_transmit());
    let bytes = end.protocol.queue().copy_to_bytes(count).to_vec();
    end.protocol.handle_written(end.now);
    bytes
}

#[test]
fn messages_go_out_whole_and_in_order() {
    for role in ROLES {
        let mut end = End::new(role);
        let mut expected = Vec::new();
        for (i, len) in [0usize, 5, 4095, 4096, 70_000, 1, 200_000, 3].into_iter().enumerate() {
            if i % 2 == 0 {
                end.protocol.send(Message::from("x".repeat(len))).unwrap();
                expected.push(Sent(TEXT, vec![b'x'; len]));
            } else {
                end.protocol.send(Message::from(pattern(len))).unwrap();
                expected.push(Sent(BINARY, pattern(len)));
            }
        }
        assert!(end.written() == expected);
        assert!(end.protocol.is_flushed() && !end.protocol.poll_transmit());
    }
}

// A transport may accept as little as it likes at a time.
#[test]
fn bytes_that_are_taken_one_by_one_are_the_same() {
    for role in ROLES {
        let mut end = with(role, Some(1024), 1024);
        end.protocol.send(Message::from(pattern(5000))).unwrap();
        end.protocol.send(Message::from("second")).unwrap();
        end.protocol.close(CloseFrame::empty(), end.now).unwrap();
        let mut bytes = Vec::new();
        while end.protocol.poll_transmit() {
            bytes.extend(take(&mut end, 1));
        }
        let sent = read(role, &bytes).0;
        let payload = pattern(5000);
        let parts: Vec<Sent> = payload
            .chunks(1024)
            .enumerate()
            .map(|(i, part)| {
                let first = [BINARY_PART, PART, PART, PART, LAST_PART][i];
                Sent(first, part.to_vec())
            })
            .collect();
        assert!(sent[..5] == parts);
        assert_eq!(sent[5..], [Sent(TEXT, b"second".to_vec()), Sent(CLOSE, vec![])]);
    }
}

// RFC 6455 section 5.4: the first fragment has the opcode, the last the FIN bit.
#[test]
fn long_messages_go_out_in_fragments_of_the_set_size() {
    for role in ROLES {
        let mut end = with(role, Some(1024), 64 << 10);
        let sizes = |sent: &[Sent]| sent.iter().map(|Sent(f, p)| (*f, p.len())).collect::<Vec<_>>();
        for (len, expected) in [
            (0, vec![(TEXT, 0)]),
            (1, vec![(TEXT, 1)]),
            (1023, vec![(TEXT, 1023)]),
            (1024, vec![(TEXT, 1024)]),
            (1025, vec![(TEXT_PART, 1024), (LAST_PART, 1)]),
            (2048, vec![(TEXT_PART, 1024), (LAST_PART, 1024)]),
            (2049, vec![(TEXT_PART, 1024), (PART, 1024), (LAST_PART, 1)]),
        ] {
            end.protocol.send(Message::from("x".repeat(len))).unwrap();
            assert_eq!(sizes(&end.written()), expected, "{len}");
        }
    }
}

// Section 5.4: control frames between the fragments, which is what the fragments are for.
#[test]
fn pings_and_pongs_go_out_between_fragments() {
    for role in ROLES {
        let mut end = with(role, Some(1024), 1024);
        end.protocol.send(Message::from(pattern(4096))).unwrap();
        assert!(!end.protocol.ready(), "fragments are left");
        let frame_len = end.queued();
        assert!((1024..1100).contains(&frame_len), "one fragment, as the mark is reached");
        end.receive(PING, b"asked").unwrap();
        end.protocol.ping().unwrap();
        let mut bytes = take(&mut end, frame_len);
        end.protocol.close(CloseFrame::empty(), end.now).unwrap();
        bytes.extend(end.written_bytes());
        let sent = read(role, &bytes).0;
        let order: Vec<u8> = sent.iter().map(|Sent(first, _)| *first).collect();
        // The ping of ours was due before the close, and not encoded: no room.
        assert_eq!(order, [BINARY_PART, PONG, PART, PART, LAST_PART, CLOSE]);
        assert_eq!(sent[1].1, b"asked");

        let mut end = with(role, Some(1024), 1024);
        end.protocol.send(Message::from(pattern(4096))).unwrap();
        end.protocol.ping().unwrap();
        let order: Vec<u8> = end.written().iter().map(|Sent(first, _)| *first).collect();
        assert_eq!(order, [BINARY_PART, PING, PART, PART, LAST_PART]);
    }
}

// Section 5.4: the fragments of one message are not interleaved with those of another.
#[test]
fn messages_that_are_sent_meanwhile_wait_for_the_fragments() {
    for role in ROLES {
        let mut end = with(role, Some(1024), 1024);
        end.protocol.send(Message::from(pattern(3000))).unwrap();
        end.protocol.send(Message::from("second")).unwrap();
        end.protocol.send(Message::from("x".repeat(1500))).unwrap();
        let order: Vec<u8> = end.written().iter().map(|Sent(first, _)| *first).collect();
        assert_eq!(order, [BINARY_PART, PART, LAST_PART, TEXT, TEXT_PART, LAST_PART]);
    }
}

// Text may be cut within a character: only the message as a whole is UTF-8 (section 5.6).
#[test]
fn fragments_of_text_join_to_the_text() {
    for role in ROLES {
        let text = "€".repeat(1000);
        let mut end = with(role, Some(1024), 1024);
        end.protocol.send(Message::from(&*text)).unwrap();
        let sent = end.written();
        assert_eq!(sent.len(), 3);
        assert!(std::str::from_utf8(&sent[0].1).is_err(), "cut within a character");
        let joined: Vec<u8> = sent.into_iter().flat_map(|Sent(_, payload)| payload).collect();
        assert_eq!(joined, text.as_bytes());
    }
}

// The write mark: an endpoint says when it is full, and holds more only if it is passed more
// anyway.
#[test]
fn the_queue_tells_when_it_is_full() {
    const MARK: usize = 4096;
    for role in ROLES {
        let mut end = with(role, None, MARK);
        let mut count = 0;
        while end.protocol.ready() {
            end.protocol.send(Message::from(pattern(100))).unwrap();
            count += 1;
        }
        let frame_len = if role == Role::Client { 106 } else { 102 };
        assert_eq!(count, MARK.div_ceil(frame_len));
        assert_eq!(end.queued(), count * frame_len);
        take(&mut end, count * frame_len - MARK);
        assert!(!end.protocol.ready(), "exactly at the mark");
        take(&mut end, 1);
        assert!(end.protocol.ready());
        end.written_bytes();
        assert!(end.protocol.is_flushed());
    }
}

#[test]
fn the_queue_tells_how_many_messages_are_not_written_to_their_end() {
    for role in ROLES {
        for fragment in [None, Some(1024)] {
            let mut end = with(role, fragment, 64 << 10);
            end.receive(PING, b"asked").unwrap();
            end.protocol.send_prepared(&Prepared::new("x")).unwrap();
            for len in [0, 5000, 40_000] {
                end.protocol.send(Message::from(pattern(len))).unwrap();
            }
            end.protocol.begin_message(Kind::Text, Compress::Auto).unwrap();
            end.protocol.write_message(b"begun").unwrap();
            end.protocol.flush_message();
            let mut counts = vec![end.protocol.queued_messages()];
            while end.protocol.poll_transmit() {
                take(&mut end, 1);
                let count = end.protocol.queued_messages();
                if counts.last() != Some(&count) {
                    counts.push(count);
                }
            }
            assert_eq!(counts, [5, 4, 3, 2, 1], "one is still being written");
            end.protocol.finish_message().unwrap();
            end.protocol.close(CloseFrame::empty(), end.now).unwrap();
            assert_eq!(end.protocol.queued_messages(), 1);
            end.written();
            assert_eq!(end.protocol.queued_messages(), 0);
        }
    }
}

// With fragments, the queue does not hold a long message all at once.
#[test]
fn a_long_message_in_fragments_is_queued_piece_by_piece() {
    for role in ROLES {
        let mut end = with(role, Some(16 << 10), 64 << 10);
        end.protocol.send(Message::from(vec![7; 10 << 20])).unwrap();
        let mut total = 0;
        while end.protocol.poll_transmit() {
            let queued = end.queued();
            assert!(queued < (64 << 10) + (16 << 10) + 14, "{queued}");
            total += take(&mut end, queued.min(10_000)).len();
        }
        let header = if role == Role::Client { 8 } else { 4 };
        assert_eq!(total, (10 << 20) + 640 * header);
    }
}

// Section 5.5.1: the Close follows what was sent before it, all of it.
#[test]
fn the_close_waits_for_the_fragments() {
    for role in ROLES {
        for by_peer in [false, true] {
            let mut end = with(role, Some(1024), 1024);
            end.protocol.send(Message::from(pattern(3000))).unwrap();
            if by_peer {
                end.receive(CLOSE, b"").unwrap();
            } else {
                end.protocol.close(CloseFrame::empty(), end.now).unwrap();
            }
            assert_eq!(end.protocol.sent_close(), None);
            let first = end.queued();
            take(&mut end, first);
            assert_eq!(end.protocol.poll_ending(), None);
            let order: Vec<u8> = end.written().iter().map(|Sent(first, _)| *first).collect();
            assert_eq!(order, [PART, LAST_PART, CLOSE]);
            assert_eq!(end.protocol.poll_ending().is_some(), by_peer);
        }
    }
}

// After a failure the current message is abandoned: the peer must receive the reason, not the rest
// (section 7.1.7).
#[test]
fn a_failure_gives_up_the_fragments_that_are_left() {
    for role in ROLES {
        let mut end = with(role, Some(1024), 1024);
        end.protocol.send(Message::from(pattern(3000))).unwrap();
        end.receive(0x83, b"").unwrap_err();
        let order: Vec<u8> = end.written().iter().map(|Sent(first, _)| *first).collect();
        assert_eq!(order, [BINARY_PART, CLOSE]);
    }
}
