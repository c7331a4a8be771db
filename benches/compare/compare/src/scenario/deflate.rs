//! Echo of compressed text (RFC 7692): CPU time for each message, and how many bytes are left of
//! it.
//!
//! The generator compresses its own messages once, each for itself, so that they can be sent again
//! and again whatever was agreed on: a sender need not use what context takeover allows.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::echo::bytes;
use super::{Run, Scenario, idle, json, measure, rotated};
use crate::Outcome;
use crate::frames::{Kind, Pool, parse_header};
use crate::load::{Link, Load, Target, Window};
use crate::servers::{Extra, Participant, Running};

pub(crate) const DEFLATE: Scenario = Scenario {
    name: "deflate",
    title: "echo of compressed JSON text",
    unit: "us",
    about: "Server CPU time for each message, in microseconds, and the size of the replies relative to the plain text. \
            Cell: connections / messages in flight on each / bytes.",
    digits: 2,
    larger_is_better: false,
    run,
};

/// Connections, messages in flight on each, bytes.
const CELLS: &[(usize, usize, usize)] = &[(16, 4, 1024), (16, 4, LONGEST)];
/// Of the bytes, the most.
const LONGEST: usize = 16 * 1024;
/// Different messages that go round.
const MESSAGES: usize = 64;

/// A participant with one of its settings.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    participant: &'static str,
    /// `--deflate` of the server.
    name: &'static str,
    /// The client offers what browsers do; otherwise it asks for no context takeover.
    takeover: bool,
    about: &'static str,
}

const fn setting(
    participant: &'static str,
    name: &'static str,
    takeover: bool,
    about: &'static str,
) -> Setting {
    Setting { participant, name, takeover, about }
}

const SETTINGS: &[Setting] = &[
    setting("tautline", "default", true, "default (no own takeover)"),
    setting("tautline", "low-memory", false, "low_memory (no takeover)"),
    setting("tautline", "low-memory-fast", false, "low_memory, level 1"),
    setting("tautline", "takeover", true, "takeover, level 2"),
    setting("tautline", "fast", true, "takeover, level 1"),
    setting("tautline", "best-ratio", true, "best_ratio (takeover, level 6)"),
    setting("yawc-b", "takeover", true, "takeover"),
    setting("yawc-b", "no-takeover", false, "no takeover"),
    setting("yawc-b", "fast", true, "takeover, level 1"),
    setting("yawc-b", "pool", false, "no takeover, level 1, pool"),
    setting("sockudo-ws-b", "takeover", true, "takeover"),
    setting("sockudo-ws-b", "no-takeover", false, "no takeover (Shared)"),
    setting("sockudo-ws-b", "window8k", true, "takeover, Window8KB"),
    setting("sockudo-ws-b", "fast", true, "takeover, level 1"),
    setting("bun", "default", false, "no takeover (default)"),
    setting("bun", "takeover", true, "takeover (dedicated)"),
    setting("node-ws", "default", true, "takeover (default)"),
    setting("node-ws", "no-takeover", false, "no takeover"),
    setting("node-ws", "fast", true, "takeover, level 1"),
];

/// As browsers offer it, and as who wants to save memory on both ends does.
pub(super) const TAKEOVER: &str = "permessage-deflate; client_max_window_bits";
const NO_TAKEOVER: &str = "permessage-deflate; client_no_context_takeover; \
    server_no_context_takeover; client_max_window_bits";

impl Setting {
    /// Those that are wanted, with who takes part.
    fn wanted(run: &Run<'_>) -> Vec<(&'static Self, &'static Participant)> {
        let all = run.participants(|_| true);
        let with = |setting: &'static Self| {
            let found = all.iter().find(|participant| participant.name == setting.participant);
            found.map(|participant| (setting, *participant))
        };
        SETTINGS.iter().filter_map(with).collect()
    }

    /// The setting of this name of a participant.
    pub(super) fn of(participant: &str, name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|it| it.participant == participant && it.name == name)
    }

    fn row(&self) -> String {
        format!("{}: {}", self.participant.trim_end_matches("-b"), self.about)
    }

    pub(super) fn start(
        &self,
        run: &Run<'_>,
        participant: &Participant,
        task: &str,
    ) -> Outcome<(Running, Target)> {
        let extra = Extra { deflate: Some(self.name), ..Extra::default() };
        let server = run.start(participant, &[task], extra)?;
        let mut target = run.target(&server, false, false)?;
        target.offer = Some(if self.takeover { TAKEOVER } else { NO_TAKEOVER });
        Ok((server, target))
    }
}

/// Compresses a message as RFC 7692 section 7.2.1 says, for itself.
pub(super) fn compress(plain: &[u8], window_bits: u8) -> Outcome<Vec<u8>> {
    let mut compress = Compress::new_with_window_bits(Compression::default(), false, window_bits);
    let mut out = Vec::with_capacity(plain.len() + 64);
    compress.compress_vec(plain, &mut out, FlushCompress::Sync)?;
    if !out.ends_with(&[0, 0, 0xff, 0xff]) {
        return Err("an incomplete block".into());
    }
    out.truncate(out.len() - 4);
    Ok(out)
}

/// The window that a server allows a client, by its answer.
pub(super) fn window_bits(agreed: &str) -> u8 {
    let bits = agreed.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        (name.trim() == "client_max_window_bits").then(|| value.trim().parse().ok())?
    });
    bits.unwrap_or(15).max(9)
}

/// The answer of the server, and frames that it allows.
fn pool(target: &Target, plain: &[Vec<u8>]) -> Outcome<(String, Pool)> {
    let link = Link::open(target)?;
    let agreed = link.negotiated().ok_or("compression was not agreed on")?.to_owned();
    let bits = window_bits(&agreed);
    let packed = plain.iter().map(|plain| compress(plain, bits)).collect::<Outcome<Vec<_>>>()?;
    Ok((agreed, Pool::new(Kind::Text, &packed, true)))
}

/// Whether a server's replies, one after the other, are these messages.
fn verify(link: &mut Link, pool: &Pool, plain: &[Vec<u8>]) -> Outcome {
    let mut inflate = Decompress::new(false);
    for plain in plain.iter().take(3) {
        if message(&mut inflate, &link.exchange(pool)?)? != *plain {
            return Err("a wrong echo".into());
        }
    }
    Ok(())
}

/// Whether a server's frame is compressed (RFC 7692 section 6).
pub(super) fn is_compressed(frame: &[u8]) -> bool {
    frame[0] & 0x40 != 0
}

/// The message in a server's frame, compressed or not; `inflate` knows the earlier ones.
pub(super) fn message(inflate: &mut Decompress, frame: &[u8]) -> Outcome<Vec<u8>> {
    let (header, _) = parse_header(frame).ok_or("no frame")?;
    let mut payload = frame[header..].to_vec();
    if is_compressed(frame) {
        payload.extend_from_slice(&[0, 0, 0xff, 0xff]);
        let mut out = Vec::with_capacity(LONGEST + 64);
        let status = inflate.decompress_vec(&payload, &mut out, FlushDecompress::Sync)?;
        if status == Status::StreamEnd {
            inflate.reset(false);
        }
        payload = out;
    }
    Ok(payload)
}

fn run(run: &mut Run<'_>) -> Outcome {
    let settings = Setting::wanted(run);
    for round in 0..run.options.rounds {
        for (number, &(connections, in_flight, length)) in CELLS.iter().enumerate() {
            let cell = format!("{connections}/{in_flight}/{}", bytes(length));
            if !run.options.wants_cell(&cell) {
                continue;
            }
            let plain = json::messages(MESSAGES, length);
            for (setting, participant) in rotated(&settings, round * 5 + number) {
                match one(run, setting, participant, (connections, in_flight), &plain) {
                    Ok((window, agreed)) => {
                        let ratio = window.wire_bytes as f64
                            / (window.messages.max(1) as f64 * length as f64);
                        let more = vec![
                            ("ratio", ratio),
                            ("messages", window.messages as f64),
                            ("server_utilisation", window.server_utilisation()),
                            ("generator_utilisation", window.generator_utilisation()),
                        ];
                        run.record(&cell, &setting.row(), round, window.cpu_us(), more, agreed);
                    }
                    Err(error) => run.fail(format!("{} {cell}: {error}", setting.row())),
                }
            }
        }
    }
    Ok(())
}

fn one(
    run: &Run<'_>,
    setting: &Setting,
    participant: &Participant,
    (connections, in_flight): (usize, usize),
    plain: &[Vec<u8>],
) -> Outcome<(Window, String)> {
    let (server, target) = setting.start(run, participant, "echo")?;
    let (agreed, pool) = pool(&target, plain)?;
    verify(&mut Link::open(&target)?, &pool, plain)?;
    let mut load = Load::open(&target, connections, &pool)?;
    Ok((measure(run, &mut load, (participant, &server), in_flight)?, agreed))
}

/// Memory of idle connections that have compression.
pub(super) fn idle(run: &mut Run<'_>, connections: usize) -> Outcome {
    let plain = json::messages(1, 1024);
    for takeover in [true, false] {
        let cell = if takeover { "deflate takeover" } else { "deflate no takeover" };
        if !run.options.wants_cell(cell) {
            continue;
        }
        for (setting, participant) in Setting::wanted(run) {
            if setting.takeover != takeover {
                continue;
            }
            let measured = setting.start(run, participant, "echo").and_then(|(server, target)| {
                let (agreed, pool) = pool(&target, &plain)?;
                Ok((idle::memory(&server, &target, &pool, connections)?, agreed))
            });
            match measured {
                Ok((value, agreed)) => {
                    run.record(cell, &setting.row(), 0, value, Vec::new(), agreed);
                }
                Err(error) => run.fail(format!("{} {cell}: {error}", setting.row())),
            }
        }
    }
    Ok(())
}
