#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod attendance;
mod begin;
pub mod broker;
mod builder;
#[cfg(feature = "centrifuge")]
pub mod centrifuge;
mod clock;
mod delivery;
pub mod guide;
mod handle;
mod hub;
mod id;
mod inbox;
mod inner;
mod line;
mod log;
mod numbers;
mod options;
mod outbox;
mod outlet;
mod plain;
mod position;
pub mod presence;
mod publication;
mod remote;
mod slow;
mod subscribe;
mod sync;
mod table;
mod topic;
mod trie;
mod worker;
mod workers;
#[cfg(test)]
mod xorshift;

pub use broker::Keep;
pub use builder::HubBuilder;
pub use delivery::{Delivery, Format};
pub use handle::Member;
pub use hub::Hub;
pub use id::{MemberId, NodeId};
pub use inbox::member::{MemberCounts, MemberInfo};
pub use log::GapReason;
pub use options::{Action, Attach, TopicOptions};
pub use outlet::{Deliveries, Ended, Outgoing, Outlet, Sent};
pub use plain::{Plain, PlainError};
pub use position::{Epoch, ParsePositionError, Position};
pub use publication::{DecodeError, MAX_KEY_LEN, Publication};
pub use remote::BrokerState;
pub use slow::Slow;
pub use subscribe::{PublishError, Published, Start, Subscribe, SubscribeError};
pub use topic::{Filter, MAX_LEN, Pattern, Topic, TopicError};

// The crate whose types are in the signatures above.
pub use tautline;
