//! A chat: one port serves the page and its sockets.
//!
//! ```sh
//! cargo run --example chat                                  # open http://127.0.0.1:8080 in two windows
//! cargo run --example chat -- --listen 0.0.0.0:8080         # for everybody on the network
//! ```
//!
//! Rooms are topics of a hub (`tautline_hub`). A browser connects to `/ws?room=ROOM&name=NAME` and sends
//! each message as `id LF text`. It receives JSON: `start`, `history` (what was said) and `here` (who is
//! here), then `message` and `presence`. Each message has its position in the history; a browser that
//! comes back adds `&since=POSITION`, and gets what it missed instead of the history. It resends every
//! message that it has not seen come back, and shows one whose id it has shown only once.

#[path = "../support/outlet.rs"]
mod outlet;
#[path = "../support/site.rs"]
mod site;
#[path = "../support/mod.rs"]
mod support;

mod page;
mod rooms;
mod talk;

use tautline::{BoxError, Config, Server, Upgrade, UpgradeRequest};

use page::{page, ticket};
use rooms::{Rooms, hub};
use site::plain;
use talk::{MAX_MESSAGE, talk};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [listen] = support::arguments(["--listen"], &[])?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:8080".into());
    let server = Server::bind(listen).await?.with_graceful_shutdown(support::stopped());
    println!("chat on http://{}", server.local_addr()?);

    let rooms = Rooms::new(hub().build());
    server
        .config(Config::new().max_message_size(MAX_MESSAGE))
        .fallback(|request, _peer| async move { page(&request) })
        .authorize(|request: UpgradeRequest| async move {
            let refuse = |status| plain(status, "expected: /ws?room=ROOM&name=NAME\n");
            ticket(request.uri()).map(Upgrade::new).map_err(refuse)
        })
        .serve_with(move |ws, ticket| talk(ws, ticket, rooms.clone()))
        .await?;
    Ok(())
}
