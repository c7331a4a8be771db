//! A few bytes on the wire that expand to a GiB.

use std::time::Instant;

use bytes::{Buf, BytesMut};
use tautline::{Compress, Compression, Config, Message, Role, WebSocket};
use tautline_frame::{Codec, Frame, OpCode, Protocol, Rsv};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const LIMIT: usize = 1 << 20;

/// How much a bomb may add to the process's memory: the message limit, and as much again.
const MOST: usize = 2 << 20;

/// A value of this process in bytes, as reported by the system.
fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<usize>().unwrap() << 10
}

/// Compressed messages of zeros: one of a MiB to begin with, and what each further MiB adds, which
/// is always the same.
struct Zeros {
    first: Vec<u8>,
    further: Vec<u8>,
}

impl Zeros {
    fn new() -> Self {
        let mut client = Protocol::new(Role::Client, Config::new(), Instant::now());
        client.set_compression(Compression::best_ratio());
        let mut payloads = (0..3).map(|_| {
            client.send_with(Message::from(vec![0; 1 << 20]), Compress::Always).unwrap();
            client.poll_transmit();
            let len = client.queue().remaining();
            let mut wire = BytesMut::from(&client.queue().copy_to_bytes(len)[..]);
            let mut codec = Codec::with_limits(Role::Server, Rsv::RSV1, 1 << 20);
            // With the four bytes that are cut off at the end of a message, but needed between the
            // parts of a longer one.
            let frame = codec.decode(&mut wire).unwrap().unwrap();
            [&frame.payload[..], &[0, 0, 0xFF, 0xFF]].concat()
        });
        let (first, further) = (payloads.next().unwrap(), payloads.next().unwrap());
        assert_eq!(payloads.next().unwrap(), further);
        Self { first, further }
    }

    /// A message of so many MiB.
    fn message(&self, mib: usize) -> Vec<u8> {
        let mut message = self.first.clone();
        (1..mib).for_each(|_| message.extend_from_slice(&self.further));
        message.truncate(message.len() - 4);
        message
    }
}

/// A message as a client sends it, in frames of at most this many bytes.
fn framed(payload: &[u8], size: usize) -> Vec<u8> {
    let codec = Codec::new(Role::Client);
    let mut wire = BytesMut::new();
    let count = payload.len().div_ceil(size);
    for (index, piece) in payload.chunks(size).enumerate() {
        let (opcode, rsv) = match index {
            0 => (OpCode::Binary, Rsv::RSV1),
            _ => (OpCode::Continuation, Rsv::NONE),
        };
        let payload = bytes::Bytes::copy_from_slice(piece);
        codec.encode(&Frame { fin: index + 1 == count, rsv, opcode, payload }, &mut wire).unwrap();
    }
    wire.to_vec()
}

fn server() -> (WebSocket<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 12);
    let config = Config::new().max_message_size(LIMIT).max_frame_size(16 << 20);
    let builder = WebSocket::builder(Role::Server).compression(Compression::best_ratio());
    (builder.config(config).build(near), far)
}

/// Sends this to a server; returns how many messages it received, and the close code that it
/// answers with.
async fn attack(wire: &[u8]) -> (usize, u16) {
    let (mut ws, far) = server();
    let (mut read, mut write) = tokio::io::split(far);
    let attacker = async {
        // The server stops reading somewhere on the way.
        let _ = write.write_all(wire).await;
        let _ = write.shutdown().await;
    };
    let victim = async {
        let mut messages = 0;
        while let Some(Ok(_)) = ws.next().await {
            messages += 1;
        }
        drop(ws);
        messages
    };
    let answer = async {
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let ((), messages, answer) = tokio::join!(attacker, victim, answer);
    assert_eq!(answer[0], 0x88, "a Close and nothing else");
    (messages, u16::from_be_bytes([answer[2], answer[3]]))
}

// RFC 7692 section 8 does not mention it, and many servers shipped it: a MiB on the wire that
// becomes a GiB in memory.
#[test]
fn a_gib_of_zeros_costs_no_more_than_the_message_limit() {
    let _turn = crate::alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let zeros = Zeros::new();
    let bomb = zeros.message(1024);
    assert!(bomb.len() < 2 << 20, "{} bytes stand for a GiB", bomb.len());
    let whole = framed(&bomb, usize::MAX);
    let fragments = framed(&bomb, 1000);
    // Messages at the limit, then the bomb, which refers to them. Their tails are the bomb's
    // further parts.
    let mut further = zeros.further.clone();
    further.truncate(further.len() - 4);
    let session = [framed(&zeros.message(1), 500), framed(&further, 500), whole.clone()].concat();
    // What the runtime, the thread's buffers and one inflater take.
    runtime.block_on(attack(&framed(&[0x06], 1)));

    for (wire, before) in [(&whole, 0), (&fragments, 0), (&session, 2)] {
        // Resets the peak.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let resident = status("VmRSS");
        assert_eq!(runtime.block_on(attack(wire)), (before, 1009));
        let growth = status("VmHWM").saturating_sub(resident);
        assert!(growth < MOST, "{growth} bytes more at the peak");
        println!("{growth} bytes more at the peak");
    }
}
