//! The attackers. Each has a crowd of connections from one address or from many, which comes again
//! when it is turned away.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tautline::{Client, ClientTls};
use tautline_wire::{encode, head, with_head};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::floods;
use crate::run::go_last;
use crate::server::PROXY;
use crate::support::Result;

/// How long one who was turned away waits before the next try.
const PAUSE: Duration = Duration::from_millis(50);
/// One byte of a dribble.
const DRIBBLE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of "many".
const MANY: usize = 100;
/// Who connects and disconnects, each with one connection at a time.
const CYCLERS: usize = 64;

/// What the attacker saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) opened: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    pub(crate) ended: AtomicUsize,
    pub(crate) policy: AtomicUsize,
}

impl Tally {
    pub(crate) fn count(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The server, seen by an attacker.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    port: u16,
    addresses: usize,
    pub(crate) tally: Arc<Tally>,
}

/// `CASE one|many`, until the parent is gone or has enough: then it tells what it saw.
pub(crate) async fn run(case: &str, uri: &str, part: usize) -> Result {
    go_last();
    rlimit::increase_nofile_limit(u64::MAX)?;
    let (kind, from) = case.split_once(' ').unwrap_or((case, "many"));
    let port = uri.trim_end_matches('/').rsplit_once(':').ok_or("no port")?.1.parse()?;
    let addresses = if from == "one" { 1 } else { MANY };
    let target = Target { port, addresses, tally: Arc::default() };
    let mut word = [0; 1];
    let mut input = tokio::io::stdin();
    tokio::select! {
        attacked = attack(kind, &target, part) => { attacked?; }
        read = input.read_exact(&mut word) => { read?; }
    }
    let Tally { opened, refused, ended, policy } = &*target.tally;
    let [opened, refused, ended, policy] =
        [opened, refused, ended, policy].map(|counter| counter.load(Ordering::Relaxed));
    println!("{opened} {refused} {ended} {policy}");
    Ok(())
}

async fn attack(kind: &str, target: &Target, part: usize) -> Result {
    match kind {
        "handshakes" => crowd(target, 10_000 / part, unfinished).await,
        "readers" => crowd(target, 1_000 / part, reader).await,
        "files" => crowd(target, 1_000 / part, idle).await,
        "dribbles" => crowd(target, 1_000 / part, dribble).await,
        "network" => crowd(target, 2_000 / part, proxied).await,
        "cycles" => crowd(target, CYCLERS, cycle).await,
        "tls" => {
            let hello = Arc::new(client_hello().await?);
            let storm = |target, number| storm(target, number, hello.clone());
            crowd(target, 200, storm).await;
        }
        flood => {
            let flood = Arc::new(floods::Flood::new(flood)?);
            let life = |target, number| floods::life(target, number, flood.clone());
            crowd(target, 100, life).await;
        }
    }
    Ok(())
}

/// So many lives at once, each of which begins anew when it is over.
async fn crowd<F>(target: &Target, count: usize, life: impl Fn(Target, usize) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let lives = (0..count).map(|number| again(target, number, &life));
    futures_util::future::join_all(lives).await;
}

async fn again<F>(target: &Target, number: usize, life: &impl Fn(Target, usize) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        // A task of its own: else each event would poll all of them.
        let _ = tokio::spawn(life(target.clone(), number)).await;
        sleep(PAUSE).await;
    }
}

impl Target {
    /// Connects from this one's address.
    pub(crate) async fn connect(&self, number: usize) -> io::Result<TcpStream> {
        let number = number % self.addresses;
        self.connect_from(Ipv4Addr::new(127, 2, (number / 250) as u8, (number % 250) as u8 + 1))
            .await
    }

    async fn connect_from(&self, source: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let connecting = timeout(PATIENCE, socket.connect(address)).await;
        let connected = connecting.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let stream = connected.inspect_err(|_| Tally::count(&self.tally.refused))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Connects, and opens a WebSocket.
    pub(crate) async fn open(&self, number: usize, path: &str) -> io::Result<TcpStream> {
        let mut stream = self.connect(number).await?;
        self.upgrade(&mut stream, path).await?;
        Ok(stream)
    }

    async fn upgrade(&self, stream: &mut TcpStream, path: &str) -> io::Result<()> {
        let upgrading = upgrade(stream, path).await;
        let counter = if upgrading.is_ok() { &self.tally.opened } else { &self.tally.refused };
        Tally::count(counter);
        upgrading
    }

    /// Reads until the end, and counts it.
    pub(crate) async fn until_end(&self, stream: &mut (impl AsyncReadExt + Unpin)) {
        let mut buffer = vec![0; 16 << 10];
        // A Close is at the end of the last read.
        let mut last = Vec::new();
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            last.clear();
            last.extend_from_slice(&buffer[..count]);
        }
        let is_policy = last.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == [3, 240]);
        Tally::count(if is_policy { &self.tally.policy } else { &self.tally.ended });
    }
}

async fn upgrade(stream: &mut TcpStream, path: &str) -> io::Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Half of them say nothing, the others begin a request.
async fn unfinished(target: Target, number: usize) -> io::Result<()> {
    let mut stream = target.connect(number).await?;
    if number.is_multiple_of(2) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ").await?;
    }
    target.until_end(&mut stream).await;
    Ok(())
}

/// It is sent messages, and reads none.
async fn reader(target: Target, number: usize) -> io::Result<()> {
    let _stream = target.open(number, "/feed").await?;
    std::future::pending().await
}

async fn idle(target: Target, number: usize) -> io::Result<()> {
    let mut stream = target.open(number, "/").await?;
    target.until_end(&mut stream).await;
    Ok(())
}

/// Byte by byte, for ever: the head of a request, a frame of 64 KiB, or a message in fragments.
async fn dribble(target: Target, number: usize) -> io::Result<()> {
    let (stream, piece) = match number % 3 {
        0 => {
            let mut stream = target.connect(number).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ").await?;
            (stream, b"x".to_vec())
        }
        1 => {
            let mut stream = target.open(number, "/").await?;
            stream.write_all(&with_head(true, &head(0x82, 64 << 10), &[])).await?;
            (stream, b"x".to_vec())
        }
        _ => {
            let mut stream = target.open(number, "/").await?;
            stream.write_all(&encode(true, 0x02, b"x")).await?;
            (stream, encode(true, 0x00, b"x"))
        }
    };
    let (mut reader, mut writer) = stream.into_split();
    let dribbling = async {
        while writer.write_all(&piece).await.is_ok() {
            sleep(DRIBBLE).await;
        }
    };
    tokio::select! {
        () = dribbling => {}
        () = target.until_end(&mut reader) => {}
    }
    Ok(())
}

/// Each from another address of one /64, as a trusted proxy says.
async fn proxied(target: Target, number: usize) -> io::Result<()> {
    let proxy = PROXY.parse().map_err(|_| ErrorKind::InvalidInput)?;
    let mut stream = target.connect_from(proxy).await?;
    let header = format!("PROXY TCP6 2001:db8:0:1::{:x} 2001:db8::1 50000 443\r\n", number + 1);
    stream.write_all(header.as_bytes()).await?;
    target.upgrade(&mut stream, "/").await?;
    target.until_end(&mut stream).await;
    Ok(())
}

/// Connects again and again, from one address after the other; drops each connection as soon as it is
/// open, every second one by a reset.
async fn cycle(target: Target, first: usize) -> io::Result<()> {
    let numbers = (first..).step_by(CYCLERS);
    for (round, number) in numbers.enumerate() {
        // Who is turned away comes again at once.
        if let Ok(stream) = target.open(number, "/").await
            && round.is_multiple_of(2)
        {
            stream.set_zero_linger()?;
        }
    }
    Ok(())
}

/// What a client of TLS sends first, as one of ours does.
async fn client_hello() -> Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("wss://localhost:{}/", listener.local_addr()?.port());
    let any = rcgen::generate_simple_self_signed(["localhost".to_owned()])?.cert.pem();
    let client = Client::new().tls(ClientTls::from_ca_pem(any.as_bytes())?);
    let connecting = tokio::spawn(async move { client.connect(uri).await.is_ok() });
    let (mut stream, _) = listener.accept().await?;
    let mut hello = Vec::new();
    while hello.len() < 5 || hello.len() < 5 + usize::from(u16::from_be_bytes([hello[3], hello[4]]))
    {
        if stream.read_buf(&mut hello).await? == 0 {
            return Err("no ClientHello".into());
        }
    }
    connecting.abort();
    Ok(hello)
}

/// Has the server do its part of a handshake, and leaves.
async fn storm(target: Target, number: usize, hello: Arc<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut stream = target.connect(number).await?;
        stream.write_all(&hello).await?;
        let answered = stream.read(&mut [0; 4096]).await;
        stream.set_zero_linger()?;
        match answered {
            Ok(1..) => Tally::count(&target.tally.opened),
            _ => {
                Tally::count(&target.tally.refused);
                return Ok(());
            }
        }
    }
}
