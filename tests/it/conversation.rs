//! Messages both ways: sizes, fragments, batches, backpressure, and streams that transfer little at
//! a time.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt, future, stream};
use tautline::{Config, Error, Message, Role, WebSocket};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};

use crate::support::peer::{
    BINARY, CONTINUATION, Choppy, Counted, FIN, PING, PONG, Peer, ROLES, TEXT, both_ends, duplex,
    encode, open, tcp_streams,
};

/// Bytes that reveal when any of them is lost, duplicated or out of place.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

fn text(len: usize) -> String {
    "aé漢𝄞"
        .chars()
        .cycle()
        .scan(0, |at, c| {
            *at += c.len_utf8();
            (*at <= len).then_some(c)
        })
        .collect()
}

/// As [`duplex`], with the number of its writes.
fn counted(
    role: Role,
    config: Config,
    capacity: usize,
) -> (WebSocket<Counted<DuplexStream>>, Peer<DuplexStream>, Arc<AtomicUsize>) {
    let (near, far) = tokio::io::duplex(capacity);
    let (near, writes) = Counted::new(near);
    (open(near, role, config), Peer::of(role, far), writes)
}

fn sizes() -> Vec<Message> {
    let lens = [0, 1, 125, 126, 4095, 4096, 65_535, 65_536, 1 << 20];
    lens.into_iter().flat_map(|len| [pattern(len).into(), text(len).into()]).collect()
}

// RFC 6455 section 5.2: each form of the length, and the borders between them.
#[tokio::test]
async fn messages_of_every_size_arrive_whole_in_both_directions() {
    for capacity in [100, 1 << 16] {
        let (mut client, mut server) = both_ends(tokio::io::duplex(capacity));
        let echo = async {
            while let Some(message) = server.next().await {
                server.feed(message.unwrap()).await.unwrap();
            }
        };
        let ask = async {
            for message in sizes() {
                client.send(message.clone()).await.unwrap();
                let answer = client.next().await.unwrap().unwrap();
                assert!(answer == message, "{} bytes", message.len());
            }
            client.close().await.unwrap();
        };
        future::join(echo, ask).await;
    }
}

// The largest message of the Autobahn suite is the largest by default.
#[tokio::test]
async fn sixteen_mebibytes_cross_tcp_in_both_directions() {
    let (mut client, mut server) = both_ends(tcp_streams().await);
    let payload = pattern(16 << 20);
    let echo = tokio::spawn(async move {
        let message = server.next().await.unwrap().unwrap();
        server.send(message).await.unwrap();
        assert!(server.next().await.is_none());
    });
    client.send(payload.clone()).await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert!(answer.is_binary() && answer.as_bytes() == payload);
    client.close().await.unwrap();
    echo.await.unwrap();
}

// RFC 6455 section 5.4: control frames may come between fragments, and are answered at once.
#[tokio::test]
async fn fragments_are_one_message_and_a_ping_between_them_is_answered_first() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new(), 4096);
        peer.send(TEXT, "one ").await;
        peer.send(CONTINUATION, "").await;
        peer.send(FIN | PING, "are you there?").await;
        peer.send(CONTINUATION, "\u{1D11E}".as_bytes()[..2].to_vec()).await;
        assert!(ws.next().now_or_never().is_none());
        peer.expect(FIN | PONG, "are you there?").await;
        peer.send(FIN | CONTINUATION, &"\u{1D11E}".as_bytes()[2..]).await;
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("one \u{1D11E}"));
        peer.send(FIN | BINARY, "two").await;
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from(b"two"));
    }
}

#[tokio::test]
async fn what_was_fed_goes_out_in_one_write_before_next_waits() {
    for role in ROLES {
        let (mut ws, mut peer, writes) = counted(role, Config::new(), 1 << 16);
        for number in 0..100 {
            ws.feed(format!("message {number}")).await.unwrap();
        }
        assert_eq!(writes.load(Ordering::SeqCst), 0);
        assert!(ws.next().now_or_never().is_none());
        assert_eq!(writes.load(Ordering::SeqCst), 1);
        for number in 0..100 {
            peer.expect(FIN | TEXT, format!("message {number}")).await;
        }
    }
}

#[tokio::test]
async fn the_answers_to_all_that_one_read_brought_are_one_write() {
    let (mut ws, mut peer, writes) = counted(Role::Server, Config::new(), 1 << 16);
    let questions: Vec<u8> = (0..50u8)
        .flat_map(|number| {
            [peer.encode(FIN | BINARY, &[number]), peer.encode(FIN | PING, &[number])].concat()
        })
        .collect();
    peer.write(&questions).await;
    let echo = async {
        while let Some(message) = ws.next().await {
            ws.feed(message.unwrap()).await.unwrap();
        }
    };
    assert!(echo.now_or_never().is_none());
    assert_eq!(writes.load(Ordering::SeqCst), 1);
    for number in 0..50 {
        // The pong was due when its ping was read, which was after the answer to the previous
        // message had been fed.
        peer.expect(FIN | BINARY, [number]).await;
        peer.expect(FIN | PONG, [number]).await;
    }
}

#[tokio::test]
async fn send_writes_at_once() {
    let (mut ws, mut peer, writes) = counted(Role::Client, Config::new(), 1 << 16);
    for number in 1..=10 {
        ws.send("x").await.unwrap();
        assert_eq!(writes.load(Ordering::SeqCst), number);
        peer.expect(FIN | TEXT, "x").await;
    }
}

// Every queue has a bound: the write mark plus one message.
#[tokio::test]
async fn senders_wait_at_the_write_mark_until_the_peer_reads() {
    let (mut ws, mut peer) = duplex(Role::Server, Config::new().write_mark(1024), 16);
    // 102 bytes each on the wire: the eleventh passes the mark.
    let mut taken = 0;
    while ws.feed(pattern(100)).now_or_never().is_some() {
        taken += 1;
        assert!(taken < 100, "nothing holds the sender back");
    }
    assert_eq!(taken, 11);
    // The pipe holds 16 of the 1122 bytes; 83 more must leave before there are less than 1024.
    let mut gone = [0; 83];
    tokio::io::AsyncReadExt::read_exact(&mut peer.stream, &mut gone[..16]).await.unwrap();
    assert!(ws.feed(pattern(100)).now_or_never().is_none());
    for piece in gone[16..].chunks_mut(16) {
        tokio::io::AsyncReadExt::read_exact(&mut peer.stream, piece).await.unwrap();
        let _ = ws.flush().now_or_never();
    }
    assert!(ws.feed(pattern(100)).now_or_never().is_some());
}

// Invariant 7: bytes after the handshake are frames.
#[tokio::test]
async fn what_arrived_with_the_handshake_comes_first() {
    for role in ROLES {
        let masked = role == Role::Server;
        let (near, far) = tokio::io::duplex(64);
        let mut peer = Peer::of(role, far);
        let second = encode(masked, FIN | TEXT, b"second");
        let mut leftover = BytesMut::from(&encode(masked, FIN | TEXT, b"first")[..]);
        leftover.extend_from_slice(&encode(masked, FIN | PING, b"ping"));
        leftover.extend_from_slice(&second[..3]);
        let mut ws = WebSocket::builder(role).leftover(leftover).build(near);
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("first"));
        assert!(ws.next().now_or_never().is_none());
        peer.expect(FIN | PONG, "ping").await;
        peer.write(&second[3..]).await;
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("second"));
    }
}

#[tokio::test]
async fn streams_that_give_and_take_a_few_bytes_at_a_time_change_nothing() {
    for step in [1, 7, 64] {
        let (near, far) = tokio::io::duplex(256);
        let (mut client, mut server) = both_ends((Choppy::new(near, step), Choppy::new(far, step)));
        let messages = || [0usize, 1, 5, 125, 126, 4096, 9000].map(|len| Message::from(text(len)));
        let echo = async {
            while let Some(message) = server.next().await {
                server.feed(message.unwrap()).await.unwrap();
            }
        };
        let ask = async {
            for message in messages() {
                client.feed(message).await.unwrap();
            }
            for message in messages() {
                assert!(client.next().await.unwrap().unwrap() == message, "step {step}");
            }
            client.close().await.unwrap();
        };
        future::join(echo, ask).await;
    }
}

// Large payloads are not copied but written from where they are, next to small ones that are
// copied.
#[tokio::test]
async fn large_and_small_messages_keep_their_order_and_bytes_in_vectored_writes() {
    for role in ROLES {
        let (mut ws, mut peer, _) = counted(role, Config::new().write_mark(1 << 20), 1000);
        let lens = [5, 10_000, 1, 4096, 4095, 0, 70_000, 3];
        for len in lens {
            ws.feed(pattern(len)).await.unwrap();
        }
        // One payload is shared with the user: a client must not mask it in place.
        let shared = pattern(20_000);
        ws.feed(shared.clone()).await.unwrap();
        let read = async {
            for len in lens {
                peer.expect(FIN | BINARY, pattern(len)).await;
            }
            peer.expect(FIN | BINARY, pattern(20_000)).await;
        };
        let (flushed, ()) = future::join(ws.flush(), read).await;
        flushed.unwrap();
        assert_eq!(shared, pattern(20_000));
    }
}

// RFC 6455 section 5.4: pings need not wait for a long message that is sent in fragments.
#[tokio::test]
async fn a_long_message_leaves_in_fragments_with_pongs_between_them() {
    let config = Config::new().fragment_size(1024).write_mark(1024);
    let (mut ws, mut peer) = duplex(Role::Client, config, 64);
    let (text, payload) = (text(5000), pattern(1024));
    ws.feed(text.clone()).await.unwrap();
    peer.send(FIN | PING, "mid").await;
    assert!(ws.next().now_or_never().is_none());
    let read = async {
        let (mut whole, mut firsts) = (Vec::new(), Vec::new());
        while whole.len() < text.len() {
            let frame = peer.recv().await.unwrap();
            firsts.push(frame.first);
            if frame.first == FIN | PONG {
                assert_eq!(frame.payload, b"mid");
            } else {
                assert!(frame.payload.len() <= 1024);
                whole.extend(frame.payload);
            }
        }
        assert!(whole == text.as_bytes());
        firsts
    };
    let (flushed, firsts) = future::join(ws.flush(), read).await;
    flushed.unwrap();
    let pong = firsts.iter().position(|&first| first == FIN | PONG);
    assert!(pong.is_some_and(|at| at < 3), "{firsts:x?}");
    let data: Vec<_> = firsts.into_iter().filter(|&first| first != FIN | PONG).collect();
    assert_eq!(data, [TEXT, CONTINUATION, CONTINUATION, CONTINUATION, FIN | CONTINUATION]);
    ws.feed(payload.clone()).await.unwrap();
    let (flushed, ()) = future::join(ws.flush(), peer.expect(FIN | BINARY, payload)).await;
    flushed.unwrap();
}

#[tokio::test]
async fn stream_and_sink_work_with_the_combinators_of_futures() {
    let (client, server) = both_ends(tokio::io::duplex(100));
    let echo = tokio::spawn(async move {
        let (reader, writer) = server.split();
        reader.forward(writer).await
    });
    let (reader, mut writer) = client.split();
    let send = tokio::spawn(async move {
        let mut messages =
            stream::iter((0..100).map(|number| Ok::<_, Error>(Message::from(number.to_string()))));
        writer.send_all(&mut messages).await.unwrap();
        writer
    });
    let answers: Vec<_> =
        reader.take(100).map(|message| message.unwrap().to_string()).collect().await;
    assert_eq!(answers, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    // The reader is gone: the writer itself reads the answer to its Close.
    SinkExt::close(&mut send.await.unwrap()).await.unwrap();
    echo.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_unsplit_connection_is_a_stream_and_a_sink() {
    let (mut client, server) = both_ends(tokio::io::duplex(100));
    let collect = tokio::spawn(server.map(Result::unwrap).collect::<Vec<_>>());
    let mut messages = stream::iter([Ok(Message::from("a")), Ok(Message::from(b"b"))]);
    client.send_all(&mut messages).await.unwrap();
    SinkExt::<Message>::close(&mut client).await.unwrap();
    assert_eq!(collect.await.unwrap(), [Message::from("a"), Message::from(b"b")]);
    assert!(StreamExt::next(&mut client).await.is_none());
    assert!(futures_util::stream::FusedStream::is_terminated(&client));
}

/// Returns these reads, then nothing more; records the largest room that there was for a read.
struct Measured {
    reads: VecDeque<Vec<u8>>,
    most: Arc<AtomicUsize>,
}

impl AsyncRead for Measured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.most.fetch_max(buf.remaining(), Ordering::SeqCst);
        let Some(mut next) = self.reads.pop_front() else { return Poll::Pending };
        let rest = next.split_off(next.len().min(buf.remaining()));
        buf.put_slice(&next);
        if !rest.is_empty() {
            self.reads.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

// RFC 6455 section 10.4. rust-websocket (CVE-2022-35922) and Java-WebSocket (#1507) allocated the
// memory that a header declared; here it is allocated as the bytes arrive, at most as much again as
// has arrived.
#[tokio::test]
async fn room_for_a_message_grows_with_what_arrives_and_not_with_what_is_declared() {
    for role in ROLES {
        let whole = encode(role == Role::Server, FIN | BINARY, &pattern(16 << 20));
        for (arrives, room) in [(20, 128 << 10), (1 << 20, 3 << 20)] {
            let reads = whole[..arrives].chunks(10_000).map(<[u8]>::to_vec).collect();
            let most = Arc::new(AtomicUsize::new(0));
            let reader = Measured { reads, most: most.clone() };
            let mut ws = open(tokio::io::join(reader, tokio::io::sink()), role, Config::new());
            assert!(ws.next().now_or_never().is_none());
            let most = most.load(Ordering::SeqCst);
            assert!(most <= room, "{role:?}: room for {most} bytes when {arrives} came");
        }
    }
}

// ws-rs (CVE-2020-35896) queued an answer to each. RFC 6455 section 5.5.3: only the newest ping
// needs one.
#[tokio::test]
async fn a_peer_that_floods_with_pings_and_reads_nothing_fills_no_memory() {
    for role in ROLES {
        let config = Config::new().write_mark(1024).control_rate(None);
        let (mut ws, mut peer) = duplex(role, config, 64);
        let last = 9_999u32.to_be_bytes();
        let flood = async {
            for number in 0..10_000u32 {
                peer.send(FIN | PING, number.to_be_bytes()).await;
            }
            // An unsolicited pong gets no answer (RFC 6455 section 5.5.3).
            peer.send(FIN | PONG, "unasked").await;
            peer.send(FIN | TEXT, "behind the flood").await;
        };
        let (message, ()) = future::join(ws.next(), flood).await;
        assert_eq!(message.unwrap().unwrap(), Message::from("behind the flood"));
        let mut pongs = Vec::new();
        while pongs.last().is_none_or(|pong: &Vec<u8>| *pong != last) {
            let (frame, _) = future::join(peer.recv(), async { ws.flush().now_or_never() }).await;
            let frame = frame.unwrap();
            assert_eq!(frame.first, FIN | PONG);
            pongs.push(frame.payload);
        }
        // 6 or 10 bytes each on the wire: what fits below the mark and into the pipe, and the
        // newest.
        assert!(pongs.len() <= (1024 + 64) / 6 + 2, "{} pongs", pongs.len());
        let _ = ws.flush().now_or_never();
        assert_eq!(peer.try_recv(), None);
    }
}

// If every read fills the buffer, there is no moment in which reading would block, and that is when
// answers are otherwise written.
#[tokio::test]
async fn a_peer_that_never_lets_up_gets_all_its_pongs() {
    for role in ROLES {
        let number = |count: u32| [&count.to_be_bytes()[..], &[7; 96]].concat();
        let pings =
            (0..20_000).flat_map(|count| encode(role == Role::Server, FIN | PING, &number(count)));
        let reads = VecDeque::from([pings.collect()]);
        let reader = Measured { reads, most: Arc::default() };
        let (near, far) = tokio::io::duplex(8 << 20);
        // Room for the answers to two reads, not for all of them.
        let config = Config::new().write_mark(128 << 10).control_rate(None);
        let mut ws = open(tokio::io::join(reader, near), role, config);
        let mut peer = Peer::of(role, far);
        // A separate task, so that what it reads does not count towards the other one's budget.
        let pongs = tokio::spawn(async move {
            for count in 0..20_000 {
                peer.expect(FIN | PONG, number(count)).await;
            }
        });
        tokio::select! {
            end = ws.next() => panic!("{end:?}"),
            pongs = pongs => pongs.unwrap(),
        }
    }
}

// Over TLS a read returns one record, and a record may be small: replies waited for a read that
// filled the buffer or found nothing, so a consumer that was slower than its peer never sent a
// pong, and was considered dead.
#[tokio::test]
async fn pongs_do_not_wait_for_the_end_of_small_reads() {
    for role in ROLES {
        let masked = role == Role::Server;
        let tick = encode(masked, FIN | TEXT, b"tick");
        let mut reads = VecDeque::from([encode(masked, FIN | PING, b"alive?")]);
        reads.extend(std::iter::repeat_n(tick, 100));
        let reader = Measured { reads, most: Arc::default() };
        let (near, far) = tokio::io::duplex(1024);
        let mut ws = open(tokio::io::join(reader, near), role, Config::new());
        let mut peer = Peer::of(role, far);
        for _ in 0..32 {
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("tick"));
        }
        assert_eq!(peer.try_recv().expect("a pong").payload, b"alive?");
    }
}
