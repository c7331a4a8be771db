//! From what hyper hands over to a transport.

use std::io;

use bytes::Bytes;
use hyper::rt::{Read, Write};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tautline::{Peer, Transport};
use tokio::net::TcpStream;

/// What a connection runs on, the bytes of it that hyper has read already, and who is at its other
/// end, as far as the stream tells.
pub(crate) struct Taken {
    pub(crate) transport: Transport,
    pub(crate) read: Bytes,
    pub(crate) peer: Peer,
}

impl Taken {
    /// With the peer that the transport tells.
    pub(crate) fn new(transport: Transport, read: Bytes) -> Self {
        let addr = transport.tcp().and_then(|stream| stream.peer_addr().ok());
        let peer = addr.map_or(Peer::unknown(), Peer::from).with_secure(transport.is_tls());
        Self { transport, read, peer }
    }
}

/// Takes the stream back out of hyper's box if it is one that connections run on by themselves, so
/// that nothing lies in between, and options of the socket can be set. Any other stream is boxed:
/// those of HTTP/2, TLS of other crates, Unix sockets.
pub(crate) fn take(upgraded: Upgraded) -> io::Result<Taken> {
    let upgraded = match unwrap::<TokioIo<TcpStream>>(upgraded) {
        Ok((stream, read)) => {
            let transport = Transport::from_tcp(stream.into_inner())?;
            return Ok(Taken::new(transport, read));
        }
        Err(upgraded) => upgraded,
    };
    Ok(match unwrap::<TokioIo<Transport>>(upgraded) {
        Ok((stream, read)) => Taken::new(stream.into_inner(), read),
        Err(upgraded) => Taken {
            transport: Transport::boxed(TokioIo::new(upgraded)),
            read: Bytes::new(),
            peer: Peer::unknown(),
        },
    })
}

/// The stream of this type, and what was read from it. hyper-util's `auto` server, on which
/// `axum::serve` is built, wraps it in a type that only hyper-util can take off; under hyper's own
/// server it is not wrapped.
fn unwrap<T>(upgraded: Upgraded) -> Result<(T, Bytes), Upgraded>
where
    T: Read + Write + Unpin + 'static,
{
    match auto::upgrade::downcast::<T>(upgraded) {
        Ok(parts) => Ok((parts.io, parts.read_buf)),
        Err(upgraded) => upgraded.downcast::<T>().map(|parts| (parts.io, parts.read_buf)),
    }
}
