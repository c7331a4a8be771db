//! A trading feed: order books and prices of a small simulated market, on a page with a chart.
//!
//! ```sh
//! cargo run --example trading_feed                              # open http://127.0.0.1:8081
//! cargo run --example trading_feed -- --listen 0.0.0.0:8081     # for everybody on the network
//! cargo run --example trading_feed -- --broker redis://127.0.0.1 # two nodes, also on port 8082, over Redis or nats://
//! ```
//!
//! Each symbol has three topics of a hub (`tautline_hub`):
//!
//! - `book.SYMBOL`: what changed in the order book. None may be missed, so a connection that is too slow is
//!   closed, and comes back with the position that it has: it recovers what it missed.
//! - `snapshot.SYMBOL`: the whole book every two seconds, with its position in `book.SYMBOL`. Who has no position,
//!   or one that is too old, starts there.
//! - `price.SYMBOL`: the price. Only the latest matters, so for a connection that is too slow only that waits.
//!
//! A page sends `watch SYMBOL`, `watch SYMBOL POSITION`, and `ping NUMBER`.

#[path = "../feed/book.rs"]
mod book;
#[path = "../support/nodes.rs"]
mod nodes;
#[path = "../support/outlet.rs"]
mod outlet;
#[path = "../support/site.rs"]
mod site;
#[path = "../support/mod.rs"]
mod support;

mod feed;
mod market;
mod session;
#[cfg(test)]
mod tests;

use futures_util::future::try_join_all;
use http::StatusCode;
use tautline::{BoxError, Config, Upgrade, UpgradeRequest};

use feed::Feed;
use nodes::Node;
use site::{CONNECTION, CSS, File, HTML, SCRIPT, SVG, plain, serve};

const MAX_MESSAGE: usize = 128; // bytes: the words of a page are short

const FILES: &[File] = &[
    ("/", HTML, include_str!("index.html")),
    ("/style.css", CSS, include_str!("style.css")),
    ("/app.js", SCRIPT, include_str!("app.js")),
    ("/book.js", SCRIPT, include_str!("book.js")),
    ("/chart.js", SCRIPT, include_str!("chart.js")),
    ("/latency.js", SCRIPT, include_str!("latency.js")),
    ("/icon.svg", SVG, include_str!("icon.svg")),
    CONNECTION,
];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [listen, broker] = support::arguments(["--listen", "--broker"], &[])?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:8081".into());
    let nodes = nodes::open("trading-feed", &listen, broker.as_deref(), feed::hub).await?;
    let first = nodes.first().ok_or("there is no node")?;
    let mut feed = Feed::new(first.hub.clone())?; // one market for both
    feed.tick().await?; // there are books before anybody asks for one
    tokio::select! {
        ended = try_join_all(nodes.into_iter().map(serve_pages)) => ended.map(drop),
        never = feed.run() => match never {},
    }
}

async fn serve_pages(Node { server, hub }: Node) -> Result<(), BoxError> {
    server
        .with_graceful_shutdown(support::stopped())
        .config(Config::new().max_message_size(MAX_MESSAGE))
        .fallback(|request, _peer| async move { serve(FILES, &request) })
        .authorize(|request: UpgradeRequest| async move {
            match request.uri().path() {
                "/ws" => Ok(Upgrade::new(())),
                _ => Err(plain(StatusCode::NOT_FOUND, "expected: /ws\n")),
            }
        })
        .serve_with(move |ws, ()| session::serve(ws, hub.clone()))
        .await?;
    Ok(())
}
