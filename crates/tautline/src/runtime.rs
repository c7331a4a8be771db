//! Checks that the runtime has what the crate needs, before anything is started.

use std::io;
use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::Handle;

/// Returns an error at the start where tokio would panic in the middle: without a runtime, or with
/// one whose time driver is off.
///
/// tokio cannot be asked. Creating a timer panics without the driver, which is caught here; the
/// message of that panic is still printed, and with `panic = "abort"` it ends the process.
pub(crate) fn check() -> io::Result<()> {
    let problem = if Handle::try_current().is_err() {
        "Tautline needs a tokio runtime"
    } else if catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
        "Tautline needs the time driver of tokio: enable_time() or enable_all() of the runtime's builder"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::Unsupported, problem))
}
