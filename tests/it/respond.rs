//! What `Acceptor::respond` decides without I/O is what goes over the wire (RFC 6455 sections 4.2
//! and 4.4).

use bytes::BytesMut;
use http::{Request, Version};
use tautline::{Acceptor, Agreed, Compression, RequestHead, WebSocket};
use tautline_handshake::{HeadLimits, RequestHeadReader, encode_response};

use crate::support::handshake::{Http, bind, request_but, request_with};

fn acceptor() -> Acceptor {
    Acceptor::new().subprotocols(["chat.v2", "chat.v1"]).compression(Compression::best_ratio())
}

/// Requests that are accepted, with more or less agreed on, and requests that are refused.
fn requests() -> Vec<Vec<u8>> {
    let offers = "Sec-WebSocket-Protocol: chat.v1, other\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    vec![
        request_with(""),
        request_with("Origin: http://example.com\r\n"),
        request_with(offers),
        request_with("Sec-WebSocket-Protocol: other\r\n"),
        request_with("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n"),
        request_but("/chat", "http://example.org/chat"),
        // Refused: for the page, the host, the version, the method, and because it is not a
        // WebSocket.
        request_with("Origin: http://example.org\r\n"),
        request_with("Host: example.com\r\n"),
        request_but("Version: 13", "Version: 8"),
        request_but("GET", "POST"),
        request_but("GET", "HEAD"),
        request_but("Upgrade: websocket\r\n", ""),
        request_but("HTTP/1.1", "HTTP/1.0"),
    ]
}

fn parse(request: &[u8]) -> Request<()> {
    let mut reader = RequestHeadReader::new(HeadLimits::default());
    reader.read(&mut BytesMut::from(request)).unwrap().expect("a whole head")
}

/// The answer as decided: its bytes, and what is agreed on.
fn decided(request: &Request<()>) -> (BytesMut, Option<Agreed>) {
    let mut wire = BytesMut::new();
    match acceptor().respond(request) {
        Ok((response, agreed)) => {
            encode_response(&response.map(|()| ""), &mut wire);
            (wire, Some(agreed))
        }
        Err(error) if request.method() == http::Method::HEAD => {
            tautline_handshake::encode_response_to_head(&error.to_response(), &mut wire);
            (wire, None)
        }
        Err(error) => {
            encode_response(&error.to_response(), &mut wire);
            (wire, None)
        }
    }
}

fn agreed_by<S>(ws: &WebSocket<S>) -> Agreed {
    let mut agreed = Agreed::default();
    agreed.subprotocol = ws.subprotocol().map(str::to_owned);
    agreed.compression = ws.compression().copied();
    agreed
}

#[tokio::test]
async fn the_pure_answer_is_the_one_on_the_wire() {
    for bytes in requests() {
        let request = parse(&bytes);
        let (wire, agreed) = decided(&request);
        let (near, far) = tokio::io::duplex(1 << 16);
        let accepting = tokio::spawn(async move { acceptor().accept(far).await });
        let mut http = Http::over(near);
        http.write(&bytes).await;
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let mut sent = vec![0; wire.len()];
        tokio::io::AsyncReadExt::read_exact(&mut http.stream, &mut sent).await.expect(&shown);
        assert_eq!(sent, wire, "{shown}");
        drop(http);
        let accepted = accepting.await.unwrap();
        assert_eq!(accepted.ok().map(|ws| agreed_by(&ws)), agreed, "{shown}");
    }
}

#[tokio::test]
async fn a_server_gives_the_same_answer() {
    let (server, address) = bind().await;
    let server = server
        .subprotocols(["chat.v2", "chat.v1"])
        .compression(Compression::best_ratio())
        .serve(|mut ws| async move { Ok(ws.close().await?) });
    tokio::spawn(server);
    for bytes in requests() {
        let (wire, _) = decided(&parse(&bytes));
        let mut http = Http::connect(address).await;
        http.write(&bytes).await;
        let mut sent = vec![0; wire.len()];
        tokio::io::AsyncReadExt::read_exact(&mut http.stream, &mut sent).await.unwrap();
        assert_eq!(sent, wire, "{}", String::from_utf8_lossy(&bytes));
    }
}

// RFC 8441 section 5: subprotocols, extensions and origin are decided over HTTP/2 as over HTTP/1.1.
#[test]
fn an_extended_connect_is_answered_by_the_same_settings() {
    let request = |origin: &str| {
        Request::connect("https://example.com/chat")
            .version(Version::HTTP_2)
            .header("origin", origin)
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "chat.v1, chat.v2")
            .header("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")
            .body(())
            .unwrap()
            .into_parts()
            .0
    };
    let parts = request("https://example.com");
    let head = RequestHead::from(&parts).with_protocol(Some("websocket"));
    let (response, agreed) = acceptor().respond(head).unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v2");
    assert_eq!(agreed.subprotocol.as_deref(), Some("chat.v2"));
    assert_eq!(agreed.compression, Some(Compression::best_ratio()));

    let parts = request("https://example.org");
    let head = RequestHead::from(&parts).with_protocol(Some("websocket"));
    let refused = acceptor().respond(head).unwrap_err().to_response();
    assert_eq!(refused.status(), 403);
    assert!(!refused.headers().contains_key("connection"));
}
