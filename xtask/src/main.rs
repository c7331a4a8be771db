//! The project's checks: `cargo xtask` prints what there is. Each step is a command line that
//! anyone could type, and is printed before it runs.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod acme;
mod api;
mod arrows;
mod autobahn;
mod browser;
mod compare;
mod forward_proxies;
mod fuzz;
mod hub;
mod instructions;
mod interop;
mod interop_http2;
mod licenses;
mod package;
mod project;
mod proxies;
mod proxy_files;
mod rules;
mod rust;
mod scripts;
mod shell;
mod signature;
mod software;
mod spdx;
mod structure;
mod suites;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use shell::{Failure, Outcome};

/// A command of `cargo xtask`, with the options that it takes.
struct Check {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Outcome,
}

/// All that `test` runs, in this order.
const CHECKS: &[Check] = &[
    Check { name: "fmt", about: "formatting", run: |args| none(args).and_then(|()| rust::fmt()) },
    Check {
        name: "clippy",
        about: "lints, with every set of features; --aws-lc-rs adds that provider (slow)",
        run: rust::clippy,
    },
    Check {
        name: "unit",
        about: "cargo test of the workspace",
        run: |args| none(args).and_then(|()| rust::unit()),
    },
    Check {
        name: "features",
        about: "cargo test of each library, with every set of features; --aws-lc-rs as above",
        run: rust::features,
    },
    Check {
        name: "loom",
        about: "the wakers of the two halves in every order",
        run: |args| none(args).and_then(|()| rust::loom()),
    },
    Check {
        name: "docs",
        about: "the documentation, without warnings",
        run: |args| none(args).and_then(|()| rust::docs()),
    },
    Check { name: "api", about: "the public API against docs/api [--bless]", run: api::check },
    Check {
        name: "package",
        about: "what is published: its files, and the documentation's tests of the unpacked packages",
        run: |args| none(args).and_then(|()| package::check()),
    },
    Check {
        name: "licenses",
        about: "the licenses of what we depend on",
        run: |args| none(args).and_then(|()| licenses::check()),
    },
    Check {
        name: "structure",
        about: "what may depend on and import what, and where unsafe code may stand",
        run: |args| none(args).and_then(|()| structure::check()),
    },
    Check {
        name: "rules",
        about: "that the tests named in docs/rfc6455.md, docs/rfc8441.md and docs/rfc9112.md exist",
        run: |args| none(args).and_then(|()| rules::check()),
    },
    Check {
        name: "instructions",
        about: "instructions per message against benches/instructions.txt [--bless]",
        run: instructions::check,
    },
    Check {
        name: "autobahn",
        about: "the Autobahn TestSuite [--role server|client] [--cases 1.*,2.*] [--wss] [--http2] [--all]",
        run: autobahn::check,
    },
    Check {
        name: "interop",
        about: "other implementations, as clients and as servers [--http2]",
        run: interop::check,
    },
    Check {
        name: "proxies",
        about: "behind nginx, HAProxy and Caddy, with the files of docs/proxies",
        run: |args| none(args).and_then(|()| proxy_files::check()),
    },
    Check {
        name: "forward-proxies",
        about: "through Squid, tinyproxy, Dante and microsocks; the environment's rules against curl",
        run: |args| none(args).and_then(|()| forward_proxies::check()),
    },
    Check {
        name: "software",
        about: "our client and servers of others: websockets behind nginx and HAProxy, NATS, Node-RED",
        run: |args| none(args).and_then(|()| software::check()),
    },
    Check {
        name: "hub",
        about: "the hub's brokers against Redis and NATS",
        run: |args| none(args).and_then(|()| hub::check()),
    },
    Check {
        name: "acme",
        about: "certificates of an ACME authority, and their renewal",
        run: |args| none(args).and_then(|()| acme::check()),
    },
    Check {
        name: "browser",
        about: "the chat, the trading feed, the game and the echo server in Chromium, and over HTTP/2 in Firefox too [--http2]",
        run: browser::check,
    },
    Check {
        name: "fuzz",
        about: "the fuzz targets over their corpus, and a little on [TARGET] [--seconds N]",
        run: fuzz::check,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = project::enter().and_then(|()| dispatch(&args));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Outcome {
    let (name, options) = match args.split_first() {
        Some((name, options)) => (name.as_str(), options),
        None => ("help", &[][..]),
    };
    match name {
        "test" => none(options).and_then(|()| all(CHECKS.iter())),
        "ci" => none(options).and_then(|()| ci()),
        "bench" => match options.split_first() {
            Some((word, options)) if word == "compare" => compare::run(options),
            _ => rust::bench(options),
        },
        "help" | "--help" | "-h" => {
            help();
            Ok(())
        }
        _ => {
            let known = |name: &String| CHECKS.iter().find(|check| check.name == *name);
            if let Some(checks) = args.iter().map(known).collect::<Option<Vec<_>>>() {
                return all(checks.into_iter());
            }
            let Some(check) = known(&name.to_owned()) else {
                help();
                return Err(Failure::Failed(format!("there is no `{name}`")));
            };
            one(check, options).map(drop)
        }
    }
}

/// Runs the checks up to the first that fails, and says what each took.
fn all<'a>(checks: impl Iterator<Item = &'a Check>) -> Outcome {
    let mut rows = Vec::new();
    let mut outcome = Ok(());
    for check in checks {
        let start = Instant::now();
        let result = one(check, &[]);
        let word = match &result {
            Ok(Ran::Passed) => "passed",
            Ok(Ran::Skipped) => "skipped",
            Err(_) => "FAILED",
        };
        rows.push((check.name, word, start.elapsed()));
        if let Err(failure) = result {
            outcome = Err(failure);
            break;
        }
    }
    println!();
    for (name, word, took) in &rows {
        println!("{name:<15} {word:<8} {:>6.1} s", took.as_secs_f64());
    }
    let total: Duration = rows.iter().map(|(_, _, took)| *took).sum();
    println!("{:<15} {:<8} {:>6.1} s", "all", "", total.as_secs_f64());
    outcome
}

enum Ran {
    Passed,
    Skipped,
}

/// Runs one check. What cannot run for want of a tool is skipped, but never in CI.
fn one(check: &Check, options: &[String]) -> Outcome<Ran> {
    println!("\n== {}: {}", check.name, check.about);
    match (check.run)(options) {
        Ok(()) => Ok(Ran::Passed),
        Err(Failure::Missing(what)) if !project::in_ci() => {
            println!("{}: skipped: {what}", check.name);
            Ok(Ran::Skipped)
        }
        Err(Failure::Missing(what) | Failure::Failed(what)) => {
            Err(Failure::Failed(format!("{} failed: {what}", check.name)))
        }
    }
}

/// `test` as CI runs it: `CI=true cargo xtask test`.
fn ci() -> Outcome {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Failed(format!("own program not found: {error}")))?;
    let status = Command::new(program)
        .arg("test")
        .env("CI", "true")
        .status()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::Failed("CI would fail".to_owned())) }
}

/// Refuses options where there are none.
fn none(args: &[String]) -> Outcome {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(Failure::Failed(format!("`{arg}` is not an option here"))),
    }
}

fn help() {
    println!("cargo xtask COMMAND [OPTIONS]\n");
    println!("  {:<15} everything below, in this order, up to the first failure", "test");
    println!("  {:<15} the same with CI=true: what cannot run is a failure", "ci");
    for check in CHECKS {
        println!("  {:<15} {}", check.name, check.about);
    }
    println!("  {:<15} memory of idle connections [--connections N] [--payload BYTES]", "bench");
    println!(
        "  {:<15} compare [--quick] [--only SCENARIO,..] [--rounds N]: with other libraries",
        "bench"
    );
    println!("\nSeveral commands without options may stand in one line.");
}
