//! Negotiation of `permessage-deflate` (RFC 7692 sections 5 and 7.1). Compression itself is not here.

use std::fmt;

use crate::extension::{Extension, Param};

/// The extension's name (RFC 7692 section 7).
pub(crate) const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The largest LZ77 window, 32 KiB, which is also the default (RFC 7692 section 7.1.2).
const MAX_BITS: u8 = 15;

/// The smallest window of the RFC, 256 bytes: accepted for the peer's compressor only.
const MIN_BITS: u8 = 8;

/// The smallest window of our own compressor: zlib and its kin cannot compress with 8 bits.
const MIN_OWN_BITS: u8 = 9;

/// What this side wants of `permessage-deflate`; the same type for client and server.
///
/// The default asks for nothing: both windows of 15 bits, both contexts kept.
///
/// ```
/// use tautline_handshake::DeflateConfig;
///
/// let config = DeflateConfig::new().server_no_context_takeover(true).server_max_window_bits(12);
/// assert_eq!(
///     config.offer().to_string(),
///     "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; \
///      client_max_window_bits"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateConfig {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: u8,
    client_max_window_bits: u8,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl DeflateConfig {
    /// The default: full windows, contexts kept.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: MAX_BITS,
            client_max_window_bits: MAX_BITS,
        }
    }

    /// Whether the server must start each message with an empty window (RFC 7692 section 7.1.1.1): less
    /// memory, less compression.
    #[must_use]
    pub const fn server_no_context_takeover(mut self, yes: bool) -> Self {
        self.server_no_context_takeover = yes;
        self
    }

    /// Whether the client must start each message with an empty window (RFC 7692 section 7.1.1.2).
    #[must_use]
    pub const fn client_no_context_takeover(mut self, yes: bool) -> Self {
        self.client_no_context_takeover = yes;
        self
    }

    /// The largest window with which the server compresses, as a power of two in bytes; brought into
    /// 9 to 15 (RFC 7692 section 7.1.2.1; 8 is never asked for, as common compressors cannot do it).
    #[must_use]
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = clamp(bits);
        self
    }

    /// The largest window with which the client compresses, as a power of two in bytes; brought into
    /// 9 to 15 (RFC 7692 section 7.1.2.2). A server can hold only those clients to it whose offer
    /// has `client_max_window_bits`; browsers' offers do.
    #[must_use]
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = clamp(bits);
        self
    }

    /// The offer that a client with these wishes makes. It always has `client_max_window_bits`, so that
    /// the server may limit the window (RFC 7692 section 7.1.2.2).
    #[must_use]
    pub fn offer(&self) -> Extension {
        let mut offer = Extension::new(NAME);
        if self.server_no_context_takeover {
            offer.push(SERVER_NO_CONTEXT_TAKEOVER, None);
        }
        if self.client_no_context_takeover {
            offer.push(CLIENT_NO_CONTEXT_TAKEOVER, None);
        }
        if self.server_max_window_bits < MAX_BITS {
            offer.push(SERVER_MAX_WINDOW_BITS, Some(self.server_max_window_bits));
        }
        let hint = Some(self.client_max_window_bits).filter(|&bits| bits < MAX_BITS);
        offer.push(CLIENT_MAX_WINDOW_BITS, hint);
        offer
    }

    /// A server's choice among the offers of a client: the first that it can accept, or `None` to go on
    /// without compression. Offers with unknown, repeated or malformed parameters are declined, never
    /// an error (RFC 7692 sections 5.1 and 7.1); so is one that limits our own compressor to 8 bits.
    #[must_use]
    pub fn accept(&self, offers: &[Extension]) -> Option<DeflateParams> {
        offers
            .iter()
            .filter(|offer| is_deflate(offer))
            .find_map(|offer| self.accept_one(offer).ok())
    }

    fn accept_one(&self, offer: &Extension) -> Result<DeflateParams, DeflateError> {
        let offer = Fields::read(&offer.params, Side::Offer)?;
        let server_max_window_bits = match offer.server_max_window_bits {
            Some(bits) if bits < MIN_OWN_BITS => return Err(DeflateError::WindowTooSmall),
            // Section 7.1.2.1: what was asked for is answered, with that value or a smaller one.
            Some(bits) => Some(bits.min(self.server_max_window_bits)),
            None => Some(self.server_max_window_bits).filter(|&bits| bits < MAX_BITS),
        };
        // Section 7.1.2.2: only an offer that has the parameter lets the server set it.
        let client_max_window_bits = match offer.client_max_window_bits {
            Some(hint) => Some(hint.unwrap_or(MAX_BITS).min(self.client_max_window_bits))
                .filter(|&bits| bits < MAX_BITS),
            None => None,
        };
        Ok(DeflateParams {
            server_no_context_takeover: offer.server_no_context_takeover
                || self.server_no_context_takeover,
            client_no_context_takeover: offer.client_no_context_takeover
                || self.client_no_context_takeover,
            server_max_window_bits,
            client_max_window_bits,
        })
    }

    /// A client's check of the server's answer to [`offer`](Self::offer).
    ///
    /// # Errors
    ///
    /// A [`DeflateError`] when the answer has anything that the offer does not allow; the client must
    /// then fail the connection (RFC 7692 sections 5.1 and 7.1).
    pub fn check_answer(&self, answer: &Extension) -> Result<DeflateParams, DeflateError> {
        let answer = Fields::read(&answer.params, Side::Answer)?;
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err(DeflateError::NotGranted);
        }
        // An absent parameter means 15 bits, which is more than an offer that has it allows.
        if answer.server_max_window_bits.unwrap_or(MAX_BITS) > self.server_max_window_bits {
            return Err(DeflateError::NotGranted);
        }
        // In an answer the value is always there; see `Fields::read`.
        let granted = answer.client_max_window_bits.flatten().unwrap_or(MAX_BITS);
        if granted < MIN_OWN_BITS {
            return Err(DeflateError::WindowTooSmall);
        }
        // Section 7.1.2.2: an answer above our hint, or none, leaves the hint in force for us.
        let client_max_window_bits = granted.min(self.client_max_window_bits);
        Ok(DeflateParams {
            server_no_context_takeover: answer.server_no_context_takeover,
            client_no_context_takeover: answer.client_no_context_takeover
                || self.client_no_context_takeover,
            server_max_window_bits: answer.server_max_window_bits,
            client_max_window_bits: Some(client_max_window_bits).filter(|&bits| bits < MAX_BITS),
        })
    }
}

const fn clamp(bits: u8) -> u8 {
    match bits {
        0..MIN_OWN_BITS => MIN_OWN_BITS,
        MIN_OWN_BITS..=MAX_BITS => bits,
        _ => MAX_BITS,
    }
}

pub(crate) fn is_deflate(extension: &Extension) -> bool {
    extension.name == NAME
}

/// What both sides agreed on: how each compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateParams {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl DeflateParams {
    /// Whether the server starts each message with an empty window.
    #[must_use]
    pub const fn server_no_context_takeover(&self) -> bool {
        self.server_no_context_takeover
    }

    /// Whether the client starts each message with an empty window.
    #[must_use]
    pub const fn client_no_context_takeover(&self) -> bool {
        self.client_no_context_takeover
    }

    /// The largest window with which the server compresses: 8 to 15, and at a server 9 to 15.
    #[must_use]
    pub fn server_max_window_bits(&self) -> u8 {
        self.server_max_window_bits.unwrap_or(MAX_BITS)
    }

    /// The largest window with which the client compresses: 8 to 15, and at a client 9 to 15.
    #[must_use]
    pub fn client_max_window_bits(&self) -> u8 {
        self.client_max_window_bits.unwrap_or(MAX_BITS)
    }

    /// The server's answer that says so.
    #[must_use]
    pub fn to_extension(&self) -> Extension {
        let mut answer = Extension::new(NAME);
        if self.server_no_context_takeover {
            answer.push(SERVER_NO_CONTEXT_TAKEOVER, None);
        }
        if self.client_no_context_takeover {
            answer.push(CLIENT_NO_CONTEXT_TAKEOVER, None);
        }
        if self.server_max_window_bits.is_some() {
            answer.push(SERVER_MAX_WINDOW_BITS, self.server_max_window_bits);
        }
        if self.client_max_window_bits.is_some() {
            answer.push(CLIENT_MAX_WINDOW_BITS, self.client_max_window_bits);
        }
        answer
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Offer,
    Answer,
}

/// The four parameters as written. A window of the client is `Some(None)` when it stands without a value.
#[derive(Default)]
struct Fields {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<Option<u8>>,
}

impl Fields {
    fn read(params: &[Param], side: Side) -> Result<Self, DeflateError> {
        let mut fields = Self::default();
        for Param { name, value } in params {
            let value = value.as_deref();
            let repeated = match name.as_str() {
                SERVER_NO_CONTEXT_TAKEOVER => {
                    no_value(value)?;
                    std::mem::replace(&mut fields.server_no_context_takeover, true)
                }
                CLIENT_NO_CONTEXT_TAKEOVER => {
                    no_value(value)?;
                    std::mem::replace(&mut fields.client_no_context_takeover, true)
                }
                SERVER_MAX_WINDOW_BITS => {
                    let bits = window_bits(value.ok_or(DeflateError::Value)?)?;
                    fields.server_max_window_bits.replace(bits).is_some()
                }
                CLIENT_MAX_WINDOW_BITS => {
                    let bits = match value {
                        // Section 7.1.2.2: it may stand bare in an offer, not in an answer.
                        None if side == Side::Offer => None,
                        None => return Err(DeflateError::Value),
                        Some(value) => Some(window_bits(value)?),
                    };
                    fields.client_max_window_bits.replace(bits).is_some()
                }
                _ => return Err(DeflateError::UnknownParameter),
            };
            if repeated {
                return Err(DeflateError::RepeatedParameter);
            }
        }
        Ok(fields)
    }
}

fn no_value(value: Option<&str>) -> Result<(), DeflateError> {
    value.map_or(Ok(()), |_| Err(DeflateError::Value))
}

/// A decimal number from 8 to 15 without a leading zero (RFC 7692 section 7.1.2).
fn window_bits(value: &str) -> Result<u8, DeflateError> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] | [b'1', digit @ b'0'..=b'5'] => {
            let bits = digit - b'0';
            Ok(if value.len() == 1 { bits } else { 10 + bits })
        }
        _ => Err(DeflateError::Value),
    }
}

const _: () = assert!(MIN_BITS == 8 && MAX_BITS == 15); // what the patterns of `window_bits` say

/// Why a server's answer about `permessage-deflate` cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeflateError {
    /// A parameter that RFC 7692 does not define.
    UnknownParameter,
    /// A parameter stands twice.
    RepeatedParameter,
    /// A parameter lacks its value, has one that it must not have, or one outside 8 to 15.
    Value,
    /// The answer leaves out, or exceeds, what the offer demanded of the server.
    NotGranted,
    /// A window of 8 bits is demanded of our own compressor.
    WindowTooSmall,
}

impl fmt::Display for DeflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownParameter => "permessage-deflate has an unknown parameter",
            Self::RepeatedParameter => "permessage-deflate has a parameter twice",
            Self::Value => "permessage-deflate has a parameter with an invalid value",
            Self::NotGranted => "permessage-deflate was answered without what the offer demanded",
            Self::WindowTooSmall => "permessage-deflate demands a window of 8 bits of this side",
        })
    }
}

impl std::error::Error for DeflateError {}

#[cfg(test)]
mod tests;
