//! A server as a separate process: file limits and signals.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use tautline::{CloseCode, connect};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::handshake::{Http, REQUEST, expect_echo, uri};

/// The built `echo_peer`, started by the shell behind these words, and its address.
async fn example(before: &str) -> (Child, SocketAddr) {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    let path = path.join("echo_peer");
    assert!(path.exists(), "run `cargo build --example echo_peer` first: {path:?}");
    let mut child = Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" --listen 127.0.0.1:0")])
        .arg(path)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let address = line.trim_end().strip_prefix("listening on ws://").unwrap().parse().unwrap();
    (child, address)
}

#[tokio::test]
async fn a_server_that_ran_out_of_files_goes_on_when_there_are_some_again() {
    let (_child, address) = example("ulimit -n 32;").await;
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

#[tokio::test]
async fn a_signal_closes_connections_with_1001_and_ends_the_example_with_success() {
    for signal in ["INT", "TERM"] {
        let (mut child, address) = example("").await;
        let mut ws = connect(uri(address)).await.unwrap();
        expect_echo(&mut ws, "hello").await;
        let kill = format!("kill -s {signal} {}", child.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
        assert!(ws.next().await.is_none());
        assert_eq!(ws.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
        drop(ws);
        assert_eq!(child.wait().await.unwrap().code(), Some(0), "{signal}");
    }
}
