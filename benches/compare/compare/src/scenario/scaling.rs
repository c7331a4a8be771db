//! What a message costs with more and more connections.

use super::{Run, Scenario, rotated};
use crate::Outcome;
use crate::frames::Pool;
use crate::load::Load;
use crate::servers::{Extra, Participant};

pub(crate) const SCALING: Scenario = Scenario {
    name: "scaling",
    title: "echo with more and more connections",
    unit: "us",
    about: "Server CPU time for each message of 16 bytes, in microseconds, one in flight on each connection that sends. \
            Cell: connections, and how many of them send.",
    digits: 3,
    larger_is_better: false,
    run,
};

/// Connections, and how many of them send.
const CELLS: &[(usize, &[usize])] =
    &[(10, &[10]), (100, &[100]), (1_000, &[1_000]), (10_000, &[100, 10_000])];
/// Ten thousand connections take a second to open.
const ROUNDS: usize = 7;
/// Of those that take part elsewhere, so that it does not take too long.
const PARTICIPANTS: &[&str] =
    &["floor", "tautline", "fastwebsockets", "tokio-websockets", "yawc-b", "sockudo-ws-b", "bun"];

fn run(run: &mut Run<'_>) -> Outcome {
    let participants = run.participants(|participant| PARTICIPANTS.contains(&participant.name));
    let pool = Pool::binary(16, 1);
    for round in 0..run.options.rounds.min(if run.options.quick { 2 } else { ROUNDS }) {
        for (number, &(connections, active)) in CELLS.iter().enumerate() {
            if !run.options.wants_cell(&connections.to_string()) {
                continue;
            }
            for participant in rotated(&participants, round + number) {
                if let Err(error) = one(run, participant, round, connections, active, &pool) {
                    run.fail(format!("{} {connections}: {error}", participant.name));
                }
            }
        }
    }
    Ok(())
}

fn one(
    run: &mut Run<'_>,
    participant: &Participant,
    round: usize,
    connections: usize,
    active: &[usize],
    pool: &Pool,
) -> Outcome {
    let server = run.start(participant, &["echo"], Extra::default())?;
    let target = run.target(&server, false, false)?;
    let mut load = Load::open(&target, connections, pool)?;
    let (warm, long) = (run.options.warm_up(participant.kind), run.options.long());
    for &active in active {
        load.start_some(active, 1)?;
        // A turn through ten thousand connections takes 40 ms, and the first one finds nothing in
        // the caches.
        let longer = if active > 1_000 { 4 } else { 1 };
        load.warm_up(&[server.pid()], warm * longer)?;
        let window = load.measure(&[server.pid()], long * longer)?;
        run.record_window(
            &format!("{connections}, {active} active"),
            participant.name,
            round,
            &window,
        );
    }
    Ok(())
}
