//! The workers of a hub: those of the runtime that a connection belongs to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tokio::runtime::{Handle, Id, RuntimeFlavor};
use tokio::task::coop::unconstrained;

use crate::inbox::Inbox;
use crate::inbox::target::Retire;
use crate::sync::lock;
use crate::worker::run;

/// One for each thread of each runtime that has members.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    groups: Mutex<Vec<Group>>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Group {
    runtime: Id,
    inboxes: Vec<Arc<Inbox>>,
}

impl Workers {
    /// One of the workers of this runtime, which are started when there are none.
    pub(crate) fn one(&self, table: &Weak<dyn Retire>) -> Arc<Inbox> {
        let handle = Handle::current();
        let mut groups = lock(&self.groups);
        // Those of runtimes that are gone.
        groups.retain(|group| !group.inboxes.iter().all(|inbox| inbox.has_ended()));
        let index = groups.iter().position(|group| group.runtime == handle.id());
        let index = index.unwrap_or_else(|| {
            groups.push(Group { runtime: handle.id(), inboxes: start(&handle, table) });
            groups.len() - 1
        });
        let inboxes = &groups[index].inboxes;
        inboxes[self.next.fetch_add(1, Ordering::Relaxed) % inboxes.len()].clone()
    }
}

fn start(handle: &Handle, table: &Weak<dyn Retire>) -> Vec<Arc<Inbox>> {
    let count = match handle.runtime_flavor() {
        RuntimeFlavor::CurrentThread => 1,
        _ => handle.metrics().num_workers().max(1),
    };
    let worker = |_| {
        let inbox = Arc::<Inbox>::default();
        handle.spawn(unconstrained(run(inbox.clone(), table.clone())));
        inbox
    };
    (0..count).map(worker).collect()
}

impl Drop for Workers {
    fn drop(&mut self) {
        for group in lock(&self.groups).iter() {
            group.inboxes.iter().for_each(|inbox| inbox.end());
        }
    }
}
