//! Runs the arena: hears the players, and publishes what becomes of them.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use tautline::{BoxError, CloseFrame};
use tautline_hub::{
    Attach, Ended, Hub, Member, Outgoing, Outlet, Publication, PublishError, Slow, Subscribe,
};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::outlet::now;
use crate::topics::{Input, Topics};
use crate::world::{TICKS_PER_SECOND, World};

const INPUTS: usize = 1024; // between two ticks; what comes beyond is dropped, and comes again
const WAITING: usize = 256 * 1024; // bytes

pub(crate) struct Arena {
    hub: Hub,
    topics: Topics,
    world: World,
    inputs: mpsc::Receiver<Input>,
    /// As long as this is there, inputs come.
    _member: Member,
}

impl Arena {
    pub(crate) async fn open(hub: &Hub) -> Result<Self, BoxError> {
        let (sender, inputs) = mpsc::channel(INPUTS);
        let attach = Attach::new().slow(Slow::drop_oldest(WAITING));
        let member = hub.attach_outlet(Inputs(sender), attach);
        let topics = Topics::new()?;
        member.subscribe(&topics.input, Subscribe::new()).await?;
        let world = World::new(now());
        Ok(Self { hub: hub.clone(), topics, world, inputs, _member: member })
    }

    /// Goes on until it is dropped.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut ticks = interval(Duration::from_secs(1) / TICKS_PER_SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut lost = false;
        loop {
            ticks.tick().await;
            let ticked = self.tick().await;
            if let Err(error) = &ticked
                && !lost
            {
                eprintln!("the arena is not published: {error}");
            }
            lost = ticked.is_err();
        }
    }

    pub(crate) async fn tick(&mut self) -> Result<(), PublishError> {
        // At most as many as there is room for: those who send on are heard in the next tick.
        for _ in 0..INPUTS {
            let Ok(input) = self.inputs.try_recv() else { break };
            self.world.hear(input);
        }
        let changed = self.world.step();
        // One that could not be published is replaced by the next one; people, each second.
        if changed || self.world.tick.is_multiple_of(u64::from(TICKS_PER_SECOND)) {
            let people = Publication::new(self.world.people().to_string()).key("people");
            self.hub.publish(&self.topics.people, people).await?;
        }
        let places = Publication::new(self.world.places().to_string()).key("world");
        self.hub.publish(&self.topics.world, places).await?;
        Ok(())
    }
}

/// What is published for the arena goes into a channel instead of a connection.
struct Inputs(mpsc::Sender<Input>);

impl Outlet for Inputs {
    fn poll_feed(
        &mut self,
        outgoing: &Outgoing<'_>,
        _cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        if let Outgoing::Delivery(delivery) = outgoing
            && let Some(input) = delivery.publication().message().as_text().and_then(Input::decode)
        {
            self.0.try_send(input).ok(); // full: the player says it again
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _frame: &CloseFrame, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
