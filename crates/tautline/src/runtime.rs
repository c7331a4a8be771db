//! What the crate needs of the runtime, looked at before anything is begun.

use std::io;
use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::Handle;

/// An error, said once and at the start, where tokio would panic in the middle: with no runtime, or one whose time driver is
/// off.
///
/// tokio has no way to ask. Making a timer panics without its driver, which is caught here; the message of that panic is
/// printed all the same, and with `panic = "abort"` it ends the process.
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
