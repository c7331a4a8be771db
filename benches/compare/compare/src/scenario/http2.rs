//! WebSockets as streams of one HTTP/2 connection (RFC 8441), beside an echo of DATA on the bare
//! `h2` crate, which is the generator's HTTP/2 too.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::timeout;

use super::echo::bytes;
use super::{Run, Scenario, rotated};
use crate::frames::Pool;
use crate::servers::{Extra, Participant, Running};
use crate::{Outcome, sys};

pub(crate) const HTTP2: Scenario = Scenario {
    name: "http2",
    title: "echo over HTTP/2",
    unit: "us",
    about: "Server CPU time for each message, in microseconds, over one connection, with one message in flight on each of its \
            streams. Cell: streams / bytes. What is `floor` elsewhere is `h2` here, which does not look at what it sends back.",
    digits: 3,
    larger_is_better: false,
    run,
};

const KIB: usize = 1024;
/// Streams, and bytes of a message.
const CELLS: &[(usize, usize)] =
    &[(1, 16), (1, 16 * KIB), (16, 16), (16, 16 * KIB), (256, 16), (256, 16 * KIB)];
/// How long a server may take to open its streams.
const PATIENCE: Duration = Duration::from_secs(10);
/// A message on one stream takes a dozen wake-ups of both ends: windows are longer than elsewhere.
const LONGER: u32 = 2;

fn run(run: &mut Run<'_>) -> Outcome {
    let participants = run.participants(Participant::speaks_http2);
    for round in 0..run.options.rounds {
        for (number, &(streams, payload)) in CELLS.iter().enumerate() {
            let cell = format!("{streams}/{}", bytes(payload));
            if !run.options.wants_cell(&cell) {
                continue;
            }
            let pool = Pool::binary(payload, 1);
            for participant in rotated(&participants, round + number) {
                match one(run, participant, streams, &pool) {
                    Ok(seen) => {
                        let value = seen.cpu.as_secs_f64() * 1e6 / seen.messages.max(1) as f64;
                        let more = vec![
                            ("messages", seen.messages as f64),
                            ("wall_ms", seen.wall.as_secs_f64() * 1e3),
                            ("cpu_ms", seen.cpu.as_secs_f64() * 1e3),
                            (
                                "server_utilisation",
                                seen.cpu.as_secs_f64() / seen.wall.as_secs_f64(),
                            ),
                        ];
                        run.record(&cell, participant.name, round, value, more, String::new());
                    }
                    Err(error) => run.fail(format!("{} {cell}: {error}", participant.name)),
                }
            }
        }
    }
    Ok(())
}

/// What was seen in a window of time.
struct Seen {
    messages: u64,
    wall: Duration,
    cpu: Duration,
}

fn one(run: &Run<'_>, participant: &Participant, streams: usize, pool: &Pool) -> Outcome<Seen> {
    let server = run.start(participant, &["echo"], Extra::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let raw = participant.name == "h2";
    let frame = Bytes::copy_from_slice(pool.frame(0));
    let reply = Bytes::copy_from_slice(if raw { pool.frame(0) } else { pool.reply(0) });
    let (warm, long) = (run.options.warm_up(participant.kind), run.options.long());
    LocalSet::new().block_on(&runtime, async {
        let opened = timeout(PATIENCE, open(&server, streams, &frame, &reply)).await??;
        let count = Rc::new(Cell::new(0));
        for mut stream in opened {
            let (count, frame) = (count.clone(), frame.clone());
            let length = reply.len();
            spawn_local(async move {
                // It ends with the connection; what is missing then is seen below.
                while stream.echo(&frame, length, |_| ()).await.is_ok() {
                    count.set(count.get() + 1);
                }
            });
        }
        watch(&server, &count, warm * LONGER).await?;
        let seen = watch(&server, &count, long * LONGER).await?;
        if seen.messages == 0 { Err("no message came back".into()) } else { Ok(seen) }
    })
}

/// Counts for this long, without ever sleeping.
async fn watch(server: &Running, count: &Cell<u64>, time: Duration) -> Outcome<Seen> {
    let (before, cpu, start) = (count.get(), sys::cpu_time(server.pid())?, Instant::now());
    while start.elapsed() < time {
        yield_now().await;
    }
    let cpu = sys::cpu_time(server.pid())? - cpu;
    Ok(Seen { messages: count.get() - before, wall: start.elapsed(), cpu })
}

/// Opens WebSockets on one connection, and has a message echoed on each, whose reply must be right
/// to the byte.
async fn open(
    server: &Running,
    streams: usize,
    frame: &Bytes,
    reply: &Bytes,
) -> Outcome<Vec<Stream>> {
    let socket = TcpStream::connect(server.address()?).await?;
    socket.set_nodelay(true)?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_connection_window_size(1 << 30)
        .initial_max_send_streams(streams)
        .handshake(socket)
        .await?;
    spawn_local(connection);
    let mut opened = Vec::with_capacity(streams);
    for _ in 0..streams {
        let mut stream = Stream::open(&requests).await?;
        let mut received = Vec::with_capacity(reply.len());
        stream.echo(frame, reply.len(), |data| received.extend_from_slice(data)).await?;
        if received != *reply {
            return Err("a wrong reply".into());
        }
        opened.push(stream);
    }
    Ok(opened)
}

/// A WebSocket.
struct Stream {
    outgoing: SendStream<Bytes>,
    incoming: RecvStream,
}

impl Stream {
    async fn open(requests: &SendRequest<Bytes>) -> Outcome<Self> {
        let mut request = http::Request::connect("http://localhost/").body(())?;
        let version = http::HeaderValue::from_static("13");
        request.headers_mut().insert("sec-websocket-version", version);
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        let mut requests = requests.clone().ready().await?;
        let (response, outgoing) = requests.send_request(request, false)?;
        let response = response.await?;
        if response.status() != 200 {
            return Err(format!("no WebSocket: {}", response.status()).into());
        }
        Ok(Self { outgoing, incoming: response.into_body() })
    }

    /// Sends a frame, and receives as many bytes as the reply has.
    async fn echo(
        &mut self,
        frame: &Bytes,
        reply: usize,
        mut received: impl FnMut(&[u8]),
    ) -> Outcome {
        let mut left = frame.clone();
        while !left.is_empty() {
            while self.outgoing.capacity() == 0 {
                self.outgoing.reserve_capacity(left.len());
                poll_fn(|cx| self.outgoing.poll_capacity(cx)).await.ok_or("the stream ended")??;
            }
            let room = self.outgoing.capacity().min(left.len());
            self.outgoing.send_data(left.split_to(room), false)?;
        }
        let mut length = 0;
        while length < reply {
            let data = self.incoming.data().await.ok_or("the stream ended")??;
            self.incoming.flow_control().release_capacity(data.len())?;
            received(&data);
            length += data.len();
        }
        Ok(())
    }
}
