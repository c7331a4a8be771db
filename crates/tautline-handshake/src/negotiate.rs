//! What both ends agree on, whatever the version of HTTP: subprotocols and extensions (RFC 6455
//! sections 1.9, 4.1, 4.2.2, 9.1). Origins are compared in `origin`.

use std::fmt;

use http::header::{
    HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
};
use tautline_frame::Compression;

use crate::deflate::{self, is_deflate};
use crate::error::{BuildError, HandshakeError};
use crate::extension::{Extension, parse_extensions};
use crate::response::ResponseError;
use crate::subprotocol;
use crate::token::{Lines, lines, trim_ows};

/// What client and server agreed on, as seen by the end that holds this.
///
/// `Debug` does not show the subprotocol: some clients pass a token in it.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreed {
    /// The subprotocol that the server chose among the offered ones.
    pub subprotocol: Option<String>,
    /// How this end compresses, and what it expects of its peer: its settings, narrowed to what was
    /// agreed on. `None` if messages are not compressed.
    pub compression: Option<Compression>,
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreed")
            .field("subprotocol", &self.subprotocol.is_some())
            .field("compression", &self.compression)
            .finish()
    }
}

/// What a client offers, read from the headers of its request, which this borrows.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use tautline_handshake::Offer;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("sec-websocket-protocol", HeaderValue::from_static("chat, superchat"));
/// let offer = Offer::read(&headers)?;
/// assert_eq!(offer.subprotocols(), ["chat", "superchat"]);
/// assert_eq!(offer.select_subprotocol(&["superchat", "chat"]), Some("superchat"));
/// # Ok::<(), tautline_handshake::HandshakeError>(())
/// ```
#[derive(Clone)]
pub struct Offer<'a> {
    subprotocols: Vec<&'a str>,
    extensions: Vec<Extension<'a>>,
}

impl<'a> Offer<'a> {
    /// Reads `Sec-WebSocket-Protocol` and `Sec-WebSocket-Extensions`.
    ///
    /// # Errors
    /// [`HandshakeError::Subprotocols`] or [`HandshakeError::Extensions`] for a header that does
    /// not follow its grammar.
    pub fn read(headers: &'a HeaderMap) -> Result<Self, HandshakeError> {
        let subprotocols = subprotocol::parse_offers(headers)?;
        let extensions = parse_extensions(headers)?;
        Ok(Self { subprotocols, extensions })
    }

    /// The offered subprotocols in the client's order of preference; empty if it offers none.
    #[must_use]
    pub fn subprotocols(&self) -> &[&'a str] {
        &self.subprotocols
    }

    /// The first of `preferred` that the client offers: the server's order decides.
    #[must_use]
    pub fn select_subprotocol<'p, S: AsRef<str>>(&self, preferred: &'p [S]) -> Option<&'p str> {
        preferred.iter().map(AsRef::as_ref).find(|name| self.offers(name))
    }

    pub(crate) fn offers(&self, subprotocol: &str) -> bool {
        self.subprotocols.contains(&subprotocol)
    }

    /// Writes a server's answer into `headers`: this subprotocol, which is one of those offered,
    /// and compression within these settings and the offers. What is not accepted is left out (RFC
    /// 6455 section 4.2.2, RFC 7692 section 5.1).
    pub(crate) fn answer(
        &self,
        subprotocol: Option<&str>,
        compression: Option<&Compression>,
        headers: &mut HeaderMap,
    ) -> Agreed {
        let mut agreed = Agreed::default();
        // A token can always be sent; if one could not, it would not be agreed on.
        if let Some(name) = subprotocol
            && let Ok(value) = HeaderValue::from_str(name)
        {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
            agreed.subprotocol = Some(name.to_owned());
        }
        let accepted =
            compression.and_then(|compression| deflate::accept(compression, &self.extensions));
        if let Some((answer, compression)) = accepted
            && let Ok(value) = HeaderValue::try_from(answer.to_string())
        {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, value);
            agreed.compression = Some(compression);
        }
        agreed
    }
}

/// Omits the names: some clients pass a token among the subprotocols.
impl fmt::Debug for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("subprotocols", &self.subprotocols.len())
            .field("extensions", &self.extensions.len())
            .finish()
    }
}

/// What a client offers, and what it requires of the answer.
#[derive(Clone)]
pub(crate) struct Proposal {
    pub(crate) subprotocols: Vec<String>,
    pub(crate) subprotocol_required: bool,
    pub(crate) compression: Option<Compression>,
}

impl Proposal {
    /// Writes the offers into `headers`.
    pub(crate) fn offer(&self, headers: &mut HeaderMap) -> Result<(), BuildError> {
        let (subprotocols, extensions) = self.fields()?;
        if let Some(names) = subprotocols {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, text(SEC_WEBSOCKET_PROTOCOL, names)?);
        }
        if let Some(offer) = extensions {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, text(SEC_WEBSOCKET_EXTENSIONS, offer)?);
        }
        Ok(())
    }

    /// The offers: the values of `Sec-WebSocket-Protocol` and of `Sec-WebSocket-Extensions`.
    pub(crate) fn fields(&self) -> Result<(Option<String>, Option<String>), BuildError> {
        let names = match &self.subprotocols[..] {
            [] => None,
            names => Some(subprotocol::check_all(names.iter().map(String::as_bytes))?.join(", ")),
        };
        Ok((names, self.compression.as_ref().map(|settings| deflate::offer(settings).to_string())))
    }

    /// Checks the server's answer to the offers (RFC 6455 section 4.1).
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<Agreed, ResponseError> {
        let compression = self.check_extensions(headers)?;
        Ok(Agreed { subprotocol: self.check_subprotocol(headers)?, compression })
    }

    fn check_subprotocol(&self, headers: &HeaderMap) -> Result<Option<String>, ResponseError> {
        match lines(headers, &SEC_WEBSOCKET_PROTOCOL) {
            Lines::None if self.subprotocols.is_empty() || !self.subprotocol_required => Ok(None),
            Lines::None => Err(ResponseError::MissingSubprotocol),
            Lines::Several => Err(ResponseError::DuplicateSubprotocol),
            Lines::One(value) => {
                let chosen = trim_ows(value.as_bytes());
                let offered = self.subprotocols.iter().find(|name| name.as_bytes() == chosen);
                offered.cloned().map(Some).ok_or(ResponseError::SubprotocolNotOffered)
            }
        }
    }

    fn check_extensions(&self, headers: &HeaderMap) -> Result<Option<Compression>, ResponseError> {
        let mut accepted = None;
        for extension in parse_extensions(headers).map_err(ResponseError::Extensions)? {
            let compression = self.compression.as_ref().filter(|_| is_deflate(&extension));
            let compression = compression.ok_or(ResponseError::ExtensionNotOffered)?;
            if accepted.is_some() {
                return Err(ResponseError::DuplicateExtension);
            }
            let answer = deflate::check_answer(compression, &extension);
            accepted = Some(answer.map_err(ResponseError::Deflate)?);
        }
        Ok(accepted)
    }
}

/// Omits the subprotocols: some clients pass a token among them.
impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal")
            .field("subprotocols", &self.subprotocols.len())
            .field("subprotocol_required", &self.subprotocol_required)
            .field("compression", &self.compression)
            .finish()
    }
}

/// A value made by this crate. Its parts were checked before, so the error should not occur.
pub(crate) fn text(name: HeaderName, value: String) -> Result<HeaderValue, BuildError> {
    HeaderValue::try_from(value).map_err(|_| BuildError::HeaderValue(name))
}
