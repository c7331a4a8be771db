//! Floods of HTTP/2 frames from a client that reads nothing: what the server holds for it, and
//! whether a neighbour on another connection notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tautline::{Client, Http2, Http2Config, Server, Upgrade, WebSocket};
use tokio::task::spawn_blocking;

use crate::{ALLOCATOR, alone};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Client, server and neighbour together, whatever is sent: no flood is kept.
const MOST: usize = 1 << 20;

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The extended CONNECT of RFC 8441 section 5.1, without Huffman coding (RFC 7541 section 6.2).
fn connect(stream: u32, path: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let mut block = vec![0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(length(value));
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[2], "CONNECT");
    literal(&[4], path);
    literal(&[1], "example.com");
    literal(b"\0\x09:protocol", "websocket");
    literal(b"\0\x15sec-websocket-version", "13");
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A connection of a client that never reads.
struct Flood(TcpStream);

impl Flood {
    fn start(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        // A server that stops reading has stopped the flood.
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        // The window of the connection is open when the server has said so.
        let mut head = [0; 9];
        while head[3] != WINDOW_UPDATE {
            stream.read_exact(&mut head).unwrap();
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            stream.read_exact(&mut vec![0; length]).unwrap();
        }
        // Those of the streams when the client has acknowledged (RFC 9113 section 6.5.3).
        stream.write_all(&frame(SETTINGS, ACK, 0, &[])).unwrap();
        Self(stream)
    }

    /// Writes all of these, unless the server stops reading or ends the connection. Returns how
    /// many bytes.
    fn write(&mut self, frames: impl Iterator<Item = Vec<u8>>) -> usize {
        let mut sent = 0;
        for frame in frames {
            if self.0.write_all(&frame).is_err() {
                break;
            }
            sent += frame.len();
        }
        sent
    }

    /// Waits until the server has read all that was sent, or has ended the connection.
    fn finish(mut self) {
        const PAYLOAD: &[u8; 8] = b"the last";
        if self.0.write_all(&frame(PING, 0, 0, PAYLOAD)).is_err() {
            return;
        }
        let (mut read, mut buffer) = (Vec::new(), [0; 64 << 10]);
        while let Ok(count @ 1..) = self.0.read(&mut buffer) {
            read.extend_from_slice(&buffer[..count]);
            if read.windows(PAYLOAD.len()).any(|bytes| bytes == PAYLOAD) {
                return;
            }
            read.drain(..read.len().saturating_sub(PAYLOAD.len()));
        }
    }
}

/// A running echo, whose handlers on `/stuck` do not read.
async fn server(config: Http2Config) -> SocketAddr {
    let server = Server::bind("127.0.0.1:0").await.unwrap().http2(config);
    let address = server.local_addr().unwrap();
    let serving = server
        .authorize(|request| async move { Ok(Upgrade::new(request.uri().path() == "/stuck")) })
        .serve_with(|mut ws, stuck| async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            while let Some(message) = ws.next().await {
                ws.send(message?).await?;
            }
            Ok(())
        });
    tokio::spawn(serving);
    address
}

async fn expect_echoes(ws: &mut WebSocket, count: usize) {
    for number in 0..count {
        ws.send(number.to_string()).await.unwrap();
        let echo = ws.next().await.unwrap().unwrap();
        assert_eq!(echo.as_text(), Some(number.to_string().as_str()));
    }
}

/// Runs a flood beside a neighbour; the caller is alone, and stays so while it fails: the text of a
/// failure takes memory, too. Returns the most that the process held beyond what it held
/// before, and how many bytes were sent.
fn flood<I>(config: Http2Config, frames: I) -> (usize, usize)
where
    I: Iterator<Item = Vec<u8>> + Send + 'static,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(flood_beside_a_neighbour(config, frames))
}

async fn flood_beside_a_neighbour<I>(config: Http2Config, frames: I) -> (usize, usize)
where
    I: Iterator<Item = Vec<u8>> + Send + 'static,
{
    let address = server(config).await;
    let client = Client::new().http2(Http2::Prior);
    let mut neighbour = client.connect(format!("ws://{address}/")).await.unwrap();
    expect_echoes(&mut neighbour, 100).await;
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let flooding = spawn_blocking(move || {
        let mut flood = Flood::start(address);
        let sent = flood.write(frames);
        flood.finish();
        sent
    });
    while !flooding.is_finished() {
        expect_echoes(&mut neighbour, 10).await;
    }
    let sent = flooding.await.unwrap();
    expect_echoes(&mut neighbour, 100).await;
    (ALLOCATOR.peak_usage().saturating_sub(before), sent)
}

fn assert_bounded(what: &str, (held, sent): (usize, usize), most: usize) {
    println!("{what}: {sent} bytes sent, {held} held");
    assert!(held < most, "{what}: {held} bytes held for {sent}");
}

// CVE-2023-44487, and its like of 2025, where the server is brought to reset (CVE-2025-8671).
#[test]
fn ten_thousand_streams_that_are_reset_at_once_are_not_kept() {
    let _alone = alone();
    let cancel = 8_u32.to_be_bytes();
    let streams = (0..10_000).map(|number| number * 2 + 1);
    let at_once = streams.clone().map(move |stream| {
        [connect(stream, "/stuck"), frame(RST_STREAM, 0, stream, &cancel)].concat()
    });
    assert_bounded("resets", flood(Http2Config::new(), at_once), MOST);
    // An increment of 0 is an error of the stream, which the server resets.
    let made_to_reset = streams.map(|stream| {
        let frames = [connect(stream, "/stuck"), frame(WINDOW_UPDATE, 0, stream, &[0; 4])];
        frames.concat()
    });
    assert_bounded("made to reset", flood(Http2Config::new(), made_to_reset), MOST);
}

// CVE-2019-9515, CVE-2019-9512: each of them is answered, and nobody reads the answers.
#[test]
fn floods_of_settings_and_pings_are_not_kept() {
    let _alone = alone();
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0].repeat(6));
    let settings = std::iter::repeat_n(settings.repeat(100), 10_000);
    assert_bounded("SETTINGS", flood(Http2Config::new(), settings), MOST);
    let pings = std::iter::repeat_n(frame(PING, 0, 0, &[7; 8]).repeat(100), 10_000);
    assert_bounded("PING", flood(Http2Config::new(), pings), MOST);
}

// CVE-2024-27316: a head without an end.
#[test]
fn a_head_that_never_ends_is_not_kept() {
    let _alone = alone();
    let start = frame(HEADERS, 0, 1, &[0x86]);
    let header = [b"\0\x01x\x64".to_vec(), vec![b'x'; 100]].concat();
    let more = frame(CONTINUATION, 0, 1, &header.repeat(100));
    let frames = std::iter::once(start).chain(std::iter::repeat_n(more, 5_000));
    assert_bounded("CONTINUATION", flood(Http2Config::new(), frames), MOST);
}

// The window of each stream bounds what is kept for a handler that does not read, and the budget
// for small DATA what that costs beyond its bytes.
#[test]
fn what_nobody_reads_is_bounded_by_the_windows() {
    let _alone = alone();
    // So many that what others hold does not matter.
    const STREAMS: u32 = 128;
    let window = Http2Config::DEFAULT_STREAM_WINDOW as usize;
    let kept = window * STREAMS as usize;
    let large = streams(STREAMS).flat_map(move |stream| {
        std::iter::repeat_n(frame(DATA, 0, stream, &[7; 1 << 10]), window >> 10)
    });
    let config = Http2Config::new().max_streams(STREAMS);
    let (held, sent) = flood(config, opening(STREAMS).chain(large));
    assert!(held > kept / 2, "{held} bytes of {sent}: it was to be kept");
    assert_bounded("large DATA", (held, sent), 3 * kept);
    // The connection does not outlive a hundred thousand of these.
    let tiny = streams(16).flat_map(|stream| {
        std::iter::repeat_n(frame(DATA, 0, stream, &[7]).repeat(100), 6_250 / 100)
    });
    let held = flood(Http2Config::new().max_streams(16), opening(16).chain(tiny));
    assert_bounded("tiny DATA", held, 16 << 20);
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| number * 2 + 1)
}

/// Streams whose handler does not read.
fn opening(count: u32) -> impl Iterator<Item = Vec<u8>> {
    streams(count).map(|stream| connect(stream, "/stuck"))
}
