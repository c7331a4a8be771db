//! `cargo xtask bench compare`: builds the servers of `benches/compare` one by one, installs Bun
//! and Node's `ws`, and starts the program that measures. What cannot be built is named in the
//! report.

use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Cmd, Failure, Outcome, which};

const WORKSPACE: &str = "benches/compare";
/// What measures.
const PROGRAM: &str = "compare";
/// Without these there is nothing to compare.
const OURS: &[&str] = &[
    PROGRAM,
    "serve-basics",
    "serve-tautline",
    "serve-tautline-hub",
    "serve-tautline-stacks",
    "serve-http2",
];
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
/// and to look closer `--servers NAME[,..]`, `--cells PART[,..]` and `--out DIR`. With `--build
/// PACKAGE[,..]` only these are built, and the others are as they were built before, or missing.
pub(crate) fn run(args: &[String]) -> Outcome {
    let (wanted, args) = split(args)?;
    if !cfg!(target_os = "linux") {
        return Err(Failure::Missing("Linux: epoll, CPU clocks, network namespaces".to_owned()));
    }
    let target = project::target().join("compare");
    project::create_dir(&target)?;
    let is_wanted = |package: &str| {
        package == PROGRAM || wanted.as_ref().is_none_or(|some| some.iter().any(|it| it == package))
    };
    for package in OURS.iter().filter(|package| is_wanted(package)) {
        build(package, &target)?;
    }
    let mut left_out = Vec::new();
    for package in RIVALS.iter().filter(|package| is_wanted(package)) {
        if let Err(failure) = build(package, &target) {
            left_out.push(format!("{package} was left out, it does not build here: {failure}"));
        }
    }
    let node = target.join("node");
    if let Err(failure) = install(&node) {
        left_out.push(format!("Bun and Node's ws were left out: {failure}"));
    }
    let programs = target.join("release");
    let mut cmd = Cmd::program(programs.join(PROGRAM))
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
    let partial = wanted.is_some()
        || args
            .iter()
            .any(|arg| ["--quick", "--only", "--servers", "--cells"].contains(&arg.as_str()));
    if !args.iter().any(|arg| arg == "--out") {
        let out = if partial { target.join("report") } else { PathBuf::from("docs/performance") };
        cmd = cmd.arg("--out").arg(out);
    }
    for what in left_out {
        cmd = cmd.arg("--left-out").arg(what);
    }
    cmd.args(&args).run()
}

/// What `--build` asks for, and the options of the program that measures.
fn split(args: &[String]) -> Result<(Option<Vec<String>>, Vec<String>), Failure> {
    let Some(at) = args.iter().position(|arg| arg == "--build") else {
        return Ok((None, args.to_vec()));
    };
    let Some(value) = args.get(at + 1) else {
        return Err(Failure::Failed("`--build` names no package".to_owned()));
    };
    let packages: Vec<_> = value.split(',').map(str::to_owned).collect();
    let known = |name: &String| [OURS, RIVALS].concat().contains(&name.as_str());
    if let Some(unknown) = packages.iter().find(|name| !known(name)) {
        return Err(Failure::Failed(format!("there is no package `{unknown}`")));
    }
    Ok((Some(packages), [&args[..at], &args[at + 2..]].concat()))
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
