//! From a request to an open connection, over a stream of its own: TLS, the opening handshake.

use std::pin::pin;

use bytes::BytesMut;
use http::Response;
use tautline_frame::Role;
use tautline_handshake::{
    BuildError, ClientRequest, Expectation, ResponseError, ResponseHeadReader, WsUri,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::endpoint::Endpoint;
use super::timing::{ConnectStage, Timing};
use super::{Client, ConnectError};
use crate::handshake_io::{read_refusal, read_response};
use crate::transport::{Peer, Transport};
use crate::websocket::WebSocket;

/// Room for the head of a typical request, and then of its response.
const HEAD_ROOM: usize = 1 << 10;

impl Client {
    /// The deadlines of a connection that is opened from now on. An error is that of the runtime.
    pub(super) fn timing(&self) -> Result<Timing, ConnectError> {
        let soonest = self.config.get_close_timeout();
        let timing = Timing::start(self.connect_timeout, self.reach.limits, soonest);
        timing.map_err(ConnectError::Runtime)
    }

    /// Opens a connection of its own, over HTTP/1.1.
    #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "TLS takes some of it"))]
    pub(super) async fn open_own(
        &self,
        endpoint: &Endpoint,
        mut request: Asked,
        security: Security,
        timing: &mut Timing,
    ) -> Result<Reply<Transport>, ConnectError> {
        let (stream, peer) = self.reach(endpoint, timing).await?;
        let transport = match security {
            Security::Plain => stream,
            #[cfg(feature = "tls")]
            Security::Tls => {
                let secured = self.tls.secure(stream, endpoint.uri.host(), &mut request.head);
                timing.stage(ConnectStage::Tls, pin!(secured)).await??
            }
        };
        let peer = peer.with_secure(transport.is_tls());
        self.upgrade(request, transport, peer, timing).await
    }

    /// What a reply means. Once the head of a refusal is there, its status is the result, even if
    /// the deadline passes while its body is read: the body is then what arrived.
    pub(super) async fn outcome<S: AsyncRead + Unpin>(
        reply: Reply<S>,
        timing: &Timing,
    ) -> Result<(WebSocket<S>, Response<()>), ConnectError> {
        match reply {
            Reply::Open(ws, response) => Ok((ws, response)),
            Reply::Refused(mut stream, head, mut buffer) => {
                let refusal = read_refusal(&mut stream, head, &mut buffer, timing.until()).await;
                Err(ConnectError::Refused(Box::new(refusal)))
            }
        }
    }

    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "they are for TLS"))]
    pub(super) async fn secure<S>(
        &self,
        stream: S,
        uri: &WsUri,
        request: &mut Asked,
        security: Security,
        timing: &mut Timing,
    ) -> Result<Transport<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match security {
            Security::Plain => Ok(Transport::plain(stream)),
            #[cfg(feature = "tls")]
            Security::Tls => {
                let secured = self.tls.connect(stream, uri.host(), &mut request.head);
                Ok(timing.stage(ConnectStage::Tls, pin!(secured)).await??)
            }
        }
    }

    /// The opening handshake (RFC 6455 section 4.1).
    pub(super) async fn upgrade<S>(
        &self,
        Asked { head: mut buffer, expectation }: Asked,
        mut stream: S,
        peer: Peer,
        timing: &mut Timing,
    ) -> Result<Reply<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let asking = async {
            if !buffer.is_empty() {
                stream.write_all(&buffer).await?;
                stream.flush().await?;
                buffer.clear();
            }
            let reader = ResponseHeadReader::new(self.limits);
            Ok::<_, ConnectError>(read_response(&mut stream, reader, &mut buffer).await?)
        };
        let response = timing.stage(ConnectStage::Handshake, pin!(asking)).await??;
        let agreed = match expectation.check(&response) {
            Ok(agreed) => agreed,
            Err(ResponseError::Status(_)) => {
                return Ok(Reply::Refused(stream, response, buffer));
            }
            Err(error) => return Err(error.into()),
        };
        tracing::debug!(%peer, subprotocol = agreed.subprotocol.as_deref(), "connection opened");
        let mut ws = WebSocket::builder(Role::Client)
            .config(self.config.clone())
            .agreed(agreed)
            .peer(peer)
            .leftover(buffer)
            .build(stream);
        ws.go_on_with(timing.take_timer());
        Ok(Reply::Open(ws, response))
    }
}

/// What is asked of a server over HTTP/1.1.
pub(super) struct Asked {
    /// As far as it is still to be sent.
    head: BytesMut,
    expectation: Expectation,
}

impl Asked {
    pub(super) fn new(request: ClientRequest<'_>) -> Result<Self, BuildError> {
        let mut head = BytesMut::with_capacity(HEAD_ROOM);
        let expectation = request.encode(&mut head)?;
        Ok(Self { head, expectation })
    }
}

/// The outcome of a handshake whose response was read.
pub(super) enum Reply<S> {
    Open(WebSocket<S>, Response<()>),
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

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use std::time::Duration;

    use tautline_frame::session::Error;
    use tokio::time::{Instant, sleep};

    use super::super::target::Sealed as _;
    use super::*;

    // It took 4.6 KiB: each stage held its step twice, and TLS with a proxy had room besides.
    #[test]
    fn opening_a_connection_takes_little_room() {
        let client = Client::new();
        let size = size_of_val(&client.ask("wss://localhost/".into_target()));
        assert!(size <= 3300, "{size} bytes");
    }

    // The timer that a connection was opened with fires first after the time of `close_timeout`, and goes
    // on to whatever is due then.
    #[tokio::test(start_paused = true)]
    async fn the_deadlines_of_a_connection_count_from_when_they_begin() {
        let (near, far) = tokio::io::duplex(4096);
        let accepting = tokio::spawn(crate::accept(far));
        let client = Client::new();
        let opening = client.handshake_over("ws://localhost/", near);
        let mut ws = opening.await.expect("a connection");
        let _silent = accepting.await.expect("no panic").expect("a connection");
        sleep(Duration::from_secs(3)).await;
        let start = Instant::now();
        let result = ws.close().await;
        assert!(matches!(result, Err(Error::Timeout(_))), "{result:?}");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }
}
