//! Our client and a reverse proxy in front of a server that is not ours: `cargo run --example
//! fronted_client -- --name NAME --url URL --backend ADDRESS --python PROGRAM [--ca FILE] [--http2]`
//!
//! The proxy at URL passes WebSockets on to ADDRESS, where each check runs
//! tests/interop/python_backend.py by that program. It ends what is silent for a second, and answers
//! by itself where nobody listens. With `--http2`, it has WebSockets over HTTP/2 for its clients.
//!
//! Prints a line per check, as the scripts in tests/interop do.

#[path = "../../examples/support/mod.rs"]
mod support;

mod report;

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use report::{Outcome, Report, noise, same};
use serde_json::Value;
use support::{arguments, flag};
use tautline::bytes::Bytes;
use tautline::http::{StatusCode, Version};
use tautline::reconnect::{Backoff, Cause, Disconnected, Event, Reconnecting};
use tautline::{
    Client, ClientTls, Compression, Config, ConnectError, Error, Http2, Message, ResponseError,
    WebSocket,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Much less than what the proxy takes for silence.
const PINGS: Duration = Duration::from_millis(200);
const LARGE: usize = 16 << 20;

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let names = ["--name", "--url", "--backend", "--python", "--ca"];
    let [name, url, backend, python, ca] = arguments(names, &["--http2"])?;
    let config = Config::new().max_message_size(2 * LARGE).max_frame_size(2 * LARGE);
    let mut client = Client::new().config(config.ping_interval(None));
    if let Some(ca) = ca {
        client = client.tls(ClientTls::from_ca_file(ca)?);
    }
    let http2 = flag("--http2");
    if http2 {
        client = client.http2(Http2::Auto);
    }
    let checks = Checks {
        client,
        url: url.ok_or("--url URL")?,
        version: if http2 { Version::HTTP_2 } else { Version::HTTP_11 },
        backend: backend.ok_or("--backend ADDRESS")?,
        python: python.ok_or("--python PROGRAM")?,
    };
    let mut report = Report::new(name.ok_or("--name NAME")?);
    report.add("the server knows what was asked for", checks.request()).await;
    report.add("16 MiB as they are, 4 MiB compressed", checks.large()).await;
    report.add("the server refuses", checks.forbidden()).await;
    report.add("silence ends, pings keep open", checks.silence()).await;
    report.add("a server that is killed, is down, and is back", checks.restart()).await;
    Ok(report.exit_code())
}

struct Checks {
    client: Client,
    url: String,
    /// That of a WebSocket of our client.
    version: Version,
    backend: String,
    python: String,
}

impl Checks {
    /// A server that listens. It is killed when it is dropped.
    async fn server(&self) -> Outcome<Child> {
        let mut server = Command::new(&self.python)
            .args(["-B", "tests/interop/python_backend.py", &self.backend])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = server.stdout.take().ok_or("no standard output")?;
        let line = BufReader::new(output).lines().next_line().await?;
        same(line.is_some_and(|line| line.starts_with("listening on ")), true)?;
        Ok(server)
    }

    async fn open(&self, client: &Client, path: &str) -> Outcome<WebSocket> {
        let ws = client.connect(format!("{}{path}", self.url)).await?;
        same(ws.http_version(), self.version)?;
        Ok(ws)
    }

    /// Path, query, subprotocol and credentials arrive; the proxy says who asks.
    async fn request(&self) -> Outcome {
        let _server = self.server().await?;
        let client = self.client.clone().subprotocols(["v9.test", "v2.test"]).bearer("3f2a");
        let mut ws = self.open(&client, "/a%20b?c=d&e").await?;
        same(ws.subprotocol(), Some("v2.test"))?;
        ws.send("request").await?;
        let answer = ws.next().await.ok_or("closed")??;
        let answer: Value = serde_json::from_str(answer.as_text().ok_or("no text")?)?;
        for (name, value) in [
            ("path", "/a%20b?c=d&e"),
            ("subprotocol", "v2.test"),
            ("authorization", "Bearer 3f2a"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            same(answer[name].as_str(), Some(value))?;
        }
        ws.close().await?;
        // Without one that both know, nothing is opened, as in browsers.
        let client = self.client.clone().subprotocols(["v9.test"]);
        let error = client.connect(self.url.as_str()).await.err().ok_or("open")?;
        same(matches!(error, ConnectError::Response(ResponseError::MissingSubprotocol)), true)
    }

    /// To compress what is long takes both ends a while, in which they are silent to the proxy; words
    /// do not take long.
    async fn large(&self) -> Outcome {
        let _server = self.server().await?;
        let noise = Message::from(Bytes::from(noise(LARGE)));
        let words = Message::from("all work and no play ".repeat(LARGE / 4 / 21));
        let deflate = self.client.clone().compression(Compression::new());
        for (client, message) in [(&self.client, noise), (&deflate, words)] {
            let mut ws = self.open(client, "").await?;
            ws.send(message.clone()).await?;
            same(ws.next().await.ok_or("closed")?? == message, true)?;
            ws.close().await?;
        }
        Ok(())
    }

    /// The refusal is the server's, with its body, and not the proxy's.
    async fn forbidden(&self) -> Outcome {
        let _server = self.server().await?;
        let refused = self.client.connect(format!("{}/forbidden", self.url)).await;
        let Err(ConnectError::Refused(response)) = refused else {
            return Err("open, or another error".into());
        };
        same(response.status(), StatusCode::FORBIDDEN)?;
        same(&response.body()[..], b"not for you\n")
    }

    async fn silence(&self) -> Outcome {
        let _server = self.server().await?;
        let config = Config::new().ping_interval(PINGS);
        let mut pinging = self.open(&self.client.clone().config(config), "").await?;
        // When the second has ended, the pinging one had longer than that.
        for _ in 0..2 {
            let mut silent = self.open(&self.client, "").await?;
            tokio::select! {
                outcome = silent.next() => same(matches!(outcome, Some(Err(_))), true)?,
                outcome = pinging.next() => {
                    return Err(format!("{outcome:?} despite pings").into());
                }
            }
        }
        pinging.send("still here").await?;
        let answer = pinging.next().await.ok_or("closed")??;
        same(answer.as_text(), Some("still here"))?;
        Ok(pinging.close().await?)
    }

    /// The end without a Close is an error; the refusal of the proxy names its status; and whoever
    /// stays connected is back when the server is.
    async fn restart(&self) -> Outcome {
        let server = self.server().await?;
        let backoff =
            Backoff::new().first(Duration::from_millis(100)).max(Duration::from_millis(500));
        let mut feed = self.client.reconnecting(self.url.as_str()).backoff(backoff);
        connected(&mut feed).await?;
        drop(server);
        let lost = disconnected(&mut feed).await?;
        if !matches!(lost.cause(), Cause::Failed(Error::ConnectionLost | Error::Io(_))) {
            return Err(format!("{lost:?} instead of a lost connection").into());
        }
        let refused = disconnected(&mut feed).await?;
        let Cause::Connect(error @ ConnectError::Refused(response)) = refused.cause() else {
            return Err(format!("{refused:?} instead of a refusal").into());
        };
        let expected = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];
        same(expected.contains(&response.status()), true)?;
        same(error.to_string().ends_with(&response.status().to_string()), true)?;
        same(error.is_retryable() && !response.body().is_empty(), true)?;
        let _server = self.server().await?;
        connected(&mut feed).await?;
        feed.sender().send("still here").await?;
        let message = feed.next().await.ok_or("ended")??.into_message();
        same(message.as_ref().and_then(Message::as_text), Some("still here"))?;
        feed.close().await;
        Ok(())
    }
}

/// Until it is connected, whatever comes before.
async fn connected(feed: &mut Reconnecting) -> Outcome {
    while !matches!(feed.next().await.ok_or("ended")??, Event::Connected(_)) {}
    Ok(())
}

/// The next event, which must be this one.
async fn disconnected(feed: &mut Reconnecting) -> Outcome<Disconnected> {
    match feed.next().await.ok_or("ended")?? {
        Event::Disconnected(event) => Ok(event),
        other => Err(format!("{other:?} instead of an end").into()),
    }
}
