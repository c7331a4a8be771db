//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::Outcome;
use crate::servers::{Kind, Places};

/// What to run, and where things are.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    /// Names of scenarios; empty is all.
    pub(crate) only: Vec<String>,
    /// Names of participants; empty is all.
    pub(crate) servers: Vec<String>,
    /// Cells whose name contains one of these; empty is all.
    pub(crate) cells: Vec<String>,
    pub(crate) rounds: usize,
    /// How long a measurement lasts, if not as long as usual.
    pub(crate) millis: Option<u64>,
    pub(crate) places: Places,
    /// The directory of the report.
    pub(crate) out: PathBuf,
    /// Cargo.lock of the workspace of the servers.
    pub(crate) lock: PathBuf,
    /// What could not be built, and why.
    pub(crate) left_out: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let list = |value: String| value.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut rounds = None;
        let mut options = Self {
            quick: false,
            only: Vec::new(),
            servers: Vec::new(),
            cells: Vec::new(),
            rounds: 0,
            millis: None,
            places: Places {
                programs: PathBuf::new(),
                node: PathBuf::new(),
                scripts: PathBuf::new(),
                tls: std::env::temp_dir().join(format!("compare-{}", std::process::id())),
            },
            out: PathBuf::new(),
            lock: PathBuf::new(),
            left_out: Vec::new(),
        };
        while let Some(word) = words.next() {
            if word == "--quick" {
                options.quick = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
            match word.as_str() {
                "--only" => options.only = list(value),
                "--servers" => options.servers = list(value),
                "--cells" => options.cells = list(value),
                "--rounds" => rounds = Some(value.parse::<usize>()?.clamp(1, 1_000)),
                "--millis" => options.millis = Some(value.parse::<u64>()?.clamp(1, 60_000)),
                "--programs" => options.places.programs = value.into(),
                "--node" => options.places.node = value.into(),
                "--scripts" => options.places.scripts = value.into(),
                "--out" => options.out = value.into(),
                "--lock" => options.lock = value.into(),
                "--left-out" => options.left_out.push(value),
                _ => return Err(format!("`{word}` is no option").into()),
            }
        }
        options.rounds = rounds.unwrap_or(if options.quick { 5 } else { 15 });
        Ok(options)
    }

    /// How long a measurement warms up. What compiles itself while it runs gets the time to do so.
    pub(crate) fn warm_up(&self, kind: Kind) -> Duration {
        let (compiled, script) = if self.quick { (15, 60) } else { (20, 180) };
        Duration::from_millis(if kind == Kind::JavaScript { script } else { compiled })
    }

    /// How long a measurement lasts. Many short rounds tell more than few long ones: the host
    /// changes its mind within seconds, and what is compared is what lies in one round.
    pub(crate) fn long(&self) -> Duration {
        Duration::from_millis(self.millis.unwrap_or(if self.quick { 45 } else { 60 }))
    }

    pub(crate) fn wants_scenario(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    pub(crate) fn wants_cell(&self, name: &str) -> bool {
        self.cells.is_empty() || self.cells.iter().any(|cell| name.contains(cell.as_str()))
    }

    pub(crate) fn wants_server(&self, name: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|server| server == name)
    }
}
