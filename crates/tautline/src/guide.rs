//! [Connections]: connections
//! [Servers]: servers
//! [Who may come in]: access
//! [Behind a proxy]: proxies
//! [With axum, hyper and tower]: http
//! [The request of a client]: requests
//! [TLS]: tls
//! [Reaching the server]: reaching
//! [Compression]: compression
//! [Large messages and many receivers]: large
//! [HTTP/2, and pages on the same port]: http2
//! [Limits and deadlines]: limits
//! [Errors]: errors
//! [Staying connected]: reconnecting
//! [In production]: production
//! [Moving from other libraries]: migrating
#![doc = include_str!("../docs/guide/README.md")]
// The links above are for rustdoc. The page has its own ones, to files, for those who read it in
// the repository; of two definitions the first counts.

#[doc = include_str!("../docs/guide/connections.md")]
pub mod connections {}

#[doc = include_str!("../docs/guide/servers.md")]
pub mod servers {}

#[doc = include_str!("../docs/guide/access.md")]
pub mod access {}

#[doc = include_str!("../docs/guide/proxies.md")]
pub mod proxies {}

#[doc = include_str!("../docs/guide/http.md")]
pub mod http {}

#[doc = include_str!("../docs/guide/requests.md")]
pub mod requests {}

#[doc = include_str!("../docs/guide/tls.md")]
pub mod tls {}

#[doc = include_str!("../docs/guide/reaching.md")]
pub mod reaching {}

#[cfg_attr(feature = "deflate", doc = include_str!("../docs/guide/compression.md"))]
#[cfg_attr(not(feature = "deflate"), doc = "This page is there with the feature `deflate`.")]
pub mod compression {}

#[doc = include_str!("../docs/guide/large.md")]
pub mod large {}

#[doc = include_str!("../docs/guide/http2.md")]
pub mod http2 {}

#[doc = include_str!("../docs/guide/limits.md")]
pub mod limits {}

#[doc = include_str!("../docs/guide/errors.md")]
pub mod errors {}

#[doc = include_str!("../docs/guide/reconnecting.md")]
pub mod reconnecting {}

#[doc = include_str!("../docs/guide/production.md")]
pub mod production {}

#[doc = include_str!("../docs/guide/migrating.md")]
pub mod migrating {}
