//! fastwebsockets on a bare stream: faster than behind hyper's upgrade, which boxes the stream. The
//! loop is that of its `echo_server` example; it has no way to batch writes.

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use kit::{Bytes, Handler, Hub, Outcome, Task, Transport};

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        echo(FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server))).await
    }
}

/// Its own `split`, as in its `echo_server_split` example: a task that reads and one that writes.
#[derive(Clone, Default)]
struct Broadcast(Hub<Bytes>);

impl Handler for Broadcast {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        let mut queue = self.0.subscribe();
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        let ws = WebSocket::after_handshake(stream, Role::Server);
        let (mut reader, mut writer) = ws.split(tokio::io::split);
        tokio::spawn(async move {
            while let Some(payload) = queue.recv().await {
                let frame = Frame::binary(Payload::Borrowed(&payload));
                if writer.write_frame(frame).await.is_err() {
                    break;
                }
            }
        });
        loop {
            let mut ignore = |_| async { Ok::<_, WebSocketError>(()) };
            let frame = reader.read_frame(&mut ignore).await?;
            match frame.opcode {
                OpCode::Close => return Ok(()),
                OpCode::Text | OpCode::Binary => {
                    self.0.publish(Bytes::copy_from_slice(&frame.payload));
                }
                _ => {}
            }
        }
    }
}

async fn echo<S: Transport>(mut ws: FragmentCollector<S>) -> Outcome {
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            _ => {}
        }
    }
}

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => kit::serve(&options, Echo).await,
            Task::Broadcast => kit::serve(&options, Broadcast::default()).await,
            Task::Mask => {
                kit::mask(|key, data| fastwebsockets::unmask(data, key));
                Ok(())
            }
            Task::Client { address, in_flight, payload } => {
                let mut stream = kit::dial(address).await?;
                kit::ask_upgrade(&mut stream).await?;
                let mut ws = WebSocket::after_handshake(stream, Role::Client);
                for _ in 0..in_flight {
                    ws.write_frame(Frame::binary(Payload::Owned(vec![0; payload]))).await?;
                }
                echo(FragmentCollector::new(ws)).await
            }
        }
    });
}
