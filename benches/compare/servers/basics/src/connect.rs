//! The least that opening and closing a connection can cost: nothing of the answers is checked, and
//! the keys are always the same.

use std::net::SocketAddr;

use kit::tokio_rustls::TlsConnector;
use kit::{Outcome, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A Close with the code 1000, masked with zeros.
const CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

/// Opens and closes connections with one connector.
pub(crate) async fn client(address: SocketAddr, server: kit::Server) -> Outcome {
    let connector = server.tls.map(TlsConnector::from);
    loop {
        let stream = kit::dial(address).await?;
        match &connector {
            Some(tls) => visit(tls.connect(address.ip().into(), stream).await?).await?,
            None => visit(stream).await?,
        }
    }
}

async fn visit<S: Transport>(mut stream: S) -> Outcome {
    kit::ask_upgrade(&mut stream).await?;
    stream.write_all(CLOSE).await?;
    stream.flush().await?;
    // The answer, and with it mostly the end.
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(stream.shutdown().await?)
}
