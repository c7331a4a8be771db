//! The fuzz targets of `fuzz/` with libFuzzer, on the stable toolchain: what cargo-fuzz does with a
//! nightly, less the address sanitizer, which is of use to unsafe code alone.

use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Cmd, Failure, Outcome};

/// Coverage for libFuzzer: counters for each edge, and the operands of comparisons.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";
/// How long each target is fuzzed unless told: enough to see that it works.
const SECONDS: u64 = 5;

pub(crate) fn check(args: &[String]) -> Outcome {
    let (wanted, seconds) = parse(args)?;
    let dir = Path::new("fuzz/fuzz_targets");
    if !dir.is_dir() {
        return Err(Failure::Missing("there are no fuzz targets in fuzz/fuzz_targets".to_owned()));
    }
    let mut targets: Vec<String> = project::files(dir, "rs")?
        .iter()
        .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    targets.retain(|target| wanted.as_ref().is_none_or(|wanted| wanted == target));
    if targets.is_empty() {
        return Err(Failure::Failed(format!("no fuzz target {}", wanted.unwrap_or_default())));
    }
    let programs = build(&targets)?;
    let mut failures = Vec::new();
    for target in &targets {
        match fuzz(&programs.join(target), target, seconds, wanted.is_some()) {
            Ok(()) => println!("ok   {target}"),
            Err(failure) => {
                println!("FAIL {target}: {failure}");
                failures.push(target.as_str());
            }
        }
    }
    let failed = failures.len();
    println!("fuzz: {} passed, {failed} failed", targets.len() - failed);
    if failed == 0 { Ok(()) } else { Err(Failure::Failed(failures.join(", "))) }
}

fn parse(args: &[String]) -> Outcome<(Option<String>, u64)> {
    let (mut target, mut seconds) = (None, SECONDS);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            seconds = args.next().and_then(|n| n.parse().ok()).ok_or_else(|| {
                Failure::Failed("--seconds is followed by a whole number".to_owned())
            })?;
        } else if arg.starts_with('-') || target.is_some() {
            return Err(Failure::Failed(format!("`{arg}` is not an option here")));
        } else {
            target = Some(arg.clone());
        }
    }
    Ok((target, seconds))
}

/// Builds the targets and returns where they are. `--target` keeps the flags from build scripts.
fn build(targets: &[String]) -> Outcome<PathBuf> {
    let version = Cmd::new("rustc -vV").output()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::Failed("rustc names no host".to_owned()))?;
    let dir = project::target().join("fuzz");
    let mut cmd = Cmd::new("cargo build --release --manifest-path fuzz/Cargo.toml --target")
        .arg(host)
        .env("CARGO_TARGET_DIR", &dir)
        .env("RUSTFLAGS", RUSTFLAGS);
    for target in targets {
        cmd = cmd.arg("--bin").arg(target);
    }
    cmd.limit(15 * 60).run()?;
    Ok(dir.join(host).join("release"))
}

/// Runs one target over its committed corpus, then on from there. What it finds goes below the
/// target directory; an input that fails goes to fuzz/artifacts.
fn fuzz(program: &Path, target: &str, seconds: u64, on_terminal: bool) -> Outcome {
    let dir = project::target().join("fuzz");
    let found = dir.join("corpus").join(target);
    let artifacts = PathBuf::from("fuzz/artifacts").join(target);
    project::create_dir(&found)?;
    project::create_dir(&artifacts)?;
    let mut cmd = Cmd::program(program)
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .arg(found)
        .limit(seconds + 120);
    let corpus = Path::new("fuzz/corpus").join(target);
    if corpus.is_dir() {
        cmd = cmd.arg(corpus);
    }
    if on_terminal {
        return cmd.run();
    }
    let log = dir.join(format!("{target}.log"));
    let outcome = cmd.log(&log)?.run();
    let text = project::read(&log)?;
    if outcome.is_err() {
        println!("{text}");
        return outcome;
    }
    let last = text.lines().rfind(|line| line.contains("DONE") && line.contains(" cov: "));
    let last =
        last.ok_or_else(|| Failure::Failed(format!("no coverage: see {}", log.display())))?;
    println!("{last}");
    Ok(())
}
