//! How much memory messages take that wait for a peer that does not read: no more than the limit;
//! and what a peer leaves behind that sends what nobody asked for: nothing.

use tautline::{CloseCode, Config, Error, Message, ProtocolError, Role, WebSocket, Writer};
use tautline_wire::encode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::{allocated, alone};

const LIMIT: usize = 64 << 10;
/// More than there is room for, whatever their size.
const MESSAGES: usize = 10_000;

/// A connection that nobody drives.
fn writer() -> Writer<DuplexStream> {
    let (near, _) = tokio::io::duplex(64);
    WebSocket::builder(Role::Server).build(near).split().1
}

/// The bytes that are held when all these messages were sent.
fn held(mut send: impl FnMut(usize)) -> usize {
    let before = allocated();
    (0..MESSAGES).for_each(&mut send);
    allocated().saturating_sub(before)
}

// Messages counted their payload alone, and were otherwise bounded by their number: a limit of
// 64 KiB let 65,536 messages of a byte wait, which took 24 MB. A short payload was held twice, in
// the message and in its frame, and a long one with room for 8 KiB more.
#[test]
fn what_waits_in_a_sender_takes_no_more_than_its_limit() {
    let _turn = alone();
    for size in [0, 1, 100, 1000, 8191, 8192, 20_000] {
        let (sender, _feeding) = writer().dropping_sender(LIMIT);
        let held = held(|_| sender.send(vec![7; size]).unwrap());
        assert!(held <= LIMIT, "{held} bytes held by messages of {size}");
        assert!(held > LIMIT / 2, "{held} bytes are far from the limit");
        let counts = sender.counts();
        assert_eq!(counts.queued_bytes, counts.queued * size);
    }
}

#[test]
fn what_waits_for_each_key_takes_no_more_than_the_limit() {
    let _turn = alone();
    for size in [0, 1, 100, 1000, 8191, 8192, 20_000] {
        let (sender, _feeding) = writer().latest_sender(LIMIT);
        let held_by = held(|key| sender.send(key, Message::text("x".repeat(size))).unwrap());
        assert!(held_by <= LIMIT, "{held_by} bytes held by messages of {size}");
        let (sender, _feeding) = writer().latest_sender(LIMIT);
        let held_by = held(|key| sender.send([key; 50], vec![7; size]).unwrap());
        assert!(held_by <= LIMIT, "{held_by} bytes held by messages of {size}, with long keys");
    }
}

const PONGS: usize = 200_000;

/// A server's connection whose peer sends unsolicited pongs and then a message. Returns how many
/// bytes more were held after the last pong than after the first thousand, and what came first of
/// the message and an error.
fn pongs(config: Config) -> (usize, Option<Result<Message, Error>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (near, mut peer) = tokio::io::duplex(64 << 10);
        let mut ws = WebSocket::builder(Role::Server).config(config).build(near);
        let thousand = encode(true, 0x8A, &[7; 100]).repeat(1000);
        let (mut first, mut last) = (0, 0);
        let sending = async {
            for count in 0..PONGS / 1000 {
                // It may have closed the connection.
                if peer.write_all(&thousand).await.is_err() {
                    break;
                }
                last = allocated();
                if count == 0 {
                    first = last;
                }
            }
            let _ = peer.write_all(&encode(true, 0x81, b"done")).await;
            let _ = peer.shutdown().await;
            let _ = peer.read_to_end(&mut Vec::new()).await;
        };
        let receiving = async move {
            let end = ws.next().await;
            // The peer reads to the end.
            drop(ws);
            end
        };
        let (end, ()) = tokio::join!(receiving, sending);
        (last.saturating_sub(first), end)
    })
}

// Undertow CVE-2021-3690: each pong left a buffer behind.
#[test]
fn pongs_that_nobody_asked_for_leave_nothing_behind() {
    let _turn = alone();
    let (held, end) = pongs(Config::new().control_rate(None));
    assert!(matches!(end, Some(Ok(message)) if message.as_text() == Some("done")));
    assert!(held < 64 << 10, "{held} bytes held by {PONGS} pongs");
    // By default they end the connection, long before.
    let (_, end) = pongs(Config::new());
    let Some(Err(Error::Protocol(error))) = end else { panic!("{end:?}") };
    assert!(matches!(error, ProtocolError::TooManyControlFrames { .. }), "{error:?}");
    assert_eq!(error.close_code(), CloseCode::POLICY_VIOLATION);
}
