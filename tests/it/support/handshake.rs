//! Peers that speak raw HTTP, servers for tests, and certificates made at run time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use tautline::rustls::crypto::ring;
use tautline::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tautline::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tautline::{Client, ClientTls, Server, ServerCertificate, ServerTls, WebSocket};
use tautline_handshake::accept_key;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The key of RFC 6455 section 1.3, and the accept value for it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An opening request that every server accepts (RFC 6455 section 4.2.1).
pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Version: 13\r\n\r\n";

/// [`REQUEST`] with these lines after the others, each with its line break.
pub(crate) fn request_with(lines: impl AsRef<[u8]>) -> Vec<u8> {
    let head = REQUEST.strip_suffix("\r\n").unwrap();
    [head.as_bytes(), lines.as_ref(), b"\r\n"].concat()
}

/// [`REQUEST`] with one of its parts replaced.
pub(crate) fn request_but(part: &str, by: impl AsRef<[u8]>) -> Vec<u8> {
    let (before, after) = REQUEST.split_once(part).unwrap();
    [before.as_bytes(), by.as_ref(), after.as_bytes()].concat()
}

/// The head of a request or a response as it is on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { first, headers: lines.take_while(|line| !line.is_empty()).map(header).collect() }
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header, which appears at most once.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands more than once");
        all.first().copied()
    }

    pub(crate) fn status(&self) -> u16 {
        self.first.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap()
    }

    /// The value of `Sec-WebSocket-Accept` that answers this request.
    pub(crate) fn accept(&self) -> String {
        accept_key(self.get("sec-websocket-key").expect("a key").as_bytes())
    }
}

/// One end of a stream that speaks HTTP by hand.
#[derive(Debug)]
pub(crate) struct Http<S = TcpStream> {
    pub(crate) stream: S,
    pub(crate) read: BytesMut,
}

impl Http {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, read: BytesMut::new() }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Makes a WebSocket of it, as a client.
    pub(crate) async fn upgrade(&mut self) {
        self.write(REQUEST).await;
        assert_eq!(self.head().await.status(), 101);
    }

    /// The next head; what came after it stays in `read`.
    pub(crate) async fn head(&mut self) -> Head {
        loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                return Head::parse(&self.read.split_to(at + 4));
            }
            let count = self.stream.read_buf(&mut self.read).await.unwrap();
            assert!(count > 0, "the stream ended inside a head: {:?}", self.read);
        }
    }

    /// Everything up to the end of the stream, which must not be a reset.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.stream.read_buf(&mut self.read).await.unwrap() > 0 {}
        self.read.split().to_vec()
    }

    /// A response that ends the connection: its head and its body.
    pub(crate) async fn last_response(&mut self) -> (Head, String) {
        let head = self.head().await;
        let body = String::from_utf8(self.rest().await).unwrap();
        (head, body)
    }

    /// Whether the peer has sent nothing and has not ended.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.read.is_empty() && self.stream.read_buf(&mut self.read).now_or_never().is_none()
    }
}

/// The answer of a server to these bytes, to the end of the connection. The end must be clean: a
/// reset fails the test.
pub(crate) async fn answer_to(address: SocketAddr, bytes: impl AsRef<[u8]>) -> (Head, String) {
    let mut peer = Http::connect(address).await;
    peer.write(bytes).await;
    peer.last_response().await
}

/// A stream on which this arrives, and then a byte every 900 ms, for as long as it is read.
pub(crate) fn trickle(start: &'static str) -> (DuplexStream, JoinHandle<()>) {
    let (near, mut far) = duplex(1024);
    let writing = tokio::spawn(async move {
        far.write_all(start.as_bytes()).await.unwrap();
        while far.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(900)).await;
        }
    });
    (near, writing)
}

/// A scripted server: it reads the head of one request and answers with what this returns for it.
/// Returns that head and the connection.
pub(crate) async fn answering<F>(answer: F) -> (SocketAddr, JoinHandle<(Head, Http)>)
where
    F: FnOnce(&Head) -> Vec<u8> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut peer = Http::over(listener.accept().await.unwrap().0);
        let request = peer.head().await;
        // A client that has seen enough closes the connection.
        let _ = peer.stream.write_all(&answer(&request)).await;
        (request, peer)
    });
    (address, serving)
}

/// A 101 that answers this request, with these lines after the others.
pub(crate) fn switching(request: &Head, lines: &str) -> String {
    let accept = request.accept();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
}

pub(crate) type HandlerResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The handler of an echo.
pub(crate) async fn echo<S>(mut ws: WebSocket<S>) -> HandlerResult
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

/// The handler of a server that accepts nobody.
pub(crate) async fn not_to_be_handled(_: WebSocket) {
    panic!("not accepted, and handled all the same");
}

pub(crate) fn uri(address: SocketAddr) -> String {
    format!("ws://{address}/")
}

pub(crate) async fn bind() -> (Server, SocketAddr) {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

/// A running echo server, configured by this.
pub(crate) async fn echo_server(set_up: impl FnOnce(Server) -> Server) -> SocketAddr {
    let (server, address) = bind().await;
    let serving = set_up(server).serve(echo);
    tokio::spawn(serving);
    address
}

/// Sends a message and expects it back.
pub(crate) async fn expect_echo<S>(ws: &mut WebSocket<S>, text: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    ws.send(text).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(text));
}

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key_der: Vec<u8>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Identity {
    /// Signed by itself, for these DNS names and IP addresses.
    pub(crate) fn for_names(names: &[&str]) -> Self {
        Self::make(names, |_| {})
    }

    pub(crate) fn expired(names: &[&str]) -> Self {
        Self::make(names, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1))
    }

    /// With a key of this algorithm.
    pub(crate) fn with_key(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        Self::with(names, &key, |_| {})
    }

    fn make(names: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        Self::with(names, &rcgen::KeyPair::generate().unwrap(), change)
    }

    fn with(
        names: &[&str],
        key: &rcgen::KeyPair,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.self_signed(key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key_der: key.serialize_der(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    pub(crate) fn server(&self) -> ServerTls {
        ServerTls::builder(self.server_certificate()).build().unwrap()
    }

    pub(crate) fn server_certificate(&self) -> ServerCertificate {
        let (chain, key) = (self.certificate_pem.as_bytes(), self.key_pem.as_bytes());
        ServerCertificate::from_pem(chain, key).unwrap()
    }

    /// A client that trusts this certificate and no other.
    pub(crate) fn client(&self) -> Client {
        Client::new().tls(ClientTls::from_ca_pem(self.certificate_pem.as_bytes()).unwrap())
    }

    /// A raw client over this stream that trusts the certificate.
    pub(crate) async fn connect<S>(&self, stream: S) -> TlsStream<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::new(self.client_config()));
        connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }

    pub(crate) fn server_config(&self) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key_der.clone()).unwrap();
        ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap()
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}
