//! A table of servers on two cores, relative to the one with a shared runtime.

use std::fmt::Write;

use super::stats::Estimate;
use super::{Section, Summary};
use crate::Outcome;
use crate::scenario::SHARED;

/// What the other ways cost and bring, and how connections were shared out.
pub(super) fn shared(page: &mut String, section: &Section) -> Outcome {
    let mut lines = String::new();
    for cell in &section.cells {
        let Some(base) = cell.row(SHARED) else { continue };
        for row in &cell.rows {
            let Some(time) = row.ratio_to(base) else { continue };
            let Some(rate) = row.ratio_of(RATE, base) else { continue };
            let (time, rate) = (ratio(row, base, &time), ratio(row, base, &rate));
            let thousands = row.more(RATE).unwrap_or(0.0) / 1e3;
            let (cell, server, share) = (&cell.name, &row.server, share(row));
            writeln!(lines, "| {cell} | {server} | {time} | {thousands:.0} | {rate} | {share} |")?;
        }
    }
    if !lines.is_empty() {
        write!(
            page,
            "Relative to `{SHARED}`:\n\n\
             | cell | | CPU time of a message | thousand messages a second | relative | connections of the busiest event loop |\n\
             |---|---|---|---|---|---|\n{lines}\n"
        )?;
    }
    Ok(())
}

const RATE: &str = "messages_per_second";

fn ratio(row: &Summary, base: &Summary, ratio: &Estimate) -> String {
    if row.server == base.server { "1".to_owned() } else { super::markdown::with_interval(ratio) }
}

/// The smallest and the largest over the rounds.
fn share(row: &Summary) -> String {
    let shares = row.figures_of("largest_share").into_iter().map(|(_, share)| share * 100.0);
    let (low, high) =
        shares.fold((f64::MAX, 0.0_f64), |(low, high), share| (low.min(share), high.max(share)));
    let (low, high) = (format!("{low:.0}"), format!("{high:.0} %"));
    if high.starts_with(&format!("{low} ")) { high } else { format!("{low} to {high}") }
}

#[cfg(test)]
mod tests {
    use crate::report::{Cell, Section, summary};
    use crate::scenario::{ALL_SCENARIOS, Measurement};

    /// The host is twice as slow in the second round.
    #[test]
    fn time_and_throughput_are_compared_within_rounds() {
        let scenario = ALL_SCENARIOS.iter().find(|scenario| scenario.name == "cores").unwrap();
        let row = |server: &str, figures: &[(f64, f64, f64)]| {
            let measured =
                |(round, &(value, rate, share)): (usize, &(f64, f64, f64))| Measurement {
                    scenario: "cores",
                    cell: "cell".to_owned(),
                    server: server.to_owned(),
                    round,
                    value,
                    more: vec![(super::RATE, rate), ("largest_share", share)],
                    note: String::new(),
                };
            let all: Vec<_> = figures.iter().enumerate().map(measured).collect();
            summary(server, &all.iter().collect::<Vec<_>>()).unwrap()
        };
        let rows = vec![
            row(super::SHARED, &[(2.0, 4e5, 1.0), (4.0, 2e5, 1.0)]),
            row("tautline: per_core(2)", &[(1.0, 8e5, 0.52), (2.4, 2e5, 0.58)]),
        ];
        let section = Section { scenario, cells: vec![Cell { name: "cell".to_owned(), rows }] };
        let mut page = String::new();
        super::shared(&mut page, &section).unwrap();
        let last: Vec<_> = page.trim_end().lines().rev().take(2).collect();
        assert_eq!(last[1], "| cell | tautline: two threads | 1 | 300 | 1 | 100 % |");
        assert_eq!(
            last[0],
            "| cell | tautline: per_core(2) | 0.55 (0.50 to 0.60) | 500 | 1.50 (1.00 to 2.00) | 52 to 58 % |"
        );
    }
}
