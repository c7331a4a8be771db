//! A server whose WebSockets are streams of HTTP/2 connections (RFC 8441).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, Response, Version};
use tautline::{
    Acceptor, Client, CloseCode, Compression, Config, ConnectError, HeadLimits, Http2, Http2Config,
    Message, OriginPolicy, Server, Upgrade, WebSocket, connect,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::support::handshake::{HandlerResult, Identity, answer_to, bind, echo, expect_echo, uri};
use crate::support::http2::{RawClient, connect_request, connect_to, connect_with, stoppable};
use crate::support::peer::{CLOSE, FIN, PING, PONG, TEXT, close_body};

/// A running server for both versions of HTTP.
async fn serve<F, Fut>(set_up: impl FnOnce(Server) -> Server, handler: F) -> SocketAddr
where
    F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    let (server, address) = bind().await;
    tokio::spawn(set_up(server.http2(Http2Config::new())).serve(handler));
    address
}

async fn echo_server(set_up: impl FnOnce(Server) -> Server) -> SocketAddr {
    serve(set_up, echo).await
}

fn prior() -> Client {
    Client::new().http2(Http2::Prior)
}

// RFC 9113 section 3.3: prior knowledge. HTTP/1.1 stays on the same port, for a WebSocket and for
// what a browser asks first.
#[tokio::test]
async fn a_plain_port_serves_both_versions() {
    let address =
        echo_server(|server| server.fallback(|_, _| async { Response::new("page".into()) })).await;
    let mut ws = prior().connect(uri(address)).await.unwrap();
    assert_eq!(ws.http_version(), Version::HTTP_2);
    assert_eq!(*ws.peer(), tautline::Peer::from(address));
    expect_echo(&mut ws, "over HTTP/2").await;
    ws.close().await.unwrap();
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::NORMAL);
    let mut ws = connect(uri(address)).await.unwrap();
    assert_eq!(ws.http_version(), Version::HTTP_11);
    expect_echo(&mut ws, "over HTTP/1.1").await;
    let (head, body) = answer_to(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((head.status(), body.as_str()), (200, "page"));
}

// RFC 7301: the server takes HTTP/2 from who offers it, and HTTP/1.1 from who does not.
#[tokio::test]
async fn a_tls_port_serves_what_alpn_selects() {
    let identity = Identity::for_names(&["localhost", "127.0.0.1"]);
    let tls = identity.server();
    let address = serve(
        |server| server.tls(tls),
        |mut ws| async move {
            let peer = ws.peer().clone();
            ws.send(format!("{:?} {}", ws.http_version(), peer.is_secure())).await?;
            echo(ws).await
        },
    )
    .await;
    let uri = format!("wss://localhost:{}/", address.port());
    for (mode, version) in [
        (Http2::Auto, Version::HTTP_2),
        (Http2::Prior, Version::HTTP_2),
        (Http2::Never, Version::HTTP_11),
    ] {
        let mut ws = identity.client().http2(mode).connect(&uri).await.unwrap();
        assert_eq!(ws.http_version(), version, "{mode:?}");
        assert!(ws.peer().is_secure());
        let said = format!("{version:?} true");
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(said.as_str()));
        expect_echo(&mut ws, "hello").await;
    }
    // Who offers nothing speaks HTTP/1.1, even if it begins as HTTP/2 does.
    let stream = identity.connect(TcpStream::connect(address).await.unwrap()).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let client = RawClient::over(stream, &h2::client::Builder::new()).await;
    assert!(client.driving.await.unwrap().is_err());
    // Both, in the order that a browser has.
    let mut config = identity.client_config();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn streams_of_one_connection_do_not_disturb_each_other() {
    let address = echo_server(|server| server).await;
    let mut client = RawClient::connect(address).await;
    let (mut one, mut other) = (client.open().await, client.open().await);
    one.expect_echo("one").await;
    other.expect_echo("other").await;
    one.send(FIN | CLOSE, close_body(1000, ""));
    one.expect(FIN | CLOSE, close_body(1000, "")).await;
    one.expect_end().await;
    other.expect_echo("still here").await;
    client.open().await.expect_echo("a third").await;
}

// Firefox sends each message in DATA of its own, and other clients whatever their buffers hold.
#[tokio::test]
async fn frames_are_cut_into_data_anywhere() {
    let address = echo_server(|server| server).await;
    let mut stream = RawClient::connect(address).await.open().await;
    let frame = stream.encode(FIN | TEXT, "x".repeat(300));
    for byte in &frame {
        stream.write(vec![*byte], false);
    }
    stream.expect(FIN | TEXT, "x".repeat(300)).await;
    // Empty DATA is no end, and a header may be split behind any byte.
    for at in 1..8 {
        stream.write(frame[..at].to_vec(), false);
        stream.write(Vec::new(), false);
        stream.write(frame[at..].to_vec(), false);
        stream.expect(FIN | TEXT, "x".repeat(300)).await;
    }
    let both = [stream.encode(FIN | TEXT, "a"), stream.encode(FIN | TEXT, "b")].concat();
    stream.write(both, false);
    stream.expect(FIN | TEXT, "a").await;
    stream.expect(FIN | TEXT, "b").await;
}

// Chromium sends its Close and END_STREAM in one DATA; without an answer its page sees 1006.
#[tokio::test]
async fn a_close_with_the_end_of_the_stream_is_answered_with_both() {
    let address = echo_server(|server| server).await;
    let mut client = RawClient::connect(address).await;
    let mut stream = client.open().await;
    let frames =
        [stream.encode(FIN | TEXT, "last"), stream.encode(FIN | CLOSE, close_body(3000, "bye"))];
    stream.write(frames.concat(), true);
    stream.expect(FIN | TEXT, "last").await;
    stream.expect(FIN | CLOSE, close_body(3000, "bye")).await;
    stream.expect_end().await;
    client.open().await.expect_echo("the connection goes on").await;
}

// RFC 8441 section 5: END_STREAM is what FIN is to TCP.
#[tokio::test]
async fn the_end_of_the_stream_without_a_close_is_a_lost_connection() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let address = serve(
        |server| server,
        move |mut ws| {
            let ends = ends.clone();
            async move {
                while let Some(message) = ws.next().await {
                    ends.send(message)?;
                }
                Ok(())
            }
        },
    )
    .await;
    let mut client = RawClient::connect(address).await;
    let mut stream = client.open().await;
    let frame = stream.encode(FIN | TEXT, "last");
    stream.write(frame, true);
    assert_eq!(ended.recv().await.unwrap().unwrap(), Message::from("last"));
    let error = ended.recv().await.unwrap().unwrap_err();
    assert!(matches!(error, tautline::Error::ConnectionLost), "{error:?}");
    // A request that ends its stream at once is accepted, and lost.
    let (response, _stream) = client.ask_and(connect_request(), true).await.unwrap();
    assert_eq!(response.status(), 200);
    let error = ended.recv().await.unwrap().unwrap_err();
    assert!(matches!(error, tautline::Error::ConnectionLost), "{error:?}");
}

// RFC 8441 section 5 has no key; HAProxy forwards one. nghttpx and HAProxy send the scheme of
// their front, whatever the hop to the server is.
#[tokio::test]
async fn what_proxies_leave_in_a_request_is_not_held_against_it() {
    let address = echo_server(|server| server).await;
    let mut client = RawClient::connect(address).await;
    for request in [
        connect_with(&[("sec-websocket-key", "x")]),
        connect_with(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("host", "example.com")]),
        connect_to("https://example.com/chat", Some("websocket"), &[]),
        connect_to("http://example.com/chat", Some("WebSocket"), &[("te", "trailers")]),
    ] {
        let (response, mut stream) = client.ask(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers().get("sec-websocket-accept").is_none());
        stream.expect_echo("hello").await;
    }
}

#[tokio::test]
async fn a_bad_request_hears_why_and_the_connection_goes_on() {
    let limits = HeadLimits::new().max_bytes(4000).max_line_bytes(1000).max_headers(20);
    let address = echo_server(|server| server.acceptor(Acceptor::new().head_limits(limits))).await;
    let mut client = RawClient::connect(address).await;
    let websocket = Some("websocket");
    let plain =
        |method| Request::builder().method(method).uri("http://example.com/").body(()).unwrap();
    let many: Vec<String> = (0..20).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let long = format!("http://example.com/{}", "x".repeat(1000));
    for (request, status, said) in [
        (connect_to("http://example.com/", Some("webtransport"), &[]), 501, ":protocol"),
        (connect_to("http://example.com/", Some("connect-udp"), &[]), 501, ":protocol"),
        (connect_to("example.com:80", None, &[]), 400, ":protocol is missing"),
        (connect_to("ws://example.com/", websocket, &[]), 400, ":scheme"),
        (connect_with(&[("sec-websocket-version", "12")]), 400, "Sec-WebSocket-Version"),
        (connect_with(&[("content-length", "5")]), 400, "Content-Length"),
        (connect_with(&[("host", "example.org")]), 400, "Host"),
        (connect_with(&[("origin", "http://example.org")]), 403, "example.org"),
        (connect_with(&many), 431, "20 header lines"),
        (connect_to(&long, websocket, &[]), 414, "1000 bytes"),
        (plain(Method::GET), 405, "CONNECT"),
        (plain(Method::POST), 405, "CONNECT"),
    ] {
        let (got, body) = client.answer_to(request).await;
        assert_eq!(got, status, "{body}");
        assert!(body.contains(said), "{body} has no {said}");
    }
    // What is longer than SETTINGS_MAX_HEADER_LIST_SIZE is refused by HTTP/2 itself.
    let long = "x".repeat(5000);
    let (response, _) = client.ask(connect_with(&[("cookie", &long)])).await.unwrap();
    assert_eq!(response.status(), 431);
    client.open().await.expect_echo("hello").await;
}

// Browsers that see RST_STREAM right after an answer take the connection for broken, and use
// HTTP/1.1 from then on (dotnet/aspnetcore#42328).
#[tokio::test]
async fn an_answer_without_a_body_ends_the_stream_and_does_not_reset_it() {
    let refusing = Server::bind("127.0.0.1:0").await.unwrap().http2(Http2Config::new());
    let address = refusing.local_addr().unwrap();
    let serving = refusing
        .authorize(|_| async {
            Err::<Upgrade, _>(Response::builder().status(404).body(Bytes::new()).unwrap())
        })
        .serve(echo);
    tokio::spawn(serving);
    let mut client = RawClient::connect(address).await;
    let (response, mut stream) = client.ask(connect_request()).await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-length"], "0");
    stream.expect_end().await;
    // A reset would have come before the answer to another request.
    client.ask(connect_request()).await.unwrap();
    stream.end();
}

#[tokio::test]
async fn both_ends_agree_as_over_http_1_1() {
    let (server, address) = bind().await;
    let serving = server
        .http2(Http2Config::new())
        .subprotocols(["chat.v1"])
        .compression(Compression::new())
        .origins(OriginPolicy::SameOrigin)
        .authorize(|request| async move {
            let cookies = request.headers().get_all("cookie").iter();
            let cookies: Vec<_> = cookies.map(|value| value.to_str().unwrap()).collect();
            let said = format!(
                "{} {} {:?} {} {}",
                request.request().method(),
                request.uri(),
                request.subprotocols(),
                cookies.join("; "),
                request.peer().is_secure()
            );
            Ok(Upgrade::new(said).header("set-cookie", "seen=1"))
        })
        .serve_with(|mut ws, said| async move {
            assert_eq!(ws.http_version(), Version::HTTP_2);
            ws.send(said).await?;
            echo(ws).await
        });
    tokio::spawn(serving);
    let client = prior()
        .subprotocols(["chat.v2", "chat.v1"])
        .compression(Compression::new())
        .header("origin", format!("http://{address}"))
        .header("cookie", "a=1; b=2");
    let (mut ws, response) =
        client.connect_with_response(format!("ws://{address}/room?x=1")).await.unwrap();
    assert_eq!(ws.subprotocol(), Some("chat.v1"));
    assert!(ws.compression().is_some());
    assert_eq!(response.headers()["set-cookie"], "seen=1");
    let said =
        format!("CONNECT http://{address}/room?x=1 [\"chat.v2\", \"chat.v1\"] a=1; b=2 false");
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(said.as_str()));
    let large = "compress me ".repeat(100_000);
    expect_echo(&mut ws, &large).await;
}

#[tokio::test]
async fn the_application_decides_and_its_failures_are_answered() {
    let (server, address) = bind().await;
    let serving = server
        .http2(Http2Config::new())
        .acceptor(Acceptor::new().handshake_timeout(Duration::from_millis(300)))
        .authorize(|request| async move {
            match request.uri().path() {
                "/late" => std::future::pending().await,
                "/panic" => panic!("the hook of a test"),
                "/no" => {
                    let refusal = Response::builder().status(401).header("x-why", "no token");
                    let refusal = refusal.header("connection", "close");
                    Err(refusal.body(Bytes::from("who are you?")).unwrap())
                }
                _ => Ok(Upgrade::new(7)),
            }
        })
        .serve_with(|mut ws, number: i32| async move { Ok(ws.send(number.to_string()).await?) });
    tokio::spawn(serving);
    let mut ws = prior().connect(uri(address)).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("7"));
    for (path, status, said) in [
        ("no", 401, "who are you?"),
        ("panic", 500, "internal error\n"),
        ("late", 503, "the server took too long\n"),
    ] {
        match prior().connect(format!("ws://{address}/{path}")).await {
            Err(ConnectError::Refused(response)) => {
                assert_eq!(response.status(), status);
                assert_eq!(response.body(), said);
                assert_eq!(response.version(), Version::HTTP_2);
                assert_eq!(response.headers().contains_key("x-why"), path == "no");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn other_requests_reach_the_fallback() {
    let page = Bytes::from(vec![b'x'; 3_000_000]);
    let whole = page.clone();
    let address = echo_server(|server| {
        server.fallback(move |request, peer| {
            let page = page.clone();
            async move {
                assert_eq!(request.version(), Version::HTTP_2);
                assert!(!peer.is_secure());
                let status = if request.uri().path() == "/early" { 103 } else { 200 };
                Response::builder().status(status).body(page).unwrap()
            }
        })
    })
    .await;
    // A window of the smallest kind: the page arrives in many pieces.
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1000);
    let mut client = RawClient::with(address, &builder).await;
    let plain = |method, path| {
        let uri = format!("http://example.com{path}");
        Request::builder().method(method).uri(uri).body(()).unwrap()
    };
    let (response, mut slow) = client.ask_and(plain(Method::GET, "/"), true).await.unwrap();
    assert_eq!(response.headers()["content-length"], "3000000");
    let mut stream = client.open().await;
    stream.expect_echo("beside a page that is not read").await;
    assert_eq!(slow.body().await.as_bytes(), whole);
    let (response, mut head) = client.ask_and(plain(Method::HEAD, "/"), true).await.unwrap();
    assert_eq!((response.status().as_u16(), head.body().await.as_str()), (200, ""));
    assert_eq!(response.headers()["content-length"], "3000000");
    // An interim status would promise an answer that never comes.
    let (status, _) = client.answer_to(plain(Method::GET, "/early")).await;
    assert_eq!(status, 500);
}

#[tokio::test]
async fn a_dropped_connection_is_closed_as_its_handler_ended() {
    let address = serve(
        |server| server,
        |mut ws| async move {
            match ws.next().await {
                Some(Ok(message)) if message.as_text() == Some("fail") => Err("told to".into()),
                Some(Ok(message)) if message.as_text() == Some("panic") => panic!("told to"),
                _ => Ok(()),
            }
        },
    )
    .await;
    let mut client = RawClient::connect(address).await;
    for (text, code) in [("return", 1000), ("fail", 1011), ("panic", 1011)] {
        let mut stream = client.open().await;
        stream.send(FIN | TEXT, text);
        stream.expect(FIN | CLOSE, close_body(code, "")).await;
        stream.send(FIN | CLOSE, close_body(code, ""));
        stream.expect_end().await;
        stream.end();
    }
}

#[tokio::test]
async fn a_stream_is_kept_alive_by_pings_of_its_own() {
    let config = Config::new();
    let config = config.ping_interval(Duration::from_millis(20));
    let config = config.ping_timeout(Duration::from_millis(300));
    let address = echo_server(|server| server.config(config)).await;
    let mut stream = RawClient::connect(address).await.open().await;
    for _ in 0..3 {
        let ping = stream.recv().await.unwrap();
        assert_eq!(ping.first, FIN | PING);
        stream.send(FIN | PONG, &ping.payload);
    }
    // Without an answer the stream ends.
    loop {
        match stream.recv().await {
            Some(frame) if frame.first == FIN | PING => {}
            Some(frame) => {
                assert_eq!((frame.first, &frame.payload[..2]), (FIN | CLOSE, &[3, 243][..]));
                break;
            }
            None => panic!("no Close"),
        }
    }
}

#[tokio::test]
async fn a_shutdown_closes_every_stream_and_then_the_connection() {
    let (address, stop, serving) = stoppable().await;
    // One that opens no stream. Connections are accepted in their order.
    let idle = RawClient::connect(address).await;
    let mut client = RawClient::connect(address).await;
    let (mut one, mut other) = (client.open().await, client.open().await);
    stop.send(()).unwrap();
    for stream in [&mut one, &mut other] {
        stream.expect(FIN | CLOSE, close_body(1001, "")).await;
        stream.send(FIN | CLOSE, close_body(1001, ""));
        stream.expect_end().await;
        stream.end();
    }
    serving.await.unwrap().unwrap();
    // GOAWAY came, without an error: whoever asks now is told, and may ask elsewhere.
    let error = client.ask(connect_request()).await.err().unwrap();
    assert!(error.is_go_away() && error.reason() == Some(Reason::NO_ERROR), "{error:?}");
    client.driving.await.unwrap().unwrap();
    idle.driving.await.unwrap().unwrap();
}

// The connection itself has one place, each stream another.
#[tokio::test]
async fn a_stream_beyond_the_limit_of_connections_is_refused() {
    let address = echo_server(|server| server.max_connections(3)).await;
    let mut client = RawClient::connect(address).await;
    let (mut one, _other) = (client.open().await, client.open().await);
    let error = client.ask(connect_request()).await.err().unwrap();
    assert!(error.is_remote() && error.is_reset(), "{error:?}");
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
    one.expect_echo("undisturbed").await;
    one.send(FIN | CLOSE, close_body(1000, ""));
    one.expect(FIN | CLOSE, close_body(1000, "")).await;
    one.expect_end().await;
    one.end();
    // The place is free soon after.
    let mut again = loop {
        match client.ask(connect_request()).await {
            Ok((_, stream)) => break stream,
            Err(error) => assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM)),
        }
    };
    again.expect_echo("a place is free").await;
}
