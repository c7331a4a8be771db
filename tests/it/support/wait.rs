//! Waiting for what nobody tells of.

use std::time::Duration;

/// Waits, by giving others their turns, until this holds.
pub(crate) async fn until<T>(mut holds: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            match holds() {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never holds")
}
