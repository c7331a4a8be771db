//! How the connections of a server are shared out among its event loops, as the system sees it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;

/// How many connections to this port each epoll instance of these processes watches: one instance
/// for each runtime, however many threads that has.
pub(crate) fn shares(pids: &[u32], port: u16) -> io::Result<Vec<usize>> {
    let open = established(&fs::read_to_string("/proc/self/net/tcp")?, port);
    let mut shares = Vec::new();
    for pid in pids {
        let (mut loops, mut connections) = (Vec::new(), HashSet::new());
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            let Ok(number) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            // It may have been closed meanwhile.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy();
            if target == "anon_inode:[eventpoll]" {
                loops.push(number);
            } else if open.contains(&*target) {
                connections.insert(number);
            }
        }
        // A runtime has its instance under several numbers.
        let mut seen = BTreeSet::new();
        for number in loops {
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"))?;
            let mut watched = watched(&info);
            watched.retain(|number| connections.contains(number));
            if !watched.is_empty() {
                seen.insert(watched);
            }
        }
        shares.extend(seen.iter().map(BTreeSet::len));
    }
    Ok(shares)
}

/// The sockets of established connections to this port, from `/proc/net/tcp`, by the names that
/// they have among the open files of a process.
fn established(table: &str, port: u16) -> HashSet<String> {
    let suffix = format!(":{port:04X}");
    let socket = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        (local.ends_with(&suffix) && *state == "01").then(|| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// What an epoll instance watches, by its `fdinfo`.
fn watched(info: &str) -> BTreeSet<u32> {
    let number = |line: &str| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok();
    info.lines().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_prints_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:2329 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n   \
            1: 0100007F:2329 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0 20 4 30 10 -1\n   \
            2: 0100007F:C350 0100007F:2329 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 20 4 30 10 -1\n";
        assert_eq!(established(table, 9001), HashSet::from(["socket:[12]".to_owned()]));
        let info = "pos:\t0\nflags:\t02\ntfd:        5 events:       19 data: 1 pos:0 ino:1 sdev:9\n\
                    tfd:       12 events: 8000201d data: 2 pos:0 ino:2 sdev:9\n";
        assert_eq!(watched(info), BTreeSet::from([5, 12]));
    }
}
