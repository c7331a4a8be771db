//! How much memory a kept message keeps alive: at most twice its own size.

use tautline::{Message, Role, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::{allocated, alone};

fn pair() -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let open = |stream, role| WebSocket::builder(role).build(stream);
    (open(near, Role::Client), open(far, Role::Server))
}

fn run(scene: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(scene);
}

/// Sends these messages through a connection, keeps the chosen ones, and returns how many bytes
/// they keep alive when everything else is dropped, and their total length.
fn kept(sizes: &[usize], keep: impl Fn(usize) -> bool) -> (usize, usize) {
    let mut kept = Vec::with_capacity(sizes.len());
    let before = allocated();
    run(async {
        let (mut client, mut server) = pair();
        let sending = async {
            for &size in sizes {
                client.feed(vec![7; size]).await.unwrap();
            }
            client.close().await.unwrap();
        };
        let receiving = async {
            let mut index = 0;
            while let Some(message) = server.next().await {
                let message = message.unwrap();
                if keep(index) {
                    kept.push(message);
                }
                index += 1;
            }
        };
        tokio::join!(sending, receiving);
    });
    let held = allocated().saturating_sub(before);
    (held, kept.iter().map(Message::len).sum())
}

/// What the thread keeps for the connections to come, and the runtime's own: less than this,
/// whatever they did.
const THREAD: usize = 20 * (66 << 10);

// A hub kept one in 13 messages of 4.8 kB, and each kept the whole read buffer that it was a slice
// of: 13.9 times its size.
#[test]
fn one_kept_message_in_thirteen_keeps_twice_its_size_at_most() {
    let _turn = alone();
    for size in [100, 4_800, 16_000, 32_000, 40_000, 66_000, 200_000] {
        let (held, size) = kept(&vec![size; 1300], |index| index % 13 == 0);
        assert!(held <= 2 * size + THREAD, "{held} bytes held for {size}");
    }
}

// Small messages that had arrived after large ones were slices of their buffers: 60 of them held
// 901 MiB.
#[test]
fn small_messages_behind_large_ones_do_not_keep_those() {
    let _turn = alone();
    for small in [1_000, 5_000, 35_000] {
        let sizes: Vec<_> = (0..20).flat_map(|_| [8 << 20, small]).collect();
        let (held, size) = kept(&sizes, |index| index % 2 == 1);
        assert!(held <= 2 * size + THREAD, "{held} bytes held for {size}");
    }
}

// 30 clients that had received one message of 8 MB each, dropped it, and were busy with something
// else held 242 MB.
#[test]
fn the_memory_of_a_large_message_goes_with_it_though_nobody_polls() {
    let _turn = alone();
    run(async {
        let mut clients = Vec::new();
        let before = allocated();
        for _ in 0..10 {
            let (mut client, mut server) = pair();
            let sending = async {
                server.send(vec![7; 8 << 20]).await.unwrap();
                server.feed("one more").await.unwrap();
            };
            let receiving = async {
                let message = client.next().await.unwrap().unwrap();
                assert_eq!(message.len(), 8 << 20);
            };
            tokio::join!(sending, receiving);
            clients.push((client, server));
        }
        let held = allocated().saturating_sub(before);
        // Each has a queue and a pipe of 64 KiB, too.
        assert!(held < 10 * (256 << 10) + THREAD, "{held} bytes held by ten idle connections");
    });
}

// As long as one writer of a connection was kept, as in a table of members, its socket stayed open
// after the end.
#[test]
fn a_connection_that_is_over_has_no_socket_whoever_keeps_a_half() {
    let _turn = alone();
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut members = Vec::new();
        let before = files();
        for _ in 0..50 {
            let mut peer = tokio::net::TcpStream::connect(address).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let ws = WebSocket::builder(Role::Server).build(stream);
            let (mut reader, writer) = ws.split();
            members.push(writer);
            peer.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
            assert!(reader.next().await.is_none());
            peer.read_to_end(&mut Vec::new()).await.unwrap();
        }
        assert!(files() <= before + 2, "{} sockets are left", files() - before);
        assert!(members.iter().all(|member| !member.is_open()));
    });
}

// Messages that were kept for a reader remained when the reader was dropped, as long as somebody
// held a writer.
#[test]
fn what_was_kept_for_a_reader_goes_with_it() {
    let _turn = alone();
    run(async {
        let (mut client, server) = pair();
        let (reader, mut writer) = server.split();
        let before = allocated();
        let answering = async {
            for _ in 0..8 {
                client.feed(vec![7; 100_000]).await.unwrap();
            }
            client.next().await
        };
        tokio::select! {
            time = writer.ping() => assert!(time.is_ok(), "{time:?}"),
            message = answering => panic!("{message:?}"),
        }
        assert!(allocated() >= before + 700_000, "kept for the reader");
        drop(reader);
        let held = allocated().saturating_sub(before);
        assert!(held < THREAD, "{held} bytes held");
        drop(writer);
    });
}
