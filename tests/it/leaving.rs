//! Connections that are dropped while they are open: the peer still gets a Close.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tautline::{Client, CloseCode, Config, Message, WebSocket, connect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::oneshot;

use crate::support::handshake::{HandlerResult, Identity, bind, uri};
use crate::support::peer::{FIN, Peer, ROLES, TEXT, duplex, tcp};

const LARGE: usize = 3 << 20;

/// What a handler does with its connection, and the code that its peer receives.
const WAYS: [(&str, CloseCode); 9] = [
    ("return", CloseCode::NORMAL),
    ("fail", CloseCode::INTERNAL_ERROR),
    ("panic", CloseCode::INTERNAL_ERROR),
    ("split and return", CloseCode::NORMAL),
    ("split and fail", CloseCode::INTERNAL_ERROR),
    ("split and panic", CloseCode::INTERNAL_ERROR),
    ("give away", CloseCode::NORMAL),
    ("give away to a panic", CloseCode::INTERNAL_ERROR),
    ("drop and wait", CloseCode::NORMAL),
];

/// Queues more than a socket accepts at once, and ends in the way that its peer asked for.
async fn leave(mut ws: WebSocket) -> HandlerResult {
    let way = ws.next().await.unwrap()?;
    let way = way.as_text().unwrap().to_owned();
    ws.feed(vec![7; LARGE]).await?;
    match way.as_str() {
        "return" => Ok(()),
        "fail" => Err("as asked".into()),
        "panic" => panic!("as asked"),
        "drop and wait" => {
            drop(ws);
            std::future::pending().await
        }
        "give away" => {
            let halves = ws.split();
            tokio::spawn(async move { drop(halves) });
            Ok(())
        }
        "give away to a panic" => {
            let halves = ws.split();
            tokio::spawn(async move {
                let _halves = halves;
                panic!("as asked");
            });
            Ok(())
        }
        split => {
            let (_reader, mut writer) = ws.split();
            writer.feed("the last word").await?;
            match split {
                "split and return" => Ok(()),
                "split and fail" => Err("as asked".into()),
                _ => panic!("as asked"),
            }
        }
    }
}

// A handler that returned, failed or panicked without closing left its peer with 1006, and what it
// had queued was lost. Here the peer reads only after it sent more, which an immediate close would
// turn into a reset.
#[tokio::test]
async fn a_peer_hears_how_the_handler_ended_and_all_that_was_queued_before() {
    let identity = Identity::for_names(&["localhost"]);
    for secure in [false, true] {
        let (server, address) = bind().await;
        let server = if secure { server.tls(identity.server()) } else { server };
        tokio::spawn(server.serve(leave));
        let scheme = if secure { "wss" } else { "ws" };
        let uri = format!("{scheme}://localhost:{}/", address.port());
        for (way, code) in WAYS {
            let mut ws = identity.client().connect(&uri).await.unwrap();
            ws.send(way).await.unwrap();
            ws.send("nobody reads this").await.unwrap();
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::from(vec![7; LARGE]), "{way}");
            if way.starts_with("split") {
                assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("the last word"));
            }
            let end = ws.next().await;
            assert!(end.is_none(), "{way}: {end:?}");
            assert_eq!(ws.close_frame().unwrap().code(), code, "{way}, {scheme}");
        }
    }
}

/// A connection that is dropped, whole or as its last half, after this was fed.
async fn feed_and_drop<S>(mut ws: WebSocket<S>, split: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if split {
        let (reader, mut writer) = ws.split();
        writer.feed("fed").await.unwrap();
        drop(reader);
        drop(writer);
    } else {
        ws.feed("fed").await.unwrap();
        drop(ws);
    }
}

// What was fed was lost, and the peer saw 1006.
#[tokio::test]
async fn what_was_fed_and_a_close_go_out_when_a_connection_is_dropped() {
    for role in ROLES {
        for split in [false, true] {
            let (ws, mut peer) = duplex(role, Config::new(), 4096);
            feed_and_drop(ws, split).await;
            expect_last_words(&mut peer, 1001).await;
            let (ws, mut peer) = tcp(role, Config::new()).await;
            // Unread by the time that it is dropped: closing the socket alone would be a reset.
            peer.send(FIN | TEXT, "unread").await;
            ws.get_ref().unwrap().readable().await.unwrap();
            feed_and_drop(ws, split).await;
            expect_last_words(&mut peer, 1001).await;
        }
    }
}

async fn expect_last_words<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>, code: u16) {
    peer.expect(FIN | TEXT, "fed").await;
    peer.expect_close(code).await;
    peer.expect_eof().await;
}

#[tokio::test]
async fn a_panic_is_told_with_1011() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new(), 4096);
        let panicking = AssertUnwindSafe(async move {
            ws.feed("fed").await.unwrap();
            panic!("as asked");
        });
        assert!(panicking.catch_unwind().await.is_err());
        expect_last_words(&mut peer, 1011).await;
    }
}

// Dropping never blocks: the peer reads nothing, and there is more to write than the stream
// accepts.
#[tokio::test]
async fn a_drop_does_not_wait_for_a_peer_that_does_not_read() {
    for role in ROLES {
        let (mut ws, mut peer) = duplex(role, Config::new(), 64);
        ws.feed(vec![7; 1000]).await.unwrap();
        drop(ws);
        let mut rest = Vec::new();
        peer.stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), 64);
    }
}

// A user of `connect` over TLS that just returns: the close_notify is sent too, so that the server
// sees no truncation.
#[tokio::test]
async fn a_client_that_is_dropped_over_tls_says_1001() {
    let identity = Identity::for_names(&["localhost"]);
    let (server, address) = bind().await;
    let (said, heard) = oneshot::channel();
    let said = std::sync::Mutex::new(Some(said));
    let serving = server.tls(identity.server()).serve(move |mut ws| {
        let said = said.lock().unwrap().take();
        async move {
            let message = ws.next().await.unwrap()?;
            let end = ws.next().await.is_none();
            let code = ws.close_frame().unwrap().code();
            let _ = said.unwrap().send((message, end, code));
            Ok(())
        }
    });
    tokio::spawn(serving);
    let client: Client = identity.client();
    let mut ws = client.connect(format!("wss://localhost:{}/", address.port())).await.unwrap();
    ws.feed("fed").await.unwrap();
    drop(ws);
    let heard = heard.await.unwrap();
    assert_eq!(heard, (Message::from("fed"), true, CloseCode::GOING_AWAY));
}

// Nothing is left that could close cleanly: the runtime of the server is shut down.
#[test]
fn a_runtime_that_ends_with_open_connections_ends() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (serving, asking) = (runtime(), runtime());
    let (opened, is_open) = std::sync::mpsc::channel();
    let address = serving.block_on(async {
        let (server, address) = bind().await;
        let serving = server.serve(move |ws| {
            opened.send(()).unwrap();
            async move {
                let _ws = ws;
                std::future::pending::<()>().await;
            }
        });
        tokio::spawn(serving);
        address
    });
    let opening = asking.spawn(connect(uri(address)));
    let asked = std::thread::spawn(move || {
        asking.block_on(async {
            let mut ws = opening.await.unwrap().unwrap();
            let end = ws.next().await;
            (end.is_none(), ws.close_frame().map(tautline::CloseFrame::code))
        })
    });
    serving.block_on(async {
        while is_open.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    });
    drop(serving);
    assert_eq!(asked.join().unwrap(), (true, Some(CloseCode::GOING_AWAY)));
}
