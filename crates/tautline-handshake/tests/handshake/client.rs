//! The client's side of RFC 6455 section 4.1: the request it sends, and the responses it refuses.

#[cfg(feature = "http1")]
use bytes::BytesMut;
use http::{HeaderName, Response, StatusCode, Version};
use tautline_frame::Compression;
use tautline_handshake::{
    BuildError, ClientRequest, DeflateError, Expectation, ExtensionError, Headers, ResponseError,
    ServerRequest, SubprotocolError, accept_key,
};
#[cfg(feature = "http1")]
use tautline_handshake::{HeadLimits, RequestHeadReader, encode_request};

use crate::support::{client, lines, set};

/// A request and the response that accepts it.
fn exchange(client: ClientRequest<'_>) -> (Expectation, Response<()>) {
    let (request, expectation) = client.build().unwrap();
    let (response, _) = ServerRequest::check(&request).unwrap().accept::<&str>(&[], None);
    (expectation, response)
}

/// Settings that add no parameter to the offer.
const PLAIN: Compression = Compression::new().own_context_takeover(true);

/// A request as `encode` writes it, and as `encode_request` writes what `build` returns, without the
/// keys, which are fresh ones.
#[cfg(feature = "http1")]
fn encoded(client: ClientRequest<'_>) -> [String; 2] {
    let (built, _) = client.clone().build().unwrap();
    let [mut one, mut other] = [BytesMut::new(), BytesMut::new()];
    let expectation = client.encode(&mut one).unwrap();
    encode_request(&built, &mut other);
    let texts = [&one, &other].map(|wire| {
        let text = String::from_utf8(wire.to_vec()).unwrap();
        let (before, key) = text.split_once("Sec-WebSocket-Key: ").unwrap();
        format!("{before}{}", &key[24..])
    });
    let request = RequestHeadReader::new(HeadLimits::default()).read(&mut one).unwrap().unwrap();
    let (response, _) = ServerRequest::check(&request).unwrap().accept(&["b"], Some(&PLAIN));
    expectation.check(&response).unwrap();
    texts
}

#[test]
#[cfg(feature = "http1")]
fn what_is_encoded_at_once_is_what_is_built_and_then_encoded() {
    let headers =
        |lines: &[(&'static str, &'static str)]| Headers::from_iter(lines.iter().copied());
    let plain = || client("ws://example.com/chat?a=b");
    for request in [
        plain(),
        client("ws://[::1]:9001"),
        client("wss://user:pw@example.com:444/"),
        client("wss://user:pw@example.com").headers(headers(&[("authorization", "Bearer 3f2a")])),
        plain().headers(headers(&[("x-tag", "1"), ("host", "other:81"), ("X-Tag", "2")])),
        plain().headers(headers(&[("origin", "http://a"), ("cookie", "a=1"), ("cookie", "b=2")])),
        plain().subprotocols(["a", "b"]).compression(PLAIN),
    ] {
        let [at_once, in_two_steps] = encoded(request);
        assert_eq!(at_once, in_two_steps);
    }
    for (request, error) in [
        (plain().headers(headers(&[("upgrade", "h2c")])), BuildError::ReservedHeader("Upgrade")),
        (plain().headers(headers(&[("host", "a b")])), BuildError::Host),
        (plain().subprotocols(["a", "a"]), BuildError::Subprotocols(SubprotocolError::Duplicate)),
    ] {
        let mut wire = BytesMut::new();
        assert_eq!(request.clone().encode(&mut wire).unwrap_err(), error);
        assert_eq!(request.build().unwrap_err(), error);
        assert!(wire.is_empty());
    }
}

#[test]
fn the_request_has_what_rfc6455_4_1_demands() {
    let (request, _) = client("wss://user:pw@example.com:444/a?b")
        .headers(Headers::from_iter([("User-Agent", "x")]))
        .subprotocols(["a", "b"])
        .compression(PLAIN)
        .build()
        .unwrap();
    assert_eq!((request.method().as_str(), request.version()), ("GET", Version::HTTP_11));
    assert_eq!(request.uri(), "/a?b");
    let key = request.headers()["sec-websocket-key"].to_str().unwrap().to_owned();
    assert_eq!(
        lines(request.headers()),
        [
            ("host", "example.com:444"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", &key),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "a, b"),
            ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
            ("user-agent", "x"),
            ("authorization", "Basic dXNlcjpwdw=="),
        ]
    );
}

#[test]
fn every_request_has_a_fresh_key_rfc6455_4_1() {
    let client = client("ws://h/");
    let (first, _) = client.clone().build().unwrap();
    let (second, _) = client.build().unwrap();
    let key = |request: &http::Request<()>| request.headers()["sec-websocket-key"].clone();
    assert_ne!(key(&first), key(&second));
}

#[test]
fn host_and_authorization_replace_the_uris() {
    let (request, _) = client("ws://user:pw@127.0.0.1:9001/")
        .headers(Headers::from_iter([("Authorization", "Bearer t"), ("Host", "example.com")]))
        .build()
        .unwrap();
    assert_eq!(request.headers()["host"], "example.com");
    assert_eq!(request.headers().get_all("host").iter().count(), 1);
    assert_eq!(request.headers()["authorization"], "Bearer t");
    assert_eq!(request.headers().get_all("authorization").iter().count(), 1);

    let twice = client("ws://h/").headers(Headers::from_iter([("Host", "a"), ("Host", "b")]));
    assert_eq!(twice.build().err(), Some(BuildError::Host));
    for host in ["", "a b", "a/b", "u@a", "a:0"] {
        let broken = client("ws://h/").headers(Headers::from_iter([("Host", host)])).build();
        assert_eq!(broken.err(), Some(BuildError::Host));
    }
}

/// undici CVE-2026-1527, sockudo #78: line breaks in values from the application became headers.
#[test]
fn a_request_takes_no_reserved_and_no_broken_header() {
    const X: HeaderName = HeaderName::from_static("x");
    for (name, value, error) in [
        ("X", "a\r\nb: c", BuildError::HeaderValue(X)),
        ("X", "a\nb", BuildError::HeaderValue(X)),
        ("X", "a\0", BuildError::HeaderValue(X)),
        ("X: y\r\nZ", "a", BuildError::HeaderName("X".to_owned())),
        ("Sec-WebSocket-Key", "a", BuildError::ReservedHeader("Sec-WebSocket-Key")),
        ("Sec-WebSocket-Version", "8", BuildError::ReservedHeader("Sec-WebSocket-Version")),
        ("Sec-WebSocket-Accept", "a", BuildError::ReservedHeader("Sec-WebSocket-Accept")),
        ("sec-websocket-protocol", "a", BuildError::ReservedHeader("Sec-WebSocket-Protocol")),
        ("SEC-WEBSOCKET-EXTENSIONS", "a", BuildError::ReservedHeader("Sec-WebSocket-Extensions")),
        ("upgrade", "h2c", BuildError::ReservedHeader("Upgrade")),
        ("connection", "close", BuildError::ReservedHeader("Connection")),
        ("content-length", "5", BuildError::ReservedHeader("Content-Length")),
        ("transfer-encoding", "chunked", BuildError::ReservedHeader("Transfer-Encoding")),
        ("expect", "100-continue", BuildError::ReservedHeader("Expect")),
    ] {
        let result = client("ws://h/").headers(Headers::from_iter([(name, value)])).build();
        assert_eq!(result.err(), Some(error), "{name:?}: {value:?}");
    }
}

/// `subprotocols` of `tautline::Client` replaced what was set before, and that of a request added
/// to it.
#[test]
fn subprotocols_replace_what_was_set_before() {
    let (request, _) = client("ws://h/").subprotocols(["a"]).subprotocols(["b"]).build().unwrap();
    assert_eq!(request.headers()["sec-websocket-protocol"], "b");
}

#[test]
fn offered_subprotocols_are_tokens_and_unique_rfc6455_4_1() {
    for (names, error) in [
        (&["a", "a"][..], SubprotocolError::Duplicate),
        (&[""], SubprotocolError::Empty),
        (&["a,b"], SubprotocolError::NotAToken),
        (&["a\r\nX: y"], SubprotocolError::NotAToken),
        (&["é"], SubprotocolError::NotAToken),
    ] {
        let result = client("ws://h/").subprotocols(names.iter().copied()).build();
        assert_eq!(result.err(), Some(BuildError::Subprotocols(error)), "{names:?}");
    }
}

/// Envoy CVE-2024-23326 took a 200 with `Upgrade` for success.
#[test]
fn only_101_switches_protocols_rfc6455_4_1() {
    let (expectation, mut response) = exchange(client("ws://h/"));
    for code in [100, 102, 200, 204, 301, 307, 400, 401, 407, 426, 503] {
        let status = StatusCode::from_u16(code).unwrap();
        *response.status_mut() = status;
        assert_eq!(expectation.check(&response), Err(ResponseError::Status(status)));
    }
}

#[test]
fn only_http_1_1_switches_protocols_rfc9110_7_8() {
    let (expectation, mut response) = exchange(client("ws://h/"));
    *response.version_mut() = Version::HTTP_10;
    assert_eq!(expectation.check(&response), Err(ResponseError::HttpVersion));
}

#[test]
fn each_broken_rule_has_its_error_rfc6455_4_1() {
    use ResponseError as E;
    type Row = (&'static str, &'static [&'static [u8]], Result<(), ResponseError>);
    let rows: &[Row] = &[
        ("upgrade", &[b"WEBSOCKET"], Ok(())),
        ("upgrade", &[], Err(E::Upgrade)),
        ("upgrade", &[b"h2c"], Err(E::Upgrade)),
        ("upgrade", &[b"websocket, h2c"], Err(E::Upgrade)),
        ("upgrade", &[b"websocket", b"websocket"], Err(E::Upgrade)),
        ("upgrade", &[b"\xff"], Err(E::Upgrade)),
        ("connection", &[b"keep-alive, upgrade"], Ok(())),
        ("connection", &[], Err(E::Connection)),
        ("connection", &[b"not-upgrade"], Err(E::Connection)),
        ("sec-websocket-accept", &[], Err(E::MissingAccept)),
        ("sec-websocket-accept", &[b""], Err(E::WrongAccept)),
        ("sec-websocket-accept", &[b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], Err(E::WrongAccept)),
        ("sec-websocket-accept", &[b"a", b"a"], Err(E::DuplicateAccept)),
        ("sec-websocket-accept", &[b"\xff"], Err(E::WrongAccept)),
        ("sec-websocket-protocol", &[b"a"], Err(E::SubprotocolNotOffered)),
        ("sec-websocket-protocol", &[b""], Err(E::SubprotocolNotOffered)),
        ("sec-websocket-protocol", &[b"a", b"a"], Err(E::DuplicateSubprotocol)),
        ("sec-websocket-extensions", &[b"permessage-deflate"], Err(E::ExtensionNotOffered)),
        ("sec-websocket-extensions", &[b"\xff"], Err(E::Extensions(ExtensionError::Name))),
        ("sec-websocket-extensions", &[b""], Err(E::Extensions(ExtensionError::Empty))),
        // RFC 9110 section 5.6.1.2: empty elements of a list are ignored.
        ("upgrade", &[b", websocket,"], Ok(())),
        ("connection", &[b",, upgrade ,"], Ok(())),
    ];
    let (expectation, accepting) = exchange(client("ws://h/"));
    for (name, values, expected) in rows {
        let mut response = accepting.clone();
        set(response.headers_mut(), name, values);
        assert_eq!(expectation.check(&response).map(|_| ()), *expected, "{name}: {values:?}");
    }
}

#[test]
fn accept_is_compared_exactly_after_trimming_rfc6455_4_1() {
    let (request, expectation) = client("ws://h/").build().unwrap();
    let accept = accept_key(request.headers()["sec-websocket-key"].as_bytes());
    let (_, mut response) = exchange(client("ws://h/"));
    assert_eq!(expectation.check(&response), Err(ResponseError::WrongAccept)); // of another key
    for (value, right) in [
        (accept.clone(), true),
        (format!(" \t{accept} "), true),
        (accept.to_lowercase(), false),
        (accept.trim_end_matches('=').to_owned(), false),
        (format!("{accept}="), false),
        (format!("{accept}, {accept}"), false),
    ] {
        set(response.headers_mut(), "sec-websocket-accept", &[value.as_bytes()]);
        assert_eq!(expectation.check(&response).is_ok(), right, "{value:?}");
    }
}

#[test]
fn the_chosen_subprotocol_is_one_of_the_offered_rfc6455_4_1() {
    let (expectation, accepting) = exchange(client("ws://h/").subprotocols(["a", "__proto__"]));
    for (values, expected) in [
        (&[&b"a"[..]][..], Ok(Some("a".to_owned()))),
        (&[b" __proto__ "], Ok(Some("__proto__".to_owned()))),
        (&[], Err(ResponseError::MissingSubprotocol)),
        (&[b"A"], Err(ResponseError::SubprotocolNotOffered)),
        (&[b"a, __proto__"], Err(ResponseError::SubprotocolNotOffered)),
        (&[b"constructor"], Err(ResponseError::SubprotocolNotOffered)),
        (&[b"\xff"], Err(ResponseError::SubprotocolNotOffered)),
        (&[b"a", b"__proto__"], Err(ResponseError::DuplicateSubprotocol)),
    ] {
        let mut response = accepting.clone();
        set(response.headers_mut(), "sec-websocket-protocol", values);
        let result = expectation.check(&response).map(|accepted| accepted.subprotocol);
        assert_eq!(result, expected, "{values:?}");
    }
    let lenient = client("ws://h/").subprotocols(["a"]).subprotocol_required(false);
    let (expectation, response) = exchange(lenient);
    assert_eq!(expectation.check(&response).unwrap().subprotocol, None);
}

#[test]
fn an_extension_that_was_not_offered_fails_rfc6455_9_1_and_rfc7692_7_1() {
    let (expectation, accepting) = exchange(client("ws://h/").compression(PLAIN));
    let check = |values: &[&[u8]]| {
        let mut response = accepting.clone();
        set(response.headers_mut(), "sec-websocket-extensions", values);
        expectation.check(&response).map(|agreed| agreed.compression)
    };
    assert_eq!(check(&[]), Ok(None));
    let agreed = check(&[b"permessage-deflate; client_max_window_bits=12"]).unwrap();
    assert_eq!(agreed, Some(PLAIN.own_window_bits(12)));
    for (values, error) in [
        (&[&b"x"[..]][..], ResponseError::ExtensionNotOffered),
        (&[b"permessage-deflate, x"], ResponseError::ExtensionNotOffered),
        (&[b"constructor"], ResponseError::ExtensionNotOffered),
        (&[b"permessage-deflate, permessage-deflate"], ResponseError::DuplicateExtension),
        (&[b"permessage-deflate", b"permessage-deflate"], ResponseError::DuplicateExtension),
        (
            &[b"permessage-deflate; server_max_window_bits=1000"],
            ResponseError::Deflate(DeflateError::Value),
        ),
        (&[b"permessage-deflate; x"], ResponseError::Deflate(DeflateError::UnknownParameter)),
        (&[b"permessage-deflate;"], ResponseError::Extensions(ExtensionError::ParamName)),
    ] {
        assert_eq!(check(values), Err(error), "{values:?}");
    }
}

#[test]
fn any_byte_in_any_header_is_never_a_panic() {
    let (expectation, accepting) =
        exchange(client("ws://h/").compression(PLAIN).subprotocols(["a"]));
    for name in [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
    ] {
        for byte in 0x80..=0xff {
            let mut response = accepting.clone();
            set(response.headers_mut(), "sec-websocket-protocol", &[b"a"]);
            assert!(expectation.check(&response).is_ok());
            set(response.headers_mut(), name, &[&[byte]]);
            assert!(expectation.check(&response).is_err(), "{name} {byte:#x}");
        }
    }
}
