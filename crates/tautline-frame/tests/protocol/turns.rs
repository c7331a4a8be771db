//! The work of one turn of a connection is bounded, whatever a peer sends, and so is the cost of
//! each byte from the peer.

use tautline_frame::Message;

use crate::peer::*;

/// A turn, in units of some 1.5 ns; `config.rs` counts in a quarter of that.
const TURN: usize = 80 << 10;

/// Statistics of the turns of a connection.
#[derive(Debug, Default)]
struct Turns {
    count: usize,
    /// The most messages that one turn delivered, and the most bytes that one took from the buffer.
    messages: usize,
    bytes: usize,
}

/// Everything that is in the wire arrives at once.
fn turns(end: &mut End, wire: &[u8]) -> Turns {
    let mut turns = Turns { count: 1, ..Turns::default() };
    end.protocol.begin_turn();
    end.buffer.extend_from_slice(wire);
    let (mut messages, mut before) = (0, end.buffer.len());
    loop {
        match end.protocol.handle_data(&mut end.buffer, end.now).unwrap() {
            Some(_) => messages += 1,
            None => {
                turns.messages = turns.messages.max(messages);
                turns.bytes = turns.bytes.max(before - end.buffer.len());
                if !end.protocol.is_turn_over() {
                    return turns;
                }
                assert!(
                    end.protocol.take_short(&mut end.buffer).is_none(),
                    "a turn that is over stays over"
                );
                end.protocol.begin_turn();
                (messages, before) = (0, end.buffer.len());
                turns.count += 1;
                end.written();
            }
        }
    }
}

/// The least and the most that a byte on the wire costs, in units.
#[track_caller]
fn costs(turns: &Turns, wire: &[u8], least: f64, most: f64) {
    let units = ((turns.count - 1) * TURN) as f64 / wire.len() as f64;
    assert!((least..=most).contains(&units), "{units} units for each byte: {turns:?}");
}

// One read of 64 KiB holds 10,000 messages, and a peer with many of them kept 20 quiet connections
// of its thread waiting for 18 ms, one with pings for 21 ms. Handlers of 10 us for each made that
// 1.26 s.
#[test]
fn a_turn_takes_512_frames_at_most_whatever_they_are() {
    for role in ROLES {
        let tiny: [(u8, &[u8]); 1] = [(BINARY, b"hi")];
        let pings: [(u8, &[u8]); 1] = [(PING, b"hi")];
        let pongs: [(u8, &[u8]); 1] = [(PONG, b"")];
        for (kind, is_message) in [(tiny, true), (pings, false), (pongs, false)] {
            let wire = frames(role, &kind).repeat(10_000);
            let mut end = End::new(role);
            let found = turns(&mut end, &wire);
            assert_eq!(found.count, 10_000 / 512 + 1, "{role:?}");
            let most = if is_message { 500..=512 } else { 0..=0 };
            assert!(most.contains(&found.messages), "{found:?}");
        }
        let mut end = End::new(role);
        end.receive(TEXT_PART, b"").unwrap();
        let wire = frame(role, PART, b"").repeat(10_000);
        let found = turns(&mut end, &wire);
        assert_eq!(found.count, 10_000 / 512 + 1, "empty fragments");
    }
}

// Unmasking, checking and copying 16 MiB in one go takes some 6 ms.
#[test]
fn long_messages_take_several_turns_and_come_out_whole() {
    for role in ROLES {
        for parts in [[TEXT, TEXT], [TEXT_PART, LAST_PART]] {
            let text = "grün ".repeat(300_000);
            let wire = frames(role, &[(parts[0], text.as_bytes()), (parts[1], text.as_bytes())]);
            let mut end = End::new(role);
            let found = turns(&mut end, &wire);
            costs(&found, &wire, 0.2, 0.3);
            let mut end = End::new(role);
            end.receive_bytes(&wire).unwrap();
            let whole: Vec<u8> =
                end.delivered.iter().flat_map(Message::as_bytes).copied().collect();
            assert!(whole == text.repeat(2).into_bytes());
        }
    }
}

// What follows a Close is discarded, but that costs work too.
#[test]
fn what_is_thrown_away_is_counted() {
    for role in ROLES {
        let mut end = End::new(role);
        end.receive(CLOSE, b"").unwrap();
        end.buffer.extend_from_slice(&[0; 1 << 20]);
        assert_eq!(end.protocol.handle_data(&mut end.buffer, end.now), Ok(None));
        assert!(end.protocol.is_turn_over());
        end.buffer.extend_from_slice(&[0; 100]);
        assert_eq!(end.protocol.handle_data(&mut end.buffer, end.now), Ok(None));
        assert_eq!(end.buffer.len(), 100, "left for the next turn");
    }
}

#[cfg(feature = "deflate")]
mod compressed {
    use flate2::{Compress, Compression as Level, FlushCompress};
    use tautline_frame::{Compression, Role};

    use super::*;

    const RSV1: u8 = 0x40;

    fn end(role: Role) -> End {
        let mut end = End::new(role);
        end.protocol.set_compression(Compression::new());
        end
    }

    /// With 32 KiB that the next message may refer to.
    fn full(role: Role) -> End {
        let mut end = end(role);
        end.receive(BINARY | RSV1, &deflated(&pattern(40_000))).unwrap();
        end
    }

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 1024);
        let mut stream = Compress::new(Level::new(6), false);
        stream.compress_vec(data, &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        out
    }

    // Each of these messages takes a copy of the window, 1,000 ns for 8 bytes: a poll took 489 ms,
    // as only what was inflated counted.
    #[test]
    fn tiny_messages_are_charged_for_what_they_may_refer_to() {
        for role in ROLES {
            let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
            let wire = frame(role, TEXT | RSV1, &hello).repeat(1000);
            let found = turns(&mut full(role), &wire);
            assert!(found.messages <= 63, "{role:?} {found:?}");
            costs(&found, &wire, 50.0, 200.0);
            let found = turns(&mut end(role), &wire);
            assert!(found.messages > 100, "little to refer to: {found:?}");
        }
    }

    // 16 MiB of zeros are 16 KiB on the wire, and 7 ms of work.
    #[test]
    fn a_bomb_takes_many_turns_and_stops_within_each() {
        for role in ROLES {
            let len = 4 << 20;
            let wire = frame(role, BINARY | RSV1, &deflated(&vec![0; len]));
            let found = turns(&mut end(role), &wire);
            assert!((48..64).contains(&found.count), "{found:?}");
            costs(&found, &wire, 900.0, 1100.0);
            let delivered = end(role).receive_bytes(&wire);
            assert_eq!(delivered, Ok(vec![Message::from(vec![0; len])]));
        }
    }

    // Text takes 5 ns for each byte on the wire, and none of these more than 20 times that: empty
    // blocks, marked as the last or not.
    #[test]
    fn blocks_without_data_are_charged_for_what_they_are() {
        let stored = [0x00, 0x00, 0x00, 0xFF, 0xFF].repeat(20_000);
        let last = [&[0x01, 0x18, 0x01, 0xE7, 0xFE][..], &[7; 280]].concat().repeat(300);
        for role in ROLES {
            for (blocks, least, most) in [(&stored, 20.0, 50.0), (&last, 8.0, 20.0)] {
                let wire = frame(role, BINARY | RSV1, &[&blocks[..], &[0x00]].concat());
                let found = turns(&mut full(role), &wire);
                costs(&found, &wire, least, most);
            }
        }
    }

    // A turn that ends in the middle of a message leaves bytes in the buffer that are already
    // unmasked, or none at all although the inflater has more output.
    #[test]
    fn a_message_goes_on_where_the_turn_was_over() {
        for role in ROLES {
            let data: Vec<u8> = pattern(300_000);
            let payload = deflated(&data);
            for size in [1, 100, 5000, payload.len()] {
                let mut end = end(role);
                let mut list: Vec<(u8, &[u8])> =
                    payload.chunks(size).map(|part| (PART, part)).collect();
                list[0].0 = BINARY_PART | RSV1;
                list.push((LAST_PART, b""));
                list.push((TEXT, b"next"));
                let expected = vec![Message::from(&data[..]), Message::from("next")];
                assert_eq!(end.receive_all(&list), Ok(expected), "{role:?} {size}");
            }
        }
    }
}
