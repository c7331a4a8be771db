//! The server's side of the opening handshake: whatever the cuts, the same request, the same
//! refusal and the same bytes left over; a refusal has a whole response with its status, and an
//! acceptance one that a client takes. The same over HTTP/2.
//!
//! Input: flags (1: small limits), two bytes for the cuts, the stream.
#![no_main]

use bytes::BytesMut;
use http::{Method, Request, Response, StatusCode, Version};
use libfuzzer_sys::fuzz_target;
use tautline_frame::Compression;
use tautline_fuzz::{Input, Pieces};
use tautline_handshake::{
    BodyFraming, ConnectProtocol, HandshakeError, HeadError, HeadLimits, OriginPolicy,
    RequestHeadReader, ResponseHeadReader, ServerRequest, accept_key, body_framing, encode_request,
    encode_response, is_upgrade_request,
};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let flags = input.byte();
    let seed = input.pair();
    let stream = input.rest();
    let limits = match flags & 1 {
        0 => HeadLimits::default(),
        _ => HeadLimits::new().max_bytes(300).max_line_bytes(60).max_headers(8),
    };
    let whole = read(limits, std::iter::once(stream));
    let cut = read(limits, Pieces::new(stream, seed));
    let single = read(limits, Pieces::new(stream, 0));
    for other in [cut, single] {
        assert_eq!(format!("{:?}", whole.0), format!("{:?}", other.0), "cuts change the outcome");
        assert_eq!(whole.1, other.1, "cuts change what is left");
    }
    match whole.0 {
        Some(Ok(request)) => {
            assert!(stream.len() - whole.1.len() <= limits.get_max_bytes() + EMPTY_LINE);
            assert!(request.headers().len() <= limits.get_max_headers());
            encode_again(&request);
            check(&request);
            check_connect(request);
        }
        Some(Err(error)) => refuse(HandshakeError::Head(error)),
        None => {
            assert!(
                stream.len() < limits.get_max_bytes() + EMPTY_LINE,
                "an endless head is refused"
            );
        }
    }
});

/// What may come ahead of a request (RFC 9112 section 2.2).
const EMPTY_LINE: usize = 2;

type Outcome = (Option<Result<Request<()>, HeadError>>, Vec<u8>);

/// The outcome, and what is left of the stream behind the head; nothing is left after an error.
fn read<'a>(limits: HeadLimits, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut reader = RequestHeadReader::new(limits);
    let mut buffer = BytesMut::new();
    let mut outcome = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if outcome.is_none() {
            outcome = reader.read(&mut buffer).transpose();
        }
    }
    let left = if matches!(outcome, Some(Ok(_))) { buffer.to_vec() } else { Vec::new() };
    (outcome, left)
}

/// A request in origin form is written as it was read.
fn encode_again(request: &Request<()>) {
    if request.uri().scheme().is_some() || !request.uri().path().starts_with('/') {
        return;
    }
    let mut wire = BytesMut::new();
    encode_request(request, &mut wire);
    let limits =
        HeadLimits::new().max_bytes(1 << 20).max_line_bytes(1 << 20).max_headers(usize::MAX);
    let again = RequestHeadReader::new(limits).read(&mut wire);
    let again = again.expect("what was read can be written").expect("and is complete");
    assert_eq!(again.method(), request.method());
    assert_eq!(again.uri(), request.uri());
    assert_eq!(again.headers(), request.headers());
    assert!(wire.is_empty());
}

fn check(request: &Request<()>) {
    let upgrade = is_upgrade_request(request);
    let checked = match ServerRequest::check(request) {
        Ok(checked) => checked,
        Err(error) => return refuse(error),
    };
    assert!(upgrade, "only what asks is accepted");
    let _ = OriginPolicy::SameOrigin.allows(request.headers(), checked.authority());
    let key = request.headers()["sec-websocket-key"].as_bytes();
    let accept = accept_key(key.trim_ascii());
    let offered = checked.offer().subprotocols();
    let preferred = offered.last().copied();
    let wish = Compression::new();
    let (response, agreed) = checked.accept(preferred.as_slice(), Some(&wish));
    assert_eq!(agreed.subprotocol.as_deref(), preferred);
    if let Some(agreed) = agreed.compression {
        assert!((9..=15).contains(&agreed.get_own_window_bits()));
        assert!((8..=15).contains(&agreed.get_peer_window_bits()));
    }
    let mut built = checked.respond().compression(wish);
    if let Some(name) = preferred {
        built = built.subprotocol(name);
    }
    let built = built.build().expect("what was offered may be accepted");
    assert_eq!(built.0.headers(), response.headers(), "both ways to answer say the same");
    assert!(built.1 == agreed, "both ways to answer say the same");
    let response = response.map(|()| "");
    let read = write_and_read(&response);
    assert_eq!(read.0.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(read.0.headers()["sec-websocket-accept"], accept.as_str());
    assert_eq!(read.0.headers().contains_key("sec-websocket-protocol"), preferred.is_some());
    assert_eq!(
        read.0.headers().contains_key("sec-websocket-extensions"),
        agreed.compression.is_some()
    );
    assert!(read.1.is_empty(), "frames follow at once");
}

/// The same headers in an extended CONNECT of HTTP/2 (RFC 8441 section 5), those of a connection
/// aside: either answer is one that may be sent there.
fn check_connect(mut request: Request<()>) {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("https://example.com{path}").parse() else { return };
    *request.uri_mut() = uri;
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    request.extensions_mut().insert(ConnectProtocol::WEBSOCKET);
    for name in ["host", "connection", "upgrade"] {
        request.headers_mut().remove(name);
    }
    let headers = match ServerRequest::check(&request) {
        Ok(checked) => {
            let (response, _) =
                checked.accept(checked.offer().subprotocols(), Some(&Compression::new()));
            assert_eq!(response.status(), StatusCode::OK);
            assert!(!response.headers().contains_key("sec-websocket-accept"));
            response.headers().clone()
        }
        Err(error) => {
            let response = error.to_response();
            assert_ne!(response.status(), StatusCode::UPGRADE_REQUIRED, "of HTTP/1.1 alone");
            assert!(response.status().is_client_error() || response.status().is_server_error());
            response.headers().clone()
        }
    };
    assert!(!headers.contains_key("connection") && !headers.contains_key("upgrade"));
}

fn refuse(error: HandshakeError) {
    let response = error.to_response();
    assert_eq!(response.status(), error.status());
    assert!(response.status().is_client_error() || response.status().is_server_error());
    let (read, body) = write_and_read(&response);
    let connection = read.headers()["connection"].to_str().expect("ASCII");
    assert!(connection.split(", ").any(|member| member == "close"), "{connection}");
    assert_eq!(body_framing(&read), BodyFraming::Length(body.len() as u64));
    let text = match std::error::Error::source(&error) {
        Some(source) => format!("{source}\n"),
        None => format!("{error}\n"),
    };
    assert_eq!(body, text.as_bytes());
}

fn write_and_read<B: AsRef<[u8]>>(response: &Response<B>) -> (Response<()>, BytesMut) {
    let mut wire = BytesMut::new();
    encode_response(response, &mut wire);
    let limits =
        HeadLimits::new().max_bytes(1 << 20).max_line_bytes(1 << 20).max_headers(usize::MAX);
    let read = ResponseHeadReader::new(limits).read(&mut wire);
    (read.expect("what is written can be read").expect("and is complete"), wire)
}
