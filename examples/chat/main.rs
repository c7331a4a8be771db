//! A chat: one port serves the page and its sockets.
//!
//! ```sh
//! cargo run --example chat                                  # open http://127.0.0.1:8080 in two windows
//! cargo run --example chat -- --listen 0.0.0.0:8080         # for everybody on the network
//! cargo run --example chat -- --broker redis://127.0.0.1    # two nodes, also on port 8081, over Redis or nats://
//! ```
//!
//! Rooms are topics of a hub (`tautline_hub`). A browser connects to `/ws?room=ROOM&name=NAME` and sends
//! each message as `id LF text`. It receives JSON: `start`, `history` (what was said) and `here` (who is
//! here), then `message` and `presence` (who joins or leaves). Each message has its position in the history; a
//! browser that comes back adds `&since=POSITION`, and gets what it missed instead of the history. It resends
//! every message that it has not seen come back, and shows one whose id it has shown only once. With a broker,
//! both nodes have the same rooms, with the same people.

#[path = "../support/nodes.rs"]
mod nodes;
#[path = "../support/outlet.rs"]
mod outlet;
#[path = "../support/site.rs"]
mod site;
#[path = "../support/mod.rs"]
mod support;

mod page;
mod rooms;
mod talk;

use futures_util::future::try_join_all;
use tautline::{BoxError, Config, Upgrade, UpgradeRequest};

use nodes::Node;
use page::{page, ticket};
use rooms::hub;
use site::plain;
use talk::{MAX_MESSAGE, talk};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [listen, broker] = support::arguments(["--listen", "--broker"], &[])?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:8080".into());
    let nodes = nodes::open("chat", &listen, broker.as_deref(), hub).await?;
    try_join_all(nodes.into_iter().map(serve)).await?;
    Ok(())
}

async fn serve(Node { server, hub }: Node) -> Result<(), BoxError> {
    server
        .with_graceful_shutdown(support::stopped())
        .config(Config::new().max_message_size(MAX_MESSAGE))
        .fallback(|request, _peer| async move { page(&request) })
        .authorize(|request: UpgradeRequest| async move {
            let refuse = |status| plain(status, "expected: /ws?room=ROOM&name=NAME\n");
            ticket(request.uri()).map(Upgrade::new).map_err(refuse)
        })
        .serve_with(move |ws, ticket| talk(ws, ticket, hub.clone()))
        .await?;
    Ok(())
}
