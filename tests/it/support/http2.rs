//! Ends of HTTP/2 that are written by hand with the `h2` crate, and speak raw frames.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode, Version};
use tautline::Http2Config;
use tautline_wire::read_frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::handshake::{bind, echo};
use super::peer::{Frame, encode};

/// An echo server that is stopped through the sender, and then waits for its connections.
pub(crate) async fn stoppable() -> (SocketAddr, oneshot::Sender<()>, JoinHandle<io::Result<()>>) {
    let (server, address) = bind().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server
        .http2(Http2Config::new())
        .drain_timeout(Duration::from_secs(3600))
        .with_graceful_shutdown(async { drop(stopped.await) })
        .serve(echo);
    (address, stop, tokio::spawn(serving))
}

/// The client's end of a connection.
pub(crate) struct RawClient {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) driving: JoinHandle<Result<(), h2::Error>>,
}

impl RawClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::with(address, &h2::client::Builder::new()).await
    }

    pub(crate) async fn with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), builder).await
    }

    pub(crate) async fn over<S>(stream: S, builder: &h2::client::Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        Self { requests, driving: tokio::spawn(connection) }
    }

    /// Sends a request whose stream stays open, and returns the response with the stream.
    pub(crate) async fn ask(&mut self, request: Request<()>) -> Result<Asked, h2::Error> {
        self.ask_and(request, false).await
    }

    pub(crate) async fn ask_and(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<Asked, h2::Error> {
        let (response, outgoing) = self.requests.send_request(request, end)?;
        let (head, incoming) = response.await?.into_parts();
        Ok((Response::from_parts(head, ()), RawStream::new(outgoing, incoming, true)))
    }

    /// The status and the body of the answer to this.
    pub(crate) async fn answer_to(&mut self, request: Request<()>) -> (StatusCode, String) {
        let (response, mut stream) = self.ask(request).await.unwrap();
        (response.status(), stream.body().await)
    }

    /// A WebSocket.
    pub(crate) async fn open(&mut self) -> RawStream {
        let (response, stream) = self.ask(connect_request()).await.unwrap();
        assert_eq!(response.status(), 200);
        stream
    }
}

/// A response, and the stream that it came on.
pub(crate) type Asked = (Response<()>, RawStream);

/// The extended CONNECT of RFC 8441 section 5.1, which every server accepts.
pub(crate) fn connect_request() -> Request<()> {
    connect_with(&[])
}

/// [`connect_request`] with these headers too.
pub(crate) fn connect_with(headers: &[(&str, &str)]) -> Request<()> {
    connect_to("http://example.com/chat", Some("websocket"), headers)
}

pub(crate) fn connect_to(
    uri: &str,
    protocol: Option<&str>,
    headers: &[(&str, &str)],
) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(uri)
        .header("sec-websocket-version", "13");
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(protocol) = protocol {
        request = request.extension(Protocol::from(protocol));
    }
    request.body(()).unwrap()
}

/// The server's end of a connection: its requests arrive here.
pub(crate) struct RawServer {
    requests: mpsc::UnboundedReceiver<(Request<RecvStream>, SendResponse<Bytes>)>,
    orders: mpsc::UnboundedSender<Order>,
    pub(crate) driving: JoinHandle<()>,
}

/// What the connection itself does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// GOAWAY, after which streams that are open go on.
    GoAway,
    /// GOAWAY with this code, and the end of TCP.
    Abort(Reason),
    /// The end of TCP, without a word.
    Vanish,
}

/// Listens, and hands out the server's end of each connection.
pub(crate) async fn raw_server(
    builder: h2::server::Builder,
) -> (SocketAddr, mpsc::UnboundedReceiver<RawServer>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (servers, accepted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = servers.send(RawServer::over(stream, &builder).await);
        }
    });
    (address, accepted)
}

/// A builder that allows extended CONNECT.
pub(crate) fn connecting() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    builder
}

impl RawServer {
    pub(crate) async fn over<S>(stream: S, builder: &h2::server::Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (asked, requests) = mpsc::unbounded_channel();
        let (orders, mut ordered) = mpsc::unbounded_channel();
        let mut connection = builder.handshake(stream).await.unwrap();
        let driving = tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = connection.accept() => match accepted {
                        Some(Ok(request)) => drop(asked.send(request)),
                        _ => break,
                    },
                    Some(order) = ordered.recv() => match order {
                        Order::GoAway => connection.graceful_shutdown(),
                        Order::Abort(reason) => connection.abrupt_shutdown(reason),
                        Order::Vanish => break,
                    },
                }
            }
        });
        Self { requests, orders, driving }
    }

    pub(crate) fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    /// The next request, `None` when the connection has ended.
    pub(crate) async fn request(&mut self) -> Option<(Request<RecvStream>, SendResponse<Bytes>)> {
        self.requests.recv().await
    }

    /// Accepts the next request, and returns it with its stream.
    pub(crate) async fn accept(&mut self) -> (Request<()>, RawStream) {
        self.accept_with(Response::new(())).await
    }

    pub(crate) async fn accept_with(&mut self, response: Response<()>) -> (Request<()>, RawStream) {
        let (request, mut respond) = self.request().await.expect("a request, not the end");
        let outgoing = respond.send_response(response, false).unwrap();
        let (head, incoming) = request.into_parts();
        (Request::from_parts(head, ()), RawStream::new(outgoing, incoming, false))
    }
}

/// An end that writes the frames of HTTP/2 itself (RFC 9113 section 4.1).
pub(crate) struct Frames<S>(pub(crate) S);

/// Types of frames (RFC 9113 section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

impl Frames<TcpStream> {
    /// A client that has its server's settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut frames = Self(TcpStream::connect(address).await.unwrap());
        frames.write(PREFACE).await;
        frames.write(&frame(SETTINGS, 0, 0, &[])).await;
        frames.expect(SETTINGS).await;
        frames
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    pub(crate) async fn write(&mut self, frames: &[u8]) {
        self.0.write_all(frames).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next frame: its type, flags, stream and payload.
    pub(crate) async fn next(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let length = usize::try_from(self.0.read_u32().await?).unwrap();
        let (flags, stream) = (self.0.read_u8().await?, self.0.read_u32().await?);
        let mut payload = vec![0; length >> 8];
        self.0.read_exact(&mut payload).await?;
        Ok(((length & 0xff) as u8, flags, stream, payload))
    }

    /// Reads until a frame of this type that is no acknowledgement.
    pub(crate) async fn expect(&mut self, wanted: u8) -> (u32, Vec<u8>) {
        loop {
            let (kind, flags, stream, payload) = self.next().await.unwrap();
            if kind == wanted && (flags & ACK == 0 || kind == DATA || kind == HEADERS) {
                return (stream, payload);
            }
        }
    }
}

/// One stream, which carries frames.
pub(crate) struct RawStream {
    pub(crate) outgoing: SendStream<Bytes>,
    pub(crate) incoming: RecvStream,
    client: bool,
    read: BytesMut,
}

impl RawStream {
    pub(crate) fn new(outgoing: SendStream<Bytes>, incoming: RecvStream, client: bool) -> Self {
        Self { outgoing, incoming, client, read: BytesMut::new() }
    }

    /// The wire form of a frame, masked by a client (RFC 6455 section 5.1).
    pub(crate) fn encode(&self, first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
        encode(self.client, first, payload.as_ref())
    }

    /// Sends a frame in DATA of its own.
    pub(crate) fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        let frame = self.encode(first, payload);
        self.write(frame, false);
    }

    /// Sends DATA, which the window of the peer has room for.
    pub(crate) fn write(&mut self, data: Vec<u8>, end: bool) {
        self.outgoing.send_data(data.into(), end).unwrap();
    }

    pub(crate) fn end(&mut self) {
        self.write(Vec::new(), true);
    }

    /// The next DATA, `None` at END_STREAM.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = self.incoming.data().await?;
        if let Ok(data) = &data {
            self.incoming.flow_control().release_capacity(data.len()).unwrap();
        }
        Some(data)
    }

    /// Everything up to END_STREAM, as text.
    pub(crate) async fn body(&mut self) -> String {
        while let Some(data) = self.data().await {
            self.read.extend_from_slice(&data.unwrap());
        }
        String::from_utf8(self.read.split().to_vec()).unwrap()
    }

    /// The next frame, `None` at END_STREAM.
    pub(crate) async fn recv(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, len)) = read_frame(&self.read) {
                assert_eq!(frame.masked(), !self.client, "masked by a server, or not by a client");
                let _ = self.read.split_to(len);
                return Some(frame);
            }
            match self.data().await {
                Some(data) => self.read.extend_from_slice(&data.unwrap()),
                None => {
                    assert!(self.read.is_empty(), "the stream ended inside a frame");
                    return None;
                }
            }
        }
    }

    pub(crate) async fn expect(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        let frame = self.recv().await.expect("a frame");
        assert_eq!((frame.first, &frame.payload[..]), (first, payload.as_ref()));
    }

    /// END_STREAM, in order.
    pub(crate) async fn expect_end(&mut self) {
        assert_eq!(self.recv().await, None);
    }

    /// RST_STREAM with this code.
    pub(crate) async fn expect_reset(&mut self, reason: Reason) {
        let error = loop {
            match self.data().await.expect("a reset, not the end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(error.is_reset() && error.is_remote(), "{error:?}");
        assert_eq!(error.reason(), Some(reason));
    }

    /// Sends a text and expects it back.
    pub(crate) async fn expect_echo(&mut self, text: &str) {
        self.send(0x81, text);
        self.expect(0x81, text).await;
    }
}
