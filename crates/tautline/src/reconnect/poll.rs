//! The stream: what is done in which phase. What to do next is decided elsewhere, by the verdict on
//! the cause and the backoff.

use std::future::Future;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tautline_frame::{CloseCode, CloseFrame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::Reconnecting;
use super::cause::Cause;
use super::event::{Attempt, Connected, Disconnected, Event, State, Stopped, Why};
use super::open::Opening;
use super::shared::{Asked, Shared};
use super::verdict::Verdict;
use crate::client::ConnectError;
use crate::error::Chain;
use crate::split::{Reader, Writer};
use crate::timer::now;
use crate::websocket::WebSocket;

/// What is being done.
pub(super) enum Phase<S> {
    /// The next attempt begins at the next poll.
    Start,
    /// A connection is being opened.
    Opening(Opening<S>),
    /// The hook has it.
    Preparing(Opening<S>),
    Live(Box<Live<S>>),
    Waiting(Pin<Box<Sleep>>),
    Ended,
}

/// An open connection.
pub(super) struct Live<S> {
    reader: Reader<S>,
    /// For what was kept, and for closing.
    writer: Writer<S>,
    since: Instant,
    /// Messages that were kept while there was no connection have not all been handed over.
    behind: bool,
}

/// What the stream returns.
type Item = Option<Result<Event, Stopped>>;

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Reconnecting<S> {
    type Item = Result<Event, Stopped>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        let this = &mut *self;
        loop {
            match this.shared.take_asked(cx.waker()) {
                Asked::Nothing => {}
                Asked::Reconnect => {
                    if let Some(item) = this.reconnect() {
                        return Poll::Ready(item);
                    }
                }
                Asked::Close => this.closing = true,
            }
            if this.closing && !matches!(this.phase, Phase::Live(_) | Phase::Ended) {
                return Poll::Ready(this.end(&Stopped::by(Why::Closed, None)));
            }
            match &mut this.phase {
                Phase::Start => {
                    if let Err(cause) = this.start() {
                        return Poll::Ready(this.ended(cause));
                    }
                }
                Phase::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(ws) => match &mut this.on_connect {
                        Some(hook) => {
                            this.phase = Phase::Preparing(hook(ws, this.on_connect_timeout));
                        }
                        None => return Poll::Ready(this.connected(ws)),
                    },
                    Err(cause) => return Poll::Ready(this.ended(cause)),
                },
                Phase::Preparing(preparing) => {
                    return Poll::Ready(match ready!(preparing.as_mut().poll(cx)) {
                        Ok(ws) => this.connected(ws),
                        Err(cause) => this.ended(cause),
                    });
                }
                Phase::Live(live) => {
                    if this.closing {
                        // Its result is the end that the reader returns.
                        let _ = Pin::new(&mut live.writer).poll_close(cx);
                    } else if live.behind {
                        live.behind = live.poll_behind(&this.shared, cx);
                    }
                    let cause = match ready!(Pin::new(&mut live.reader).poll_next(cx)) {
                        Some(Ok(message)) => return Poll::Ready(Some(Ok(Event::Message(message)))),
                        Some(Err(error)) => Cause::Failed(error),
                        None => Cause::Closed(
                            live.reader.close_frame().unwrap_or_else(CloseFrame::empty),
                        ),
                    };
                    return Poll::Ready(this.ended(cause));
                }
                Phase::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    this.phase = Phase::Start;
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for Reconnecting<S> {
    fn is_terminated(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Live<S> {
    /// Hands over what was kept, as far as there is room; woken when there is more. Returns whether
    /// something is left.
    fn poll_behind(&mut self, shared: &Shared<S>, cx: &mut Context<'_>) -> bool {
        loop {
            if shared.hand_over(&mut self.writer) {
                return false;
            }
            // After an error nothing more is handed over; the reader returns it.
            if !matches!(Pin::new(&mut self.writer).poll_ready(cx), Poll::Ready(Ok(()))) {
                return true;
            }
        }
    }

    /// Sends a Close, as far as the stream takes it without waiting. Writers that others hold
    /// cannot keep the connection open then.
    fn leave(mut self) {
        let closing = pin!(self.writer.close_with(CloseCode::GOING_AWAY));
        let _ = closing.poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reconnecting<S> {
    /// Begins an attempt.
    fn start(&mut self) -> Result<(), Cause> {
        crate::runtime::check().map_err(ConnectError::Runtime)?;
        self.shared.state.send_replace(State::Connecting);
        self.attempt.failures = self.backoff.failures();
        self.phase = Phase::Opening((self.connector)(self.attempt.clone()));
        Ok(())
    }

    /// A connection is open: what was kept is handed to it first, then senders reach it.
    fn connected(&mut self, ws: WebSocket<S>) -> Item {
        let event = Connected {
            attempt: self.attempt.clone(),
            peer: ws.peer().clone(),
            subprotocol: ws.subprotocol().map(str::to_owned),
        };
        let (reader, mut writer) = ws.split();
        // In this order: from then on others wait until nothing is kept any more.
        self.shared.connected(writer.clone());
        let behind = !self.shared.hand_over(&mut writer);
        self.phase = Phase::Live(Box::new(Live { reader, writer, since: now(), behind }));
        Some(Ok(Event::Connected(event)))
    }

    /// The connection has ended, or none was opened.
    fn ended(&mut self, cause: Cause) -> Item {
        self.shared.disconnected(None);
        if let Phase::Live(live) = mem::replace(&mut self.phase, Phase::Start) {
            self.backoff.note_lasted(now().saturating_duration_since(live.since));
        }
        if self.closing {
            return self.end(&Stopped::by(Why::Closed, None));
        }
        let verdict = (self.decide)(&cause);
        let cause = Arc::new(cause);
        self.attempt = Attempt { failures: 0, last: Some(cause.clone()) };
        match self.backoff.delay_for(verdict) {
            Some(delay) => {
                tracing::debug!(cause = %Chain(&*cause), ?delay, "disconnected");
                self.wait(delay, &cause);
                Some(Ok(Event::Disconnected(Disconnected { cause, retry_in: delay })))
            }
            None => {
                let why = match verdict {
                    Verdict::Stop => Why::Verdict,
                    _ => Why::Failures,
                };
                self.end(&Stopped::by(why, cause))
            }
        }
    }

    fn wait(&mut self, delay: Duration, cause: &Arc<Cause>) {
        let sleep = Box::pin(tokio::time::sleep(delay));
        let (until, cause) = (sleep.deadline(), cause.clone());
        self.shared.state.send_replace(State::Waiting { until, cause });
        self.phase = Phase::Waiting(sleep);
    }

    /// No other attempt will be made.
    fn end(&mut self, stopped: &Stopped) -> Item {
        tracing::debug!(why = %Chain(stopped), "no longer reconnecting");
        self.phase = Phase::Ended;
        self.shared.stop(stopped);
        if stopped.is_closed() { None } else { Some(Err(stopped.clone())) }
    }

    /// Gives up what is being done, for a new attempt.
    fn reconnect(&mut self) -> Option<Item> {
        if self.closing || matches!(self.phase, Phase::Ended) {
            return None;
        }
        self.backoff.reset();
        let Phase::Live(live) = mem::replace(&mut self.phase, Phase::Start) else { return None };
        self.shared.disconnected(None);
        live.leave();
        let cause = Arc::new(Cause::Requested);
        self.attempt.last = Some(cause.clone());
        let event = Disconnected { cause, retry_in: Duration::ZERO };
        self.shared.state.send_replace(State::Connecting);
        Some(Some(Ok(Event::Disconnected(event))))
    }
}
