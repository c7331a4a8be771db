//! A server of the open internet under attack: `cargo run --release -p tautline-bench --bin siege --
//! [--seconds N] [--only CASE] [--quick] [--first]`
//!
//! The server is a process of one thread on core 0, with [`Config::public`](tautline::Config::public)
//! and the default limits, from which loopback is not exempt here. On core 1 are 100 healthy
//! connections, in a process that goes before everybody else there (a real-time priority, or at
//! least a better one), and the attacker, in one that comes last. Each healthy connection sends 16
//! bytes every 20 ms, by the clock and whatever has come back.
//!
//! For each attack: how long the healthy messages took before, during and after it; the server's
//! memory; and what was refused and why. What the generator itself adds is measured in the same
//! process by echoes in which the server has no part (`own`). A client that is new meanwhile is
//! measured too. Afterwards a new connection has to work.
//!
//! With `--first` the server goes before everybody else on its core, too: for a machine that has other
//! things to do. A server that takes all of its core is then stopped by the system now and then.
//!
//! Addresses are those of 127.0.0.0/8, and, for a /64, such that a trusted proxy names.

#[path = "../compressed.rs"]
mod compressed;
#[path = "../process.rs"]
mod process;
#[path = "../support.rs"]
mod support;

mod attack;
mod floods;
mod healthy;
mod run;
mod server;
mod tables;

use std::time::Duration;

use crate::run::Case;
use crate::support::{Result, option};

/// How long each part lasts, and how large an attack is relative to its full size.
#[derive(Clone, Copy, Debug)]
struct Options {
    time: Duration,
    /// Sizes are divided by this.
    part: usize,
    /// The server has a better priority.
    first: bool,
}

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", security] => runtime.block_on(server::serve(security == "tls")),
        ["healthy", uri, certificate] => runtime.block_on(healthy::run(uri, certificate)),
        ["attack", case, uri, part] => runtime.block_on(attack::run(case, uri, part.parse()?)),
        _ => measure(&words),
    }
}

fn measure(words: &[String]) -> Result {
    let quick = words.iter().any(|word| word == "--quick");
    let seconds = option(words, "--seconds", if quick { 2.0 } else { 30.0 })?;
    let only = option(words, "--only", String::new())?;
    let options = Options {
        time: Duration::from_secs_f64(seconds),
        part: if quick { 10 } else { 1 },
        first: words.iter().any(|word| word == "--first"),
    };
    let mut rows = Vec::new();
    for case in Case::all().iter().filter(|case| case.name.contains(&only)) {
        println!("{}: {}", case.name, case.what);
        let row = run::measure(case, options)?;
        println!("{row:?}");
        rows.push(row);
    }
    tables::print(&rows);
    Ok(())
}
