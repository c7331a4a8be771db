//! Serving clients: a task for each, which reads, asks the application, and keeps the time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tautline::{Message, Prepared, Reader, WebSocket, Writer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::application::Application;
use super::carry_out::Context;
use super::client::Client;
use super::codes::{Disconnect, Refusal};
use super::config::Config;
use super::data::Since;
use super::format::Format;
use super::grant::ConnectGrant;
use super::outlet::ClientOutlet;
use super::payload::Payload;
use super::request::{ConnectRequest, Request, RequestId};
use super::session::{Event, Session};
use super::shared::Shared;
use crate::clock::now;
use crate::hub::Hub;
use crate::inbox::member::MemberInfo;
use crate::options::Attach;
use crate::slow::Slow;

/// Serves clients of Centrifuge's protocol from a hub. Clones serve the same application.
///
/// A client's channels are topics of the hub, those that are [names of topics](crate::Topic): any other is
/// an unknown channel. What a client publishes is a [`Publication`](crate::Publication) for all who are
/// subscribed to the topic, itself included: of text if it has JSON, and of bytes if it has Protobuf. What others
/// publish to the topic, clients get: if it is JSON those that have JSON, and any data those that have Protobuf.
///
/// ```no_run
/// use tautline::Server;
/// use tautline_hub::Hub;
/// use tautline_hub::centrifuge::{
///     Application, Centrifuge, ConnectGrant, ConnectRequest, Format, Refusal,
/// };
///
/// struct Open;
///
/// impl Application for Open {
///     async fn connect(&self, _: ConnectRequest) -> Result<ConnectGrant, Refusal> {
///         Ok(ConnectGrant::new("somebody"))
///     }
/// }
///
/// # async fn example() -> std::io::Result<()> {
/// let centrifuge = Centrifuge::new(&Hub::new(), Open);
/// let server = Server::bind("127.0.0.1:8000").await?.subprotocols(Format::subprotocols());
/// server
///     .serve(move |ws| {
///         let centrifuge = centrifuge.clone();
///         async move { centrifuge.serve(ws).await }
///     })
///     .await
/// # }
/// ```
#[derive(Debug)]
pub struct Centrifuge<A> {
    hub: Hub,
    application: Arc<A>,
    config: Arc<Config>,
}

impl<A> Clone for Centrifuge<A> {
    fn clone(&self) -> Self {
        let (hub, application) = (self.hub.clone(), self.application.clone());
        Self { hub, application, config: self.config.clone() }
    }
}

impl<A: Application> Centrifuge<A> {
    /// Serves this application's clients from this hub.
    pub fn new(hub: &Hub, application: A) -> Self {
        Self { hub: hub.clone(), application: Arc::new(application), config: Arc::default() }
    }

    /// The application.
    #[must_use]
    pub const fn application(&self) -> &Arc<A> {
        &self.application
    }

    /// With other limits and times.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self
    }

    /// Serves a client, in the format of its [subprotocol](Format::subprotocols), until its connection has
    /// ended.
    ///
    /// Messages of clients may be as long as [`Config::max_frame`]. The server's own limit is at least that.
    pub async fn serve<S>(&self, ws: WebSocket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let format = Format::of_request(ws.subprotocol(), None);
        self.serve_as(ws, format).await;
    }

    /// The same in this format: that of [`Format::of_request`], where the query of the request counts as well.
    pub async fn serve_as<S>(&self, ws: WebSocket<S>, format: Format)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // It is called as the hub calls it, once it is a member.
        let session = Session::new(self.config.clone(), format, "", now());
        let (reader, writer) = ws.split();
        let connection = Connection {
            centrifuge: self.clone(),
            id: String::new(),
            writer,
            shared: Arc::new(Shared::new(session, format, self.config.max_queue)),
            context: None,
            queue: VecDeque::new(),
        };
        connection.run(reader).await;
    }
}

/// A client's connection, in its task.
struct Connection<S, A: Application> {
    centrifuge: Centrifuge<A>,
    /// What the client is called, once it is let in.
    id: String,
    writer: Writer<S>,
    shared: Arc<Shared>,
    /// Once the application has let the client in.
    context: Option<Arc<Context<A>>>,
    /// What the client asked for. Its length is the session's to limit, but for messages, of which a frame
    /// at most is taken while others wait.
    queue: VecDeque<Event>,
}

/// However it ends: what the application still holds of the client knows it.
impl<S, A: Application> Drop for Connection<S, A> {
    fn drop(&mut self) {
        self.shared.lock().session.disconnect(Disconnect::CONNECTION_CLOSED);
    }
}

/// What is being carried out.
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

enum Done {
    /// The application has decided who may come in.
    Decided(RequestId, Result<ConnectGrant, Refusal>, Vec<(String, Since)>),
    Answered,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static, A: Application> Connection<S, A> {
    async fn run(mut self, mut reader: Reader<S>) {
        let mut work: Option<Work> = None;
        loop {
            // In this order: what has ended meanwhile is told to the hub before the next command is carried out.
            let may_work = work.is_none() && self.may_work();
            self.take_events();
            if may_work {
                work = self.next_work();
            }
            if self.transmit().await.is_err() || self.close().await {
                return;
            }
            let (deadline, is_early) = {
                let inside = self.shared.lock();
                (inside.session.poll_timeout(), inside.session.has_early())
            };
            let shared = self.shared.clone();
            // A client whose messages the application has not taken yet is not read further, nor is one that
            // has sent more than its first frame and has not been let in.
            let may_read = !is_early && self.queue.len() <= self.centrifuge.config.max_pending;
            tokio::select! {
                message = reader.next(), if may_read => match message {
                    Some(Ok(message)) => self.received(&message),
                    Some(Err(error)) => {
                        tracing::debug!(%error, client = self.id, "a client's connection failed");
                        return;
                    }
                    None => return,
                },
                done = poll(&mut work) => {
                    work = None;
                    if let Done::Decided(id, grant, positions) = done {
                        work = self.decided(id, grant, positions);
                    }
                }
                () = shared.changed.notified() => {}
                () = until(deadline) => self.shared.lock().session.handle_timeout(now()),
            }
        }
    }

    fn received(&self, message: &Message) {
        let mut inside = self.shared.lock();
        if let Err(error) = inside.session.handle_frame(message.as_bytes()) {
            let source = std::error::Error::source(&error);
            tracing::debug!(%error, source, client = self.id, "a client's frame is wrong");
        }
    }

    /// What the session has to tell. That a channel was left is carried out at once, and not behind what waits:
    /// the client may be about to subscribe to it again.
    fn take_events(&mut self) {
        let mut inside = self.shared.lock();
        while let Some(event) = inside.session.poll_event() {
            self.queue.push_back(event);
        }
        drop(inside);
        let Some(context) = &self.context else { return };
        while let Some(left) = self.shared.next_left() {
            context.left(&left);
            self.shared.told();
        }
    }

    /// What the client asks for waits until it has taken most of what was answered before: a client that asks for
    /// much at once is not slow. And what follows the end of a subscription that is not answered yet comes behind that.
    fn may_work(&self) -> bool {
        self.context.is_none() || (self.shared.takes_answers() && !self.shared.is_behind())
    }

    /// What is to be carried out next. Of a client that is being closed, requests are forgotten.
    fn next_work(&mut self) -> Option<Work> {
        if self.shared.lock().session.is_closed() {
            self.queue.retain(|event| matches!(event, Event::Message(_)));
        }
        let event = self.queue.pop_front()?;
        let context = match (&self.context, event) {
            (None, Event::Request(id, Request::Connect(request))) => {
                return Some(self.decide(id, request));
            }
            // The session lets a client connect first.
            (None, _) => return None,
            (Some(context), event) => (context.clone(), event),
        };
        Some(match context {
            (context, Event::Request(id, request)) => Box::pin(async move {
                context.carry_out(id, request).await;
                Done::Answered
            }),
            (context, Event::Message(data)) => Box::pin(message(context, data)),
            // They are taken out before.
            (_, Event::Left(_)) => return None,
        })
    }

    fn decide(&self, id: RequestId, request: ConnectRequest) -> Work {
        let application = self.centrifuge.application.clone();
        Box::pin(async move {
            let positions = request.positions.clone().into_iter().collect();
            Done::Decided(id, application.connect(request).await, positions)
        })
    }

    /// Makes a client that may come in a member of the hub.
    fn decided(
        &mut self,
        id: RequestId,
        grant: Result<ConnectGrant, Refusal>,
        positions: Vec<(String, Since)>,
    ) -> Option<Work> {
        let grant = match grant {
            Ok(grant) => grant,
            Err(refusal) => {
                self.shared.lock().session.answer(id, Err(refusal), now());
                return None;
            }
        };
        let Centrifuge { hub, application, config } = &self.centrifuge;
        let info = MemberInfo::new(&*grant.user).data(grant.info.clone().into_bytes());
        let slow = Slow::disconnect(config.max_queue, Disconnect::SLOW.close_frame());
        let attach = Attach::new().info(info).slow(slow).limit(config.max_queue.saturating_mul(2));
        let outlet = ClientOutlet::new(self.writer.clone(), self.shared.clone());
        let member = Arc::new(hub.attach_outlet(outlet, attach));
        self.id = member.id().to_string();
        self.shared.lock().session.set_client(&self.id);
        let client = Client::new(&self.id, &grant.user, &member, self.shared.clone());
        let context = Arc::new(Context {
            application: application.clone(),
            hub: hub.clone(),
            member,
            client,
            shared: self.shared.clone(),
            config: config.clone(),
            is_connected: AtomicBool::new(false),
        });
        self.context = Some(context.clone());
        Some(Box::pin(async move {
            context.connect(id, grant, positions).await;
            Done::Answered
        }))
    }

    /// Has what the session says sent: by the outlet, which has the order of everything, or, as long as there
    /// is none, directly.
    async fn transmit(&mut self) -> Result<(), tautline::Error> {
        if let Some(context) = &self.context {
            if self.shared.has_news() {
                context.member.send(Prepared::new(""));
            }
            return Ok(());
        }
        loop {
            let frame = self.shared.lock().session.poll_transmit();
            let Some(frame) = frame else { return Ok(()) };
            self.writer.send(frame).await?;
        }
    }

    /// Closes the connection, if the session says so. Returns whether that is all.
    async fn close(&mut self) -> bool {
        let (disconnect, fault) = {
            let mut inside = self.shared.lock();
            (inside.session.poll_close(), inside.session.fault())
        };
        let Some(disconnect) = disconnect else { return false };
        tracing::debug!(client = self.id, %disconnect, fault, "a client is closed");
        match &self.context {
            Some(context) => {
                self.shared.mark();
                let hub = &self.centrifuge.hub;
                hub.disconnect(context.member.id(), disconnect.close_frame());
                false
            }
            None => {
                // It is over, in order or not.
                let _ = self.writer.close_with(disconnect.close_frame()).await;
                true
            }
        }
    }
}

async fn message<A: Application>(context: Arc<Context<A>>, data: Payload) -> Done {
    if let Err(disconnect) = context.application.message(&context.client, data).await {
        context.shared.change(|session| session.disconnect(disconnect));
    }
    Done::Answered
}

/// Waits for what is being carried out, for ever if that is nothing.
async fn poll(work: &mut Option<Work>) -> Done {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
