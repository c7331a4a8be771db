//! permessage-deflate (RFC 7692 sections 6 and 7.2) as it was negotiated, against zlib driven by
//! hand: what is compressed and how, and that both ends understand each other.

use flate2::FlushCompress;
use tautline_frame::{Compress, Compression, Config, Message, ProtocolError, Role};

use crate::deflate_peer::*;
use crate::peer::*;

// RFC 7692 sections 7.2.3.1 to 7.2.3.5: the examples, byte for byte.
#[test]
fn the_examples_of_the_rfc_are_understood() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        let hello = Ok(vec![Message::from("Hello")]);
        assert_eq!(end.receive(TEXT | RSV1, &HELLO), hello);
        // In two frames: RSV1 on the first alone.
        let parts = [(TEXT_PART | RSV1, &HELLO[..3]), (LAST_PART, &HELLO[3..])];
        assert_eq!(end.receive_all(&parts), hello);
        // With a reference to the message before.
        assert_eq!(end.receive(TEXT | RSV1, &[0xF2, 0x00, 0x11, 0x00, 0x00]), hello);
        // A stored block.
        let stored = [0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00];
        assert_eq!(end.receive(TEXT | RSV1, &stored), hello);
        // A block marked as the last one.
        let last = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00];
        assert_eq!(end.receive(TEXT | RSV1, &last), hello);
        // Two blocks in one message.
        let two = [0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00];
        assert_eq!(end.receive(TEXT | RSV1, &two), hello);
    }
}

// RFC 7692 section 7.2.3.4, and rule 45: zlib reports the end of the stream there, and
// implementations that rely on it drop what follows, or lose the window.
#[test]
fn blocks_marked_as_the_last_are_followed_by_more_and_keep_the_window() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        let first = words(3000);
        let mut sender = Sender::new();
        let mut message = sender.flush(&first, FlushCompress::Finish);
        message.push(0);
        assert_eq!(end.receive(TEXT | RSV1, &message), Ok(vec![text(&first)]));
        // The next message refers to bytes of that one, across the end of its last block.
        let mut sender = Sender::new();
        sender.0.set_dictionary(&first).unwrap();
        let again = sender.message(&first[100..1100]);
        assert!(again.len() < 30, "it refers to the first message: {}", again.len());
        assert_eq!(end.receive(TEXT | RSV1, &again), Ok(vec![text(&first[100..1100])]));
        // Several last blocks in one message, the newest without the byte that RFC 7692 adds.
        let mut several = Vec::new();
        for piece in [&b"one "[..], b"two ", b"three"] {
            several.extend(Sender::new().flush(piece, FlushCompress::Finish));
        }
        assert_eq!(end.receive(TEXT | RSV1, &several), Ok(vec![Message::from("one two three")]));
        let third = Sender::new().message(b"and on");
        assert_eq!(end.receive(TEXT | RSV1, &third), Ok(vec![Message::from("and on")]));
    }
}

// RFC 7692 section 7.2.3.6. libwebsockets (issue 2120) stopped at a compressed payload of no bytes.
#[test]
fn the_empty_message_comes_as_one_byte_as_none_and_plain() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        for payload in [&[0x00][..], &[], &[0x02, 0x00], &[0x03, 0x00, 0x00], &[0x03, 0x00]] {
            assert_eq!(end.receive(TEXT | RSV1, payload), Ok(vec![Message::from("")]));
            assert_eq!(end.receive(BINARY | RSV1, payload), Ok(vec![Message::from(b"")]));
        }
        assert_eq!(end.receive(TEXT, b""), Ok(vec![Message::from("")]));
        let parts = [(TEXT_PART | RSV1, &b""[..]), (PART, &[0x00]), (LAST_PART, b"")];
        assert_eq!(end.receive_all(&parts), Ok(vec![Message::from("")]));
        assert_eq!(end.receive(TEXT | RSV1, &HELLO), Ok(vec![Message::from("Hello")]));
    }
}

#[test]
fn the_empty_message_is_sent_plain_or_as_one_byte() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        for (compress, sent) in [
            (Compress::Auto, Sent(TEXT, vec![])),
            (Compress::Never, Sent(TEXT, vec![])),
            (Compress::Always, Sent(TEXT | RSV1, vec![0])),
            (Compress::Always, Sent(TEXT | RSV1, vec![0])),
        ] {
            end.protocol.send_with(Message::from(""), compress).unwrap();
            assert_eq!(end.written(), [sent]);
        }
    }
}

// RFC 7692 section 6.1: messages are split wherever the sender likes, with control frames in
// between, which are never compressed.
#[test]
fn a_compressed_message_may_be_cut_anywhere() {
    for role in ROLES {
        let data = words(500);
        let compressed = Sender::new().message(&data);
        for size in [1, 2, 7, compressed.len() - 1] {
            let mut end = forgetful(role);
            let mut wire = Vec::new();
            for (index, piece) in compressed.chunks(size).enumerate() {
                wire.extend(frame(role, if index == 0 { TEXT_PART | RSV1 } else { PART }, piece));
                wire.extend(frame(role, PING, b"between"));
            }
            wire.extend(frame(role, LAST_PART, b""));
            let mut got = Vec::new();
            for piece in wire.chunks(3) {
                got.extend(end.receive_bytes(piece).unwrap());
            }
            assert_eq!(got, [text(&data)], "{size}");
            assert!(end.written().iter().all(|sent| *sent == Sent(PONG, b"between".to_vec())));
        }
    }
}

// Rule 47: what is sent uncompressed is in no window, on either side.
#[test]
fn plain_messages_between_compressed_ones_leave_the_context_alone() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        let mut sender = Sender::new();
        let data = words(2000);
        let secret = words(40);
        for round in 0..5 {
            let compressed = sender.message(&data);
            assert_eq!(compressed.len() < 60, round > 0);
            assert_eq!(end.receive(TEXT | RSV1, &compressed), Ok(vec![text(&data)]));
            assert_eq!(end.receive(BINARY, &noise(4000)).unwrap().len(), 1);
            assert_eq!(end.receive(TEXT, &secret), Ok(vec![text(&secret)]));
        }
        let mut wire = Vec::new();
        let plain = noise(4000);
        for round in 0..5 {
            end.protocol.send(text(&data)).unwrap();
            end.protocol.send_with(text(&data), Compress::Never).unwrap();
            end.protocol.send(Message::from(&plain[..])).unwrap();
            let sent = end.written();
            assert_eq!(sent[0].0, TEXT | RSV1);
            assert_eq!(sent[0].1.len() < 60, round > 0);
            assert_eq!(sent[1], Sent(TEXT, data.clone()));
            assert_eq!(sent[2], Sent(BINARY, plain.clone()));
            wire.push(sent[0].1.clone());
        }
        assert_eq!(inflated(15, &wire), Some(data.repeat(5)));
    }
}

// sockudo-ws (its pull request 14) sent an incompressible message uncompressed although its bytes
// were already in its window: what came after it was garbage. We dropped the window and filled it
// again, which took 39 us: a peer could make an echo do that with 70 random bytes. A short message
// is now sent in a stored block, six bytes longer, and is then in both windows.
#[test]
fn what_does_not_become_smaller_grows_by_six_bytes_and_what_follows_can_be_read() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for round in 0..3 {
            // Too short for the sample that would detect it, and long enough to be tried.
            let short = noise(200);
            end.protocol.send(Message::from(&short[..])).unwrap();
            let sent = end.written().remove(0);
            assert_eq!(sent.0, BINARY | RSV1);
            assert_eq!(sent.1.len(), short.len() + 6);
            wire.push(sent.1);
            expected.extend(&short);
            let data = [&short, &words(600)[..]].concat();
            end.protocol.send(Message::from(&data[..])).unwrap();
            let sent = end.written().remove(0);
            assert_eq!(sent.0, BINARY | RSV1);
            assert_eq!(sent.1.len() < 100, round > 0, "it refers to what was compressed before");
            wire.push(sent.1);
            expected.extend(data);
        }
        assert_eq!(inflated(13, &wire), Some(expected));
    }
}

// A long one is sent uncompressed, is in no window, and is not copied.
#[test]
fn a_long_message_that_does_not_become_smaller_goes_plain_and_what_follows_can_be_read() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        let first = words(4000);
        // The bytes that are sampled look compressible.
        let mut long = noise(60_000);
        for piece in long.chunks_mut(60_000 / 8) {
            piece[..32].iter_mut().for_each(|byte| *byte &= 0x1F);
        }
        end.protocol.send(Message::from(&first[..])).unwrap();
        let mut wire = vec![end.written().remove(0).1];
        end.protocol.send_with(Message::from(&long[..]), Compress::Auto).unwrap();
        assert_eq!(end.written(), [Sent(BINARY, long)]);
        end.protocol.send(Message::from(&first[..])).unwrap();
        let again = end.written().remove(0);
        assert_eq!(again.0, BINARY | RSV1);
        assert!(again.1.len() < wire[0].len() / 4, "it refers to the first");
        wire.push(again.1);
        assert_eq!(inflated(13, &wire), Some([&first[..], &first[..]].concat()));
    }
}

// Compressing costs more than sending, and what never became smaller is unlikely to.
#[test]
fn messages_that_never_become_smaller_are_soon_tried_less_often() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        let mut tried = 0;
        for seed in 0..640u16 {
            let data: Vec<u8> =
                noise(2000).chunks(8).map(|eight| eight[usize::from(seed % 8)]).take(70).collect();
            let message = [&seed.to_be_bytes()[..], &data].concat();
            let message: Vec<u8> = message.iter().map(|byte| byte ^ (seed * 37) as u8).collect();
            end.protocol.send(Message::from(&message[..])).unwrap();
            let sent = end.written().remove(0);
            assert!(sent.1.len() <= message.len() + 6);
            tried += usize::from(sent.0 == BINARY | RSV1);
        }
        assert!(tried < 40, "{tried}");
    }
}

#[test]
fn the_threshold_and_the_caller_decide() {
    for role in ROLES {
        let mut end = end(role, Compression::new().threshold(100));
        let data = [b'a'; 1000];
        for (len, compress, compressed) in [
            (99, Compress::Auto, false),
            (100, Compress::Auto, true),
            (1, Compress::Always, true),
            (1000, Compress::Never, false),
        ] {
            let message = Message::from(&data[..len]);
            end.protocol.send_with(message, compress).unwrap();
            let sent = end.written().remove(0);
            assert_eq!(
                sent.0,
                if compressed { BINARY | RSV1 } else { BINARY },
                "{len} {compress:?}"
            );
        }
        // If forced, what does not become smaller is compressed anyway.
        let data = noise(5000);
        end.protocol.send_with(Message::from(&data[..]), Compress::Always).unwrap();
        let sent = end.written().remove(0);
        assert!(sent.0 == BINARY | RSV1 && sent.1.len() > data.len());
        assert_eq!(inflated(15, &[sent.1]), Some(data));
    }
    let mut end = End::new(Role::Server);
    end.protocol.send_with(Message::from("x".repeat(500)), Compress::Always).unwrap();
    assert_eq!(end.written()[0].0, TEXT, "nothing was negotiated");
}

// RFC 7692 section 7.1.1: without context takeover each message is independent.
#[test]
fn without_context_takeover_each_message_stands_alone() {
    for role in ROLES {
        let mut end = forgetful(role);
        let data = words(700);
        for _ in 0..3 {
            end.protocol.send(text(&data)).unwrap();
            let sent = end.written().remove(0);
            assert_eq!(inflated(15, &[sent.1]), Some(data.clone()));
        }
        // A peer that refers to an earlier message anyway breaks the agreement.
        assert!(end.receive(TEXT | RSV1, &HELLO).is_ok());
        let reference = end.receive(TEXT | RSV1, &[0xF2, 0x00, 0x11, 0x00, 0x00]);
        assert_eq!(reference, Err(ProtocolError::Inflate));
    }
}

// RFC 7692 section 7.1.2: a decoder with exactly the negotiated window reads what we send;
// uWebSockets took 9 for 8.
#[test]
fn the_negotiated_window_is_obeyed() {
    let data = words(100_000);
    for bits in 9..=15 {
        for level in [1, 2, 6, 9] {
            for takeover in [false, true] {
                let compression = Compression::new()
                    .own_context_takeover(takeover)
                    .own_window_bits(bits)
                    .level(level);
                let mut end = end(Role::Server, compression);
                let mut wire = Vec::new();
                for piece in data.chunks(25_000) {
                    end.protocol.send(text(piece)).unwrap();
                    wire.push(end.written().remove(0).1);
                }
                assert_eq!(inflated(bits, &wire), Some(data.clone()), "{bits} {level} {takeover}");
            }
        }
    }
    // The decoder does refuse what reaches further back.
    let far = [noise(1000), words(3000), noise(200)].concat();
    let far = Sender::new().message(&[&far[..], &far[..]].concat());
    let far = [far];
    assert!(inflated(15, &far).is_some() && inflated(9, &far).is_none());
}

// Rule 42: 8 bits are legal for a peer that can do it.
#[test]
fn a_window_of_256_bytes_is_read() {
    for role in ROLES {
        let mut end = end(role, Compression::new().peer_window_bits(8));
        assert_eq!(end.protocol.compression().unwrap().get_peer_window_bits(), 8);
        for _ in 0..100 {
            assert_eq!(end.receive(TEXT | RSV1, &HELLO), Ok(vec![Message::from("Hello")]));
            let again = end.receive(TEXT | RSV1, &[0xF2, 0x00, 0x11, 0x00, 0x00]);
            assert_eq!(again, Ok(vec![Message::from("Hello")]));
        }
    }
}

#[test]
fn long_messages_and_fragments_cross_in_both_directions() {
    for role in ROLES {
        let peer = if role == Role::Client { Role::Server } else { Role::Client };
        for compression in
            [Compression::new(), Compression::low_memory(), Compression::best_ratio()]
        {
            let config = Config::new().ping_interval(None).fragment_size(1000);
            let mut sender = with(role, config.clone(), compression);
            // What one end calls its own is the peer's for the other.
            let mirrored = compression
                .own_context_takeover(compression.get_peer_context_takeover())
                .peer_context_takeover(compression.get_own_context_takeover());
            let mut receiver = with(peer, config, mirrored);
            let messages = [
                text(&words(300)),
                Message::from(pattern(200_000)),
                text(&words(300_000)),
                Message::from(noise(70_000)),
                text(&words(300)),
            ];
            for message in &messages {
                sender.protocol.send(message.clone()).unwrap();
                let wire = sender.written_bytes();
                assert_eq!(receiver.receive_bytes(&wire), Ok(vec![message.clone()]));
            }
        }
    }
}

// An unused compressor is released: the next message refers to nothing before it, though it could.
#[test]
fn an_idle_compressor_is_given_back() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio().idle_timeout(secs(10)));
        let data = words(2000);
        let send = |end: &mut End| {
            end.protocol.send(text(&data)).unwrap();
            end.written().remove(0).1
        };
        let first = send(&mut end);
        assert!(send(&mut end).len() < 60, "it knows the first");
        end.wait_for_deadline().unwrap();
        assert_eq!(end.deadline_in(), Some(secs(10)), "it was in use");
        assert!(send(&mut end).len() < 60);
        end.wait(secs(10)).unwrap();
        assert_eq!(end.deadline_in(), Some(secs(10)));
        end.wait(secs(10)).unwrap();
        assert_eq!(end.deadline_in(), None, "nothing is kept, nothing is due");
        assert_eq!(send(&mut end), first);
    }
}

#[test]
fn a_closing_connection_has_no_deadline_of_its_compressor() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        end.protocol.send(text(&words(500))).unwrap();
        assert!(end.deadline_in().is_some());
        end.receive(CLOSE, b"").unwrap();
        end.written();
        assert_eq!(end.deadline_in(), Some(tautline_frame::Config::DEFAULT_CLOSE_TIMEOUT));
    }
}

// A finished connection may be kept for long, as in a table of writers, but without its compression
// state. What was agreed on can still be queried.
#[test]
fn an_end_of_any_kind_lets_go_of_the_contexts() {
    type Ending = fn(&mut End);
    let endings: [Ending; 3] = [
        |end| assert!(!end.protocol.handle_eof(end.now)),
        |end| assert!(end.receive(0xFF, b"").is_err()),
        |end| assert_eq!(end.receive(CLOSE, b""), Ok(vec![])),
    ];
    for role in ROLES {
        for ending in endings {
            let mut end = end(role, Compression::best_ratio());
            end.protocol.send(text(&words(500))).unwrap();
            end.written();
            end.receive(TEXT_PART | RSV1, &HELLO).unwrap();
            assert!(end.protocol.holds_compressor());
            ending(&mut end);
            assert!(!end.protocol.holds_compressor());
            assert_eq!(end.protocol.compression(), Some(&Compression::best_ratio()));
        }
        let mut end = end(role, Compression::best_ratio());
        end.protocol.send(text(&words(500))).unwrap();
        end.written();
        end.protocol.handle_eof(end.now);
        assert_eq!(end.deadline_in(), Some(tautline_frame::Config::DEFAULT_CLOSE_TIMEOUT));
    }
}

#[test]
fn settings_are_brought_into_their_bounds() {
    let settings = Compression::new();
    for (asked, own, peer) in [(0, 9, 8), (8, 9, 8), (9, 9, 9), (15, 15, 15), (16, 15, 15)] {
        assert_eq!(settings.own_window_bits(asked).get_own_window_bits(), own);
        assert_eq!(settings.peer_window_bits(asked).get_peer_window_bits(), peer);
    }
    assert_eq!(settings.level(0), settings.level(1));
    assert_eq!(settings.level(200), settings.level(9));
}
