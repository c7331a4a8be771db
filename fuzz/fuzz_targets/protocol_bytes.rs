//! `Protocol` under raw bytes: whatever the cuts, and whenever replies are written, the same
//! messages, error, replies and ending; and the messages are those that a naive reader makes of the
//! bytes.
//!
//! Input: flags (1: server; 2: we closed before; 4: a ping of ours is under way; 8: small limits),
//! two bytes for the cuts, the stream.
#![no_main]

use std::time::Instant;

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use tautline_frame::{
    CloseCode, CloseFrame, Config, Ending, Message, Protocol, ProtocolError, Role,
};
use tautline_fuzz::{Input, Pieces};
use tautline_wire::{Frame, read_frame, read_frames};

const LIMIT: usize = 200;
const FRAGMENTS: u32 = 4;
/// So that every reply fits below the write mark, beyond which pongs may be left out.
const LONGEST: usize = 16 << 10;

#[derive(Debug, PartialEq)]
struct Outcome {
    messages: Vec<Message>,
    error: Option<ProtocolError>,
    replies: Vec<Frame>,
    ponged: bool,
    peer_close: Option<CloseFrame>,
    sent_close: Option<CloseCode>,
    open: bool,
    ending: Option<Ending>,
    in_order: bool,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(&data[..data.len().min(LONGEST)]);
    let flags = input.byte();
    let seed = input.pair();
    let stream = input.rest();
    let whole = run(flags, std::iter::once(stream), false);
    assert_eq!(whole, run(flags, Pieces::new(stream, seed), seed & 1 == 1));
    assert_eq!(whole, run(flags, Pieces::new(stream, 0), true));
    compare_with_naive(flags, stream, &whole);
});

fn run<'a>(flags: u8, pieces: impl Iterator<Item = &'a [u8]>, write_early: bool) -> Outcome {
    let role = if flags & 1 != 0 { Role::Server } else { Role::Client };
    let mut config = Config::new();
    if flags & 8 != 0 {
        config = config.max_message_size(LIMIT).max_fragments(FRAGMENTS);
    }
    let now = Instant::now();
    let mut protocol = Protocol::new(role, config, now);
    let mut replies = Vec::new();
    if flags & 4 != 0 {
        assert_eq!(protocol.ping(), Ok(1));
        write(&mut protocol, now, &mut replies);
    }
    if flags & 2 != 0 {
        protocol.close(CloseFrame::from(CloseCode::NORMAL), now).expect("may close");
        write(&mut protocol, now, &mut replies);
    }
    let mut buffer = BytesMut::new();
    let mut messages = Vec::new();
    let mut error = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match protocol.handle_data(&mut buffer, now) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) if protocol.is_turn_over() => protocol.begin_turn(),
                Ok(None) => break,
                Err(failed) => {
                    assert_eq!(error, None, "a connection fails once");
                    error = Some(failed);
                }
            }
        }
        if write_early {
            write(&mut protocol, now, &mut replies);
        }
    }
    write(&mut protocol, now, &mut replies);
    let ending = protocol.poll_ending();
    let outcome = Outcome {
        messages,
        error,
        replies: replies_of(role, &replies),
        ponged: protocol.pong(1).is_some(),
        peer_close: protocol.peer_close().cloned(),
        sent_close: protocol.sent_close(),
        open: protocol.is_open(),
        ending,
        in_order: protocol.handle_eof(now),
    };
    check(flags, &outcome);
    outcome
}

fn write(protocol: &mut Protocol, now: Instant, out: &mut Vec<u8>) {
    if protocol.poll_transmit() {
        let queue = protocol.queue();
        let len = queue.remaining();
        out.extend_from_slice(&queue.copy_to_bytes(len));
        protocol.handle_written(now);
    }
    assert!(protocol.is_flushed());
}

fn replies_of(role: Role, bytes: &[u8]) -> Vec<Frame> {
    let (mut frames, rest) = read_frames(bytes);
    assert!(rest.is_empty(), "whole frames only");
    assert!(frames.iter().all(|frame| frame.minimal && frame.masked() == (role == Role::Client)));
    for frame in &mut frames {
        frame.key = None; // random, and so never the same in two runs
    }
    frames
}

fn check(flags: u8, outcome: &Outcome) {
    let closes = outcome.replies.iter().filter(|frame| frame.opcode() == 0x8).count();
    let behind = outcome.replies.iter().skip_while(|frame| frame.opcode() != 0x8).skip(1);
    let pongs_may_follow = flags & 2 != 0;
    for frame in behind {
        assert!(pongs_may_follow && frame.opcode() == 0xA, "only pongs follow our own Close");
    }
    assert_eq!(closes, usize::from(outcome.sent_close.is_some()), "one Close at most");
    if let Some(error) = outcome.error {
        let code = if flags & 2 != 0 { CloseCode::NORMAL } else { error.close_code() };
        assert_eq!(outcome.sent_close, Some(code));
        assert_eq!(outcome.ending, Some(Ending::Drain));
        assert_eq!(outcome.peer_close, None);
    }
    if let (Some(peer), 0) = (&outcome.peer_close, flags & 2) {
        assert_eq!(outcome.sent_close, Some(peer.code()), "the Close is echoed");
    }
    assert_eq!(outcome.ending.is_some(), outcome.peer_close.is_some() || outcome.error.is_some());
    assert_eq!(outcome.open, closes == 0);
    assert_eq!(outcome.in_order, outcome.ending.is_some());
}

/// Messages frame by frame, without a thought for speed.
fn compare_with_naive(flags: u8, mut stream: &[u8], outcome: &Outcome) {
    let mut messages = Vec::new();
    let mut pongs = Vec::new();
    let mut partial: Option<(u8, Vec<u8>, u32)> = None;
    let mut broken = false;
    let mut closed = false;
    while let Some((frame, len)) = read_frame(stream) {
        stream = &stream[len..];
        let control = frame.opcode() >= 8;
        broken = frame.first & 0x70 != 0
            || !matches!(frame.opcode(), 0..=2 | 8..=10)
            || frame.masked() != (flags & 1 != 0)
            || !frame.minimal
            || control && (!frame.fin() || frame.payload.len() > 125)
            || !control && (frame.opcode() == 0) != partial.is_some();
        if broken {
            break;
        }
        match frame.opcode() {
            8 => {
                broken = !naive_close_is_right(&frame.payload);
                closed = true;
                break;
            }
            9 => pongs.push(frame.payload),
            10 => {}
            opcode => {
                let (kind, mut text, count) = partial.take().unwrap_or((opcode, Vec::new(), 0));
                text.extend_from_slice(&frame.payload);
                let limited = flags & 8 != 0;
                broken = limited && (text.len() > LIMIT || count >= FRAGMENTS)
                    || kind == 1 && naive_text_is_lost(&text);
                if frame.fin() && !broken {
                    let message = naive_message(kind, text);
                    broken = message.is_none();
                    messages.extend(message);
                } else {
                    partial = Some((kind, text, count + 1));
                }
            }
        }
        if broken {
            break;
        }
    }
    assert_eq!(outcome.messages, messages);
    if broken {
        assert!(outcome.error.is_some());
    } else if closed {
        assert!(outcome.peer_close.is_some() && outcome.error.is_none());
    } else if stream.is_empty() && partial.is_none() {
        assert_eq!(outcome.error, None);
    }
    let ponged: Vec<&[u8]> = outcome
        .replies
        .iter()
        .filter(|reply| reply.opcode() == 10)
        .map(|reply| &reply.payload[..])
        .collect();
    assert_eq!(ponged, pongs, "each ping its pong, up to the peer's Close");
}

fn naive_message(kind: u8, payload: Vec<u8>) -> Option<Message> {
    if kind == 2 {
        Some(payload.into())
    } else {
        String::from_utf8(payload).ok().map(Message::from)
    }
}

/// Whether nothing that may follow makes this UTF-8.
fn naive_text_is_lost(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_err_and(|error| error.error_len().is_some())
}

fn naive_close_is_right(body: &[u8]) -> bool {
    match body {
        [] => true,
        [_] => false,
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
                && std::str::from_utf8(reason).is_ok()
        }
    }
}
