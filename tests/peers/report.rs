//! What our programs that check something have in common.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tautline::BoxError;

pub(crate) type Outcome<T = ()> = Result<T, BoxError>;

/// Bounds each check.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Prints a line per check, `ok NAME: WHAT` or `FAIL NAME: WHAT: WHY`.
pub(crate) struct Report {
    name: String,
    failed: bool,
}

impl Report {
    pub(crate) const fn new(name: String) -> Self {
        Self { name, failed: false }
    }

    pub(crate) async fn add(&mut self, what: &str, check: impl Future<Output = Outcome>) {
        let outcome = match tokio::time::timeout(PATIENCE, check).await {
            Ok(outcome) => outcome.map_err(|error| causes(&*error)),
            Err(_) => Err(format!("no end within {} s", PATIENCE.as_secs())),
        };
        let name = &self.name;
        match outcome {
            Ok(()) => println!("ok   {name}: {what}"),
            Err(error) => {
                self.failed = true;
                println!("FAIL {name}: {what}: {error}");
            }
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// An error with its causes, on one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// Bytes that no compression makes much smaller, the same in each run.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// An error unless both are equal.
pub(crate) fn same<T: Copy + PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Outcome {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{found:.200?} instead of {wanted:.200?}").into())
}
