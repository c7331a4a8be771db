//! What a client adds to its requests, and how it goes on after an answer that is not 101: with a
//! redirection, or with fresh credentials.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, Entry, SET_COOKIE};
use http::{HeaderMap, Response, StatusCode};
use tautline_handshake::{Headers, WsUri};
use tokio::time::Instant;

use super::cookies::CookieJar;
use super::endpoint::Endpoint;
use super::redirect::{Redirects, drop_credentials};
use super::request_attempt::RequestAttempt;
use super::target::Target;
use super::timing::{ConnectStage, Timing};
use super::{Client, ConnectError};
use crate::error::BoxError;
use crate::websocket::WebSocket;

/// How often a request is sent again with other credentials, for one connection: once for a server
/// and once for a proxy, or twice for a scheme that takes two rounds (RFC 9110 section 11.4).
const MAX_ANSWERED: u32 = 2;

/// Like `Client::on_request`, boxed.
type Hook = dyn Fn(RequestAttempt) -> Hooked + Send + Sync;
type Hooked = Pin<Box<dyn Future<Output = Result<RequestAttempt, BoxError>> + Send>>;

/// What is done beside sending one request.
#[derive(Clone, Default)]
pub(super) struct Asking {
    redirects: u32,
    jar: Option<Arc<dyn CookieJar>>,
    hook: Option<Arc<Hook>>,
}

impl Asking {
    /// Whether there is nothing to do but to send one request.
    const fn is_plain(&self) -> bool {
        self.redirects == 0 && self.jar.is_none() && self.hook.is_none()
    }

    /// The jar, which knows servers by their URIs: all Unix sockets have the same one.
    fn jar_for(&self, server: &Endpoint) -> Option<&Arc<dyn CookieJar>> {
        self.jar.as_ref().filter(|_| server.socket().is_none())
    }

    /// Keeps the cookies of a response.
    fn note_cookies(&self, from: &Endpoint, headers: &HeaderMap) {
        if let Some(jar) = self.jar_for(from)
            && headers.contains_key(SET_COOKIE)
        {
            jar.store(&from.uri, &mut headers.get_all(SET_COOKIE).iter());
        }
    }

    /// The same of the outcome of an attempt.
    pub(super) fn note_outcome<S>(
        &self,
        from: &Endpoint,
        outcome: &Result<(WebSocket<S>, Response<()>), ConnectError>,
    ) {
        match outcome {
            Ok((_, response)) => self.note_cookies(from, response.headers()),
            Err(ConnectError::Refused(response)) => self.note_cookies(from, response.headers()),
            Err(_) => {}
        }
    }
}

impl Client {
    /// Follows up to this many redirections (301, 302, 303, 307 and 308, RFC 9110 section 15.4) for
    /// each connection. Default: 0, none, as in browsers (WHATWG WebSockets section 2): a
    /// redirection is then a [refusal](ConnectError::Refused), as is one without a `Location`.
    ///
    /// `http` and `https` in the `Location` stand for `ws` and `wss`. A redirection from `wss` to
    /// `ws` is an error ([`RedirectError`](crate::RedirectError)).
    ///
    /// If one leads to another scheme, host or port, what was meant for the first server is dropped,
    /// for good: `Authorization`, `Cookie`, `Proxy-Authorization`, the credentials of the URI, and
    /// each header whose value is marked as [sensitive](http::HeaderValue::set_sensitive); and
    /// `Host`. Other headers, subprotocols and TLS settings, such as a client certificate, apply to
    /// the other server too: do not follow redirections with a token in these.
    ///
    /// [`connect_over`](Self::connect_over) and [`handshake_over`](Self::handshake_over) have one
    /// stream, and follow none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tautline::{Client, Server, Upgrade, http::{HeaderValue, Response}};
    /// # let server = Server::bind("127.0.0.1:0").await?;
    /// # let uri = format!("ws://{}/old", server.local_addr()?);
    /// # tokio::spawn(server.authorize(|request| async move {
    /// #     if request.uri().path() == "/new" { return Ok(Upgrade::new(())); }
    /// #     Err(Response::builder().status(307).header("location", "/new").body("".into()).unwrap())
    /// # }).serve_with(|mut ws, ()| async move { Ok(ws.send("hello").await?) }));
    /// let mut ws = Client::new().redirects(10).connect(uri).await?;
    /// assert_eq!(ws.next().await.unwrap()?.as_text(), Some("hello"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn redirects(mut self, limit: u32) -> Self {
        self.asking.redirects = limit;
        self
    }

    /// Sends the cookies of this jar, and keeps in it those that servers set, in whatever answer: a
    /// 101, a refusal, a redirection. Cookies that are set as a header are sent too, before them.
    ///
    /// See [`CookieJar`] for those that there are.
    #[must_use]
    pub fn cookie_jar<J: CookieJar + 'static>(mut self, jar: Arc<J>) -> Self {
        self.asking.jar = Some(jar);
        self
    }

    /// Calls this hook before each request, so that it can change it: a fresh token, a signature.
    /// One connection may take several requests; [`RequestAttempt::number`] counts them.
    ///
    /// After a 401 or 407 the hook is called again, with that answer in
    /// [`RequestAttempt::previous`]. If it then returns other headers or another URI than those that
    /// were refused, the request is sent again, at most twice for each connection. Otherwise the
    /// answer is the result, [`ConnectError::Refused`].
    ///
    /// The time that the hook takes counts towards the
    /// [`connect_timeout`](Self::connect_timeout). If it fails, so does
    /// [`connect`](Self::connect), with [`ConnectError::OnRequest`], and nothing is sent.
    /// [`connect_over`](Self::connect_over) and [`handshake_over`](Self::handshake_over) call it
    /// once.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tautline::{Client, Server, Upgrade, auth::{self, AuthError, Challenge}};
    /// # let server = Server::bind("127.0.0.1:0").await?;
    /// # let uri = format!("ws://{}/", server.local_addr()?);
    /// # tokio::spawn(server.authorize(|request| async move {
    /// #     let token = auth::bearer(request.headers());
    /// #     if token.is_ok_and(|token| token.matches("fresh")) { return Ok(Upgrade::new(())); }
    /// #     Err(Challenge::bearer("chat").response(AuthError::Invalid))
    /// # }).serve_with(|mut ws, ()| async move { Ok(ws.send("hello").await?) }));
    /// # async fn cached() -> std::io::Result<&'static str> { Ok("stale") }
    /// # async fn renewed() -> std::io::Result<&'static str> { Ok("fresh") }
    /// let client = Client::new().on_request(|mut attempt| async move {
    ///     let refused = attempt.previous().is_some_and(|answer| answer.status() == 401);
    ///     let token = if refused { renewed().await? } else { cached().await? };
    ///     attempt.set_bearer(token)?;
    ///     Ok(attempt)
    /// });
    /// let mut ws = client.connect(uri).await?;
    /// assert_eq!(ws.next().await.unwrap()?.as_text(), Some("hello"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_request<F, A>(mut self, hook: F) -> Self
    where
        F: Fn(RequestAttempt) -> A + Send + Sync + 'static,
        A: Future<Output = Result<RequestAttempt, BoxError>> + Send + 'static,
    {
        self.asking.hook = Some(Arc::new(move |attempt| Box::pin(hook(attempt))));
        self
    }

    /// Opens a connection, after as many requests as that takes.
    pub(super) async fn ask(
        &self,
        target: Result<Target, ConnectError>,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        if self.asking.is_plain() {
            return self.open_tcp(target).await;
        }
        // Boxed: few need it, and it has the state of the above a second time.
        Box::pin(self.ask_repeatedly(target)).await
    }

    async fn ask_repeatedly(
        &self,
        target: Result<Target, ConnectError>,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        let mut timing = self.timing()?;
        let mut course = Course::start(&self.headers, target?, self.asking.redirects)?;
        loop {
            let attempt = course.attempt();
            let attempt = self.made_ready(attempt, &course.endpoint, &mut timing).await?;
            let sent = Sent::new(&course.endpoint, attempt.uri, attempt.headers);
            if let Some(refused) = course.refused.take()
                && refused == sent
                && let Some(answer) = attempt.previous
            {
                return Err(ConnectError::Refused(answer));
            }
            let opening = self.with_whole_headers(&timing);
            let opened = opening.open_tcp(Ok(sent.target())).await;
            self.asking.note_outcome(&sent.endpoint, &opened);
            match opened {
                Err(ConnectError::Refused(answer)) => {
                    course.go_on(sent, answer, self.asking.hook.is_some())?;
                }
                other => return other,
            }
        }
    }

    /// What is sent on a stream that takes one request, and the client that sends it.
    pub(super) async fn ask_once(
        &self,
        target: Result<Target, ConnectError>,
    ) -> Result<(Cow<'_, Self>, Target), ConnectError> {
        let target = target?;
        if self.asking.is_plain() {
            return Ok((Cow::Borrowed(self), target));
        }
        let mut timing = self.timing()?;
        let mut course = Course::start(&self.headers, target, 0)?;
        let attempt = course.attempt();
        let attempt = self.made_ready(attempt, &course.endpoint, &mut timing).await?;
        let sent = Sent::new(&course.endpoint, attempt.uri, attempt.headers);
        Ok((Cow::Owned(self.with_whole_headers(&timing)), sent.target()))
    }

    /// With the cookies of the jar, and what the hook does with it.
    async fn made_ready(
        &self,
        mut attempt: RequestAttempt,
        to: &Endpoint,
        timing: &mut Timing,
    ) -> Result<RequestAttempt, ConnectError> {
        if let Some(jar) = self.asking.jar_for(to)
            && let Some(cookies) = jar.cookies(&attempt.uri)
        {
            let mut headers = Headers::new();
            headers.extend(std::mem::take(&mut attempt.headers));
            headers.append(COOKIE, cookies);
            attempt.headers = headers.finish()?;
        }
        let Some(hook) = &self.asking.hook else { return Ok(attempt) };
        let hooked = timing.stage(ConnectStage::Request, hook(attempt)).await?;
        hooked.map_err(ConnectError::OnRequest)
    }

    /// For an attempt that already has all headers, and the time that is left.
    fn with_whole_headers(&self, timing: &Timing) -> Self {
        let left = timing.until().saturating_duration_since(Instant::now());
        Self {
            headers: Headers::new(),
            connect_timeout: left.max(Duration::from_millis(1)),
            ..self.clone()
        }
    }
}

/// What was sent, as far as it is the application's.
#[derive(PartialEq)]
struct Sent {
    endpoint: Endpoint,
    headers: HeaderMap,
}

impl Sent {
    fn new(at: &Endpoint, uri: WsUri, headers: HeaderMap) -> Self {
        // A URI of another server, set by the hook, is not for the socket.
        let endpoint = match uri.same_origin(&at.uri) {
            true => at.clone().with_uri(uri),
            false => uri.into(),
        };
        Self { endpoint, headers }
    }

    fn target(&self) -> Target {
        Target { headers: self.headers.clone(), endpoint: self.endpoint.clone() }
    }
}

/// From request to request: where the next one goes, and with which headers. Decisions only.
struct Course {
    endpoint: Endpoint,
    headers: HeaderMap,
    number: u32,
    left_origin: bool,
    redirects: Redirects,
    /// How often a refusal was answered.
    answered: u32,
    /// What was refused, if there may be an answer to that.
    refused: Option<Sent>,
    previous: Option<Box<Response<Bytes>>>,
}

impl Course {
    /// With the headers of the client, and of the target, which have precedence.
    fn start(own: &Headers, target: Target, redirects: u32) -> Result<Self, ConnectError> {
        let mut headers = own.clone();
        headers.extend(target.headers);
        let mut headers = headers.finish()?;
        let uri = target.endpoint.uri.clone();
        if let Some(credentials) = uri.authorization()
            && let Entry::Vacant(entry) = headers.entry(AUTHORIZATION)
        {
            entry.insert(credentials.clone());
        }
        Ok(Self {
            endpoint: target.endpoint.with_uri(uri.without_credentials()),
            headers,
            number: 0,
            left_origin: false,
            redirects: Redirects::new(redirects),
            answered: 0,
            refused: None,
            previous: None,
        })
    }

    /// The next request, before others have changed it.
    fn attempt(&mut self) -> RequestAttempt {
        self.number += 1;
        RequestAttempt {
            uri: self.endpoint.uri.clone(),
            headers: self.headers.clone(),
            number: self.number,
            left_origin: self.left_origin,
            previous: self.previous.take(),
        }
    }

    /// After an answer that is not 101. An error if there is no next request.
    fn go_on(
        &mut self,
        sent: Sent,
        answer: Box<Response<Bytes>>,
        hooked: bool,
    ) -> Result<(), ConnectError> {
        let status = answer.status();
        if let Some(step) = self.redirects.follow(&sent.endpoint.uri, status, answer.headers())? {
            let leaves_socket = step.names_host && self.endpoint.socket().is_some();
            // The hook may have sent the request elsewhere, without these.
            let is_elsewhere = !step.uri.same_origin(&self.endpoint.uri);
            if step.leaves_origin || is_elsewhere || leaves_socket {
                self.left_origin = true;
                drop_credentials(&mut self.headers);
            }
            tracing::debug!(to = ?step.uri, status = status.as_u16(), "redirected");
            self.endpoint = match leaves_socket {
                true => step.uri.into(),
                false => self.endpoint.clone().with_uri(step.uri),
            };
        } else if hooked && is_challenge(status) && self.answered < MAX_ANSWERED {
            self.answered += 1;
            self.refused = Some(sent);
        } else {
            return Err(ConnectError::Refused(answer));
        }
        self.previous = Some(answer);
        Ok(())
    }
}

/// Whether other credentials may be accepted (RFC 9110 sections 15.5.2 and 15.5.8).
fn is_challenge(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED].contains(&status)
}

#[cfg(all(test, unix, not(tautline_loom)))]
mod tests {
    use super::*;

    fn redirection(location: &str) -> Box<Response<Bytes>> {
        let answer = Response::builder().status(307).header("location", location);
        Box::new(answer.body(Bytes::new()).expect("a response"))
    }

    // ws bc8bd34e: what a Unix socket redirects to `ws://localhost` has the same origin in its URI,
    // and is another server.
    #[test]
    fn a_redirection_from_a_unix_socket_to_a_host_leaves_it() {
        for (location, stays) in [
            ("/new", true),
            ("?new", true),
            ("ws://localhost/new", false),
            ("//localhost/new", false),
            ("http://other.test/", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, http::HeaderValue::from_static("Bearer 3f2a"));
            let endpoint = Endpoint::parse("ws+unix:/run/chat.sock:/old").expect("a URI");
            let target = Target { endpoint, headers };
            let mut course = Course::start(&Headers::new(), target, 5).expect("a request");
            let first = course.attempt();
            let sent = Sent::new(&course.endpoint, first.uri, first.headers);
            course.go_on(sent, redirection(location), false).expect("a next request");
            assert_eq!(course.endpoint.socket().is_some(), stays, "{location}");
            let next = course.attempt();
            assert_eq!(next.headers.contains_key(AUTHORIZATION), stays, "{location}");
            assert_eq!((next.left_origin, next.number), (!stays, 2), "{location}");
        }
    }

    fn course(uri: &str) -> Course {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, http::HeaderValue::from_static("Bearer 3f2a"));
        let target = Target { endpoint: Endpoint::parse(uri).expect("a URI"), headers };
        Course::start(&Headers::new(), target, 5).expect("a request")
    }

    // A hook had sent the request to another server, without the token of the first; that one's
    // redirection within itself got the token.
    #[test]
    fn a_redirection_of_a_server_that_the_hook_chose_gets_no_credentials() {
        let mut course = course("ws://one.test/");
        course.attempt();
        let other = WsUri::parse("ws://two.test/").expect("a URI");
        let sent = Sent::new(&course.endpoint, other, HeaderMap::new());
        course.go_on(sent, redirection("/next"), true).expect("a next request");
        let next = course.attempt();
        assert_eq!(next.uri.host(), "two.test");
        assert!(next.left_origin && !next.headers.contains_key(AUTHORIZATION));
    }

    #[test]
    fn a_socket_is_not_the_server_of_another_uri_and_has_no_cookies() {
        let course = course("ws+unix:/run/chat.sock:/");
        let sent = |uri: &str| {
            Sent::new(&course.endpoint, WsUri::parse(uri).expect("a URI"), HeaderMap::new())
        };
        assert!(sent("ws://localhost/new").endpoint.socket().is_some());
        let elsewhere = sent("ws://api.example.com/?token=3f2a").endpoint;
        assert!(elsewhere.socket().is_none());
        struct Jar;
        impl CookieJar for Jar {
            fn cookies(&self, _: &WsUri) -> Option<http::HeaderValue> {
                None
            }

            fn store(&self, _: &WsUri, _: &mut dyn Iterator<Item = &http::HeaderValue>) {}
        }
        let asking = Asking { jar: Some(Arc::new(Jar)), ..Asking::default() };
        assert!(asking.jar_for(&elsewhere).is_some() && asking.jar_for(&course.endpoint).is_none());
    }
}
