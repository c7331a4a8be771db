//! Many live connections over TLS while the certificate is replaced and the server shuts down:
//! `cargo run --release -p tautline-bench --bin drain -- [--connections N] [--spread SECONDS]`
//!
//! The server is a process of its own, and so are the clients. When all are open, the certificate
//! is replaced: none may end, and a new client must be shown the new one. Then the server drains,
//! with the Closes spread over a window: each client must get its 1001, and none before or after
//! the window.

mod process;
mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tautline::{
    Certificates, Client, ClientTls, CloseCode, CloseFrame, Drain, Server, ServerCertificate,
    ServerTls, WebSocket,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Semaphore;

use crate::process::{Process, resident};
use crate::support::{Result, option};

/// How many handshakes of clients are in flight.
const AT_ONCE: usize = 100;

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", directory, spread] => {
            runtime.block_on(serve(Path::new(directory), Duration::from_secs(spread.parse()?)))
        }
        ["load", uri, directory, count] => {
            runtime.block_on(load(uri, Path::new(directory), count.parse()?))
        }
        _ => measure(&words),
    }
}

fn measure(words: &[String]) -> Result {
    let count = option(words, "--connections", 10_000_usize)?;
    let spread = option(words, "--spread", 10_u64)?;
    let directory = Directory::new()?;
    directory.identity("old")?;
    directory.identity("new")?;
    let path = directory.0.to_str().ok_or("the path of the temporary directory is not UTF-8")?;
    let mut server = Process::start("0", &["serve", path, &spread.to_string()], &[])?;
    let uri = server.line()?;
    let mut clients = Process::start("1", &["load", &uri, path, &count.to_string()], &[])?;
    println!("{}", clients.line()?);
    let (used, held) = (server.cpu_time()?, resident(server.id())?);
    println!("the server holds {held} KiB, and has used {:.2} s of CPU", used.as_secs_f64());

    server.input.write_all(b"replace\n")?;
    println!("server: {}", server.line()?);
    clients.input.write_all(b"look\n")?;
    println!("{}", clients.line()?);

    clients.input.write_all(b"wait\n")?;
    println!("{}", clients.line()?);
    server.input.write_all(b"stop\n")?;
    println!("{}", clients.line()?);
    println!("server: {}", server.line()?);
    Ok(())
}

/// Files of this run, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tautline-drain-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn identity(&self, name: &str) -> Result {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        std::fs::write(self.0.join(format!("{name}.pem")), made.cert.pem())?;
        std::fs::write(self.0.join(format!("{name}.key")), made.signing_key.serialize_pem())?;
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn serve(directory: &Path, spread: Duration) -> Result {
    let read = |name: &str| {
        let [certificate, key] =
            ["pem", "key"].map(|kind| directory.join(format!("{name}.{kind}")));
        ServerCertificate::from_pem_files(certificate, key)
    };
    let certificates = Certificates::new(read("old")?, []);
    let tls = ServerTls::builder(certificates.clone()).build()?;
    let server = Server::bind("127.0.0.1:0").await?.tls(tls).drain(Drain::new().spread(spread));
    let port = server.local_addr()?.port();
    println!("wss://localhost:{port}/");
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(|mut ws: WebSocket| async move {
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok(())
    }));
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = input.next_line().await? {
        if line == "replace" {
            certificates.replace(read("new")?, []);
            println!("the certificate is replaced, with {} connections", handle.connection_count());
        } else {
            let begun = Instant::now();
            handle.shutdown();
            serving.await??;
            println!("ended after {:.2} s", begun.elapsed().as_secs_f64());
            break;
        }
    }
    Ok(())
}

/// A client that trusts this certificate alone.
fn client(directory: &Path, name: &str) -> Result<Client> {
    Ok(Client::new().tls(ClientTls::from_ca_file(directory.join(format!("{name}.pem")))?))
}

async fn load(uri: &str, directory: &Path, count: usize) -> Result {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let old = client(directory, "old")?;
    let (turns, ended) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(AtomicUsize::new(0)));
    let opening: Vec<_> = (0..count)
        .map(|_| {
            let (old, uri, turns) = (old.clone(), uri.to_owned(), turns.clone());
            tokio::spawn(async move {
                let _turn = turns.acquire_owned().await?;
                let mut ws = old.connect(uri).await?;
                ws.send("hello").await?;
                ws.next().await.ok_or("no echo")??;
                Result::Ok(ws)
            })
        })
        .collect();
    let mut open = Vec::new();
    for ws in opening {
        open.push(ws.await??);
    }
    println!("{} connections over TLS are open", open.len());

    input.next_line().await?;
    let mut new = client(directory, "new")?.connect(uri).await?;
    new.send("hello").await?;
    new.next().await.ok_or("no echo")??;
    // Not by the client from before, which resumes its session and is shown none.
    let refused = client(directory, "old")?.connect(uri).await.is_err();
    drop(new);
    println!(
        "a new client sees the new certificate; one that trusts the old alone is refused: {refused}"
    );

    input.next_line().await?;
    let watching: Vec<_> = open
        .into_iter()
        .map(|mut ws| {
            let ended = ended.clone();
            tokio::spawn(async move {
                let end = ws.next().await;
                ended.fetch_add(1, Ordering::Relaxed);
                let code = ws.close_frame().map(CloseFrame::code);
                (end.is_none() && code == Some(CloseCode::GOING_AWAY), Instant::now())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("{} ended while the certificate was replaced", ended.load(Ordering::Relaxed));

    let begun = Instant::now();
    let (mut in_order, mut times) = (0, Vec::new());
    for end in watching {
        let (orderly, at) = end.await?;
        in_order += usize::from(orderly);
        times.push(at.saturating_duration_since(begun).as_secs_f64());
    }
    times.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "{in_order} of {} got 1001: the first after {:.2} s, half after {:.2} s, the last after {:.2} s",
        times.len(),
        at(0.0),
        at(0.5),
        at(1.0),
    );
    Ok(())
}
