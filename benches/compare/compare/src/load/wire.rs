//! A connection of the generator as a pipe of bytes that never waits: TCP, or TLS 1.3 over it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme,
};

/// What a server has to answer during set-up, where nothing is measured yet.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) enum Wire {
    Tcp(TcpStream),
    Tls(TcpStream, Box<Connection>),
}

impl Wire {
    pub(crate) fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let Some(config) = tls else { return Ok(Self::Tcp(stream)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Self::Tls(stream, Box::new(tls.into())).secured()
    }

    /// The other end of a connection that was accepted.
    pub(crate) fn answer(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let Some(config) = tls else { return Ok(Self::Tcp(stream)) };
        let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        Self::Tls(stream, Box::new(tls.into())).secured()
    }

    /// After the handshake of TLS.
    fn secured(mut self) -> io::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        while matches!(&self, Self::Tls(_, tls) if tls.is_handshaking()) {
            would_block(self.write(&[]))?;
            would_block(self.read(&mut []))?;
            if Instant::now() > deadline {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(self)
    }

    /// Whether the session of TLS is one from before.
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(self, Self::Tls(_, tls) if tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Says that nothing more is sent, and waits until the other end has gone. For set-up, or where
    /// one connection after the other is all there is.
    pub(crate) fn end(mut self) -> io::Result<()> {
        if let Self::Tls(_, tls) = &mut self {
            tls.send_close_notify();
        }
        // An end that is gone already has what it wanted.
        let sent = self.write_all(&[]).and_then(|()| match &self {
            Self::Tcp(stream) | Self::Tls(stream, _) => stream.shutdown(Shutdown::Write),
        });
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 1024];
        while sent.is_ok() {
            match would_block(self.read(&mut buffer)) {
                Ok(Some(0)) | Err(_) => break,
                Ok(_) if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Reads what is there. `Ok(0)` is the end of the stream.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream, tls) => {
                let mut got = 0;
                loop {
                    // What was decrypted before comes first.
                    while got < buffer.len() {
                        match tls.reader().read(&mut buffer[got..]) {
                            Ok(0) => return Ok(got),
                            Ok(count) => got += count,
                            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                            Err(error) => return Err(error),
                        }
                    }
                    if got == buffer.len() && got > 0 {
                        return Ok(got);
                    }
                    match tls.read_tls(stream) {
                        Ok(0) => return Ok(got),
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock && got > 0 => {
                            return Ok(got);
                        }
                        Err(error) => return Err(error),
                    }
                    tls.process_new_packets().map_err(io::Error::other)?;
                    if buffer.is_empty() {
                        return Ok(0);
                    }
                }
            }
        }
    }

    /// Writes what there is room for; with TLS also what it has buffered, so an empty slice
    /// flushes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream, tls) => {
                let count = tls.writer().write(bytes)?;
                while tls.wants_write() {
                    match tls.write_tls(stream) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                if count == 0 && !bytes.is_empty() {
                    return Err(ErrorKind::WouldBlock.into());
                }
                Ok(count)
            }
        }
    }

    /// Whether bytes that were written still have to leave.
    pub(crate) fn wants_write(&self) -> bool {
        matches!(self, Self::Tls(_, tls) if tls.wants_write())
    }

    /// Writes all, waiting. For set-up only.
    pub(crate) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !bytes.is_empty() || self.wants_write() {
            match would_block(self.write(bytes))? {
                Some(count) => bytes = &bytes[count..],
                None if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                None => {}
            }
        }
        Ok(())
    }

    /// Reads until `done` says how many bytes of it are used; gives those, and the rest. For set-up
    /// only.
    pub(crate) fn read_until(
        &mut self,
        mut done: impl FnMut(&[u8]) -> Option<usize>,
    ) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let deadline = Instant::now() + PATIENCE;
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            if let Some(used) = done(&all) {
                let rest = all.split_off(used);
                return Ok((all, rest));
            }
            match would_block(self.read(&mut buffer))? {
                Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Some(count) => all.extend_from_slice(&buffer[..count]),
                None if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                None => {}
            }
        }
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) | Self::Tls(stream, _) => stream.as_raw_fd(),
        }
    }
}

/// `None` instead of the error that says "not now".
pub(crate) fn would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The generator's TLS settings: version 1.3, any certificate.
pub(crate) fn tls_client() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The generator's TLS settings as a server: version 1.3, the certificate in this directory, and
/// sessions as rustls keeps them by itself.
pub(crate) fn tls_server(dir: &Path) -> io::Result<Arc<ServerConfig>> {
    let certificate =
        CertificateDer::from_pem_file(dir.join("cert.pem")).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// The certificate was made a moment ago by this very program.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
