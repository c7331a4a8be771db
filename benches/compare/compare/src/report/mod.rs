//! What a run leaves behind: a line of JSON for each measurement, tables, charts.

mod chart;
mod cores;
mod json;
mod markdown;
mod stats;

use std::fs;

use crate::Outcome;
use crate::scenario::{ALL_SCENARIOS, Measurement, Run, Scenario};
use crate::servers;
use stats::{Estimate, Figure, quantile};

/// Figures of one participant in one cell.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// The row's name: a participant, or a participant with a setting.
    pub(crate) server: String,
    /// In the order of the rounds; a round in which it failed is missing.
    figures: Vec<Figure>,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The ends of the middle half.
    pub(crate) quartiles: (f64, f64),
    /// Median of what else was seen, by name.
    pub(crate) more: Vec<(&'static str, f64)>,
    /// All of it, round by round.
    seen: Vec<(&'static str, Figure)>,
    pub(crate) note: String,
}

impl Summary {
    /// Half of the range, relative to the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.max - self.min) / 2.0 / self.median.abs().max(f64::MIN_POSITIVE)
    }

    /// This figure relative to another's, round by round.
    fn ratio_to(&self, other: &Self) -> Option<Estimate> {
        Estimate::of_ratio(&self.figures, &other.figures)
    }

    /// Something else that was seen, relative to another's, round by round.
    fn ratio_of(&self, name: &str, other: &Self) -> Option<Estimate> {
        Estimate::of_ratio(&self.figures_of(name), &other.figures_of(name))
    }

    /// Something else that was seen, in the order of the rounds.
    fn figures_of(&self, name: &str) -> Vec<Figure> {
        let named = self.seen.iter().filter(|(found, _)| *found == name);
        named.map(|(_, figure)| *figure).collect()
    }

    pub(crate) fn more(&self, name: &str) -> Option<f64> {
        self.more.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }
}

/// A cell of a scenario, with all who took part, in the order of the participants.
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) rows: Vec<Summary>,
}

impl Cell {
    pub(crate) fn row(&self, server: &str) -> Option<&Summary> {
        self.rows.iter().find(|row| row.server == server)
    }
}

/// A scenario that ran.
pub(crate) struct Section {
    pub(crate) scenario: &'static Scenario,
    pub(crate) cells: Vec<Cell>,
}

fn summary(server: &str, measurements: &[&Measurement]) -> Option<Summary> {
    let sorted = |values: &mut dyn Iterator<Item = f64>| {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let first = measurements.first()?;
    let values = sorted(&mut measurements.iter().map(|m| m.value));
    let of = |name: &str| {
        let all = measurements.iter().flat_map(|m| &m.more).filter(|(found, _)| *found == name);
        quantile(&sorted(&mut all.map(|(_, value)| *value)), 0.5).unwrap_or(0.0)
    };
    let seen = |m: &&Measurement| {
        let round = m.round;
        m.more.iter().map(move |(name, value)| (*name, (round, *value))).collect::<Vec<_>>()
    };
    Some(Summary {
        server: server.to_owned(),
        figures: measurements.iter().map(|m| (m.round, m.value)).collect(),
        median: quantile(&values, 0.5)?,
        min: *values.first()?,
        max: *values.last()?,
        quartiles: (quantile(&values, 0.25)?, quantile(&values, 0.75)?),
        more: first.more.iter().map(|(name, _)| (*name, of(name))).collect(),
        seen: measurements.iter().flat_map(seen).collect(),
        note: first.note.clone(),
    })
}

/// Names in the order in which they first appear.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// Where a row stands in the tables.
fn place(server: &str) -> usize {
    let name = server.split(':').next().unwrap_or(server);
    let found = |participant: &servers::Participant| {
        participant.name == name || participant.name.strip_suffix("-b") == Some(name)
    };
    servers::ALL.iter().position(found).unwrap_or(usize::MAX)
}

fn sections(run: &Run<'_>) -> Vec<Section> {
    let section = |scenario: &'static Scenario| {
        let of: Vec<_> = run.measurements.iter().filter(|m| m.scenario == scenario.name).collect();
        let cell = |name: &str| {
            let here: Vec<_> = of.iter().copied().filter(|m| m.cell == name).collect();
            let mut servers = names(here.iter().map(|m| m.server.as_str()));
            servers.sort_by_key(|server| (place(server), *server));
            let row = |server: &str| {
                let mine: Vec<_> = here.iter().copied().filter(|m| m.server == server).collect();
                summary(server, &mine)
            };
            let rows = servers.into_iter().filter_map(row).collect();
            Cell { name: name.to_owned(), rows }
        };
        let cells = names(of.iter().map(|m| m.cell.as_str())).into_iter().map(cell).collect();
        Section { scenario, cells }
    };
    let all = ALL_SCENARIOS.iter().map(|scenario| section(scenario));
    all.filter(|section| !section.cells.is_empty()).collect()
}

/// Writes `results.jsonl`, `results.md` and a chart for each scenario, and prints the tables.
pub(crate) fn write(run: &Run<'_>, network: &str) -> Outcome {
    let out = &run.options.out;
    fs::create_dir_all(out)?;
    let sections = sections(run);
    fs::write(out.join("results.jsonl"), json::lines(run, network))?;
    let text = markdown::page(run, &sections, network)?;
    fs::write(out.join("results.md"), &text)?;
    for section in &sections {
        for (name, chart) in chart::charts(section) {
            fs::write(out.join(name), chart)?;
        }
    }
    println!("\n{text}");
    println!("written to {}", out.display());
    Ok(())
}
