//! Each rule of the session, with a clock of its own, in both formats.

mod connecting;
mod limits;
mod random;
mod recovery;
mod requests;
mod subscribing;
mod timing;

use std::time::{Duration, Instant};

use super::*;
use crate::centrifuge::codes::Refusal;
use crate::centrifuge::format::tests::replies;
use crate::centrifuge::json::Value;
use crate::centrifuge::request::{Answer, Connected, Subscribed};

/// A client and the session that it has with a server.
struct Client {
    format: Format,
    session: Session,
    now: Instant,
}

/// Both formats, where there are two.
const FORMATS: &[Format] = &[
    Format::Json,
    #[cfg(feature = "centrifuge-protobuf")]
    Format::Protobuf,
];

/// Runs a test with a client of each format.
fn each(config: &Config, test: impl Fn(Client)) {
    for format in FORMATS {
        test(Client::new(*format, config.clone()));
    }
}

/// The same with one that is connected.
fn each_connected(config: &Config, test: impl Fn(Client)) {
    each(config, |mut client| {
        client.connect(Connected::new("alice"));
        test(client);
    });
}

impl Client {
    fn new(format: Format, config: Config) -> Self {
        let now = Instant::now();
        Self { format, session: Session::new(config, format, "c1", now), now }
    }

    /// Sends a frame of these commands, one in a line.
    fn send(&mut self, json: &str) {
        let frame = match self.format {
            Format::Json => json.as_bytes().to_vec(),
            #[cfg(feature = "centrifuge-protobuf")]
            Format::Protobuf => {
                let commands = Format::Json.decode(json.as_bytes(), &Config::new()).unwrap();
                commands.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect()
            }
        };
        self.session.handle_frame(&frame).unwrap();
    }

    /// What was sent to the client since the last time, one message in a line, as JSON has it.
    fn received(&mut self) -> String {
        let mut lines = Vec::new();
        while let Some(message) = self.session.poll_transmit() {
            for reply in replies(self.format, &message) {
                let mut line = String::new();
                reply.write(&mut line);
                lines.push(line);
            }
        }
        lines.join("\n")
    }

    fn event(&mut self) -> Option<Event> {
        self.session.poll_event()
    }

    /// The next request that the application is asked.
    fn request(&mut self) -> (RequestId, Request) {
        match self.event() {
            Some(Event::Request(id, request)) => (id, request),
            other => panic!("{other:?}"),
        }
    }

    fn left(&mut self) -> String {
        match self.event() {
            Some(Event::Left(channel)) => channel,
            other => panic!("{other:?}"),
        }
    }

    /// Answers the next request.
    fn answer(&mut self, answer: Answer) -> Request {
        let (id, request) = self.request();
        assert!(self.session.answer(id, Ok(answer), self.now), "{request:?}");
        request
    }

    fn refuse(&mut self, refusal: impl Into<Refusal>) -> Request {
        let (id, request) = self.request();
        assert!(self.session.answer(id, Err(refusal.into()), self.now), "{request:?}");
        request
    }

    fn connect(&mut self, connected: Connected) -> String {
        self.send(r#"{"id":1,"connect":{}}"#);
        self.answer(Answer::Connect(connected));
        self.received()
    }

    fn subscribe(&mut self, channel: &str, subscribed: Subscribed) -> String {
        self.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
        self.answer(Answer::Subscribe(subscribed));
        self.received()
    }

    /// Lets the time pass until something is due. Returns how long that was.
    fn wait(&mut self) -> Duration {
        let due = self.session.poll_timeout().unwrap();
        let waited = due - self.now;
        self.now = due;
        self.session.handle_timeout(self.now);
        waited
    }

    fn closed(&mut self) -> Option<Disconnect> {
        let close = self.session.poll_close();
        assert_eq!(self.session.poll_close(), None, "once");
        close
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
