//! What the halves tell of their connection, how they are joined again, and how a connection is
//! left for its stream.

use bytes::Bytes;
use tautline::futures::{Feed, Next, Send};
use tautline::{
    Compression, Config, Error, Message, Reader, Role, TryFeedError, WebSocket, Writer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::peer::{
    BINARY, CLOSE, CONTINUATION, FIN, PONG, Peer, ROLES, TEXT, close_body, duplex, tcp_streams,
};

#[test]
fn what_users_hold_can_be_sent_to_other_threads_and_moved() {
    fn check<T: std::marker::Send + Sync + Unpin>() {}
    check::<WebSocket>();
    check::<(Reader, Writer)>();
    check::<(Next<'_, WebSocket>, Next<'_, Reader>)>();
    check::<(Feed<'_, WebSocket>, Feed<'_, Writer>, Send<'_, WebSocket>, Send<'_, Writer>)>();
}

// The future held on to the text, which was converted when it was made: `join_all` over texts made
// on the spot did not compile.
#[tokio::test]
async fn a_future_of_send_does_not_borrow_the_message() {
    let (mut ws, mut peer) = duplex(Role::Server, Config::new(), 64);
    let sending = {
        let text = format!("made {}", "on the spot");
        ws.send(text.as_str())
    };
    sending.await.unwrap();
    peer.expect(FIN | TEXT, "made on the spot").await;
}

#[tokio::test]
async fn both_halves_tell_what_the_whole_told() {
    for role in ROLES {
        let (near, far) = tokio::io::duplex(1 << 12);
        let address = std::net::SocketAddr::from(([192, 0, 2, 7], 50_000));
        let ws = WebSocket::builder(role)
            .subprotocol("chat.v1")
            .compression(Compression::new())
            .peer(address)
            .build(near);
        let (mut reader, mut writer) = ws.split();
        macro_rules! told {
            ($half:expr) => {{
                let compressed = $half.compression().is_some();
                ($half.subprotocol(), $half.peer_addr(), $half.role(), compressed, $half.is_open())
            }};
        }
        let expected = (Some("chat.v1".to_owned()), Some(address), role, true, true);
        assert_eq!(told!(reader), expected);
        assert_eq!(told!(writer), expected);
        assert_eq!((reader.close_frame(), writer.close_frame()), (None, None));
        let mut peer = Peer::of(role, far);
        peer.send(FIN | CLOSE, close_body(4000, "bye")).await;
        if role == Role::Client {
            peer.stream.shutdown().await.unwrap();
        }
        assert!(reader.next().await.is_none());
        assert!(!reader.is_open() && !writer.is_open());
        assert_eq!(reader.close_frame().unwrap().reason(), "bye");
        assert_eq!(writer.close_frame(), reader.close_frame());
        assert!(matches!(writer.try_feed("late"), Err(TryFeedError::Failed(Error::Closed))));
    }
}

#[tokio::test]
async fn halves_that_are_joined_again_have_what_waited_in_them() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new(), 1 << 12);
        let (mut reader, mut writer) = ws.split();
        let answer = async {
            // It comes before the pong, so it is kept for the reader.
            peer.send(FIN | TEXT, "kept").await;
            let ping = peer.recv().await.unwrap();
            peer.send(FIN | PONG, ping.payload).await;
        };
        let (pong, ()) = tokio::join!(writer.ping(), answer);
        pong.unwrap();
        writer.feed("queued").await.unwrap();
        // The reader waits with the wakers of the split connection.
        let mut ws = reader.reunite(writer).unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("kept"));
        let reading = tokio::spawn(async move { (ws.next().await.unwrap().unwrap(), ws) });
        peer.expect(FIN | TEXT, "queued").await;
        peer.send(FIN | TEXT, "later").await;
        let (message, ws) = reading.await.unwrap();
        assert_eq!(message.as_text(), Some("later"));
        // And once more.
        (reader, writer) = ws.split();
        writer.send("again").await.unwrap();
        peer.expect(FIN | TEXT, "again").await;
        peer.send(FIN | TEXT, "and back").await;
        assert_eq!(reader.next().await.unwrap().unwrap().as_text(), Some("and back"));
    }
}

#[tokio::test]
async fn halves_are_joined_only_when_there_are_no_others() {
    let (ws, mut peer) = duplex(Role::Server, Config::new(), 64);
    let (other, _other_peer) = duplex(Role::Server, Config::new(), 64);
    let (reader, writer) = ws.split();
    let (other_reader, other_writer) = other.split();
    let clone = writer.clone();
    let error = reader.reunite(writer).unwrap_err();
    assert!(error.to_string().contains("clones"));
    drop(clone);
    let (reader, writer) = (error.reader, error.writer);
    let error = reader.reunite(other_writer).unwrap_err();
    let (reader, other_writer) = (error.reader, error.writer);
    assert!(other_reader.reunite(other_writer).is_ok());
    let mut ws = reader.reunite(writer).unwrap();
    ws.send("whole").await.unwrap();
    peer.expect(FIN | TEXT, "whole").await;
}

#[tokio::test]
async fn a_queue_that_is_full_gives_the_message_back() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new().write_mark(1024), 1 << 12);
        assert_eq!(ws.queued(), 0);
        let mut count = 0;
        let back = loop {
            match ws.try_feed(format!("{count:10}")) {
                Ok(()) => count += 1,
                Err(TryFeedError::Full(message)) => break message,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(back, Message::from(format!("{count:10}")));
        assert!((1024..1040).contains(&ws.queued()), "{}", ws.queued());
        assert_eq!(ws.queued_messages(), count);
        ws.flush().await.unwrap();
        assert_eq!((ws.queued(), ws.queued_messages()), (0, 0));
        for number in 0..count {
            peer.expect(FIN | TEXT, format!("{number:10}")).await;
        }
    }
}

// Whoever cannot wait cannot flush: the reader, which waits already, writes what was queued.
#[tokio::test]
async fn what_a_writer_tried_to_feed_is_written_by_the_waiting_reader() {
    let (ws, mut peer) = duplex(Role::Server, Config::new(), 1 << 12);
    let (mut reader, mut writer) = ws.split();
    let reading = tokio::spawn(async move { reader.next().await });
    // The reader waits from here on.
    peer.send(FIN | 0x9, "").await;
    peer.expect(FIN | PONG, "").await;
    writer.try_feed("one").unwrap();
    writer.try_feed(Bytes::from_static(b"two")).unwrap();
    peer.expect(FIN | TEXT, "one").await;
    peer.expect(FIN | BINARY, "two").await;
    assert_eq!((writer.queued(), writer.queued_messages()), (0, 0));
    peer.send(FIN | TEXT, "end").await;
    assert_eq!(reading.await.unwrap().unwrap().unwrap().as_text(), Some("end"));
}

#[tokio::test]
async fn a_stream_is_taken_out_with_what_was_read_of_it() {
    let (near, far) = tcp_streams().await;
    let mut ws = WebSocket::builder(Role::Server).build(near);
    let mut peer = Peer::of(Role::Server, far);
    let mut wire = peer.encode(FIN | TEXT, b"switch");
    wire.extend_from_slice(b"raw bytes");
    peer.write(&wire).await;
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("switch"));
    ws.send("switched").await.unwrap();
    peer.expect(FIN | TEXT, "switched").await;
    let mut parts = ws.into_inner().unwrap();
    let mut bytes = parts.leftover;
    while bytes.len() < 9 {
        parts.stream.read_buf(&mut bytes).await.unwrap();
    }
    assert_eq!(&bytes[..], b"raw bytes");
    parts.stream.write_all(b"no frame").await.unwrap();
    let mut back = [0; 8];
    peer.stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"no frame", "and no Close before it");
}

/// Reads as far as it goes now.
async fn look(ws: &mut WebSocket<DuplexStream>) {
    tokio::select! {
        biased;
        message = ws.next() => panic!("{message:?}"),
        () = tokio::task::yield_now() => {}
    }
}

#[tokio::test]
async fn a_stream_is_not_taken_out_while_something_is_under_way() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new(), 1 << 12);
        ws.feed("queued").await.unwrap();
        ws = ws.into_inner().unwrap_err();
        ws.flush().await.unwrap();
        peer.expect(FIN | TEXT, "queued").await;

        // A part of a frame, of which the header is gone from the buffer; then a part of a message.
        let wire = peer.encode(TEXT, b"half");
        peer.write(&wire[..wire.len() - 1]).await;
        look(&mut ws).await;
        ws = ws.into_inner().unwrap_err();
        peer.write(&wire[wire.len() - 1..]).await;
        look(&mut ws).await;
        ws = ws.into_inner().unwrap_err();
        peer.send(FIN | CONTINUATION, " and whole").await;
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("half and whole"));

        let answer = async {
            peer.send(FIN | TEXT, "kept").await;
            let ping = peer.recv().await.unwrap();
            peer.send(FIN | PONG, ping.payload).await;
        };
        tokio::join!(ws.ping(), answer).0.unwrap();
        ws = ws.into_inner().unwrap_err();
        assert!(ws.next().await.unwrap().is_ok());

        // Nothing is under way now, until a Close is.
        let parts = ws.into_inner().unwrap();
        assert!(parts.leftover.is_empty());
        ws = WebSocket::builder(role).leftover(parts.leftover).build(parts.stream);
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        if role == Role::Client {
            peer.stream.shutdown().await.unwrap();
        }
        assert!(ws.next().await.is_none());
        assert!(ws.into_inner().is_err());
    }
}
