//! TCP to a host with several addresses: the first one that answers is used (RFC 8305).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::attempts::{DialAttempt, DialError};
use super::local::Local;
use crate::transport::socket;

/// RFC 8305 section 5: how long an attempt has before the next address is tried in parallel.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Undialled {
    /// Every address failed.
    Failed(DialError),
    /// The deadline passed; some may have failed before.
    Late(DialError),
}

/// Connects to the first address that answers. An address that does not answer delays the next one
/// by 250 ms; one that refuses does not delay it at all.
pub(super) async fn dial(
    addresses: Vec<SocketAddr>,
    local: &Local,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), Undialled> {
    let mut waiting = interleaved(addresses);
    let mut tried = Tried::default();
    let mut attempts = JoinSet::new();
    let late = sleep_until(deadline);
    tokio::pin!(late);
    loop {
        if let Some(address) = waiting.pop_front() {
            let (index, local) = (tried.add(address), local.clone());
            attempts.spawn(async move { (index, attempt(address, &local).await) });
        }
        let pause = async {
            if waiting.is_empty() {
                std::future::pending::<()>().await;
            }
            sleep(ATTEMPT_DELAY).await;
        };
        let ended = tokio::select! {
            biased;
            ended = attempts.join_next() => ended,
            () = &mut late => return Err(Undialled::Late(tried.into_error(unanswered))),
            () = pause => continue,
        };
        match ended {
            Some(Ok((index, Ok(stream)))) => return Ok((stream, tried.0[index].0)),
            Some(Ok((index, Err(error)))) => tried.0[index].1 = Some(error),
            Some(Err(_)) => {}
            None if waiting.is_empty() => {
                return Err(Undialled::Failed(tried.into_error(cut_off)));
            }
            None => {}
        }
    }
}

async fn attempt(address: SocketAddr, local: &Local) -> io::Result<TcpStream> {
    let stream = local.connect(address).await?;
    socket::prepare(&stream)?;
    Ok(stream)
}

/// The addresses that were tried so far, with the errors of those that failed.
#[derive(Default)]
struct Tried(Vec<(SocketAddr, Option<io::Error>)>);

impl Tried {
    fn add(&mut self, address: SocketAddr) -> usize {
        self.0.push((address, None));
        self.0.len() - 1
    }

    /// `missing` makes the errors of those without one.
    fn into_error(self, missing: fn() -> io::Error) -> DialError {
        let attempt = |(address, error): (_, Option<_>)| {
            DialAttempt::new(address, error.unwrap_or_else(missing))
        };
        DialError::new(self.0.into_iter().map(attempt).collect())
    }
}

fn unanswered() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer before the deadline")
}

/// Tasks end without a result only if the runtime does.
fn cut_off() -> io::Error {
    io::Error::other("the task that connects failed")
}

/// RFC 8305 section 4: the families in turn, starting with that of the resolver's first answer.
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut order = VecDeque::new();
    for address in first {
        order.push_back(address);
        order.extend(second.next());
    }
    order.extend(second);
    order
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<_>>();
        let order =
            interleaved(parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]));
        let expected = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(order, expected);
        assert_eq!(interleaved(Vec::new()), []);
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead_address = dead.local_addr().unwrap();
        drop(dead);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let local = Local::default();
        let (stream, peer) = dial(vec![dead_address, address], &local, soon()).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), peer), (address, address));
        for (addresses, kind) in [
            (vec![dead_address, dead_address], io::ErrorKind::ConnectionRefused),
            (vec![], io::ErrorKind::AddrNotAvailable),
        ] {
            let count = addresses.len();
            let Err(Undialled::Failed(error)) = dial(addresses, &local, soon()).await else {
                panic!("not failed");
            };
            assert_eq!((error.kind(), error.attempts().len()), (kind, count));
        }
    }
}
