//! From what applications have to what the wire has, in the format of a client.

use std::time::Duration;

use bytes::Bytes;

use super::codes::{ClientError, Unsubscribe};
use super::data::{ClientInfo, Expiry, Publication, Refresher};
use super::format::Format;
use super::payload::{NotJson, Payload};
use super::wire;

/// As in Centrifuge: a client waits for it with a timer.
const MAX_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn payload(payload: &Payload, format: Format) -> Result<Bytes, NotJson> {
    match format {
        Format::Json => payload.checked(),
        #[cfg(feature = "centrifuge-protobuf")]
        Format::Protobuf => Ok(payload.clone().into_bytes()),
    }
}

/// What a client sent.
pub(super) fn from_wire(data: Bytes, format: Format) -> Payload {
    match format {
        Format::Json => Payload::from_json(data),
        #[cfg(feature = "centrifuge-protobuf")]
        Format::Protobuf => Payload::from(data),
    }
}

pub(super) fn publication(
    publication: &Publication,
    format: Format,
) -> Result<wire::Publication, NotJson> {
    Ok(wire::Publication {
        data: payload(&publication.data, format)?,
        info: publication.info.as_ref().map(|info| client_info(info, format)).transpose()?,
        offset: publication.offset,
        tags: publication.tags.clone(),
    })
}

pub(super) fn client_info(info: &ClientInfo, format: Format) -> Result<wire::ClientInfo, NotJson> {
    Ok(wire::ClientInfo {
        user: info.user.clone(),
        client: info.client.clone(),
        conn_info: payload(&info.connection, format)?,
        chan_info: payload(&info.subscription, format)?,
    })
}

pub(super) fn error(error: &ClientError) -> wire::Error {
    wire::Error {
        code: error.code(),
        message: error.message().to_owned(),
        temporary: error.is_temporary(),
    }
}

pub(super) fn unsubscribe(unsubscribe: &Unsubscribe) -> wire::Unsubscribe {
    wire::Unsubscribe { code: unsubscribe.code(), reason: unsubscribe.reason().to_owned() }
}

/// Only clients that refresh it themselves are told.
pub(super) fn expiry(expiry: Option<Expiry>) -> wire::Expiry {
    match expiry {
        Some(Expiry { after, by: Refresher::Client }) => {
            wire::Expiry { expires: true, ttl: seconds(after.min(MAX_TTL)) }
        }
        _ => wire::Expiry::default(),
    }
}

/// In whole seconds, at least one.
pub(super) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}
