//! A router runs the handler of the path, with what its parts stood for, and refuses every other
//! path.

use std::time::Duration;

use http::header::SET_COOKIE;
use http::{Response, StatusCode};
use tautline::{BoxError, Client, ConnectError, Params, Router, Server, Upgrade, WebSocket};

/// Says which route it is, and what the parts of the path were.
fn told(name: &'static str) -> impl Fn(WebSocket, Params) -> Told + Clone + Send + Sync + 'static {
    move |mut ws, params| {
        Box::pin(async move {
            let parts: Vec<_> =
                params.iter().map(|(name, part)| format!("{name}={part}")).collect();
            ws.send(format!("{name} {}", parts.join(" "))).await?;
            Ok(())
        })
    }
}

type Told = std::pin::Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

async fn serve(change: impl FnOnce(Server) -> Server, router: Router) -> String {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(change(server).serve_routes(router));
    format!("ws://{address}")
}

async fn first_message(uri: &str) -> Result<String, ConnectError> {
    let mut ws = tautline::connect(uri).await?;
    let next = tokio::time::timeout(Duration::from_secs(10), ws.next());
    let message = next.await.expect("in time").expect("a message").expect("no error");
    Ok(message.as_text().expect("text").to_owned())
}

fn status_of(error: ConnectError) -> (u16, String) {
    let ConnectError::Refused(response) = error else { panic!("{error}") };
    (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
}

#[tokio::test]
async fn the_most_specific_route_wins_whatever_the_order() {
    let router = Router::new()
        .route("/rooms/{room}", told("room"))
        .and_then(|router| router.route("/files/{*rest}", told("files")))
        .and_then(|router| router.route("/rooms/lobby", told("lobby")))
        .and_then(|router| router.route("/rooms/{room}/users/{user}", told("user")))
        .and_then(|router| router.route("/", told("root")))
        .unwrap();
    let base = serve(|server| server, router).await;
    for (path, expected) in [
        ("/", "root "),
        ("/?token=1", "root "),
        ("/rooms/lobby", "lobby "),
        ("/rooms/den?x=/rooms/lobby", "room room=den"),
        ("/rooms/lobby/users/ann", "user room=lobby user=ann"),
        ("/files/a/b.txt", "files rest=a/b.txt"),
        // Decoded, but an encoded slash separates nothing.
        ("/rooms/the%20d%C3%A9n%2Fx", "room room=the d\u{e9}n/x"),
    ] {
        assert_eq!(first_message(&format!("{base}{path}")).await.unwrap(), expected, "{path}");
    }
    for path in ["/rooms", "/rooms/", "/rooms/a/b", "/ROOMS/a", "/files/", "//rooms/a"] {
        let refusal = status_of(first_message(&format!("{base}{path}")).await.unwrap_err());
        assert_eq!(refusal, (404, "there is no WebSocket here\n".to_owned()), "{path}");
    }
    let refusal = status_of(first_message(&format!("{base}/rooms/%ff")).await.unwrap_err());
    assert_eq!(refusal, (400, "the path is not UTF-8\n".to_owned()));
}

#[tokio::test]
async fn a_route_decides_about_its_own_requests() {
    let router = Router::new()
        .route_with(
            "/{group}/{name}",
            |request, params: Params| async move {
                assert_eq!((params.get("group"), params.get("other")), (Some("users"), None));
                match params.get("name") {
                    Some("ann") if request.headers().contains_key("x-key") => {
                        Ok(Upgrade::new(7).subprotocol("numbers").header("x-user", "ann"))
                    }
                    name => {
                        let body = format!("not {}", name.unwrap_or_default()).into();
                        Err(Response::builder().status(StatusCode::FORBIDDEN).body(body).unwrap())
                    }
                }
            },
            |mut ws: WebSocket, number: i32| async move {
                ws.send(number.to_string()).await?;
                Ok(())
            },
        )
        .unwrap()
        .not_found(|request| {
            let body = format!("nothing at {}", request.uri().path()).into();
            Response::builder().status(StatusCode::GONE).body(body).unwrap()
        });
    let base = serve(|server| server, router).await;
    let client = Client::new().header("x-key", "1").subprotocols(["numbers"]);
    let (mut ws, response) =
        client.connect_with_response(format!("{base}/users/ann")).await.unwrap();
    assert_eq!(response.headers()["x-user"], "ann");
    assert_eq!(ws.subprotocol(), Some("numbers"));
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("7"));
    let refusal = status_of(first_message(&format!("{base}/users/ann")).await.unwrap_err());
    assert_eq!(refusal, (403, "not ann".to_owned()));
    let refusal = status_of(first_message(&format!("{base}/other/")).await.unwrap_err());
    assert_eq!(refusal, (410, "nothing at /other/".to_owned()));
}

// What was set for the whole server must not be lost because routes decide too.
#[tokio::test]
async fn the_servers_own_check_comes_first() {
    let router = Router::new()
        .route("/plain", told("plain"))
        .and_then(|router| {
            router.route_with(
                "/cookie",
                |_, params| async { Ok(Upgrade::new(params).header(SET_COOKIE, "route=1")) },
                told("cookie"),
            )
        })
        .unwrap();
    let check = |server: Server| {
        server.authorize(|request| async move {
            match request.headers().get("x-key") {
                Some(_) => Ok(Upgrade::default().header(SET_COOKIE, "seen=1").header("x-by", "us")),
                None => Err(Response::builder().status(401).body("who?".into()).unwrap()),
            }
        })
    };
    let base = serve(check, router).await;
    for path in ["/plain", "/nothing"] {
        let refusal = status_of(first_message(&format!("{base}{path}")).await.unwrap_err());
        assert_eq!(refusal, (401, "who?".to_owned()), "{path}");
    }
    let client = Client::new().header("x-key", "1");
    for (path, cookie) in [("/plain", "seen=1"), ("/cookie", "route=1")] {
        let opened = client.connect_with_response(format!("{base}{path}")).await;
        let (mut ws, response) = opened.unwrap();
        assert_eq!(response.headers()["x-by"], "us");
        let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, [cookie], "the route has the last word");
        let expected = format!("{} ", &path[1..]);
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_a_route_is_an_error_that_names_it() {
    let twice = Router::new()
        .route("/a/{x}", told("one"))
        .and_then(|router| router.route("/a/{y}", told("other")))
        .unwrap_err();
    assert!(twice.to_string().contains("\"/a/{y}\""), "{twice}");
    for path in ["/a/{", "/a/{}", "/{*rest}/more"] {
        let error = Router::new().route(path, told("bad")).unwrap_err();
        assert!(error.to_string().starts_with("there can be no route for"), "{error}");
    }
}
