//! The settings of a client for how it reaches its server.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tautline_handshake::WsUri;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Client;
use super::connector::Connector;
use super::local::Local;
use super::proxy::{Proxies, Proxy};
use super::resolve::{Resolve, Resolver};
use super::timing::{ConnectStage, StageLimits};

/// How a client reaches its server.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) resolver: Resolver,
    pub(super) local: Local,
    pub(super) connector: Option<Connector>,
    pub(super) proxies: Proxies,
    pub(super) limits: StageLimits,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            resolver: Resolver::default(),
            local: Local::default(),
            connector: None,
            proxies: Proxies::from_env(),
            limits: StageLimits::default(),
        }
    }
}

impl Client {
    /// Reaches every server through this proxy, whatever the environment says, except for those that
    /// [it is not for](Proxy::except). Replaces earlier proxies.
    ///
    /// ```
    /// use tautline::{Client, Proxy};
    ///
    /// let client = Client::new().proxy(Proxy::new("http://proxy.example:3128")?);
    /// # let _ = client;
    /// # Ok::<(), tautline::InvalidProxy>(())
    /// ```
    #[must_use]
    pub fn proxy(self, proxy: Proxy) -> Self {
        self.proxies(proxy.into())
    }

    /// Reaches every server without a proxy, whatever the environment says.
    #[must_use]
    pub fn no_proxy(self) -> Self {
        self.proxies(Proxies::none())
    }

    /// Which proxy is for which server. Default: [`Proxies::from_env`], what the environment says
    /// when the client is made, which is once for its clones and for all calls of
    /// [`connect`](crate::connect).
    #[must_use]
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.reach.proxies = proxies;
        self.with_own_connections()
    }

    /// Resolves the names of hosts in this way, those of proxies too. Default: the system's resolver.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.reach.resolver = Resolver::new(resolver);
        self.with_own_connections()
    }

    /// Makes TCP connections from this local address. Addresses of the other family than this one
    /// then fail. Default: the system's choice.
    #[must_use]
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.reach.local.address = Some(address);
        self.with_own_connections()
    }

    /// Makes TCP connections through this network interface alone, such as `eth1` or a VPN's
    /// (`SO_BINDTODEVICE`). Systems before Linux 5.7 allow it to privileged processes only. Default:
    /// the routes of the system.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>) -> Self {
        self.reach.local.interface = Some(name.into().into());
        self.with_own_connections()
    }

    /// Connects by this function, in place of TCP: to a tunnel of SSH, a virtual socket, a network
    /// simulated in a test. It returns the stream for a URI; TLS and the opening handshake run over
    /// that as over TCP. Neither resolver, local address, interface nor proxies apply then; a
    /// `ws+unix:` URI does not ask it.
    ///
    /// An error of it is [`ConnectError::Connector`](crate::ConnectError::Connector). It must not add
    /// TLS by itself, and sets what options the stream needs: for a TCP stream there is
    /// [`Transport::from_tcp`](crate::Transport::from_tcp). For a single connection there is [`connect_over`](Self::connect_over).
    ///
    /// ```
    /// use tautline::{Acceptor, Client};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Each connection is a pipe in this process, with a server at its other end.
    /// let client = Client::new().connector(|_uri| async {
    ///     let (near, far) = tokio::io::duplex(4096);
    ///     tokio::spawn(async move {
    ///         let mut ws = Acceptor::new().accept(far).await.unwrap();
    ///         ws.send("hello").await
    ///     });
    ///     Ok(near)
    /// });
    /// let mut ws = client.connect("ws://in.process/").await?;
    /// assert_eq!(ws.next().await.unwrap()?.as_text(), Some("hello"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn connector<F, Fut, S>(mut self, connect: F) -> Self
    where
        F: Fn(WsUri) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.reach.connector = Some(Connector::new(connect));
        self.with_own_connections()
    }

    /// How long one stage of opening a connection may take; the whole has
    /// [`connect_timeout`](Self::connect_timeout) all the same, and a stage that would be over later
    /// ends with it. [`ConnectError::Timeout`](crate::ConnectError::Timeout) names the stage in both
    /// cases. Default: no stage has a deadline of its own.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Client, ConnectStage};
    ///
    /// let client = Client::new()
    ///     .stage_timeout(ConnectStage::Resolve, Duration::from_secs(3))
    ///     .stage_timeout(ConnectStage::Tls, Duration::from_secs(5));
    /// # let _ = client;
    /// ```
    #[must_use]
    pub const fn stage_timeout(mut self, stage: ConnectStage, timeout: Duration) -> Self {
        self.reach.limits.set(stage, timeout);
        self
    }

    /// What other settings have connected is not for these.
    #[cfg_attr(
        not(feature = "http2"),
        expect(unused_mut, reason = "only HTTP/2 keeps connections")
    )]
    pub(crate) fn with_own_connections(mut self) -> Self {
        #[cfg(feature = "http2")]
        {
            self.pool = super::Pool::default();
        }
        self
    }
}
