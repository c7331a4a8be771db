//! The topics of the game, and what goes over the one from the pages to the arena.

use serde_json::{Value, json};
use tautline_hub::{Hub, HubBuilder, Keep, Topic, TopicError, TopicOptions};

/// The longest input as it is published, in bytes.
const MAX_INPUT: usize = 512;

#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) input: Topic,
    pub(crate) world: Topic,
    pub(crate) people: Topic,
}

impl Topics {
    pub(crate) fn new() -> Result<Self, TopicError> {
        Ok(Self {
            input: Topic::new("arena.input")?,
            world: Topic::new("arena.world")?,
            people: Topic::new("arena.people")?,
        })
    }
}

/// A hub with these topics: of the state, the last is kept.
pub(crate) fn hub() -> HubBuilder {
    Hub::builder().max_topics(3).topics(|topic| match topic.as_str() {
        "arena.input" => TopicOptions::new(),
        _ => TopicOptions::new().history(Keep::last(1)),
    })
}

/// What a player does. Each input has all that the arena needs to know of the player, so that one which was
/// lost is no harm, and an arena that was restarted soon has its players again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// It goes in this direction, with a speed of at most 1; it takes part if it did not.
    Go { player: String, name: String, x: f64, y: f64 },
    /// It is gone.
    Left { player: String },
}

impl Input {
    pub(crate) fn encode(&self) -> String {
        match self {
            Self::Go { player, name, x, y } => {
                json!({ "player": player, "name": name, "x": x, "y": y })
            }
            Self::Left { player } => json!({ "player": player, "left": true }),
        }
        .to_string()
    }

    /// `None` for what is not an input.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_INPUT {
            return None;
        }
        let object: Value = serde_json::from_str(text).ok()?;
        let player = object["player"].as_str()?.to_owned();
        if object["left"] == true {
            return Some(Self::Left { player });
        }
        let name = object["name"].as_str()?.to_owned();
        let (x, y) = direction(object["x"].as_f64()?, object["y"].as_f64()?)?;
        Some(Self::Go { player, name, x, y })
    }
}

/// A direction whose length is at most 1.
pub(crate) fn direction(x: f64, y: f64) -> Option<(f64, f64)> {
    let length = x.hypot(y);
    if !length.is_finite() {
        return None;
    }
    Some(if length > 1.0 { (x / length, y / length) } else { (x, y) })
}
