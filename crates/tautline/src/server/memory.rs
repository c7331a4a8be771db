//! How much memory the process may use, as the system says.

use std::path::Path;
use std::sync::OnceLock;

use tautline_frame::MemoryBudget;

/// What is assumed where the system does not say.
const UNKNOWN: usize = 1 << 30;

/// Half of what the process may use, for all servers of the process together.
pub(super) fn budget() -> MemoryBudget {
    static SHARED: OnceLock<MemoryBudget> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        MemoryBudget::new(available(read).unwrap_or(UNKNOWN) / 2)
    });
    shared.clone()
}

/// The smallest of the machine's memory and the limits of the control groups that the process is
/// in, in bytes. Linux only: elsewhere there is nothing to read.
fn available(read: impl Fn(&str) -> Option<String>) -> Option<usize> {
    let machine = read("/proc/meminfo").and_then(|text| {
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1 << 10)
    });
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        // `0::/path` of version 2, `4:memory:/path` of version 1.
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next(), parts.next().unwrap_or("/"));
        let (root, name) = match controllers {
            Some("") => ("/sys/fs/cgroup", "memory.max"),
            Some("memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        // The limits of all groups around it apply. In a container, only the root may be seen.
        let around = Path::new(path).ancestors();
        let files = around.map(|group| format!("{root}{}/{name}", group.display()));
        files.filter_map(|file| read(&file)?.trim().parse::<usize>().ok()).collect()
    });
    limits.chain(machine).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)]) -> Option<usize> {
        available(|path| {
            let found = files.iter().find(|(name, _)| *name == path.replace("//", "/"));
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:       8000 kB\nMemFree: 5 kB\n");

    #[test]
    fn the_machine_limits_where_no_group_does() {
        assert_eq!(with(&[]), None, "another system");
        assert_eq!(with(&[MEMINFO]), Some(8000 << 10));
        let max = ("/sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(with(&[MEMINFO, ("/proc/self/cgroup", "0::/\n"), max]), Some(8000 << 10));
    }

    #[test]
    fn the_tightest_group_limits() {
        let own = ("/proc/self/cgroup", "0::/system.slice/chat.service\n");
        let slice = ("/sys/fs/cgroup/system.slice/memory.max", "3000000\n");
        let unit = ("/sys/fs/cgroup/system.slice/chat.service/memory.max", "5000000\n");
        assert_eq!(with(&[MEMINFO, own, slice, unit]), Some(3_000_000));
        assert_eq!(with(&[MEMINFO, own, unit]), Some(5_000_000));
    }

    #[test]
    fn groups_of_the_first_version_limit_too() {
        let own = ("/proc/self/cgroup", "5:cpu:/\n4:memory:/docker/0123\n0::/\n");
        let root = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4000000\n");
        let none =
            ("/sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(with(&[MEMINFO, own, root]), Some(4_000_000));
        assert_eq!(with(&[MEMINFO, own, none]), Some(8000 << 10));
    }
}
