//! Both ends of a connection as sessions, over pipes: messages, turns, the inbox, blocked writers.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use tautline_frame::session::{Error, Listener, Session};
use tautline_frame::{CloseCode, Compress, Config, Message, ProtocolError, Role, Timeout};

use crate::driver::{End, Pipe};

/// A client and a server with the pipes between them.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    pub(crate) now: Instant,
}

impl Pair {
    pub(crate) fn new(config: &Config, capacity: usize) -> Self {
        let now = Instant::now();
        let end = |role| End {
            session: Session::new(role, config.clone(), BytesMut::new(), now),
            turns: 0,
        };
        let pipe = || Pipe::new(capacity);
        let (client, server) = (end(Role::Client), end(Role::Server));
        Self { client, server, up: pipe(), down: pipe(), now }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn client_next(&mut self) -> Option<Option<Result<Message, Error>>> {
        let now = self.now;
        let wanted = |session: &mut Session| session.poll_message(|| now);
        self.client.wake(&mut self.down, &mut self.up, now, wanted)
    }

    pub(crate) fn server_next(&mut self) -> Option<Option<Result<Message, Error>>> {
        let now = self.now;
        let wanted = |session: &mut Session| session.poll_message(|| now);
        self.server.wake(&mut self.up, &mut self.down, now, wanted)
    }

    pub(crate) fn client_flush(&mut self) -> Option<Result<(), Error>> {
        self.client.wake(&mut self.down, &mut self.up, self.now, Session::poll_flush)?;
        Some(self.client.session.flushed())
    }

    pub(crate) fn server_flush(&mut self) -> Option<Result<(), Error>> {
        self.server.wake(&mut self.up, &mut self.down, self.now, Session::poll_flush)?;
        Some(self.server.session.flushed())
    }

    pub(crate) fn client_send(&mut self, message: impl Into<Message>) {
        self.client.session.send(message.into(), Compress::Auto).expect("it is open");
    }

    pub(crate) fn server_send(&mut self, message: impl Into<Message>) {
        self.server.session.send(message.into(), Compress::Auto).expect("it is open");
    }
}

/// A received message.
pub(crate) fn message(given: Option<Option<Result<Message, Error>>>) -> Message {
    given.expect("nothing yet").expect("the end").expect("a message")
}

/// The connection ended cleanly.
pub(crate) fn in_order(given: &Option<Option<Result<Message, Error>>>) -> bool {
    matches!(given, Some(None))
}

#[test]
fn messages_go_both_ways_and_the_close_ends_both() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    for len in [0, 5, 125, 126, 70_000] {
        pair.client_send(vec![7; len]);
        pair.client_flush().unwrap().unwrap();
        let given = pair.server_next();
        assert_eq!(message(given).len(), len);
        pair.server_send("y".repeat(len));
        // What is queued is written when there is nothing left to read.
        assert!(pair.server_next().is_none());
        let given = pair.client_next();
        assert_eq!(message(given).len(), len);
    }
    pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    assert!(pair.client_next().is_none(), "the Close is out, the answer awaited");
    assert!(in_order(&pair.server_next()), "a server ends the stream at once");
    assert!(pair.down.ended && !pair.up.ended);
    assert!(in_order(&pair.client_next()), "a client when the server has");
    assert!(pair.up.ended);
    for end in [&mut pair.client, &mut pair.server] {
        assert!(end.session.is_done() && end.session.is_exhausted());
        assert_eq!(end.session.protocol().peer_close().unwrap().code(), CloseCode::NORMAL);
    }
}

#[test]
fn a_pipe_of_one_byte_carries_everything() {
    let mut pair = Pair::new(&Config::new(), 1);
    pair.client_send("in pieces of a byte");
    pair.client.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    let (mut given, mut ended) = (Vec::new(), false);
    for _ in 0..200 {
        ended |= in_order(&pair.client_next());
        if let Some(Some(message)) = pair.server_next() {
            given.push(message.unwrap());
        }
    }
    assert_eq!(given, [Message::from("in pieces of a byte")]);
    assert!(ended && pair.server.session.is_done());
}

#[test]
fn every_frame_that_is_there_comes_before_the_next_read_and_replies_in_one_write() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    for count in 0..10_u8 {
        pair.client_send(vec![count]);
    }
    pair.client_flush().unwrap().unwrap();
    for count in 0..10_u8 {
        let given = message(pair.server_next());
        assert_eq!(given.as_bytes(), [count]);
        pair.server_send(given);
        assert!(pair.down.bytes.is_empty(), "written with the others, once reading would block");
    }
    assert!(pair.server_next().is_none());
    assert_eq!(pair.down.bytes.len(), 10 * 3);
}

// RFC 6455 does not require this: it is for the other connections of the thread.
#[test]
fn a_turn_ends_though_there_is_more_and_what_was_fed_goes_out_meanwhile() {
    let mut pair = Pair::new(&Config::new(), 1 << 22);
    for _ in 0..20_000 {
        pair.client_send(vec![1]);
    }
    pair.client_flush().unwrap().unwrap();
    let (mut messages, mut written) = (0, 0);
    while messages < 20_000 {
        match pair.server_next() {
            Some(given) => {
                messages += 1;
                pair.server_send(given.unwrap().unwrap());
            }
            None => written += usize::from(!pair.down.bytes.is_empty()),
        }
    }
    assert!((39..=80).contains(&pair.server.turns), "{} turns of 512 frames", pair.server.turns);
    assert!(written > 0, "replies do not wait for the end of a flood");
}

#[test]
fn messages_that_come_while_a_task_waits_for_a_pong_are_kept_in_order() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    let id = pair.client.session.ping().unwrap();
    let now = pair.now;
    let pong = |session: &mut Session| session.poll_pong(id, Listener::Same, || now);
    assert!(pair.client.wake(&mut pair.down, &mut pair.up, now, pong).is_none());
    pair.server_send("one");
    pair.server_send("two");
    assert!(pair.server_next().is_none(), "the pong stands behind what was fed");
    let later = now + Duration::from_millis(7);
    let pong = |session: &mut Session| session.poll_pong(id, Listener::Same, || later);
    let time = pair.client.wake(&mut pair.down, &mut pair.up, later, pong).unwrap().unwrap();
    assert_eq!(time, Duration::from_millis(7));
    assert_eq!(message(pair.client_next()), Message::from("one"));
    assert_eq!(message(pair.client_next()), Message::from("two"));
    assert!(pair.client_next().is_none());
}

#[test]
fn an_inbox_that_is_full_ends_a_ping_and_loses_nothing() {
    let mut pair = Pair::new(&Config::new(), 8 << 20);
    let id = pair.client.session.ping().unwrap();
    for _ in 0..5 {
        pair.server_send(vec![0; 300_000]);
    }
    pair.server_flush().unwrap().unwrap();
    let now = pair.now;
    let pong = |session: &mut Session| session.poll_pong(id, Listener::Same, || now);
    let given = loop {
        if let Some(given) = pair.client.wake(&mut pair.down, &mut pair.up, now, pong) {
            break given;
        }
    };
    assert!(matches!(given, Err(Error::Backlog)));
    let mut count = 0;
    while let Some(given) = pair.client_next() {
        assert_eq!(given.unwrap().unwrap().len(), 300_000);
        count += 1;
    }
    // A turn may have ended in between.
    while count < 5 {
        if let Some(given) = pair.client_next() {
            given.unwrap().unwrap();
            count += 1;
        }
    }
}

#[test]
fn where_another_task_reads_a_full_inbox_waits_for_it() {
    let mut pair = Pair::new(&Config::new(), 8 << 20);
    for _ in 0..8 {
        pair.server_send(vec![0; 300_000]);
    }
    pair.server_flush().unwrap().unwrap();
    let now = pair.now;
    pair.client.session.close(CloseCode::NORMAL.into(), now).unwrap();
    let over = |session: &mut Session| session.poll_over(Listener::Other, || now);
    for _ in 0..50 {
        assert!(pair.client.wake(&mut pair.down, &mut pair.up, now, over).is_none());
    }
    assert!(!pair.up.bytes.is_empty(), "our Close went out all the same");
    let (mut count, mut calls) = (0, 0);
    while count < 8 && calls < 200 {
        calls += 1;
        count += usize::from(pair.client_next().is_some());
    }
    assert_eq!(count, 8, "kept or read, in order, none lost");
}

#[test]
fn room_is_waited_for_and_a_peer_that_reads_makes_it() {
    let mut pair = Pair::new(&Config::new().write_mark(1000), 500);
    pair.client_send(vec![0; 2000]);
    let now = pair.now;
    let room = |session: &mut Session| session.poll_room(Listener::Same, || now);
    assert!(pair.client.wake(&mut pair.down, &mut pair.up, now, room).is_none());
    let mut rounds = 0;
    while pair.client.wake(&mut pair.down, &mut pair.up, now, room).is_none() {
        assert!(pair.server_next().is_none());
        rounds += 1;
        assert!(rounds < 20);
    }
    pair.client_send("more");
    while pair.client_flush().is_none() {
        let _ = pair.server_next();
    }
}

#[test]
fn a_broken_rule_is_told_to_both_ends() {
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    pair.up.bytes.extend_from_slice(b"\x81\x05hello");
    assert!(pair.server_next().is_none(), "the Close is out, and the peer is read out");
    assert!(in_order(&pair.client_next()));
    let given = pair.server_next();
    assert!(matches!(given, Some(Some(Err(Error::Protocol(ProtocolError::MaskMissing))))));
    assert!(in_order(&pair.server_next()), "the error comes once");
    let told = pair.client.session.protocol().peer_close().unwrap().code();
    assert_eq!(told, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_the_writer_hears_of_it() {
    let config = Config::new().send_timeout(Duration::from_secs(3)).ping_interval(None);
    let mut pair = Pair::new(&config, 10);
    pair.client_send(vec![0; 100]);
    assert!(pair.client_flush().is_none());
    pair.pass(Duration::from_secs(2));
    assert!(pair.client_flush().is_none());
    pair.pass(Duration::from_secs(2));
    let given = pair.client_flush();
    assert!(matches!(given, Some(Err(Error::Timeout(Timeout::Send)))), "{given:?}");
    assert!(pair.client.session.is_done() && pair.up.ended);
}

// The buffer for replies was lent before what had arrived was looked at, and only a write gave it back: with the
// pong of each keepalive, and with messages that nobody answered, an idle connection held 65 KiB.
#[test]
fn what_asks_for_no_reply_leaves_no_buffer_behind() {
    let mut pair = Pair::new(&Config::new().ping_interval(Duration::from_secs(10)), 1 << 20);
    pair.pass(Duration::from_secs(11));
    assert!(pair.server_next().is_none());
    assert!(!pair.down.bytes.is_empty(), "a ping");
    assert!(pair.client_next().is_none());
    assert!(!pair.up.bytes.is_empty(), "its pong, or a ping");
    assert!(pair.server_next().is_none());
    assert!(pair.up.bytes.is_empty(), "it has arrived");
    assert!(!pair.server.session.queue().has_buffer());
    pair.client_send("hello");
    pair.client_flush().expect("room").expect("open");
    assert!(pair.server_next().is_some());
    assert!(pair.server_next().is_none());
    assert!(!pair.server.session.queue().has_buffer());
    assert!(!pair.client.session.queue().has_buffer());
}
