//! Sends and fetches files of any size, in bounded memory, with a progress bar:
//!
//!     cargo run --example file_transfer -- serve DIRECTORY [ADDRESS]
//!     cargo run --example file_transfer -- put URL FILE
//!     cargo run --example file_transfer -- get URL NAME FILE
//!
//! A client's text message says what it wants: `put NAME`, followed by a binary message with the
//! file, or `get NAME`, which the server answers with `length N` and a binary message. The
//! server answers with a text message that begins with `error` if it cannot do that.

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tautline::{Kind, Server, WebSocket};
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

type Failure = Box<dyn Error + Send + Sync>;

const USAGE: &str = "file_transfer serve DIRECTORY [ADDRESS] | put URL FILE | get URL NAME FILE";

/// How much is read and written at once.
const BLOCK: usize = 64 << 10;

/// Longer than any answer.
const ANSWER: usize = 1 << 10;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", directory] => serve(directory.into(), "127.0.0.1:8080").await,
        ["serve", directory, address] => serve(directory.into(), address).await,
        ["put", url, file] => put(url, Path::new(file)).await,
        ["get", url, name, file] => get(url, name, Path::new(file)).await,
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(directory: PathBuf, address: &str) -> Result<(), Failure> {
    let server = Server::bind(address).await?;
    println!("listening on ws://{}", server.local_addr()?);
    server.serve(move |ws| serve_one(ws, directory.clone())).await?;
    Ok(())
}

async fn serve_one(mut ws: WebSocket, directory: PathBuf) -> Result<(), Failure> {
    while let Some(command) = ws.next().await {
        let command = command?;
        let answer = match command.as_text().and_then(|text| text.split_once(' ')) {
            Some(("put", name)) => receive(&mut ws, &directory, name).await,
            Some(("get", name)) => send(&mut ws, &directory, name).await,
            _ => Err("expected put NAME or get NAME".into()),
        };
        // A connection that failed ends here; anything else is between the two of us.
        match answer {
            Ok(answer) => ws.send(answer).await?,
            Err(error) => ws.send(format!("error {error}")).await?,
        }
    }
    Ok(())
}

/// The place of a file with this name: in the directory itself, and nowhere else.
fn place(directory: &Path, name: &str) -> Result<PathBuf, Failure> {
    let plain = Path::new(name).file_name().is_some_and(|last| last == name);
    if plain && !name.starts_with('.') {
        Ok(directory.join(name))
    } else {
        Err("not a name".into())
    }
}

async fn receive(ws: &mut WebSocket, directory: &Path, name: &str) -> Result<String, Failure> {
    let mut message = ws.next_message().await?.ok_or("no file came")?;
    let place = place(directory, name)?;
    // A transfer that is cut off leaves nothing under the name: the part of a file is an error of
    // `copy`, never its end.
    let part = directory.join(format!(".{name}.part"));
    let mut file = File::create(&part).await?;
    let length = match tokio::io::copy_buf(&mut message, &mut file).await {
        Ok(length) => length,
        Err(error) => {
            fs::remove_file(&part).await?;
            return Err(error.into());
        }
    };
    file.sync_all().await?;
    fs::rename(part, place).await?;
    Ok(format!("stored {length}"))
}

async fn send(ws: &mut WebSocket, directory: &Path, name: &str) -> Result<String, Failure> {
    let mut file = File::open(place(directory, name)?).await?;
    let length = file.metadata().await?.len();
    ws.feed(format!("length {length}")).await?;
    let mut message = ws.message_writer(Kind::Binary);
    copy(&mut file, &mut message, &mut Progress::none()).await?;
    message.finish().await?;
    Ok(format!("sent {length}"))
}

async fn put(url: &str, file: &Path) -> Result<(), Failure> {
    let name = file.file_name().and_then(|name| name.to_str()).ok_or("not a file")?;
    let mut file = File::open(file).await?;
    let mut progress = Progress::of(file.metadata().await?.len());
    let mut ws = tautline::connect(url).await?;
    ws.send(format!("put {name}")).await?;
    let mut message = ws.message_writer(Kind::Binary);
    copy(&mut file, &mut message, &mut progress).await?;
    message.finish().await?;
    println!("{}", answer(&mut ws).await?);
    Ok(ws.close().await?)
}

async fn get(url: &str, name: &str, file: &Path) -> Result<(), Failure> {
    let mut ws = tautline::connect(url).await?;
    ws.send(format!("get {name}")).await?;
    let length = answer(&mut ws).await?;
    let length = length.strip_prefix("length ").ok_or("expected a length")?.parse()?;
    let mut message = ws.next_message().await?.ok_or("no file came")?;
    let mut file = File::create(file).await?;
    copy(&mut message, &mut file, &mut Progress::of(length)).await?;
    file.sync_all().await?;
    drop(message);
    println!("{}", answer(&mut ws).await?);
    Ok(ws.close().await?)
}

/// The server's next text message, if it is not an error.
async fn answer(ws: &mut WebSocket) -> Result<String, Failure> {
    let message = ws.next_message().await?.ok_or("the server closed")?;
    let message = message.into_message(ANSWER).await?;
    let text = message.as_text().ok_or("expected text")?;
    match text.strip_prefix("error ") {
        Some(error) => Err(error.into()),
        None => Ok(text.to_owned()),
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut block = vec![0; BLOCK];
    loop {
        let count = from.read(&mut block).await?;
        if count == 0 {
            to.flush().await?;
            progress.end();
            return Ok(());
        }
        to.write_all(&block[..count]).await?;
        progress.advance(count as u64);
    }
}

/// A line on the terminal that shows how far a transfer is.
struct Progress {
    total: u64,
    done: u64,
    /// What the line shows, in hundredths.
    shown: Option<u64>,
}

impl Progress {
    fn of(total: u64) -> Self {
        Self { total, done: 0, shown: std::io::stderr().is_terminal().then_some(u64::MAX) }
    }

    /// Shows nothing.
    fn none() -> Self {
        Self { total: 0, done: 0, shown: None }
    }

    fn advance(&mut self, count: u64) {
        self.done += count;
        let part = self.done.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100);
        if self.shown.is_some_and(|shown| shown != part) {
            self.shown = Some(part);
            let bar = "#".repeat(part as usize / 2);
            eprint!("\r[{bar:<50}] {part:3} % of {} bytes", self.total);
        }
    }

    fn end(&mut self) {
        if self.shown.is_some() {
            eprintln!();
        }
    }
}
