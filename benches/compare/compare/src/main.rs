//! Runs the comparison: `cargo xtask bench compare` builds everything and then starts this program.
#![allow(clippy::cast_possible_truncation, reason = "lengths and counts of this program fit")]

mod frames;
mod load;
mod options;
mod report;
mod scenario;
mod servers;
mod sys;

use std::process::ExitCode;

/// What may fail.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match options::Options::parse(std::env::args().skip(1))
        .and_then(|options| scenario::run(&options))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
