//! Messages received in pieces: RFC 6455 sections 5.4 and 8.1 without a message in memory.

use bytes::Bytes;
use tautline_frame::{CloseCode, Config, Kind, Message, Piece, ProtocolError};

use crate::peer::*;

impl End {
    /// Bytes arrive; returns the pieces that can be had of them.
    pub(crate) fn receive_pieces(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, ProtocolError> {
        self.buffer.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        loop {
            match self.protocol.handle_pieces(&mut self.buffer, self.now)? {
                Some(piece) => pieces.push(piece),
                None if self.protocol.is_turn_over() => self.protocol.begin_turn(),
                None => return Ok(pieces),
            }
        }
    }
}

/// The messages of which these are the pieces, which must be whole.
pub(crate) fn joined(pieces: &[Piece]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut open: Option<(Kind, Vec<u8>)> = None;
    for piece in pieces {
        match (piece, &mut open) {
            (Piece::Start(kind), None) => open = Some((*kind, Vec::new())),
            (Piece::Data(data), Some((_, all))) => {
                assert!(!data.is_empty());
                all.extend_from_slice(data);
            }
            (Piece::End, Some(_)) => {
                let (kind, all) = open.take().unwrap();
                messages.push(kind.message(all).expect("checked"));
            }
            _ => panic!("{piece:?} out of order"),
        }
    }
    assert!(open.is_none(), "it ends");
    messages
}

fn data(bytes: &[u8]) -> Piece {
    Piece::Data(Bytes::copy_from_slice(bytes))
}

/// Messages of all kinds with control frames between and inside them, and what they are.
fn conversation(to: tautline_frame::Role) -> (Vec<u8>, Vec<Message>) {
    let long = pattern(300_000);
    let wire = frames(
        to,
        &[
            (TEXT, "κόσμε".as_bytes()),
            (BINARY, b""),
            (PING, b"1"),
            (BINARY_PART, &long[..100_000]),
            (PING, b"2"),
            (PART, b""),
            (LAST_PART, &long[100_000..]),
            (TEXT_PART, &"é".as_bytes()[..1]),
            (PONG, b""),
            (LAST_PART, &"é".as_bytes()[1..]),
            (TEXT_PART, b""),
            (LAST_PART, b""),
            (BINARY, &long),
        ],
    );
    let messages = [
        "κόσμε".into(),
        Message::default(),
        long.clone().into(),
        "é".into(),
        "".into(),
        long.into(),
    ];
    (wire, messages.into())
}

#[test]
fn the_pieces_are_the_messages_however_the_bytes_are_cut() {
    for role in ROLES {
        let (wire, messages) = conversation(role);
        for cut in [1000, 4096, 65_536, 70_001, wire.len()] {
            let mut end = End::new(role);
            let mut pieces = Vec::new();
            for bytes in wire.chunks(cut) {
                pieces.extend(end.receive_pieces(bytes).unwrap());
            }
            assert_eq!(joined(&pieces), messages, "{cut}");
            assert_eq!(end.written(), [Sent(PONG, b"1".into()), Sent(PONG, b"2".into())]);
            assert!(end.buffer.is_empty());
        }
        // The short ones byte by byte.
        let mut end = End::new(role);
        let short = frames(role, &[(TEXT_PART, "aé".as_bytes()), (PING, b""), (LAST_PART, b"b")]);
        let pieces: Vec<Piece> =
            short.chunks(1).flat_map(|byte| end.receive_pieces(byte).unwrap()).collect();
        assert_eq!(pieces.len(), 1 + 4 + 1, "each byte as it arrives");
        assert_eq!(joined(&pieces), [Message::from("aéb")]);
    }
}

#[test]
fn nothing_of_a_message_is_kept_and_no_limit_of_whole_messages_applies() {
    let config = Config::new().max_message_size(10).max_frame_size(10).max_fragments(2);
    for role in ROLES {
        let mut end = End::with(role, config.clone().ping_interval(None));
        let mut pieces = end.receive_pieces(&header(role, BINARY_PART, 1 << 40)).unwrap();
        assert_eq!(pieces, [Piece::Start(Kind::Binary)]);
        for _ in 0..100 {
            pieces = end.receive_pieces(&[0; 10_000]).unwrap();
            // Two where the turn ended between them.
            let lens = pieces.iter().map(|piece| match piece {
                Piece::Data(data) => data.len(),
                _ => panic!("{piece:?}"),
            });
            assert_eq!(lens.sum::<usize>(), 10_000);
            assert!(end.buffer.is_empty());
        }
        assert!(end.protocol.missing(0) < 1 << 20, "no room for the whole frame is asked for");
        // Many frames, too.
        let mut end = End::with(role, config.clone().ping_interval(None));
        end.receive_pieces(&frame(role, TEXT_PART, b"")).unwrap();
        for _ in 0..100 {
            assert_eq!(end.receive_pieces(&frame(role, PART, b"more")).unwrap(), [data(b"more")]);
        }
        // What is received as a whole has its limits as before.
        assert_eq!(end.receive_pieces(&frame(role, LAST_PART, b"")).unwrap(), [Piece::End]);
        assert!(matches!(
            end.receive(BINARY, &[0; 11]),
            Err(ProtocolError::FrameTooLong { limit: 10 })
        ));
    }
}

#[test]
fn a_bound_of_its_own_ends_it_with_1009() {
    for role in ROLES {
        let config = Config::new().ping_interval(None).max_streamed_size(1000);
        let mut end = End::with(role, config);
        let exact = frames(role, &[(BINARY_PART, &[1; 999]), (LAST_PART, &[2])]);
        assert_eq!(joined(&end.receive_pieces(&exact).unwrap())[0].len(), 1000);
        let error = ProtocolError::StreamTooLong { limit: 1000 };
        let pieces = end.receive_pieces(&frame(role, BINARY_PART, &[1; 1000])).unwrap();
        assert_eq!(pieces.len(), 2);
        // As soon as a header announces it.
        assert_eq!(end.receive_pieces(&header(role, LAST_PART, 1)), Err(error));
        assert_eq!(end.written(), [close_for(error, 1009)]);
    }
}

#[test]
fn an_error_in_text_comes_at_the_wrong_byte_and_not_at_the_end() {
    for role in ROLES {
        let mut good = End::new(role);
        let text = frame(role, TEXT_PART, "aé".as_bytes());
        let pieces = good.receive_pieces(&text).unwrap();
        assert_eq!(pieces, [Piece::Start(Kind::Text), data("aé".as_bytes())]);
        let error = ProtocolError::Utf8;
        assert_eq!(good.receive_pieces(&frame(role, PART, &[0xFF, b'x'])), Err(error));
        assert_eq!(good.written(), [close_for(error, 1007)]);
        // A character that is cut off by the end.
        let mut cut = End::new(role);
        let wire = frame(role, TEXT, &"é".as_bytes()[..1]);
        assert_eq!(
            cut.receive_pieces(&wire[..wire.len() - 1]).unwrap(),
            [Piece::Start(Kind::Text)]
        );
        assert_eq!(cut.receive_pieces(&wire[wire.len() - 1..]).map(|_| ()), Err(error));
    }
}

#[test]
fn a_message_that_nobody_wants_any_more_is_skipped_in_order() {
    let long = pattern(100_000);
    for role in ROLES {
        for by_data in [false, true] {
            let mut end = End::new(role);
            let wire = frames(
                role,
                &[
                    (BINARY_PART, &long),
                    (PING, b"x"),
                    (PART, &long),
                    (LAST_PART, &long),
                    (TEXT, b"next"),
                ],
            );
            assert_eq!(end.receive_pieces(&wire[..1000]).unwrap().len(), 2);
            let next = if by_data {
                end.receive_bytes(&wire[1000..]).unwrap()
            } else {
                end.protocol.skip_message();
                joined(&end.receive_pieces(&wire[1000..]).unwrap())
            };
            assert_eq!(next, [Message::from("next")]);
            assert_eq!(end.written(), [Sent(PONG, b"x".into())]);
            // Where all of it has arrived, and only its end has not been taken.
            end.buffer.extend_from_slice(&frames(role, &[(BINARY, b"abc"), (TEXT, b"after")]));
            let start = end.protocol.handle_pieces(&mut end.buffer, end.now);
            assert_eq!(start, Ok(Some(Piece::Start(Kind::Binary))));
            let all = end.protocol.handle_pieces(&mut end.buffer, end.now);
            assert_eq!(all, Ok(Some(data(b"abc"))));
            end.protocol.skip_message();
            assert_eq!(joined(&end.receive_pieces(&[]).unwrap()), [Message::from("after")]);
        }
    }
}

#[test]
fn what_is_skipped_is_still_checked() {
    for role in ROLES {
        let mut end = End::new(role);
        end.receive_pieces(&frame(role, TEXT_PART, b"abc")).unwrap();
        end.protocol.skip_message();
        assert_eq!(end.receive(PART, &[0xFF]), Err(ProtocolError::Utf8));
    }
}

#[test]
fn a_message_that_was_begun_as_a_whole_comes_in_pieces_from_its_first_byte() {
    let long = pattern(1000);
    for role in ROLES {
        // In the middle of a single frame, of a fragment, and between two of them.
        for (wire, cut) in [
            (frame(role, BINARY, &long), 500),
            (frames(role, &[(BINARY_PART, &long[..600]), (LAST_PART, &long[600..])]), 300),
            (frames(role, &[(BINARY_PART, &long[..600]), (LAST_PART, &long[600..])]), 800),
        ] {
            let mut end = End::new(role);
            assert_eq!(end.receive_bytes(&wire[..cut]), Ok(vec![]));
            let mut pieces = end.receive_pieces(&[]).unwrap();
            assert_eq!(pieces[0], Piece::Start(Kind::Binary));
            pieces.extend(end.receive_pieces(&wire[cut..]).unwrap());
            assert_eq!(joined(&pieces), [Message::from(long.clone())]);
        }
    }
}

#[test]
fn a_message_inside_another_and_a_close_inside_one_are_what_they_were() {
    for role in ROLES {
        let mut end = End::new(role);
        end.receive_pieces(&frame(role, TEXT_PART, b"a")).unwrap();
        let error = ProtocolError::ContinuationExpected;
        assert_eq!(end.receive_pieces(&frame(role, TEXT, b"b")), Err(error));

        let mut end = End::new(role);
        end.receive_pieces(&frame(role, TEXT_PART, b"a")).unwrap();
        let close = frame(role, CLOSE, &close_body(1000, ""));
        assert_eq!(end.receive_pieces(&close), Ok(vec![]), "there is no end of the message");
        assert_eq!(end.protocol.peer_close().unwrap().code(), CloseCode::NORMAL);
        assert_eq!(end.receive_pieces(&frame(role, LAST_PART, b"b")), Ok(vec![]));
    }
}

#[test]
fn a_peer_that_stops_in_the_middle_is_given_up() {
    for role in ROLES {
        let config = Config::new().ping_interval(None).message_timeout(secs(10));
        let mut end = End::with(role, config);
        end.receive_pieces(&frame(role, TEXT_PART, b"a")).unwrap();
        assert_eq!(end.deadline_in(), Some(secs(10)));
        end.now += secs(9);
        end.receive_pieces(&frame(role, PART, b"b")).unwrap();
        assert_eq!(end.wait(secs(9)), Ok(()));
        assert_eq!(end.wait(secs(2)), Err(tautline_frame::Timeout::Message));
    }
}

// What a frame declares was counted only where it began in pieces.
#[test]
fn the_limit_of_pieces_counts_a_frame_that_was_being_collected() {
    let config = Config::new().max_streamed_size(100);
    for first in [0x82, 0x02] {
        let mut server = End::with(tautline_frame::Role::Server, config.clone());
        let mut wire = vec![first, 0xFE, 0, 200, 0, 0, 0, 0];
        wire.extend([7; 60]);
        server.buffer.extend_from_slice(&wire);
        assert_eq!(server.protocol.handle_data(&mut server.buffer, server.now), Ok(None));
        let error = ProtocolError::StreamTooLong { limit: 100 };
        assert_eq!(server.receive_pieces(&[7; 140]), Err(error));
    }
}

// After an error in the middle of a frame, a message seemed to begin.
#[test]
fn nothing_begins_after_a_failure_or_the_end() {
    for eof in [false, true] {
        let mut client = End::new(tautline_frame::Role::Client);
        let first = client.receive_pieces(b"\x81\x05a");
        assert_eq!(first, Ok(vec![Piece::Start(Kind::Text), data(b"a")]));
        if eof {
            client.protocol.handle_eof(client.now);
        } else {
            assert_eq!(client.receive_pieces(b"\xFF"), Err(ProtocolError::Utf8));
        }
        assert_eq!(client.receive_pieces(b""), Ok(vec![]));
        assert_eq!(client.receive_pieces(b"abc"), Ok(vec![]));
    }
}
