//! SOCKS5 (RFC 1928), with a name and a password if the proxy wants them (RFC 1929).

use tautline_handshake::WsUri;
use tokio_socks::Error;
use tokio_socks::tcp::Socks5Stream;

use crate::client::proxy::{Credentials, Proxy, ProxyError, SocksReply};
use crate::transport::Transport;

/// The proxy resolves the name.
pub(super) async fn connect(
    proxy: &Proxy,
    stream: Transport,
    uri: &WsUri,
) -> Result<Transport, ProxyError> {
    let target = (uri.host(), uri.port());
    let connected = match &proxy.credentials {
        None => Socks5Stream::connect_with_socket(stream, target).await,
        Some(Credentials { user, password }) => {
            Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
        }
    };
    Ok(connected.map_err(told)?.into_inner())
}

fn told(error: Error) -> ProxyError {
    ProxyError::Socks(match error {
        Error::Io(error) => return ProxyError::Io(error),
        Error::NoAcceptableAuthMethods
        | Error::AuthorizationRequired
        | Error::PasswordAuthFailure(_) => return ProxyError::Authentication,
        Error::GeneralSocksServerFailure => SocksReply::GeneralFailure,
        Error::ConnectionNotAllowedByRuleset => SocksReply::NotAllowed,
        Error::NetworkUnreachable => SocksReply::NetworkUnreachable,
        Error::HostUnreachable => SocksReply::HostUnreachable,
        Error::ConnectionRefused => SocksReply::ConnectionRefused,
        Error::TtlExpired => SocksReply::TtlExpired,
        Error::CommandNotSupported => SocksReply::CommandNotSupported,
        Error::AddressTypeNotSupported => SocksReply::AddressTypeNotSupported,
        // For a reply with another code, and for a method that was not offered.
        Error::UnknownError | Error::UnknownAuthMethod => SocksReply::Unassigned,
        // The host is longer than SOCKS can tell, like a name that nobody has.
        Error::InvalidTargetAddress(_) => SocksReply::AddressTypeNotSupported,
        _ => return ProxyError::NotSocks5,
    })
}
