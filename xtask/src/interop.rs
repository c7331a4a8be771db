//! Other implementations as clients of our server and as servers of our client, over ws and wss,
//! and a peer of our own that does what no sensible client would. The scripts in tests/interop
//! print `ok WHAT` or `FAIL WHAT: WHY`, a line per check.

use crate::interop_http2;
use crate::project;
use crate::rust;
use crate::scripts::{Scripts, Tally};
use crate::shell::{Cmd, Failure, Outcome, Running};
use crate::suites::{self, Certificate};

/// With `--http2`, only what is over HTTP/2.
pub(crate) fn check(args: &[String]) -> Outcome {
    let only_http2 = match args {
        [] => false,
        [arg] if arg == "--http2" => true,
        _ => return Err(Failure::Failed("the only option here is `--http2`".to_owned())),
    };
    let python = suites::python()?;
    let node = suites::node()?;
    let certificate = suites::certificate()?;
    let programs = ["client", "autobahn_client", "bridge", "centrifuge_peer"];
    rust::examples(&[&programs[..], &interop_http2::PROGRAMS].concat())?;
    let scripts = Scripts { python: &python, node: &node };
    let mut tally = Tally::default();
    if !only_http2 {
        clients(&scripts, &certificate, &mut tally)?;
        compression(&scripts, &mut tally)?;
        pieces(&scripts, &certificate, &mut tally)?;
        servers(&scripts, &certificate, &mut tally);
        centrifuge(&scripts, &mut tally)?;
    }
    interop_http2::check(&scripts, &certificate, &mut tally)?;
    println!("interop: {} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{} checks failed", tally.failed)))
    }
}

/// Their clients against our server.
fn clients(scripts: &Scripts<'_>, certificate: &Certificate, tally: &mut Tally) -> Outcome {
    for secure in [false, true] {
        let (server, url) = serve(secure.then_some(certificate), &[])?;
        let url = named(&url);
        for script in ["python_client.py", "curl_client.py", "ws_client.mjs", "undici_client.mjs"] {
            tally.add(script, scripts.run_client(script, &url, secure.then_some(certificate)));
        }
        if !secure {
            tally.add("odd_peer.py", scripts.run("odd_peer.py").arg(&url));
        }
        tally.one("echo_peer ends on SIGTERM", server.stop());
    }
    Ok(())
}

/// With permessage-deflate, over ws. `echo_peer --deflate` forgets what it compressed, `echo_peer
/// --takeover` refers back to it; `client` and `autobahn_client` likewise.
fn compression(scripts: &Scripts<'_>, tally: &mut Tally) -> Outcome {
    for (compression, takeover) in [("--deflate", false), ("--takeover", true)] {
        let (server, url) = serve(None, &[compression])?;
        for script in ["python_client.py", "ws_client.mjs", "undici_client.mjs"] {
            if !takeover {
                tally.add(script, scripts.run(script).args([&url, "--deflate"]));
            }
        }
        for script in ["python_deflate_client.py", "ws_deflate_client.mjs"] {
            let cmd = scripts.run(script).arg(&url);
            tally.add(script, if takeover { cmd.arg("--takeover") } else { cmd });
        }
        if takeover {
            tally.add("odd_peer.py", scripts.run("odd_peer.py").args([&url, "--takeover"]));
        }
        tally.one(&format!("echo_peer {compression} ends on SIGTERM"), server.stop());
    }
    for script in ["python_deflate_server.py", "ws_deflate_server.mjs"] {
        let examples = ["client", "autobahn_client"].map(project::example);
        tally.add(script, scripts.run(script).args(examples));
    }
    Ok(())
}

/// Messages in fragments, which our server and our client send back as they arrive.
fn pieces(scripts: &Scripts<'_>, certificate: &Certificate, tally: &mut Tally) -> Outcome {
    let ways = [
        (false, &[][..]),
        (false, &["--deflate"]),
        (false, &["--send", "--takeover"]),
        (true, &[]),
        (true, &["--send", "--takeover"]),
    ];
    for (secure, more) in ways {
        let options = [&["--pieces"], more].concat();
        let (server, url) = serve(secure.then_some(certificate), &options)?;
        let url = named(&url);
        let takeover = options.contains(&"--takeover");
        let deflate = takeover || options.contains(&"--deflate");
        for script in ["python_pieces_client.py", "ws_pieces_client.mjs"] {
            let cmd = scripts.run_client(script, &url, secure.then_some(certificate));
            tally.add(script, if deflate { cmd.arg("--deflate") } else { cmd });
        }
        if !secure && (takeover || !deflate) {
            let cmd = scripts.run("odd_peer.py").args([&url, "--pieces"]);
            tally.add("odd_peer.py", if takeover { cmd.arg("--takeover") } else { cmd });
        }
        let scheme = if secure { "wss" } else { "ws" };
        let name = format!("echo_peer {} ({scheme}) ends on SIGTERM", options.join(" "));
        tally.one(&name, server.stop());
    }
    let Certificate { cert, key, ca } = certificate;
    let script = "ws_pieces_server.mjs";
    let cmd = scripts.run(script).arg(project::example("autobahn_client")).args([cert, key, ca]);
    tally.add(script, cmd);
    Ok(())
}

/// Our client against their servers, and the end of our server.
fn servers(scripts: &Scripts<'_>, certificate: &Certificate, tally: &mut Tally) {
    let Certificate { cert, key, ca } = certificate;
    for script in ["python_server.py", "ws_server.mjs"] {
        let cmd = scripts.run(script).arg(project::example("client")).args([cert, key, ca]);
        tally.add(script, cmd);
    }
    let script = "python_bridge.py";
    tally.add(script, scripts.run(script).arg(project::example("bridge")));
    let script = "python_shutdown.py";
    tally.add(script, scripts.run(script).arg(project::example("echo_peer")));
}

/// The SDKs of Centrifuge's protocol against a hub, in both formats.
fn centrifuge(scripts: &Scripts<'_>, tally: &mut Tally) -> Outcome {
    let peer = Cmd::program(project::example("centrifuge_peer"));
    // Pings are soon, so that those are seen.
    let peer = peer.args(["--listen", "127.0.0.1:0", "--ping", "1"]);
    let (server, url) = peer.serve("listening on ")?;
    for script in ["../centrifuge/sdk.mjs", "../centrifuge/sdk.py"] {
        for format in ["json", "protobuf"] {
            tally.add(script, scripts.run(script).args([&*url, format]));
        }
    }
    tally.one("centrifuge_peer ends on SIGTERM", server.stop());
    Ok(())
}

/// Starts our server that echoes.
fn serve(certificate: Option<&Certificate>, options: &[&str]) -> Outcome<(Running, String)> {
    let mut cmd = Cmd::program(project::example("echo_peer")).args(["--listen", "127.0.0.1:0"]);
    if let Some(Certificate { cert, key, .. }) = certificate {
        cmd = cmd.arg("--cert").arg(cert).arg("--key").arg(key);
    }
    cmd.args(options).serve("listening on ")
}

/// With a name, as certificates have.
fn named(url: &str) -> String {
    url.replace("wss://127.0.0.1", "wss://localhost")
}
