//! Messages in pieces. Either two sessions over pipes, where messages are written and read whole
//! and in pieces, given up, skipped and kept while a task waits for a pong: what is read is what was
//! written, in order, and half a message is never a whole one. Or bytes of a peer, which
//! `handle_pieces` has to understand as `handle_data` does, however they are cut, and also where
//! both take turns.
//!
//! Input: flags; the first bit says which of the two, the others are explained there.
#![no_main]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tautline_frame::session::{Error, Listener, Progress, Session};
use tautline_frame::{
    CloseCode, CloseFrame, Compress, Compression, Config, Kind, Message, Piece, Prepared, Protocol,
    ProtocolError, Role,
};
use tautline_fuzz::{Input, Pieces};

use crate::driver::{End, Pipe};

/// The driver of the tests.
#[path = "../../crates/tautline-frame/tests/session/driver.rs"]
mod driver;

const LONGEST_INPUT: usize = 4 << 10;
/// Longer than a fragment, now and then; usually shorter.
const LONGEST_PIECE: usize = 70_000;
const USUAL_PIECE: usize = 2000;
/// In each direction: less than is kept while a task waits.
const MOST: usize = 200_000;
const CAPACITIES: [usize; 4] = [1 << 20, 1000, 20_000, 100];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(&data[..data.len().min(LONGEST_INPUT)]);
    let flags = input.byte();
    if flags & 1 != 0 {
        return compare(flags, input);
    }
    let mut conversation = Conversation::new(flags, &mut input);
    while !input.is_empty() {
        conversation.operate(&mut input);
    }
    conversation.finish();
});

fn compression(flags: u8) -> Option<Compression> {
    let takeover = flags & 4 != 0;
    let settings =
        Compression::new().own_context_takeover(takeover).peer_context_takeover(takeover);
    (flags & 2 != 0).then(|| settings.threshold(16))
}

/// Two sessions. Flags: 2: compression; 4: with context takeover; 8: fragments; 16, 32: how much
/// the pipes hold. A message in pieces may end an operation half-written.
struct Conversation {
    now: Instant,
    sides: [Side; 2],
    pipes: [Pipe; 2],
    /// A message was given up, or the transport cut: what was sent may not arrive.
    disturbed: bool,
}

struct Side {
    end: End,
    sent: Vec<Sent>,
    writing: bool,
    /// How many of the other's messages were read or skipped.
    taken: usize,
    /// What was read of the next one.
    reading: Option<Vec<u8>>,
    over: bool,
    total: usize,
}

struct Sent {
    kind: Kind,
    data: Vec<u8>,
    finished: bool,
}

impl Conversation {
    fn new(flags: u8, input: &mut Input<'_>) -> Self {
        let now = Instant::now();
        let config = Config::new().write_mark(4096);
        let config = if flags & 8 != 0 { config.fragment_size(1024) } else { config };
        let side = |role| {
            let mut session = Session::new(role, config.clone(), BytesMut::new(), now);
            if let Some(settings) = compression(flags) {
                session.set_compression(settings);
            }
            Side {
                end: End { session, turns: 0 },
                sent: Vec::new(),
                writing: false,
                taken: 0,
                reading: None,
                over: false,
                total: 0,
            }
        };
        let capacity = CAPACITIES[usize::from(flags >> 4 & 3)] + usize::from(input.byte());
        let pipe = || Pipe::new(capacity);
        let sides = [side(Role::Client), side(Role::Server)];
        Self { now, sides, pipes: [pipe(), pipe()], disturbed: false }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.byte();
        let who = usize::from(operation >> 7);
        let wish = [Compress::Auto, Compress::Always, Compress::Never, Compress::Auto]
            [usize::from(operation & 3)];
        match operation & 0x7F {
            0..=11 => self.sides[who].send(wish, operation & 8 != 0, input),
            12..=19 => self.sides[who].begin(wish, operation & 4 != 0),
            20..=47 => self.sides[who].write(operation & 4 != 0, input),
            48..=51 => self.sides[who].end.session.flush_message(),
            52..=63 => self.sides[who].finish(),
            64..=71 => drop(self.wake(who, Session::poll_flush)),
            72..=79 => self.read_whole(who),
            80..=87 => self.start(who),
            88..=99 => self.piece(who),
            100..=103 => {
                self.sides[who].end.session.skip_message();
                self.sides[who].skipped();
            }
            104..=111 => self.ping(who, operation & 4 != 0),
            112 => {
                let frame = CloseFrame::from(CloseCode::NORMAL);
                self.sides[who].end.session.close(frame, self.now).expect("a valid code");
            }
            113 => self.abort(who),
            114 => {
                let pipe = &mut self.pipes[who];
                pipe.bytes.truncate(usize::from(input.pair()));
                pipe.ended = true;
                self.disturbed = true;
            }
            _ => self.exchange(),
        }
    }

    fn wake<T>(
        &mut self,
        who: usize,
        wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Option<T> {
        let [up, down] = &mut self.pipes;
        let (input, output) = if who == 0 { (down, up) } else { (up, down) };
        // Behind a cut nothing arrives.
        let ended = output.ended;
        let before = output.bytes.len();
        let given = self.sides[who].end.wake(input, output, self.now, wanted);
        if ended {
            output.bytes.truncate(before);
        }
        given
    }

    fn read_whole(&mut self, who: usize) {
        self.sides[who].skipped();
        let now = self.now;
        match self.wake(who, |session| session.poll_message(|| now)) {
            Some(Some(Ok(message))) => {
                let sent = self.next_of(who).expect("nobody sent it");
                assert!(sent.finished, "half a message");
                assert!(sent.kind == message.kind() && sent.data == message.as_bytes());
                self.sides[who].taken += 1;
            }
            Some(Some(Err(error))) => self.ended(who, &error),
            Some(None) => self.sides[who].over = true,
            None => {}
        }
    }

    fn start(&mut self, who: usize) {
        self.sides[who].skipped();
        let now = self.now;
        match self.wake(who, |session| session.poll_start(|| now)) {
            Some(Some(Ok(kind))) => {
                assert_eq!(self.next_of(who).expect("nobody sent it").kind, kind);
                self.sides[who].reading = Some(Vec::new());
            }
            Some(Some(Err(error))) => self.ended(who, &error),
            Some(None) => self.sides[who].over = true,
            None => {}
        }
    }

    fn piece(&mut self, who: usize) {
        let Some(mut read) = self.sides[who].reading.take() else { return };
        let now = self.now;
        let given = self.wake(who, |session| session.poll_piece(|| now));
        let sent = self.next_of(who).expect("it has begun");
        match given {
            Some(Ok(Some(piece))) => {
                assert!(!piece.is_empty());
                read.extend_from_slice(&piece);
                assert!(sent.data.starts_with(&read), "in order, equal");
            }
            Some(Ok(None)) => {
                assert!(sent.finished && sent.data == read, "all of it");
                self.sides[who].taken += 1;
                return;
            }
            Some(Err(error)) => {
                assert!(self.disturbed || !sent.finished, "{error}");
                self.ended(who, &error);
                return;
            }
            None => {}
        }
        self.sides[who].reading = Some(read);
    }

    /// Waits for a pong while the other end reads, for a while.
    fn ping(&mut self, who: usize, same: bool) {
        let listener = if same { Listener::Same } else { Listener::Other };
        let Ok(id) = self.sides[who].end.session.ping() else { return };
        let now = self.now;
        for _ in 0..4 {
            if let Some(answer) = self.wake(who, |it| it.poll_pong(id, listener, || now)) {
                if let Err(error) = answer {
                    self.ended(who, &error);
                    self.sides[who].over = false;
                }
                return;
            }
            let _ = self.wake(1 - who, |it| it.poll_pong(u64::MAX, Listener::Other, || now));
        }
    }

    fn abort(&mut self, who: usize) {
        let side = &mut self.sides[who];
        let open = side.end.session.protocol().is_open();
        side.end.session.abort_message(self.now);
        if std::mem::take(&mut side.writing) {
            if side.sent.last().is_some_and(|sent| sent.data.is_empty()) {
                assert_eq!(side.end.session.protocol().is_open(), open, "nothing was written");
                side.sent.pop();
            } else {
                assert!(!side.end.session.protocol().is_open());
                self.disturbed = true;
            }
        }
    }

    fn ended(&mut self, who: usize, error: &Error) {
        self.sides[who].over = true;
        let known = matches!(error, Error::Closed | Error::Unfinished);
        assert!(self.disturbed || known, "{error:?} without a reason");
    }

    fn next_of(&self, who: usize) -> Option<&Sent> {
        self.sides[1 - who].sent.get(self.sides[who].taken)
    }

    fn exchange(&mut self) {
        for who in [0, 1] {
            let _ = self.wake(who, Session::poll_flush);
            match (self.sides[who].reading.is_some(), self.sides[who].taken % 2) {
                (true, _) => self.piece(who),
                (false, 0) => self.start(who),
                (false, _) => self.read_whole(who),
            }
        }
    }

    /// Everything that is under way arrives.
    fn finish(mut self) {
        let mut idle = 0;
        while idle < 10 {
            let before = self.position();
            for side in &mut self.sides {
                if side.end.session.protocol().is_open() {
                    side.finish();
                }
            }
            self.exchange();
            idle = if self.position() == before { idle + 1 } else { 0 };
        }
        for who in [0, 1] {
            let whole = self.sides[1 - who].sent.iter().take_while(|sent| sent.finished).count();
            // One that was not finished may have been skipped.
            assert!(self.disturbed || self.sides[who].taken >= whole, "it waits for ever");
        }
    }

    fn position(&mut self) -> [usize; 10] {
        let [up, down] = [self.pipes[0].bytes.len(), self.pipes[1].bytes.len()];
        let [[a, b, c, d], [e, f, g, h]] = [0, 1].map(|who| {
            let side = &mut self.sides[who];
            let read = side.reading.as_ref().map_or(0, |read| 1 + read.len());
            [side.taken, read, side.end.session.protocol().queued(), side.end.turns]
        });
        [up, down, a, b, c, d, e, f, g, h]
    }
}

impl Side {
    fn skipped(&mut self) {
        if self.reading.take().is_some() {
            self.taken += 1;
        }
    }

    fn data(&mut self, kind: Kind, at: usize, input: &mut Input<'_>) -> Vec<u8> {
        let (len, seed) = (usize::from(input.pair()), usize::from(input.byte()));
        let len = len % if seed % 16 == 15 { LONGEST_PIECE } else { USUAL_PIECE };
        let len = len.min(MOST - self.total);
        self.total += len;
        match kind {
            Kind::Text => (at..at + len).map(letter).collect(),
            // Some that can be compressed, and some that cannot.
            Kind::Binary if seed % 2 == 0 => (at..at + len).map(|i| (i / 7 + seed) as u8).collect(),
            Kind::Binary => (at..at + len)
                .map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect(),
        }
    }

    fn send(&mut self, wish: Compress, prepared: bool, input: &mut Input<'_>) {
        let kind = if input.byte() & 1 == 0 { Kind::Text } else { Kind::Binary };
        let open = self.end.session.protocol().is_open();
        if open && !self.end.session.has_room() && !self.writing {
            return;
        }
        let mut data = self.data(kind, 0, input);
        if kind == Kind::Text {
            complete(&mut data);
        }
        let message = kind.message(data.clone()).expect("valid text");
        let result = match prepared {
            true => self.end.session.send_prepared(&Prepared::new(message).compress(wish)),
            false => self.end.session.send(message, wish),
        };
        assert_eq!(result.is_ok(), open && !self.writing);
        if result.is_ok() {
            self.sent.push(Sent { kind, data, finished: true });
        }
    }

    fn begin(&mut self, wish: Compress, text: bool) {
        let kind = if text { Kind::Text } else { Kind::Binary };
        let ready = self.end.session.has_room();
        if !ready && !self.writing {
            return;
        }
        if self.end.session.begin_message(kind, wish).is_ok() {
            assert!(!self.writing);
            self.writing = true;
            self.sent.push(Sent { kind, data: Vec::new(), finished: false });
        }
    }

    fn write(&mut self, owned: bool, input: &mut Input<'_>) {
        if !self.writing || !self.is_writable() {
            return;
        }
        let Some(kind) = self.sent.last().map(|sent| sent.kind) else { return };
        let at = self.sent.last().map_or(0, |sent| sent.data.len());
        if kind == Kind::Text && at % 11 == 10 {
            assert!(self.end.session.write_message(b"\xFF").is_err());
        }
        let data = self.data(kind, at, input);
        match owned {
            true => self.end.session.write_message_bytes(Bytes::from(data.clone())),
            false => self.end.session.write_message(&data),
        }
        .expect("there is room, and the text is valid");
        let sent = self.sent.last_mut().expect("it is the newest");
        sent.data.extend(data);
    }

    fn is_writable(&self) -> bool {
        matches!(self.end.session.poll_writable(), Progress::Done(Ok(())))
    }

    fn finish(&mut self) {
        if !self.writing || !self.is_writable() {
            return;
        }
        let sent = self.sent.last_mut().expect("it is the newest");
        if sent.kind == Kind::Text && std::str::from_utf8(&sent.data).is_err() {
            assert!(matches!(self.end.session.finish_message(), Err(Error::Utf8)));
            let at = sent.data.len();
            complete(&mut sent.data);
            self.end.session.write_message(&sent.data[at..]).expect("the rest of a character");
        }
        self.end.session.finish_message().expect("it is open");
        sent.finished = true;
        self.writing = false;
    }
}

/// A text of letters of one to four bytes.
fn letter(position: usize) -> u8 {
    const LETTERS: &[u8] = "aé€😀b".as_bytes();
    LETTERS[position % LETTERS.len()]
}

/// Up to the end of a character.
fn complete(text: &mut Vec<u8>) {
    while std::str::from_utf8(text).is_err() {
        text.push(letter(text.len()));
    }
}

/// Bytes of a peer. Flags: 2 and 4 as above; 8: to a client, or else to a server. Then two bytes:
/// how they are cut.
fn compare(flags: u8, mut input: Input<'_>) {
    let seed = input.pair();
    let stream = input.rest();
    let whole = run(flags, std::iter::once(stream), |_| false, None);
    use ProtocolError::{FrameTooLong, MessageTooLong, TooManyFragments};
    if matches!(
        whole.1,
        Some(FrameTooLong { .. } | MessageTooLong { .. } | TooManyFragments { .. })
    ) {
        // There are no limits for those in pieces.
        return;
    }
    let once = || std::iter::once(stream);
    assert_eq!(whole, run(flags, once(), |_| true, Some(&whole.0)));
    assert_eq!(whole, run(flags, Pieces::new(stream, seed), |_| true, Some(&whole.0)));
    assert_eq!(whole, run(flags, Pieces::new(stream, 0), |_| true, Some(&whole.0)));
    let mixed = |step: usize| (step.wrapping_mul(usize::from(seed | 1)) >> 3) & 1 == 0;
    let (_, error, close) = run(flags, Pieces::new(stream, seed), mixed, Some(&whole.0));
    assert_eq!((error, close), (whole.1, whole.2));
}

type Outcome = (Vec<Message>, Option<ProtocolError>, Option<CloseFrame>);

enum Received {
    Message(Message),
    Piece(Piece),
}

/// The messages, by one method or the other at each step. Those that should come are known if they
/// are to be compared as they do: some may be skipped then.
fn run<'a>(
    flags: u8,
    arriving: impl Iterator<Item = &'a [u8]>,
    in_pieces: impl Fn(usize) -> bool,
    expected: Option<&[Message]>,
) -> Outcome {
    let role = if flags & 8 != 0 { Role::Client } else { Role::Server };
    let now = Instant::now();
    let mut protocol = Protocol::new(role, Config::new(), now);
    if let Some(settings) = compression(flags) {
        protocol.set_compression(settings);
    }
    let mut buffer = BytesMut::new();
    let (mut messages, mut error, mut partial) = (Vec::new(), None, None);
    let (mut index, mut step) = (0, 0);
    for bytes in arriving {
        buffer.extend_from_slice(bytes);
        loop {
            step += 1;
            let received = if in_pieces(step) {
                protocol.handle_pieces(&mut buffer, now).map(|piece| piece.map(Received::Piece))
            } else {
                // The rest of a message that was begun in pieces is skipped.
                index += usize::from(partial.take().is_some());
                protocol.handle_data(&mut buffer, now).map(|whole| whole.map(Received::Message))
            };
            match received {
                Ok(Some(Received::Message(message))) => messages.push(message),
                Ok(Some(Received::Piece(Piece::Start(kind)))) => {
                    assert!(partial.is_none());
                    partial = Some((kind, Vec::new()));
                    continue;
                }
                Ok(Some(Received::Piece(Piece::Data(data)))) => {
                    let (_, all) = partial.as_mut().expect("it has begun");
                    assert!(!data.is_empty());
                    all.extend_from_slice(&data);
                    continue;
                }
                Ok(Some(Received::Piece(Piece::End))) => {
                    let (kind, all): (Kind, Vec<u8>) = partial.take().expect("it has begun");
                    messages.push(kind.message(all).expect("valid text"));
                }
                Ok(None) if protocol.is_turn_over() => {
                    protocol.begin_turn();
                    continue;
                }
                Ok(None) => break,
                Err(failed) => {
                    assert_eq!(error, None, "a connection fails once");
                    error = Some(failed);
                    continue;
                }
            }
            assert!(expected.is_none_or(|all| all.get(index) == messages.last()));
            index += 1;
        }
    }
    protocol.poll_transmit();
    (messages, error, protocol.peer_close().cloned())
}
