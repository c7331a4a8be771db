//! The brokers of the hub against real servers, which the tests start and end themselves.

use crate::shell::{Cmd, Outcome};
use crate::suites;

pub(crate) fn check() -> Outcome {
    suites::need("redis-server", "redis-server")?;
    suites::need("nats-server", "nats-server")?;
    // Each broker alone, then both, with TLS.
    for features in ["--features redis", "--features nats", "--all-features"] {
        Cmd::new(&format!(
            "cargo test -p tautline-hub --no-default-features {features} --test broker"
        ))
        // None is skipped.
        .env("TAUTLINE_NEED_BROKERS", "yes")
        .limit(20 * 60)
        .run()?;
    }
    Ok(())
}
