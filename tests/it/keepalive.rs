//! Automatic and requested pings, and the deadlines that detect a dead peer.

use std::time::Duration;

use futures_util::{FutureExt, future};
use tautline::{Config, Error, Message, Role, Timeout, WebSocket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufStream};
use tokio::time::{Instant, advance, sleep};

use crate::conversation::pattern;
use crate::support::peer::{
    BINARY, CLOSE, FIN, Frame, PING, PONG, Peer, ROLES, Script, TEXT, close_body, duplex, encode,
    open,
};

const INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

fn config() -> Config {
    Config::new().ping_interval(INTERVAL).ping_timeout(PING_TIMEOUT)
}

/// The next frame that the peer gets while the user waits for a message that never comes.
async fn heard<S, P>(ws: &mut WebSocket<S>, peer: &mut Peer<P>) -> Frame
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        end = ws.next() => panic!("{end:?}"),
        frame = peer.recv() => frame.expect("a frame, not the end"),
    }
}

// Connections that begin together, as after a restart, do not ping together.
#[tokio::test(start_paused = true)]
async fn the_first_ping_comes_at_random_in_the_second_half_of_the_interval_and_then_at_each() {
    let mut firsts = std::collections::HashSet::new();
    for role in [ROLES, ROLES, ROLES].concat() {
        let (mut ws, mut peer) = duplex(role, config(), 64);
        let start = Instant::now();
        let mut ping = heard(&mut ws, &mut peer).await;
        assert!(start.elapsed() >= INTERVAL / 2, "{:?}", start.elapsed());
        assert!(start.elapsed() <= INTERVAL + Duration::from_millis(1), "{:?}", start.elapsed());
        firsts.insert(start.elapsed().as_millis());
        for _ in 0..3 {
            assert_eq!(ping.first, FIN | PING);
            peer.send(FIN | PONG, &ping.payload).await;
            let answered = Instant::now();
            ping = heard(&mut ws, &mut peer).await;
            assert_eq!(answered.elapsed().as_secs(), INTERVAL.as_secs());
        }
    }
    assert!(firsts.len() > 2, "{firsts:?}");
}

#[tokio::test(start_paused = true)]
async fn any_byte_is_a_sign_of_life() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, config(), 64);
        let message = peer.encode(FIN | BINARY, &[7; 20]);
        let trickle = async {
            for byte in &message {
                peer.write(&[*byte]).await;
                sleep(INTERVAL * 2 / 3).await;
            }
        };
        let (received, ()) = future::join(ws.next(), trickle).await;
        assert_eq!(received.unwrap().unwrap(), Message::from(&[7; 20]));
        assert_eq!(peer.try_recv(), None, "the peer was pinged though it was heard");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_nobody_is_pinged() {
    let (mut ws, mut peer) = duplex(Role::Server, config().ping_interval(None), 64);
    assert!(tokio::time::timeout(INTERVAL * 100, ws.next()).await.is_err());
    assert_eq!(peer.try_recv(), None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_is_given_up_after_the_ping_and_told_1011() {
    for role in ROLES {
        // In silence, and in the middle of a frame.
        for rest in [&[][..], &[FIN | BINARY]] {
            let (mut ws, mut peer) = duplex(role, config(), 64);
            peer.write(rest).await;
            let ping = heard(&mut ws, &mut peer).await;
            assert_eq!(ping.first, FIN | PING);
            let pinged = Instant::now();
            match ws.next().await {
                Some(Err(Error::Timeout(Timeout::Ping))) => {}
                other => panic!("{other:?}"),
            }
            assert_eq!(pinged.elapsed().as_secs(), PING_TIMEOUT.as_secs());
            peer.expect(FIN | CLOSE, close_body(1011, "ping timeout")).await;
            peer.expect_eof().await;
            assert!(ws.next().await.is_none());
            assert!(matches!(ws.send("x").await, Err(Error::Timeout(Timeout::Ping))));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_stuck_in_send_to_a_peer_that_does_not_read_gets_away() {
    for role in ROLES {
        for keepalive in [None, Some(INTERVAL)] {
            let config = config().ping_interval(keepalive).send_timeout(Duration::from_secs(60));
            let (mut ws, _peer) = duplex(role, config, 64);
            let start = Instant::now();
            let error = ws.send(pattern(1000)).await.unwrap_err();
            assert!(matches!(error, Error::Timeout(Timeout::Send)), "{error}");
            assert_eq!(start.elapsed().as_secs(), 60);
        }
    }
}

// Any byte that the peer accepts restarts the deadline.
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_given_up() {
    let config = config().ping_interval(None).send_timeout(Duration::from_secs(60));
    let (mut ws, mut peer) = duplex(Role::Server, config, 10);
    let read = async {
        let mut piece = [0; 10];
        for _ in 0..51 {
            sleep(Duration::from_secs(50)).await;
            peer.stream.read_exact(&mut piece[..]).await.unwrap();
        }
    };
    let (sent, ()) = future::join(ws.send(pattern(506)), read).await;
    sent.unwrap();
}

// A transport with its own buffer, such as TLS, accepts a short message at once. Only its flush
// shows that the peer does not read, and the flush waited without a deadline.
#[tokio::test(start_paused = true)]
async fn a_flush_that_the_transport_holds_back_has_the_deadline_of_a_send() {
    let (near, _far) = tokio::io::duplex(64);
    let config = config().ping_interval(None).send_timeout(Duration::from_secs(60));
    let mut ws = open(BufStream::new(near), Role::Server, config);
    let start = Instant::now();
    let result = tokio::time::timeout(INTERVAL * 100, ws.send(pattern(1000))).await;
    let error = result.expect("a deadline").unwrap_err();
    assert!(matches!(error, Error::Timeout(Timeout::Send)), "{error}");
    assert_eq!(start.elapsed().as_secs(), 60);
}

// The pong was in the read buffer, which nobody checked while the user was busy sending: the second
// check of the timer found no new bytes and dropped the peer.
#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_is_kept_though_the_user_only_sends() {
    let config = config().fragment_size(1024).write_mark(1024).send_timeout(None);
    let (mut ws, mut peer) = duplex(Role::Server, config, 64);
    // A quarter of an hour: a fragment in ten seconds.
    let (message, mut pings) = (pattern(90 << 10), 0);
    let read = async {
        let mut whole = Vec::new();
        while whole.len() < message.len() {
            let frame = peer.recv().await.expect("the connection was given up");
            if frame.first == FIN | PING {
                pings += 1;
                peer.send(FIN | PONG, &frame.payload).await;
            } else {
                whole.extend(frame.payload);
                sleep(Duration::from_secs(10)).await;
            }
        }
        whole
    };
    let (sent, whole) = future::join(ws.send(message.clone()), read).await;
    sent.unwrap();
    assert!(whole == message && pings > 0, "{pings} pings");
}

#[tokio::test(start_paused = true)]
async fn ping_gives_the_round_trip_time_and_keeps_the_messages_that_come_first() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, config(), 1024);
        peer.send(FIN | TEXT, "before").await;
        let answer = async {
            let ping = peer.recv().await.unwrap();
            assert_eq!(ping.first, FIN | PING);
            peer.send(FIN | TEXT, "between").await;
            sleep(Duration::from_millis(250)).await;
            peer.send(FIN | PONG, "not this one").await;
            sleep(Duration::from_millis(250)).await;
            peer.send(FIN | PONG, &ping.payload).await;
            peer.send(FIN | TEXT, "behind").await;
        };
        let (time, ()) = future::join(ws.ping(), answer).await;
        assert_eq!(time.unwrap().as_millis(), 500);
        for text in ["before", "between", "behind"] {
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::from(text));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ping_tells_of_a_peer_that_is_gone_and_of_one_that_closes() {
    let (mut ws, _peer) = duplex(Role::Client, config(), 64);
    assert!(matches!(ws.ping().await, Err(Error::Timeout(Timeout::Ping))));
    assert!(matches!(ws.ping().await, Err(Error::Closed)));

    let (mut ws, mut peer) = duplex(Role::Server, config(), 64);
    peer.send(FIN | TEXT, "last").await;
    peer.send(FIN | CLOSE, close_body(1000, "")).await;
    assert!(matches!(ws.ping().await, Err(Error::Closed)));
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("last"));
    assert!(ws.next().await.is_none());
}

// Every queue has a bound. Pings that were repeated without reading the messages kept one more
// message each.
#[tokio::test]
async fn a_ping_keeps_a_mebibyte_of_messages_and_reads_no_further() {
    let frame = || Ok(encode(false, FIN | BINARY, &[7; 60_000]));
    let script = Script { reads: (0..40).map(|_| frame()).collect(), ..Script::default() };
    let mut ws = open(script, Role::Client, config());
    for _ in 0..10 {
        assert!(matches!(ws.ping().await, Err(Error::Backlog)));
        // 18 times 60,000 bytes are the first to pass 1 MiB.
        assert_eq!(ws.get_ref().unwrap().reads.len(), 40 - 18);
    }
    for _ in 0..40 {
        assert_eq!(ws.next().await.unwrap().unwrap().len(), 60_000);
    }
    assert!(ws.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_was_given_up_by_the_user_is_shared_by_the_next() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, config(), 64);
        assert!(ws.ping().now_or_never().is_none());
        assert!(ws.ping().now_or_never().is_none());
        let ping = peer.recv().await.unwrap();
        assert_eq!(peer.try_recv(), None, "a second ping");
        advance(Duration::from_secs(1)).await;
        peer.send(FIN | PONG, &ping.payload).await;
        assert_eq!(ws.ping().await.unwrap().as_secs(), 1);
        // Answered: the next one is new.
        assert!(ws.ping().now_or_never().is_none());
        assert_ne!(peer.recv().await.unwrap(), ping);
    }
}

// What the reader had already taken counted as a sign of life at every deadline, for as long as it
// did not come back.
#[tokio::test(start_paused = true)]
async fn a_message_that_was_taken_is_a_sign_of_life_once() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, config(), 1 << 10);
        let (mut reader, mut writer) = ws.split();
        peer.send(FIN | BINARY, b"hi").await;
        reader.next().await.unwrap().unwrap();
        let start = Instant::now();
        let error = writer.ping().await.unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Ping)), "{error:?}");
        assert!(start.elapsed() <= PING_TIMEOUT + Duration::from_secs(1), "{:?}", start.elapsed());
    }
}
