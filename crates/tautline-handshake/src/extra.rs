//! Headers that the application adds to a handshake.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::error::BuildError;

/// The headers that the handshake sets, or whose presence would change what follows the head.
const RESERVED: [(HeaderName, &str); 10] = [
    (SEC_WEBSOCKET_KEY, "Sec-WebSocket-Key"),
    (SEC_WEBSOCKET_ACCEPT, "Sec-WebSocket-Accept"),
    (SEC_WEBSOCKET_VERSION, "Sec-WebSocket-Version"),
    (SEC_WEBSOCKET_EXTENSIONS, "Sec-WebSocket-Extensions"),
    (SEC_WEBSOCKET_PROTOCOL, "Sec-WebSocket-Protocol"),
    (UPGRADE, "Upgrade"),
    (CONNECTION, "Connection"),
    (CONTENT_LENGTH, "Content-Length"),
    (TRANSFER_ENCODING, "Transfer-Encoding"),
    (EXPECT, "Expect"),
];

/// Headers as they are added, and the first thing that was wrong with one.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExtraHeaders {
    pub(crate) map: HeaderMap,
    error: Option<BuildError>,
}

impl ExtraHeaders {
    pub(crate) fn add<N, V>(&mut self, name: N, value: V)
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        if let Err(error) = self.try_add(name, value) {
            self.error.get_or_insert(error);
        }
    }

    fn try_add<N, V>(&mut self, name: N, value: V) -> Result<(), BuildError>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let name = name.try_into().map_err(|_| BuildError::HeaderName)?;
        let value = value.try_into().map_err(|_| BuildError::HeaderValue)?;
        if let Some((_, shown)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
            return Err(BuildError::ReservedHeader(shown));
        }
        self.map.try_append(name, value).map_err(|_| BuildError::TooManyHeaders)?;
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<HeaderMap, BuildError> {
        self.error.map_or(Ok(self.map), Err)
    }
}
