//! Counts what fixed runs of `benches/instructions.rs` execute, under callgrind, and compares with
//! the committed figures: a guard against slow changes that a noisy machine cannot mislead.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Cmd, Failure, Outcome};
use crate::suites::need;

/// The committed figures.
const FIGURES: &str = "benches/instructions.txt";
/// How much worse a run may be, as a ratio: what changes elsewhere (the order of code, a patch
/// release) may shift.
const TOLERANCE: f64 = 1.03;
/// What may be told apart in allocations, which are printed with three digits.
const ALLOCATION: f64 = 0.002;
/// The function of the binary in which is counted.
const MEASURED: &str = "instructions::measured";
/// What the program's allocator asks the C library for memory with.
const ALLOCATORS: &[&str] =
    &["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];

/// What one run came to, each per message.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    run: String,
    instructions: f64,
    allocations: f64,
}

/// `cargo xtask instructions [--bless]`.
pub(crate) fn check(args: &[String]) -> Outcome {
    let bless = match args {
        [] => false,
        [option] if option == "--bless" => true,
        _ => return Err(Failure::Failed("the one option is --bless".to_owned())),
    };
    need("valgrind", "valgrind")?;
    // The flags of who builds would be other code.
    Cmd::new("cargo build --profile bench -p tautline-bench --bin instructions")
        .env("RUSTFLAGS", "")
        .limit(20 * 60)
        .run()?;
    let platform = platform()?;
    let figures = measure(&project::target().join("release/instructions"))?;
    if bless {
        return project::write(Path::new(FIGURES), &table(&platform, &figures));
    }
    let text = project::read(Path::new(FIGURES))?;
    let (known_platform, known) = parse(&text)
        .ok_or_else(|| Failure::Failed(format!("{FIGURES} cannot be read; --bless makes it")))?;
    let judgement = Judgement::of(&known, &figures);
    println!("{}", judgement.report);
    if known_platform != platform {
        println!("not compared: the figures are those of {known_platform}, this is {platform}");
        return Ok(());
    }
    if judgement.faults.is_empty() {
        return Ok(());
    }
    let faults = judgement.faults.join("\n  ");
    Err(Failure::Failed(format!(
        "{faults}\n  (if it is meant so: cargo xtask instructions --bless)"
    )))
}

/// What the figures depend on beside the code: the compiler, and the C library with its choice of
/// `memcpy`.
fn platform() -> Outcome<String> {
    let rustc = Cmd::new("rustc --version --verbose").output()?;
    let field = |name: &str| {
        let value = rustc.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or("?").trim().to_owned()
    };
    let libc = Cmd::new("ldd --version").output().unwrap_or_default();
    let libc = libc.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or("?");
    #[cfg(target_arch = "x86_64")]
    let vectors = if std::arch::is_x86_feature_detected!("avx2") { ", AVX2" } else { "" };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = "";
    Ok(format!("rustc {}, {}, C library {libc}{vectors}", field("release:"), field("host:")))
}

fn measure(program: &Path) -> Outcome<Vec<Figure>> {
    let names = Cmd::program(program).output()?;
    let counts = project::target().join("callgrind");
    project::create_dir(&counts)?;
    names.lines().map(|name| count(program, &counts, name)).collect()
}

/// One run under callgrind. Costs are zeroed where the measured function starts and dumped where it
/// ends.
fn count(program: &Path, counts: &Path, name: &str) -> Outcome<Figure> {
    let out = counts.join("out");
    // Where it puts the dump.
    let dump = PathBuf::from(format!("{}.1", out.display()));
    let _ = std::fs::remove_file(&dump);
    let said = Cmd::new("valgrind --tool=callgrind --quiet")
        .arg(format!("--zero-before={MEASURED}"))
        .arg(format!("--dump-after={MEASURED}"))
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(name)
        .limit(120)
        .output()?;
    let messages = said.trim().strip_prefix("messages: ");
    let messages = messages.and_then(|count| count.parse::<u32>().ok());
    let sums = sums(&project::read(&dump)?);
    let (Some(messages), Some((instructions, allocations))) = (messages, sums) else {
        return Err(Failure::Failed(format!("`{name}` could not be measured")));
    };
    let each = |sum: u64| sum as f64 / f64::from(messages);
    let (instructions, allocations) = (each(instructions), each(allocations));
    Ok(Figure { run: name.to_owned(), instructions, allocations })
}

/// All instructions of a callgrind dump, and its calls of the allocator.
fn sums(dump: &str) -> Option<(u64, u64)> {
    let mut total = None;
    let mut allocations = 0;
    let mut callee = "";
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            // Recursion is told by a number behind the name.
            callee = name.split('\'').next().unwrap_or(name);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if ALLOCATORS.contains(&callee) {
                allocations += calls.split(' ').next()?.parse::<u64>().ok()?;
            }
        } else if let Some(sum) = line.strip_prefix("totals: ") {
            total = Some(sum.trim().parse().ok()?);
        }
    }
    Some((total?, allocations))
}

fn table(platform: &str, figures: &[Figure]) -> String {
    let mut text = String::from(
        "# Instructions and allocations per message, as `cargo xtask instructions` counts them; --bless writes this file.\n\
         # They hold for one compiler and C library: with others they are shown and not compared.\n",
    );
    let _ = writeln!(text, "platform: {platform}");
    for Figure { run, instructions, allocations } in figures {
        let _ = writeln!(text, "{run:<28} {instructions:>9.1} {allocations:>7.3}");
    }
    text
}

fn parse(text: &str) -> Option<(String, Vec<Figure>)> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let platform = lines.next()?.strip_prefix("platform: ")?.to_owned();
    let figure = |line: &str| {
        let (rest, allocations) = line.rsplit_once(' ')?;
        let (run, instructions) = rest.trim_end().rsplit_once(' ')?;
        Some(Figure {
            run: run.trim_end().to_owned(),
            instructions: instructions.parse().ok()?,
            allocations: allocations.parse().ok()?,
        })
    };
    Some((platform, lines.map(figure).collect::<Option<_>>()?))
}

/// How figures stand to the committed ones.
struct Judgement {
    report: String,
    faults: Vec<String>,
}

impl Judgement {
    fn of(known: &[Figure], measured: &[Figure]) -> Self {
        let mut report = format!(
            "{:<28} {:>12} {:>7} {:>11}\n",
            "per message", "instructions", "of old", "allocations"
        );
        let mut faults = Vec::new();
        let mut better = false;
        for new in measured {
            let run = &new.run;
            let old = known.iter().find(|old| old.run == *run);
            let ratio = old.map(|old| new.instructions / old.instructions);
            let shown = ratio.map_or("new".to_owned(), |ratio| format!("{ratio:.3}"));
            let _ = writeln!(
                report,
                "{run:<28} {:>12.1} {shown:>7} {:>11.3}",
                new.instructions, new.allocations
            );
            match (old, ratio) {
                (Some(old), Some(ratio)) => {
                    if ratio > TOLERANCE {
                        let (was, is) = (old.instructions, new.instructions);
                        faults.push(format!("{run}: {is:.1} instructions, {was:.1} before"));
                    }
                    if new.allocations > old.allocations + ALLOCATION {
                        let (was, is) = (old.allocations, new.allocations);
                        faults.push(format!("{run}: {is:.3} allocations, {was:.3} before"));
                    }
                    better |=
                        ratio < 1.0 / TOLERANCE || new.allocations < old.allocations - ALLOCATION;
                }
                _ => faults.push(format!("{run}: not in {FIGURES}")),
            }
        }
        for old in known.iter().filter(|old| measured.iter().all(|new| new.run != old.run)) {
            faults.push(format!("{}: no longer measured", old.run));
        }
        if better {
            report.push_str("better than before: `cargo xtask instructions --bless` keeps it so\n");
        }
        Self { report, faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(run: &str, instructions: f64, allocations: f64) -> Figure {
        Figure { run: run.to_owned(), instructions, allocations }
    }

    #[test]
    fn figures_are_read_as_they_were_written() {
        let figures =
            [figure("echo, 16 B", 2355.0, 1.0), figure("codec encode, 1 KiB", 226.5, 0.016)];
        let text = table("rustc 1, x", &figures);
        assert_eq!(parse(&text), Some(("rustc 1, x".to_owned(), figures.to_vec())));
        assert_eq!(parse("platform: x\nnonsense\n"), None);
    }

    #[test]
    fn worse_new_and_missing_runs_are_faults_and_better_ones_are_told() {
        let known = [figure("a", 100.0, 1.0), figure("b", 100.0, 0.0), figure("c", 100.0, 0.0)];
        let same = Judgement::of(&known, &known);
        assert!(same.faults.is_empty() && !same.report.contains("better"));
        let measured = [figure("a", 90.0, 1.1), figure("b", 103.5, 0.0), figure("d", 1.0, 0.0)];
        let judgement = Judgement::of(&known, &measured);
        assert_eq!(
            judgement.faults,
            [
                "a: 1.100 allocations, 1.000 before",
                "b: 103.5 instructions, 100.0 before",
                "d: not in benches/instructions.txt",
                "c: no longer measured",
            ]
        );
        assert!(judgement.report.contains("better"));
    }

    #[test]
    fn instructions_and_calls_of_the_allocator_are_taken_from_a_dump() {
        let dump = "fn=x\ncfn=malloc\ncalls=3 0\n0 30\ncfn=free\ncalls=3 0\n0 9\ncfn=realloc'2\ncalls=1 5\n\
                    0 7\ntotals: 1234\n";
        assert_eq!(sums(dump), Some((1234, 4)));
        assert_eq!(sums("fn=x\n"), None);
    }
}
