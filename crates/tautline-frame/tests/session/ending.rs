//! How a session ends, and what is reported.

use std::io;
use std::time::Duration;

use tautline_frame::session::{Action, Error, Interest, Listener, Progress, Session};
use tautline_frame::{CloseCode, Config, Timeout};

use crate::conversations::{Pair, in_order, message};

#[test]
fn a_stream_that_ends_without_a_close_is_a_loss_and_told_once() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    pair.client_send("last");
    pair.client_flush().unwrap().unwrap();
    pair.up.ended = true;
    assert_eq!(message(pair.server_next()).as_text(), Some("last"));
    assert!(matches!(pair.server_next(), Some(Some(Err(Error::ConnectionLost)))));
    assert!(in_order(&pair.server_next()));
    assert!(pair.server.session.is_exhausted());
}

#[test]
fn what_is_queued_is_written_to_a_peer_that_ended_its_half() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    pair.server_send("still for you");
    pair.up.ended = true;
    assert!(matches!(pair.server_next(), Some(Some(Err(Error::ConnectionLost)))));
    assert_eq!(message(pair.client_next()).as_text(), Some("still for you"));
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up_with_a_close() {
    let config =
        Config::new().ping_interval(Duration::from_secs(10)).ping_timeout(Duration::from_secs(5));
    let mut pair = Pair::new(&config, 1 << 20);
    assert!(pair.server_next().is_none());
    // The interval has a tenth of jitter.
    pair.pass(Duration::from_secs(11));
    assert!(pair.server_next().is_none());
    assert_eq!(pair.down.bytes[0], 0x89, "a ping");
    pair.down.bytes.clear();
    pair.pass(Duration::from_secs(6));
    assert!(matches!(pair.server_next(), Some(Some(Err(Error::Timeout(Timeout::Ping))))));
    assert_eq!(pair.down.bytes[0], 0x88, "a Close, if it is taken at once");
}

// A task that only sends considered its peer silent, though the pong had arrived and nobody had
// read it.
#[test]
fn bytes_that_nobody_has_read_are_a_sign_of_life_for_a_writer_too() {
    let config =
        Config::new().ping_interval(Duration::from_secs(10)).ping_timeout(Duration::from_secs(5));
    let mut pair = Pair::new(&config, 30);
    assert!(pair.server_next().is_none());
    pair.pass(Duration::from_secs(11));
    assert!(pair.server_next().is_none());
    assert!(pair.client_next().is_none(), "the client answers");
    pair.server_send(vec![0; 100]);
    pair.pass(Duration::from_secs(6));
    assert!(pair.server_flush().is_none(), "blocked, not given up");
    assert!(!pair.server.session.is_done());
}

#[test]
fn a_close_that_is_not_answered_ends_at_its_deadline_whatever_else_comes() {
    let config = Config::new().close_timeout(Duration::from_secs(5)).ping_interval(None);
    let mut pair = Pair::new(&config, 1 << 20);
    pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    let mut waited = 0;
    loop {
        let now = pair.now;
        let over = |session: &mut Session| session.poll_over(Listener::Nobody, || now);
        if pair.client.wake(&mut pair.down, &mut pair.up, now, over).is_some() {
            break;
        }
        // A ping from an odd server, which never answers a Close.
        pair.down.bytes.extend_from_slice(b"\x89\x00");
        pair.pass(Duration::from_secs(1));
        waited += 1;
        assert!(waited < 30);
    }
    assert!(matches!(pair.client.session.tell_end(), Some(Error::Timeout(Timeout::Close))));
    assert!(pair.client.session.tell_end().is_none());
}

#[test]
fn a_write_that_fails_leaves_what_the_peer_said_before_to_be_read() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    pair.client_send("before");
    pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    pair.client_flush().unwrap().unwrap();
    pair.server_send("into the void");
    assert_eq!(pair.server.session.poll_action(Interest::Write), Action::Write);
    pair.server.session.handle_write_error(io::ErrorKind::BrokenPipe.into(), pair.now);
    assert!(matches!(pair.server_flush(), Some(Err(Error::Io(_)))), "lost, and said so");
    assert_eq!(message(pair.server_next()).as_text(), Some("before"));
    assert!(in_order(&pair.server_next()), "the peer had said its last word");
    assert_eq!(pair.server.session.poll_flush(), Progress::Done(()));
    assert!(matches!(pair.server.session.flushed(), Err(Error::Io(_))), "and it stays lost");
}

// A task that only sent was given up by its send timeout, and the messages that it had read in the
// meantime, or that the peer had sent, were gone: `next` returned the error instead of them.
#[test]
fn a_send_timeout_leaves_what_the_peer_said_before_to_be_read() {
    let config = Config::new().send_timeout(Duration::from_secs(3)).ping_interval(None);
    for read_before in [false, true] {
        let mut pair = Pair::new(&config, 100);
        for text in ["one", "two", "three"] {
            pair.client_send(text);
        }
        pair.client_flush().unwrap().unwrap();
        if read_before {
            assert_eq!(message(pair.server_next()).as_text(), Some("one"));
        }
        pair.server_send(vec![0; 1000]);
        assert!(pair.server_flush().is_none());
        pair.pass(Duration::from_secs(4));
        let given = pair.server_flush();
        assert!(matches!(given, Some(Err(Error::Timeout(Timeout::Send)))), "{given:?}");
        let left = if read_before { &["two", "three"][..] } else { &["one", "two", "three"] };
        for text in left {
            assert_eq!(message(pair.server_next()).as_text(), Some(*text));
        }
        assert!(pair.server_next().is_none(), "the peer may still be sending");
        pair.pass(Config::DEFAULT_CLOSE_TIMEOUT);
        let given = pair.server_next();
        assert!(matches!(given, Some(Some(Err(Error::Timeout(Timeout::Send))))), "{given:?}");
        assert!(in_order(&pair.server_next()), "the error comes once");
    }
}

#[test]
fn a_read_that_fails_is_the_end_and_the_cause() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    assert_eq!(pair.client.session.poll_action(Interest::Read), Action::Read);
    pair.client.session.handle_read_error(io::ErrorKind::ConnectionReset.into(), pair.now);
    assert!(pair.client.session.is_done());
    assert_eq!(pair.client.session.poll_action(Interest::Read), Action::Done);
    let given = pair.client_next();
    assert!(
        matches!(given, Some(Some(Err(Error::Io(error)))) if error.kind() == io::ErrorKind::ConnectionReset)
    );
}

/// TLS has its own end (RFC 8446 section 6.1); a peer that leaves it out has still sent everything,
/// if it sent its Close.
#[test]
fn a_tls_stream_cut_after_the_close_is_in_order_and_before_it_a_loss() {
    for (close, lost) in [(true, false), (false, true)] {
        let mut pair = Pair::new(&Config::new(), 1 << 20);
        if close {
            pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
            assert!(pair.client_next().is_none());
            assert!(in_order(&pair.server_next()));
            // The client awaits the server's end.
            let now = pair.now;
            pair.down.ended = false;
            assert!(pair.client_next().is_none());
            pair.client.session.handle_read_error(io::ErrorKind::UnexpectedEof.into(), now);
        } else {
            pair.client.session.handle_read_error(io::ErrorKind::UnexpectedEof.into(), pair.now);
        }
        let given = pair.client_next();
        assert_eq!(matches!(given, Some(Some(Err(Error::ConnectionLost)))), lost, "{given:?}");
    }
}

// A message in fragments beyond the write mark was cut off when the peer closed and ended its half,
// and `send` reported that it was written.
#[test]
fn a_message_in_fragments_is_written_whole_to_a_peer_that_closes_and_ends_its_half() {
    let config = Config::new().fragment_size(1000).write_mark(2000);
    let mut pair = Pair::new(&config, 1 << 20);
    pair.server_send(vec![7; 50_000]);
    pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    pair.client_flush().unwrap().unwrap();
    pair.up.ended = true;
    assert!(in_order(&pair.server_next()));
    assert!(pair.server.session.flushed().is_ok());
    let given = loop {
        if let Some(given) = pair.client_next() {
            break given;
        }
    };
    assert_eq!(given.unwrap().unwrap().len(), 50_000);
}

// The send deadline of a shutdown that had to wait stayed active, though nothing was left to send.
#[test]
fn a_shutdown_that_waits_has_the_deadline_of_the_end_alone() {
    let config = Config::new().send_timeout(Duration::from_secs(1)).ping_interval(None);
    let mut pair = Pair::new(&config, 1 << 20);
    pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    pair.client_flush().unwrap().unwrap();
    let now = pair.now;
    let (buffer, _) = pair.server.session.read_buffer();
    buffer.extend_from_slice(&pair.up.bytes.split());
    let count = buffer.len();
    pair.server.session.handle_read(count, now);
    assert!(matches!(pair.server.session.poll_message(|| now), Progress::Needs(Interest::Read)));
    assert_eq!(pair.server.session.poll_action(Interest::Read), Action::Write);
    let len = bytes::Buf::remaining(pair.server.session.queue());
    bytes::Buf::advance(pair.server.session.queue(), len);
    pair.server.session.handle_written(|| now);
    assert_eq!(pair.server.session.poll_action(Interest::Read), Action::Flush);
    pair.server.session.handle_flushed(|| now);
    assert_eq!(pair.server.session.poll_action(Interest::Read), Action::Shutdown);
    pair.server.session.handle_write_blocked(now);
    let deadline = pair.server.session.poll_timeout().unwrap();
    assert!(deadline - now > Duration::from_secs(1), "that of the close");
}

#[test]
fn nobody_is_told_the_end_before_it() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    assert!(pair.client.session.tell_end().is_none());
    assert!(!pair.client.session.is_done(), "asking ends nothing");
}

// A task whose turn was over waited for the write side of a connection that was ending, with
// messages at hand, until the deadline.
#[test]
fn kept_messages_do_not_wait_for_a_blocked_write_at_the_end() {
    const COUNT: usize = 1000;
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    pair.down.capacity = 10;
    pair.server_send(vec![7; 100]);
    for _ in 0..COUNT {
        pair.client_send("kept");
    }
    pair.client_flush().unwrap().unwrap();
    // A frame that a server does not take: not masked.
    pair.up.bytes.extend_from_slice(b"\x81\x00");
    let now = pair.now;
    let over = |session: &mut Session| session.poll_over(Listener::Same, || now);
    loop {
        let turns = pair.server.turns;
        assert!(pair.server.wake(&mut pair.up, &mut pair.down, now, over).is_none());
        if turns == pair.server.turns {
            break;
        }
    }
    let mut given = 0;
    while given < COUNT {
        let turns = pair.server.turns;
        match pair.server_next() {
            Some(message) => {
                assert_eq!(message.unwrap().unwrap().as_text(), Some("kept"));
                given += 1;
            }
            None => assert!(pair.server.turns > turns, "it waits after {given} messages"),
        }
    }
    assert!(pair.server_next().is_none(), "the Close is still to be written");
}

fn leave(pair: &mut Pair) {
    let now = pair.now;
    pair.server.session.close_at_once(CloseCode::GOING_AWAY.into(), now);
    let over = |session: &mut Session| session.poll_over(Listener::Nobody, || now);
    assert!(pair.server.wake(&mut pair.up, &mut pair.down, now, over).is_some(), "it never waits");
    assert!(pair.server.session.is_done() && pair.down.ended);
}

#[test]
fn a_connection_that_is_dropped_says_what_it_can_and_reads_out_what_was_coming() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    pair.client_send("not read any more");
    pair.client_flush().unwrap().unwrap();
    pair.server_send("queued");
    leave(&mut pair);
    assert!(pair.up.bytes.is_empty(), "or a reset would destroy what was written");
    assert_eq!(message(pair.client_next()).as_text(), Some("queued"));
    pair.up.ended = true;
    assert!(in_order(&pair.client_next()));
    let told = pair.client.session.protocol().peer_close().unwrap().code();
    assert_eq!(told, CloseCode::GOING_AWAY);
}

#[test]
fn a_connection_that_is_dropped_waits_for_nobody() {
    // The transport takes a part of what is queued.
    let mut pair = Pair::new(&Config::new(), 50);
    pair.server_send(vec![0; 100]);
    leave(&mut pair);
    assert_eq!(pair.down.bytes.len(), 50);
    // The peer has always more to send.
    let mut pair = Pair::new(&Config::new(), 100 << 20);
    pair.up.bytes.resize(100 << 20, 0);
    leave(&mut pair);
    assert!(pair.up.bytes.len() > 90 << 20);
    assert_eq!(pair.down.bytes[..], b"\x88\x02\x03\xE9"[..]);
    // Nothing is sent after the Close of before, nor on a connection that is over.
    leave(&mut pair);
    assert_eq!(pair.down.bytes.len(), 4);
}

// 100 peers that had exceeded their rate, and went on sending until the deadline of the Close, kept a
// core busy with bytes that were discarded: everybody else waited 10 ms for each message.
#[test]
fn what_arrives_after_a_failure_is_discarded_at_a_pace() {
    let config = Config::new().close_timeout(Duration::from_secs(5)).ping_interval(None);
    let mut pair = Pair::new(&config, 1 << 20);
    // A frame without a mask, and then no end of anything.
    pair.up.bytes.extend_from_slice(b"\x82\x00");
    let (mut at_once, mut steps, mut error) = (0, 0, None);
    while error.is_none() {
        pair.up.bytes.resize(1 << 20, 7);
        let given = pair.server_next();
        at_once += (1 << 20) - pair.up.bytes.len();
        // What is discarded at once, and the read that went beyond it.
        assert!(at_once <= 3 * (64 << 10), "{at_once} bytes at once");
        match given {
            Some(Some(Err(failed))) => error = Some(failed),
            Some(other) => panic!("{other:?}"),
            None if pair.server.turns > 0 => pair.server.turns = 0,
            None => {
                (at_once, steps) = (0, steps + 1);
                assert!(!pair.server.session.is_done());
                pair.pass(Duration::from_millis(100));
            }
        }
    }
    assert!((45..=55).contains(&steps), "{steps} times in 5 s");
    assert!(matches!(error, Some(Error::Protocol(_))), "{error:?}");
    assert!(matches!(pair.down.bytes[..], [0x88, _, 3, 234, ..]), "1002");
}

#[test]
fn the_end_of_a_peer_that_has_failed_is_seen_behind_what_is_discarded() {
    let mut pair = Pair::new(&Config::new().ping_interval(None), 1 << 20);
    pair.up.bytes.extend_from_slice(b"\x82\x00");
    pair.up.bytes.resize(1 << 20, 7);
    pair.up.ended = true;
    let mut waited = 0;
    while pair.server_next().is_none() {
        pair.pass(Duration::from_millis(100));
        waited += 1;
    }
    assert!((1..=20).contains(&waited), "{waited}");
    assert!(pair.server.session.is_done() && pair.up.bytes.is_empty());
}
