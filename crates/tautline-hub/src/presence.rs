//! Who is in a topic, on all nodes, without a store.
//!
//! Each node owns its members: only it tells others of them, so nothing can conflict. It tells changes
//! at most once in a heartbeat (and when a signal is full), and with each heartbeat a digest of all its
//! members. Members have a version that each change increases. A node that sees a hole in the versions
//! of another one, or another digest than that of what it knows, asks for the digests of the 256 parts
//! that members are in, and then for the parts that differ; a newcomer asks for all. The answer goes to
//! everybody, in pieces that are bounded, each complete between two marks. A node that is silent for
//! four heartbeats is gone, and its members with it; one that ends says so.
//!
//! ```text
//!     join, leave  ->  +---------+  ->  joined, left (after a grace time)
//!                      | Tracker |  ->  counts, members, complete or not
//!     signals, now ->  +---------+  ->  signals, deadline
//! ```
//!
//! Nodes know the same members within the time that [`Config::convergence`] says: 6.4 s by default.
//! Everything is bounded: nodes, memory for members (whoever told of them), signals, and those whose
//! leave is not told yet. What a broker carries for it is a signal of some 40 bytes for each node and
//! heartbeat, and the changes.
//!
//! Whoever can publish to the broker can tell of members; garbage is an error and nothing else.

mod config;
mod digest;
mod mark;
mod member;
mod members;
mod owner;
mod peer;
mod rooms;
mod roster;
mod signal;
mod tracker;
mod version;

#[cfg(test)]
mod tests;

pub use config::{Config, MAX_DATA_LEN, MAX_SIGNAL_LEN, MAX_USER_LEN, Who};
pub use member::{Change, Counts, Event, JoinError, Member, MemberInfo, Presence};
pub use signal::SignalError;
pub use tracker::{Stats, Tracker};
