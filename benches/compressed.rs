//! Compressed messages of a client as bytes.

use flate2::{Compress, Compression, FlushCompress};

use crate::support::Result;

/// A compressed binary message in one frame (RFC 7692 section 7.2.1), which refers to no other.
pub(crate) fn compressed(message: &[u8]) -> Result<Vec<u8>> {
    Ok(tautline_wire::encode(true, 0xc2, &deflated(message)?))
}

/// The payload of such a message.
pub(crate) fn deflated(message: &[u8]) -> Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(message.len() + 64);
    compress.compress_vec(message, &mut out, FlushCompress::Sync)?;
    if !out.ends_with(&[0, 0, 0xff, 0xff]) {
        return Err("an incomplete block".into());
    }
    out.truncate(out.len() - 4);
    Ok(out)
}
