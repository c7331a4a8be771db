//! What every client of a format gets alike, so that it is made once for all.

use tautline::Message;

use super::convert;
use super::data::{ClientInfo, Membership, Publication};
use super::format::{Batch, Format};
use super::payload::NotJson;
use super::wire;

impl Publication {
    /// As a client gets it. It is the same message for all clients of a format, so it is made once for
    /// each.
    ///
    /// # Errors
    /// If the format is JSON and the data are not.
    ///
    /// ```
    /// use tautline_hub::centrifuge::{Format, Publication};
    ///
    /// let price = Publication::new("{\"price\":101.25}");
    /// assert_eq!(
    ///     price.push(Format::Json, "prices").unwrap().as_text(),
    ///     Some(r#"{"push":{"channel":"prices","pub":{"data":{"price":101.25}}}}"#),
    /// );
    /// ```
    pub fn push(&self, format: Format, channel: &str) -> Result<Message, NotJson> {
        Ok(framed(format, publication(format, channel, self)?))
    }
}

impl Membership {
    /// As a client gets it, see [`Publication::push`].
    ///
    /// # Errors
    /// If the format is JSON and what is told of the client is not.
    pub fn push(
        self,
        format: Format,
        channel: &str,
        client: &ClientInfo,
    ) -> Result<Message, NotJson> {
        Ok(framed(format, membership(format, channel, self, client)?))
    }
}

pub(super) fn publication(
    format: Format,
    channel: &str,
    publication: &Publication,
) -> Result<wire::Push, NotJson> {
    Ok(wire::Push {
        channel: channel.to_owned(),
        r#pub: Some(convert::publication(publication, format)?),
        ..wire::Push::default()
    })
}

pub(super) fn membership(
    format: Format,
    channel: &str,
    membership: Membership,
    client: &ClientInfo,
) -> Result<wire::Push, NotJson> {
    let info = Some(wire::Membership { info: Some(convert::client_info(client, format)?) });
    let (join, leave) = match membership {
        Membership::Join => (info, None),
        Membership::Leave => (None, info),
    };
    Ok(wire::Push { channel: channel.to_owned(), join, leave, ..wire::Push::default() })
}

fn framed(format: Format, push: wire::Push) -> Message {
    let mut batch = Batch::new(format);
    batch.push(&wire::Reply { push: Some(push), ..wire::Reply::default() });
    batch.into_message()
}
