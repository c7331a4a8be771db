#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod body;
mod layer;
mod refused;
mod service;
mod transport;
mod upgrade;
mod upgrading;

pub use body::UpgradeBody;
pub use layer::UpgradeLayer;
pub use refused::Refused;
pub use service::{ResponseFuture, UpgradeService};
pub use upgrade::{PendingUpgrade, upgrade};
pub use upgrading::{UpgradeError, Upgrading};

// Crates whose types are in the signatures above.
pub use http;
pub use hyper;
pub use tautline;
