//! Certificates of clients (RFC 8446 section 4.4.2): who is refused, and where the identity of the
//! others is found.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tautline::{
    Acceptor, Client, ClientAuth, ConnectError, Http2, Http2Config, RevocationLists, ServerTls,
    TlsError, Upgrade, http::Version,
};
use tokio::io::duplex;
use tokio::time::timeout;

use crate::support::authority::{Authority, ClientCertificate};
use crate::support::handshake::{Identity, bind};

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), test).await.expect("the test takes too long")
}

/// What a handler says of its client: the length of the certificate that `authorize` saw, and of the
/// connection's. Both are compared with the client's own.
async fn naming_server(identity: &Identity, auth: ClientAuth) -> SocketAddr {
    let tls = ServerTls::builder(identity.server_certificate()).client_auth(auth).build().unwrap();
    let (server, address) = bind().await;
    let serving = server
        .tls(tls)
        .http2(Http2Config::new())
        .authorize(|request| async move {
            Ok(Upgrade::new(request.peer().certificate().map(<[u8]>::to_vec)))
        })
        .serve_with(|mut ws, authorized: Option<Vec<u8>>| async move {
            assert_eq!(ws.peer().certificate(), authorized.as_deref());
            assert!(ws.peer().is_secure() && ws.peer().addr().is_some());
            ws.send(authorized.unwrap_or_default()).await?;
            Ok(())
        });
    tokio::spawn(serving);
    address
}

/// As whom the server knows this client.
async fn known_as(client: &Client, server: SocketAddr) -> Result<Vec<u8>, ConnectError> {
    let mut ws = client.connect(format!("wss://localhost:{}/", server.port())).await?;
    let message = ws.next().await.expect("a message").expect("a message");
    Ok(message.into_bytes().to_vec())
}

fn client(certificate: &ClientCertificate, server: &Identity) -> Client {
    Client::new().tls(certificate.tls(server))
}

#[tokio::test]
async fn a_required_certificate_is_the_identity_of_the_peer_over_both_versions() {
    in_time(async {
        let (server, authority) = (Identity::for_names(&["localhost"]), Authority::new());
        let alice = authority.issue("alice.test");
        let address = naming_server(&server, authority.auth()).await;
        let known = known_as(&client(&alice, &server), address).await.unwrap();
        assert_eq!(known, alice.der.as_ref());

        // Two streams of one connection.
        let client = client(&alice, &server).http2(Http2::Auto);
        let uri = format!("wss://localhost:{}/", address.port());
        for _ in 0..2 {
            let mut ws = client.connect(&uri).await.unwrap();
            assert_eq!(ws.http_version(), Version::HTTP_2);
            let known = ws.next().await.unwrap().unwrap();
            assert_eq!(known.into_bytes(), alice.der.as_ref());
        }
    })
    .await;
}

#[tokio::test]
async fn who_has_no_valid_certificate_is_refused_before_a_request_is_read() {
    in_time(async {
        let (server, authority) = (Identity::for_names(&["localhost"]), Authority::new());
        let tls = |auth: ClientAuth| {
            ServerTls::builder(server.server_certificate()).client_auth(auth).build().unwrap()
        };
        let stranger = Authority::new().issue("alice.test");
        let purpose = rcgen::ExtendedKeyUsagePurpose::ServerAuth;
        let not_for_clients = authority.issue_for("alice.test", purpose);
        for (auth, clients) in [
            (
                authority.auth(),
                vec![
                    server.client(),
                    client(&stranger, &server),
                    client(&not_for_clients, &server),
                ],
            ),
            (
                authority.auth().optional(),
                vec![client(&stranger, &server), client(&not_for_clients, &server)],
            ),
        ] {
            let (listening, address) = bind().await;
            let serving = listening
                .tls(tls(auth))
                .authorize(|_| async { panic!("a request of somebody unknown") })
                .serve_with(|_, ()| async { Ok(()) });
            tokio::spawn(serving);
            for client in clients {
                // The client has ended its part of the handshake when it is refused (TLS 1.3).
                let error = client.connect(format!("wss://localhost:{}/", address.port())).await;
                let error = format!("{:?}", error.unwrap_err());
                assert!(error.contains("AlertReceived"), "{error}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_optional_certificate_may_be_missing() {
    in_time(async {
        let (server, authority) = (Identity::for_names(&["localhost"]), Authority::new());
        let alice = authority.issue("alice.test");
        let address = naming_server(&server, authority.auth().optional()).await;
        assert_eq!(known_as(&server.client(), address).await.unwrap(), b"");
        assert_eq!(known_as(&client(&alice, &server), address).await.unwrap(), alice.der.as_ref());
    })
    .await;
}

#[tokio::test]
async fn the_identity_is_known_on_a_stream_of_ones_own() {
    in_time(async {
        let (server, authority) = (Identity::for_names(&["localhost"]), Authority::new());
        let alice = authority.issue("alice.test");
        let builder = ServerTls::builder(server.server_certificate());
        let tls = builder.client_auth(authority.auth()).build().unwrap();
        let (near, far) = duplex(1 << 14);
        let accepting = tokio::spawn(async move { Acceptor::new().accept_tls(far, &tls).await });
        let client = client(&alice, &server);
        let ws = client.connect_over("wss://localhost/", near).await.unwrap();
        let accepted = accepting.await.unwrap().unwrap();
        assert_eq!(accepted.peer().certificate(), Some(alice.der.as_ref()));
        assert_eq!(accepted.split().0.peer().certificate(), Some(alice.der.as_ref()));
        assert_eq!(ws.peer().certificate(), None);
    })
    .await;
}

// A client that resumes is not asked for its certificate: the session has it.
#[tokio::test]
async fn sessions_resume_with_the_identity_in_tickets_or_in_memory_or_not_at_all() {
    in_time(async {
        let (server, authority) = (Identity::for_names(&["localhost"]), Authority::new());
        let alice = authority.issue("alice.test");
        for (sessions, resumed) in [(None, true), (Some(64), true), (Some(0), false)] {
            let builder = ServerTls::builder(server.server_certificate());
            let builder = builder.client_auth(authority.auth());
            let builder = match sessions {
                Some(sessions) => builder.session_cache(sessions),
                None => builder,
            };
            let (listening, address) = bind().await;
            let serving = listening.tls(builder.build().unwrap()).serve(|mut ws| async move {
                let is_resumed = ws.get_ref().unwrap().tls().unwrap().is_resumed();
                ws.send(if is_resumed { "resumed" } else { "new" }).await?;
                let known = ws.peer().certificate().unwrap_or_default().to_vec();
                ws.send(known).await?;
                Ok(())
            });
            tokio::spawn(serving);
            let client = client(&alice, &server);
            for expected in ["new", if resumed { "resumed" } else { "new" }] {
                let uri = format!("wss://localhost:{}/", address.port());
                let mut ws = client.connect(uri).await.unwrap();
                let session = ws.next().await.unwrap().unwrap();
                assert_eq!(session.as_text(), Some(expected), "{sessions:?}");
                let known = ws.next().await.unwrap().unwrap();
                assert_eq!(known.into_bytes(), alice.der.as_ref());
            }
        }
    })
    .await;
}

/// Refused by the server for its certificate.
async fn expect_alert(client: &Client, server: SocketAddr, alert: &str) {
    let error = format!("{:?}", known_as(client, server).await.unwrap_err());
    assert!(error.contains(&format!("AlertReceived({alert})")), "{error}");
}

// The lists are replaced while the server runs. What is open stays; the same client, which has a
// session that it could resume, is asked for its certificate again.
#[tokio::test]
async fn a_certificate_that_is_revoked_is_refused_from_then_on() {
    in_time(async {
        let (server, authority) = (Identity::for_names(&["localhost"]), Authority::new());
        let (alice, bob) = (authority.issue("alice.test"), authority.issue("bob.test"));
        let lists = RevocationLists::from_bytes(authority.revoke(&[&alice], 2100).der()).unwrap();
        let auth = authority.auth().revocation_lists(lists.clone());
        let address = naming_server(&server, auth).await;
        let (revoked, known) = (client(&alice, &server), client(&bob, &server));
        expect_alert(&revoked, address, "CertificateRevoked").await;
        assert_eq!(known_as(&known, address).await.unwrap(), bob.der.as_ref());

        let mut open = known.connect(format!("wss://localhost:{}/", address.port())).await.unwrap();
        lists.replace(authority.revoke(&[&alice, &bob], 2100).der()).unwrap();
        expect_alert(&known, address, "CertificateRevoked").await;
        assert_eq!(open.next().await.unwrap().unwrap().into_bytes(), bob.der.as_ref());
        assert!(open.next().await.is_none(), "it ends as it would otherwise");

        // What cannot be read changes nothing; alice's suspension is over.
        lists.replace(b"nonsense").unwrap_err();
        expect_alert(&revoked, address, "CertificateRevoked").await;
        lists.replace(authority.revoke(&[&bob], 2100).der()).unwrap();
        assert_eq!(known_as(&revoked, address).await.unwrap(), alice.der.as_ref());
        expect_alert(&known, address, "CertificateRevoked").await;
    })
    .await;
}

// RFC 5280 section 6.3.3: otherwise the status is not known.
#[tokio::test]
async fn lists_that_are_out_of_date_or_of_others_let_nobody_in_but_guests() {
    in_time(async {
        let (server, authority) = (Identity::for_names(&["localhost"]), Authority::new());
        let alice = authority.issue("alice.test");
        for list in [authority.revoke(&[], 2021), Authority::new().revoke(&[], 2100)] {
            let lists = RevocationLists::from_bytes(list.der()).unwrap();
            let auth = authority.auth().optional().revocation_lists(lists.clone());
            let address = naming_server(&server, auth).await;
            let error = known_as(&client(&alice, &server), address).await.unwrap_err();
            assert!(format!("{error:?}").contains("AlertReceived"), "{error:?}");
            assert_eq!(known_as(&server.client(), address).await.unwrap(), b"");
            lists.replace(authority.revoke(&[], 2100).der()).unwrap();
            let known = known_as(&client(&alice, &server), address).await.unwrap();
            assert_eq!(known, alice.der.as_ref());
        }
    })
    .await;
}

#[tokio::test]
async fn lists_are_read_again_from_their_file() {
    in_time(async {
        let (server, authority) = (Identity::for_names(&["localhost"]), Authority::new());
        let alice = authority.issue("alice.test");
        let file = std::env::temp_dir().join(format!("tautline-{}.crl", std::process::id()));
        std::fs::write(&file, authority.revoke(&[], 2100).der()).unwrap();
        let lists = RevocationLists::from_file(&file).unwrap();
        let auth = authority.auth().revocation_lists(lists.clone());
        let address = naming_server(&server, auth).await;
        let client = client(&alice, &server);
        assert_eq!(known_as(&client, address).await.unwrap(), alice.der.as_ref());

        std::fs::write(&file, b"").unwrap();
        lists.reload().unwrap_err();
        assert_eq!(known_as(&client, address).await.unwrap(), alice.der.as_ref());
        let others = Authority::new().revoke(&[], 2100);
        let both =
            [others, authority.revoke(&[&alice], 2100)].map(|list| list.pem().unwrap()).concat();
        std::fs::write(&file, both).unwrap();
        lists.reload().unwrap();
        expect_alert(&client, address, "CertificateRevoked").await;
        std::fs::remove_file(&file).unwrap();
    })
    .await;
}

#[test]
fn authorities_are_checked_when_they_are_read() {
    assert!(matches!(ClientAuth::from_ca_pem(b""), Err(TlsError::NoRoots)));
    let error = ClientAuth::from_ca_file("/none/clients.pem").unwrap_err();
    assert_eq!(error.to_string(), "cannot read the certificates in /none/clients.pem");
    let auth = format!("{:?}", Authority::new().auth().optional());
    assert_eq!(auth, "ClientAuth { authorities: 1, optional: true, revoked: None }");
}
