//! Programs as separate processes: file limits, signals, examples.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use tautline::{CloseCode, Http2Config, WebSocket, connect};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::conversation::pattern;
use crate::support::handshake::{Http, REQUEST, answer_to, echo_server, expect_echo, uri};
use crate::support::log::Log;

/// The path of a built example.
pub(crate) fn built(name: &str) -> PathBuf {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    let path = path.join(name);
    assert!(path.exists(), "run `cargo build --example {name}` first: {path:?}");
    path
}

/// Waits until a server says where it listens.
async fn listening(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    // `listening on ws://ADDRESS`, or `chat on http://ADDRESS`.
    line.trim_end().split_once("://").unwrap().1.parse().unwrap()
}

/// The built `echo_peer`, started by the shell behind these words with these options, and its
/// address.
async fn example(before: &str, options: &str) -> (Child, SocketAddr) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" --listen 127.0.0.1:0 {options}")])
        .arg(built("echo_peer"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let address = listening(&mut child).await;
    (child, address)
}

/// An example that is a server, started with these words.
async fn server(name: &str, words: &[&str]) -> (Child, SocketAddr) {
    let mut command = Command::new(built(name));
    let mut child = command.args(words).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let address = listening(&mut child).await;
    (child, address)
}

/// An example that ends by itself: whether it succeeded, and what it wrote.
async fn run(name: &str, words: &[&str]) -> (bool, String) {
    let output = Command::new(built(name)).args(words).kill_on_drop(true).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn many_websockets_share_an_http_2_connection() {
    let address = echo_server(|server| server.http2(Http2Config::new())).await;
    let (success, text) = run("http2_client", &[&uri(address), "25"]).await;
    assert_eq!((success, text.as_str()), (true, "25 WebSockets over HTTP/2.0\n"));
    // One that does not speak it.
    let address = echo_server(|server| server).await;
    let (success, text) = run("http2_client", &[&uri(address), "2"]).await;
    assert!(!success && text.starts_with("error: "), "{text}");
}

#[tokio::test]
async fn a_feed_goes_on_after_cuts_and_after_the_server_was_killed() {
    let server_words = ["--every", "1", "--cut", "400", "--listen"];
    let (mut first, address) =
        server("feed_server", &[&server_words[..], &["127.0.0.1:0"]].concat()).await;
    let mut client = Command::new(built("feed_client"))
        .args(["--server", &uri(address), "--updates", "1000"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let mut next = async || lines.next_line().await.unwrap().unwrap();
    // After a cut it resumes; then the server is killed, and the next one has another market.
    while said.iter().filter(|line| *line == "connected").count() < 2 {
        said.push(next().await);
    }
    first.kill().await.unwrap();
    let address = address.to_string();
    let (_second, _) = server("feed_server", &[&server_words[..], &[&address]].concat()).await;
    while !said.last().unwrap().contains(" updates in order over ") {
        said.push(next().await);
    }
    assert!(client.wait().await.unwrap().success());
    let last = said.last().unwrap();
    assert!(last.starts_with("1000 updates in order over "), "{last}");
    assert!(last.ends_with(" with 2 whole books"), "{said:#?}");
}

#[tokio::test]
async fn files_are_sent_and_fetched_through_a_bridge() {
    let directory = std::env::temp_dir().join(format!("tautline-files-{}", std::process::id()));
    let stored = directory.join("stored");
    std::fs::create_dir_all(&stored).unwrap();
    let [file, again] = ["file.bin", "again.bin"].map(|name| directory.join(name));
    std::fs::write(&file, pattern(30_000_000)).unwrap();
    let [stored_path, file_path, again_path] =
        [&stored, &file, &again].map(|path| path.to_str().unwrap());

    let (_files, address) = server("file_transfer", &["serve", stored_path, "127.0.0.1:0"]).await;
    let (_bridge, bridge) = server("bridge", &[&uri(address), "127.0.0.1:0"]).await;
    for url in [uri(address), uri(bridge)] {
        let put = run("file_transfer", &["put", &url, file_path]).await;
        assert_eq!(put, (true, "stored 30000000\n".to_owned()));
        assert_eq!(std::fs::read(stored.join("file.bin")).unwrap(), pattern(30_000_000));
        let get = run("file_transfer", &["get", &url, "file.bin", again_path]).await;
        assert_eq!(get, (true, "sent 30000000\n".to_owned()));
        assert_eq!(std::fs::read(&again).unwrap(), pattern(30_000_000));
        // What is not there, and what is somewhere else.
        for name in ["missing", "../file.bin", "..", ".file.bin.part"] {
            let (success, text) = run("file_transfer", &["get", &url, name, again_path]).await;
            assert!(!success && text.starts_with("error: "), "{name}: {text}");
        }
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_server_that_ran_out_of_files_goes_on_when_there_are_some_again() {
    let (_child, address) = example("ulimit -n 32;", "--leave-files").await;
    // All are in the system's queue, more than there can be open files, so the server runs out of
    // file descriptors.
    let mut peers = Vec::new();
    for _ in 0..48 {
        let mut peer = Http::connect(address).await;
        peer.write(REQUEST).await;
        peers.push(peer);
    }
    // They are served in their order, as those before them leave.
    while !peers.is_empty() {
        let mut served: Vec<_> = peers.drain(..12).collect();
        for peer in &mut served {
            assert_eq!(peer.head().await.status(), 101);
        }
    }
    expect_echo(&mut connect(uri(address)).await.unwrap(), "hello").await;
}

/// The limit of open files that applies to a process.
#[cfg(target_os = "linux")]
fn open_files(child: &Child) -> usize {
    let path = format!("/proc/{}/limits", child.id().unwrap());
    let limits = std::fs::read_to_string(path).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

// Most systems start a process with 1,024, and one that needs more has to ask.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_limit_of_open_files_is_raised_for_the_connections_of_a_server() {
    let (child, address) = example("ulimit -S -n 32; ulimit -H -n 400;", "").await;
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(connect(uri(address)).await.unwrap());
    }
    for ws in &mut open {
        expect_echo(ws, "hello").await;
    }
    assert_eq!(open_files(&child), 400);
    // Unless the server is to leave it.
    let (child, address) = example("ulimit -S -n 32; ulimit -H -n 400;", "--leave-files").await;
    expect_echo(&mut connect(uri(address)).await.unwrap(), "hello").await;
    assert_eq!(open_files(&child), 32);
}

// A server that may not have more files has fewer connections, and some files left: it does not run
// into the limit, where everything else that opens a file fails too.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn where_the_limit_of_open_files_is_low_there_are_fewer_connections() {
    let (child, address) = example("ulimit -n 80;", "").await;
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut peer = Http::connect(address).await;
        peer.write(REQUEST).await;
        open.push(peer);
    }
    // Those that get in are answered in their order; the others wait.
    for peer in &mut open[..40] {
        assert_eq!(peer.head().await.status(), 101);
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", child.id().unwrap())).unwrap().count();
    assert!((50..80).contains(&files), "{files} of 80 are open");
    // As others leave.
    let mut last = open.split_off(40);
    drop(open);
    for peer in &mut last[..20] {
        assert_eq!(peer.head().await.status(), 101);
    }
}

// Whoever set a number has to be told that another one applies.
#[tokio::test]
async fn a_maximum_of_connections_that_is_lowered_is_warned_of_with_both_numbers() {
    for (fit, warnings) in [(true, 1), (false, 0)] {
        let log = Log::default();
        let _collecting = log.start();
        let most = usize::MAX;
        let address = echo_server(|server| server.max_connections(most).fit_open_files(fit)).await;
        expect_echo(&mut connect(uri(address)).await.unwrap(), "hello").await;
        let text = log.text();
        assert_eq!(text.matches(" WARN ").count(), warnings, "{text}");
        let told = text.contains(&format!("max_connections={most} lowered_to="));
        assert_eq!(told, fit, "{text}");
    }
}

#[tokio::test]
async fn a_signal_closes_connections_with_1001_and_ends_the_example_with_success() {
    for signal in ["INT", "TERM"] {
        let (mut child, address) = example("", "").await;
        let mut ws = connect(uri(address)).await.unwrap();
        expect_echo(&mut ws, "hello").await;
        stops(&mut child, signal, ws).await;
    }
}

/// Sends this signal, which closes the connection with 1001 and ends the program with success.
async fn stops(child: &mut Child, signal: &str, mut ws: WebSocket) {
    let kill = format!("kill -s {signal} {}", child.id().unwrap());
    assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    while let Some(message) = ws.next().await {
        message.unwrap();
    }
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
    drop(ws);
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "{signal}");
}

async fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let (head, body) = answer_to(address, request).await;
    (head.status(), body)
}

/// Reads until a message has this in it.
async fn hears(ws: &mut WebSocket, what: &str) {
    loop {
        let message = ws.next().await.unwrap().unwrap();
        if message.as_text().unwrap().contains(what) {
            return;
        }
    }
}

#[tokio::test]
async fn the_chat_under_axum_serves_its_page_and_its_sockets() {
    for chat in ["chat", "axum_chat"] {
        let (mut child, address) = server(chat, &["--listen", "127.0.0.1:0"]).await;
        let (status, body) = page(address, "/").await;
        assert!(status == 200 && body.starts_with("<!doctype html>"), "{chat}: {body}");
        assert_eq!(page(address, "/nothing").await.0, 404, "{chat}");

        let url = |name: &str| format!("{}ws?room=blue&name={name}", uri(address));
        let mut alice = connect(url("alice")).await.unwrap();
        let mut bob = connect(url("bob")).await.unwrap();
        hears(&mut bob, r#"["alice","bob"]"#).await;
        alice.send("1\nhello").await.unwrap();
        hears(&mut bob, r#""text":"hello""#).await;

        let refused = connect(format!("{}ws?room=blue", uri(address))).await.unwrap_err();
        assert_eq!(refused.status().unwrap(), 400, "{chat}");
        drop(alice);
        stops(&mut child, "TERM", bob).await;
    }
}

#[tokio::test]
async fn the_examples_for_hyper_and_tower_echo() {
    let (_child, address) = server("hyper_echo", &["127.0.0.1:0"]).await;
    expect_echo(&mut connect(uri(address)).await.unwrap(), "hello").await;
    assert_eq!(page(address, "/").await.0, 426);

    let (mut child, address) = server("tower_service", &["127.0.0.1:0"]).await;
    assert_eq!(page(address, "/about").await, (200, "the page /about\n".to_owned()));
    let mut ws = connect(uri(address)).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("welcome to /"));
    expect_echo(&mut ws, "hello").await;
    stops(&mut child, "INT", ws).await;
}
