//! Errors of Redis, as a hub has to know them.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::broker::BrokerError;

/// What the error means for whoever asked.
pub(super) fn broker_error(error: RedisError) -> BrokerError {
    match error.kind() {
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::RESP3NotSupported
        | ErrorKind::Server(ServerErrorKind::NoPerm) => BrokerError::refused(error),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => BrokerError::unexpected(error),
        ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::CrossSlot) => {
            BrokerError::unexpected(error)
        }
        ErrorKind::Extension => match error.code() {
            Some("WRONGPASS" | "NOAUTH" | "NOPROTO") => BrokerError::refused(error),
            Some("WRONGTYPE") => BrokerError::unexpected(error),
            // Among them OOM and MISCONF, which an operator mends while the server runs.
            _ => BrokerError::unavailable(error),
        },
        // Lost, too slow, loading, a replica.
        _ => BrokerError::unavailable(error),
    }
}

/// Whether the server is no longer the one to write to.
pub(super) fn is_replica(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// Whether it has forgotten our scripts.
pub(super) fn is_forgotten(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// An answer of another form than the command has.
pub(super) fn odd(command: &'static str) -> BrokerError {
    BrokerError::unexpected(format!("the answer to {command} has another form"))
}
