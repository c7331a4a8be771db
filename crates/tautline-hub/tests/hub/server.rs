//! Under a server, over TCP.

use std::net::SocketAddr;

use tautline::{CloseCode, Server, Upgrade, WebSocket};
use tautline_hub::{Action, Attach, Hub, MemberInfo, Plain, Subscribe};

use crate::support::topic;

/// A chat, as a handler writes it: what one says, all others get.
async fn chat(hub: Hub, ws: WebSocket) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut reader, writer) = ws.split();
    let member = hub.attach(&writer);
    let room = topic("room");
    member.subscribe(&room, Subscribe::new()).await?;
    member.send("joined");
    while let Some(message) = reader.next().await {
        let message = message?;
        if message.as_text() == Some("panic") {
            panic!("asked to");
        }
        member.publish(&room, message).await?;
    }
    Ok(())
}

async fn start(hub: &Hub) -> SocketAddr {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let hub = hub.clone();
    tokio::spawn(server.serve(move |ws| chat(hub.clone(), ws)));
    address
}

async fn join(address: SocketAddr) -> WebSocket {
    let mut ws = tautline::connect(format!("ws://{address}/")).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("joined"));
    ws
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_among_many() {
    let hub = Hub::new();
    let address = start(&hub).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(join(address).await);
    }
    for sender in 0..50 {
        clients[sender].send(format!("from {sender}")).await.unwrap();
        for (receiver, client) in clients.iter_mut().enumerate() {
            if receiver != sender {
                let message = client.next().await.unwrap().unwrap();
                assert_eq!(message.as_text(), Some(format!("from {sender}").as_str()));
            }
        }
    }
    for client in &mut clients {
        client.close().await.unwrap();
    }
}

// The hub writes to the connection as well: it must not keep it when the handler has ended, nor take the code
// of its end away.
#[tokio::test]
async fn a_connection_ends_as_its_handler_does() {
    let hub = Hub::new();
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.serve({
        let hub = hub.clone();
        move |ws| {
            let hub = hub.clone();
            async move {
                let (mut reader, writer) = ws.split();
                let member = hub.attach(&writer);
                member.subscribe(topic("room"), Subscribe::new()).await?;
                match reader.next().await.unwrap()?.as_text() {
                    Some("error") => Err("asked to".into()),
                    Some("panic") => panic!("asked to"),
                    _ => Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()),
                }
            }
        }
    }));
    for (ask, code) in [
        ("return", CloseCode::NORMAL),
        ("error", CloseCode::INTERNAL_ERROR),
        ("panic", CloseCode::INTERNAL_ERROR),
    ] {
        let mut ws = tautline::connect(format!("ws://{address}/")).await.unwrap();
        ws.send(ask).await.unwrap();
        assert!(ws.next().await.is_none());
        assert_eq!(ws.close_frame().unwrap().code(), code, "{ask}");
    }
    assert!(hub.members().is_empty());
    assert_eq!(hub.topics(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runtimes_of_one_core_each_share_a_hub() {
    let hub = Hub::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let shared = hub.clone();
    // Its threads end with the test.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cores = std::num::NonZeroUsize::new(2).unwrap();
        let serve = move |server: Server| {
            let (hub, sender) = (shared.clone(), sender.clone());
            async move {
                sender.send(server.local_addr()?).ok();
                server.serve_local(move |ws, ()| chat(hub.clone(), ws)).await
            }
        };
        runtime.block_on(Server::per_core("127.0.0.1:0", cores, serve)).ok();
    });
    let address = receiver.recv().unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(join(address).await);
    }
    clients[0].send("hello").await.unwrap();
    for client in &mut clients[1..] {
        assert_eq!(client.next().await.unwrap().unwrap().as_text(), Some("hello"));
    }
}

#[tokio::test]
async fn a_connection_about_one_topic_needs_no_handler_of_its_own() {
    let hub = Hub::builder()
        .authorize(|info, action| match action {
            Action::Publish(_) => &*info.user != "reader",
            _ => true,
        })
        .build();
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let shared = hub.clone();
    let decide = |request: tautline::UpgradeRequest| async move {
        Ok(Upgrade::new(request.uri().path().trim_start_matches('/').to_owned()))
    };
    tokio::spawn(server.authorize(decide).serve_with(move |ws, user| {
        let hub = shared.clone();
        async move {
            let listens_only = user == "listener";
            let attach = Attach::new().info(MemberInfo::new(user));
            let plain = Plain::new().attach(attach).listens_only(listens_only);
            hub.serve_topic(ws, &topic("room"), plain).await.map_err(tautline::BoxError::from)
        }
    }));
    let connect = |user: &str| tautline::connect(format!("ws://{address}/{user}"));
    let (mut writer, mut listener) =
        (connect("writer").await.unwrap(), connect("listener").await.unwrap());
    let mut reader = connect("reader").await.unwrap();
    while hub.subscribers(&topic("room").into()) < 3 {
        tokio::task::yield_now().await;
    }
    listener.send("dropped").await.unwrap();
    writer.send("hello").await.unwrap();
    for ws in [&mut listener, &mut reader] {
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
    }
    // What may not be published is an error of its handler.
    reader.send("refused").await.unwrap();
    assert!(reader.next().await.is_none());
    assert_eq!(reader.close_frame().unwrap().code(), CloseCode::INTERNAL_ERROR);
    writer.close().await.unwrap();
}
