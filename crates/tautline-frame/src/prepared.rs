//! A message that is framed, and compressed, once for all who get it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use crate::compression::Compress;
use crate::config::CHAIN_THRESHOLD;
use crate::header::{Header, Rsv};
use crate::message::{Kind, Message};

/// A message for many connections: its frame is made once, and so is its compressed form for each
/// set of compression parameters that the connections have agreed on, when it is first needed.
/// Clones share all of that.
///
/// ```
/// use std::time::Instant;
/// use bytes::Buf;
/// use tautline_frame::{Config, Prepared, Protocol, Role};
///
/// let price = Prepared::new("101.25");
/// for _ in 0..3 {
///     let mut server = Protocol::new(Role::Server, Config::new(), Instant::now());
///     server.send_prepared(&price)?;
///     assert_eq!(server.queue().chunk(), b"\x81\x06101.25");
/// }
/// # Ok::<(), tautline_frame::SendError>(())
/// ```
#[derive(Clone)]
pub struct Prepared {
    shared: Arc<Shared>,
    compress: Compress,
}

#[derive(Debug)]
struct Shared {
    message: Message,
    payload: Bytes,
    frame: Frame,
    compressed: Form,
}

/// A frame of a server, which is not masked and so the same for all.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The header, and the payload behind it if it is short.
    pub(crate) head: Bytes,
    pub(crate) payload: Bytes,
}

/// What a compressed form depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) window_bits: u8,
    pub(crate) level: u8,
    /// Even if it does not become smaller.
    pub(crate) always: bool,
}

/// One compressed form, and the next one: a list that only grows, by one for each set of parameters
/// in use, and is read without a lock.
#[derive(Debug, Default)]
struct Form {
    made: OnceLock<(Parameters, Option<Compressed>)>,
    next: OnceLock<Box<Form>>,
}

/// The compressed form for connections with the same parameters.
#[derive(Clone, Debug)]
pub(crate) struct Compressed {
    /// Compressed, for those who mask it or send it in fragments.
    pub(crate) payload: Bytes,
    pub(crate) frame: Frame,
}

impl Prepared {
    /// Prepares a message.
    #[must_use]
    pub fn new(message: impl Into<Message>) -> Self {
        let message = message.into();
        let (frame, payload) = Frame::new(message.kind(), Rsv::NONE, message.clone().into_bytes());
        // The part of the frame, or a message that waits would hold a short payload twice.
        let message = message.kind().message(payload.clone()).unwrap_or(message);
        let shared = Arc::new(Shared { message, payload, frame, compressed: Form::default() });
        Self { shared, compress: Compress::Auto }
    }

    /// Whether to compress it, where that was agreed on. Default: [`Compress::Auto`]; a message
    /// whose length depends on a secret is better sent with [`Compress::Never`].
    #[must_use]
    pub fn compress(mut self, compress: Compress) -> Self {
        self.compress = compress;
        self
    }

    pub(crate) const fn compression(&self) -> Compress {
        self.compress
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.shared.message
    }

    pub(crate) fn payload(&self) -> &Bytes {
        &self.shared.payload
    }

    pub(crate) fn frame(&self) -> &Frame {
        &self.shared.frame
    }

    /// The form for these parameters, which `compress` makes if it was not needed before: `None` if
    /// the message is to go out as it is.
    pub(crate) fn compressed(
        &self,
        parameters: Parameters,
        compress: impl FnOnce(&Message) -> Option<Bytes>,
    ) -> Option<&Compressed> {
        let mut compress = Some(compress);
        let mut form = &self.shared.compressed;
        loop {
            let (made_for, made) = form.made.get_or_init(|| {
                let payload = compress.take().and_then(|compress| compress(&self.shared.message));
                let compressed = payload.map(|payload| {
                    let kind = self.shared.message.kind();
                    let (frame, payload) = Frame::new(kind, Rsv::RSV1, payload);
                    Compressed { payload, frame }
                });
                (parameters, compressed)
            });
            if *made_for == parameters {
                return made.as_ref();
            }
            form = form.next.get_or_init(Box::default);
        }
    }
}

impl<M: Into<Message>> From<M> for Prepared {
    fn from(message: M) -> Self {
        Self::new(message)
    }
}

/// Without the payload, which does not belong in logs.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("kind", &self.shared.message.kind())
            .field("len", &self.shared.message.len())
            .finish_non_exhaustive()
    }
}

impl Frame {
    /// The frame, and its payload, which is a part of it if it is short.
    fn new(kind: Kind, rsv: Rsv, payload: Bytes) -> (Self, Bytes) {
        let len = payload.len();
        let header = Header { fin: true, rsv, opcode: kind.opcode(), mask: None, len: len as u64 };
        let copied = if len < CHAIN_THRESHOLD { len } else { 0 };
        let mut head = BytesMut::with_capacity(Header::MAX_LEN + copied);
        header.append(&mut head);
        if copied < len {
            return (Self { head: head.freeze(), payload: payload.clone() }, payload);
        }
        let start = head.len();
        head.put_slice(&payload);
        let head = head.freeze();
        let payload = head.slice(start..);
        (Self { head, payload: Bytes::new() }, payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_made_once_for_all() {
        let prepared = Prepared::new("abc");
        let form = |window_bits| Parameters { window_bits, level: 6, always: false };
        let mut made = Vec::new();
        for bits in [9, 15, 9, 12, 15, 12, 9] {
            let clone = prepared.clone();
            let compressed = clone.compressed(form(bits), |_| {
                made.push(bits);
                (bits != 12).then(|| Bytes::from(vec![bits]))
            });
            let payload = compressed.map(|compressed| compressed.payload.to_vec());
            assert_eq!(payload, (bits != 12).then(|| vec![bits]));
        }
        assert_eq!(made, [9, 15, 12], "also the one that is not worth it");
    }

    #[test]
    fn threads_that_need_different_forms_at_once_get_their_own() {
        for _ in 0..100 {
            let prepared = Prepared::new("abc");
            std::thread::scope(|scope| {
                for bits in [9, 10, 11, 9, 10, 11] {
                    let prepared = prepared.clone();
                    scope.spawn(move || {
                        let parameters = Parameters { window_bits: bits, level: 1, always: true };
                        let compressed =
                            prepared.compressed(parameters, |_| Some(Bytes::from(vec![bits])));
                        assert_eq!(compressed.unwrap().payload, [bits][..]);
                    });
                }
            });
        }
    }
}
