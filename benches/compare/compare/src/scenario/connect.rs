//! The libraries' clients: each opens a connection and closes it, again and again, to a server that
//! is the same for all.

use super::{Run, Scenario, rotated};
use crate::Outcome;
use crate::load::{Host, Visits, tls_server};
use crate::servers::{Extra, OWN_TLS, Participant, Running};

pub(crate) const CONNECT: Scenario = Scenario {
    name: "connect",
    title: "clients: connect and close",
    unit: "us",
    about: "CPU time of the client for each connection, in microseconds: TCP, TLS 1.3, the opening handshake, the closing one, the end \
            of TLS and TCP. One after the other, to an IP address, with one set of rustls settings that is the same for all but \
            `tautline-own-tls`, which has those that Tautline makes itself. Cell: `wss resumed` goes on with sessions of connections \
            before, `wss full` keeps none, `ws` is without TLS.",
    digits: 1,
    larger_is_better: false,
    run,
};

/// Name, TLS, whether sessions are kept.
const CELLS: &[(&str, bool, &str)] =
    &[("wss resumed", true, "yes"), ("wss full", true, "no"), ("ws", false, "no")];
/// Those that have a client of their own, and `floor`.
const CLIENTS: &[&str] = &[
    "floor",
    "tautline",
    OWN_TLS,
    "fastwebsockets",
    "tokio-websockets",
    "yawc",
    "tungstenite",
    "tungstenite-tuned",
];
/// A full handshake takes half a millisecond: windows are longer than elsewhere.
const LONGER: u32 = 3;
/// With sessions that are kept, so many of the connections at least must have resumed one.
const RESUMED: f64 = 0.99;

fn run(run: &mut Run<'_>) -> Outcome {
    let participants = run.participants(|participant| CLIENTS.contains(&participant.name));
    for round in 0..run.options.rounds {
        for (number, cell) in CELLS.iter().enumerate() {
            if !run.options.wants_cell(cell.0) {
                continue;
            }
            for participant in rotated(&participants, round * 3 + number) {
                if participant.name == OWN_TLS && cell.2 == "no" {
                    continue;
                }
                match one(run, participant, cell) {
                    Ok(visits) => {
                        let value = visits.cpu.as_secs_f64() * 1e6 / visits.count as f64;
                        let more = more(&visits, cell.1);
                        run.record(cell.0, participant.name, round, value, more, String::new());
                    }
                    Err(error) => {
                        run.fail(format!("{} connecting, {}: {error}", participant.name, cell.0));
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
    &(_, secure, resume): &(&str, bool, &str),
) -> Outcome<Visits> {
    let places = &run.options.places;
    let tls = secure.then(|| tls_server(&places.tls)).transpose()?;
    let host = Host::bind(tls)?;
    let address = host.address()?.to_string();
    let extra = Extra { tls: secure, resume: Some(resume), ..Extra::default() };
    let client = Running::start(places, participant, &["connect", &address], extra)?;
    host.run(client.pid(), run.options.warm_up(participant.kind))?;
    let visits = host.run(client.pid(), run.options.long() * LONGER)?;
    if secure {
        let share = share_resumed(&visits);
        if resume == "yes" && share < RESUMED {
            return Err(format!("{:.0} % of the sessions were resumed", share * 100.0).into());
        }
        if resume == "no" && visits.resumed > 0 {
            return Err("sessions were resumed".into());
        }
    }
    Ok(visits)
}

fn share_resumed(visits: &Visits) -> f64 {
    visits.resumed as f64 / visits.count.max(1) as f64
}

/// What else was seen.
fn more(visits: &Visits, secure: bool) -> Vec<(&'static str, f64)> {
    let mut more = vec![
        ("connections", visits.count as f64),
        ("wall_ms", visits.wall.as_secs_f64() * 1e3),
        ("cpu_ms", visits.cpu.as_secs_f64() * 1e3),
    ];
    if secure {
        more.push(("resumed", share_resumed(visits)));
    }
    more
}
