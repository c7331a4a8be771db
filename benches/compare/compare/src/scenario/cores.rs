//! What a message costs on a server that uses two cores, by the ways in which a library shares them.

use super::echo::bytes;
use super::{Run, Scenario, more, rotated};
use crate::frames::Pool;
use crate::load::{Load, Window};
use crate::servers::{self, BOTH_CORES, Extra, GENERATOR_CORE, Participant, Running};
use crate::{Outcome, sys};

pub(crate) const CORES: Scenario = Scenario {
    name: "cores",
    title: "echo by a server on two cores",
    unit: "us",
    about: "CPU time of all of the server's processes for each message, in microseconds. Server and generator share two cores, and \
            none of their threads is bound to one: so throughput depends on what the generator costs, and is given beside it. \
            Cell: connections / messages in flight on each / bytes.",
    digits: 3,
    larger_is_better: false,
    run,
};

/// Connections, messages in flight on each, bytes, and how many times as long it takes: a turn
/// through ten thousand connections takes 40 ms.
type Cell = (usize, usize, usize, u32);

const CELLS: &[Cell] = &[(64, 16, 16, 1), (10_000, 1, 16, 4)];

/// A server on two cores.
struct Way {
    participant: &'static str,
    /// In the tables, behind the participant's name.
    name: &'static str,
    threads: Option<&'static str>,
    per_core: Option<&'static str>,
    processes: usize,
}

const WAY: Way = Way { participant: "", name: "", threads: None, per_core: None, processes: 1 };

/// The first is what the others are compared with.
const WAYS: &[Way] = &[
    Way { participant: "tautline", name: "two threads", threads: Some("2"), ..WAY },
    Way { participant: "tautline", name: "per_core(2)", per_core: Some("2"), ..WAY },
    Way { participant: "tungstenite-tuned", name: "two threads", threads: Some("2"), ..WAY },
    Way { participant: "bun", name: "two processes", processes: 2, ..WAY },
];

/// The row that the others are compared with.
pub(crate) const SHARED: &str = "tautline: two threads";

fn run(run: &mut Run<'_>) -> Outcome {
    sys::pin(BOTH_CORES)?;
    let participants = run.participants(|_| true);
    let found = |way: &'static Way| {
        participants.iter().find(|it| it.name == way.participant).map(|it| (*it, way))
    };
    let ways: Vec<_> = WAYS.iter().filter_map(found).collect();
    for round in 0..run.options.rounds {
        for (number, &cell) in CELLS.iter().enumerate() {
            let name = format!("{}/{}/{}", cell.0, cell.1, bytes(cell.2));
            if !run.options.wants_cell(&name) {
                continue;
            }
            let pool = Pool::binary(cell.2, cell.1);
            for (participant, way) in rotated(&ways, round + number) {
                let row = format!("{}: {}", participant.name, way.name);
                match one(run, participant, way, cell, &pool) {
                    Ok((window, shares)) => keep(run, (&name, &row), round, &window, &shares),
                    Err(error) => run.fail(format!("{row} {name}: {error}")),
                }
            }
        }
    }
    sys::pin(&[GENERATOR_CORE])
        .map_err(|error| format!("the generator stays on both cores: {error}").into())
}

fn keep(
    run: &mut Run<'_>,
    (cell, row): (&str, &str),
    round: usize,
    window: &Window,
    shares: &[usize],
) {
    let (all, most) = (shares.iter().sum::<usize>(), shares.iter().max().unwrap_or(&0));
    let mut more = more(window);
    more.push(("messages_per_second", window.messages as f64 / window.wall.as_secs_f64()));
    more.push(("largest_share", *most as f64 / all.max(1) as f64));
    let shares: Vec<_> = shares.iter().map(usize::to_string).collect();
    run.record(cell, row, round, window.cpu_us(), more, shares.join(" + "));
}

/// Also returns how many connections each event loop got.
fn one(
    run: &Run<'_>,
    participant: &Participant,
    way: &Way,
    (connections, in_flight, _, longer): Cell,
    pool: &Pool,
) -> Outcome<(Window, Vec<usize>)> {
    let extra = Extra {
        threads: way.threads,
        per_core: way.per_core,
        shared_port: (way.processes > 1).then_some("0"),
        both_cores: true,
        ..Extra::default()
    };
    let first = run.start(participant, &["echo"], extra)?;
    let port = first.address()?.port().to_string();
    let target = run.target(&first, false, false)?;
    let mut servers = vec![first];
    while servers.len() < way.processes {
        let extra = Extra { shared_port: Some(&port), ..extra };
        servers.push(run.start(participant, &["echo"], extra)?);
    }
    let pids: Vec<_> = servers.iter().map(Running::pid).collect();
    let mut load = Load::open(&target, connections, pool)?.give_way()?;
    let shares = servers::shares(&pids, target.address.port())?;
    load.start(in_flight)?;
    load.warm_up(&pids, run.options.warm_up(participant.kind) * longer)?;
    Ok((load.measure(&pids, run.options.long() * longer)?, shares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_those_of_participants_and_the_first_is_the_shared_runtime() {
        let known = |way: &Way| servers::ALL.iter().any(|it| it.name == way.participant);
        assert!(WAYS.iter().all(known));
        assert_eq!(format!("{}: {}", WAYS[0].participant, WAYS[0].name), SHARED);
    }
}
