//! The client's end of the protocol of NATS, without I/O: what a server sends, out of bytes that
//! arrive in pieces of any size, and what a client sends.
//!
//! It is lines with a payload behind some of them, as <https://docs.nats.io/reference/reference-protocols/nats-protocol>
//! has it. Here is what it takes to subscribe and to publish.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use tautline::bytes::{Bytes, BytesMut};

/// The longest line, in bytes. INFO is the longest there is: it has the addresses of a whole cluster.
const LONGEST_LINE: usize = 64 << 10;
/// The longest payload, in bytes. Servers take 1 MiB unless told; NATS advises against more than 8.
const LONGEST_PAYLOAD: usize = 8 << 20;
/// What ends each line and each payload.
const END: &[u8] = b"\r\n";

pub(crate) const PING: &str = "PING\r\n";
pub(crate) const PONG: &str = "PONG\r\n";

/// What a server sends.
#[derive(Debug, PartialEq)]
pub(crate) enum Operation {
    /// The first that it sends, and whenever something has changed: among other things, the longest
    /// payload that it takes, in bytes.
    Info { version: String, max_payload: usize },
    /// Somebody has published this.
    Message(Delivery),
    /// To be answered by PONG, or the server ends the connection.
    Ping,
    /// Everything that was sent before PING is done with.
    Pong,
    /// Sent only if asked for, which we do not.
    Ok,
    /// Something was wrong. The server may end the connection after it, or not.
    Err(Refusal),
}

/// A message of a subscription.
#[derive(Debug, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
}

/// Makes operations of bytes. What it holds is bounded by the longest line or payload, and by what
/// was pushed at once.
#[derive(Default)]
pub(crate) struct Decoder {
    received: BytesMut,
    /// How much of `received` has no end of a line.
    searched: usize,
    /// The message whose payload is not complete yet: its subject and its length.
    begun: Option<(String, usize)>,
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next operation, once all of it was pushed. After an error there are no others.
    pub(crate) fn next(&mut self) -> Result<Option<Operation>, Malformed> {
        if self.begun.is_some() {
            return self.payload();
        }
        let Some(line) = self.line()? else { return Ok(None) };
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
        let operation = match word.to_ascii_uppercase().as_str() {
            "INFO" => info(rest)?,
            "MSG" => {
                self.begun = Some(message(rest)?);
                return self.payload();
            }
            "PING" => Operation::Ping,
            "PONG" => Operation::Pong,
            "+OK" => Operation::Ok,
            "-ERR" => Operation::Err(Refusal(rest.trim().trim_matches('\'').to_owned())),
            _ => return Err(Malformed::Line(line)),
        };
        Ok(Some(operation))
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Option<String>, Malformed> {
        let new = &self.received[self.searched..];
        let end = new.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at + 1);
        if end.unwrap_or(self.received.len()) > LONGEST_LINE {
            return Err(Malformed::LongLine);
        }
        let Some(end) = end else {
            self.searched = self.received.len();
            return Ok(None);
        };
        self.searched = 0;
        let line = String::from_utf8_lossy(&self.received.split_to(end)).into_owned();
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(Some(line.to_owned())),
            None => Err(Malformed::Line(line)),
        }
    }

    /// The message that has begun, if its payload is complete.
    fn payload(&mut self) -> Result<Option<Operation>, Malformed> {
        let Some((_, length)) = self.begun else { return Ok(None) };
        if self.received.len() < length + END.len() {
            return Ok(None);
        }
        let payload = self.received.split_to(length).freeze();
        if *self.received.split_to(END.len()) != *END {
            return Err(Malformed::Length(length));
        }
        let subject = self.begun.take().map(|(subject, _)| subject).unwrap_or_default();
        Ok(Some(Operation::Message(Delivery { subject, payload })))
    }
}

/// What follows INFO: an object, most of which is for clients that do more.
fn info(object: &str) -> Result<Operation, Malformed> {
    let malformed = || Malformed::Line(format!("INFO {object}"));
    let object: Value = serde_json::from_str(object).map_err(|_| malformed())?;
    let max_payload = object["max_payload"].as_u64().ok_or_else(malformed)?;
    Ok(Operation::Info {
        version: object["version"].as_str().unwrap_or("unknown").to_owned(),
        max_payload: usize::try_from(max_payload).unwrap_or(usize::MAX),
    })
}

/// What follows MSG: the subject, the subscription, perhaps a subject for replies, and the length of
/// the payload.
fn message(words: &str) -> Result<(String, usize), Malformed> {
    let malformed = || Malformed::Line(format!("MSG {words}"));
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let ([subject, _, length] | [subject, _, _, length]) = words[..] else {
        return Err(malformed());
    };
    match length.parse() {
        Ok(length) if length <= LONGEST_PAYLOAD => Ok((subject.to_owned(), length)),
        Ok(length) => Err(Malformed::LongPayload(length)),
        Err(_) => Err(malformed()),
    }
}

/// What arrived is not the protocol of NATS, or exceeds what is taken here.
#[derive(Debug, PartialEq)]
pub(crate) enum Malformed {
    Line(String),
    LongLine,
    LongPayload(usize),
    /// The payload did not end after this many bytes.
    Length(usize),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{line:.100?} is no line of NATS"),
            Self::LongLine => write!(f, "a line is longer than {LONGEST_LINE} bytes"),
            Self::LongPayload(length) => {
                write!(f, "a payload of {length} bytes is longer than {LONGEST_PAYLOAD}")
            }
            Self::Length(length) => write!(f, "a payload does not end after {length} bytes"),
        }
    }
}

impl Error for Malformed {}

/// What a server has to say against a client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal(String);

impl Refusal {
    /// Whether a new connection may do better: the server was overloaded, or this end was too slow.
    /// Credentials and subjects stay what they are.
    pub(crate) fn is_temporary(&self) -> bool {
        const TEMPORARY: [&str; 4] = [
            "stale connection",
            "slow consumer",
            "maximum connections exceeded",
            "server shutdown",
        ];
        let text = self.0.to_ascii_lowercase();
        TEMPORARY.iter().any(|start| text.starts_with(start))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server of NATS says: {}", self.0)
    }
}

impl Error for Refusal {}

/// What messages are about, such as `orders.new`; in a subscription, `*` stands for one of its words
/// and `>` for all that follow.
#[derive(Clone)]
pub(crate) struct Subject(String);

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control();
        if text.split('.').all(|word| !word.is_empty() && word.chars().all(plain)) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is no subject"))
    }
}

/// Who this is. The password is not shown by anything.
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The first that a client sends. Without `verbose`, the server does not confirm each operation.
pub(crate) fn connect(login: Option<&Login>) -> String {
    let mut options = json!({
        "verbose": false,
        "pedantic": false,
        "name": "tautline",
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
    });
    if let Some(login) = login {
        options["user"] = login.user.as_str().into();
        options["pass"] = login.password.as_str().into();
    }
    format!("CONNECT {options}\r\n")
}

/// The only subscription of a connection.
pub(crate) fn subscribe(subject: &Subject) -> String {
    format!("SUB {} 1\r\n", subject.0)
}

pub(crate) fn publish(subject: &Subject, payload: &str) -> String {
    format!("PUB {} {}\r\n{payload}\r\n", subject.0, payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "INFO {\"version\":\"2.9.10\",\"max_payload\":1048576,\"x\":[]} \r\n\
        PING\r\nMSG a.b 1 4\r\n\r\n\r\n\r\nmsg\ta.c  1 reply.to  0\r\n\r\n+OK\r\npong\r\n\
        -ERR 'Unknown Protocol Operation'\r\n";

    fn delivery(subject: &str, payload: &'static str) -> Operation {
        Operation::Message(Delivery { subject: subject.into(), payload: payload.into() })
    }

    fn all(decoder: &mut Decoder) -> Vec<Operation> {
        std::iter::from_fn(|| decoder.next().expect("well formed")).collect()
    }

    fn error(said: &str) -> Malformed {
        let mut decoder = Decoder::default();
        decoder.push(said.as_bytes());
        loop {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{said:.100} has no error"),
                Err(error) => return error,
            }
        }
    }

    #[test]
    fn operations_are_the_same_wherever_messages_of_the_websocket_end() {
        let expected = [
            Operation::Info { version: "2.9.10".into(), max_payload: 1_048_576 },
            Operation::Ping,
            delivery("a.b", "\r\n\r\n"),
            delivery("a.c", ""),
            Operation::Ok,
            Operation::Pong,
            Operation::Err(Refusal("Unknown Protocol Operation".into())),
        ];
        for size in 1..=SAID.len() {
            let mut decoder = Decoder::default();
            let mut operations = Vec::new();
            for piece in SAID.as_bytes().chunks(size) {
                decoder.push(piece);
                operations.extend(all(&mut decoder));
            }
            assert_eq!(operations, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_has_arrived() {
        assert_eq!(error(&"x".repeat(LONGEST_LINE + 1)), Malformed::LongLine);
        assert_eq!(
            error(&format!("MSG a 1 {}\r\n", 8 << 20 | 1)),
            Malformed::LongPayload(8 << 20 | 1)
        );
        let mut decoder = Decoder::default();
        decoder.push(&b"x".repeat(LONGEST_LINE));
        assert_eq!(decoder.next(), Ok(None));
    }

    #[test]
    fn other_lines_are_refused() {
        for said in [
            "HTTP/1.1 200 OK\r\n",
            "PING\n",
            "MSG a 1\r\n",
            "MSG a 1 r 2 3\r\n",
            "MSG a 1 -1\r\n",
            "INFO {}\r\n",
            "\r\n",
        ] {
            assert!(matches!(error(said), Malformed::Line(_)), "{said}");
        }
        assert_eq!(error("MSG a 1 2\r\nabc\r\n"), Malformed::Length(2));
    }

    #[test]
    fn a_refusal_is_temporary_if_nothing_has_to_be_changed() {
        for (text, temporary) in [
            ("Stale Connection", true),
            ("Slow Consumer Detected", true),
            ("maximum connections exceeded", true),
            ("Authorization Violation", false),
            ("Permissions Violation for Subscription to \"a\"", false),
        ] {
            assert_eq!(Refusal(text.into()).is_temporary(), temporary, "{text}");
        }
    }

    #[test]
    fn a_subject_cannot_bring_another_operation() {
        for text in ["a", "a.*.c", "a.>", "größe"] {
            assert!(text.parse::<Subject>().is_ok(), "{text}");
        }
        for text in ["", "a b", "a..b", ".a", "a.", "a\r\nPUB b 0", "a\tb"] {
            assert!(text.parse::<Subject>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_sent_has_lengths_in_bytes() {
        let subject: Subject = "a.b".parse().expect("a subject");
        assert_eq!(subscribe(&subject), "SUB a.b 1\r\n");
        assert_eq!(publish(&subject, "grün"), "PUB a.b 5\r\ngrün\r\n");
        let login = Login { user: "o\"k".into(), password: "p w".into() };
        let said = connect(Some(&login));
        assert!(said.contains(r#""user":"o\"k""#) && said.contains(r#""pass":"p w""#), "{said}");
        assert!(said.starts_with("CONNECT {") && said.ends_with("}\r\n"), "{said}");
    }
}
