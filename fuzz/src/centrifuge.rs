//! Centrifuge's client protocol by hand, in both formats: commands written, replies read. It owes
//! nothing to `tautline-hub`.

use serde_json::Value as Json;

use crate::Input;

/// A member of a message: its name in JSON, its number in Protobuf, and what it is.
pub type Member = (&'static str, u64, Value);

/// What a member of a command is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number.
    Number(u64),
    /// True.
    True,
    /// A text.
    Text(String),
    /// Data of an application: JSON.
    Data(&'static str),
    /// Another message.
    Message(Vec<Member>),
    /// Messages by name.
    Map(Vec<(String, Vec<Member>)>),
}

/// A command of a client.
#[derive(Clone, Debug)]
pub struct Command {
    /// If it is to be answered.
    pub id: Option<u32>,
    /// The channel that it subscribes to, or unsubscribes from; or empty.
    pub changes: String,
    /// As it is written.
    pub members: Vec<Member>,
}

impl Command {
    /// One with this id, for one of these channels, as the input has it. It may make no sense.
    pub fn new(id: u32, channels: &[&str], input: &mut Input<'_>) -> Self {
        let (kind, flags) = (input.byte(), input.byte());
        let name = match input.byte() {
            // None, and one that is too long, and the longest.
            0xFF => String::new(),
            0xFE => "x".repeat(256),
            0xFD => "x".repeat(255),
            byte => channels[usize::from(byte) % channels.len()].to_owned(),
        };
        let of_channel = ("channel", 1, Value::Text(name.clone()));
        let token = ("token", 2, Value::Text("token".to_owned()));
        let mut of = vec![of_channel.clone()];
        let mut changes = String::new();
        let (name, number) = match kind % 32 {
            0..=8 => {
                changes.clone_from(&name);
                if flags & 3 == 3 {
                    let epoch = if flags & 0x20 == 0 { "7" } else { "other" };
                    of.push(("recover", 3, Value::True));
                    of.push(("epoch", 6, Value::Text(epoch.to_owned())));
                    of.push(("offset", 7, Value::Number(u64::from(flags >> 6))));
                }
                match flags >> 2 & 7 {
                    0 => of.push(("flag", 14, Value::Number(2))),
                    1 => of.push(("type", 15, Value::Number(1))),
                    2 => of.push(("data", 8, Value::Data("[1,\n2]"))),
                    _ => {}
                }
                ("subscribe", 5)
            }
            9..=14 => {
                changes.clone_from(&name);
                ("unsubscribe", 6)
            }
            15..=16 => {
                of.push(("data", 2, Value::Data("{}")));
                ("publish", 7)
            }
            17 => ("presence", 8),
            18 => ("presence_stats", 9),
            19 => {
                of.push(("limit", 7, Value::Number(u64::from(flags & 7))));
                ("history", 10)
            }
            20 => {
                of.clear();
                ("ping", 11)
            }
            21..=22 => {
                of = vec![("data", 1, Value::Data("null")), ("method", 2, Value::Text(name))];
                ("rpc", 13)
            }
            23..=24 => {
                of = vec![("token", 1, Value::Text("token".to_owned()))];
                ("refresh", 14)
            }
            25..=26 => {
                of.push(token);
                ("sub_refresh", 15)
            }
            27 => {
                let entry = (name, vec![of_channel, ("recover", 3, Value::True)]);
                of = vec![("subs", 3, Value::Map(vec![entry]))];
                ("connect", 4)
            }
            28..=29 => {
                // It has no answer.
                let data = Value::Message(vec![("data", 1, Value::Data("\"m\""))]);
                return Self { id: None, changes, members: vec![("send", 12, data)] };
            }
            // The answer to a ping.
            _ => return Self { id: None, changes, members: Vec::new() },
        };
        // Without an id it is one too many.
        let id = if flags == 0xFF { 0 } else { id };
        let members =
            vec![("id", 1, Value::Number(u64::from(id))), (name, number, Value::Message(of))];
        Self { id: (id > 0).then_some(id), changes, members }
    }
}

/// A frame of these commands, as JSON.
#[must_use]
pub fn json_frame(commands: &[Vec<Member>]) -> Vec<u8> {
    let lines: Vec<String> = commands.iter().map(|command| json(command)).collect();
    lines.join("\n").into_bytes()
}

fn json(members: &[Member]) -> String {
    let value = |value: &Value| match value {
        Value::Number(number) => number.to_string(),
        Value::True => "true".to_owned(),
        Value::Text(text) => Json::from(text.as_str()).to_string(),
        Value::Data(data) => (*data).to_owned(),
        Value::Message(members) => json(members),
        Value::Map(entries) => {
            let entry = |(name, members): &(String, Vec<Member>)| {
                format!("{}:{}", Json::from(name.as_str()), json(members))
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
        }
    };
    let member = |(name, _, of): &Member| format!("\"{name}\":{}", value(of));
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
}

/// A frame of these commands, as Protobuf.
#[must_use]
pub fn protobuf_frame(commands: &[Vec<Member>]) -> Vec<u8> {
    let mut out = Vec::new();
    for command in commands {
        put_bytes(&protobuf(command), &mut out);
    }
    out
}

fn protobuf(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, number, value) in members {
        let mut put = |bytes: &[u8]| {
            put_number(number << 3 | 2, &mut out);
            put_bytes(bytes, &mut out);
        };
        match value {
            Value::Text(text) => put(text.as_bytes()),
            Value::Data(data) => put(data.as_bytes()),
            Value::Message(members) => put(&protobuf(members)),
            Value::Map(entries) => {
                for (name, members) in entries {
                    let (key, message) = (Value::Text(name.clone()), members.clone());
                    put(&protobuf(&[("", 1, key), ("", 2, Value::Message(message))]));
                }
            }
            Value::Number(_) | Value::True => {
                let value = if let Value::Number(value) = value { *value } else { 1 };
                put_number(number << 3, &mut out);
                put_number(value, &mut out);
            }
        }
    }
    out
}

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A message to a client, in as far as its meaning does not depend on data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An empty one.
    Ping,
    /// What a client did not ask for.
    Push {
        /// In which channel; empty without one.
        channel: String,
        /// What.
        kind: Kind,
    },
    /// To the command of this id.
    Answer {
        /// Of the command.
        id: u32,
        /// What.
        kind: Kind,
        /// The channels of a connection's result.
        channels: Vec<String>,
    },
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There was an error.
    Error,
    /// A publication.
    Publication,
    /// Somebody joined.
    Join,
    /// Somebody left.
    Leave,
    /// It is subscribed now.
    Subscribe,
    /// It is not subscribed any more.
    Unsubscribe,
    /// It is connected now.
    Connect,
    /// Anything else.
    Other,
}

/// The members of a reply that are known here, by name and number.
const REPLY: [(&str, u64, Kind); 4] = [
    ("error", 2, Kind::Error),
    ("connect", 5, Kind::Connect),
    ("subscribe", 6, Kind::Subscribe),
    ("unsubscribe", 7, Kind::Unsubscribe),
];
const PUSH: [(&str, u64, Kind); 5] = [
    ("pub", 4, Kind::Publication),
    ("join", 5, Kind::Join),
    ("leave", 6, Kind::Leave),
    ("unsubscribe", 7, Kind::Unsubscribe),
    ("subscribe", 9, Kind::Subscribe),
];

/// The messages of a text frame.
///
/// # Panics
/// If it is not one of the protocol.
#[must_use]
pub fn read_json(frame: &str) -> Vec<Reply> {
    let kind_of = |message: &Json, kinds: &[(&str, u64, Kind)]| {
        let found = kinds.iter().find(|(name, ..)| message.get(name).is_some());
        found.map_or(Kind::Other, |(_, _, kind)| *kind)
    };
    let read = |line: &str| {
        let reply: Json = serde_json::from_str(line).expect("a line is JSON");
        let members = reply.as_object().expect("a message is an object");
        if members.is_empty() {
            return Reply::Ping;
        }
        if let Some(push) = reply.get("push") {
            assert_eq!(members.len(), 1, "{line}");
            let channel = push.get("channel").and_then(Json::as_str).unwrap_or_default();
            return Reply::Push { channel: channel.to_owned(), kind: kind_of(push, &PUSH) };
        }
        let id = reply.get("id").and_then(Json::as_u64).expect("an answer has an id");
        assert_eq!(members.len(), 2, "{line}");
        let subs = reply.get("connect").and_then(|connect| connect.get("subs")?.as_object());
        let channels = subs.into_iter().flatten().map(|(name, _)| name.clone()).collect();
        let id = u32::try_from(id).expect("an id has 32 bits");
        Reply::Answer { id, kind: kind_of(&reply, &REPLY), channels }
    };
    frame.split('\n').map(read).collect()
}

/// The messages of a binary frame.
///
/// # Panics
/// If it is not one of the protocol.
#[must_use]
pub fn read_protobuf(mut frame: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !frame.is_empty() {
        let message = take_bytes(&mut frame).expect("a message is whole");
        replies.push(read_message(message));
    }
    replies
}

fn read_message(message: &[u8]) -> Reply {
    let members = fields(message).expect("a message is Protobuf");
    if members.is_empty() {
        return Reply::Ping;
    }
    let find = |of: &[(u64, Field<'_>)], kinds: &[(&str, u64, Kind)]| {
        let found = kinds.iter().find(|(_, number, _)| of.iter().any(|(at, _)| at == number));
        found.map_or(Kind::Other, |(_, _, kind)| *kind)
    };
    if let [(4, Field::Bytes(push))] = &members[..] {
        let push = fields(push).expect("a push is Protobuf");
        return Reply::Push { channel: text_of(&push, 2), kind: find(&push, &PUSH) };
    }
    let [(1, Field::Number(id)), (number, Field::Bytes(result))] = &members[..] else {
        panic!("an answer has an id and a result: {members:?}");
    };
    let mut channels = Vec::new();
    if *number == 5 {
        for (_, subs) in fields(result).expect("Protobuf").iter().filter(|(at, _)| *at == 6) {
            let Field::Bytes(entry) = subs else { panic!("{subs:?}") };
            channels.push(text_of(&fields(entry).expect("Protobuf"), 1));
        }
    }
    let id = u32::try_from(*id).expect("an id has 32 bits");
    Reply::Answer { id, kind: find(&members, &REPLY), channels }
}

#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn text_of(fields: &[(u64, Field<'_>)], number: u64) -> String {
    let text = fields.iter().find_map(|(at, field)| match field {
        Field::Bytes(bytes) if *at == number => Some(*bytes),
        _ => None,
    });
    String::from_utf8(text.unwrap_or_default().to_vec()).expect("a name is UTF-8")
}

fn fields(mut message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = take_number(&mut message)?;
        let field = match key & 7 {
            0 => Field::Number(take_number(&mut message)?),
            2 => Field::Bytes(take_bytes(&mut message)?),
            _ => return None,
        };
        fields.push((key >> 3, field));
    }
    Some(fields)
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7F) << shift;
        if *first < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_number(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}
