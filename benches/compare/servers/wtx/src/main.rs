//! wtx, with the loop of its documentation: frames are written one by one, it has no way to batch.

use kit::{Handler, Outcome, Task, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wtx::collection::Vector;
use wtx::misc::UriRef;
use wtx::rng::Xorshift64;
use wtx::stream::{StreamReader, StreamWriter};
use wtx::web_socket::{
    Frame, OpCode, WebSocketAcceptor, WebSocketBuffer, WebSocketConnector, WebSocketOwned,
    WebSocketPayloadOrigin,
};

/// wtx knows Tokio's TCP stream; this is its own code for it, for any stream.
struct Io<S>(S);

impl<S: Transport> StreamReader for Io<S> {
    async fn read(&mut self, bytes: &mut [u8]) -> wtx::Result<usize> {
        Ok(self.0.read(bytes).await?)
    }
}

impl<S: Transport> StreamWriter for Io<S> {
    async fn write_all(&mut self, bytes: &[u8]) -> wtx::Result<()> {
        self.0.write_all(bytes).await?;
        Ok(self.0.flush().await?)
    }

    async fn write_all_vectored(&mut self, bytes: &[&[u8]]) -> wtx::Result<()> {
        let mut buffer = [std::io::IoSlice::new(&[]); 8];
        let mut count = 0;
        for (to, from) in buffer.iter_mut().zip(bytes) {
            *to = std::io::IoSlice::new(from);
            count += 1;
        }
        let mut slices = &mut buffer[..count];
        std::io::IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let written = self.0.write_vectored(slices).await?;
            std::io::IoSlice::advance_slices(&mut slices, written);
        }
        Ok(self.0.flush().await?)
    }
}

type WebSocket<S, const IS_CLIENT: bool> = WebSocketOwned<(), Xorshift64, Io<S>, IS_CLIENT>;

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let acceptor = WebSocketAcceptor::default().wsb(WebSocketBuffer::new());
        let ws: WebSocket<S, false> = Box::pin(acceptor.accept(Io(stream))).await?;
        echo(ws).await
    }
}

async fn echo<S: Transport, const IS_CLIENT: bool>(mut ws: WebSocket<S, IS_CLIENT>) -> Outcome {
    let (mut common, mut reader, mut writer) = ws.split_mut();
    let mut buffer = Vector::new();
    loop {
        let origin = WebSocketPayloadOrigin::Adaptive;
        let mut frame = reader.read_frame(&mut buffer, &mut common, origin).await?;
        match frame.op_code() {
            OpCode::Binary | OpCode::Text => writer.write_frame(&mut common, &mut frame).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
        buffer.clear();
    }
}

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => kit::serve(&options, Echo).await,
            Task::Broadcast => Err("its frames are not shared between connections".into()),
            Task::Mask => Err("its masking is private".into()),
            Task::Client { address, in_flight, payload } => {
                let stream = Io(kit::dial(address).await?);
                let uri = format!("ws://{address}/");
                let connector = WebSocketConnector::default().no_masking(false);
                let mut ws: WebSocket<_, true> =
                    connector.connect(stream, &UriRef::new(&uri)).await?;
                for _ in 0..in_flight {
                    ws.write_frame(&mut Frame::new_fin(OpCode::Binary, vec![0; payload])).await?;
                }
                echo(ws).await
            }
            _ => Err("not here".into()),
        }
    });
}
