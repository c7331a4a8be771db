//! Parsing and encoding HTTP/1.1 heads (RFC 9112), and what is refused.

use bytes::BytesMut;
use http::{Request, Response, Version};
use tautline_handshake::{
    HandshakeError, HeadError, HeadLimits, RequestHeadReader, ResponseHeadReader, ServerRequest,
    encode_request, encode_response, encode_response_to_head,
};

/// The request of RFC 6455 section 1.2, and the beginning of a frame.
const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

fn read_request(bytes: &[u8]) -> Result<Option<Request<()>>, HeadError> {
    RequestHeadReader::new(HeadLimits::default()).read(&mut BytesMut::from(bytes))
}

fn read_response(bytes: &[u8]) -> Result<Option<Response<()>>, HeadError> {
    ResponseHeadReader::new(HeadLimits::default()).read(&mut BytesMut::from(bytes))
}

/// Feeds `bytes` in pieces of `size`; returns the result and what is left in the buffer at the end.
fn in_pieces(bytes: &[u8], size: usize) -> (Result<Option<Request<()>>, HeadError>, BytesMut) {
    let mut reader = RequestHeadReader::new(HeadLimits::default());
    let mut buffer = BytesMut::new();
    let mut pieces = bytes.chunks(size);
    while let Some(piece) = pieces.next() {
        buffer.extend_from_slice(piece);
        match reader.read(&mut buffer) {
            Ok(None) => {}
            result => {
                pieces.for_each(|piece| buffer.extend_from_slice(piece));
                return (result, buffer);
            }
        }
    }
    (Ok(None), buffer)
}

#[test]
fn the_example_of_rfc6455_1_2_is_read() {
    let request = read_request(REQUEST).unwrap().unwrap();
    assert_eq!((request.method().as_str(), request.uri().path()), ("GET", "/chat"));
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!(request.headers().len(), 7);
    assert_eq!(request.headers()["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
    let request = ServerRequest::check(&request).unwrap();
    assert_eq!(request.offer().subprotocols(), ["chat", "superchat"]);
    assert_eq!(request.authority(), "server.example.com");

    let response = read_response(RESPONSE).unwrap().unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
}

/// tungstenite CVE-2023-43669 parsed the head again for every piece. Here the pieces make no
/// difference.
#[test]
fn one_byte_at_a_time_equals_all_at_once_and_what_follows_stays() {
    let bytes = [REQUEST, b"\x81\x80abcd\r\n\r\n"].concat();
    let (whole, _) = in_pieces(&bytes, bytes.len());
    let whole = whole.unwrap().unwrap();
    for size in [1, 2, 3, 7, 64, REQUEST.len() - 1, REQUEST.len(), REQUEST.len() + 1] {
        let (result, rest) = in_pieces(&bytes, size);
        let request = result.unwrap().unwrap();
        assert_eq!(request.headers(), whole.headers(), "{size}");
        assert_eq!(rest, b"\x81\x80abcd\r\n\r\n"[..], "{size}");
    }
    for len in 0..REQUEST.len() {
        assert!(read_request(&REQUEST[..len]).unwrap().is_none(), "{len}");
    }

    let mut reader = ResponseHeadReader::new(HeadLimits::default());
    let mut buffer = BytesMut::new();
    for &byte in RESPONSE {
        assert!(reader.read(&mut buffer).unwrap().is_none());
        buffer.extend_from_slice(&[byte]);
    }
    buffer.extend_from_slice(b"\x81\x00");
    assert_eq!(reader.read(&mut buffer).unwrap().unwrap().status(), 101);
    assert_eq!(buffer, b"\x81\x00"[..]);
}

/// Netty CVE-2026-50020, Undertow CVE-2026-28367 and its siblings: what one parser tolerates,
/// another reads differently, and a request is smuggled in between.
#[test]
fn malformed_requests_are_refused_rfc9112() {
    for (bytes, error) in [
        (&b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"[..], HeadError::NotHttp),
        (b"\r\n GET / HTTP/1.1\r\n\r\n", HeadError::NotHttp),
        (b"\rGET / HTTP/1.1\r\n\r\n", HeadError::NotHttp),
        (b"\nGET / HTTP/1.1\r\n\r\n", HeadError::NotHttp),
        (b" GET / HTTP/1.1\r\n\r\n", HeadError::NotHttp),
        (b"\0GET / HTTP/1.1\r\n\r\n", HeadError::NotHttp),
        (b"GET\r\n\r\n", HeadError::NotHttp),
        (b"G(T / HTTP/1.1\r\n\r\n", HeadError::NotHttp),
        (b"GET / HTTP/1.1\nHost: a\n\n", HeadError::BareLineBreak),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::BareLineBreak),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", HeadError::BareLineBreak),
        (b"GET / HTTP/1.1\r\n\n", HeadError::BareLineBreak),
        (b"GET / HTTP/1.1\r\n\r\r\n", HeadError::BareLineBreak),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", HeadError::LineFolding),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", HeadError::LineFolding),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", HeadError::LineFolding),
        (b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n", HeadError::Control),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", HeadError::Control),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", HeadError::Header),
        (b"GET / HTTP/1.1\r\nHost\r\n\r\n", HeadError::Header),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", HeadError::Header),
        (b"GET / HTTP/1.1\r\nH\xffst: a\r\n\r\n", HeadError::Header),
        (b"GET /\r\n\r\n", HeadError::FirstLine),
        (b"GET  / HTTP/1.1\r\n\r\n", HeadError::FirstLine),
        (b"GET / HTTP/1.1 \r\n\r\n", HeadError::FirstLine),
        (b"GET / FOO/1.1\r\n\r\n", HeadError::FirstLine),
        (b"GET / HTTP/1.x\r\n\r\n", HeadError::FirstLine),
        // RFC 9112 section 3.2 and RFC 3986 section 3.3: a target has no backslash, which some
        // parsers take for a slash.
        (b"GET /a\\..\\b HTTP/1.1\r\n\r\n", HeadError::FirstLine),
        (b"GET /?q=\\ HTTP/1.1\r\n\r\n", HeadError::FirstLine),
        (b"GET \\ HTTP/1.1\r\n\r\n", HeadError::FirstLine),
        // RFC 9112 section 3.2: a target has no fragment.
        (b"GET /#top HTTP/1.1\r\n\r\n", HeadError::FirstLine),
        (b"GET / HTTP/11\r\n\r\n", HeadError::FirstLine),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", HeadError::FirstLine),
        (b"GET /\xff HTTP/1.1\r\n\r\n", HeadError::FirstLine),
        (b"GET / HTTP/2.0\r\n\r\n", HeadError::Version),
        (b"GET / HTTP/0.9\r\n\r\n", HeadError::Version),
        (b"GET / HTTP/1.2\r\n\r\n", HeadError::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Version),
    ] {
        let text = bytes.escape_ascii();
        assert_eq!(read_request(bytes).err(), Some(error), "{text}");
        assert_eq!(in_pieces(bytes, 1).0.err(), Some(error), "{text}");
    }
}

#[test]
fn what_is_not_http_is_refused_at_its_first_bytes() {
    for (bytes, error) in [
        (&b"\x16"[..], HeadError::Tls), // a ClientHello: `wss` to a plain port
        (b"\x81", HeadError::NotHttp),
        (b"\xff", HeadError::NotHttp),
        (b"{", HeadError::NotHttp),
        (b"<", HeadError::NotHttp),
        (b"GET\t", HeadError::NotHttp),
        (&[b'A'; 33], HeadError::NotHttp),
    ] {
        assert_eq!(read_request(bytes).err(), Some(error), "{bytes:?}");
        assert_eq!(HandshakeError::from(error).status(), 400);
    }
    for (bytes, error) in [
        (&b"\x15"[..], HeadError::Tls), // an alert: `ws` to a TLS port
        (b"\x16", HeadError::Tls),
        (b"SSH-2.0", HeadError::NotHttp),
        (b"HTTP/2 ", HeadError::NotHttp),
        (b"http/1.1", HeadError::NotHttp),
        (b"\r\nHTTP/1.1", HeadError::NotHttp),
        (b"HTTP/1.1 101 OK\n", HeadError::BareLineBreak),
        (b"HTTP/1.1 99999 OK\r\n\r\n", HeadError::FirstLine),
        (b"HTTP/1.1 abc OK\r\n\r\n", HeadError::FirstLine),
        (b"HTTP/1.1\r\n\r\n", HeadError::FirstLine),
        (b"HTTP/1.7 200 OK\r\n\r\n", HeadError::Version),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", HeadError::Header),
        (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", HeadError::LineFolding),
    ] {
        assert_eq!(read_response(bytes).err(), Some(error), "{}", bytes.escape_ascii());
    }
}

/// A folded header in a response was refused, and with it the status: a user agent replaces the
/// fold by spaces.
#[test]
fn a_folded_header_of_a_response_is_read_rfc9112_5_2() {
    for (lines, value) in [
        ("X: a\r\n b", "a   b"),
        ("X: a\r\n\tb", "a   b"),
        ("X: a \t\r\n \t b", "a       b"),
        ("X: a\r\n b\r\n c", "a   b   c"),
        ("X:\r\n a", "a"),
        ("X: a\r\n ", "a"),
        ("X: a\r\n \r\n b", "a      b"),
        ("X: a\tb\r\n c", "a\tb   c"),
    ] {
        let head = format!("HTTP/1.1 401 Unauthorized\r\nA: 1\r\n{lines}\r\nB: 2\r\n\r\n");
        let response = read_response(head.as_bytes()).unwrap().unwrap();
        let headers = response.headers();
        assert_eq!((response.status().as_u16(), headers.len()), (401, 3), "{lines:?}");
        assert_eq!(
            (&headers["x"], &headers["b"]),
            (&value.parse().unwrap(), &"2".parse().unwrap())
        );
        let mut reader = ResponseHeadReader::new(HeadLimits::default());
        let mut buffer = BytesMut::new();
        for byte in head.bytes() {
            assert!(reader.read(&mut buffer).unwrap().is_none());
            buffer.extend_from_slice(&[byte]);
        }
        assert_eq!(reader.read(&mut buffer).unwrap().unwrap().headers(), headers);
    }
    // Folds count as lines and as bytes of the head, like others.
    let head = format!("HTTP/1.1 200 OK\r\nX: a{}", "\r\n b".repeat(100));
    assert_eq!(read_response(head.as_bytes()).err(), Some(HeadError::TooManyHeaders(100)));
}

/// The status of a refusal was lost when a line after it could not be read.
#[test]
fn the_status_of_a_head_that_cannot_be_read_is_told() {
    let long = format!("HTTP/1.1 503 {}", "x".repeat(9000));
    let many = format!("HTTP/1.1 503 Busy\r\n{}", "A: b\r\n".repeat(101));
    for (head, status) in [
        ("HTTP/1.1 401 Unauthorized\r\nno header\r\n\r\n", Some(401)),
        ("HTTP/1.0 401 Unauthorized\r\n A: b\r\n\r\n", Some(401)),
        ("HTTP/1.1 101 x\n", Some(101)),
        ("HTTP/1.1 401\r\nA: \x01", Some(401)),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 x\r\n: b\r\n\r\n", Some(404)),
        ("HTTP/1.1 103 Early Hints\r\n\r\nSSH-2.0", None),
        (&long, Some(503)),
        (&many, Some(503)),
        ("HTTP/1.1 4010 x\r\n\r\n", None),
        ("HTTP/1.1 4x1 x\r\n\r\n", None),
        ("HTTP/1.7 401 x\r\n\r\n", None),
        ("HTTP/2 401 x\r\n\r\n", None),
        ("SSH-2.0", None),
    ] {
        let mut reader = ResponseHeadReader::new(HeadLimits::default());
        assert!(reader.read(&mut BytesMut::from(head)).is_err(), "{head:.60}");
        assert_eq!(reader.status().map(|status| status.as_u16()), status, "{head:.60}");
    }
}

/// RFC 9112 section 4: the reason may be anything, and a lone status code is what some servers
/// send.
#[test]
fn the_reason_phrase_is_ignored_rfc9112_4() {
    for head in ["403 \r\n\r\n", "403\r\n\r\n", "403 caf\u{e9}\t!\r\n\r\n", "403 200 OK\r\n\r\n"] {
        let head = format!("HTTP/1.1 {head}");
        assert_eq!(read_response(head.as_bytes()).unwrap().unwrap().status(), 403, "{head}");
    }
}

/// RFC 9112 section 2.2: a server ignores an empty line before a request; one is enough.
#[test]
fn an_empty_line_ahead_of_a_request_is_ignored_rfc9112_2_2() {
    let bytes = [b"\r\n", REQUEST, b"\r\n"].concat();
    for size in [1, 2, 3, bytes.len()] {
        let (result, rest) = in_pieces(&bytes, size);
        assert_eq!(result.unwrap().unwrap().headers().len(), 7, "{size}");
        assert_eq!(rest, b"\r\n"[..], "{size}");
    }
}

/// What browsers leave unencoded in paths and queries, though RFC 3986 requires percent-encoding.
#[test]
fn targets_of_browsers_are_taken() {
    for target in ["/?a[0]={b|^`}'", "/a|b", "/[a]", "/100%", "/?q=100%&x='"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let request = read_request(head.as_bytes()).unwrap().unwrap();
        assert_eq!(request.uri().to_string(), target);
    }
}

#[test]
fn http_1_0_is_read_and_refused_by_the_check_rfc6455_4_2_1() {
    let request = read_request(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert_eq!(request.version(), Version::HTTP_10);
    assert_eq!(ServerRequest::check(&request).err(), Some(HandshakeError::HttpVersion));
}

fn padded(len: usize) -> Vec<u8> {
    let start = b"GET / HTTP/1.1\r\nX: ";
    [&start[..], &vec![b'a'; len - start.len() - 4], b"\r\n\r\n"].concat()
}

#[test]
fn a_head_of_the_limit_is_read_and_one_byte_more_is_431() {
    let max = HeadLimits::DEFAULT_MAX_BYTES;
    assert!(read_request(&padded(max)).unwrap().is_some());
    assert_eq!(read_request(&padded(max + 1)).err(), Some(HeadError::TooLarge(max)));
    assert_eq!(in_pieces(&padded(max), 1).0.unwrap().unwrap().headers().len(), 1);
    // A head that never ends is refused at the limit, not when it ends.
    let (result, buffer) = in_pieces(&padded(20 * max)[..19 * max], 1);
    assert_eq!(result.err(), Some(HeadError::TooLarge(max)));
    assert_eq!(buffer.len(), 19 * max);
    assert_eq!(HandshakeError::from(HeadError::TooLarge(max)).status(), 431);
    assert_eq!(
        read_response(&[&b"HTTP/1.1 200 "[..], &[b'a'; 9000]].concat()).err(),
        Some(HeadError::LineTooLong(8192))
    );
}

#[test]
fn a_request_line_of_the_limit_is_read_and_one_byte_more_is_414() {
    let max = HeadLimits::DEFAULT_MAX_LINE_BYTES;
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(len - 14)).into_bytes();
    assert!(read_request(&line(max)).unwrap().is_some());
    assert_eq!(read_request(&line(max + 1)).err(), Some(HeadError::LineTooLong(max)));
    assert_eq!(HandshakeError::from(HeadError::LineTooLong(max)).status(), 414);
}

/// ws CVE-2024-37890: with more headers than its parser kept, `Upgrade` was missing and the process
/// crashed.
#[test]
fn two_thousand_headers_with_upgrade_last_are_431() {
    let many = |count: usize| {
        let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
        bytes.extend_from_slice(&b"A: b\r\n".repeat(count - 1));
        bytes.extend_from_slice(b"Upgrade: websocket\r\n\r\n");
        bytes
    };
    let max = HeadLimits::DEFAULT_MAX_HEADERS;
    assert_eq!(read_request(&many(max)).unwrap().unwrap().headers().len(), max);
    assert_eq!(read_request(&many(max + 1)).err(), Some(HeadError::TooManyHeaders(max)));
    assert_eq!(read_request(&many(2000)).err(), Some(HeadError::TooManyHeaders(max)));
    assert_eq!(HandshakeError::from(HeadError::TooManyHeaders(max)).status(), 431);
    // With a limit that allows them, none is lost.
    let limits = HeadLimits::new().max_headers(2000);
    let mut buffer = BytesMut::from(&many(2000)[..]);
    let request = RequestHeadReader::new(limits).read(&mut buffer).unwrap().unwrap();
    assert_eq!(request.headers()["upgrade"], "websocket");
}

/// websocket-driver CVE-2026-54465: the client read headers for as long as the server sent them.
#[test]
fn a_response_whose_head_never_ends_is_refused_at_the_limits() {
    let status = b"HTTP/1.1 101 Switching Protocols\r\n";
    let (lines, bytes) = (HeadLimits::DEFAULT_MAX_HEADERS, HeadLimits::DEFAULT_MAX_BYTES);
    let short = |count: usize| [&status[..], &b"A: b\r\n".repeat(count)].concat();
    assert!(read_response(&short(lines)).unwrap().is_none());
    let one_more = [&short(lines)[..], b"A"].concat();
    assert_eq!(read_response(&one_more).err(), Some(HeadError::TooManyHeaders(lines)));
    // Few lines, one of them endless.
    let long = |len: usize| [&status[..], b"A: ", &vec![b'a'; len - status.len() - 3]].concat();
    assert!(read_response(&long(bytes)).unwrap().is_none());
    assert_eq!(read_response(&long(bytes + 1)).err(), Some(HeadError::TooLarge(bytes)));
}

#[test]
fn no_flipped_bit_and_no_byte_makes_a_panic() {
    let mut refused = 0;
    for at in 0..REQUEST.len() {
        for byte in 0..=255 {
            let mut bytes = REQUEST.to_vec();
            bytes[at] = byte;
            match read_request(&bytes) {
                Ok(Some(request)) => {
                    refused += usize::from(ServerRequest::check(&request).is_err());
                }
                Ok(None) => {}
                Err(error) => assert!(
                    HandshakeError::from(error).status().is_client_error()
                        || error == HeadError::Version
                ),
            }
        }
    }
    assert!(refused > 0);
    for at in 0..RESPONSE.len() {
        for byte in 0..=255 {
            let mut bytes = RESPONSE.to_vec();
            bytes[at] = byte;
            let _ = read_response(&bytes);
        }
    }
}

#[test]
fn interim_responses_are_skipped_rfc9110_15_2() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let bytes = [&hints.repeat(8)[..], RESPONSE, b"\x81"].concat();
    let mut buffer = BytesMut::from(&bytes[..]);
    let mut reader = ResponseHeadReader::new(HeadLimits::default());
    assert_eq!(reader.read(&mut buffer).unwrap().unwrap().status(), 101);
    assert_eq!(buffer, b"\x81"[..]);
    assert_eq!(read_response(&hints.repeat(9)).err(), Some(HeadError::TooManyInterim(8)));
}

#[test]
fn a_request_is_written_with_host_first_and_customary_names() {
    let request = Request::get("http://ignored/a?b")
        .header("sec-websocket-key", "k")
        .header("host", "h")
        .header("www-x", "1")
        .header("x-a", "1")
        .header("x-a", "2")
        .body(())
        .unwrap();
    let mut bytes = BytesMut::new();
    encode_request(&request, &mut bytes);
    assert_eq!(
        bytes,
        "GET /a?b HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\nWWW-X: 1\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
    );
    assert_eq!(read_request(&bytes).unwrap().unwrap().headers(), request.headers());
}

#[test]
fn a_response_says_where_its_body_ends_whatever_its_headers_say() {
    let response = Response::builder()
        .status(200)
        .header("content-type", "text/html")
        .header("content-length", "999")
        .header("transfer-encoding", "chunked")
        .header("connection", "keep-alive")
        .body("hello")
        .unwrap();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\
        Connection: close\r\n\r\n";
    let mut bytes = BytesMut::new();
    encode_response(&response, &mut bytes);
    assert_eq!(bytes, format!("{head}hello"));
    bytes.clear();
    encode_response_to_head(&response, &mut bytes);
    assert_eq!(bytes, head);

    bytes.clear();
    encode_response(&HandshakeError::MissingUpgrade.to_response(), &mut bytes);
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    assert!(text.contains("\r\nConnection: close, Upgrade\r\n"));
    assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"));

    bytes.clear();
    encode_response(&HandshakeError::Method.to_response(), &mut bytes);
    let text = std::str::from_utf8(&bytes).unwrap();
    assert_eq!(text.matches("Connection: close\r\n").count(), 1, "{text}");

    for status in [204, 304] {
        bytes.clear();
        encode_response(&Response::builder().status(status).body("x").unwrap(), &mut bytes);
        assert!(bytes.ends_with(b"\r\nConnection: close\r\n\r\n"));
    }
    bytes.clear();
    let switching = Response::builder().status(101).header("connection", "Upgrade").body("");
    encode_response(&switching.unwrap(), &mut bytes);
    assert_eq!(bytes, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n");
}
