//! What the measurements that are programs share.

use std::error::Error;
use std::time::Duration;

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// CPU time, user and system, of all threads that a process has now, as the scheduler accounts it.
/// Threads that have ended are not in it.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().ok_or("no schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

/// The value of an option of the command line.
pub(crate) fn option<T>(words: &[String], name: &str, default: T) -> Result<T>
where
    T: std::str::FromStr<Err: Error + Send + Sync + 'static>,
{
    match words.iter().position(|word| word == name) {
        Some(at) => Ok(words.get(at + 1).ok_or_else(|| format!("{name} has no value"))?.parse()?),
        None => Ok(default),
    }
}
