//! The server's side of RFC 6455 section 4.2: what it refuses, with which status, and what it answers.
#![allow(clippy::unwrap_used, reason = "a test that cannot build its input has failed")]

use http::{HeaderValue, Method, Request, StatusCode, Version};
use tautline_handshake::{
    BuildError, DeflateConfig, ExtensionError, HandshakeError, HeadError, ServerRequest,
    SubprotocolError, is_upgrade_request, text_response,
};

/// The client's request of RFC 6455 section 1.2, without its optional headers.
fn request() -> Request<()> {
    Request::get("/chat")
        .header("host", "server.example.com")
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap()
}

/// The request with all lines of `name` replaced.
fn with(name: &'static str, values: &[&[u8]]) -> Request<()> {
    let mut request = request();
    request.headers_mut().remove(name);
    for value in values {
        request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
    }
    request
}

fn check(request: Request<()>) -> Result<(), HandshakeError> {
    ServerRequest::check(request).map(|_| ())
}

#[test]
fn the_example_of_rfc6455_1_3_is_answered_as_there() {
    let request = ServerRequest::check(request()).unwrap();
    let response = request.respond().build().unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.version(), Version::HTTP_11);
    let headers: Vec<(&str, &str)> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ]
    );
}

#[test]
fn each_broken_rule_has_its_error_rfc6455_4_2_1() {
    use HandshakeError as E;
    type Row = (&'static str, &'static [&'static [u8]], Result<(), HandshakeError>);
    let rows: &[Row] = &[
        ("host", &[], Err(E::MissingHost)),
        ("host", &[b"a", b"a"], Err(E::DuplicateHost)),
        ("host", &[b""], Err(E::InvalidHost)),
        ("host", &[b"a, b"], Err(E::InvalidHost)),
        ("host", &[b"user@a"], Err(E::InvalidHost)),
        ("host", &[b"a:99999"], Err(E::InvalidHost)),
        ("host", &[b"\xff"], Err(E::InvalidHost)),
        ("host", &[b"[::1]:9001"], Ok(())),
        // Requirement 3: a list of tokens, in any case, over several lines.
        ("upgrade", &[b"WebSocket"], Ok(())),
        ("upgrade", &[b"h2c, websocket"], Ok(())),
        ("upgrade", &[b"h2c", b"websocket"], Ok(())),
        ("upgrade", &[], Err(E::MissingUpgrade)),
        ("upgrade", &[b"websocket2"], Err(E::MissingUpgrade)),
        ("upgrade", &[b"not-websocket"], Err(E::MissingUpgrade)),
        ("upgrade", &[b"\xff"], Err(E::MissingUpgrade)),
        // Requirement 4: Firefox sends `keep-alive, Upgrade`.
        ("connection", &[b"keep-alive, Upgrade"], Ok(())),
        ("connection", &[b"keep-alive", b"upgrade"], Ok(())),
        ("connection", &[], Err(E::MissingConnectionUpgrade)),
        ("connection", &[b"not-upgrade"], Err(E::MissingConnectionUpgrade)),
        ("connection", &[b"keep-alive"], Err(E::MissingConnectionUpgrade)),
        // Requirement 6: the version once, and 13.
        ("sec-websocket-version", &[], Err(E::MissingVersion)),
        ("sec-websocket-version", &[b"13", b"13"], Err(E::DuplicateVersion)),
        ("sec-websocket-version", &[b"8"], Err(E::UnsupportedVersion)),
        ("sec-websocket-version", &[b"13, 8"], Err(E::UnsupportedVersion)),
        ("sec-websocket-version", &[b"013"], Err(E::UnsupportedVersion)),
        ("sec-websocket-version", &[b"+13"], Err(E::UnsupportedVersion)),
        ("sec-websocket-version", &[b""], Err(E::UnsupportedVersion)),
        ("sec-websocket-version", &[b"\xff"], Err(E::UnsupportedVersion)),
        // Requirement 5: the key once, base64 of 16 bytes.
        ("sec-websocket-key", &[b"AQIDBAUGBwgJCgsMDQ4PEC=="], Ok(())),
        ("sec-websocket-key", &[], Err(E::MissingKey)),
        ("sec-websocket-key", &[b"a", b"a"], Err(E::DuplicateKey)),
        ("sec-websocket-key", &[b""], Err(E::InvalidKey)),
        ("sec-websocket-key", &[b"AQIDBAUGBwgJCgsMDQ4PEBE="], Err(E::InvalidKey)),
        ("sec-websocket-key", &[b"AQIDBAUGBwgJ CgsMDQ4PE=="], Err(E::InvalidKey)),
        ("sec-websocket-key", &[&[0xff; 24]], Err(E::InvalidKey)),
        // Nothing that announces a body: what follows the head are frames.
        ("content-length", &[b"0"], Ok(())),
        ("content-length", &[b"1"], Err(E::ContentLength)),
        ("content-length", &[b"+0"], Err(E::ContentLength)),
        ("content-length", &[b"0", b"0"], Err(E::ContentLength)),
        ("content-length", &[b"0, 5"], Err(E::ContentLength)),
        ("transfer-encoding", &[b"chunked"], Err(E::TransferEncoding)),
        ("transfer-encoding", &[b"identity"], Err(E::TransferEncoding)),
        ("expect", &[b"100-continue"], Err(E::Expect)),
        // Requirement 8, section 11.3.4.
        ("sec-websocket-protocol", &[b"a", b"b"], Ok(())),
        ("sec-websocket-protocol", &[b""], Err(E::Subprotocols(SubprotocolError::Empty))),
        ("sec-websocket-protocol", &[b"a,,b"], Err(E::Subprotocols(SubprotocolError::Empty))),
        ("sec-websocket-protocol", &[b"a,a"], Err(E::Subprotocols(SubprotocolError::Duplicate))),
        ("sec-websocket-protocol", &[b"\xe9"], Err(E::Subprotocols(SubprotocolError::NotAToken))),
        // Requirement 9, section 9.1.
        ("sec-websocket-extensions", &[b"a", b",b;c=\"d\""], Ok(())),
        ("sec-websocket-extensions", &[b"a;"], Err(E::Extensions(ExtensionError::ParamName))),
        ("sec-websocket-extensions", &[b"\xff"], Err(E::Extensions(ExtensionError::Name))),
        // Whether an `Origin` may connect is `OriginPolicy`'s to say.
        ("origin", &[b"null"], Ok(())),
    ];
    for (name, values, expected) in rows {
        assert_eq!(check(with(name, values)), *expected, "{name}: {values:?}");
    }
}

#[test]
fn the_method_is_get_and_the_version_http_1_1_rfc6455_4_2_1() {
    for method in [Method::POST, Method::HEAD, Method::OPTIONS, Method::CONNECT] {
        let mut request = request();
        *request.method_mut() = method;
        assert_eq!(check(request), Err(HandshakeError::Method));
    }
    for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
        let mut request = request();
        *request.version_mut() = version;
        assert_eq!(check(request), Err(HandshakeError::HttpVersion));
    }
}

/// RFC 9112 section 3.2.2: the absolute form is taken, but it may not contradict `Host`.
#[test]
fn an_absolute_target_names_the_host_rfc9112_3_2_2() {
    for (target, result) in [
        ("/chat", Ok(())),
        ("http://server.example.com/chat", Ok(())),
        ("ws://SERVER.example.com:80/chat", Ok(())),
        ("https://server.example.com:443", Ok(())),
        ("http://server.example.com:81/", Err(HandshakeError::InvalidHost)),
        ("http://other.example.com/", Err(HandshakeError::InvalidHost)),
        ("http://user@server.example.com/", Err(HandshakeError::Target)),
        ("ftp://server.example.com/", Err(HandshakeError::Target)),
        ("server.example.com:80", Err(HandshakeError::Target)),
        ("*", Err(HandshakeError::Target)),
    ] {
        let mut request = request();
        *request.uri_mut() = target.parse().unwrap();
        assert_eq!(check(request), result, "{target}");
    }
}

#[test]
fn whitespace_around_a_key_is_not_hashed() {
    let request = with("sec-websocket-key", &[b" dGhlIHNhbXBsZSBub25jZQ==\t"]);
    let response = ServerRequest::check(request).unwrap().respond().build().unwrap();
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/// ws CVE-2024-37890, Granian, webpack-dev-server: a header that was absent, or held bytes that nobody
/// expected, ended the process.
#[test]
fn any_byte_in_any_header_is_an_error_or_fine_but_never_a_panic() {
    let names: Vec<_> = with("sec-websocket-protocol", &[b"a"])
        .headers()
        .keys()
        .chain([&http::header::ORIGIN, &http::header::SEC_WEBSOCKET_EXTENSIONS])
        .cloned()
        .collect();
    for name in names {
        for byte in (0x80..=0xffu8).chain([b' ', b'\t', b'"', b',', b';', b'=']) {
            for value in [&[byte][..], &[b'a', byte], &[byte; 300]] {
                let mut request = request();
                let value = HeaderValue::from_bytes(value).unwrap();
                request.headers_mut().insert(name.clone(), value);
                let result = check(request);
                if byte >= 0x80 && name != "origin" {
                    assert!(result.is_err(), "{name} {byte:#x}");
                }
            }
        }
    }
}

#[test]
fn refusals_are_whole_responses_rfc6455_4_4_and_rfc9110_15_5() {
    use HandshakeError as E;
    for (error, status, extra) in [
        (E::Method, 405, &[("allow", "GET"), ("connection", "close")][..]),
        (E::HttpVersion, 505, &[("connection", "close")]),
        (E::MissingHost, 400, &[("connection", "close")]),
        (E::ContentLength, 400, &[]),
        (E::TransferEncoding, 400, &[]),
        (E::Expect, 417, &[]),
        (
            E::MissingUpgrade,
            426,
            &[
                ("upgrade", "websocket"),
                ("connection", "close, Upgrade"),
                ("sec-websocket-version", "13"),
            ],
        ),
        (E::UnsupportedVersion, 426, &[("sec-websocket-version", "13"), ("upgrade", "websocket")]),
        (E::InvalidKey, 400, &[]),
        (E::Subprotocols(SubprotocolError::Duplicate), 400, &[]),
        (E::Extensions(ExtensionError::UnclosedQuote), 400, &[]),
        (E::OriginNotAllowed, 403, &[]),
        (E::DuplicateOrigin, 403, &[]),
        (E::TimedOut, 408, &[("connection", "close")]),
        (E::Head(HeadError::LineTooLong(9)), 414, &[]),
        (E::Head(HeadError::TooLarge(9)), 431, &[]),
        (E::Head(HeadError::TooManyHeaders(9)), 431, &[]),
        (E::Head(HeadError::Version), 505, &[]),
        (E::Head(HeadError::Tls), 400, &[]),
    ] {
        let response = error.to_response();
        assert_eq!(response.status(), status, "{error:?}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["content-length"], response.body().len().to_string());
        assert_eq!(response.body(), &format!("{error}\n"));
        for (name, value) in extra {
            assert_eq!(response.headers()[*name], value, "{error:?}");
        }
        assert_eq!(response.headers().contains_key("allow"), status == 405, "{error:?}");
    }
    let busy = text_response(StatusCode::SERVICE_UNAVAILABLE, "try later");
    assert_eq!(busy.headers()["content-length"], "9");
}

#[test]
fn the_servers_preference_decides_among_the_offers_rfc6455_4_2_2() {
    let request = with("sec-websocket-protocol", &[b"a, b", b"constructor"]);
    let request = ServerRequest::check(request).unwrap();
    assert_eq!(request.subprotocols(), ["a", "b", "constructor"]);
    for (preferred, chosen) in [
        (&["b", "a"][..], Some("b")),
        (&["x", "a"], Some("a")),
        (&["A", "__proto__"], None),
        (&["constructor"], Some("constructor")),
        (&[], None),
    ] {
        assert_eq!(request.select_subprotocol(preferred), chosen, "{preferred:?}");
    }
}

#[test]
fn a_response_chooses_only_what_was_offered_rfc6455_4_2_2() {
    let mut plain = with("sec-websocket-protocol", &[b"a, b"]);
    let request = ServerRequest::check(plain.clone()).unwrap();
    let response = request.respond().subprotocol("b").build().unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "b");
    for name in ["c", "B", "a, b", "", "a\r\nX: y"] {
        let result = request.respond().subprotocol(name).build();
        assert_eq!(result.err(), Some(BuildError::SubprotocolNotOffered), "{name:?}");
    }

    let config = DeflateConfig::new();
    assert_eq!(request.negotiate_deflate(&config), None);
    let offer = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
    plain.headers_mut().insert("sec-websocket-extensions", offer);
    let offering = ServerRequest::check(plain).unwrap();
    assert_eq!(offering.extensions().len(), 1);
    let params = offering.negotiate_deflate(&config.client_max_window_bits(10)).unwrap();
    let response = offering.respond().deflate(params).build().unwrap();
    assert_eq!(
        response.headers()["sec-websocket-extensions"],
        "permessage-deflate; client_max_window_bits=10"
    );
    let result = request.respond().deflate(params).build();
    assert_eq!(result.err(), Some(BuildError::DeflateNotOffered));
}

/// RFC 7692 section 5.1: a server that does not take up an offer leaves it out of its answer. Browsers
/// offer in every request, and set RSV1 as soon as the answer names the extension.
#[test]
fn an_offer_that_is_not_taken_up_is_not_in_the_answer_rfc7692_5_1() {
    for offer in [&b"permessage-deflate; client_max_window_bits"[..], b"x-unknown; a=1"] {
        let request = ServerRequest::check(with("sec-websocket-extensions", &[offer])).unwrap();
        assert_eq!(request.extensions().len(), 1);
        let response = request.respond().build().unwrap();
        assert!(!response.headers().contains_key("sec-websocket-extensions"));
    }
}

/// undici CVE-2026-1527 and others: line breaks in what the application passes on became headers.
#[test]
fn a_response_takes_no_reserved_and_no_broken_header() {
    let request = ServerRequest::check(request()).unwrap();
    let response = request.respond().header("set-cookie", "a=1").header("set-cookie", "b=2");
    let response = response.build().unwrap();
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    for (name, value, error) in [
        ("X", "a\r\nb", BuildError::HeaderValue),
        ("X", "a\0", BuildError::HeaderValue),
        ("X\r\nY", "a", BuildError::HeaderName),
        ("X Y", "a", BuildError::HeaderName),
        ("", "a", BuildError::HeaderName),
        ("sec-websocket-accept", "a", BuildError::ReservedHeader("Sec-WebSocket-Accept")),
        ("Sec-WebSocket-Protocol", "a", BuildError::ReservedHeader("Sec-WebSocket-Protocol")),
        ("Sec-WebSocket-Extensions", "a", BuildError::ReservedHeader("Sec-WebSocket-Extensions")),
        ("Upgrade", "h2c", BuildError::ReservedHeader("Upgrade")),
        ("Connection", "close", BuildError::ReservedHeader("Connection")),
        ("Content-Length", "0", BuildError::ReservedHeader("Content-Length")),
        ("Transfer-Encoding", "chunked", BuildError::ReservedHeader("Transfer-Encoding")),
    ] {
        let result = request.respond().header(name, value).header("ok", "ok").build();
        assert_eq!(result.err(), Some(error), "{name:?}: {value:?}");
    }
}

#[test]
fn plain_requests_are_told_apart() {
    assert!(is_upgrade_request(&request()));
    assert!(!is_upgrade_request(&with("upgrade", &[])));
    assert!(!is_upgrade_request(&with("connection", &[b"keep-alive"])));
    assert!(is_upgrade_request(&with("sec-websocket-key", &[]))); // asks, though it will not pass
}
