//! Compressed messages of a peer that sends anything (RFC 7692 section 7.2.2): whatever the cuts,
//! exactly those messages are delivered that zlib, given each as a whole, can read, up to the first
//! that it cannot, that is too long, or that is text and not UTF-8. What is delivered is also what
//! a decoder by the book makes of it.
//!
//! Input: settings (1: server; 2: context takeover; 4, 8: the limit; from 16 on: window bits from
//! 8), two bytes for the cuts, then messages: see `Script::message`.
#![no_main]

use std::time::Instant;

use bytes::BytesMut;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use tautline_frame::{Compression, Config, Message, Protocol, ProtocolError, Role};
use tautline_fuzz::{Input, Pieces};

/// The slow decoder of the tests.
#[path = "../../crates/tautline-frame/tests/protocol/inflate.rs"]
mod book;

const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];
const LARGEST_WINDOW: usize = 1 << 15;
const LIMITS: [usize; 4] = [0, 100, 5000, 70_000];
const LONGEST: usize = 8 << 10;
/// Of what is compressed here, so that every limit can be passed.
const LONGEST_MESSAGE: usize = 100_000;
const KEY: [u8; 4] = [0x5A, 0x01, 0xFF, 0x80];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(&data[..data.len().min(LONGEST)]);
    let settings = Settings::read(input.byte());
    let seed = input.pair();
    let script = Script::read(&settings, &mut input);
    let (messages, fails) = settings.expected(&script.sent);
    let runs = [
        settings.run(std::iter::once(&script.wire[..])),
        settings.run(Pieces::new(&script.wire, seed)),
        settings.run(Pieces::new(&script.wire, 0)),
    ];
    for (delivered, error) in runs {
        if error == Some(ProtocolError::TooManyLastBlocks) {
            // zlib would go on; how far is asked of the tests.
            assert!(messages.starts_with(&delivered));
            continue;
        }
        assert_eq!(delivered, messages);
        assert_eq!(error.is_some(), fails, "{error:?}");
    }
});

struct Settings {
    role: Role,
    takeover: bool,
    window_bits: u8,
    limit: usize,
}

/// A message as it is sent.
struct Sent {
    text: bool,
    compressed: bool,
    payload: Vec<u8>,
}

/// What the peer does.
struct Script {
    sent: Vec<Sent>,
    wire: Vec<u8>,
}

impl Settings {
    fn read(flags: u8) -> Self {
        Self {
            role: if flags & 1 != 0 { Role::Server } else { Role::Client },
            takeover: flags & 2 != 0,
            window_bits: 8 + (flags >> 4) % 8,
            limit: LIMITS[usize::from(flags >> 2 & 3)],
        }
    }

    fn run<'a>(
        &self,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> (Vec<Message>, Option<ProtocolError>) {
        let now = Instant::now();
        let config = Config::new().max_message_size(self.limit).ping_interval(None);
        let mut protocol = Protocol::new(self.role, config, now);
        protocol.set_compression(
            Compression::new()
                .peer_context_takeover(self.takeover)
                .peer_window_bits(self.window_bits),
        );
        let mut buffer = BytesMut::new();
        let mut messages = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match protocol.handle_data(&mut buffer, now) {
                    Ok(Some(message)) => {
                        assert!(message.len() <= self.limit);
                        messages.push(message);
                    }
                    Ok(None) if protocol.is_turn_over() => protocol.begin_turn(),
                    Ok(None) => break,
                    Err(error) => {
                        self.check(error);
                        assert!(protocol.poll_transmit() && !protocol.is_open());
                        assert_eq!(protocol.sent_close(), Some(error.close_code()));
                        return (messages, Some(error));
                    }
                }
            }
        }
        assert!(protocol.is_open() && buffer.is_empty());
        (messages, None)
    }

    fn check(&self, error: ProtocolError) {
        let limit = self.limit;
        let code = match error {
            ProtocolError::Inflate | ProtocolError::Utf8 => 1007,
            ProtocolError::TooManyLastBlocks => 1008,
            _ => {
                assert_eq!(error, ProtocolError::MessageTooLong { limit });
                1009
            }
        };
        assert_eq!(u16::from(error.close_code()), code);
    }

    /// The messages that can be read, and whether one cannot, which is then the last.
    fn expected(&self, sent: &[Sent]) -> (Vec<Message>, bool) {
        let mut messages = Vec::new();
        let mut before = Vec::new();
        for Sent { text, compressed, payload } in sent {
            let data = if *compressed {
                let Some(data) = self.inflated(payload, &before) else { return (messages, true) };
                if self.takeover {
                    before.extend_from_slice(&data);
                    before.drain(..before.len().saturating_sub(1 << self.window_bits));
                }
                data
            } else {
                payload.clone()
            };
            if data.len() > self.limit {
                return (messages, true);
            }
            messages.push(match text {
                false => Message::from(data),
                true => match String::from_utf8(data) {
                    Ok(text) => Message::from(text),
                    Err(_) => return (messages, true),
                },
            });
        }
        (messages, false)
    }

    /// The message, `None` when it cannot be read or is too long.
    fn inflated(&self, payload: &[u8], before: &[u8]) -> Option<Vec<u8>> {
        let whole = Reference::new(self.limit).message(payload, before)?;
        if !whole.ended_early && !payload.is_empty() {
            // What came before, as blocks that are not compressed.
            let mut stream = Vec::new();
            for block in before.chunks(0xFFFF) {
                let len = block.len() as u16;
                stream.push(0);
                stream.extend(len.to_le_bytes());
                stream.extend((!len).to_le_bytes());
                stream.extend_from_slice(block);
            }
            stream.extend_from_slice(payload);
            stream.extend(TAIL);
            let by_the_book = book::inflate(&stream, LARGEST_WINDOW).expect("zlib can read it");
            assert!(by_the_book.strip_prefix(before) == Some(&whole.data[..]));
        }
        Some(whole.data)
    }
}

/// zlib, driven in the plainest way: a whole message at once, and a new inflater for each stream.
struct Reference {
    limit: usize,
    data: Vec<u8>,
    /// Whether a block was marked as the last one.
    ended_early: bool,
}

impl Reference {
    fn new(limit: usize) -> Self {
        Self { limit, data: Vec::new(), ended_early: false }
    }

    fn message(mut self, mut payload: &[u8], before: &[u8]) -> Option<Self> {
        if payload.is_empty() {
            return Some(self);
        }
        let mut stream = self.start(before);
        while self.feed(&mut stream, &mut payload)? {
            self.ended_early = true;
            if payload.is_empty() {
                return Some(self);
            }
            stream = self.start(before);
        }
        // Whole only if an end of the stream can stand here, and not before, and nothing comes of
        // what was cut off.
        let len = self.data.len();
        let ends = !self.feed(&mut stream, &mut &TAIL[..])?
            && self.feed(&mut stream, &mut &LAST_BLOCK[..])?;
        (ends && self.data.len() == len).then_some(self)
    }

    fn start(&self, before: &[u8]) -> Decompress {
        let known = [before, &self.data].concat();
        let known = &known[known.len().saturating_sub(LARGEST_WINDOW)..];
        let mut stream = Decompress::new(false);
        if !known.is_empty() {
            stream.set_dictionary(known).expect("there is no header");
        }
        stream
    }

    /// Whether the stream ended.
    fn feed(&mut self, stream: &mut Decompress, input: &mut &[u8]) -> Option<bool> {
        loop {
            self.data.reserve(1 << 10);
            let before = stream.total_in();
            let status = stream.decompress_vec(input, &mut self.data, FlushDecompress::None);
            *input = &input[(stream.total_in() - before) as usize..];
            if self.data.len() > self.limit {
                return None;
            }
            match status.ok()? {
                Status::StreamEnd => return Some(true),
                _ if self.data.len() == self.data.capacity() => {}
                _ if input.is_empty() => return Some(false),
                _ => {}
            }
        }
    }
}

impl Script {
    fn read(settings: &Settings, input: &mut Input<'_>) -> Self {
        let mut script = Self { sent: Vec::new(), wire: Vec::new() };
        let level = flate2::Compression::new(6);
        let mut zlib = Compress::new_with_window_bits(level, false, settings.window_bits.max(9));
        while !input.is_empty() {
            script.message(settings, input, &mut zlib);
        }
        script
    }

    /// A byte (1: text; 2: plain; 4: compressed here, and not in the input; 8: marked as the last
    /// block; 16: a bit is wrong; the rest: cuts), two bytes for the length, the bytes; then how
    /// often they are repeated, and what is wrong.
    fn message(&mut self, settings: &Settings, input: &mut Input<'_>, zlib: &mut Compress) {
        let choice = input.byte();
        let length = usize::from(input.pair()) % 2048;
        let mut payload = input.take(length).to_vec();
        let compressed = choice & 2 == 0;
        if choice & 4 != 0 && compressed {
            let times = 1 + usize::from(input.byte());
            payload = payload.repeat(times);
            payload.truncate(LONGEST_MESSAGE);
            payload = deflated(zlib, &payload, choice & 8 != 0);
            if !settings.takeover {
                zlib.reset();
            }
        }
        if choice & 16 != 0 && !payload.is_empty() {
            let at = usize::from(input.pair()) % payload.len();
            payload[at] ^= 1 << (input.byte() & 7);
        }
        let text = choice & 1 != 0;
        self.frames(settings.role, text, compressed, &payload, usize::from(choice >> 5));
        self.sent.push(Sent { text, compressed, payload });
    }

    fn frames(&mut self, role: Role, text: bool, rsv1: bool, payload: &[u8], cuts: usize) {
        let size = payload.len() / (cuts + 1) + 1;
        let mut first = if text { 0x01 } else { 0x02 } | if rsv1 { 0x40 } else { 0 };
        for index in 0..=cuts {
            let start = (index * size).min(payload.len());
            let piece = &payload[start..(start + size).min(payload.len())];
            self.wire.push(first | if index == cuts { 0x80 } else { 0 });
            first = 0;
            let mask = if role == Role::Server { 0x80 } else { 0 };
            match piece.len() {
                len @ 0..126 => self.wire.push(mask | len as u8),
                len @ 126..=0xFFFF => {
                    self.wire.push(mask | 126);
                    self.wire.extend((len as u16).to_be_bytes());
                }
                len => {
                    self.wire.push(mask | 127);
                    self.wire.extend((len as u64).to_be_bytes());
                }
            }
            if mask == 0 {
                self.wire.extend_from_slice(piece);
            } else {
                self.wire.extend(KEY);
                self.wire
                    .extend(piece.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
            }
        }
    }
}

/// As a peer compresses; with the stream ended, or flushed and without what is to be cut off.
fn deflated(zlib: &mut Compress, data: &[u8], end: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 1024);
    let flush = if end { FlushCompress::Finish } else { FlushCompress::Sync };
    zlib.compress_vec(data, &mut out, flush).expect("there is room");
    if end {
        zlib.reset();
    } else if out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
    out
}
