//! A game in a small arena: who collects most of the lights. The arena moves on 30 times a second, and whoever
//! comes late sees it at once.
//!
//! ```sh
//! cargo run --example game                              # open http://127.0.0.1:8082 in two windows
//! cargo run --example game -- --listen 0.0.0.0:8082     # for everybody on the network
//! cargo run --example game -- --broker redis://127.0.0.1 # two nodes, also on port 8083, over Redis or nats://
//! ```
//!
//! The game is three topics of a hub (`tautline_hub`):
//!
//! - `arena.input`: where each player wants to go. Only the arena is subscribed to it.
//! - `arena.world`: where everything is, each tick. For a connection that is too slow only the latest waits; and
//!   the last one is what a late joiner begins with.
//! - `arena.people`: names and scores, when they have changed.
//!
//! A page connects to `/ws?name=NAME`, is told by `welcome` which player it is, and sends `X Y`: the direction that
//! it goes in, each number from -1 to 1.

#[path = "../support/nodes.rs"]
mod nodes;
#[path = "../support/outlet.rs"]
mod outlet;
#[path = "../support/site.rs"]
mod site;
#[path = "../support/mod.rs"]
mod support;

mod arena;
mod session;
#[cfg(test)]
mod tests;
mod topics;
mod world;

use futures_util::future::try_join_all;
use http::StatusCode;
use tautline::{BoxError, Config, Rate, Upgrade, UpgradeRequest};

use arena::Arena;
use nodes::Node;
use site::{CONNECTION, CSS, File, HTML, SCRIPT, SVG, parameter, plain, serve};

const MAX_MESSAGE: usize = 64; // bytes: two numbers
const MAX_NAME: usize = 16; // characters, as in the page
/// A page sends at most one message for each tick; one that sends more is slowed down.
const MESSAGES: Rate = Rate::per_second(60);

const FILES: &[File] = &[
    ("/", HTML, include_str!("index.html")),
    ("/style.css", CSS, include_str!("style.css")),
    ("/app.js", SCRIPT, include_str!("app.js")),
    ("/steering.js", SCRIPT, include_str!("steering.js")),
    ("/timeline.js", SCRIPT, include_str!("timeline.js")),
    ("/view.js", SCRIPT, include_str!("view.js")),
    ("/icon.svg", SVG, include_str!("icon.svg")),
    CONNECTION,
];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [listen, broker] = support::arguments(["--listen", "--broker"], &[])?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:8082".into());
    let nodes = nodes::open("game", &listen, broker.as_deref(), topics::hub).await?;
    let first = nodes.first().ok_or("there is no node")?;
    let arena = Arena::open(&first.hub).await?; // one for both
    tokio::select! {
        ended = try_join_all(nodes.into_iter().map(serve_pages)) => ended.map(drop),
        never = arena.run() => match never {},
    }
}

async fn serve_pages(Node { server, hub }: Node) -> Result<(), BoxError> {
    server
        .with_graceful_shutdown(support::stopped())
        .config(Config::new().max_message_size(MAX_MESSAGE).message_rate(MESSAGES))
        .fallback(|request, _peer| async move { serve(FILES, &request) })
        .authorize(|request: UpgradeRequest| async move {
            let refuse = |status| plain(status, "expected: /ws?name=NAME\n");
            if request.uri().path() != "/ws" {
                return Err(refuse(StatusCode::NOT_FOUND));
            }
            let name = parameter(request.uri().query().unwrap_or_default(), "name", MAX_NAME);
            name.map(Upgrade::new).ok_or_else(|| refuse(StatusCode::BAD_REQUEST))
        })
        .serve_with(move |ws, name| session::serve(ws, name, hub.clone()))
        .await?;
    Ok(())
}
