//! A client that stays connected, with real servers: restarts, refusals, codes, tokens.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, StatusCode};
use tautline::reconnect::{
    Backoff, Cause, Disconnected, Event, Reconnecting, SendError, State, Stopped, Verdict,
};
use tautline::{
    Client, CloseCode, CloseFrame, ConnectError, Error, Http2, Http2Config, Message, ProtocolError,
    TlsError, Upgrade, WebSocket, text_response,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::at_random::Dice;
use crate::support::handshake::{
    HandlerResult, Http, Identity, bind, echo, not_to_be_handled, switching, uri,
};
use crate::support::peer::{CLOSE, FIN, TEXT, close_body, encode};

const HOUR: Duration = Duration::from_secs(3600);

/// Delays of milliseconds, for servers that are there.
fn soon() -> Backoff {
    Backoff::new().first(Duration::from_millis(4)).max(Duration::from_millis(20))
}

async fn disconnected<S>(feed: &mut Reconnecting<S>) -> Disconnected
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match feed.next().await.unwrap().unwrap() {
            Event::Disconnected(event) => return event,
            Event::Connected(_) | Event::Message(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Why it stopped, with whatever happened before left out.
async fn stopped<S>(feed: &mut Reconnecting<S>) -> Stopped
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        if let Err(stopped) = feed.next().await.unwrap() {
            assert!(feed.next().await.is_none(), "it is returned once");
            assert!(matches!(&*feed.state().borrow(), State::Stopped(_)));
            return stopped;
        }
    }
}

async fn connected<S>(feed: &mut Reconnecting<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while !matches!(feed.next().await.unwrap().unwrap(), Event::Connected(_)) {}
}

// Over HTTP/2, a new connection was a stream of the old one, if others had streams there: as dead as
// that, where the network had changed.
#[tokio::test]
async fn a_new_connection_that_was_asked_for_is_a_new_one_over_http2_too() {
    let (server, address) = bind().await;
    tokio::spawn(server.http2(Http2Config::new()).serve(|mut ws| async move {
        ws.send(ws.peer().to_string()).await?;
        while let Some(message) = ws.next().await {
            message?;
        }
        Ok(())
    }));
    let client = Client::new().http2(Http2::Prior);
    let mut other = client.connect(uri(address)).await.unwrap();
    let shared = other.next().await.unwrap().unwrap();
    let mut feed = client.reconnecting(uri(address)).backoff(soon());
    assert_eq!(message(&mut feed).await, shared);
    feed.sender().reconnect_now();
    assert_ne!(message(&mut feed).await, shared);
    other.close().await.unwrap();
}

async fn message(feed: &mut Reconnecting) -> Message {
    loop {
        if let Event::Message(message) = feed.next().await.unwrap().unwrap() {
            return message;
        }
    }
}

/// A server that sends numbers without an end, from the one that it is asked for, and can be
/// killed.
struct Numbers {
    address: SocketAddr,
    running: JoinHandle<()>,
}

impl Numbers {
    async fn start(address: SocketAddr, abruptly: bool) -> Self {
        // The port may take a moment to be free.
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let address = listener.local_addr().unwrap();
        let running = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if abruptly {
                    // The kernel resets it, whatever was queued.
                    stream.set_zero_linger().unwrap();
                }
                connections.spawn(Self::count(stream));
            }
        });
        Self { address, running }
    }

    async fn count(stream: TcpStream) -> HandlerResult {
        let mut ws = tautline::accept(stream).await?;
        let first = ws.next().await.ok_or("no request")??;
        let mut number: u64 = first.as_text().ok_or("not a text")?.parse()?;
        loop {
            ws.send(number.to_string()).await?;
            number += 1;
        }
    }

    async fn kill(self) -> SocketAddr {
        self.running.abort();
        let _ = self.running.await;
        self.address
    }
}

#[tokio::test]
async fn a_server_killed_and_restarted_50_times_loses_no_number_and_sends_none_twice() {
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed}");
    let mut dice = Dice(seed | 1);
    let mut server = Numbers::start("127.0.0.1:0".parse().unwrap(), true).await;
    let expected = Arc::new(AtomicU64::new(0));
    let position = expected.clone();
    let mut feed = Client::new()
        .reconnecting(uri(server.address))
        .backoff(soon().seed(seed))
        .on_connect(move |mut ws| {
            let next = position.load(Ordering::Relaxed);
            async move {
                ws.send(next.to_string()).await?;
                Ok(ws)
            }
        });
    let mut connections = 0;
    for restarts in 0..=50 {
        let until = expected.load(Ordering::Relaxed) + dice.below(300);
        while connections <= restarts || expected.load(Ordering::Relaxed) <= until {
            match feed.next().await.unwrap().unwrap() {
                Event::Message(number) => {
                    let next = expected.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(number.as_text(), Some(&*next.to_string()));
                }
                Event::Connected(_) => connections += 1,
                _ => {}
            }
        }
        let address = server.kill().await;
        // Sometimes it is back before the client notices, sometimes only after that.
        if dice.below(2) == 0 {
            while let Event::Message(number) = feed.next().await.unwrap().unwrap() {
                let next = expected.fetch_add(1, Ordering::Relaxed);
                assert_eq!(number.as_text(), Some(&*next.to_string()));
            }
        }
        server = Numbers::start(address, dice.below(2) == 0).await;
    }
    assert_eq!(connections, 51);
    println!("{} numbers", expected.load(Ordering::Relaxed));
}

/// A server whose handler closes with this code.
async fn closing_with(code: u16) -> SocketAddr {
    let (server, address) = bind().await;
    tokio::spawn(server.serve(move |mut ws: WebSocket| async move {
        ws.close_with(CloseCode::new(code)?).await?;
        HandlerResult::Ok(())
    }));
    address
}

#[tokio::test]
async fn what_will_not_heal_stops_it() {
    for code in [1000, 1002, 1003, 1007, 1008, 1009, 3000, 3003] {
        let mut feed = Client::new().reconnecting(uri(closing_with(code).await));
        let stopped = stopped(&mut feed).await;
        let closed = stopped.cause().and_then(Cause::close_code).map(CloseCode::as_u16);
        assert_eq!(closed, Some(code));
        assert!(!stopped.is_closed() && !stopped.is_exhausted(), "{stopped:?}");
        let Err(SendError::Stopped { message, .. }) = feed.sender().send("late").await else {
            panic!("sent after the end");
        };
        assert_eq!(message.as_text(), Some("late"));
    }
    for status in [401, 403, 404, 426, 501] {
        let (address, _) = answering_always(format!("HTTP/1.1 {status} No\r\n\r\n")).await;
        let mut feed = Client::new().reconnecting(uri(address));
        let stopped = stopped(&mut feed).await;
        assert_eq!(stopped.cause().unwrap().status().unwrap(), status);
    }
    let mut feed = Client::new().reconnecting("http://localhost/");
    let stopped = stopped(&mut feed).await;
    assert!(matches!(stopped.cause(), Some(Cause::Connect(ConnectError::Uri(_)))), "{stopped:?}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_stops_it() {
    let [trusted, other] = [(); 2].map(|()| Identity::for_names(&["localhost"]));
    let (server, address) = bind().await;
    tokio::spawn(server.tls(other.server()).serve(not_to_be_handled));
    let mut feed = trusted.client().reconnecting(format!("wss://localhost:{}/", address.port()));
    let stopped = stopped(&mut feed).await;
    let tls = |error: &TlsError| !error.is_retryable();
    assert!(
        matches!(stopped.cause(), Some(Cause::Connect(ConnectError::Tls(error))) if tls(error)),
        "{stopped:?}"
    );
}

#[tokio::test]
async fn what_breaks_the_protocol_stops_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut peer = Http::over(listener.accept().await.unwrap().0);
        let answer = switching(&peer.head().await, "");
        peer.write(answer.as_bytes()).await;
        peer.write([0xff, 0x00]).await;
        peer.rest().await
    });
    let stopped = stopped(&mut Client::new().reconnecting(uri(address))).await;
    assert!(matches!(stopped.cause(), Some(Cause::Failed(Error::Protocol(_)))), "{stopped:?}");
}

// A server of NATS ends connections to clients that were silent for too long with the code 1006, which
// must not be sent (RFC 6455 section 7.4.1). A laptop that had slept did not come back.
#[tokio::test]
async fn a_close_with_a_code_that_must_not_be_sent_does_not_stop_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for frame in [
            encode(false, FIN | CLOSE, &close_body(1006, "Stale Connection")),
            encode(false, FIN | TEXT, b"back"),
        ] {
            let mut peer = Http::over(listener.accept().await.unwrap().0);
            let answer = switching(&peer.head().await, "");
            peer.write([answer.as_bytes(), &frame].concat()).await;
            peer.rest().await;
        }
    });
    let mut feed = Client::new().reconnecting(uri(address)).backoff(soon());
    let event = disconnected(&mut feed).await;
    let Cause::Failed(Error::Protocol(error)) = event.cause() else { panic!("{event:?}") };
    assert_eq!(*error, ProtocolError::CloseCode(1006));
    assert_eq!(message(&mut feed).await.as_text(), Some("back"));
}

/// A server that answers each request with this, and counts them.
async fn answering_always(answer: String) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut peer = Http::over(stream);
            peer.head().await;
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = peer.stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, count)
}

#[tokio::test]
async fn retry_after_and_the_codes_of_a_restart_and_of_overload_are_heeded() {
    for (line, at_least) in [
        ("Retry-After: 7", 7),
        ("Date: Sun, 06 Nov 1994 08:49:00 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:30 GMT", 90),
        ("Retry-After: 99999999", 3600),
    ] {
        for status in [503, 429] {
            let head = format!("HTTP/1.1 {status} Later\r\n{line}\r\nContent-Length: 0\r\n\r\n");
            let (address, count) = answering_always(head).await;
            let mut feed = Client::new().reconnecting(uri(address)).backoff(soon());
            for attempt in 1..4 {
                let event = disconnected(&mut feed).await;
                let (least, wait) = (Duration::from_secs(at_least), event.retry_in());
                assert!(wait >= least && wait < least + Duration::from_secs(1), "{wait:?}");
                assert!(feed.next().now_or_never().is_none());
                assert_eq!(count.load(Ordering::SeqCst), attempt);
                // Not to wait here.
                feed.sender().reconnect_now();
            }
        }
    }
    for (code, from, to) in [(1012, 5, 30), (1013, 30, 60)] {
        let mut feed = Client::new().reconnecting(uri(closing_with(code).await)).backoff(soon());
        let wait = disconnected(&mut feed).await.retry_in();
        assert!(wait >= Duration::from_secs(from) && wait <= Duration::from_secs(to), "{wait:?}");
    }
}

/// A server that admits those with this token, and echoes.
async fn admitting(token: &'static str) -> SocketAddr {
    let (server, address) = bind().await;
    let serving = server
        .authorize(move |request| {
            let known = request.headers().get("authorization").is_some_and(|it| it == token);
            let refusal = || text_response(StatusCode::UNAUTHORIZED, "another token");
            async move { if known { Ok(Upgrade::new(())) } else { Err(refusal()) } }
        })
        .serve_with(|ws, ()| echo(ws));
    tokio::spawn(serving);
    address
}

#[tokio::test]
async fn a_hook_makes_each_request_and_a_new_token_is_tried_at_once_if_the_user_decides_so() {
    let address = admitting("new").await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let attempts = seen.clone();
    let mut feed = Client::new()
        .reconnecting_with(move |attempt| {
            let status = attempt.last_cause().and_then(Cause::status);
            attempts.lock().unwrap().push((attempt.failures(), status));
            let token = if status == Some(StatusCode::UNAUTHORIZED) { "new" } else { "old" };
            async move { Ok(Request::get(uri(address)).header("authorization", token).body(())?) }
        })
        .backoff(Backoff::new().first(HOUR).max(HOUR).jitter(false))
        .decide(|cause| match cause.status() {
            Some(StatusCode::UNAUTHORIZED) => Verdict::RetryNow,
            _ => cause.verdict(),
        });
    let event = disconnected(&mut feed).await;
    assert_eq!(
        (event.cause().status(), event.retry_in()),
        (Some(StatusCode::UNAUTHORIZED), Duration::ZERO)
    );
    connected(&mut feed).await;
    feed.sender().send("in").await.unwrap();
    assert_eq!(feed.next().await.unwrap().unwrap().into_message().unwrap().as_text(), Some("in"));
    assert_eq!(*seen.lock().unwrap(), [(0, None), (1, Some(StatusCode::UNAUTHORIZED))]);
}

#[tokio::test]
async fn a_token_that_stays_wrong_is_not_tried_without_a_pause() {
    let address = admitting("another").await;
    let mut feed = Client::new()
        .reconnecting_with(move |_| async move { Ok(uri(address)) })
        .backoff(Backoff::new().first(HOUR).max(HOUR).jitter(false))
        .decide(|_| Verdict::RetryNow);
    assert_eq!(disconnected(&mut feed).await.retry_in(), Duration::ZERO);
    assert_eq!(disconnected(&mut feed).await.retry_in(), HOUR);
}

#[tokio::test]
async fn a_hook_that_fails_is_tried_again_and_failures_in_a_row_have_a_bound() {
    let mut feed = Client::new()
        .reconnecting_with(|_| async { Err::<&str, _>("no token today".into()) })
        .backoff(soon().max_failures(3));
    for _ in 0..2 {
        let event = disconnected(&mut feed).await;
        assert!(
            matches!(event.cause(), Cause::Hook(error) if error.to_string() == "no token today")
        );
    }
    let stopped = stopped(&mut feed).await;
    assert!(stopped.is_exhausted() && matches!(stopped.cause(), Some(Cause::Hook(_))));
}

#[tokio::test]
async fn closing_is_in_order_and_what_arrives_until_then_is_returned() {
    let (server, address) = bind().await;
    let (seen, mut codes) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(server.serve(move |mut ws: WebSocket| {
        let seen = seen.clone();
        async move {
            while let Some(message) = ws.next().await {
                ws.send(message?).await?;
            }
            seen.send(ws.close_frame().map(CloseFrame::code))?;
            HandlerResult::Ok(())
        }
    }));
    let mut feed = Client::new().reconnecting(uri(address));
    let sender = feed.sender();
    connected(&mut feed).await;
    assert!(sender.send("last words").await.unwrap().is_handed_over());
    sender.close();
    assert!(matches!(feed.next().await, Some(Ok(Event::Message(_)))));
    assert!(feed.next().await.is_none());
    assert_eq!(codes.recv().await.unwrap(), Some(CloseCode::NORMAL));
    assert!(matches!(&*sender.state().borrow(), State::Stopped(stopped) if stopped.is_closed()));

    let mut feed = Client::new().reconnecting(uri(address));
    connected(&mut feed).await;
    feed.close().await;
    assert_eq!(codes.recv().await.unwrap(), Some(CloseCode::NORMAL));

    let mut feed = Client::new().reconnecting(uri(address));
    let sender = feed.sender();
    connected(&mut feed).await;
    drop(feed);
    assert_eq!(codes.recv().await.unwrap(), Some(CloseCode::GOING_AWAY));
    assert!(matches!(sender.send("too late").await, Err(SendError::Stopped { .. })));
}
