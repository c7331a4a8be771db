//! The client's side of the opening handshake: whatever the cuts, the same response, the same
//! verdict, the same body of a refusal and the same bytes left over; and nothing is accepted that
//! was not offered.
//!
//! Input: flags (1: subprotocols offered; 2: permessage-deflate offered; 4: a subprotocol is not
//! required; 8: small limits), two bytes for the cuts, the stream, in which `@ACCEPT@` stands for
//! the answer to the request's random key.
#![no_main]

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use tautline_frame::Compression;
use tautline_fuzz::{Input, Pieces};
use tautline_handshake::{
    BodyReader, ClientRequest, Expectation, HeadError, HeadLimits, ResponseError,
    ResponseHeadReader, WsUri, accept_key, body_framing,
};

const PLACE: &[u8] = b"@ACCEPT@";
const OFFERED: [&str; 2] = ["chat.v2", "chat"];
const BODY_LIMIT: usize = 200;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let flags = input.byte();
    let seed = input.pair();
    let (expectation, accept) = expectation(flags);
    let stream = fill_in(input.rest(), &accept);
    let limits = match flags & 8 {
        0 => HeadLimits::default(),
        _ => HeadLimits::new().max_bytes(300).max_line_bytes(60).max_headers(8),
    };
    let whole = read(limits, std::iter::once(&stream[..]));
    let cut = read(limits, Pieces::new(&stream, seed));
    let single = read(limits, Pieces::new(&stream, 0));
    for other in [cut, single] {
        assert_eq!(
            format!("{:?}", whole.head),
            format!("{:?}", other.head),
            "cuts change the head"
        );
        assert_eq!(whole.body, other.body, "cuts change the body");
        assert_eq!(whole.left, other.left, "cuts change what is left");
    }
    if let Some(Ok(response)) = &whole.head {
        check(flags, &expectation, response, &accept);
    }
});

struct Outcome {
    head: Option<Result<Response<()>, HeadError>>,
    /// Of a response other than 101.
    body: Option<Bytes>,
    /// Behind the head of a 101.
    left: Option<BytesMut>,
}

fn expectation(flags: u8) -> (Expectation, String) {
    let uri = WsUri::parse("ws://example.com/chat").expect("valid");
    let mut request = ClientRequest::new(&uri).subprotocol_required(flags & 4 == 0);
    if flags & 1 != 0 {
        request = request.subprotocols(OFFERED);
    }
    if flags & 2 != 0 {
        request = request.compression(Compression::new());
    }
    let (request, expectation) = request.build().expect("valid");
    let accept = accept_key(request.headers()["sec-websocket-key"].as_bytes());
    (expectation, accept)
}

fn fill_in(stream: &[u8], accept: &str) -> Vec<u8> {
    let Some(at) = stream.windows(PLACE.len()).position(|window| window == PLACE) else {
        return stream.to_vec();
    };
    [&stream[..at], accept.as_bytes(), &stream[at + PLACE.len()..]].concat()
}

fn read<'a>(limits: HeadLimits, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut reader = ResponseHeadReader::new(limits);
    let mut buffer = BytesMut::new();
    let mut head = None;
    let mut body: Option<BodyReader> = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if head.is_none() {
            head = reader.read(&mut buffer).transpose();
            body = match &head {
                Some(Ok(response)) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                    Some(BodyReader::new(body_framing(response), BODY_LIMIT))
                }
                _ => None,
            };
        }
        if let Some(body) = &mut body {
            let done = body.read(&mut buffer);
            assert_eq!(done, body.is_done());
        }
    }
    let switched = matches!(&head, Some(Ok(_))) && body.is_none();
    let body = body.map(BodyReader::into_bytes);
    assert!(body.as_ref().is_none_or(|body| body.len() <= BODY_LIMIT));
    Outcome { head, body, left: switched.then_some(buffer) }
}

fn check(flags: u8, expectation: &Expectation, response: &Response<()>, accept: &str) {
    match expectation.check(response) {
        Ok(agreed) => {
            assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
            let headers = response.headers();
            assert_eq!(headers.get_all("sec-websocket-accept").iter().count(), 1);
            assert_eq!(headers["sec-websocket-accept"].as_bytes().trim_ascii(), accept.as_bytes());
            match agreed.subprotocol {
                Some(chosen) => assert!(flags & 1 != 0 && OFFERED.contains(&&*chosen)),
                None => assert!(flags & 1 == 0 || flags & 4 != 0),
            }
            if let Some(compression) = agreed.compression {
                assert!(flags & 2 != 0);
                assert!((9..=15).contains(&compression.get_own_window_bits()));
                assert!((8..=15).contains(&compression.get_peer_window_bits()));
            }
        }
        Err(ResponseError::Status(status)) => assert_eq!(status, response.status()),
        Err(error) => {
            assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
            assert!(!error.to_string().is_empty());
        }
    }
}
