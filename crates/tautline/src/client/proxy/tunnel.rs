//! Opening a tunnel through a proxy to which there is a connection.

#[cfg(feature = "socks")]
mod socks;

use bytes::{BufMut, BytesMut};
use http::Response;
use tautline_handshake::{HeadLimits, ResponseHeadReader, WsUri};
use tokio::io::AsyncWriteExt;

use super::{Proxy, ProxyError, ProxyScheme};
use crate::handshake_io::read_response;
use crate::transport::Transport;

/// The answer of a proxy.
pub(in crate::client) enum Tunnel {
    /// To the server, together with what has arrived through it already.
    Open(Transport, BytesMut),
    /// The head of an answer other than 2xx, and the start of its body.
    Refused(Transport, Response<()>, BytesMut),
}

/// Asks the proxy at the other end of this stream for a tunnel to the host of this URI. Nothing else
/// is sent before it has agreed (RFC 9931).
pub(in crate::client) async fn open_tunnel(
    proxy: &Proxy,
    stream: Transport,
    uri: &WsUri,
    limits: HeadLimits,
) -> Result<Tunnel, ProxyError> {
    match proxy.scheme {
        ProxyScheme::Http => connect(proxy, stream, uri, limits).await,
        #[cfg(feature = "tls")]
        ProxyScheme::Https => connect(proxy, stream, uri, limits).await,
        #[cfg(feature = "socks")]
        ProxyScheme::Socks5 => {
            Ok(Tunnel::Open(socks::connect(proxy, stream, uri).await?, BytesMut::new()))
        }
    }
}

/// By CONNECT (RFC 9110 section 9.3.6).
async fn connect(
    proxy: &Proxy,
    mut stream: Transport,
    uri: &WsUri,
    limits: HeadLimits,
) -> Result<Tunnel, ProxyError> {
    let mut buffer = BytesMut::new();
    encode_connect(proxy, uri, &mut buffer);
    stream.write_all(&buffer).await?;
    stream.flush().await?;
    buffer.clear();
    let reader = ResponseHeadReader::new(limits);
    let response = read_response(&mut stream, reader, &mut buffer).await?;
    // Any 2xx switches, and has no body, whatever its headers say.
    if response.status().is_success() {
        return Ok(Tunnel::Open(stream, buffer));
    }
    Ok(Tunnel::Refused(stream, response, buffer))
}

/// The port is always there, also the default one (RFC 9112 section 3.2.3).
fn encode_connect(proxy: &Proxy, uri: &WsUri, wire: &mut BytesMut) {
    let (host, port) = (uri.host(), uri.port());
    let authority = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    wire.put_slice(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").as_bytes());
    if let Some(value) = proxy.authorization() {
        wire.put_slice(b"Proxy-Authorization: ");
        wire.put_slice(value.as_bytes());
        wire.put_slice(b"\r\n");
    }
    wire.put_slice(b"\r\n");
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_host_and_port_and_nothing_of_the_server_s_request() {
        let encode = |proxy: &str, uri: &str| {
            let (proxy, uri) = (Proxy::new(proxy).unwrap(), WsUri::parse(uri).unwrap());
            let mut wire = BytesMut::new();
            encode_connect(&proxy, &uri, &mut wire);
            String::from_utf8(wire.to_vec()).unwrap()
        };
        assert_eq!(
            encode("p", "wss://u:p@a.test/path?q"),
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"
        );
        assert_eq!(
            encode("http://Aladdin:open%20sesame@p", "ws://[2001:db8::1%25eth0]/"),
            "CONNECT [2001:db8::1]:80 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }
}
