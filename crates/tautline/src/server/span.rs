//! The span of a connection, with the fields of OpenTelemetry's conventions for HTTP servers. Without
//! a subscriber it costs a comparison, and no memory beyond its place in the task.

use http::{Request, StatusCode, Version};
use tracing::{Span, field};

use crate::transport::Peer;

/// One for each WebSocket, or for what a connection was for instead.
pub(super) fn of(peer: &Peer) -> Span {
    let span = tracing::debug_span!(
        "connection",
        %peer,
        client = field::Empty,
        otel.kind = "server",
        client.address = field::Empty,
        client.port = field::Empty,
        network.protocol.name = field::Empty,
        network.protocol.version = field::Empty,
        url.scheme = field::Empty,
        url.path = field::Empty,
        http.request.method = field::Empty,
        http.response.status_code = field::Empty,
        user_agent.original = field::Empty,
    );
    record_client(&span, peer);
    span
}

/// Who asks, as far as the server knows by now.
pub(super) fn record_client(span: &Span, client: &Peer) {
    if !span.is_disabled()
        && let Some(addr) = client.addr()
    {
        span.record("client.address", field::display(addr.ip()));
        span.record("client.port", addr.port());
    }
}

/// What was asked for, without query and credentials.
pub(super) fn record_request(request: &Request<()>) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    span.record("network.protocol.name", "http");
    span.record("network.protocol.version", version(request.version()));
    if let Some(scheme) = request.uri().scheme_str() {
        span.record("url.scheme", scheme);
    }
    span.record("url.path", request.uri().path());
    span.record("http.request.method", request.method().as_str());
    if let Some(Ok(agent)) = request.headers().get("user-agent").map(|agent| agent.to_str()) {
        span.record("user_agent.original", agent);
    }
}

/// The answer that opened a WebSocket.
pub(super) fn record_opened(version: Version) {
    let switched = version < Version::HTTP_2;
    record_answer(if switched { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK });
}

/// Any other answer.
pub(super) fn record_answer(status: StatusCode) {
    Span::current().record("http.response.status_code", status.as_u16());
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
