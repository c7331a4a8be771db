//! Upgrades that were answered, and do not happen.

use std::error::Error;
use std::time::Duration;

use http::Version;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tautline::{Acceptor, WebSocket};
use tautline_http::{UpgradeError, Upgrading};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::support::peer::{Peer, REQUEST, VERSIONS};
use crate::support::{Answer, By, serve_fn};

type Asks = mpsc::UnboundedReceiver<oneshot::Receiver<Outcome>>;
type Outcome = Result<WebSocket, UpgradeError>;

/// A server that takes the upgrade, sends its outcome here, and answers when it is told to.
async fn hesitating(
    set: fn(Upgrading) -> Upgrading,
) -> (std::net::SocketAddr, Asks, watch::Sender<bool>) {
    let (asked, asks) = mpsc::unbounded_channel();
    let (go, gone) = watch::channel(false);
    let address = serve_fn(By::Auto, move |mut request| {
        let (asked, mut gone) = (asked.clone(), gone.clone());
        async move {
            let acceptor = Acceptor::new();
            let (response, upgrading) = tautline_http::upgrade(&acceptor, &mut request).unwrap();
            let (outcome, outcomes) = oneshot::channel();
            tokio::spawn(async move { outcome.send(set(upgrading).await) });
            asked.send(outcomes).unwrap();
            gone.wait_for(|go| *go).await.unwrap();
            Answer::Ok(response.map(|()| Full::default()))
        }
    })
    .await;
    (address, asks, go)
}

#[tokio::test]
async fn a_client_that_leaves_before_the_response_ends_the_upgrade() {
    for version in VERSIONS {
        let (address, mut asks, _go) = hesitating(|upgrading| upgrading).await;
        let peer = Peer::ask(address, version, &[]).await;
        let outcome = asks.recv().await.unwrap();
        peer.vanish();
        let error = outcome.await.unwrap().unwrap_err();
        assert!(matches!(error, UpgradeError::Connection(_)), "{version:?}: {error:?}");
        assert_eq!(error.to_string(), "the connection was not handed over");
        assert!(error.source().is_some());
    }
}

#[tokio::test]
async fn an_upgrade_that_takes_too_long_is_given_up_and_the_connection_closed() {
    for version in VERSIONS {
        let soon = |upgrading: Upgrading| upgrading.timeout(Duration::from_millis(1));
        let (address, mut asks, go) = hesitating(soon).await;
        let mut peer = Peer::ask(address, version, &[]).await;
        let error = asks.recv().await.unwrap().await.unwrap().unwrap_err();
        assert!(matches!(error, UpgradeError::Timeout), "{version:?}: {error:?}");
        // It is answered later, and nobody is there any more.
        go.send(true).unwrap();
        let head = peer.head().await;
        assert!(matches!(head.status, 101 | 200));
        assert_eq!(peer.frame().await, None);
    }
}

/// Other middleware may decide otherwise after all. Over HTTP/2 the upgrade fails then. Over
/// HTTP/1.1 hyper would hand over the connection when it ends, whatever was answered: the wait is
/// bounded.
#[tokio::test]
async fn another_response_ends_the_upgrade() {
    for version in VERSIONS {
        let (ended, mut outcomes) = mpsc::unbounded_channel();
        let address = serve_fn(By::Auto, move |mut request| {
            let (_, upgrading) = tautline_http::upgrade(&Acceptor::new(), &mut request).unwrap();
            let upgrading = match request.version() {
                Version::HTTP_2 => upgrading,
                _ => upgrading.timeout(Duration::from_millis(1)),
            };
            let ended = ended.clone();
            tokio::spawn(async move { ended.send(upgrading.await) });
            let response = http::Response::builder().status(503).body(Full::from("later\n"));
            std::future::ready(Ok(response.unwrap()))
        })
        .await;
        let mut peer = Peer::ask(address, version, &[]).await;
        let head = peer.head().await;
        assert_eq!((head.status, &peer.body(&head).await[..]), (503, "later\n"));
        let error = outcomes.recv().await.unwrap().unwrap_err();
        match version {
            Version::HTTP_2 => assert!(matches!(error, UpgradeError::Connection(_)), "{error:?}"),
            _ => assert!(matches!(error, UpgradeError::Timeout), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_without_upgrades_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, outcome) = oneshot::channel();
    tokio::spawn(async move {
        let ended = std::sync::Mutex::new(Some(ended));
        let service = service_fn(|mut request| {
            let (response, upgrading) =
                tautline_http::upgrade(&Acceptor::new(), &mut request).unwrap();
            let ended = ended.lock().unwrap().take().unwrap();
            tokio::spawn(async move { ended.send(upgrading.await) });
            std::future::ready(Answer::Ok(response.map(|()| Full::default())))
        });
        let (stream, _) = listener.accept().await.unwrap();
        // Without `with_upgrades`.
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    });
    let _peer = Peer::send_raw(address, REQUEST).await;
    let error = outcome.await.unwrap().unwrap_err();
    assert!(matches!(error, UpgradeError::Connection(_)), "{error:?}");
}
