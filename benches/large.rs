//! One message of 2 GiB there and back, in pieces: memory of both ends, and CPU time beside an echo
//! written by hand: `cargo run --release -p tautline-bench --bin large -- [--mib N] [--rounds N]`
//!
//! Client and server are processes of their own. The client writes the message in pieces of 64 KiB
//! and checks every byte that comes back; the server copies what arrives. Memory is anonymous
//! resident memory, sampled every 10 ms, less what the process had while the connection was idle.
//! `floor` echoes frames of a few kinds without a library: it reads up to 256 KiB, unmasks it in
//! place and writes it, with a header where the client had one.

mod process;
mod support;

use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tautline::{Acceptor, Client, ClientTls, Compression, Kind, Server, ServerTls, WebSocket};
use tautline_frame::{Header, Role, Rsv, mask};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::process::{Process, resident};
use crate::support::{Result, option};

const PIECE: usize = 64 << 10;

/// What the message is made of: of this many bytes, again and again, cut anywhere.
const BLOCK: usize = 1_000_003;

#[derive(Clone, Copy, PartialEq)]
enum Content {
    Binary,
    Text,
    Compressed,
}

impl Content {
    const ALL: [(&'static str, Self); 3] =
        [("binary", Self::Binary), ("text", Self::Text), ("compressed text", Self::Compressed)];

    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        Ok(found.ok_or("no such content")?.1)
    }

    fn kind(self) -> Kind {
        if self == Self::Binary { Kind::Binary } else { Kind::Text }
    }

    fn compression(self) -> Option<Compression> {
        (self == Self::Compressed).then(Compression::new)
    }

    fn block(self) -> Vec<u8> {
        if self == Self::Binary {
            return (0..BLOCK).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
        }
        let mut text = String::new();
        let mut number = 0u32;
        while text.len() < BLOCK {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text += ["prix é ", "価格 ", "𝄞 ", "price ", "größe "][(number >> 24) as usize % 5];
            text += &(number >> 20).to_string();
        }
        text.into_bytes()
    }
}

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words[..] {
        ["serve", content, tls] => runtime.block_on(serve(Content::named(content)?, tls == "tls")),
        ["floor", tls] => runtime.block_on(serve_floor(tls == "tls")),
        ["send", uri, content, bytes] => {
            runtime.block_on(send(uri, Content::named(content)?, bytes.parse()?))
        }
        _ => measure_all(),
    }
}

/// One transfer.
struct Outcome {
    /// What the server and the client held beyond the idle connection, in KiB.
    held: [u64; 2],
    /// CPU time of the server and of both.
    cpu: [Duration; 2],
    time: Duration,
}

fn measure_all() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let bytes = option(&words, "--mib", 2048_u64)? << 20;
    let rounds = option(&words, "--rounds", 1_usize)?;
    let only = option(&words, "--only", String::new())?;
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, secret) = (key.cert.pem(), key.signing_key.serialize_pem());
    let identity = [("CERTIFICATE", &*certificate), ("KEY", &*secret)];
    println!("{} MiB there and back; held: KiB beyond the idle connection", bytes >> 20);
    println!("to floor: CPU time of the server, CPU time of both, and time");
    println!("{:<28}{:>10}{:>10}{:>14}{:>20}", "", "server", "client", "MiB/s", "to floor");
    let mut over = 0;
    for tls in ["plain", "tls"] {
        for (name, content) in Content::ALL {
            let case = format!("{name}, {tls}");
            if !case.contains(&only) {
                continue;
            }
            let mut ratios = Vec::new();
            for _ in 0..rounds {
                let ours = transfer(&["serve", name, tls], name, bytes, &identity)?;
                over += ours.held.iter().filter(|held| **held >= 1024).count();
                let speed = (bytes >> 20) as f64 / ours.time.as_secs_f64();
                let mut ratio = String::new();
                if content != Content::Compressed {
                    let floor = transfer(&["floor", tls], name, bytes, &identity)?;
                    let [server, both] =
                        [0, 1].map(|at| ours.cpu[at].as_secs_f64() / floor.cpu[at].as_secs_f64());
                    let time = ours.time.as_secs_f64() / floor.time.as_secs_f64();
                    ratio = format!("{server:.2} {both:.2} {time:.2}");
                    ratios.push([server, both, time]);
                }
                let [server, client] = ours.held;
                println!("{case:<28}{server:>10}{client:>10}{speed:>14.0}{ratio:>20}");
            }
            if !ratios.is_empty() {
                let medians = [0, 1, 2].map(|at| {
                    let mut all: Vec<f64> = ratios.iter().map(|ratio| ratio[at]).collect();
                    all.sort_by(f64::total_cmp);
                    all[all.len() / 2]
                });
                let [server, both, time] = medians;
                println!("{case:<28}median: {server:.2} {both:.2} {time:.2}");
            }
        }
    }
    if over == 0 { Ok(()) } else { Err(format!("{over} ends held a MiB or more").into()) }
}

fn transfer(serve: &[&str], name: &str, bytes: u64, identity: &[(&str, &str)]) -> Result<Outcome> {
    let mut server = Process::start("0", serve, identity)?;
    let uri = server.line()?;
    let mut client = Process::start("1", &["send", &uri, name, &bytes.to_string()], identity)?;
    client.line()?;
    let pids = [server.id(), client.id()];
    let idle = [resident(pids[0])?, resident(pids[1])?];
    let cpu = [server.cpu_time()?, client.cpu_time()?];
    let (done, is_done) = mpsc::channel::<()>();
    let watching = std::thread::spawn(move || {
        let mut most = [0; 2];
        while is_done.recv_timeout(Duration::from_millis(10)).is_err() {
            for (most, pid) in most.iter_mut().zip(pids) {
                *most = (*most).max(resident(pid).unwrap_or(0));
            }
        }
        most
    });
    let begun = Instant::now();
    client.input.write_all(b"\n")?;
    let line = client.line()?;
    let time = begun.elapsed();
    let spent = [server.cpu_time()? - cpu[0], client.cpu_time()? - cpu[1]];
    let _ = done.send(());
    let most = watching.join().map_err(|_| "the watcher failed")?;
    if line != "done" {
        return Err(line.into());
    }
    let held = [most[0].saturating_sub(idle[0]), most[1].saturating_sub(idle[1])];
    Ok(Outcome { held, cpu: [spent[0], spent[0] + spent[1]], time })
}

fn server_tls() -> Result<ServerTls> {
    let (certificate, key) = (std::env::var("CERTIFICATE")?, std::env::var("KEY")?);
    Ok(ServerTls::from_pem(certificate.as_bytes(), key.as_bytes())?)
}

async fn serve(content: Content, tls: bool) -> Result {
    let mut server = Server::bind("127.0.0.1:0").await?;
    let port = server.local_addr()?.port();
    if let Some(compression) = content.compression() {
        server = server.compression(compression);
    }
    if tls {
        server = server.tls(server_tls()?);
    }
    println!("{}://localhost:{port}", if tls { "wss" } else { "ws" });
    Ok(server.serve(echo).await?)
}

async fn echo(ws: WebSocket) -> Result {
    let (mut reader, mut writer) = ws.split();
    while let Some(mut message) = reader.next_message().await? {
        let mut answer = writer.message_writer(message.kind());
        while let Some(piece) = message.next().await {
            answer.feed(piece?).await?;
        }
        answer.finish().await?;
    }
    Ok(())
}

async fn send(uri: &str, content: Content, bytes: u64) -> Result {
    let mut client =
        Client::new().tls(ClientTls::from_ca_pem(std::env::var("CERTIFICATE")?.as_bytes())?);
    if let Some(compression) = content.compression() {
        client = client.compression(compression);
    }
    let ws = client.connect(uri).await?;
    let (mut reader, mut writer) = ws.split();
    let block = content.block();
    // Once with little, so that what is made once is there. Whole blocks end with a character.
    for (is_last, bytes) in [(false, 8 << 20), (true, bytes)] {
        let bytes = bytes - bytes % block.len() as u64;
        let sending = async {
            let mut message = writer.message_writer(content.kind());
            let mut left = bytes;
            loop {
                for piece in block.chunks(PIECE) {
                    message.write_all(piece).await?;
                }
                left -= block.len() as u64;
                if left == 0 {
                    break;
                }
            }
            message.finish().await?;
            Result::Ok(())
        };
        let receiving = async {
            let mut message = reader.next_message().await?.ok_or("no message")?;
            let (mut at, mut count) = (0, 0_u64);
            let mut buffer = vec![0; PIECE];
            loop {
                let read = message.read(&mut buffer).await?;
                if read == 0 {
                    break;
                }
                let mut got = &buffer[..read];
                count += read as u64;
                while !got.is_empty() {
                    let expected = &block[at..];
                    let length = got.len().min(expected.len());
                    if got[..length] != expected[..length] {
                        return Err("other bytes came back".into());
                    }
                    at = (at + length) % block.len();
                    got = &got[length..];
                }
            }
            if count == bytes { Result::Ok(()) } else { Err("the message is cut off".into()) }
        };
        let (sent, received) = tokio::join!(sending, receiving);
        sent?;
        received?;
        println!("{}", if is_last { "done" } else { "idle" });
        if !is_last {
            tokio::io::stdin().read_u8().await?;
        }
    }
    writer.close().await?;
    Ok(())
}

async fn serve_floor(tls: bool) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    println!("{}://localhost:{port}", if tls { "wss" } else { "ws" });
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let acceptor = Acceptor::new();
    let idle = "the connection is not idle";
    if tls {
        let ws = acceptor.accept_tls(stream, &server_tls()?).await?;
        let parts = ws.into_inner().map_err(|_| idle)?;
        floor(parts.stream, &parts.leftover).await
    } else {
        let parts = acceptor.accept(stream).await?.into_inner().map_err(|_| idle)?;
        floor(parts.stream, &parts.leftover).await
    }
}

/// Echoes frames.
async fn floor<S>(mut stream: S, leftover: &[u8]) -> Result
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What was read and not processed is `buffer[at..end]`.
    let mut buffer = vec![0; 256 << 10];
    buffer[..leftover.len()].copy_from_slice(leftover);
    let (mut at, mut end) = (0, leftover.len());
    let mut out = Vec::with_capacity(300 << 10);
    // What is missing of the current frame, and how much of it was there.
    let (mut left, mut offset, mut key) = (0, 0, [0; 4]);
    loop {
        while at < end {
            if left == 0 {
                let header = Header::decode(&buffer[at..end], Role::Server, Rsv::NONE)?;
                let Some((header, len)) = header else { break };
                at += len;
                (left, offset) = (header.len as usize, 0);
                key = header.mask.ok_or("not masked")?;
                let mut head = [0; Header::MAX_LEN];
                let head_len = Header { mask: None, ..header }.encode(&mut head);
                out.extend_from_slice(&head[..head_len]);
            }
            let take = left.min(end - at);
            mask::apply(key, offset, &mut buffer[at..at + take]);
            out.extend_from_slice(&buffer[at..at + take]);
            (at, left, offset) = (at + take, left - take, offset + take);
        }
        stream.write_all(&out).await?;
        stream.flush().await?;
        out.clear();
        buffer.copy_within(at..end, 0);
        (at, end) = (0, end - at);
        match stream.read(&mut buffer[end..]).await? {
            0 => return Ok(()),
            count => end += count,
        }
    }
}
