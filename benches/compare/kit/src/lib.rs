//! What the servers of the comparison share, so that each of them is little more than the loop that
//! its library's documentation shows: options, a listener on a free port, TLS, a runtime of one
//! thread, and an end together with the process that started them.

mod handshake;
mod hub;
mod mask;
mod options;
mod server;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use bytes::Bytes;
pub use handshake::{answer_upgrade, answer_upgrade_with, ask_upgrade};
pub use hub::{Hub, Subscription, Topics, topic_of, topics_of};
pub use mask::mask;
pub use options::{Options, Task};
pub use server::Server;
pub use tokio_rustls;

/// Any failure: a server of the comparison prints it and ends.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What may fail.
pub type Outcome<T = ()> = Result<T, Failure>;

/// What a connection runs on: TCP, or TLS over it.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for T {}

/// What a server does with a connection, from the request on.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Opens the connection and works until its end.
    fn handle<S: Transport>(self, stream: S) -> impl Future<Output = Outcome> + Send;
}

/// The whole program: reads the options, runs on one thread unless told otherwise, and ends when
/// standard input does.
pub fn run<Fut: Future<Output = Outcome>>(server: impl FnOnce(Options) -> Fut) {
    let outcome = Options::parse(std::env::args().skip(1)).and_then(|options| {
        let runtime = match options.threads {
            None => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            Some(threads) => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_all()
                .build()?,
        };
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = server(options) => outcome,
                () = orphaned() => Ok(()),
            }
        });
        // Without waiting for the thread that reads standard input.
        runtime.shutdown_background();
        outcome
    });
    if let Err(failure) = outcome {
        eprintln!("{failure}");
        std::process::exit(1);
    }
}

/// The first byte of each message of a flood that a handler works for.
const WORKED_FOR: u8 = 0xff;

/// What an application does with a message: nothing for most, and this long without a pause for
/// those of a flood.
pub fn work(busy: Duration, message: &[u8]) {
    if message.first() == Some(&WORKED_FOR) {
        let begin = Instant::now();
        while begin.elapsed() < busy {
            std::hint::spin_loop();
        }
    }
}

/// Ready when the process that started this one is gone: at the end of standard input. A thread
/// waits for it, which costs the measured one nothing.
async fn orphaned() {
    let mut byte = [0];
    while matches!(tokio::io::stdin().read(&mut byte).await, Ok(count) if count > 0) {}
}

/// Tells the process that started this one where to connect.
pub fn announce(address: SocketAddr) {
    println!("listening {address}");
}

/// A listener on a free port of the loopback. Its queue holds the most that a scenario opens at
/// once.
///
/// # Errors
/// The system's.
pub fn listen() -> Outcome<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    Ok(socket.listen(4096)?)
}

/// Accepts connections and gives each to a task of its own.
///
/// # Errors
/// The system's, and TLS settings that cannot be read.
pub async fn serve<H: Handler>(options: &Options, handler: H) -> Outcome {
    let listener = listen()?;
    let tls = options.tls.as_deref().map(tls_config).transpose()?.map(TlsAcceptor::from);
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let handler = handler.clone();
        match tls.clone() {
            None => tokio::spawn(async move { handler.handle(stream).await }),
            Some(tls) => {
                tokio::spawn(
                    async move { handler.handle(Box::pin(tls.accept(stream)).await?).await },
                )
            }
        };
    }
}

/// The settings of a TLS server, from the directory with `cert.pem` and `key.pem`.
///
/// # Errors
/// Files that are not there or hold something else.
pub fn tls_config(dir: &std::path::Path) -> Outcome<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_file(dir.join("cert.pem"))?;
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem"))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}

/// Connects a client.
///
/// # Errors
/// The system's.
pub async fn dial(address: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The next item; what was fed is flushed only when none is left to read. This is how a library
/// with the `Stream` and `Sink` traits batches its replies without a wasted read.
///
/// # Errors
/// Those of flushing.
pub async fn next_or_flush<W, M>(ws: &mut W) -> Outcome<Option<W::Item>>
where
    W: Stream + Sink<M, Error: Into<Failure>> + Unpin,
{
    std::future::poll_fn(|cx: &mut Context<'_>| match Pin::new(&mut *ws).poll_next(cx) {
        Poll::Ready(item) => Poll::Ready(Ok(item)),
        Poll::Pending => match Pin::new(&mut *ws).poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            _ => Poll::Pending,
        },
    })
    .await
}

/// The connection's part of a broadcast: every message that comes is published, every message of
/// the queue is sent; all that are in the queue at once are fed and then flushed together.
/// `message` tells data from the rest.
///
/// # Errors
/// The library's.
pub async fn broadcast<W, M>(
    mut ws: W,
    hub: Hub<M>,
    mut queue: Subscription<M>,
    message: impl Fn(W::Item) -> Outcome<Option<M>>,
) -> Outcome
where
    W: Stream + Sink<M, Error: Into<Failure>> + Unpin,
    M: Clone,
{
    loop {
        tokio::select! {
            biased;
            item = ws.next() => match item {
                None => return Ok(()),
                Some(item) => if let Some(message) = message(item)? {
                    hub.publish(message);
                }
            },
            Some(first) = queue.recv() => {
                ws.feed(first).await.map_err(Into::into)?;
                while let Ok(more) = queue.try_recv() {
                    ws.feed(more).await.map_err(Into::into)?;
                }
                ws.flush().await.map_err(Into::into)?;
            }
        }
    }
}
