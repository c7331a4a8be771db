//! The task of a connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::accept::AcceptError;
use crate::connections::report;
use crate::error::Chain;
use crate::handler::HandlerResult;
use crate::parting::poll_handler;
use crate::tasks::Place;

/// The task of a connection: the handshake, which returns the handler's future, and then that
/// future. Whatever it holds while the handler runs adds to the size of every idle connection.
///
/// `_kept` is dropped with it.
pub(super) async fn serve_one<O, Fut, K>(opening: Pin<Box<O>>, place: Place, _kept: K)
where
    O: Future<Output = Result<Option<Fut>, AcceptError>>,
    Fut: Future<Output: HandlerResult> + 'static,
{
    let handling = match opened(opening).await {
        Ok(Some(handling)) => handling,
        Ok(None) => return,
        Err(error) => return tracing::debug!(error = %Chain(&error), "connection not accepted"),
    };
    let mut handling = pin!(Some(handling));
    let ended = poll_fn(|cx| poll_handler(&place, handling.as_mut(), cx)).await;
    report(ended, &place);
}

/// What the handshake returns, which is dropped then.
async fn opened<O: Future>(mut opening: Pin<Box<O>>) -> O::Output {
    poll_fn(|cx| poll_opening(opening.as_mut(), cx)).await
}

/// Not inlined: room for what it has on the stack would be made for each message of the handler.
#[inline(never)]
fn poll_opening<O: Future>(opening: Pin<&mut O>, cx: &mut Context<'_>) -> Poll<O::Output> {
    opening.poll(cx)
}
