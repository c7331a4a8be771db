//! The futures of the loop that every user has: receive, send. Written out, where `poll_fn` would do, so that they are inlined
//! into that loop whatever the compiler thinks of their length: a message that is handed on in memory costs more than all
//! that is done with it (see `protocol/fast_path.rs` of the frame crate). Handlers wait with them in their own futures, so that they hold
//! a message once and nothing that could be done without.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tautline_frame::{Compress, Message};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::Connection;
use tautline_frame::session::Error;

/// Receives a message.
pub(crate) struct Next<'a, S> {
    pub(crate) connection: &'a mut Connection<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Next<'_, S> {
    type Output = Option<Result<Message, Error>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().connection.poll_next_seated(cx)
    }
}

/// Queues a message.
pub(crate) struct Feed<'a, S> {
    pub(crate) connection: &'a mut Connection<S>,
    pub(crate) message: Option<Message>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Feed<'_, S> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { connection, message } = self.get_mut();
        connection.poll_feed_seated(message, Compress::Auto, cx)
    }
}

/// Queues a message and writes all that is queued.
pub(crate) struct Sending<'a, S> {
    pub(crate) connection: &'a mut Connection<S>,
    pub(crate) message: Option<Message>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Sending<'_, S> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { connection, message } = self.get_mut();
        ready!(connection.poll_feed_seated(message, Compress::Auto, cx))?;
        connection.poll_flush_seated(cx)
    }
}
