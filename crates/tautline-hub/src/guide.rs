//! How the hub is used.

#[doc = include_str!("../docs/hub.md")]
pub mod hub {}

#[doc = include_str!("../docs/scaling.md")]
pub mod scaling {}
