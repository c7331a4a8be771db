//! The client: streams of HTTP/2 connections, each of which notes when messages arrive.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use tautline::http::{HeaderValue, Request};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::histogram::Histogram;
use crate::support::Result;
use crate::{LENGTH, LOOK, micros};

/// If none comes in this time, no more will.
const PATIENCE: Duration = Duration::from_secs(15);
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

pub(crate) type Seen = Rc<RefCell<Histogram>>;

/// Opens all, says when they are there, and then [reports](report).
pub(crate) async fn listen(address: &str, connections: u64, streams: u64) -> Result {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    LocalSet::new()
        .run_until(async {
            let (seen, begin) = (Seen::default(), Instant::now());
            for _ in 0..connections {
                let requests = connect(address).await?;
                for _ in 0..streams {
                    let (outgoing, incoming) = open(&requests).await?;
                    tokio::task::spawn_local(receive(outgoing, incoming, seen.clone()));
                }
            }
            println!("open after {:.1} s", begin.elapsed().as_secs_f64());
            report(&seen).await
        })
        .await
}

/// For each number that comes in, waits for so many deliveries, unless no more come, and says how long
/// they took.
pub(crate) async fn report(seen: &Seen) -> Result {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let wanted: u64 = line.parse()?;
        let (mut before, mut since) = (0, Instant::now());
        while before < wanted && since.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
            let now = seen.borrow().count();
            if now > before {
                (before, since) = (now, Instant::now());
            }
        }
        println!("{}", seen.take().parts());
    }
    Ok(())
}

async fn connect(address: &str) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_connection_window_size(1 << 30)
        .handshake(stream)
        .await?;
    tokio::task::spawn_local(connection);
    Ok(requests)
}

async fn open(requests: &SendRequest<Bytes>) -> Result<(SendStream<Bytes>, RecvStream)> {
    let mut request = Request::connect("http://localhost/").body(())?;
    request.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let mut requests = requests.clone().ready().await?;
    let (response, outgoing) = requests.send_request(request, false)?;
    let response = response.await?;
    if response.status() != 200 {
        return Err(format!("{}", response.status()).into());
    }
    Ok((outgoing, response.into_body()))
}

/// Notes each message, and answers pings, until the stream ends.
async fn receive(mut outgoing: SendStream<Bytes>, mut incoming: RecvStream, seen: Seen) {
    let mut rest = BytesMut::new();
    while let Some(Ok(data)) = incoming.data().await {
        if incoming.flow_control().release_capacity(data.len()).is_err() {
            return;
        }
        rest.extend_from_slice(&data);
        while let Some((frame, length)) = tautline_wire::read_frame(&rest) {
            rest.advance(length);
            match frame.first {
                PING => answer(&mut outgoing, &frame.payload).await,
                _ => note(&seen, &frame.payload),
            }
        }
        if rest.is_empty() {
            rest = BytesMut::new();
        }
    }
}

/// Notes how long it took, if it was published.
pub(crate) fn note(seen: &Seen, payload: &[u8]) {
    if payload.len() == LENGTH
        && let Some(sent) = payload.first_chunk()
    {
        seen.borrow_mut().add(micros().saturating_sub(u64::from_le_bytes(*sent)));
    }
}

async fn answer(outgoing: &mut SendStream<Bytes>, payload: &[u8]) {
    let pong = tautline_wire::encode(true, PONG, payload);
    outgoing.reserve_capacity(pong.len());
    while outgoing.capacity() < pong.len() {
        if !matches!(poll_fn(|cx| outgoing.poll_capacity(cx)).await, Some(Ok(_))) {
            return;
        }
    }
    // If the stream has ended, the next read says so.
    let _ = outgoing.send_data(Bytes::from(pong), false);
}
