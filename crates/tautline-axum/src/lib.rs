#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod extract;
mod rejection;

pub use extract::WebSocketUpgrade;
pub use rejection::WebSocketUpgradeRejection;

pub use tautline_http::UpgradeError;

// Crates whose types are in the signatures above.
pub use axum_core;
pub use http;
pub use tautline;
