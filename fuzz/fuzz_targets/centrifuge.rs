//! A client of Centrifuge's protocol, its application and a clock, around a session: whatever they do
//! in whatever order, each command has one answer, what is pushed belongs to a subscription, what waits
//! is bounded, and nothing follows the end.
//!
//! Input: flags (see `World::new`), then operations of a byte each with their arguments: see
//! `World::operate`.
#![no_main]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use tautline_fuzz::Input;
use tautline_fuzz::centrifuge::{
    Command, Kind, Member, Reply, Value, json_frame, protobuf_frame, read_json, read_protobuf,
};
use tautline_hub::centrifuge::{
    Answer, ClientError, ClientInfo, Config, Connected, Disconnect, Event, Expiry, Format,
    HistoryPage, Membership, Payload, Publication, Refusal, Request, RequestId, Session, Stream,
    Subscribed, Unsubscribe,
};
use tautline_hub::{Epoch, Position};

const MAX_CHANNELS: usize = 3;
const MAX_PENDING: usize = 6;
const MAX_COMMANDS: usize = 6;
const MAX_FRAME: usize = 2000;
const MAX_QUEUE: usize = 3000;
const MAX_HISTORY: usize = 4;
const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut world = World::new(input.byte());
    while !input.is_empty() {
        world.operate(&mut input);
        world.settle();
    }
    world.finish();
});

struct World {
    now: Instant,
    session: Session,
    format: Format,
    /// Requests that were not answered.
    open: Vec<(RequestId, Request)>,
    /// One that was.
    answered: Option<RequestId>,
    /// Commands that were not answered: their ids, and the channels of those that change subscriptions.
    asked: HashMap<u32, String>,
    next_id: u32,
    /// What the client was told that it is subscribed to.
    told: BTreeSet<String>,
    /// What the session has said that it pushes.
    pushed: VecDeque<(String, Kind)>,
    /// Bytes that may be anything were received, so that it is not known what was asked: how many
    /// commands there were at most, less the answers.
    anything: bool,
    most_answers: usize,
    is_reading: bool,
    closed: bool,
}

impl World {
    fn new(flags: u8) -> Self {
        let mut config = Config::new()
            .max_channels(MAX_CHANNELS)
            .max_pending(MAX_PENDING)
            .max_commands(MAX_COMMANDS)
            .max_frame(MAX_FRAME)
            .max_queue(MAX_QUEUE)
            .max_history(MAX_HISTORY);
        config = match flags >> 1 & 3 {
            0 => config.no_ping(),
            1 => config.ping(Duration::from_secs(10), Duration::from_secs(3)),
            2 => config.ping(Duration::from_secs(3), Duration::from_secs(3)),
            _ => config.ping(Duration::MAX, Duration::MAX),
        };
        config = match flags >> 3 & 3 {
            0 => config,
            1 => config.grace(Duration::ZERO),
            2 => config.grace(Duration::from_secs(4)),
            _ => config.grace(Duration::MAX).stale_after(Duration::MAX),
        };
        let format = if flags & 1 == 0 { Format::Json } else { Format::Protobuf };
        let now = Instant::now();
        let mut world = Self {
            now,
            session: Session::new(config, format, "c1", now),
            format,
            open: Vec::new(),
            answered: None,
            asked: HashMap::new(),
            next_id: 1,
            told: BTreeSet::new(),
            pushed: VecDeque::new(),
            anything: false,
            most_answers: 0,
            is_reading: true,
            closed: false,
        };
        if flags & 0x20 == 0 {
            // Most of what there is comes after this.
            world.connect(Connected::new("alice"));
        }
        world
    }

    fn connect(&mut self, connected: Connected) {
        self.receive(&[vec![("id", 1, Value::Number(1)), ("connect", 4, Value::Message(vec![]))]]);
        self.next_id = 2;
        self.asked.insert(1, String::new());
        self.settle();
        let (id, _) = self.open.pop().expect("the application is asked");
        assert!(self.session.answer(id, Ok(Answer::Connect(connected)), self.now));
        self.settle();
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.byte();
        match operation {
            0..=89 => {
                let count = 1 + usize::from(operation) / 14 % (MAX_COMMANDS + 1);
                let commands: Vec<_> = (0..count).map(|_| self.command(input)).collect();
                self.receive(&commands);
            }
            90..=99 => {
                let len = usize::from(input.pair()) % (MAX_FRAME + 2);
                let frame = input.take(len);
                (self.anything, self.most_answers) = (true, self.most_answers + frame.len() + 1);
                self.handle(frame);
            }
            100..=159 => self.answer(input),
            160..=179 => self.publish(input),
            180..=189 => {
                let (channel, code) = (topic(input), Unsubscribe::new(2100, "away"));
                let there = self.told_of(&channel);
                let done = self.session.unsubscribe(&channel, code);
                assert!(!there || done, "{channel}");
            }
            190..=199 => {
                let channel = topic(input);
                let subscribed = subscribed(input);
                self.session.subscribe(&channel, &subscribed, self.now);
            }
            200..=204 => self.session.lost(&topic(input)),
            205..=209 => {
                self.session.refresh(expiry(input), self.now);
            }
            210..=214 => {
                let connected = self.session.is_connected();
                assert_eq!(self.session.message(&payload(input)), connected);
            }
            215..=239 => {
                self.now += Duration::from_millis(u64::from(input.pair()));
                self.timeout();
            }
            240..=247 => {
                if let Some(due) = self.session.poll_timeout() {
                    self.now = self.now.max(due);
                }
                self.timeout();
            }
            248..=253 => self.is_reading = !self.is_reading,
            _ => self.session.disconnect(Disconnect::FORCE_RECONNECT),
        }
    }

    fn told_of(&self, channel: &str) -> bool {
        self.session.channels().any(|there| there == channel)
    }

    fn receive(&mut self, commands: &[Vec<Member>]) {
        let frame = match self.format {
            Format::Protobuf => protobuf_frame(commands),
            _ => json_frame(commands),
        };
        self.most_answers += commands.len();
        self.handle(&frame);
    }

    fn command(&mut self, input: &mut Input<'_>) -> Vec<Member> {
        let Command { id, changes, members } = Command::new(self.next_id, &CHANNELS, input);
        self.next_id += 1;
        if let Some(id) = id {
            self.asked.insert(id, changes);
        }
        members
    }

    fn handle(&mut self, frame: &[u8]) {
        if self.session.handle_frame(frame).is_err() {
            assert!(!self.closed && !self.session.is_connected());
        }
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        if let Some(id) = self.answered
            && choice == 0xFF
        {
            assert!(!self.session.answer(id, Ok(Answer::Publish), self.now), "it was answered");
            return;
        }
        if self.open.is_empty() {
            return;
        }
        let (id, request) = self.open.swap_remove(usize::from(choice) % self.open.len());
        let answer = match input.byte() {
            0..=31 => Err(ClientError::PERMISSION_DENIED.into()),
            32 => Err(Disconnect::PERMISSION_DENIED.into()),
            33 => Ok(Answer::Publish),
            _ => granted(&request, input),
        };
        assert_eq!(self.session.answer(id, answer, self.now), !self.closed, "it was waited for");
        self.answered = Some(id);
    }

    fn publish(&mut self, input: &mut Input<'_>) {
        let (channel, choice) = (topic(input), input.byte());
        let info = ClientInfo::new("c2", "bob");
        let (there, kind) = match choice & 3 {
            0 => (self.session.membership(&channel, Membership::Join, &info), Kind::Join),
            1 => (self.session.membership(&channel, Membership::Leave, &info), Kind::Leave),
            _ => {
                let mut publication = Publication::new(payload(input));
                publication.offset = u64::from(choice);
                let there = self.told_of(&channel);
                assert_eq!(self.session.publication(&channel, &publication), there);
                (there, Kind::Publication)
            }
        };
        if there {
            self.pushed.push_back((channel, kind));
        }
    }

    fn timeout(&mut self) {
        for _ in 0..4 {
            self.session.handle_timeout(self.now);
            if self.session.poll_timeout().is_none_or(|next| next > self.now) {
                return;
            }
        }
        panic!("a deadline stays in the past");
    }

    /// What a driver does after each call.
    fn settle(&mut self) {
        let mut commands = 0;
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Request(id, request) => {
                    commands += 1;
                    check(&request);
                    assert!(self.open.iter().all(|(open, _)| *open != id), "a number is used once");
                    self.open.push((id, request));
                }
                Event::Left(_) => commands += 1,
                _ => assert!(!self.closed, "nothing is told after the end"),
            }
        }
        let of_client = self.open.iter().filter(|(_, request)| !is_own(request)).count();
        assert!(of_client <= MAX_PENDING, "{of_client} requests wait");
        let close = self.session.poll_close();
        if close.is_some() || self.closed {
            assert_eq!(commands, 0, "nothing is asked after the end");
            assert!(close.is_none() || !self.closed, "it ends once");
            self.closed = true;
            assert!(!self.session.is_connected() && self.session.poll_timeout().is_none());
            assert_eq!(self.session.channels().count(), 0);
        }
        if close == Some(Disconnect::SLOW) {
            assert!(self.session.poll_transmit().is_none(), "it is too slow for that");
        }
        if self.is_reading || close.is_some() {
            self.read();
        }
        if self.closed {
            assert!(self.session.poll_transmit().is_none());
            self.pushed.clear();
        }
    }

    fn read(&mut self) {
        let (mut bytes, mut count, mut longest) = (0, 0, 0);
        while let Some(message) = self.session.poll_transmit() {
            bytes += message.as_bytes().len();
            // In JSON each is a line; of the others, the whole message is taken for one.
            let longest_line = |text: &str| text.lines().map(str::len).max();
            let len = message.as_text().map_or(Some(message.as_bytes().len()), longest_line);
            longest = longest.max(len.unwrap_or(0));
            let replies = match message.as_text() {
                Some(text) => read_json(text),
                None => read_protobuf(message.as_bytes()),
            };
            assert_eq!(message.is_text(), self.format == Format::Json);
            count += replies.len();
            replies.into_iter().for_each(|reply| self.replied(reply));
        }
        // Where less than half of it waits, there is room for one of any length, which does not count.
        let counted = bytes - longest;
        assert!(counted <= MAX_QUEUE * 3 / 2 || count == 1, "{bytes} bytes waited");
        if self.session.is_connected() {
            assert!(self.pushed.is_empty());
            if !self.anything {
                let channels: BTreeSet<_> = self.session.channels().map(str::to_owned).collect();
                assert_eq!(channels, self.told);
            }
        }
    }

    fn replied(&mut self, reply: Reply) {
        match reply {
            Reply::Ping => {}
            Reply::Push { channel, kind } => {
                if matches!(kind, Kind::Publication | Kind::Join | Kind::Leave) {
                    assert_eq!(self.pushed.pop_front(), Some((channel.clone(), kind)));
                }
                let was_there = match kind {
                    Kind::Subscribe => !self.told.insert(channel),
                    Kind::Unsubscribe => self.told.remove(&channel),
                    _ => channel.is_empty() || self.told.contains(&channel),
                };
                assert!(self.anything || was_there != (kind == Kind::Subscribe), "{kind:?}");
            }
            Reply::Answer { id, kind, channels } => {
                assert!(self.most_answers > 0, "there are more answers than commands");
                self.most_answers -= 1;
                let channel = self.asked.remove(&id);
                if self.anything {
                    return;
                }
                let channel = channel.expect("it was asked, and not answered");
                let fits = match kind {
                    Kind::Subscribe => self.told.insert(channel),
                    Kind::Unsubscribe => {
                        self.told.remove(&channel);
                        true
                    }
                    Kind::Connect => {
                        self.told.extend(channels);
                        true
                    }
                    _ => true,
                };
                assert!(fits, "it was told before");
            }
        }
    }

    /// Everything is answered.
    fn finish(mut self) {
        self.is_reading = true;
        self.settle();
        while let Some((id, request)) = self.open.pop() {
            let answer = granted(&request, &mut Input::new(&[]));
            assert_eq!(self.session.answer(id, answer, self.now), !self.closed);
            self.settle();
        }
        if self.session.is_connected() && !self.anything {
            assert!(self.asked.is_empty(), "{:?}", self.asked);
        }
        self.session.disconnect(Disconnect::SHUTDOWN);
        self.settle();
        assert!(self.closed);
    }
}

/// Whether the session asks this by itself.
fn is_own(request: &Request) -> bool {
    match request {
        Request::Refresh(request) => request.token.is_none(),
        Request::SubRefresh(request) => request.token.is_none(),
        _ => false,
    }
}

fn check(request: &Request) {
    let names = match request {
        Request::Subscribe(request) => Some(&request.channel),
        Request::SubRefresh(request) => Some(&request.channel),
        Request::Publish(request) => Some(&request.channel),
        Request::Presence(channel) | Request::PresenceStats(channel) => Some(channel),
        Request::History(request) => {
            assert!(request.limit <= MAX_HISTORY);
            Some(&request.channel)
        }
        _ => None,
    };
    assert!(names.is_none_or(|name| (1..=255).contains(&name.len())));
}

fn granted(request: &Request, input: &mut Input<'_>) -> Result<Answer, Refusal> {
    Ok(match request {
        Request::Connect(_) => {
            let mut connected = Connected::new("alice");
            connected.data = payload(input);
            connected.expiry = expiry(input);
            let count = usize::from(input.byte()) % (MAX_CHANNELS + 2);
            connected.subscriptions = CHANNELS[..count.min(CHANNELS.len())]
                .iter()
                .map(|name| ((*name).to_owned(), subscribed(input)))
                .collect::<BTreeMap<_, _>>();
            Answer::Connect(connected)
        }
        Request::Refresh(_) => Answer::Refresh(expiry(input)),
        Request::Subscribe(_) => Answer::Subscribe(subscribed(input)),
        Request::SubRefresh(_) => Answer::SubRefresh(expiry(input)),
        Request::Publish(_) => Answer::Publish,
        Request::Presence(_) => Answer::Presence(vec![ClientInfo::new("c1", "alice")]),
        Request::PresenceStats(_) => Answer::PresenceStats { clients: 1, users: 1 },
        Request::History(_) => {
            let publications = vec![Publication::new(payload(input))];
            Answer::History(HistoryPage::new(publications, position(3)))
        }
        _ => Answer::Rpc(payload(input)),
    })
}

/// One that an application uses.
fn topic(input: &mut Input<'_>) -> String {
    CHANNELS[usize::from(input.byte()) % CHANNELS.len()].to_owned()
}

fn payload(input: &mut Input<'_>) -> Payload {
    match input.byte() {
        0xFF => "hello".into(),
        0xF0..=0xFE => Payload::json(&"x".repeat(2000)).expect("JSON"),
        0xE0..=0xEF => "[1,\n2]".into(),
        0..=0x7F => Payload::default(),
        _ => "{}".into(),
    }
}

fn expiry(input: &mut Input<'_>) -> Option<Expiry> {
    let byte = input.byte();
    let after = match byte >> 1 & 7 {
        0 => return None,
        1 => Duration::ZERO,
        2 => Duration::MAX,
        seconds => Duration::from_secs(u64::from(seconds)),
    };
    Some(if byte & 1 == 0 { Expiry::by_client(after) } else { Expiry::by_server(after) })
}

fn position(offset: u64) -> Position {
    Position { epoch: Epoch::from_u64(7), offset }
}

fn subscribed(input: &mut Input<'_>) -> Subscribed {
    let mut subscribed = Subscribed::default();
    subscribed.expiry = expiry(input);
    let choice = input.byte();
    if choice & 1 != 0 {
        subscribed.data = payload(input);
    }
    if choice & 2 != 0 {
        let mut stream = Stream::new(position(u64::from(choice >> 4)));
        stream.recoverable = choice & 4 != 0;
        stream.recovered = (choice & 8 != 0).then(|| vec![Publication::new(payload(input))]);
        subscribed.stream = Some(stream);
    }
    subscribed
}
