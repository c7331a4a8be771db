//! The bodies of HTTP/1.1 responses (RFC 9112 sections 6 and 7): where they end, and how much of
//! them is kept.

use bytes::{Bytes, BytesMut};
use http::Response;
use tautline_handshake::{BodyFraming, BodyReader, body_framing};

#[test]
fn the_framing_of_a_body_rfc9112_6_3() {
    for (status, headers, framing) in [
        (200, &[][..], BodyFraming::UntilClose),
        (403, &[("content-length", "12")], BodyFraming::Length(12)),
        (403, &[("content-length", "12, 12")], BodyFraming::Length(12)),
        (403, &[("content-length", "12"), ("content-length", "13")], BodyFraming::None),
        (403, &[("content-length", "+1")], BodyFraming::None),
        (403, &[("content-length", "")], BodyFraming::None),
        (403, &[("content-length", " , ")], BodyFraming::None),
        (403, &[("content-length", "99999999999999999999")], BodyFraming::None),
        (403, &[("transfer-encoding", "gzip, Chunked")], BodyFraming::Chunked),
        (403, &[("transfer-encoding", "chunked"), ("content-length", "1")], BodyFraming::Chunked),
        (403, &[("transfer-encoding", "gzip")], BodyFraming::UntilClose),
        (204, &[("content-length", "12")], BodyFraming::None),
        (304, &[("content-length", "12")], BodyFraming::None),
        (101, &[], BodyFraming::None),
    ] {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        assert_eq!(body_framing(&response.body(()).unwrap()), framing, "{status} {headers:?}");
    }
}

/// Reads a body all at once, then byte by byte: `(done, body)` must be the same.
fn read_body(framing: BodyFraming, limit: usize, bytes: &[u8]) -> (bool, Bytes) {
    let mut whole = BodyReader::new(framing, limit);
    let done = whole.read(&mut BytesMut::from(bytes));
    let mut pieces = BodyReader::new(framing, limit);
    let mut buffer = BytesMut::new();
    for &byte in bytes {
        buffer.extend_from_slice(&[byte]);
        pieces.read(&mut buffer);
    }
    assert_eq!(pieces.is_done(), done);
    let body = whole.into_bytes();
    assert_eq!(pieces.into_bytes(), body);
    (done, body)
}

#[test]
fn bodies_are_collected_up_to_their_limit_rfc9112_6_and_7() {
    use BodyFraming::{Chunked, Length, None, UntilClose};
    let long_line = [b"1;".as_slice(), &[b'a'; 300], b"\r\nx\r\n0\r\n\r\n"].concat();
    for (framing, limit, bytes, done, body) in [
        (None, 9, &b"abc"[..], true, ""),
        (Length(0), 9, b"abc", true, ""),
        (Length(3), 9, b"abcdef", true, "abc"),
        (Length(3), 9, b"ab", false, "ab"),
        (Length(u64::MAX), 4, b"abcdef", true, "abcd"),
        (UntilClose, 9, b"abc", false, "abc"),
        (UntilClose, 2, b"abc", true, "ab"),
        (UntilClose, 0, b"abc", true, ""),
        (
            Chunked,
            99,
            b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
            true,
            "abc0123456789",
        ),
        (Chunked, 99, b"3\r\nabc\r\n0\r\n", false, "abc"),
        (Chunked, 2, b"3\r\nabc\r\n0\r\n\r\n", true, "ab"),
        (Chunked, 99, b"3\r\nabcd\r\n0\r\n\r\n", true, "abc"),
        (Chunked, 99, b"x\r\n", true, ""),
        (Chunked, 99, b"\r\n", true, ""),
        (Chunked, 99, b"-1\r\n", true, ""),
        (Chunked, 99, b"1\nx", true, ""),
        (Chunked, 99, b"ffffffffffffffffff\r\n", true, ""),
        (Chunked, 99, b"ffffffffffffffff\r\nab", false, "ab"),
        (Chunked, 99, &long_line, true, ""),
    ] {
        let result = read_body(framing, limit, bytes);
        assert_eq!(result, (done, Bytes::from(body)), "{framing:?} {}", bytes.escape_ascii());
    }
    let trailers = [&b"0\r\n"[..], &b"T: v\r\n".repeat(33)].concat();
    assert_eq!(read_body(Chunked, 9, &trailers), (true, Bytes::new()));
}
