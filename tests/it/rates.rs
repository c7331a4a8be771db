//! What one peer may take: rates of messages, bytes and pings, lifetime, idle time, and a share of
//! the memory of all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join;
use tautline::{
    Client, CloseCode, Config, Error, Excess, Http2, Http2Config, MemoryBudget, Message,
    ProtocolError, Rate, Role,
};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::handshake::{Http, bind, echo_server, expect_echo, uri};
use crate::support::log::Log;
use crate::support::peer::{
    BINARY, CLOSE, FIN, PING, PONG, Peer, TEXT, close_body, duplex, tcp, tcp_streams,
};

/// The longest that a test waits. No passing test comes near it.
const LONG: Duration = Duration::from_secs(60);

/// More than the system holds for a peer that is not read.
const FLOOD: usize = 64 << 20;

/// Nothing after the first burst, for as long as a test runs.
fn once(burst: u64) -> Rate {
    Rate::per_second(1).burst(burst)
}

/// Writes without end to a peer that is to stop reading, while another connection is used. Returns
/// once nothing has been taken for many round trips of that.
async fn flood_until_blocked(address: std::net::SocketAddr, start: &[u8], piece: &[u8]) {
    let mut http = Http::connect(address).await;
    http.upgrade().await;
    let mut stream = http.stream;
    let mut neighbour = Client::new().connect(&uri(address)).await.unwrap();
    let taken = AtomicUsize::new(0);
    let flood = async {
        stream.write_all(start).await.unwrap();
        while taken.load(Ordering::SeqCst) < FLOOD {
            let count = stream.write(piece).await.unwrap();
            // A frame that was begun is completed.
            stream.write_all(&piece[count..]).await.unwrap();
            taken.fetch_add(piece.len(), Ordering::SeqCst);
        }
        panic!("all of it was read");
    };
    let use_neighbour = async {
        let (mut before, mut still) = (0, 0);
        while still < 300 {
            expect_echo(&mut neighbour, "as ever").await;
            let now = taken.load(Ordering::SeqCst);
            still = if now == before && now > 0 { still + 1 } else { 0 };
            before = now;
        }
    };
    let either = async {
        tokio::select! {
            () = flood => {}
            () = use_neighbour => {}
        }
    };
    timeout(LONG, either).await.expect("the flood is blocked");
    neighbour.close().await.unwrap();
}

#[tokio::test]
async fn a_flood_of_messages_blocks_its_sender_and_nobody_else() {
    // The neighbour sends few hundred messages.
    let config = Config::new().message_rate(once(100_000));
    let received = Arc::new(AtomicUsize::new(0));
    let (server, address) = bind().await;
    let counted = received.clone();
    tokio::spawn(server.config(config).serve(move |mut ws| {
        let counted = counted.clone();
        async move {
            while let Some(message) = ws.next().await {
                let message = message?;
                if message.is_binary() {
                    counted.fetch_add(1, Ordering::SeqCst);
                } else {
                    ws.feed(message).await?;
                }
            }
            Ok(())
        }
    }));
    let frames = Peer::of(Role::Server, tokio::io::empty()).encode(FIN | BINARY, b"x").repeat(1000);
    flood_until_blocked(address, &[], &frames).await;
    let count = received.load(Ordering::SeqCst);
    assert!((100_000..=107_000).contains(&count), "{count}: the burst, and a part of it");
}

#[tokio::test]
async fn bytes_beyond_the_rate_are_not_read_whatever_they_are() {
    let address = echo_server(|it| it.config(Config::new().byte_rate(once(1_000_000)))).await;
    // One frame that is never complete.
    let header = [0x82, 0xFF, 0, 0, 0, 0, 0, 0xF0, 0, 0, 0, 0, 0, 0];
    flood_until_blocked(address, &header, &[0; 64 << 10]).await;
}

#[tokio::test]
async fn a_stream_of_http_2_is_slowed_down_and_its_neighbours_are_not() {
    let config = Config::new().message_rate(once(20_000));
    let address = echo_server(|it| it.http2(Http2Config::new()).config(config)).await;
    let client = Client::new().http2(Http2::Prior);
    let one = client.connect(&uri(address)).await.unwrap();
    let mut other = client.connect(&uri(address)).await.unwrap();
    let (mut reader, mut writer) = one.split();
    let sent = AtomicUsize::new(0);
    let flood = async {
        while sent.load(Ordering::SeqCst) < 1_000_000 {
            for _ in 0..100 {
                writer.feed(vec![7; 1000]).await.unwrap();
            }
            sent.fetch_add(100, Ordering::SeqCst);
        }
        panic!("all of it was taken");
    };
    let echoes = async { while reader.next().await.is_some() {} };
    let use_other = async {
        let (mut before, mut still) = (0, 0);
        while still < 300 {
            expect_echo(&mut other, "as ever").await;
            let now = sent.load(Ordering::SeqCst);
            still = if now == before && now >= 20_000 { still + 1 } else { 0 };
            before = now;
        }
    };
    let either = async {
        tokio::select! {
            _ = join(flood, echoes) => {}
            () = use_other => {}
        }
    };
    timeout(LONG, either).await.expect("the flood is blocked");
}

#[tokio::test]
async fn a_flood_is_closed_with_1008_by_choice() {
    let config = Config::new().message_rate(once(100)).excess(Excess::Close);
    let (mut ws, mut peer) = tcp(Role::Server, config).await;
    let ended = tokio::spawn(async move {
        loop {
            match ws.next().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    });
    // In two reads at least: what is taken is counted at the next.
    for _ in 0..2 {
        let frames = peer.encode(FIN | TEXT, b"x").repeat(300);
        peer.write(&frames).await;
        peer.send(FIN | PING, b"all").await;
        match peer.recv().await {
            Some(frame) if frame.first == FIN | PONG => {}
            Some(frame) => {
                assert_eq!(frame.first, FIN | CLOSE);
                assert_eq!(frame.payload[..2], 1008_u16.to_be_bytes());
                peer.stream.shutdown().await.unwrap();
                break;
            }
            None => panic!("no Close"),
        }
    }
    let end = timeout(LONG, ended).await.expect("it ends").unwrap();
    let limit = ProtocolError::TooManyMessages { per_second: 1 };
    assert!(matches!(end, Some(Err(Error::Protocol(error))) if error == limit), "{end:?}");
}

#[tokio::test]
async fn a_flood_of_pings_ends_with_1008() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let (server, address) = bind().await;
    tokio::spawn(server.serve(move |mut ws| {
        let ends = ends.clone();
        async move {
            let end = ws.next().await;
            ends.send(end).unwrap();
            Ok(())
        }
    }));
    let mut http = Http::connect(address).await;
    http.upgrade().await;
    let mut peer = Peer::of(Role::Server, http.stream);
    let pings = peer.encode(FIN | PING, b"").repeat(100);
    let pongs = async {
        // A flood in steps, so that the sockets are never full.
        for _ in 0..1000 {
            peer.stream.write_all(&pings).await.unwrap();
            for _ in 0..100 {
                let frame = peer.recv().await.expect("a Close comes before the end");
                if frame.first == FIN | CLOSE {
                    return frame;
                }
                assert_eq!(frame.first, FIN | PONG);
            }
        }
        panic!("100,000 pings were answered");
    };
    let close = timeout(LONG, pongs).await.expect("it ends");
    drop(peer);
    assert_eq!(close.payload[..2], 1008_u16.to_be_bytes());
    let reason = String::from_utf8_lossy(&close.payload[2..]).into_owned();
    assert!(reason.contains("control_rate"), "{reason}");
    let end = timeout(LONG, ended.recv()).await.expect("it ends").unwrap();
    let Some(Err(Error::Protocol(error))) = end else { panic!("{end:?}") };
    assert!(matches!(error, ProtocolError::TooManyControlFrames { .. }), "{error:?}");
}

// The task that finds the pause over need not be the one that reads.
#[tokio::test]
async fn a_reader_goes_on_after_each_pause_whoever_else_polls() {
    const COUNT: usize = 3_000;
    let config = Config::new().message_rate(Rate::per_second(10_000).burst(100));
    let (ws, mut peer) = tcp(Role::Server, config).await;
    let (mut reader, mut writer) = ws.split();
    let log = Log::default();
    let _collecting = log.start();
    let sending = async {
        let frames = peer.encode(FIN | BINARY, b"x").repeat(COUNT);
        peer.write(&frames).await;
        loop {
            // What the writer sends.
            let frame = peer.recv().await.expect("a Close comes before the end");
            if frame.first == FIN | CLOSE {
                return peer.send(FIN | CLOSE, close_body(1000, "")).await;
            }
        }
    };
    let (stop, mut stopped) = mpsc::channel::<()>(1);
    let writing = async {
        loop {
            tokio::select! {
                sent = writer.send("tick") => sent.unwrap(),
                _ = stopped.recv() => break,
            }
            tokio::task::yield_now().await;
        }
        writer.close().await.unwrap();
    };
    let reading = async {
        for count in 0..COUNT {
            let given = reader.next().await;
            assert!(matches!(given, Some(Ok(Message::Binary(_)))), "{count}: {given:?}");
        }
        drop(stop);
        assert!(reader.next().await.is_none());
    };
    timeout(LONG, async { tokio::join!(sending, writing, reading) }).await.expect("it ends");
    let text = log.text();
    assert!(text.contains("slowed down for the first time") && text.contains("pauses="), "{text}");
}

/// A peer that answers pings, and in the end a Close with this code. Returns how long that took.
async fn answer_pings_until_close(peer: &mut Peer<DuplexStream>, code: u16) -> Duration {
    let start = tokio::time::Instant::now();
    loop {
        let frame = peer.recv().await.expect("a Close comes before the end");
        if frame.first == FIN | PING {
            peer.send(FIN | PONG, &frame.payload).await;
            continue;
        }
        let lived = start.elapsed();
        assert_eq!(frame.first, FIN | CLOSE);
        assert_eq!(frame.payload[..2], code.to_be_bytes(), "{frame:?}");
        peer.send(FIN | CLOSE, &frame.payload).await;
        peer.expect_eof().await;
        return lived;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_ends_with_1012_and_in_order() {
    let lifetime = Duration::from_secs(3600);
    let (mut ws, mut peer) = duplex(Role::Server, Config::new().max_lifetime(lifetime), 1 << 10);
    let living = answer_pings_until_close(&mut peer, 1012);
    let (end, lived) = timeout(2 * lifetime, join(ws.next(), living)).await.expect("it ends");
    assert!((lifetime / 2..=lifetime).contains(&lived), "{lived:?}");
    assert!(end.is_none(), "{end:?}");
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::SERVICE_RESTART);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_messages_ends_with_1001_though_it_is_pinged() {
    let idle = Duration::from_secs(300);
    let (mut ws, mut peer) = duplex(Role::Server, Config::new().idle_timeout(idle), 1 << 10);
    let living = answer_pings_until_close(&mut peer, 1001);
    let (end, lived) = timeout(LONG * 60, join(ws.next(), living)).await.expect("it ends");
    assert!((idle..=idle * 5 / 4).contains(&lived), "{lived:?}");
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn what_holds_the_most_of_the_servers_memory_is_slowed_down_first() {
    let budget = MemoryBudget::new(2 << 20);
    let address = {
        let budget = budget.clone();
        echo_server(move |it| it.memory_budget(budget)).await
    };
    // A message of 15 MiB that takes as long as it likes.
    let header = [0x82, 0xFF, 0, 0, 0, 0, 0, 0xF0, 0, 0, 0, 0, 0, 0];
    flood_until_blocked(address, &header, &[0; 64 << 10]).await;
    // The block of a frame doubles.
    assert!(budget.used() > 2 << 20 && budget.used() < 6 << 20, "{budget:?}");
    assert!(budget.strikes() > 0);
}

// What is not a rate's business.
#[tokio::test]
async fn the_defaults_let_a_fast_peer_be_fast() {
    let (near, far) = tcp_streams().await;
    let client = crate::support::peer::open(near, Role::Client, Config::new());
    let mut server = crate::support::peer::open(far, Role::Server, Config::new());
    let log = Log::default();
    let _collecting = log.start();
    let sending = async move {
        let mut client = client;
        for _ in 0..200_000 {
            client.feed("x").await.unwrap();
        }
        client.close().await.unwrap();
    };
    let receiving = async {
        let mut count = 0;
        while let Some(message) = server.next().await {
            message.unwrap();
            count += 1;
        }
        count
    };
    let ((), count) = timeout(LONG, join(sending, receiving)).await.expect("it ends");
    assert_eq!(count, 200_000);
    assert!(!log.text().contains("slowed"), "{}", log.text());
}
