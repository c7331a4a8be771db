//! How clients come back after a restart: `cargo run --release -p tautline-bench --features paused
//! --bin returns -- [--clients N] [--down SECONDS] [--capacity N] [--seed N] [--real]`
//!
//! All clients lose their connections at once, to a server that is down for a while and admits a
//! number of handshakes in each second then; it refuses others with 503. The clients are the
//! library's, over streams in memory, and the clock is tokio's paused one: what is printed depends
//! on the seed alone, not on the machine. Once with full jitter, and once without any.
//!
//! With `--real` the same over loopback and in real time, with a `Server` that admits everybody.

#[expect(dead_code, reason = "nothing is measured here")]
mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tautline::http::{Response, StatusCode};
use tautline::reconnect::{Backoff, Cause, Event, Reconnecting};
use tautline::{Client, ConnectError, Role, WebSocket};
use tokio::io::DuplexStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Result, option};

#[derive(Clone, Copy)]
struct Scene {
    clients: u64,
    down: u64,
    capacity: u64,
    seed: u64,
}

/// What the server sees in one second after the restart.
#[derive(Clone, Copy, Default)]
struct Second {
    attempts: u64,
    admitted: u64,
}

struct Server {
    scene: Scene,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the connections were lost; `None` before that.
    lost: Option<Instant>,
    seconds: Vec<Second>,
    /// The server's ends.
    open: Vec<DuplexStream>,
}

impl Server {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> std::result::Result<WebSocket<DuplexStream>, ConnectError> {
        let mut state = self.state();
        if let Some(lost) = state.lost {
            let now = usize::try_from(lost.elapsed().as_secs()).unwrap_or(usize::MAX);
            if state.seconds.len() <= now {
                state.seconds.resize(now + 1, Second::default());
            }
            let second = &mut state.seconds[now];
            second.attempts += 1;
            if now < usize::try_from(self.scene.down).unwrap_or(usize::MAX) {
                return Err(ConnectError::Io(std::io::ErrorKind::ConnectionRefused.into()));
            }
            if second.admitted == self.scene.capacity {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                return Err(ConnectError::Refused(Box::new(response)));
            }
            second.admitted += 1;
        }
        let (near, far) = tokio::io::duplex(64);
        state.open.push(far);
        Ok(WebSocket::builder(Role::Client).build(near))
    }
}

/// Stays connected until the second connection is open.
async fn come_back(server: Arc<Server>, backoff: Backoff) -> Result {
    let mut feed = Reconnecting::by(move |_| std::future::ready(server.connect())).backoff(backoff);
    let mut connections = 0;
    while connections < 2 {
        if let Event::Connected(_) = feed.next().await.ok_or("closed")?? {
            connections += 1;
        }
    }
    Ok(())
}

async fn run(scene: Scene, jitter: bool) -> Result<Vec<Second>> {
    let server = Arc::new(Server { scene, state: Mutex::default() });
    let mut clients = JoinSet::new();
    for client in 0..scene.clients {
        let backoff = Backoff::new().jitter(jitter).seed(scene.seed.wrapping_add(client));
        clients.spawn(come_back(server.clone(), backoff));
    }
    // Long enough to be healthy, and too short for a ping.
    while server.state().open.len() as u64 != scene.clients {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    {
        let mut state = server.state();
        state.lost = Some(Instant::now());
        state.open.clear();
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(std::mem::take(&mut server.state().seconds))
}

/// A server on a runtime of its own, so that it can be killed.
fn serve(address: SocketAddr) -> Result<(Runtime, SocketAddr)> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let address = runtime.block_on(async {
        let server = tautline::Server::bind(address).await?;
        let address = server.local_addr()?;
        tokio::spawn(server.serve(|mut ws: WebSocket| async move {
            while let Some(message) = ws.next().await {
                message?;
            }
            Result::Ok(())
        }));
        std::io::Result::Ok(address)
    })?;
    Ok((runtime, address))
}

/// When each attempt after the loss was over, and whether it succeeded.
type Attempts = Arc<Mutex<Vec<(Instant, bool)>>>;

async fn come_back_to(
    address: SocketAddr,
    backoff: Backoff,
    open: Arc<AtomicU64>,
    attempts: Attempts,
) -> Result {
    let mut feed = Client::new().reconnecting(format!("ws://{address}/")).backoff(backoff);
    let mut connections = 0;
    while connections < 2 {
        let connected = match feed.next().await.ok_or("closed")?? {
            Event::Connected(_) => true,
            Event::Disconnected(event) if matches!(event.cause(), Cause::Connect(_)) => false,
            _ => continue,
        };
        if connected {
            connections += 1;
            open.fetch_add(1, Ordering::Relaxed);
        }
        if connections != 1 || !connected {
            let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
            attempts.push((Instant::now(), connected));
        }
    }
    Ok(())
}

async fn run_real(scene: Scene, jitter: bool) -> Result<Vec<Second>> {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let (server, address) = tokio::task::spawn_blocking(move || serve(any)).await??;
    let (open, attempts) = (Arc::new(AtomicU64::new(0)), Attempts::default());
    let mut clients = JoinSet::new();
    for client in 0..scene.clients {
        let backoff = Backoff::new().jitter(jitter).seed(scene.seed.wrapping_add(client));
        clients.spawn(come_back_to(address, backoff, open.clone(), attempts.clone()));
    }
    while open.load(Ordering::Relaxed) < scene.clients {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lost = Instant::now();
    server.shutdown_background();
    tokio::time::sleep(Duration::from_secs(scene.down)).await;
    let (server, _) = tokio::task::spawn_blocking(move || serve(address)).await??;
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    server.shutdown_background();
    let mut seconds = Vec::new();
    for (when, connected) in attempts.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let second = usize::try_from(when.duration_since(lost).as_secs())?;
        if seconds.len() <= second {
            seconds.resize(second + 1, Second::default());
        }
        seconds[second].attempts += 1;
        seconds[second].admitted += u64::from(connected);
    }
    Ok(seconds)
}

fn print(scene: Scene, seconds: &[Second]) {
    println!("second  attempts  returned  of all");
    let mut returned = 0;
    for (number, second) in seconds.iter().enumerate() {
        returned += second.admitted;
        if second.attempts > 0 {
            let bar = "#".repeat(usize::try_from(second.attempts.div_ceil(20)).unwrap_or(0));
            let Second { attempts, admitted } = second;
            println!("{number:6} {attempts:9} {admitted:9} {returned:7}  {bar}");
        }
    }
    let attempts: u64 = seconds.iter().map(|second| second.attempts).sum();
    let most = seconds.iter().map(|second| second.attempts).max().unwrap_or(0);
    println!(
        "{} clients are back after {} s and {attempts} attempts, at most {most} of them in one second\n",
        scene.clients,
        seconds.len(),
    );
}

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let scene = Scene {
        clients: option(&words, "--clients", 1000)?,
        down: option(&words, "--down", 3)?,
        capacity: option(&words, "--capacity", 100)?.max(1),
        seed: option(&words, "--seed", 1)?,
    };
    let real = words.iter().any(|word| word == "--real");
    for (jitter, name) in [(true, "with full jitter"), (false, "without jitter")] {
        print!("{} clients, a server that is down for {} s", scene.clients, scene.down);
        if !real {
            print!(" and admits {} in a second", scene.capacity);
        }
        println!(", {name}:");
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(!real).build()?;
        let seconds = if real {
            runtime.block_on(run_real(scene, jitter))?
        } else {
            runtime.block_on(run(scene, jitter))?
        };
        print(scene, &seconds);
    }
    Ok(())
}
