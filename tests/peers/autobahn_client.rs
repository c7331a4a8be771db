//! The client that the Autobahn TestSuite tests: `cargo run --release --example autobahn_client --
//! ws://127.0.0.1:9001 [--deflate] [--http2] [--pieces] [--ca FILE]`
//!
//! Asks the suite how many cases there are, runs each as an echo, and has the report written. The
//! agent is `tautline`. With `--deflate` it offers compression in every case, with `--http2` it uses
//! HTTP/2, with prior knowledge. With `--pieces` it sends back the pieces of a message as they
//! arrive. With `--ca` it trusts this authority.

use std::error::Error;

use tautline::{Client, ClientTls, Compression, Http2, WebSocket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (mut base, mut client, mut in_pieces) = (None, Client::new(), false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--ca" => {
                client = client.tls(ClientTls::from_ca_file(words.next().ok_or("--ca FILE")?)?);
            }
            "--deflate" => {
                client = client.compression(Compression::best_ratio().own_window_bits(15));
            }
            "--http2" => client = client.http2(Http2::Prior),
            "--pieces" => in_pieces = true,
            _ => base = Some(word),
        }
    }
    let base =
        base.ok_or("usage: autobahn_client URL [--deflate] [--http2] [--pieces] [--ca FILE]")?;
    let base = base.trim_end_matches('/');
    let mut count = client.connect(format!("{base}/getCaseCount")).await?;
    let cases = count.next().await.ok_or("the suite closed without a number")??;
    let cases: u32 = cases.as_text().unwrap_or_default().trim().parse()?;
    while count.next().await.is_some() {}
    for case in 1..=cases {
        let mut ws = client.connect(format!("{base}/runCase?case={case}&agent=tautline")).await?;
        // The suite judges how a case ends: most cases are about errors.
        if in_pieces {
            pieces(ws).await;
            continue;
        }
        while let Some(Ok(message)) = ws.next().await {
            // If it cannot be sent, `next` reports why, after what the peer sent before.
            let _ = ws.send(message).await;
        }
    }
    let mut report = client.connect(format!("{base}/updateReports?agent=tautline")).await?;
    while report.next().await.is_some() {}
    println!("{cases} cases run");
    Ok(())
}

async fn pieces(ws: WebSocket) {
    let (mut reader, mut writer) = ws.split();
    while let Ok(Some(mut message)) = reader.next_message().await {
        let mut answer = writer.message_writer(message.kind());
        let copied = tokio::io::copy_buf(&mut message, &mut answer).await;
        if copied.is_err() || answer.finish().await.is_err() {
            break;
        }
    }
    // A writer learns of the end at once; what is left of it is for the reader to do.
    while let Some(Ok(_)) = reader.next().await {}
}
