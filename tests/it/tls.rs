//! `wss`: TLS is verified, resumed and ended as it should be, and never left out (RFC 6455 sections
//! 3, 4.1 and 10.6).

use std::net::SocketAddr;
use std::sync::Arc;

use tautline::rustls::crypto::CryptoProvider;
use tautline::rustls::{self, CertificateError};
use tautline::{
    Client, ClientTls, CloseCode, ConnectError, Error, HeadError, Message, Role, Server, ServerTls,
    TlsError, TlsInfo, WebSocket, connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, client, server};

use crate::support::handshake::{
    Http, Identity, bind, echo, echo_server, expect_echo, request_but, switching, uri,
};
use crate::support::peer::{CLOSE, FIN, Peer, TEXT, close_body};

const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

async fn tls_echo_server(identity: &Identity) -> SocketAddr {
    let tls = identity.server();
    echo_server(|server| server.tls(tls)).await
}

/// What TLS agreed on, as the client sees it.
fn session(ws: &WebSocket) -> TlsInfo<'_> {
    ws.get_ref().unwrap().tls().expect("a connection over TLS")
}

/// Why rustls rejects the server.
fn tls_error(error: ConnectError) -> rustls::Error {
    match error {
        ConnectError::Tls(TlsError::Handshake(error)) => {
            let inner = error.into_inner().expect("an error of rustls");
            *inner.downcast().expect("an error of rustls")
        }
        other => panic!("{other:?}"),
    }
}

fn certificate_error(error: ConnectError) -> CertificateError {
    match tls_error(error) {
        rustls::Error::InvalidCertificate(error) => error,
        other => panic!("{other:?}"),
    }
}

/// A server that must never see a request.
async fn unreachable_server(identity: &Identity) -> SocketAddr {
    let (server, address) = bind().await;
    let serving = server
        .tls(identity.server())
        .authorize(|_| async { panic!("a request on a connection that is not to be trusted") })
        .serve_with(|_, ()| async { Ok(()) });
    tokio::spawn(serving);
    address
}

// RFC 7301 for ALPN: a server that also speaks HTTP/2 must not choose it. RFC 6066 section 3 for
// the name: none for an address.
#[tokio::test]
async fn wss_carries_messages_and_both_sides_agree_on_http_1_1_and_the_name() {
    let identity = Identity::for_names(&LOCAL);
    let (server, address) = bind().await;
    let serving = server.tls(identity.server()).serve(|mut ws| async move {
        let said = {
            let tls = session(&ws);
            let alpn = String::from_utf8_lossy(tls.alpn().unwrap());
            format!("{alpn} for {:?}", tls.server_name())
        };
        ws.send(said).await?;
        echo(ws).await
    });
    tokio::spawn(serving);
    for (host, said) in
        LOCAL.into_iter().zip(["http/1.1 for Some(\"localhost\")", "http/1.1 for None"])
    {
        let uri = format!("wss://{host}:{}/", address.port());
        let mut ws = identity.client().connect(uri).await.unwrap();
        assert!(ws.get_ref().unwrap().is_tls());
        assert!(ws.get_ref().unwrap().tcp().unwrap().nodelay().unwrap());
        assert_eq!(*ws.peer(), tautline::Peer::from(address).with_secure(true));
        assert_eq!(session(&ws).alpn(), Some(&b"http/1.1"[..]));
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(said));
        expect_echo(&mut ws, "hello").await;
        let large = Message::from(vec![7; 2_000_000]);
        let (sent, echoed) = {
            let (mut reader, mut writer) = ws.split();
            let message = large.clone();
            let sending = tokio::spawn(async move {
                let result = writer.send(message).await;
                (result, writer)
            });
            let echoed = reader.next().await;
            let (result, mut writer) = sending.await.unwrap();
            let (closed, end) = futures_util::future::join(writer.close(), reader.next()).await;
            closed.unwrap();
            assert!(end.is_none());
            (result, echoed)
        };
        sent.unwrap();
        assert!(echoed.unwrap().unwrap() == large);
    }
}

// faye CVE-2020-15133 and Java-WebSocket CVE-2020-11050 did not check the name.
#[tokio::test]
async fn a_certificate_for_another_name_or_address_is_refused() {
    for (names, host) in [
        (&["example.com"][..], "localhost"),
        (&["example.com", "127.0.0.2"], "127.0.0.1"),
        (&["localhost"], "127.0.0.1"),
        (&["127.0.0.1"], "localhost"),
        (&["*.localhost"], "localhost"),
        (&["localhost.example.com"], "localhost"),
    ] {
        let identity = Identity::for_names(names);
        let address = unreachable_server(&identity).await;
        let uri = format!("wss://{host}:{}/", address.port());
        let error = certificate_error(identity.client().connect(&uri).await.unwrap_err());
        assert!(
            matches!(
                error,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ),
            "{host} {names:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_is_not_trusted_is_refused() {
    let identity = Identity::for_names(&LOCAL);
    let address = unreachable_server(&identity).await;
    let uri = format!("wss://{address}/");
    // One that trusts another certificate of the same name: the server's is not signed by that.
    let stranger = Identity::for_names(&LOCAL).client();
    let error = certificate_error(stranger.connect(&uri).await.unwrap_err());
    assert_eq!(error, CertificateError::BadSignature);
    // By the system's authorities, of which this machine may have none.
    match connect(&uri).await {
        Err(ConnectError::Tls(TlsError::NoRoots)) => {}
        Err(error) => assert_eq!(certificate_error(error), CertificateError::UnknownIssuer),
        Ok(_) => panic!("a stranger was trusted"),
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let identity = Identity::expired(&LOCAL);
    let address = unreachable_server(&identity).await;
    let error = identity.client().connect(format!("wss://{address}/")).await.unwrap_err();
    let error = certificate_error(error);
    let expired =
        matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. });
    assert!(expired, "{error:?}");
}

// sockudo 3.1 sent `wss` in plain text.
#[tokio::test]
async fn wss_to_a_plain_server_fails_and_nothing_is_sent_in_plain_text() {
    let client = Identity::for_names(&LOCAL).client().header("cookie", "secret");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("wss://{}/private", listener.local_addr().unwrap());
    let server = async {
        let mut stream = listener.accept().await.unwrap().0;
        let mut heard = vec![0; 4096];
        let count = stream.read(&mut heard).await.unwrap();
        heard.truncate(count);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let (result, heard) = futures_util::future::join(client.connect(&uri), server).await;
    assert!(matches!(tls_error(result.unwrap_err()), rustls::Error::InvalidMessage(_)));
    assert_eq!(heard[..2], [0x16, 0x03], "a TLS handshake record (RFC 8446 section 5.1)");
    for secret in [&b"GET"[..], b"private", b"secret", b"websocket"] {
        assert!(!heard.windows(secret.len()).any(|part| part == secret));
    }
    // The library's own plain server says so in its response, which is not TLS either.
    let address = echo_server(|server| server).await;
    let error = client.connect(format!("wss://{address}/")).await.unwrap_err();
    assert!(matches!(tls_error(error), rustls::Error::InvalidMessage(_)));
}

#[tokio::test]
async fn ws_to_a_tls_server_fails_by_name_and_the_server_goes_on() {
    let identity = Identity::for_names(&LOCAL);
    let address = tls_echo_server(&identity).await;
    match connect(uri(address)).await {
        Err(ConnectError::Head { error, .. }) => assert_eq!(error, HeadError::Tls),
        other => panic!("{other:?}"),
    }
    let mut ws = identity.client().connect(format!("wss://{address}/")).await.unwrap();
    expect_echo(&mut ws, "hello").await;
}

#[tokio::test]
async fn connections_of_one_client_resume_their_tls_session() {
    let identity = Identity::for_names(&LOCAL);
    let address = tls_echo_server(&identity).await;
    let client = identity.client();
    let mut resumed = Vec::new();
    // Clones share sessions; another client has none yet.
    for client in [&client, &client, &client.clone(), &identity.client()] {
        let mut ws = client.connect(format!("wss://{address}/")).await.unwrap();
        resumed.push(session(&ws).is_resumed());
        expect_echo(&mut ws, "hello").await;
        ws.close().await.unwrap();
    }
    assert_eq!(resumed, [false, true, true, false]);
}

/// A raw client over TLS.
async fn raw_client(
    identity: &Identity,
    address: SocketAddr,
) -> Http<client::TlsStream<TcpStream>> {
    Http::over(identity.connect(TcpStream::connect(address).await.unwrap()).await)
}

/// A raw server over TLS, with a client connected.
async fn raw_server(identity: &Identity) -> (WebSocket, Peer<server::TlsStream<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config()));
    let serve = async {
        let stream = listener.accept().await.unwrap().0;
        let mut server = Http::over(acceptor.accept(stream).await.unwrap());
        let request = server.head().await;
        server.write(switching(&request, "")).await;
        server.stream.flush().await.unwrap();
        server
    };
    let client = identity.client();
    let uri = format!("wss://{address}/");
    let (ws, server) = futures_util::future::join(client.connect(&uri), serve).await;
    (ws.unwrap(), Peer::of(Role::Client, server.stream))
}

// RFC 6455 section 7.1.1 and RFC 8446 section 6.1: tokio-rustls reports an end without close_notify
// as an error, and with it as the end; `expect_eof` accepts only the latter.
#[tokio::test]
async fn a_server_that_is_closed_answers_and_ends_tls_with_close_notify() {
    let identity = Identity::for_names(&LOCAL);
    let address = tls_echo_server(&identity).await;
    let mut client = raw_client(&identity, address).await;
    client.upgrade().await;
    let mut peer = Peer::of(Role::Server, client.stream);
    peer.send(FIN | TEXT, "hello").await;
    peer.send(FIN | CLOSE, close_body(3000, "bye")).await;
    peer.expect(FIN | TEXT, "hello").await;
    peer.expect(FIN | CLOSE, close_body(3000, "bye")).await;
    peer.expect_eof().await;
}

#[tokio::test]
async fn a_client_that_closes_sends_its_close_and_ends_tls_with_close_notify() {
    let identity = Identity::for_names(&LOCAL);
    let (mut ws, mut peer) = raw_server(&identity).await;
    let close = async {
        ws.close().await.unwrap();
        drop(ws);
    };
    let serve = async {
        peer.answer_close(1000).await;
    };
    futures_util::future::join(close, serve).await;
}

#[tokio::test]
async fn a_refusal_arrives_whole_over_tls() {
    let identity = Identity::for_names(&LOCAL);
    let address = tls_echo_server(&identity).await;
    let mut client = raw_client(&identity, address).await;
    client.write(request_but("Version: 13", "Version: 12")).await;
    let (head, body) = client.last_response().await;
    assert_eq!((head.status(), body.as_str()), (426, "Sec-WebSocket-Version is not 13\n"));
}

// RFC 8446 section 6.1: an end of TCP without close_notify may be an attacker's.
#[tokio::test]
async fn tls_that_is_cut_off_without_a_close_is_a_lost_connection() {
    let identity = Identity::for_names(&LOCAL);
    let (mut ws, mut peer) = raw_server(&identity).await;
    peer.send(FIN | TEXT, "last").await;
    peer.stream.flush().await.unwrap();
    peer.stream.get_mut().0.shutdown().await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("last"));
    assert!(matches!(ws.next().await, Some(Err(Error::ConnectionLost))));
    assert!(ws.next().await.is_none());

    let (server, address) = bind().await;
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let serving = server.tls(identity.server()).serve(move |mut ws| {
        let ends = ends.clone();
        async move {
            ends.send(ws.next().await)?;
            Ok(())
        }
    });
    tokio::spawn(serving);
    let mut client = raw_client(&identity, address).await;
    client.upgrade().await;
    client.stream.get_mut().0.shutdown().await.unwrap();
    assert!(matches!(ended.recv().await, Some(Some(Err(Error::ConnectionLost)))));
}

// What counts is WebSocket's closing handshake: after a Close there is nothing left to truncate.
#[tokio::test]
async fn tls_that_is_cut_off_behind_a_close_is_a_clean_end() {
    let identity = Identity::for_names(&LOCAL);
    let (mut ws, mut peer) = raw_server(&identity).await;
    peer.send(FIN | CLOSE, close_body(1000, "")).await;
    peer.stream.flush().await.unwrap();
    peer.stream.get_mut().0.shutdown().await.unwrap();
    assert!(ws.next().await.is_none());
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::NORMAL);
}

#[tokio::test]
async fn settings_of_ones_own_are_used_and_speak_http_1_1() {
    let identity = Identity::for_names(&LOCAL);
    let (server, address) = bind().await;
    let server = server.tls(ServerTls::from_config(identity.server_config()));
    tokio::spawn(server.serve(echo));
    let mut config = identity.client_config();
    config.enable_sni = false;
    let client = Client::new().tls(ClientTls::from_config(config.clone()));
    let mut ws = client.connect(format!("wss://{address}/")).await.unwrap();
    assert_eq!(session(&ws).alpn(), Some(&b"http/1.1"[..]));
    assert_eq!(session(&ws).version(), Some("TLSv1.3"));
    expect_echo(&mut ws, "hello").await;
    // The user's own list is left unchanged, but for `h2`; with nothing in common the server refuses
    // (RFC 7301 section 3.2).
    config.alpn_protocols = vec![b"other".to_vec()];
    let client = Client::new().tls(ClientTls::from_config(Arc::new(config)));
    let error = client.connect(format!("wss://{address}/")).await.unwrap_err();
    let refused = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
    assert_eq!(tls_error(error), refused);
}

#[tokio::test]
async fn certificates_come_from_files_and_what_is_wrong_with_them_is_told() {
    let identity = Identity::for_names(&LOCAL);
    let other = Identity::for_names(&LOCAL);
    let directory = std::env::temp_dir().join(format!("tautline-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let certificate = file("certificate.pem", &identity.certificate_pem);
    let key = file("key.pem", &identity.key_pem);
    let both = file("both.pem", &format!("{}{}", identity.key_pem, identity.certificate_pem));
    let foreign = file("foreign.pem", &other.key_pem);
    let empty = file("empty.pem", "no PEM\n");

    let tls = ServerTls::from_pem_files(&certificate, &key).unwrap();
    ServerTls::from_pem_files(&both, &both).unwrap();
    let results = [
        ServerTls::from_pem_files(directory.join("none.pem"), &key).map(|_| ()),
        ServerTls::from_pem_files(&empty, &key).map(|_| ()),
        ServerTls::from_pem_files(&certificate, &empty).map(|_| ()),
        ServerTls::from_pem_files(&certificate, &foreign).map(|_| ()),
        ClientTls::from_ca_file(directory.join("none.pem")).map(|_| ()),
        ClientTls::from_ca_file(&empty).map(|_| ()),
        ClientTls::from_ca_pem(b"").map(|_| ()),
        ClientTls::from_ca_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .map(|_| ()),
    ];
    let [no_file, no_certificate, no_key, no_match, no_ca, empty_ca, no_pem, bad_ca] = results;
    for result in [no_file, no_certificate, no_key, no_ca] {
        assert!(matches!(result, Err(TlsError::Pem { .. })), "{result:?}");
    }
    for result in [no_match, bad_ca] {
        assert!(matches!(result, Err(TlsError::Settings(_))), "{result:?}");
    }
    for result in [empty_ca, no_pem] {
        assert!(matches!(result, Err(TlsError::NoRoots)), "{result:?}");
    }

    let client = Client::new().tls(ClientTls::from_ca_file(&certificate).unwrap());
    std::fs::remove_dir_all(&directory).unwrap();
    let address = echo_server(|server: Server| server.tls(tls)).await;
    expect_echo(&mut client.connect(format!("wss://{address}/")).await.unwrap(), "hello").await;
}

// rustls panics when a configuration is made without a provider that the process has installed or
// that features tell apart.
#[tokio::test]
async fn no_crypto_provider_need_be_installed_and_none_is() {
    let identity = Identity::for_names(&LOCAL);
    let address = tls_echo_server(&identity).await;
    let mut ws = identity.client().connect(format!("wss://{address}/")).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    assert!(connect(format!("wss://{address}/")).await.is_err());
    assert!(CryptoProvider::get_default().is_none());
}

// With 128 clients all sessions resumed, with 200 and more none: the server's cache held 256, two
// for each client, and the oldest went first.
#[tokio::test]
async fn the_sessions_of_any_number_of_clients_resume() {
    const CLIENTS: usize = 1000;
    let identity = Identity::for_names(&LOCAL);
    let address = tls_echo_server(&identity).await;
    let uri = format!("wss://localhost:{}/", address.port());
    // Each with separate sessions; clones would share them.
    let clients: Vec<_> = (0..CLIENTS).map(|_| identity.client()).collect();
    let mut resumed = [0, 0];
    for resumed in &mut resumed {
        for client in &clients {
            let mut ws = client.connect(&uri).await.unwrap();
            // The tickets come after the handshake.
            expect_echo(&mut ws, "hello").await;
            *resumed += usize::from(session(&ws).is_resumed());
        }
    }
    assert_eq!(resumed, [0, CLIENTS]);
}
