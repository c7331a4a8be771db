//! Memory of connections that wait, after one message there and back on each.

use super::echo::bytes;
use super::{Run, Scenario, deflate, rotated};
use crate::Outcome;
use crate::frames::Pool;
use crate::load::{Link, Target};
use crate::servers::{Extra, Participant, Running};

pub(crate) const IDLE: Scenario = Scenario {
    name: "idle",
    title: "memory of idle connections",
    unit: "bytes",
    about: "Growth of the server's anonymous resident memory for each of 5,000 connections, each after one echo of so many bytes, \
            without the kernel's buffers. `deflate` rows: with compression agreed on, after one compressed echo.",
    digits: 0,
    larger_is_better: false,
    run,
};

const CONNECTIONS: usize = 5_000;
/// Opened before: what a server sets up once is not counted.
const FIRST: usize = 50;

fn run(run: &mut Run<'_>) -> Outcome {
    // The figure is the same each time, to a few bytes.
    let rounds = run.options.rounds.min(if run.options.quick { 1 } else { 2 });
    let wanted = |participant: &Participant| {
        participant.name != "raw" && (!participant.is_variant() || participant.is_stack())
    };
    let participants = run.participants(wanted);
    for round in 0..rounds {
        for payload in [16, 16 * 1024] {
            let cell = format!("after {}", bytes(payload));
            if !run.options.wants_cell(&cell) {
                continue;
            }
            let pool = Pool::binary(payload, 1);
            for participant in rotated(&participants, round) {
                let measured =
                    run.start(participant, &["echo"], Extra::default()).and_then(|server| {
                        let target = run.target(&server, false, false)?;
                        memory(&server, &target, &pool, CONNECTIONS)
                    });
                match measured {
                    Ok(value) => {
                        run.record(
                            &cell,
                            participant.name,
                            round,
                            value,
                            Vec::new(),
                            String::new(),
                        );
                    }
                    Err(error) => run.fail(format!("{} {cell}: {error}", participant.name)),
                }
            }
        }
    }
    // Once: compressors are allocated, not grown.
    deflate::idle(run, if run.options.quick { CONNECTIONS / 5 } else { CONNECTIONS })
}

/// Opens connections, has a message echoed on each, and divides what the process has grown by.
pub(super) fn memory(
    server: &Running,
    target: &Target,
    pool: &Pool,
    connections: usize,
) -> Outcome<f64> {
    let mut links = Vec::with_capacity(FIRST + connections);
    let mut before = 0;
    for number in 0..FIRST + connections {
        if number == FIRST {
            before = settled(server)?;
        }
        // One after the other: what a server needs for many at once is not what an idle one holds.
        let mut link = Link::open(target)?;
        link.ask(pool)?;
        link.verify(pool)?;
        links.push(link);
    }
    let grown = settled(server)?.saturating_sub(before);
    Ok(grown as f64 / connections as f64)
}

/// The memory when the server has nothing left to do.
fn settled(server: &Running) -> Outcome<u64> {
    std::thread::sleep(std::time::Duration::from_millis(50));
    Ok(server.resident()?)
}
