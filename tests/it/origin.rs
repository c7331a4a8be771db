//! Whose pages may connect (RFC 6455 section 10.2). The default is the server's own, as cookies
//! come with every connection of a browser, whichever page opens it.

use std::net::SocketAddr;

use tautline::{Client, ConnectError, OriginPolicy, Upgrade, text_response};

use crate::support::handshake::{
    Http, answer_to, bind, echo, echo_server, expect_echo, request_but, request_with, uri,
};

/// Connects as a page of this origin and returns the status that refused it.
async fn refused(address: SocketAddr, origin: &str) -> Option<u16> {
    let client = Client::new().header("origin", origin);
    match client.connect(uri(address)).await {
        Ok(mut ws) => {
            expect_echo(&mut ws, "hello").await;
            None
        }
        Err(ConnectError::Refused(response)) => {
            assert!(response.body().starts_with(b"the Origin "), "{origin}");
            Some(response.status().as_u16())
        }
        Err(error) => panic!("{origin}: {error}"),
    }
}

// Bypassed elsewhere: `null` in Next.js (CVE-2026-27977), a suffix in webpack-dev-server, no check
// at all in many.
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
    let line = "Origin: http://example.com\r\n";
    let (head, body) = answer_to(address, request_with([line, line].concat())).await;
    assert_eq!((head.status(), body.as_str()), (403, "duplicate Origin header\n"));
}

#[tokio::test]
async fn a_client_that_is_no_page_sends_no_origin_and_is_let_in() {
    for policy in [
        OriginPolicy::SameOrigin,
        OriginPolicy::Any,
        OriginPolicy::list(["https://example.com"]).unwrap(),
    ] {
        let address = echo_server(|server| server.origins(policy)).await;
        let mut ws = tautline::connect(uri(address)).await.unwrap();
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

// Applications in a web view, browser extensions, sandboxed frames and devices with a fixed URL
// could only be allowed together with everybody else, and so could subdomains.
#[tokio::test]
async fn a_list_lets_in_origins_that_are_not_the_webs_and_subdomains() {
    let names = [
        "null",
        "file://",
        "capacitor://localhost",
        "chrome-extension://abcdefghijklmnop",
        "vscode-webview://0pq3s9r1k",
        "http://device.local/index.html",
    ];
    let policy = OriginPolicy::list(names.into_iter().chain(["https://*.example.com"])).unwrap();
    let address = echo_server(|server| server.origins(policy)).await;
    for origin in names.into_iter().chain(["https://a.example.com", "https://b.a.example.com"]) {
        assert_eq!(refused(address, origin).await, None, "{origin}");
    }
    for origin in [
        "https://example.com",
        "https://evil-example.com",
        "http://a.example.com",
        "chrome-extension://another",
        "http://device.local/other.html",
        "http://device.local",
        "capacitor://evil",
        "file:///etc/passwd",
    ] {
        assert_eq!(refused(address, origin).await, Some(403), "{origin}");
    }
}

// What no list can say: here, an origin for each Host.
#[tokio::test]
async fn a_predicate_decides_by_the_origin_and_the_headers() {
    let policy = OriginPolicy::predicate(|origin, headers| {
        let host = headers["host"].to_str().unwrap_or_default();
        origin == format!("app://{host}")
    });
    let address = echo_server(|server| server.origins(policy)).await;
    assert_eq!(refused(address, &format!("app://{address}")).await, None);
    assert_eq!(refused(address, "app://other").await, Some(403));
    let mut ws = tautline::connect(uri(address)).await.unwrap();
    expect_echo(&mut ws, "no Origin, no question").await;
}

// "the Origin is not allowed" does not help an operator whose proxy rewrites `Host`.
#[tokio::test]
async fn a_refusal_names_both_sides_in_the_body_and_in_the_log() {
    let log = crate::support::log::Log::default();
    let _guard = log.start();
    let list = OriginPolicy::list(["https://a.test", "https://*.b.test"]).unwrap();
    for (policy, body, logged) in [
        (
            OriginPolicy::SameOrigin,
            "the Origin https://page.test is not that of the Host example.com\n",
            "origin=\"https://page.test\" host=\"example.com\" allowed=the Host",
        ),
        (
            list,
            "the Origin https://page.test is not among those allowed here\n",
            "origin=\"https://page.test\" allowed=https://a.test, https://*.b.test",
        ),
    ] {
        let address = echo_server(|server| server.origins(policy)).await;
        let lines = "Origin: https://page.test?token=secret\r\nCookie: secret\r\n";
        let (head, received) = answer_to(address, request_with(lines)).await;
        assert_eq!((head.status(), received.as_str()), (403, body));
        let log = log.text();
        assert!(log.contains(logged), "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
}

// The hook may decide about the origin itself, with `Any`.
#[tokio::test]
async fn the_hook_sees_the_origin_and_can_decide_about_it() {
    let (server, address) = bind().await;
    let serving = server
        .origins(OriginPolicy::Any)
        .authorize(|request| async move {
            match request.origin() {
                Some(origin) if origin != "https://a.test" => {
                    Err(text_response(http::StatusCode::FORBIDDEN, "the Origin is none of ours\n"))
                }
                _ => Ok(Upgrade::new(())),
            }
        })
        .serve(echo);
    tokio::spawn(serving);
    assert_eq!(refused(address, "https://a.test").await, None);
    assert_eq!(refused(address, "https://b.test").await, Some(403));
}

// RFC 9112 section 3.2.2: with a target in absolute form, `Host` is ignored; so it is for the
// origin.
#[tokio::test]
async fn the_host_of_an_absolute_target_is_the_one_that_counts() {
    let address = echo_server(|server| server).await;
    for (origin, status) in [("http://other.test", 101), ("http://example.com", 403)] {
        let request = String::from_utf8(request_with(format!("Origin: {origin}\r\n"))).unwrap();
        let mut peer = Http::connect(address).await;
        peer.write(request.replace("/chat", "http://other.test/chat")).await;
        assert_eq!(peer.head().await.status(), status, "{origin}");
    }
}

#[tokio::test]
async fn any_lets_in_everybody() {
    let address = echo_server(|server| server.origins(OriginPolicy::Any)).await;
    for origin in ["null", "https://evil.test", "", "nonsense"] {
        assert_eq!(refused(address, origin).await, None, "{origin}");
    }
}

// The hook is asked only about requests of allowed origins: it need not check again.
#[tokio::test]
async fn a_page_of_another_origin_does_not_reach_the_hook() {
    let (server, address) = bind().await;
    let serving = server
        .authorize(|_| async { panic!("asked about a page of another origin") })
        .serve_with(|_, ()| async { Ok(()) });
    tokio::spawn(serving);
    for (request, status) in [
        (request_with("Origin: https://evil.test\r\n"), 403),
        (request_but("Version: 13", "Version: 12"), 426),
    ] {
        assert_eq!(answer_to(address, request).await.0.status(), status);
    }
}
