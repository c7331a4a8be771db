//! A client that would use HTTP/2, and servers that do not carry WebSockets over it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join;
use h2::Reason;
use http::Version;
use tautline::{Client, ClientTls, ConnectError, Http2, Http2Config, Http2Error, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::handshake::{
    Http, Identity, bind, echo, echo_server, expect_echo, switching, uri,
};
use crate::support::http2::{
    ACK, DATA, END_HEADERS, Frames, HEADERS, PING, PREFACE, RawServer, SETTINGS, connecting, frame,
    raw_server,
};
use crate::support::peer::{FIN, TEXT};

/// Until when what should happen at once must have happened.
const SOON: Duration = Duration::from_secs(20);

fn prior() -> Client {
    Client::new().http2(Http2::Prior)
}

#[tokio::test]
async fn prior_knowledge_that_is_wrong_is_told() {
    // HTTP/2 without WebSockets.
    let (address, _servers) = raw_server(h2::server::Builder::new()).await;
    let error = prior().connect(uri(address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoHttp2), "{error:?}");
    assert!(!error.is_retryable());
    // HTTP/1.1 alone: what it answers is no HTTP/2.
    let address = echo_server(|server| server).await;
    let error = prior().connect(uri(address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io(_) | ConnectError::NoHttp2), "{error:?}");
    // `Auto` asks nobody without TLS.
    let mut ws = Client::new().http2(Http2::Auto).connect(uri(address)).await.unwrap();
    assert_eq!(ws.http_version(), Version::HTTP_11);
    expect_echo(&mut ws, "hello").await;
}

// Settings of rustls that offer `h2`, as those for HTTP/2 do, had it selected, and HTTP/1.1 was spoken
// then.
#[tokio::test]
async fn http_1_1_is_not_spoken_where_h2_was_selected() {
    let identity = Identity::for_names(&["localhost"]);
    let (server, address) = bind().await;
    let server = server.tls(identity.server()).http2(Http2Config::new());
    tokio::spawn(server.serve(echo));
    for offered in [&[&b"h2"[..], b"http/1.1"][..], &[b"h2"]] {
        let mut config = identity.client_config();
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let client = Client::new().tls(ClientTls::from_config(config));
        let uri = format!("wss://localhost:{}/", address.port());
        let mut ws = client.connect(&uri).await.unwrap();
        assert_eq!(ws.http_version(), Version::HTTP_11);
        expect_echo(&mut ws, "hello").await;
        let stream = TcpStream::connect(address).await.unwrap();
        let mut ws = client.connect_over(&uri, stream).await.unwrap();
        ws.close().await.unwrap();
        let mut ws = client.http2(Http2::Auto).connect(&uri).await.unwrap();
        assert_eq!(ws.http_version(), Version::HTTP_2);
        expect_echo(&mut ws, "hello").await;
    }
}

/// A listener inside TLS that selects these protocols, the preferred one first.
struct Secure {
    identity: Identity,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Secure {
    async fn selecting(protocols: &[&[u8]]) -> Self {
        let identity = Identity::for_names(&["localhost"]);
        let mut config = identity.server_config();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { identity, listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    fn uri(&self) -> String {
        format!("wss://localhost:{}/", self.listener.local_addr().unwrap().port())
    }

    fn client(&self) -> Client {
        self.identity.client().http2(Http2::Auto)
    }

    /// The next connection, and what was selected.
    async fn accept(&self) -> (TlsStream<TcpStream>, Option<Vec<u8>>) {
        let stream = self.acceptor.accept(self.listener.accept().await.unwrap().0).await.unwrap();
        let selected = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        (stream, selected)
    }

    /// Opens a WebSocket over HTTP/1.1 on the next connection.
    async fn upgrade(&self) -> Http<TlsStream<TcpStream>> {
        let (stream, selected) = self.accept().await;
        assert_eq!(selected.as_deref(), Some(&b"http/1.1"[..]));
        let mut server = Http::over(stream);
        let request = server.head().await;
        server.write(switching(&request, "")).await;
        server.stream.flush().await.unwrap();
        server
    }
}

#[tokio::test]
async fn auto_uses_the_connection_over_which_http_1_1_was_selected() {
    let secure = Secure::selecting(&[b"http/1.1"]).await;
    let client = secure.client();
    for _ in 0..2 {
        let (ws, _server) = join(client.connect(secure.uri()), secure.upgrade()).await;
        assert_eq!(ws.unwrap().http_version(), Version::HTTP_11);
    }
    // No connection came beside these.
    assert!(secure.listener.accept().now_or_never().is_none());
}

#[tokio::test]
async fn auto_falls_back_where_http_2_carries_no_websocket_and_remembers() {
    let secure = Secure::selecting(&[b"h2", b"http/1.1"]).await;
    let client = secure.client();
    let serving = async {
        let (stream, selected) = secure.accept().await;
        assert_eq!(selected.as_deref(), Some(&b"h2"[..]));
        let server = RawServer::over(stream, &h2::server::Builder::new()).await;
        (server, secure.upgrade().await)
    };
    let (ws, (mut server, _upgraded)) = join(client.connect(secure.uri()), serving).await;
    assert_eq!(ws.unwrap().http_version(), Version::HTTP_11);
    assert!(server.request().await.is_none(), "a request without the setting");
    // RFC 8441 section 3. Now it is known, by clones too.
    let client = client.clone();
    let (ws, _upgraded) = join(client.connect(secure.uri()), secure.upgrade()).await;
    assert_eq!(ws.unwrap().http_version(), Version::HTTP_11);
}

// python-h2 sends the setting in a second frame, behind a first one with 0.
#[tokio::test]
async fn a_setting_that_comes_right_after_the_first_ones_counts() {
    let secure = Secure::selecting(&[b"h2", b"http/1.1"]).await;
    let serving = async {
        let mut server = Frames(secure.accept().await.0);
        let mut preface = vec![0; PREFACE.len()];
        server.0.read_exact(&mut preface).await.unwrap();
        // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 section 3).
        let settings = |value| frame(SETTINGS, 0, 0, &[0, 8, 0, 0, 0, value]);
        server.write(&settings(0)).await;
        // The client has seen the first, asks whether more is coming, and waits for the answer.
        let (_, ping) = server.expect(PING).await;
        server.write(&settings(1)).await;
        server.write(&frame(PING, ACK, 0, &ping)).await;
        let (stream, _) = server.expect(HEADERS).await;
        // `:status: 200` of the static table (RFC 7541 appendix A).
        server.write(&frame(HEADERS, END_HEADERS, stream, &[0x88])).await;
        let hello = tautline_wire::encode(false, FIN | TEXT, b"hello");
        server.write(&frame(DATA, 0, stream, &hello)).await;
        server
    };
    let (ws, _server) = join(secure.client().connect(secure.uri()), serving).await;
    let mut ws = ws.unwrap();
    assert_eq!(ws.http_version(), Version::HTTP_2);
    assert!(ws.peer().is_secure());
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("hello"));
}

// A server that wanted HTTP/1.1 for its WebSockets, and allowed them by its setting, could not be used
// (RFC 9113 section 7).
#[tokio::test]
async fn a_server_that_requires_http_1_1_for_a_stream_gets_it() {
    let secure = Secure::selecting(&[b"h2", b"http/1.1"]).await;
    let client = secure.client();
    let serving = async {
        let (stream, selected) = secure.accept().await;
        assert_eq!(selected.as_deref(), Some(&b"h2"[..]));
        let mut server = RawServer::over(stream, &connecting()).await;
        server.request().await.unwrap().1.send_reset(Reason::HTTP_1_1_REQUIRED);
        (server, secure.upgrade().await)
    };
    let both = join(client.connect(secure.uri()), serving);
    let (ws, _servers) = timeout(SOON, both).await.expect("HTTP/1.1 is asked for");
    assert_eq!(ws.unwrap().http_version(), Version::HTTP_11);
    // Who wants nothing but HTTP/2 is told.
    let (address, mut servers) = raw_server(connecting()).await;
    let serving = async {
        let mut server = servers.recv().await.unwrap();
        server.request().await.unwrap().1.send_reset(Reason::HTTP_1_1_REQUIRED);
        server
    };
    let (result, _server) = join(prior().connect(uri(address)), serving).await;
    let error = result.unwrap_err();
    let told = Http2Error::of(&error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(told, Http2Error::Reset { code: 13 });
    assert!(told.to_string().contains("HTTP/1.1"), "{told}");
}
