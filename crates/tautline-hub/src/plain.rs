//! Connections without a protocol: each is about one topic.

use std::fmt;

use tautline::{Error, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::hub::Hub;
use crate::options::Attach;
use crate::subscribe::{PublishError, Subscribe, SubscribeError};
use crate::topic::Topic;

/// How a connection that is about one topic is served.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    attach: Attach,
    subscribe: Subscribe,
    listens_only: bool,
}

impl Plain {
    /// It gets what is published, and publishes what it sends.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who it is, and what becomes of what waits for it.
    #[must_use]
    pub fn attach(mut self, attach: Attach) -> Self {
        self.attach = attach;
        self
    }

    /// How it subscribes.
    #[must_use]
    pub fn subscribe(mut self, subscribe: Subscribe) -> Self {
        self.subscribe = subscribe;
        self
    }

    /// It publishes nothing: what it sends is dropped. Default: `false`.
    #[must_use]
    pub const fn listens_only(mut self, only: bool) -> Self {
        self.listens_only = only;
        self
    }
}

/// Why a connection that is about one topic ended, if not in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PlainError {
    /// The connection failed.
    Connection(Error),
    /// It was not subscribed.
    Subscribe(SubscribeError),
    /// What it sent was not published.
    Publish(PublishError),
}

impl fmt::Display for PlainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection(_) => "the connection failed",
            Self::Subscribe(_) => "the connection was not subscribed",
            Self::Publish(_) => "a message was not published",
        })
    }
}

impl std::error::Error for PlainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Connection(error) => error,
            Self::Subscribe(error) => error,
            Self::Publish(error) => error,
        })
    }
}

impl Hub {
    /// Serves a connection that is about one topic, for clients that need no protocol: each message that is
    /// published is a message, and each message that it sends is published to all others. Returns when the
    /// client has closed it.
    ///
    /// With a route, the topic is in the path:
    ///
    /// ```
    /// use tautline::{Params, Router, Server, WebSocket};
    /// use tautline_hub::{Hub, Plain, Topic};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = Hub::new();
    /// let router = Router::new().route("/topics/{topic}", move |ws: WebSocket, params: Params| {
    ///     let hub = hub.clone();
    ///     async move {
    ///         let topic = Topic::new(params.get("topic").unwrap_or_default())?;
    ///         hub.serve_topic(ws, &topic, Plain::new()).await?;
    ///         Ok::<(), tautline::BoxError>(())
    ///     }
    /// })?;
    /// let server = Server::bind("127.0.0.1:0").await?;
    /// # let address = server.local_addr()?;
    /// # tokio::spawn(async move {
    /// server.serve_routes(router).await
    /// # });
    /// # let mut one = tautline::connect(format!("ws://{address}/topics/room.1")).await?;
    /// # let mut other = tautline::connect(format!("ws://{address}/topics/room.1")).await?;
    /// # while { one.send("hello").await?; tokio::time::timeout(std::time::Duration::from_millis(20), other.next()).await.is_err() } {}
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why it ended, if not in order. A server then closes it with 1011.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn serve_topic<S>(
        &self,
        ws: WebSocket<S>,
        topic: &Topic,
        plain: Plain,
    ) -> Result<(), PlainError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Plain { attach, subscribe, listens_only } = plain;
        let (mut reader, writer) = ws.split();
        let member = self.attach_with(&writer, attach);
        member.subscribe(topic, subscribe).await.map_err(PlainError::Subscribe)?;
        while let Some(message) = reader.next().await {
            let message = message.map_err(PlainError::Connection)?;
            if !listens_only {
                member.publish(topic, message).await.map_err(PlainError::Publish)?;
            }
        }
        Ok(())
    }
}
