//! Messages that many connections share, and senders that never wait.

use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use tautline::{
    CloseCode, CloseFrame, ClosingSender, Compress, Compression, Config, Error, Message, Prepared,
    Role, Timeout, TryFeedError, WebSocket, Writer,
};
use tokio::net::TcpStream;

use crate::conversation::pattern;
use crate::support::peer::{
    BINARY, CLOSE, FIN, ROLES, TEXT, both_ends, close_body, duplex, open, tcp, tcp_streams,
};

#[tokio::test]
async fn a_prepared_message_arrives_at_all_who_get_it() {
    let long = pattern(100_000);
    let messages: Vec<Prepared> =
        vec!["short".into(), "".into(), long.clone().into(), "x".repeat(5000).into()];
    for role in ROLES {
        for compression in [None, Some(Compression::new()), Some(Compression::best_ratio())] {
            let (near, far) = tcp_streams().await;
            let mut ends = [(near, role), (far, other(role))].map(|(stream, role)| {
                let builder = tautline::WebSocket::builder(role);
                match compression {
                    Some(compression) => builder.compression(compression).build(stream),
                    None => builder.build(stream),
                }
            });
            let [ws, peer] = &mut ends;
            for message in &messages {
                // Beside messages of its own, whose context stays right.
                ws.feed("own text, own text, own text".repeat(20)).await.unwrap();
                ws.feed_prepared(message).await.unwrap();
                ws.send("own text, own text, own text".repeat(20)).await.unwrap();
                let own = peer.next().await.unwrap().unwrap();
                assert_eq!(&peer.next().await.unwrap().unwrap(), message.message());
                assert_eq!(peer.next().await.unwrap().unwrap(), own);
            }
            ws.send_prepared(&messages[0]).await.unwrap();
            ws.try_feed_prepared(&messages[1]).unwrap();
            ws.flush().await.unwrap();
            assert_eq!(peer.next().await.unwrap().unwrap(), Message::from("short"));
            assert_eq!(peer.next().await.unwrap().unwrap(), Message::from(""));
        }
    }
}

fn other(role: Role) -> Role {
    if role == Role::Client { Role::Server } else { Role::Client }
}

#[tokio::test]
async fn a_prepared_message_is_compressed_as_asked_and_in_fragments_where_those_are_set() {
    let text = "tick ".repeat(1000);
    for role in ROLES {
        let (near, far) = tcp_streams().await;
        let config = Config::new().fragment_size(2048);
        let mut ws = tautline::WebSocket::builder(role)
            .config(config)
            .compression(Compression::new())
            .build(near);
        let mut peer = crate::support::peer::Peer::of(role, far);
        ws.send_prepared(&Prepared::from(&*text)).await.unwrap();
        let frame = peer.recv().await.unwrap();
        assert_eq!(frame.first, FIN | 0x40 | TEXT);
        assert!(frame.payload.len() < 200);
        ws.send_prepared(&Prepared::from(&*text).compress(Compress::Never)).await.unwrap();
        let frame = peer.recv().await.unwrap();
        assert_eq!((frame.first, frame.payload.len()), (TEXT, 2048));
    }
}

#[tokio::test]
async fn a_full_queue_gives_the_message_back_and_ready_waits_for_room() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new().write_mark(1024), 64);
        let (_reader, mut writer) = ws.split();
        let tick = Prepared::from(vec![7; 100]);
        let mut fed = 0;
        // Until the pipe is full, too, into which `ready` writes.
        loop {
            match writer.try_feed_prepared(&tick) {
                Ok(()) => fed += 1,
                Err(TryFeedError::Full(message)) => {
                    assert_eq!(message.len(), 100);
                    assert!(writer.queued() >= 1024);
                    if writer.ready().now_or_never().is_none() {
                        break;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
        let read = async {
            for _ in 0..fed {
                peer.expect(FIN | BINARY, [7; 100]).await;
            }
        };
        tokio::join!(
            async {
                writer.ready().await.unwrap();
                writer.flush().await.unwrap();
            },
            read
        );
        writer.try_feed_prepared(&tick).unwrap();
    }
}

#[tokio::test]
async fn a_slow_peer_gets_the_latest_of_each_key_in_order() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new().write_mark(1024), 64);
        let (_reader, writer) = ws.split();
        let (prices, task) = writer.latest_sender(100_000);
        let task = tokio::spawn(task);
        // More than the pipe and the queue take, while nothing is read.
        for round in 0..1000 {
            for symbol in 0..4 {
                prices.send(symbol, format!("{symbol} {round:0>100}")).unwrap();
            }
            if round % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(prices.counts().queued <= 4);
        let mut last = [None; 4];
        let mut count = 0;
        while last != [Some(999); 4] {
            let frame = peer.recv().await.unwrap();
            let text = String::from_utf8(frame.payload).unwrap();
            let (symbol, round) = text.split_once(' ').unwrap();
            let (symbol, round): (usize, usize) = (symbol.parse().unwrap(), round.parse().unwrap());
            assert!(last[symbol] < Some(round), "never an older one after a newer");
            last[symbol] = Some(round);
            count += 1;
        }
        let counts = prices.counts();
        assert_eq!(counts.sent, count);
        assert_eq!(counts.sent + counts.replaced, 4000);
        assert_eq!((counts.dropped, counts.queued), (0, 0));
        drop(prices);
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_slow_peer_misses_the_oldest_and_memory_is_bounded() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new().write_mark(1024), 64);
        let (_reader, writer) = ws.split();
        let (events, task) = writer.dropping_sender(10_000);
        let task = tokio::spawn(task);
        for number in 0..1000u32 {
            events.clone().send(format!("{number:0>100}")).unwrap();
            assert!(events.counts().queued_bytes <= 10_000);
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut last = None;
        let mut count = 0;
        while last != Some(999) {
            let frame = peer.recv().await.unwrap();
            let number: u32 = String::from_utf8(frame.payload).unwrap().parse().unwrap();
            assert!(last < Some(number), "in order");
            last = Some(number);
            count += 1;
        }
        let counts = events.counts();
        assert_eq!((counts.sent, counts.sent + counts.dropped), (count, 1000));
        assert!(counts.dropped > 800);
        drop(events);
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_waits_is_sent_before_the_last_handle_ends_it() {
    let (near, mut far) = both_ends(tcp_streams().await);
    let (_reader, writer) = near.split();
    let (sender, task) = writer.dropping_sender(2000);
    for text in ["one", "two"] {
        sender.send(text).unwrap();
    }
    drop(sender);
    task.await.unwrap();
    assert_eq!(far.next().await.unwrap().unwrap(), Message::from("one"));
    assert_eq!(far.next().await.unwrap().unwrap(), Message::from("two"));
}

#[tokio::test]
async fn a_sender_ends_with_its_connection() {
    for role in ROLES {
        // With nothing to send, as with something.
        for busy in [false, true] {
            let (ws, mut peer) = tcp(role, Config::new()).await;
            let (mut reader, writer) = ws.split();
            let (sender, task) = writer.latest_sender(1000);
            let task = tokio::spawn(task);
            if busy {
                sender.send(1, "x").unwrap();
                peer.expect(FIN | TEXT, "x").await;
            }
            tokio::task::yield_now().await;
            peer.send(FIN | CLOSE, close_body(1000, "")).await;
            let (end, ()) = tokio::join!(reader.next(), async {
                peer.expect(FIN | CLOSE, close_body(1000, "")).await;
                tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await.unwrap();
            });
            assert!(end.is_none());
            assert!(matches!(task.await.unwrap(), Err(Error::Closed)));
            assert!(matches!(sender.send(1, "late"), Err(Error::Closed)));
        }
        // A task that was dropped sends nothing either.
        let (near, _far) = tokio::io::duplex(64);
        let (_reader, writer) = open(near, role, Config::new()).split();
        let (sender, task) = writer.dropping_sender(1000);
        drop(task);
        assert!(matches!(sender.send("x"), Err(Error::Closed)));
    }
}

/// Sends until more waits than may. Returns how many messages were taken before.
async fn overrun(sender: &ClosingSender) -> u64 {
    let mut accepted = 0;
    loop {
        // It never waits: this is a call, not a future.
        match sender.send(format!("{accepted:0>1000}")) {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert!(matches!(error, Error::Closed), "{error:?}");
                return accepted;
            }
        }
        assert!(accepted < 1_000_000, "a reader that does not read has taken 1 GB");
        if accepted % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

// A trading peer that misses one message is wrong from there on: it had to be found out by hand,
// from `TryFeedError::Full`, and closed from a task that could wait.
#[tokio::test]
async fn a_slow_peer_gets_all_in_order_or_a_close() {
    for role in ROLES {
        for (frame, expected) in [
            (None, CloseFrame::from(CloseCode::TRY_AGAIN_LATER)),
            (Some(CloseFrame::new(CloseCode::POLICY_VIOLATION, "too slow").unwrap()), {
                CloseFrame::new(CloseCode::POLICY_VIOLATION, "too slow").unwrap()
            }),
        ] {
            let (ws, mut peer) = tcp(role, Config::new()).await;
            let (mut reader, writer) = ws.split();
            let reading = tokio::spawn(async move { reader.next().await.is_none() });
            let (orders, task) = feeding(writer, frame);
            let task = tokio::spawn(task);
            let accepted = overrun(&orders).await;
            assert!(orders.is_overrun());
            assert!(matches!(orders.clone().send("late"), Err(Error::Closed)));
            // It reads on: all that had left by then, without a gap, and the Close.
            let mut count = 0;
            loop {
                let frame = peer.recv().await.expect("a Close comes before the end");
                if frame.first == FIN | CLOSE {
                    let body = close_body(expected.code().as_u16(), expected.reason());
                    assert_eq!(frame.payload, body);
                    break;
                }
                assert_eq!(frame.payload, format!("{count:0>1000}").as_bytes(), "in order");
                count += 1;
            }
            let counts = orders.counts();
            assert_eq!((counts.sent, counts.queued, counts.queued_bytes), (count, 0, 0));
            // The message that was one too many is dropped as well.
            assert_eq!(counts.sent + counts.dropped, accepted + 1);
            assert!(counts.dropped > 9 && counts.dropped < 100, "{counts:?}");
            peer.send(FIN | CLOSE, close_body(1000, "")).await;
            tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await.unwrap();
            peer.expect_eof().await;
            assert!(matches!(task.await.unwrap(), Err(Error::Closed)));
            assert!(reading.await.unwrap());
        }
    }
}

type Feeding = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Either way to make one.
fn feeding(writer: Writer<TcpStream>, frame: Option<CloseFrame>) -> (ClosingSender, Feeding) {
    match frame {
        Some(frame) => {
            let (sender, task) = writer.closing_sender_with(20_000, frame);
            (sender, Box::pin(task))
        }
        None => {
            let (sender, task) = writer.closing_sender(20_000);
            (sender, Box::pin(task))
        }
    }
}

#[tokio::test]
async fn a_peer_that_never_reads_is_gone_at_close_timeout() {
    for role in ROLES {
        let config = Config::new().close_timeout(Duration::from_millis(50));
        let (ws, peer) = tcp(role, config).await;
        let (mut reader, writer) = ws.split();
        let (orders, task) = writer.closing_sender(20_000);
        let task = tokio::spawn(task);
        overrun(&orders).await;
        let end = tokio::time::timeout(Duration::from_secs(20), task).await.expect("it ends");
        assert!(matches!(end.unwrap(), Err(Error::Timeout(Timeout::Close))));
        let end = reader.next().await;
        assert!(matches!(end, Some(Err(Error::Timeout(Timeout::Close)))), "{end:?}");
        assert!(reader.next().await.is_none());
        drop(peer);
    }
}

// The last handle was dropped with the message that was one too many: that must not look like the
// end of what is to be sent, after which the connection stays open.
#[tokio::test]
async fn a_close_does_not_depend_on_who_holds_the_sender() {
    let (near, mut far) = both_ends(tcp_streams().await);
    let (mut reader, writer) = near.split();
    let (orders, task) = writer.closing_sender(600);
    orders.send("one").unwrap();
    assert!(matches!(orders.send("two"), Err(Error::Closed)));
    drop(orders);
    let (task, end, _) = tokio::join!(task, far.next(), reader.next());
    assert!(matches!(task, Err(Error::Closed)), "{task:?}");
    assert!(end.is_none(), "{end:?}");
    assert_eq!(far.close_frame().unwrap().code(), CloseCode::TRY_AGAIN_LATER);
}

#[tokio::test]
async fn several_prepared_messages_are_sent_at_once_as_far_as_there_is_room() {
    let (near, far) = tokio::io::duplex(1000);
    let ws = WebSocket::builder(Role::Server).config(Config::new().write_mark(1500)).build(near);
    let mut peer = WebSocket::builder(Role::Client).build(far);
    let (mut reader, mut writer) = ws.split();
    let messages: Vec<_> = (0..5).map(|n| Prepared::new(format!("{n:0500}"))).collect();
    let sent = writer.try_send_prepared(&messages[..1]).unwrap();
    assert_eq!((sent.queued, sent.flushed), (1, true));
    assert!(peer.next().await.unwrap().unwrap().as_text().unwrap().ends_with('0'));
    // One more than there is room for below the mark; the pipe takes two.
    let sent = writer.try_send_prepared(&messages).unwrap();
    assert_eq!((sent.queued, sent.flushed), (3, false));
    let sent = writer.try_send_prepared(&messages).unwrap();
    assert_eq!((sent.queued, sent.flushed), (2, false), "what has left made room");
    // Nobody flushes: the reader writes the rest.
    let reading = tokio::spawn(async move { reader.next().await.is_none() });
    for expected in [0, 1, 2, 0, 1] {
        let message = peer.next().await.unwrap().unwrap();
        assert_eq!(message.as_text().unwrap().parse(), Ok(expected));
    }
    let sent = writer.try_send_prepared(&[]).unwrap();
    assert_eq!((sent.queued, sent.flushed), (0, true));
    peer.close().await.unwrap();
    assert!(reading.await.unwrap());
    assert!(matches!(writer.try_send_prepared(&messages), Err(Error::Closed)));
}

// The reader waits already when something is sent that the transport has no room for.
#[tokio::test]
async fn what_is_not_written_at_once_is_written_by_the_reader_that_waits() {
    let (near, far) = tokio::io::duplex(10);
    let ws = WebSocket::builder(Role::Server).build(near);
    let mut peer = WebSocket::builder(Role::Client).build(far);
    let (mut reader, mut writer) = ws.split();
    let reading = tokio::spawn(async move { reader.next().await.is_none() });
    tokio::task::yield_now().await;
    let long = Prepared::new("long ".repeat(10));
    assert!(!writer.try_send_prepared([&long]).unwrap().flushed);
    assert_eq!(peer.next().await.unwrap().unwrap(), *long.message());
    peer.close().await.unwrap();
    assert!(reading.await.unwrap());
}
