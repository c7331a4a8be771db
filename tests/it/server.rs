//! A server: what its hook and its handler see, and what one connection cannot do to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, future};
use http::{HeaderName, HeaderValue, Response};
use tautline::{
    AcceptError, Acceptor, Client, CloseCode, CloseFrame, ConnectError, HeadLimits, Server,
    Upgrade, connect,
};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::handshake::{
    Http, Identity, REQUEST, answer_to, bind, echo, echo_server, expect_echo, not_to_be_handled,
    request_but, request_with, trickle, uri,
};

#[tokio::test]
async fn the_hook_sees_the_request_and_its_data_reaches_the_handler() {
    let (server, address) = bind().await;
    let serving = server
        .authorize(|request| async move {
            assert_eq!(request.request().method(), "GET");
            let user = request.headers()["x-user"].to_str().unwrap().to_owned();
            let (uri, peer) = (request.uri(), request.peer());
            let offers = request.subprotocols().join("+");
            Ok(Upgrade::new(format!("{user} {uri} {peer} {offers} {}", peer.is_secure())))
        })
        .serve_with(|mut ws, seen| async move {
            assert_eq!(ws.peer().to_string(), seen.split(' ').nth(2).unwrap());
            ws.send(seen).await?;
            Ok(ws.close().await?)
        });
    tokio::spawn(serving);
    let client = Client::new().header("x-user", "alice").subprotocols(["b", "a"]);
    let client = client.subprotocol_required(false);
    let mut ws = client.connect(format!("ws://{address}/room/7?x=%20y")).await.unwrap();
    let local = ws.get_ref().unwrap().tcp().unwrap().local_addr().unwrap();
    let expected = format!("alice /room/7?x=%20y {local} b+a false");
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(expected.as_str()));
    assert!(ws.next().await.is_none());
}

// It was an error, found when the server ran.
#[tokio::test]
async fn a_handler_with_data_needs_no_hook() {
    let (server, address) = bind().await;
    tokio::spawn(server.serve_with(|ws, ()| echo(ws)));
    expect_echo(&mut connect(uri(address)).await.unwrap(), "hello").await;
}

#[tokio::test]
async fn the_hook_refuses_with_a_response_of_its_own() {
    let (server, address) = bind().await;
    let serving = server
        .authorize(|request| async move {
            let status: u16 = request.uri().path()[1..].parse().unwrap();
            let response = Response::builder().status(status).header("www-authenticate", "Basic");
            Err::<Upgrade, _>(response.body("who are you?".into()).unwrap())
        })
        .serve(not_to_be_handled);
    tokio::spawn(serving);
    for status in [401, 404, 503] {
        let request = request_but("/chat", format!("/{status}"));
        let (head, body) = answer_to(address, request).await;
        assert_eq!((head.status(), body.as_str()), (status, "who are you?"));
        assert_eq!(head.get("www-authenticate"), Some("Basic"));
        assert_eq!(head.get("content-length"), Some("12"));
        assert_eq!(head.get("connection"), Some("close"));
    }
    let error = connect(format!("ws://{address}/429")).await.unwrap_err();
    assert_eq!(error.status().unwrap(), 429);
    // The hook must not return 101; the client would read the text as frames.
    let error = connect(format!("ws://{address}/101")).await.unwrap_err();
    assert_eq!(error.status().unwrap(), 500);
}

// RFC 6455 section 4.2.2, steps 5.5 and 5.6; undici CVE-2026-1527 for the line break.
#[tokio::test]
async fn what_the_hook_adds_is_in_the_answer_or_the_answer_is_500() {
    let (server, address) = bind().await;
    let upgrade = |path: &str| {
        let upgrade = Upgrade::new(());
        match path {
            "/good" => {
                let upgrade = upgrade.subprotocol("b").header("set-cookie", "a=1");
                upgrade
                    .append_header(HeaderName::from_static("set-cookie"), HeaderValue::from(2))
                    .header("x-tag", "old")
                    .header("X-Tag", "new")
            }
            "/name" => upgrade.header("set cookie", "a=1"),
            "/value" => upgrade.header("set-cookie", "a=1\r\nX-Injected: 1"),
            "/reserved" => upgrade.header("sec-websocket-extensions", "permessage-deflate"),
            "/body" => upgrade.header("content-length", "3"),
            "/protocol" => upgrade.subprotocol("c"),
            _ => upgrade.subprotocol("a\r\nX-Injected: 1"),
        }
    };
    let serving = server
        .subprotocols(["a"])
        .authorize(move |request| future::ready(Ok(upgrade(request.uri().path()))))
        .serve(echo);
    tokio::spawn(serving);
    let client = Client::new().subprotocols(["a", "b"]);
    for path in ["/name", "/value", "/reserved", "/body", "/protocol", "/injected"] {
        match client.connect(format!("ws://{address}{path}")).await {
            Err(ConnectError::Refused(response)) => {
                assert_eq!(response.status(), 500, "{path}");
                assert_eq!(response.body(), "internal error\n", "{path}");
                assert!(!response.headers().contains_key("x-injected"));
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    // The hook's choice takes precedence over the server's list.
    let uri = format!("ws://{address}/good");
    let (ws, response) = client.connect_with_response(uri).await.unwrap();
    assert_eq!(ws.subprotocol(), Some("b"));
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "2"]);
    let tags: Vec<_> = response.headers().get_all("x-tag").iter().collect();
    assert_eq!(tags, ["new"], "set, not added");
}

// RFC 6455 section 4.2.2, step 5.5: the server's order decides; without a common one there is none.
#[tokio::test]
async fn the_servers_preference_decides_the_subprotocol() {
    let (server, address) = bind().await;
    let serving = server.subprotocols(["v3", "v2", "v1"]).serve(|mut ws| async move {
        let name = ws.subprotocol().unwrap_or("none").to_owned();
        ws.send(name).await?;
        Ok(ws.close().await?)
    });
    tokio::spawn(serving);
    for (offers, chosen) in
        [(&["v1", "v2"][..], Some("v2")), (&["v4", "v1"], Some("v1")), (&["V1"], None), (&[], None)]
    {
        let client = Client::new().subprotocols(offers.iter().copied());
        let mut ws = client.subprotocol_required(false).connect(uri(address)).await.unwrap();
        assert_eq!(ws.subprotocol(), chosen);
        let said = ws.next().await.unwrap().unwrap();
        assert_eq!(said.as_text(), Some(chosen.unwrap_or("none")));
    }
}

#[tokio::test]
async fn a_handler_that_panics_or_fails_ends_its_own_connection_alone() {
    let (server, address) = bind().await;
    let serving = server.max_connections(2).serve(|mut ws| async move {
        while let Some(message) = ws.next().await {
            let message = message?;
            match message.as_text() {
                Some("panic") => panic!("as asked"),
                Some("fail") => return Err("as asked".into()),
                _ => ws.send(message).await?,
            }
        }
        Ok(())
    });
    tokio::spawn(serving);
    let mut witness = connect(uri(address)).await.unwrap();
    // Each returns its place: there are two in total.
    for wish in ["panic", "fail", "panic", "fail"] {
        let mut ws = connect(uri(address)).await.unwrap();
        ws.send(wish).await.unwrap();
        assert!(ws.next().await.is_none());
        assert_eq!(ws.close_frame().unwrap().code(), CloseCode::INTERNAL_ERROR);
        expect_echo(&mut witness, "still here").await;
    }
}

// A panic in the hook or the fallback dropped the connection without a response.
#[tokio::test]
async fn a_hook_or_fallback_that_panics_is_answered_for_with_500() {
    let (server, address) = bind().await;
    let serving = server
        .authorize(|request| async move {
            assert_eq!(request.uri().path(), "/");
            Ok(Upgrade::new(()))
        })
        .fallback(|_, _| -> future::Ready<_> { panic!("as asked") })
        .serve(echo);
    tokio::spawn(serving);
    let error = connect(format!("ws://{address}/panic")).await.unwrap_err();
    assert_eq!(error.status().unwrap(), 500);
    let (head, body) = answer_to(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((head.status(), body.as_str()), (500, "internal error\n"));
    expect_echo(&mut connect(uri(address)).await.unwrap(), "hello").await;
}

#[tokio::test]
async fn no_more_than_max_connections_are_open_and_the_next_waits_for_an_end() {
    let (server, address) = bind().await;
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let serving = server.max_connections(2).serve(move |ws| {
        most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let open = open.clone();
        async move {
            let result = echo(ws).await;
            open.fetch_sub(1, Ordering::SeqCst);
            result
        }
    });
    tokio::spawn(serving);
    let (mut first, mut second) =
        (connect(uri(address)).await.unwrap(), connect(uri(address)).await.unwrap());
    let mut waiting: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn(async move {
                let mut ws = connect(uri(address)).await.unwrap();
                expect_echo(&mut ws, "at last").await;
                ws.close().await.unwrap();
            })
        })
        .collect();
    for _ in 0..50 {
        expect_echo(&mut first, "first").await;
        expect_echo(&mut second, "second").await;
    }
    assert!(!waiting.iter().any(tokio::task::JoinHandle::is_finished));
    first.close().await.unwrap();
    for task in waiting.drain(..) {
        task.await.unwrap();
    }
    expect_echo(&mut second, "second").await;
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

// With a limit of 2, 50 connections were open: their handlers had passed them to another task and
// returned.
#[tokio::test]
async fn a_connection_counts_for_as_long_as_it_lives_whoever_holds_it() {
    let (server, address) = bind().await;
    let (give, mut given) = mpsc::unbounded_channel();
    let serving = server.max_connections(2).serve(move |ws| {
        let give = give.clone();
        async move { Ok(give.send(ws.split())?) }
    });
    tokio::spawn(serving);
    let (first, _second) =
        (connect(uri(address)).await.unwrap(), connect(uri(address)).await.unwrap());
    let (mut reader, writer) = given.recv().await.unwrap();
    let _held = given.recv().await.unwrap();
    let mut third = tokio::spawn(connect(uri(address)));
    for _ in 0..50 {
        // What is accepted would be opened at once.
        let raw = TcpStream::connect(address).await.unwrap();
        drop(raw);
        tokio::task::yield_now().await;
    }
    assert!((&mut third).now_or_never().is_none());
    drop(first);
    assert!(reader.next().await.is_none(), "it heard 1001");
    third.await.unwrap().unwrap();
    drop(writer);
}

// With a queue of 128, most of 5,000 clients that came at once were told to try again after a
// second, or after three. Nothing is accepted here: the queue alone has to hold them.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_queue_takes_a_burst_of_connects_as_far_as_the_system_lets_it() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let burst = most.trim().parse::<usize>().unwrap().min(400);
    let (_server, address) = bind().await;
    let connecting = future::join_all((0..burst).map(|_| TcpStream::connect(address)));
    // Those that the queue does not hold would wait forever.
    let connected = tokio::time::timeout(Duration::from_secs(20), connecting).await.unwrap();
    assert!(connected.iter().all(Result::is_ok));
    // A queue that is set to be short is short.
    let short = Server::bind_with_backlog("127.0.0.1:0", 1).await.unwrap();
    let address = short.local_addr().unwrap();
    let mut connecting: JoinSet<_> = (0..16).map(|_| TcpStream::connect(address)).collect();
    let mut connected = vec![connecting.join_next().await.unwrap().unwrap().unwrap()];
    for _ in 0..50 {
        tokio::task::yield_now().await;
        connected.extend(connecting.try_join_next().map(|done| done.unwrap().unwrap()));
    }
    assert!(connected.len() < 8, "{}", connected.len());
}

// The deadline holds from the first moment, TLS included. With a single place, each is disconnected
// only if the one before released it.
#[tokio::test]
async fn a_handshake_that_stalls_is_cut_and_its_place_is_free() {
    let tls = Identity::for_names(&["localhost"]).server();
    let acceptor = Acceptor::new().handshake_timeout(Duration::from_millis(30));
    let set_up = |server: Server| server.max_connections(1).acceptor(acceptor.clone());
    let plain = echo_server(set_up).await;
    let secure = echo_server(|server| set_up(server).tls(tls)).await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00";
    for (address, said) in [(plain, &b""[..]), (plain, b""), (secure, b""), (secure, hello)] {
        let mut peer = Http::connect(address).await;
        peer.write(said).await;
        assert_eq!(peer.rest().await, b"", "{said:?}");
    }
}

// RFC 9110 section 15.5.9.
#[tokio::test(start_paused = true)]
async fn who_has_sent_a_part_of_a_request_by_the_deadline_is_told() {
    for said in ["", "G", &REQUEST[..60], &REQUEST[..REQUEST.len() - 1]] {
        let (near, far) = tokio::io::duplex(4096);
        let mut peer = Http::over(near);
        peer.write(said).await;
        let start = Instant::now();
        let asking = async {
            if said.is_empty() {
                assert_eq!(peer.rest().await, b"");
            } else {
                let (head, body) = peer.last_response().await;
                let reason = "the request was not complete in time\n";
                assert_eq!((head.status(), body.as_str()), (408, reason));
                assert_eq!(head.get("connection"), Some("close"));
            }
            drop(peer);
        };
        let (result, ()) = future::join(tautline::accept(far), asking).await;
        assert!(matches!(result, Err(AcceptError::Timeout)), "{said}");
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_byte_by_byte_does_not_move_the_deadline() {
    let (near, writing) = trickle("GET / HTTP/1.1\r\nX: ");
    let start = Instant::now();
    let error = tautline::accept(near).await.unwrap_err();
    assert!(matches!(error, AcceptError::Timeout), "{error}");
    // One second more for the answer to arrive.
    assert_eq!(start.elapsed().as_secs(), 11);
    writing.await.unwrap();
}

// When the hook or the fallback was late, the connection was dropped without a response, as if the
// client had been slow.
#[tokio::test]
async fn a_handler_may_return_nothing() {
    let (server, address) = bind().await;
    let serving = server.serve(|mut ws| async move {
        ws.send("hello").await.unwrap();
    });
    tokio::spawn(serving);
    let mut ws = connect(uri(address)).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
    assert!(ws.next().await.is_none());
    assert_eq!(ws.close_frame().map(CloseFrame::code), Some(CloseCode::NORMAL));
}

#[tokio::test]
async fn a_client_is_told_when_it_is_the_server_that_is_late() {
    let (server, address) = bind().await;
    let serving = server
        .acceptor(Acceptor::new().handshake_timeout(Duration::from_millis(500)))
        .authorize(|_| future::pending::<Result<Upgrade, _>>())
        .fallback(|_, _| future::pending())
        .serve(not_to_be_handled);
    tokio::spawn(serving);
    let ask = async |request: &str| {
        let (head, body) = answer_to(address, request).await;
        (head.status(), body)
    };
    let answers = future::join3(
        ask(REQUEST),
        ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    let late = (503, "the server took too long\n".to_owned());
    assert_eq!(answers.await, (late.clone(), late, (503, String::new())));
}

#[tokio::test]
async fn no_deadline_is_too_far_away() {
    let address =
        echo_server(|server| server.acceptor(Acceptor::new().handshake_timeout(Duration::MAX)))
            .await;
    let client = Client::new().connect_timeout(Duration::MAX);
    expect_echo(&mut client.connect(uri(address)).await.unwrap(), "hello").await;
}

#[tokio::test]
async fn the_limits_of_a_head_are_the_acceptors() {
    let limits = HeadLimits::new().max_bytes(300);
    let acceptor = Acceptor::new().head_limits(limits);
    let address = echo_server(|server| server.acceptor(acceptor)).await;
    expect_echo(&mut connect(uri(address)).await.unwrap(), "hello").await;
    let request = request_with(format!("Cookie: {}\r\n", "x".repeat(300)));
    let (head, body) = answer_to(address, request).await;
    assert_eq!((head.status(), body.as_str()), (431, "the head is longer than 300 bytes\n"));
}

#[tokio::test]
async fn small_messages_are_not_held_back_by_nagles_algorithm_on_either_end() {
    let (server, address) = bind().await;
    let serving = server.serve(|mut ws| async move {
        let nodelay = ws.get_ref().unwrap().tcp().unwrap().nodelay()?;
        ws.send(if nodelay { "nodelay" } else { "delay" }).await?;
        Ok(ws.close().await?)
    });
    tokio::spawn(serving);
    let mut ws = connect(uri(address)).await.unwrap();
    assert!(ws.get_ref().unwrap().tcp().unwrap().nodelay().unwrap());
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("nodelay"));
}

#[tokio::test]
async fn a_slow_hook_holds_up_nobody_else() {
    let (server, address) = bind().await;
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let serving = server
        .authorize(move |request| {
            let gate = gate.clone();
            async move {
                if request.uri().path() == "/slow" {
                    gate.notified().await;
                }
                Ok(Upgrade::new(()))
            }
        })
        .serve(echo);
    tokio::spawn(serving);
    let slow = tokio::spawn(connect(format!("ws://{address}/slow")));
    expect_echo(&mut connect(uri(address)).await.unwrap(), "quick").await;
    opened.notify_one();
    expect_echo(&mut slow.await.unwrap().unwrap(), "slow").await;
}
