//! Whose pages may connect (RFC 6455 section 10.2). The default is the server's own, as cookies come with every connection
//! of a browser, whichever page opens it.

use std::net::SocketAddr;

use tautline::{Client, ConnectError, OriginPolicy};

use crate::support::handshake::{Http, echo_server, expect_echo, request_but, request_with};

/// Connects as a page of this origin and gives the status that refused it.
async fn refused(address: SocketAddr, origin: &str) -> Option<u16> {
    let client = Client::new().header("origin", origin);
    match client.connect(format!("ws://{address}/")).await {
        Ok(mut ws) => {
            expect_echo(&mut ws, "hello").await;
            None
        }
        Err(ConnectError::Refused(response)) => {
            assert_eq!(response.body(), "the Origin is not allowed\n", "{origin}");
            Some(response.status().as_u16())
        }
        Err(error) => panic!("{origin}: {error}"),
    }
}

// Bypassed elsewhere: `null` in Next.js (CVE-2026-27977), a suffix in webpack-dev-server, no check at all in many.
#[tokio::test]
async fn by_default_the_origin_is_the_host_that_was_asked() {
    let address = echo_server(|server| server).await;
    let port = address.port();
    let own = [format!("http://{address}"), format!("HTTPS://127.0.0.1:{port}")];
    for origin in own {
        assert_eq!(refused(address, &origin).await, None, "{origin}");
    }
    let others = [
        "null".to_owned(),
        String::new(),
        "http://127.0.0.1".into(),
        format!("http://127.0.0.1:{}", if port == 1 { 2 } else { 1 }),
        format!("http://localhost:{port}"),
        format!("http://evil-127.0.0.1:{port}"),
        format!("http://127.0.0.1.evil.test:{port}"),
        format!("http://127.0.0.1:{port}@evil.test"),
        format!("http://evil.test@127.0.0.1:{port}"),
        format!("http://{address}/"),
        format!("http://{address}?"),
        format!("http://{address}#"),
        format!("http://{address} http://evil.test"),
        format!("http://{address}, http://evil.test"),
        format!("//{address}"),
        address.to_string(),
        format!("file://{address}"),
        format!("chrome-extension://{address}"),
        "data:text/html,x".into(),
        "http://[::1".into(),
        "http://".into(),
        "://".into(),
        "a".repeat(10_000),
    ];
    for origin in others {
        assert_eq!(refused(address, &origin).await, Some(403), "{origin}");
    }
}

// RFC 6454 section 4: scheme and host whatever their case, a missing port as the scheme's default.
#[tokio::test]
async fn case_and_default_ports_do_not_make_another_origin() {
    let address = echo_server(|server| server).await;
    for (host, origin, status) in [
        ("Example.com", "https://EXAMPLE.COM", 101),
        ("example.com", "HTTP://example.com:80", 101),
        ("example.com:443", "https://example.com", 101),
        ("example.com", "https://example.com:443", 101),
        ("[0:0::1]:9001", "http://[::1]:9001", 101),
        ("example.com:443", "http://example.com", 403),
        ("example.com", "https://example.com:80", 403),
        ("example.com", "https://sub.example.com", 403),
        ("sub.example.com", "https://example.com", 403),
    ] {
        let mut peer = Http::connect(address).await;
        let request = String::from_utf8(request_with(format!("Origin: {origin}\r\n"))).unwrap();
        peer.write(request.replace("example.com\r\nUpgrade", &format!("{host}\r\nUpgrade"))).await;
        assert_eq!(peer.head().await.status(), status, "{host} {origin}");
    }
}

#[tokio::test]
async fn two_origins_are_refused() {
    let address = echo_server(|server| server).await;
    let mut peer = Http::connect(address).await;
    let line = "Origin: http://example.com\r\n";
    peer.write(request_with([line, line].concat())).await;
    let (head, body) = peer.last_response().await;
    assert_eq!((head.status(), body.as_str()), (403, "Origin stands twice\n"));
}

#[tokio::test]
async fn a_client_that_is_no_page_sends_no_origin_and_is_let_in() {
    for policy in [
        OriginPolicy::SameOrigin,
        OriginPolicy::Any,
        OriginPolicy::list(["https://example.com"]).unwrap(),
    ] {
        let address = echo_server(|server| server.origins(policy)).await;
        let mut ws = tautline::connect(format!("ws://{address}/")).await.unwrap();
        expect_echo(&mut ws, "hello").await;
    }
}

#[tokio::test]
async fn a_list_lets_in_its_members_and_nobody_else() {
    let policy = OriginPolicy::list(["https://example.com", "http://localhost:3000"]).unwrap();
    let address = echo_server(|server| server.origins(policy)).await;
    for origin in ["https://example.com", "https://EXAMPLE.com:443", "http://localhost:3000"] {
        assert_eq!(refused(address, origin).await, None, "{origin}");
    }
    let own = format!("http://{address}");
    for origin in [&own, "null", "http://example.com", "http://localhost", "https://a.example.com"]
    {
        assert_eq!(refused(address, origin).await, Some(403), "{origin}");
    }
}

#[tokio::test]
async fn any_lets_in_everybody() {
    let address = echo_server(|server| server.origins(OriginPolicy::Any)).await;
    for origin in ["null", "https://evil.test", "", "nonsense"] {
        assert_eq!(refused(address, origin).await, None, "{origin}");
    }
}

// The hook is asked only about requests of allowed origins: it need not look again.
#[tokio::test]
async fn a_page_of_another_origin_does_not_reach_the_hook() {
    let (server, address) = crate::support::handshake::bind().await;
    let serving = server
        .on_upgrade(|_| async { panic!("asked about a page of another origin") })
        .serve_with(|_, ()| async { Ok(()) });
    tokio::spawn(serving);
    let mut peer = Http::connect(address).await;
    peer.write(request_with("Origin: https://evil.test\r\n")).await;
    assert_eq!(peer.last_response().await.0.status(), 403);
    let mut peer = Http::connect(address).await;
    peer.write(request_but("Version: 13", "Version: 12")).await;
    assert_eq!(peer.last_response().await.0.status(), 426);
}
