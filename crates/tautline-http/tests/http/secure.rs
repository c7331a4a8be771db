//! TLS that somebody else does: hyper is given a stream of tokio-rustls.

use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tautline::rustls::ServerConfig;
use tautline::rustls::crypto::ring;
use tautline::rustls::pki_types::PrivateKeyDer;
use tautline::{Acceptor, Client, ClientTls, Connections, Peer, WebSocket};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Answer, By, echo, serve_one};

/// A server's settings, and a client that trusts its certificate.
fn identity() -> (TlsAcceptor, Client) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], der)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = Client::new().tls(ClientTls::from_ca_pem(certificate.pem().as_bytes()).unwrap());
    (TlsAcceptor::from(Arc::new(config)), client)
}

#[tokio::test]
async fn a_connection_under_tls_is_served_and_known_to_be_secure() {
    for by in [By::Hyper, By::Auto] {
        let (tls, client) = identity();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, addr) = listener.accept().await.unwrap();
            let stream = tls.accept(stream).await.unwrap();
            let service = service_fn(move |mut request| {
                request.extensions_mut().insert(Peer::from(addr).with_secure(true));
                let (response, upgrading) =
                    tautline_http::upgrade(&Acceptor::new(), &mut request).unwrap();
                let opening = async { Some(upgrading.await.unwrap()) };
                Connections::new().spawn(opening, move |ws: WebSocket| {
                    assert_eq!(ws.peer(), &Peer::from(addr).with_secure(true));
                    echo(ws)
                });
                std::future::ready(Answer::Ok(response.map(|()| Default::default())))
            });
            serve_one(by, TokioIo::new(stream), service).await;
        });
        let mut ws = client.connect(format!("wss://localhost:{port}/")).await.unwrap();
        let long = "long".repeat(100_000);
        ws.send(&long).await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(&*long));
        ws.close().await.unwrap();
    }
}
