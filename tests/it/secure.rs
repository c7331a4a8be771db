//! `wss` over the user's own streams: never in plain text (RFC 6455 sections 3 and 10.6).

use futures_util::future;
use tautline::{AcceptError, Acceptor, Client, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream};

use crate::support::handshake::{
    Http, Identity, REQUEST, echo, echo_server, expect_echo, switching,
};

// `connect_over("wss://...")` spoke plain text: path, query and credentials were readable by
// everybody on the path.
#[tokio::test]
async fn the_first_bytes_of_wss_over_any_stream_are_a_client_hello() {
    let identity = Identity::for_names(&["example.com"]);
    let client = identity.client().header("authorization", "Bearer secret");
    let (near, mut far) = duplex(1 << 16);
    let uri = "wss://user:password@example.com/path?token=secret";
    let looking = async {
        let mut seen = Vec::new();
        far.read_buf(&mut seen).await.unwrap();
        // A TLS record (RFC 8446 section 5.1) with a ClientHello (section 4): it contains nothing
        // of the request.
        assert_eq!((seen[0], seen[1], seen[5]), (0x16, 0x03, 0x01));
        for secret in ["secret", "token", "path", "dXNlcjpwYXNzd29yZA"] {
            let found = seen.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret}");
        }
        // A peer that continues in plain text is refused.
        far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert!(rest.windows(6).all(|part| part != b"secret"));
    };
    let (result, ()) = future::join(client.connect_over(uri, near), looking).await;
    assert!(matches!(result, Err(ConnectError::Tls(_))), "{result:?}");
}

#[tokio::test]
async fn both_roles_speak_wss_over_any_stream() {
    let identity = Identity::for_names(&["localhost"]);
    let (near, far) = duplex(1 << 12);
    let tls = identity.server();
    let serving = tokio::spawn(async move {
        let ws = Acceptor::new().accept_tls(far, &tls).await.unwrap();
        assert!(ws.get_ref().unwrap().is_tls());
        assert_eq!(ws.get_ref().unwrap().tls().unwrap().server_name(), Some("localhost"));
        echo(ws).await
    });
    let mut ws = identity.client().connect_over("wss://localhost/", near).await.unwrap();
    assert!(ws.get_ref().unwrap().is_tls());
    assert_eq!(ws.get_ref().unwrap().tls().unwrap().peer_certificates().count(), 1);
    expect_echo(&mut ws, "hello").await;
    expect_echo(&mut ws, &"long".repeat(50_000)).await;
    ws.close().await.unwrap();
    serving.await.unwrap().unwrap();
}

// The certificate must be for the host of the URI, whatever the stream leads to.
#[tokio::test]
async fn the_name_is_verified_over_any_stream() {
    let identity = Identity::for_names(&["example.com"]);
    let (near, far) = duplex(1 << 12);
    let tls = identity.server();
    let serving = tokio::spawn(async move { Acceptor::new().accept_tls(far, &tls).await });
    let result = identity.client().connect_over("wss://localhost/", near).await;
    assert!(matches!(result, Err(ConnectError::Tls(_))), "{result:?}");
    assert!(matches!(serving.await.unwrap(), Err(AcceptError::Tls(_))));
}

#[tokio::test]
async fn a_client_in_plain_text_is_refused_by_accept_tls() {
    let tls = Identity::for_names(&["localhost"]).server();
    let (near, far) = duplex(1 << 12);
    let mut peer = Http::over(near);
    peer.write(REQUEST).await;
    let result = Acceptor::new().accept_tls(far, &tls).await;
    assert!(matches!(result, Err(AcceptError::Tls(_))), "{result:?}");
}

/// A proxy that answers one CONNECT (RFC 9110 section 9.3.6) and forwards bytes from then on.
async fn proxy(listener: TcpListener) {
    let mut client = Http::over(listener.accept().await.unwrap().0);
    let request = client.head().await;
    let target = request.first.strip_prefix("CONNECT ").unwrap();
    let target = target.strip_suffix(" HTTP/1.1").unwrap();
    let mut server = TcpStream::connect(target).await.unwrap();
    client.write("HTTP/1.1 200 Connection established\r\n\r\n").await;
    let _ = copy_bidirectional(&mut client.stream, &mut server).await;
}

#[tokio::test]
async fn wss_goes_through_a_tunnel() {
    let identity = Identity::for_names(&["localhost"]);
    let tls = identity.server();
    let address = echo_server(|server| server.tls(tls)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut tunnel = Http::connect(listener.local_addr().unwrap()).await;
    tokio::spawn(proxy(listener));
    tunnel.write(format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    assert_eq!(tunnel.head().await.status(), 200);
    let uri = format!("wss://localhost:{}/", address.port());
    let mut ws = identity.client().connect_over(uri, tunnel.stream).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    ws.close().await.unwrap();
}

// For a stream that is already encrypted, there is a method whose name says so.
#[tokio::test]
async fn the_handshake_alone_adds_no_tls_and_says_so_by_its_name() {
    let (near, far) = duplex(1 << 12);
    let mut peer = Http::over(far);
    let answering = async {
        let request = peer.head().await;
        assert_eq!(request.first, "GET /feed HTTP/1.1");
        peer.write(switching(&request, "")).await;
    };
    let client = Client::new();
    let opening = client.handshake_over("wss://example.com/feed", near);
    let (ws, ()) = future::join(opening, answering).await;
    ws.unwrap();
}
