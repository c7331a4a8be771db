//! The setters of headers that the builders of both roles share.

/// The methods `header`, `append_header` and `headers` of a builder that keeps
/// [`Headers`](tautline_handshake::Headers) in a field of that name. The attributes that are passed
/// are added to the docs of `header`.
macro_rules! header_setters {
    ($(#[$special:meta])*) => {
        /// Sets a header; it replaces what was set under that name.
        ///
        $(#[$special])*
        #[must_use]
        pub fn header<N, V>(mut self, name: N, value: V) -> Self
        where
            N: TryInto<http::HeaderName> + AsRef<[u8]>,
            V: TryInto<http::HeaderValue>,
        {
            self.headers.set(name, value);
            self
        }

        /// Adds a header line and keeps those of the same name, for fields that may have several
        /// (RFC 9110 section 5.3), such as `Set-Cookie`. The cookies of a request are joined into
        /// one `Cookie` line, since it may have only one (RFC 6265 section 5.4).
        #[must_use]
        pub fn append_header<N, V>(mut self, name: N, value: V) -> Self
        where
            N: TryInto<http::HeaderName> + AsRef<[u8]>,
            V: TryInto<http::HeaderValue>,
        {
            self.headers.append(name, value);
            self
        }

        /// Sets all of these headers, as [`header`](Self::header) does with one: the lines of each
        /// name in the map replace what was set under that name.
        #[must_use]
        pub fn headers(mut self, headers: http::HeaderMap) -> Self {
            self.headers.extend(headers);
            self
        }
    };
}

pub(crate) use header_setters;
