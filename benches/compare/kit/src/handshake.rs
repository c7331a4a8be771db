//! The opening handshake written by hand, for what has none of its own: the yardsticks, and
//! libraries on a bare stream.

use base64::Engine;
use bytes::{Buf, BytesMut};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Outcome, Transport};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Reads a head up to the empty line; what came behind it stays in the buffer.
async fn read_head<S: Transport>(stream: &mut S, buffer: &mut BytesMut) -> Outcome<BytesMut> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(buffer.split_to(end + 4));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err("the peer ended the connection within the handshake".into());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Answers an upgrade request (RFC 6455 section 4.2.2).
///
/// # Errors
/// A request that is none, and the system's.
pub async fn answer_upgrade<S: Transport>(stream: &mut S) -> Outcome {
    answer_upgrade_with(stream, |_| None).await.map(drop)
}

/// As [`answer_upgrade`], with an answer to the extensions that are offered. Gives that answer.
///
/// # Errors
/// A request that is none, and the system's.
pub async fn answer_upgrade_with<S: Transport>(
    stream: &mut S,
    negotiate: impl FnOnce(&str) -> Option<String>,
) -> Outcome<Option<String>> {
    let mut buffer = BytesMut::with_capacity(1024);
    let head = read_head(stream, &mut buffer).await?;
    let head = std::str::from_utf8(&head)?;
    let key = header(head, "sec-websocket-key").ok_or("no key")?;
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    let agreed = header(head, "sec-websocket-extensions").and_then(negotiate);
    if let Some(agreed) = &agreed {
        response.push_str(&format!("Sec-WebSocket-Extensions: {agreed}\r\n"));
    }
    response.push_str("\r\n");
    stream.write_all(response.as_bytes()).await?;
    stream.flush().await?;
    if buffer.has_remaining() { Err("a frame before the answer".into()) } else { Ok(agreed) }
}

/// Asks for an upgrade and reads the answer (RFC 6455 section 4.1).
///
/// # Errors
/// An answer that is none, and the system's.
pub async fn ask_upgrade<S: Transport>(stream: &mut S) -> Outcome {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = BytesMut::with_capacity(1024);
    let head = read_head(stream, &mut buffer).await?;
    if head.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err("refused".into()) }
}
