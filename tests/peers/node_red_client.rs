//! Our client and Node-RED, whose flows are in tests/interop/node_red.mjs: `SUITES_NODE=... cargo run
//! --example node_red_client`
//!
//! Prints a line per check, as the scripts in tests/interop do.

mod report;

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use futures_util::future::try_join_all;
use report::{Outcome, Report, noise, same};
use tautline::bytes::Bytes;
use tautline::calls::{self, JsonRpc};
use tautline::http::StatusCode;
use tautline::reconnect::{Backoff, Cause, Event};
use tautline::{
    Client, CloseCode, CloseFrame, ConnectError, ConnectStage, Error, Message, serde_json,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Calls at once.
const CALLS: u32 = 200;
/// Longer than Node-RED takes for a handshake that it answers.
const UNANSWERED: Duration = Duration::from_secs(1);

/// Node-RED, which ends with this.
struct NodeRed {
    url: String,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let mut node_red = NodeRed::start().await?;
    let mut report = Report::new("Node-RED".into());
    report.add("text and binary through a flow", node_red.echo()).await;
    report.add("a Close with a code is answered", node_red.close()).await;
    report.add("calls of a flow that answers in any order", node_red.calls()).await;
    report.add("who does not log in is refused", node_red.log_in()).await;
    report.add("a path without a flow is never answered", node_red.unanswered()).await;
    report.add("back after a deploy", node_red.deploy()).await;
    Ok(report.exit_code())
}

impl NodeRed {
    async fn start() -> Outcome<Self> {
        let mut process = Command::new("node")
            .arg("tests/interop/node_red.mjs")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().ok_or("no standard input")?;
        let mut output = BufReader::new(process.stdout.take().ok_or("no standard output")?).lines();
        loop {
            let line = output.next_line().await?.ok_or("Node-RED has ended")?;
            if let Some(url) = line.strip_prefix("listening on ") {
                return Ok(Self { url: url.to_owned(), input, output, _process: process });
            }
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn echo(&self) -> Outcome {
        let mut ws = tautline::connect(self.at("/echo")).await?;
        let long = "ä世🦀x".repeat(104_858); // ten bytes each
        for message in [
            Message::from("grüße, 世界, 🦀"),
            Message::from(long),
            Message::from(Bytes::new()),
            Message::from(Bytes::from(noise(1 << 20))),
        ] {
            ws.send(message.clone()).await?;
            same(ws.next().await.ok_or("closed")?? == message, true)?;
        }
        ws.ping().await?;
        for n in 0..200 {
            ws.feed(format!("message {n}")).await?;
        }
        for n in 0..200 {
            let answer = ws.next().await.ok_or("closed")??;
            same(answer.as_text(), Some(&*format!("message {n}")))?;
        }
        Ok(ws.close().await?)
    }

    async fn close(&self) -> Outcome {
        let mut ws = tautline::connect(self.at("/echo")).await?;
        ws.close_with(CloseFrame::new(CloseCode::new(4321)?, "enough")?).await?;
        same(ws.next().await.is_none(), true)?;
        same(ws.close_frame().map(|close| close.code().as_u16()), Some(4321))
    }

    async fn calls(&self) -> Outcome {
        let ws = tautline::connect(self.at("/calls")).await?;
        let (caller, mut reader) = calls::split(ws, JsonRpc::new());
        let reading = tokio::spawn(async move { reader.next().await.is_none() });
        let numbers: Vec<[u32; 2]> = (0..CALLS).map(|n| [n, 1]).collect();
        let calls = numbers.iter().map(|pair| caller.request("add", pair));
        let sums: Vec<u32> = try_join_all(calls).await?;
        same(sums == Vec::from_iter(1..=CALLS), true)?;
        let missing = caller.request::<serde_json::Value>("nothing", &[0]).await;
        let error = missing.err().ok_or("a method that is missing has a result")?;
        let source = std::error::Error::source(&error).ok_or("no answer of the flow's")?;
        same(source.to_string().contains("-32601: no such method"), true)?;
        caller.writer().close().await?;
        same(reading.await?, true)
    }

    async fn log_in(&self) -> Outcome {
        let client = Client::new();
        for client in [client.clone(), client.clone().basic("user", "wrong")] {
            let error = client.connect(self.at("/private")).await.err().ok_or("open")?;
            same(error.status(), Some(StatusCode::UNAUTHORIZED))?;
            same(error.is_retryable(), false)?;
        }
        let mut ws = client.basic("user", "secret").connect(self.at("/private")).await?;
        ws.send("mine").await?;
        let answer = ws.next().await.ok_or("closed")??;
        same(answer.as_text(), Some("mine"))?;
        Ok(ws.close().await?)
    }

    /// Node-RED leaves it to others, of whom there are none.
    async fn unanswered(&self) -> Outcome {
        let client = Client::new().stage_timeout(ConnectStage::Handshake, UNANSWERED);
        match client.connect(self.at("/nothing")).await {
            Err(ConnectError::Timeout { stage: ConnectStage::Handshake, .. }) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err("open".into()),
        }
    }

    /// A deploy cuts connections off.
    async fn deploy(&mut self) -> Outcome {
        // An attempt while the flows are away is not answered.
        let client = Client::new().stage_timeout(ConnectStage::Handshake, UNANSWERED);
        let backoff =
            Backoff::new().first(Duration::from_millis(100)).max(Duration::from_millis(500));
        let mut feed = client.reconnecting(self.at("/echo")).backoff(backoff);
        let event = feed.next().await.ok_or("ended")??;
        same(matches!(event, Event::Connected(_)), true)?;
        self.input.write_all(b"\n").await?;
        let Event::Disconnected(event) = feed.next().await.ok_or("ended")?? else {
            return Err("connected despite a deploy".into());
        };
        if !matches!(event.cause(), Cause::Failed(Error::ConnectionLost | Error::Io(_))) {
            return Err(format!("{event:?} instead of a lost connection").into());
        }
        same(self.output.next_line().await?.as_deref(), Some("deployed"))?;
        while !matches!(feed.next().await.ok_or("ended")??, Event::Connected(_)) {}
        feed.sender().send("still here").await?;
        let message = feed.next().await.ok_or("ended")??.into_message();
        same(message.as_ref().and_then(Message::as_text), Some("still here"))?;
        feed.close().await;
        Ok(())
    }
}
