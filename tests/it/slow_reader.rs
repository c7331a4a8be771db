//! Peers that read slowly and steadily. Deadlines are on progress, and progress is bytes that the
//! peer took.
//!
//! Linux took 4 MiB for such a peer, and reported its socket writable again only after a third of
//! that was read: a peer that read 250 kB/s got 4.2 of 16.8 MB before `close_timeout` ended the
//! connection, and `send_timeout` struck in the middle of an upload.

use std::time::Duration;

use tautline::{Client, Config};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::handshake::{Http, Identity, bind, switching};

/// More than Linux takes for one socket at once.
const LARGE: usize = 6 << 20;
const DEADLINE: Duration = Duration::from_secs(1);

/// Reads until the end: for 2.5 s at 640 kB/s, a pace at which a third of 4 MiB takes longer than
/// the deadline, and at full speed then. Returns how much came.
async fn read_slowly(stream: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut buffer = vec![0; 64 << 10];
    let mut count = 0;
    for _ in 0..25 {
        count += stream.read_exact(&mut buffer).await.unwrap();
        // This is the peer's pace: the very thing that is tested.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        count += read;
    }
    count
}

/// A client with little room for what it does not read.
async fn connect(address: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.connect(address).await.unwrap()
}

async fn download(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut client = Http::over(stream);
    client.upgrade().await;
    let count = client.read.len() + read_slowly(&mut client.stream).await;
    assert!(count >= LARGE, "{count} bytes came");
}

#[tokio::test]
async fn a_close_waits_for_a_peer_that_reads_slowly() {
    let identity = Identity::for_names(&["localhost"]);
    let config = Config::new().close_timeout(DEADLINE);
    let (plain, address) = bind().await;
    let (secure, secure_address) = bind().await;
    let secure = secure.config(config.clone()).tls(identity.server());
    for server in [plain.config(config), secure] {
        tokio::spawn(server.serve(|mut ws| async move {
            ws.feed(vec![7; LARGE]).await?;
            // The peer never answers the Close; it only reads.
            let _ = ws.close().await;
            Ok(())
        }));
    }
    let over_tls = async {
        download(identity.connect(connect(secure_address).await).await).await;
    };
    tokio::join!(async { download(connect(address).await).await }, over_tls);
}

#[tokio::test]
async fn sending_goes_on_while_a_peer_reads_slowly() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = socket.listen(1).unwrap();
    let uri = format!("ws://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut server = Http::over(listener.accept().await.unwrap().0);
        let request = server.head().await;
        server.write(switching(&request, "")).await;
        read_slowly(&mut server.stream).await
    });
    let config = Config::new().send_timeout(DEADLINE);
    let mut ws = Client::new().config(config).connect(&uri).await.unwrap();
    ws.send(vec![7; LARGE]).await.unwrap();
    drop(ws);
    assert!(server.await.unwrap() >= LARGE);
}
