//! What a client does after an answer that is not 101: redirections (RFC 9110 section 15.4), fresh
//! credentials after 401 (section 11.4), and cookies (RFC 6265).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tautline::cookie_store::CookieStore;
use tautline::{
    Client, ConnectError, ConnectStage, CookieJar, Http2, Http2Config, RedirectError, Upgrade,
    UriError,
};

use crate::support::handshake::{Identity, answering, bind, switching, uri};

/// What a server was asked for: paths, and the headers of each request.
type Asked = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A server that redirects these paths, each with its `Location`, sets a cookie with each
/// redirection, and opens WebSockets for all others.
async fn redirecting(routes: &[(&str, String)]) -> (SocketAddr, Asked) {
    let (server, address) = bind().await;
    let asked = Asked::default();
    let routes: HashMap<String, String> =
        routes.iter().map(|(path, to)| ((*path).to_owned(), to.clone())).collect();
    let (routes, seen) = (Arc::new(routes), asked.clone());
    let serving = server
        .authorize(move |request| {
            let path = request.uri().path().to_owned();
            seen.lock().unwrap().push((path.clone(), request.headers().clone()));
            let to = routes.get(&path).cloned();
            async move {
                let Some(to) = to else { return Ok(Upgrade::new(())) };
                let response = Response::builder()
                    .status(302)
                    .header("location", to)
                    .header("set-cookie", format!("seen={}; HttpOnly", &path[1..]));
                Err(response.body(Bytes::new()).unwrap())
            }
        })
        .serve_with(|mut ws, ()| async move { Ok(ws.send("hello").await?) });
    tokio::spawn(serving);
    (address, asked)
}

fn seen(asked: &Asked, name: &HeaderName) -> Vec<(String, Option<String>)> {
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let asked = asked.lock().unwrap();
    asked.iter().map(|(path, headers)| (path.clone(), headers.get(name).map(text))).collect()
}

fn paths(asked: &Asked) -> Vec<String> {
    asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
}

#[tokio::test]
async fn redirections_are_refusals_unless_they_are_to_be_followed() {
    let (address, asked) = redirecting(&[("/old", "/new".into())]).await;
    let uri = format!("ws://{address}/old");
    match Client::new().connect(&uri).await {
        Err(ConnectError::Refused(answer)) => assert_eq!(answer.headers()["location"], "/new"),
        other => panic!("{other:?}"),
    }
    let mut ws = Client::new().redirects(1).connect(&uri).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
    assert_eq!(paths(&asked), ["/old", "/old", "/new"]);
}

#[tokio::test]
async fn servers_that_redirect_to_each_other_end_at_the_limit() {
    let (address, asked) = redirecting(&[("/a", "/b".into()), ("/b", "/a".into())]).await;
    match Client::new().redirects(3).connect(format!("ws://{address}/a")).await {
        Err(ConnectError::Redirect(RedirectError::TooMany { limit: 3, .. })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(paths(&asked), ["/a", "/b", "/a", "/b"]);
}

// ws 8 (1f72e2e1) and python's websockets 16.0 sent the credentials of one server to another.
#[tokio::test]
async fn credentials_stay_with_their_server_for_good() {
    let (other, at_other) = redirecting(&[]).await;
    let (back, at_back) = redirecting(&[]).await;
    let (middle, at_middle) = redirecting(&[("/on", format!("ws://{back}/end"))]).await;
    let routes = [
        ("/same", "/there".into()),
        ("/other", format!("http://{other}/")),
        ("/middle", format!("ws://{middle}/on")),
    ];
    let (first, at_first) = redirecting(&routes).await;
    let client = Client::new().redirects(5).header("cookie", "a=1");
    let basic = "Basic dTpw";
    for path in ["same", "other", "middle"] {
        client.connect(format!("ws://u:p@{first}/{path}")).await.unwrap();
    }
    let with = |path: &str| (path.to_owned(), Some(basic.to_owned()));
    let without = |path: &str| (path.to_owned(), None);
    let expected = [with("/same"), with("/there"), with("/other"), with("/middle")];
    assert_eq!(seen(&at_first, &AUTHORIZATION), expected);
    for name in [AUTHORIZATION, COOKIE] {
        assert_eq!(seen(&at_other, &name), [without("/")]);
        assert_eq!(seen(&at_middle, &name), [without("/on")]);
        assert_eq!(seen(&at_back, &name), [without("/end")]);
    }
    // Of a request, and marked by the application; and not again on the way back.
    let (there, at_there) = redirecting(&[("/", format!("ws://{first}/end"))]).await;
    let (from, at_from) = redirecting(&[("/", format!("ws://{there}/"))]).await;
    let mut key = HeaderValue::from_static("key");
    key.set_sensitive(true);
    let request = Request::get(uri(from)).header("x-key", key).header("x-tag", "tag").body(());
    client.bearer("3f2a").connect(request.unwrap()).await.unwrap();
    let secret = HeaderName::from_static("x-key");
    assert_eq!(seen(&at_from, &secret), [("/".to_owned(), Some("key".to_owned()))]);
    assert_eq!(seen(&at_there, &secret), [without("/")]);
    assert_eq!(seen(&at_there, &AUTHORIZATION), [without("/")]);
    assert_eq!(seen(&at_there, &HeaderName::from_static("x-tag"))[0].1.as_deref(), Some("tag"));
    assert_eq!(seen(&at_first, &AUTHORIZATION).last(), Some(&without("/end")));
}

#[tokio::test]
async fn what_was_encrypted_is_never_sent_in_plain_text() {
    let (plain, at_plain) = redirecting(&[]).await;
    let identity = Identity::for_names(&["localhost"]);
    let (server, address) = bind().await;
    let serving = server
        .tls(identity.server())
        .http2(Http2Config::new())
        .authorize(move |_| async move {
            let to = Response::builder().status(301).header("location", format!("http://{plain}/"));
            Err::<Upgrade<()>, _>(to.body(Bytes::new()).unwrap())
        })
        .serve_with(|_, ()| async { Ok(()) });
    tokio::spawn(serving);
    for http2 in [Http2::Never, Http2::Auto] {
        let client = identity.client().redirects(5).http2(http2);
        match client.connect(format!("wss://localhost:{}/", address.port())).await {
            Err(ConnectError::Redirect(RedirectError::Insecure)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(paths(&at_plain), [""; 0]);
}

#[tokio::test]
async fn a_location_that_cannot_be_used_is_named() {
    for (to, expected) in [
        ("http://user:password@127.0.0.1/", UriError::Credentials),
        ("ftp://127.0.0.1/", UriError::Scheme),
        ("ws+unix:/run/other.sock", UriError::Scheme),
    ] {
        let (address, _) = redirecting(&[("/", to.into())]).await;
        match Client::new().redirects(5).connect(uri(address)).await {
            Err(ConnectError::Redirect(RedirectError::Location(error))) => {
                assert_eq!(error, expected, "{to}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_jar_keeps_the_cookies_of_every_answer() {
    let routes = [("/one", "/two".into()), ("/two", "/three".into())];
    let (address, asked) = redirecting(&routes).await;
    let jar = Arc::new(Mutex::new(CookieStore::default()));
    let client = Client::new().cookie_jar(jar.clone()).redirects(5).header("cookie", "own=1");
    client.connect(format!("ws://{address}/one")).await.unwrap();
    let line = |cookies: &str| Some(cookies.to_owned());
    let expected = [
        ("/one".to_owned(), line("own=1")),
        ("/two".to_owned(), line("own=1; seen=one")),
        ("/three".to_owned(), line("own=1; seen=two")),
    ];
    assert_eq!(seen(&asked, &COOKIE), expected);
    // Those of a refusal, without redirections, and those of a 101, on a stream of one's own.
    let jar = Arc::new(Mutex::new(CookieStore::default()));
    let client = Client::new().cookie_jar(jar.clone());
    client.connect(format!("ws://{address}/one")).await.unwrap_err();
    let at = |uri: &str| jar.cookies(&uri.parse().unwrap());
    assert_eq!(at(&format!("ws://{address}/")).unwrap(), "seen=one");
    let (address, serving) =
        answering(|request| switching(request, "Set-Cookie: open=1; Path=/\r\n").into()).await;
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    client.connect_over("ws://chat.test/", stream).await.unwrap();
    assert_eq!(at("wss://chat.test/x").unwrap(), "open=1");
    serving.await.unwrap();
}

/// A server that accepts this token only.
async fn guarded(token: &'static str) -> (SocketAddr, Asked) {
    let (server, address) = bind().await;
    let asked = Asked::default();
    let seen = asked.clone();
    let serving = server
        .authorize(move |request| {
            seen.lock().unwrap().push((request.uri().to_string(), request.headers().clone()));
            let known = request.headers().get(AUTHORIZATION).is_some_and(|value| value == token);
            let answer = Response::builder().status(401).header("www-authenticate", "Bearer");
            let answer = answer.body(Bytes::from("who are you?")).unwrap();
            async move { if known { Ok(Upgrade::new(())) } else { Err(answer) } }
        })
        .serve_with(|_, ()| async { Ok(()) });
    tokio::spawn(serving);
    (address, asked)
}

#[tokio::test]
async fn a_token_that_was_refused_is_replaced_by_a_fresh_one() {
    let (address, asked) = guarded("Bearer fresh").await;
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let noted = attempts.clone();
    let client = Client::new().header("x-tag", "tag").on_request(move |mut attempt| {
        let challenge =
            attempt.previous().map(|answer| answer.headers()["www-authenticate"].clone());
        noted.lock().unwrap().push((attempt.number(), challenge.clone()));
        async move {
            assert_eq!(attempt.headers()["x-tag"], "tag");
            attempt.set_bearer(if challenge.is_some() { "fresh" } else { "stale" })?;
            Ok(attempt)
        }
    });
    client.connect(uri(address)).await.unwrap();
    let values: Vec<_> = seen(&asked, &AUTHORIZATION).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [Some("Bearer stale".to_owned()), Some("Bearer fresh".to_owned())]);
    let challenge = HeaderValue::from_static("Bearer");
    assert_eq!(*attempts.lock().unwrap(), [(1, None), (2, Some(challenge))]);
}

#[tokio::test]
async fn a_hook_without_other_credentials_ends_with_the_refusal() {
    let (address, asked) = guarded("Bearer fresh").await;
    let client = Client::new().on_request(|mut attempt| async move {
        attempt.set_bearer("stale")?;
        Ok(attempt)
    });
    match client.connect(uri(address)).await {
        Err(ConnectError::Refused(answer)) => {
            assert_eq!(
                (answer.status(), &answer.body()[..]),
                (401.try_into().unwrap(), &b"who are you?"[..])
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
    // One that always has others is asked twice more, and no more.
    let client = Client::new().on_request(|mut attempt| async move {
        attempt.set_bearer(attempt.number().to_string())?;
        Ok(attempt)
    });
    let error = client.connect(uri(address)).await.unwrap_err();
    assert_eq!(error.status(), Some(401.try_into().unwrap()));
    assert_eq!(asked.lock().unwrap().len(), 1 + 3);
}

#[tokio::test]
async fn a_hook_may_change_the_uri_and_take_a_header_away() {
    let (address, asked) = redirecting(&[]).await;
    let client = Client::new().header("x-tag", "tag").on_request(|mut attempt| async move {
        let uri = format!("{}?token=3f2a", attempt.uri());
        attempt.set_uri(uri.parse()?);
        attempt.headers_mut().remove("x-tag");
        attempt.headers_mut().remove(AUTHORIZATION);
        Ok(attempt)
    });
    client.connect(format!("ws://user:password@{address}/")).await.unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    client.connect_over(format!("ws://user:password@{address}/"), stream).await.unwrap();
    for (_, headers) in &*asked.lock().unwrap() {
        assert!(!headers.contains_key("x-tag") && !headers.contains_key(AUTHORIZATION));
    }
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_hook_that_fails_or_takes_too_long_is_an_error_and_nothing_is_sent() {
    let (address, asked) = redirecting(&[]).await;
    let client = Client::new().on_request(|_| async move { Err("logged out".into()) });
    match client.connect(uri(address)).await {
        Err(ConnectError::OnRequest(error)) => assert_eq!(error.to_string(), "logged out"),
        other => panic!("{other:?}"),
    }
    let client = Client::new()
        .connect_timeout(std::time::Duration::from_millis(1))
        .on_request(|_| std::future::pending());
    let result = client.connect(uri(address)).await;
    assert!(
        matches!(result, Err(ConnectError::Timeout { stage: ConnectStage::Request, .. })),
        "{result:?}"
    );
    assert_eq!(paths(&asked), [""; 0]);
}
