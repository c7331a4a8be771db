//! WebSockets as streams of one HTTP/2 connection, beside an echo of DATA on the bare `h2` crate:
//! `cargo run --release -p tautline-bench --bin http2 -- [--rounds N] [--millis N]`
//!
//! The server is a process of its own, one of three: `raw` sends the DATA of a stream back as it
//! is; `tautline` is `Server::http2`; `hyper` is a WebSocket of this crate over a stream that hyper
//! has upgraded. The client sends a frame on each stream and waits for the echo, again and again.
//! What counts is the CPU time of the server for each message, as a ratio to that of `raw`. Then
//! the memory of an idle stream.

mod process;
mod support;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tautline::{Http2Config, Role, Server, Transport, WebSocket, http};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::process::{Process, resident};
use crate::support::{Result, option};

const SERVERS: [&str; 3] = ["raw", "tautline", "hyper"];
const STREAMS: [usize; 3] = [1, 16, 256];
const SIZES: [usize; 2] = [16, 16 << 10];
/// How many streams are opened to see what an idle one takes.
const IDLE: usize = 2000;
const MAX_STREAMS: u32 = 4096;

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words[..] {
        ["serve", "raw"] => runtime.block_on(serve_raw()),
        ["serve", "tautline"] => runtime.block_on(serve_tautline()),
        ["serve", "hyper"] => runtime.block_on(serve_hyper()),
        ["load", address, reply, streams, size, millis] => {
            let time = Duration::from_millis(millis.parse()?);
            runtime.block_on(load(address, reply, streams.parse()?, size.parse()?, time))
        }
        ["idle", address] => runtime.block_on(idle(address)),
        _ => measure(),
    }
}

fn measure() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rounds = option(&words, "--rounds", 5_usize)?;
    let millis = option(&words, "--millis", 1000_u64)?.to_string();
    println!("server CPU per message in us, median of {rounds} rounds, and its ratio to raw");
    for streams in STREAMS {
        for size in SIZES {
            let mut figures = [const { Vec::new() }; SERVERS.len()];
            for _ in 0..rounds {
                for (server, figures) in SERVERS.iter().zip(&mut figures) {
                    figures.push(cell(server, streams, size, &millis)?);
                }
            }
            let [raw, tautline, hyper] = figures.map(median);
            println!(
                "{streams:>3} streams, {size:>5} B: raw {raw:.2}, tautline {tautline:.2} ({:.2}), hyper {hyper:.2} ({:.2})",
                tautline / raw,
                hyper / raw,
            );
        }
    }
    for name in SERVERS {
        let mut server = Process::start("0", &["serve", name], &[])?;
        let address = server.line()?;
        let before = resident(server.id())?;
        let mut client = Process::start("1", &["idle", &address], &[])?;
        client.line()?;
        let held = resident(server.id())?.saturating_sub(before) * 1024;
        println!("an idle stream of {IDLE}, {name}: {} bytes", held / IDLE as u64);
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The CPU time of one server for each message, in microseconds.
fn cell(name: &str, streams: usize, size: usize, millis: &str) -> Result<f64> {
    let mut server = Process::start("0", &["serve", name], &[])?;
    let address = server.line()?;
    let (streams, size) = (streams.to_string(), size.to_string());
    let words = ["load", &address, name, &streams, &size, millis];
    let mut client = Process::start("1", &words, &[])?;
    client.line()?;
    let before = server.cpu_time()?;
    client.input.write_all(b"\n")?;
    let messages: u64 = client.line()?.parse()?;
    let used = server.cpu_time()? - before;
    Ok(used.as_secs_f64() * 1e6 / messages as f64)
}

async fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

async fn serve_raw() -> Result {
    let listener = listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut connection = h2::server::Builder::new()
                .enable_connect_protocol()
                .max_concurrent_streams(MAX_STREAMS)
                .initial_connection_window_size(1 << 30)
                .handshake(stream)
                .await?;
            while let Some(request) = connection.accept().await {
                let (request, mut respond) = request?;
                let outgoing = respond.send_response(http::Response::new(()), false)?;
                tokio::spawn(echo_data(outgoing, request.into_body()));
            }
            Result::Ok(())
        });
    }
}

async fn echo_data(mut outgoing: SendStream<Bytes>, mut incoming: RecvStream) -> Result {
    while let Some(data) = incoming.data().await {
        let mut data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        while !data.is_empty() {
            let room = room(&mut outgoing, data.len()).await?;
            outgoing.send_data(data.split_to(room.min(data.len())), false)?;
        }
    }
    outgoing.send_data(Bytes::new(), true)?;
    Ok(())
}

async fn room(outgoing: &mut SendStream<Bytes>, wanted: usize) -> Result<usize> {
    while outgoing.capacity() == 0 {
        outgoing.reserve_capacity(wanted);
        poll_fn(|cx| outgoing.poll_capacity(cx)).await.ok_or("the stream ended")??;
    }
    Ok(outgoing.capacity())
}

async fn serve_tautline() -> Result {
    let server = Server::bind("127.0.0.1:0").await?;
    println!("{}", server.local_addr()?);
    server.http2(Http2Config::new().max_streams(MAX_STREAMS)).serve(echo).await?;
    Ok(())
}

async fn echo(mut ws: WebSocket) -> Result {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

async fn serve_hyper() -> Result {
    let listener = listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .max_concurrent_streams(MAX_STREAMS)
            .initial_connection_window_size(1 << 30)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|mut request| async move {
                    let upgrading = hyper::upgrade::on(&mut request);
                    tokio::spawn(async move {
                        let stream = Transport::boxed(TokioIo::new(upgrading.await?));
                        echo(WebSocket::builder(Role::Server).build(stream)).await
                    });
                    Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
                }),
            );
        tokio::spawn(serving);
    }
}

/// The client's end of one connection.
async fn connect(address: &str) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_connection_window_size(1 << 30)
        .initial_max_send_streams(MAX_STREAMS as usize)
        .handshake(stream)
        .await?;
    tokio::spawn(connection);
    Ok(requests)
}

async fn open(requests: &SendRequest<Bytes>) -> Result<(SendStream<Bytes>, RecvStream)> {
    let mut request = http::Request::connect("http://localhost/").body(())?;
    request.headers_mut().insert("sec-websocket-version", http::HeaderValue::from_static("13"));
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let mut requests = requests.clone().ready().await?;
    let (response, outgoing) = requests.send_request(request, false)?;
    let response = response.await?;
    if response.status() != 200 {
        return Err(format!("{}", response.status()).into());
    }
    Ok((outgoing, response.into_body()))
}

async fn load(address: &str, reply: &str, streams: usize, size: usize, time: Duration) -> Result {
    let requests = connect(address).await?;
    let frame = Bytes::from(tautline_wire::encode(true, 0x82, &vec![7; size]));
    // `raw` returns the frame with its masking key, a WebSocket server without it.
    let reply = if reply == "raw" { frame.len() } else { frame.len() - 4 };
    let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut open_streams = Vec::new();
    for _ in 0..streams {
        open_streams.push(open(&requests).await?);
    }
    println!("open");
    tokio::io::stdin().read_u8().await?;
    let tasks: Vec<_> = open_streams
        .into_iter()
        .map(|(outgoing, incoming)| {
            let (count, over, frame) = (count.clone(), over.clone(), frame.clone());
            tokio::spawn(ping_pong(outgoing, incoming, frame, reply, count, over))
        })
        .collect();
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    println!("{}", count.load(Ordering::Relaxed));
    tokio::io::stdin().read_u8().await?;
    Ok(())
}

async fn ping_pong(
    mut outgoing: SendStream<Bytes>,
    mut incoming: RecvStream,
    frame: Bytes,
    reply: usize,
    count: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
) -> Result {
    while !over.load(Ordering::Relaxed) {
        let mut left = frame.clone();
        while !left.is_empty() {
            let room = room(&mut outgoing, left.len()).await?;
            outgoing.send_data(left.split_to(room.min(left.len())), false)?;
        }
        let mut received = 0;
        while received < reply {
            let data = incoming.data().await.ok_or("the stream ended")??;
            incoming.flow_control().release_capacity(data.len())?;
            received += data.len();
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn idle(address: &str) -> Result {
    let requests = connect(address).await?;
    let mut held = Vec::new();
    for _ in 0..IDLE {
        held.push(open(&requests).await?);
    }
    println!("open");
    tokio::io::stdin().read_u8().await?;
    Ok(())
}
