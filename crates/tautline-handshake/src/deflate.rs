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
mod tests {
    use super::*;
    use crate::parse_extensions;
    use http::header::SEC_WEBSOCKET_EXTENSIONS;
    use http::{HeaderMap, HeaderValue};

    fn parse(line: &str) -> Vec<Extension> {
        let mut headers = HeaderMap::new();
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(line).unwrap());
        parse_extensions(&headers).unwrap()
    }

    fn accept(config: DeflateConfig, line: &str) -> Option<String> {
        Some(config.accept(&parse(line))?.to_extension().to_string())
    }

    const PLAIN: DeflateConfig = DeflateConfig::new();

    #[test]
    fn a_server_accepts_the_first_good_offer_rfc7692_5_and_7_1() {
        for (offers, answer) in [
            ("permessage-deflate", Some("permessage-deflate")),
            ("permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
            ("x-webkit-deflate-frame, permessage-deflate", Some("permessage-deflate")),
            // Section 7.1.1.1: granted means echoed. Section 7.1.1.2: a hint that we take up.
            (
                "permessage-deflate; server_no_context_takeover",
                Some("permessage-deflate; server_no_context_takeover"),
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                Some("permessage-deflate; client_no_context_takeover"),
            ),
            // Section 7.1.2.1: answered even when it says what is the default anyway.
            (
                "permessage-deflate; server_max_window_bits=15",
                Some("permessage-deflate; server_max_window_bits=15"),
            ),
            (
                "permessage-deflate; server_max_window_bits=\"10\"",
                Some("permessage-deflate; server_max_window_bits=10"),
            ),
            // A window of 8 bits is fine for the peer's compressor, not for ours.
            (
                "permessage-deflate; client_max_window_bits=8",
                Some("permessage-deflate; client_max_window_bits=8"),
            ),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate",
                Some("permessage-deflate"),
            ),
            ("permessage-deflate; server_max_window_bits=8", None),
            // Declined, then the next one is tried.
            ("permessage-deflate; unknown, permessage-deflate", Some("permessage-deflate")),
            ("permessage-deflate; __proto__", None),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_no_context_takeover=1", None),
            ("permessage-deflate; client_no_context_takeover=true", None),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
            ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
            ("permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", None),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
            ("permessage-deflate-2", None),
            ("PERMESSAGE-DEFLATE", None),
        ] {
            assert_eq!(accept(PLAIN, offers).as_deref(), answer, "{offers}");
        }
    }

    /// undici CVE-2026-2229: `server_max_window_bits=1000` reached the inflater and ended the process.
    #[test]
    fn window_bits_are_8_to_15_without_leading_zero_rfc7692_7_1_2() {
        for bits in 8..=15u8 {
            assert_eq!(window_bits(&bits.to_string()), Ok(bits));
        }
        for value in
            ["", "0", "7", "16", "19", "20", "80", "1000", "08", "015", "+9", "-9", "9x", "9.0"]
        {
            assert_eq!(window_bits(value), Err(DeflateError::Value), "{value:?}");
        }
        for value in ["0", "7", "16", "1000", "08", "+9", "9x", "\"16\"", "\"08\""] {
            for name in ["server_max_window_bits", "client_max_window_bits"] {
                let line = format!("permessage-deflate; {name}={value}");
                assert_eq!(accept(PLAIN, &line), None, "{line}");
                let answer = PLAIN.check_answer(&parse(&line)[0]);
                assert_eq!(answer, Err(DeflateError::Value), "{line}");
            }
        }
    }

    #[test]
    fn a_server_keeps_to_its_own_wishes() {
        let config = DeflateConfig::new()
            .server_no_context_takeover(true)
            .client_no_context_takeover(true)
            .server_max_window_bits(11)
            .client_max_window_bits(10);
        for (offer, answer) in [
            // Section 7.1.2.2: the client's window may be set only when the offer has the parameter.
            ("permessage-deflate", "server_max_window_bits=11"),
            (
                "permessage-deflate; client_max_window_bits",
                "server_max_window_bits=11; client_max_window_bits=10",
            ),
            (
                "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
                "server_max_window_bits=9; client_max_window_bits=9",
            ),
            (
                "permessage-deflate; client_max_window_bits=15; server_max_window_bits=15",
                "server_max_window_bits=11; client_max_window_bits=10",
            ),
        ] {
            let prefix =
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
            assert_eq!(accept(config, offer), Some(format!("{prefix}; {answer}")), "{offer}");
        }
    }

    #[test]
    fn own_windows_are_brought_into_9_to_15() {
        for (bits, kept) in [(0, 9), (8, 9), (9, 9), (15, 15), (16, 15), (255, 15)] {
            let config = DeflateConfig::new().server_max_window_bits(bits);
            assert_eq!(config, DeflateConfig { server_max_window_bits: kept, ..PLAIN });
            let config = DeflateConfig::new().client_max_window_bits(bits);
            assert_eq!(config, DeflateConfig { client_max_window_bits: kept, ..PLAIN });
        }
    }

    #[test]
    fn a_client_takes_what_its_offer_allows() {
        let config =
            DeflateConfig::new().server_no_context_takeover(true).server_max_window_bits(12);
        let limited = DeflateConfig::new().client_max_window_bits(10);
        for (config, answer, windows) in [
            (PLAIN, "permessage-deflate", (15, 15)),
            (PLAIN, "permessage-deflate; server_max_window_bits=8", (8, 15)),
            (PLAIN, "permessage-deflate; client_max_window_bits=9", (15, 9)),
            (PLAIN, "permessage-deflate; client_max_window_bits=\"15\"", (15, 15)),
            (limited, "permessage-deflate", (15, 10)),
            (limited, "permessage-deflate; client_max_window_bits=12", (15, 10)),
            (
                config,
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
                (12, 15),
            ),
        ] {
            let params = config.check_answer(&parse(answer)[0]).unwrap();
            let found = (params.server_max_window_bits(), params.client_max_window_bits());
            assert_eq!(found, windows, "{answer}");
        }
    }

    #[test]
    fn a_client_fails_on_any_other_answer_rfc7692_7_1() {
        let config =
            DeflateConfig::new().server_no_context_takeover(true).server_max_window_bits(12);
        for (config, answer, error) in [
            (PLAIN, "permessage-deflate; unknown=1", DeflateError::UnknownParameter),
            (
                PLAIN,
                "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
                DeflateError::RepeatedParameter,
            ),
            (PLAIN, "permessage-deflate; client_max_window_bits", DeflateError::Value),
            (PLAIN, "permessage-deflate; server_max_window_bits", DeflateError::Value),
            (PLAIN, "permessage-deflate; client_no_context_takeover=0", DeflateError::Value),
            (PLAIN, "permessage-deflate; client_max_window_bits=8", DeflateError::WindowTooSmall),
            (config, "permessage-deflate; server_max_window_bits=12", DeflateError::NotGranted),
            (config, "permessage-deflate; server_no_context_takeover", DeflateError::NotGranted),
            (
                config,
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=13",
                DeflateError::NotGranted,
            ),
        ] {
            assert_eq!(config.check_answer(&parse(answer)[0]), Err(error), "{answer}");
        }
    }

    #[test]
    fn what_our_server_answers_our_client_accepts() {
        let configs = [
            PLAIN,
            PLAIN.server_max_window_bits(9),
            PLAIN.client_max_window_bits(9).client_no_context_takeover(true),
            PLAIN.server_no_context_takeover(true).server_max_window_bits(12),
        ];
        for client in configs {
            for server in configs {
                let params = server.accept(&[client.offer()]).unwrap();
                let seen = client.check_answer(&params.to_extension()).unwrap();
                assert_eq!(seen, params, "{client:?} {server:?}");
            }
        }
    }
}
