//! Compressed messages received in pieces (RFC 7692 section 7.2.2).

use tautline_frame::{Compression, Config, Kind, Message, Piece, ProtocolError};

use crate::deflate_peer::*;
use crate::peer::*;
use crate::pieces::joined;

#[test]
fn compressed_messages_are_inflated_as_they_come() {
    for role in ROLES {
        for compression in [Compression::best_ratio(), Compression::low_memory()] {
            let mut end = end(role, compression);
            let mut sender = Sender::new();
            let texts = [words(300), words(1 << 20), Vec::new(), words(5000)];
            for bytes in &texts {
                if !compression.get_peer_context_takeover() {
                    sender = Sender::new();
                }
                let compressed = match bytes.is_empty() {
                    true => vec![0],
                    false => sender.message(bytes),
                };
                let wire = frame(role, TEXT | RSV1, &compressed);
                let mut pieces = Vec::new();
                for cut in wire.chunks(1400) {
                    pieces.extend(end.receive_pieces(cut).unwrap());
                }
                assert_eq!(joined(&pieces), [text(bytes)]);
                let longest = pieces.iter().map(|piece| match piece {
                    Piece::Data(data) => data.len(),
                    _ => 0,
                });
                assert!(longest.max() < Some(400_000), "as they come");
            }
        }
    }
}

// A reference may reach 32 KiB back, into what was handed on already.
#[test]
fn what_was_handed_on_can_still_be_referred_to() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        let mut sender = Sender::new();
        let block = noise(20_000);
        let mut wire = Vec::new();
        for index in 0..20 {
            let last = index == 19;
            let compressed = match last {
                true => sender.message(&block),
                false => sender.flush(&block, flate2::FlushCompress::Sync),
            };
            let first = match index {
                0 => BINARY_PART | RSV1,
                _ if last => LAST_PART,
                _ => PART,
            };
            assert!(index == 0 || compressed.len() < 1000, "it refers to the one before");
            wire.extend(frame(role, first, &compressed));
        }
        let pieces = end.receive_pieces(&wire).unwrap();
        assert_eq!(joined(&pieces), [Message::from(block.repeat(20))]);
        // The next message refers to this one.
        let next = frame(role, BINARY | RSV1, &sender.message(&block));
        assert!(next.len() < 1000);
        assert_eq!(joined(&end.receive_pieces(&next).unwrap()), [Message::from(block)]);
    }
}

// After a block that is marked as the last one the inflater begins anew (RFC 7692 section
// 7.2.3.4), and what it may refer to is not in its own window.
#[test]
fn what_was_handed_on_can_be_referred_to_after_a_last_block() {
    for role in ROLES {
        let mut end = end(role, Compression::low_memory());
        let block = noise(30_000);
        let mut wire = Vec::new();
        for index in 0..10 {
            let mut sender = Sender::new();
            if index > 0 {
                sender.0.set_dictionary(&block).unwrap();
            }
            let compressed = sender.flush(&block, flate2::FlushCompress::Finish);
            assert!(index == 0 || compressed.len() < 1000, "it refers to the one before");
            let first = if index == 0 { BINARY_PART | RSV1 } else { PART };
            wire.extend(frame(role, first, &compressed));
        }
        wire.extend(frame(role, LAST_PART, &[]));
        let pieces = end.receive_pieces(&wire).unwrap();
        assert_eq!(joined(&pieces), [Message::from(block.repeat(10))]);
    }
}

#[test]
fn a_skipped_message_is_part_of_the_context() {
    for role in ROLES {
        let mut end = end(role, Compression::best_ratio());
        let mut sender = Sender::new();
        let data = noise(50_000);
        let wire = frame(role, BINARY | RSV1, &sender.message(&data));
        end.receive_pieces(&wire[..5000]).unwrap();
        end.protocol.skip_message();
        assert_eq!(end.receive_pieces(&wire[5000..]), Ok(vec![]));
        let tail = &data[40_000..];
        let next = sender.message(tail);
        assert!(next.len() < 1000, "it refers to what was skipped");
        assert_eq!(end.receive(BINARY | RSV1, &next), Ok(vec![Message::from(tail)]));
    }
}

#[test]
fn a_bomb_is_handed_on_in_turns_and_counted() {
    for role in ROLES {
        let bomb = Sender::new().message(&vec![0; 64 << 20]);
        let config = Config::new().ping_interval(None).max_streamed_size(10 << 20);
        let mut end = with(role, config, Compression::best_ratio());
        end.buffer.extend(frame(role, BINARY | RSV1, &bomb));
        let (mut inflated, mut turns) = (0, 0);
        let error = loop {
            match end.protocol.handle_pieces(&mut end.buffer, end.now) {
                Ok(Some(Piece::Data(data))) => {
                    assert!(data.len() < 300_000);
                    inflated += data.len();
                }
                Ok(Some(piece)) => assert_eq!(piece, Piece::Start(Kind::Binary)),
                Ok(None) => {
                    assert!(end.protocol.is_turn_over());
                    end.protocol.begin_turn();
                    turns += 1;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error, ProtocolError::StreamTooLong { limit: 10 << 20 });
        assert!(inflated <= 10 << 20 && turns > 30, "{inflated} {turns}");
    }
}
