//! From a request to an open connection, over a stream of its own: TCP, TLS, the opening handshake.

use std::future::Future;

use bytes::BytesMut;
use http::{Request, Response};
use tautline_frame::Role;
use tautline_handshake::{Expectation, ResponseError, ResponseHeadReader, WsUri, encode_request};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dial::dial;
use super::{Client, ConnectError};
use crate::handshake_io::{deadline_in, read_refusal, read_response};
use crate::transport::{Peer, Transport, socket};
use crate::websocket::WebSocket;

impl Client {
    /// Opens a connection of its own, over HTTP/1.1.
    pub(super) async fn open_own(
        &self,
        uri: &WsUri,
        request: (Request<()>, Expectation),
        security: Security,
    ) -> Result<Reply<Transport>, ConnectError> {
        let (stream, peer) = connect_tcp(uri).await?;
        let transport = self.secure(stream, uri, security).await?;
        let peer = peer.with_secure(transport.is_tls());
        self.upgrade(request, transport, peer).await
    }

    /// Applies the deadline. Once the head of a refusal is there, its status is the result, even if
    /// the deadline passes while its body is read: the body is then what arrived.
    pub(super) async fn in_time<S: AsyncRead + Unpin>(
        &self,
        opening: impl Future<Output = Result<Reply<S>, ConnectError>>,
    ) -> Result<(WebSocket<S>, Response<()>), ConnectError> {
        let deadline = deadline_in(self.connect_timeout);
        let reply = tokio::time::timeout_at(deadline, opening).await;
        match reply.map_err(|_| ConnectError::Timeout)?? {
            Reply::Open(ws, response) => Ok((*ws, response)),
            Reply::Refused(mut stream, head, mut buffer) => {
                let refusal = read_refusal(&mut stream, head, &mut buffer, deadline).await;
                Err(ConnectError::Refused(Box::new(refusal)))
            }
        }
    }

    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "the host is for TLS"))]
    pub(super) async fn secure<S>(
        &self,
        stream: S,
        uri: &WsUri,
        security: Security,
    ) -> Result<Transport<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match security {
            Security::Plain => Ok(Transport::plain(stream)),
            #[cfg(feature = "tls")]
            Security::Tls => Ok(self.tls.connect(stream, uri.host()).await?),
        }
    }

    /// The opening handshake (RFC 6455 section 4.1).
    pub(super) async fn upgrade<S>(
        &self,
        (request, expectation): (Request<()>, Expectation),
        mut stream: S,
        peer: Peer,
    ) -> Result<Reply<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut buffer = BytesMut::new();
        encode_request(&request, &mut buffer);
        stream.write_all(&buffer).await?;
        stream.flush().await?;
        buffer.clear();

        let reader = ResponseHeadReader::new(self.limits);
        let response = read_response(&mut stream, reader, &mut buffer).await?;
        let agreed = match expectation.check(&response) {
            Ok(agreed) => agreed,
            Err(ResponseError::Status(_)) => {
                return Ok(Reply::Refused(stream, response, buffer));
            }
            Err(error) => return Err(error.into()),
        };
        tracing::debug!(%peer, subprotocol = agreed.subprotocol.as_deref(), "connection opened");
        let ws = WebSocket::builder(Role::Client)
            .config(self.config.clone())
            .agreed(agreed)
            .peer(peer)
            .leftover(buffer)
            .build(stream);
        Ok(Reply::Open(Box::new(ws), response))
    }
}

/// A TCP connection to the host of this URI, and its peer.
pub(super) async fn connect_tcp(uri: &WsUri) -> Result<(TcpStream, Peer), ConnectError> {
    let host = || uri.host().to_owned();
    let failed = |error| ConnectError::Tcp { host: host(), port: uri.port(), error };
    let addresses = tokio::net::lookup_host((uri.host(), uri.port())).await;
    let addresses = addresses.map_err(|error| ConnectError::Resolve { host: host(), error })?;
    let stream = dial(addresses.collect()).await.map_err(failed)?;
    socket::prepare(&stream).map_err(failed)?;
    let peer = stream.peer_addr().map_err(failed)?;
    Ok((stream, peer.into()))
}

/// The outcome of a handshake whose response was read.
pub(super) enum Reply<S> {
    Open(Box<WebSocket<S>>, Response<()>),
    /// A status other than 101; the buffer has the start of its body.
    Refused(S, Response<()>, BytesMut),
}

/// What runs between a stream and the handshake.
#[derive(Clone, Copy)]
pub(super) enum Security {
    Plain,
    #[cfg(feature = "tls")]
    Tls,
}

impl Security {
    /// What the scheme asks for. It is asked before anything is connected: what should be encrypted
    /// is never sent in plain text.
    pub(super) fn of(uri: &WsUri) -> Result<Self, ConnectError> {
        match uri.is_secure() {
            false => Ok(Self::Plain),
            #[cfg(feature = "tls")]
            true => Ok(Self::Tls),
            #[cfg(not(feature = "tls"))]
            true => Err(ConnectError::NoTls),
        }
    }
}
