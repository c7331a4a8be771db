//! Requests and responses over a connection.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use serde_json::value::RawValue;
use tautline::calls::{
    self, Answer, CallError, CallFormat, CallReader, Caller, JsonRpc, JsonRpcError,
    JsonRpcErrorObject,
};
use tautline::{Message, Server, WebSocket};

/// A server that answers the requests of a client two at a time, the second first; one called
/// `never` gets no answer.
async fn backwards(mut ws: WebSocket) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let format = JsonRpc::new();
    let mut kept = None;
    while let Some(message) = ws.next().await {
        let message = message?;
        let Some(call) = format.parse(&message) else { continue };
        let reply = match call.method() {
            "double" => call.respond(&(2 * call.params::<[i64; 1]>()?[0]))?,
            "hello" => {
                // A notification gets one of the server's, and a message that is no JSON-RPC.
                ws.send(r#"{"jsonrpc":"2.0","method":"welcome"}"#).await?;
                ws.send("plain").await?;
                continue;
            }
            "never" => continue,
            "end" => return Ok(ws.close().await?),
            _ => call.refuse(&JsonRpcErrorObject::new(
                JsonRpcErrorObject::METHOD_NOT_FOUND,
                "no such",
            ))?,
        };
        match kept.take() {
            None => kept = reply,
            Some(first) => {
                ws.feed(reply.ok_or("a notification")?).await?;
                ws.send(first).await?;
            }
        }
    }
    Ok(())
}

async fn open() -> (Caller<JsonRpc>, CallReader<JsonRpc>) {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://{}/", server.local_addr().unwrap());
    tokio::spawn(server.serve(backwards));
    calls::split(tautline::connect(uri).await.unwrap(), JsonRpc::new())
}

#[tokio::test]
async fn each_call_gets_its_own_answer_whatever_their_order() {
    let (caller, mut reader) = open().await;
    let reading = tokio::spawn(async move {
        let mut others = Vec::new();
        while let Some(Ok(message)) = reader.next().await {
            others.push(message);
        }
        others
    });
    caller.notify("hello", &json!({})).await.unwrap();
    let (one, two) =
        tokio::join!(caller.request::<i64>("double", &[1]), caller.request::<i64>("double", &[2]));
    assert_eq!((one.unwrap(), two.unwrap()), (2, 4));
    let (wrong, typed) = tokio::join!(
        caller.request::<i64>("missing", &[1]),
        caller.request::<String>("double", &[2])
    );
    assert!(
        matches!(&wrong, Err(CallError::Format(JsonRpcError::Peer(error)))
            if error.code == JsonRpcErrorObject::METHOD_NOT_FOUND && error.message == "no such"),
        "{wrong:?}"
    );
    assert!(matches!(typed, Err(CallError::Format(JsonRpcError::Deserialize(_)))), "{typed:?}");
    // Many from many tasks.
    let many = (0..100).map(|number| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.request::<i64>("double", &[number]).await.unwrap() })
    });
    for (number, answer) in many.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), 2 * i64::try_from(number).unwrap());
    }
    let ended = caller.request::<()>("end", &json!([])).await;
    assert!(matches!(ended, Err(CallError::Ended)), "{ended:?}");
    let late = caller.request::<()>("double", &[1]).await;
    assert!(matches!(late, Err(CallError::Ended | CallError::Send(_))), "{late:?}");
    let others = reading.await.unwrap();
    assert_eq!(others, [r#"{"jsonrpc":"2.0","method":"welcome"}"#, "plain"].map(Message::from));
}

#[tokio::test]
async fn calls_whose_reader_has_gone_end() {
    let (caller, reader) = open().await;
    let calling = caller.request::<()>("never", &[(); 0]);
    let (ended, ()) = tokio::join!(calling, async {
        while caller.table().in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        drop(reader);
    });
    assert!(matches!(ended, Err(CallError::Ended)), "{ended:?}");
}

/// JSON-RPC with a message for requests that nobody waits for.
struct Cancelling(JsonRpc);

impl CallFormat for Cancelling {
    type Request = calls::JsonRpcRequest;
    type Response = Box<RawValue>;
    type Error = JsonRpcError;

    fn encode(&self, id: u64, request: calls::JsonRpcRequest) -> Result<Message, JsonRpcError> {
        self.0.encode(id, request)
    }

    fn decode(&self, message: &Message) -> Option<Answer<Box<RawValue>, JsonRpcError>> {
        self.0.decode(message)
    }

    fn cancel(&self, id: u64) -> Option<Message> {
        Some(format!("cancel {id}").into())
    }
}

#[tokio::test]
async fn a_peer_is_told_of_calls_that_nobody_waits_for() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let ends = |stream, role| WebSocket::builder(role).build(stream);
    let mut server = ends(far, tautline::Role::Server);
    let (caller, mut reader) =
        calls::split(ends(near, tautline::Role::Client), Cancelling(JsonRpc::new()));
    tokio::spawn(async move { while reader.next().await.is_some() {} });
    let request = || calls::JsonRpcRequest::new("never");

    // Dropped: by hand, and by a deadline.
    {
        let mut calling = Box::pin(caller.call(request()));
        tokio::select! {
            answer = &mut calling => panic!("{answer:?}"),
            asked = server.next() => assert!(asked.unwrap().unwrap().as_text().unwrap().contains("\"id\":1")),
        }
    }
    assert_eq!(server.next().await.unwrap().unwrap(), Message::from("cancel 1"));
    tokio::time::pause();
    let late = caller.clone().timeout(Duration::from_secs(5)).call(request()).await;
    assert!(matches!(late, Err(CallError::Timeout)), "{late:?}");
    tokio::time::resume();
    assert!(server.next().await.unwrap().unwrap().as_text().unwrap().contains("\"id\":2"));
    assert_eq!(server.next().await.unwrap().unwrap(), Message::from("cancel 2"));
    assert_eq!(caller.table().in_flight(), 0);

    // Its answer is nobody's; one that is answered is not cancelled.
    server.send(r#"{"id":2,"result":1}"#).await.unwrap();
    let (answer, asked) = tokio::join!(caller.call(request()), async {
        let asked = server.next().await.unwrap().unwrap();
        server.send(r#"{"id":3,"result":true}"#).await.unwrap();
        asked
    });
    assert_eq!(answer.unwrap().get(), "true");
    assert!(asked.as_text().unwrap().contains("\"id\":3"));
    caller.writer().send("next").await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::from("next"));
}

// As a stream, too.
#[tokio::test]
async fn the_reader_is_a_stream_of_what_is_no_answer() {
    let (caller, reader) = open().await;
    caller.notify("hello", &json!({})).await.unwrap();
    caller.notify("end", &json!({})).await.unwrap();
    let others: Vec<_> = reader.map(Result::unwrap).collect().await;
    assert_eq!(others.len(), 2);
}
