//! Handlers that are not `Send`, on one thread, and on a thread for each core.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tautline::{BoxError, CloseCode, CloseFrame, Server, WebSocket};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

/// How the connection ends for this client.
async fn close_code(mut ws: WebSocket) -> Option<CloseCode> {
    while let Some(message) = timeout(SOON, ws.next()).await.expect("in time") {
        message.expect("no error");
    }
    ws.close_frame().map(CloseFrame::code)
}

#[tokio::test]
async fn handlers_of_one_thread_share_what_is_not_send() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://{}", server.local_addr().unwrap());
    let members = Rc::new(RefCell::new(Vec::new()));
    let serving = server.serve_local(move |mut ws: WebSocket, ()| {
        let members = members.clone();
        async move {
            while let Some(message) = ws.next().await {
                members.borrow_mut().push(message?.as_text().unwrap().to_owned());
                let all = members.borrow().join(" ");
                ws.send(all).await?;
            }
            Ok(())
        }
    });
    let clients = async {
        let mut both =
            [tautline::connect(&uri).await.unwrap(), tautline::connect(&uri).await.unwrap()];
        for (which, name, expected) in
            [(0, "ann", "ann"), (1, "ben", "ann ben"), (0, "cy", "ann ben cy")]
        {
            let ws = &mut both[which];
            ws.send(name).await.unwrap();
            let all = timeout(SOON, ws.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(all.as_text(), Some(expected));
        }
    };
    let both = async {
        tokio::select! { _ = serving => panic!("ended"), () = clients => {} }
    };
    LocalSet::new().run_until(both).await;
}

// A handler that runs elsewhere than its connection was opened must still be known as the one whose
// end decides about the close code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peer_is_told_how_a_local_handler_ended() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://{}", server.local_addr().unwrap());
    let serving = server.serve_local(|mut ws: WebSocket, ()| async move {
        let _not_send = Rc::new(Cell::new(0));
        let message = ws.next().await.expect("a message")?;
        match message.as_text() {
            Some("return") => Ok(()),
            Some("fail") => Err(BoxError::from("failed")),
            _ => panic!("as asked"),
        }
    });
    let clients = async {
        for (word, code) in [
            ("return", CloseCode::NORMAL),
            ("fail", CloseCode::INTERNAL_ERROR),
            ("panic", CloseCode::INTERNAL_ERROR),
        ] {
            let mut ws = tautline::connect(&uri).await.unwrap();
            ws.send(word).await.unwrap();
            assert_eq!(close_code(ws).await, Some(code), "{word}");
        }
    };
    let both = async {
        tokio::select! { _ = serving => panic!("ended"), () = clients => {} }
    };
    LocalSet::new().run_until(both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_local_handlers_that_do_not_end_themselves() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://{}", server.local_addr().unwrap());
    let (stop, mut stopped) = watch::channel(());
    let dropped = Rc::new(());
    let held = dropped.clone();
    let serving = server
        .drain_timeout(Duration::from_millis(50))
        .with_graceful_shutdown(async move { stopped.changed().await.unwrap() })
        .serve_local(move |mut ws: WebSocket, ()| {
            let held = held.clone();
            async move {
                ws.send("here").await?;
                std::future::pending::<()>().await;
                drop((ws, held));
                Ok(())
            }
        });
    let client = async {
        let mut ws = tautline::connect(&uri).await.unwrap();
        ws.next().await.unwrap().unwrap();
        stop.send(()).unwrap();
        assert_eq!(close_code(ws).await, Some(CloseCode::GOING_AWAY));
    };
    let both = async { tokio::join!(serving, client).0.unwrap() };
    timeout(SOON, LocalSet::new().run_until(both)).await.expect("the server ended");
    assert_eq!(Rc::strong_count(&dropped), 1, "the handler was dropped");
}

#[cfg(target_os = "linux")] // which shares connections out
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_share_a_port_and_what_they_are_given_and_end_together() {
    let (address, mut known) = watch::channel(None);
    let (stop, stopped) = watch::channel(());
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let shared = seen.clone();
    let serving = Server::per_core("127.0.0.1:0", NonZeroUsize::new(2).unwrap(), move |server| {
        address.send_replace(Some(server.local_addr().unwrap()));
        let (shared, mut stopped) = (shared.clone(), stopped.clone());
        let own = Rc::new(Cell::new(0));
        server.with_graceful_shutdown(async move { stopped.changed().await.unwrap() }).serve_local(
            move |mut ws: WebSocket, ()| {
                own.set(own.get() + 1);
                shared.lock().unwrap().insert(thread::current().id());
                async move {
                    while let Some(message) = ws.next().await {
                        ws.send(message?).await?;
                    }
                    Ok(())
                }
            },
        )
    });
    let serving = tokio::spawn(serving);
    let address = timeout(SOON, known.wait_for(Option::is_some)).await.unwrap().unwrap().unwrap();
    let mut open = Vec::new();
    // That all of so many get to one thread of two does not happen.
    for _ in 0..64 {
        let mut ws = tautline::connect(format!("ws://{address}")).await.unwrap();
        ws.send("hello").await.unwrap();
        let echo = timeout(SOON, ws.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(echo.as_text(), Some("hello"));
        open.push(ws);
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
    stop.send(()).unwrap();
    for ws in open {
        assert_eq!(close_code(ws).await, Some(CloseCode::GOING_AWAY));
    }
    timeout(SOON, serving).await.expect("both ended").unwrap().unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_fails_or_panics_on_a_thread_is_the_result() {
    let two = NonZeroUsize::new(2).unwrap();
    let failed =
        Server::per_core("127.0.0.1:0", two, |_| async { Err(std::io::Error::other("no room")) });
    assert_eq!(timeout(SOON, failed).await.unwrap().unwrap_err().to_string(), "no room");
    let panicked = Server::per_core("127.0.0.1:0", two, |_| async { panic!("as asked") });
    let error = timeout(SOON, panicked).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "a server panicked");
    // A port that another listener has for itself.
    let taken = Server::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::per_core(address, two, |_| async { Ok(()) }).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
