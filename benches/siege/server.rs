//! The server: it sends back every message, and pushes to those that ask for `/feed`.

use std::fs::File;
use std::time::Duration;

use tautline::{
    Compression, Config, Limits, Networks, Prepared, Server, ServerHandle, ServerTls, Upgrade,
    WebSocket,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::Result;

/// Whose connections begin with the header of the PROXY protocol.
pub(crate) const PROXY: &str = "127.9.0.1";

/// What is pushed to each reader, and how often.
const PUSHED: u32 = 16 << 10;
const PUSH_EVERY: Duration = Duration::from_millis(200);

/// Tells its URI and, in one line, its certificate; then it answers each line of its input.
pub(crate) async fn serve(secure: bool) -> Result {
    let limits = Limits::new().exempt([]);
    let server = Server::bind("127.0.0.1:0").await?.config(Config::public()).limits(limits);
    let server = server.compression(Compression::new()).proxy_protocol(Networks::parse([PROXY])?);
    let port = server.local_addr()?.port();
    let server = if secure {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        println!("wss://localhost:{port}/");
        println!("{}", certificate.replace('\n', "|"));
        server.tls(ServerTls::from_pem(certificate.as_bytes(), key.as_bytes())?)
    } else {
        println!("ws://localhost:{port}/\nnone");
        server
    };
    let handle = server.handle();
    // Nothing that compression makes shorter.
    let bytes = (0..PUSHED).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8);
    let pushed = Prepared::new(bytes.collect::<Vec<_>>());
    let serving = server
        .authorize(|request| async move { Ok(Upgrade::new(request.uri().path() == "/feed")) })
        .serve_with(move |ws, is_feed| {
            let pushed = pushed.clone();
            async move { if is_feed { feed(ws, pushed).await } else { echo(ws).await } }
        });
    tokio::select! {
        served = serving => Ok(served?),
        obeyed = obey(handle) => obeyed,
    }
}

async fn echo(mut ws: WebSocket) -> Result {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

async fn feed(mut ws: WebSocket, pushed: Prepared) -> Result {
    let mut ticks = tokio::time::interval(PUSH_EVERY);
    loop {
        ticks.tick().await;
        ws.send_prepared(&pushed).await?;
    }
}

/// `counts`: what the limits did, and how many connections there are. `fill N`: opens files until
/// there is room for so many.
async fn obey(handle: ServerHandle) -> Result {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut kept = Vec::new();
    while let Some(line) = input.next_line().await? {
        if let Some(room) = line.strip_prefix("fill ") {
            while let Ok(file) = File::open("/dev/null") {
                kept.push(file);
            }
            kept.truncate(kept.len().saturating_sub(room.parse()?));
            println!("filled");
            continue;
        }
        let counts = handle.counts();
        println!(
            "{} {} {} {} {} {}",
            handle.connection_count(),
            counts.connections_per_address,
            counts.connections_per_site,
            counts.connection_rate,
            counts.handshakes,
            counts.handshakes_per_address
        );
    }
    Ok(())
}
