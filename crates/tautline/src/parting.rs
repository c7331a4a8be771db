//! What happens to a connection that its user drops while it is open.
//!
//! The connection of a server moves to a task that closes it in order: with 1000 if its handler
//! returned `Ok`, with 1011 after an error or a panic. Any other connection writes what it can at
//! once, including a Close, and is gone.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tautline_frame::CloseCode;
use tautline_frame::session::{Listener, Session};

use crate::connection::{Connection, close_on_drop};
use crate::error::BoxError;
use crate::handler::HandlerResult;
use crate::tasks::Place;
use crate::timer::now;
use crate::transport::Transport;
use crate::wakers::Wakers;

/// Hands the connection of a server to a task that closes it in order.
pub(crate) fn hand_to_server(connection: &mut Connection<Transport>) {
    let Some(place) = connection.take_place() else { return };
    if place.is_over() {
        return connection.close_at_once(CloseCode::GOING_AWAY);
    }
    let mut left = Box::new(connection.take());
    left.keep_place(place, close_on_drop);
    let mut left = Some(left);
    // If the slot is gone, the thread is ending and polls no handler.
    let _ = KEPT.try_with(|kept| keep(&mut kept.borrow_mut(), &mut left));
    if let Some(left) = left {
        // It was not dropped by its handler, which may have returned long ago.
        close(left, ended(!std::thread::panicking()));
    }
}

const fn ended(well: bool) -> CloseCode {
    if well { CloseCode::NORMAL } else { CloseCode::INTERNAL_ERROR }
}

/// The handler that this thread is polling, and its connection if it is dropped meanwhile.
struct Polled {
    place: Place,
    left: Option<Box<Connection<Transport>>>,
}

thread_local! {
    static KEPT: RefCell<Option<Polled>> = const { RefCell::new(None) };
}

/// Keeps the connection for [`poll_handler`] if it belongs to the handler being polled.
fn keep(polled: &mut Option<Polled>, left: &mut Option<Box<Connection<Transport>>>) {
    if let Some(polled) = polled
        && let Some(place) = left.as_ref().and_then(|left| left.place())
        && place.is_same(&polled.place)
    {
        polled.left = left.take();
    }
}

/// How a handler ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Well,
    With(BoxError),
    Panicked,
}

/// Polls a handler, and closes the connection if the handler drops it. The close code depends on
/// how the handler ends, so the connection waits until the poll has returned.
///
/// The place is moved into the thread's slot and back: handlers are polled often, and this costs
/// next to nothing.
pub(crate) fn poll_handler<F>(
    place: &mut Option<Place>,
    mut handler: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Poll<Ended>
where
    F: Future<Output: HandlerResult> + 'static,
{
    let polled = place.take().map(|place| Polled { place, left: None });
    let outer = KEPT.replace(polled);
    let polling = AssertUnwindSafe(|| {
        let polled = match handler.as_mut().as_pin_mut() {
            Some(handler) => handler.poll(cx).map(HandlerResult::into_result),
            None => Poll::Ready(Ok(())),
        };
        if polled.is_ready() {
            handler.set(None);
        }
        polled
    });
    let ended = match catch_unwind(polling) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(()))) => Poll::Ready(Ended::Well),
        Ok(Poll::Ready(Err(error))) => Poll::Ready(Ended::With(error)),
        Err(_) => {
            // What the handler still owns is dropped here, so that the connection is kept if it is
            // part of that.
            let _ = catch_unwind(AssertUnwindSafe(|| handler.set(None)));
            Poll::Ready(Ended::Panicked)
        }
    };
    if let Some(polled) = KEPT.replace(outer) {
        *place = Some(polled.place);
        if let Some(left) = polled.left {
            close(left, self::ended(matches!(ended, Poll::Pending | Poll::Ready(Ended::Well))));
        }
    }
    ended
}

/// Closes in order in a task of its own, within the deadlines of the connection.
fn close(mut left: Box<Connection<Transport>>, code: CloseCode) {
    let Some(place) = left.place().map(Place::share) else { return };
    place.spawn_closer(async move {
        // A connection that is already closing continues with that.
        let _ = left.session_mut().close(code.into(), now());
        let over = |session: &mut Session| session.poll_over(Listener::Nobody, now);
        poll_fn(|cx| left.drive(Wakers::one(cx), over)).await;
    });
}
