//! WebSocket handlers by path.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use tautline_handshake::text_response;

use super::Server;
use super::opening::Decision;
use crate::accept::{Upgrade, UpgradeRequest};
use crate::error::BoxError;
use crate::handler::HandlerResult;
use crate::websocket::WebSocket;

/// Handlers of WebSockets by path: what [`Server::serve_routes`] runs.
///
/// A path is matched as a whole, and what is most specific wins, in whatever order routes are
/// added. `{name}` stands for one segment and `{*name}`, at the end, for all that
/// is left; both match at least one character. [`Params`] has what they stood for.
///
/// ```
/// use tautline::{Params, Router, Server, Upgrade, UpgradeRequest, WebSocket, http};
///
/// async fn room(mut ws: WebSocket, params: Params) -> Result<(), tautline::BoxError> {
///     ws.send(format!("welcome to {}", params.get("room").unwrap_or_default())).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let router = Router::new()
///     .route("/rooms/{room}", room)?
///     // A route that decides about requests itself, and hands data to its handler.
///     .route_with(
///         "/admin",
///         |request: UpgradeRequest, _: Params| async move {
///             match request.headers().get("x-key") {
///                 Some(key) if key == "secret" => Ok(Upgrade::new("root")),
///                 _ => Err(http::Response::builder().status(403).body("no".into()).unwrap()),
///             }
///         },
///         |mut ws: WebSocket, user: &'static str| async move { ws.send(user).await.map_err(Into::into) },
///     )?;
/// let server = Server::bind("127.0.0.1:0").await?;
/// # let address = server.local_addr()?;
/// # tokio::spawn(async move {
/// server.serve_routes(router).await
/// # });
/// # let mut ws = tautline::connect(format!("ws://{address}/rooms/the%20lobby")).await?;
/// # assert_eq!(ws.next().await.unwrap()?.as_text(), Some("welcome to the lobby"));
/// # assert!(tautline::connect(format!("ws://{address}/admin")).await.is_err());
/// # assert!(tautline::connect(format!("ws://{address}/rooms")).await.is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }
/// ```
#[derive(Default)]
pub struct Router {
    routes: matchit::Router<Route>,
    not_found: Option<NotFound>,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What an accepted request is served with.
type Run = Box<dyn FnOnce(WebSocket) -> BoxFuture<Result<(), BoxError>> + Send>;

type Verdict = Result<Upgrade<Run>, Response<Bytes>>;

/// Decides about a request.
type Route = Box<dyn Fn(UpgradeRequest, Params) -> BoxFuture<Verdict> + Send + Sync>;

type NotFound = Box<dyn Fn(UpgradeRequest) -> Response<Bytes> + Send + Sync>;

impl Router {
    /// No route: every request is answered with 404.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs this handler for each WebSocket to this path.
    ///
    /// # Errors
    /// [`RouteError`] for a path that cannot be told from another route's, or that is not written
    /// as it must be.
    pub fn route<H, Fut>(self, path: &str, handler: H) -> Result<Self, RouteError>
    where
        H: Fn(WebSocket, Params) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerResult> + Send + 'static,
    {
        self.route_with(path, |_, params| async { Ok(Upgrade::new(params)) }, handler)
    }

    /// Asks this function about each request to this path, as [`Server::authorize`] does for all,
    /// and runs the handler with the data that it returns.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_with<T, A, Asked, H, Fut>(
        mut self,
        path: &str,
        authorize: A,
        handler: H,
    ) -> Result<Self, RouteError>
    where
        T: Send + 'static,
        A: Fn(UpgradeRequest, Params) -> Asked + Send + Sync + 'static,
        Asked: Future<Output = Result<Upgrade<T>, Response<Bytes>>> + Send + 'static,
        H: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerResult> + Send + 'static,
    {
        let (authorize, handler) = (Arc::new(authorize), Arc::new(handler));
        let route: Route = Box::new(move |request, params| {
            let (authorize, handler) = (authorize.clone(), handler.clone());
            Box::pin(async move {
                let upgrade = authorize(request, params).await?;
                Ok(upgrade.map(|data| -> Run {
                    Box::new(move |ws| {
                        let handling = handler(ws, data);
                        Box::pin(async move { handling.await.into_result() })
                    })
                }))
            })
        });
        self.routes
            .insert(path, route)
            .map_err(|error| RouteError { path: path.to_owned(), error })?;
        Ok(self)
    }

    /// Answers requests to all other paths with what this function returns. Default: 404.
    #[must_use]
    pub fn not_found(
        mut self,
        answer: impl Fn(UpgradeRequest) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.not_found = Some(Box::new(answer));
        self
    }

    /// Decides about a request.
    async fn answer(&self, request: UpgradeRequest) -> Verdict {
        let uri = request.uri().clone();
        let Ok(found) = self.routes.at(uri.path()) else {
            return Err(match &self.not_found {
                Some(answer) => answer(request),
                None => text_response(StatusCode::NOT_FOUND, "there is no WebSocket here\n"),
            });
        };
        match Params::decode(&found.params) {
            Some(params) => (found.value)(request, params).await,
            None => Err(text_response(StatusCode::BAD_REQUEST, "the path is not UTF-8\n")),
        }
    }
}

/// Without the handlers.
impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}

impl Server {
    /// Serves as [`serve`](Self::serve) does, with the handler of the path's route. If
    /// [`authorize`](Self::authorize) was set, it is asked first: what it refuses reaches no route,
    /// and the headers that it adds are sent too, unless the route sets those of the same name.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_routes(self, router: Router) -> io::Result<()> {
        let Self { settings, decision } = self;
        let first = match decision {
            Decision::Accept(_) => None,
            Decision::Ask(ask) => Some(ask),
        };
        let shared = Arc::new((first, router));
        let server = Self { settings, decision: Decision::Accept(|| ()) };
        let routed = server.authorize(move |request| {
            let shared = shared.clone();
            async move {
                let (first, router) = &*shared;
                let Some(ask) = first else { return router.answer(request).await };
                let common = ask(request.clone()).await?;
                Ok(common.and(router.answer(request).await?))
            }
        });
        routed.serve_with(|ws, run: Run| run(ws)).await
    }
}

/// What the parts of a route's path in braces stood for.
///
/// The values are percent-decoded (RFC 3986 section 2.1); a request whose path is not UTF-8 then is
/// answered with 400. An encoded slash does not separate segments: `{name}` may stand for `a/b`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Box<[(Box<str>, Box<str>)]>);

impl Params {
    /// What stood for `{name}` or `{*name}`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All names and values, in the order of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    fn decode(found: &matchit::Params<'_, '_>) -> Option<Self> {
        let decode = |(name, value): (&str, &str)| {
            let value = percent_decode_str(value).decode_utf8().ok()?;
            Some((name.into(), value.into()))
        };
        found.iter().map(decode).collect::<Option<_>>().map(Self)
    }
}

/// A path for which there can be no route. `Display` says why.
#[derive(Clone, Debug)]
pub struct RouteError {
    path: String,
    error: matchit::InsertError,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there can be no route for {:?}: {}", self.path, self.error)
    }
}

impl std::error::Error for RouteError {}
