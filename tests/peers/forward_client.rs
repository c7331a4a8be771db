//! Our client through a proxy to an echo server: `cargo run --example forward_client -- --name NAME
//! --proxy URI --ws URL --wss URL --other URL --ca FILE [--wants-credentials]`
//!
//! Prints `ok NAME: WHAT` or `FAIL NAME: WHAT: WHY`, a line per check. The hosts of the URLs are names
//! that only the proxy has to resolve: here no name is resolved. The certificate of the server at
//! `--other` is not for its host. With `--wants-credentials` those in the URI are the right ones, and
//! others, or none, must be refused.

#[path = "../../examples/support/mod.rs"]
mod support;

mod report;

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;

use report::{Outcome, Report, noise, same};
use support::{arguments, flag};
use tautline::bytes::Bytes;
use tautline::http::Version;
use tautline::{
    Client, ClientTls, ConnectError, Http2, Message, Proxy, ProxyError, Resolve, TlsError,
};

struct Target {
    proxy: String,
    tls: ClientTls,
    ws: String,
    wss: String,
    other: String,
}

/// Resolving a name is up to the proxy.
struct Nobody;

impl Resolve for Nobody {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other(format!("{host} was resolved here")))
    }
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let names = ["--name", "--proxy", "--ws", "--wss", "--other", "--ca"];
    let [name, proxy, ws, wss, other, ca] = arguments(names, &["--wants-credentials"])?;
    let target = Target {
        proxy: proxy.ok_or("--proxy URI")?,
        tls: ClientTls::from_ca_file(ca.ok_or("--ca FILE")?)?,
        ws: ws.ok_or("--ws URL")?,
        wss: wss.ok_or("--wss URL")?,
        other: other.ok_or("--other URL")?,
    };
    let mut report = Report::new(name.ok_or("--name NAME")?);
    report.add("ws", target.echo(&target.ws, Http2::Never)).await;
    report.add("wss", target.echo(&target.wss, Http2::Never)).await;
    report.add("ws over HTTP/2", target.echo(&target.ws, Http2::Prior)).await;
    report.add("wss over HTTP/2", target.echo(&target.wss, Http2::Auto)).await;
    report.add("many at once", target.many()).await;
    report.add("a certificate for another host", target.wrong_host()).await;
    report.add("a certificate that is not trusted", target.not_trusted()).await;
    report.add("a port where nobody listens", target.nobody()).await;
    if flag("--wants-credentials") {
        report.add("without credentials", target.refused(false)).await;
        report.add("with a wrong password", target.refused(true)).await;
    }
    Ok(report.exit_code())
}

impl Target {
    fn client(&self) -> Outcome<Client> {
        let proxy = Proxy::new(&self.proxy)?;
        Ok(Client::new().tls(self.tls.clone()).proxy(proxy).resolver(Nobody))
    }

    async fn echo(&self, url: &str, http2: Http2) -> Outcome {
        let version = match http2 {
            Http2::Never => Version::HTTP_11,
            _ => Version::HTTP_2,
        };
        let mut ws = self.client()?.http2(http2).connect(url).await?;
        same(ws.http_version(), version)?;
        same(ws.peer().is_secure(), url.starts_with("wss"))?;
        for message in [Message::from("grüße"), Message::from(Bytes::from(noise(1 << 20)))] {
            ws.send(message.clone()).await?;
            let answer = ws.next().await.ok_or("closed without an answer")??;
            same(answer == message, true)?;
        }
        Ok(ws.close().await?)
    }

    async fn many(&self) -> Outcome {
        let client = self.client()?;
        let mut sockets = Vec::new();
        for _ in 0..8 {
            sockets.push(client.connect(&self.wss).await?);
        }
        for ws in &mut sockets {
            ws.send("hello").await?;
        }
        for mut ws in sockets {
            let answer = ws.next().await.ok_or("closed without an answer")??;
            same(answer.as_text(), Some("hello"))?;
            ws.close().await?;
        }
        Ok(())
    }

    async fn wrong_host(&self) -> Outcome {
        self.distrusted(self.client()?, &self.other, "certificate not valid for name").await
    }

    async fn not_trusted(&self) -> Outcome {
        // The proxy itself is still trusted, if it is an `https` one.
        let proxy = Proxy::new(&self.proxy)?.tls(self.tls.clone());
        let client = self.client()?.tls(ClientTls::system_roots()).proxy(proxy);
        self.distrusted(client, &self.wss, "UnknownIssuer").await
    }

    async fn distrusted(&self, client: Client, url: &str, why: &str) -> Outcome {
        match client.connect(url).await {
            Err(ConnectError::Tls(TlsError::Handshake(error)))
                if error.to_string().contains(why) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(_) => Err("connected".into()),
        }
    }

    /// The proxy says that it does not reach the server.
    async fn nobody(&self) -> Outcome {
        let error = match self.client()?.connect("ws://localhost:1/").await {
            Err(ConnectError::Proxy { error, .. }) => error,
            Err(error) => return Err(error.into()),
            Ok(_) => return Err("connected".into()),
        };
        same(error.is_retryable(), true)?;
        match error {
            ProxyError::Refused(response) => same(response.status().is_server_error(), true),
            ProxyError::Socks(_) => Ok(()),
            error => Err(error.into()),
        }
    }

    async fn refused(&self, wrong: bool) -> Outcome {
        let (scheme, rest) = self.proxy.split_once("://").ok_or("no scheme")?;
        let address = rest.rsplit_once('@').ok_or("no credentials")?.1;
        let mut proxy = Proxy::new(&format!("{scheme}://{address}"))?;
        if wrong {
            proxy = proxy.credentials("user", "wrong")?;
        }
        let error = match self.client()?.proxy(proxy).connect(&self.wss).await {
            Err(ConnectError::Proxy { error, .. }) => error,
            Err(error) => return Err(error.into()),
            Ok(_) => return Err("connected".into()),
        };
        same(error.is_retryable(), false)?;
        match error {
            ProxyError::Refused(response) => {
                same(response.body().is_empty(), false)?;
                // tinyproxy says 401 to wrong credentials.
                same(matches!(response.status().as_u16(), 401 | 407), true)
            }
            ProxyError::Authentication => Ok(()),
            error => Err(error.into()),
        }
    }
}
