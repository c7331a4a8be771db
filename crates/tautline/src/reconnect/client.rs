//! How a client makes connections that are kept open.

use std::future::Future;

use super::Reconnecting;
use super::event::Attempt;
use super::open;
use crate::client::{Client, IntoRequest};
use crate::error::BoxError;

impl Client {
    /// A connection that is kept open: a stream of messages and events, which connects again
    /// whenever that may help. See [`reconnect`](crate::reconnect).
    ///
    /// ```
    /// use tautline::Client;
    /// use tautline::reconnect::Event;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = tautline::Server::bind("127.0.0.1:0").await?;
    /// # let uri = format!("ws://{}", server.local_addr()?);
    /// # tokio::spawn(server.serve(|mut ws| async move { ws.send("tick").await?; Ok(()) }));
    /// let mut feed = Client::new().reconnecting(&uri);
    /// while let Some(event) = feed.next().await {
    ///     match event? {
    ///         Event::Message(message) => {
    ///             println!("{message}");
    ///             feed.sender().close();
    ///         }
    ///         Event::Connected(_) => println!("connected"),
    ///         Event::Disconnected(why) => println!("{}: back in {:?}", why.cause(), why.retry_in()),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconnecting(&self, request: impl IntoRequest) -> Reconnecting {
        Reconnecting::new(open::to(self.clone(), request))
    }

    /// Like [`reconnecting`](Self::reconnecting), with a hook that makes the request before each
    /// attempt: with a token that is still valid, to another server, from another position. If the
    /// hook takes longer than [`connect_timeout`](Self::connect_timeout), the attempt has failed.
    ///
    /// ```no_run
    /// use tautline::Client;
    /// use tautline::http::Request;
    ///
    /// # async fn token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// let mut feed = Client::new().reconnecting_with(|_attempt| async {
    ///     let request = Request::get("wss://example.com/feed").header("authorization", token().await?);
    ///     Ok(request.body(())?)
    /// });
    /// ```
    pub fn reconnecting_with<H, F, R>(&self, hook: H) -> Reconnecting
    where
        H: FnMut(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<R, BoxError>> + Send + 'static,
        R: IntoRequest,
    {
        Reconnecting::new(open::with(self.clone(), hook))
    }
}
