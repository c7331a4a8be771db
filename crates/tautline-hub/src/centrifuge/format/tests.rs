use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::centrifuge::wire::{
    ChannelRequest, ClientInfo, Command, ConnectRequest, ConnectResult, Data, Empty, Error, Expiry,
    HistoryRequest, HistoryResult, Membership, PresenceResult, PresenceStatsResult, Publication,
    PublishRequest, Push, RefreshRequest, RefreshResult, Reply, RpcRequest, StreamPosition,
    SubRefreshRequest, Subscribe, SubscribeRequest, SubscribeResult, Unsubscribe,
};

#[cfg(feature = "centrifuge-protobuf")]
mod protobuf;

/// Reads what a session sends.
pub(in crate::centrifuge) fn replies(format: Format, message: &Message) -> Vec<Reply> {
    match format {
        Format::Json => decode_json(message.as_text().unwrap().as_bytes(), usize::MAX).unwrap(),
        #[cfg(feature = "centrifuge-protobuf")]
        Format::Protobuf => {
            assert!(message.is_binary());
            decode_protobuf(message.as_bytes(), usize::MAX).unwrap()
        }
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn channel() -> Option<ChannelRequest> {
    Some(ChannelRequest { channel: text("a") })
}

/// What the SDKs sent to a server that wrote it down: `centrifuge` 5.8.0 for JavaScript.
const JAVASCRIPT: &[&str] = &[
    concat!(
        r#"{"connect":{"token":"tok","data":{"x":1},"name":"n","version":"v","headers":{"h":"w"}},"id":1}"#,
        "\n",
        r#"{"subscribe":{"channel":"chat:1","token":"st","data":{"y":2},"positioned":true,"recoverable":true,"join_leave":true,"flag":1,"delta":"fossil"},"id":2}"#,
        "\n",
        r#"{"subscribe":{"channel":"since","flag":1,"recover":true,"offset":5,"epoch":"e5"},"id":3}"#,
        "\n",
        r#"{"subscribe":{"channel":"tf","flag":3,"recover":true,"offset":5,"epoch":"e5","tf":{"key":"k","cmp":"eq","val":"v"}},"id":4}"#,
    ),
    r#"{"publish":{"channel":"a","data":{"input":"grüße\n"}},"id":5}"#,
    r#"{"publish":{"channel":"a","data":null},"id":7}"#,
    r#"{"presence":{"channel":"a"},"id":8}"#,
    r#"{"presence_stats":{"channel":"a"},"id":9}"#,
    r#"{"history":{"channel":"a"},"id":10}"#,
    r#"{"history":{"channel":"a","since":{"offset":3,"epoch":"e"},"limit":10,"reverse":true},"id":11}"#,
    r#"{"history":{"channel":"a","limit":-1},"id":12}"#,
    r#"{"rpc":{"method":"m","data":[1,2]},"id":13}"#,
    r#"{"send":{"data":{"s":1}}}"#,
    "{}",
    r#"{"refresh":{"token":"tok2"},"id":14}"#,
    r#"{"sub_refresh":{"channel":"chat:1","token":"st2"},"id":15}"#,
    r#"{"unsubscribe":{"channel":"since"},"id":16}"#,
    r#"{"connect":{"token":"tok2","data":{"x":1},"name":"n","version":"v","headers":{"h":"w"},"subs":{"srv":{"recover":true,"offset":3,"epoch":"e1"}}},"id":18}"#,
];

/// The commands in these frames, one after the other. `input` is what `publish` has, which each SDK
/// writes in its own way.
fn javascript(input: &[Bytes; 2], subscribe: [SubscribeRequest; 3]) -> Vec<Command> {
    let json = |text: &'static str| Bytes::from(text);
    let command = |id| Command { id, ..Command::default() };
    let connect = ConnectRequest {
        token: text("tok"),
        data: json(r#"{"x":1}"#),
        name: text("n"),
        version: text("v"),
        headers: texts([("h", "w")]),
        ..ConnectRequest::default()
    };
    let mut again = ConnectRequest { token: text("tok2"), ..connect.clone() };
    let server = SubscribeRequest {
        recover: true,
        offset: 3,
        epoch: text("e1"),
        ..SubscribeRequest::default()
    };
    again.subs.insert(text("srv"), server);
    let publish =
        |data: &Bytes| Some(PublishRequest { channel: text("a"), data: data.clone(), r#type: 0 });
    let history = HistoryRequest { channel: text("a"), ..HistoryRequest::default() };
    let since = Some(StreamPosition { offset: 3, epoch: text("e") });
    let page = HistoryRequest { limit: 10, since, reverse: true, ..history.clone() };
    let [first, second, third] = subscribe;
    vec![
        Command { connect: Some(connect), ..command(1) },
        Command { subscribe: Some(first), ..command(2) },
        Command { subscribe: Some(second), ..command(3) },
        Command { subscribe: Some(third), ..command(4) },
        Command { publish: publish(&input[0]), ..command(5) },
        Command { publish: publish(&input[1]), ..command(7) },
        Command { presence: channel(), ..command(8) },
        Command { presence_stats: channel(), ..command(9) },
        Command { history: Some(history.clone()), ..command(10) },
        Command { history: Some(page), ..command(11) },
        Command { history: Some(HistoryRequest { limit: -1, ..history }), ..command(12) },
        Command { rpc: Some(RpcRequest { method: text("m"), data: json("[1,2]") }), ..command(13) },
        Command { send: Some(Data { data: json(r#"{"s":1}"#) }), ..command(0) },
        command(0),
        Command { refresh: Some(RefreshRequest { token: text("tok2") }), ..command(14) },
        Command {
            sub_refresh: Some(SubRefreshRequest {
                channel: text("chat:1"),
                token: text("st2"),
                r#type: 0,
            }),
            ..command(15)
        },
        Command { unsubscribe: Some(ChannelRequest { channel: text("since") }), ..command(16) },
        Command { connect: Some(again), ..command(18) },
    ]
}

fn subscribes(filter: &'static [u8]) -> [SubscribeRequest; 3] {
    let since = SubscribeRequest {
        channel: text("since"),
        flag: 1,
        recover: true,
        offset: 5,
        epoch: text("e5"),
        ..SubscribeRequest::default()
    };
    let all = SubscribeRequest {
        channel: text("chat:1"),
        token: text("st"),
        data: Bytes::from(r#"{"y":2}"#),
        positioned: true,
        recoverable: true,
        join_leave: true,
        flag: 1,
        ..SubscribeRequest::default()
    };
    let filtered = SubscribeRequest {
        channel: text("tf"),
        flag: 3,
        tf: Bytes::from_static(filter),
        ..since.clone()
    };
    [all, since, filtered]
}

fn decode_all(format: Format, frames: &[impl AsRef<[u8]>]) -> Vec<Command> {
    let decode = |frame: &_| {
        let frame: &[u8] = AsRef::as_ref(frame);
        format.decode(frame, &Config::new()).unwrap_or_else(|error| panic!("{error}"))
    };
    frames.iter().flat_map(decode).collect()
}

#[test]
fn what_the_sdk_for_javascript_sends_is_read() {
    let input = [Bytes::from(r#"{"input":"grüße\n"}"#), Bytes::from("null")];
    let commands = javascript(&input, subscribes(br#"{"key":"k","cmp":"eq","val":"v"}"#));
    assert_eq!(decode_all(Format::Json, JAVASCRIPT), commands);
}

// `centrifuge-python` 0.7.0: with spaces, escapes, and members that are zero.
#[test]
fn what_the_sdk_for_python_sends_is_read() {
    let frames = [
        r#"{"id": 1, "connect": {"token": "tok", "data": {"x": 1}, "name": "n", "version": "v"}}"#,
        r#"{"id": 2, "subscribe": {"channel": "chat:1", "token": "st", "data": {"y": 2}, "positioned": true, "recoverable": true, "join_leave": true, "flag": 1}}"#,
        r#"{"id": 3, "publish": {"channel": "a", "data": {"input": "gr\u00fc\u00dfe\n"}}}"#,
        r#"{"id": 7, "history": {"channel": "a", "limit": 0, "reverse": false}}"#,
        "{}",
    ];
    let command = |id| Command { id, ..Command::default() };
    let connect = ConnectRequest {
        token: text("tok"),
        data: Bytes::from(r#"{"x": 1}"#),
        name: text("n"),
        version: text("v"),
        ..ConnectRequest::default()
    };
    let [subscribe, ..] = subscribes(b"");
    let subscribe = SubscribeRequest { data: Bytes::from(r#"{"y": 2}"#), ..subscribe };
    let data = Bytes::from(r#"{"input": "gr\u00fc\u00dfe\n"}"#);
    let publish = PublishRequest { channel: text("a"), data, r#type: 0 };
    let history = HistoryRequest { channel: text("a"), ..HistoryRequest::default() };
    let commands = [
        Command { connect: Some(connect), ..command(1) },
        Command { subscribe: Some(subscribe), ..command(2) },
        Command { publish: Some(publish), ..command(3) },
        Command { history: Some(history), ..command(7) },
        command(0),
    ];
    assert_eq!(decode_all(Format::Json, &frames), commands);
}

/// One of each reply and push, with everything in it.
fn every_reply() -> Vec<Reply> {
    let json = |text: &'static str| Bytes::from(text);
    let reply = |id| Reply { id, ..Reply::default() };
    let info = ClientInfo {
        user: text("größe"),
        client: text("c\"1\\\n"),
        conn_info: json(r#"{"n":null}"#),
        chan_info: json("[]"),
    };
    let publication = Publication {
        data: json(r#"{"a":[1,"\n",{}]}"#),
        info: Some(info.clone()),
        offset: u64::MAX,
        tags: texts([("k", "v"), ("", "")]),
    };
    let subscribe = SubscribeResult {
        expires: true,
        ttl: u32::MAX,
        recoverable: true,
        epoch: text("e"),
        publications: vec![publication.clone(), Publication::default()],
        recovered: true,
        offset: 1 << 60,
        positioned: true,
        data: json("1"),
        was_recovering: true,
    };
    let connect = ConnectResult {
        client: text("c"),
        version: text("1"),
        expires: true,
        ttl: 60,
        data: json("true"),
        subs: [(text("a"), subscribe.clone().into())].into(),
        ping: 25,
        pong: true,
    };
    let presence = [(text("c1"), info.clone()), (text("c2"), ClientInfo::default())].into();
    let history =
        HistoryResult { publications: vec![publication.clone()], epoch: text("e"), offset: 9 };
    let refresh = RefreshResult { client: text("c"), version: text("1"), expires: true, ttl: 1 };
    let (data, expiry) = (Some(Data { data: json("\"x\"") }), Expiry { expires: true, ttl: 7 });
    let error = Error { code: 100, message: text("a\tb"), temporary: true };
    let mut replies = vec![
        reply(0),
        Reply { error: Some(error), ..reply(u32::MAX) },
        Reply { connect: Some(connect), ..reply(1) },
        Reply { connect: Some(ConnectResult::default()), ..reply(1) },
        Reply { subscribe: Some(subscribe), ..reply(2) },
        Reply { unsubscribe: Some(Empty {}), ..reply(3) },
        Reply { publish: Some(Empty {}), ..reply(4) },
        Reply { presence: Some(PresenceResult { presence }), ..reply(5) },
        Reply {
            presence_stats: Some(PresenceStatsResult { num_clients: 2, num_users: 0 }),
            ..reply(6)
        },
        Reply { history: Some(history), ..reply(7) },
        Reply { history: Some(HistoryResult::default()), ..reply(7) },
        Reply { ping: Some(Empty {}), ..reply(8) },
        Reply { rpc: data.clone(), ..reply(9) },
        Reply { refresh: Some(refresh), ..reply(10) },
        Reply { sub_refresh: Some(expiry.clone()), ..reply(11) },
    ];
    let push = Push { channel: text("a"), ..Push::default() };
    let membership = Some(Membership { info: Some(info) });
    let subscribe = Subscribe {
        recoverable: true,
        epoch: text("e"),
        offset: 3,
        positioned: true,
        data: json("{}"),
    };
    let unsubscribe = Unsubscribe { code: 2500, reason: text("insufficient state") };
    replies.extend(
        [
            Push { r#pub: Some(publication), ..push.clone() },
            Push { join: membership.clone(), ..push.clone() },
            Push { leave: membership, ..push.clone() },
            Push { unsubscribe: Some(unsubscribe), ..push.clone() },
            Push { message: data, ..Push::default() },
            Push { subscribe: Some(subscribe), ..push },
            Push { refresh: Some(expiry), ..Push::default() },
        ]
        .map(|push| Reply { push: Some(push), ..Reply::default() }),
    );
    replies
}

/// A client that the server has subscribed to a channel of which nothing is to be told.
fn connected_to_one() -> Reply {
    let subs = [(text("a"), SubscribeResult::default().into())].into();
    let connect = ConnectResult { subs, ..ConnectResult::default() };
    Reply { id: 1, connect: Some(connect), ..Reply::default() }
}

fn encoded(format: Format, all: &[Reply]) -> Message {
    let mut batch = Batch::new(format);
    all.iter().for_each(|reply| batch.push(reply));
    batch.into_message()
}

#[test]
fn what_is_written_is_read_back() {
    let all = every_reply();
    assert_eq!(replies(Format::Json, &encoded(Format::Json, &all)), all);
}

// As SDKs expect them: the names, what is left out, and what is not.
#[test]
fn replies_look_like_this_in_json() {
    let all = every_reply();
    let reply = |index: usize| encoded(Format::Json, &all[index..=index]).to_string();
    assert_eq!(reply(0), "{}");
    assert_eq!(
        reply(1),
        r#"{"id":4294967295,"error":{"code":100,"message":"a\u0009b","temporary":true}}"#
    );
    assert_eq!(reply(3), r#"{"id":1,"connect":{}}"#);
    assert_eq!(reply(8), r#"{"id":6,"presence_stats":{"num_clients":2,"num_users":0}}"#);
    assert_eq!(reply(10), r#"{"id":7,"history":{"publications":[],"epoch":"","offset":0}}"#);
    assert_eq!(
        reply(15),
        concat!(
            r#"{"push":{"channel":"a","pub":{"data":{"a":[1,"\n",{}]},"#,
            r#""info":{"user":"größe","client":"c\"1\\\u000a","conn_info":{"n":null},"chan_info":[]},"#,
            r#""offset":18446744073709551615,"tags":{"":"","k":"v"}}}}"#
        )
    );
    assert_eq!(
        encoded(Format::Json, &[connected_to_one()]).to_string(),
        r#"{"id":1,"connect":{"subs":{"a":{}}}}"#
    );
    assert_eq!(encoded(Format::Json, &all[..2]).as_bytes().split(|b| *b == b'\n').count(), 2);
}

fn error(frame: impl AsRef<[u8]>) -> String {
    let error = Format::Json.decode(frame.as_ref(), &Config::new()).unwrap_err();
    format!("{error}: {}", error.disconnect())
}

#[test]
fn what_is_not_json_of_the_protocol_is_an_error() {
    assert_eq!(error(""), "the frame has no command: 3501 bad request");
    assert_eq!(error("\n"), "the frame has no command: 3501 bad request");
    for frame in [
        "hello",
        "[]",
        "[1]",
        "{\"rpc\":[]}",
        "1",
        "{\"id\":-1}",
        "{\"id\":1.5}",
        "{\"id\":4294967296}",
        "{\"id\":\"1\"}",
        "{\"connect\":[]}",
        "{\"connect\":{\"token\":1}}",
        "{\"connect\":{\"subs\":{\"a\":1}}}",
        "{}{}",
        "{} x",
        "{\"id\":1,\"id\":1}",
    ] {
        assert_eq!(error(frame), "command 0 cannot be read: 3501 bad request", "{frame}");
    }
    assert_eq!(error("{}\n\n{}"), "command 1 cannot be read: 3501 bad request");
    assert_eq!(
        error(b"{\"connect\":{\"name\":\"\xff\"}}"),
        "command 0 cannot be read: 3501 bad request"
    );
}

#[test]
fn what_is_not_known_is_skipped_and_null_is_nothing() {
    let frame =
        r#"{"id":null,"method":5,"new":{"x":[]},"connect":null,"rpc":{"method":null,"data":null}}"#;
    let rpc = Some(RpcRequest { method: text(""), data: Bytes::from("null") });
    let command = Command { rpc, ..Command::default() };
    assert_eq!(decode_all(Format::Json, &[frame, "{}\n"]), [command, Command::default()]);
}

#[test]
fn frames_are_bounded() {
    let config = Config::new().max_commands(2).max_frame(100);
    let decode = |frame: &str| Format::Json.decode(frame.as_bytes(), &config);
    assert_eq!(decode("{}\n{}\n").unwrap().len(), 2);
    assert!(matches!(decode("{}\n{}\n{}"), Err(DecodeError::TooMany { max: 2 })));
    let error = decode(&" ".repeat(101)).unwrap_err();
    assert!(matches!(error, DecodeError::TooLong { len: 101, max: 100 }));
    assert_eq!(error.disconnect(), Disconnect::MESSAGE_TOO_BIG);
}

// A value may be nested as deeply as a frame has room for: data are skipped over, not descended into.
#[test]
fn deep_data_are_only_data() {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let frame = format!("{{\"id\":1,\"rpc\":{{\"method\":\"m\",\"data\":{deep}}}}}");
    let commands = decode_all(Format::Json, &[&frame]);
    assert_eq!(commands[0].rpc.as_ref().unwrap().data, deep);
    let unknown = format!("{{\"x\":{deep}}}");
    let _ = Format::Json.decode(unknown.as_bytes(), &Config::new());
}

// Whatever arrives, it is commands or an error.
#[test]
fn damaged_frames_are_errors() {
    let config = Config::new();
    for frame in JAVASCRIPT {
        for line in frame.lines() {
            for len in 0..line.len() {
                assert!(
                    Format::Json.decode(&line.as_bytes()[..len], &config).is_err(),
                    "{len} {line}"
                );
            }
            damage(Format::Json, line.as_bytes());
        }
    }
}

/// Reads the frame with each of its bytes changed in some ways. What can be read is not asked.
fn damage(format: Format, frame: &[u8]) {
    let mut damaged = frame.to_vec();
    for at in 0..frame.len() {
        for with in [0x01, 0x02, 0x08, 0x20, 0x40, 0x80, 0xFF, b'{' ^ frame[at], b'"' ^ frame[at]] {
            damaged[at] = frame[at] ^ with;
            let _ = format.decode(&damaged, &Config::new());
        }
        damaged[at] = frame[at];
    }
}

#[test]
fn a_format_is_asked_for() {
    let of = Format::of_request;
    assert_eq!(of(None, None), Format::Json);
    assert_eq!(of(Some("centrifuge-json"), Some("format=json&x=1")), Format::Json);
    assert_eq!(of(None, Some("xformat=protobuf")), Format::Json);
    #[cfg(feature = "centrifuge-protobuf")]
    {
        assert_eq!(of(Some("centrifuge-protobuf"), None), Format::Protobuf);
        assert_eq!(of(None, Some("a=b&format=protobuf")), Format::Protobuf);
        assert_eq!(of(None, Some("cf_protocol=protobuf&a")), Format::Protobuf);
    }
}
