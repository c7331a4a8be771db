//! A client and a server that have agreed on compression, a wire between them, and a clock:
//! whatever is sent with whatever wish, cut and fragmented in whatever way, arrives equal and in
//! order; and a decoder with exactly the window that was agreed on reads every compressed message
//! (RFC 7692 sections 6 and 7).
//!
//! Input: flags (1, 2: fragments), a byte for each end's compressor, twice (see `compressor`), then
//! operations of a byte each with their arguments: see `Conversation::operate`.
#![no_main]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use tautline_frame::{
    CloseCode, CloseFrame, Compress, Compression, Config, Message, Protocol, Role,
};
use tautline_fuzz::Input;
use tautline_wire::read_frame;

/// The slow decoder of the tests.
#[path = "../../crates/tautline-frame/tests/protocol/inflate.rs"]
mod book;

const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
const LONGEST_INPUT: usize = 512;
/// Beyond the largest window; most messages are shorter, lest inputs take too long.
const LONGEST_MESSAGE: usize = 45_000;
const USUAL_MESSAGE: usize = 3000;
/// In each direction, for the same reason.
const MOST: usize = 80_000;
const IDLE: Duration = Duration::from_secs(10);
const FOREVER: Duration = Duration::from_secs(1 << 30);
const THRESHOLD: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(&data[..data.len().min(LONGEST_INPUT)]);
    let mut conversation = Conversation::new(&mut input);
    while !input.is_empty() {
        conversation.operate(&mut input);
    }
    conversation.finish();
});

struct Conversation {
    now: Instant,
    ends: [End; 2],
}

struct End {
    role: Role,
    protocol: Protocol,
    compression: Compression,
    /// What this end wrote and the other has not received.
    wire: Vec<u8>,
    buffer: BytesMut,
    /// Messages sent that the other end has not delivered.
    sent: VecDeque<Message>,
    /// Messages sent that did not come by whole in `tapped`.
    unseen: VecDeque<(Message, Compress)>,
    /// What was written and is no whole frame yet.
    tapped: Vec<u8>,
    /// The frames of a message so far: whether it is compressed, and its payload.
    partial: Option<(bool, Vec<u8>)>,
    /// With context takeover: all compressed messages, as one stream, and what they say.
    stream: Vec<u8>,
    content: Vec<u8>,
    /// How much was sent, and the newest of it.
    total: usize,
    newest: Vec<u8>,
}

/// Of one end's compressor: 1: context takeover; from 2 on: window bits from 9; from 16 on: the
/// level.
fn compressor(choice: u8) -> Compression {
    Compression::new()
        .own_context_takeover(choice & 1 != 0)
        .own_window_bits(9 + (choice >> 1) % 8)
        .level(1 + (choice >> 4) % 9)
        .threshold(THRESHOLD)
        .idle_timeout(IDLE)
}

/// The other end's settings, seen from here.
fn facing(own: Compression, peer: &Compression) -> Compression {
    own.peer_context_takeover(peer.get_own_context_takeover())
        .peer_window_bits(peer.get_own_window_bits())
}

impl Conversation {
    fn new(input: &mut Input<'_>) -> Self {
        let flags = input.byte();
        let [client, server] = [compressor(input.byte()), compressor(input.byte())];
        let now = Instant::now();
        let end = |role, compression, fragments| {
            // A peer is never given up: the one deadline that passes is that of an idle compressor.
            let config = Config::new()
                .ping_interval(None)
                .ping_timeout(FOREVER)
                .close_timeout(FOREVER)
                .message_timeout(FOREVER)
                .write_mark(4096);
            let config = if fragments { config.fragment_size(1000) } else { config };
            let mut protocol = Protocol::new(role, config, now);
            protocol.set_compression(compression);
            End {
                role,
                protocol,
                compression,
                wire: Vec::new(),
                buffer: BytesMut::new(),
                sent: VecDeque::new(),
                unseen: VecDeque::new(),
                tapped: Vec::new(),
                partial: None,
                stream: Vec::new(),
                content: Vec::new(),
                total: 0,
                newest: Vec::new(),
            }
        };
        let client_end = end(Role::Client, facing(client, &server), flags & 1 != 0);
        let server_end = end(Role::Server, facing(server, &client), flags & 2 != 0);
        Self { now, ends: [client_end, server_end] }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.byte();
        let who = usize::from(operation >> 7);
        let wish = [Compress::Auto, Compress::Auto, Compress::Always, Compress::Never]
            [usize::from(operation & 3)];
        match operation & 0x7F {
            0..=59 => {
                let message = self.ends[who].message(operation >> 2 & 0xF, input);
                self.ends[who].send(message, wish);
            }
            60..=67 => {
                let open = self.ends[who].protocol.is_open();
                assert_eq!(self.ends[who].protocol.ping().is_ok(), open);
            }
            68..=79 => self.ends[who].write(usize::from(input.pair()), self.now),
            80..=91 => {
                let count = usize::from(input.pair());
                self.deliver(1 - who, count);
            }
            92..=99 => self.wait(Duration::from_millis(u64::from(input.byte()) * 100)),
            100 => self.close(who),
            _ => {
                self.ends[who].write(usize::MAX, self.now);
                self.deliver(1 - who, usize::MAX);
            }
        }
    }

    fn close(&mut self, who: usize) {
        let frame = CloseFrame::from(CloseCode::NORMAL);
        assert_eq!(self.ends[who].protocol.close(frame, self.now), Ok(()));
    }

    /// Bytes from the wire to the end `to`.
    fn deliver(&mut self, to: usize, count: usize) {
        let (left, right) = self.ends.split_at_mut(1);
        let (sender, receiver) = match to {
            0 => (&mut right[0], &mut left[0]),
            _ => (&mut left[0], &mut right[0]),
        };
        let count = count.min(sender.wire.len());
        receiver.buffer.extend_from_slice(&sender.wire[..count]);
        sender.wire.drain(..count);
        let End { protocol, buffer, .. } = receiver;
        loop {
            match protocol.handle_data(buffer, self.now).expect("all is in order") {
                Some(message) => {
                    assert!(sender.sent.pop_front() == Some(message), "whole, in order, equal");
                }
                None if protocol.is_turn_over() => protocol.begin_turn(),
                None => break,
            }
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        for end in &mut self.ends {
            assert_eq!(end.protocol.handle_timeout(self.now), Ok(()));
            let deadline = end.protocol.poll_timeout();
            assert!(deadline.is_none_or(|next| next > self.now));
        }
    }

    /// Everything that is under way arrives.
    fn finish(mut self) {
        for _ in 0..1000 {
            for who in [0, 1] {
                self.ends[who].write(usize::MAX, self.now);
                self.deliver(1 - who, usize::MAX);
            }
            if self.ends.iter().all(|end| end.sent.is_empty() && end.protocol.is_flushed()) {
                break;
            }
        }
        for end in &self.ends {
            assert!(end.sent.is_empty() && end.unseen.is_empty(), "every message arrived");
            assert!(end.tapped.is_empty() && end.partial.is_none());
            let window = 1 << end.compression.get_own_window_bits();
            let content = book::inflate(&end.stream, window);
            assert!(content.as_ref() == Some(&end.content), "within the window, all can be read");
        }
    }
}

impl End {
    fn send(&mut self, message: Message, wish: Compress) {
        let open = self.protocol.is_open();
        if self.total > MOST || open && !self.protocol.ready() {
            return;
        }
        let sent = self.protocol.send_with(message.clone(), wish);
        assert_eq!(sent.is_ok(), open, "exactly while it is open");
        if open {
            self.total += message.len();
            self.sent.push_back(message.clone());
            self.unseen.push_back((message, wish));
        }
    }

    /// The transport takes up to `count` bytes.
    fn write(&mut self, count: usize, now: Instant) {
        let mut count = count;
        while self.protocol.poll_transmit() && count > 0 {
            let queue = self.protocol.queue();
            let step = count.min(queue.remaining());
            let bytes = queue.copy_to_bytes(step);
            self.protocol.handle_written(now);
            self.wire.extend_from_slice(&bytes);
            self.tapped.extend_from_slice(&bytes);
            count -= step;
        }
        while let Some((frame, len)) = read_frame(&self.tapped) {
            assert!(frame.minimal && frame.masked() == (self.role == Role::Client));
            self.tapped.drain(..len);
            let rsv1 = frame.first & 0x40 != 0;
            assert!(frame.first & 0x30 == 0);
            match (frame.opcode(), &mut self.partial) {
                (0x8.., _) => assert!(!rsv1, "control frames are never compressed"),
                (0, Some((_, payload))) => {
                    assert!(!rsv1, "it stands on the first frame alone");
                    payload.extend_from_slice(&frame.payload);
                }
                (0, None) | (_, Some(_)) => panic!("fragments out of order"),
                (_, none) => *none = Some((rsv1, frame.payload.clone())),
            }
            if frame.opcode() < 0x8 && frame.fin() {
                self.seen();
            }
        }
    }

    /// A message has come by whole.
    fn seen(&mut self) {
        let (compressed, mut payload) = self.partial.take().expect("it is at its end");
        let (message, wish) = self.unseen.pop_front().expect("it was sent");
        let data = message.into_bytes();
        match wish {
            Compress::Never => assert!(!compressed),
            Compress::Always => assert!(compressed),
            Compress::Auto if compressed => {
                // With a context, one that does not shrink goes in a block that is not compressed.
                let kept = self.compression.get_own_context_takeover();
                let most = if kept { data.len() + 6 } else { data.len() - 1 };
                assert!(data.len() >= THRESHOLD && payload.len() <= most);
            }
            Compress::Auto => {}
        }
        if !compressed {
            assert!(payload == data);
            return;
        }
        payload.extend(TAIL);
        if self.compression.get_own_context_takeover() {
            self.stream.extend(payload);
            self.content.extend_from_slice(&data);
        } else {
            let window = 1 << self.compression.get_own_window_bits();
            assert!(book::inflate(&payload, window).as_deref() == Some(&data[..]));
        }
    }

    /// Text or binary data of some kind and length.
    fn message(&mut self, kind: u8, input: &mut Input<'_>) -> Message {
        let (len, seed) = (usize::from(input.pair()), input.byte());
        let len = len % if seed % 8 == 0 { LONGEST_MESSAGE } else { USUAL_MESSAGE };
        let data = match kind % 5 {
            0 => vec![b'a' + seed % 26; len],
            1 => words(seed, len),
            2 => noise(seed, len),
            // What was sent before, from somewhere on: a reference, perhaps one that reaches too
            // far.
            3 => self.newest.iter().rev().take(len).rev().copied().collect(),
            _ => [noise(seed, len / 2), words(seed, len / 2)].concat(),
        };
        self.newest.extend_from_slice(&data);
        self.newest.drain(..self.newest.len().saturating_sub(LONGEST_MESSAGE));
        match String::from_utf8(data) {
            Ok(text) if kind >= 5 => Message::from(text),
            Ok(text) => Message::from(text.into_bytes()),
            Err(binary) => Message::from(binary.into_bytes()),
        }
    }
}

fn numbers(seed: u8) -> impl FnMut() -> u32 {
    let mut state = u32::from(seed) * 2_654_435 + 1;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state >> 8
    }
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut next = numbers(seed);
    (0..len).map(|_| next() as u8).collect()
}

fn words(seed: u8, len: usize) -> Vec<u8> {
    let mut next = numbers(seed);
    let mut text = String::new();
    while text.len() < len {
        text += ["price ", "größe ", "bid ", "ask ", "時間 ", "{\"x\":"][next() as usize % 6];
        text += &(next() % 1000).to_string();
    }
    text.into_bytes()
}
