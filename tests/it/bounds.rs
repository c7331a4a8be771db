//! What can be moved to another thread, and shared: a compile-time test.

use bytes::Bytes;
use http::Response;
use tautline::{
    Acceptor, Client, CloseCode, Message, Reader, Server, Upgrade, WebSocket, Writer, accept,
    connect,
};
use tokio::io::DuplexStream;

fn send<T: Send>(_: T) {}
fn send_sync<T: Send + Sync>(_: T) {}

/// For types: what holds for them holds for whatever a user puts them into.
fn all<T: Send + Sync + Unpin + 'static>() {}

// A future that is not `Send` cannot be spawned, and the compiler says so where it is spawned: far
// from the cause.
#[test]
fn types_and_futures_can_go_to_other_threads() {
    all::<WebSocket>();
    all::<WebSocket<DuplexStream>>();
    all::<Reader>();
    all::<Writer>();
    all::<Reader<DuplexStream>>();
    all::<Writer<DuplexStream>>();
    all::<Client>();
    all::<Acceptor>();
    all::<tautline::ClientTls>();
    all::<tautline::ServerTls>();
    all::<tautline::Error>();
    all::<tautline::ConnectError>();
    all::<tautline::AcceptError>();
    all::<Message>();
    all::<tautline::Config>();
    let _: fn(Server) = send;
    let _: fn(Server<String>) = send;
}

/// Compiled and never called.
#[expect(dead_code, reason = "that it compiles is the test")]
fn futures(
    ws: &mut WebSocket<DuplexStream>,
    (reader, writer): (&mut Reader<DuplexStream>, &mut Writer<DuplexStream>),
) {
    send_sync(ws.next());
    send_sync(ws.send("text"));
    send_sync(ws.feed(Message::text("text")));
    send_sync(ws.flush());
    send_sync(ws.close());
    send_sync(ws.close_with(CloseCode::GOING_AWAY));
    send_sync(ws.ping());
    send_sync(reader.next());
    send_sync(writer.send("text"));
    send_sync(writer.feed(Bytes::new()));
    send_sync(writer.flush());
    send_sync(writer.close());
    send_sync(writer.close_with(CloseCode::GOING_AWAY));
    send_sync(writer.ping());
}

/// As [`futures`].
#[expect(dead_code, reason = "that it compiles is the test")]
fn openings(client: &Client, acceptor: &Acceptor, server: Server, another: Server) {
    let stream = || tokio::io::duplex(1).0;
    send(connect("ws://localhost/"));
    send(client.connect("ws://localhost/"));
    send(client.connect_with_response(String::new()));
    send(client.connect_over("ws://localhost/", stream()));
    send(client.handshake_over("ws://localhost/", stream()));
    send(accept(stream()));
    send(acceptor.accept(stream()));
    send(Server::bind("localhost:0"));
    send(server.serve(|mut ws| async move { Ok(ws.close().await?) }));
    let upgrade = |_| async { Ok::<_, Response<Bytes>>(Upgrade::new("data")) };
    send(another.authorize(upgrade).serve_with(|mut ws, _| async move { Ok(ws.close().await?) }));
}
