//! What applications and sessions tell each other of clients, publications and positions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::payload::Payload;
use crate::position::{Epoch, Position};
use crate::presence::Member;

/// Who a client is, as other clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The connection: unique among all of all servers.
    pub client: String,
    /// The user. Empty for one that is not known.
    pub user: String,
    /// About the connection.
    pub connection: Payload,
    /// About its subscription to the channel that this is told of.
    pub subscription: Payload,
}

impl ClientInfo {
    /// A client without data about it.
    #[must_use]
    pub fn new(client: impl Into<String>, user: impl Into<String>) -> Self {
        Self { client: client.into(), user: user.into(), ..Self::default() }
    }

    /// A member of a hub, on whichever node.
    pub(super) fn of_member(member: &Member) -> Self {
        let info = &member.info;
        Self {
            client: member.id.to_string(),
            user: (*info.user).to_owned(),
            connection: info.connection_data.clone().into(),
            subscription: info.topic_data.clone().into(),
        }
    }
}

/// A publication in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication {
    /// What was published.
    pub data: Payload,
    /// By whom, if a client published it.
    pub info: Option<ClientInfo>,
    /// More about it, for clients.
    pub tags: BTreeMap<String, String>,
    /// Where it is in the history of the channel; 0 if it is not in one.
    pub offset: u64,
}

impl Publication {
    /// A publication of these data.
    #[must_use]
    pub fn new(data: impl Into<Payload>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }
}

/// That a client has come into a channel, or has left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it comes or goes")]
pub enum Membership {
    /// It subscribed.
    Join,
    /// It is not subscribed any more.
    Leave,
}

/// The position from which a client wants what it has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a position as clients have it")]
pub struct Since {
    /// Of the last publication that it has.
    pub offset: u64,
    /// In which history.
    pub epoch: SinceEpoch,
}

/// What a client says about the epoch of its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "it says nothing, or the name of one that is or is not"
)]
pub enum SinceEpoch {
    /// Nothing: the offset is meant in whatever history there is.
    Any,
    /// This one.
    Of(Epoch),
    /// One that no topic of a hub has, so that nothing can be recovered.
    Foreign,
}

impl Since {
    /// The position in a history of this epoch; `None` if it is another one.
    #[must_use]
    pub fn within(self, epoch: Epoch) -> Option<Position> {
        let same = match self.epoch {
            SinceEpoch::Any => true,
            SinceEpoch::Of(of) => of == epoch,
            SinceEpoch::Foreign => false,
        };
        same.then_some(Position { epoch, offset: self.offset })
    }

    pub(super) fn read(offset: u64, epoch: &str) -> Self {
        let epoch = match (epoch, epoch.parse()) {
            ("", _) => SinceEpoch::Any,
            (_, Ok(epoch)) => SinceEpoch::Of(epoch),
            (_, Err(_)) => SinceEpoch::Foreign,
        };
        Self { offset, epoch }
    }
}

/// How long a connection or subscription lives, unless it is refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a time, and who acts then")]
pub struct Expiry {
    /// From now on. Clients are told it in whole seconds, at least 1, and at most a year.
    pub after: Duration,
    /// Who refreshes it.
    pub by: Refresher,
}

/// Who refreshes a connection or subscription that is about to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one of the two ends")]
pub enum Refresher {
    /// The client, with a new token, which the application is then asked about.
    Client,
    /// The application, which is asked for it.
    Server,
}

impl Expiry {
    /// The client gets a new token after this time.
    #[must_use]
    pub const fn by_client(after: Duration) -> Self {
        Self { after, by: Refresher::Client }
    }

    /// The application is asked after this time.
    #[must_use]
    pub const fn by_server(after: Duration) -> Self {
        Self { after, by: Refresher::Server }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Centrifuge's own epochs are other words; `_` is what SDKs send when their state was
    // invalidated.
    #[test]
    fn an_epoch_that_is_not_one_of_ours_is_another_one() {
        let (here, other) = (Epoch::from_u64(0xabc), Epoch::from_u64(1));
        let position = Some(Position { epoch: here, offset: 5 });
        assert_eq!(Since::read(5, "abc").within(here), position);
        assert_eq!(Since::read(5, &here.to_string()).within(here), position);
        assert_eq!(Since::read(5, "").within(here), position);
        assert_eq!(Since::read(5, "abc").within(other), None);
        for foreign in ["_", "xyz!", "fffffffffffffffff"] {
            assert_eq!(Since::read(5, foreign).within(here), None, "{foreign}");
        }
    }
}
