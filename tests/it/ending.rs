//! How connections end: what the peer receives, which end closes TCP first, and what is reported to
//! the user.

use std::io;
use std::time::Duration;

use futures_util::{FutureExt, future};
use tautline::{
    CloseCode, CloseFrame, Config, Error, InvalidCloseFrame, Message, ProtocolError, Role, Timeout,
    WebSocket,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::conversation::pattern;
use crate::support::peer::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, ROLES, Script, TEXT, both_ends, close_body, duplex,
    encode, open, tcp, tcp_streams, with_head,
};

const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A handler as in every tutorial: reads until the end, whatever that is, and drops the connection.
async fn handle<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocket<S>) -> Option<Error> {
    while let Some(message) = ws.next().await {
        if let Err(error) = message {
            return Some(error);
        }
    }
    None
}

fn protocol_error(error: Option<&Error>) -> Option<ProtocolError> {
    match error {
        Some(Error::Protocol(error)) => Some(*error),
        _ => None,
    }
}

/// What a peer of this role's end sends, the rule that it breaks, and the close code that it must
/// receive.
pub(crate) fn violations(role: Role) -> Vec<(Vec<u8>, ProtocolError, u16)> {
    use ProtocolError as E;
    let masked = role == Role::Server;
    let frame = |first, payload: &[u8]| encode(masked, first, payload);
    let head = |head: &[u8]| with_head(masked, head, b"");
    let pieces = [frame(TEXT, b"a"), frame(CONTINUATION, b""), frame(CONTINUATION, b"")].concat();
    let sum = [frame(BINARY, &[0; 600]), frame(CONTINUATION, &[0; 500])].concat();
    let mask = if masked { E::MaskMissing } else { E::MaskUnexpected };
    vec![
        (frame(FIN | CLOSE, &1005u16.to_be_bytes()), E::CloseCode(1005), 1002),
        (frame(FIN | CLOSE, &2999u16.to_be_bytes()), E::CloseCode(2999), 1002),
        (frame(FIN | CLOSE, b"\x03"), E::CloseLength, 1002),
        (frame(FIN | CLOSE, b"\x03\xE8\xFF"), E::CloseReason, 1007),
        ([frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(), E::ContinuationExpected, 1002),
        (frame(FIN | CONTINUATION, b"a"), E::ContinuationUnexpected, 1002),
        (frame(PING, b""), E::ControlFragmented, 1002),
        (frame(FIN | PING, &[0; 126]), E::ControlTooLong, 1002),
        (head(&[FIN | BINARY, 126, 0x04, 0x4D]), E::FrameTooLong { limit: 1100 }, 1009),
        (sum, E::MessageTooLong { limit: 1000 }, 1009),
        (frame(FIN | BINARY, &[0; 1001]), E::MessageTooLong { limit: 1000 }, 1009),
        (head(&[FIN | BINARY, 126, 0, 125]), E::LengthNotMinimal, 1002),
        (head(&[FIN | BINARY, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), E::LengthNotMinimal, 1002),
        (head(&[FIN | BINARY, 127, 0x80, 0, 0, 0, 0, 0, 0, 1]), E::LengthTopBit, 1002),
        (encode(!masked, FIN | TEXT, b"a"), mask, 1002),
        (frame(0xC0 | TEXT, b"a"), E::ReservedBits, 1002),
        (frame(FIN | 0x3, b""), E::ReservedOpcode(3), 1002),
        (frame(FIN | 0xB, b""), E::ReservedOpcode(11), 1002),
        (pieces, E::TooManyFragments { limit: 2 }, 1008),
        (frame(FIN | TEXT, b"\xED\xA0\x80"), E::Utf8, 1007),
        ([frame(TEXT, b"\xF0\x9D"), frame(FIN | CONTINUATION, b"")].concat(), E::Utf8, 1007),
    ]
}

// RFC 6455 sections 7.1.7 and 7.4.1. The junk after the violation would make the kernel send a
// reset, which overtakes the Close, if the connection were dropped with it unread.
#[tokio::test]
async fn a_peer_that_breaks_a_rule_hears_its_code_and_no_reset_from_a_handler_that_just_drops() {
    for role in ROLES {
        let config = Config::new().max_message_size(1000).max_frame_size(1100).max_fragments(2);
        for (bytes, error, code) in violations(role) {
            let (ws, mut peer) = tcp(role, config.clone()).await;
            let handler = tokio::spawn(handle(ws));
            peer.write(&bytes).await;
            peer.write(&[0; 50_000]).await;
            peer.expect_close(code).await;
            // Our half is closed, theirs is not: it continues sending, and is drained.
            peer.write(&[0; 50_000]).await;
            peer.expect_eof().await;
            drop(peer);
            assert_eq!(protocol_error(handler.await.unwrap().as_ref()), Some(error), "{role:?}");
        }
    }
}

// RFC 6455 sections 5.5.1 (the answer has the same code) and 7.1.1 (the server ends TCP first).
#[tokio::test]
async fn a_close_is_answered_by_its_code_and_a_server_then_ends_tcp() {
    for code in [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999] {
        let (mut ws, mut peer) = tcp(Role::Server, Config::new()).await;
        peer.send(FIN | CLOSE, close_body(code, "bye")).await;
        assert!(ws.next().await.is_none());
        let frame = ws.close_frame().unwrap();
        assert_eq!((frame.code().as_u16(), frame.reason()), (code, "bye"));
        drop(ws);
        peer.expect(FIN | CLOSE, close_body(code, "bye")).await;
        peer.expect_eof().await;
    }
}

// RFC 6455 section 7.1.1: the client waits for the server to end TCP.
#[tokio::test]
async fn a_client_answers_a_close_and_ends_tcp_only_behind_the_server() {
    let (mut ws, mut peer) = duplex(Role::Client, Config::new(), 64);
    peer.send(FIN | CLOSE, close_body(1001, "bye")).await;
    assert!(ws.next().now_or_never().is_none());
    peer.expect(FIN | CLOSE, close_body(1001, "bye")).await;
    assert!(peer.recv().now_or_never().is_none(), "the client ended TCP first");
    assert!(!ws.is_open());
    peer.stream.shutdown().await.unwrap();
    assert!(ws.next().await.is_none());
    assert_eq!(ws.close_frame().unwrap().to_string(), "1001 bye");
    peer.expect_eof().await;
}

// RFC 6455 section 5.5.1: a Close may have no body, and its answer then has none.
#[tokio::test]
async fn an_empty_close_is_answered_by_an_empty_one() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new(), 64);
        peer.send(FIN | CLOSE, "").await;
        peer.stream.shutdown().await.unwrap();
        assert!(ws.next().await.is_none());
        assert_eq!(ws.close_frame(), Some(&CloseFrame::empty()));
        peer.expect(FIN | CLOSE, "").await;
    }
}

#[tokio::test]
async fn our_close_follows_what_was_sent_and_ends_with_the_answer_in_both_roles() {
    for role in ROLES {
        let (mut ws, mut peer) = tcp(role, Config::new()).await;
        ws.feed("last words").await.unwrap();
        let closing = tokio::spawn(async move {
            let frame = CloseFrame::new(CloseCode::new(4000).unwrap(), "enough").unwrap();
            ws.close_with(frame).await.unwrap();
            ws
        });
        peer.expect(FIN | TEXT, "last words").await;
        peer.expect(FIN | CLOSE, close_body(4000, "enough")).await;
        peer.send(FIN | TEXT, "crossed our Close").await;
        peer.send(FIN | CLOSE, close_body(4000, "")).await;
        if role == Role::Client {
            peer.stream.shutdown().await.unwrap();
        }
        peer.expect_eof().await;
        let mut ws = closing.await.unwrap();
        assert!(ws.next().await.is_none());
        assert_eq!(ws.close_frame().unwrap().code().as_u16(), 4000);
    }
}

// RFC 6455 section 7.1.3: until the peer's Close, what it sent is delivered if the user still
// reads.
#[tokio::test]
async fn messages_that_cross_our_close_are_still_received() {
    let (mut ws, mut peer) = duplex(Role::Server, Config::new(), 1024);
    assert!(ws.close().now_or_never().is_none());
    peer.send(FIN | TEXT, "one").await;
    peer.send(FIN | TEXT, "two").await;
    peer.send(FIN | CLOSE, close_body(1000, "")).await;
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("one"));
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("two"));
    assert!(ws.next().await.is_none());
}

// RFC 6455 section 5.5.1: "If an endpoint receives a Close frame and did not previously send one":
// one Close each.
#[tokio::test]
async fn closes_that_cross_answer_each_other() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new(), 64);
        peer.send(FIN | CLOSE, close_body(1001, "")).await;
        peer.stream.shutdown().await.unwrap();
        ws.close().await.unwrap();
        assert_eq!(ws.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        peer.expect_eof().await;
    }
    let (mut client, mut server) = both_ends(tcp_streams().await);
    let (a, b) = future::join(client.close(), server.close()).await;
    a.and(b).unwrap();
}

// Tomcat CVE-2024-23672 kept such connections forever.
#[tokio::test(start_paused = true)]
async fn a_peer_that_ignores_our_close_is_given_up_at_close_timeout() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new().close_timeout(CLOSE_TIMEOUT), 64);
        let start = Instant::now();
        let error = ws.close().await.unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Close)), "{error}");
        assert_eq!(start.elapsed().as_secs(), CLOSE_TIMEOUT.as_secs());
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        // The transport is ended, though the connection is not dropped.
        peer.expect_eof().await;
        assert!(ws.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_while_it_ignores_our_close_is_given_up_all_the_same() {
    let config = Config::new().close_timeout(CLOSE_TIMEOUT);
    let (mut ws, mut peer) = duplex(Role::Server, config, 64);
    let start = Instant::now();
    let chatter = async {
        loop {
            let wire = peer.encode(FIN | TEXT, b"chatter");
            if peer.stream.write_all(&wire).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    };
    let closing = async {
        let result = ws.close().await;
        drop(ws);
        result
    };
    let (result, ()) = future::join(closing, chatter).await;
    assert!(matches!(result, Err(Error::Timeout(Timeout::Close))));
    assert_eq!(start.elapsed().as_secs(), CLOSE_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_and_reads_nothing_is_left_at_close_timeout_in_order() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new().close_timeout(CLOSE_TIMEOUT), 64);
        ws.feed(pattern(1000)).await.unwrap();
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        let start = Instant::now();
        assert!(ws.next().await.is_none());
        assert_eq!(start.elapsed().as_secs(), CLOSE_TIMEOUT.as_secs());
    }
}

// The handshake is complete: that TCP does not end is not an error of the conversation.
#[tokio::test(start_paused = true)]
async fn a_server_that_closes_and_never_ends_tcp_is_left_at_close_timeout_in_order() {
    let (mut ws, mut peer) = duplex(Role::Client, Config::new().close_timeout(CLOSE_TIMEOUT), 64);
    peer.send(FIN | CLOSE, close_body(1000, "")).await;
    let start = Instant::now();
    assert!(ws.next().await.is_none());
    assert_eq!(start.elapsed().as_secs(), CLOSE_TIMEOUT.as_secs());
    peer.expect(FIN | CLOSE, close_body(1000, "")).await;
    peer.expect_eof().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_broke_a_rule_and_never_ends_tcp_is_left_at_close_timeout() {
    for role in ROLES {
        let (ws, mut peer) = duplex(role, Config::new().close_timeout(CLOSE_TIMEOUT), 64);
        peer.write(&[0xFF; 10]).await;
        let start = Instant::now();
        assert_eq!(
            protocol_error(handle(ws).await.as_ref()),
            Some(ProtocolError::ReservedOpcode(15))
        );
        assert_eq!(start.elapsed().as_secs(), CLOSE_TIMEOUT.as_secs());
        peer.expect_close(1002).await;
        peer.expect_eof().await;
    }
}

// A read that never waits uses up the task's budget (tokio's coop budget), and with it the timer's:
// draining after an error went on forever, whatever close_timeout said.
#[tokio::test]
async fn a_peer_that_floods_after_an_error_does_not_outlive_close_timeout() {
    let config = Config::new().close_timeout(Duration::from_millis(20));
    let stream = tokio::io::join(tokio::io::repeat(0xFF), tokio::io::sink());
    let ws = open(stream, Role::Server, config);
    let error = tokio::time::timeout(Duration::from_secs(20), handle(ws)).await.unwrap();
    assert_eq!(protocol_error(error.as_ref()), Some(ProtocolError::ReservedOpcode(15)));
}

// RFC 6455 section 7.1.5: what it calls 1006.
#[tokio::test]
async fn an_end_without_a_close_is_told_once() {
    for role in ROLES {
        for rest in [&[][..], &[FIN | TEXT]] {
            let (mut ws, mut peer) = tcp(role, Config::new()).await;
            peer.send(FIN | TEXT, "whole").await;
            peer.write(rest).await;
            peer.stream.shutdown().await.unwrap();
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("whole"));
            assert!(matches!(ws.next().await, Some(Err(Error::ConnectionLost))));
            assert!(ws.next().await.is_none());
            assert!(ws.next().await.is_none());
            assert!(!ws.is_open() && ws.close_frame().is_none());
            assert!(matches!(ws.send("x").await, Err(Error::ConnectionLost)));
            // Though the connection is still held, as by an idle writer in some table, its
            // transport has ended.
            peer.expect_eof().await;
        }
    }
}

#[tokio::test]
async fn an_end_instead_of_the_answer_to_our_close_is_an_error() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new(), 64);
        assert!(ws.close().now_or_never().is_none());
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        drop(peer);
        assert!(matches!(ws.close().await, Err(Error::ConnectionLost)));
        assert!(ws.next().await.is_none());
    }
}

#[tokio::test]
async fn a_reset_is_told_once_with_its_cause() {
    let (mut ws, peer) = tcp(Role::Server, Config::new()).await;
    peer.stream.set_zero_linger().unwrap();
    drop(peer);
    match ws.next().await {
        Some(Err(Error::Io(error))) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
    assert!(ws.next().await.is_none());
}

fn script(role: Role, frames: &[(u8, &[u8])], end: Option<io::ErrorKind>) -> Script {
    let frames =
        frames.iter().map(|(first, payload)| encode(role == Role::Server, *first, payload));
    let mut reads = std::collections::VecDeque::from([Ok(frames.collect::<Vec<_>>().concat())]);
    reads.push_back(end.map_or(Ok(Vec::new()), |kind| Err(kind.into())));
    Script { reads, ..Script::default() }
}

#[tokio::test]
async fn a_reset_behind_the_peers_close_is_a_clean_end() {
    let close = close_body(1001, "gone");
    for role in ROLES {
        let reset = io::ErrorKind::ConnectionReset;
        for write_error in [None, Some(io::ErrorKind::BrokenPipe)] {
            let frames = [(FIN | TEXT, &b"last"[..]), (FIN | CLOSE, &close)];
            let script = Script { write_error, ..script(role, &frames, Some(reset)) };
            let mut ws = open(script, role, Config::new());
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("last"));
            assert!(ws.next().await.is_none());
            assert_eq!(ws.close_frame().unwrap().to_string(), "1001 gone");
        }
    }
}

#[tokio::test]
async fn what_arrived_before_the_write_side_broke_is_still_received() {
    for role in ROLES {
        let frames = [(FIN | TEXT, &b"one"[..]), (FIN | TEXT, b"two")];
        let broken = Some(io::ErrorKind::BrokenPipe);
        let script = Script { write_error: broken, ..script(role, &frames, None) };
        let mut ws = open(script, role, Config::new());
        assert!(matches!(ws.send("x").await, Err(Error::Io(_))));
        // What was lost is not reported as flushed by the next poll.
        assert!(matches!(ws.flush().await, Err(Error::Io(_))));
        assert!(matches!(ws.send("x").await, Err(Error::Io(_))));
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("one"));
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("two"));
        match ws.next().await {
            Some(Err(Error::Io(error))) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
            other => panic!("{other:?}"),
        }
        assert!(ws.next().await.is_none());
    }
}

// The peer had sent its Close: that nothing could be written any more is not an error then.
#[tokio::test(start_paused = true)]
async fn a_close_that_arrived_before_the_write_side_broke_is_a_clean_end() {
    for role in ROLES {
        let body = close_body(1001, "");
        let frames = [(FIN | TEXT, &b"one"[..]), (FIN | CLOSE, &body)];
        let broken = Some(io::ErrorKind::BrokenPipe);
        let script = Script { write_error: broken, ..script(role, &frames, None) };
        let mut ws = open(script, role, Config::new());
        assert!(matches!(ws.send("x").await, Err(Error::Io(_))));
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("one"));
        assert!(ws.next().await.is_none());
        assert_eq!(ws.close_frame().map(CloseFrame::code), Some(CloseCode::GOING_AWAY));
    }
}

// RFC 6455 section 5.5.1: no data after a Close.
#[tokio::test]
async fn nothing_is_sent_after_a_close_of_either_side() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new(), 64);
        assert!(ws.close().now_or_never().is_none());
        // Sending learns of the end when it is over, so that the connection can be dropped then.
        assert!(ws.send("x").now_or_never().is_none());
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        peer.stream.shutdown().await.unwrap();
        for result in [ws.send("x").await, ws.feed("x").await, ws.ping().await.map(|_| ())] {
            assert!(matches!(result, Err(Error::Closed)), "{result:?}");
        }
        ws.flush().await.unwrap();
        peer.expect_eof().await;

        let (mut ws, mut peer) = duplex(role, Config::new(), 64);
        peer.send(FIN | CLOSE, "").await;
        peer.stream.shutdown().await.unwrap();
        assert!(ws.next().await.is_none());
        assert!(matches!(ws.send("x").await, Err(Error::Closed)));
        ws.flush().await.unwrap();
        peer.expect(FIN | CLOSE, "").await;
        peer.expect_eof().await;
    }
}

#[tokio::test]
async fn closing_again_sends_no_second_close() {
    let (mut ws, mut peer) = duplex(Role::Server, Config::new(), 64);
    assert!(ws.close().now_or_never().is_none());
    assert!(ws.close_with(CloseCode::GOING_AWAY).now_or_never().is_none());
    peer.expect(FIN | CLOSE, close_body(1000, "")).await;
    peer.send(FIN | CLOSE, close_body(1000, "")).await;
    ws.close().await.unwrap();
    ws.close().await.unwrap();
    peer.expect_eof().await;
}

// RFC 6455 section 7.4.1: 1005, 1006 and 1015 are never sent; only clients send 1010.
#[tokio::test]
async fn close_codes_that_are_not_ours_to_send_are_refused() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(CloseCode::new(code), Err(InvalidCloseFrame::Code(code)));
    }
    let refused = CloseFrame::new(CloseCode::NO_STATUS, "");
    assert_eq!(refused, Err(InvalidCloseFrame::Code(1005)));

    let (mut ws, mut peer) = duplex(Role::Server, Config::new(), 64);
    let error = ws.close_with(CloseCode::MANDATORY_EXTENSION).await.unwrap_err();
    assert!(matches!(error, Error::CloseCode(CloseCode::MANDATORY_EXTENSION)));
    assert!(ws.is_open());
    ws.send("still here").await.unwrap();
    peer.expect(FIN | TEXT, "still here").await;

    let (mut ws, mut peer) = duplex(Role::Client, Config::new(), 64);
    assert!(ws.close_with(CloseCode::MANDATORY_EXTENSION).now_or_never().is_none());
    peer.expect(FIN | CLOSE, close_body(1010, "")).await;
}

// RFC 6455 section 5.5.1: the Close comes after what was sent before it, including a message in
// fragments.
#[tokio::test]
async fn the_answer_to_a_close_waits_for_the_message_under_way() {
    let config = Config::new().fragment_size(1024).write_mark(1024);
    let (mut ws, mut peer) = duplex(Role::Server, config, 64);
    ws.feed(pattern(5000)).await.unwrap();
    peer.send(FIN | CLOSE, close_body(1000, "")).await;
    let read = async {
        let mut whole = Vec::new();
        while whole.len() < 5000 {
            whole.extend(peer.recv().await.unwrap().payload);
        }
        assert!(whole == pattern(5000));
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        peer.expect_eof().await;
    };
    let (end, ()) = future::join(ws.next(), read).await;
    assert!(end.is_none());
}

#[tokio::test]
async fn nothing_is_delivered_that_stands_behind_the_peers_close() {
    for role in ROLES {
        let (ws, mut peer) = tcp(role, Config::new()).await;
        let handler = tokio::spawn(handle(ws));
        let wire = [
            peer.encode(FIN | CLOSE, &close_body(1000, "")),
            peer.encode(FIN | TEXT, b"too late"),
            vec![0xFF; 100_000],
        ];
        peer.write(&wire.concat()).await;
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        peer.stream.shutdown().await.unwrap();
        peer.expect_eof().await;
        assert!(handler.await.unwrap().is_none());
    }
}

// A flush that waited when another half learned of the end waited once more for the whole deadline,
// or forever when there was none: the dead transport was polled again.
#[tokio::test(start_paused = true)]
async fn nothing_waits_on_a_connection_that_is_over() {
    let config = Config::new().send_timeout(Duration::from_secs(7)).ping_interval(None);
    let (mut ws, _peer) = duplex(Role::Server, config, 16);
    ws.feed(pattern(1000)).await.unwrap();
    assert!(matches!(ws.next().await, Some(Err(Error::Timeout(Timeout::Send)))));
    let results = [ws.flush().now_or_never(), ws.send("x").now_or_never()];
    for result in results {
        assert!(matches!(result, Some(Err(Error::Timeout(Timeout::Send)))), "{result:?}");
    }
    ws.close().now_or_never().expect("at once").unwrap();
    assert!(ws.next().now_or_never().expect("at once").is_none());
}

// A strict peer ended its half of the stream after its messages. The replies that were queued by
// then were thrown away, or cut in the middle of a frame.
#[tokio::test]
async fn what_is_queued_when_the_peer_ends_its_half_is_still_written() {
    for (count, len) in [(10, 1000), (1, 8 << 20)] {
        let (mut ws, mut peer) = tcp(Role::Server, Config::new()).await;
        let echo = tokio::spawn(async move {
            loop {
                match ws.next().await.expect("an error before the end") {
                    Ok(message) => ws.feed(message).await.unwrap(),
                    Err(error) => return error,
                }
            }
        });
        for _ in 0..count {
            peer.send(FIN | BINARY, vec![7; len]).await;
        }
        peer.stream.shutdown().await.unwrap();
        for _ in 0..count {
            peer.expect(FIN | BINARY, vec![7; len]).await;
        }
        peer.expect_eof().await;
        assert!(matches!(echo.await.unwrap(), Error::ConnectionLost));
    }
}

// The Close had waited in the read buffer while the handler was busy, so that the deadline for our
// answer, counted from its arrival, had passed before it was read: what was queued was cut off, and
// the answer never written.
#[tokio::test(start_paused = true)]
async fn a_close_that_waited_for_a_busy_handler_is_answered_all_the_same() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new().ping_interval(None), 1 << 10);
        let work = peer.encode(FIN | BINARY, b"work");
        let close = peer.encode(FIN | CLOSE, &close_body(1000, ""));
        peer.write(&[work, close].concat()).await;
        let handler = async {
            ws.next().await.unwrap().unwrap();
            tokio::time::sleep(2 * CLOSE_TIMEOUT).await;
            // More than the transport accepts at once.
            ws.feed(pattern(5000)).await.unwrap();
            ws.next().await.map(|end| end.map_err(|error| error.to_string()))
        };
        let hearing = async {
            tokio::time::sleep(2 * CLOSE_TIMEOUT + Duration::from_millis(100)).await;
            peer.expect(FIN | BINARY, pattern(5000)).await;
            peer.expect_close(1000).await;
            drop(peer);
        };
        let (end, ()) = future::join(handler, hearing).await;
        assert_eq!(end, None);
    }
}
