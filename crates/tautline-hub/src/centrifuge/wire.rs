//! The messages of the protocol as its schema has them (`client.proto` of `centrifugal/protocol`):
//! names for JSON, numbers for Protobuf. What is reserved there, and what belongs to features that
//! this server does not have, is left out: both formats skip members that are not known.

use std::collections::BTreeMap;

use bytes::Bytes;
#[cfg(feature = "centrifuge-protobuf")]
use bytes::{Buf, BufMut};
#[cfg(feature = "centrifuge-protobuf")]
use prost::DecodeError;
#[cfg(feature = "centrifuge-protobuf")]
use prost::encoding::{DecodeContext, WireType};
use serde::{Deserialize, Deserializer};

use super::json::{Object, Value, read_object};

/// Structs that are read and written in both formats. Each member has its kind and number in
/// Protobuf, and its name in JSON is that of the field. A member with `always` is written in JSON even
/// if it is zero or empty, as SDKs expect it.
macro_rules! messages {
    ($(
        $(#[$attribute:meta])*
        $name:ident {
            $($(#[$doc:meta])* [$($kind:tt)*] $tag:tt $field:ident $($always:ident)?: $type:ty,)*
        }
    )*) => { $(
        $(#[$attribute])*
        #[derive(Clone, PartialEq, Deserialize)]
        #[cfg_attr(feature = "centrifuge-protobuf", derive(prost::Message))]
        #[cfg_attr(not(feature = "centrifuge-protobuf"), derive(Debug, Default))]
        #[serde(default)]
        pub(super) struct $name {
            $(
                $(#[$doc])*
                #[cfg_attr(feature = "centrifuge-protobuf", prost($($kind)*, tag = $tag))]
                #[serde(deserialize_with = "Value::read_member")]
                pub(super) $field: $type,
            )*
        }

        impl Value for $name {
            fn write(&self, out: &mut String) {
                #[allow(unused_mut, reason = "some have no members")]
                let mut object = Object::begin(out);
                $(
                    let always = messages!(@ $($always)?);
                    object.member(stringify!($field), &self.$field, always);
                )*
                object.end();
            }

            fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                read_object(from)
            }
        }
    )* };
    (@) => { false };
    (@ always) => { true };
}

messages! {
    /// From a client. Only one of the requests is there.
    Command {
        /// For the reply; 0 for what has none.
        [uint32] 1 id: u32,
        [message, optional] 4 connect: Option<ConnectRequest>,
        [message, optional] 5 subscribe: Option<SubscribeRequest>,
        [message, optional] 6 unsubscribe: Option<ChannelRequest>,
        [message, optional] 7 publish: Option<PublishRequest>,
        [message, optional] 8 presence: Option<ChannelRequest>,
        [message, optional] 9 presence_stats: Option<ChannelRequest>,
        [message, optional] 10 history: Option<HistoryRequest>,
        [message, optional] 11 ping: Option<Empty>,
        [message, optional] 12 send: Option<Data>,
        [message, optional] 13 rpc: Option<RpcRequest>,
        [message, optional] 14 refresh: Option<RefreshRequest>,
        [message, optional] 15 sub_refresh: Option<SubRefreshRequest>,
    }

    /// To a client: a result, an error or a push; without any of them it is a ping.
    Reply {
        [uint32] 1 id: u32,
        [message, optional] 2 error: Option<Error>,
        [message, optional] 4 push: Option<Push>,
        [message, optional] 5 connect: Option<ConnectResult>,
        [message, optional] 6 subscribe: Option<SubscribeResult>,
        [message, optional] 7 unsubscribe: Option<Empty>,
        [message, optional] 8 publish: Option<Empty>,
        [message, optional] 9 presence: Option<PresenceResult>,
        [message, optional] 10 presence_stats: Option<PresenceStatsResult>,
        [message, optional] 11 history: Option<HistoryResult>,
        [message, optional] 12 ping: Option<Empty>,
        [message, optional] 13 rpc: Option<Data>,
        [message, optional] 14 refresh: Option<RefreshResult>,
        [message, optional] 15 sub_refresh: Option<Expiry>,
    }

    /// What a client did not ask for. Only one is there.
    Push {
        [string] 2 channel: String,
        [message, optional] 4 r#pub: Option<Publication>,
        [message, optional] 5 join: Option<Membership>,
        [message, optional] 6 leave: Option<Membership>,
        [message, optional] 7 unsubscribe: Option<Unsubscribe>,
        [message, optional] 8 message: Option<Data>,
        [message, optional] 9 subscribe: Option<Subscribe>,
        [message, optional] 12 refresh: Option<Expiry>,
    }

    /// Of several requests and results.
    Empty {}

    Error {
        [uint32] 1 code: u32,
        [string] 2 message: String,
        [bool] 3 temporary: bool,
    }

    /// `SendRequest`, `Message` and `RPCResult`.
    Data {
        [bytes = "bytes"] 1 data: Bytes,
    }

    /// `UnsubscribeRequest`, `PresenceRequest` and `PresenceStatsRequest`.
    ChannelRequest {
        [string] 1 channel: String,
    }

    ConnectRequest {
        [string] 1 token: String,
        [bytes = "bytes"] 2 data: Bytes,
        [btree_map = "string, message"] 3 subs: BTreeMap<String, SubscribeRequest>,
        [string] 4 name: String,
        [string] 5 version: String,
        [btree_map = "string, string"] 6 headers: BTreeMap<String, String>,
    }

    ConnectResult {
        [string] 1 client: String,
        [string] 2 version: String,
        [bool] 3 expires: bool,
        /// In seconds.
        [uint32] 4 ttl: u32,
        [bytes = "bytes"] 5 data: Bytes,
        [btree_map = "string, message"] 6 subs: BTreeMap<String, Listed>,
        /// In seconds.
        [uint32] 7 ping: u32,
        [bool] 8 pong: bool,
    }

    RefreshRequest {
        [string] 1 token: String,
    }

    RefreshResult {
        [string] 1 client: String,
        [string] 2 version: String,
        [bool] 3 expires: bool,
        [uint32] 4 ttl: u32,
    }

    /// `SubRefreshResult`, and `Refresh` of pushes.
    Expiry {
        [bool] 1 expires: bool,
        [uint32] 2 ttl: u32,
    }

    SubscribeRequest {
        [string] 1 channel: String,
        [string] 2 token: String,
        [bool] 3 recover: bool,
        [string] 6 epoch: String,
        [uint64] 7 offset: u64,
        [bytes = "bytes"] 8 data: Bytes,
        [bool] 9 positioned: bool,
        [bool] 10 recoverable: bool,
        [bool] 11 join_leave: bool,
        /// A filter by tags. It is only looked at whether there is one.
        [bytes = "bytes"] 13 tf: Bytes,
        [int64] 14 flag: i64,
        [int32] 15 r#type: i32,
    }

    SubscribeResult {
        [bool] 1 expires: bool,
        [uint32] 2 ttl: u32,
        [bool] 3 recoverable: bool,
        [string] 6 epoch: String,
        [message, repeated] 7 publications: Vec<Publication>,
        [bool] 8 recovered: bool,
        [uint64] 9 offset: u64,
        [bool] 10 positioned: bool,
        [bytes = "bytes"] 11 data: Bytes,
        [bool] 12 was_recovering: bool,
    }

    /// A push: a subscription that the server made.
    Subscribe {
        [bool] 1 recoverable: bool,
        [string] 4 epoch: String,
        [uint64] 5 offset: u64,
        [bool] 6 positioned: bool,
        [bytes = "bytes"] 7 data: Bytes,
    }

    Unsubscribe {
        [uint32] 2 code: u32,
        [string] 3 reason: String,
    }

    SubRefreshRequest {
        [string] 1 channel: String,
        [string] 2 token: String,
        [int32] 3 r#type: i32,
    }

    PublishRequest {
        [string] 1 channel: String,
        [bytes = "bytes"] 2 data: Bytes,
        [int32] 3 r#type: i32,
    }

    PresenceResult {
        [btree_map = "string, message"] 1 presence always: BTreeMap<String, ClientInfo>,
    }

    PresenceStatsResult {
        [uint32] 1 num_clients always: u32,
        [uint32] 2 num_users always: u32,
    }

    StreamPosition {
        [uint64] 1 offset: u64,
        [string] 2 epoch: String,
    }

    HistoryRequest {
        [string] 1 channel: String,
        /// Below 0 for as many as there are.
        [int32] 7 limit: i32,
        [message, optional] 8 since: Option<StreamPosition>,
        [bool] 9 reverse: bool,
    }

    HistoryResult {
        [message, repeated] 1 publications always: Vec<Publication>,
        [string] 2 epoch always: String,
        [uint64] 3 offset always: u64,
    }

    RpcRequest {
        [bytes = "bytes"] 1 data: Bytes,
        [string] 2 method: String,
    }

    ClientInfo {
        [string] 1 user always: String,
        [string] 2 client always: String,
        [bytes = "bytes"] 3 conn_info: Bytes,
        [bytes = "bytes"] 4 chan_info: Bytes,
    }

    Publication {
        [bytes = "bytes"] 4 data: Bytes,
        [message, optional] 5 info: Option<ClientInfo>,
        [uint64] 6 offset: u64,
        [btree_map = "string, string"] 7 tags: BTreeMap<String, String>,
    }

    /// `Join` and `Leave`.
    Membership {
        [message, optional] 1 info: Option<ClientInfo>,
    }
}

/// A subscription in a map. In Protobuf, Prost writes no value that is equal to the default, which readers made
/// by protobufjs take for `null`: the SDK for JavaScript failed on that, and stayed away. So one that is all
/// zeros differs from the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Listed(Option<SubscribeResult>);

impl From<SubscribeResult> for Listed {
    fn from(result: SubscribeResult) -> Self {
        Self(Some(result))
    }
}

impl Value for Listed {
    fn write(&self, out: &mut String) {
        self.0.as_ref().unwrap_or(&SubscribeResult::default()).write(out);
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        SubscribeResult::read(from).map(Self::from)
    }
}

#[cfg(feature = "centrifuge-protobuf")]
impl prost::Message for Listed {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(result) = &self.0 {
            result.encode_raw(buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.0.get_or_insert_default().merge_field(tag, wire_type, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.as_ref().map_or(0, prost::Message::encoded_len)
    }

    fn clear(&mut self) {
        self.0 = None;
    }
}
