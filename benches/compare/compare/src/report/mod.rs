//! What a run leaves behind: JSON lines, a table, charts.

use crate::Outcome;
use crate::scenario::{ALL_SCENARIOS, Run};

/// Figures of one participant in one cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Some(Self { median, min, max })
    }

    /// Half of the range, relative to the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.max - self.min) / 2.0 / self.median.max(f64::MIN_POSITIVE)
    }
}

pub(crate) fn write(run: &Run<'_>, network: &str) -> Outcome {
    println!("{network}");
    for scenario in ALL_SCENARIOS {
        let of = |m: &&crate::scenario::Measurement| m.scenario == scenario.name;
        let mut cells: Vec<&str> = Vec::new();
        for m in run.measurements.iter().filter(of) {
            if !cells.contains(&m.cell.as_str()) {
                cells.push(&m.cell);
            }
        }
        for cell in cells {
            println!("\n{} {cell}", scenario.name);
            let mut servers: Vec<&str> = Vec::new();
            for m in run.measurements.iter().filter(of).filter(|m| m.cell == cell) {
                if !servers.contains(&m.server.as_str()) {
                    servers.push(&m.server);
                }
            }
            for server in servers {
                let values = run.measurements.iter().filter(of).filter(|m| m.cell == cell && m.server == server);
                let util = values.clone().flat_map(|m| m.more.iter()).filter(|(n, _)| *n == "generator_utilisation").map(|(_, v)| *v);
                let util = Summary::of(util).map_or(0.0, |s| s.median);
                if let Some(s) = Summary::of(values.map(|m| m.value)) {
                    println!("  {server:<24} {:>10.3} ±{:>3.0}% gen {:.2}", s.median, s.spread() * 100.0, util);
                }
            }
        }
    }
    Ok(())
}
