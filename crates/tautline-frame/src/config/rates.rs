//! How much one peer may take, over time: rates, how long a connection may last, and a share of the
//! memory.

use std::time::Duration;

use super::Config;
use crate::budget::MemoryBudget;
use crate::rate::{Excess, Rate};

impl Config {
    /// 10 million messages a second: more than the work for them leaves time for, so that no honest
    /// peer notices. [`public`](Self::public) has the rates for peers that are not trusted.
    pub const DEFAULT_MESSAGE_RATE: Rate = Rate::per_second(10_000_000);

    /// 8 GiB a second: more than one core receives.
    pub const DEFAULT_BYTE_RATE: Rate = Rate::per_second(8 << 30);

    /// Keepalive is one ping in some seconds; even one for each frame of a game is below this. The
    /// burst is for those that waited while nobody read.
    pub const DEFAULT_CONTROL_RATE: Rate = Rate::per_second(200).burst(4_000);

    /// 500 messages a second, and 2,000 at once: people who type, draw or play send less.
    pub const PUBLIC_MESSAGE_RATE: Rate = Rate::per_second(500).burst(2_000);

    /// 8 MiB a second, and twice as much at once, which is the longest message by default.
    pub const PUBLIC_BYTE_RATE: Rate = Rate::per_second(8 << 20).burst(16 << 20);

    /// 50 a second, and 500 at once.
    pub const PUBLIC_CONTROL_RATE: Rate = Rate::per_second(50).burst(500);

    /// The defaults with rates for a server whose clients are anybody:
    /// [`PUBLIC_MESSAGE_RATE`](Self::PUBLIC_MESSAGE_RATE),
    /// [`PUBLIC_BYTE_RATE`](Self::PUBLIC_BYTE_RATE) and
    /// [`PUBLIC_CONTROL_RATE`](Self::PUBLIC_CONTROL_RATE). Not the defaults, since a feed, or two
    /// programs that talk to each other, send more.
    ///
    /// ```
    /// use tautline_frame::{Config, Rate};
    ///
    /// let chat = Config::public().message_rate(Rate::per_second(10).burst(50));
    /// assert_eq!(chat.get_byte_rate(), Some(Config::PUBLIC_BYTE_RATE));
    /// ```
    #[must_use]
    pub fn public() -> Self {
        Self::new()
            .message_rate(Self::PUBLIC_MESSAGE_RATE)
            .byte_rate(Self::PUBLIC_BYTE_RATE)
            .control_rate(Self::PUBLIC_CONTROL_RATE)
    }

    /// How many messages the peer may send per second; beyond that, [`excess`](Self::excess)
    /// applies. Every frame of a message counts, since each is work. They are counted when they are
    /// taken, up to 512, or a sixteenth of the burst, at a time. Default: [`DEFAULT_MESSAGE_RATE`](Self::DEFAULT_MESSAGE_RATE).
    /// `None`: any number.
    ///
    /// This and the other rates are applied by [`Session`](crate::session::Session), and by all of
    /// the `tautline` crate; not by a bare [`Protocol`](crate::Protocol). They end when closing
    /// begins, which has a deadline.
    #[must_use]
    pub fn message_rate(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.message_rate = rate.into();
        self.few.messages = Rate::few(self.message_rate);
        self
    }

    /// How many bytes the peer may send per second, as they come from the transport; beyond that,
    /// [`excess`](Self::excess) applies. They are counted when they are read, up to 256 KiB, or a
    /// sixteenth of the burst, at a time. Default: [`DEFAULT_BYTE_RATE`](Self::DEFAULT_BYTE_RATE). `None`: any number.
    #[must_use]
    pub fn byte_rate(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.byte_rate = rate.into();
        self.few.bytes = Rate::few(self.byte_rate);
        self
    }

    /// How many pings, pongs and Closes the peer may send per second, counted like messages. More
    /// fail the connection with 1008, whatever [`excess`](Self::excess) says: each ping asks for
    /// work, and nobody needs so many. Default:
    /// [`DEFAULT_CONTROL_RATE`](Self::DEFAULT_CONTROL_RATE). `None`: any number.
    #[must_use]
    pub fn control_rate(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.control_rate = rate.into();
        self.few.controls = Rate::few(self.control_rate);
        self
    }

    /// What happens at [`message_rate`](Self::message_rate) and [`byte_rate`](Self::byte_rate).
    /// Default: [`Excess::ReadLater`].
    #[must_use]
    pub const fn excess(mut self, excess: Excess) -> Self {
        self.excess = excess;
        self
    }

    /// Closes the connection with 1001 when no message was sent or received for this long; pings
    /// and pongs are none. It is checked four times as often, so it may take up to a quarter more.
    /// A message that is on its way is not idleness: it has
    /// [`message_timeout`](Self::message_timeout), or [`send_timeout`](Self::send_timeout).
    /// Default: `None`, since many connections only wait for something to happen. At least four
    /// milliseconds.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into().map(|timeout| timeout.max(Duration::from_millis(4)));
        self
    }

    /// Closes the connection with 1012, "service restart", when it has lasted between a half and
    /// the whole of this: at random, so that connections that began together do not come back
    /// together. So load spreads to new machines, and credentials are checked again. Default:
    /// `None`.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = lifetime.into();
        self
    }

    /// A budget that this connection shares with all others whose `Config` has it. Default: `None`;
    /// a `Server` of the `tautline` crate sets one.
    #[must_use]
    pub fn memory_budget(mut self, budget: impl Into<Option<MemoryBudget>>) -> Self {
        self.memory_budget = budget.into();
        self
    }

    /// How many messages per second: see [`message_rate`](Self::message_rate).
    #[must_use]
    pub const fn get_message_rate(&self) -> Option<Rate> {
        self.message_rate
    }

    /// How many bytes per second: see [`byte_rate`](Self::byte_rate).
    #[must_use]
    pub const fn get_byte_rate(&self) -> Option<Rate> {
        self.byte_rate
    }

    /// How many control frames per second: see [`control_rate`](Self::control_rate).
    #[must_use]
    pub const fn get_control_rate(&self) -> Option<Rate> {
        self.control_rate
    }

    /// What happens beyond the rates: see [`excess`](Self::excess).
    #[must_use]
    pub const fn get_excess(&self) -> Excess {
        self.excess
    }

    /// The longest time without a message: see [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub const fn get_idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// How long the connection lasts at most: see [`max_lifetime`](Self::max_lifetime).
    #[must_use]
    pub const fn get_max_lifetime(&self) -> Option<Duration> {
        self.max_lifetime
    }

    /// The shared budget: see [`memory_budget`](Self::memory_budget).
    #[must_use]
    pub const fn get_memory_budget(&self) -> Option<&MemoryBudget> {
        self.memory_budget.as_ref()
    }
}
