//! Sends each line of standard input, prints each text message: `cargo run --example client -- URL [--ca FILE]`
//!
//! At the end of input it waits a few seconds for replies that are still due (one for each line), then closes. It exits
//! with 0 after a clean close, else it says on standard error what went wrong.

use std::error::Error;
use std::time::Duration;

use tautline::{Client, ClientTls, Message};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};

const PATIENCE: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (mut uri, mut client) = (None, Client::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--ca" => client = client.tls(ClientTls::ca_file(words.next().ok_or("--ca FILE")?)?),
            _ => uri = Some(word),
        }
    }
    let mut ws = client.connect(uri.ok_or("usage: client URL [--ca FILE]")?).await?;
    let mut lines = BufReader::new(stdin()).lines();
    let (mut due, mut input_open) = (0u64, true);
    loop {
        tokio::select! {
            line = next_line(&mut lines), if input_open => match line? {
                Some(line) => {
                    ws.send(line).await?;
                    due += 1;
                }
                None => input_open = false,
            },
            message = ws.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    println!("{text}");
                    due = due.saturating_sub(1);
                }
                Some(Ok(Message::Binary(bytes))) => eprintln!("({} binary bytes)", bytes.len()),
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            () = tokio::time::sleep(PATIENCE), if !input_open && due > 0 => due = 0,
        }
        if !input_open && due == 0 {
            ws.close().await?;
            return Ok(());
        }
    }
}

async fn next_line(lines: &mut Lines<BufReader<Stdin>>) -> std::io::Result<Option<String>> {
    lines.next_line().await
}
