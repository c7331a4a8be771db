//! `wss` with a certificate made at startup: `cargo run --example tls`
//!
//! The server has a self-signed certificate; the client trusts exactly that one. The second
//! connection of the same client resumes the TLS session of the first, which saves the server the
//! signature and the client the verification. Then the certificate is replaced, which the open
//! connection does not notice. In production, use `ServerTls::from_pem_files`, have its files watched
//! (`Certificates::watch`), and, for a private authority, use `ClientTls::from_ca_file`.

use std::error::Error;

use tautline::{Certificates, Client, ClientTls, Server, ServerCertificate, ServerTls, WebSocket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (own, certificate) = make_certificate()?;
    let certificates = Certificates::from(own);
    let tls = ServerTls::builder(certificates.clone()).build()?;
    let server = Server::bind("127.0.0.1:0").await?.tls(tls);
    let uri = format!("wss://{}", server.local_addr()?);
    println!("serving {uri}");
    tokio::spawn(server.serve(|mut ws| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    }));

    let client = Client::new().tls(ClientTls::from_ca_pem(certificate.as_bytes())?);
    for text in ["hello", "hello again"] {
        let mut ws = client.connect(&uri).await?;
        println!("connected: {}", session(&ws));
        ws.send(text).await?;
        if let Some(answer) = ws.next().await {
            println!("echoed: {}", answer?);
        }
        ws.close().await?;
    }

    let mut open = client.connect(&uri).await?;
    let (renewed, certificate) = make_certificate()?;
    certificates.replace(renewed, []);
    let client = Client::new().tls(ClientTls::from_ca_pem(certificate.as_bytes())?);
    let mut later = client.connect(&uri).await?;
    println!("connected with the new certificate: {}", session(&later));
    open.send("still here").await?;
    if let Some(answer) = open.next().await {
        println!("echoed on the old connection: {}", answer?);
    }
    open.close().await?;
    later.close().await?;

    // Without that trust, nothing is sent: the connection is not opened.
    match tautline::connect(&uri).await {
        Ok(_) => Err("a stranger was trusted".into()),
        Err(error) => {
            let cause = std::iter::successors(error.source(), |&cause| cause.source()).last();
            println!("a client with other authorities: {}", cause.unwrap_or(&error));
            Ok(())
        }
    }
}

/// A certificate that signs itself, and its PEM text, for clients to trust.
fn make_certificate() -> Result<(ServerCertificate, String), Box<dyn Error>> {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let (pem, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    Ok((ServerCertificate::from_pem(pem.as_bytes(), key.as_bytes())?, pem))
}

/// What TLS agreed on.
fn session(ws: &WebSocket) -> String {
    match ws.get_ref().and_then(tautline::Transport::tls) {
        Some(tls) => {
            let session = if tls.is_resumed() { "resumed" } else { "new" };
            format!("{}, session {session}", tls.version().unwrap_or("TLS"))
        }
        None => "in plain text".to_owned(),
    }
}
