//! What Cargo itself can check.

use crate::project;
use crate::shell::{Cmd, Failure, Outcome};

pub(crate) fn fmt() -> Outcome {
    Cmd::new("cargo fmt --all --check").run()?;
    Cmd::new("cargo fmt --all --check --manifest-path benches/compare/Cargo.toml").run()
}

/// Lints of everything, then of each library with the features that change what is compiled.
pub(crate) fn clippy(args: &[String]) -> Outcome {
    const FEATURES: &[&str] = &[
        "-p tautline-frame --no-default-features",
        "-p tautline-frame --all-features",
        "-p tautline-handshake --no-default-features",
        "-p tautline-handshake --all-features",
        "-p tautline --no-default-features",
        "-p tautline --no-default-features --features tls",
        "-p tautline --no-default-features --features ring,idna",
        "-p tautline --no-default-features --features jwt",
        "-p tautline --no-default-features --features socks",
        "-p tautline-http --no-default-features",
        "-p tautline-axum --no-default-features",
        "-p tautline-hub --no-default-features --features redis",
        "-p tautline-hub --no-default-features --features nats",
        "-p tautline-hub --all-features",
        "-p tautline-bench --features paused --bin returns",
    ];
    let aws = aws_lc_rs(args)?.then_some("-p tautline --no-default-features --features aws-lc-rs");
    Cmd::new("cargo clippy --workspace --all-targets -- -D warnings").limit(20 * 60).run()?;
    for features in FEATURES.iter().copied().chain(aws) {
        Cmd::new(&format!("cargo clippy {features} -- -D warnings")).limit(20 * 60).run()?;
    }
    comparison()
}

/// The comparison with other libraries is a workspace of its own, which nothing else here compiles.
fn comparison() -> Outcome {
    let cmd = "cargo clippy --locked --all-targets --manifest-path benches/compare/Cargo.toml";
    let target = project::target().join("compare-lints");
    Cmd::new(cmd)
        .arg("--target-dir")
        .arg(target)
        .args(["--", "-D", "warnings"])
        .limit(20 * 60)
        .run()
}

/// Unit tests, integration tests, doc tests and the examples' compilation.
pub(crate) fn unit() -> Outcome {
    Cmd::new("cargo test --workspace").limit(30 * 60).run()
}

/// The libraries' tests with every feature alone, with none and with all: `cargo test --workspace`
/// turns on the features that some member of the workspace asks for, and no others, so a test
/// behind another feature would never be compiled.
pub(crate) fn features(args: &[String]) -> Outcome {
    const FEATURES: &[&str] = &[
        "-p tautline-frame --no-default-features",
        "-p tautline-frame --no-default-features --features deflate",
        "-p tautline-frame --no-default-features --features tokio-codec",
        "-p tautline-frame --all-features",
        "-p tautline-handshake --no-default-features",
        "-p tautline-handshake --no-default-features --features http1",
        "-p tautline-handshake --no-default-features --features idna",
        "-p tautline-handshake --all-features",
        "-p tautline --no-default-features",
        "-p tautline --no-default-features --features deflate",
        "-p tautline --no-default-features --features idna",
        "-p tautline --no-default-features --features router",
        "-p tautline --no-default-features --features tls",
        "-p tautline --no-default-features --features ring",
        "-p tautline --no-default-features --features jwt",
        "-p tautline --no-default-features --features socks",
        // All but aws-lc-rs, which takes minutes to compile.
        "-p tautline --features idna",
        "-p tautline-http --no-default-features",
        "-p tautline-axum --no-default-features",
    ];
    const AWS: &[&str] =
        &["-p tautline --no-default-features --features aws-lc-rs", "-p tautline --all-features"];
    let aws = if aws_lc_rs(args)? { AWS } else { &[] };
    for features in FEATURES.iter().chain(aws) {
        Cmd::new(&format!("cargo test {features} --all-targets")).limit(20 * 60).run()?;
    }
    Ok(())
}

/// Whether the slow provider takes part.
fn aws_lc_rs(args: &[String]) -> Outcome<bool> {
    match args {
        [] => Ok(false),
        [option] if option == "--aws-lc-rs" => Ok(true),
        _ => Err(Failure::Failed("the one option is --aws-lc-rs".to_owned())),
    }
}

/// The tests under the loom model checker, which are those with `loom` in their name. Everything is
/// compiled with another `cfg` (not `loom` itself, with which tokio has no sockets), so in a
/// directory of its own, lest each run of the other checks compiles everything anew.
pub(crate) fn loom() -> Outcome {
    let mut ran = false;
    Cmd::new("cargo test -p tautline --lib --release loom")
        .env("CARGO_TARGET_DIR", project::target().join("loom"))
        .env("RUSTFLAGS", "--cfg tautline_loom")
        .limit(15 * 60)
        .lines(|line| {
            println!("{line}");
            ran |= line.starts_with("test result: ok. ") && !line.contains(" 0 passed");
        })?;
    if ran { Ok(()) } else { Err(Failure::Failed("there are no tests for loom".to_owned())) }
}

pub(crate) fn docs() -> Outcome {
    Cmd::new("cargo doc --workspace --no-deps")
        .env("RUSTDOCFLAGS", "-D warnings")
        .limit(15 * 60)
        .run()
}

pub(crate) fn bench(args: &[String]) -> Outcome {
    let run = "cargo run --release -p tautline-bench --bin idle_memory --";
    Cmd::new(run).args(args).limit(10 * 60).run()
}

/// Builds the examples that the suites drive: optimized, since they are given large messages.
pub(crate) fn examples(names: &[&str]) -> Outcome {
    let mut cmd = Cmd::new("cargo build --release -p tautline-harness");
    for name in names {
        cmd = cmd.arg("--example").arg(name);
    }
    cmd.limit(20 * 60).run()
}
