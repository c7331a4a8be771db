//! Numbers of members and subscriptions, which are used again.

/// The number of a member with its worker.
pub(crate) type SeatNumber = u32;
/// The number of a subscription with its member.
pub(crate) type SubNumber = u32;

/// Numbers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    free: Vec<u32>,
    next: u32,
}

impl Numbers {
    pub(crate) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }
}
