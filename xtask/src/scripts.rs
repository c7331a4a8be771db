//! Scripts and programs that print a line per check: `ok WHAT` or `FAIL WHAT: WHY`.

use std::path::Path;

use crate::shell::{Cmd, Outcome};
use crate::suites::Certificate;

/// Bounds each script, all of which bound each of their checks.
const LIMIT: u64 = 5 * 60;

/// What the scripts run on.
pub(crate) struct Scripts<'a> {
    pub(crate) python: &'a Path,
    pub(crate) node: &'a Path,
}

impl Scripts<'_> {
    pub(crate) fn run(&self, script: &str) -> Cmd {
        let path = Path::new("tests/interop").join(script);
        if script.ends_with(".py") {
            // -B: no __pycache__ in the source tree
            Cmd::program(self.python).arg("-B").arg(path).limit(LIMIT)
        } else {
            Cmd::new("node").arg(path).env("SUITES_NODE", self.node).limit(LIMIT)
        }
    }

    /// A client of a server with this certificate.
    pub(crate) fn run_client(
        &self,
        script: &str,
        url: &str,
        certificate: Option<&Certificate>,
    ) -> Cmd {
        let cmd = self.run(script).arg(url);
        match certificate {
            Some(Certificate { ca, .. }) if script.ends_with(".py") => cmd.arg("--ca").arg(ca),
            Some(Certificate { ca, .. }) => cmd.arg(ca),
            None => cmd,
        }
    }
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    /// Runs a script and counts its lines. One that ends badly without a failed check counts as
    /// one.
    pub(crate) fn add(&mut self, name: &str, cmd: Cmd) {
        let before = self.failed;
        let outcome = cmd.lines(|line| {
            println!("{line}");
            self.passed += u32::from(line.starts_with("ok "));
            self.failed += u32::from(line.starts_with("FAIL "));
        });
        if let Err(failure) = outcome
            && self.failed == before
        {
            self.one(name, Err(failure));
        }
    }

    /// Counts a check that is made here.
    pub(crate) fn one(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {name}");
            }
            Err(failure) => {
                self.failed += 1;
                println!("FAIL {name}: {failure}");
            }
        }
    }
}
