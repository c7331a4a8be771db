//! Parsing and encoding HTTP/1.1 heads (RFC 9112), as far as the opening handshake needs it.

mod body;
mod encode;
mod read;
mod scan;

pub use body::{BodyFraming, BodyReader, body_framing};
pub use encode::{encode_request, encode_response, encode_response_to_head};
pub(crate) use encode::{put_header, put_headers};
pub use read::{RequestHeadReader, ResponseHeadReader};
pub use scan::HeadLimits;
