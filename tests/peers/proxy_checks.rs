//! Our server and our client, in one program, on both sides of a reverse proxy that was started with a
//! file of docs/proxies: `cargo run --example proxy_checks -- --name NAME --url URL --backend ADDRESS --ca
//! FILE [--http2] [--rewritten | --through --cert FILE --key FILE]`
//!
//! The proxy serves `wss` at URL, which names `localhost`, and passes WebSockets on to ADDRESS, where each
//! check starts a server of its own. It ends what is silent for a second. With
//! `--http2` it has WebSockets over HTTP/2 for its clients. With `--rewritten` it changes `Host`; that is all that is
//! checked then. With `--through` it passes TLS through to the server, behind a header of the PROXY protocol.
//!
//! Prints a line per check, as the scripts in tests/interop do.

#[path = "../../examples/support/mod.rs"]
mod support;

mod report;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use report::{Outcome, PATIENCE, Report, noise, same};
use support::{arguments, flag};
use tautline::bytes::Bytes;
use tautline::http::{StatusCode, Version};
use tautline::{
    BoxError, Client, ClientTls, Config, Http2, Http2Config, Message, Networks, Server, ServerTls,
    Transport, TrustedProxies, WebSocket,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Several times what the proxy takes for silence.
const QUIET: Duration = Duration::from_millis(2500);
/// Much less than that.
const PINGS: Duration = Duration::from_millis(200);
/// Where the proxy connects from.
const PROXY: &str = "127.0.0.1";
/// Where a client connects from that is to be told apart from the proxy.
const ELSEWHERE: &str = "127.0.0.9:0";
const LARGE: [usize; 2] = [1 << 20, 64 << 20];
/// WebSockets that are open when the server is shut down.
const OPEN: usize = 20;

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let names = ["--name", "--url", "--backend", "--ca", "--cert", "--key"];
    let [name, url, backend, ca, cert, key] =
        arguments(names, &["--http2", "--rewritten", "--through"])?;
    let url = url.ok_or("--url URL")?;
    let port = url.strip_prefix("wss://localhost:").ok_or("--url wss://localhost:PORT")?;
    let own = match (cert, key) {
        (Some(cert), Some(key)) => Some(ServerTls::from_pem_files(cert, key)?),
        _ => None,
    };
    let checks = Checks {
        front: format!("127.0.0.1:{port}").parse()?,
        backend: backend.ok_or("--backend ADDRESS")?.parse()?,
        tls: ClientTls::from_ca_file(ca.ok_or("--ca FILE")?)?,
        version: if flag("--http2") { Version::HTTP_2 } else { Version::HTTP_11 },
        own,
        origin: url.replacen("wss:", "https:", 1),
        url,
    };
    let mut report = Report::new(name.ok_or("--name NAME")?);
    if flag("--rewritten") {
        report.add("a Host that was rewritten is not the page's", checks.rewritten()).await;
        report.add("the forwarded host is the page's", checks.forwarded_host()).await;
        return Ok(report.exit_code());
    }
    for size in LARGE {
        report.add(&format!("a message of {} MiB", size >> 20), checks.large(size)).await;
    }
    report.add("silence ends, our client's pings keep open", checks.silence()).await;
    report.add("our server's pings keep open", checks.pings()).await;
    report.add("a server that shuts down closes with 1001", checks.drain()).await;
    if flag("--through") {
        report.add("the PROXY protocol tells the client", checks.proxy_protocol()).await;
        report.add("nobody else speaks for the proxy", checks.no_header()).await;
    } else {
        report.add("the headers tell the client, not what it sent", checks.forwarded()).await;
    }
    Ok(report.exit_code())
}

struct Checks {
    url: String,
    /// That of a page of this host.
    origin: String,
    front: SocketAddr,
    backend: SocketAddr,
    tls: ClientTls,
    /// That of a WebSocket of our client.
    version: Version,
    /// Where TLS goes through to the server.
    own: Option<ServerTls>,
}

impl Checks {
    /// Without pings of either end.
    async fn silence(&self) -> Outcome {
        let server = self.serve(config()).await?;
        let mut pinging = self.open(&self.client(config().ping_interval(PINGS))).await?;
        // When the second has ended, the pinging one had longer than that.
        for _ in 0..2 {
            let mut silent = self.open(&self.client(config())).await?;
            tokio::select! {
                outcome = silent.next() => match outcome {
                    Some(Err(_)) => {}
                    other => {
                        return Err(format!("{other:?} instead of an end without a Close").into());
                    }
                },
                outcome = pinging.next() => {
                    return Err(format!("{outcome:?} despite pings").into());
                }
            }
        }
        echo(&mut pinging, "still here".into()).await?;
        pinging.close().await?;
        server.stop().await
    }

    /// That nothing happens can only be seen by waiting.
    async fn pings(&self) -> Outcome {
        let server = self.serve(config().ping_interval(PINGS)).await?;
        let mut ws = self.open(&self.client(config())).await?;
        if let Ok(outcome) = timeout(QUIET, ws.next()).await {
            return Err(format!("{outcome:?} despite pings").into());
        }
        echo(&mut ws, "still here".into()).await?;
        ws.close().await?;
        server.stop().await
    }

    async fn large(&self, size: usize) -> Outcome {
        let server = self.serve(config()).await?;
        let mut ws = self.open(&self.client(config())).await?;
        echo(&mut ws, Bytes::from(noise(size)).into()).await?;
        ws.close().await?;
        server.stop().await
    }

    /// All that are open get 1001; who comes later is told by the proxy to try again.
    async fn drain(&self) -> Outcome {
        let server = self.serve(config()).await?;
        let client = self.client(config());
        let mut sockets = Vec::new();
        for n in 0..OPEN {
            let mut ws = self.open(&client).await?;
            echo(&mut ws, format!("socket {n}").into()).await?;
            sockets.push(ws);
        }
        let stopped = tokio::spawn(server.stop());
        for mut ws in sockets {
            if let Some(message) = ws.next().await {
                return Err(format!("{:.200?} instead of the end", message?).into());
            }
            let close = ws.close_frame().ok_or("no Close of the server")?;
            same(close.code().as_u16(), 1001)?;
        }
        stopped.await??;
        // A connection that goes through only breaks off.
        if self.own.is_none() {
            let error = client.connect(&self.url).await.err().ok_or("open without a server")?;
            let later = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];
            same(error.status().is_some_and(|status| later.contains(&status)), true)?;
            same(error.is_retryable(), true)?;
        }
        Ok(())
    }

    /// The headers that a client sends itself do not get past the proxy.
    async fn forwarded(&self) -> Outcome {
        let trusted = TrustedProxies::x_forwarded(Networks::parse([PROXY])?);
        let server = self.start(|server| server.trusted_proxies(trusted)).await?;
        let false_headers = [
            ("x-forwarded-for", "192.0.2.66"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil.example"),
        ];
        let client = false_headers
            .iter()
            .fold(Client::new().tls(self.tls.clone()), |client, (name, value)| {
                client.header(*name, *value)
            });
        let page = client.clone().header("origin", &self.origin);
        let (_, mut ws) = self.open_from_elsewhere(&page).await?;
        let told = ask(&mut ws, "who".into()).await?;
        // The headers do not tell its port.
        same(told.as_text(), Some("127.0.0.9:0 by TLS"))?;
        ws.close().await?;
        self.refused(&client.header("origin", "https://evil.example")).await?;
        server.stop().await
    }

    async fn rewritten(&self) -> Outcome {
        let server = self.serve(config()).await?;
        self.refused(&self.client(config())).await?;
        server.stop().await
    }

    async fn forwarded_host(&self) -> Outcome {
        let trusted = TrustedProxies::x_forwarded(Networks::parse([PROXY])?);
        let server = self.start(|server| server.trusted_proxies(trusted)).await?;
        let mut ws = self.open(&self.client(config())).await?;
        echo(&mut ws, "hello".into()).await?;
        ws.close().await?;
        let other = Client::new().tls(self.tls.clone()).header("origin", "https://evil.example");
        self.refused(&other).await?;
        server.stop().await
    }

    async fn proxy_protocol(&self) -> Outcome {
        let server = self.serve(config()).await?;
        let client = Client::new().tls(self.tls.clone()).header("origin", &self.origin);
        let (address, mut ws) = self.open_from_elsewhere(&client).await?;
        let told = ask(&mut ws, "who".into()).await?;
        same(told.as_text(), Some(&*format!("{address} by TLS")))?;
        ws.close().await?;
        server.stop().await
    }

    /// A connection from the proxy's address without the header.
    async fn no_header(&self) -> Outcome {
        let server = self.serve(config()).await?;
        let stream = TcpStream::connect(self.backend).await?;
        let opened = self.client(config()).connect_over(&self.url, stream).await;
        same(opened.is_err(), true)?;
        server.stop().await
    }

    /// A server at the backend's address.
    async fn start(&self, set_up: impl FnOnce(Server) -> Server) -> Outcome<Running> {
        let (stop, stopped) = oneshot::channel::<()>();
        // One that a failed check has left is ending.
        let server = loop {
            match Server::bind(self.backend).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                bound => break bound?,
            }
        };
        let mut server = server.with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        if let Some(tls) = &self.own {
            server = server
                .tls(tls.clone())
                .http2(Http2Config::new())
                .proxy_protocol(Networks::parse([PROXY])?);
        }
        let serving = tokio::spawn(set_up(server).serve(answer));
        Ok(Running { stop, serving })
    }

    async fn serve(&self, config: Config) -> Outcome<Running> {
        self.start(|server| server.config(config)).await
    }

    /// As a page of the host in the URL would.
    fn client(&self, config: Config) -> Client {
        let client = Client::new().tls(self.tls.clone()).config(config);
        let client = client.header("origin", &self.origin);
        if self.version == Version::HTTP_2 { client.http2(Http2::Auto) } else { client }
    }

    async fn open(&self, client: &Client) -> Outcome<WebSocket> {
        let ws = client.connect(&self.url).await?;
        same(ws.http_version(), self.version)?;
        Ok(ws)
    }

    async fn open_from_elsewhere(
        &self,
        client: &Client,
    ) -> Outcome<(SocketAddr, WebSocket<Transport<TcpStream>>)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(ELSEWHERE.parse()?)?;
        let stream = socket.connect(self.front).await?;
        let address = stream.local_addr()?;
        Ok((address, client.connect_over(&self.url, stream).await?))
    }

    /// Because of the origin.
    async fn refused(&self, client: &Client) -> Outcome {
        let error = client.connect(&self.url).await.err().ok_or("open despite its origin")?;
        same(error.status(), Some(StatusCode::FORBIDDEN))
    }
}

/// There and back.
async fn echo<S>(ws: &mut WebSocket<S>, message: Message) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = ask(ws, message.clone()).await?;
    if answer != message {
        let (sent, got) = (message.as_bytes().len(), answer.as_bytes().len());
        return Err(format!("other {got} bytes than the {sent} that were sent").into());
    }
    Ok(())
}

async fn ask<S>(ws: &mut WebSocket<S>, message: Message) -> Outcome<Message>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    ws.send(message).await?;
    Ok(ws.next().await.ok_or("closed without an answer")??)
}

/// Without pings, and with room for the largest message.
fn config() -> Config {
    let most = LARGE[LARGE.len() - 1];
    Config::new().ping_interval(None).max_message_size(most).max_frame_size(most)
}

/// A server of ours that runs.
struct Running {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

impl Running {
    /// It has ended when this is ready, and its port is free.
    async fn stop(self) -> Outcome {
        let _ = self.stop.send(());
        Ok(timeout(PATIENCE, self.serving).await???)
    }
}

/// Sends all back, and tells who is there to whom asks for it.
async fn answer(mut ws: WebSocket) -> Result<(), BoxError> {
    let how = if ws.peer().is_secure() { "by TLS" } else { "in plain text" };
    let who = format!("{} {how}", ws.peer());
    while let Some(message) = ws.next().await {
        let message = message?;
        let who = (message.as_text() == Some("who")).then(|| Message::from(who.as_str()));
        ws.send(who.unwrap_or(message)).await?;
    }
    Ok(())
}
