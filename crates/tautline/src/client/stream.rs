//! The stream to a server: TCP, a tunnel through a proxy, a Unix socket, or what a function of the user
//! returns.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;

use bytes::BytesMut;
use tautline_handshake::WsUri;
use tokio::net::TcpStream;

use super::dial::{Undialled, dial};
use super::endpoint::Endpoint;
use super::proxy::{Proxy, ProxyError, Tunnel, open_tunnel};
use super::timing::{ConnectStage, Timing, TooLate};
use super::{Client, ConnectError};
use crate::handshake_io::read_refusal;
use crate::transport::rewound::Rewound;
use crate::transport::{Peer, Transport};

impl Client {
    /// A stream to the server, without TLS of it.
    pub(super) async fn reach(
        &self,
        endpoint: &Endpoint,
        timing: &mut Timing,
    ) -> Result<(Transport, Peer), ConnectError> {
        let uri = &endpoint.uri;
        if let Some(path) = endpoint.socket() {
            let connecting = timing.stage(ConnectStage::Connect, pin!(unix(path))).await?;
            let failed = |error| ConnectError::UnixSocket { path: path.to_owned(), error };
            return Ok((connecting.map_err(failed)?, Peer::unknown()));
        }
        if let Some(connector) = &self.reach.connector {
            let stream = timing.stage(ConnectStage::Connect, connector.connect(uri)).await?;
            return Ok((stream.map_err(ConnectError::Connector)?, Peer::unknown()));
        }
        match self.reach.proxies.for_uri(uri).map_err(ConnectError::ProxySettings)? {
            // Boxed: few need it, and it has the state of TLS with the proxy.
            Some(proxy) => Box::pin(self.through(proxy, uri, timing)).await,
            None => {
                let (stream, peer) = self.direct(uri, timing).await?;
                Ok((Transport::plain(stream), peer.into()))
            }
        }
    }

    async fn direct(
        &self,
        uri: &WsUri,
        timing: &mut Timing,
    ) -> Result<(TcpStream, SocketAddr), ConnectError> {
        let lookups = self.reach.resolver.lookups(uri.host(), uri.zone(), uri.port());
        let stages = (ConnectStage::Resolve, ConnectStage::Connect);
        let dialled = dial(lookups, &self.reach.local, timing, stages).await;
        let host = || uri.host().to_owned();
        dialled.map_err(|error| match error {
            Undialled::Resolve(error) => ConnectError::Resolve { host: host(), error },
            Undialled::Failed(error) => ConnectError::Tcp { host: host(), port: uri.port(), error },
            Undialled::Late(stage, tried) => ConnectError::Timeout { stage, tried },
        })
    }

    /// A tunnel. The stage is one, with one deadline: users think of a proxy as one thing.
    async fn through(
        &self,
        proxy: &Proxy,
        uri: &WsUri,
        timing: &mut Timing,
    ) -> Result<(Transport, Peer), ConnectError> {
        let failed = |error| ConnectError::Proxy { proxy: proxy.to_string(), error };
        let stage = ConnectStage::Proxy;
        let mut timing = timing.within(stage);
        let lookups = self.reach.resolver.lookups(proxy.host(), None, proxy.port());
        let dialled = dial(lookups, &self.reach.local, &mut timing, (stage, stage)).await;
        let (stream, address) = dialled.map_err(|error| match error {
            Undialled::Resolve(error) => failed(ProxyError::Resolve(error)),
            Undialled::Failed(error) => failed(ProxyError::Tcp(error)),
            Undialled::Late(stage, tried) => ConnectError::Timeout { stage, tried },
        })?;
        let stream =
            timing.stage(stage, pin!(self.to_proxy(proxy, stream))).await?.map_err(failed)?;
        let tunnel =
            timing.stage(stage, pin!(open_tunnel(proxy, stream, uri, self.limits))).await?;
        match tunnel.map_err(failed)? {
            Tunnel::Open(stream, early) => {
                tracing::debug!(%proxy, host = uri.host(), "tunnel opened");
                Ok((tunnelled(stream, early), Peer::from(address).through_proxy()))
            }
            Tunnel::Refused(mut stream, head, mut buffer) => {
                // Once its head is there, the status is the result, whatever becomes of the body.
                let until = timing.deadline(stage);
                let refusal = read_refusal(&mut stream, head, &mut buffer, until).await;
                Err(failed(ProxyError::Refused(Box::new(refusal))))
            }
        }
    }

    /// The stream to a proxy, under TLS if it is an `https` one.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_async, reason = "only TLS awaits"))]
    async fn to_proxy(&self, proxy: &Proxy, stream: TcpStream) -> Result<Transport, ProxyError> {
        #[cfg(feature = "tls")]
        if proxy.is_secure() {
            let tls = proxy.own_tls().unwrap_or(&self.tls);
            let nothing = &mut BytesMut::new();
            return tls.connect(stream, proxy.host(), nothing).await.map_err(ProxyError::Tls);
        }
        #[cfg(not(feature = "tls"))]
        let _ = (self, proxy);
        Ok(Transport::plain(stream))
    }
}

/// What has come through a tunnel is read first. TLS with the proxy is not TLS with the server.
fn tunnelled(stream: Transport, early: BytesMut) -> Transport {
    match (early.is_empty(), stream.is_tls()) {
        (true, false) => stream,
        (true, true) => Transport::boxed(stream),
        (false, _) => Transport::boxed(Rewound::new(stream, early)),
    }
}

#[cfg(unix)]
async fn unix(path: &Path) -> io::Result<Transport> {
    Ok(Transport::boxed(tokio::net::UnixStream::connect(path).await?))
}

/// Its URIs are refused here.
#[cfg(not(unix))]
async fn unix(_: &Path) -> io::Result<Transport> {
    Err(io::ErrorKind::Unsupported.into())
}

impl From<TooLate> for ConnectError {
    fn from(TooLate(stage): TooLate) -> Self {
        Self::Timeout { stage, tried: None }
    }
}
