//! What several examples need and has nothing to do with WebSocket.
#![allow(dead_code, reason = "each example uses a part")]

use std::process::ExitCode;

use tautline::BoxError;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

/// How a program ends: standard error has what went wrong, with its causes.
pub(crate) fn exit_code(result: Result<(), BoxError>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprint!("error: {error}");
    // Each error describes itself alone; its cause is its source.
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

/// Whether this word is on the command line.
pub(crate) fn flag(name: &str) -> bool {
    std::env::args().any(|word| word == name)
}

/// The values of these options on the command line, in the order of the names. The only other words
/// allowed are these flags.
pub(crate) fn arguments<const N: usize>(
    names: [&str; N],
    flags: &[&str],
) -> Result<[Option<String>; N], String> {
    let mut values = [const { None }; N];
    let mut words = std::env::args().skip(1).filter(|word| !flags.contains(&word.as_str()));
    while let Some(word) = words.next() {
        let place = names.iter().position(|name| *name == word);
        let place = place
            .ok_or_else(|| format!("unknown option {word}; there are {names:?} and {flags:?}"))?;
        values[place] = Some(words.next().ok_or_else(|| format!("{word} needs a value"))?);
    }
    Ok(values)
}

/// A text as one line, so that no control character from the peer reaches the terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => line.push(c),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// Ready when the process is asked to end, by SIGINT (Ctrl+C) or SIGTERM. From this call on, not
/// only from the first poll, these signals do not kill it.
#[cfg(unix)]
pub(crate) fn stopped() -> impl Future<Output = ()> {
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        let [Ok(mut interrupt), Ok(mut terminate)] = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

/// Ready at Ctrl+C.
#[cfg(not(unix))]
pub(crate) async fn stopped() {
    drop(tokio::signal::ctrl_c().await);
}
