//! Compressed messages sent in pieces (RFC 7692 section 7.2.1).

use tautline_frame::{Compress, Compression, Kind};

use crate::deflate_peer::*;
use crate::peer::*;
use crate::writing::other;

/// What a peer makes of these frames of one message: its payload, inflated by the book.
fn joined(frames: &[Sent]) -> Vec<u8> {
    assert_eq!(frames[0].0 & RSV1, RSV1, "on the first frame");
    assert!(frames[1..].iter().all(|Sent(first, _)| first & RSV1 == 0), "and only there");
    frames.iter().flat_map(|Sent(_, payload)| payload.clone()).collect()
}

#[test]
fn pieces_are_compressed_as_they_are_written() {
    for role in ROLES {
        for compression in [Compression::best_ratio(), Compression::low_memory()] {
            let mut end = end(role, compression);
            let mut messages: Vec<Vec<u8>> = Vec::new();
            let mut expected = Vec::new();
            for round in 0..4 {
                let data = words(300_000 - round);
                end.protocol.begin_message(Kind::Text, Compress::Auto).unwrap();
                let mut frames = Vec::new();
                for (index, piece) in data.chunks(7001).enumerate() {
                    end.protocol.write_message(piece).unwrap();
                    if index % (round + 2) == 0 {
                        end.protocol.flush_message();
                    }
                    frames.extend(end.written());
                }
                if round % 2 == 0 {
                    end.protocol.flush_message();
                }
                end.protocol.finish_message().unwrap();
                frames.extend(end.written());
                assert!(frames.len() > 2);
                let message = joined(&frames);
                assert!(message.len() < data.len() / 2);
                if compression.get_own_context_takeover() {
                    messages.push(message);
                    expected.extend(data);
                } else {
                    messages = vec![message];
                    expected = data;
                }
                let bits = compression.get_own_window_bits();
                assert_eq!(inflated(bits, &messages), Some(expected.clone()), "{round}");
            }
            // And one as a whole after them.
            end.protocol.send(text(&words(5000))).unwrap();
            let last = end.written().remove(0).1;
            if compression.get_own_context_takeover() {
                messages.push(last);
                expected.extend(words(5000));
                let bits = compression.get_own_window_bits();
                assert_eq!(inflated(bits, &messages), Some(expected));
            }
        }
    }
}

#[test]
fn what_was_flushed_can_be_inflated_before_the_message_ends() {
    for role in ROLES {
        let mut sender = end(role, Compression::new());
        let mut receiver = end(other(role), Compression::new());
        sender.protocol.begin_message(Kind::Text, Compress::Always).unwrap();
        for piece in ["first, ", "second, ", "third"] {
            sender.protocol.write_message(piece.as_bytes()).unwrap();
            sender.protocol.flush_message();
            receiver.buffer.extend_from_slice(&sender.written_bytes());
            let mut seen = Vec::new();
            while let Some(it) =
                receiver.protocol.handle_pieces(&mut receiver.buffer, receiver.now).unwrap()
            {
                if let tautline_frame::Piece::Data(data) = it {
                    seen.extend(data);
                }
            }
            assert_eq!(seen, piece.as_bytes());
        }
        sender.protocol.finish_message().unwrap();
        assert_eq!(sender.written(), [Sent(LAST_PART, b"".into())]);
    }
}

#[test]
fn an_open_message_keeps_its_compressor() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio().idle_timeout(secs(10)));
        end.protocol.send(text(&words(500))).unwrap();
        end.written();
        end.protocol.begin_message(Kind::Text, Compress::Auto).unwrap();
        // Too little for a fragment: it is in the compressor.
        end.protocol.write_message(&words(70_000)).unwrap();
        let mut frames = end.written();
        for _ in 0..5 {
            end.wait(secs(20)).unwrap();
        }
        end.protocol.write_message(b"end").unwrap();
        end.protocol.finish_message().unwrap();
        frames.extend(end.written());
        let first = Sender::new().message(&words(500));
        let all = inflated(15, &[first, joined(&frames)]);
        assert_eq!(all, Some([words(500), words(70_000), b"end".to_vec()].concat()));
    }
}

#[test]
fn what_may_not_or_need_not_be_compressed_is_not() {
    for role in ROLES {
        for (data, compress) in
            [(noise(100_000), Compress::Auto), (words(100_000), Compress::Never)]
        {
            let mut end = end(role, Compression::new());
            end.protocol.begin_message(Kind::Binary, compress).unwrap();
            end.protocol.write_message(&data).unwrap();
            end.protocol.finish_message().unwrap();
            let frames = end.written();
            assert_eq!(frames[0].0, BINARY_PART);
            assert_eq!(frames.concat_payloads(), data);
        }
    }
}

trait Payloads {
    fn concat_payloads(&self) -> Vec<u8>;
}

impl Payloads for Vec<Sent> {
    fn concat_payloads(&self) -> Vec<u8> {
        self.iter().flat_map(|Sent(_, payload)| payload.clone()).collect()
    }
}
