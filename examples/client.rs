//! Sends each line of standard input and prints each text message: `cargo run --example client --
//! URL [--ca FILE] [--deflate]`
//!
//! With `--deflate` it offers compression. At the end of input it waits a few seconds for
//! outstanding replies (one for each line), then closes. It exits with 0 after a clean close,
//! whatever the code, which is printed to standard error; otherwise standard error says what went
//! wrong.

#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use tautline::{BoxError, Client, ClientTls, Compression, Message};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long the end of input waits for each outstanding reply, for further messages, and in total.
const PATIENCE: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    support::exit_code(run().await)
}

async fn run() -> Result<(), BoxError> {
    let mut words = std::env::args().skip(1);
    let (mut uri, mut client) = (None, Client::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--ca" => {
                client = client.tls(ClientTls::from_ca_file(words.next().ok_or("--ca FILE")?)?);
            }
            "--deflate" => client = client.compression(Compression::new()),
            _ => uri = Some(word),
        }
    }
    let mut ws = client.connect(uri.ok_or("usage: client URL [--ca FILE] [--deflate]")?).await?;
    // A separate thread: tokio's standard input would delay the end of the program until the next
    // line.
    let (sender, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        std::io::stdin().lines().try_for_each(|line| sender.blocking_send(line))
    });
    let (mut due, mut input_ended) = (0u64, None);
    loop {
        let patience = Instant::now() + if due > 0 { PATIENCE } else { GRACE };
        let last = input_ended.map_or(patience, |ended| patience.min(ended + LONGEST));
        tokio::select! {
            line = lines.recv(), if input_ended.is_none() => match line.transpose()? {
                Some(line) => match ws.send(line).await {
                    Ok(()) => due += 1,
                    // `next` returns how it ended.
                    Err(tautline::Error::Closed) => {}
                    Err(error) => return Err(error.into()),
                },
                None => input_ended = Some(Instant::now()),
            },
            message = ws.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    println!("{}", support::one_line(&text));
                    due = due.saturating_sub(1);
                }
                Some(Ok(Message::Binary(bytes))) => eprintln!("({} binary bytes)", bytes.len()),
                Some(Err(error)) => return Err(error.into()),
                None => {
                    if let Some(close) = ws.close_frame() {
                        eprintln!("closed by the server: {close}");
                    }
                    return Ok(());
                }
            },
            () = tokio::time::sleep_until(last), if input_ended.is_some() => {
                ws.close().await?;
                return Ok(());
            }
        }
    }
}
