//! A bad request is answered with the status that says why, and then the connection ends (RFC 6455
//! sections 4.2.1, 4.2.2 and 4.4; RFC 9112).

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future;
use http::{Method, Response};
use tautline::{AcceptError, Acceptor, HandshakeError, HeadError, Server, text_response};
use tautline_handshake::SubprotocolError;
use tokio::io::AsyncWriteExt;

use crate::support::handshake::{
    ACCEPT, Head, Http, KEY, REQUEST, answer_to, echo_server, expect_echo, request_but,
    request_with, uri,
};
use crate::support::peer::{FIN, Peer, TEXT};

/// A server that accepts any Origin, so that only the request decides.
async fn server() -> SocketAddr {
    echo_server(|server| server.origins(tautline::OriginPolicy::Any)).await
}

/// A refusal is a whole response, and the last one: its reason as text, its length, and
/// `Connection: close`.
fn expect_refusal((head, body): &(Head, String), status: u16, reason: &str) {
    assert_eq!((head.status(), body.as_str()), (status, format!("{reason}\n").as_str()));
    assert_eq!(head.get("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(head.get("content-type"), Some("text/plain; charset=utf-8"));
    let connection = head.get("connection").unwrap();
    assert!(connection.split(", ").any(|option| option == "close"), "{connection}");
}

fn bad_requests() -> Vec<(Vec<u8>, u16, &'static str)> {
    let but = request_but;
    let with = |line: &str| request_with(line);
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let version = "Sec-WebSocket-Version: 13\r\n";
    let bad_host = "malformed Host header";
    let bad_key = "Sec-WebSocket-Key is not base64 of 16 bytes";
    let no_upgrade = "this is a WebSocket endpoint: Upgrade does not list websocket";
    vec![
        (but("HTTP/1.1", "HTTP/1.0"), 505, "the request is not HTTP/1.1"),
        (but("HTTP/1.1", "HTTP/1.2"), 505, "the HTTP version is not supported"),
        (but("HTTP/1.1", "HTTP/2.0"), 505, "the HTTP version is not supported"),
        (but("GET", "POST"), 405, "the method is not GET"),
        (but("GET", "get"), 405, "the method is not GET"),
        (but("/chat", "*"), 400, "the request target is not a path"),
        (but("/chat", "ftp://example.com/chat"), 400, "the request target is not a path"),
        (but("/chat", "http://user@example.com/chat"), 400, "the request target is not a path"),
        (but("/chat", "/a\\b"), 400, "the first line is malformed"),
        (but("/chat", "/chat?q=\\"), 400, "the first line is malformed"),
        (but("Host: example.com\r\n", ""), 400, "Host is missing"),
        (with("Host: example.com\r\n"), 400, "duplicate Host header"),
        (but("example.com", ""), 400, bad_host),
        (but("example.com", "example.com:99999"), 400, bad_host),
        (but("example.com", "user@example.com"), 400, bad_host),
        (but("example.com", "a, b"), 400, bad_host),
        (with("Content-Length: 5\r\n"), 400, "the request has a body (Content-Length)"),
        (
            with("Content-Length: 0\r\nContent-Length: 0\r\n"),
            400,
            "the request has a body (Content-Length)",
        ),
        (with("Transfer-Encoding: chunked\r\n"), 400, "the request has a body (Transfer-Encoding)"),
        (with("Expect: 100-continue\r\n"), 417, "Expect is not supported"),
        (but("Upgrade: websocket\r\n", ""), 426, no_upgrade),
        (but("Upgrade: websocket", "Upgrade: websockets"), 426, no_upgrade),
        (but("Connection: Upgrade\r\n", ""), 426, "Connection does not list Upgrade"),
        (
            but("Connection: Upgrade", "Connection: not-upgrade"),
            426,
            "Connection does not list Upgrade",
        ),
        (but(version, ""), 426, "Sec-WebSocket-Version is missing"),
        (but("Version: 13", "Version: 12"), 426, "Sec-WebSocket-Version is not 13"),
        (but("Version: 13", "Version: 13, 8"), 426, "Sec-WebSocket-Version is not 13"),
        (with(version), 426, "duplicate Sec-WebSocket-Version header"),
        (but(&key, ""), 400, "Sec-WebSocket-Key is missing"),
        (with(&key), 400, "duplicate Sec-WebSocket-Key header"),
        (but(KEY, ""), 400, bad_key),
        (but(KEY, "c2hvcnQ="), 400, bad_key),
        (but(KEY, "dGhlIHNhbXBsZSBub25jZQAA"), 400, bad_key),
        (but(KEY, "dGhlIHNhb XBsZSBub25jZQ=="), 400, bad_key),
        (with("Sec-WebSocket-Protocol: ,\r\n"), 400, "Sec-WebSocket-Protocol has an empty element"),
        (
            with("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n"),
            400,
            "Sec-WebSocket-Protocol lists an element twice",
        ),
        (but("\r\nHost", "\nHost"), 400, "a line does not end in CR LF"),
        (but("GET", "\r\n\r\nGET"), 400, "this is not HTTP/1.1"),
        (but("GET", "\0GET"), 400, "this is not HTTP/1.1"),
        (but("GET", " GET"), 400, "this is not HTTP/1.1"),
        (but("Host: example.com", "Host: exam\r\n ple.com"), 400, "a header line is folded"),
        (but("Host:", "Host :"), 400, "a header line is malformed"),
        (with("\u{e9}: x\r\n"), 400, "a header line is malformed"),
        (with("X: a\x01b\r\n"), 400, "the head has a control character"),
        (with("X: a\rb\r\n"), 400, "a line does not end in CR LF"),
        (with(&"X: y\r\n".repeat(2000)), 431, "the head has more than 100 header lines"),
        (
            with(&format!("X: {}\r\n", "y".repeat(20_000))),
            431,
            "the head is longer than 16384 bytes",
        ),
        (
            but("/chat", &format!("/{}", "x".repeat(9000))),
            414,
            "the first line is longer than 8192 bytes",
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec(), 400, "this is not HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505, "the HTTP version is not supported"),
        (
            b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03".to_vec(),
            400,
            "the peer speaks TLS, but this is a plain connection",
        ),
    ]
}

#[tokio::test]
async fn a_bad_request_hears_why_and_the_connection_ends() {
    let address = server().await;
    for (request, status, reason) in bad_requests() {
        let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
        let answer = answer_to(address, &request).await;
        assert_eq!((answer.0.status(), answer.1.trim_end()), (status, reason), "{shown}");
        expect_refusal(&answer, status, reason);
    }
}

// RFC 6455 section 4.4, RFC 9110 sections 15.5.6 and 15.5.22.
#[tokio::test]
async fn a_refusal_names_what_would_do() {
    let address = server().await;
    for version in ["12", "8", "99", "013"] {
        let request = request_but("Version: 13", format!("Version: {version}"));
        let (head, _) = answer_to(address, request).await;
        assert_eq!(head.status(), 426);
        assert_eq!(head.get("sec-websocket-version"), Some("13"));
        assert_eq!(head.get("upgrade"), Some("websocket"));
        assert_eq!(head.get("connection"), Some("close, Upgrade"));
    }
    let (head, _) = answer_to(address, request_but("GET", "PUT")).await;
    assert_eq!((head.status(), head.get("allow")), (405, Some("GET")));
    let (head, body) = answer_to(address, request_but("GET", "HEAD")).await;
    assert_eq!((head.status(), body.as_str()), (405, ""), "no body to HEAD");
}

// RFC 6455 section 4.2.1, items 3 and 4; RFC 9110 section 5.6.1 for the lists.
#[tokio::test]
async fn unusual_forms_of_a_good_request_are_accepted() {
    let address = server().await;
    for request in [
        REQUEST.as_bytes().to_vec(),
        request_but("Connection: Upgrade", "Connection: keep-alive, UPGRADE"),
        request_but("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade"),
        request_but("Upgrade: websocket", "Upgrade: h2c, WebSocket"),
        request_but("Upgrade: websocket", "upGRADE:WEBSOCKET"),
        request_but("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: websocket"),
        request_but("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade:\r\nUpgrade: , websocket,"),
        request_but("GET", "\r\nGET"),
        request_but("/chat", "http://other.test/chat"),
        request_with("Sec-WebSocket-Protocol: chat, \r\n"),
        request_with("Sec-WebSocket-Extensions: x, ,\r\nSec-WebSocket-Extensions:\r\n"),
        request_but("Sec-WebSocket-Key: ", "sec-websocket-key: \t "),
        request_but("/chat", "http://example.com/chat"),
        request_but("example.com", "[::1]:9001"),
        request_with("Content-Length: 0\r\n"),
        request_with(b"Cookie: caf\xC3\xA9\xFF\r\n"),
        request_with(
            "Sec-WebSocket-Extensions: __proto__; constructor=\"x\", permessage-deflate\r\n",
        ),
        request_with("Sec-WebSocket-Protocol: __proto__, constructor\r\n"),
        request_with("X: y\r\n".repeat(90)),
    ] {
        let mut peer = Http::connect(address).await;
        peer.write(&request).await;
        let head = peer.head().await;
        assert_eq!(head.first, "HTTP/1.1 101 Switching Protocols", "{request:?}");
        assert_eq!(head.get("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(head.get("upgrade"), Some("websocket"));
        assert_eq!(head.get("connection"), Some("Upgrade"));
        assert_eq!(head.get("sec-websocket-protocol"), None);
        assert_eq!(head.get("sec-websocket-extensions"), None);
    }
}

// Granian panicked on such bytes in a subprotocol; others in Host (CVE-2026-61666) and Origin
// (CVE-2026-14631).
#[tokio::test]
async fn bytes_beyond_ascii_in_a_header_of_the_handshake_are_refused() {
    let address = echo_server(|server| server).await;
    for byte in (0x80..=0xFF).step_by(5) {
        let raw = [byte];
        let line = |name: &str| request_with([name.as_bytes(), b": x", &raw, b"\r\n"].concat());
        for (request, status) in [
            (request_but("example.com", raw), 400),
            (request_but("/chat", [b'/', byte]), 400),
            (request_but("GET", raw), 400),
            (request_but("Upgrade: websocket", [b"Upgrade: ", &raw[..]].concat()), 426),
            (request_but("Connection: Upgrade", [b"Connection: ", &raw[..]].concat()), 426),
            (request_but("dGhl", [b"dGh", &raw[..]].concat()), 400),
            (request_but("13", raw), 426),
            (line("Sec-WebSocket-Protocol"), 400),
            (line("Sec-WebSocket-Extensions"), 400),
            (line("Origin"), 403),
        ] {
            assert_eq!(answer_to(address, request).await.0.status(), status, "{byte:#x}");
        }
    }
}

// What is unread when a socket is closed turns the end into a reset, which overtakes the answer.
#[tokio::test]
async fn more_bytes_in_flight_do_not_turn_the_answer_into_a_reset() {
    let address = server().await;
    for request in [request_but("Version: 13", "Version: 12"), b"\0".to_vec()] {
        let mut peer = Http::connect(address).await;
        peer.write(&request).await;
        let (mut reading, mut writing) = peer.stream.into_split();
        let write = async {
            writing.write_all(&[b'x'; 500_000]).await.unwrap();
            writing.shutdown().await.unwrap();
        };
        let read = async {
            let mut all = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut reading, &mut all).await.unwrap();
            all
        };
        let ((), answer) = future::join(write, read).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

// Linux keeps what arrived before a reset, so the test above cannot detect it; a peer that is still
// sending can.
#[tokio::test]
async fn a_refused_peer_that_is_still_sending_is_read_out() {
    let address = server().await;
    for request in [request_but("Version: 13", "Version: 12"), b"\0".to_vec()] {
        let mut peer = Http::connect(address).await;
        peer.write([&request[..], &[b'x'; 100_000]].concat()).await;
        let (head, _) = peer.last_response().await;
        assert!((400..500).contains(&head.status()), "{head:?}");
        // A reset would be an error here.
        peer.stream.write_all(&[b'x'; 1000]).await.unwrap();
    }
}

// tungstenite CVE-2023-43669: 20 MB of header kept it busy for minutes.
#[tokio::test]
async fn twenty_megabytes_of_header_are_cut_off() {
    let address = server().await;
    let (peer, mut writing) = Http::connect(address).await.stream.into_split();
    let mut peer = Http::over(tokio::io::join(peer, tokio::io::sink()));
    let flood = tokio::spawn(async move {
        let head = REQUEST.strip_suffix("\r\n").unwrap();
        writing.write_all(head.as_bytes()).await?;
        for _ in 0..20 {
            writing.write_all(&[b'x'; 1 << 20]).await?;
        }
        writing.shutdown().await
    });
    assert_eq!(peer.head().await.status(), 431);
    // Not all of it was drained: the server closed the connection.
    flood.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_request_in_single_bytes_is_as_good_as_one_in_a_piece() {
    let address = server().await;
    let mut peer = Http::connect(address).await;
    peer.stream.set_nodelay(true).unwrap();
    for byte in REQUEST.bytes() {
        assert!(peer.is_silent());
        peer.write([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(peer.head().await.status(), 101);
    let mut peer = Peer::of(tautline::Role::Server, peer.stream);
    peer.send(FIN | TEXT, "hello").await;
    peer.expect(FIN | TEXT, "hello").await;
}

// kemal #767: what follows a refused upgrade was taken for another request.
#[tokio::test]
async fn a_request_behind_a_refused_one_is_not_answered() {
    let address = server().await;
    for first in
        [request_but("Version: 13", "Version: 12"), request_with("Content-Length: 600\r\n")]
    {
        let (_, body) = answer_to(address, [&first, REQUEST.as_bytes()].concat()).await;
        assert!(!body.contains("HTTP/1.1"), "{body}");
    }
}

// libwebsockets CVE-2025-11677. What follows an accepted request is frames, and `G` starts one with
// a reserved bit.
#[tokio::test]
async fn a_request_behind_an_accepted_one_is_a_protocol_error() {
    let mut peer = Http::connect(server().await).await;
    peer.write([REQUEST, REQUEST].concat()).await;
    assert_eq!(peer.head().await.status(), 101);
    let close = peer.rest().await;
    assert_eq!(close[..4], [0x88, close[1], 0x03, 0xEA], "{close:?}");
    assert_eq!(close.len(), 2 + usize::from(close[1]), "one frame and the end");
}

// RFC 6455 section 4.2.1 and invariant 7: bytes after the head are frames.
#[tokio::test]
async fn frames_in_the_same_segment_as_the_request_are_not_lost() {
    let mut peer = Http::connect(server().await).await;
    let frame = crate::support::peer::encode(true, FIN | TEXT, b"early");
    peer.write([REQUEST.as_bytes(), &frame].concat()).await;
    assert_eq!(peer.head().await.status(), 101);
    while peer.read.len() < 7 {
        tokio::io::AsyncReadExt::read_buf(&mut peer.stream, &mut peer.read).await.unwrap();
    }
    assert_eq!(peer.read, b"\x81\x05early"[..]);
}

fn page(server: Server) -> Server {
    server.fallback(|request, peer| async move {
        assert!(peer.addr().unwrap().ip().is_loopback());
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/") => Response::new(Bytes::from("<p>page</p>")),
            (&Method::POST, "/") => text_response(http::StatusCode::METHOD_NOT_ALLOWED, "no\n"),
            // What no fallback should return.
            (_, "/101") => text_response(http::StatusCode::SWITCHING_PROTOCOLS, ""),
            _ => text_response(http::StatusCode::NOT_FOUND, "not here\n"),
        }
    })
}

#[tokio::test]
async fn a_plain_request_is_for_the_fallback() {
    let address = echo_server(page).await;
    for (request, status, length, body) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "11", "<p>page</p>"),
        ("GET / HTTP/1.0\r\n\r\n", 200, "11", "<p>page</p>"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "11", ""),
        ("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 404, "9", "not here\n"),
        ("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", 404, "9", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", 405, "3", "no\n"),
    ] {
        let (head, received) = answer_to(address, request).await;
        assert_eq!((head.status(), received.as_str()), (status, body), "{request}");
        assert_eq!(head.get("content-length"), Some(length), "{request}");
        assert_eq!(head.get("connection"), Some("close"), "{request}");
    }
    // RFC 9110 section 7.8: `Upgrade` in HTTP/1.0 is ignored, so that this is a plain request.
    let (head, _) = answer_to(address, request_but("/chat HTTP/1.1", "/ HTTP/1.0")).await;
    assert_eq!(head.status(), 200);
    expect_echo(&mut tautline::connect(uri(address)).await.unwrap(), "hello").await;
    let answer = answer_to(address, request_but("Version: 13", "Version: 12")).await;
    expect_refusal(&answer, 426, "Sec-WebSocket-Version is not 13");
}

// RFC 9112 section 3.2: a strict peer got the page without a Host, and with two.
#[tokio::test]
async fn a_plain_request_without_exactly_one_host_is_400() {
    let address = echo_server(page).await;
    for lines in ["", "Host: a\r\nHost: b\r\n", "Host: a b\r\n"] {
        let (head, _) = answer_to(address, format!("GET / HTTP/1.1\r\n{lines}\r\n")).await;
        assert_eq!(head.status(), 400, "{lines:?}");
    }
}

// An interim status (RFC 9110 section 15.2) from a hook or a fallback left the client waiting for
// the real one, or, with 101, believing in a WebSocket.
#[tokio::test]
async fn an_interim_status_of_the_fallback_is_500() {
    let address = echo_server(page).await;
    let (head, body) = answer_to(address, "GET /101 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((head.status(), body.as_str()), (500, "internal error\n"));
}

#[tokio::test]
async fn without_a_fallback_a_plain_request_is_426() {
    let address = server().await;
    for method in ["GET", "HEAD"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, body) = answer_to(address, request).await;
        let expected = if method == "GET" { 426 } else { 405 };
        assert_eq!((head.status(), body.is_empty()), (expected, method == "HEAD"));
    }
}

#[tokio::test]
async fn whoever_accepts_on_a_stream_of_their_own_learns_why_it_was_none() {
    for (request, expected) in [
        (request_but("Version: 13", "Version: 12"), HandshakeError::UnsupportedVersion),
        (
            request_with("Sec-WebSocket-Protocol: ,\r\n"),
            HandshakeError::from(SubprotocolError::Empty),
        ),
        (b"\x16\x03\x01".to_vec(), HandshakeError::Head(HeadError::Tls)),
    ] {
        let (near, far) = tokio::io::duplex(4096);
        let mut peer = Http::over(near);
        peer.write(&request).await;
        peer.stream.shutdown().await.unwrap();
        match tautline::accept(far).await {
            Err(AcceptError::Handshake(error)) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
        let reason = match std::error::Error::source(&expected) {
            Some(source) => source.to_string(),
            None => expected.to_string(),
        };
        expect_refusal(&peer.last_response().await, expected.status().as_u16(), &reason);
    }
    let (near, far) = tokio::io::duplex(4096);
    let mut peer = Http::over(near);
    peer.write("GET / HT").await;
    drop(peer);
    match Acceptor::new().accept(far).await {
        Err(AcceptError::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
        other => panic!("{other:?}"),
    }
}
