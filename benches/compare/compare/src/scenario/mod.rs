//! The scenarios, and what they have in common.

mod broadcast;
mod client;
mod connect;
mod cores;
mod deflate;
mod echo;
mod fairness;
mod http2;
mod hub;
mod idle;
mod json;
mod mask;
mod scaling;
mod storm;

use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;

use crate::load::{self, Load, Target, Window};
use crate::options::Options;
use crate::report;
use crate::servers::{self, ALL, Extra, Participant, Running};
use crate::{Outcome, sys};

pub(crate) use broadcast::COMPRESSED;
pub(crate) use cores::SHARED;

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    pub(crate) scenario: &'static str,
    pub(crate) cell: String,
    pub(crate) server: String,
    pub(crate) round: usize,
    pub(crate) value: f64,
    /// What else was seen, by name.
    pub(crate) more: Vec<(&'static str, f64)>,
    /// Words that belong to it, such as what was negotiated.
    pub(crate) note: String,
}

/// What a scenario is, for the report.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Of its figures.
    pub(crate) unit: &'static str,
    /// How its cells are named, and what a figure is.
    pub(crate) about: &'static str,
    /// Digits behind the point.
    pub(crate) digits: usize,
    pub(crate) larger_is_better: bool,
    pub(crate) run: fn(&mut Run<'_>) -> Outcome,
}

/// All of them, in order.
pub(crate) const ALL_SCENARIOS: &[&Scenario] = &[
    &echo::ECHO,
    &echo::TLS,
    &http2::HTTP2,
    &deflate::DEFLATE,
    &client::CLIENT,
    &connect::CONNECT,
    &broadcast::BROADCAST,
    &hub::HUB,
    &storm::STORM,
    &fairness::FAIRNESS,
    &idle::IDLE,
    &scaling::SCALING,
    &cores::CORES,
    &mask::MASK,
];

/// A run of the comparison.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) measurements: Vec<Measurement>,
    /// The generator's side of TLS.
    pub(crate) tls: Arc<ClientConfig>,
    scenario: &'static Scenario,
    /// What did not work, for the report.
    pub(crate) failures: Vec<String>,
}

impl Run<'_> {
    /// Those of these that were built and are wanted.
    pub(crate) fn participants(
        &self,
        takes_part: impl Fn(&Participant) -> bool,
    ) -> Vec<&'static Participant> {
        let wanted = |participant: &&Participant| {
            takes_part(participant)
                && self.options.wants_server(participant.name)
                && self.options.places.has(participant)
        };
        ALL.iter().filter(wanted).collect()
    }

    /// Keeps a figure and shows it.
    pub(crate) fn record(
        &mut self,
        cell: &str,
        server: &str,
        round: usize,
        value: f64,
        more: Vec<(&'static str, f64)>,
        note: String,
    ) {
        let Scenario { name: scenario, unit, digits, .. } = *self.scenario;
        println!(
            "{scenario:<9} {cell:<26} round {} {server:<24} {value:>10.digits$} {unit} {note}",
            round + 1
        );
        let (cell, server) = (cell.to_owned(), server.to_owned());
        self.measurements.push(Measurement { scenario, cell, server, round, value, more, note });
    }

    /// As [`record`](Self::record), for CPU time.
    pub(crate) fn record_window(
        &mut self,
        cell: &str,
        server: &str,
        round: usize,
        window: &Window,
    ) {
        self.record(cell, server, round, window.cpu_us(), more(window), String::new());
    }

    /// Remembers, once, that something did not work.
    pub(crate) fn fail(&mut self, what: String) {
        eprintln!("! {what}");
        if !self.failures.contains(&what) {
            self.failures.push(what);
        }
    }

    pub(crate) fn target(&self, server: &Running, tls: bool, raw: bool) -> Outcome<Target> {
        let tls = tls.then(|| self.tls.clone());
        Ok(Target { address: server.address()?, tls, offer: None, raw })
    }

    pub(crate) fn start(
        &self,
        participant: &Participant,
        task: &[&str],
        extra: Extra<'_>,
    ) -> Outcome<Running> {
        Ok(Running::server(&self.options.places, participant, task, extra)?)
    }
}

/// What else was seen in a window.
fn more(window: &Window) -> Vec<(&'static str, f64)> {
    vec![
        ("messages", window.messages as f64),
        ("wall_ms", window.wall.as_secs_f64() * 1e3),
        ("cpu_ms", window.cpu.as_secs_f64() * 1e3),
        ("server_utilisation", window.server_utilisation()),
        ("generator_utilisation", window.generator_utilisation()),
    ]
}

/// The order of a round: each time another one begins.
pub(crate) fn rotated<T: Copy>(items: &[T], by: usize) -> Vec<T> {
    let mut items = items.to_vec();
    if !items.is_empty() {
        let by = by % items.len();
        items.rotate_left(by);
    }
    items
}

/// Warms up and measures.
pub(crate) fn measure(
    run: &Run<'_>,
    load: &mut Load<'_>,
    (participant, server): (&Participant, &Running),
    in_flight: usize,
) -> Outcome<Window> {
    load.start(in_flight)?;
    load.warm_up(&[server.pid()], run.options.warm_up(participant.kind))?;
    Ok(load.measure(&[server.pid()], run.options.long())?)
}

/// Everything that is wanted.
pub(crate) fn run(options: &Options) -> Outcome {
    let begin = Instant::now();
    let network = match sys::private_network() {
        Ok(()) => {
            for (name, value) in [
                ("tcp_congestion_control", "reno"),
                ("ip_local_port_range", "1024 65535"),
                ("tcp_max_syn_backlog", "16384"),
                ("tcp_tw_reuse", "1"),
            ] {
                if let Err(error) = std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value) {
                    eprintln!("! net.ipv4.{name} could not be set: {error}");
                }
            }
            let _ = std::fs::write("/proc/sys/net/core/somaxconn", "16384");
            "a network namespace of its own"
        }
        Err(error) => {
            eprintln!("! no private network namespace: {error}");
            "the machine's own network"
        }
    };
    let congestion = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
    println!("loopback of {network}, congestion control {}", congestion.trim());
    println!("{} open files allowed", sys::raise_open_files()?);
    sys::pin(&[servers::GENERATOR_CORE])?;
    write_certificate(options)?;

    let mut run = Run {
        options,
        measurements: Vec::new(),
        tls: load::tls_client()?,
        scenario: ALL_SCENARIOS[0],
        failures: options.left_out.clone(),
    };
    for scenario in ALL_SCENARIOS.iter().filter(|scenario| options.wants_scenario(scenario.name)) {
        println!("\n== {}: {} ({})", scenario.name, scenario.title, scenario.unit);
        run.scenario = scenario;
        let start = Instant::now();
        (scenario.run)(&mut run)?;
        println!("{} took {:.0} s", scenario.name, start.elapsed().as_secs_f64());
    }
    let _ = std::fs::remove_dir_all(&options.places.tls);
    println!("\nmeasured in {:.0} s", begin.elapsed().as_secs_f64());
    report::write(&run, &format!("{network}, {}", congestion.trim()))
}

/// One certificate for all servers.
fn write_certificate(options: &Options) -> Outcome {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    std::fs::create_dir_all(&options.places.tls)?;
    std::fs::write(options.places.tls.join("cert.pem"), made.cert.pem())?;
    std::fs::write(options.places.tls.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(())
}
