//! The server's side of RFC 6455 section 4.2: what it refuses, with which status, and what it
//! answers.

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use tautline_frame::Compression;
use tautline_handshake::{
    BuildError, ExtensionError, HandshakeError, HeadError, Headers, OriginPolicy, ServerRequest,
    SubprotocolError, is_upgrade_request, text_response,
};

use crate::support::{lines, set};

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
    set(request.headers_mut(), name, values);
    request
}

fn check(request: &Request<()>) -> Result<(), HandshakeError> {
    ServerRequest::check(request).map(|_| ())
}

#[test]
fn the_example_of_rfc6455_1_3_is_answered_as_there() {
    let request = request();
    let request = ServerRequest::check(&request).unwrap();
    let (response, _) = request.accept::<&str>(&[], None);
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.version(), Version::HTTP_11);
    assert_eq!(
        lines(response.headers()),
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
        // RFC 9110 sections 5.3 and 7.8: several lines are one list of protocols, of which a server
        // may choose.
        ("upgrade", &[b"h2c", b"websocket"], Ok(())),
        ("upgrade", &[b"websocket", b"websocket"], Ok(())),
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
        // Nothing that announces a body: what follows the head is frames.
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
        // RFC 9110 section 5.6.1.2: empty elements of a list are ignored.
        ("sec-websocket-protocol", &[b"chat, "], Ok(())),
        ("sec-websocket-protocol", &[b"a,,b", b""], Ok(())),
        ("sec-websocket-extensions", &[b"a, ", b""], Ok(())),
        ("upgrade", &[b", websocket,,"], Ok(())),
        ("connection", &[b",upgrade, "], Ok(())),
        ("sec-websocket-protocol", &[b"a,a"], Err(E::Subprotocols(SubprotocolError::Duplicate))),
        ("sec-websocket-protocol", &[b"\xe9"], Err(E::Subprotocols(SubprotocolError::NotAToken))),
        // Requirement 9, section 9.1.
        ("sec-websocket-extensions", &[b"a", b",b;c=\"d\""], Ok(())),
        ("sec-websocket-extensions", &[b"a;"], Err(E::Extensions(ExtensionError::ParamName))),
        ("sec-websocket-extensions", &[b"\xff"], Err(E::Extensions(ExtensionError::Name))),
        // `OriginPolicy` decides whether an `Origin` may connect.
        ("origin", &[b"null"], Ok(())),
    ];
    for (name, values, expected) in rows {
        assert_eq!(check(&with(name, values)), *expected, "{name}: {values:?}");
    }
}

#[test]
fn the_method_is_get_and_the_version_http_1_1_rfc6455_4_2_1() {
    for method in [Method::POST, Method::HEAD, Method::OPTIONS, Method::CONNECT] {
        let mut request = request();
        *request.method_mut() = method;
        assert_eq!(check(&request), Err(HandshakeError::Method));
    }
    for version in [Version::HTTP_09, Version::HTTP_10] {
        let mut request = request();
        *request.version_mut() = version;
        assert_eq!(check(&request), Err(HandshakeError::HttpVersion));
    }
}

/// RFC 9112 section 3.2.2: a server must accept the absolute form, and must ignore `Host` in favour
/// of it. The origin is compared with the host that counts: a page of the ignored name may not
/// connect.
#[test]
fn an_absolute_target_names_the_host_rfc9112_3_2_2() {
    for (target, result) in [
        ("/chat", Ok("server.example.com")),
        ("http://server.example.com/chat", Ok("server.example.com")),
        ("ws://SERVER.example.com:80/chat", Ok("SERVER.example.com:80")),
        ("https://server.example.com:443", Ok("server.example.com:443")),
        ("http://server.example.com:81/", Ok("server.example.com:81")),
        ("http://other.example.com/", Ok("other.example.com")),
        // RFC 9110 section 4.2.4
        ("http://user@server.example.com/", Err(HandshakeError::Target)),
        ("ftp://server.example.com/", Err(HandshakeError::Target)),
        ("server.example.com:80", Err(HandshakeError::Target)),
        ("*", Err(HandshakeError::Target)),
    ] {
        let mut request = request();
        *request.uri_mut() = target.parse().unwrap();
        let authority = ServerRequest::check(&request).map(|checked| checked.authority());
        assert_eq!(authority, result, "{target}");
    }
    let mut other = with("origin", &[b"http://server.example.com"]);
    *other.uri_mut() = "http://other.example.com/".parse().unwrap();
    let authority = ServerRequest::check(&other).unwrap().authority();
    assert!(OriginPolicy::SameOrigin.allows(other.headers(), authority).is_err());
    // Section 3.2: what is missing, malformed or duplicated is 400 whatever the target says.
    for hosts in [&[][..], &[&b"a"[..], b"a"], &[b"a b"]] {
        let mut request = with("host", hosts);
        *request.uri_mut() = "http://other.example.com/".parse().unwrap();
        assert_eq!(check(&request).unwrap_err().status(), 400, "{hosts:?}");
    }
}

#[test]
fn whitespace_around_a_key_is_not_hashed() {
    let request = with("sec-websocket-key", &[b" dGhlIHNhbXBsZSBub25jZQ==\t"]);
    let (response, _) = ServerRequest::check(&request).unwrap().accept::<&str>(&[], None);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/// ws CVE-2024-37890, Granian, webpack-dev-server: a header that was absent, or contained
/// unexpected bytes, crashed the process.
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
                let result = check(&request);
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
    let mut headers = request().headers().clone();
    headers.insert("origin", HeaderValue::from_static("null"));
    let not_allowed = OriginPolicy::SameOrigin.allows(&headers, "server.example.com");
    let not_allowed = E::from(not_allowed.unwrap_err());
    for (error, status, extra) in [
        (E::Method, 405, &[("allow", "GET")][..]),
        (E::HttpVersion, 505, &[]),
        (E::MissingHost, 400, &[]),
        (E::ContentLength, 400, &[]),
        (E::TransferEncoding, 400, &[]),
        (E::Expect, 417, &[]),
        (
            E::MissingUpgrade,
            426,
            &[("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")],
        ),
        (E::UnsupportedVersion, 426, &[("sec-websocket-version", "13"), ("upgrade", "websocket")]),
        (E::InvalidKey, 400, &[]),
        (E::Subprotocols(SubprotocolError::Duplicate), 400, &[]),
        (E::Extensions(ExtensionError::UnclosedQuote), 400, &[]),
        (not_allowed.clone(), 403, &[]),
        (E::DuplicateOrigin, 403, &[]),
        (E::TimedOut, 408, &[]),
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
        let text = match std::error::Error::source(&error) {
            Some(source) => format!("{source}\n"),
            None => format!("{error}\n"),
        };
        assert_eq!(response.body(), &text);
        for (name, value) in extra {
            assert_eq!(response.headers()[*name], value, "{error:?}");
        }
        assert_eq!(response.headers().contains_key("allow"), status == 405, "{error:?}");
        // The HTTP/1.1 encoder adds what ends a connection: HTTP/2 forbids it (RFC 9113 section
        // 8.2.2).
        let upgrade = status == 426;
        assert_eq!(response.headers().contains_key("connection"), upgrade, "{error:?}");
    }
    let busy = text_response(StatusCode::SERVICE_UNAVAILABLE, "try later");
    assert_eq!(busy.headers()["content-length"], "9");
}

#[test]
fn the_servers_preference_decides_among_the_offers_rfc6455_4_2_2() {
    let request = with("sec-websocket-protocol", &[b"a, b", b"constructor"]);
    let request = ServerRequest::check(&request).unwrap();
    assert_eq!(request.offer().subprotocols(), ["a", "b", "constructor"]);
    for (preferred, chosen) in [
        (&["b", "a"][..], Some("b")),
        (&["x", "a"], Some("a")),
        (&["A", "__proto__"], None),
        (&["constructor"], Some("constructor")),
        (&[], None),
    ] {
        assert_eq!(request.offer().select_subprotocol(preferred), chosen, "{preferred:?}");
        let (response, agreed) = request.accept(preferred, None);
        let named = response.headers().get("sec-websocket-protocol");
        assert_eq!(named.map(|value| value.to_str().unwrap()), chosen, "{preferred:?}");
        assert_eq!(agreed.subprotocol.as_deref(), chosen, "{preferred:?}");
    }
}

#[test]
fn a_response_chooses_only_what_was_offered_rfc6455_4_2_2() {
    let mut plain = with("sec-websocket-protocol", &[b"a, b"]);
    let offering = plain.clone();
    let request = ServerRequest::check(&offering).unwrap();
    let (response, agreed) = request.respond().subprotocol("b").build().unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "b");
    assert_eq!(agreed.subprotocol.as_deref(), Some("b"));
    for name in ["c", "B", "a, b", "", "a\r\nX: y"] {
        let result = request.respond().subprotocol(name).build();
        assert_eq!(result.err(), Some(BuildError::SubprotocolNotOffered), "{name:?}");
    }

    let compression = Compression::new().own_context_takeover(true).peer_window_bits(10);
    let (response, agreed) = request.respond().compression(compression).build().unwrap();
    assert!(!response.headers().contains_key("sec-websocket-extensions"), "none was offered");
    assert_eq!(agreed.compression, None);
    let offer = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
    plain.headers_mut().insert("sec-websocket-extensions", offer);
    let offering = ServerRequest::check(&plain).unwrap();
    let (response, agreed) = offering.respond().compression(compression).build().unwrap();
    assert_eq!(
        response.headers()["sec-websocket-extensions"],
        "permessage-deflate; client_max_window_bits=10"
    );
    assert_eq!(agreed.compression, Some(compression));
}

/// RFC 7692 section 5.1: a server that does not accept an offer leaves it out of its answer.
/// Browsers offer in every request, and set RSV1 as soon as the answer names the extension.
#[test]
fn an_offer_that_is_not_taken_up_is_not_in_the_answer_rfc7692_5_1() {
    for offer in [&b"permessage-deflate; client_max_window_bits"[..], b"x-unknown; a=1"] {
        let request = with("sec-websocket-extensions", &[offer]);
        let request = ServerRequest::check(&request).unwrap();
        let (response, agreed) = request.accept::<&str>(&[], None);
        assert!(!response.headers().contains_key("sec-websocket-extensions"));
        assert_eq!(agreed.compression, None);
    }
}

/// undici CVE-2026-1527 and others: line breaks in values from the application became headers.
#[test]
fn a_response_takes_no_reserved_and_no_broken_header() {
    const X: HeaderName = HeaderName::from_static("x");
    let request = request();
    let request = ServerRequest::check(&request).unwrap();
    let cookies = Headers::from_iter([("set-cookie", "a=1"), ("set-cookie", "b=2")]);
    let (response, _) = request.respond().headers(cookies).build().unwrap();
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    for (name, value, error) in [
        ("X", "a\r\nb", BuildError::HeaderValue(X)),
        ("X", "a\0", BuildError::HeaderValue(X)),
        ("X\r\nY", "a", BuildError::HeaderName("X".to_owned())),
        ("X Y", "a", BuildError::HeaderName("X".to_owned())),
        ("", "a", BuildError::HeaderName(String::new())),
        ("sec-websocket-accept", "a", BuildError::ReservedHeader("Sec-WebSocket-Accept")),
        ("Sec-WebSocket-Protocol", "a", BuildError::ReservedHeader("Sec-WebSocket-Protocol")),
        ("Sec-WebSocket-Extensions", "a", BuildError::ReservedHeader("Sec-WebSocket-Extensions")),
        ("Upgrade", "h2c", BuildError::ReservedHeader("Upgrade")),
        ("Connection", "close", BuildError::ReservedHeader("Connection")),
        ("Content-Length", "0", BuildError::ReservedHeader("Content-Length")),
        ("Transfer-Encoding", "chunked", BuildError::ReservedHeader("Transfer-Encoding")),
    ] {
        let result =
            request.respond().headers(Headers::from_iter([(name, value), ("ok", "ok")])).build();
        assert_eq!(result.err(), Some(error), "{name:?}: {value:?}");
    }
}

#[test]
fn plain_requests_are_told_apart() {
    assert!(is_upgrade_request(&request()));
    assert!(!is_upgrade_request(&with("upgrade", &[])));
    assert!(!is_upgrade_request(&with("connection", &[b"keep-alive"])));
    assert!(is_upgrade_request(&with("sec-websocket-key", &[]))); // asks, though it will not pass
    // RFC 9110 section 7.8: `Upgrade` in HTTP/1.0 is ignored.
    let mut old = request();
    *old.version_mut() = Version::HTTP_10;
    assert!(!is_upgrade_request(&old));
}
