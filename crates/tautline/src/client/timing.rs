//! How long the steps of opening a connection may take.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::handshake_io::{NEVER, deadline_in};
use crate::runtime;
use crate::timer::Timer;

/// A step of opening a connection, in the order in which they are taken. Each can have a deadline
/// ([`Client::stage_timeout`](crate::Client::stage_timeout)), and
/// [`ConnectError::Timeout`](crate::ConnectError::Timeout) names the one that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectStage {
    /// Preparing the request: the hook of [`Client::on_request`](crate::Client::on_request).
    Request,
    /// Resolving the host's name to addresses.
    Resolve,
    /// Connecting to one of these addresses: TCP, a Unix socket, or a
    /// [connector](crate::Client::connector).
    Connect,
    /// Everything up to a tunnel through a [proxy](crate::Client::proxy): resolving its name,
    /// connecting to it, TLS to it, and its answer. With a proxy, it takes the place of the two
    /// before.
    Proxy,
    /// TLS with the server.
    Tls,
    /// The opening handshake (RFC 6455 section 4.1), or opening a stream of HTTP/2 (RFC 8441).
    Handshake,
}

impl ConnectStage {
    const COUNT: usize = Self::Handshake as usize + 1;
}

/// What took too long.
impl fmt::Display for ConnectStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "preparing the request",
            Self::Resolve => "resolving the name of the host",
            Self::Connect => "connecting to the host",
            Self::Proxy => "opening a tunnel through the proxy",
            Self::Tls => "setting up TLS",
            Self::Handshake => "the opening handshake",
        })
    }
}

/// The longest that each stage may take, apart from the whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StageLimits([Option<Duration>; ConnectStage::COUNT]);

impl StageLimits {
    pub(super) const fn set(&mut self, stage: ConnectStage, limit: Duration) {
        self.0[stage as usize] = Some(limit);
    }
}

/// The deadlines of one connection that is being opened, and the one timer for all of them, which
/// the connection goes on with.
#[derive(Debug)]
pub(super) struct Timing {
    until: Instant,
    limits: StageLimits,
    timer: Timer,
}

/// A stage was not over at its deadline.
#[derive(Debug)]
pub(super) struct TooLate(pub(super) ConnectStage);

impl Timing {
    /// Starts now, and may take this long as a whole. `soonest` is the shortest time of which the
    /// connection will ask its timer.
    ///
    /// The timer first fires after that, whatever it is for: a timer that is due sooner than all
    /// others costs two system calls, which wake the runtime's driver. So a connection that is
    /// closed soon needs no other one, and one that comes after it finds the driver informed.
    ///
    /// An error is that of a runtime that has no timers.
    pub(super) fn start(
        whole: Duration,
        limits: StageLimits,
        soonest: Duration,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let timer = Timer::first(runtime::timer(now + soonest.min(NEVER))?);
        Ok(Self { until: now + whole.min(NEVER), limits, timer })
    }

    /// The same deadlines, for another task.
    #[cfg(feature = "http2")]
    pub(super) fn for_another_task(&self) -> Self {
        Self { until: self.until, limits: self.limits, timer: Timer::default() }
    }

    /// For the connection, when it is open.
    pub(super) fn take_timer(&mut self) -> Timer {
        std::mem::take(&mut self.timer)
    }

    /// The deadline of the whole.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// The deadline of a stage that starts now.
    pub(super) fn deadline(&self, stage: ConnectStage) -> Instant {
        let limit = self.limits.0[stage as usize];
        limit.map_or(self.until, |limit| deadline_in(limit).min(self.until))
    }

    /// The same, but over at the deadline of this stage, which starts now: for a stage of several
    /// steps.
    pub(super) fn within(&self, stage: ConnectStage) -> Self {
        Self {
            until: self.deadline(stage),
            limits: StageLimits::default(),
            timer: Timer::default(),
        }
    }

    /// A step, which is the whole of this stage. It is pinned where it is made: a future that is passed
    /// takes its room twice.
    pub(super) async fn stage<T>(
        &mut self,
        stage: ConnectStage,
        mut step: impl Future<Output = T> + Unpin,
    ) -> Result<T, TooLate> {
        let deadline = self.deadline(stage).into_std();
        poll_fn(|cx| match Pin::new(&mut step).poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => self.timer.poll(deadline, cx.waker()).map(|()| Err(TooLate(stage))),
        })
        .await
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stage_ends_at_its_own_deadline_or_at_that_of_the_whole() {
        let seconds = Duration::from_secs;
        let mut limits = StageLimits::default();
        limits.set(ConnectStage::Tls, seconds(5));
        limits.set(ConnectStage::Handshake, Duration::MAX);
        let start = Instant::now();
        let mut timing = Timing::start(seconds(12), limits, seconds(2)).unwrap();
        assert_eq!(timing.until(), start + seconds(12));
        for (stage, ends) in [
            (ConnectStage::Tls, 5),
            (ConnectStage::Tls, 10),
            (ConnectStage::Tls, 12),
            (ConnectStage::Handshake, 12),
        ] {
            let late = timing.stage(stage, std::future::pending::<()>()).await.unwrap_err();
            assert_eq!((late.0, start.elapsed().as_secs()), (stage, ends));
        }
        assert_eq!(timing.stage(ConnectStage::Resolve, std::future::ready(7)).await.unwrap(), 7);
        assert_eq!(
            Timing::start(seconds(1), limits, seconds(2)).unwrap().deadline(ConnectStage::Proxy),
            start + seconds(13)
        );
    }
}
