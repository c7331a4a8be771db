//! A server of the open internet under attack, as `benches/siege` measures it, in a small form:
//! whatever an attacker does, what the process holds is bounded, and a neighbour's echo comes back,
//! and that of a new client. Attackers are bare sockets, so that what is held is the server's.
//!
//! Files that run out are the matter of `tests/it/process.rs`. What the limits do one by one is tested
//! in `tests/it/limits.rs` and `tests/it/rates.rs`, floods of HTTP/2 in `http2.rs`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tautline::{
    Client, ClientTls, Compression, Config, LimitCounts, Limits, Networks, Server, ServerHandle,
    ServerTls, Upgrade, WebSocket,
};
use tautline_wire::{encode, head, with_head};
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;

use crate::{ALLOCATOR, alone};

/// Runtime, client, neighbour, and what threads keep for connections to come.
const REST: usize = 2 << 20;
/// A server that takes nothing for this long has stopped reading.
const STUCK: Duration = Duration::from_millis(100);
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 1);

/// An address of an attacker.
fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 2, (number / 200) as u8, (number % 200) as u8 + 1)
}

fn connect_from(source: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&address.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(STUCK))?;
    Ok(stream)
}

fn upgrade(stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    if answer.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

fn open_from(source: Ipv4Addr, address: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = connect_from(source, address)?;
    upgrade(&mut stream, path)?;
    Ok(stream)
}

/// The certificate of the server, and of its clients' trust.
struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn client(&self) -> Client {
        Client::new().tls(ClientTls::from_ca_pem(self.certificate.as_bytes()).unwrap())
    }

    fn server(&self) -> ServerTls {
        ServerTls::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

/// A running server, and a neighbour of the attackers.
struct Siege {
    runtime: Runtime,
    address: SocketAddr,
    handle: ServerHandle,
    client: Client,
    uri: String,
    neighbour: WebSocket,
    /// How many messages were pushed to those on `/feed`.
    pushed: Arc<AtomicUsize>,
}

async fn expect_echo(ws: &mut WebSocket) {
    ws.send("hello").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
}

impl Siege {
    fn new(limits: Limits, identity: Option<&Identity>) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let (client, tls) = match identity {
            Some(identity) => (identity.client(), Some(identity.server())),
            None => (Client::new(), None),
        };
        let pushed = Arc::new(AtomicUsize::new(0));
        let (address, handle) = runtime.block_on(serve(limits, tls, pushed.clone()));
        let scheme = if identity.is_some() { "wss" } else { "ws" };
        let uri = format!("{scheme}://localhost:{}/", address.port());
        let neighbour = runtime.block_on(async {
            let mut neighbour = client.connect(&uri).await.unwrap();
            expect_echo(&mut neighbour).await;
            // What the first of all allocates, such as the table of rates.
            expect_echo(&mut client.connect(&uri).await.unwrap()).await;
            neighbour
        });
        Self { runtime, address, handle, client, uri, neighbour, pushed }
    }

    /// Runs the attack, which returns what it holds, beside the neighbour. Then nothing is held any
    /// more, and new clients get in. Returns what the limits did.
    fn endure<T: Send + 'static>(
        mut self,
        what: &str,
        most: usize,
        attack: impl FnOnce(SocketAddr) -> T + Send + 'static,
    ) -> LimitCounts {
        let address = self.address;
        self.runtime.block_on(async {
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            let attacking = spawn_blocking(move || attack(address));
            while !attacking.is_finished() {
                expect_echo(&mut self.neighbour).await;
            }
            let held = attacking.await.unwrap();
            // All that was pushed is where it stays.
            let (mut pushed, mut quiet) = (0, 0);
            while quiet < 200 {
                expect_echo(&mut self.neighbour).await;
                let now = self.pushed.load(Ordering::Relaxed);
                quiet = if now == pushed { quiet + 1 } else { 0 };
                pushed = now;
            }
            let peak = ALLOCATOR.peak_usage().saturating_sub(before);
            println!("{what}: {peak} bytes held at most, {pushed} pushed");
            assert!(peak < most, "{what}: {peak} bytes held at most, not {most}");
            drop(held);
            expect_echo(&mut self.neighbour).await;
            // As soon as those who are gone have made room.
            expect_echo(&mut self.client.connect(&self.uri).await.unwrap()).await;
        });
        self.handle.counts()
    }
}

async fn serve(
    limits: Limits,
    tls: Option<ServerTls>,
    pushed: Arc<AtomicUsize>,
) -> (SocketAddr, ServerHandle) {
    // Who is closed for its flood, and goes on, is read from for so long.
    let config = Config::public().close_timeout(STUCK);
    let server = Server::bind("127.0.0.1:0").await.unwrap().config(config);
    let server = server.compression(Compression::new()).limits(limits.exempt([]));
    let server = server.proxy_protocol(Networks::parse([PROXY.to_string()]).unwrap());
    let server = match tls {
        Some(tls) => server.tls(tls),
        None => server,
    };
    let (address, handle) = (server.local_addr().unwrap(), server.handle());
    // Nothing that compression makes shorter.
    let bytes = (0..16_u32 << 10).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8);
    let message: Arc<[u8]> = bytes.collect();
    let serving = server
        .authorize(|request| async move { Ok(Upgrade::new(request.uri().path() == "/feed")) })
        .serve_with(move |mut ws, is_feed| {
            let (message, pushed) = (message.clone(), pushed.clone());
            async move {
                if is_feed {
                    loop {
                        // Each has a copy of its own.
                        ws.feed(message.to_vec()).await?;
                        pushed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                while let Some(message) = ws.next().await {
                    ws.feed(message?).await?;
                }
                Ok::<_, tautline::BoxError>(())
            }
        });
    tokio::spawn(serving);
    (address, handle)
}

#[test]
fn handshakes_that_never_end() {
    let _alone = alone();
    let siege = Siege::new(Limits::new().handshakes(200), None);
    let counts = siege.endure("unfinished handshakes", REST, |address| {
        let mut held = Vec::new();
        for number in 0..600 {
            let mut stream = connect_from(source(number / 10), address).unwrap();
            // Half of them say nothing.
            if number % 2 == 0 {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nX-Long: ");
            }
            held.push(stream);
        }
        held
    });
    assert!(counts.handshakes > 0, "others wait: {counts:?}");
}

#[test]
fn readers_that_never_read() {
    const READERS: usize = 100;
    let _alone = alone();
    let siege = Siege::new(Limits::new(), None);
    siege.endure("readers that never read", REST + READERS * (256 << 10), |address| {
        let held = (0..READERS).map(|number| open_from(source(number), address, "/feed").unwrap());
        held.collect::<Vec<_>>()
    });
}

/// Writes this without end, until the server has stopped reading, or ended the connection. Nothing
/// is read.
fn flood(stream: &mut TcpStream, start: &[u8], frame: &[u8]) {
    let block = frame.repeat((32 << 10) / frame.len());
    let _ = stream.write_all(start);
    while stream.write_all(&block).is_ok() {}
}

#[test]
fn floods_from_one_address_and_from_many() {
    const CONNECTIONS: usize = 10;
    let _alone = alone();
    // A byte of a message, compressed (RFC 7692 section 7.2.3.3).
    let compressed = encode(true, 0xc2, &[0xaa, 0x00, 0x00]);
    let kinds = [
        ("messages", Vec::new(), encode(true, 0x82, &[7; 16])),
        ("pings", Vec::new(), encode(true, 0x89, b"ping")),
        ("empty fragments", encode(true, 0x02, &[]), encode(true, 0x00, &[])),
        ("tiny compressed messages", Vec::new(), compressed),
    ];
    for (what, start, frame) in kinds {
        for addresses in [1, CONNECTIONS] {
            // All of an address come at once here.
            let limits = Limits::new().handshakes_per_address(CONNECTIONS as u32);
            let siege = Siege::new(limits, None);
            let (start, frame) = (start.clone(), frame.clone());
            siege.endure(what, REST + CONNECTIONS * (256 << 10), move |address| {
                let (start, frame) = (&start[..], &frame[..]);
                std::thread::scope(|scope| {
                    let floods = (0..CONNECTIONS).map(|number| {
                        scope.spawn(move || {
                            let from = source(number % addresses);
                            let mut stream = open_from(from, address, "/").unwrap();
                            flood(&mut stream, start, frame);
                            stream
                        })
                    });
                    let floods: Vec<_> = floods.collect();
                    floods.into_iter().map(|flood| flood.join().unwrap()).collect::<Vec<_>>()
                })
            });
        }
    }
}

#[test]
fn connections_that_come_and_go() {
    let _alone = alone();
    let siege = Siege::new(Limits::new(), None);
    let counts = siege.endure("connections that come and go", REST, |address| {
        for number in 0..1_000 {
            // Half of them from one address, which is turned away after a hundred.
            let from = if number % 2 == 0 { source(0) } else { source(number) };
            drop(open_from(from, address, "/"));
        }
    });
    assert!(counts.connection_rate > 0, "{counts:?}");
}

#[test]
fn a_storm_of_tls_handshakes() {
    let _alone = alone();
    let identity = Identity::new();
    let hello = client_hello(&identity.client());
    let siege = Siege::new(Limits::new(), Some(&identity));
    siege.endure("a storm of TLS handshakes", 2 * REST, move |address| {
        for round in 0..10 {
            let streams = (0..50).map(|number| {
                let mut stream = connect_from(source(round * 50 + number), address).unwrap();
                stream.write_all(&hello).unwrap();
                stream
            });
            // The server does its part of each, and nobody takes it up.
            for mut stream in streams.collect::<Vec<_>>() {
                stream.read_exact(&mut [0; 5]).unwrap();
            }
        }
    });
}

/// What this client sends first.
fn client_hello(client: &Client) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reading = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; 5];
        stream.read_exact(&mut hello).unwrap();
        let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        hello.resize(5 + length, 0);
        stream.read_exact(&mut hello[5..]).unwrap();
        hello
    });
    assert!(runtime.block_on(client.connect(uri)).is_err());
    reading.join().unwrap()
}

#[test]
fn dribbles() {
    let _alone = alone();
    let siege = Siege::new(Limits::new(), None);
    siege.endure("dribbles", 2 * REST, |address| {
        let begun = (0..60).map(|number| match number % 3 {
            0 => {
                let mut stream = connect_from(source(number), address).unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nX-Long: ").unwrap();
                (stream, b"x".to_vec())
            }
            1 => {
                let mut stream = open_from(source(number), address, "/").unwrap();
                // 16 MiB are declared.
                stream.write_all(&with_head(true, &head(0x82, 16 << 20), &[])).unwrap();
                (stream, b"x".to_vec())
            }
            _ => {
                let mut stream = open_from(source(number), address, "/").unwrap();
                stream.write_all(&encode(true, 0x02, b"x")).unwrap();
                (stream, encode(true, 0x00, b"x"))
            }
        });
        let mut begun: Vec<_> = begun.collect();
        for _ in 0..100 {
            for (stream, piece) in &mut begun {
                stream.write_all(piece).unwrap();
            }
        }
        begun
    });
}

// An attacker has 2^64 addresses of its own.
#[test]
fn a_connection_from_each_address_of_a_network() {
    let _alone = alone();
    let siege = Siege::new(Limits::new().connection_rate(None), None);
    let counts = siege.endure("addresses of one /64", REST, |address| {
        let mut held = Vec::new();
        for number in 1..400 {
            let mut stream = connect_from(PROXY, address).unwrap();
            let header = format!("PROXY TCP6 2001:db8:0:1::{number:x} 2001:db8::1 50000 443\r\n");
            if stream.write_all(header.as_bytes()).is_ok() && upgrade(&mut stream, "/").is_ok() {
                held.push(stream);
            }
        }
        assert_eq!(held.len(), Limits::DEFAULT_CONNECTIONS_PER_ADDRESS as usize);
        held
    });
    assert_eq!(counts.connections_per_address, 399 - 256);
}
