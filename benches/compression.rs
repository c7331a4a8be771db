//! What compression costs and gains: `cargo run --release -p tautline-bench --bin compression`
//!
//! Messages like those of a feed (JSON: keys repeat, values differ) cross between two ends in
//! memory. For levels and windows it prints the bytes on the wire for each byte of message, the CPU
//! time of compressing and of inflating one, and how much resident memory a connection holds that
//! has sent and received some. Times compare within one run only.

use std::collections::VecDeque;
use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tautline_frame::{Compress, Compression, Config, Message, Protocol, Role};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Different messages, sent in turn.
const MESSAGES: usize = 256;
/// Connections whose memory is looked at together.
const CONNECTIONS: usize = 500;

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [held, kind, bits] = &words[..]
        && held == "held"
    {
        println!("{}", held_by(kind, bits.parse()?)?);
        return Ok(());
    }
    if words == ["echo"] {
        return echo();
    }
    echo()?;
    println!("\nbytes on the wire for each byte of message, and CPU time of one message\n");
    println!("| message | context | window bits | level | ratio | compress, us | inflate, us |");
    println!("|---|---|---|---|---|---|---|");
    for len in [256, 1 << 10, 16 << 10] {
        let messages = feed(len);
        for takeover in [false, true] {
            for (bits, level) in [(15, 1), (15, 2), (15, 4), (15, 6), (15, 9), (12, 6), (9, 6)] {
                let settings = Compression::new()
                    .own_context_takeover(takeover)
                    .own_window_bits(bits)
                    .threshold(0)
                    .level(level);
                let cost = cost(settings, &messages)?;
                let context = if takeover { "kept" } else { "none" };
                println!(
                    "| {len} B | {context} | {bits} | {level} | {:.3} | {:.1} | {:.1} |",
                    cost.ratio, cost.compress, cost.inflate
                );
            }
        }
    }
    println!("\nresident bytes of a connection that has sent or received 64 messages of 1 KiB\n");
    println!(
        "| window bits | own context, level 2 | level 9 | after idle_timeout | peer's context |"
    );
    println!("|---|---|---|---|---|");
    for bits in 9..=15 {
        let [fast, best, idle, peer] =
            ["fast", "best", "idle", "peer"].map(|kind| held_elsewhere(kind, bits));
        println!("| {bits} | {} | {} | {} | {} |", fast?, best?, idle?, peer?);
    }
    println!(
        "\nwithout context: {} for sending, {} for receiving",
        held_elsewhere("none", 15)?,
        held_elsewhere("low", 15)?
    );
    Ok(())
}

/// What a peer can make an echo send, and what that costs.
fn echo() -> Result {
    println!("CPU time of sending a message, ns for each byte, by what is in it\n");
    println!(
        "| preset | message | compressible | random | random ASCII | two letters | all in turn |"
    );
    println!("|---|---|---|---|---|---|---|");
    let presets = [
        ("new", Compression::new()),
        ("low_memory", Compression::low_memory()),
        ("best_ratio", Compression::best_ratio()),
    ];
    for (name, settings) in presets {
        for len in [70, 300, 2000, 20_000] {
            let [feed, noise, ascii, letters] = payloads(len);
            let all = [&feed[..4], &noise[..4], &ascii[..4], &letters[..4]].concat();
            let mut costs = Vec::new();
            for messages in [feed, noise, ascii, letters, all] {
                let mut sender = end(Role::Server, settings);
                let rounds = (1 << 21) / len;
                let start = Instant::now();
                for message in messages.iter().cycle().take(rounds) {
                    sender.send(message.clone())?;
                    transmitted(&mut sender);
                }
                let time = start.elapsed().as_secs_f64() * 1e9;
                costs.push(format!("{:.1}", time / (rounds * len) as f64));
            }
            println!("| {name} | {len} B | {} |", costs.join(" | "));
        }
    }
    Ok(())
}

/// Binary messages that become smaller, ones that do not, ones that look as if they would, and ones
/// of two letters.
fn payloads(len: usize) -> [Vec<Message>; 4] {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = |mask: u8| -> Vec<Message> {
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8 & mask
        };
        (0..MESSAGES).map(|_| Message::from((0..len).map(|_| byte()).collect::<Vec<_>>())).collect()
    };
    let binary = |message: Message| Message::from(message.into_bytes().to_vec());
    let feed = feed(len).into_iter().map(binary).collect();
    [feed, random(0xFF), random(0x7F), random(0x01)]
}

/// [`held`], in a process of its own: what this one has freed would be taken again.
fn held_elsewhere(kind: &str, bits: u8) -> Result<String> {
    let this = std::env::current_exe()?;
    let output = Command::new(this).args(["held", kind, &bits.to_string()]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// What a connection of this kind holds.
fn held_by(kind: &str, bits: u8) -> Result<usize> {
    let best = Compression::best_ratio().own_window_bits(bits).peer_window_bits(bits);
    match kind {
        "fast" => held(|messages| sender(best.level(2), messages, false)),
        "best" => held(|messages| sender(best.level(9), messages, false)),
        "idle" => held(|messages| sender(best, messages, true)),
        "peer" => held(|messages| receiver(best, messages)),
        "none" => held(|messages| sender(Compression::low_memory(), messages, false)),
        "low" => held(|messages| receiver(Compression::low_memory(), messages)),
        _ => Err("there is no such kind".into()),
    }
}

/// Messages of a market feed.
fn feed(len: usize) -> Vec<Message> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) % below
    };
    let message = |_| {
        let mut text = String::from("[");
        while text.len() < len {
            text += &format!(
                "{{\"type\":\"trade\",\"symbol\":\"{}\",\"price\":{}.{:02},\"size\":{},\"time\":{},\"venue\":\"X{}\"}},",
                ["TAUT", "LINE", "ROPE", "KNOT", "SAIL", "MAST", "BOOM", "KEEL"][next(8) as usize],
                next(1000),
                next(100),
                next(5000),
                1_700_000_000_000 + next(100_000_000),
                next(16)
            );
        }
        text.truncate(len);
        Message::from(text)
    };
    (0..MESSAGES).map(message).collect()
}

struct Cost {
    ratio: f64,
    compress: f64,
    inflate: f64,
}

fn cost(settings: Compression, messages: &[Message]) -> Result<Cost> {
    let mut sender = end(Role::Server, settings);
    let mirrored = settings.peer_context_takeover(settings.get_own_context_takeover());
    let mut receiver = end(Role::Client, mirrored);
    let (mut plain, mut wire) = (0, 0);
    let mut compressing = Duration::ZERO;
    let mut inflating = Duration::ZERO;
    let rounds = (1 << 22) / messages[0].len();
    for message in messages.iter().cycle().take(rounds) {
        let start = Instant::now();
        sender.send_with(message.clone(), Compress::Always)?;
        compressing += start.elapsed();
        let mut bytes = transmitted(&mut sender);
        plain += message.len();
        wire += bytes.len();
        let start = Instant::now();
        receiver.begin_turn();
        let received = receiver.handle_data(&mut bytes, start)?;
        inflating += start.elapsed();
        assert_eq!(received.as_ref(), Some(message));
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / rounds as f64;
    Ok(Cost {
        ratio: wire as f64 / plain as f64,
        compress: each(compressing),
        inflate: each(inflating),
    })
}

fn end(role: Role, settings: Compression) -> Protocol {
    let mut protocol = Protocol::new(role, Config::new().ping_interval(None), Instant::now());
    protocol.set_compression(settings);
    protocol
}

fn transmitted(from: &mut Protocol) -> BytesMut {
    from.poll_transmit();
    let len = from.queue().remaining();
    let bytes = BytesMut::from(&from.queue().copy_to_bytes(len)[..]);
    from.handle_written(Instant::now());
    drop(from.queue().reclaim_buffer());
    bytes
}

/// A connection that has sent 64 messages, perhaps long ago.
fn sender(settings: Compression, messages: &[Message], idle: bool) -> Result<Protocol> {
    let mut sender = end(Role::Server, settings);
    for message in &messages[..64] {
        sender.send(message.clone())?;
        transmitted(&mut sender);
    }
    while idle && let Some(deadline) = sender.poll_timeout() {
        sender.handle_timeout(deadline.max(Instant::now()))?;
    }
    Ok(sender)
}

/// A connection that has received 64 messages from a peer with this window.
fn receiver(settings: Compression, messages: &[Message]) -> Result<Protocol> {
    let mirrored = settings.own_context_takeover(settings.get_peer_context_takeover());
    let mut peer = end(Role::Server, mirrored);
    let mut receiver = end(Role::Client, settings);
    for message in &messages[..64] {
        peer.send(message.clone())?;
        let mut bytes = transmitted(&mut peer);
        receiver.begin_turn();
        receiver.handle_data(&mut bytes, Instant::now())?;
    }
    Ok(receiver)
}

/// Resident memory of a connection beyond that of one without compression, in bytes.
fn held(connection: impl Fn(&[Message]) -> Result<Protocol>) -> Result<usize> {
    let messages = feed(1 << 10);
    // What the thread keeps, not the connection.
    let mut kept: VecDeque<Protocol> =
        (0..8).map(|_| connection(&messages)).collect::<Result<_>>()?;
    let before = resident()?;
    for _ in 0..CONNECTIONS {
        kept.push_back(connection(&messages)?);
    }
    let grown = resident()?.saturating_sub(before);
    Ok((grown / CONNECTIONS).saturating_sub(size_of::<Protocol>()))
}

fn resident() -> Result<usize> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? << 10)
}
