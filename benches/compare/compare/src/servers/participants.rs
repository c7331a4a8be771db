//! Who takes part.

/// What kind of participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Not a library: what the figures are measured against.
    Yardstick,
    Ours,
    Rust,
    JavaScript,
}

/// A server of the comparison: a library, and the way it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Participant {
    /// In tables and on the command line.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The package of this workspace, or the script.
    pub(crate) program: &'static str,
    /// Whose version is printed: a package of Cargo.lock or of npm.
    pub(crate) package: &'static str,
    /// The interface of the library: `--api`.
    pub(crate) api: &'static str,
    /// What it is, for the report.
    pub(crate) about: &'static str,
}

/// Those that come behind an HTTP server which somebody else runs, by their names.
pub(crate) const STACKS: &[&str] =
    &["tautline-hyper", "tautline-axum", "fastwebsockets-hyper", "axum-ws", "axum-ws-tuned"];

/// Those that speak HTTP/2, by their names.
const HTTP2: &[&str] = &[
    "h2",
    "h2-floor",
    "tautline-http2",
    "tautline-http2-hyper",
    "fastwebsockets-http2",
    "yawc-http2",
];

/// Our hub, by its name: it publishes and does nothing else.
pub(crate) const HUB: &str = "tautline-hub";

/// Our client with its own settings of TLS, by its name: it connects and does nothing else.
pub(crate) const OWN_TLS: &str = "tautline-own-tls";

impl Participant {
    /// Whether it is Tautline in another loop or with another setting, or a library behind an HTTP
    /// server or over HTTP/2, which few scenarios are about.
    pub(crate) fn is_variant(&self) -> bool {
        let another = self.kind == Kind::Ours && self.name != "tautline";
        another || self.is_stack() || self.speaks_http2()
    }

    /// Whether an HTTP server comes before it.
    pub(crate) fn is_stack(&self) -> bool {
        STACKS.contains(&self.name)
    }

    /// Whether it speaks HTTP/2 and nothing else.
    pub(crate) fn speaks_http2(&self) -> bool {
        HTTP2.contains(&self.name)
    }
}

const fn participant(
    name: &'static str,
    kind: Kind,
    program: &'static str,
    package: &'static str,
    api: &'static str,
    about: &'static str,
) -> Participant {
    Participant { name, kind, program, package, api, about }
}

/// All of them, in the order of the tables.
pub(crate) const ALL: &[Participant] = &[
    participant(
        "raw",
        Kind::Yardstick,
        "serve-basics",
        "tokio",
        "raw",
        "Tokio: read 64 KiB, write_all; no WebSocket",
    ),
    participant(
        "floor",
        Kind::Yardstick,
        "serve-basics",
        "tokio",
        "floor",
        "a hand-written echo without limits or checks",
    ),
    participant(
        "tautline",
        Kind::Ours,
        "serve-tautline",
        "tautline",
        "feed",
        "`next` and `feed`, default configuration",
    ),
    participant(
        "tautline-send",
        Kind::Ours,
        "serve-tautline",
        "tautline",
        "send",
        "`next` and `send`: a flush for each message",
    ),
    participant(
        "tautline-quiet",
        Kind::Ours,
        "serve-tautline",
        "tautline",
        "quiet",
        "as tautline, with `ping_interval(None)`: no timer",
    ),
    participant(
        OWN_TLS,
        Kind::Ours,
        "serve-tautline",
        "tautline",
        "own-tls",
        "as tautline, with the settings of `ClientTls::from_ca_file`",
    ),
    participant(
        HUB,
        Kind::Ours,
        "serve-tautline-hub",
        "tautline-hub",
        "",
        "members of a `Hub`, default configuration",
    ),
    participant(
        "tautline-hyper",
        Kind::Ours,
        "serve-tautline-stacks",
        "tautline-http",
        "hyper",
        "as tautline, under hyper's own HTTP/1.1 server",
    ),
    participant(
        "tautline-axum",
        Kind::Ours,
        "serve-tautline-stacks",
        "tautline-axum",
        "axum",
        "as tautline, under `axum::serve`",
    ),
    participant(
        "fastwebsockets",
        Kind::Rust,
        "serve-fastwebsockets",
        "fastwebsockets",
        "",
        "a bare stream; one write for each message",
    ),
    participant(
        "fastwebsockets-hyper",
        Kind::Rust,
        "serve-fastwebsockets",
        "fastwebsockets",
        "hyper",
        "its `upgrade`, under hyper's own HTTP/1.1 server",
    ),
    participant(
        "tokio-websockets",
        Kind::Rust,
        "serve-tokio-websockets",
        "tokio-websockets",
        "",
        "`next` and `send`",
    ),
    participant(
        "yawc",
        Kind::Rust,
        "serve-yawc",
        "yawc",
        "send",
        "a bare stream, `next` and `send`",
    ),
    participant(
        "yawc-b",
        Kind::Rust,
        "serve-yawc",
        "yawc",
        "feed",
        "`feed`, flushed when no input is left",
    ),
    participant(
        "yawc-tuned",
        Kind::Rust,
        "serve-yawc",
        "yawc",
        "tuned",
        "as yawc-b, with the buffers of its own benchmark",
    ),
    participant(
        "sockudo-ws",
        Kind::Rust,
        "serve-sockudo-ws",
        "sockudo-ws",
        "send",
        "`next` and `send`",
    ),
    participant(
        "sockudo-ws-b",
        Kind::Rust,
        "serve-sockudo-ws",
        "sockudo-ws",
        "feed",
        "`feed`, flushed when no input is left",
    ),
    participant(
        "sockudo-ws-raw",
        Kind::Rust,
        "serve-sockudo-ws",
        "sockudo-ws",
        "raw",
        "frames without messages, one write for all of a read",
    ),
    participant("wtx", Kind::Rust, "serve-wtx", "wtx", "", "one write for each message"),
    participant(
        "tungstenite",
        Kind::Rust,
        "serve-tokio-tungstenite",
        "tokio-tungstenite",
        "send",
        "`next` and `send`, defaults",
    ),
    participant(
        "tungstenite-tuned",
        Kind::Rust,
        "serve-tokio-tungstenite",
        "tokio-tungstenite",
        "tuned",
        "`feed`, flushed when no input is left; a read buffer of 16 KiB",
    ),
    participant(
        "axum-ws",
        Kind::Rust,
        "serve-axum-ws",
        "axum",
        "send",
        "axum's own `ws`, `recv` and `send`, under `axum::serve`",
    ),
    participant(
        "axum-ws-tuned",
        Kind::Rust,
        "serve-axum-ws",
        "axum",
        "tuned",
        "`feed`, flushed when no input is left; a read buffer of 16 KiB",
    ),
    participant(
        "h2",
        Kind::Yardstick,
        "serve-http2",
        "h2",
        "raw",
        "an echo of DATA on the bare crate; no WebSocket",
    ),
    participant(
        "h2-floor",
        Kind::Yardstick,
        "serve-http2",
        "h2",
        "floor",
        "a hand-written echo on its streams, without limits or checks",
    ),
    participant(
        "tautline-http2",
        Kind::Ours,
        "serve-http2",
        "tautline",
        "server",
        "`Server::http2`, the loop of tautline",
    ),
    participant(
        "tautline-http2-hyper",
        Kind::Ours,
        "serve-http2",
        "tautline-http",
        "hyper",
        "under hyper's own HTTP/2 server",
    ),
    participant(
        "fastwebsockets-http2",
        Kind::Rust,
        "serve-fastwebsockets",
        "fastwebsockets",
        "http2",
        "on the stream that hyper's own HTTP/2 server has upgraded",
    ),
    participant(
        "yawc-http2",
        Kind::Rust,
        "serve-yawc-http2",
        "yawc",
        "",
        "its `upgrade`, under hyper's own HTTP/2 server; the loop of yawc-b",
    ),
    participant("bun", Kind::JavaScript, "bun.js", "bun", "", "uWebSockets inside"),
    participant("node-ws", Kind::JavaScript, "node-ws.js", "ws", "", "on Node"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_participants() {
        let found = |name: &&str| ALL.iter().any(|participant| participant.name == *name);
        assert!(STACKS.iter().all(found) && HTTP2.iter().all(found));
    }
}
