//! TLS of a client: its own certificate, pinned keys, whom it trusts, and what refused servers are
//! told apart by (RFC 8446, RFC 5280).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tautline::{
    Client, ClientCertificate, ClientTls, ConnectError, Http2, Http2Config, PublicKeyPin,
    ServerTls, TlsError, Transport, Upgrade,
};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::authority::Authority;
use crate::support::handshake::{Identity, bind, echo, echo_server, expect_echo};
use crate::support::peer::Counted;

const LOCAL: &str = "localhost";

fn at(address: SocketAddr) -> String {
    format!("wss://{LOCAL}:{}/", address.port())
}

async fn tls_echo_server(identity: &Identity) -> SocketAddr {
    let tls = identity.server();
    echo_server(|server| server.tls(tls).http2(Http2Config::new())).await
}

/// A server that must never see a request.
async fn unreachable_server(identity: &Identity) -> SocketAddr {
    let (server, address) = bind().await;
    let serving = server
        .tls(identity.server())
        .http2(Http2Config::new())
        .authorize(|_| async { panic!("a request on a connection that is not to be trusted") })
        .serve_with(|_, ()| async { Ok(()) });
    tokio::spawn(serving);
    address
}

fn trusting(identity: &Identity) -> ClientTls {
    ClientTls::from_ca_pem(identity.certificate_pem.as_bytes()).unwrap()
}

fn pin(identity: &Identity) -> PublicKeyPin {
    PublicKeyPin::of_certificate(&identity.certificate).unwrap()
}

/// An error and its sources.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_client_shows_its_certificate_to_a_server_that_asks() {
    let (identity, authority) = (Identity::for_names(&[LOCAL]), Authority::new());
    let tls = ServerTls::builder(identity.server_certificate());
    let tls = tls.client_auth(authority.auth()).build().unwrap();
    let (server, address) = bind().await;
    let serving = server
        .tls(tls)
        .http2(Http2Config::new())
        .authorize(|request| async move {
            Ok(Upgrade::new(request.peer().certificate().map(<[u8]>::to_vec)))
        })
        .serve_with(|mut ws, shown: Option<Vec<u8>>| async move {
            Ok(ws.send(shown.unwrap_or_default()).await?)
        });
    tokio::spawn(serving);

    let (alice, bob) = (authority.issue("alice.test"), authority.issue("bob.test"));
    let directory = std::env::temp_dir().join(format!("tautline-client-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| directory.join(name));
    std::fs::write(&chain, &alice.pem).unwrap();
    std::fs::write(&key, &alice.key_pem).unwrap();
    let certificates = [
        (ClientCertificate::from_pem_files(&chain, &key).unwrap(), &alice),
        (ClientCertificate::from_pem(bob.pem.as_bytes(), bob.key_pem.as_bytes()).unwrap(), &bob),
        (ClientCertificate::from_der([alice.der.to_vec()], alice.key.clone()).unwrap(), &alice),
    ];
    std::fs::remove_dir_all(&directory).unwrap();
    let own = ClientTls::from_config(identity.client_config());
    for (certificate, whose) in certificates {
        // Settings of rustls too, whose sessions are shared with those of the certificate before.
        for tls in [trusting(&identity), own.clone()] {
            let client = Client::new().tls(tls.client_certificate(certificate.clone()));
            for http2 in [Http2::Never, Http2::Never, Http2::Auto] {
                let mut ws = client.clone().http2(http2).connect(at(address)).await.unwrap();
                let shown = ws.next().await.unwrap().unwrap().into_bytes();
                assert_eq!(shown, whose.der.as_ref());
            }
        }
    }
    // Without one, and with that of a stranger.
    Client::new().tls(trusting(&identity)).connect(at(address)).await.unwrap_err();
    let stranger = Authority::new().issue("alice.test");
    let stranger = ClientCertificate::from_der([stranger.der.to_vec()], stranger.key).unwrap();
    let client = Client::new().tls(trusting(&identity).client_certificate(stranger));
    client.connect(at(address)).await.unwrap_err();
}

#[test]
fn what_is_wrong_with_a_certificate_of_a_client_is_told() {
    let authority = Authority::new();
    let (alice, bob) = (authority.issue("alice.test"), authority.issue("bob.test"));
    let (pem, key) = (alice.pem.as_bytes(), alice.key_pem.as_bytes());
    for (result, expected) in [
        (
            ClientCertificate::from_pem(pem, bob.key_pem.as_bytes()),
            "rustls rejected the TLS settings",
        ),
        (ClientCertificate::from_pem(key, key), "cannot read the certificates"),
        (ClientCertificate::from_pem(pem, pem), "cannot read the private key"),
        (ClientCertificate::from_der([], alice.key.clone()), "rustls rejected the TLS settings"),
        (
            ClientCertificate::from_der([alice.der.to_vec()], [0; 3]),
            "rustls rejected the TLS settings",
        ),
        (
            ClientCertificate::from_der([alice.der.to_vec()], bob.key),
            "rustls rejected the TLS settings",
        ),
        (
            ClientCertificate::from_pem_files("/none/chain.pem", "/none/key.pem"),
            "cannot read the certificates in /none/chain.pem",
        ),
    ] {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_pinned_key_is_accepted_also_in_resumed_sessions_and_over_http_2() {
    let identity = Identity::for_names(&[LOCAL]);
    let address = tls_echo_server(&identity).await;
    let other = PublicKeyPin::sha256([7; 32]);
    let (own, usual) = ("TLS13_AES_128_GCM_SHA256", "TLS13_AES_256_GCM_SHA384");
    for (tls, suite) in [
        (trusting(&identity).pins([other, pin(&identity)]), own),
        (ClientTls::from_config(identity.client_config()).pins([pin(&identity)]), usual),
        (ClientTls::pins_alone([other, pin(&identity)]), own),
    ] {
        let client = Client::new().tls(tls);
        for resumed in [false, true] {
            let mut ws = client.connect(at(address)).await.unwrap();
            let tls = ws.get_ref().and_then(Transport::tls).unwrap();
            assert_eq!(tls.is_resumed(), resumed);
            // Its own settings have AES-128 first; those of the user are left as they are.
            assert_eq!(tls.cipher_suite(), Some(suite));
            expect_echo(&mut ws, "hello").await;
        }
        let mut ws = client.http2(Http2::Auto).connect(at(address)).await.unwrap();
        expect_echo(&mut ws, "hello").await;
    }
}

#[tokio::test]
async fn a_server_whose_key_is_not_pinned_is_refused() {
    let identity = Identity::for_names(&[LOCAL]);
    let address = unreachable_server(&identity).await;
    let other = PublicKeyPin::sha256([7; 32]);
    for tls in [
        trusting(&identity).pins([other]),
        trusting(&identity).pins([]),
        ClientTls::from_config(identity.client_config()).pins([other]),
        ClientTls::pins_alone([other]),
        ClientTls::pins_alone([]),
    ] {
        for http2 in [Http2::Never, Http2::Auto] {
            let result = Client::new().tls(tls.clone()).http2(http2).connect(at(address)).await;
            match result.unwrap_err() {
                ConnectError::Tls(TlsError::Pin { found, .. }) => assert_eq!(found, pin(&identity)),
                error => panic!("{tls:?} {error:?}"),
            }
        }
    }
}

/// What a server receives of a client that connects to it.
async fn received(identity: &Identity, client: Client) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config()));
    let receiving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n\r\n") && stream.read_buf(&mut all).await.is_ok_and(|n| n > 0) {}
        all
    };
    let (received, result) = tokio::join!(receiving, client.connect(at(address)));
    result.unwrap_err();
    received
}

// The request leaves with the end of the handshake of TLS, before pins are checked: not if there are any.
#[tokio::test]
async fn a_server_receives_no_request_unless_its_key_is_pinned() {
    let identity = Identity::for_names(&[LOCAL]);
    let other = PublicKeyPin::sha256([7; 32]);
    let refusing = Client::new().tls(trusting(&identity).pins([other]));
    assert_eq!(received(&identity, refusing).await, b"");
    for tls in [trusting(&identity).pins([pin(&identity)]), trusting(&identity)] {
        let request = received(&identity, Client::new().tls(tls)).await;
        assert!(request.starts_with(b"GET / HTTP/1.1\r\n") && request.ends_with(b"\r\n\r\n"));
    }
}

// That is one write less. A request that is longer than what TLS
// takes at once is sent as before. The second one resumes a session.
#[tokio::test]
async fn the_request_leaves_with_the_end_of_the_handshake_of_tls() {
    let identity = Identity::for_names(&[LOCAL]);
    let address = tls_echo_server(&identity).await;
    let client = Client::new().tls(trusting(&identity));
    for (length, expected) in [(0, 2), (0, 2), (90_000, 3)] {
        let (stream, writes) = Counted::new(TcpStream::connect(address).await.unwrap());
        let client = client.clone().header("x-long", "x".repeat(length).as_str());
        let result = client.connect_over(at(address), stream).await;
        assert_eq!(writes.load(Ordering::SeqCst), expected, "{length}");
        match result {
            Ok(mut ws) => expect_echo(&mut ws, "hello").await,
            // The whole of it arrived, and is more than a server takes.
            Err(ConnectError::Refused(response)) => assert_eq!(response.status(), 431),
            Err(error) => panic!("{error:?}"),
        }
    }
}

// A session of settings without pins is in the cache that both share.
#[tokio::test]
async fn a_resumed_session_is_compared_with_the_pins_too() {
    let identity = Identity::for_names(&[LOCAL]);
    let address = tls_echo_server(&identity).await;
    let own = ClientTls::from_config(identity.client_config());
    let client = Client::new().tls(own.clone());
    for _ in 0..2 {
        let mut ws = client.connect(at(address)).await.unwrap();
        expect_echo(&mut ws, "hello").await;
    }
    let client = Client::new().tls(own.pins([PublicKeyPin::sha256([7; 32])]));
    let error = client.connect(at(address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls(TlsError::Pin { .. })), "{error:?}");
}

// With pins alone, nothing but the key counts; otherwise all that counts without them.
#[tokio::test]
async fn pins_replace_the_other_checks_only_by_explicit_choice() {
    for (identity, expected) in [
        (Identity::for_names(&["other.test"]), "not valid for name"),
        (Identity::expired(&[LOCAL]), "expired"),
    ] {
        let address = tls_echo_server(&identity).await;
        let client = Client::new().tls(trusting(&identity).pins([pin(&identity)]));
        let text = told(&client.connect(at(address)).await.unwrap_err());
        assert!(text.contains(expected), "{text}");
        let client = Client::new().tls(ClientTls::pins_alone([pin(&identity)]));
        let mut ws = client.connect(at(address)).await.unwrap();
        expect_echo(&mut ws, "hello").await;
    }
}

#[tokio::test]
async fn each_reason_to_distrust_a_server_is_named() {
    let identity = Identity::for_names(&[LOCAL]);
    let other = Identity::for_names(&["other.test"]);
    let expired = Identity::expired(&[LOCAL]);
    for (server, tls, expected) in [
        (&other, trusting(&other), "certificate not valid for name \"localhost\""),
        (&expired, trusting(&expired), "certificate expired"),
        // One of the same name, as all that sign themselves have here.
        (&identity, trusting(&other), "BadSignature"),
        (&identity, ClientTls::webpki_roots(), "UnknownIssuer"),
        (&identity, ClientTls::pins_alone([pin(&other)]), "which is not pinned"),
    ] {
        let address = unreachable_server(server).await;
        let error = Client::new().tls(tls).connect(at(address)).await.unwrap_err();
        let text = told(&error);
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(!error.is_retryable(), "{text}");
    }
    // By the system's authorities, of which this machine may have none.
    let address = unreachable_server(&identity).await;
    let client = Client::new().tls(ClientTls::platform_verifier());
    let error = client.connect(at(address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
}

#[tokio::test]
async fn a_url_of_the_crate_url_is_connected_to() {
    let (server, address) = bind().await;
    tokio::spawn(server.serve(echo));
    let url: url::Url = format!("ws://{address}/feed").parse().unwrap();
    for mut ws in
        [tautline::connect(&url).await.unwrap(), Client::new().connect(url.clone()).await.unwrap()]
    {
        expect_echo(&mut ws, "hello").await;
    }
}
