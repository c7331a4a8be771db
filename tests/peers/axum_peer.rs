//! What `echo_peer --page` is to browsers, as an application of axum under hyper and a TLS of its own:
//! `cargo run --example axum_peer -- --cert FILE --key FILE --page FILE [--listen ADDR] [--takeover]`
//!
//! It prints the same lines, and speaks HTTP/1.1 and HTTP/2, by ALPN. Pages of the same origin may
//! connect, as is the default.

#[path = "../../examples/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::{arguments, flag, stopped};
use tautline::http::Version;
use tautline::{BoxError, Compression, Connections, Peer, WebSocket};
use tautline_axum::{WebSocketUpgrade, WebSocketUpgradeRejection};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(5); // for connections, when the server ends

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let names = ["--listen", "--cert", "--key", "--page"];
    let [listen, cert, key, page] = arguments(names, &["--takeover", "--http2"])?;
    let tls = tls(&cert.ok_or("--cert FILE")?, &key.ok_or("--key FILE")?)?;
    let page = std::fs::read_to_string(page.ok_or("--page FILE")?)?;
    let listener = TcpListener::bind(listen.unwrap_or_else(|| "127.0.0.1:9001".into())).await?;
    let stopped = stopped();
    println!("listening on wss://{}", listener.local_addr()?);

    let connections = Connections::new();
    let app = Router::new()
        .route("/", any(root))
        .layer(Extension(connections.clone()))
        .with_state(page.into());
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (tcp, peer) = accepted?;
                // HTTP/2 writes small pieces: the system must not hold them back.
                tcp.set_nodelay(true)?;
                tokio::spawn(serve(tcp, peer, tls.clone(), app.clone()));
            }
            () = &mut stopped => break,
        }
    }
    connections.close();
    connections.drain(PATIENCE).await;
    Ok(())
}

fn tls(cert: &str, key: &str) -> Result<TlsAcceptor, BoxError> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(tcp: TcpStream, peer: SocketAddr, tls: TlsAcceptor, app: Router) {
    let Ok(stream) = tls.accept(tcp).await else { return };
    let app = app.layer(Extension(Peer::from(peer).with_secure(true)));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().enable_connect_protocol(); // RFC 8441
    let service = TowerToHyperService::new(app);
    // Browsers leave connections as they like.
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// A WebSocket if one is asked for, or the page.
async fn root(
    ws: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    State(page): State<Arc<str>>,
) -> Response {
    if let Ok(mut ws) = ws {
        if flag("--takeover") {
            ws = ws.compression(Compression::best_ratio().own_window_bits(15));
        }
        return ws.peer(peer).on_upgrade(echo);
    }
    if let Some(query) = query {
        println!("told {query}");
    }
    Html(page.to_string()).into_response()
}

async fn echo(mut ws: WebSocket) -> Result<(), BoxError> {
    let version = if ws.http_version() == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" };
    let peer = ws.peer_addr().map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    println!("opened {version} {peer}");
    let outcome = messages(&mut ws).await;
    match (&outcome, ws.close_frame()) {
        (Err(error), _) => println!("failed: {error}"),
        (Ok(()), Some(close)) => println!("closed {}", close.code().as_u16()),
        (Ok(()), None) => println!("closed"),
    }
    outcome
}

async fn messages(ws: &mut WebSocket) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}
