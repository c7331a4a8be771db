//! axum's own WebSockets, which are tungstenite behind hyper, under `axum::serve`. `send` is the
//! loop of its documentation; `tuned` flushes when no input is left, and has a read buffer of 16 KiB
//! instead of 128.

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use axum::serve::ListenerExt;
use futures_util::SinkExt;
use kit::{Failure, Options, Outcome, Task};

async fn serve(options: &Options) -> Outcome {
    let listener = kit::listen()?;
    kit::announce(listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // It fails on a connection that has failed already.
        let _ = stream.set_nodelay(true);
    });
    let route = match options.api.as_str() {
        "send" => any(async |ws: WebSocketUpgrade| ws.on_upgrade(send)),
        "tuned" => any(async |ws: WebSocketUpgrade| ws.read_buffer_size(16 << 10).on_upgrade(feed)),
        _ => return Err("no such interface".into()),
    };
    Ok(axum::serve(listener, Router::new().route("/", route)).await?)
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}

async fn send(mut ws: WebSocket) {
    while let Some(Ok(message)) = ws.recv().await {
        if is_data(&message) && ws.send(message).await.is_err() {
            return;
        }
    }
}

async fn feed(mut ws: WebSocket) {
    while let Ok(Some(Ok(message))) = kit::next_or_flush(&mut ws).await {
        if is_data(&message) && ws.feed(message).await.is_err() {
            return;
        }
    }
}

fn main() {
    kit::run(|options| async move {
        match (options.task, &options.tls) {
            (Task::Echo, None) => serve(&options).await,
            _ => Err(Failure::from("not here")),
        }
    });
}
