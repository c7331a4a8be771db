//! A client as bytes on a socket, and the process that it talks to.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::frames;
use crate::support::{self, Result};

/// Longer than any server that still works takes to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server's process. It ends when this is dropped, or when this program ends.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) input: ChildStdin,
    pub(crate) output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// This program with these words, on this core or on any.
    pub(crate) fn start(words: &[&str], core: &str) -> Result<Self> {
        let this = std::env::current_exe()?;
        let pinned =
            Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok();
        let mut command = if pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", core]).arg(this);
            command
        } else {
            Command::new(this)
        };
        let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { child, input, output, address })
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        support::cpu_time(self.child.id())
    }

    /// Anonymous resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no RssAnon")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a connection, with compression offered or not.
pub(crate) fn connect(address: SocketAddr, offer: bool) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let extension = if offer { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extension}\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    match (head.starts_with("http/1.1 101"), head.contains("permessage-deflate") == offer) {
        (true, true) => Ok(stream),
        _ => Err(format!("not as it was asked for: {head}").into()),
    }
}

/// How a server's part of a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The marker came back.
    Marker,
    /// By a Close with this code.
    Close(u16),
    /// Without one.
    Lost,
}

/// Reads and forgets all that comes, up to the marker or the end.
pub(crate) fn drain(mut stream: TcpStream) -> End {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 256 << 10]);
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return End::Lost,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return End::Lost,
        };
        all.extend_from_slice(&buffer[..count]);
        let mut at = 0;
        while let Some((first, start, end)) = frames::parse(&all[at..]) {
            let Some(payload) = all.get(at + start..at + end) else { break };
            if payload == frames::MARKER {
                return End::Marker;
            }
            if first == 0x88 {
                return match payload {
                    [high, low, ..] => End::Close(u16::from_be_bytes([*high, *low])),
                    _ => End::Close(1005),
                };
            }
            at += end;
        }
        all.drain(..at);
    }
}
