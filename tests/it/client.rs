//! A client opens a connection, or reports exactly why not (RFC 6455 section 4.1).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future;
use http::HeaderName;
use tautline::{
    BuildError, Client, ConnectError, HeadError, HeadLimits, Message, ResponseError, UriError,
    connect,
};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::handshake::{
    Head, Http, answering, echo, expect_echo, switching, trickle, uri,
};
use crate::support::peer::{CLOSE, FIN, Peer, TEXT, close_body, encode};

/// How `connect` ends when the server answers with this.
async fn refused_by(answer: impl Into<Vec<u8>>) -> ConnectError {
    let answer = answer.into();
    let (address, serving) = answering(|_| answer).await;
    let error = connect(uri(address)).await.unwrap_err();
    serving.await.unwrap();
    error
}

/// The status and the body of a refusal.
fn refusal(error: &ConnectError) -> (u16, &[u8]) {
    match error {
        ConnectError::Refused(response) => (response.status().as_u16(), response.body()),
        other => panic!("{other:?}"),
    }
}

/// An address where nobody listens.
async fn dead_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

// RFC 6455 section 3.
#[tokio::test]
async fn what_is_no_websocket_uri_is_refused_before_anything_is_connected() {
    for (uri, expected) in [
        ("example.com", UriError::Scheme),
        ("http://127.0.0.1:1/", UriError::Scheme),
        ("ws://127.0.0.1:1/#part", UriError::Fragment),
        ("ws://127.0.0.1:99999/", UriError::Port),
        ("ws:///path", UriError::Host),
        ("ws://127.0.0.1:1/\r\nX-Injected: 1", UriError::ControlOrSpace),
        ("ws://127.0.0.1:1/a b", UriError::ControlOrSpace),
        ("ws://127.0.0.1:1\\@example.com/", UriError::Backslash),
    ] {
        match connect(uri).await {
            Err(ConnectError::Uri(error)) => assert_eq!(error, expected, "{uri}"),
            other => panic!("{uri}: {other:?}"),
        }
    }
}

// A header that cannot be sent used to be found only after TCP and TLS: with the server down, the
// error was the network's.
#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anything_is_connected() {
    const ID: HeaderName = HeaderName::from_static("x-id");
    let client = Client::new;
    let cases = [
        (client().header("x-id", "a\r\nX-Injected: 1"), BuildError::HeaderValue(ID)),
        (client().append_header("x-id", "a\0"), BuildError::HeaderValue(ID)),
        (client().header("x id", "a"), BuildError::HeaderName("x".into())),
        (client().header("x\r\n", "a").header("y", "\n"), BuildError::HeaderName("x".into())),
        (
            client().header("sec-websocket-key", "a"),
            BuildError::ReservedHeader("Sec-WebSocket-Key"),
        ),
        (
            client().header("Transfer-Encoding", "chunked"),
            BuildError::ReservedHeader("Transfer-Encoding"),
        ),
        (client().header("host", "a b"), BuildError::Host),
    ];
    let uri = format!("ws://{}/", dead_address().await);
    for (client, expected) in cases {
        match client.connect(&uri).await {
            Err(ConnectError::Request(error)) => assert_eq!(error, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    let twice = client().append_header("host", "a").append_header("host", "b");
    let error = twice.connect(&uri).await.unwrap_err();
    assert!(matches!(error, ConnectError::Request(BuildError::Host)), "{error}");
    for names in [vec!["a\r\nX-Injected: 1"], vec!["a", "a"], vec![""], vec!["a,b"]] {
        let error = Client::new().subprotocols(names.clone()).connect(&uri).await.unwrap_err();
        assert!(matches!(error, ConnectError::Request(BuildError::Subprotocols(_))), "{names:?}");
    }
}

#[tokio::test]
async fn the_status_and_the_body_of_a_refusal_are_told() {
    // A body has its end, though the connection stays open: `answering` holds it.
    for (answer, status, body) in [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nlogin", 401, "login"),
        ("HTTP/1.1 403 \r\ncontent-length: 0\r\n\r\n", 403, ""),
        (
            "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nlat\r\n2;x=y\r\ner\r\n0\r\nTrailer: x\r\n\r\n",
            503,
            "later",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("HTTP/1.0 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", 400, "no"),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 x\r\nContent-Length: 1\r\n\r\n?", 404, "?"),
        // Envoy CVE-2024-23326: only 101 switches protocols (RFC 6455 section 4.1), whatever the
        // headers say.
        (
            "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nContent-Length: 2\r\n\r\nok",
            200,
            "ok",
        ),
    ] {
        let error = refused_by(answer).await;
        assert_eq!(error.status().unwrap(), status);
        assert_eq!(refusal(&error), (status, body.as_bytes()), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_without_length_goes_to_the_end_of_the_connection_and_one_cut_short_is_told() {
    for answer in [
        "HTTP/1.1 502 Bad Gateway\r\n\r\nhalf",
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    ] {
        let (address, serving) = answering(|_| answer.into()).await;
        let hanging_up = async { drop(serving.await.unwrap()) };
        let (result, ()) = future::join(connect(uri(address)), hanging_up).await;
        assert_eq!(refusal(&result.unwrap_err()), (502, &b"half"[..]), "{answer:?}");
    }
}

#[tokio::test]
async fn a_large_body_is_cut_at_64_kib() {
    let body = vec![b'x'; 1_000_000];
    for head in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\nF4240\r\n",
        "HTTP/1.1 404 Not Found\r\n\r\n",
    ] {
        let error = refused_by([head.as_bytes(), &body].concat()).await;
        assert_eq!(refusal(&error), (404, &body[..64 << 10]));
    }
}

// The status was lost: a body that stalled, or had no end on a connection kept open, turned every
// refusal into a timeout.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_does_not_hide_the_status() {
    for head in ["", "Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let (near, far) = tokio::io::duplex(1024);
        let mut server = Http::over(far);
        server.write(format!("HTTP/1.1 503 Busy\r\n{head}\r\n")).await;
        let start = Instant::now();
        let error = Client::new().connect_over("ws://example.com/", near).await.unwrap_err();
        assert_eq!(refusal(&error), (503, &b""[..]), "{head:?}");
        assert_eq!(start.elapsed().as_secs(), 2);
    }
}

// A 401 whose body stalled was a timeout with a deadline of 1 s, and a 401 with one of 5 s: the
// wait for the body ran into the deadline. Once the head has arrived, the status wins, with as much
// of the body as arrived.
#[tokio::test(start_paused = true)]
async fn a_deadline_inside_the_body_does_not_hide_the_status() {
    for (head, part, body) in [
        ("", "log", "log"),
        ("Content-Length: 100\r\n", "log", "log"),
        ("Transfer-Encoding: chunked\r\n", "9\r\nlog", "log"),
        ("Content-Length: 100\r\n", "", ""),
    ] {
        let (near, far) = tokio::io::duplex(1024);
        let mut server = Http::over(far);
        let start = Instant::now();
        let serve = async {
            // Late, so that little of the deadline is left for the body.
            tokio::time::sleep(Duration::from_millis(900)).await;
            server.write(format!("HTTP/1.1 401 Unauthorized\r\n{head}\r\n{part}")).await;
        };
        let client = Client::new().connect_timeout(Duration::from_secs(1));
        let connecting = client.connect_over("ws://example.com/", near);
        let (result, ()) = future::join(connecting, serve).await;
        assert_eq!(refusal(&result.unwrap_err()), (401, body.as_bytes()), "{head:?}");
        assert_eq!(start.elapsed().as_secs(), 1);
    }
}

// `Client::connect_timeout` took `Duration::MAX` until a deadline was computed from it.
#[tokio::test]
async fn the_longest_timeout_is_no_panic() {
    let (near, far) = tokio::io::duplex(4096);
    tokio::spawn(async move { tautline::accept(far).await.map(drop) });
    let client = Client::new().connect_timeout(Duration::MAX);
    client.connect_over("ws://example.com/", near).await.unwrap();
}

// A folded header in a response was refused, and the status was lost with it: RFC 9112 section 5.2
// requires a client to replace the fold.
#[tokio::test]
async fn a_folded_header_of_a_response_is_read() {
    let error = refused_by(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n  realm=\"x\"\r\n\
         Content-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(refusal(&error), (401, &b""[..]));
    let ConnectError::Refused(response) = error else { unreachable!() };
    assert_eq!(response.headers()["www-authenticate"], "Basic    realm=\"x\"");
    let (address, serving) = answering(|request| {
        let folded = switching(request, "X: a\r\n b\r\n");
        folded.replace("Accept: ", "Accept:\r\n\t").into_bytes()
    })
    .await;
    let (ws, response) = Client::new().connect_with_response(uri(address)).await.unwrap();
    assert_eq!(response.headers()["x"], "a   b");
    drop((ws, serving));
}

// ws 8.x and others sent credentials along to wherever a redirection led.
#[tokio::test]
async fn a_redirection_is_shown_and_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("ws://{}/new", elsewhere.local_addr().unwrap());
    let error = refused_by(format!(
        "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    ))
    .await;
    match error {
        ConnectError::Refused(response) => {
            assert_eq!(response.status(), 302);
            assert_eq!(response.headers()["location"], location.as_str());
        }
        other => panic!("{other:?}"),
    }
    assert!(futures_util::FutureExt::now_or_never(elsewhere.accept()).is_none());
}

// RFC 6455 section 4.1, the six checks of the server's response.
#[tokio::test]
async fn a_101_that_breaks_a_rule_is_an_error_with_its_name() {
    let cases: [(&str, &str, ResponseError); 11] = [
        ("Upgrade: websocket\r\n", "", ResponseError::Upgrade),
        ("Upgrade: websocket", "Upgrade: h2c", ResponseError::Upgrade),
        ("Connection: Upgrade\r\n", "", ResponseError::Connection),
        ("Connection: Upgrade", "Connection: not-upgrade", ResponseError::Connection),
        ("Sec-WebSocket-Accept", "X-Accept", ResponseError::MissingAccept),
        ("Accept: ", "Accept: x", ResponseError::WrongAccept),
        (
            "Connection",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nConnection",
            ResponseError::DuplicateAccept,
        ),
        (
            "Connection",
            "Sec-WebSocket-Protocol: chat\r\nConnection",
            ResponseError::SubprotocolNotOffered,
        ),
        (
            "Connection",
            "Sec-WebSocket-Extensions: permessage-deflate\r\nConnection",
            ResponseError::ExtensionNotOffered,
        ),
        (
            "Connection",
            "Sec-WebSocket-Extensions: __proto__\r\nConnection",
            ResponseError::ExtensionNotOffered,
        ),
        ("HTTP/1.1", "HTTP/1.0", ResponseError::HttpVersion),
    ];
    for (part, by, expected) in cases {
        let answer = move |request: &Head| switching(request, "").replace(part, by).into_bytes();
        let (address, serving) = answering(answer).await;
        match connect(uri(address)).await {
            Err(ConnectError::Response(error)) => assert_eq!(error, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
        // The connection ends, and no frame was sent on it.
        assert_eq!(serving.await.unwrap().1.rest().await, b"");
    }
}

// RFC 6455 sections 4.1 and 4.2.2.
#[tokio::test]
async fn the_subprotocol_is_one_of_the_offered_or_none_if_that_will_do() {
    let client = Client::new().subprotocols(["chat.v2", "chat.v1"]);
    let lax = client.clone().subprotocol_required(false);
    let chosen = "Sec-WebSocket-Protocol: chat.v1\r\n";
    for (client, lines, expected) in [
        (&client, chosen, Ok(Some("chat.v1"))),
        (&client, "", Err(ResponseError::MissingSubprotocol)),
        (&lax, "", Ok(None)),
        (&lax, "Sec-WebSocket-Protocol: CHAT.v1\r\n", Err(ResponseError::SubprotocolNotOffered)),
    ] {
        let (address, serving) =
            answering(move |request| switching(request, lines).into_bytes()).await;
        match (client.connect(uri(address)).await, expected) {
            (Ok(ws), Ok(expected)) => assert_eq!(ws.subprotocol(), expected),
            (Err(ConnectError::Response(error)), Err(expected)) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
        let request = serving.await.unwrap().0;
        assert_eq!(request.get("sec-websocket-protocol"), Some("chat.v2, chat.v1"));
    }
}

#[tokio::test]
async fn frames_in_the_same_segment_as_the_101_are_not_lost() {
    let frames = [encode(false, FIN | TEXT, b"early"), encode(false, FIN | TEXT, b"and late")];
    let frames = frames.concat();
    // The whole of both, or the first and a part of the second, come with the head.
    for cut in [frames.len(), 10, 1, 0] {
        let (now, later) = frames.split_at(cut);
        let now = now.to_vec();
        let (address, serving) =
            answering(move |request| [switching(request, "").as_bytes(), &now].concat()).await;
        let mut ws = connect(uri(address)).await.unwrap();
        let (_, mut server) = serving.await.unwrap();
        server.write(later).await;
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("early"));
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("and late"));
    }
}

// RFC 6455 section 4.1 and RFC 9931: nothing is sent after the request until the 101 has arrived.
#[tokio::test]
async fn nothing_is_sent_before_the_101() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://{}/", listener.local_addr().unwrap());
    let client = async {
        let mut ws = connect(&uri).await.unwrap();
        ws.send("first").await.unwrap();
        ws
    };
    let server = async {
        let mut server = Http::over(listener.accept().await.unwrap().0);
        let request = server.head().await;
        let answer = switching(&request, "");
        let (most, last) = answer.split_at(answer.len() - 1);
        for part in ["HTTP/1.1 100 Continue\r\n\r\n", most] {
            server.write(part).await;
            tokio::task::yield_now().await;
            assert!(server.is_silent());
        }
        server.write(last).await;
        let mut peer = Peer::of(tautline::Role::Client, server.stream);
        peer.expect(FIN | TEXT, "first").await;
    };
    future::join(client, server).await;
}

#[tokio::test]
async fn what_is_no_http_response_is_refused_by_name() {
    let long_line = format!("HTTP/1.1 200 {}", "x".repeat(9000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(20);
    for (answer, expected) in [
        ("SSH-2.0-OpenSSH_9.9\r\n", HeadError::NotHttp),
        ("\x15\x03\x01\0\x02\x02\x0A", HeadError::Tls),
        ("\0\0\0\0", HeadError::NotHttp),
        ("HTTP/2.0 101 x\r\n\r\n", HeadError::NotHttp),
        ("HTTP/1.1 1 x\r\n\r\n", HeadError::FirstLine),
        ("HTTP/1.1 401 x\n\n", HeadError::BareLineBreak),
        ("HTTP/1.1 101 x\r\n folded: y\r\n\r\n", HeadError::LineFolding),
        ("HTTP/1.1 101 x\r\nA\r\n\r\n", HeadError::Header),
        ("HTTP/1.1 101 x\r\nA: \x01\r\n\r\n", HeadError::Control),
        (&long_line, HeadError::LineTooLong(8192)),
        (&many, HeadError::TooManyHeaders(100)),
        (&interim, HeadError::TooManyInterim(8)),
    ] {
        let refused = refused_by(answer).await;
        // The status in the first line is reported whatever follows it.
        let code = answer.get(9..12).filter(|_| answer.starts_with("HTTP/1.1"));
        let code = code.and_then(|code| code.parse::<u16>().ok());
        let code = code.filter(|_| !matches!(expected, HeadError::TooManyInterim(_)));
        assert_eq!(refused.status().map(|status| status.as_u16()), code, "{answer:.40}");
        match refused {
            ConnectError::Head { error, .. } => assert_eq!(error, expected, "{answer:.40}"),
            other => panic!("{answer:.40}: {other:?}"),
        }
    }
}

// CVE-2026-54465 and CVE-2023-43669 let servers keep a client busy, or consuming memory, without
// end.
#[tokio::test]
async fn an_endless_head_is_refused_at_its_limit() {
    let line = "X-Padding: 0123456789\r\n".repeat(1000);
    let endless = format!("HTTP/1.1 101 Switching Protocols\r\nX: {}", "y".repeat(1 << 20));
    let limits = HeadLimits::new().max_headers(usize::MAX);
    let lines = format!("HTTP/1.1 101 Switching Protocols\r\n{}", line.repeat(40));
    for answer in [endless, lines] {
        let (address, serving) = answering(|_| answer.into_bytes()).await;
        let client = Client::new().head_limits(limits);
        match client.connect(uri(address)).await {
            Err(ConnectError::Head { error, .. }) => {
                assert_eq!(error, HeadError::TooLarge(16 << 10));
            }
            other => panic!("{other:?}"),
        }
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_before_its_answer_is_whole_is_an_io_error() {
    for answer in ["", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"] {
        let (address, serving) = answering(|_| answer.into()).await;
        let hanging_up = async { drop(serving.await.unwrap()) };
        match future::join(connect(uri(address)), hanging_up).await.0 {
            Err(ConnectError::Io(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_takes_tcp_and_says_nothing_is_left_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::new().connect_timeout(Duration::from_millis(30));
    for scheme in ["ws", "wss"] {
        let error = client.connect(format!("{scheme}://{address}/")).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout { .. }), "{scheme}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_byte_by_byte_does_not_move_the_deadline() {
    let (near, writing) = trickle("HTTP/1.1 101 Switching Protocols\r\nX: ");
    let start = Instant::now();
    let error = Client::new().connect_over("ws://example.com/", near).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
    assert_eq!(start.elapsed().as_secs(), 30);
    writing.await.unwrap();
}

#[tokio::test]
async fn a_host_that_is_not_there_is_told_from_one_that_refuses() {
    // No resolver is asked: a label of DNS has at most 63 bytes (RFC 1035 section 2.3.4).
    let uri = format!("ws://{}.invalid/", "a".repeat(64));
    let error = Client::new().no_proxy().connect(uri).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Resolve { host, .. } if host.len() == 72), "{error}");
    let dead = dead_address().await;
    match connect(format!("ws://{dead}/")).await {
        Err(ConnectError::Tcp { host, port, error, .. }) => {
            assert_eq!((host, port), (dead.ip().to_string(), dead.port()));
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_with_several_addresses_is_connected_to_by_the_one_that_answers() {
    // Nobody listens on ::1, if `localhost` has that too.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tautline::Server::from_listener(listener);
    tokio::spawn(server.serve(echo));
    let mut ws = connect(format!("ws://localhost:{}/", address.port())).await.unwrap();
    assert_eq!(ws.peer_addr(), Some(address));
    expect_echo(&mut ws, "hello").await;
}

/// What a client asks for at this URI.
async fn request_to(client: &Client, uri: &str) -> Head {
    let (near, far) = tokio::io::duplex(4096);
    let mut server = Http::over(far);
    let serve = async {
        let request = server.head().await;
        server.write(switching(&request, "")).await;
        request
    };
    let (result, request) = future::join(client.handshake_over(uri, near), serve).await;
    result.unwrap();
    request
}

// RFC 6455 sections 3 and 4.1; RFC 7617 for the credentials.
#[tokio::test]
async fn the_request_names_the_host_and_the_resource_of_the_uri() {
    let basic = Some("Basic dXNlcjpwOnc=");
    for (uri, first, host, authorization) in [
        ("ws://example.com", "GET / HTTP/1.1", "example.com", None),
        ("ws://Example.com:80/a?b=c", "GET /a?b=c HTTP/1.1", "example.com", None),
        ("wss://example.com:443?b", "GET /?b HTTP/1.1", "example.com", None),
        ("ws://example.com:443/", "GET / HTTP/1.1", "example.com:443", None),
        ("ws://[::1]:9001/", "GET / HTTP/1.1", "[::1]:9001", None),
        ("ws://user:p%3Aw@127.0.0.1:8080/x", "GET /x HTTP/1.1", "127.0.0.1:8080", basic),
    ] {
        let request = request_to(&Client::new(), uri).await;
        assert_eq!(request.first, first, "{uri}");
        assert_eq!(request.get("host"), Some(host), "{uri}");
        assert_eq!(request.get("authorization"), authorization, "{uri}");
        assert_eq!(request.get("upgrade"), Some("websocket"));
        assert_eq!(request.get("connection"), Some("Upgrade"));
        assert_eq!(request.get("sec-websocket-version"), Some("13"));
        assert_eq!(request.get("sec-websocket-key").unwrap().len(), 24);
        assert_eq!(request.get("origin"), None);
    }
}

#[tokio::test]
async fn headers_of_the_application_arrive_in_every_request() {
    let client = Client::new()
        .header("cookie", "a=1")
        .header("x-tag", "one")
        .append_header("X-Tag", "two")
        .header("origin", "https://example.com")
        .header("authorization", "Bearer 3f2a");
    for _ in 0..2 {
        let request = request_to(&client, "ws://user:password@example.com/").await;
        assert_eq!(request.get("cookie"), Some("a=1"));
        assert_eq!(request.all("x-tag"), ["one", "two"]);
        assert_eq!(request.get("origin"), Some("https://example.com"));
        assert_eq!(request.get("authorization"), Some("Bearer 3f2a"));
    }
}

// `client.clone().header("authorization", new)` sent the old line and the new one; two cookies made
// two `Cookie` lines, which RFC 6265 section 5.4 and RFC 9110 section 5.3 forbid.
#[tokio::test]
async fn setting_a_header_replaces_it_and_cookies_are_one_line() {
    let client = Client::new()
        .header("authorization", "Bearer old")
        .append_header("cookie", "a=1")
        .append_header("Cookie", "b=2");
    let mut more = http::HeaderMap::new();
    more.append("x-tag", "one".parse().unwrap());
    more.append("x-tag", "two".parse().unwrap());
    let other = client.clone().header("Authorization", "Bearer new").headers(more);
    let request = request_to(&other, "ws://user:password@example.com/").await;
    assert_eq!(request.all("authorization"), ["Bearer new"]);
    assert_eq!(request.all("cookie"), ["a=1; b=2"]);
    assert_eq!(request.all("x-tag"), ["one", "two"]);
    let request = request_to(&client.header("cookie", "c=3"), "ws://example.com/").await;
    assert_eq!(request.all("authorization"), ["Bearer old"]);
    assert_eq!(request.all("cookie"), ["c=3"]);
}

#[tokio::test]
async fn the_response_of_the_server_is_there_for_its_headers() {
    let lines = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: test\r\n";
    let (address, serving) = answering(|request| switching(request, lines).into_bytes()).await;
    let (ws, response) = Client::new().connect_with_response(uri(address)).await.unwrap();
    assert_eq!(response.status(), 101);
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(response.headers()["server"], "test");
    assert_eq!(ws.peer_addr(), Some(address));
    drop((ws, serving));
}

#[tokio::test]
async fn a_connection_over_a_stream_of_ones_own_is_like_any_other() {
    let (near, far) = tokio::io::duplex(64);
    let server = tokio::spawn(async move { echo(tautline::accept(far).await.unwrap()).await });
    let mut ws = Client::new().connect_over("ws://example.com/", near).await.unwrap();
    assert_eq!(*ws.peer(), tautline::Peer::unknown());
    assert_eq!(ws.peer_addr(), None);
    expect_echo(&mut ws, "hello").await;
    ws.close().await.unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_close_in_the_same_segment_as_the_101_is_a_clean_end() {
    let close = encode(false, FIN | CLOSE, &close_body(1013, "full"));
    let (address, serving) =
        answering(move |request| [switching(request, "").as_bytes(), &close].concat()).await;
    let mut ws = connect(uri(address)).await.unwrap();
    let hanging_up = async { drop(serving.await.unwrap()) };
    let (end, ()) = future::join(ws.next(), hanging_up).await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!(ws.close_frame().unwrap().to_string(), "1013 full");
}
