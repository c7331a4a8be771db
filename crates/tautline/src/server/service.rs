//! An HTTP application beside the WebSockets of a server, as a tower service: its type erased, its
//! bodies, and the streams that it takes over.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{Extensions, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::sync::oneshot;

use super::Server;
use crate::accept::internal_error;
use crate::error::BoxError;
use crate::http2::error;
use crate::transport::Transport;

/// The body of a response of the application.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

impl<T> Server<T> {
    /// Has an HTTP application answer every request that does not ask for a WebSocket, on the same
    /// port: any tower service, such as a `Router` of axum. Connections are kept alive between
    /// requests, bodies are read and sent as they come, over HTTP/1.1 and HTTP/2, and a WebSocket
    /// may follow other requests on one connection. It takes the place of
    /// [`fallback`](Self::fallback), and turns on [`http2`](Self::http2).
    ///
    /// A connection that begins with a WebSocket's request never gets to see any of this. Limits,
    /// deadlines and the shutdown apply to all: a request must be complete within
    /// [`Acceptor::handshake_timeout`](crate::Acceptor::handshake_timeout) after the one before,
    /// except for its body, and a client must take something of an answer within
    /// [`Acceptor::answer_timeout`](crate::Acceptor::answer_timeout). How long the service takes, and
    /// how long a body may be, is up to the service.
    ///
    /// The [`Peer`](crate::Peer) is among the extensions of each request. A service that fails or
    /// panics is logged, and its client is answered with 500.
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use tautline::{RequestBody, Server, http};
    ///
    /// /// Any tower service; here one without a framework.
    /// #[derive(Clone)]
    /// struct Pages;
    ///
    /// impl tower_service::Service<http::Request<RequestBody>> for Pages {
    ///     type Response = http::Response<String>;
    ///     type Error = Infallible;
    ///     type Future = std::future::Ready<Result<Self::Response, Infallible>>;
    ///
    ///     fn poll_ready(
    ///         &mut self,
    ///         _: &mut std::task::Context<'_>,
    ///     ) -> std::task::Poll<Result<(), Infallible>> {
    ///         std::task::Poll::Ready(Ok(()))
    ///     }
    ///
    ///     fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
    ///         std::future::ready(Ok(http::Response::new(format!("this is {}\n", request.uri().path()))))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::bind("127.0.0.1:0").await?.service(Pages);
    /// # let uri = format!("ws://{}/", server.local_addr()?);
    /// let serving = server.serve(|mut ws| async move { ws.send("hello").await.map_err(Into::into) });
    /// # tokio::spawn(serving);
    /// # assert_eq!(tautline::connect(uri).await?.next().await.unwrap()?.as_text(), Some("hello"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn service<S, B>(mut self, service: S) -> Self
    where
        S: tower_service::Service<Request<RequestBody>, Response = Response<B>>,
        S: Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.settings.service = Some(Service::new(service));
        self.settings.http2.get_or_insert_default();
        self
    }
}

impl Server {
    /// Serves a [`service`](Self::service) and has no handler of its own: requests for WebSockets
    /// are the service's too, which opens them with `tautline-http` or `tautline-axum`, over HTTP/1.1
    /// and HTTP/2. Who may connect is up to the service: [`authorize`](Self::authorize) is not
    /// called.
    ///
    /// Among the extensions of each request are this server's [`Acceptor`](crate::Acceptor) and its
    /// [`Connections`](crate::Connections), which those crates use unless they are given others: so
    /// its settings, limits and shutdown apply to these WebSockets too.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_service<S, B>(self, service: S) -> io::Result<()>
    where
        S: tower_service::Service<Request<RequestBody>, Response = Response<B>>,
        S: Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut server = self.service(service);
        server.settings.service_only = true;
        server.serve(|_| async {}).await
    }
}

/// The application.
#[derive(Clone)]
pub(super) struct Service(Arc<dyn Fn(Request<RequestBody>) -> Answering + Send + Sync>);

type Answering = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, BoxError>> + Send>>;

impl Service {
    pub(super) fn new<S, B>(service: S) -> Self
    where
        S: tower_service::Service<Request<RequestBody>, Response = Response<B>>,
        S: Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // Not every service is `Sync`.
        let service = Mutex::new(service);
        Self(Arc::new(move |request| {
            let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
            })
        }))
    }

    /// The application's answer. One that fails or panics is logged, and its client told that it is
    /// not to blame.
    pub(super) async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let mut answering = (self.0)(request);
        let answered = poll_fn(|cx| {
            let polling = AssertUnwindSafe(|| answering.as_mut().poll(cx));
            catch_unwind(polling).map_or_else(|panic| Poll::Ready(Err(panic)), |it| it.map(Ok))
        });
        match answered.await {
            Ok(Ok(response)) => return response,
            Ok(Err(error)) => tracing::warn!(%error, "the service failed"),
            Err(_) => tracing::error!("the service panicked"),
        }
        whole(internal_error())
    }
}

/// A response with all of its body.
pub(super) fn whole(response: Response<Bytes>) -> Response<ResponseBody> {
    let whole = |body| Full::new(body).map_err(|never| match never {}).boxed_unsync();
    response.map(whole)
}

/// The body of a request to [`Server::service`](crate::Server::service), read as it arrives: what
/// is not read is not asked for.
pub struct RequestBody(Kind);

enum Kind {
    Empty,
    Http1(hyper::body::Incoming),
    Http2(RecvStream),
}

impl RequestBody {
    pub(super) const fn http1(body: hyper::body::Incoming) -> Self {
        Self(Kind::Http1(body))
    }

    /// That of a request whose stream becomes something else.
    pub(super) const fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(super) const fn http2(body: RecvStream) -> Self {
        Self(Kind::Http2(body))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Http2(body) => poll_http2(body, cx).map_err(|error| error::io(error).into()),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2(_) => SizeHint::default(),
        }
    }
}

fn poll_http2(
    body: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
    if let Some(data) = ready!(body.poll_data(cx)?) {
        // It is the application's from here on.
        let _ = body.flow_control().release_capacity(data.len());
        return Poll::Ready(Some(Ok(Frame::data(data))));
    }
    let trailers = ready!(body.poll_trailers(cx)?);
    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestBody")
    }
}

/// The stream that a request to [`Server::service`](crate::Server::service) came on, for a service
/// that switches protocols: by 101 over HTTP/1.1, by 2xx to an extended CONNECT over HTTP/2. It is
/// among the request's extensions; once the response was sent, it gives the stream. It is what
/// `hyper::upgrade::OnUpgrade` is to a service of hyper, and named after it.
///
/// For WebSockets, the crate `tautline-http` does this.
#[derive(Clone)]
pub struct OnUpgrade(Arc<Mutex<Option<oneshot::Receiver<Upgraded>>>>);

/// A stream, and what was read from it already.
pub(super) type Upgraded = (Transport, BytesMut);

impl OnUpgrade {
    pub(super) fn new() -> (oneshot::Sender<Upgraded>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(Arc::new(Mutex::new(Some(receiver)))))
    }

    /// Takes it out of the extensions of a request; `None` if the request did not come to
    /// [`Server::service`](crate::Server::service).
    #[must_use]
    pub fn take(extensions: &mut Extensions) -> Option<Self> {
        extensions.remove()
    }

    /// Waits for the stream, after the service has returned its response. The bytes were read
    /// after the request, and belong to the new protocol.
    ///
    /// # Errors
    /// `BrokenPipe` if the response did not switch protocols, the connection failed, or the stream
    /// was given to a clone of this.
    pub async fn upgraded(self) -> io::Result<(Transport, BytesMut)> {
        let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        receiver.ok_or_else(gone)?.await.map_err(|_| gone())
    }
}

impl fmt::Debug for OnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnUpgrade")
    }
}
