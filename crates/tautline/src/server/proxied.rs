//! Servers behind proxies: who the client is, by the PROXY protocol and by the headers of requests.

use http::Request;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::Span;

use super::Server;
use crate::accept::{AcceptError, until};
use crate::forwarded::TrustedProxies;
use crate::networks::Networks;
use crate::proxy_protocol::{MAX_HEADER, Parsed, parse};
use crate::transport::Peer;

/// Which proxies are believed.
#[derive(Default)]
pub(super) struct Proxied {
    headers: Option<TrustedProxies>,
    protocol: Option<Networks>,
}

impl<T> Server<T> {
    /// Believes these proxies who a request comes from, and which host it is for. Every
    /// [`Peer`] is the true client then: that of [`UpgradeRequest`](crate::UpgradeRequest),
    /// [`fallback`](Self::fallback), `service`, [`WebSocket::peer`](crate::WebSocket::peer) and the
    /// events; and [`OriginPolicy::SameOrigin`](crate::OriginPolicy::SameOrigin) compares with the
    /// host that the client asked for. Default: the headers of proxies are not read.
    ///
    /// List networks in which nobody but your proxies can connect to this port.
    ///
    /// ```
    /// use tautline::{Client, Networks, Server, TrustedProxies};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let proxies = TrustedProxies::forwarded(Networks::parse(["127.0.0.1"])?);
    /// let server = Server::bind("127.0.0.1:0").await?.trusted_proxies(proxies);
    /// let uri = format!("ws://{}/", server.local_addr()?);
    /// tokio::spawn(server.serve(|mut ws| async move {
    ///     let peer = ws.peer().to_string();
    ///     Ok(ws.send(peer).await?)
    /// }));
    /// // What a proxy sends:
    /// let client = Client::new().header("forwarded", "for=\"192.0.2.7:50000\";host=app.example");
    /// let mut ws = client.header("origin", "https://app.example").connect(&uri).await?;
    /// assert_eq!(ws.next().await.unwrap()?.as_text(), Some("192.0.2.7:50000"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.settings.proxied.headers = Some(proxies);
        self
    }

    /// Reads the header of the PROXY protocol, version 1 or 2, from every connection from these
    /// networks, ahead of TLS and HTTP: the [`Peer`] is the client that it names. A connection from
    /// there without the header is closed ([`AcceptError::ProxyHeader`]); connections from elsewhere
    /// are the clients' own, and have none. Default: no connection has.
    ///
    /// The header has 536 bytes at most, and must arrive within
    /// [`Acceptor::handshake_timeout`](crate::Acceptor::handshake_timeout). `UNKNOWN` and `LOCAL`, by
    /// which proxies check the server's health, leave the address of the proxy. What else the header
    /// tells, such as TLS at the proxy, is not read.
    ///
    /// ```
    /// use tautline::{Networks, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let proxies = Networks::parse(["10.0.0.0/8", "fd00::/8"])?;
    /// let server = Server::bind("127.0.0.1:0").await?.proxy_protocol(proxies);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn proxy_protocol(mut self, proxies: Networks) -> Self {
        self.settings.proxied.protocol = Some(proxies);
        self
    }
}

impl Proxied {
    /// Whether others connect through this peer.
    pub(super) fn is_proxy(&self, peer: &Peer) -> bool {
        let by_protocol = self.protocol.as_ref().is_some_and(|proxies| proxies.have(peer));
        by_protocol || self.headers.as_ref().is_some_and(|proxies| proxies.have(peer))
    }

    /// Who has connected, by the header that a proxy must send ahead of everything else. `None` if
    /// it is this peer itself.
    pub(super) async fn client_of(
        &self,
        stream: &mut TcpStream,
        peer: &Peer,
        deadline: Instant,
    ) -> Result<Option<Peer>, AcceptError> {
        if !self.protocol.as_ref().is_some_and(|proxies| proxies.have(peer)) {
            return Ok(None);
        }
        // Boxed: it would be most of the state of every handshake.
        let mut reading = Box::pin(read_header(stream));
        let client = until(deadline, reading.as_mut()).await??;
        client.iter().for_each(tell_events);
        Ok(client)
    }

    /// Who sent a request that came over this connection. The host that it is for, if that is told,
    /// becomes one of its extensions.
    pub(super) fn sender_of<B>(&self, request: &mut Request<B>, connection: Peer) -> Peer {
        let resolve = |proxies: &TrustedProxies| proxies.resolve(&connection, request.headers());
        let Some(found) = self.headers.as_ref().and_then(resolve) else { return connection };
        let (peer, host) = found.into_parts();
        if let Some(host) = host {
            request.extensions_mut().insert(host);
        }
        peer
    }

    /// The span of a request on a connection that carries those of several clients.
    #[cfg(feature = "http2")]
    pub(super) fn span(&self, sender: &Peer) -> Span {
        let span = super::span::of(sender);
        if self.headers.is_some() {
            span.record("client", tracing::field::display(sender));
        }
        span
    }
}

/// Names the client in the span of its connection.
pub(super) fn tell_events(client: &Peer) {
    let span = Span::current();
    span.record("client", tracing::field::display(client));
    super::span::record_client(&span, client);
}

/// Reads the header and no byte beyond it: what follows is TLS or HTTP.
async fn read_header(stream: &mut TcpStream) -> Result<Option<Peer>, AcceptError> {
    let mut header = [0; MAX_HEADER];
    let mut read = 0;
    loop {
        let peeked = stream.peek(&mut header[read..]).await?;
        if peeked == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let known = read + peeked;
        let parsed = parse(&header[..known]).map_err(AcceptError::ProxyHeader)?;
        let (ours, client) = match parsed {
            Parsed::Partial => (known, None),
            Parsed::Complete { length, client } => (length, Some(client)),
        };
        stream.read_exact(&mut header[read..ours]).await?;
        if let Some(client) = client {
            return Ok(client.map(Peer::from));
        }
        read = ours;
    }
}
