//! The libraries' clients: each sends back whatever it receives, to an echo server that is the same
//! for all.

use super::echo::bytes;
use super::{Run, Scenario, rotated};
use crate::Outcome;
use crate::load::{Peer, Window};
use crate::servers::{Extra, Kind, Participant, Running};

pub(crate) const CLIENT: Scenario = Scenario {
    name: "client",
    title: "clients: one message received and one sent",
    unit: "us",
    about: "CPU time of the client for each message there and back, in microseconds. Cell: connections / messages in flight / bytes.",
    digits: 3,
    larger_is_better: false,
    run,
};

const IN_FLIGHT: usize = 64;
const PAYLOADS: &[usize] = &[16, 1024, 64 * 1024];

fn run(run: &mut Run<'_>) -> Outcome {
    let wanted = |participant: &Participant| {
        let one_of = !matches!(participant.name, "raw" | "yawc" | "sockudo-ws" | "sockudo-ws-raw");
        one_of && !participant.is_variant() && participant.kind != Kind::JavaScript
    };
    let participants = run.participants(wanted);
    for round in 0..run.options.rounds {
        for (number, &payload) in PAYLOADS.iter().enumerate() {
            let cell = format!("1/{IN_FLIGHT}/{}", bytes(payload));
            if !run.options.wants_cell(&cell) {
                continue;
            }
            for participant in rotated(&participants, round * 3 + number) {
                match one(run, participant, payload) {
                    Ok(window) => run.record_window(&cell, participant.name, round, &window),
                    Err(error) => {
                        run.fail(format!("{} as a client {cell}: {error}", participant.name));
                    }
                }
            }
        }
    }
    Ok(())
}

fn one(run: &Run<'_>, participant: &Participant, payload: usize) -> Outcome<Window> {
    let peer = Peer::bind()?;
    let (address, in_flight) = (peer.address()?.to_string(), IN_FLIGHT.to_string());
    let task = ["client", &address, &in_flight, &payload.to_string()];
    let client = Running::start(&run.options.places, participant, &task, Extra::default())?;
    let mut guest = peer.accept()?;
    guest.run(client.pid(), run.options.warm_up(participant.kind))?;
    Ok(guest.run(client.pid(), run.options.long())?)
}
