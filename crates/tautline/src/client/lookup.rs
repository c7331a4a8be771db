//! The look-ups of one name, which may answer one after the other.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What one look-up asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Both,
    V4,
    V6,
}

/// A look-up.
pub(super) type Lookup<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// A look-up of each family: of IPv6, and of IPv4.
type Apart<'a> = Box<dyn FnOnce() -> [Lookup<'a>; 2] + Send + 'a>;

/// How long a look-up of both families has before each is asked for alone. A resolver answers within
/// that; if not, one of the two answers may be lost, and the system waits for it for seconds.
const APART: Duration = Duration::from_millis(250);

/// The look-ups of one name.
pub(super) struct Lookups<'a> {
    /// An address instead of a name.
    known: Option<SocketAddr>,
    running: Vec<(Asked, Lookup<'a>)>,
    /// What is asked besides if nothing is answered until then.
    apart: Option<(Instant, Apart<'a>)>,
    /// Whether any answer had an address.
    found: bool,
    error: Option<io::Error>,
}

impl<'a> Lookups<'a> {
    /// None: this is the address.
    pub(super) const fn known(address: SocketAddr) -> Self {
        let running = Vec::new();
        Self { known: Some(address), running, apart: None, found: false, error: None }
    }

    /// One, of both families.
    pub(super) fn both(lookup: Lookup<'a>) -> Self {
        Self::of(vec![(Asked::Both, lookup)])
    }

    /// One of each family: of IPv6, and of IPv4.
    pub(super) fn each([v6, v4]: [Lookup<'a>; 2]) -> Self {
        Self::of(vec![(Asked::V6, v6), (Asked::V4, v4)])
    }

    const fn of(running: Vec<(Asked, Lookup<'a>)>) -> Self {
        Self { known: None, running, apart: None, found: false, error: None }
    }

    /// Besides one of each family, if nothing was answered for a while.
    pub(super) fn or_each(mut self, apart: impl FnOnce() -> [Lookup<'a>; 2] + Send + 'a) -> Self {
        self.apart = Some((Instant::now() + APART, Box::new(apart)));
        self
    }

    /// What was known from the beginning.
    pub(super) const fn known_address(&self) -> Option<SocketAddr> {
        self.known
    }

    /// Whether nothing more will be found.
    pub(super) const fn is_over(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether IPv6 addresses may still be found.
    pub(super) fn await_v6(&self) -> bool {
        self.running.iter().any(|(asked, _)| *asked != Asked::V4)
    }

    /// The next answer: none, if that look-up failed. Never if there is none left. Cancel safe.
    pub(super) async fn next(&mut self) -> Vec<SocketAddr> {
        loop {
            let time = self.apart.as_ref().map(|(time, _)| *time);
            let asking_apart = async {
                match time {
                    Some(time) => sleep_until(time).await,
                    None => pending().await,
                }
            };
            let (asked, answer) = tokio::select! {
                biased;
                answer = answer(&mut self.running) => answer,
                () = asking_apart => {
                    if let Some((_, apart)) = self.apart.take() {
                        let [v6, v4] = apart();
                        self.running.extend([(Asked::V6, v6), (Asked::V4, v4)]);
                    }
                    continue;
                }
            };
            self.found |= answer.as_ref().is_ok_and(|addresses| !addresses.is_empty());
            self.drop_repetitions(asked, answer.is_ok());
            return answer.unwrap_or_else(|error| {
                self.error.get_or_insert(error);
                Vec::new()
            });
        }
    }

    /// After an answer, look-ups that would only repeat what is known are dropped.
    fn drop_repetitions(&mut self, asked: Asked, ok: bool) {
        self.apart = None;
        let whole = match asked {
            Asked::Both => ok,
            // With each of them, if they found anything.
            Asked::V4 | Asked::V6 => {
                self.found && self.running.iter().all(|(other, _)| *other == Asked::Both)
            }
        };
        if whole {
            self.running.clear();
        }
    }

    /// Why no address was found.
    pub(super) fn into_error(self) -> io::Error {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        self.error.unwrap_or_else(none)
    }
}

async fn answer<'a>(
    running: &mut Vec<(Asked, Lookup<'a>)>,
) -> (Asked, io::Result<Vec<SocketAddr>>) {
    poll_fn(|cx| {
        for at in 0..running.len() {
            let (asked, lookup) = &mut running[at];
            if let Poll::Ready(answer) = lookup.as_mut().poll(cx) {
                let asked = *asked;
                drop(running.remove(at));
                return Poll::Ready((asked, answer));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn ready(found: &[&str]) -> Lookup<'static> {
        let found = found.iter().map(|text| address(text)).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn failed(message: &'static str) -> Lookup<'static> {
        Box::pin(std::future::ready(Err(io::Error::other(message))))
    }

    fn never() -> Lookup<'static> {
        Box::pin(pending())
    }

    #[tokio::test]
    async fn a_whole_answer_is_all_that_is_asked_for() {
        let lookups = Lookups::both(ready(&["192.0.2.1:1"]));
        let mut lookups = lookups.or_each(|| panic!("asked for once more"));
        assert_eq!(lookups.next().await, [address("192.0.2.1:1")]);
        assert!(lookups.is_over() && !lookups.await_v6());
    }

    // glibc waits for both answers: with one lost, for five seconds and more.
    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_asked_for_by_family() {
        let apart = || [never(), ready(&["192.0.2.1:1"])];
        let mut lookups = Lookups::both(never()).or_each(apart);
        assert_eq!(lookups.next().await, [address("192.0.2.1:1")]);
        assert!(!lookups.is_over() && lookups.await_v6());
        // With both families, the whole is known.
        let apart = || [ready(&["[2001:db8::1]:1"]), ready(&["192.0.2.1:1"])];
        let mut lookups = Lookups::both(never()).or_each(apart);
        assert_eq!(lookups.next().await, [address("[2001:db8::1]:1")]);
        assert!(!lookups.is_over());
        assert_eq!(lookups.next().await, [address("192.0.2.1:1")]);
        assert!(lookups.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_error_is_told_if_nothing_was_found() {
        let mut lookups = Lookups::each([failed("no AAAA"), failed("no A")]);
        assert!(lookups.next().await.is_empty() && lookups.next().await.is_empty());
        assert!(lookups.is_over());
        assert_eq!(lookups.into_error().to_string(), "no AAAA");
        // The system's answer for both is waited for if neither family was found alone.
        let apart = || [failed("no AAAA"), failed("no A")];
        let mut lookups = Lookups::both(never()).or_each(apart);
        assert!(lookups.next().await.is_empty() && lookups.next().await.is_empty());
        assert!(!lookups.is_over());
    }
}
