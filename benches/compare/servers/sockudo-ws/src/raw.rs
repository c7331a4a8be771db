//! Its lowest interface: frames in, frames out.

use std::io::IoSlice;

use kit::{Outcome, Transport};
use sockudo_ws::frame::encode_frame_header;
use sockudo_ws::protocol::Protocol;
use sockudo_ws::{Config, OpCode, RawMessage, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// From here on a payload is written from where it is, as in the library's example; below, it is
/// copied behind its header.
const VECTORED: usize = 16 * 1024;

pub(crate) async fn echo<S: Transport>(mut stream: S) -> Outcome {
    Box::pin(kit::answer_upgrade(&mut stream)).await?;
    let config = Config::default();
    let mut protocol = Protocol::new(Role::Server, config.max_frame_size, config.max_message_size);
    let mut input = bytes::BytesMut::with_capacity(sockudo_ws::RECV_BUFFER_SIZE);
    let mut output = bytes::BytesMut::new();
    let mut messages = Vec::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        protocol.process_raw_into(&mut input, &mut messages)?;
        for message in messages.drain(..) {
            let (opcode, payload) = match &message {
                RawMessage::Text(payload) => (OpCode::Text, payload.as_ref()),
                RawMessage::Binary(payload) => (OpCode::Binary, payload.as_ref()),
                RawMessage::Ping(payload) => (OpCode::Pong, payload.as_ref()),
                RawMessage::Close(_) => (OpCode::Close, &[][..]),
                RawMessage::Pong(_) => continue,
            };
            encode_frame_header(&mut output, opcode, payload.len(), true, None);
            if payload.len() < VECTORED {
                output.extend_from_slice(payload);
                continue;
            }
            write_both(&mut stream, &output, payload).await?;
            output.clear();
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
        stream.flush().await?;
    }
}

async fn write_both<S: Transport>(stream: &mut S, first: &[u8], second: &[u8]) -> Outcome {
    let count = stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await?;
    if count < first.len() {
        stream.write_all(&first[count..]).await?;
    }
    stream.write_all(&second[count.saturating_sub(first.len())..]).await?;
    Ok(())
}
