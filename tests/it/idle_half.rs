//! A writer that waits beside a reader that nobody polls, as in a single task: it reads for itself.
//!
//! `let (mut r, mut w) = ws.split(); w.send(..); r.next(); w.close()` took 5 s and ended with
//! `Timeout(Close)`, though the peer had answered at once; `w.ping()` never ended. Only the reader
//! read, and it was not in `next`.

use std::time::Duration;

use futures_util::FutureExt;
use tautline::{Config, Error, Message, Timeout};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::conversation::pattern;
use crate::support::peer::{BINARY, CLOSE, FIN, PING, PONG, ROLES, TEXT, close_body, duplex};

#[tokio::test(start_paused = true)]
async fn closing_takes_no_longer_than_the_peer_takes_to_answer() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 1 << 16);
        let begun = Instant::now();
        let peer = tokio::spawn(async move {
            peer.expect(FIN | TEXT, "hello").await;
            peer.send(FIN | TEXT, "hello").await;
            peer.expect(FIN | CLOSE, close_body(1000, "")).await;
            peer.send(FIN | PING, "discarded or answered").await;
            peer.send(FIN | TEXT, "one more").await;
            peer.send(FIN | CLOSE, close_body(1000, "")).await;
            peer.stream.shutdown().await.unwrap();
            peer
        });
        let (mut reader, mut writer) = ws.split();
        writer.send("hello").await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), Message::from("hello"));
        writer.close().await.unwrap();
        // The clock is paused while anything can be done: no deadline had to pass.
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(reader.next().await.unwrap().unwrap(), Message::from("one more"));
        assert!(reader.next().await.is_none());
        peer.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_reads_its_pong_and_keeps_the_messages_before_it() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 1 << 16);
        let (mut reader, mut writer) = ws.split();
        let pinging = tokio::spawn(async move {
            let time = writer.ping().await;
            (writer, time)
        });
        let ping = peer.recv().await.unwrap();
        assert_eq!(ping.first, FIN | PING);
        for index in 0..100u8 {
            peer.send(FIN | BINARY, [index]).await;
        }
        peer.send(FIN | PONG, ping.payload).await;
        let (_writer, time) = pinging.await.unwrap();
        assert_eq!(time.unwrap(), Duration::ZERO);
        for index in 0..100u8 {
            assert_eq!(reader.next().await.unwrap().unwrap(), Message::from(vec![index]));
        }
    }
}

// The reader polled once and went away; a wake-up from the transport then also wakes the writer
// that waits for a pong.
#[tokio::test]
async fn a_reader_that_looked_and_went_away_takes_no_wake_up_along() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 1 << 16);
        let (mut reader, mut writer) = ws.split();
        let pinging = tokio::spawn(async move { writer.ping().await });
        let ping = peer.recv().await.unwrap();
        assert!(reader.next().now_or_never().is_none());
        peer.send(FIN | PONG, ping.payload).await;
        pinging.await.unwrap().unwrap();
    }
}

// A peer that talks and does not answer: the ping fails at its deadline, and the connection
// continues.
#[tokio::test(start_paused = true)]
async fn a_ping_has_a_deadline_whatever_else_comes() {
    for role in ROLES {
        let config = Config::new().ping_timeout(Duration::from_secs(20));
        let (ws, mut peer) = duplex(role, config, 1 << 16);
        let (mut reader, mut writer) = ws.split();
        let pinging = tokio::spawn(async move {
            let begun = Instant::now();
            let time = writer.ping().await;
            (writer, time, begun.elapsed())
        });
        let ping = peer.recv().await.unwrap();
        assert_eq!(ping.first, FIN | PING);
        for _ in 0..19 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            peer.send(FIN | TEXT, "flowing").await;
        }
        let (mut writer, answer, time) = pinging.await.unwrap();
        assert!(matches!(answer, Err(Error::Timeout(Timeout::Ping))), "{answer:?}");
        assert_eq!(time, Duration::from_secs(20));
        writer.send("still open").await.unwrap();
        peer.expect(FIN | TEXT, "still open").await;
        for _ in 0..19 {
            assert_eq!(reader.next().await.unwrap().unwrap(), Message::from("flowing"));
        }
    }
}

// More than may be kept for a reader that never comes: its deadline ends the wait, and what was
// kept is available.
#[tokio::test(start_paused = true)]
async fn a_close_behind_more_than_may_be_kept_ends_at_its_deadline() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 8 << 20);
        let (mut reader, mut writer) = ws.split();
        for _ in 0..4 {
            peer.send(FIN | BINARY, pattern(1 << 20)).await;
        }
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        let begun = Instant::now();
        let closed = writer.close().await;
        assert!(matches!(closed, Err(Error::Timeout(Timeout::Close))), "{closed:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        assert_eq!(reader.next().await.unwrap().unwrap(), Message::from(pattern(1 << 20)));
    }
}

// With a reader that takes what was kept, nothing is lost and the end is clean.
#[tokio::test]
async fn a_close_goes_on_when_the_reader_takes_what_was_kept() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 8 << 20);
        let (mut reader, mut writer) = ws.split();
        for _ in 0..4 {
            peer.send(FIN | BINARY, pattern(1 << 20)).await;
        }
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        drop(peer);
        let closing = tokio::spawn(async move { writer.close().await });
        tokio::task::yield_now().await;
        for _ in 0..4 {
            assert_eq!(reader.next().await.unwrap().unwrap(), Message::from(pattern(1 << 20)));
        }
        assert!(reader.next().await.is_none());
        closing.await.unwrap().unwrap();
    }
}
