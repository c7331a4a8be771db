//! What an application decides.

use std::future::{Future, ready};

use super::client::Client;
use super::codes::{ClientError, Disconnect, Refusal};
use super::data::Expiry;
use super::grant::{ConnectGrant, PublishGrant, SubscribeGrant};
use super::payload::Payload;
use super::request::{
    ConnectRequest, HistoryRequest, PublishRequest, RpcRequest, SubscribeRequest,
};

/// What an application decides about its clients. Only [`connect`](Self::connect) has to be written: what
/// is not, is refused.
///
/// The requests of one client are carried out one after the other, in the order in which it sent them, so
/// that its publications keep their order; those of several clients at the same time. While a request is
/// carried out, the client is heard and sent to.
///
/// ```
/// use tautline_hub::centrifuge::{
///     Application, Client, ClientError, ConnectGrant, ConnectRequest, Refusal, SubscribeGrant,
///     SubscribeRequest,
/// };
///
/// struct Chat;
///
/// impl Application for Chat {
///     async fn connect(&self, request: ConnectRequest) -> Result<ConnectGrant, Refusal> {
///         match &*request.token {
///             "alice's secret" => Ok(ConnectGrant::new("alice")),
///             _ => Err(ClientError::UNAUTHORIZED.into()),
///         }
///     }
///
///     async fn subscribe(
///         &self,
///         _client: &Client,
///         request: SubscribeRequest,
///     ) -> Result<SubscribeGrant, Refusal> {
///         match request.channel.strip_prefix("chat.") {
///             Some(_) => Ok(SubscribeGrant::new()),
///             None => Err(ClientError::PERMISSION_DENIED.into()),
///         }
///     }
/// }
/// ```
pub trait Application: Send + Sync + 'static {
    /// Who is it, and may it come in? It has [`Config::stale_after`](super::Config::stale_after) to answer.
    fn connect(
        &self,
        request: ConnectRequest,
    ) -> impl Future<Output = Result<ConnectGrant, Refusal>> + Send;

    /// The client is in, and has not been sent anything yet: to remember it by, for what the application
    /// wants of it later.
    fn connected(&self, client: &Client) {
        let _ = client;
    }

    /// May it stay? Asked about a token of the client's, or, without one, when the time of the connection is
    /// over. Refused ([`ClientError::NOT_AVAILABLE`]) if not written.
    fn refresh(
        &self,
        client: &Client,
        token: Option<String>,
    ) -> impl Future<Output = Result<Option<Expiry>, Refusal>> + Send {
        let _ = (client, token);
        ready(Err(ClientError::NOT_AVAILABLE.into()))
    }

    /// May it subscribe? The hub's own [hook](crate::HubBuilder::authorize) is asked afterwards. Refused
    /// ([`ClientError::PERMISSION_DENIED`]) if not written.
    fn subscribe(
        &self,
        client: &Client,
        request: SubscribeRequest,
    ) -> impl Future<Output = Result<SubscribeGrant, Refusal>> + Send {
        let _ = (client, request);
        ready(Err(ClientError::PERMISSION_DENIED.into()))
    }

    /// May it stay subscribed? As [`refresh`](Self::refresh).
    fn sub_refresh(
        &self,
        client: &Client,
        channel: &str,
        token: Option<String>,
    ) -> impl Future<Output = Result<Option<Expiry>, Refusal>> + Send {
        let _ = (client, channel, token);
        ready(Err(ClientError::NOT_AVAILABLE.into()))
    }

    /// May it publish this, or what else instead? The hub's own hook is asked afterwards. Refused
    /// ([`ClientError::PERMISSION_DENIED`]) if not written.
    fn publish(
        &self,
        client: &Client,
        request: PublishRequest,
    ) -> impl Future<Output = Result<PublishGrant, Refusal>> + Send {
        let _ = (client, request);
        ready(Err(ClientError::PERMISSION_DENIED.into()))
    }

    /// May it read this channel's history? Refused ([`ClientError::PERMISSION_DENIED`]) if not written.
    fn history(
        &self,
        client: &Client,
        request: &HistoryRequest,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (client, request);
        ready(Err(ClientError::PERMISSION_DENIED.into()))
    }

    /// May it know who is in this channel, and how many? Refused ([`ClientError::PERMISSION_DENIED`]) if not
    /// written.
    fn presence(
        &self,
        client: &Client,
        channel: &str,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (client, channel);
        ready(Err(ClientError::PERMISSION_DENIED.into()))
    }

    /// Carries out a call. Refused ([`ClientError::METHOD_NOT_FOUND`]) if not written.
    fn rpc(
        &self,
        client: &Client,
        request: RpcRequest,
    ) -> impl Future<Output = Result<Payload, Refusal>> + Send {
        let _ = (client, request);
        ready(Err(ClientError::METHOD_NOT_FOUND.into()))
    }

    /// The client sent this, and waits for no answer. If not written, it is closed
    /// ([`Disconnect::NOT_AVAILABLE`]).
    fn message(
        &self,
        client: &Client,
        data: Payload,
    ) -> impl Future<Output = Result<(), Disconnect>> + Send {
        let _ = (client, data);
        ready(Err(Disconnect::NOT_AVAILABLE))
    }

    /// The client is subscribed to this channel: by its own wish, or when it connected.
    fn subscribed(&self, client: &Client, channel: &str) {
        let _ = (client, channel);
    }

    /// The client's subscription to this channel is over, but not the connection.
    fn unsubscribed(&self, client: &Client, channel: &str) {
        let _ = (client, channel);
    }

    /// A client that was [`connected`](Self::connected) is gone, and all its subscriptions with it.
    fn disconnected(&self, client: &Client) {
        let _ = client;
    }
}
