//! permessage-deflate from a peer that breaks its rules (RFC 7692 sections 6 and 7.2), or sends
//! what costs more to read than to write.

use flate2::FlushCompress;
use tautline_frame::{Compression, Config, Message, ProtocolError, Role};

use crate::deflate_peer::*;
use crate::peer::*;

fn limited(role: Role, limit: usize) -> End {
    let config = Config::new().ping_interval(None).max_message_size(limit);
    with(role, config, Compression::best_ratio())
}

// 24 MB of empty blocks that are marked as the last one, in messages of 60 KB, took a server 9.2 s:
// each was followed by a copy of the window, and no limit counted that. A sender that ends every
// flush with such a block is still accepted.
#[test]
fn last_blocks_in_a_message_are_as_many_as_its_data_account_for() {
    for role in ROLES {
        for block in [&[0x03, 0x00][..], &[0x01, 0x00, 0x00, 0xFF, 0xFF]] {
            let mut end = end(role, Compression::new());
            let window = noise(32 << 10);
            let stored: Vec<u8> = window
                .chunks(16 << 10)
                .flat_map(|part| {
                    let len = part.len() as u16;
                    [&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes(), part].concat()
                })
                .collect();
            let stored = [&stored[..], &[0]].concat();
            assert_eq!(end.receive(BINARY | RSV1, &stored), Ok(vec![Message::from(window)]));
            let error = ProtocolError::TooManyLastBlocks;
            assert_eq!(end.receive(BINARY | RSV1, &block.repeat(12_000)), Err(error));
            assert_eq!(end.written(), [close_for(error, 1008)]);
        }
        // A sender that ends each flush with a last block, and one that keeps its window across
        // them.
        let mut end = end(role, Compression::new());
        for size in [300, 1000, 5000] {
            let data = words(100_000);
            let mut payload = Vec::new();
            for part in data.chunks(size) {
                payload.extend(Sender::new().flush(part, FlushCompress::Finish));
            }
            let message = text(&data);
            assert_eq!(end.receive(TEXT | RSV1, &payload), Ok(vec![message]), "{size}");
        }
    }
}

// RFC 7692 section 6 and RFC 6455 section 5.2. gorilla accepts RSV1 on every frame.
#[test]
fn rsv1_where_it_must_not_be_is_1002() {
    let error = ProtocolError::ReservedBits;
    for role in ROLES {
        let start = frame(role, TEXT_PART | RSV1, &HELLO[..3]);
        let plain = frame(role, TEXT_PART, b"x");
        for before in [&[][..], &start, &plain] {
            let mut firsts = vec![PING | RSV1, PONG | RSV1, CLOSE | RSV1, 0x09 | RSV1];
            firsts.extend([PART | RSV1, LAST_PART | RSV1, TEXT | 0x20, TEXT | RSV1 | 0x10]);
            for first in firsts {
                let mut end = end(role, Compression::new());
                end.receive_bytes(before).unwrap();
                assert_eq!(end.receive(first, b""), Err(error), "{first:#x}");
                assert_eq!(end.written(), [close_for(error, 1002)]);
            }
        }
        let mut end = End::new(role);
        assert_eq!(end.receive(TEXT | RSV1, &HELLO), Err(error), "nothing was negotiated");
    }
}

// Rule 48, RFC 7692 section 7.2.2.
#[test]
fn what_cannot_be_inflated_is_1007() {
    let error = ProtocolError::Inflate;
    let whole = Sender::new().message(&words(300));
    for role in ROLES {
        for payload in [
            // A block type that does not exist; a stored block whose lengths disagree; a reference
            // to before the start.
            &[0x06, 0x00][..],
            &[0x00, 0x05, 0x00, 0x00, 0x00],
            &[0xF2, 0x00, 0x11, 0x00, 0x00],
            // Truncated in the middle of a block.
            &HELLO[..4],
            &whole[..whole.len() - 9],
            // Found by fuzzing: truncated in the middle of a last block. The bytes that a receiver
            // adds were taken for the rest of the block, and nonsense was delivered as a message.
            &[0x7B, 0xF5, 0xC2, 0x28, 0x7A],
            // The end that is to be cut off.
            &[&HELLO[..], &TAIL].concat(),
        ] {
            let mut end = forgetful(role);
            assert_eq!(end.receive(BINARY | RSV1, payload), Err(error), "{payload:x?}");
            assert_eq!(end.written(), [close_for(error, 1007)]);
        }
    }
}

// RFC 6455 section 8.1 holds for what was inflated, and at once: the message is not complete here.
#[test]
fn inflated_text_is_checked_as_it_comes() {
    for role in ROLES {
        let mut end = forgetful(role);
        let mut bad = Sender::new().message(&[&b"abc"[..], &[0xFF], &[b'x'; 400]].concat());
        bad.extend(TAIL);
        assert_eq!(end.receive(TEXT_PART | RSV1, &bad), Err(ProtocolError::Utf8));
        assert_eq!(end.written(), [close_for(ProtocolError::Utf8, 1007)]);
        let mut end = forgetful(role);
        let cut = Sender::new().message("é".as_bytes().split_at(1).0);
        assert_eq!(end.receive(TEXT | RSV1, &cut), Err(ProtocolError::Utf8));
    }
}

// A compressed text that was both wrong and too long was refused with 1009 when all of it came in
// one piece, and with 1007 when it came in several.
#[test]
fn what_is_wrong_first_is_told_however_a_compressed_text_is_cut() {
    let limit = 1000;
    let too_long = (ProtocolError::MessageTooLong { limit }, 1009);
    for (wrong_at, (error, code)) in
        [(999, (ProtocolError::Utf8, 1007)), (1000, too_long), (1001, too_long)]
    {
        let mut bytes = words(2000);
        bytes[wrong_at] = 0xFF;
        let compressed = Sender::new().message(&bytes);
        for role in ROLES {
            for piece in [1, 7, 100, 400, compressed.len()] {
                let mut end = limited(role, limit);
                let wire = frame(role, TEXT | RSV1, &compressed);
                let refused = wire.chunks(piece).find_map(|cut| end.receive_bytes(cut).err());
                assert_eq!(refused, Some(error), "{wrong_at} {piece}");
                assert_eq!(end.written(), [close_for(error, code)]);
            }
        }
    }
}

// undici (CVE-2026-1526), Bandit (CVE-2026-39804), websockets (CVE-2018-1000518) and others counted
// compressed bytes only.
#[test]
fn a_bomb_stops_at_the_limit() {
    let limit = 1 << 20;
    let error = ProtocolError::MessageTooLong { limit };
    let mut sender = Sender::new();
    let bomb = sender.message(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    for role in ROLES {
        let mut end = limited(role, limit);
        assert_eq!(end.receive(BINARY | RSV1, &bomb), Err(error));
        assert_eq!(end.written(), [close_for(error, 1009)]);
        // In fragments.
        let mut end = limited(role, limit);
        let mut wire = frame(role, BINARY_PART | RSV1, b"");
        wire.extend(bomb.chunks(1000).flat_map(|piece| frame(role, PART, piece)));
        assert_eq!(end.receive_bytes(&wire), Err(error));
        // After other messages, to which it refers.
        let mut end = limited(role, limit);
        let mut sender = Sender::new();
        let zeros = vec![0; limit];
        for _ in 0..3 {
            let compressed = sender.message(&zeros);
            assert_eq!(end.receive(BINARY | RSV1, &compressed).unwrap()[0].len(), limit);
        }
        let over = sender.message(&vec![0; limit + 1]);
        assert_eq!(end.receive(BINARY | RSV1, &over), Err(error));
    }
}

#[test]
fn the_limit_counts_inflated_bytes_and_is_inclusive() {
    for role in ROLES {
        for limit in [0, 1, 255, 256, 257, 1000, 5000] {
            let data = noise(limit + 1);
            let mut end = limited(role, limit);
            // Compressed, it is longer than the limit.
            let exact = Sender::new().message(&data[..limit]);
            let got = end.receive(BINARY | RSV1, &exact);
            assert_eq!(got, Ok(vec![Message::from(&data[..limit])]), "{limit}");
            let over = end.receive(BINARY | RSV1, &Sender::new().message(&data));
            assert_eq!(over, Err(ProtocolError::MessageTooLong { limit }));
        }
    }
}
