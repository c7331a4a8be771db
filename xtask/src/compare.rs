//! `cargo xtask bench compare`: builds the servers of `benches/compare` one by one, installs Bun
//! and Node's `ws`, and starts the program that measures. What cannot be built is named in the
//! report.

use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Cmd, Failure, Outcome, which};

const WORKSPACE: &str = "benches/compare";
/// Without these there is nothing to compare.
const OURS: &[&str] =
    &["compare", "serve-basics", "serve-tautline", "serve-tautline-stacks", "serve-http2"];
const RIVALS: &[&str] = &[
    "serve-fastwebsockets",
    "serve-tokio-websockets",
    "serve-yawc",
    "serve-sockudo-ws",
    "serve-wtx",
    "serve-tokio-tungstenite",
    "serve-axum-ws",
    "serve-yawc-http2",
];
/// From npm; the second needs Node.
const NPM: &[&str] = &["bun@1.4", "ws@8"];

/// Options are those of the program that measures: `--quick`, `--only SCENARIO[,..]`, `--rounds N`,
/// and to look closer `--servers NAME[,..]`, `--cells PART[,..]` and `--out DIR`.
pub(crate) fn run(args: &[String]) -> Outcome {
    if !cfg!(target_os = "linux") {
        return Err(Failure::Missing("Linux: epoll, CPU clocks, network namespaces".to_owned()));
    }
    let target = project::target().join("compare");
    project::create_dir(&target)?;
    for package in OURS {
        build(package, &target)?;
    }
    let mut left_out = Vec::new();
    for package in RIVALS {
        if let Err(failure) = build(package, &target) {
            left_out.push(format!("{package} was left out, it does not build here: {failure}"));
        }
    }
    let node = target.join("node");
    if let Err(failure) = install(&node) {
        left_out.push(format!("Bun and Node's ws were left out: {failure}"));
    }
    let programs = target.join("release");
    let mut cmd = Cmd::program(programs.join("compare"))
        .arg("--programs")
        .arg(&programs)
        .arg("--node")
        .arg(&node)
        .arg("--scripts")
        .arg(below("servers/js"))
        .arg("--lock")
        .arg(below("Cargo.lock"))
        .limit(60 * 60);
    // A part of the scenarios, or a quick run, does not replace the figures that are committed.
    let partial = args
        .iter()
        .any(|arg| ["--quick", "--only", "--servers", "--cells"].contains(&arg.as_str()));
    if !args.iter().any(|arg| arg == "--out") {
        let out = if partial { target.join("report") } else { PathBuf::from("docs/performance") };
        cmd = cmd.arg("--out").arg(out);
    }
    for what in left_out {
        cmd = cmd.arg("--left-out").arg(what);
    }
    cmd.args(args).run()
}

fn below(path: &str) -> PathBuf {
    Path::new(WORKSPACE).join(path)
}

/// Each with a command of its own: see `benches/compare/Cargo.toml`.
fn build(package: &str, target: &Path) -> Outcome {
    Cmd::new("cargo build --release --manifest-path")
        .arg(below("Cargo.toml"))
        .arg("--package")
        .arg(package)
        .env("CARGO_TARGET_DIR", target)
        .limit(20 * 60)
        .run()
}

fn install(node: &Path) -> Outcome {
    if which("npm").is_none() {
        return Err(Failure::Missing("there is no npm".to_owned()));
    }
    if node.join("installed").is_file() {
        return Ok(());
    }
    project::create_dir(node)?;
    project::write(&node.join("package.json"), "{ \"private\": true }\n")?;
    Cmd::new("npm install --silent --no-audit --no-fund --prefix").arg(node).args(NPM).run()?;
    project::write(&node.join("installed"), &NPM.join(" "))
}
