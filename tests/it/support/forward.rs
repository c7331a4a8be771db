//! Proxies between a client and its server, by hand: CONNECT and SOCKS5.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::handshake::{Head, Http, Identity};

/// What a proxy was asked, one after the other.
pub(crate) type Asked<T> = mpsc::UnboundedReceiver<T>;

/// A proxy that opens every tunnel, to this machine whatever the name. It fails the tunnel if
/// anything was sent before its answer (RFC 9931).
pub(crate) async fn tunnelling() -> (SocketAddr, Asked<Head>) {
    serving(|stream, heads| async move { tunnel(Http::over(stream), heads).await }).await
}

/// The same under TLS.
pub(crate) async fn tunnelling_under_tls(identity: &Identity) -> (SocketAddr, Asked<Head>) {
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config()));
    serving(move |stream, heads| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                tunnel(Http::over(stream), heads).await;
            }
        }
    })
    .await
}

async fn tunnel<S>(mut client: Http<S>, heads: mpsc::UnboundedSender<Head>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = client.head().await;
    let target = head.first.strip_prefix("CONNECT ").unwrap();
    let target = target.strip_suffix(" HTTP/1.1").unwrap();
    let port = target.rsplit_once(':').unwrap().1.parse().unwrap();
    assert!(client.is_silent(), "more than a request for a tunnel: {:?}", client.read);
    heads.send(head).unwrap();
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    // It has no body, whatever it says.
    client.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let _ = copy_bidirectional(&mut client.stream, &mut server).await;
}

/// A proxy that answers each request with this.
pub(crate) async fn refusing(answer: &'static str) -> SocketAddr {
    let (address, _) = serving(move |stream, _: mpsc::UnboundedSender<()>| async move {
        let mut client = Http::over(stream);
        client.head().await;
        client.write(answer).await;
        // The connection stays open.
        client.rest().await;
    })
    .await;
    address
}

/// A SOCKS5 proxy (RFC 1928), which wants these credentials (RFC 1929), and answers a request with
/// this code: with 0 it connects to this machine. Tells the names and ports that it was asked for.
pub(crate) async fn socks(
    credentials: Option<(&'static str, &'static str)>,
    code: u8,
) -> (SocketAddr, Asked<(String, u16)>) {
    serving(move |mut stream, names| async move {
        let _ = socks_tunnel(&mut stream, credentials, code, names).await;
    })
    .await
}

async fn socks_tunnel(
    client: &mut TcpStream,
    credentials: Option<(&str, &str)>,
    code: u8,
    names: mpsc::UnboundedSender<(String, u16)>,
) -> std::io::Result<()> {
    assert_eq!(client.read_u8().await?, 5);
    let methods = field(client).await?;
    let method = if credentials.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return client.write_all(&[5, 0xff]).await;
    }
    client.write_all(&[5, method]).await?;
    if let Some((user, password)) = credentials {
        assert_eq!(client.read_u8().await?, 1);
        let given = [field(client).await?, field(client).await?];
        let right = given == [user.as_bytes(), password.as_bytes()];
        client.write_all(&[1, u8::from(!right)]).await?;
        if !right {
            return Ok(());
        }
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    assert_eq!(request, [5, 1, 0, 3], "CONNECT to a name");
    let name = String::from_utf8(field(client).await?).unwrap();
    let port = client.read_u16().await?;
    names.send((name, port)).unwrap();
    client.write_all(&[5, code, 0, 1, 127, 0, 0, 1, 0, 80]).await?;
    if code == 0 {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        copy_bidirectional(client, &mut server).await?;
    }
    Ok(())
}

/// A length in a byte, and as many bytes.
async fn field(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Serves each connection with this.
async fn serving<T, F, Fut>(serve: F) -> (SocketAddr, Asked<T>)
where
    T: Send + 'static,
    F: Fn(TcpStream, mpsc::UnboundedSender<T>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, tell.clone()));
        }
    });
    (address, told)
}
