//! The task of a connection.

use std::future::Future;
use std::pin::Pin;

use crate::accept::AcceptError;
use crate::connections::handle;
use crate::error::{BoxError, Chain};
use crate::tasks::Place;

/// The task of a connection: the handshake, which returns the handler's future, and then that
/// future. Whatever it holds while the handler runs adds to the size of every idle connection.
pub(super) async fn serve_one<O, Fut>(opening: Pin<Box<O>>, place: Place)
where
    O: Future<Output = Result<Option<Fut>, AcceptError>>,
    Fut: Future<Output = Result<(), BoxError>>,
{
    match opening.await {
        Ok(Some(handling)) => handle(handling, place).await,
        Ok(None) => {}
        Err(error) => tracing::debug!(error = %Chain(&error), "connection not accepted"),
    }
}
