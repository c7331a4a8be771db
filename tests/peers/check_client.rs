//! Our client in one conversation after the other with an echo server, which may be that of another
//! implementation, or ours behind a proxy: `cargo run --example check_client -- --name NAME --url URL
//! [--ca FILE] [--http2 auto|prior|fallback] [--deflate] [--alone] [--asks] [--cuts] [--stop PID]`
//!
//! Prints `ok NAME: WHAT` or `FAIL NAME: WHAT: WHY`, a line per check, as the scripts in
//! tests/interop do. With `--http2` every WebSocket must be over HTTP/2, except
//! that `fallback` is `auto` with a server that has no WebSocket over it. With `--alone` no two are open
//! at once. With `--asks` the server does what it is asked for: the text `close CODE REASON` has it
//! send this Close; with `--cuts`, `cut` has it end without one, and `go away` has it
//! open no more streams on this connection. With `--stop` the last check sends
//! SIGTERM to this process, a server of ours, whose Close must arrive.

#[path = "../../examples/support/mod.rs"]
mod support;

mod report;

use std::process::{Command, ExitCode};
use std::time::Duration;

use report::{Outcome, Report, noise, same};
use support::{arguments, flag};
use tautline::bytes::Bytes;
use tautline::http::Version;
use tautline::{
    Client, ClientTls, CloseCode, CloseFrame, Compression, Config, Http2, Message, WebSocket,
};

/// HAProxy 2.6 now and then leaves streams of HTTP/2 unsent, though their windows are open and its
/// buffer is empty (`show fd`: `.send_cnt=2`, `.mbuf` of 0 bytes), until the next frame of the client: the
/// Ping of an application that waits. It must come before [`report::PATIENCE`] ends.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const TEXT: &str = "grüße, 世界, 🦀";
/// A small one, what is longer than a window of 64 KiB, and what is several times as long.
const SIZES: [usize; 6] = [0, 20, 65_535, 70_000, 300_000, 1 << 20];
/// WebSockets at once.
const MANY: usize = 12;

struct Target {
    client: Client,
    url: String,
    version: Option<Version>,
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let names = ["--name", "--url", "--ca", "--http2", "--stop"];
    let [name, url, ca, http2, stop] =
        arguments(names, &["--deflate", "--alone", "--asks", "--cuts"])?;
    let (name, url) = (name.ok_or("--name NAME")?, url.ok_or("--url URL")?);
    let mut client = Client::new().config(Config::new().ping_interval(PING_INTERVAL));
    if let Some(ca) = ca {
        client = client.tls(ClientTls::from_ca_file(ca)?);
    }
    let mut version = None;
    if let Some(mode) = http2 {
        client = client.http2(if mode == "prior" { Http2::Prior } else { Http2::Auto });
        let fallback = mode == "fallback";
        version = Some(if fallback { Version::HTTP_11 } else { Version::HTTP_2 });
    }
    let deflate = flag("--deflate");
    if deflate {
        client = client.compression(Compression::new());
    }
    let alone = flag("--alone");
    let target = Target { client, url, version };
    let mut report = Report::new(name);

    report.add("compression as expected", target.compression(deflate)).await;
    for text in [TEXT, ""] {
        report.add(&format!("text {text:?}"), target.echo(Message::from(text))).await;
    }
    for size in SIZES {
        let message = Message::from(Bytes::from(noise(size)));
        report.add(&format!("binary of {size} bytes"), target.echo(message)).await;
    }
    let long = "ä世🦀x".repeat(104_858); // ten bytes each
    report.add("text of 1 MiB", target.echo(Message::from(long))).await;
    report.add("200 messages in order", target.order()).await;
    report.add("ping", target.ping()).await;
    if !alone {
        report.add("many at once", target.many()).await;
        report.add("one dropped beside another", target.dropped()).await;
    }
    for (code, reason) in [(1000, ""), (4321, TEXT)] {
        report.add(&format!("close {code}"), target.close(code, reason)).await;
    }
    if flag("--asks") {
        for (code, reason) in [(1000, ""), (1001, "going"), (4321, TEXT)] {
            let what = format!("the server closes with {code}");
            report.add(&what, target.asked_to_close(code, reason)).await;
        }
    }
    if flag("--cuts") {
        report.add("the server ends without a Close", target.cut()).await;
        report.add("the server goes away", target.goes_away()).await;
    }
    if let Some(server) = stop {
        report.add("the server is stopped", target.stopped(&server)).await;
    }
    Ok(report.exit_code())
}

impl Target {
    async fn open(&self) -> Outcome<WebSocket> {
        let ws = self.client.connect(&self.url).await?;
        if let Some(version) = self.version {
            same(ws.http_version(), version)?;
        }
        Ok(ws)
    }

    async fn compression(&self, expected: bool) -> Outcome {
        let mut ws = self.open().await?;
        same(ws.compression().is_some(), expected)?;
        Ok(ws.close().await?)
    }

    /// There and back, twice, and a clean end.
    async fn echo(&self, message: Message) -> Outcome {
        let mut ws = self.open().await?;
        for _ in 0..2 {
            ws.send(message.clone()).await?;
            let answer = ws.next().await.ok_or("closed without an answer")??;
            if answer != message {
                let (sent, got) = (message.as_bytes().len(), answer.as_bytes().len());
                return Err(format!("other {got} bytes than the {sent} that were sent").into());
            }
        }
        Ok(ws.close().await?)
    }

    async fn order(&self) -> Outcome {
        let mut ws = self.open().await?;
        for n in 0..200 {
            ws.feed(format!("message {n}")).await?;
        }
        for n in 0..200 {
            let answer = ws.next().await.ok_or("closed")??;
            same(answer.as_text(), Some(&*format!("message {n}")))?;
        }
        Ok(ws.close().await?)
    }

    async fn ping(&self) -> Outcome {
        let mut ws = self.open().await?;
        for _ in 0..3 {
            ws.ping().await?;
        }
        Ok(ws.close().await?)
    }

    /// Several at once, which are all open before the first is used.
    async fn many(&self) -> Outcome {
        let mut sockets = Vec::new();
        for _ in 0..MANY {
            sockets.push(self.open().await?);
        }
        let message = Message::from(Bytes::from(noise(100_000)));
        for (n, ws) in sockets.iter_mut().enumerate() {
            ws.feed(format!("socket {n}")).await?;
            ws.send(message.clone()).await?;
        }
        for (n, mut ws) in sockets.into_iter().enumerate() {
            let first = ws.next().await.ok_or("closed")??;
            same(first.as_text(), Some(&*format!("socket {n}")))?;
            let second = ws.next().await.ok_or("closed")??;
            same(second == message, true)?;
            ws.close().await?;
        }
        Ok(())
    }

    /// One that ends without a Close does not harm another.
    async fn dropped(&self) -> Outcome {
        let mut other = self.open().await?;
        let mut ws = self.open().await?;
        ws.send(TEXT).await?;
        drop(ws);
        other.send(TEXT).await?;
        let answer = other.next().await.ok_or("closed")??;
        same(answer.as_text(), Some(TEXT))?;
        Ok(other.close().await?)
    }

    /// The answer to a Close has its code and its reason.
    async fn close(&self, code: u16, reason: &str) -> Outcome {
        let mut ws = self.open().await?;
        ws.close_with(CloseFrame::new(CloseCode::new(code)?, reason)?).await?;
        answered(&mut ws, code, reason).await
    }

    async fn asked_to_close(&self, code: u16, reason: &str) -> Outcome {
        let mut ws = self.open().await?;
        ws.send(format!("close {code} {reason}")).await?;
        answered(&mut ws, code, reason).await
    }

    async fn cut(&self) -> Outcome {
        let mut ws = self.open().await?;
        ws.send("cut").await?;
        match ws.next().await {
            Some(Err(_)) => Ok(()),
            other => Err(format!("{other:?} instead of an error").into()),
        }
    }

    /// What is open goes on, and what is opened afterwards takes another connection.
    async fn goes_away(&self) -> Outcome {
        let mut ws = self.open().await?;
        for text in ["go away", TEXT] {
            ws.send(text).await?;
            let answer = ws.next().await.ok_or("closed")??;
            same(answer.as_text(), Some(text))?;
            let mut other = self.open().await?;
            other.send(TEXT).await?;
            let answer = other.next().await.ok_or("closed")??;
            same(answer.as_text(), Some(TEXT))?;
            other.close().await?;
        }
        Ok(ws.close().await?)
    }

    /// A server of ours that is stopped closes with 1001.
    async fn stopped(&self, server: &str) -> Outcome {
        let mut ws = self.open().await?;
        ws.send(TEXT).await?;
        let answer = ws.next().await.ok_or("closed")??;
        same(answer.as_text(), Some(TEXT))?;
        same(Command::new("kill").args(["-TERM", server]).status()?.success(), true)?;
        answered(&mut ws, 1001, "").await
    }
}

/// The end is a clean one, with this Close of the server.
async fn answered(ws: &mut WebSocket, code: u16, reason: &str) -> Outcome {
    if let Some(message) = ws.next().await {
        return Err(format!("{:.200?} instead of the end", message?).into());
    }
    let close = ws.close_frame().ok_or("no Close of the server")?;
    same((close.code().as_u16(), close.reason()), (code, reason))
}
