//! The arena as it is in one moment, and a tick later. It knows neither clock nor connection.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::topics::Input;

pub(crate) const WIDTH: f64 = 1600.0;
pub(crate) const HEIGHT: f64 = 900.0;
pub(crate) const TICKS_PER_SECOND: u32 = 30;
/// How far a player comes in a tick.
const STEP: f64 = 300.0 / TICKS_PER_SECOND as f64;
const PLAYER: f64 = 22.0; // radius
const LIGHT: f64 = 12.0; // radius
const LIGHTS: usize = 6;
const MAX_PLAYERS: usize = 32; // others may watch
/// A player that is not heard of for so many ticks is gone; a page sends something each second.
const PATIENCE: u64 = 5 * TICKS_PER_SECOND as u64;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) tick: u64,
    players: BTreeMap<String, Player>,
    lights: Vec<(f64, f64)>,
    random: Random,
    /// Whether names or scores have changed since the last tick.
    changed: bool,
}

#[derive(Debug)]
struct Player {
    name: String,
    place: (f64, f64),
    direction: (f64, f64),
    score: u32,
    heard: u64, // in which tick
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed | 1);
        let lights = (0..LIGHTS).map(|_| random.place(LIGHT)).collect();
        Self { tick: 0, players: BTreeMap::new(), lights, random, changed: true }
    }

    pub(crate) fn hear(&mut self, input: Input) {
        match input {
            Input::Left { player } => self.changed |= self.players.remove(&player).is_some(),
            Input::Go { player, name, x, y } => {
                if let Some(known) = self.players.get_mut(&player) {
                    (known.direction, known.heard) = ((x, y), self.tick);
                } else if self.players.len() < MAX_PLAYERS {
                    let (place, direction) = (self.random.place(PLAYER), (x, y));
                    let newcomer = Player { name, place, direction, score: 0, heard: self.tick };
                    self.players.insert(player, newcomer);
                    self.changed = true;
                }
            }
        }
    }

    /// A tick later. Returns whether names or scores have changed.
    pub(crate) fn step(&mut self) -> bool {
        self.tick += 1;
        let (before, oldest) = (self.players.len(), self.tick.saturating_sub(PATIENCE));
        self.players.retain(|_, player| player.heard >= oldest);
        self.changed |= self.players.len() < before;
        for player in self.players.values_mut() {
            let ((x, y), (right, down)) = (player.place, player.direction);
            player.place = (
                (x + right * STEP).clamp(PLAYER, WIDTH - PLAYER),
                (y + down * STEP).clamp(PLAYER, HEIGHT - PLAYER),
            );
            for light in &mut self.lights {
                let distance = (light.0 - player.place.0).hypot(light.1 - player.place.1);
                if distance < PLAYER + LIGHT {
                    *light = self.random.place(LIGHT);
                    player.score = player.score.saturating_add(1);
                    self.changed = true;
                }
            }
        }
        std::mem::take(&mut self.changed)
    }

    /// Where everything is.
    pub(crate) fn places(&self) -> Value {
        let place = |(x, y): (f64, f64)| json!([tenths(x), tenths(y)]);
        let players: serde_json::Map<String, Value> =
            self.players.iter().map(|(id, player)| (id.clone(), place(player.place))).collect();
        let lights: Vec<Value> = self.lights.iter().map(|light| place(*light)).collect();
        json!({ "type": "world", "tick": self.tick, "players": players, "lights": lights })
    }

    /// Who takes part.
    pub(crate) fn people(&self) -> Value {
        let person = |(id, player): (&String, &Player)| json!({ "id": id, "name": player.name, "score": player.score });
        let people: Vec<Value> = self.players.iter().map(person).collect();
        json!({ "type": "people", "people": people, "most": MAX_PLAYERS })
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Places without a visible order (xorshift, by Marsaglia): enough for a game.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// At least `margin` away from each wall.
    fn place(&mut self, margin: f64) -> (f64, f64) {
        let mut between = |size: f64| margin + self.fraction() * (size - 2.0 * margin);
        (between(WIDTH), between(HEIGHT))
    }

    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from((self.0 >> 40) as u32) / f64::from(1_u32 << 24)
    }
}
