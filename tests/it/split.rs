//! Two halves in different tasks: no wake-up is lost, no message torn.

use std::time::Duration;

use futures_util::{FutureExt, future};
use tautline::{CloseCode, Compression, Config, Error, Message, Reader, Role, Timeout, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::conversation::pattern;
use crate::support::peer::{
    BINARY, CLOSE, CONTINUATION, Choppy, FIN, PING, PONG, ROLES, Script, TEXT, both_ends,
    close_body, duplex, open, tcp,
};

/// Reads to the end in a separate task.
fn collect<S>(mut reader: Reader<S>) -> tokio::task::JoinHandle<(Vec<Message>, Option<Error>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut messages = Vec::new();
        while let Some(message) = reader.next().await {
            match message {
                Ok(message) => messages.push(message),
                Err(error) => return (messages, Some(error)),
            }
        }
        (messages, None)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_are_answered_while_no_writer_does_anything() {
    for role in ROLES {
        let (ws, mut peer) = tcp(role, Config::new()).await;
        let (reader, _writer) = ws.split();
        let reading = collect(reader);
        for round in 0..100u8 {
            peer.send(FIN | PING, [round]).await;
            peer.expect(FIN | PONG, [round]).await;
        }
        peer.send(FIN | CLOSE, "").await;
        peer.expect(FIN | CLOSE, "").await;
        drop(peer);
        assert!(matches!(reading.await.unwrap(), (messages, None) if messages.is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_of_the_peer_ends_while_a_writer_waits_for_room() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new().write_mark(1024), 64);
        let (reader, mut writer) = ws.split();
        let reading = collect(reader);
        let writing = tokio::spawn(async move {
            loop {
                if let Err(error) = writer.feed(pattern(500)).await {
                    return error;
                }
            }
        });
        // The writer is stuck: three messages and no more, as long as nothing is read.
        peer.expect(FIN | BINARY, pattern(500)).await;
        peer.send(FIN | CLOSE, close_body(1001, "")).await;
        loop {
            let frame = peer.recv().await.unwrap();
            if frame.first == FIN | CLOSE {
                assert_eq!(frame.payload, close_body(1001, ""));
                break;
            }
            assert_eq!(frame.payload, pattern(500));
        }
        tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await.unwrap();
        peer.expect_eof().await;
        assert!(matches!(writing.await.unwrap(), Error::Closed));
        assert!(reading.await.unwrap().1.is_none());
    }
}

#[tokio::test]
async fn a_writer_that_waits_for_room_learns_that_another_closes() {
    let (ws, mut peer) = duplex(Role::Server, Config::new().write_mark(1024), 64);
    let (reader, mut writer) = ws.split();
    let reading = collect(reader);
    let mut other = writer.clone();
    writer.feed(pattern(2000)).await.unwrap();
    let waiting = tokio::spawn(async move { other.feed("no room").await });
    tokio::task::yield_now().await;
    let closing = tokio::spawn(async move { writer.close().await });
    // Before the peer reads anything.
    assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
    peer.expect(FIN | BINARY, pattern(2000)).await;
    peer.answer_close(1000).await;
    closing.await.unwrap().unwrap();
    assert!(reading.await.unwrap().1.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_many_writers_stay_whole_on_the_wire() {
    for fragment_size in [None, Some(1024)] {
        let config = Config::new().write_mark(4096).fragment_size(fragment_size);
        let (ws, mut peer) = duplex(Role::Client, config, 1000);
        let (reader, writer) = ws.split();
        let reading = collect(reader);
        let writers = (0..4u8).map(|id| {
            let mut writer = writer.clone();
            tokio::spawn(async move {
                for round in 0..25u8 {
                    let mut message = vec![id; 3 + usize::from(round) * 700];
                    message[1] = round;
                    if round % 2 == 0 {
                        writer.send(message).await.unwrap();
                    } else {
                        writer.feed(message).await.unwrap();
                    }
                }
                writer.flush().await.unwrap();
            })
        });
        let writers: Vec<_> = writers.collect();
        let (mut rounds, mut whole) = ([0u8; 4], Vec::new());
        while rounds != [25; 4] {
            let frame = peer.recv().await.unwrap();
            // RFC 6455 section 5.4: fragments of one message are not mixed with those of another.
            assert_eq!(frame.first & 0xF == CONTINUATION, !whole.is_empty(), "{:#x}", frame.first);
            whole.extend(frame.payload);
            if frame.first & FIN != 0 {
                let id = usize::from(whole[0]);
                let round = rounds[id];
                assert_eq!((whole[1], whole.len()), (round, 3 + usize::from(round) * 700));
                assert!(whole[2..].iter().all(|&byte| usize::from(byte) == id));
                rounds[id] += 1;
                whole.clear();
            }
        }
        future::join_all(writers).await.into_iter().for_each(Result::unwrap);
        drop(peer);
        assert!(matches!(reading.await.unwrap().1, Some(Error::ConnectionLost)));
    }
}

// Each side waits for the other all the time, over pipes that hold less than a message: one lost
// wake-up, and everything stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_tasks_that_all_wait() {
    for capacity in [16, 300] {
        let (near, far) = tokio::io::duplex(capacity);
        let config = || Config::new().write_mark(1024).ping_interval(Duration::from_millis(1));
        let (near, far) = (open(near, Role::Client, config()), open(far, Role::Server, config()));
        let tasks = [near, far].map(|ws| {
            let (mut reader, writer) = ws.split();
            let writers: Vec<_> = (0..3u32)
                .map(|id| {
                    let mut writer = writer.clone();
                    tokio::spawn(async move {
                        for number in 0..500u32 {
                            let message = [id.to_be_bytes(), number.to_be_bytes()].concat();
                            writer.send(message).await.unwrap();
                            if number % 100 == 0 {
                                writer.ping().await.unwrap();
                            }
                        }
                    })
                })
                .collect();
            let reading = tokio::spawn(async move {
                let mut counts = [0u32; 3];
                for _ in 0..1500 {
                    let message = reader.next().await.unwrap().unwrap().into_bytes();
                    let id = message[3] as usize;
                    assert_eq!(message[4..], counts[id].to_be_bytes());
                    counts[id] += 1;
                }
                (reader, counts)
            });
            async move {
                let (mut reader, counts) = reading.await.unwrap();
                assert_eq!(counts, [500; 3]);
                let rest = tokio::spawn(async move { while reader.next().await.is_some() {} });
                future::join_all(writers).await.into_iter().for_each(Result::unwrap);
                (rest, writer)
            }
        });
        let ends = future::join_all(tasks);
        let ends = tokio::time::timeout(Duration::from_secs(60), ends).await.expect("stands still");
        for (rest, mut writer) in ends {
            let _ = writer.close().await;
            rest.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_closes_while_the_reader_waits_in_another_task() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 64);
        let (reader, mut writer) = ws.split();
        let reading = collect(reader);
        writer.feed("last").await.unwrap();
        let mut other = writer.clone();
        let closing = tokio::spawn(async move { writer.close_with(CloseCode::GOING_AWAY).await });
        peer.expect(FIN | TEXT, "last").await;
        peer.send(FIN | TEXT, "crossed").await;
        peer.answer_close(1001).await;
        closing.await.unwrap().unwrap();
        let (messages, error) = reading.await.unwrap();
        assert!(error.is_none());
        assert_eq!(messages, [Message::from("crossed")]);
        assert!(!other.is_open());
        assert!(matches!(other.send("x").await, Err(Error::Closed)));
        other.close().await.unwrap();
    }
}

// The closing writer reads in place of the dropped reader, but the transport kept waking the
// reader: the answer was found only after close_timeout.
#[tokio::test(start_paused = true)]
async fn a_writer_closes_at_once_when_the_reader_was_dropped() {
    for role in ROLES {
        for dropped_first in [true, false] {
            let (ws, mut peer) = duplex(role, Config::new(), 64);
            let (reader, mut writer) = ws.split();
            let start = Instant::now();
            let reader = (!dropped_first).then_some(reader);
            let closing = tokio::spawn(async move { writer.close().await });
            tokio::task::yield_now().await;
            drop(reader);
            tokio::task::yield_now().await;
            peer.send(FIN | TEXT, "nobody reads this").await;
            peer.answer_close(1000).await;
            closing.await.unwrap().unwrap();
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_closes_gives_up_at_close_timeout_when_nobody_reads() {
    for keep_reader in [true, false] {
        let config = Config::new().close_timeout(Duration::from_secs(3));
        let (ws, mut peer) = duplex(Role::Server, config, 64);
        let (reader, mut writer) = ws.split();
        let reader = keep_reader.then_some(reader);
        let mut other = writer.clone();
        let start = Instant::now();
        for error in <[_; 2]>::from(future::join(writer.close(), other.close()).await) {
            assert!(matches!(error, Err(Error::Timeout(Timeout::Close))), "{error:?}");
        }
        assert_eq!(start.elapsed().as_secs(), 3);
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        peer.expect_eof().await;
        if let Some(mut reader) = reader {
            assert!(matches!(reader.next().await, Some(Err(Error::Timeout(Timeout::Close)))));
            assert!(reader.next().await.is_none());
        }
    }
}

// The pong was read by the other task, which woke nobody: the round trip took until the next
// deadline.
#[tokio::test(start_paused = true)]
async fn a_writers_ping_returns_when_the_reader_meets_the_pong() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 64);
        let (reader, writer) = ws.split();
        let reading = collect(reader);
        for _ in 0..3 {
            let start = Instant::now();
            let (mut one, mut two) = (writer.clone(), writer.clone());
            let pings = tokio::spawn(async move { future::join(one.ping(), two.ping()).await });
            let ping = peer.recv().await.unwrap();
            assert_eq!(ping.first, FIN | PING);
            tokio::time::sleep(Duration::from_millis(300)).await;
            peer.send(FIN | PONG, &ping.payload).await;
            let (first, second) = pings.await.unwrap();
            assert_eq!(first.unwrap().as_millis(), 300);
            assert_eq!(second.unwrap().as_millis(), 300);
            assert_eq!(start.elapsed().as_millis(), 300);
        }
        drop(peer);
        assert!(matches!(reading.await.unwrap().1, Some(Error::ConnectionLost)));
    }
}

// Without a reader the pong was never read.
#[tokio::test(start_paused = true)]
async fn a_writer_pings_alone_when_the_reader_was_dropped() {
    let (ws, mut peer) = duplex(Role::Server, Config::new(), 64);
    let (reader, mut writer) = ws.split();
    drop(reader);
    for _ in 0..3 {
        let answer = async {
            let ping = peer.recv().await.unwrap();
            peer.send(FIN | TEXT, "nobody reads this").await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            peer.send(FIN | PONG, &ping.payload).await;
        };
        let (time, ()) = future::join(writer.ping(), answer).await;
        assert_eq!(time.unwrap().as_millis(), 300);
    }
    drop(peer);
    assert!(matches!(writer.ping().await, Err(Error::ConnectionLost)));
}

#[tokio::test(start_paused = true)]
async fn a_writers_ping_gives_up_a_peer_that_is_gone() {
    let (ws, _peer) = duplex(Role::Server, Config::new(), 64);
    let (mut reader, mut writer) = ws.split();
    let (ping, end) = future::join(writer.ping(), reader.next()).await;
    assert!(matches!(ping, Err(Error::Timeout(Timeout::Ping))), "{ping:?}");
    assert!(matches!(end, Some(Err(Error::Timeout(Timeout::Ping)))), "{end:?}");
}

// The reader was waiting already, so that nothing made it write before the next deadline.
#[tokio::test(start_paused = true)]
async fn what_a_dropped_writer_had_queued_is_written_by_the_waiting_reader() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 64);
        let (reader, mut writer) = ws.split();
        let reading = collect(reader);
        tokio::task::yield_now().await;
        for number in 0..20u8 {
            writer.feed([number]).await.unwrap();
        }
        let start = Instant::now();
        drop(writer);
        for number in 0..20u8 {
            peer.expect(FIN | BINARY, [number]).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(peer);
        assert!(matches!(reading.await.unwrap().1, Some(Error::ConnectionLost)));
    }
}

#[tokio::test]
async fn a_reader_alone_works_on_and_a_writer_alone_works_on() {
    let (ws, mut peer) = duplex(Role::Server, Config::new(), 64);
    let (mut reader, writer) = ws.split();
    drop(writer);
    peer.send(FIN | TEXT, "to the reader").await;
    assert_eq!(reader.next().await.unwrap().unwrap(), Message::from("to the reader"));
    peer.send(FIN | CLOSE, "").await;
    assert!(reader.next().await.is_none());
    assert!(reader.close_frame().is_some());

    let (ws, mut peer) = duplex(Role::Server, Config::new(), 64);
    let (reader, mut writer) = ws.split();
    drop(reader);
    for number in 0..100u8 {
        let (sent, ()) =
            future::join(writer.send([number]), peer.expect(FIN | BINARY, [number])).await;
        sent.unwrap();
    }
}

#[tokio::test]
async fn the_reader_gets_what_arrived_and_then_the_error_that_a_writer_met() {
    let (near, far) = tokio::io::duplex(256);
    drop(far);
    let (mut reader, mut writer) = open(near, Role::Server, Config::new()).split();
    assert!(matches!(writer.send("x").await, Err(Error::Io(_))));
    assert!(matches!(reader.next().await, Some(Err(Error::Io(_)))));
    assert!(reader.next().await.is_none());
    assert!(matches!(writer.send("x").await, Err(Error::Io(_))));
    assert!(matches!(writer.flush().await, Err(Error::Io(_))));

    let reads = [Ok(crate::support::peer::encode(true, FIN | TEXT, b"here already")), Ok(vec![])];
    let write_error = Some(std::io::ErrorKind::BrokenPipe);
    let script = Script { reads: reads.into(), write_error };
    let (mut reader, mut writer) = open(script, Role::Server, Config::new()).split();
    assert!(matches!(writer.send("x").await, Err(Error::Io(_))));
    assert_eq!(reader.next().await.unwrap().unwrap(), Message::from("here already"));
    assert!(matches!(reader.next().await, Some(Err(Error::Io(_)))));
}

// Each waited for its own send deadline, one after the other: the first that found it passed
// restarted it.
#[tokio::test(start_paused = true)]
async fn all_who_wait_for_a_peer_that_does_not_read_give_up_together() {
    let config = Config::new().send_timeout(Duration::from_secs(60)).ping_interval(None);
    let (ws, _peer) = duplex(Role::Server, config, 64);
    let (reader, writer) = ws.split();
    let start = Instant::now();
    let reading = collect(reader);
    let writers = (0..5).map(|_| {
        let mut writer = writer.clone();
        tokio::spawn(async move { writer.send(pattern(1000)).await })
    });
    for result in future::join_all(writers.collect::<Vec<_>>()).await {
        let result = result.unwrap();
        assert!(matches!(result, Err(Error::Timeout(Timeout::Send))), "{result:?}");
    }
    assert!(matches!(reading.await.unwrap().1, Some(Error::Timeout(Timeout::Send))));
    assert_eq!(start.elapsed().as_secs(), 60);
}

// Rarely ready, and only for a few bytes at a time: every step of every half is interrupted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_over_a_stream_that_is_seldom_ready_lose_nothing() {
    for step in [1, 5] {
        let (near, far) = tokio::io::duplex(16);
        let (client, server) = both_ends((Choppy::new(near, step), Choppy::new(far, step)));
        let (mut server_reader, mut server_writer) = server.split();
        let echo = tokio::spawn(async move {
            while let Some(message) = server_reader.next().await {
                server_writer.send(message.unwrap()).await.unwrap();
            }
        });
        let (reader, mut writer) = client.split();
        let reading = collect(reader);
        let sent: Vec<_> = (0..60).map(|number| Message::from(pattern(number * 7))).collect();
        for message in sent.clone() {
            writer.send(message).await.unwrap();
        }
        writer.close().now_or_never();
        writer.close().await.unwrap();
        let (messages, error) = reading.await.unwrap();
        assert!(error.is_none(), "{error:?}");
        assert_eq!(messages[..], sent[..messages.len()]);
        echo.await.unwrap();
    }
}

// Without a reader, the writer reads while it waits for the end: the transport had nobody to wake,
// and a sender on a closing connection learned of the peer's Close only after `close_timeout`.
#[tokio::test(start_paused = true)]
async fn a_writer_without_a_reader_that_sends_while_closing_hears_of_the_peers_close() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 1000);
        let (reader, mut writer) = ws.split();
        drop(reader);
        assert!(writer.close().now_or_never().is_none());
        let start = Instant::now();
        let answering = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            peer.answer_close(1000).await;
        });
        assert!(matches!(writer.send("x").await, Err(Error::Closed)));
        assert_eq!(start.elapsed().as_millis(), 10, "{role:?}");
        answering.await.unwrap();
    }
}

// As above; with compression it yielded to others, and nobody woke it.
#[tokio::test(start_paused = true)]
async fn a_writer_without_a_reader_that_sends_while_closing_reads_much_that_was_compressed() {
    let agreed = Compression::new();
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut client = WebSocket::builder(Role::Client).compression(agreed).build(near);
    let server = WebSocket::builder(Role::Server).compression(agreed).build(far);
    for _ in 0..100 {
        client.feed(vec![7; 64 << 10]).await.unwrap();
    }
    client.flush().await.unwrap();
    let (reader, mut writer) = server.split();
    drop(reader);
    assert!(writer.close().now_or_never().is_none());
    let answering = tokio::spawn(async move { client.next().await.is_none() });
    let start = Instant::now();
    assert!(matches!(writer.send("x").await, Err(Error::Closed)));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(answering.await.unwrap());
}
