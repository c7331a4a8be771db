//! Negotiation of `permessage-deflate` (RFC 7692 sections 5 and 7.1): from the settings of one end
//! to what both agreed on, as this end sees it. Compression itself is elsewhere.

use std::fmt;

use tautline_frame::{Compression, Role};

use crate::extension::{Extension, Param};

/// The extension's name (RFC 7692 section 7).
pub(crate) const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The largest window, which is also the default (RFC 7692 section 7.1.2).
const MAX_BITS: u8 = Compression::MAX_WINDOW_BITS;

/// The smallest window of the RFC.
const MIN_BITS: u8 = Compression::MIN_PEER_WINDOW_BITS;

/// The smallest window with which common compressors, including ours, can compress. No smaller one
/// is ever asked for.
const MIN_OWN_BITS: u8 = Compression::MIN_OWN_WINDOW_BITS;

pub(crate) fn is_deflate(extension: &Extension<'_>) -> bool {
    extension.name == NAME
}

/// The offer of a client with these settings. It always has `client_max_window_bits`, so that the
/// server may limit the window (RFC 7692 section 7.1.2.2).
pub(crate) fn offer(compression: &Compression) -> Extension<'static> {
    let Terms { server, client } = Terms::ours(compression, Role::Client);
    let mut offer = Extension::new(NAME);
    if !server.context {
        offer.push(SERVER_NO_CONTEXT_TAKEOVER, None);
    }
    if !client.context {
        offer.push(CLIENT_NO_CONTEXT_TAKEOVER, None);
    }
    if server.bits.is_some() {
        offer.push(SERVER_MAX_WINDOW_BITS, server.bits);
    }
    offer.push(CLIENT_MAX_WINDOW_BITS, client.bits);
    offer
}

/// A server's choice among the offers of a client: the answer to the first that it can accept, and
/// what is thereby agreed on; `None` to go on without compression. Offers with unknown, repeated or
/// malformed parameters are declined, which is never an error (RFC 7692 sections 5.1 and 7.1). One
/// that limits the server's window to 8 bits, with which it cannot compress, is accepted if there
/// is no other: uncompressed messages obey any limit (section 7.1.2.1), and the client's messages
/// can still be compressed.
pub(crate) fn accept(
    compression: &Compression,
    offers: &[Extension<'_>],
) -> Option<(Extension<'static>, Compression)> {
    let mut fallback = None;
    for offer in offers.iter().filter(|offer| is_deflate(offer)) {
        match Terms::accepted(compression, offer) {
            Ok(terms) if terms.server.max_bits() >= MIN_OWN_BITS => {
                fallback = Some(terms);
                break;
            }
            Ok(terms) => fallback = fallback.or(Some(terms)),
            Err(_) => {}
        }
    }
    fallback.map(|terms| (terms.answer(), terms.seen_by(Role::Server, compression)))
}

/// A client's check of the server's answer to its [`offer`]: what is agreed on.
///
/// # Errors
///
/// A [`DeflateError`] when the answer has anything that the offer does not allow; the client must
/// then fail the connection (RFC 7692 sections 5.1 and 7.1).
pub(crate) fn check_answer(
    compression: &Compression,
    answer: &Extension<'_>,
) -> Result<Compression, DeflateError> {
    Terms::granted(compression, answer).map(|terms| terms.seen_by(Role::Client, compression))
}

/// How both ends compress, in the RFC's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    server: Sender,
    client: Sender,
}

/// How one end compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender {
    /// Whether a message may refer to earlier ones (RFC 7692 section 7.1.1).
    context: bool,
    /// The largest window as a power of two in bytes (section 7.1.2). `None` is the default, for
    /// which there is no parameter.
    bits: Option<u8>,
}

impl Sender {
    fn max_bits(self) -> u8 {
        self.bits.unwrap_or(MAX_BITS)
    }
}

impl Terms {
    /// What an end in this role wants of both.
    fn ours(compression: &Compression, role: Role) -> Self {
        let sender = |context, bits: u8| {
            // The peer may choose fewer; we do not ask for them.
            let bits = Some(bits.max(MIN_OWN_BITS)).filter(|&bits| bits < MAX_BITS);
            Sender { context, bits }
        };
        let own = sender(compression.get_own_context_takeover(), compression.get_own_window_bits());
        let peer =
            sender(compression.get_peer_context_takeover(), compression.get_peer_window_bits());
        match role {
            Role::Server => Self { server: own, client: peer },
            Role::Client => Self { server: peer, client: own },
        }
    }

    /// What a server with these settings answers to an offer.
    fn accepted(compression: &Compression, offer: &Extension<'_>) -> Result<Self, DeflateError> {
        let offer = Fields::read(&offer.params, Side::Offer)?;
        let ours = Self::ours(compression, Role::Server);
        let server_bits = match offer.server_max_window_bits {
            // Section 7.1.2.1: the answer repeats the parameter, with that value or a smaller one.
            Some(bits) => Some(bits.min(ours.server.max_bits())),
            None => ours.server.bits,
        };
        // Section 7.1.2.2: only an offer that has the parameter lets the server set it.
        let client_bits = match offer.client_max_window_bits {
            Some(hint) => Some(hint.unwrap_or(MAX_BITS).min(ours.client.max_bits()))
                .filter(|&bits| bits < MAX_BITS),
            None => None,
        };
        let server_context = ours.server.context && !offer.server_no_context_takeover;
        let client_context = ours.client.context && !offer.client_no_context_takeover;
        Ok(Self {
            server: Sender { context: server_context, bits: server_bits },
            client: Sender { context: client_context, bits: client_bits },
        })
    }

    /// What the answer to the offer of a client with these settings grants.
    fn granted(compression: &Compression, answer: &Extension<'_>) -> Result<Self, DeflateError> {
        let answer = Fields::read(&answer.params, Side::Answer)?;
        let ours = Self::ours(compression, Role::Client);
        if !ours.server.context && !answer.server_no_context_takeover {
            return Err(DeflateError::NotGranted);
        }
        // An absent parameter means 15 bits, which is more than an offer that has it allows.
        if answer.server_max_window_bits.unwrap_or(MAX_BITS) > ours.server.max_bits() {
            return Err(DeflateError::NotGranted);
        }
        // In an answer the value is always present; see `Fields::read`.
        let client_bits = answer.client_max_window_bits.flatten().unwrap_or(MAX_BITS);
        // Section 7.1.2.2: an answer above our hint, or none, leaves the hint in force for us. 8
        // bits is within what the offer allows, so it is no reason to fail: this end then
        // compresses nothing.
        let client_bits = client_bits.min(ours.client.max_bits());
        let client_context = ours.client.context && !answer.client_no_context_takeover;
        Ok(Self {
            server: Sender {
                context: !answer.server_no_context_takeover,
                bits: answer.server_max_window_bits,
            },
            client: Sender {
                context: client_context,
                bits: Some(client_bits).filter(|&bits| bits < MAX_BITS),
            },
        })
    }

    /// The server's answer with these terms.
    fn answer(&self) -> Extension<'static> {
        let mut answer = Extension::new(NAME);
        if !self.server.context {
            answer.push(SERVER_NO_CONTEXT_TAKEOVER, None);
        }
        if !self.client.context {
            answer.push(CLIENT_NO_CONTEXT_TAKEOVER, None);
        }
        if self.server.bits.is_some() {
            answer.push(SERVER_MAX_WINDOW_BITS, self.server.bits);
        }
        if self.client.bits.is_some() {
            answer.push(CLIENT_MAX_WINDOW_BITS, self.client.bits);
        }
        answer
    }

    /// The settings of the end in this role, narrowed to these terms.
    fn seen_by(&self, role: Role, compression: &Compression) -> Compression {
        let (own, peer) = match role {
            Role::Server => (self.server, self.client),
            Role::Client => (self.client, self.server),
        };
        // A peer may limit this end to less than it can compress with: then it sends uncompressed,
        // which obeys any limit.
        let can_compress = own.max_bits() >= MIN_OWN_BITS;
        compression
            .own_compression(can_compress && compression.get_own_compression())
            .own_context_takeover(own.context)
            .own_window_bits(own.max_bits())
            .peer_context_takeover(peer.context)
            .peer_window_bits(peer.max_bits())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Offer,
    Answer,
}

/// The four parameters as written. The client's window is `Some(None)` when the parameter has no
/// value.
#[derive(Default)]
struct Fields {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<Option<u8>>,
}

impl Fields {
    fn read(params: &[Param<'_>], side: Side) -> Result<Self, DeflateError> {
        let mut fields = Self::default();
        for Param { name, value } in params {
            let value = value.as_deref();
            let repeated = match *name {
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
                        // Section 7.1.2.2: it may lack a value in an offer, not in an answer.
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

/// Why a server's answer for `permessage-deflate` cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeflateError {
    /// A parameter that RFC 7692 does not define.
    UnknownParameter,
    /// A parameter appears twice.
    RepeatedParameter,
    /// A parameter lacks its value, has one that it must not have, or has one outside 8 to 15.
    Value,
    /// The answer leaves out, or exceeds, what the offer required of the server.
    NotGranted,
}

impl fmt::Display for DeflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownParameter => "permessage-deflate has an unknown parameter",
            Self::RepeatedParameter => "permessage-deflate has a parameter twice",
            Self::Value => "permessage-deflate has a parameter with an invalid value",
            Self::NotGranted => "permessage-deflate was answered without what the offer demanded",
        })
    }
}

impl std::error::Error for DeflateError {}

#[cfg(test)]
mod tests;
