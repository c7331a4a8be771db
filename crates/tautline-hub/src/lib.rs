#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod broker;
mod id;
mod position;
mod publication;
mod topic;

pub use id::{MemberId, NodeId};
pub use position::{Epoch, Position};
pub use publication::{DecodeError, MAX_KEY_LEN, Publication};
pub use topic::{Filter, MAX_LEN, Pattern, Topic, TopicError};

// The crate whose types are in the signatures above.
pub use tautline;
