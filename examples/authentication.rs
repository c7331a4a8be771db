//! Only clients with a known token may connect: `cargo run --example authentication`
//!
//! The server inspects the request before it answers: a client without a valid token gets a 401 and
//! no connection; for any other, the handler receives the user.

use std::error::Error;

use tautline::auth::{self, AuthError, Challenge};
use tautline::http::HeaderMap;
use tautline::{Client, ConnectError, Server, Upgrade};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::bind("127.0.0.1:0").await?;
    let uri = format!("ws://{}", server.local_addr()?);
    let serving = server
        .authorize(|request| async move {
            let user = user(request.headers());
            user.map(Upgrade::new).map_err(|error| Challenge::bearer("example").response(error))
        })
        .serve_with(|mut ws, user: &'static str| async move {
            ws.send(format!("hello {user}")).await?;
            Ok(ws.close().await?)
        });
    tokio::spawn(serving);

    match tautline::connect(&uri).await {
        Err(ConnectError::Refused(response)) => println!("without a token: {}", response.status()),
        other => return Err(format!("expected a refusal, not {other:?}").into()),
    }
    let mut ws = Client::new().header("authorization", "Bearer 3f2a").connect(&uri).await?;
    while let Some(message) = ws.next().await {
        println!("with a token: {}", message?);
    }
    Ok(())
}

/// The user whose token the request has. A real server would query a database, or verify a
/// signature (`auth::JwtVerifier`).
fn user(headers: &HeaderMap) -> Result<&'static str, AuthError> {
    let token = auth::bearer(headers)?;
    if token.matches("3f2a") { Ok("ada") } else { Err(AuthError::Invalid) }
}
