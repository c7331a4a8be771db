//! The chat as an application of axum: its router serves the page and the sockets, over HTTP/1.1
//! and HTTP/2.
//!
//! ```sh
//! cargo run --example axum_chat                             # open http://127.0.0.1:8080 in two windows
//! cargo run --example axum_chat -- --listen 0.0.0.0:8080    # for everybody on the network
//! ```

#[path = "support/outlet.rs"]
mod outlet;
#[path = "chat/page.rs"]
mod page;
#[path = "chat/rooms.rs"]
mod rooms;
#[path = "support/site.rs"]
mod site;
#[path = "support/mod.rs"]
mod support;
#[path = "chat/talk.rs"]
mod talk;

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use axum::{Extension, Router};
use tautline::{BoxError, Config, Connections};
use tautline_axum::WebSocketUpgrade;
use tautline_hub::Hub;
use tokio::net::TcpListener;

use page::{page, ticket};
use rooms::hub;
use site::plain;
use talk::{MAX_MESSAGE, talk};

const PATIENCE: Duration = Duration::from_secs(10); // for connections, when the server ends

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [listen] = support::arguments(["--listen"], &[])?;
    let listener = TcpListener::bind(listen.unwrap_or_else(|| "127.0.0.1:8080".into())).await?;
    let stopped = support::stopped();
    println!("chat on http://{}", listener.local_addr()?);

    let connections = Connections::new();
    let app = Router::new()
        .route("/ws", any(join)) // GET over HTTP/1.1, CONNECT over HTTP/2
        .fallback(files)
        .layer(Extension(connections.clone()))
        .with_state(hub().build());
    let closing = connections.clone();
    let stop = async move {
        stopped.await;
        closing.close();
    };
    // HTTP/2 writes small pieces: the system must not hold them back.
    let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    connections.drain(PATIENCE).await;
    Ok(())
}

async fn join(ws: WebSocketUpgrade, uri: Uri, State(hub): State<Hub>) -> Response {
    match ticket(&uri) {
        Ok(ticket) => ws
            .config(Config::new().max_message_size(MAX_MESSAGE))
            .on_upgrade(move |ws| talk(ws, ticket, hub)),
        Err(status) => plain(status, "expected: /ws?room=ROOM&name=NAME\n").map(Body::from),
    }
}

async fn files(request: Request) -> Response {
    page(&request.map(drop)).map(Body::from)
}
