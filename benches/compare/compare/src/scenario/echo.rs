//! Echo, over TCP and over TLS: CPU time of the server for each message.

use super::{Run, Scenario, measure, rotated};
use crate::Outcome;
use crate::frames::Pool;
use crate::load::Load;
use crate::servers::{Extra, HUB, OWN_TLS, Participant};

pub(crate) const ECHO: Scenario = Scenario {
    name: "echo",
    title: "echo of binary messages",
    unit: "us",
    about: "Server CPU time for each message, in microseconds. Cell: connections / messages in flight on each / bytes.",
    digits: 3,
    larger_is_better: false,
    run: |run| rounds(run, ECHO_CELLS, false),
};

pub(crate) const TLS: Scenario = Scenario {
    name: "tls",
    title: "echo over TLS 1.3",
    unit: "us",
    about: "Server CPU time for each message, in microseconds. Cell: connections / messages in flight on each / bytes.",
    digits: 3,
    larger_is_better: false,
    run: |run| rounds(run, TLS_CELLS, true),
};

const KIB: usize = 1024;

/// Connections, messages in flight on each, bytes.
type Cell = (usize, usize, usize);

const ECHO_CELLS: &[Cell] = &[
    (1, 1, 16),
    (1, 1, KIB),
    (1, 1, 16 * KIB),
    (1, 1, 64 * KIB),
    (1, 1, KIB * KIB),
    (1, 64, 16),
    (1, 64, KIB),
    (64, 1, 16),
    (64, 1, KIB),
    (64, 1, 16 * KIB),
    (64, 1, 64 * KIB),
    (64, 1, KIB * KIB),
    (64, 16, 16),
    (64, 16, 125),
    (64, 16, KIB),
    (64, 16, 16 * KIB),
];

const TLS_CELLS: &[Cell] = &[(16, 1, KIB), (16, 16, KIB), (16, 1, 64 * KIB)];

/// Bytes as people write them.
pub(crate) fn bytes(count: usize) -> String {
    match count {
        _ if count >= KIB * KIB && count.is_multiple_of(KIB * KIB) => {
            format!("{}Mi", count / KIB / KIB)
        }
        _ if count >= KIB && count.is_multiple_of(KIB) => format!("{}Ki", count / KIB),
        _ => count.to_string(),
    }
}

fn rounds(run: &mut Run<'_>, cells: &[Cell], tls: bool) -> Outcome {
    let named = |cell: &Cell| format!("{}/{}/{}", cell.0, cell.1, bytes(cell.2));
    let cells: Vec<_> = cells.iter().filter(|cell| run.options.wants_cell(&named(cell))).collect();
    let wanted = |participant: &Participant| {
        let plain_only = participant.name == "tautline-quiet" || participant.is_stack();
        let other = [HUB, OWN_TLS].contains(&participant.name) || participant.speaks_http2();
        participant.package != "ws" && !other && !(tls && plain_only)
    };
    let participants = run.participants(wanted);
    for round in 0..run.options.rounds {
        // A process for each round, so that what it happens to get from the system is not the same
        // in all of them.
        let mut servers = Vec::new();
        for &participant in &participants {
            match run.start(participant, &["echo"], Extra { tls, ..Extra::default() }) {
                Ok(server) => servers.push((participant, server)),
                Err(error) => run.fail(format!("{}: {error}", participant.name)),
            }
        }
        for (number, cell) in cells.iter().enumerate() {
            let pool = Pool::binary(cell.2, cell.1);
            let order: Vec<_> = servers.iter().collect();
            for (participant, server) in rotated(&order, round * 5 + number) {
                match one(run, participant, server, cell, &pool, tls) {
                    Ok(window) => run.record_window(&named(cell), participant.name, round, &window),
                    Err(error) => {
                        run.fail(format!("{} {}: {error}", participant.name, named(cell)));
                    }
                }
            }
        }
    }
    Ok(())
}

fn one(
    run: &Run<'_>,
    participant: &Participant,
    server: &crate::servers::Running,
    cell: &Cell,
    pool: &Pool,
    tls: bool,
) -> Outcome<crate::load::Window> {
    let target = run.target(server, tls, participant.name == "raw")?;
    let mut load = Load::open(&target, cell.0, pool)?;
    measure(run, &mut load, (participant, server), cell.1)
}
