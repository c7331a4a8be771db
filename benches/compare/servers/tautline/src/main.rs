//! Tautline through its public API, in its default configuration: `feed` is the loop of the README,
//! `send` flushes each message.

use std::num::NonZeroUsize;
use std::time::Duration;

use kit::{Failure, Hub, Options, Outcome, Subscription, Task};
use tautline::{
    Client, ClientTls, Compress, Compression, Config, Prepared, Server, ServerTls, WebSocket,
};

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => echo(&options).await,
            Task::Broadcast => broadcast(&options).await,
            Task::Mask => {
                kit::mask(|key, data| tautline_frame::mask::apply(key, 0, data));
                Ok(())
            }
            Task::Client { address, in_flight, payload } => {
                let mut ws = tautline::connect(format!("ws://{address}/")).await?;
                for _ in 0..in_flight {
                    ws.feed(vec![0; payload]).await?;
                }
                feed(ws).await
            }
            Task::Connect { address } => {
                connect(kit::Server::at(address, &options)?, &options).await
            }
            _ => Err("not here".into()),
        }
    });
}

/// Opens and closes connections with one client.
async fn connect(server: kit::Server, options: &Options) -> Outcome {
    let mut client = Client::new();
    if let (Some(tls), Some(dir)) = (server.tls, &options.tls) {
        client = client.tls(match options.api.as_str() {
            "own-tls" => ClientTls::from_ca_file(dir.join("cert.pem"))?,
            _ => ClientTls::from_config(tls),
        });
    }
    loop {
        let mut ws = client.connect(&server.uri).await?;
        ws.close().await?;
    }
}

/// The settings of this name.
fn compression(name: &str) -> Outcome<Compression> {
    Ok(match name {
        "default" => Compression::new(),
        "low-memory" => Compression::low_memory(),
        "low-memory-fast" => Compression::low_memory().level(1),
        "best-ratio" => Compression::best_ratio(),
        "takeover" => Compression::new().own_context_takeover(true),
        "fast" => Compression::new().own_context_takeover(true).level(1),
        _ => return Err("no such settings".into()),
    })
}

async fn echo(options: &Options) -> Outcome {
    if let Some(cores) = options.per_core {
        return per_core(cores).await;
    }
    let mut server = Server::bind("127.0.0.1:0").await?;
    if let Some(dir) = &options.tls {
        server = server.tls(ServerTls::from_pem_files(dir.join("cert.pem"), dir.join("key.pem"))?);
    }
    if let Some(name) = &options.deflate {
        server = server.compression(compression(name)?);
    }
    kit::announce(server.local_addr()?);
    if let Some(busy) = options.busy {
        return Ok(server.serve(move |ws| work(ws, busy)).await?);
    }
    match options.api.as_str() {
        "feed" => Ok(server.serve(feed).await?),
        "quiet" => Ok(server.config(Config::new().ping_interval(None)).serve(feed).await?),
        "send" => Ok(server.serve(send).await?),
        _ => Err("no such interface".into()),
    }
}

/// A server on each core, with the same loop.
async fn per_core(cores: NonZeroUsize) -> Outcome {
    let serve = |server: Server| async {
        // The same address from each of them: the first to say so is heard.
        kit::announce(server.local_addr()?);
        server.serve_local(|ws, ()| feed(ws)).await
    };
    Ok(Server::per_core("127.0.0.1:0", cores, serve).await?)
}

/// Every message to all connections: the same frame for each.
async fn broadcast(options: &Options) -> Outcome {
    let mut server = Server::bind("127.0.0.1:0").await?;
    if let Some(name) = &options.deflate {
        server = server.compression(compression(name)?);
    }
    kit::announce(server.local_addr()?);
    let hub = Hub::default();
    let serving = server.serve(move |ws| {
        let (hub, queue) = (hub.clone(), hub.subscribe());
        publish(ws, hub, queue)
    });
    Ok(serving.await?)
}

/// As [`kit::broadcast`], with prepared messages.
async fn publish(
    mut ws: WebSocket,
    hub: Hub<Prepared>,
    mut queue: Subscription<Prepared>,
) -> Result<(), Failure> {
    loop {
        tokio::select! {
            biased;
            message = ws.next() => match message {
                None => return Ok(()),
                // Where compression was agreed on, also those that are shorter than its threshold:
                // the others of this comparison have none, or a lower one.
                Some(message) => hub.publish(Prepared::new(message?).compress(Compress::Always)),
            },
            Some(first) = queue.recv() => {
                ws.feed_prepared(&first).await?;
                while let Ok(more) = queue.try_recv() {
                    ws.feed_prepared(&more).await?;
                }
                ws.flush().await?;
            }
        }
    }
}

async fn feed(mut ws: WebSocket) -> Result<(), Failure> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

/// As [`feed`], by a handler that has something to do.
async fn work(mut ws: WebSocket, busy: Duration) -> Result<(), Failure> {
    while let Some(message) = ws.next().await {
        let message = message?;
        kit::work(busy, message.as_bytes());
        ws.feed(message).await?;
    }
    Ok(())
}

async fn send(mut ws: WebSocket) -> Result<(), Failure> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}
