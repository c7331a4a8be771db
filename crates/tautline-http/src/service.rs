//! The middleware of tower: what it does with a request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tautline::{Acceptor, Connections, HandlerResult, WebSocket};
use tower_service::Service;

use crate::body::UpgradeBody;
use crate::refused::Refused;
use crate::upgrade::{asks, upgrade};
use crate::upgrading::Upgrading;

/// The service that [`UpgradeLayer`](crate::UpgradeLayer) makes of another one.
pub struct UpgradeService<S, H> {
    inner: S,
    settings: Settings,
    handler: Arc<H>,
}

/// How requests are answered, and where handlers run.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) acceptor: Choice<Acceptor>,
    pub(crate) connections: Choice<Connections>,
}

/// What was set, or else what is among the extensions of a request, or else the default.
#[derive(Clone, Debug)]
pub(crate) enum Choice<T> {
    Default(T),
    Set(T),
}

impl<T: Default> Default for Choice<T> {
    fn default() -> Self {
        Self::Default(T::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Choice<T> {
    fn of(&self, extensions: &Extensions) -> T {
        match self {
            Self::Set(value) => value.clone(),
            Self::Default(value) => extensions.get().unwrap_or(value).clone(),
        }
    }
}

impl<S, H> UpgradeService<S, H> {
    pub(crate) const fn new(inner: S, settings: Settings, handler: Arc<H>) -> Self {
        Self { inner, settings, handler }
    }

    /// The service that all other requests are passed on to.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Answers a request for a WebSocket, and starts the task that opens it.
    fn open<B, Fut>(&self, mut request: Request<B>) -> Result<Response<()>, Refused>
    where
        H: Fn(WebSocket, Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerResult> + Send + 'static,
    {
        let acceptor = self.settings.acceptor.of(request.extensions());
        let (response, upgrading) = upgrade(&acceptor, &mut request)?;
        let (parts, _) = request.into_parts();
        let handler = self.handler.clone();
        let connections = self.settings.connections.of(&parts.extensions);
        connections.spawn(opened(upgrading), move |ws| handler(ws, parts));
        Ok(response)
    }
}

/// The connection, or an event that says why there is none.
async fn opened(upgrading: Upgrading) -> Option<WebSocket> {
    match upgrading.await {
        Ok(ws) => Some(ws),
        Err(error) => {
            let cause = std::error::Error::source(&error);
            tracing::debug!(%error, cause, "upgrade failed");
            None
        }
    }
}

impl<S, H, Fut, A, B> Service<Request<A>> for UpgradeService<S, H>
where
    S: Service<Request<A>, Response = Response<B>>,
    H: Fn(WebSocket, Parts) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerResult> + Send + 'static,
{
    type Response = Response<UpgradeBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        if !asks(&request) {
            return ResponseFuture { kind: Kind::Inner { future: self.inner.call(request) } };
        }
        let response = match self.open(request) {
            Ok(response) => response.map(|()| Bytes::new()),
            Err(refused) => refused.to_response(),
        };
        ResponseFuture { kind: Kind::Answered { response: Some(response) } }
    }
}

impl<S: Clone, H> Clone for UpgradeService<S, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            settings: self.settings.clone(),
            handler: self.handler.clone(),
        }
    }
}

impl<S: fmt::Debug, H> fmt::Debug for UpgradeService<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeService")
            .field("inner", &self.inner)
            .field("acceptor", &self.settings.acceptor)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The response of an [`UpgradeService`]: its own, or that of the service it passed the request
    /// on to.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<F> {
        Answered { response: Option<Response<Bytes>> },
        Inner { #[pin] future: F },
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<UpgradeBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Answered { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(UpgradeBody::answer))),
                // Polled again after it was ready.
                None => Poll::Pending,
            },
            KindProjection::Inner { future } => {
                future.poll(cx).map_ok(|response| response.map(UpgradeBody::inner))
            }
        }
    }
}
