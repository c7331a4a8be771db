//! What happens to a connection that its user drops while it is open.
//!
//! The connection of a server moves to a task that closes it in order: with 1000 if its handler
//! returned `Ok`, with 1011 after an error or a panic. Any other connection writes what it can at
//! once, including a Close, and is gone.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tautline_frame::CloseCode;
use tautline_frame::session::{Listener, Session};

use crate::connection::{Connection, close_on_drop};
use crate::error::BoxError;
use crate::handler::HandlerResult;
use crate::tasks::{Place, PlaceId};
use crate::timer::now;
use crate::transport::Transport;
use crate::wakers::Wakers;

/// Hands the connection of a server to a task that closes it in order.
pub(crate) fn hand_to_server(connection: &mut Connection<Transport>) {
    let Some(place) = connection.take_place() else { return };
    if place.is_over() {
        return connection.close_at_once(CloseCode::GOING_AWAY);
    }
    let id = place.id();
    let mut left = Box::new(connection.take());
    left.keep_place(place, close_on_drop);
    if let Some(left) = keep(id, left) {
        // It was not dropped by its handler, which may have returned long ago.
        close(left, ended(!std::thread::panicking()));
    }
}

const fn ended(well: bool) -> CloseCode {
    if well { CloseCode::NORMAL } else { CloseCode::INTERNAL_ERROR }
}

/// The handler that this thread is polling.
#[derive(Clone, Copy)]
struct Polled {
    place: PlaceId,
    /// Its connection was dropped meanwhile, and is in [`LEFT`].
    left: bool,
}

type Left = (PlaceId, Box<Connection<Transport>>);

thread_local! {
    static POLLED: Cell<Option<Polled>> = const { Cell::new(None) };
    /// Nearly always empty: of the handlers that are being polled, one within the other.
    static LEFT: RefCell<Vec<Left>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the connection for [`poll_handler`] if it belongs to the handler being polled; returns it
/// if not.
fn keep(id: PlaceId, left: Box<Connection<Transport>>) -> Option<Box<Connection<Transport>>> {
    let mut left = Some(left);
    if let Some(polled) = POLLED.get().filter(|polled| polled.place == id) {
        // If the list is gone, the thread is ending and polls no handler.
        let _ = LEFT.try_with(|list| list.borrow_mut().extend(left.take().map(|left| (id, left))));
        POLLED.set(Some(Polled { left: true, ..polled }));
    }
    left
}

#[cold]
fn take_left(id: PlaceId) -> Option<Box<Connection<Transport>>> {
    LEFT.with_borrow_mut(|list| {
        let at = list.iter().position(|(of, _)| *of == id)?;
        Some(list.swap_remove(at).1)
    })
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
/// Handlers are polled often: all that this does before and after is to set a few words of the
/// thread.
pub(crate) fn poll_handler<F>(
    place: &Place,
    mut handler: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Poll<Ended>
where
    F: Future<Output: HandlerResult> + 'static,
{
    let id = place.id();
    let outer = POLLED.replace(Some(Polled { place: id, left: false }));
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
    if let Some(Polled { left: true, .. }) = POLLED.replace(outer) {
        while let Some(left) = take_left(id) {
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
