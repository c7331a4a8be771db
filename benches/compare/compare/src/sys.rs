//! What only the system can do, and all unsafe code of this program: affinity, CPU clocks, epoll,
//! limits, namespaces.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Binds the calling thread, and what it starts from now on, to these cores.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a zeroed set is an empty one; the kernel only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for core in cores {
            libc::CPU_SET(*core, &mut set);
        }
        check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)).map(drop)
    }
}

/// Binds a program that is about to be started to these cores.
pub(crate) fn pin_child(command: &mut Command, cores: &'static [usize]) {
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(move || pin(cores)) };
}

/// The CPU time of a process, user and system, of all its threads: exact to the nanosecond, as the
/// scheduler accounts it.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write to what they are given and nothing else.
    unsafe {
        let error = libc::clock_getcpuclockid(pid.cast_signed(), &mut clock);
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        check(libc::clock_gettime(clock, &mut time))?;
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// Allows as many open files as the system lets us have; gives that number.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct, then reads it.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))?;
    }
    Ok(limit.rlim_cur)
}

/// Moves this process, and what it starts from now on, into a network of its own, of which only the
/// loopback is there.
pub(crate) fn private_network() -> io::Result<()> {
    // SAFETY: plain system calls; `ifreq` is zeroed, and named by a string that ends within it.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNET) < 0 {
            let (uid, gid) = (libc::getuid(), libc::getgid());
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET))?;
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
            std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
        }
        let socket = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        let name = CString::new("lo").unwrap_or_default();
        for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request)).map(drop)
    }
}

/// Which sockets have something to read.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the descriptor is ours alone.
        let epoll =
            unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Watches a socket; it is known by this number.
    pub(crate) fn add(&self, socket: &impl AsRawFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
        let (epoll, fd) = (self.epoll.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: both descriptors are open, and the event is only read.
        unsafe { check(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event)).map(drop) }
    }

    /// The sockets that are readable now, without waiting.
    pub(crate) fn ready(&mut self) -> io::Result<impl Iterator<Item = usize> + '_> {
        let (epoll, room) = (self.epoll.as_raw_fd(), self.events.len() as libc::c_int);
        // SAFETY: there is room for as many events as it says.
        let count = unsafe { libc::epoll_wait(epoll, self.events.as_mut_ptr(), room, 0) };
        let count = match check(count) {
            Ok(count) => count.unsigned_abs() as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        Ok(self.events[..count].iter().map(|event| event.u64 as usize))
    }
}
