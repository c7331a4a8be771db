//! Masking alone, by the functions that libraries offer for it.

use std::io::{BufRead, BufReader};

use super::echo::bytes;
use super::{Run, Scenario, rotated};
use crate::Outcome;
use crate::servers::{Extra, Participant, Running};

pub(crate) const MASK: Scenario = Scenario {
    name: "mask",
    title: "masking, in cache",
    unit: "GB/s",
    about: "Bytes masked in place in a second, the best of many runs of 4 MiB each. `raw` is memcpy, `floor` a loop over words of 8 \
            bytes. Libraries that keep their function private are not here. Cell: bytes at a time.",
    digits: 1,
    larger_is_better: true,
    run,
};

/// One way to use each: the function is the same.
const PARTICIPANTS: &[&str] = &["raw", "floor", "tautline", "fastwebsockets", "yawc", "sockudo-ws"];

fn run(run: &mut Run<'_>) -> Outcome {
    let participants = run.participants(|participant| PARTICIPANTS.contains(&participant.name));
    for round in 0..run.options.rounds {
        for participant in rotated(&participants, round) {
            match one(run, participant) {
                Ok(figures) => {
                    for (size, value) in figures {
                        let cell = bytes(size);
                        if run.options.wants_cell(&cell) {
                            run.record(
                                &cell,
                                participant.name,
                                round,
                                value,
                                Vec::new(),
                                String::new(),
                            );
                        }
                    }
                }
                Err(error) => run.fail(format!("{} mask: {error}", participant.name)),
            }
        }
    }
    Ok(())
}

fn one(run: &Run<'_>, participant: &Participant) -> Outcome<Vec<(usize, f64)>> {
    let mut running =
        Running::start(&run.options.places, participant, &["mask"], Extra::default())?;
    let mut figures = Vec::new();
    for line in BufReader::new(running.output()?).lines() {
        if let Some((size, value)) =
            line?.strip_prefix("mask ").and_then(|rest| rest.split_once(' '))
        {
            figures.push((size.parse()?, value.parse()?));
        }
    }
    if figures.is_empty() { Err("no figures".into()) } else { Ok(figures) }
}
