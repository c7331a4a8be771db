//! Messages in pieces over real sockets: as long as one likes, in bounded memory, and never half a
//! message for a whole one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tautline::{
    Client, Compression, Config, Error, Kind, Message, ProtocolError, Server, Timeout, Writer,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::conversation::pattern;
use crate::support::handshake::Identity;
use crate::support::peer::{
    BINARY, CLOSE, CONTINUATION, Choppy, FIN, PING, PONG, ROLES, TEXT, both_ends, close_body,
    duplex, open, tcp, tcp_streams,
};

const LONG: usize = 40 << 20;

/// Byte `at` of a long message.
fn byte(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Sends back each message as it arrives, fragment by fragment.
async fn echo(ws: tautline::WebSocket) -> Result<(), tautline::BoxError> {
    let (mut reader, mut writer) = ws.split();
    while let Some(mut message) = reader.next_message().await? {
        let mut answer = writer.message_writer(message.kind());
        tokio::io::copy(&mut message, &mut answer).await?;
        answer.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_messages_go_there_and_back_in_pieces() {
    let identity = Identity::for_names(&["localhost"]);
    for secure in [false, true] {
        for compression in [None, Some(Compression::new())] {
            let mut server = Server::bind("127.0.0.1:0").await.unwrap();
            let mut client = Client::new();
            let mut scheme = "ws";
            if secure {
                server = server.tls(identity.server());
                client = identity.client();
                scheme = "wss";
            }
            if let Some(compression) = compression {
                server = server.compression(compression);
                client = client.compression(compression);
            }
            let port = server.local_addr().unwrap().port();
            tokio::spawn(server.serve(echo));
            let ws = client.connect(format!("{scheme}://localhost:{port}")).await.unwrap();
            let (mut reader, mut writer) = ws.split();
            let sending = tokio::spawn(async move {
                let mut message = writer.message_writer(Kind::Binary);
                let block: Vec<u8> = (0..LONG).map(byte).collect();
                for piece in block.chunks(77_777) {
                    message.write_all(piece).await.unwrap();
                }
                message.finish().await.unwrap();
                writer.send("short").await.unwrap();
                writer
            });
            let mut message = reader.next_message().await.unwrap().unwrap();
            let mut at = 0;
            while let Some(piece) = message.next().await {
                let piece = piece.unwrap();
                assert!(piece.len() <= 512 << 10, "as it arrives");
                assert!(piece.iter().zip(at..).all(|(it, at)| *it == byte(at)));
                at += piece.len();
            }
            assert_eq!(at, LONG);
            drop(message);
            assert_eq!(reader.next().await.unwrap().unwrap().as_text(), Some("short"));
            drop(sending.await.unwrap());
        }
    }
}

#[tokio::test]
async fn text_is_read_line_by_line() {
    let (mut near, mut far) = both_ends(tcp_streams().await);
    let lines: Vec<String> = (0..1000).map(|line| format!("{line} κόσμε")).collect();
    let (sent, ()) = tokio::join!(near.send(lines.join("\n")), async {
        let message = far.next_message().await.unwrap().unwrap();
        let mut read = message.lines();
        for line in &lines {
            assert_eq!(read.next_line().await.unwrap().as_deref(), Some(&**line));
        }
        assert_eq!(read.next_line().await.unwrap(), None);
    });
    sent.unwrap();
}

#[tokio::test]
async fn a_message_is_whole_after_all_up_to_a_limit() {
    let (mut near, mut far) = both_ends(tcp_streams().await);
    for message in ["κόσμε", "", "too long a text", "rest"] {
        near.send(message).await.unwrap();
    }
    let whole = far.next_message().await.unwrap().unwrap().into_message(100).await;
    assert_eq!(whole.unwrap(), Message::from("κόσμε"));
    let whole = far.next_message().await.unwrap().unwrap().into_message(0).await;
    assert_eq!(whole.unwrap(), Message::from(""));
    let limited = far.next_message().await.unwrap().unwrap().into_message(14).await;
    assert!(matches!(limited, Err(Error::TooLong { limit: 14 })));
    let mut rest = far.next_message().await.unwrap().unwrap();
    assert_eq!(rest.read_u8().await.unwrap(), b'r');
    assert_eq!(rest.read_to_end(3).await.unwrap(), "est");
    assert_eq!(rest.read(&mut [0; 8]).await.unwrap(), 0, "it has ended");
    assert!(rest.next().await.is_none());
}

#[tokio::test]
async fn pings_are_answered_while_a_message_is_read_and_written() {
    for role in ROLES {
        let (mut ws, mut peer) = tcp(role, Config::new()).await;
        peer.send(BINARY, "abc").await;
        let mut message = ws.next_message().await.unwrap().unwrap();
        assert_eq!(message.next().await.unwrap().unwrap(), "abc");
        peer.send(FIN | PING, "1").await;
        peer.send(FIN | CONTINUATION, "def").await;
        assert_eq!(message.next().await.unwrap().unwrap(), "def");
        assert!(message.next().await.is_none());
        drop(message);
        let mut answer = ws.message_writer(Kind::Text);
        answer.write_all(b"half").await.unwrap();
        answer.flush().await.unwrap();
        peer.expect(FIN | PONG, "1").await;
        peer.expect(TEXT, "half").await;
        answer.finish().await.unwrap();
        peer.expect(FIN | CONTINUATION, "").await;
    }
}

#[tokio::test]
async fn a_reader_that_is_dropped_half_way_leaves_the_next_message() {
    for role in ROLES {
        let (ws, mut peer) = tcp(role, Config::new()).await;
        let (mut reader, mut writer) = ws.split();
        peer.send(BINARY, vec![7; 100_000]).await;
        let mut message = reader.next_message().await.unwrap().unwrap();
        message.read_exact(&mut [0; 1000]).await.unwrap();
        drop(message);
        let rest = async {
            peer.send(FIN | PING, "x").await;
            for _ in 0..40 {
                peer.send(CONTINUATION, vec![7; 100_000]).await;
            }
            peer.send(FIN | CONTINUATION, "end").await;
            peer.send(FIN | TEXT, "next").await;
            peer.expect(FIN | PONG, "x").await;
        };
        let (next, ()) = tokio::join!(reader.next(), rest);
        assert_eq!(next.unwrap().unwrap().as_text(), Some("next"));
        writer.send("still here").await.unwrap();
        peer.expect(FIN | TEXT, "still here").await;
    }
}

// Invariant 10. The stream of a lost connection must not look like the end of the message.
#[tokio::test]
async fn half_a_message_is_an_error_however_the_connection_ends() {
    for role in ROLES {
        for close in [false, true] {
            let (mut ws, mut peer) = tcp(role, Config::new()).await;
            peer.send(TEXT, "half").await;
            let mut message = ws.next_message().await.unwrap().unwrap();
            if close {
                peer.send(FIN | CLOSE, close_body(1000, "")).await;
            }
            peer.stream.shutdown().await.unwrap();
            let mut text = String::new();
            let error = message.read_to_string(&mut text).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
            let again = message.read(&mut [0; 8]).await.unwrap_err();
            let again = again.get_ref().and_then(|it| it.downcast_ref::<Error>());
            assert!(matches!(
                (close, again),
                (true, Some(Error::Unfinished)) | (false, Some(Error::ConnectionLost))
            ));
            drop(message);
            assert!(ws.next_message().await.unwrap().is_none(), "it was told");
        }
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_an_error_before_its_end() {
    for role in ROLES {
        let (mut ws, mut peer) = tcp(role, Config::new()).await;
        peer.send(TEXT, "good").await;
        let mut message = ws.next_message().await.unwrap().unwrap();
        assert_eq!(message.next().await.unwrap().unwrap(), "good");
        peer.send(CONTINUATION, [0xFF]).await;
        let (error, ()) = tokio::join!(message.next(), async {
            peer.expect_close(1007).await;
            peer.stream.shutdown().await.unwrap();
        });
        let error = error.unwrap().unwrap_err();
        assert!(matches!(error, Error::Protocol(ProtocolError::Utf8)), "{error:?}");
    }
}

#[tokio::test]
async fn a_writer_that_is_dropped_half_way_fails_the_connection_with_1011() {
    for role in ROLES {
        for abort in [false, true] {
            let (mut ws, mut peer) = tcp(role, Config::new()).await;
            let mut message = ws.message_writer(Kind::Text);
            message.write_all(b"half").await.unwrap();
            message.flush().await.unwrap();
            if abort {
                message.abort();
            } else {
                drop(message);
            }
            let (end, ()) = tokio::join!(ws.next(), async {
                peer.expect(TEXT, "half").await;
                peer.expect_close(1011).await;
                peer.stream.shutdown().await.unwrap();
            });
            assert!(matches!(end, Some(Err(Error::Unfinished))), "{end:?}");
            assert!(ws.next().await.is_none());
        }
        // One that was not written to is no message.
        let (mut ws, mut peer) = tcp(role, Config::new()).await;
        drop(ws.message_writer(Kind::Text));
        ws.send("next").await.unwrap();
        peer.expect(FIN | TEXT, "next").await;
    }
}

#[tokio::test]
async fn other_writers_wait_until_a_message_is_finished() {
    for role in ROLES {
        let (ws, mut peer) = tcp(role, Config::new()).await;
        let (_reader, mut writer) = ws.split();
        let mut others: Vec<_> = (0..3).map(|_| writer.clone()).collect();
        let mut message = writer.message_writer(Kind::Text);
        message.write_all(b"one ").await.unwrap();
        message.flush().await.unwrap();
        assert!(others[0].try_feed("no").is_err());
        {
            let sends = others.iter_mut().map(|other| other.send("after"));
            let mut sends = std::pin::pin!(futures_util::future::join_all(sends));
            assert!(sends.as_mut().now_or_never().is_none());
            message.write_all(b"message").await.unwrap();
            // Each waiter is woken by the end of the message, or this would not end.
            let (finished, all) = tokio::join!(message.finish(), sends);
            finished.unwrap();
            assert!(all.into_iter().all(|sent| sent.is_ok()));
        }
        peer.expect(TEXT, "one ").await;
        peer.expect(FIN | CONTINUATION, "message").await;
        for _ in 0..3 {
            peer.expect(FIN | TEXT, "after").await;
        }
        // Two that begin at the same time.
        let (first, second) = others.split_at_mut(1);
        let first = write_in_fragments(&mut first[0], b'1');
        let second = write_in_fragments(&mut second[0], b'2');
        let read = async {
            for byte in [b'1', b'2'] {
                let mut length = 0;
                loop {
                    let frame = peer.recv().await.unwrap();
                    assert!(frame.payload.iter().all(|it| *it == byte));
                    length += frame.payload.len();
                    if frame.first & FIN != 0 {
                        break;
                    }
                }
                assert_eq!(length, 100_000);
            }
        };
        tokio::join!(first, second, read);
    }
}

// What was written after the end of a message went into the one that another writer had begun.
#[tokio::test]
async fn nothing_is_written_after_the_end_into_the_message_of_another() {
    for role in ROLES {
        let (ws, mut peer) = tcp(role, Config::new()).await;
        let (_reader, mut writer) = ws.split();
        let mut other = writer.clone();
        let mut finished = writer.message_writer(Kind::Text);
        finished.write_all(b"one").await.unwrap();
        finished.shutdown().await.unwrap();
        let mut open = other.message_writer(Kind::Text);
        open.write_all(b"other").await.unwrap();
        assert!(finished.write_all(b"stray").await.is_err());
        assert!(finished.feed(Bytes::from_static(b"stray")).await.is_err());
        assert!(finished.start_send_unpin(Bytes::from_static(b"stray")).is_err());
        finished.shutdown().await.unwrap();
        drop(finished);
        open.finish().await.unwrap();
        peer.expect(FIN | TEXT, "one").await;
        peer.expect(FIN | TEXT, "other").await;
    }
}

async fn write_in_fragments(writer: &mut Writer<TcpStream>, byte: u8) {
    let mut message = writer.message_writer(Kind::Binary);
    for _ in 0..10 {
        message.write_all(&[byte; 10_000]).await.unwrap();
        message.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    message.finish().await.unwrap();
}

#[tokio::test]
async fn pieces_that_are_sent_through_the_sink_are_not_copied() {
    for role in ROLES {
        let (mut ws, mut peer) = tcp(role, Config::new()).await;
        let data = pattern(300_000);
        let mut message = ws.message_writer(Kind::Binary);
        let sending = async {
            let mut pieces = futures_util::stream::iter(
                [data.slice(..10), data.slice(10..200_000), data.slice(200_000..)].map(Ok),
            );
            message.send_all(&mut pieces).await?;
            SinkExt::<Bytes>::close(&mut message).await
        };
        let reading = async {
            let mut all = Vec::new();
            loop {
                let frame = peer.recv().await.unwrap();
                all.extend_from_slice(&frame.payload);
                if frame.first & FIN != 0 {
                    break all;
                }
            }
        };
        let (sent, all) = tokio::join!(sending, reading);
        sent.unwrap();
        assert!(all == data);
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_not_sent() {
    let (mut ws, mut peer) = tcp(tautline::Role::Server, Config::new()).await;
    let mut message = ws.message_writer(Kind::Text);
    message.write_all("é".as_bytes()).await.unwrap();
    let error = message.write_all(&[0xFF]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    message.finish().await.unwrap();
    peer.expect(FIN | TEXT, "é").await;
}

/// A peer that reads nothing takes what the system's buffers take, and no more: the rest stays with
/// whoever writes.
#[tokio::test]
async fn what_is_not_read_stays_with_its_sender() {
    for role in ROLES {
        let (mut near, mut peer) = duplex(role, Config::new(), 10_000);
        let mut message = near.message_writer(Kind::Binary);
        let mut taken = 0;
        while let Some(count) = message.write(&[7; 5000]).now_or_never() {
            taken += count.unwrap();
            assert!(taken < 1 << 20);
        }
        assert!(taken >= 60_000);
        let finish = async {
            message.finish().await.unwrap();
        };
        let read = async {
            let mut length = 0;
            loop {
                let frame = peer.recv().await.unwrap();
                length += frame.payload.len();
                if frame.first & FIN != 0 {
                    break length;
                }
            }
        };
        assert_eq!(tokio::join!(finish, read).1, taken);
    }
    // And a reader that takes nothing does not read: the sender's stream is full.
    let (near, far) = tokio::io::duplex(10_000);
    let mut far = open(far, tautline::Role::Server, Config::new());
    let mut near = open(near, tautline::Role::Client, Config::new());
    let mut sending = near.message_writer(Kind::Binary);
    let mut taken = sending.write(&[7; 5000]).await.unwrap();
    sending.flush().await.unwrap();
    let mut message = far.next_message().await.unwrap().unwrap();
    while let Some(count) = sending.write(&[7; 5000]).now_or_never() {
        taken += count.unwrap();
        assert!(taken < 1 << 20);
    }
    let rest = tokio::join!(sending.finish(), message.read_to_end(1 << 20));
    rest.0.unwrap();
    assert_eq!(rest.1.unwrap().len(), taken);
}

#[tokio::test]
async fn any_wait_of_a_reader_and_a_writer_may_be_cancelled() {
    for role in ROLES {
        let (near, far) = tokio::io::duplex(100);
        let mut ws = open(Choppy::new(near, 7), role, Config::new().write_mark(1024));
        let other = if role == tautline::Role::Client {
            tautline::Role::Server
        } else {
            tautline::Role::Client
        };
        let mut peer = open(Choppy::new(far, 5), other, Config::new().write_mark(1024));
        let data = pattern(20_000);
        let sending = async {
            let mut message = ws.message_writer(Kind::Binary);
            let mut at = 0;
            while at < data.len() {
                // Dropped at its first wait, half of the time.
                let count = message.write(&data[at..data.len().min(at + 333)]).now_or_never();
                match count {
                    Some(count) => at += count.unwrap(),
                    None => tokio::task::yield_now().await,
                }
            }
            message.finish().await.unwrap();
        };
        let reading = async {
            let mut all = Vec::new();
            loop {
                let Some(message) = peer.next_message().now_or_never() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let mut message = message.unwrap().unwrap();
                loop {
                    match message.next().now_or_never() {
                        Some(Some(piece)) => all.extend_from_slice(&piece.unwrap()),
                        Some(None) => return all,
                        None => tokio::task::yield_now().await,
                    }
                }
            }
        };
        assert!(tokio::join!(sending, reading).1 == data);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_in_the_middle_is_given_up_and_a_slow_reader_is_not() {
    for role in ROLES {
        let config = Config::new().ping_interval(None).message_timeout(Duration::from_secs(30));
        let (mut ws, mut peer) = duplex(role, config, 1 << 20);
        peer.send(BINARY, vec![7; 100_000]).await;
        peer.send(CONTINUATION, vec![7; 100_000]).await;
        let mut message = ws.next_message().await.unwrap().unwrap();
        message.read_exact(&mut [0; 150_000]).await.unwrap();
        // The user takes a while.
        tokio::time::advance(Duration::from_secs(100)).await;
        peer.send(CONTINUATION, vec![7; 1000]).await;
        message.read_exact(&mut [0; 51_000]).await.unwrap();
        let error = message.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Message)), "{error:?}");
        peer.expect_close(1008).await;
    }
}
