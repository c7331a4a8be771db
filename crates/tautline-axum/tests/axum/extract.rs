//! What is extracted, and what the settings do.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{HeaderValue, Method, Version};
use tautline::{Acceptor, Client, Compression, Config, OriginPolicy, Peer as Who, WebSocket};
use tautline_axum::WebSocketUpgrade;
use tautline_http::UpgradeLayer;
use tokio::net::TcpListener;

use crate::peer::{Http2, PING, PONG, Peer, TEXT, VERSIONS};
use crate::{echo, serve};

#[tokio::test]
async fn messages_are_echoed_over_both_versions() {
    async fn handler(ws: WebSocketUpgrade) -> Response {
        let ws = ws.protocols(["echo2", "echo"]);
        assert_eq!(ws.selected_protocol(), Some("echo"));
        ws.on_upgrade(|ws| async {
            assert_eq!(ws.subprotocol(), Some("echo"));
            echo(ws).await
        })
    }
    let address = serve(Router::new().route("/chat", any(handler))).await;
    for version in VERSIONS {
        let offer = [("sec-websocket-protocol", "echo3, echo")];
        let (mut peer, head) = Peer::open(address, version, &offer).await;
        assert_eq!(head.status, if version == Version::HTTP_2 { 200 } else { 101 });
        assert_eq!(head.get("sec-websocket-protocol"), Some("echo"));
        peer.expect_echo("foobar").await;
        peer.send(PING, "ping").await;
        let pong = peer.frame().await.unwrap();
        assert_eq!((pong.first, &pong.payload[..]), (PONG, &b"ping"[..]));
        peer.close().await;
    }
}

/// `get` is enough for HTTP/1.1 alone.
#[tokio::test]
async fn a_route_for_get_serves_http1() {
    let handler = |ws: WebSocketUpgrade| async { ws.on_upgrade(echo) };
    let address = serve(Router::new().route("/", get(handler))).await;
    let mut ws = Client::new().connect(format!("ws://{address}/")).await.unwrap();
    ws.send("hello").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
    ws.close().await.unwrap();
}

/// The socket of HTTP/1.1 is taken back, and names the peer; a stream of HTTP/2 has none.
#[tokio::test]
async fn the_socket_is_taken_back() {
    async fn tell(mut ws: WebSocket) {
        let taken_back = ws.get_ref().and_then(|transport| transport.tcp()).is_some();
        let text = format!("{:?} {} {taken_back}", ws.http_version(), ws.peer());
        ws.send(text).await.unwrap();
    }
    let app =
        Router::new().route("/chat", any(|ws: WebSocketUpgrade| async { ws.on_upgrade(tell) }));
    let address = serve(app).await;
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        let seen = match peer.local_addr() {
            Some(addr) => format!("HTTP/1.1 {addr} true"),
            None => "HTTP/2.0 unknown false".to_owned(),
        };
        assert_eq!(peer.text().await, seen);
        assert_eq!(peer.closed().await, 1000);
    }
}

async fn tell_peer(mut ws: WebSocket) -> Result<(), tautline::BoxError> {
    let text = format!("{} {}", ws.peer(), ws.peer().is_secure());
    Ok(ws.send(text).await?)
}

#[tokio::test]
async fn the_peer_is_that_of_connect_info_or_of_an_extension() {
    async fn handler(ws: WebSocketUpgrade, ConnectInfo(addr): ConnectInfo<SocketAddr>) -> Response {
        ws.peer(addr).on_upgrade(tell_peer)
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/chat", any(handler));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await });
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        assert!(peer.text().await.starts_with("127.0.0.1:"), "{version:?}");
    }

    let who = Who::from(SocketAddr::from(([192, 0, 2, 7], 50_000))).with_secure(true);
    let app = Router::new()
        .route("/chat", any(|ws: WebSocketUpgrade| async { ws.on_upgrade(tell_peer) }))
        .layer(Extension(who));
    let address = serve(app).await;
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        assert_eq!(peer.text().await, "192.0.2.7:50000 true");
    }
}

/// axum's own extractor returns them sorted.
#[tokio::test]
async fn offers_come_in_the_clients_order_and_one_can_be_selected() {
    async fn handler(Path(name): Path<String>, mut ws: WebSocketUpgrade) -> Response {
        let offers: Vec<_> = ws.requested_protocols().map(str::to_owned).collect();
        assert_eq!(offers, ["zebra", "ant", "Mole"]);
        assert_eq!(ws.selected_protocol(), None);
        ws.set_selected_protocol(&name);
        // An extractor can be borrowed while a handler awaits something.
        let selected = ws.selected_protocol();
        tokio::task::yield_now().await;
        assert_eq!(selected, (name != "mole").then_some(&*name));
        let mut response = ws.on_upgrade(echo);
        response.headers_mut().insert("x-name", HeaderValue::try_from(name).unwrap());
        response
    }
    let address = serve(Router::new().route("/{name}", any(handler))).await;
    // `mole` is not offered: names are compared case-sensitively.
    for (name, selected) in [("ant", Some("ant")), ("Mole", Some("Mole")), ("mole", None)] {
        let request = crate::peer::REQUEST.replace("/chat", &format!("/{name}"));
        let request = request.replace(
            "\r\nHost",
            "\r\nSec-WebSocket-Protocol: zebra, ant\r\nSec-WebSocket-Protocol: Mole\r\nHost",
        );
        let mut peer = Peer::send_raw(address, request).await;
        let head = peer.head().await;
        assert_eq!(head.get("sec-websocket-protocol"), selected);
        assert_eq!(head.get("x-name"), Some(name));
        peer.expect_echo("hello").await;
    }
}

#[tokio::test]
async fn settings_come_from_the_extractor_or_from_an_acceptor_of_the_application() {
    let own = |ws: WebSocketUpgrade| async {
        let config = Config::new().max_message_size(10);
        let origins = OriginPolicy::list(["https://app.example"]).unwrap();
        let compression = Compression::best_ratio();
        ws.config(config)
            .origins(origins)
            .compression(compression)
            .protocols(["a"])
            .on_upgrade(echo)
    };
    let inherited = |ws: WebSocketUpgrade| async {
        assert_eq!(ws.selected_protocol(), Some("a"));
        ws.on_upgrade(echo)
    };
    let whole = |ws: WebSocketUpgrade, Extension(acceptor): Extension<Acceptor>| async {
        ws.acceptor(acceptor).on_upgrade(echo)
    };
    let acceptor = Acceptor::new()
        .config(Config::new().max_message_size(10))
        .origins(OriginPolicy::Any)
        .compression(Compression::best_ratio())
        .subprotocols(["a"]);
    for app in [
        Router::new().route("/chat", any(own)),
        Router::new().route("/chat", any(inherited)).layer(Extension(acceptor.clone())),
        Router::new().route("/chat", any(whole)).layer(Extension(acceptor)),
    ] {
        let address = serve(app).await;
        for version in VERSIONS {
            let headers = [
                ("origin", "https://app.example"),
                ("sec-websocket-protocol", "a"),
                ("sec-websocket-extensions", "permessage-deflate"),
            ];
            let (mut peer, head) = Peer::open(address, version, &headers).await;
            assert_eq!(head.get("sec-websocket-protocol"), Some("a"));
            assert!(head.get("sec-websocket-extensions").is_some());
            peer.send(TEXT, "longer than ten bytes").await;
            assert_eq!(peer.closed().await, 1009);
        }
    }
}

#[tokio::test]
async fn a_route_can_have_a_page_as_well() {
    async fn handler(ws: Option<WebSocketUpgrade>) -> Response {
        match ws {
            Some(ws) => ws.on_upgrade(echo),
            None => "a page".into_response(),
        }
    }
    let address = serve(Router::new().route("/chat", any(handler))).await;
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        peer.expect_echo("hello").await;
        let (head, _) =
            Peer::ask(address, version, &[("origin", "http://x.example")]).await.refusal().await;
        assert_eq!(head.status, 403);
    }
    let request = "GET /chat HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let (head, body) = Peer::send_raw(address, request).await.refusal().await;
    assert_eq!((head.status, &body[..]), (200, "a page"));
    let (_, body) = Http2::connect(address).await.plain(Method::GET, "/chat").refusal().await;
    assert_eq!(body, "a page");
    // It asks, and not validly.
    let request = crate::peer::REQUEST.replace("Version: 13", "Version: 8");
    let (head, _) = Peer::send_raw(address, request).await.refusal().await;
    assert_eq!(head.status, 426);
}

#[tokio::test]
async fn state_and_nested_routers_work_as_for_any_handler() {
    async fn handler(
        State(greeting): State<&'static str>,
        Path(room): Path<String>,
        ws: WebSocketUpgrade,
    ) -> Response {
        ws.on_upgrade(async move |mut ws: WebSocket| {
            ws.send(format!("{greeting} to {room}")).await.unwrap();
            ws.close().await.unwrap();
        })
    }
    let rooms = Router::new().route("/{room}", any(handler));
    let address = serve(Router::new().nest("/rooms", rooms).with_state("welcome")).await;
    let mut ws = Client::new().connect(format!("ws://{address}/rooms/blue")).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("welcome to blue"));
    assert!(ws.next().await.is_none());
    let mut http2 = Http2::connect(address).await;
    let mut peer = http2.ask_for("/rooms/blue", &[]);
    assert_eq!(peer.head().await.status, 200);
    assert_eq!(peer.text().await, "welcome to blue");
}

/// The middleware of tautline-http is a layer for axum too.
#[tokio::test]
async fn the_layer_of_tower_wraps_a_whole_application() {
    let layer = UpgradeLayer::new(|ws, _| echo(ws));
    let app = Router::new().route("/", get(|| async { "a page" })).layer(layer.clone());
    let address = serve(app.fallback_service(Router::new()).layer(layer)).await;
    for version in VERSIONS {
        let peer = Peer::ask(address, version, &[]).await;
        let mut peer = peer;
        assert!(matches!(peer.head().await.status, 101 | 200));
        peer.expect_echo("hello").await;
        peer.close().await;
    }
    let request = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let (_, body) = Peer::send_raw(address, request).await.refusal().await;
    assert_eq!(body, "a page");
}
