//! A trading feed: order books and prices of a small simulated market, on a page with a chart.
//!
//! ```sh
//! cargo run --example trading_feed                              # open http://127.0.0.1:8081
//! cargo run --example trading_feed -- --listen 0.0.0.0:8081     # for everybody on the network
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

use http::StatusCode;
use tautline::{BoxError, Config, Server, Upgrade, UpgradeRequest};
use tautline_hub::Hub;

use feed::Feed;
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
    let [listen] = support::arguments(["--listen"], &[])?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:8081".into());
    let hub = feed::hub().build();
    let mut feed = Feed::new(hub.clone())?;
    feed.tick().await?; // there are books before anybody asks for one
    let server = bind(&listen).await?;
    tokio::select! {
        ended = serve_pages(server, hub) => ended,
        never = feed.run() => match never {},
    }
}

async fn bind(listen: &str) -> Result<Server, BoxError> {
    let server = Server::bind(listen).await?;
    println!("trading feed on http://{}", server.local_addr()?);
    Ok(server)
}

async fn serve_pages(server: Server, hub: Hub) -> Result<(), BoxError> {
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
