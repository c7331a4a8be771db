//! A client that opens WebSockets as streams of shared HTTP/2 connections (RFC 8441).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use h2::Reason;
use http::{Method, Response, Version};
use tautline::{Client, Config, ConnectError, Error, Http2, Http2Error, Message};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::support::handshake::{expect_echo, uri};
use crate::support::http2::{Order, RawServer, RawStream, connecting, raw_server};
use crate::support::peer::{CLOSE, FIN, TEXT, close_body};

fn prior() -> Client {
    Client::new().http2(Http2::Prior)
}

/// Until when what should happen at once must have happened.
const SOON: Duration = Duration::from_secs(20);

/// What HTTP/2 says of a failure to connect.
fn http2_error(error: &ConnectError) -> Http2Error {
    Http2Error::of(error).unwrap_or_else(|| panic!("{error:?}"))
}

/// The next connection to a raw server, and its first stream, which it accepts.
async fn next_stream(servers: &mut UnboundedReceiver<RawServer>) -> (RawServer, RawStream) {
    let mut server = servers.recv().await.unwrap();
    let (_, stream) = server.accept().await;
    (server, stream)
}

/// Echoes on every stream of a connection, until its end.
async fn echo_all(mut server: RawServer) {
    while let Some((request, mut respond)) = server.request().await {
        let outgoing = respond.send_response(Response::new(()), false).unwrap();
        let mut stream = RawStream::new(outgoing, request.into_body(), false);
        tokio::spawn(async move {
            while let Some(frame) = stream.recv().await {
                stream.send(frame.first, &frame.payload);
                if frame.opcode() == CLOSE {
                    return stream.end();
                }
            }
        });
    }
}

// RFC 8441 section 5.1.
#[tokio::test]
async fn the_request_is_that_of_rfc_8441() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior().header("cookie", "a=1").subprotocols(["chat"]);
    let serving = async {
        let mut server = servers.recv().await.unwrap();
        let response = Response::builder().header("sec-websocket-protocol", "chat");
        let accepted = server.accept_with(response.body(()).unwrap()).await;
        (server, accepted)
    };
    let (ws, (_server, (request, mut stream))) =
        join(client.connect(format!("ws://{address}/room?x=1")), serving).await;
    let mut ws = ws.unwrap();
    assert_eq!(request.method(), Method::CONNECT);
    assert_eq!(request.uri().to_string(), format!("http://{address}/room?x=1"));
    let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap();
    assert_eq!(protocol.as_str(), "websocket");
    assert_eq!(request.headers()["sec-websocket-version"], "13");
    assert_eq!(request.headers()["cookie"], "a=1");
    for absent in ["sec-websocket-key", "connection", "upgrade", "host"] {
        assert!(!request.headers().contains_key(absent), "{absent}");
    }
    assert_eq!((ws.http_version(), ws.subprotocol()), (Version::HTTP_2, Some("chat")));
    // Frames are masked as over TCP, and the end of the stream is that of both.
    let closing = async {
        ws.send("hello").await.unwrap();
        ws.close().await.unwrap();
    };
    let serving = async {
        stream.expect(FIN | TEXT, "hello").await;
        stream.expect(FIN | CLOSE, close_body(1000, "")).await;
        stream.send(FIN | CLOSE, close_body(1000, ""));
        stream.end();
        stream.expect_end().await;
    };
    join(closing, serving).await;
}

// Whoever opened a stream kept others from the connection until its answer had come: a path that
// never answers made all other connects to its server fail.
#[tokio::test]
async fn a_stream_without_an_answer_does_not_keep_others_waiting() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior();
    let opening = client.connect(uri(address));
    let (first, (mut server, _stream)) = join(opening, next_stream(&mut servers)).await;
    let _first = first.unwrap();
    let unanswered = client.connect(format!("ws://{address}/slow"));
    let others = async {
        let _kept = server.request().await.unwrap();
        let (second, _) = join(client.connect(uri(address)), server.accept()).await;
        second.unwrap();
    };
    tokio::select! {
        opened = unanswered => panic!("{opened:?}"),
        done = timeout(SOON, others) => done.unwrap(),
    }
}

#[tokio::test]
async fn connections_are_shared_and_end_with_their_last_stream() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior();
    // At once, by clones: they wait for the one that connects.
    let opening = join_all((0..10).map(|_| {
        let client = client.clone();
        async move { client.connect(uri(address)).await.unwrap() }
    }));
    let serving = async {
        let mut server = servers.recv().await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.push(server.accept().await.1);
        }
        (server, streams)
    };
    let (mut sockets, (mut server, streams)) = join(opening, serving).await;
    assert!(servers.try_recv().is_err(), "a second connection");
    sockets.truncate(1);
    assert!(server.request().now_or_never().is_none());
    drop(sockets);
    // As over TCP: what is dropped says goodbye.
    for mut stream in streams {
        stream.expect(FIN | CLOSE, close_body(1001, "")).await;
        stream.expect_end().await;
        stream.end();
    }
    // Even while the client lives.
    assert!(server.request().await.is_none());
    server.driving.await.unwrap();
    // The next WebSocket has a new connection.
    let serving = next_stream(&mut servers);
    let (ws, _) = join(client.connect(uri(address)), serving).await;
    ws.unwrap();
}

#[tokio::test]
async fn a_full_connection_gets_a_second_one_beside_it() {
    let mut builder = connecting();
    builder.max_concurrent_streams(2);
    let (address, mut servers) = raw_server(builder).await;
    let serving = tokio::spawn(async move {
        let mut count = 0;
        while let Some(server) = servers.recv().await {
            count += 1;
            tokio::spawn(echo_all(server));
            if count == 2 {
                return servers;
            }
        }
        panic!("no second connection");
    });
    let client = prior();
    let opening = join_all((0..4).map(|_| client.connect(uri(address))));
    let mut sockets: Vec<_> = opening.await.into_iter().map(Result::unwrap).collect();
    for ws in &mut sockets {
        expect_echo(ws, "hello").await;
    }
    let mut servers = serving.await.unwrap();
    // Where one has ended there is room for another.
    sockets.swap_remove(0).close().await.unwrap();
    expect_echo(&mut client.connect(uri(address)).await.unwrap(), "again").await;
    assert!(servers.try_recv().is_err(), "a third connection");
}

#[tokio::test]
async fn any_2xx_opens_and_everything_else_is_told() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior();
    let (ws, mut server) = join(client.connect(uri(address)), async {
        let mut server = servers.recv().await.unwrap();
        let response = Response::builder().status(204).body(()).unwrap();
        let (_, stream) = server.accept_with(response).await;
        (server, stream)
    })
    .await;
    let _open = ws.unwrap();
    for (status, body) in [(403, "not you"), (302, ""), (401, "who?")] {
        let answering = async {
            let (_request, mut respond) = server.0.request().await.unwrap();
            let response = Response::builder().status(status).header("x-why", "so");
            let empty = body.is_empty();
            let mut sent = respond.send_response(response.body(()).unwrap(), empty).unwrap();
            if !empty {
                sent.send_data(Bytes::from(body), true).unwrap();
            }
        };
        match join(client.connect(uri(address)), answering).await.0 {
            Err(ConnectError::Refused(response)) => {
                assert_eq!(response.status(), status);
                assert_eq!(response.headers()["x-why"], "so");
                assert_eq!(response.body(), body);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_response_that_ends_its_stream_opens_one_that_is_lost() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior();
    let serving = async {
        let mut server = servers.recv().await.unwrap();
        let (request, mut respond) = server.request().await.unwrap();
        respond.send_response(Response::new(()), true).unwrap();
        (server, request)
    };
    let (ws, _server) = join(client.connect(uri(address)), serving).await;
    let error = ws.unwrap().next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionLost), "{error:?}");
}

#[tokio::test]
async fn a_reset_is_an_error_of_its_own_and_a_refused_stream_is_tried_again() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior();
    let serving = async {
        let mut server = servers.recv().await.unwrap();
        server.request().await.unwrap().1.send_reset(Reason::INTERNAL_ERROR);
        server
    };
    let (result, _) = join(client.connect(uri(address)), serving).await;
    let error = result.unwrap_err();
    assert_eq!(http2_error(&error), Http2Error::Reset { code: 2 });
    // RFC 9113 section 8.7: nothing was done with the request.
    let serving = async {
        let mut server = servers.recv().await.unwrap();
        server.request().await.unwrap().1.send_reset(Reason::REFUSED_STREAM);
        // Nothing else was on that connection, so it is another one.
        let mut server = servers.recv().await.unwrap();
        let accepted = server.accept().await;
        (server, accepted)
    };
    let (ws, (_server, (_, mut stream))) = join(client.connect(uri(address)), serving).await;
    let mut ws = ws.unwrap();
    // As over TCP: a reset of an open stream is a failure of the transport.
    stream.outgoing.send_reset(Reason::CANCEL);
    let error = ws.next().await.unwrap().unwrap_err();
    assert_eq!(Http2Error::of(&error), Some(Http2Error::Reset { code: 8 }));
    assert!(error.is_retryable());
    assert!(ws.next().await.is_none());
}

// Who refuses for ever is not asked for ever.
#[tokio::test]
async fn a_server_that_refuses_every_stream_is_given_up() {
    let (address, mut servers) = raw_server(connecting()).await;
    let serving = tokio::spawn(async move {
        let mut refused = 0;
        while let Some(mut server) = servers.recv().await {
            while let Some((_, mut respond)) = server.request().await {
                respond.send_reset(Reason::REFUSED_STREAM);
                refused += 1;
                if refused == 3 {
                    return server;
                }
            }
        }
        panic!("the client gave up early");
    });
    let error = prior().connect(uri(address)).await.unwrap_err();
    assert_eq!(http2_error(&error), Http2Error::Reset { code: 7 });
    assert!(error.is_retryable());
    drop(serving.await.unwrap());
}

// RFC 9113 section 6.8: streams that are open go on, new ones go elsewhere.
#[tokio::test]
async fn a_connection_that_goes_away_keeps_its_streams_and_gets_no_new_one() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior();
    let accepting = next_stream(&mut servers);
    let (ws, (going, mut old)) = join(client.connect(uri(address)), accepting).await;
    let mut ws = ws.unwrap();
    going.order(Order::GoAway);
    old.send(FIN | TEXT, "behind GOAWAY");
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("behind GOAWAY"));
    let accepting = next_stream(&mut servers);
    let (other, (_server, mut new)) = join(client.connect(uri(address)), accepting).await;
    let mut other = other.unwrap();
    new.send(FIN | TEXT, "new");
    assert_eq!(other.next().await.unwrap().unwrap(), Message::from("new"));
    ws.send("still").await.unwrap();
    old.expect(FIN | TEXT, "still").await;
}

#[tokio::test]
async fn the_end_of_the_connection_is_the_end_of_its_streams() {
    for (order, expected) in [
        (Order::Abort(Reason::ENHANCE_YOUR_CALM), Some(Http2Error::GoAway { code: 11 })),
        (Order::Vanish, None),
    ] {
        let (address, mut servers) = raw_server(connecting()).await;
        let client = prior();
        let accepting = next_stream(&mut servers);
        let (ws, (server, _stream)) = join(client.connect(uri(address)), accepting).await;
        let mut ws = ws.unwrap();
        server.order(order);
        let error = ws.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        assert_eq!(Http2Error::of(&error), expected, "{order:?}: {error:?}");
        assert!(ws.next().await.is_none());
        // The client itself is none the worse for it.
        let accepting = next_stream(&mut servers);
        join(client.connect(uri(address)), accepting).await.0.unwrap();
    }
}

/// A listener that answers with nothing and reads everything.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { while stream.read_u8().await.is_ok() {} });
        }
    });
    address
}

#[tokio::test]
async fn a_server_without_settings_is_given_up_in_time() {
    let client = prior().connect_timeout(Duration::from_millis(100));
    let error = client.connect(uri(silent().await)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error:?}");
    // Nothing is left that would keep the next from trying.
    let error = client.connect(uri(silent().await)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connect_that_is_dropped_resets_its_stream() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior();
    let keeping = next_stream(&mut servers);
    let (ws, (mut server, _stream)) = join(client.connect(uri(address)), keeping).await;
    let _ws = ws.unwrap();
    let connecting = {
        let client = client.clone();
        tokio::spawn(async move { client.connect(uri(address)).await.map(drop) })
    };
    let (request, _respond) = server.request().await.unwrap();
    connecting.abort();
    let mut incoming = request.into_body();
    let error = incoming.data().await.unwrap().unwrap_err();
    assert_eq!((error.is_remote(), error.reason()), (true, Some(Reason::CANCEL)));
}

#[tokio::test]
async fn headers_of_a_connection_are_refused_before_anything_is_sent() {
    let address = silent().await;
    for (name, value) in [("connection", "close"), ("te", "gzip"), ("keep-alive", "1")] {
        let error = prior().header(name, value).connect(uri(address)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Request(_)), "{name}: {error:?}");
    }
}

// A server that had not answered one request was asked again by the next connect, which found its
// connection in the pool: the client could not get past it.
#[tokio::test]
async fn a_connection_whose_server_did_not_answer_is_not_asked_again() {
    let (address, mut servers) = raw_server(connecting()).await;
    let client = prior();
    let accepting = next_stream(&mut servers);
    let (ws, (mut silent, mut stream)) = join(client.connect(uri(address)), accepting).await;
    let mut ws = ws.unwrap();
    // The clone has the same connections.
    let hasty = client.clone().connect_timeout(Duration::from_millis(100));
    let error = hasty.connect(uri(address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error:?}");
    let _unanswered = silent.request().await.unwrap();
    let accepting = async {
        tokio::select! {
            server = servers.recv() => {
                let mut server = server.unwrap();
                let accepted = server.accept().await;
                (server, accepted)
            }
            _ = silent.request() => panic!("it was asked again"),
        }
    };
    let (other, _server) = join(client.connect(uri(address)), accepting).await;
    other.unwrap();
    // What was open goes on.
    ws.send("still").await.unwrap();
    stream.expect(FIN | TEXT, "still").await;
}

// Who asked first was connecting for all who waited; when it gave up, they began again.
#[tokio::test]
async fn connecting_goes_on_for_those_who_wait_when_the_first_has_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = prior();
    let target = uri(listener.local_addr().unwrap());
    let connecting_to =
        |client: Client, target: String| tokio::spawn(async move { client.connect(target).await });
    let first = connecting_to(client.clone(), target.clone());
    let (stream, _) = listener.accept().await.unwrap();
    let second = connecting_to(client, target);
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let mut server = RawServer::over(stream, &connecting()).await;
    tokio::select! {
        accepted = server.accept() => drop(second.await.unwrap().map(|ws| (ws, accepted)).unwrap()),
        _ = listener.accept() => panic!("a second connection"),
        () = tokio::time::sleep(SOON) => panic!("no request"),
    }
}

// RFC 6455 section 7.1.1: a client waits for the server to end TCP, whose waiting state is for the
// server to have. A stream has none: a server that did not end it (hypercorn) held up every `close`
// for the whole `close_timeout`.
#[tokio::test]
async fn a_client_ends_its_stream_behind_both_closes_without_waiting() {
    for server_first in [false, true] {
        let (address, mut servers) = raw_server(connecting()).await;
        let client = prior().config(Config::new().close_timeout(Duration::from_secs(3600)));
        let accepting = next_stream(&mut servers);
        let (ws, (server, mut stream)) = join(client.connect(uri(address)), accepting).await;
        let mut ws = ws.unwrap();
        let closing = async {
            if server_first {
                assert!(ws.next().await.is_none());
            } else {
                ws.close().await.unwrap();
            }
            ws.close_frame().unwrap().code()
        };
        let serving = async {
            if server_first {
                stream.send(FIN | CLOSE, close_body(4000, ""));
            }
            let code = if server_first { 4000 } else { 1000 };
            stream.expect(FIN | CLOSE, close_body(code, "")).await;
            if !server_first {
                stream.send(FIN | CLOSE, close_body(1000, ""));
            }
            // The end of the client comes, although this end never does.
            stream.expect_end().await;
        };
        let both = timeout(SOON, join(closing, serving)).await;
        let (code, ()) = both.expect("both wait for the end of the other");
        assert_eq!(code.as_u16(), if server_first { 4000 } else { 1000 });
        drop((server, stream));
    }
}

// A program that ended when it was told of the server's Close had not answered it: the answer was with
// the task of the HTTP/2 connection, which ended with the program.
#[test]
fn the_servers_close_is_answered_before_the_client_is_told() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let serving = std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut server = RawServer::over(stream, &connecting()).await;
            let (_, mut stream) = server.accept().await;
            stream.send(FIN | CLOSE, close_body(4000, ""));
            // The client is gone by then, so that nothing can be written to it any more.
            stream.expect(FIN | CLOSE, close_body(4000, "")).await;
        });
    });
    let address = told.recv().unwrap();
    let client = runtime();
    client.block_on(async {
        let mut ws = prior().connect(uri(address)).await.unwrap();
        assert!(ws.next().await.is_none());
    });
    drop(client);
    serving.join().unwrap();
}
