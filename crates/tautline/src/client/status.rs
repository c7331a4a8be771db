//! Which answers of a server are temporary.

use http::StatusCode;

/// Whether a server with this answer may answer differently later (RFC 9110 section 15, RFC 6585
/// section 4, RFC 8470 section 5.2).
pub(super) fn is_temporary(status: StatusCode) -> bool {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
        status => status.is_server_error(),
    }
}
