//! Runtimes that lack what deadlines need: one clear error at the start.

use tautline::{AcceptError, Client, ConnectError, connect};

use crate::support::handshake::{bind, uri};

const MISSING: &str = "time driver";

// Without tokio's time driver, `connect` panicked, and every connection of a server panicked while
// `serve` ran on silently.
#[test]
fn a_runtime_without_timers_is_an_error_at_the_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let (server, address) = bind().await;
        let error = server.serve(|_| async { Ok(()) }).await.unwrap_err();
        assert!(error.to_string().contains(MISSING), "{error}");
        let (near, far) = tokio::io::duplex(64);
        for result in [
            connect(uri(address)).await.map(drop),
            Client::new().connect_over("ws://localhost/", near).await.map(drop),
        ] {
            match result {
                Err(ConnectError::Runtime(error)) => {
                    assert!(error.to_string().contains(MISSING), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
        match tautline::accept(far).await {
            Err(AcceptError::Runtime(error)) => {
                assert!(error.to_string().contains(MISSING), "{error}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn no_runtime_at_all_is_an_error_too() {
    let (near, _far) = tokio::io::duplex(64);
    let client = Client::new();
    let mut opening = Box::pin(client.connect_over("ws://localhost/", near));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match opening.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(Err(ConnectError::Runtime(_))) => {}
        other => panic!("{other:?}"),
    }
}
