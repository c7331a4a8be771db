//! The chat, by itself and under axum, the trading feed, the game and the echo server, used by a real browser
//! (tests/browser/run.mjs), and the echo server over HTTP/2, ours and under axum, by two
//! (tests/browser/http2.mjs). A browser as the server: its DevTools (tests/browser/devtools.mjs). The SDK
//! of Centrifuge's protocol in a browser (tests/centrifuge/browser.mjs).

use std::path::Path;

use crate::project;
use crate::rust;
use crate::shell::{Cmd, Failure, Outcome};
use crate::suites;

/// The SDK of Centrifuge's protocol in a browser, against a hub.
fn centrifuge(node: &Path, chromium: &Path) -> Outcome {
    let peer = Cmd::program(project::example("centrifuge_peer"));
    let peer = peer.args(["--listen", "127.0.0.1:0", "--ping", "1"]);
    let (server, url) = peer.serve("listening on ")?;
    for format in ["json", "protobuf"] {
        Cmd::new("node tests/centrifuge/browser.mjs")
            .args([&*url, format])
            .env("CHROMIUM", chromium)
            .env("SUITES_NODE", node)
            .limit(5 * 60)
            .run()?;
    }
    server.stop()
}

/// With `--http2`, only what is over HTTP/2.
pub(crate) fn check(args: &[String]) -> Outcome {
    let only_http2 = match args {
        [] => false,
        [arg] if arg == "--http2" => true,
        _ => return Err(Failure::Failed("the only option here is `--http2`".to_owned())),
    };
    let node = suites::node()?;
    let chromium = suites::chromium()?;
    if !only_http2 {
        suites::need("redis-server", "redis-server")?;
        suites::need("nats-server", "nats-server")?;
    }
    rust::examples(&[
        "chat",
        "axum_chat",
        "trading_feed",
        "game",
        "centrifuge_peer",
        "devtools",
        "echo_peer",
        "axum_peer",
    ])?;
    if !only_http2 {
        Cmd::new("node tests/browser/run.mjs")
            .env("CHROMIUM", &chromium)
            .env("CHAT_BIN", project::example("chat"))
            .env("AXUM_CHAT_BIN", project::example("axum_chat"))
            .env("FEED_BIN", project::example("trading_feed"))
            .env("GAME_BIN", project::example("game"))
            .env("ECHO_BIN", project::example("echo_peer"))
            .env("SUITES_NODE", &node)
            .limit(5 * 60)
            .run()?;
        Cmd::new("node tests/browser/devtools.mjs")
            .env("CHROMIUM", &chromium)
            .env("DEVTOOLS_BIN", project::example("devtools"))
            .limit(2 * 60)
            .run()?;
        centrifuge(&node, &chromium)?;
    }
    let certificate = suites::certificate()?;
    let cmd = Cmd::new("node tests/browser/http2.mjs")
        .env("CHROMIUM", chromium)
        .env("ECHO_BIN", project::example("echo_peer"))
        .env("AXUM_BIN", project::example("axum_peer"))
        .env("CERT", certificate.cert)
        .env("KEY", certificate.key)
        .env("CA", certificate.ca)
        .limit(5 * 60);
    match suites::firefox() {
        Ok(firefox) => cmd.env("FIREFOX", firefox).run(),
        Err(Failure::Missing(what)) if !project::in_ci() => {
            println!("without Firefox: {what}");
            cmd.run()
        }
        Err(failure) => Err(failure),
    }
}
