use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap();
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).unwrap();
    hex.as_bytes().chunks(2).map(pair).collect()
}

/// What `centrifuge` 5.8.0 for JavaScript sent to a server that wrote it down: the same as in JSON.
const JAVASCRIPT: &[&str] = &[
    "200801221c0a03746f6b12077b2278223a317d22016e2a017632060a01681201772908022a250a06636861743a3112027374\
     42077b2279223a327d4801500158016206666f7373696c70011508032a110a0573696e63651801320265353805700\
     11e08042a1a0a02746618013202653538056a0a12016b1a0265712201767003",
    "1e08053a1a0a016112157b22696e707574223a226772c3bcc39f655c6e227d",
    "07080742030a0161",
    "0708084a030a0161",
    "07080952030a0161",
    "12080a520e0a0161380a420508031201654801",
    "12080b520e0a016138ffffffffffffffffff01",
    "0e080c6a0a0a055b312c325d12016d",
    "0b62090a077b2273223a317d",
    "00",
    "0a080d72060a04746f6b32",
    "11080e7a0d0a06636861743a311203737432",
    "0b080f32070a0573696e6365",
    "320811222e0a04746f6b3212077b2278223a317d1a0f0a037372761208180132026531380322016e2a017632060a0168120177",
];

fn frames() -> Vec<Vec<u8>> {
    JAVASCRIPT.iter().map(|frame| bytes(&frame.replace(' ', ""))).collect()
}

#[test]
fn what_the_sdk_for_javascript_sends_is_read() {
    let input = [Bytes::from("{\"input\":\"grüße\\n\"}"), Bytes::new()];
    let filter = b"\x12\x01k\x1a\x02eq\x22\x01v";
    let mut commands = javascript(&input, subscribes(filter));
    // It publishes no `null` in Protobuf, so its ids are one less from there on.
    commands.remove(5);
    for command in &mut commands[5..] {
        command.id = command.id.saturating_sub(1);
    }
    assert_eq!(decode_all(Format::Protobuf, &frames()), commands);
}

// `centrifuge-python` 0.7.0.
#[test]
fn what_the_sdk_for_python_sends_is_read() {
    let frames = [
        bytes("19080122150a03746f6b12087b2278223a20317d22016e2a0176"),
        bytes("2208022a1e0a06636861743a311202737442087b2279223a20327d4801500158017001"),
        bytes("00"),
    ];
    let connect = ConnectRequest {
        token: text("tok"),
        data: Bytes::from(r#"{"x": 1}"#),
        name: text("n"),
        version: text("v"),
        ..ConnectRequest::default()
    };
    let [subscribe, ..] = subscribes(b"");
    let subscribe = SubscribeRequest { data: Bytes::from(r#"{"y": 2}"#), ..subscribe };
    let commands = [
        Command { id: 1, connect: Some(connect), ..Command::default() },
        Command { id: 2, subscribe: Some(subscribe), ..Command::default() },
        Command::default(),
    ];
    assert_eq!(decode_all(Format::Protobuf, &frames), commands);
}

#[test]
fn what_is_written_is_read_back() {
    let all = every_reply();
    assert_eq!(replies(Format::Protobuf, &encoded(Format::Protobuf, &all)), all);
    for command in decode_all(Format::Protobuf, &frames()) {
        let frame = command.encode_length_delimited_to_vec();
        assert_eq!(decode_all(Format::Protobuf, &[frame]), [command]);
    }
}

// The numbers are the schema's: the same bytes by hand.
#[test]
fn replies_look_like_this_in_protobuf() {
    let all = every_reply();
    let reply = |index: usize| encoded(Format::Protobuf, &all[index..=index]).into_bytes();
    assert_eq!(reply(0), bytes("00"), "a ping");
    assert_eq!(reply(1), bytes("1108ffffffff0f120908641203610962 1801".replace(' ', "").as_str()));
    assert_eq!(reply(3), bytes("0408012a00"));
    assert_eq!(reply(8), bytes("0608065202 0802".replace(' ', "").as_str()));
    assert_eq!(reply(14), bytes("08080b7a0408011007"));
    assert_eq!(reply(21), bytes("08220662040801 1007".replace(' ', "").as_str()));
}

// The SDK for JavaScript could not connect where the server subscribed it to a topic without history: it read `null` for
// a subscription that was left out of the map because all of it was zero, and took the connection's answer for broken.
#[test]
fn a_subscription_without_anything_to_tell_is_written() {
    let frame = encoded(Format::Protobuf, &[connected_to_one()]).into_bytes();
    assert_eq!(frame, bytes("0b08012a0732050a01611200"));
}

fn error(frame: &[u8]) -> String {
    Format::Protobuf.decode(frame, &Config::new()).unwrap_err().to_string()
}

#[test]
fn what_is_not_protobuf_of_the_protocol_is_an_error() {
    assert_eq!(error(b""), "the frame has no command");
    assert_eq!(error(&[5, 0]), "the frame ends within command 0");
    assert_eq!(error(&[0, 1]), "the frame ends within command 1");
    assert_eq!(error(&[0xFF; 11]), "command 0 cannot be read", "no length");
    let longest = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    assert_eq!(error(&longest), "the frame ends within command 0");
    assert_eq!(error(&[2, 0x22, 5]), "command 0 cannot be read", "a member beyond the end");
    assert_eq!(error(&[5, 0x22, 3, 0x0A, 1, 0xFF]), "command 0 cannot be read", "not UTF-8");
    assert_eq!(error(&[1, 0x0C]), "command 0 cannot be read", "no such type");
    assert_eq!(error(b"{}"), "the frame ends within command 0", "JSON");
}

#[test]
fn frames_are_bounded() {
    let config = Config::new().max_commands(2);
    let decode = |frame: &[u8]| Format::Protobuf.decode(frame, &config);
    assert_eq!(decode(&[0, 0]).unwrap().len(), 2);
    assert!(matches!(decode(&[0, 0, 0]), Err(DecodeError::TooMany { max: 2 })));
}

// Whatever arrives, it is commands or an error.
#[test]
fn damaged_frames_are_errors() {
    let config = Config::new();
    let commands = decode_all(Format::Protobuf, &frames());
    for frame in commands.iter().map(prost::Message::encode_length_delimited_to_vec) {
        for len in 0..frame.len() {
            assert!(Format::Protobuf.decode(&frame[..len], &config).is_err(), "{len} {frame:?}");
        }
        damage(Format::Protobuf, &frame);
    }
}
