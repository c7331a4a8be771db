//! Requests that are not upgraded, and what is answered (RFC 6455 sections 4.2.1, 4.2.2 and 4.4,
//! RFC 8441 section 5).

use std::future::ready;

use http::{Method, Request, Version};
use hyper::ext::Protocol;
use tautline::{Acceptor, HandshakeError, OriginPolicy};
use tautline_http::Refused;

use crate::support::peer::{Http2, Peer, REQUEST};
use crate::support::{By, serve_fn};

/// A server that upgrades nothing else, and is asked for nothing that it accepts.
async fn refusing(by: By) -> std::net::SocketAddr {
    serve_fn(by, |mut request| {
        let refused = tautline_http::upgrade(&Acceptor::new(), &mut request).unwrap_err();
        ready(Ok(refused.to_response().map(Into::into)))
    })
    .await
}

#[tokio::test]
async fn over_http1_each_cause_has_its_status() {
    for by in [By::Hyper, By::Auto] {
        let address = refusing(by).await;
        let but = |part, by| REQUEST.replacen(part, by, 1);
        for (request, status, text) in [
            (but("Version: 13", "Version: 8"), 426, "Sec-WebSocket-Version is not 13\n"),
            (but("Sec-WebSocket-Version: 13\r\n", ""), 426, "Sec-WebSocket-Version is missing\n"),
            (but("Upgrade: websocket\r\n", ""), 426, "Upgrade does not list websocket\n"),
            (but("Connection: Upgrade\r\n", ""), 426, "Connection does not list Upgrade\n"),
            (but("Key: dGhl", "Kez: dGhl"), 400, "Sec-WebSocket-Key is missing\n"),
            (but("dGhl", "dGh"), 400, "Sec-WebSocket-Key is not base64 of 16 bytes\n"),
            (but("GET", "POST"), 405, "the method is not GET\n"),
            (but("Host: example.com\r\n", ""), 400, "Host is missing\n"),
            (but("Host", "Origin: http://example.org\r\nHost"), 403, "http://example.org"),
        ] {
            let (head, body) = Peer::send_raw(address, &request).await.refusal().await;
            assert_eq!(head.status, status, "{request}{body}");
            assert!(body.contains(text), "{request}{body}");
            let version = (status == 426).then_some("13");
            assert_eq!(head.get("sec-websocket-version"), version, "{request}");
            assert_eq!(head.get("allow"), (status == 405).then_some("GET"), "{request}");
        }
        let request = but("HTTP/1.1", "HTTP/1.0");
        let answer = Peer::send_raw(address, request).await.all().await;
        assert!(answer.starts_with("HTTP/1.0 505 "), "{answer}");
    }
}

#[tokio::test]
async fn over_http2_each_cause_has_its_status() {
    let address = refusing(By::Auto).await;
    for (name, value, status) in [
        ("origin", "http://example.org", 403),
        ("sec-websocket-version", "8", 400),
        ("sec-websocket-protocol", "a, a", 400),
        ("host", "example.org", 400),
    ] {
        let peer = Peer::ask(address, Version::HTTP_2, &[(name, value)]).await;
        let (head, body) = peer.refusal().await;
        assert_eq!(head.status, status, "{name}: {body}");
        assert_eq!(head.get("connection"), None);
    }
    let (head, body) = Http2::connect(address).await.plain(Method::GET, "/chat").refusal().await;
    assert_eq!((head.status, head.get("allow")), (405, Some("CONNECT")), "{body}");
}

/// An extended CONNECT, as hyper makes it of a request, except for its connection.
fn connect(headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::connect("https://example.com/chat")
        .version(Version::HTTP_2)
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// RFC 9113 section 8.2.2. `h2` refuses such a request itself, with a reset, before a service sees
/// it; another implementation might not.
#[test]
fn headers_of_the_connection_are_refused_over_http2() {
    for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket"), ("te", "gzip")] {
        let refused = tautline_http::upgrade(&Acceptor::new(), &mut connect(&[(name, value)]));
        let refused = refused.unwrap_err();
        assert_eq!(refused.status(), 400, "{name}");
        assert!(matches!(refused, Refused::Handshake(HandshakeError::Connect(_))), "{name}");
    }
    let accepted = tautline_http::upgrade(&Acceptor::new(), &mut connect(&[("te", "trailers")]));
    assert_eq!(accepted.unwrap_err(), Refused::NotUpgradable);
}

#[test]
fn another_protocol_than_websocket_is_refused() {
    let mut request = connect(&[]);
    request.extensions_mut().insert(Protocol::from_static("connect-udp"));
    let refused = tautline_http::upgrade(&Acceptor::new(), &mut request).unwrap_err();
    assert_eq!(refused.status(), 501);
    request.extensions_mut().remove::<Protocol>();
    let refused = tautline_http::upgrade(&Acceptor::new(), &mut request).unwrap_err();
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn an_upgrade_that_was_taken_before_is_not_there() {
    let address = serve_fn(By::Auto, |mut request| {
        let acceptor = Acceptor::new();
        let first = tautline_http::upgrade(&acceptor, &mut request);
        assert!(first.is_ok());
        let refused = tautline_http::upgrade(&acceptor, &mut request).unwrap_err();
        assert_eq!(refused, Refused::NotUpgradable);
        ready(Ok(refused.to_response().map(Into::into)))
    })
    .await;
    for version in crate::support::peer::VERSIONS {
        let (head, body) = Peer::ask(address, version, &[]).await.refusal().await;
        let text = "the connection of this request cannot be upgraded\n";
        assert_eq!((head.status, &body[..]), (500, text));
    }
}

/// The policy of origins is that of the acceptor.
#[tokio::test]
async fn an_origin_that_is_allowed_is_accepted() {
    let address = serve_fn(By::Auto, |mut request| {
        let origins = OriginPolicy::list(["http://example.org"]).unwrap();
        let acceptor = Acceptor::new().origins(origins);
        let (response, _) = tautline_http::upgrade(&acceptor, &mut request).unwrap();
        ready(Ok(response.map(|()| Default::default())))
    })
    .await;
    for version in crate::support::peer::VERSIONS {
        Peer::open(address, version, &[("origin", "http://example.org")]).await;
    }
}
