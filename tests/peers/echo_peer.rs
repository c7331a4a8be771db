//! The echo server that the Autobahn TestSuite, other implementations and browsers talk to: `cargo
//! run --example echo_peer -- [--listen ADDR] [--cert FILE --key FILE] [--deflate | --takeover]
//! [--pieces] [--send]`
//!
//! With a certificate it serves `wss`. With `--deflate` it compresses for clients that offer it,
//! without keeping context; with `--takeover` it accepts every offer, contexts included. With
//! `--pieces` it sends back the pieces of a message as they arrive. With `--send` each reply, or
//! each piece, is written before the next one is read. Any page may connect, because an echo
//! reveals nothing.

#[path = "../../examples/support/mod.rs"]
mod support;

use futures_util::{SinkExt, StreamExt};
use support::{arguments, flag, stopped};
use tautline::{BoxError, Compression, OriginPolicy, Server, ServerTls, WebSocket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = ["--deflate", "--takeover", "--pieces", "--send"];
    let [listen, cert, key] = arguments(["--listen", "--cert", "--key"], &flags)?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut server =
        Server::bind(listen).await?.origins(OriginPolicy::Any).with_graceful_shutdown(stopped());
    let mut scheme = "ws";
    if flag("--deflate") {
        server = server.compression(Compression::new());
    }
    if flag("--takeover") {
        server = server.compression(Compression::best_ratio().own_window_bits(15));
    }
    let (in_pieces, send) = (flag("--pieces"), flag("--send"));
    if let (Some(cert), Some(key)) = (cert, key) {
        server = server.tls(ServerTls::from_pem_files(cert, key)?);
        scheme = "wss";
    }
    println!("listening on {scheme}://{}", server.local_addr()?);
    server
        .serve(move |ws| async move {
            if in_pieces { pieces(ws, send).await } else { messages(ws, send).await }
        })
        .await?;
    Ok(())
}

async fn messages(mut ws: WebSocket, send: bool) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        if send {
            ws.send(message?).await?;
        } else {
            ws.feed(message?).await?;
        }
    }
    Ok(())
}

async fn pieces(ws: WebSocket, send: bool) -> Result<(), BoxError> {
    let (mut reader, mut writer) = ws.split();
    while let Some(mut message) = reader.next_message().await? {
        let mut answer = writer.message_writer(message.kind());
        while let Some(piece) = message.next().await {
            if send {
                answer.send(piece?).await?;
            } else {
                answer.feed(piece?).await?;
            }
        }
        answer.finish().await?;
    }
    Ok(())
}
