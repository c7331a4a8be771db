//! Clients by hand: over HTTP/1.1 in bytes, over HTTP/2 with the `h2` crate, and frames by hand
//! over both. The tests of tautline-axum use it too.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Version};
use tautline_wire::{Frame, close_body, encode, read_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// An opening request of HTTP/1.1 that every server accepts (RFC 6455 section 4.2.1).
pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Version: 13\r\n\r\n";

pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: HeaderMap,
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The client's end of a request, and of the WebSocket that it may become.
pub(crate) struct Peer {
    stream: Stream,
    read: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Http2 { send: SendStream<Bytes>, response: Option<ResponseFuture>, body: Option<RecvStream> },
}

impl Peer {
    /// Sends these bytes over a new connection.
    pub(crate) async fn send_raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        Self { stream: Stream::Tcp(stream), read: Vec::new() }
    }

    /// Asks for a WebSocket over this version of HTTP, with these headers more.
    pub(crate) async fn ask(
        address: SocketAddr,
        version: Version,
        headers: &[(&str, &str)],
    ) -> Self {
        if version == Version::HTTP_2 {
            return Http2::connect(address).await.ask(headers);
        }
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = REQUEST.strip_suffix("\r\n").unwrap();
        Self::send_raw(address, format!("{head}{}\r\n", lines.collect::<String>())).await
    }

    /// Opens a WebSocket; returns it with the head of the response.
    pub(crate) async fn open(
        address: SocketAddr,
        version: Version,
        headers: &[(&str, &str)],
    ) -> (Self, Head) {
        let mut peer = Self::ask(address, version, headers).await;
        let head = peer.head().await;
        assert!(matches!(head.status, 101 | 200), "{}", peer.body(&head).await);
        (peer, head)
    }

    /// The status and the text of a refusal.
    pub(crate) async fn refusal(mut self) -> (Head, String) {
        let head = self.head().await;
        let body = self.body(&head).await;
        (head, body)
    }

    /// Where a TCP connection comes from.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => Some(stream.local_addr().unwrap()),
            Stream::Http2 { .. } => None,
        }
    }

    pub(crate) async fn write(&mut self, bytes: Vec<u8>) {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(&bytes).await.unwrap(),
            Stream::Http2 { send, .. } => send.send_data(bytes.into(), false).unwrap(),
        }
    }

    /// Sends a frame, masked.
    pub(crate) async fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.write(encode(true, first, payload.as_ref())).await;
    }

    /// Reads more bytes; returns whether there were any.
    async fn fill(&mut self) -> bool {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read_buf(&mut self.read).await.unwrap() > 0,
            Stream::Http2 { body, .. } => {
                let body = body.as_mut().expect("the head was read");
                let Some(data) = body.data().await else { return false };
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                self.read.extend(data);
                true
            }
        }
    }

    /// The head of the response.
    pub(crate) async fn head(&mut self) -> Head {
        if let Stream::Http2 { response, body, .. } = &mut self.stream {
            let response = response.take().expect("one response").await.unwrap();
            let (parts, received) = response.into_parts();
            *body = Some(received);
            return Head { status: parts.status.as_u16(), headers: parts.headers };
        }
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill().await, "the connection ended inside a head: {:?}", self.read);
        };
        let text = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        Head { status, headers }
    }

    /// The body of a response: as long as its head says, or up to the end.
    pub(crate) async fn body(&mut self, head: &Head) -> String {
        let length = head.get("content-length").map(|length| length.parse::<usize>().unwrap());
        while length.is_none_or(|length| self.read.len() < length) && self.fill().await {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// Everything up to the end of the stream.
    pub(crate) async fn all(&mut self) -> String {
        while self.fill().await {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// The next frame, or `None` at the end of the stream, which must not be a reset.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = read_frame(&self.read) {
                self.read.drain(..length);
                return Some(frame);
            }
            if !self.fill().await {
                assert_eq!(self.read, b"", "the stream ended inside a frame");
                return None;
            }
        }
    }

    /// The next frame, which is a message.
    pub(crate) async fn text(&mut self) -> String {
        let frame = self.frame().await.expect("a message");
        assert_eq!(frame.first, TEXT, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    pub(crate) async fn expect_echo(&mut self, text: &str) {
        self.send(TEXT, text).await;
        assert_eq!(self.text().await, text);
    }

    /// Waits for a Close and answers it, then for the end of the stream. Returns the code.
    pub(crate) async fn closed(&mut self) -> u16 {
        let frame = self.frame().await.expect("a Close");
        assert_eq!(frame.first, CLOSE, "{frame:?}");
        self.send(CLOSE, &frame.payload).await;
        assert_eq!(self.frame().await, None);
        u16::from_be_bytes(frame.payload[..2].try_into().unwrap())
    }

    /// Does the closing handshake, as the first to close.
    pub(crate) async fn close(mut self) {
        self.send(CLOSE, close_body(1000, "")).await;
        let frame = self.frame().await.expect("a Close");
        assert_eq!((frame.first, frame.payload), (CLOSE, close_body(1000, "")));
        assert_eq!(self.frame().await, None);
    }

    /// Leaves without a word: ends the TCP connection, or resets the stream.
    pub(crate) fn vanish(self) {
        if let Stream::Http2 { mut send, .. } = self.stream {
            send.send_reset(h2::Reason::CANCEL);
        }
    }
}

/// A connection of HTTP/2.
pub(crate) struct Http2(SendRequest<Bytes>);

impl Http2 {
    /// Connects without TLS, and waits for the server's settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // No stream is allowed before the settings have come.
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_max_send_streams(0).handshake(stream);
        let (sender, mut connection) = handshake.await.unwrap();
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Pending if sender.current_max_send_streams() == 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(()),
            Poll::Ready(ended) => panic!("{ended:?}"),
        })
        .await;
        tokio::spawn(connection);
        Self(sender)
    }

    /// Asks for a WebSocket by an extended CONNECT (RFC 8441 section 5).
    pub(crate) fn ask(&mut self, headers: &[(&str, &str)]) -> Peer {
        self.ask_for("/chat", headers)
    }

    pub(crate) fn ask_for(&mut self, path: &str, headers: &[(&str, &str)]) -> Peer {
        assert!(self.0.is_extended_connect_protocol_enabled());
        let protocol = h2::ext::Protocol::from_static("websocket");
        let mut all = vec![("sec-websocket-version", "13")];
        all.retain(|(name, _)| headers.iter().all(|(other, _)| other != name));
        all.extend(headers);
        let uri = format!("http://example.com{path}");
        self.request(Request::connect(uri).extension(protocol), &all, false)
    }

    /// Sends a request without a body.
    pub(crate) fn plain(&mut self, method: Method, path: &str) -> Peer {
        let uri = format!("http://example.com{path}");
        self.request(Request::builder().method(method).uri(uri), &[], true)
    }

    fn request(
        &mut self,
        request: http::request::Builder,
        headers: &[(&str, &str)],
        over: bool,
    ) -> Peer {
        let with = |request: http::request::Builder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        let request = headers.iter().fold(request.version(Version::HTTP_2), with);
        let (response, send) = self.0.send_request(request.body(()).unwrap(), over).unwrap();
        let stream = Stream::Http2 { send, response: Some(response), body: None };
        Peer { stream, read: Vec::new() }
    }
}
