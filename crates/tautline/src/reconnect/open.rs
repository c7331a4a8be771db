//! From an attempt to an open connection: connectors and hooks, as boxed futures.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tautline_handshake::UriError;

use super::cause::Cause;
use super::event::Attempt;
use crate::client::{Client, ConnectError, IntoRequest};
use crate::error::BoxError;
use crate::transport::Transport;
use crate::websocket::WebSocket;

/// Opens a connection, or prepares one that was opened.
pub(super) type Opening<S> = Pin<Box<dyn Future<Output = Result<WebSocket<S>, Cause>> + Send>>;

/// Makes the future of each attempt.
pub(super) type Connector<S> = Box<dyn FnMut(Attempt) -> Opening<S> + Send>;

/// Prepares a connection before anybody else sends, within a time.
pub(super) type OnConnect<S> = Box<dyn FnMut(WebSocket<S>, Duration) -> Opening<S> + Send>;

/// A connector of the user's.
pub(super) fn connector<S, C, F>(mut connect: C) -> Connector<S>
where
    C: FnMut(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<WebSocket<S>, ConnectError>> + Send + 'static,
{
    Box::new(move |attempt| {
        let opening = connect(attempt);
        Box::pin(async move { Ok(opening.await?) })
    })
}

/// The connector of a client, with the same request each time.
pub(super) fn to(client: Client, request: impl IntoRequest) -> Connector<Transport> {
    let (mut client, target) = (client, request.into_target());
    Box::new(move |attempt| {
        leave_links_on_request(&mut client, &attempt);
        let (client, target) = (client.clone(), target.as_ref().map(Clone::clone).map_err(same));
        Box::pin(async move { Ok(client.connect(target?).await?) })
    })
}

/// Whoever asks for another connection may know that the network has changed. One of HTTP/2 that
/// others use as well is as dead as the stream that was given up.
fn leave_links_on_request(client: &mut Client, attempt: &Attempt) {
    if attempt.last_cause().is_some_and(|cause| matches!(cause, Cause::Requested)) {
        *client = client.clone().with_own_connections();
    }
}

/// What is wrong with a request stays wrong.
fn same(error: &ConnectError) -> ConnectError {
    match error {
        ConnectError::Request(error) => error.clone().into(),
        ConnectError::Uri(error) => (*error).into(),
        // Nothing else can be wrong before anything was done.
        _ => UriError::Scheme.into(),
    }
}

/// The connector of a client, whose requests a hook makes.
pub(super) fn with<H, F, R>(mut client: Client, mut hook: H) -> Connector<Transport>
where
    H: FnMut(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<R, BoxError>> + Send + 'static,
    R: IntoRequest,
{
    Box::new(move |attempt| {
        leave_links_on_request(&mut client, &attempt);
        let (request, client) = (hook(attempt), client.clone());
        Box::pin(async move {
            let target = in_time(client.time_to_connect(), request).await?.into_target();
            Ok(client.connect(target?).await?)
        })
    })
}

/// A hook for connections that are open.
pub(super) fn on_connect<S, H, F>(mut hook: H) -> OnConnect<S>
where
    H: FnMut(WebSocket<S>) -> F + Send + 'static,
    F: Future<Output = Result<WebSocket<S>, BoxError>> + Send + 'static,
    S: 'static,
{
    Box::new(move |ws, timeout| {
        let preparing = hook(ws);
        Box::pin(in_time(timeout, preparing))
    })
}

async fn in_time<T>(
    timeout: Duration,
    hook: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, Cause> {
    match tokio::time::timeout(timeout, hook).await {
        Ok(result) => result.map_err(Cause::Hook),
        Err(_) => Err(Cause::HookTimeout),
    }
}
