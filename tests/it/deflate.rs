//! Compression (permessage-deflate, RFC 7692) end to end: what is agreed on, and what then crosses.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use tautline::{
    Acceptor, Client, Compress, Compression, Config, Error, Message, ProtocolError, Role, Timeout,
    WebSocket,
};

use crate::support::handshake::{
    Head, Http, Identity, bind, echo, echo_server, request_with, switching, uri,
};
use crate::support::peer::{BINARY, FIN, PING, PONG, Peer, ROLES, TEXT, close_body, tcp_streams};

const RSV1: u8 = 0x40;

fn presets() -> [Compression; 3] {
    [Compression::new(), Compression::low_memory(), Compression::best_ratio()]
}

fn feed(len: usize, seed: usize) -> String {
    let mut text = String::new();
    for number in seed.. {
        if text.len() >= len {
            break;
        }
        text +=
            &format!("{{\"symbol\":\"T{}\",\"price\":{}}},", number % 7, number * 7919 % 10_000);
    }
    text.truncate(len);
    text
}

/// What one end keeps is what the other may refer to.
fn mirrored(of: &Compression) -> [(bool, u8); 2] {
    [
        (of.get_peer_context_takeover(), of.get_peer_window_bits()),
        (of.get_own_context_takeover(), of.get_own_window_bits()),
    ]
}

fn seen(of: &Compression) -> [(bool, u8); 2] {
    let [peer, own] = mirrored(of);
    [own, peer]
}

#[tokio::test]
async fn both_ends_agree_and_messages_of_all_kinds_cross() {
    for wished_by_server in presets().map(|preset| preset.own_window_bits(11)) {
        for wished_by_client in presets().map(|preset| preset.own_window_bits(13)) {
            let (server, address) = bind().await;
            let (sender, mut agreed) = tokio::sync::mpsc::channel(1);
            let serving = server.compression(wished_by_server).serve(move |ws| {
                sender.try_send(ws.compression().copied()).unwrap();
                echo(ws)
            });
            tokio::spawn(serving);
            let client = Client::new().compression(wished_by_client);
            let mut ws = client.connect(uri(address)).await.unwrap();
            let at_client = *ws.compression().expect("agreed on");
            let at_server = agreed.recv().await.unwrap().expect("agreed on");
            assert_eq!(seen(&at_client), mirrored(&at_server));
            assert_eq!(
                (at_server.get_own_window_bits(), at_client.get_own_window_bits()),
                (11, 13)
            );
            for round in 0..3 {
                for wish in [Compress::Auto, Compress::Always, Compress::Never] {
                    for len in [0, 20, 1024, 70_000] {
                        let message = Message::from(feed(len, round));
                        ws.send_with(message.clone(), wish).await.unwrap();
                        assert!(ws.next().await.unwrap().unwrap() == message, "{len} {wish:?}");
                    }
                }
            }
            ws.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn nothing_is_compressed_unless_both_ends_want_it() {
    let plain = echo_server(|server| server).await;
    let client = Client::new().compression(Compression::new());
    let mut ws = client.connect(format!("ws://{plain}/")).await.unwrap();
    assert!(ws.compression().is_none());
    ws.send_with(feed(5000, 0), Compress::Always).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(&*feed(5000, 0)));

    let compressing = echo_server(|server| server.compression(Compression::new())).await;
    let mut ws = Client::new().connect(format!("ws://{compressing}/")).await.unwrap();
    assert!(ws.compression().is_none());
    ws.send(feed(5000, 0)).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(&*feed(5000, 0)));
}

async fn answer_to(offers: &str, settings: Compression) -> Option<String> {
    let address = echo_server(|server| server.compression(settings)).await;
    let mut http = Http::connect(address).await;
    let lines = format!("Sec-WebSocket-Extensions: {offers}\r\n");
    http.write(request_with(lines)).await;
    let head: Head = http.head().await;
    assert_eq!(head.status(), 101);
    head.get("sec-websocket-extensions").map(str::to_owned)
}

// The offer of a client allows any limit of its window (RFC 7692 section 7.1.2.2), but zlib cannot
// compress with 8 bits: the connection failed. Now it continues; what the server sends is
// compressed, and what the client sends is not.
#[tokio::test]
async fn a_client_that_cannot_compress_within_the_window_sends_uncompressed() {
    for settings in presets() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let client = Client::new().compression(settings);
        let connecting = tokio::spawn(async move {
            client.connect_over("ws://localhost/", near).await.expect("the offer invited it")
        });
        let mut http = Http::over(far);
        let request = http.head().await;
        let answer = "permessage-deflate; server_no_context_takeover; \
                      client_no_context_takeover; client_max_window_bits=8";
        let lines = format!("Sec-WebSocket-Extensions: {answer}\r\n");
        http.write(switching(&request, &lines)).await;
        let mut ws = connecting.await.unwrap();
        assert!(!ws.compression().expect("agreed on").get_own_compression());
        let mut peer = Peer::of(Role::Client, http.stream);
        for wish in [Compress::Auto, Compress::Always] {
            ws.send_with(feed(2000, 0), wish).await.unwrap();
            peer.expect(FIN | TEXT, feed(2000, 0)).await;
        }
        peer.send(FIN | RSV1 | TEXT, [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]).await;
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("Hello"));
    }
}

// RFC 7692 section 7.1.2.1: conversely, a client limits the window of the server to 8 bits.
#[tokio::test]
async fn a_server_that_cannot_compress_within_the_window_sends_uncompressed() {
    for settings in presets() {
        let address = echo_server(|server| server.compression(settings)).await;
        let mut http = Http::connect(address).await;
        let offer = "permessage-deflate; server_max_window_bits=8";
        http.write(request_with(format!("Sec-WebSocket-Extensions: {offer}\r\n"))).await;
        let head = http.head().await;
        let answer = head.get("sec-websocket-extensions").unwrap();
        assert!(answer.ends_with("server_max_window_bits=8"), "{answer}");
        let mut peer = Peer::of(Role::Server, http.stream);
        let text = feed(500, 0);
        // A block that is not compressed.
        let head = [&[0x00][..], &500u16.to_le_bytes(), &(!500u16).to_le_bytes()].concat();
        peer.send(FIN | RSV1 | TEXT, [&head[..], text.as_bytes(), &[0x00]].concat()).await;
        peer.expect(FIN | TEXT, text).await;
    }
}

// RFC 7692 section 7.1: what a browser offers, what asks for more, and what must be declined.
#[tokio::test]
async fn the_answer_honours_the_offer() {
    let browser = "permessage-deflate; client_max_window_bits";
    for (offers, settings, answer) in [
        (browser, Compression::best_ratio().own_window_bits(15), Some("permessage-deflate")),
        (browser, Compression::best_ratio(), Some("permessage-deflate; server_max_window_bits=13")),
        (browser, Compression::new(), Some("permessage-deflate; server_no_context_takeover")),
        (
            browser,
            Compression::low_memory().peer_window_bits(10),
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 client_max_window_bits=10",
            ),
        ),
        (
            "permessage-deflate; server_max_window_bits=10; server_no_context_takeover",
            Compression::best_ratio(),
            Some("permessage-deflate; server_no_context_takeover; server_max_window_bits=10"),
        ),
        (
            "permessage-deflate; server_max_window_bits=8",
            Compression::new(),
            Some("permessage-deflate; server_no_context_takeover; server_max_window_bits=8"),
        ),
        ("permessage-deflate; client_max_window_bits=\"16\"", Compression::new(), None),
        ("permessage-deflate; unheard_of, x-other", Compression::new(), None),
        (
            "permessage-deflate; unheard_of, permessage-deflate; server_max_window_bits=\"12\"",
            Compression::best_ratio(),
            Some("permessage-deflate; server_max_window_bits=12"),
        ),
    ] {
        assert_eq!(answer_to(offers, settings).await.as_deref(), answer, "{offers}");
    }
}

#[tokio::test]
async fn it_crosses_tls() {
    let certified = Identity::for_names(&["localhost"]);
    let tls = certified.server();
    let settings = Compression::best_ratio();
    let address = echo_server(|server| server.tls(tls).compression(settings)).await;
    let client = certified.client().compression(settings);
    let mut ws = client.connect(format!("wss://localhost:{}/", address.port())).await.unwrap();
    assert!(ws.compression().is_some());
    for seed in 0..20 {
        ws.feed(feed(3000, seed)).await.unwrap();
    }
    for seed in 0..20 {
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(&*feed(3000, seed)));
    }
}

/// A connection that was upgraded elsewhere, and its peer, which speaks raw frames.
async fn upgraded(settings: Compression) -> (WebSocket<tokio::net::TcpStream>, PeerOfServer) {
    let (near, far) = tcp_streams().await;
    let config = Arc::new(Config::new());
    let ws = WebSocket::builder(Role::Server).config(config).compression(settings).build(near);
    (ws, Peer::of(Role::Server, far))
}

type PeerOfServer = Peer<tokio::net::TcpStream>;

// The bytes of "Hello" in RFC 7692 sections 7.2.3.1 and 7.2.3.2.
#[tokio::test]
async fn what_was_agreed_on_elsewhere_can_be_taken_over() {
    let (mut ws, mut peer) = upgraded(Compression::best_ratio().threshold(0)).await;
    let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    let again = [0xF2, 0x00, 0x11, 0x00, 0x00];
    peer.send(FIN | RSV1 | TEXT, hello).await;
    peer.send(FIN | RSV1 | TEXT, again).await;
    for _ in 0..2 {
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("Hello"));
    }
    ws.send_with("Hello", Compress::Always).await.unwrap();
    peer.expect(FIN | RSV1 | TEXT, hello).await;
    ws.send_with("Hello", Compress::Always).await.unwrap();
    peer.expect(FIN | RSV1 | TEXT, again).await;
    ws.send_with("Hello", Compress::Never).await.unwrap();
    peer.expect(FIN | TEXT, "Hello").await;
}

#[tokio::test]
async fn a_message_that_cannot_be_inflated_is_told_with_1007() {
    let (mut ws, mut peer) = upgraded(Compression::new()).await;
    peer.send(FIN | RSV1 | BINARY, [0x06]).await;
    let told = async {
        peer.expect_close(1007).await;
        drop(peer);
    };
    let (error, ()) = tokio::join!(ws.next(), told);
    let error = error.unwrap().unwrap_err();
    assert!(matches!(error, Error::Protocol(ProtocolError::Inflate)), "{error:?}");
}

// The next message refers to nothing before it, though the first of the previous two did.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_gives_its_compressor_back() {
    let (near, far) = tokio::io::duplex(1 << 12);
    let idle = Duration::from_secs(3);
    let compression = Compression::best_ratio().idle_timeout(idle);
    let ws = WebSocket::builder(Role::Server).compression(compression).build(near);
    let mut peer = Peer::of(Role::Server, far);
    tokio::spawn(echo(ws));
    let text = feed(1000, 0);
    let mut answers = Vec::new();
    for pause in [0, 0, 1, 7] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        peer.send(FIN | TEXT, &text).await;
        answers.push(peer.recv().await.unwrap());
    }
    assert_eq!(answers[0].first, FIN | RSV1 | TEXT);
    assert!(answers[1..3].iter().all(|answer| answer.payload.len() < 50), "it refers back");
    assert_eq!(answers[3], answers[0]);
}

// A writer set the deadline, and the reader, the only one waiting, did not notice.
#[tokio::test(start_paused = true)]
async fn a_split_connection_gives_its_compressor_back() {
    let (near, far) = tokio::io::duplex(1 << 14);
    let config = Config::new().ping_interval(None);
    let idle = Duration::from_secs(3);
    let compression = Compression::best_ratio().idle_timeout(idle);
    let ws = WebSocket::builder(Role::Server).config(config).compression(compression).build(near);
    let mut peer = Peer::of(Role::Server, far);
    let (mut reader, mut writer) = ws.split();
    tokio::spawn(async move { while reader.next().await.is_some() {} });
    let mut sent = Vec::new();
    for pause in [1, 1, 7] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        writer.send(feed(1000, 0)).await.unwrap();
        sent.push(peer.recv().await.unwrap());
    }
    assert!(sent[1].payload.len() < 50, "it refers back");
    assert_eq!(sent[2], sent[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_a_split_connection_share_one_context() {
    const WRITERS: usize = 4;
    const MESSAGES: usize = 200;
    let (near, far) = tokio::io::duplex(1 << 14);
    let settings = Compression::best_ratio();
    let acceptor = Acceptor::new().compression(settings);
    let server = tokio::spawn(async move { acceptor.accept(far).await.unwrap() });
    let client = Client::new().compression(settings);
    let mut ws = client.connect_over("ws://localhost/", near).await.unwrap();
    let (mut reader, writer) = server.await.unwrap().split();
    tokio::spawn(async move { while reader.next().await.is_some() {} });
    for id in 0..WRITERS {
        let mut writer = writer.clone();
        tokio::spawn(async move {
            for number in 0..MESSAGES {
                // Some are fed, some sent, some sent uncompressed: each is whole on the wire, in
                // the order of its writer.
                let message = format!("{id} {number} {}", feed(number * 5, number));
                match number % 3 {
                    0 => writer.feed(message).await.unwrap(),
                    1 => writer.send(message).await.unwrap(),
                    _ => writer.send_with(message, Compress::Never).await.unwrap(),
                }
            }
            writer.flush().await.unwrap();
        });
    }
    let mut next = [0; WRITERS];
    while next.iter().sum::<usize>() < WRITERS * MESSAGES {
        let message = ws.next().await.unwrap().unwrap();
        let text = message.as_text().unwrap();
        let (id, rest) = text.split_once(' ').unwrap();
        let number = &mut next[id.parse::<usize>().unwrap()];
        assert_eq!(rest, format!("{number} {}", feed(*number * 5, *number)));
        *number += 1;
    }
}

// 40 connections each sent one unfinished frame of 16.3 kB that inflates to just under 16 MiB, and
// answered pings from then on: 650 kB on the wire held 658 MB, for as long as the peers wanted.
#[tokio::test(start_paused = true)]
async fn who_answers_pings_in_the_middle_of_a_message_does_not_keep_it_for_ever() {
    for role in ROLES {
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut ws = WebSocket::builder(role).compression(Compression::new()).build(near);
        let mut peer = Peer::of(role, far);
        // A block that is not compressed, with the next one missing.
        peer.send(RSV1 | BINARY, [0x00, 0x05, 0x00, 0xFA, 0xFF, 1, 2, 3, 4, 5]).await;
        let start = tokio::time::Instant::now();
        let answering = async {
            loop {
                let frame = peer.recv().await.expect("a close before the end");
                if frame.first != FIN | PING {
                    break frame;
                }
                peer.send(FIN | PONG, &frame.payload).await;
            }
        };
        let (error, frame) = tokio::join!(ws.next(), answering);
        assert!(matches!(error, Some(Err(Error::Timeout(Timeout::Message)))), "{error:?}");
        assert_eq!(frame.payload, close_body(1008, "message timeout"));
        assert_eq!(start.elapsed().as_secs(), 30, "{role:?}");
    }
}

// One read of 65 KiB can hold hundreds of messages of 64 KiB each, compressed to 85 bytes.
// Inflating them does not count towards the runtime's budget, which covers reads and writes: one
// peer kept a thread for seconds in a single poll.
#[tokio::test]
async fn a_peer_whose_messages_inflate_to_much_lets_others_of_the_thread_have_their_turn() {
    const COUNT: usize = 60;
    const LEN: usize = 64 << 10;
    let (near, far) = tokio::io::duplex(1 << 20);
    let agreed = Compression::new();
    let mut client = WebSocket::builder(Role::Client).compression(agreed).build(near);
    let mut server = WebSocket::builder(Role::Server).compression(agreed).build(far);
    for _ in 0..COUNT {
        client.feed(vec![7; LEN]).await.unwrap();
    }
    client.flush().await.unwrap();

    // What every poll returns before it waits, though everything has arrived from the start.
    let mut turns = Vec::new();
    while turns.iter().sum::<usize>() < COUNT {
        let mut received = 0;
        let turn = poll_fn(|cx| {
            if received > 0 {
                return Poll::Ready(received);
            }
            while let Poll::Ready(message) = server.poll_next_unpin(cx) {
                assert_eq!(message.unwrap().unwrap().len(), LEN);
                received += 1;
                if turns.iter().sum::<usize>() + received == COUNT {
                    return Poll::Ready(received);
                }
            }
            // The connection has to make sure that this is polled again.
            Poll::Pending
        });
        let turn = turn.await;
        turns.push(turn);
    }
    // A turn inflates 64 KiB, and finishes what it started.
    assert!(turns.iter().all(|&received| received <= 2), "{turns:?}");
}
