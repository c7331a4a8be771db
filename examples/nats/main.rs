//! Subscribes, and publishes, at a NATS server over its WebSocket listener:
//!
//!     cargo run --example nats -- --server URL --subscribe SUBJECT [--count MESSAGES]
//!     cargo run --example nats -- --server URL --publish SUBJECT
//!
//! The first prints each message, `SUBJECT: TEXT`, and stays connected whatever happens to the server
//! or the network; the second publishes each line of standard input. With `--user NAME` it logs in
//! with the password in the environment's `NATS_PASSWORD`; there are `--ca FILE` and `--deflate`, too.
//! The server needs `websocket { listen: "127.0.0.1:8080", no_tls: true }` in its configuration.
//!
//! To NATS, a WebSocket is a stream of bytes: a message of the one has a part of a message of the
//! other, or several. So what arrives goes through a decoder (`protocol.rs`), and what is sent may be
//! put together. What is published while a connection is lost is gone: plain NATS keeps nothing.

#[path = "../support/mod.rs"]
mod support;

mod protocol;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tautline::bytes::Bytes;
use tautline::reconnect::{Backoff, Cause, Event, Verdict};
use tautline::{BoxError, Client, ClientTls, CloseCode, Compression, Config, WebSocket};
use tokio::sync::mpsc;

use crate::protocol::{Decoder, Login, Operation, PING, PONG, Subject};

/// How long the first retry waits at most.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    support::exit_code(run().await)
}

async fn run() -> Result<(), BoxError> {
    let names = ["--server", "--subscribe", "--publish", "--count", "--user", "--ca"];
    let [server, follow, publish, count, user, ca] = support::arguments(names, &["--deflate"])?;
    let server = server.as_deref().unwrap_or("ws://127.0.0.1:8080");
    let count = count.map(|count| count.parse()).transpose()?.unwrap_or(u64::MAX);
    // On the command line, others could read it.
    let password = || std::env::var("NATS_PASSWORD").map_err(|_| "NATS_PASSWORD is not set");
    let login =
        user.map(|user| Ok::<_, &str>(Login { user, password: password()? })).transpose()?;
    // A network that is gone is noticed after six seconds.
    let config =
        Config::new().ping_interval(Duration::from_secs(4)).ping_timeout(Duration::from_secs(2));
    let mut client = Client::new().config(config);
    if let Some(ca) = ca {
        client = client.tls(ClientTls::from_ca_file(ca)?);
    }
    if support::flag("--deflate") {
        client = client.compression(Compression::new());
    }
    match (follow, publish) {
        (Some(subject), None) => subscribe(&client, server, login, &subject.parse()?, count).await,
        (None, Some(subject)) => {
            let ws = client.connect(server).await?;
            publish_lines(ws, login, &subject.parse()?).await
        }
        _ => Err("either --subscribe SUBJECT or --publish SUBJECT".into()),
    }
}

/// Prints the messages of a subject, and subscribes again on each new connection.
async fn subscribe(
    client: &Client,
    server: &str,
    login: Option<Login>,
    subject: &Subject,
    count: u64,
) -> Result<(), BoxError> {
    let hello = protocol::connect(login.as_ref()) + &protocol::subscribe(subject) + PING;
    let hello = Bytes::from(hello);
    let mut feed = client
        .reconnecting(server)
        .backoff(Backoff::new().first(FIRST).max(LONGEST))
        .decide(verdict)
        .on_connect(move |mut ws| {
            let hello = hello.clone();
            async move {
                ws.send(hello).await?;
                Ok(ws)
            }
        });
    let sender = feed.sender();
    let mut stopped = std::pin::pin!(support::stopped());
    let mut decoder = Decoder::default();
    let mut received = 0;
    while received < count {
        let event = tokio::select! {
            event = feed.next() => event.ok_or("closed")??,
            () = &mut stopped => break,
        };
        match event {
            // Half an operation of the last connection is worth nothing on this one.
            Event::Connected(_) => decoder = Decoder::default(),
            Event::Disconnected(event) => {
                println!("disconnected: {}; back in {:?}", event.cause(), event.retry_in());
            }
            Event::Message(message) => decoder.push(message.as_bytes()),
            _ => {}
        }
        while received < count
            && let Some(operation) = decoder.next()?
        {
            match operation {
                Operation::Info { version, .. } => println!("connected to NATS {version}"),
                // This one is the answer to that in `hello`.
                Operation::Pong => println!("subscribed"),
                // Whoever polls the stream must not wait for it. Without a connection nobody is
                // there to be answered.
                Operation::Ping => drop(sender.try_send(Bytes::from(PONG))),
                Operation::Message(message) => {
                    let text = String::from_utf8_lossy(&message.payload);
                    println!("{}: {}", message.subject, support::one_line(&text));
                    received += 1;
                }
                Operation::Err(refusal) if refusal.is_temporary() => println!("{refusal}"),
                Operation::Err(refusal) => return Err(refusal.into()),
                Operation::Ok => {}
            }
        }
    }
    feed.close().await;
    Ok(())
}

/// Whether to connect again. A server of NATS says in its own protocol what is wrong with credentials
/// or a subject; so a Close with 1008, which usually is no reason to come back, is for a client that was
/// too slow, or one too many.
fn verdict(cause: &Cause) -> Verdict {
    match cause {
        Cause::Closed(close) if close.code() == CloseCode::POLICY_VIOLATION => Verdict::Retry,
        _ => cause.verdict(),
    }
}

/// Publishes each line of standard input. At its end, the server has them all, or this is an error.
async fn publish_lines(
    mut ws: WebSocket,
    login: Option<Login>,
    subject: &Subject,
) -> Result<(), BoxError> {
    let mut decoder = Decoder::default();
    let Operation::Info { max_payload, .. } = next(&mut ws, &mut decoder).await? else {
        return Err("the server did not begin with INFO".into());
    };
    send(&mut ws, &mut decoder, protocol::connect(login.as_ref())).await?;
    let mut lines = lines();
    let mut ended = false;
    loop {
        tokio::select! {
            line = lines.recv(), if !ended => match line.transpose()? {
                Some(line) if line.len() > max_payload => {
                    let length = line.len();
                    return Err(format!("{length} bytes, and the server takes {max_payload}").into());
                }
                Some(line) => {
                    send(&mut ws, &mut decoder, protocol::publish(subject, &line)).await?;
                }
                None => {
                    ended = true;
                    send(&mut ws, &mut decoder, PING).await?;
                }
            },
            operation = next(&mut ws, &mut decoder) => match operation? {
                Operation::Ping => send(&mut ws, &mut decoder, PONG).await?,
                Operation::Pong if ended => return Ok(ws.close().await?),
                Operation::Err(refusal) => return Err(refusal.into()),
                _ => {}
            },
        }
    }
}

/// Sends this. If that fails, the server may have said why before it hung up: what has arrived is there
/// to be read.
async fn send(
    ws: &mut WebSocket,
    decoder: &mut Decoder,
    operation: impl Into<Bytes>,
) -> Result<(), BoxError> {
    if ws.send(operation.into()).await.is_ok() {
        return Ok(());
    }
    loop {
        if let Operation::Err(refusal) = next(ws, decoder).await? {
            return Err(refusal.into());
        }
    }
}

/// The next operation of the server. Cancel safe: what has arrived is in the decoder.
async fn next(ws: &mut WebSocket, decoder: &mut Decoder) -> Result<Operation, BoxError> {
    loop {
        if let Some(operation) = decoder.next()? {
            return Ok(operation);
        }
        let Some(message) = ws.next().await.transpose()? else {
            let close = ws.close_frame().map(ToString::to_string).unwrap_or_default();
            return Err(format!("the server closed the connection with {close}").into());
        };
        decoder.push(message.as_bytes());
    }
}

/// Those of standard input, from a thread of their own: tokio's standard input would delay the end of
/// the program until the next line.
fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || io::stdin().lines().try_for_each(|line| sender.blocking_send(line)));
    lines
}
