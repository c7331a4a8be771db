//! The Autobahn TestSuite: our server and our client through all its cases of RFC 6455 and RFC
//! 7692. Through a proxy also over HTTP/2 (RFC 8441), of which the suite knows nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::project;
use crate::proxies::{Proxy, Side, free_address};
use crate::rust;
use crate::shell::{Cmd, Failure, Outcome};
use crate::suites::{self, Certificate};

/// Framing, pings, reserved bits, opcodes, fragments, UTF-8 and closing; and how many cases that
/// is.
const SECTIONS: &[&str] = &["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*"];
const SECTIONS_CASES: u32 = 246;
/// The same with large and many messages (9) and frames of all sizes (10).
const MORE: &[&str] = &["9.*", "10.*"];
const PLAIN_CASES: u32 = 301;
/// permessage-deflate: five kinds of data with the usual parameters, and one kind with seven sets
/// of parameters; each with messages of 18 sizes, of which the first are quick.
const DEFLATE: &[(u32, u32)] = &[(12, 5), (13, 7)];
const SIZES: u32 = 18;
const QUICK_SIZES: u32 = 6;
/// Sections 1 to 7 over again with compression, then the quick cases of it: `(5 + 7) * 6`.
const QUICK_DEFLATE_CASES: u32 = SECTIONS_CASES + 72;
/// All of it with compression: `(5 + 7) * 18` cases more than without.
const ALL_CASES: u32 = PLAIN_CASES + 216;
/// Over HTTP/2: all without compression, and the first case of each kind with it, since compression
/// does not depend on what carries it.
const HTTP2_SIZES: u32 = 1;
const HTTP2_CASES: u32 = PLAIN_CASES + 12;
/// Bounds a run of the suite, which takes about 20 s; with all of compression it takes eight
/// minutes.
const LIMIT: u64 = 30 * 60;

const HTTP1: Side = Side { http2: false, tls: false };
const HTTP2: Side = Side { http2: true, tls: false };

/// What is run and what comes of it.
struct Run {
    name: &'static str,
    /// In every case.
    deflate: bool,
    /// Through a proxy, which the suite speaks HTTP/1.1 with.
    http2: bool,
    report: PathBuf,
    cases: Vec<String>,
    /// The number of cases.
    expected: Option<u32>,
}

pub(crate) fn check(args: &[String]) -> Outcome {
    let options = Options::parse(args)?;
    let suite = suites::autobahn()?;
    rust::examples(&["echo_peer", "autobahn_client"])?;
    let mut runs = Vec::new();
    if options.server() {
        for run in [options.plain("server"), options.deflated("server-deflate")] {
            server(&suite, &run, None)?;
            runs.push(run);
        }
    }
    if options.client() {
        for run in [options.plain("client"), options.deflated("client-deflate")] {
            client(&suite, &run)?;
            runs.push(run);
        }
    }
    if options.http2() {
        for name in ["server-http2", "client-http2"] {
            let run = options.http2_run(name);
            let start = Instant::now();
            match name {
                "server-http2" if options.role() != Some("client") => server(&suite, &run, None)?,
                "client-http2" if options.role() != Some("server") => client(&suite, &run)?,
                _ => continue,
            }
            println!("{name}: {:.1} s", start.elapsed().as_secs_f64());
            runs.push(run);
        }
    }
    if options.wss() {
        let run = options.run("server-wss", SECTIONS_CASES, patterns(SECTIONS));
        server(&suite, &run, Some(&suites::certificate()?))?;
        runs.push(run);
    }
    judge(&runs)
}

#[derive(Default)]
struct Options {
    role: Option<String>,
    cases: Option<Vec<String>>,
    wss: bool,
    http2: bool,
    all: bool,
}

impl Options {
    fn parse(args: &[String]) -> Outcome<Self> {
        let mut options = Self::default();
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            match (arg, args.len() > 0) {
                ("--wss", _) => options.wss = true,
                ("--http2", _) => options.http2 = true,
                ("--all", _) => options.all = true,
                ("--cases", true) => {
                    let list = args.next().unwrap_or_default();
                    options.cases = Some(list.split(',').map(str::to_owned).collect());
                }
                ("--role", true) => options.role = args.next().map(str::to_owned),
                _ => return Err(Failure::Failed(format!("`{arg}` is not an option here"))),
            }
        }
        match options.role.as_deref() {
            None | Some("server" | "client") => Ok(options),
            Some(role) => Err(Failure::Failed(format!("there is no role `{role}`"))),
        }
    }

    /// Without `--role`, `--wss` and `--http2` all runs are made; with them, those that they name.
    fn server(&self) -> bool {
        !self.wss && !self.http2 && self.role() != Some("client")
    }

    fn client(&self) -> bool {
        !self.wss && !self.http2 && self.role() != Some("server")
    }

    fn wss(&self) -> bool {
        self.wss || (!self.http2 && self.role.is_none())
    }

    fn http2(&self) -> bool {
        self.http2 || (!self.wss && self.role.is_none())
    }

    fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    fn plain(&self, name: &'static str) -> Run {
        self.run(name, PLAIN_CASES, patterns(&[SECTIONS, MORE].concat()))
    }

    /// Every case with compression.
    fn deflated(&self, name: &'static str) -> Run {
        let (expected, sections, sizes) = if self.all {
            (ALL_CASES, [SECTIONS, MORE].concat(), SIZES)
        } else {
            (QUICK_DEFLATE_CASES, SECTIONS.to_vec(), QUICK_SIZES)
        };
        Run { deflate: true, ..self.run(name, expected, with_compression(&sections, sizes)) }
    }

    /// Compression in the cases about it alone.
    fn http2_run(&self, name: &'static str) -> Run {
        let (expected, sizes) =
            if self.all { (ALL_CASES, SIZES) } else { (HTTP2_CASES, HTTP2_SIZES) };
        let cases = with_compression(&[SECTIONS, MORE].concat(), sizes);
        Run { http2: true, ..self.run(name, expected, cases) }
    }

    fn run(&self, name: &'static str, expected: u32, cases: Vec<String>) -> Run {
        let report = project::suites().join("reports").join(name);
        let expected = self.cases.is_none().then_some(expected);
        let cases = self.cases.clone().unwrap_or(cases);
        Run { name, deflate: false, http2: false, report, cases, expected }
    }
}

/// These sections, and the cases of compression up to so many sizes.
fn with_compression(sections: &[&str], sizes: u32) -> Vec<String> {
    let mut cases = patterns(sections);
    for &(section, kinds) in DEFLATE {
        let kinds = (1..=kinds).flat_map(|kind| (1..=sizes).map(move |size| (kind, size)));
        cases.extend(kinds.map(|(kind, size)| format!("{section}.{kind}.{size}")));
    }
    cases
}

fn patterns(sections: &[&str]) -> Vec<String> {
    sections.iter().map(|&section| section.to_owned()).collect()
}

/// The suite as the client of our server.
fn server(suite: &[String], run: &Run, certificate: Option<&Certificate>) -> Outcome {
    let mut program =
        Cmd::program(project::example("echo_peer")).args(["--listen", "127.0.0.1:0", "--send"]);
    if let Some(Certificate { cert, key, .. }) = certificate {
        program = program.arg("--cert").arg(cert).arg("--key").arg(key);
    }
    if run.deflate || run.http2 {
        program = program.arg("--takeover");
    }
    if run.http2 {
        program = program.arg("--http2-only");
    }
    let (server, mut url) = program.serve("listening on ")?;
    let mut proxy = None;
    if run.http2 {
        let started = Proxy::Nghttpx.start(HTTP1, HTTP2, address(&url)?)?;
        url = proxy.insert(started).url.clone();
    }
    let servers = format!(r#""servers": [{{"agent": "tautline", "url": "{url}"}}]"#);
    let spec = specification(run, &servers)?;
    wstest(suite, run, "fuzzingclient", &spec).limit(LIMIT).output()?;
    server.stop().map_err(|failure| Failure::Failed(format!("echo_peer {failure}")))
}

/// The suite as the server of our client, which goes through the cases and asks for the report.
fn client(suite: &[String], run: &Run) -> Outcome {
    // The suite must be told the port that it listens on, since it compares it with the Host
    // header.
    let spec = specification(run, &format!(r#""url": "ws://{}""#, free_address()?))?;
    let (suite, mut url) = wstest(suite, run, "fuzzingserver", &spec).serve("listening on ")?;
    let mut proxy = None;
    if run.http2 {
        let started = Proxy::Nghttpx.start(HTTP2, HTTP1, address(&url)?)?;
        url = proxy.insert(started).url.clone();
    }
    let mut program = Cmd::program(project::example("autobahn_client")).arg(&url);
    if run.deflate || run.http2 {
        program = program.arg("--deflate");
    }
    if run.http2 {
        program = program.arg("--http2");
    }
    program.limit(LIMIT).output()?;
    drop(suite);
    Ok(())
}

fn wstest(suite: &[String], run: &Run, mode: &str, spec: &Path) -> Cmd {
    let script = Cmd::program(&suite[0]).args(&suite[1..]).arg("tests/autobahn/wstest.py");
    let script = if run.deflate { script.arg("--deflate") } else { script };
    script.args(["--webport", "0", "--mode", mode, "--spec"]).arg(spec)
}

/// Writes the suite's specification of a run, and makes room for its report.
fn specification(run: &Run, peers: &str) -> Outcome<PathBuf> {
    if run.report.exists() {
        std::fs::remove_dir_all(&run.report).map_err(|error| {
            Failure::Failed(format!("cannot clear {}: {error}", run.report.display()))
        })?;
    }
    project::create_dir(&run.report)?;
    let path = run.report.join("specification.json");
    let cases: Vec<String> = run.cases.iter().map(|case| format!("{case:?}")).collect();
    let text = format!(
        "{{\"outdir\": {:?}, {peers}, \"cases\": [{}], \"exclude-cases\": [], \
         \"exclude-agent-cases\": {{}}}}\n",
        run.report,
        cases.join(", ")
    );
    project::write(&path, &text)?;
    Ok(path)
}

fn address(url: &str) -> Outcome<SocketAddr> {
    let address = url.rsplit('/').next().and_then(|address| address.parse().ok());
    address.ok_or_else(|| Failure::Failed(format!("no address is in `{url}`")))
}

fn judge(runs: &[Run]) -> Outcome {
    let mut judge = Cmd::new("python3 tests/autobahn/judge.py");
    for run in runs {
        let report = run.report.join("index.json");
        if !report.is_file() {
            return Err(Failure::Failed(format!("{}: no report was written", run.name)));
        }
        let expected = run.expected.map(|cases| format!(":{cases}")).unwrap_or_default();
        judge = judge.arg(format!("{}={}{expected}", run.name, report.display()));
    }
    judge.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(args: &[&str]) -> (bool, bool, bool, bool) {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let options = Options::parse(&args).unwrap();
        (options.server(), options.client(), options.http2(), options.wss())
    }

    #[test]
    fn options_choose_the_runs() {
        assert_eq!(runs(&[]), (true, true, true, true));
        assert_eq!(runs(&["--cases", "1.*"]), (true, true, true, true));
        assert_eq!(runs(&["--role", "server"]), (true, false, false, false));
        assert_eq!(runs(&["--role", "client"]), (false, true, false, false));
        assert_eq!(runs(&["--wss"]), (false, false, false, true));
        assert_eq!(runs(&["--http2"]), (false, false, true, false));
        assert_eq!(runs(&["--http2", "--role", "client"]), (false, false, true, false));
        assert_eq!(runs(&["--all"]), (true, true, true, true));
        for wrong in [&["--role"][..], &["--role", "both"], &["--cases"], &["--tls"]] {
            let args: Vec<String> = wrong.iter().map(|arg| (*arg).to_owned()).collect();
            assert!(Options::parse(&args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn the_cases_of_compression_are_as_many_as_expected() {
        for (args, sections) in [(&[][..], SECTIONS_CASES), (&["--all".to_owned()], PLAIN_CASES)] {
            let run = Options::parse(args).unwrap().deflated("server-deflate");
            let deflate = run.cases.iter().filter(|case| !case.ends_with('*')).count();
            assert_eq!(run.expected, Some(sections + u32::try_from(deflate).unwrap()));
            assert!(run.deflate && run.cases.contains(&"13.7.6".to_owned()));
            let run = Options::parse(args).unwrap().http2_run("server-http2");
            let deflate = run.cases.iter().filter(|case| !case.ends_with('*')).count();
            assert_eq!(run.expected, Some(PLAIN_CASES + u32::try_from(deflate).unwrap()));
            assert!(run.http2 && run.cases.contains(&"13.7.1".to_owned()));
        }
    }
}
