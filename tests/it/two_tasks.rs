//! One connection, two tasks, without our `split`: with `futures_util::StreamExt::split`, one task
//! polls the stream and another one the sink of the same object.
//!
//! That is how users of other libraries split connections, and here `send` stopped forever, after 5
//! messages or 300,000: a connection kept one waker for both. Whichever task polled last was the
//! only one to be woken, for the other's side too; and the deadlines, which woke only that task,
//! passed unnoticed.

use std::time::Duration;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt, TryStreamExt};
use tautline::{Config, Error, Message, Timeout, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::conversation::pattern;
use crate::support::peer::{
    BINARY, CLOSE, FIN, PING, PONG, ROLES, TEXT, both_ends, close_body, duplex, tcp, tcp_streams,
};

/// If a wake-up is lost, nothing more happens: this ends the test, rather than blocking the whole
/// run.
const STALLED: Duration = Duration::from_secs(60);

fn echo<S>(ws: WebSocket<S>) -> JoinHandle<Result<(), Error>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = StreamExt::split(ws);
    tokio::spawn(stream.forward(sink))
}

async fn echoed_by(
    receiving: impl Stream<Item = Result<Message, Error>> + Send + Unpin + 'static,
    mut sending: impl Sink<Message, Error = Error> + Send + Unpin + 'static,
    (size, count): (usize, usize),
) {
    let receiving = tokio::spawn(async move {
        let mut receiving = receiving;
        for index in 0..count {
            let message = receiving.try_next().await.unwrap().unwrap();
            assert!(message.len() == size && message.as_bytes().first() == Some(&(index as u8)));
        }
        receiving
    });
    let sending = tokio::spawn(async move {
        for index in 0..count {
            sending.send(Message::from(vec![index as u8; size])).await.unwrap();
        }
        sending
    });
    let both = async { (receiving.await.unwrap(), sending.await.unwrap()) };
    let (mut receiving, mut sending) = tokio::time::timeout(STALLED, both).await.expect("a stall");
    // The sink waits for the end, whose frames the stream reads.
    let reading = tokio::spawn(async move { receiving.try_next().await });
    let closing = tokio::time::timeout(STALLED, sending.close()).await;
    closing.expect("a stall").unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), None);
}

/// Small, middle and large messages, through the halves of what `adapt` makes of a client.
async fn all_cross_halves_of<W>(adapt: impl Fn(WebSocket<TcpStream>) -> W)
where
    W: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error>,
    W: Send + Unpin + 'static,
{
    for shape in [(16, 20_000), (5_000, 4_000), (1 << 20, 40)] {
        let (near, far) = both_ends(tcp_streams().await);
        let echoing = echo(far);
        let (sink, stream) = StreamExt::split(adapt(near));
        echoed_by(stream, sink, shape).await;
        echoing.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_made_by_futures_carry_everything_both_ways() {
    all_cross_halves_of(|ws| ws).await;
}

// An adaptor does not have our `split` either: it is that of futures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_halves_of_an_adaptor() {
    all_cross_halves_of(|ws| ws.sink_map_err(|error| error)).await;
}

// In one run a `send_timeout` of 2 s ended a stuck `send` after 20 s: the deadline woke the task
// that read.
#[tokio::test(start_paused = true)]
async fn the_deadline_of_sending_ends_it_though_another_task_reads() {
    for role in ROLES {
        let config = Config::new().send_timeout(Duration::from_secs(2)).write_mark(1024);
        let (ws, mut peer) = duplex(role, config, 64);
        let (mut sink, mut stream) = StreamExt::split(ws);
        let reading = tokio::spawn(async move {
            let mut messages = 0;
            while let Some(Ok(_)) = stream.next().await {
                messages += 1;
            }
            messages
        });
        let sending = tokio::spawn(async move {
            loop {
                if let Err(error) = sink.send(Message::from(pattern(5000))).await {
                    return error;
                }
            }
        });
        tokio::task::yield_now().await;
        // The reader polls after the sender, and takes its place at the transport and at the timer.
        peer.send(FIN | TEXT, "tick").await;
        tokio::task::yield_now().await;
        let error = sending.await.unwrap();
        assert!(matches!(error, Error::Timeout(Timeout::Send)), "{error}");
        assert_eq!(reading.await.unwrap(), 1);
    }
}

// The reading task polls, takes the sender's place at the transport, and goes away. A wake-up then
// also wakes the sender.
#[tokio::test]
async fn a_reading_half_that_looked_once_and_was_dropped_takes_no_wake_up_along() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new().write_mark(1024), 64);
        let (mut sink, mut stream) = StreamExt::split(ws);
        let sending = tokio::spawn(async move {
            sink.send(Message::from(pattern(5000))).await.unwrap();
            sink
        });
        tokio::task::yield_now().await;
        peer.send(FIN | PING, "?").await;
        tokio::spawn(async move {
            assert!(stream.next().now_or_never().is_none());
        })
        .await
        .unwrap();
        peer.expect(FIN | BINARY, pattern(5000)).await;
        let _sink = tokio::time::timeout(STALLED, sending).await.expect("a stall").unwrap();
        peer.expect(FIN | PONG, "?").await;
    }
}

// Closing the sink read what arrived and discarded it, though the other task was waiting for it.
#[tokio::test]
async fn what_comes_while_the_sink_closes_is_for_the_stream() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 1 << 16);
        let (mut sink, mut stream) = StreamExt::split(ws);
        let closing = tokio::spawn(async move { sink.close().await });
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        for index in 0..10u8 {
            peer.send(FIN | BINARY, [index]).await;
        }
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        drop(peer);
        closing.await.unwrap().unwrap();
        for index in 0..10u8 {
            assert_eq!(stream.next().await.unwrap().unwrap(), Message::from(vec![index]));
        }
        assert!(stream.next().await.is_none());
    }
}

// The reading task was handling a message when the other one closed the sink: what arrived then,
// beyond what is kept, was dropped, and what came after that was delivered. Either everything is
// delivered, or all up to a point.
#[tokio::test]
async fn there_is_no_gap_in_what_comes_while_the_sink_closes() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 8 << 20);
        let (mut sink, mut stream) = StreamExt::split(ws);
        peer.send(FIN | BINARY, [0]).await;
        // A task other than the one that closes.
        let first = tokio::spawn(async move { (stream.next().await.unwrap().unwrap(), stream) });
        let (first, mut stream) = first.await.unwrap();
        assert_eq!(first, Message::from(vec![0]));
        let sending = tokio::spawn(async move {
            for index in 1..=40u8 {
                peer.send(FIN | BINARY, vec![index; 64 << 10]).await;
            }
            peer.send(FIN | CLOSE, close_body(1000, "")).await;
            peer
        });
        let closing = tokio::spawn(async move { sink.close().await });
        let _peer = sending.await.unwrap();
        for index in 1..=40u8 {
            let message = stream.next().await.unwrap().unwrap();
            assert!(message.as_bytes()[0] == index && message.len() == 64 << 10, "{index}");
        }
        assert!(stream.next().await.is_none());
        closing.await.unwrap().unwrap();
    }
}

// A stream that had never waited is not known to be another task's. What came beyond what is kept
// while the sink closed was dropped, and the stream ended as if in order.
#[tokio::test]
async fn a_stream_that_is_cut_off_by_a_close_does_not_end_in_order() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 8 << 20);
        let (mut sink, mut stream) = StreamExt::split(ws);
        for index in 0..=40u8 {
            peer.send(FIN | BINARY, vec![index; 64 << 10]).await;
        }
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        peer.stream.shutdown().await.unwrap();
        sink.close().await.unwrap();
        let mut count = 0;
        let error = loop {
            match stream.next().await.expect("it says that there was more") {
                Ok(message) => assert_eq!(message.as_bytes()[0], count),
                Err(error) => break error,
            }
            count += 1;
        };
        assert!((16..41).contains(&count), "{count}");
        assert!(matches!(error, Error::Backlog), "{error}");
        assert!(stream.next().await.is_none());
    }
}

// A peer that reads slowly, so that the sender waits for room all the time, and talks meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_waits_for_room_all_the_time_gets_it() {
    for role in ROLES {
        let (ws, mut peer) = tcp(role, Config::new().write_mark(1024)).await;
        let (mut sink, stream) = StreamExt::split(ws);
        let reading = tokio::spawn(stream.try_fold(0, |count, _| async move { Ok(count + 1) }));
        let sending = tokio::spawn(async move {
            for _ in 0..12 {
                sink.send(Message::from(pattern(1 << 20))).await.unwrap();
            }
            sink.close().await.unwrap();
        });
        for _ in 0..12 {
            peer.send(FIN | TEXT, "slowly").await;
            peer.expect(FIN | BINARY, pattern(1 << 20)).await;
        }
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        drop(peer);
        tokio::time::timeout(STALLED, sending).await.expect("a stall").unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), 12);
    }
}
