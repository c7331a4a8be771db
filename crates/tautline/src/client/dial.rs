//! TCP to a host: the first of its addresses that answers is used (RFC 8305). Which one is tried when
//! is decided in `race.rs`.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::dial_error::{DialAttempt, DialError};
use super::local::Local;
use super::lookup::Lookups;
use super::race::{Race, Step};
use super::timing::{ConnectStage, Timing, TooLate};

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Undialled {
    /// The name has no address.
    Resolve(io::Error),
    /// Every address failed.
    Failed(DialError),
    /// The deadline of this stage passed; some addresses may have failed before.
    Late(ConnectStage, Option<DialError>),
}

/// The stages of finding addresses, and of connecting to one.
pub(super) type Stages = (ConnectStage, ConnectStage);

/// Connects to the first address that answers, beginning as soon as one is found.
pub(super) async fn dial(
    mut lookups: Lookups<'_>,
    local: &Local,
    timing: &mut Timing,
    stages: Stages,
) -> Result<(TcpStream, SocketAddr), Undialled> {
    if let Some(address) = lookups.known_address() {
        return only(address, local, timing, stages.1).await;
    }
    let mut race = Race::new();
    let mut attempts = Attempts::default();
    let mut deadline = timing.deadline(stages.0);
    loop {
        if lookups.is_over() {
            race.resolved();
        }
        let until = match race.step(Instant::now()) {
            Step::Try(address) => {
                attempts.start(address, local);
                continue;
            }
            Step::GiveUp(number) => {
                attempts.end(number, given_up());
                continue;
            }
            Step::Over if race.has_addresses() => {
                return Err(Undialled::Failed(attempts.into_error(unanswered)));
            }
            Step::Over => return Err(Undialled::Resolve(lookups.into_error())),
            Step::Wait(until) => until.map_or(deadline, |until| until.min(deadline)),
        };
        match timeout_at(until, next_event(&mut attempts, &mut lookups)).await {
            Ok(Event::Attempt(number, Ok(stream))) => {
                return Ok((stream, attempts.tried[number].0));
            }
            Ok(Event::Attempt(number, Err(error))) => {
                attempts.end(number, error);
                race.failed(number);
            }
            Ok(Event::Found(addresses)) => {
                let had = race.has_addresses();
                race.found(&addresses, lookups.await_v6(), Instant::now());
                if !had && race.has_addresses() {
                    deadline = timing.deadline(stages.1);
                }
            }
            Err(_) if until < deadline => {}
            Err(_) if !race.has_addresses() => return Err(Undialled::Late(stages.0, None)),
            Err(_) => {
                let tried = attempts.into_error(unanswered);
                return Err(Undialled::Late(stages.1, Some(tried)));
            }
        }
    }
}

/// The same with one address: there is nothing to race.
async fn only(
    address: SocketAddr,
    local: &Local,
    timing: &mut Timing,
    stage: ConnectStage,
) -> Result<(TcpStream, SocketAddr), Undialled> {
    let tried = |error| DialError::new(vec![DialAttempt::new(address, error)]);
    match timing.stage(stage, pin!(local.connect(address))).await {
        Ok(Ok(stream)) => Ok((stream, address)),
        Ok(Err(error)) => Err(Undialled::Failed(tried(error))),
        Err(TooLate(stage)) => Err(Undialled::Late(stage, Some(tried(unanswered())))),
    }
}

enum Event {
    Attempt(usize, io::Result<TcpStream>),
    Found(Vec<SocketAddr>),
}

async fn next_event(attempts: &mut Attempts<'_>, lookups: &mut Lookups<'_>) -> Event {
    tokio::select! {
        biased;
        (number, result) = attempts.next() => Event::Attempt(number, result),
        found = lookups.next() => Event::Found(found),
    }
}

type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + 'a>>;

/// The attempts that run, and the addresses that were tried so far, with the errors of those that
/// failed. They are polled by whoever dials, without tasks: there are never many, and mostly one.
#[derive(Default)]
struct Attempts<'a> {
    running: Vec<(usize, Connecting<'a>)>,
    tried: Vec<(SocketAddr, Option<io::Error>)>,
}

impl<'a> Attempts<'a> {
    fn start(&mut self, address: SocketAddr, local: &'a Local) {
        self.running.push((self.tried.len(), Box::pin(local.connect(address))));
        self.tried.push((address, None));
    }

    /// The next result. Never without any that runs. Cancel safe.
    async fn next(&mut self) -> (usize, io::Result<TcpStream>) {
        poll_fn(|cx| {
            for at in 0..self.running.len() {
                let (number, connecting) = &mut self.running[at];
                if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                    let number = *number;
                    drop(self.running.remove(at));
                    return Poll::Ready((number, result));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn end(&mut self, number: usize, error: io::Error) {
        self.running.retain(|(running, _)| *running != number);
        self.tried[number].1 = Some(error);
    }

    /// `missing` makes the errors of those without one.
    fn into_error(self, missing: fn() -> io::Error) -> DialError {
        let attempt = |(address, error): (_, Option<_>)| {
            DialAttempt::new(address, error.unwrap_or_else(missing))
        };
        DialError::new(self.tried.into_iter().map(attempt).collect())
    }
}

fn unanswered() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer before the deadline")
}

fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer before eight later addresses were tried")
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::super::resolve::{IpFamily, Resolve, Resolver};
    use super::super::timing::StageLimits;
    use super::*;

    const STAGES: Stages = (ConnectStage::Resolve, ConnectStage::Connect);

    async fn dialled(lookups: Lookups<'_>) -> Result<(TcpStream, SocketAddr), Undialled> {
        let seconds = Duration::from_secs;
        let timing = Timing::start(seconds(20), StageLimits::default(), seconds(5));
        let mut timing = timing.expect("a runtime with timers");
        dial(lookups, &Local::default(), &mut timing, STAGES).await
    }

    /// An address that refuses.
    async fn dead() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        listener.local_addr().expect("its address")
    }

    /// As of a name with these addresses.
    fn found(addresses: &[SocketAddr]) -> Lookups<'static> {
        Lookups::both(Box::pin(std::future::ready(Ok(addresses.to_vec()))))
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over() {
        let dead = [dead().await, dead().await];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stream, peer) = dialled(found(&[dead[0], address])).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), peer), (address, address));
        let Err(Undialled::Failed(error)) = dialled(found(&dead)).await else {
            panic!("not failed");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.attempts().iter().map(DialAttempt::address).collect::<Vec<_>>(), dead);
        let (stream, peer) = dialled(Lookups::known(address)).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), peer), (address, address));
        let Err(Undialled::Failed(error)) = dialled(Lookups::known(dead[0])).await else {
            panic!("not failed");
        };
        assert_eq!((error.kind(), error.attempts().len()), (io::ErrorKind::ConnectionRefused, 1));
        let Err(Undialled::Resolve(error)) = dialled(found(&[])).await else {
            panic!("resolved");
        };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    /// A resolver of which one family, or both, never answer.
    struct Slow {
        v4: Option<IpAddr>,
        v6: Option<IpAddr>,
    }

    impl Resolve for Slow {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            panic!("each family is asked for alone")
        }

        fn resolve_family(
            &self,
            _: &str,
            family: IpFamily,
        ) -> Option<impl Future<Output = io::Result<Vec<IpAddr>>> + Send> {
            let answer = if family == IpFamily::V4 { self.v4 } else { self.v6 };
            Some(async move {
                match answer {
                    Some(ip) => Ok(vec![ip]),
                    None => std::future::pending().await,
                }
            })
        }
    }

    // A name server that never answered for AAAA kept clients from a server with IPv4 alone, until the
    // look-up as a whole had failed.
    #[tokio::test]
    async fn a_family_that_is_never_answered_keeps_nobody_from_the_other() {
        for (bound, v4, v6) in [
            ("127.0.0.1:0", Some([127, 0, 0, 1].into()), None),
            ("[::1]:0", None, "::1".parse().ok()),
        ] {
            let listener = match TcpListener::bind(bound).await {
                Ok(listener) => listener,
                // Not every machine has IPv6.
                Err(_) if bound.starts_with('[') => continue,
                Err(error) => panic!("{error}"),
            };
            let address = listener.local_addr().unwrap();
            let resolver = Resolver::new(Slow { v4, v6 });
            let lookups = resolver.lookups("a.test", None, address.port());
            assert_eq!(dialled(lookups).await.unwrap().1, address);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_stage_that_is_late_is_told_with_what_was_tried() {
        let resolver = Resolver::new(Slow { v4: None, v6: None });
        let result = dialled(resolver.lookups("a.test", None, 80)).await;
        assert!(matches!(result, Err(Undialled::Late(ConnectStage::Resolve, None))), "{result:?}");
        // One family refuses, the other is never answered.
        let dead = dead().await;
        let resolver = Resolver::new(Slow { v4: Some(dead.ip()), v6: None });
        let result = dialled(resolver.lookups("a.test", None, dead.port())).await;
        let Err(Undialled::Late(ConnectStage::Connect, Some(error))) = result else {
            panic!("{result:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
