//! Many WebSockets over one HTTP/2 connection: `cargo run --example http2_client -- URL [COUNT]
//! [--ca FILE]`
//!
//! Each says hello and waits for the reply. A `ws:` URL must be that of a server that begins with
//! HTTP/2; for `wss:`, the server decides, and HTTP/1.1 is what is left if it has no HTTP/2.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::process::ExitCode;

use tautline::{BoxError, Client, ClientTls, Http2};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> ExitCode {
    support::exit_code(run().await)
}

async fn run() -> Result<(), BoxError> {
    let mut words = std::env::args().skip(1);
    let (mut uri, mut count, mut client) = (None, 10, Client::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--ca" => {
                client = client.tls(ClientTls::from_ca_file(words.next().ok_or("--ca FILE")?)?);
            }
            _ if uri.is_none() => uri = Some(word),
            _ => count = word.parse()?,
        }
    }
    let uri = uri.ok_or("usage: http2_client URL [COUNT] [--ca FILE]")?;
    // Without TLS nothing tells what the server speaks.
    let mode = if uri.starts_with("wss:") { Http2::Auto } else { Http2::Prior };
    let client = client.http2(mode);

    let mut greeting = JoinSet::new();
    for number in 1..=count {
        let (client, uri) = (client.clone(), uri.clone());
        greeting.spawn(async move { greet(&client, &uri, number).await });
    }
    let mut versions = BTreeSet::new();
    while let Some(version) = greeting.join_next().await {
        versions.insert(version??);
    }
    println!("{count} WebSockets over {}", versions.into_iter().collect::<Vec<_>>().join(", "));
    Ok(())
}

/// Returns the version of HTTP.
async fn greet(client: &Client, uri: &str, number: usize) -> Result<String, BoxError> {
    let mut ws = client.connect(uri).await?;
    let hello = format!("hello {number}");
    ws.send(&hello).await?;
    let reply = ws.next().await.ok_or("closed without a reply")??;
    if reply.as_text() != Some(&hello) {
        return Err(format!("{number}: the reply is {reply}").into());
    }
    ws.close().await?;
    Ok(format!("{:?}", ws.http_version()))
}
