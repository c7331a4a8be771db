//! The chat, by itself and under axum, and the echo server, used by a real browser
//! (tests/browser/run.mjs).

use crate::project;
use crate::rust;
use crate::shell::{Cmd, Outcome};
use crate::suites;

pub(crate) fn check() -> Outcome {
    let node = suites::node()?;
    let chromium = suites::chromium()?;
    rust::examples(&["chat", "axum_chat", "echo_peer"])?;
    Cmd::new("node tests/browser/run.mjs")
        .env("CHROMIUM", chromium)
        .env("CHAT_BIN", project::example("chat"))
        .env("AXUM_CHAT_BIN", project::example("axum_chat"))
        .env("ECHO_BIN", project::example("echo_peer"))
        .env("SUITES_NODE", node)
        .limit(5 * 60)
        .run()
}
