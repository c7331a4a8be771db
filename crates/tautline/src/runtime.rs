//! Checks that the runtime has what the crate needs, before anything is started.

use std::io;
use std::panic::{UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

/// Returns an error at the start where tokio would panic in the middle: without a runtime, or with
/// one whose time driver is off.
pub(crate) fn check() -> io::Result<()> {
    timed(|| drop(tokio::time::sleep(Duration::ZERO)))
}

/// The same for what needs a timer anyway, which is due at this time.
pub(crate) fn timer(at: Instant) -> io::Result<Pin<Box<Sleep>>> {
    timed(move || Box::pin(tokio::time::sleep_until(at)))
}

/// tokio cannot be asked. Creating a timer panics without the driver, which is caught here; the
/// message of that panic is still printed, and with `panic = "abort"` it ends the process.
fn timed<T>(timer: impl FnOnce() -> T + UnwindSafe) -> io::Result<T> {
    let problem = if Handle::try_current().is_err() {
        "Tautline needs a tokio runtime"
    } else {
        match catch_unwind(timer) {
            Ok(timer) => return Ok(timer),
            Err(_) => {
                "Tautline needs the time driver of tokio: enable_time() or enable_all() of the runtime's builder"
            }
        }
    };
    Err(io::Error::new(io::ErrorKind::Unsupported, problem))
}
