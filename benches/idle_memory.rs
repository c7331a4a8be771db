//! Memory of a server with many idle connections, after one echo on each:
//! `cargo run --release -p tautline-bench --bin idle_memory -- [--connections N] [--payload BYTES]`
//!
//! What is measured runs in a process of its own: a `Server` whose handler awaits `next`; tasks of
//! one's own that do so after `Acceptor::accept`, and after `Client::connect`; and as a floor,
//! tasks that await a read on a bare `TcpStream` with no buffer. The figure is what the process
//! grew by, divided by the number of connections: anonymous resident memory as the system accounts
//! it, so without the kernel's socket buffers.

use std::error::Error;
use std::net::SocketAddr;
use std::process::Stdio;

use tautline::{Acceptor, Client, OriginPolicy, Server, WebSocket};
use tautline_frame::{Codec, Frame, OpCode, Protocol, Role, Rsv};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("serve-tautline") => return serve().await,
        Some("serve-floor") => return serve_floor().await,
        Some("serve-accept") => return serve_accept().await,
        Some("connect") => {
            let number = |at: usize| words.get(at).ok_or("a word is missing");
            return hold(number(1)?, number(2)?.parse()?, number(3)?.parse()?).await;
        }
        _ => {}
    }
    let option = |name: &str, default: usize| -> Result<usize> {
        match words.iter().position(|word| word == name) {
            Some(at) => Ok(words.get(at + 1).ok_or("a number is missing")?.parse()?),
            None => Ok(default),
        }
    };
    let connections = option("--connections", 10_000)?;
    let payload = option("--payload", 16)?;
    let ours = measure("serve-tautline", connections, payload).await?;
    let accept = measure("serve-accept", connections, payload).await?;
    let connect = measure_clients(connections, payload).await?;
    let floor = measure("serve-floor", connections, payload).await?;
    println!("{connections} connections, one echo of {payload} bytes each, then idle");
    println!("Server:           {ours} bytes of resident memory each");
    println!("Acceptor::accept: {accept} bytes each");
    println!("Client::connect:  {connect} bytes each");
    println!("floor:            {floor} bytes each (a task that awaits a read on a TcpStream)");
    println!("of which the protocol's state: {} bytes", size_of::<Protocol>());
    Ok(())
}

/// What the server's process grows by for each connection, in bytes.
async fn measure(server: &str, connections: usize, payload: usize) -> Result<usize> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().ok_or("the server has ended")?;
    let out = child.stdout.take().ok_or("no output")?;
    let address = BufReader::new(out).lines().next_line().await?.ok_or("no address")?;
    let address: SocketAddr = address.parse()?;

    let websocket = server != "serve-floor";
    // The first connection brings what is there once: buffers of the thread, tables of the runtime.
    let first = open(address, websocket, payload).await?;
    let before = resident(pid)?;
    let mut open_ones = Vec::with_capacity(connections);
    for _ in 0..connections {
        open_ones.push(open(address, websocket, payload).await?);
    }
    let after = resident(pid)?;
    drop((first, open_ones));
    child.kill().await?;
    Ok(after.saturating_sub(before) / connections)
}

/// What a client's process grows by for each connection, in bytes.
async fn measure_clients(connections: usize, payload: usize) -> Result<usize> {
    let server = Server::bind("127.0.0.1:0").await?.origins(OriginPolicy::Any);
    let address = server.local_addr()?;
    let serving = tokio::spawn(server.serve(echo));
    let mut child = Command::new(std::env::current_exe()?)
        .arg("connect")
        .args([address.to_string(), connections.to_string(), payload.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().ok_or("the client has ended")?;
    let mut out = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let mut go_on = child.stdin.take().ok_or("no input")?;
    out.next_line().await?.ok_or("no first connection")?;
    let before = resident(pid)?;
    go_on.write_all(b"\n").await?;
    out.next_line().await?.ok_or("no connections")?;
    let after = resident(pid)?;
    child.kill().await?;
    serving.abort();
    Ok(after.saturating_sub(before) / connections)
}

/// The measured client: one connection, a line when it is there, and after an answer to that all
/// the others, and a line.
async fn hold(address: &str, connections: usize, payload: usize) -> Result<()> {
    let uri = format!("ws://{address}/");
    let client = Client::new();
    let mut input = tokio::io::stdin();
    for count in [1, connections] {
        for _ in 0..count {
            let (echoed, is_echoed) = tokio::sync::oneshot::channel();
            let (client, uri) = (client.clone(), uri.clone());
            tokio::spawn(async move {
                let mut ws = client.connect(&uri).await?;
                drop((client, uri));
                ws.send(vec![7; payload]).await?;
                ws.next().await.ok_or("no echo")??;
                let _ = echoed.send(());
                ws.next().await;
                Result::Ok(())
            });
            is_echoed.await?;
        }
        println!("open");
        input.read_u8().await?;
    }
    Ok(())
}

/// Opens a connection and has one message echoed.
async fn open(address: SocketAddr, websocket: bool, payload: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let body = vec![7u8; payload];
    if !websocket {
        stream.write_all(&body).await?;
        stream.read_exact(&mut vec![0; payload]).await?;
        return Ok(stream);
    }
    stream.write_all(HANDSHAKE.as_bytes()).await?;
    let mut buffer = tautline::bytes::BytesMut::new();
    while !buffer.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut buffer).await?;
    }
    buffer.clear();
    let frame = Frame { fin: true, rsv: Rsv::NONE, opcode: OpCode::Binary, payload: body.into() };
    Codec::new(Role::Client).encode(&frame, &mut buffer)?;
    stream.write_all(&buffer).await?;
    buffer.clear();
    let mut codec = Codec::new(Role::Client);
    while codec.decode(&mut buffer)?.is_none() {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err("the server ended the connection".into());
        }
    }
    Ok(stream)
}

/// Anonymous resident memory of a process, in bytes.
fn resident(pid: u32) -> Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no RssAnon")?;
    Ok(kib.trim().parse::<usize>()? * 1024)
}

async fn serve() -> Result<()> {
    let server = Server::bind("127.0.0.1:0").await?.origins(OriginPolicy::Any);
    println!("{}", server.local_addr()?);
    let serving = server.serve(echo);
    tokio::select! {
        ended = serving => Ok(ended?),
        () = orphaned() => Ok(()),
    }
}

async fn echo<S>(mut ws: WebSocket<S>) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

/// The same, accepted by hand in tasks of one's own.
async fn serve_accept() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let acceptor = Acceptor::new().origins(OriginPolicy::Any);
    let serving = async {
        loop {
            let (stream, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let ws = acceptor.accept(stream).await?;
                drop(acceptor);
                echo(ws).await
            });
        }
    };
    tokio::select! {
        ended = serving => ended,
        () = orphaned() => Ok(()),
    }
}

async fn serve_floor() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let serving = async {
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                while stream.readable().await.is_ok() {
                    let Some(bytes) = read_now(&stream) else { continue };
                    if bytes.is_empty() || stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            });
        }
    };
    tokio::select! {
        ended = serving => ended,
        () = orphaned() => Ok(()),
    }
}

/// What has arrived; nothing at the end. The buffer is not a part of the task.
fn read_now(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut buffer = [0; 4096];
    stream.try_read(&mut buffer).ok().map(|count| buffer[..count].to_vec())
}

/// Ready when the measuring process is gone.
async fn orphaned() {
    let mut byte = [0];
    while matches!(tokio::io::stdin().read(&mut byte).await, Ok(count) if count > 0) {}
}
