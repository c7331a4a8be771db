//! A request becomes a WebSocket, whatever the version of HTTP and the server.

use http::Version;
use hyper_util::rt::TokioIo;
use tautline::{Acceptor, Client, Compression, Connections, Peer as Who, Transport, WebSocket};
use tautline_wire::encode;

use crate::support::peer::{Http2, PING, PONG, Peer, REQUEST, TEXT};
use crate::support::{Answer, By, echo, serve, serve_fn, serve_one, socket};

const EVERY: [(By, Version); 3] =
    [(By::Hyper, Version::HTTP_11), (By::Auto, Version::HTTP_11), (By::Auto, Version::HTTP_2)];

/// The service of an echo. A first message says what the server sees of the connection.
fn echoing(
    acceptor: Acceptor,
    who: Option<Who>,
) -> impl Fn(http::Request<hyper::body::Incoming>) -> std::future::Ready<Answer> + Clone + Send {
    move |mut request| {
        if let Some(who) = &who {
            request.extensions_mut().insert(who.clone());
        }
        let answer = tautline_http::upgrade(&acceptor, &mut request);
        let (response, upgrading) = match answer {
            Ok(answer) => answer,
            Err(refused) => return std::future::ready(Ok(refused.to_response().map(Into::into))),
        };
        Connections::new().spawn(
            async { Some(upgrading.await.unwrap()) },
            |mut ws: WebSocket| async move {
                ws.feed(seen(&ws)).await?;
                echo(ws).await
            },
        );
        std::future::ready(Ok(response.map(|()| Default::default())))
    }
}

fn seen(ws: &WebSocket) -> String {
    let taken_back = socket(ws).map(|socket| socket.nodelay().unwrap());
    format!("{:?} {} {taken_back:?}", ws.http_version(), ws.peer())
}

#[tokio::test]
async fn messages_are_echoed() {
    for (by, version) in EVERY {
        let address = serve_fn(by, echoing(Acceptor::new(), None)).await;
        let (mut peer, head) = Peer::open(address, version, &[]).await;
        let expected = match peer.local_addr() {
            // The socket is taken back, has its options, and says who the peer is.
            Some(addr) => format!("HTTP/1.1 {addr} Some(true)"),
            None => "HTTP/2.0 unknown None".to_owned(),
        };
        assert_eq!(peer.text().await, expected, "{by:?}");
        assert_eq!(head.status, if version == Version::HTTP_2 { 200 } else { 101 });
        peer.expect_echo("hello").await;
        peer.expect_echo(&"long".repeat(20_000)).await;
        peer.send(PING, "are you there").await;
        let pong = peer.frame().await.unwrap();
        assert_eq!((pong.first, &pong.payload[..]), (PONG, &b"are you there"[..]));
        peer.close().await;
    }
}

#[tokio::test]
async fn our_own_client_is_served() {
    for by in [By::Hyper, By::Auto] {
        let address = serve_fn(by, echoing(Acceptor::new(), None)).await;
        let mut ws = Client::new().connect(format!("ws://{address}/")).await.unwrap();
        assert!(ws.next().await.unwrap().unwrap().as_text().unwrap().contains("Some(true)"));
        let long = vec![7; 1_000_000];
        ws.send(long.clone()).await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap().as_bytes(), long);
        ws.close().await.unwrap();
    }
}

#[tokio::test]
async fn subprotocol_and_compression_are_agreed_on() {
    let acceptor =
        || Acceptor::new().subprotocols(["v2", "v1"]).compression(Compression::best_ratio());
    for (by, version) in EVERY {
        let address = serve_fn(by, echoing(acceptor(), None)).await;
        let offers = [
            ("sec-websocket-protocol", "v3, v1"),
            ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ];
        let (_, head) = Peer::open(address, version, &offers).await;
        assert_eq!(head.get("sec-websocket-protocol"), Some("v1"), "{by:?} {version:?}");
        assert!(head.get("sec-websocket-extensions").unwrap().starts_with("permessage-deflate"));
        let (_, head) = Peer::open(address, version, &[]).await;
        assert_eq!(head.get("sec-websocket-protocol"), None);
        assert_eq!(head.get("sec-websocket-extensions"), None);
    }
    let address = serve_fn(By::Auto, echoing(acceptor(), None)).await;
    let client = Client::new().subprotocols(["v1"]).compression(Compression::best_ratio());
    let mut ws = client.connect(format!("ws://{address}/")).await.unwrap();
    assert_eq!(ws.subprotocol(), Some("v1"));
    assert!(ws.compression().is_some());
    ws.next().await.unwrap().unwrap();
    ws.send("again and ".repeat(1000)).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().len(), 10_000);
}

/// A client need not wait for the response before it sends frames that it knows will be taken.
#[tokio::test]
async fn frames_that_come_with_the_request_are_not_lost() {
    for by in [By::Hyper, By::Auto] {
        let address = serve_fn(by, echoing(Acceptor::new(), None)).await;
        let frames = [encode(true, TEXT, b"one"), encode(true, TEXT, b"two")].concat();
        // The last frame is cut in two.
        let (now, later) = frames.split_at(frames.len() - 2);
        let mut peer = Peer::send_raw(address, [REQUEST.as_bytes(), now].concat()).await;
        assert_eq!(peer.head().await.status, 101);
        peer.text().await;
        assert_eq!(peer.text().await, "one");
        peer.write(later.to_vec()).await;
        assert_eq!(peer.text().await, "two");
    }
    let address = serve_fn(By::Auto, echoing(Acceptor::new(), None)).await;
    let mut peer = Peer::ask(address, Version::HTTP_2, &[]).await;
    peer.send(TEXT, "one").await;
    assert_eq!(peer.head().await.status, 200);
    peer.text().await;
    assert_eq!(peer.text().await, "one");
}

#[tokio::test]
async fn one_connection_of_http2_carries_several() {
    let address = serve_fn(By::Auto, echoing(Acceptor::new(), None)).await;
    let mut http2 = Http2::connect(address).await;
    let mut peers: Vec<Peer> = (0..20).map(|_| http2.ask(&[])).collect();
    for peer in &mut peers {
        assert_eq!(peer.head().await.status, 200);
        peer.text().await;
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.expect_echo(&number.to_string()).await;
    }
    for peer in peers {
        peer.close().await;
    }
}

#[tokio::test]
async fn who_the_peer_is_can_be_set_by_an_extension() {
    let named = Who::from(std::net::SocketAddr::from(([192, 0, 2, 7], 50_000)));
    for (by, version) in EVERY {
        let address = serve_fn(by, echoing(Acceptor::new(), Some(named.clone()))).await;
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        assert!(peer.text().await.contains(" 192.0.2.7:50000 "), "{by:?} {version:?}");
    }
}

/// A stream of another type is used through hyper.
#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_served() {
    for by in [By::Hyper, By::Auto] {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let service = hyper::service::service_fn(echoing(Acceptor::new(), None));
        tokio::spawn(serve_one(by, TokioIo::new(far), service));
        let mut ws = Client::new().connect_over("ws://localhost/", near).await.unwrap();
        let seen = ws.next().await.unwrap().unwrap();
        assert_eq!(seen.as_text(), Some("HTTP/1.1 unknown None"));
        ws.send("hello").await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
        ws.close().await.unwrap();
    }
}

/// A server that has made a transport of the socket gets that one back.
#[tokio::test]
async fn a_transport_of_ours_is_taken_back() {
    for by in [By::Hyper, By::Auto] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connecting = tokio::spawn(tautline::connect(format!("ws://{address}/")));
        let transport = Transport::from_tcp(listener.accept().await.unwrap().0).unwrap();
        let service = hyper::service::service_fn(echoing(Acceptor::new(), None));
        tokio::spawn(serve_one(by, TokioIo::new(transport), service));
        let mut ws = connecting.await.unwrap().unwrap();
        let local = socket(&ws).unwrap().local_addr().unwrap();
        let seen = ws.next().await.unwrap().unwrap();
        assert_eq!(seen.as_text().unwrap(), format!("HTTP/1.1 {local} Some(true)"));
    }
}

#[tokio::test]
async fn an_extractor_decides_when_it_knows_the_request() {
    let service = |request: http::Request<hyper::body::Incoming>| async {
        let (mut parts, _) = request.into_parts();
        assert!(tautline_http::PendingUpgrade::is_asked(&parts));
        let pending = tautline_http::PendingUpgrade::take(&mut parts).unwrap();
        assert_eq!(pending.subprotocols(), ["b", "a"]);
        assert_eq!(pending.request().uri().path(), "/chat");
        let acceptor = Acceptor::new().subprotocols(["a", "b"]);
        let (response, upgrading) = pending.accept(&acceptor).unwrap();
        Connections::new().spawn(async { Some(upgrading.await.unwrap()) }, echo);
        Answer::Ok(response.map(|()| Default::default()))
    };
    let address = serve(By::Auto, hyper::service::service_fn(service)).await;
    for version in crate::support::peer::VERSIONS {
        let offer = [("sec-websocket-protocol", "b, a")];
        let (mut peer, head) = Peer::open(address, version, &offer).await;
        assert_eq!(head.get("sec-websocket-protocol"), Some("a"));
        peer.expect_echo("hello").await;
        peer.close().await;
    }
}
