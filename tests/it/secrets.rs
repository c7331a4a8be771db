//! Credentials do not appear in `Debug`, in errors and in events.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use tautline::{
    Acceptor, Client, Compression, ConnectError, HandshakeError, OriginPolicy, Upgrade,
    text_response,
};
use tautline_handshake::{
    BodyFraming, BodyReader, ClientRequest, HeadLimits, Headers, RequestHead, RequestHeadReader,
    ResponseHeadReader, ServerRequest, WsUri, encode_request,
};

use crate::support::handshake::{answer_to, answering, bind, echo, request_with};
use crate::support::log::Log;

const SECRET: &str = "s3cr3t";
const URI: &str = "wss://user:s3cr3t@example.com/path?token=s3cr3t";

/// Each field that a browser or an application may put a credential in.
const FIELDS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "referer"];

fn headers() -> Headers {
    let mut headers = Headers::new();
    for name in FIELDS {
        headers.append(name, SECRET);
        headers.append(name, SECRET);
    }
    headers
}

fn map() -> HeaderMap {
    headers().finish().unwrap()
}

fn upgrade_request() -> Request<()> {
    let uri = WsUri::parse(URI).unwrap();
    let request = ClientRequest::new(&uri).headers(headers()).subprotocols(["chat", SECRET]);
    request.compression(Compression::new()).build().unwrap().0
}

fn refusal() -> Response<Bytes> {
    let mut response = Response::builder().status(401).body(Bytes::from(SECRET)).unwrap();
    *response.headers_mut() = map();
    response
}

/// The `Debug` output of each type of both crates that holds headers, a body, a URI or an offer.
fn shown() -> Vec<String> {
    let uri = WsUri::parse(URI).unwrap();
    let client = ClientRequest::new(&uri).headers(headers()).subprotocols(["chat", SECRET]);
    let (_, expectation) = client.clone().build().unwrap();
    let request = upgrade_request();
    let server = ServerRequest::check(&request).unwrap();
    let response = server.respond().headers(headers()).subprotocol(SECRET);
    let (_, agreed) = response.clone().build().unwrap();
    let mut body = BodyReader::new(BodyFraming::UntilClose, 100);
    body.read(&mut BytesMut::from(SECRET));
    let mut chunk = BodyReader::new(BodyFraming::Chunked, 100);
    chunk.read(&mut BytesMut::from(SECRET));
    let upgrade = Upgrade::new(SECRET).subprotocol(SECRET).headers(map());
    let settings = Client::new().headers(map()).subprotocols([SECRET]);
    let policy = OriginPolicy::predicate(|origin, _| origin == SECRET);
    let with = |name: String, value: String| {
        ClientRequest::new(&uri).headers(Headers::from_iter([(name, value)])).build()
    };
    let broken = with("x-key".into(), format!("{SECRET}\n"));
    let named = with(format!("x-key: {SECRET}"), "a".into());
    let (broken, named) = (broken.unwrap_err(), named.unwrap_err());
    let mut shown = vec![
        format!("{uri:?} {:?}", uri.authorization()),
        format!("{client:?}"),
        format!("{expectation:?}"),
        format!("{:?} {server:?} {:?}", RequestHead::from(&request), server.offer()),
        format!("{agreed:?}"),
        format!("{response:?}"),
        format!("{body:?} {chunk:?}"),
        format!("{:?}", headers()),
        format!("{upgrade:?}"),
        format!("{:?}", upgrade.header("x-key", format!("{SECRET}\0"))),
        format!("{settings:?}"),
        format!("{:?}", Client::new().bearer(SECRET).basic(SECRET, SECRET)),
        format!("{:?}", Client::new().bearer(format!("{SECRET}\0"))),
        format!("{:?}", settings.header("x-key", format!("{SECRET}\0"))),
        format!("{:?} {policy}", Acceptor::new().origins(policy.clone())),
        format!("{broken} {broken:?}"),
        format!("{named} {named:?}"),
        format!("{:?}", ConnectError::Refused(Box::new(refusal()))),
        format!("{}", ConnectError::Refused(Box::new(refusal()))),
    ];
    for origin in ["https://u:s3cr3t@a.test/?s3cr3t", "a#s3cr3t", "s3cr3t@a", "https://a?s3cr3t"] {
        let mut headers = map();
        headers.insert("origin", HeaderValue::from_static(origin));
        for policy in
            [OriginPolicy::SameOrigin, OriginPolicy::list(["null"]).unwrap(), policy.clone()]
        {
            let error = policy.allows(&headers, "s3cr3t@example.com").unwrap_err();
            shown.push(format!("{error} {error:?}"));
            let error = HandshakeError::from(error);
            shown.push(format!("{error} {error:?} {:?}", error.to_response()));
        }
    }
    shown
}

// Upgrade, ClientRequest, ServerRequest, ServerResponse and ConnectError::Refused printed cookies,
// authorization and bodies, and so put them into logs.
#[test]
fn no_debug_and_no_error_shows_a_header_a_body_a_query_or_credentials() {
    let leaks: Vec<_> = shown().into_iter().filter(|text| text.contains(SECRET)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

// A `Request` or `Response` is printed by the `http` crate, which hides what is marked: so are the
// fields for credentials, whoever sent them.
#[test]
fn the_fields_for_credentials_are_marked_in_what_is_received_and_sent() {
    let mut wire = BytesMut::new();
    encode_request(&upgrade_request(), &mut wire);
    let request = RequestHeadReader::new(HeadLimits::default()).read(&mut wire).unwrap().unwrap();
    let mut wire = BytesMut::from("HTTP/1.1 200 OK\r\n");
    for name in FIELDS {
        wire.extend_from_slice(format!("{name}: {SECRET}\r\n").as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    let response = ResponseHeadReader::new(HeadLimits::default()).read(&mut wire).unwrap().unwrap();
    for headers in [request.headers(), response.headers(), upgrade_request().headers()] {
        for name in &FIELDS[..4] {
            assert!(headers[*name].is_sensitive(), "{name}");
        }
    }
}

#[tokio::test]
async fn no_event_shows_a_header_a_body_a_query_or_credentials() {
    let log = Log::default();
    let _guard = log.start();
    let client = Client::new().headers(map()).subprotocols([SECRET]).subprotocol_required(false);

    // A refusal with a body, and a head that cannot be read.
    for answer in ["WWW-Authenticate: s3cr3t\r\n\r\ns3cr3t", "s3cr3t: a\r\n s3cr3t\0\r\n\r\n"] {
        let answer = format!("HTTP/1.1 401 s3cr3t\r\n{answer}").into_bytes();
        let (address, serving) = answering(|_| answer).await;
        let uri = format!("ws://user:s3cr3t@{address}/?s3cr3t");
        let hanging_up = async { drop(serving.await.unwrap()) };
        let connecting = client.connect(uri);
        let (result, ()) = futures_util::future::join(connecting, hanging_up).await;
        let error = result.unwrap_err();
        assert_eq!(error.status().unwrap(), 401);
        tracing::info!("{error} {error:?}");
    }

    // A redirection to a place with a secret, and what the hook is shown.
    let answer = "HTTP/1.1 302 Found\r\nLocation: /?s3cr3t\r\nContent-Length: 0\r\n\r\n";
    let (address, serving) = answering(|_| answer.into()).await;
    let following = client.clone().redirects(1).on_request(|attempt| async move {
        tracing::info!("{attempt:?}");
        Ok(attempt)
    });
    let uri = format!("ws://user:s3cr3t@{address}/?s3cr3t");
    let (result, _) = futures_util::future::join(following.connect(uri), serving).await;
    let error = result.unwrap_err();
    tracing::info!("{error} {error:?}");
    assert!(log.text().contains("redirected") && log.text().contains("number: 2"));

    // Accepted, refused by the hook with a body, answered with 500, refused for its origin.
    let (server, address) = bind().await;
    let serving = server
        .authorize(|request| async move {
            tracing::info!("{request:?}");
            match request.uri().path() {
                "/refused" => Err(text_response(http::StatusCode::FORBIDDEN, SECRET)),
                "/broken" => Ok(Upgrade::new(()).header("x-key", format!("{SECRET}\n"))),
                _ => Ok(Upgrade::new(()).headers(map())),
            }
        })
        .serve(echo);
    tokio::spawn(serving);
    for (path, status) in [("refused", 403), ("broken", 500)] {
        let uri = format!("ws://user:s3cr3t@{address}/{path}?s3cr3t");
        let error = client.connect(uri).await.unwrap_err();
        assert_eq!(error.status().unwrap(), status);
        tracing::info!("{error} {error:?}");
    }
    let request = request_with("Origin: https://a:s3cr3t@b.test/?s3cr3t\r\n");
    assert_eq!(answer_to(address, request).await.0.status(), 403);
    let mut ws = client.connect(format!("ws://{address}/?s3cr3t")).await.unwrap();
    ws.close().await.unwrap();

    let text = log.text();
    assert!(text.contains("x-key"), "the broken header is named: {text}");
    assert!(text.contains("b.test"), "the origin is named: {text}");
    assert!(!text.contains(SECRET), "{text}");
}
