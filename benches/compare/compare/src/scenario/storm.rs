//! A storm of short connections: connect, one message there and back, close.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::{Run, Scenario, rotated};
use crate::Outcome;
use crate::frames::{Pool, client_frame, parse_header};
use crate::load::{HANDSHAKE, Target, Window, Wire, would_block};
use crate::servers::{Extra, Participant};
use crate::sys;

pub(crate) const STORM: Scenario = Scenario {
    name: "storm",
    title: "connect, one echo of 16 bytes, close",
    unit: "us",
    about: "Server CPU time for each connection, in microseconds; 16 are on the way at any time.",
    digits: 2,
    larger_is_better: false,
    run,
};

/// Connections that are on the way at the same time.
const TOGETHER: usize = 16;

/// What a connection waits for.
enum Stage {
    Upgrade,
    Echo,
    Close,
}

struct Visit {
    wire: Wire,
    stage: Stage,
    received: Vec<u8>,
}

impl Visit {
    fn begin(target: &Target) -> io::Result<Self> {
        let mut wire = Wire::open(target.address, None)?;
        wire.write_all(format!("{HANDSHAKE}\r\n").as_bytes())?;
        Ok(Self { wire, stage: Stage::Upgrade, received: Vec::new() })
    }

    /// `None`: nothing was there. `Some(true)`: it is over.
    fn step(
        &mut self,
        message: &[u8],
        close: &[u8],
        buffer: &mut [u8],
    ) -> io::Result<Option<bool>> {
        let Some(count) = would_block(self.wire.read(buffer))? else { return Ok(None) };
        if count == 0 {
            // Some servers end the connection without a Close of their own.
            let over = matches!(self.stage, Stage::Close);
            return if over { Ok(Some(true)) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        self.received.extend_from_slice(&buffer[..count]);
        match self.stage {
            Stage::Upgrade if self.received.ends_with(b"\r\n\r\n") => {
                if !self.received.starts_with(b"HTTP/1.1 101") {
                    return Err(io::Error::other("refused"));
                }
                self.next(Stage::Echo, message)?;
            }
            Stage::Echo | Stage::Close => {
                if let Some((header, payload)) = parse_header(&self.received)
                    && self.received.len() >= header + payload
                {
                    if matches!(self.stage, Stage::Close) {
                        return Ok(Some(true));
                    }
                    self.next(Stage::Close, close)?;
                }
            }
            Stage::Upgrade => {}
        }
        Ok(Some(false))
    }

    fn next(&mut self, stage: Stage, frame: &[u8]) -> io::Result<()> {
        self.received.clear();
        self.stage = stage;
        self.wire.write_all(frame)
    }
}

fn storm(target: &Target, pid: u32, time: Duration) -> io::Result<Window> {
    let pool = Pool::binary(16, 1);
    let close = client_frame(0x88, &1000_u16.to_be_bytes(), [1, 2, 3, 4]);
    let mut visits = Vec::with_capacity(TOGETHER);
    for _ in 0..TOGETHER {
        visits.push(Visit::begin(target)?);
    }
    let mut buffer = vec![0; 4096];
    let mut window = Window::default();
    let cpu = sys::cpu_time(pid)?;
    let start = Instant::now();
    let mut now = start;
    while now.duration_since(start) < time {
        let mut found = false;
        for visit in &mut visits {
            match visit.step(pool.frame(0), &close, &mut buffer)? {
                None => {}
                Some(false) => found = true,
                Some(true) => {
                    found = true;
                    *visit = Visit::begin(target)?;
                    window.messages += 1;
                }
            }
        }
        let then = std::mem::replace(&mut now, Instant::now());
        if found {
            window.busy += now.duration_since(then);
        }
    }
    window.cpu = sys::cpu_time(pid)? - cpu;
    window.wall = now.duration_since(start);
    Ok(window)
}

fn run(run: &mut Run<'_>) -> Outcome {
    let wanted = |participant: &Participant| {
        !matches!(participant.name, "raw" | "yawc-tuned")
            && !participant.is_variant()
            && participant.package != "ws"
    };
    let participants = run.participants(wanted);
    for round in 0..run.options.rounds {
        for participant in rotated(&participants, round * 5) {
            let (warm, long) = (run.options.warm_up(participant.kind), run.options.long());
            let measured = run.start(participant, &["echo"], Extra::default()).and_then(|server| {
                let target = run.target(&server, false, false)?;
                storm(&target, server.pid(), warm)?;
                Ok(storm(&target, server.pid(), long)?)
            });
            match measured {
                Ok(window) => {
                    run.record_window("connect/16/close", participant.name, round, &window);
                }
                Err(error) => run.fail(format!("{} storm: {error}", participant.name)),
            }
        }
    }
    Ok(())
}
