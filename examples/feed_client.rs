//! Follows the order book of `feed_server`, whatever happens to the connection: `cargo run
//! --example feed_client -- [--server URL] [--updates COUNT]`
//!
//! Kill the server and start it again: the client comes back after a random time, and goes on after
//! the last update that it has, or with the whole book of the new market. Each update must have the
//! next number, and the book must be the server's after each. With `--updates` it ends after that
//! many.

#[path = "feed/book.rs"]
mod book;
#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tautline::reconnect::{Backoff, Event};
use tautline::{BoxError, Client, Config};

use crate::book::{Book, Sent};

/// How long the first retry waits at most: a market does not.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// The last update that was applied, and of which market.
type Position = Option<(String, u64)>;

#[derive(Default)]
struct Follower {
    book: Book,
    /// Shared with the hook that asks for what comes after it.
    position: Arc<Mutex<Position>>,
    updates: u64,
    snapshots: u64,
}

impl Follower {
    /// What to ask for first on a connection.
    fn request(position: &Mutex<Position>) -> String {
        match &*position.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((market, number)) => format!("after {market} {number}"),
            None => "new".to_owned(),
        }
    }

    /// Applies what was received. An error means that something is missing, or wrong.
    fn apply(&mut self, sent: Sent) -> Result<(), String> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        match sent {
            Sent::Snapshot { market, number, book } => {
                self.book = book;
                self.snapshots += 1;
                *position = Some((market, number));
            }
            Sent::Update(update) => {
                let (_, last) = position.as_mut().ok_or("an update before a book")?;
                if update.number != *last + 1 {
                    return Err(format!("update {} after {last}", update.number));
                }
                self.book.set(update.side, update.price, update.quantity);
                if self.book.check() != update.check {
                    return Err(format!("the book is not the server's after {}", update.number));
                }
                *last = update.number;
                self.updates += 1;
            }
        }
        Ok(())
    }

    /// Forgets everything: the whole book is asked for next.
    fn start_over(&self) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit_code(run().await)
}

async fn run() -> Result<(), BoxError> {
    let [server, updates] = support::arguments(["--server", "--updates"], &[])?;
    let wanted = updates.map(|updates| updates.parse()).transpose()?.unwrap_or(u64::MAX);
    let mut follower = Follower::default();
    let position = follower.position.clone();
    // A network that changes is noticed after six seconds.
    let config =
        Config::new().ping_interval(Duration::from_secs(4)).ping_timeout(Duration::from_secs(2));
    let mut feed = Client::new()
        .config(config)
        .reconnecting(server.as_deref().unwrap_or("ws://127.0.0.1:9004"))
        .backoff(Backoff::new().first(FIRST).max(LONGEST))
        .on_connect(move |mut ws| {
            let request = Follower::request(&position);
            async move {
                ws.send(request).await?;
                Ok(ws)
            }
        });
    let sender = feed.sender();
    let mut connections = 0;
    while follower.updates < wanted {
        match feed.next().await.ok_or("closed")?? {
            Event::Connected(_) => {
                connections += 1;
                println!("connected");
            }
            Event::Disconnected(event) => {
                println!("{}; back in {:?}", event.cause(), event.retry_in());
            }
            Event::Message(message) => {
                let text = message.as_text().ok_or("not a text")?;
                if let Err(error) = follower.apply(text.parse()?) {
                    println!("{error}; starting over");
                    follower.start_over();
                    sender.reconnect_now();
                } else if follower.updates > 0 && follower.updates.is_multiple_of(100) {
                    let (bid, ask) = follower.book.best();
                    println!("{} updates: bid {bid:?}, ask {ask:?}", follower.updates);
                }
            }
            _ => {}
        }
    }
    feed.close().await;
    println!(
        "{} updates in order over {connections} connections, with {} whole books",
        follower.updates, follower.snapshots
    );
    Ok(())
}
