//! WebSocket over HTTP/2 and HTTP/3: extended CONNECT (RFC 8441 sections 4 and 5, RFC 9220), both
//! roles.

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use tautline_frame::Compression;
use tautline_handshake::{
    BuildError, ClientRequest, ConnectProtocol, ConnectRefusal, DeflateError, Expectation,
    ExtensionError, HandshakeError, Headers, OriginPolicy, RequestHead, ResponseError,
    ServerRequest, SubprotocolError, is_connect_request, is_upgrade_request,
};

use crate::support::{client, set};

/// What RFC 9113 section 8.2.2 forbids in HTTP/2.
const CONNECTION_FIELDS: [&str; 6] =
    ["connection", "upgrade", "keep-alive", "proxy-connection", "transfer-encoding", "te"];

/// The request of RFC 8441 section 5.1.
fn request() -> Request<()> {
    let mut request = Request::connect("https://server.example.com/chat")
        .version(Version::HTTP_2)
        .header("sec-websocket-protocol", "chat, superchat")
        .header("sec-websocket-extensions", "permessage-deflate")
        .header("sec-websocket-version", "13")
        .header("origin", "http://www.example.com")
        .body(())
        .unwrap();
    request.extensions_mut().insert(ConnectProtocol::WEBSOCKET);
    request
}

/// The request with all lines of `name` replaced.
fn with(name: &'static str, values: &[&[u8]]) -> Request<()> {
    let mut request = request();
    set(request.headers_mut(), name, values);
    request
}

fn refusal(request: &Request<()>) -> Option<HandshakeError> {
    ServerRequest::check(request).err()
}

fn refused(request: &Request<()>, refusal: ConnectRefusal) {
    assert_eq!(ServerRequest::check(request).err(), Some(HandshakeError::Connect(refusal)));
}

/// What a client expects, and the response that accepts its request.
fn exchange(client: ClientRequest<'_>) -> (Expectation, Response<()>) {
    let (request, expectation) = client.build_connect().unwrap();
    let (response, _) = ServerRequest::check(&request).unwrap().accept::<&str>(&[], None);
    (expectation, response)
}

#[test]
fn the_example_is_answered_with_200_and_no_accept_rfc8441_5_1() {
    let request = request();
    let checked = ServerRequest::check(&request).unwrap();
    assert_eq!(checked.authority(), "server.example.com");
    assert_eq!(checked.offer().subprotocols(), ["chat", "superchat"]);
    let (response, agreed) = checked.accept(&["chat"], None);
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    let headers: Vec<_> = response.headers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(headers, ["sec-websocket-protocol"], "no Upgrade, no Connection, no accept");
    assert_eq!(agreed.subprotocol.as_deref(), Some("chat"));
    assert_eq!(agreed.compression, None);
}

/// RFC 8441 section 5: offers and answers are as in RFC 6455, and both ends agree.
#[test]
fn both_roles_agree_over_http_2_rfc8441_5() {
    for version in [Version::HTTP_2, Version::HTTP_3] {
        let compression = Compression::best_ratio().own_window_bits(10);
        let client =
            client("wss://example.com/chat").subprotocols(["b", "a"]).compression(compression);
        let (mut request, expectation) = client.build_connect().unwrap();
        *request.version_mut() = version;
        let checked = ServerRequest::check(&request).unwrap();
        let compression = Compression::new();
        let (response, at_server) = checked.accept(&["a", "b"], Some(&compression));
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
        let at_client = expectation.check(&response).unwrap();
        assert_eq!(at_client.subprotocol.as_deref(), Some("a"));
        assert_eq!(at_server.subprotocol.as_deref(), Some("a"));
        let (at_client, at_server) =
            (at_client.compression.unwrap(), at_server.compression.unwrap());
        assert_eq!(at_client.get_own_window_bits(), 10);
        assert_eq!(at_server.get_peer_window_bits(), 10);
        assert!(at_client.get_own_context_takeover());
        assert!(!at_client.get_peer_context_takeover(), "the server's compression");
    }
}

#[test]
fn the_request_has_its_pseudo_headers_and_no_key_rfc8441_4_and_5() {
    for (uri, target) in [
        ("wss://user:pw@example.com:444/a?b", "https://example.com:444/a?b"),
        ("ws://example.com", "http://example.com/"),
        ("wss://[::1]:443/", "https://[::1]/"),
    ] {
        let (request, _) = client(uri).build_connect().unwrap();
        assert_eq!((request.method(), request.version()), (&Method::CONNECT, Version::HTTP_2));
        assert_eq!(*request.uri(), target.parse::<Uri>().unwrap());
        assert_eq!(request.extensions().get(), Some(&ConnectProtocol::WEBSOCKET));
        assert_eq!(request.headers()["sec-websocket-version"], "13");
    }
    let client = client("wss://user:pw@example.com/")
        .headers(Headers::from_iter([("origin", "https://example.com")]));
    let client = client.subprotocols(["a", "b"]).compression(Compression::new());
    let (request, _) = client.build_connect().unwrap();
    let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(
        names,
        [
            "sec-websocket-version",
            "sec-websocket-protocol",
            "sec-websocket-extensions",
            "origin",
            "authorization",
        ]
    );
}

/// A `Host` that is set is the requested name; in HTTP/2 that is `:authority` (RFC 9113 section
/// 8.3.1).
#[test]
fn a_host_that_is_set_becomes_the_authority() {
    let (request, _) = client("wss://127.0.0.1:9001/")
        .headers(Headers::from_iter([("host", "example.com")]))
        .build_connect()
        .unwrap();
    assert_eq!(request.uri(), "https://example.com/");
    assert!(!request.headers().contains_key("host"));
    let broken = client("wss://h/").headers(Headers::from_iter([("host", "a b")])).build_connect();
    assert_eq!(broken.err(), Some(BuildError::Host));
}

#[test]
fn the_method_and_the_protocol_decide_rfc8441_4_and_rfc9220_3() {
    for method in [Method::GET, Method::POST, Method::HEAD] {
        let mut request = request();
        *request.method_mut() = method;
        refused(&request, ConnectRefusal::Method);
        assert!(!is_connect_request(&request));
    }
    let mut tunnel = request();
    tunnel.extensions_mut().clear();
    refused(&tunnel, ConnectRefusal::MissingProtocol);
    assert!(!is_connect_request(&tunnel));
    // RFC 9220 section 3: 501 for an unknown protocol.
    for name in ["webtransport", "connect-udp", "websocket2", ""] {
        let mut other = request();
        other.extensions_mut().insert(ConnectProtocol::new(name));
        refused(&other, ConnectRefusal::UnsupportedProtocol);
        assert!(!is_connect_request(&other));
    }
    // RFC 9110 section 7.8: case-insensitive.
    let mut request = request();
    request.extensions_mut().insert(ConnectProtocol::new("WebSocket"));
    assert_eq!(refusal(&request), None);
    assert!(is_connect_request(&request) && !is_upgrade_request(&request));
}

/// HTTP/2 crates have their own types for `:protocol`, and a framework lends the request.
#[test]
fn the_protocol_may_come_beside_a_borrowed_request() {
    let mut request = request();
    request.extensions_mut().clear();
    let (parts, ()) = request.into_parts();
    let head = RequestHead::from(&parts);
    assert!(!is_connect_request(head));
    let head = head.with_protocol(Some("websocket"));
    assert!(is_connect_request(head));
    assert_eq!(ServerRequest::check(head).unwrap().authority(), "server.example.com");
}

/// Over HTTP/1.1 CONNECT is a tunnel, whatever its headers say.
#[test]
fn an_extended_connect_is_none_over_http_1_1() {
    let mut request = request();
    *request.version_mut() = Version::HTTP_11;
    assert!(!is_connect_request(&request));
    assert_eq!(refusal(&request), Some(HandshakeError::Method));
}

#[test]
fn scheme_path_and_authority_are_there_rfc8441_4_and_5() {
    for (target, expected) in [
        ("http://server.example.com/chat", None),
        ("https://server.example.com:8443/chat?a=b", None),
        ("https://[::1]/", None),
        // The target of an ordinary CONNECT: a tunnel (RFC 9113 section 8.5).
        ("server.example.com:443", Some(ConnectRefusal::Scheme)),
        ("/chat", Some(ConnectRefusal::Scheme)),
        ("*", Some(ConnectRefusal::Scheme)),
        // RFC 8441 section 5: `https` for `wss`, `http` for `ws`.
        ("wss://server.example.com/chat", Some(ConnectRefusal::Scheme)),
        ("ftp://server.example.com/chat", Some(ConnectRefusal::Scheme)),
        // RFC 9113 section 8.3.1: no userinfo.
        ("https://user@server.example.com/chat", Some(ConnectRefusal::Authority)),
        ("https://server.example.com:0/chat", Some(ConnectRefusal::Authority)),
    ] {
        let mut request = request();
        *request.uri_mut() = target.parse().unwrap();
        assert_eq!(refusal(&request), expected.map(HandshakeError::Connect), "{target}");
    }
    let mut parts = request().uri().clone().into_parts();
    parts.path_and_query = Some("*".parse().unwrap());
    let mut request = request();
    *request.uri_mut() = Uri::from_parts(parts).unwrap();
    refused(&request, ConnectRefusal::Path);
}

#[test]
fn a_host_says_what_the_authority_says_rfc9113_8_3_1() {
    for (hosts, allowed) in [
        (&[][..], true),
        (&[&b"server.example.com"[..]], true),
        (&[b"SERVER.example.com:443"], true),
        (&[b"other.example.com"], false),
        (&[b"server.example.com:80"], false),
        (&[b""], false),
        (&[b"\xff"], false),
        (&[b"server.example.com", b"server.example.com"], false),
    ] {
        let request = with("host", hosts);
        let expected = (!allowed).then_some(HandshakeError::Connect(ConnectRefusal::Host));
        assert_eq!(refusal(&request), expected, "{hosts:?}");
    }
}

#[test]
fn what_speaks_of_a_connection_is_refused_rfc9113_8_2_2() {
    for name in CONNECTION_FIELDS {
        refused(&with(name, &[b"websocket"]), ConnectRefusal::ConnectionHeader);
    }
    assert_eq!(refusal(&with("te", &[b"trailers"])), None);
}

/// RFC 8441 section 5: the key and the accept value are superseded by `:protocol`, and not
/// processed.
#[test]
fn a_key_and_an_accept_value_are_not_looked_at_rfc8441_5() {
    for keys in [&[][..], &[&b"dGhlIHNhbXBsZSBub25jZQ=="[..]], &[b"a", b"a"], &[b"\xff"]] {
        assert_eq!(refusal(&with("sec-websocket-key", keys)), None, "{keys:?}");
    }
    let (expectation, mut response) = exchange(client("wss://h/"));
    response.headers_mut().insert("sec-websocket-accept", HeaderValue::from_static("wrong"));
    assert!(expectation.check(&response).is_ok());
}

/// RFC 8441 section 5: version, subprotocols and extensions as in RFC 6455, and a CONNECT has no
/// content (RFC 9110 section 9.3.6).
#[test]
fn the_other_headers_are_held_to_rfc6455_rfc8441_5() {
    use HandshakeError as E;
    const VERSION: HandshakeError = E::Connect(ConnectRefusal::Version);
    type Row = (&'static str, &'static [&'static [u8]], HandshakeError);
    let rows: &[Row] = &[
        ("sec-websocket-version", &[], VERSION),
        ("sec-websocket-version", &[b"13", b"13"], VERSION),
        ("sec-websocket-version", &[b"8"], VERSION),
        ("sec-websocket-protocol", &[b"a,a"], E::Subprotocols(SubprotocolError::Duplicate)),
        ("sec-websocket-extensions", &[b"a;"], E::Extensions(ExtensionError::ParamName)),
        ("content-length", &[b"1"], E::ContentLength),
        ("expect", &[b"100-continue"], E::Expect),
    ];
    for (name, values, expected) in rows {
        assert_eq!(refusal(&with(name, values)).as_ref(), Some(expected), "{name}: {values:?}");
    }
    assert_eq!(refusal(&with("content-length", &[b"0"])), None);
}

/// RFC 8441 section 5, RFC 6455 section 10.2: the origin is compared with `:authority`, since there
/// is no `Host`.
#[test]
fn the_origin_is_compared_with_the_authority_rfc8441_5() {
    for (origin, allowed) in
        [("https://server.example.com", true), ("https://www.example.com", false)]
    {
        let request = with("origin", &[origin.as_bytes()]);
        let authority = ServerRequest::check(&request).unwrap().authority();
        let decided = OriginPolicy::SameOrigin.allows(request.headers(), authority);
        assert_eq!(decided.is_ok(), allowed, "{origin}");
    }
}

#[test]
fn refusals_have_status_and_body_and_speak_of_no_connection_rfc9113_8_2_2() {
    for (refusal, status) in [
        (ConnectRefusal::Method, 405),
        (ConnectRefusal::MissingProtocol, 400),
        (ConnectRefusal::UnsupportedProtocol, 501),
        (ConnectRefusal::Scheme, 400),
        (ConnectRefusal::Path, 400),
        (ConnectRefusal::Authority, 400),
        (ConnectRefusal::Host, 400),
        (ConnectRefusal::ConnectionHeader, 400),
        (ConnectRefusal::Version, 400),
    ] {
        let error = HandshakeError::from(refusal);
        let response = error.to_response();
        assert_eq!((response.status(), error.status().as_u16()), (error.status(), status));
        assert_eq!(response.body(), &format!("{refusal}\n"));
        let allowed = response.headers().get("allow").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, (status == 405).then_some("CONNECT"), "RFC 9110 section 15.5.6");
        // RFC 6455 section 4.4, which RFC 8441 section 5 keeps.
        let version = response.headers().contains_key("sec-websocket-version");
        assert_eq!(version, refusal == ConnectRefusal::Version);
        for name in CONNECTION_FIELDS {
            assert!(!response.headers().contains_key(name), "{refusal:?}: {name}");
        }
    }
}

/// RFC 9110 section 9.3.6: any 2xx accepts a CONNECT. HTTP/2 has no 101 (RFC 9113 section 8.6).
#[test]
fn only_2xx_opens_the_stream_rfc8441_5() {
    let (expectation, mut response) = exchange(client("wss://h/"));
    for code in [200, 201, 204, 299] {
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        assert!(expectation.check(&response).is_ok(), "{code}");
    }
    for code in [101, 301, 400, 401, 403, 426, 501, 503] {
        let status = StatusCode::from_u16(code).unwrap();
        *response.status_mut() = status;
        assert_eq!(expectation.check(&response), Err(ResponseError::Status(status)));
    }
}

#[test]
fn a_response_is_held_to_the_version_of_its_request() {
    let (expectation, mut response) = exchange(client("wss://h/"));
    *response.version_mut() = Version::HTTP_11;
    assert_eq!(expectation.check(&response), Err(ResponseError::HttpVersion));
    // Conversely, a 200 does not accept an upgrade (Envoy CVE-2024-23326).
    let (_, upgrade) = client("wss://h/").build().unwrap();
    *response.version_mut() = Version::HTTP_2;
    assert_eq!(upgrade.check(&response), Err(ResponseError::Status(StatusCode::OK)));
}

/// RFC 8441 section 5: the answer chooses among the offers, as in RFC 6455 section 4.1.
#[test]
fn a_client_fails_on_what_it_did_not_offer_rfc8441_5() {
    let offering = client("wss://h/").subprotocols(["a"]).subprotocol_required(false);
    let (expectation, accepting) = exchange(offering.compression(Compression::new()));
    use ResponseError as E;
    for (name, value, expected) in [
        ("sec-websocket-protocol", "a", Ok(())),
        ("sec-websocket-protocol", "b", Err(E::SubprotocolNotOffered)),
        ("sec-websocket-extensions", "permessage-deflate", Ok(())),
        ("sec-websocket-extensions", "x", Err(E::ExtensionNotOffered)),
        ("sec-websocket-extensions", "permessage-deflate; x", {
            Err(E::Deflate(DeflateError::UnknownParameter))
        }),
        ("upgrade", "websocket", Err(E::ConnectionHeader)),
        ("connection", "Upgrade", Err(E::ConnectionHeader)),
    ] {
        let mut response = accepting.clone();
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        assert_eq!(expectation.check(&response).map(|_| ()), expected, "{name}: {value}");
    }
}

/// Headers that an application adds are sent over HTTP/2 only if they are allowed there.
#[test]
fn no_end_sends_what_speaks_of_a_connection_rfc9113_8_2_2() {
    let keep_alive = HeaderName::from_static("keep-alive");
    let sent = client("wss://h/")
        .headers(Headers::from_iter([("keep-alive", "timeout=5")]))
        .build_connect();
    assert_eq!(sent.err(), Some(BuildError::ConnectionHeader(keep_alive.clone())));
    let request = request();
    let checked = ServerRequest::check(&request).unwrap();
    let answer =
        checked.respond().headers(Headers::from_iter([("keep-alive", "timeout=5")])).build();
    assert_eq!(answer.err(), Some(BuildError::ConnectionHeader(keep_alive)));
    let (answer, _) =
        checked.respond().headers(Headers::from_iter([("set-cookie", "a=1")])).build().unwrap();
    assert_eq!(answer.headers()["set-cookie"], "a=1");
    let reserved =
        client("wss://h/").headers(Headers::from_iter([("upgrade", "h2c")])).build_connect();
    assert_eq!(reserved.err(), Some(BuildError::ReservedHeader("Upgrade")));
}

#[test]
fn any_byte_in_any_header_is_an_error_or_fine_but_never_a_panic() {
    let names: Vec<_> = request().headers().keys().cloned().collect();
    for name in names.iter().filter(|name| *name != "origin") {
        for byte in 0x80..=0xff {
            let mut request = request();
            let value = HeaderValue::from_bytes(&[b'a', byte]).unwrap();
            request.headers_mut().insert(name.clone(), value);
            assert!(refusal(&request).is_some(), "{name} {byte:#x}");
        }
    }
}
