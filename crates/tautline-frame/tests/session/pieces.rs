//! Messages taken in pieces, and both ways in turn.

use std::time::Duration;

use tautline_frame::session::{Error, Listener, Session};
use tautline_frame::{CloseCode, Compress, Config, Kind, Message, ProtocolError};

use crate::conversations::{Pair, in_order, message};

impl Pair {
    fn server_start(&mut self) -> Option<Option<Result<Kind, Error>>> {
        let now = self.now;
        let start = |session: &mut Session| session.poll_start(|| now);
        self.server.wake(&mut self.up, &mut self.down, now, start)
    }

    fn server_piece(&mut self) -> Option<Result<Option<Vec<u8>>, Error>> {
        let now = self.now;
        let piece = |session: &mut Session| session.poll_piece(|| now);
        let given = self.server.wake(&mut self.up, &mut self.down, now, piece)?;
        Some(given.map(|piece| piece.map(|piece| piece.to_vec())))
    }

    /// Whether nothing has arrived, as one of two methods says.
    fn server_awaits(&mut self, method: &str) -> bool {
        if method == "poll_message" {
            return self.server_next().is_none();
        }
        let arrival = Session::poll_arrival;
        self.server.wake(&mut self.up, &mut self.down, self.now, arrival).is_none()
    }

    /// Starts a message and reads it to its end.
    fn server_whole(&mut self) -> (Kind, Vec<u8>) {
        let kind = self.server_start().unwrap().unwrap().unwrap();
        (kind, self.server_rest())
    }

    fn server_rest(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        for _ in 0..1000 {
            match self.server_piece() {
                Some(Ok(Some(piece))) => data.extend(piece),
                Some(Ok(None)) => return data,
                Some(Err(error)) => panic!("{error}"),
                // The turn is over, or the rest is on its way.
                None => drop(self.client_flush()),
            }
        }
        panic!("it does not end");
    }

    /// Pings the client, which answers, while messages arrive.
    fn server_ping(&mut self, listener: Listener) {
        let id = self.server.session.ping().unwrap();
        for _ in 0..1000 {
            let now = self.now;
            let pong = |session: &mut Session| session.poll_pong(id, listener, || now);
            match self.server.wake(&mut self.up, &mut self.down, now, pong) {
                Some(answer) => {
                    answer.unwrap();
                    return;
                }
                None => drop(self.client_next()),
            }
        }
        panic!("no pong");
    }
}

fn long() -> Vec<u8> {
    (0..600_000).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn messages_are_taken_whole_and_in_pieces_in_turn() {
    let mut pair = Pair::new(&Config::new(), 50_000);
    pair.client_send("one");
    pair.client_send(long());
    pair.client_send("three");
    pair.client_send("four");
    drop(pair.client_flush());
    assert_eq!(pair.server_whole(), (Kind::Text, b"one".to_vec()));
    let whole = loop {
        match pair.server_next() {
            None => drop(pair.client_flush()),
            given => break message(given),
        }
    };
    assert_eq!(whole, Message::from(long()));
    assert_eq!(pair.server_whole(), (Kind::Text, b"three".to_vec()));
    assert_eq!(message(pair.server_next()).as_text(), Some("four"));
}

#[test]
fn pieces_that_come_while_a_task_waits_for_a_pong_are_kept_in_order() {
    let mut pair = Pair::new(&Config::new(), 4 << 20);
    for listener in [Listener::Same, Listener::Other] {
        pair.client_send(long());
        pair.client_send("after");
        pair.client_send("last");
        assert!(pair.server_start().is_none());
        pair.client_flush().unwrap().unwrap();
        assert!(matches!(pair.server_start(), Some(Some(Ok(Kind::Binary)))));
        let Some(Ok(Some(first))) = pair.server_piece() else { panic!() };
        pair.server_ping(listener);
        assert_eq!([first, pair.server_rest()].concat(), long());
        // What was kept in pieces can be had as a whole.
        assert_eq!(message(pair.server_next()).as_text(), Some("after"));
        assert_eq!(pair.server_whole(), (Kind::Text, b"last".to_vec()));
    }
}

// Whoever read one message in pieces, and whole ones from then on, was taken to read in pieces as
// long as those were short or had yet to arrive: the shortcuts for both did not tell. So what
// arrived while a task waited for a pong was kept in pieces, and `max_streamed_size` failed the
// connection for a message that `max_message_size` allows.
#[test]
fn what_arrives_when_whole_messages_are_awaited_again_is_kept_whole() {
    let config = Config::new().max_streamed_size(1000);
    for listener in [Listener::Same, Listener::Other] {
        for shortcut in ["take_short", "poll_message", "poll_arrival"] {
            let mut pair = Pair::new(&config, 4 << 20);
            pair.client_send("in pieces");
            pair.client_send("whole");
            pair.client_flush().unwrap().unwrap();
            assert_eq!(pair.server_whole(), (Kind::Text, b"in pieces".to_vec()));
            if shortcut == "take_short" {
                assert_eq!(message(pair.server_next()).as_text(), Some("whole"));
            } else {
                assert_eq!(pair.server_whole(), (Kind::Text, b"whole".to_vec()));
                assert!(pair.server_start().is_none());
                assert!(pair.server_awaits(shortcut));
            }
            pair.client_send(vec![7; 5000]);
            pair.client_flush().unwrap().unwrap();
            pair.server_ping(listener);
            assert_eq!(message(pair.server_next()).len(), 5000, "{shortcut}");
        }
    }
}

#[test]
fn whoever_awaits_the_next_message_skips_the_rest_of_one_in_pieces() {
    let mut pair = Pair::new(&Config::new(), 4 << 20);
    pair.up.bytes.extend_from_slice(b"\x01\x83\0\0\0\0abc");
    assert!(matches!(pair.server_start(), Some(Some(Ok(Kind::Text)))));
    assert!(matches!(pair.server_piece(), Some(Ok(Some(_)))));
    assert!(pair.server_next().is_none());
    pair.up.bytes.extend_from_slice(b"\x80\x83\0\0\0\0def\x81\x84\0\0\0\0next");
    pair.server_ping(Listener::Same);
    assert_eq!(message(pair.server_next()).as_text(), Some("next"));
}

#[test]
fn a_message_that_was_kept_in_part_is_collected() {
    let mut pair = Pair::new(&Config::new(), 4 << 20);
    pair.client_send("first");
    pair.client_flush().unwrap().unwrap();
    assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
    // The beginning of a message arrives while the task waits for a pong.
    let mut wire = vec![0x01, 0x83, 0, 0, 0, 0];
    wire.extend(b"abc");
    pair.up.bytes.extend_from_slice(&wire);
    pair.server_ping(Listener::Same);
    assert!(pair.server_next().is_none());
    pair.up.bytes.extend_from_slice(b"\x80\x83\0\0\0\0def");
    assert_eq!(message(pair.server_next()).as_text(), Some("abcdef"));
}

#[test]
fn a_kept_message_that_is_too_long_as_a_whole_fails_when_it_is_wanted_so() {
    let config = Config::new().max_message_size(100);
    for complete in [false, true] {
        let mut pair = Pair::new(&config, 4 << 20);
        pair.client_send("first");
        pair.client_flush().unwrap().unwrap();
        assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
        let mut wire = vec![if complete { 0x82 } else { 0x02 }, 0xFE, 0, 200, 0, 0, 0, 0];
        wire.extend([7; 200]);
        pair.up.bytes.extend_from_slice(&wire);
        pair.server_ping(Listener::Same);
        let given = pair.server_next();
        let error = ProtocolError::MessageTooLong { limit: 100 };
        if given.is_none() {
            // Our Close is out; the client ends the stream.
            let _ = pair.client_next();
            let given = pair.server_next();
            assert!(matches!(given, Some(Some(Err(Error::Protocol(it)))) if it == error));
        } else {
            assert!(matches!(given, Some(Some(Err(Error::Protocol(it)))) if it == error));
        }
    }
}

#[test]
fn a_reader_that_gives_up_half_way_gets_the_next_message() {
    for ping in [false, true] {
        let mut pair = Pair::new(&Config::new(), 4 << 20);
        pair.client_send(long());
        pair.client_send("next");
        pair.client_send("last");
        pair.client_flush().unwrap().unwrap();
        assert!(matches!(pair.server_start(), Some(Some(Ok(Kind::Binary)))));
        assert!(matches!(pair.server_piece(), Some(Ok(Some(_)))));
        if ping {
            // The rest, or some of it, is kept already.
            pair.server_ping(Listener::Same);
        }
        pair.server.session.skip_message();
        let next = loop {
            if let Some(given) = pair.server_next() {
                break message(Some(given));
            }
        };
        assert_eq!(next.as_text(), Some("next"));
        // Without a word of it, too: the next call skips what is left.
        assert!(matches!(pair.server_start(), Some(Some(Ok(Kind::Text)))));
        assert!(pair.server_next().is_none());
    }
}

#[test]
fn half_a_message_is_never_the_end_of_one() {
    // The peer closes in order, or its stream ends, in the middle of a message.
    for close in [true, false] {
        let mut pair = Pair::new(&Config::new(), 1 << 20);
        pair.up.bytes.extend_from_slice(b"\x02\x83\0\0\0\0abc");
        assert!(matches!(pair.server_start(), Some(Some(Ok(Kind::Binary)))));
        assert!(matches!(pair.server_piece(), Some(Ok(Some(piece))) if piece == b"abc"));
        assert!(pair.server_piece().is_none());
        if close {
            pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
            pair.client_flush().unwrap().unwrap();
        } else {
            pair.up.ended = true;
        }
        let error = pair.server_piece().expect("the end").expect_err("no more of it");
        assert!(matches!(
            (close, &error),
            (true, Error::Unfinished) | (false, Error::ConnectionLost)
        ));
        assert!(in_order(&pair.server_next()), "it was told");
    }
}

#[test]
fn the_end_comes_between_messages_too() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    pair.client_send("x");
    pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    pair.client_flush().unwrap().unwrap();
    assert_eq!(pair.server_whole(), (Kind::Text, b"x".to_vec()));
    assert!(matches!(pair.server_start(), Some(None)));
}

// What had arrived of a message that was being collected was handed on only when more of it came: a
// peer that waits for an answer to it waited for ever.
#[test]
fn the_part_of_a_message_that_has_arrived_can_be_had_in_pieces_at_once() {
    for part in [&b"\x02\x83\0\0\0\0abc"[..], b"\x82\x86\0\0\0\0abc"] {
        let mut pair = Pair::new(&Config::new(), 1 << 20);
        pair.up.bytes.extend_from_slice(part);
        assert!(pair.server_next().is_none());
        assert!(matches!(pair.server_start(), Some(Some(Ok(Kind::Binary)))));
        assert!(matches!(pair.server_piece(), Some(Ok(Some(piece))) if piece == b"abc"));
    }
}

// The frame was admitted in pieces, and all of it was collected.
#[test]
fn the_rest_of_a_frame_is_not_collected_beyond_the_limit() {
    let mut pair = Pair::new(&Config::new().max_message_size(100), 4 << 20);
    pair.client_send("first");
    pair.client_flush().unwrap().unwrap();
    assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
    pair.up.bytes.extend_from_slice(&[0x82, 0xFE, 0, 200, 0, 0, 0, 0]);
    pair.up.bytes.extend_from_slice(&[7; 60]);
    let (id, now) = (pair.server.session.ping().unwrap(), pair.now);
    let pong = |session: &mut Session| session.poll_pong(id, Listener::Same, || now);
    assert!(pair.server.wake(&mut pair.up, &mut pair.down, now, pong).is_none());
    assert!(pair.server_next().is_none());
    pair.up.bytes.extend_from_slice(&[7; 140]);
    assert!(pair.server_next().is_none());
    let _ = pair.client_next();
    let error = ProtocolError::MessageTooLong { limit: 100 };
    assert!(matches!(pair.server_next(), Some(Some(Err(Error::Protocol(it)))) if it == error));
}

// A kept message that is too long as a whole, taken after the end, began the end anew.
#[test]
fn a_connection_that_is_over_stays_so() {
    let mut pair = Pair::new(&Config::new().max_message_size(100), 4 << 20);
    pair.client_send("first");
    pair.client_flush().unwrap().unwrap();
    assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
    pair.client_send(vec![7; 200]);
    pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    pair.client_flush().unwrap().unwrap();
    let now = pair.now;
    let over = |session: &mut Session| session.poll_over(Listener::Same, || now);
    for _ in 0..10 {
        let _ = pair.server.wake(&mut pair.up, &mut pair.down, now, over);
        let _ = pair.client_next();
    }
    assert!(pair.server.session.is_done());
    let error = ProtocolError::MessageTooLong { limit: 100 };
    assert!(matches!(pair.server_next(), Some(Some(Err(Error::Protocol(it)))) if it == error));
    assert!(pair.server.session.is_done());
    assert!(in_order(&pair.server_next()), "told once");
}

// The message before it was taken as a whole, and the next wait for a pong skipped the rest.
#[test]
fn the_rest_follows_what_was_kept_of_a_message_in_pieces() {
    for in_pieces in [false, true] {
        let mut pair = Pair::new(&Config::new(), 1 << 20);
        pair.client_send("first");
        pair.client_flush().unwrap().unwrap();
        assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
        pair.client_send("second");
        pair.client_flush().unwrap().unwrap();
        pair.up.bytes.extend_from_slice(b"\x02\x83\0\0\0\0abc");
        pair.server_ping(Listener::Same);
        assert_eq!(message(pair.server_next()).as_text(), Some("second"));
        pair.up.bytes.extend_from_slice(b"\0\x83\0\0\0\0def");
        pair.server_ping(Listener::Same);
        pair.up.bytes.extend_from_slice(b"\x80\x83\0\0\0\0ghi");
        if in_pieces {
            assert_eq!(pair.server_whole(), (Kind::Binary, b"abcdefghi".to_vec()));
        } else {
            assert_eq!(message(pair.server_next()), Message::from(b"abcdefghi"));
        }
    }
}

// The part in the middle was not kept, and the message passed for a whole one without it.
#[test]
fn a_message_with_a_gap_is_not_collected() {
    // At some number of frames the turn is over just before the end of the message.
    for (frames, turns) in (0..12).flat_map(|frames| (4..9).map(move |turns| (frames, turns))) {
        let mut pair = Pair::new(&Config::new(), 8 << 20);
        pair.client_send("first");
        pair.client_flush().unwrap().unwrap();
        assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
        let mut wire = vec![0x02, 0xFF, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0];
        wire.resize(14 + (0x18 << 16), 7);
        wire.extend([0, 0x80, 0, 0, 0, 0].repeat(frames));
        wire.extend([0x80, 0x80, 0, 0, 0, 0]);
        pair.up.bytes.extend_from_slice(&wire);
        let now = pair.now;
        pair.server.session.close(CloseCode::NORMAL.into(), now).unwrap();
        for _ in 0..turns {
            let over = |session: &mut Session| session.poll_over(Listener::Same, || now);
            assert!(pair.server.wake(&mut pair.up, &mut pair.down, now, over).is_none());
        }
        for _ in 0..10 {
            if let Some(Some(Ok(message))) = pair.server_next() {
                assert_eq!(message.len(), 0x18 << 16, "{frames} {turns}");
            }
        }
    }
}

#[test]
fn nothing_is_skipped_where_no_message_was_begun() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    for in_pieces in [false, true] {
        if in_pieces {
            pair.client_send("first");
            pair.client_flush().unwrap().unwrap();
            assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
        }
        pair.client_send("next");
        pair.client_flush().unwrap().unwrap();
        pair.server_ping(Listener::Same);
        pair.server.session.skip_message();
        assert_eq!(message(pair.server_next()).as_text(), Some("next"));
    }
}

// The transport was given away in the middle of a message.
#[test]
fn nobody_leaves_while_a_message_is_written() {
    for flush in [false, true] {
        let mut pair = Pair::new(&Config::new(), 1 << 20);
        pair.client.session.begin_message(Kind::Text, Compress::Auto).unwrap();
        pair.client.session.write_message(b"half").unwrap();
        if flush {
            pair.client.session.flush_message();
        }
        pair.client_flush().unwrap().unwrap();
        assert!(pair.client.session.leave().is_none());
        pair.client.session.finish_message().unwrap();
        pair.client_flush().unwrap().unwrap();
        assert!(pair.client.session.leave().is_some());
    }
}

// What had been collected of a compressed message was in part lost.
#[cfg(feature = "deflate")]
#[test]
fn a_compressed_message_that_is_kept_collected_and_taken_in_pieces_is_complete() {
    let mut pair = Pair::new(&Config::new(), 4 << 20);
    for end in [&mut pair.client, &mut pair.server] {
        end.session.set_compression(tautline_frame::Compression::new());
    }
    pair.client_send("first");
    pair.client_flush().unwrap().unwrap();
    assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
    pair.client.session.begin_message(Kind::Binary, Compress::Always).unwrap();
    pair.client.session.write_message(&[b'a'; 300]).unwrap();
    pair.client.session.flush_message();
    pair.client_flush().unwrap().unwrap();
    pair.server_ping(Listener::Same);
    assert!(pair.server_next().is_none(), "the rest is collected");
    assert!(matches!(pair.server_start(), Some(Some(Ok(Kind::Binary)))));
    pair.client.session.write_message(&[b'b'; 300]).unwrap();
    pair.client.session.finish_message().unwrap();
    assert_eq!(pair.server_rest(), [[b'a'; 300], [b'b'; 300]].concat());
}

// The deadline counted from when something was last received, and had passed: what was queued, and
// the Close, were never written.
#[test]
fn a_message_that_is_given_up_late_has_all_the_time_for_its_close() {
    let config = Config::new().ping_interval(None).close_timeout(Duration::from_secs(5));
    let mut pair = Pair::new(&config, 100);
    pair.client.session.begin_message(Kind::Text, Compress::Auto).unwrap();
    pair.client.session.write_message(&[b'a'; 300]).unwrap();
    pair.client.session.flush_message();
    assert!(pair.client_flush().is_none());
    pair.pass(Duration::from_secs(20));
    pair.client.session.abort_message(pair.now);
    for _ in 0..10 {
        let _ = pair.client_flush();
        let _ = pair.server_next();
    }
    let close = pair.server.session.protocol().peer_close().expect("it arrived");
    assert_eq!(close.code(), CloseCode::INTERNAL_ERROR);
}

#[test]
fn a_kept_message_that_is_too_long_has_all_the_time_for_its_close() {
    let config = Config::new().ping_interval(None).message_timeout(None).max_message_size(100);
    let mut pair = Pair::new(&config, 4 << 20);
    pair.client_send("first");
    pair.client_flush().unwrap().unwrap();
    assert_eq!(pair.server_whole(), (Kind::Text, b"first".to_vec()));
    pair.client_send(vec![7; 200]);
    pair.client_flush().unwrap().unwrap();
    pair.server_ping(Listener::Same);
    pair.pass(Duration::from_secs(3600));
    pair.down.capacity = 1;
    for _ in 0..100 {
        let _ = pair.server_next();
        let _ = pair.client_next();
    }
    let close = pair.client.session.protocol().peer_close().expect("it arrived");
    assert_eq!(close.code(), CloseCode::MESSAGE_TOO_BIG);
}
