//! The echo server that the Autobahn TestSuite, other implementations and browsers talk to: `cargo
//! run --example echo_peer -- [--listen ADDR] [--cert FILE --key FILE] [--http2 | --http2-only]
//! [--deflate | --takeover] [--pieces] [--send] [--leave-files] [--page FILE]`
//!
//! With a certificate it serves `wss`. With `--http2` it serves HTTP/2 as well: by ALPN under TLS, and
//! to clients that start with it otherwise. With `--http2-only` a WebSocket over HTTP/1.1 fails at once,
//! which shows whether a proxy does what it is told. With `--deflate` it compresses for clients that offer it,
//! without keeping context; with `--takeover` it accepts every offer, contexts included. With
//! `--pieces` it sends back the pieces of a message as they arrive. With `--send` each reply, or
//! each piece, is written before the next one is read. With `--leave-files` the limit of open files
//! and the maximum of connections are left as they are. Any page may connect, because an echo
//! reveals nothing.
//!
//! With `--page` it serves this page, and prints what a test wants to know: `opened VERSION PEER` for
//! each WebSocket, `closed CODE` or `failed: WHY` for its end, and `told WHAT` for each request with
//! this query.

#[path = "../../examples/support/mod.rs"]
mod support;

use futures_util::{SinkExt, StreamExt};
use support::{arguments, flag, stopped};
use tautline::bytes::Bytes;
use tautline::http::{Response, Version, header};
use tautline::{BoxError, Compression, Http2Config, OriginPolicy, Server, ServerTls, WebSocket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = [
        "--deflate",
        "--takeover",
        "--pieces",
        "--send",
        "--http2",
        "--http2-only",
        "--leave-files",
    ];
    let names = ["--listen", "--cert", "--key", "--page"];
    let [listen, cert, key, page] = arguments(names, &flags)?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut server =
        Server::bind(listen).await?.origins(OriginPolicy::Any).with_graceful_shutdown(stopped());
    let mut scheme = "ws";
    if flag("--leave-files") {
        server = server.fit_open_files(false);
    }
    if flag("--deflate") {
        server = server.compression(Compression::new());
    }
    if flag("--takeover") {
        server = server.compression(Compression::best_ratio().own_window_bits(15));
    }
    let only = flag("--http2-only");
    if only || flag("--http2") {
        server = server.http2(Http2Config::new());
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        server = server.tls(ServerTls::from_pem_files(cert, key)?);
        scheme = "wss";
    }
    let tell = page.is_some();
    if let Some(page) = page {
        server = serve_page(server, std::fs::read(page)?.into());
    }
    let (in_pieces, send) = (flag("--pieces"), flag("--send"));
    println!("listening on {scheme}://{}", server.local_addr()?);
    server
        .serve(move |mut ws| async move {
            if only && ws.http_version() != Version::HTTP_2 {
                return Err("not over HTTP/2".into());
            }
            if tell {
                return told(&mut ws).await;
            }
            if in_pieces { pieces(ws, send).await } else { messages(&mut ws, send).await }
        })
        .await?;
    Ok(())
}

/// Answers everything with this page, and prints the queries.
fn serve_page(server: Server, page: Bytes) -> Server {
    server.fallback(move |request, _| {
        if let Some(query) = request.uri().query() {
            println!("told {query}");
        }
        let mut response = Response::new(page.clone());
        let html = header::HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        async { response }
    })
}

async fn told(ws: &mut WebSocket) -> Result<(), BoxError> {
    let version = if ws.http_version() == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" };
    let peer = ws.peer_addr().map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    println!("opened {version} {peer}");
    let outcome = messages(ws, false).await;
    match (&outcome, ws.close_frame()) {
        (Err(error), _) => println!("failed: {error}"),
        (Ok(()), Some(close)) => println!("closed {}", close.code().as_u16()),
        (Ok(()), None) => println!("closed"),
    }
    outcome
}

async fn messages(ws: &mut WebSocket, send: bool) -> Result<(), BoxError> {
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
