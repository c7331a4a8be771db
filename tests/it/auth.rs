//! Who may come in: credentials, over every way to a WebSocket, and the refusals.

use std::net::SocketAddr;

use http::Request;
use tautline::auth::{self, AuthError, Challenge};
use tautline::{Client, ConnectError, Http2, Http2Config, Server, Upgrade, UpgradeRequest};

use crate::support::handshake::{Http, answer_to, bind, echo, expect_echo, request_with, uri};
use crate::support::http2::{RawClient, connect_request, connect_with};
use crate::support::log::Log;

const TOKEN: &str = "3f2a-91";

/// A server that lets in whom this function knows, and asks the others for a token.
async fn serve(
    set_up: impl FnOnce(Server) -> Server,
    known: fn(&UpgradeRequest) -> Result<bool, AuthError>,
) -> SocketAddr {
    let (server, address) = bind().await;
    let serving = set_up(server).authorize(move |request| async move {
        match known(&request).and_then(|known| known.then_some(()).ok_or(AuthError::Invalid)) {
            Ok(()) => {
                let upgrade = Upgrade::new(());
                let offers = request.subprotocols();
                Ok(match offers.first() {
                    Some(&first) => upgrade.subprotocol(first),
                    None => upgrade,
                })
            }
            Err(error) => Err(Challenge::bearer("chat").response(error)),
        }
    });
    tokio::spawn(serving.serve_with(|ws, ()| echo(ws)));
    address
}

async fn by_bearer(set_up: impl FnOnce(Server) -> Server) -> SocketAddr {
    serve(set_up, |request| Ok(auth::bearer(request.headers())?.matches(TOKEN))).await
}

fn bearer(token: &str) -> Client {
    Client::new().header("authorization", format!("Bearer {token}"))
}

/// The refusal of this connection: its status and `WWW-Authenticate`.
async fn refusal(client: Client, uri: String) -> (u16, String) {
    match client.connect(uri).await {
        Err(ConnectError::Refused(response)) => {
            let asked = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
            (response.status().as_u16(), asked)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bearer_token_lets_in_and_a_refusal_asks_for_one_rfc6750() {
    let address = by_bearer(|server| server).await;
    let mut ws = bearer(TOKEN).connect(uri(address)).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    let asked = |code: &str| format!("Bearer realm=\"chat\"{code}");
    for (client, status, code) in [
        (Client::new(), 401, ""),
        (Client::new().header("authorization", "Basic YTpi"), 401, ""),
        (bearer("3f2a-9"), 401, ", error=\"invalid_token\""),
        (bearer("3f2a-911"), 401, ", error=\"invalid_token\""),
        (bearer("3f2a 91"), 400, ", error=\"invalid_request\""),
        (
            bearer(TOKEN).append_header("authorization", "Bearer x"),
            400,
            ", error=\"invalid_request\"",
        ),
    ] {
        assert_eq!(refusal(client, uri(address)).await, (status, asked(code)));
    }
}

// The client makes the header of the userinfo of its URI.
#[tokio::test]
async fn basic_credentials_come_from_the_uri_of_a_client() {
    let address = serve(
        |server| server,
        |request| Ok(auth::basic(request.headers())?.matches("ada", "open sesame")),
    )
    .await;
    let mut ws = tautline::connect(format!("ws://ada:open%20sesame@{address}/")).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    for userinfo in ["ada:open", "bob:open%20sesame", ":open%20sesame"] {
        let refused = refusal(Client::new(), format!("ws://{userinfo}@{address}/")).await;
        assert_eq!(refused.0, 401, "{userinfo}");
    }
}

// What a browser can send: cookies, by itself; a token among the subprotocols, or in the query.
#[tokio::test]
async fn a_page_can_send_a_cookie_a_subprotocol_or_a_query() {
    let known = |request: &UpgradeRequest| {
        let (headers, uri) = (request.headers(), request.uri());
        let found = auth::cookie(headers, "session")
            .or_else(|_| auth::subprotocol(headers, "bearer"))
            .or_else(|_| auth::subprotocol_prefix(headers, "bearer."))
            .or_else(|_| auth::query(uri, "access_token"));
        Ok(found?.matches(TOKEN))
    };
    let address = serve(|server| server, known).await;
    let page = || Client::new().header("origin", format!("http://{address}"));
    let cookie = page().header("cookie", format!("theme=dark; session={TOKEN}"));
    expect_echo(&mut cookie.connect(uri(address)).await.unwrap(), "hello").await;
    // The server answers with what comes first, and never with the token.
    for (offers, answer) in [(["bearer", TOKEN], "bearer"), (["chat", "bearer.3f2a-91"], "chat")] {
        let mut ws = page().subprotocols(offers).connect(uri(address)).await.unwrap();
        assert_eq!(ws.subprotocol(), Some(answer));
        expect_echo(&mut ws, "hello").await;
    }
    let with_query = format!("{}?access_token={TOKEN}", uri(address));
    expect_echo(&mut page().connect(with_query).await.unwrap(), "hello").await;

    let wrong = [
        (page().header("cookie", "session=3f2a"), uri(address)),
        (page().subprotocols(["bearer", "3f2a"]), uri(address)),
        (page().subprotocols(["bearer.3f2a"]), uri(address)),
        (page(), format!("{}?access_token=3f2a", uri(address))),
        (page(), uri(address)),
    ];
    for (client, uri) in wrong {
        assert_eq!(refusal(client, uri.clone()).await.0, 401, "{uri}");
    }
}

// Cross-site WebSocket hijacking (Next.js CVE-2026-27977, mailpit CVE-2026-22689 and others): the
// browser adds the cookie to the connection of any page.
#[tokio::test]
async fn a_cookie_does_not_let_in_a_page_of_another_origin() {
    let known = |request: &UpgradeRequest| Ok(auth::cookie(request.headers(), "s")?.matches(TOKEN));
    let address = serve(|server| server.http2(Http2Config::new()), known).await;
    for origin in ["https://evil.test", "null", "http://evil-example.com"] {
        let lines = format!("Cookie: s={TOKEN}\r\nOrigin: {origin}\r\n");
        assert_eq!(answer_to(address, request_with(&lines)).await.0.status(), 403, "{origin}");
        let cookie = format!("s={TOKEN}");
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        let mut client = RawClient::connect(address).await;
        assert_eq!(client.answer_to(connect_with(&headers)).await.0, 403, "{origin}");
    }
    let lines = format!("Cookie: s={TOKEN}\r\nOrigin: https://example.com\r\n");
    let mut http = Http::connect(address).await;
    http.write(request_with(&lines)).await;
    assert_eq!(http.head().await.status(), 101);
}

// Mattermost CVE-2025-55070, hoverfly CVE-2025-54376 and ecnepsnai CVE-2021-4236: what protected the
// pages did not protect the WebSockets, or only one of the ways to them.
#[tokio::test]
async fn every_way_to_a_websocket_goes_through_the_hook() {
    let address = by_bearer(|server| server.http2(Http2Config::new())).await;
    assert_eq!(answer_to(address, request_with("")).await.0.status(), 401);
    // With a target in absolute form.
    let absolute = String::from_utf8(request_with("")).unwrap();
    let absolute = absolute.replace("/chat", "http://example.com/chat");
    assert_eq!(answer_to(address, absolute).await.0.status(), 401);
    let mut client = RawClient::connect(address).await;
    assert_eq!(client.answer_to(connect_request()).await.0, 401);
    let (with_token, line) =
        (format!("Bearer {TOKEN}"), format!("Authorization: Bearer {TOKEN}\r\n"));
    let headers = [("authorization", with_token.as_str())];
    assert_eq!(client.ask(connect_with(&headers)).await.unwrap().0.status(), 200);
    // Each stream for itself, whatever the connection was let in for before.
    assert_eq!(client.answer_to(connect_request()).await.0, 401);
    let mut ws = bearer(TOKEN).http2(Http2::Prior).connect(uri(address)).await.unwrap();
    expect_echo(&mut ws, "hello").await;

    // After other requests of the same connection, beside an application.
    let (server, address) = bind().await;
    let serving = server.service(Pages).authorize(|request| async move {
        match auth::bearer(request.headers()) {
            Ok(token) if token.matches(TOKEN) => Ok(Upgrade::new(())),
            _ => Err(Challenge::bearer("chat").response(AuthError::Missing)),
        }
    });
    tokio::spawn(serving.serve_with(|ws, ()| echo(ws)));
    for (lines, status) in [("", 401), (line.as_str(), 101)] {
        let mut http = Http::connect(address).await;
        http.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(http.head().await.status(), 204);
        http.write(request_with(lines)).await;
        assert_eq!(http.head().await.status(), status);
    }
    let mut client = RawClient::connect(address).await;
    assert_eq!(client.answer_to(connect_request()).await.0, 401);
}

/// An application without content.
#[derive(Clone)]
struct Pages;

impl tower_service::Service<Request<tautline::RequestBody>> for Pages {
    type Response = http::Response<http_body_util::Empty<bytes::Bytes>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<tautline::RequestBody>) -> Self::Future {
        let mut response = http::Response::new(http_body_util::Empty::new());
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        std::future::ready(Ok(response))
    }
}

// Beside headers, a token may be in the query and among the subprotocols.
#[tokio::test]
async fn no_event_shows_credentials() {
    let log = Log::default();
    let _guard = log.start();
    let address = by_bearer(|server| server).await;
    for token in ["s3cr3t", "s3cr3t s3cr3t"] {
        let client = bearer(token).header("cookie", "session=s3cr3t");
        let client = client.subprotocols(["bearer", "s3cr3t"]);
        let refused = client.connect(format!("{}?token=s3cr3t", uri(address))).await.unwrap_err();
        assert!(!format!("{refused:?} {refused}").contains("s3cr3t"));
    }
    let client = bearer(TOKEN).subprotocols(["bearer", "s3cr3t"]);
    expect_echo(&mut client.connect(uri(address)).await.unwrap(), "hello").await;
    let log = log.text();
    assert!(log.contains("refused") && !log.contains("s3cr3t") && !log.contains(TOKEN), "{log}");
}
