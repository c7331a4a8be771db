//! What both ends know of their connection: counts, the round-trip time, and what TLS negotiated.

use std::time::Duration;

use tautline::{
    Client, CloseCode, Compression, ConnectionStats, Http2, Http2Config, Role, WebSocket,
    http::Version,
};
use tokio::sync::mpsc::unbounded_channel;

use crate::support::handshake::{Identity, bind};
use crate::support::peer::{CLOSE, FIN, Peer, TEXT, close_body};

/// Version, cipher suite, ALPN, the name that the client asked for, and certificates.
type Negotiated = (String, String, String, Option<String>, Vec<Vec<u8>>);

/// What TLS negotiated, in short.
fn tls(ws: &WebSocket) -> Option<Negotiated> {
    let tls = ws.tls()?;
    Some((
        tls.version()?.to_owned(),
        tls.cipher_suite()?.to_owned(),
        String::from_utf8_lossy(tls.alpn()?).into_owned(),
        tls.server_name().map(str::to_owned),
        tls.peer_certificates().map(<[u8]>::to_vec).collect(),
    ))
}

#[tokio::test]
async fn both_ends_know_what_was_negotiated_over_both_versions_of_http() {
    let identity = Identity::for_names(&["localhost"]);
    let (server, address) = bind().await;
    let (facts, mut seen) = unbounded_channel();
    let serving = server
        .tls(identity.server())
        .http2(Http2Config::new())
        .subprotocols(["chat.v1"])
        .compression(Compression::new())
        .serve(move |mut ws| {
            let facts = facts.clone();
            async move {
                facts.send((
                    tls(&ws),
                    ws.subprotocol().map(str::to_owned),
                    ws.compression().is_some(),
                ))?;
                ws.close().await?;
                Ok(())
            }
        });
    tokio::spawn(serving);
    let client = identity.client().subprotocols(["chat.v1"]).compression(Compression::new());
    for (http2, version, alpn) in
        [(Http2::Never, Version::HTTP_11, "http/1.1"), (Http2::Auto, Version::HTTP_2, "h2")]
    {
        let client = client.clone().http2(http2);
        let ws = client.connect(format!("wss://localhost:{}/", address.port())).await.unwrap();
        let (at_server, subprotocol, compressed) = seen.recv().await.unwrap();
        assert_eq!((ws.http_version(), ws.peer_addr()), (version, Some(address)));
        assert!(!ws.peer().is_proxied() && ws.peer().is_secure());
        assert_eq!(ws.subprotocol(), subprotocol.as_deref());
        assert!(ws.compression().is_some() && compressed);
        let (at_client, at_server) = (tls(&ws).unwrap(), at_server.unwrap());
        for end in [&at_client, &at_server] {
            assert_eq!(end.0, "TLSv1.3");
            assert!(end.1.starts_with("TLS13_"), "{}", end.1);
            assert_eq!(end.2, alpn);
        }
        assert_eq!((at_client.3, at_server.3.as_deref()), (None, Some("localhost")));
        assert_eq!(at_client.4, [identity.certificate.to_vec()]);
        assert_eq!(at_server.4, [[0; 0]; 0]);
    }
}

#[tokio::test]
async fn what_passes_is_counted_to_the_byte_with_what_came_behind_the_handshake() {
    let (near, far) = tokio::io::duplex(4096);
    let ws = WebSocket::builder(Role::Client).leftover(&b"\x81\x01a"[..]).build(near);
    assert_eq!(ws.stats().bytes_received, 3);
    let mut peer = Peer::of(Role::Client, far);
    let (mut reader, mut writer) = ws.split();
    assert_eq!(reader.next().await.unwrap().unwrap().as_text(), Some("a"));
    writer.send("hello").await.unwrap();
    peer.expect(FIN | TEXT, "hello").await;
    peer.send(FIN | TEXT, "you").await;
    assert_eq!(reader.next().await.unwrap().unwrap().as_text(), Some("you"));
    for stats in [reader.stats(), writer.stats()] {
        assert_eq!((stats.messages_received, stats.bytes_received), (2, 3 + 2 + 3));
        // A client's frame has a mask.
        assert_eq!((stats.messages_sent, stats.bytes_sent), (1, 2 + 4 + 5));
        assert_eq!(stats.round_trip, None);
    }
    let closing = async {
        peer.send(FIN | CLOSE, close_body(1000, "")).await;
        peer.expect(FIN | CLOSE, close_body(1000, "")).await;
        drop(peer);
    };
    let (end, ()) = futures_util::future::join(reader.next(), closing).await;
    assert!(end.is_none());
    assert_eq!(writer.stats().bytes_received, 8 + 4);
}

#[tokio::test]
async fn the_round_trip_is_measured_by_a_ping_and_the_counts_outlive_the_connection() {
    let (server, address) = bind().await;
    let (stats, mut seen) = unbounded_channel::<ConnectionStats>();
    let serving = server.serve(move |mut ws| {
        let stats = stats.clone();
        async move {
            ws.next().await;
            ws.ping().await?;
            ws.send("pinged").await?;
            assert!(ws.next().await.is_none());
            stats.send(ws.stats())?;
            Ok(())
        }
    });
    tokio::spawn(serving);
    let mut ws = Client::new().connect(format!("ws://{address}/")).await.unwrap();
    ws.ping().await.unwrap();
    let measured = ws.stats().round_trip.unwrap();
    assert!(measured > Duration::ZERO && measured < Duration::from_secs(30));
    ws.send("hello").await.unwrap();
    // The server's ping is answered here.
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("pinged"));
    ws.close().await.unwrap();
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::NORMAL);
    assert!(ws.tls().is_none());
    let (client, server) = (ws.stats(), seen.recv().await.unwrap());
    assert_eq!((client.messages_sent, server.messages_received), (1, 1));
    assert_eq!(
        (client.bytes_sent, client.bytes_received),
        (server.bytes_received, server.bytes_sent)
    );
    assert!(server.round_trip.is_some());
}
