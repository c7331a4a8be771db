//! Errors of NATS, as a hub has to know them.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, PublishError,
    PublishErrorKind,
};
use async_nats::{ConnectError, ConnectErrorKind};

use crate::broker::BrokerError;

pub(super) fn of_connecting(error: ConnectError) -> BrokerError {
    match error.kind() {
        ConnectErrorKind::Authentication
        | ConnectErrorKind::AuthorizationViolation
        | ConnectErrorKind::ServerParse => BrokerError::refused(error),
        _ => BrokerError::unavailable(error),
    }
}

pub(super) fn of_publishing(error: PublishError) -> BrokerError {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => BrokerError::refused(error),
        _ => BrokerError::unavailable(error),
    }
}

pub(super) fn of_creating(error: CreateStreamError) -> BrokerError {
    let refused = match error.kind() {
        CreateStreamErrorKind::EmptyStreamName | CreateStreamErrorKind::InvalidStreamName => true,
        CreateStreamErrorKind::JetStream(error) => is_refusal(error.error_code()),
        _ => false,
    };
    if refused { BrokerError::refused(error) } else { BrokerError::unavailable(error) }
}

/// Whether the server will say this again.
fn is_refusal(code: ErrorCode) -> bool {
    let refusals = [
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
        ErrorCode::JETSTREAM_NOT_ENABLED,
        ErrorCode::STREAM_NAME_EXIST,
        ErrorCode::STREAM_SUBJECT_OVERLAP,
        ErrorCode::STREAM_INVALID_CONFIG,
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED,
    ];
    refusals.contains(&code)
}

/// Whether there is no such stream.
pub(super) fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

pub(super) fn of_finding(error: GetStreamError) -> BrokerError {
    let refused = match error.kind() {
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => true,
        GetStreamErrorKind::JetStream(error) => is_refusal(error.error_code()),
        GetStreamErrorKind::Request => false,
    };
    if refused { BrokerError::refused(error) } else { BrokerError::unavailable(error) }
}
