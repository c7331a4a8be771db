//! Healthy connections, and how long their messages take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tautline::{Client, ClientTls, Reader, Transport, WebSocket, Writer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use crate::run::go_first;
use crate::support::Result;

const CONNECTIONS: u32 = 100;
const PERIOD: Duration = Duration::from_millis(20);
/// Connections of the process to itself.
const OWN: u32 = 10;
/// A client that is new, from one of so many addresses in turn.
const NEW_EVERY: Duration = Duration::from_millis(250);
const NEW_ADDRESSES: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(5);

/// What was measured since the last line of input.
#[derive(Debug, Default)]
struct Seen {
    echoes: Vec<Duration>,
    own: Vec<Duration>,
    opened: Vec<Duration>,
    /// New clients that did not get in.
    failed: usize,
    /// Healthy connections that have ended. None should.
    lost: usize,
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Seen>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Stream = Transport<TcpStream>;

/// Opens the connections, and writes a line about the time since the line before for each that it
/// reads.
pub(crate) async fn run(uri: &str, certificate: &str) -> Result {
    // Whatever the attacker does, what is measured is the server.
    go_first(std::process::id());
    let client = match certificate {
        "none" => Client::new(),
        pem => Client::new().tls(ClientTls::from_ca_pem(pem.replace('|', "\n").as_bytes())?),
    };
    let (seen, epoch) = (Shared::default(), Instant::now());
    for number in 0..CONNECTIONS {
        let (reader, writer) = open(&client, uri, [127, 1, 0, 1]).await?.split();
        tokio::spawn(write(writer, number, epoch));
        tokio::spawn(read(reader, epoch, seen.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    for number in 0..OWN {
        let near = TcpStream::connect(listener.local_addr()?).await?;
        let (far, _) = listener.accept().await?;
        tokio::spawn(own_echo(far));
        tokio::spawn(own(near, number, seen.clone()));
    }
    tokio::spawn(newcomers(client, uri.to_owned(), seen.clone()));
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    println!("{CONNECTIONS} are open");
    while input.next_line().await?.is_some() {
        let lost = seen.lock().lost;
        let all = std::mem::replace(&mut *seen.lock(), Seen { lost, ..Seen::default() });
        let [p50, p99, p999] = quantiles(all.echoes, [0.5, 0.99, 0.999]);
        let [own] = quantiles(all.own, [0.99]);
        let [new, new_longest] = quantiles(all.opened, [0.5, 1.0]);
        println!("{p50} {p99} {p999} {own} {new} {new_longest} {} {lost}", all.failed);
    }
    Ok(())
}

/// A connection from this address.
async fn open(client: &Client, uri: &str, source: [u8; 4]) -> Result<WebSocket<Stream>> {
    let port = uri.trim_end_matches('/').rsplit_once(':').ok_or("no port")?.1.parse::<u16>()?;
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
    stream.set_nodelay(true)?;
    Ok(client.connect_over(uri, stream).await?)
}

/// By the clock, whatever has come back.
async fn write(mut writer: Writer<Stream>, number: u32, epoch: Instant) -> Result {
    let mut ticks =
        interval_at(tokio::time::Instant::now() + PERIOD * number / CONNECTIONS, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        writer.send(epoch.elapsed().as_nanos().to_be_bytes().to_vec()).await?;
    }
}

async fn read(mut reader: Reader<Stream>, epoch: Instant, seen: Shared) {
    while let Some(Ok(message)) = reader.next().await {
        let Ok(sent) = message.as_bytes().try_into() else { break };
        let sent = Duration::from_nanos(u128::from_be_bytes(sent) as u64);
        let took = epoch.elapsed().saturating_sub(sent);
        seen.lock().echoes.push(took);
    }
    seen.lock().lost += 1;
}

/// The same with nobody but this process.
async fn own(mut stream: TcpStream, number: u32, seen: Shared) -> Result {
    stream.set_nodelay(true)?;
    let mut ticks = interval_at(tokio::time::Instant::now() + PERIOD * number / OWN, PERIOD);
    loop {
        ticks.tick().await;
        let (start, mut message) = (Instant::now(), [7; 16]);
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
        seen.lock().own.push(start.elapsed());
    }
}

async fn own_echo(mut stream: TcpStream) -> Result {
    stream.set_nodelay(true)?;
    let mut message = [0; 16];
    loop {
        stream.read_exact(&mut message).await?;
        stream.write_all(&message).await?;
    }
}

/// One after the other: connects, has an echo, and leaves.
async fn newcomers(client: Client, uri: String, seen: Shared) {
    for number in (0..NEW_ADDRESSES).cycle() {
        sleep(NEW_EVERY).await;
        let start = Instant::now();
        let source = [127, 1, 1, number as u8 + 1];
        let coming = timeout(PATIENCE, newcomer(&client, &uri, source)).await;
        let mut seen = seen.lock();
        match coming {
            Ok(Ok(())) => seen.opened.push(start.elapsed()),
            _ => seen.failed += 1,
        }
    }
}

async fn newcomer(client: &Client, uri: &str, source: [u8; 4]) -> Result {
    let mut ws = open(client, uri, source).await?;
    ws.send("hello").await?;
    ws.next().await.ok_or("no echo")??;
    Ok(ws.close().await?)
}

/// In microseconds.
fn quantiles<const N: usize>(mut times: Vec<Duration>, parts: [f64; N]) -> [u128; N] {
    times.sort_unstable();
    parts.map(|part| {
        let rank = (part * times.len() as f64).ceil() as usize;
        times.get(rank.max(1) - 1).map_or(0, Duration::as_micros)
    })
}
