use std::collections::HashSet;

use super::*;
use crate::centrifuge::Expiry;
use crate::centrifuge::data::Publication;
use crate::xorshift::Xorshift;

/// What holds whatever a client, its application and the time do.
struct World {
    client: Client,
    numbers: Xorshift,
    open: Vec<(RequestId, Request)>,
    /// The ids of commands that are to be answered.
    asked: HashSet<u32>,
    next_id: u32,
    /// What the client has been told that it is subscribed to.
    told: HashSet<String>,
    channels: Vec<(u32, String)>,
}

impl World {
    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.numbers.index(of.len())]
    }

    fn command(&mut self) {
        let channel = self.pick(&["a", "b", "c"]);
        let id = self.next_id;
        self.next_id += 1;
        let request = self.pick(&[
            "subscribe",
            "subscribe",
            "unsubscribe",
            "publish",
            "presence",
            "presence_stats",
            "history",
        ]);
        if matches!(request, "subscribe" | "unsubscribe") {
            self.channels.push((id, channel.to_owned()));
        }
        self.asked.insert(id);
        self.client.send(&format!(r#"{{"id":{id},"{request}":{{"channel":"{channel}"}}}}"#));
    }

    fn answer(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.numbers.index(self.open.len());
        let (id, request) = self.open.swap_remove(at);
        let expiry = Some(Expiry::by_server(secs(self.numbers.below(60) + 1)));
        let answer = match request {
            _ if self.numbers.below(5) == 0 => Err(ClientError::PERMISSION_DENIED.into()),
            Request::Subscribe(_) => {
                let expiry = expiry.filter(|_| self.numbers.below(2) == 0);
                Ok(Answer::Subscribe(Subscribed { expiry, ..Subscribed::default() }))
            }
            Request::SubRefresh(_) => Ok(Answer::SubRefresh(expiry)),
            Request::Publish(_) => Ok(Answer::Publish),
            Request::Presence(_) => Ok(Answer::Presence(vec![ClientInfo::new("c1", "")])),
            Request::PresenceStats(_) => Ok(Answer::PresenceStats { clients: 1, users: 1 }),
            _ => Err(ClientError::INTERNAL.into()),
        };
        assert!(self.client.session.answer(id, answer, self.client.now));
    }

    fn step(&mut self) {
        let channel = self.pick(&["a", "b", "c"]);
        match self.numbers.below(10) {
            0..=3 => self.command(),
            4..=6 => self.answer(),
            7 => {
                self.client.now += secs(self.numbers.below(5));
                self.client.session.handle_timeout(self.client.now);
            }
            8 => {
                self.client.session.unsubscribe(channel, Unsubscribe::SERVER);
            }
            _ => {
                self.client.session.publication(channel, &Publication::new("1"));
            }
        }
        while let Some(event) = self.client.event() {
            if let Event::Request(id, request) = event {
                self.open.push((id, request));
            }
        }
        self.read();
    }

    /// Each command is answered once; publications come while the client is subscribed.
    fn read(&mut self) {
        while let Some(message) = self.client.session.poll_transmit() {
            for reply in replies(self.client.format, &message) {
                match reply.push {
                    None => self.replied(&reply),
                    Some(push) if push.unsubscribe.is_some() => {
                        assert!(self.told.remove(&push.channel), "{}", push.channel);
                    }
                    Some(push) => assert!(self.told.contains(&push.channel), "{}", push.channel),
                }
            }
        }
        let mut channels: Vec<_> = self.client.session.channels().map(str::to_owned).collect();
        let mut told: Vec<_> = self.told.iter().cloned().collect();
        channels.sort();
        told.sort();
        assert_eq!(channels, told);
    }

    fn replied(&mut self, reply: &wire::Reply) {
        assert!(self.asked.remove(&reply.id), "{} was answered twice", reply.id);
        let channel = self.channels.iter().find(|(id, _)| *id == reply.id);
        let Some((_, channel)) = channel else { return };
        if reply.subscribe.is_some() {
            assert!(self.told.insert(channel.clone()), "{channel}");
        } else if reply.unsubscribe.is_some() {
            // Not ahead of what was asked of the channel before.
            let waits = |(id, of): &(u32, String)| {
                of == channel && *id < reply.id && self.asked.contains(id)
            };
            assert!(!self.channels.iter().any(waits), "{channel}");
            self.told.remove(channel);
        }
    }
}

#[test]
fn whatever_happens_each_command_has_one_answer() {
    for seed in 1..=200 {
        for format in FORMATS {
            let config = Config::new().no_ping().max_pending(20);
            let mut client = Client::new(*format, config);
            client.connect(Connected::new("alice"));
            let mut world = World {
                client,
                numbers: Xorshift(seed),
                open: Vec::new(),
                asked: HashSet::new(),
                next_id: 2,
                told: HashSet::new(),
                channels: Vec::new(),
            };
            for _ in 0..300 {
                world.step();
            }
            assert_eq!(world.client.closed(), None, "seed {seed}");
            while !world.open.is_empty() {
                world.answer();
                while let Some(event) = world.client.event() {
                    if let Event::Request(id, request) = event {
                        world.open.push((id, request));
                    }
                }
                world.read();
            }
            assert!(world.asked.is_empty(), "seed {seed}: {:?}", world.asked);
        }
    }
}
