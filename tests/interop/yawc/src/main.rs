//! yawc with the other end of ours, over HTTP/1.1 and HTTP/2 without TLS.
//!
//! `yawc-peer --serve` is a server that echoes, and does what `check_client --asks` asks for;
//! `yawc-peer URL [--http2]` is a client of our `echo_peer`, and prints a line per check. It opens a
//! connection for each WebSocket, also over HTTP/2.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use yawc::close::CloseCode;
use yawc::{Frame, HttpVersion, OpCode, Options, UpgradeFut, WebSocket, WebSocketError};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const TEXT: &str = "grüße, 世界, 🦀";
/// Bounds each check.
const PATIENCE: Duration = Duration::from_secs(20);
/// With what is longer than a window of HTTP/2.
const SIZES: [usize; 5] = [0, 20, 65_535, 70_000, 1 << 20];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve"] => serve().await.map(|()| ExitCode::SUCCESS),
        [url] => Ok(check(url, false).await),
        [url, "--http2"] => Ok(check(url, true).await),
        _ => Err("usage: yawc-peer --serve | URL [--http2]".into()),
    }
}

/// Both limits are exclusive.
fn options() -> Options {
    Options::default().with_limits(8 << 20, 16 << 20).with_utf8()
}

// ---- The server -----------------------------------------------------------------------------------

async fn serve() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on ws://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().enable_connect_protocol();
            let service = service_fn(async |request| Ok::<_, Infallible>(answer(request)));
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    match WebSocket::upgrade_with_options(&mut request, options()) {
        Ok((response, upgrading)) => {
            tokio::spawn(async {
                if let Err(error) = echo(upgrading).await {
                    eprintln!("yawc server: {error}");
                }
            });
            response
        }
        Err(error) => {
            eprintln!("yawc server: refused: {error}");
            let mut refusal = Response::new(Empty::new());
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            refusal
        }
    }
}

async fn echo(upgrading: UpgradeFut) -> Outcome {
    let mut ws = upgrading.await?;
    // Pings and Closes are answered by yawc, when it is polled.
    while let Some(frame) = ws.next().await {
        if !matches!(frame.opcode(), OpCode::Text | OpCode::Binary) {
            continue;
        }
        let asked = match frame.opcode() {
            OpCode::Text => frame.as_str().strip_prefix("close ").map(str::to_owned),
            _ => None,
        };
        match asked.as_deref().and_then(|asked| asked.split_once(' ')) {
            Some((code, reason)) => {
                ws.send(Frame::close(CloseCode::from(code.parse::<u16>()?), reason)).await?;
            }
            None => ws.send(Frame::from((frame.opcode(), frame.into_payload()))).await?,
        }
    }
    Ok(())
}

// ---- The client -----------------------------------------------------------------------------------

async fn check(url: &str, http2: bool) -> ExitCode {
    let name = if http2 { "yawc client (HTTP/2)" } else { "yawc client (HTTP/1.1)" };
    let mut failed = false;
    let mut report =
        |what: String, outcome: Result<Outcome, tokio::time::error::Elapsed>| match outcome
            .unwrap_or_else(|_| Err("no end in time".into()))
        {
            Ok(()) => println!("ok   {name}: {what}"),
            Err(error) => {
                failed = true;
                println!("FAIL {name}: {what}: {error}");
            }
        };
    let limit = |check| tokio::time::timeout(PATIENCE, check);
    for text in [TEXT.to_owned(), String::new(), "ä世🦀x".repeat(104_858)] {
        let what = format!("text of {} bytes", text.len());
        report(what, limit(talk(url, http2, Frame::text(text), 1000, "")).await);
    }
    for size in SIZES {
        let frame = Frame::binary(vec![7; size]);
        report(format!("binary of {size} bytes"), limit(talk(url, http2, frame, 1000, "")).await);
    }
    let frame = Frame::text(TEXT);
    report("close 4321".to_owned(), limit(talk(url, http2, frame, 4321, TEXT)).await);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// There and back, twice, and the answer to this Close.
async fn talk(url: &str, http2: bool, frame: Frame, code: u16, reason: &str) -> Outcome {
    let opening = WebSocket::connect(url.parse()?).with_options(options());
    if http2 {
        let ws = opening.http_version(HttpVersion::Http2).await?;
        converse(ws, frame, code, reason).await
    } else {
        converse(opening.await?, frame, code, reason).await
    }
}

async fn converse<S>(mut ws: S, frame: Frame, code: u16, reason: &str) -> Outcome
where
    S: Stream<Item = Frame> + Sink<Frame, Error = WebSocketError> + Unpin,
{
    for _ in 0..2 {
        ws.send(frame.clone()).await?;
        let answer = ws.next().await.ok_or("closed without an answer")?;
        if (answer.opcode(), answer.payload()) != (frame.opcode(), frame.payload()) {
            let (sent, got) = (frame.payload().len(), answer.payload().len());
            return Err(format!("other {got} bytes than the {sent} that were sent").into());
        }
    }
    ws.send(Frame::close(CloseCode::from(code), reason)).await?;
    let answer = ws.next().await.ok_or("ended without a Close")?;
    let found = (answer.opcode(), answer.close_code().map(u16::from), answer.close_reason()?);
    if found != (OpCode::Close, Some(code), Some(reason)) {
        return Err(format!("{found:?} instead of the Close {code}").into());
    }
    // Nothing follows.
    match ws.next().await {
        None => Ok(()),
        Some(frame) => Err(format!("{:?} behind the Close", frame.opcode()).into()),
    }
}
