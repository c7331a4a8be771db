//! Streams of the user's own making.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tautline_handshake::WsUri;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::transport::Transport;

type Connecting = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

/// A function that connects.
#[derive(Clone)]
pub(super) struct Connector(Arc<dyn Fn(WsUri) -> Connecting + Send + Sync>);

impl Connector {
    pub(super) fn new<F, Fut, S>(connect: F) -> Self
    where
        F: Fn(WsUri) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Arc::new(move |uri| {
            let connecting = connect(uri);
            Box::pin(async { Ok(Transport::boxed(connecting.await?)) })
        }))
    }

    pub(super) fn connect(&self, uri: &WsUri) -> Connecting {
        self.0(uri.clone())
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}
