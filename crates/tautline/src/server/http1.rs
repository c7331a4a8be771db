//! HTTP/1.1 connections that did not begin with an upgrade, and are the application's: by hyper.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tautline_handshake::{RequestHead, is_upgrade_request, text_response};
use tokio::sync::oneshot;

use super::front::Front;
use super::opening::Shared;
use super::received::{Received, Responder};
use super::service::{OnUpgrade, RequestBody, ResponseBody, Service, Upgraded, whole};
use crate::accept::{AcceptError, internal_error, too_many};
use crate::builder::WebSocketBuilder;
use crate::handler::HandlerResult;
use crate::limits::Key;
use crate::tasks::Admitted;
use crate::transport::patient::Patient;
use crate::transport::rewound::Rewound;
use crate::transport::{Peer, Transport};
use crate::websocket::WebSocket;

/// What hyper reads and writes.
type Io = Patient<Rewound<Transport>>;

impl<T, F, Fut> Front<T, F>
where
    T: Send + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerResult> + Send + 'static,
{
    /// Serves a connection until its end, or until one of its requests takes it over.
    pub(super) async fn serve_http1(self: Arc<Self>, accepted: Shared) {
        let Some(application) = self.opener.service.clone() else { return };
        let Shared { io, peer, client, mut signal, .. } = accepted;
        let acceptor = &self.opener.acceptor;
        let mut builder = Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(acceptor.handshake_patience())
            .max_headers(acceptor.limits().get_max_headers())
            // It holds bodies as well, and bounds heads; below 8 KiB hyper panics.
            .max_buf_size(acceptor.limits().get_max_bytes().max(64 << 10));
        let io = TokioIo::new(Patient::new(io, acceptor.patience()));
        let front = self.clone();
        let answering = service_fn(move |request| {
            let (front, application, peer) = (front.clone(), application.clone(), peer.clone());
            async move {
                Ok::<_, Infallible>(front.answer_http1(request, &application, peer, client).await)
            }
        });
        let mut serving = pin!(builder.serve_connection(io, answering).with_upgrades());
        let result = tokio::select! {
            // First it takes the request that was read, whatever has happened since.
            biased;
            result = serving.as_mut() => result,
            () = signal.fired() => {
                // After the request that is under way.
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        match result {
            Ok(()) => tracing::debug!("HTTP/1.1 connection closed"),
            Err(error) => tracing::debug!(%error, "HTTP/1.1 connection failed"),
        }
    }

    async fn answer_http1(
        &self,
        mut request: Request<Incoming>,
        application: &Service,
        peer: Peer,
        client: Option<Key>,
    ) -> Response<ResponseBody> {
        let connection = peer;
        let peer = self.opener.proxied.sender_of(&mut request, connection.clone());
        // hyper leaves it to its user which hosts a request may name (RFC 9112 section 3.2).
        if let Err(error) = RequestHead::from(&request).authority() {
            return whole(error.to_response());
        }
        if !self.opener.service_only && is_upgrade_request(&request) {
            if self.is_full() {
                let why = "there are too many connections\n";
                return whole(text_response(StatusCode::SERVICE_UNAVAILABLE, why));
            }
            if peer == connection {
                // The connection, which ends where the WebSocket begins, counts already.
                self.places.take_over(client);
                return self.upgrade_later(request, peer, client).await;
            }
            return match self.places.admit(&peer) {
                Some(client) => self.upgrade_later(request, peer, client).await,
                None => whole(too_many()),
            };
        }
        let Some((client, _counted)) = self.admit_for_service(&request, &connection, &peer, client)
        else {
            return whole(too_many());
        };
        let switching = request.headers().contains_key(UPGRADE);
        let switching = switching.then(|| hyper::upgrade::on(&mut request)).map(|on| {
            let (sender, handle) = OnUpgrade::new();
            request.extensions_mut().insert(handle);
            (on, sender)
        });
        self.opener.tell_service(request.extensions_mut(), peer, client);
        let response = application.answer(request.map(RequestBody::http1)).await;
        if let Some((on, sender)) = switching
            && response.status() == StatusCode::SWITCHING_PROTOCOLS
        {
            tokio::spawn(async move {
                match take_back(on).await {
                    // Nobody waits for it if the service does not care.
                    Ok(upgraded) => drop(sender.send(upgraded)),
                    Err(error) => tracing::debug!(%error, "protocols were not switched"),
                }
            });
        }
        response
    }

    /// For whom a request counts that is the service's, if its client is let in. That of a proxy's
    /// client counts until it is answered; a WebSocket that the service opens takes over before.
    fn admit_for_service(
        &self,
        request: &Request<Incoming>,
        connection: &Peer,
        peer: &Peer,
        client: Option<Key>,
    ) -> Option<(Option<Key>, Option<Admitted>)> {
        // Other requests end soon, and the connection that carries them counts.
        if peer == connection || !self.opener.service_only || !is_upgrade_request(request) {
            return Some((client, None));
        }
        let client = self.places.admit(peer)?;
        Some((client, Some(self.places.release_later(client))))
    }

    /// A WebSocket on a connection that was used for other requests before; this client was let in
    /// for it.
    async fn upgrade_later(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        client: Option<Key>,
    ) -> Response<ResponseBody> {
        let on = hyper::upgrade::on(&mut request);
        let (respond, response) = oneshot::channel();
        let responder = LaterResponder { on, respond };
        let request = request.map(|_| ());
        let asked = Received::new(&self.opener.acceptor, request, peer.clone(), responder);
        self.open(
            (&peer, client),
            |opener, signal, place| async move { opener.decide(asked, signal, place).await },
            (),
        );
        whole(response.await.unwrap_or_else(|_| internal_error()))
    }
}

/// The stream of a connection that switched protocols, without hyper.
async fn take_back(on: hyper::upgrade::OnUpgrade) -> io::Result<Upgraded> {
    let upgraded = on.await.map_err(io::Error::other)?;
    let parts = upgraded
        .downcast::<TokioIo<Io>>()
        .map_err(|_| io::Error::other("the stream is of another type"))?;
    let (transport, unread) = parts.io.into_inner().into_inner().into_parts().ok_or_else(gone)?;
    let mut read = BytesMut::from(parts.read_buf);
    read.extend_from_slice(&unread);
    Ok((transport, read))
}

/// Upgrades a connection that hyper serves.
struct LaterResponder {
    on: hyper::upgrade::OnUpgrade,
    respond: oneshot::Sender<Response<Bytes>>,
}

impl Responder for LaterResponder {
    fn is_for_websocket(_: &Request<()>) -> bool {
        true
    }

    async fn respond(
        self,
        _: &Request<()>,
        response: Response<Bytes>,
        _: Duration,
    ) -> io::Result<()> {
        self.respond.send(response).map_err(|_| gone())
    }

    async fn switch(
        self,
        response: Response<()>,
        builder: WebSocketBuilder,
    ) -> Result<WebSocket, AcceptError> {
        self.respond.send(response.map(|()| Bytes::new())).map_err(|_| gone())?;
        let (transport, read) = take_back(self.on).await?;
        Ok(builder.leftover(read).build(transport))
    }
}

/// The connection has ended meanwhile.
fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
