//! fastwebsockets on a bare stream: faster than behind hyper's upgrade, which boxes the stream. The loop is that of its
//! `echo_server` example; it has no way to batch writes.

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket};
use kit::{Handler, Outcome, Task, Transport};

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        echo(FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server))).await
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
            Task::Broadcast => Err("not yet".into()),
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
