//! Carries WebSocket connections on to another server: `cargo run --example bridge -- URL
//! [ADDRESS]`
//!
//! Messages are passed on as they arrive, in pieces, so that one of any length takes no memory and
//! is not delayed until its end. The codes and reasons of Closes are passed on too.

use std::error::Error;

use tautline::{BoxError, CloseCode, Reader, Server, WebSocket, Writer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let url = words.next().ok_or("usage: bridge URL [ADDRESS]")?;
    let address = words.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let server = Server::bind(address).await?;
    println!("listening on ws://{}", server.local_addr()?);
    server.serve(move |ws| bridge(ws, url.clone())).await?;
    Ok(())
}

async fn bridge(near: WebSocket, url: String) -> Result<(), BoxError> {
    let far = match tautline::connect(&url).await {
        Ok(far) => far,
        Err(error) => {
            let mut near = near;
            near.close_with(CloseCode::BAD_GATEWAY).await?;
            return Err(error.into());
        }
    };
    let (mut near_reader, mut near_writer) = near.split();
    let (mut far_reader, mut far_writer) = far.split();
    let (up, down) = tokio::join!(
        carry(&mut near_reader, &mut far_writer),
        carry(&mut far_reader, &mut near_writer),
    );
    up.and(down)
}

/// Passes on what one side sends, up to its Close.
async fn carry(from: &mut Reader, to: &mut Writer) -> Result<(), BoxError> {
    loop {
        let mut message = match from.next_message().await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(error) => {
                // The other side must not wait for what will not come.
                to.close_with(CloseCode::BAD_GATEWAY).await?;
                return Err(error.into());
            }
        };
        let mut answer = to.message_writer(message.kind());
        // It flushes while nothing arrives. If one side ends in the middle of a message, `answer`
        // is dropped, and the other side does not take the half of it for the whole.
        tokio::io::copy_buf(&mut message, &mut answer).await?;
        answer.finish().await?;
    }
    match from.close_frame() {
        // 1005 stands for a Close without a code.
        Some(close) if close.code() != CloseCode::NO_STATUS => to.close_with(close).await?,
        _ => to.close().await?,
    }
    Ok(())
}
