//! What is known of a connection besides its messages.

use super::WebSocket;
use crate::stats::ConnectionStats;
#[cfg(feature = "tls")]
use crate::transport::{TlsInfo, Transport};

impl<S> WebSocket<S> {
    /// What has passed through the connection so far: messages, bytes, the round-trip time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = tautline::Server::bind("127.0.0.1:0").await?;
    /// # let uri = format!("ws://{}/", server.local_addr()?);
    /// # tokio::spawn(server.serve(|mut ws| async move { ws.next().await; Ok(()) }));
    /// let mut ws = tautline::connect(uri).await?;
    /// ws.send("hello").await?;
    /// ws.ping().await?;
    /// let stats = ws.stats();
    /// assert_eq!(stats.messages_sent, 1);
    /// println!("{:?} to {:?}, {} B", stats.round_trip, ws.peer_addr(), stats.bytes_sent);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        ConnectionStats::of(self.connection.session().protocol())
    }
}

#[cfg(feature = "tls")]
impl<S> WebSocket<Transport<S>> {
    /// What TLS negotiated: the version, the cipher suite, the peer's certificate. `None` for a
    /// connection without TLS, or that was encrypted elsewhere; and once it has ended, except over
    /// HTTP/2, where it is about the connection of which this is a stream.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let ws = tautline::connect("wss://example.com/").await?;
    /// if let Some(tls) = ws.tls() {
    ///     println!("{:?} {:?}", tls.version(), tls.cipher_suite());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(&self) -> Option<TlsInfo<'_>> {
        self.get_ref().and_then(Transport::tls).or_else(|| self.peer().tls())
    }
}
