//! A client and a server, a wire between them, and a clock: whatever happens in whatever order,
//! messages arrive whole and in order, nothing but pongs follows a Close, queues are bounded,
//! deadlines lie ahead, and every failure has its Close.
//!
//! Input: flags (see `config`), then operations of a byte each with their arguments: see
//! `Conversation::operate`.
#![no_main]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use tautline_frame::{CloseCode, CloseFrame, Config, Message, Protocol, Role, Timeout};
use tautline_fuzz::Input;
use tautline_wire::read_frame;

const WRITE_MARK: usize = 2048;
const LONGEST_MESSAGE: usize = 9000;
/// The longest header, and three control frames: pong, ping, Close.
const CONTROL_AND_HEADERS: usize = 14 * 12 + 3 * 131;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut conversation = Conversation::new(input.byte());
    while !input.is_empty() {
        conversation.operate(&mut input);
    }
    conversation.finish();
});

struct Conversation {
    now: Instant,
    ends: [End; 2],
    /// Whether the wire did what a wire must not, or the clock struck: then messages may be lost.
    disturbed: bool,
}

struct End {
    role: Role,
    protocol: Protocol,
    /// What this end wrote and the other has not received.
    wire: Vec<u8>,
    buffer: BytesMut,
    /// Messages sent that the other end has not delivered.
    sent: VecDeque<Message>,
    /// What was written and is no whole frame yet, to watch the order of frames.
    tapped: Vec<u8>,
    closed: bool,
    /// Whether a Close with a code of its own was due before any failure.
    closing: bool,
    failed: bool,
    eof: bool,
    broken: bool,
}

fn config(flags: u8) -> Config {
    let config = Config::new()
        .write_mark(WRITE_MARK)
        .max_message_size(LONGEST_MESSAGE)
        .ping_interval(Duration::from_secs(7))
        .ping_timeout(Duration::from_secs(5))
        .close_timeout(Duration::from_secs(3))
        .send_timeout(Duration::from_secs(11));
    let config = if flags & 1 != 0 { config.fragment_size(1024) } else { config };
    if flags & 2 != 0 { config.ping_interval(None) } else { config }
}

impl Conversation {
    fn new(flags: u8) -> Self {
        let now = Instant::now();
        let end = |role| End {
            role,
            protocol: Protocol::new(role, config(flags), now),
            wire: Vec::new(),
            buffer: BytesMut::new(),
            sent: VecDeque::new(),
            tapped: Vec::new(),
            closed: false,
            closing: false,
            failed: false,
            eof: false,
            broken: false,
        };
        Self { now, ends: [end(Role::Client), end(Role::Server)], disturbed: false }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.byte();
        let who = usize::from(operation >> 7);
        match operation & 0x7F {
            0..=19 => self.ends[who].send(text(input)),
            20..=34 => self.ends[who].send(binary(input)),
            35..=44 => {
                let open = self.ends[who].protocol.is_open();
                assert_eq!(self.ends[who].protocol.ping().is_ok(), open);
            }
            45..=47 => self.close(who, input.byte()),
            48..=69 => self.ends[who].write(usize::from(input.pair()), self.now),
            70..=89 => {
                let count = usize::from(input.pair());
                self.deliver(1 - who, count);
            }
            90..=104 => self.wait(Duration::from_millis(u64::from(input.pair()))),
            105..=109 => self.ends[who].blocked(self.now),
            110..=112 => self.corrupt(who, input),
            113 => self.end_stream(who),
            114 => self.break_writing(who),
            _ => {
                self.ends[who].write(usize::MAX, self.now);
                self.deliver(1 - who, usize::MAX);
            }
        }
        for end in &mut self.ends {
            end.check();
        }
    }

    fn close(&mut self, who: usize, choice: u8) {
        let frame = match choice % 4 {
            0 => CloseFrame::empty(),
            1 => CloseFrame::from(CloseCode::GOING_AWAY),
            2 => CloseFrame::new(CloseCode::NORMAL, "bye").expect("valid"),
            _ => CloseFrame::new(CloseCode::NORMAL, "r".repeat(123)).expect("valid"),
        };
        assert_eq!(self.ends[who].protocol.close(frame, self.now), Ok(()));
        self.ends[who].closing = true;
        assert!(!self.ends[who].protocol.is_open());
    }

    /// Bytes from the wire to the end `to`.
    fn deliver(&mut self, to: usize, count: usize) {
        let (left, right) = self.ends.split_at_mut(1);
        let (sender, receiver) = match to {
            0 => (&mut right[0], &mut left[0]),
            _ => (&mut left[0], &mut right[0]),
        };
        if receiver.eof {
            return;
        }
        let count = count.min(sender.wire.len());
        if count > 0 {
            receiver.protocol.handle_received(self.now);
        }
        receiver.buffer.extend_from_slice(&sender.wire[..count]);
        sender.wire.drain(..count);
        loop {
            match receiver.protocol.handle_data(&mut receiver.buffer, self.now) {
                Ok(Some(message)) => {
                    assert!(!receiver.failed, "nothing is delivered after a failure");
                    let sent = sender.sent.pop_front();
                    assert!(self.disturbed || sent == Some(message), "whole, in order, equal");
                }
                Ok(None) if receiver.protocol.is_turn_over() => receiver.protocol.begin_turn(),
                Ok(None) => break,
                Err(error) => {
                    assert!(self.disturbed, "{error} without a reason");
                    assert!(!receiver.failed, "a connection fails once");
                    receiver.failed = true;
                    let closed_before = receiver.protocol.sent_close();
                    let closing = receiver.closing;
                    let written = closed_before.is_some() || receiver.broken;
                    assert!(receiver.protocol.poll_transmit() || written);
                    let code = receiver.protocol.sent_close();
                    assert!(code == Some(error.close_code()) || closing, "{error}: {code:?}");
                }
            }
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        for end in &mut self.ends {
            let Some(deadline) = end.protocol.poll_timeout() else { continue };
            let due = deadline <= self.now;
            let result = end.protocol.handle_timeout(self.now);
            if result.is_err() {
                assert!(due && !end.protocol.is_open());
                end.closing = true;
                self.disturbed = true;
            }
            // What the peer sent before is still read, but nothing more is written.
            end.broken |= result == Err(Timeout::Send);
            assert!(end.protocol.poll_timeout().is_none_or(|next| next > self.now));
        }
    }

    fn corrupt(&mut self, who: usize, input: &mut Input<'_>) {
        let (position, bits) = (usize::from(input.pair()), input.byte());
        let wire = &mut self.ends[who].wire;
        if !wire.is_empty() && bits != 0 {
            let position = position % wire.len();
            wire[position] ^= bits;
            self.disturbed = true;
        }
    }

    /// The stream to the end `to` ends, after what is on the wire or before it.
    fn end_stream(&mut self, to: usize) {
        let end = &mut self.ends[to];
        if end.eof {
            return;
        }
        let in_order = end.protocol.handle_eof(self.now);
        let heard = end.protocol.peer_close().is_some();
        assert!(heard || !in_order || end.failed || end.closing);
        assert!(!end.protocol.is_open());
        end.eof = true;
        self.disturbed = true;
    }

    /// The transport takes nothing of this end any more.
    fn break_writing(&mut self, who: usize) {
        let end = &mut self.ends[who];
        end.protocol.handle_broken(self.now);
        assert!(!end.protocol.is_open() && end.protocol.is_flushed());
        end.broken = true;
        end.closing = true;
        self.disturbed = true;
    }

    /// Everything that is under way arrives.
    fn finish(mut self) {
        for _ in 0..64 {
            for who in [0, 1] {
                self.ends[who].write(usize::MAX, self.now);
                self.deliver(1 - who, usize::MAX);
                self.ends[who].check();
            }
        }
        let [client, server] = &self.ends;
        for end in [client, server] {
            assert!(end.protocol.is_flushed() && (end.broken || end.tapped.is_empty()));
        }
        if !self.disturbed {
            assert!(client.sent.is_empty() && server.sent.is_empty(), "every message arrived");
            let open = client.protocol.is_open();
            assert_eq!(open, server.protocol.is_open());
            assert_eq!(client.protocol.poll_ending().is_none(), open);
            assert_eq!(server.protocol.poll_ending().is_none(), open);
            assert_eq!(client.protocol.peer_close().is_none(), open);
            let codes = [client, server].map(|end| end.protocol.sent_close());
            let heard = [server, client].map(|end| end.protocol.peer_close().map(CloseFrame::code));
            assert_eq!(codes, heard);
        }
    }
}

impl End {
    fn send(&mut self, message: Message) {
        let open = self.protocol.is_open();
        if open && !self.protocol.ready() {
            return;
        }
        let sent = self.protocol.send(message.clone());
        assert_eq!(sent.is_ok(), open, "exactly while it is open");
        if open {
            self.sent.push_back(message);
        }
    }

    /// The transport takes up to `count` bytes.
    fn write(&mut self, count: usize, now: Instant) {
        let mut count = count;
        while self.protocol.poll_transmit() && count > 0 {
            let queue = self.protocol.queue();
            let step = count.min(queue.remaining());
            assert!(!self.broken, "nobody would write it");
            let bytes = queue.copy_to_bytes(step);
            self.protocol.handle_written(now);
            self.wire.extend_from_slice(&bytes);
            self.tapped.extend_from_slice(&bytes);
            count -= step;
        }
        while let Some((frame, len)) = read_frame(&self.tapped) {
            assert!(!self.closed || frame.opcode() == 0xA, "only pongs follow a Close");
            assert!(frame.minimal && frame.masked() == (self.role == Role::Client));
            self.closed = frame.opcode() == 0x8;
            self.tapped.drain(..len);
        }
    }

    fn blocked(&mut self, now: Instant) {
        if self.protocol.poll_transmit() {
            self.protocol.handle_blocked(now);
            assert!(self.protocol.poll_timeout().is_some());
        }
    }

    fn check(&mut self) {
        let queued = self.protocol.queue().remaining();
        assert!(
            queued <= WRITE_MARK + LONGEST_MESSAGE + CONTROL_AND_HEADERS,
            "{queued} bytes queued"
        );
        if self.protocol.poll_ending().is_some() {
            assert!(!self.protocol.is_open());
        }
    }
}

fn text(input: &mut Input<'_>) -> Message {
    let len = usize::from(input.pair()) % (LONGEST_MESSAGE / 3);
    let letters = ['a', 'é', '€', 'z'];
    Message::from((0..len).map(|i| letters[i * 7 % 4]).collect::<String>())
}

fn binary(input: &mut Input<'_>) -> Message {
    let len = usize::from(input.pair()) % (LONGEST_MESSAGE + 1);
    Message::from((0..len).map(|i| (i * 31) as u8).collect::<Vec<u8>>())
}
