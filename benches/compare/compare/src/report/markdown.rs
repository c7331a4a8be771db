//! Tables. A row is a participant, a column a cell; with a figure stands what it is relative to the
//! floor.

use std::fmt::Write;

use super::stats::Estimate;
use super::{Cell, Section, Summary};
use crate::Outcome;
use crate::scenario::{COMPRESSED, Run};
use crate::servers::{self, Kind, STACKS};

pub(super) fn page(run: &Run<'_>, sections: &[Section], network: &str) -> Outcome<String> {
    let mut page = String::from("# Results of the comparison\n\n");
    let command = if run.options.quick { " --quick" } else { "" };
    writeln!(
        page,
        "Made by `cargo xtask bench compare{command}`: {} rounds, interleaved; medians. In brackets the ratio to `floor`: its median \
         over the rounds, taken within each, and the interval of that median (95 %, or the whole range of fewer than six rounds); \
         where there is nothing to compare with, half of the range in per cent. The line in a bar of a chart goes from quartile to quartile. One thread for the server on one core, the \
         load generator on another; loopback of {network}. {}\n",
        run.options.rounds,
        machine()
    )?;
    page.push_str("Only ratios within one run mean something: see [how it is measured](../performance.md).\n\n");
    versions(run, &mut page)?;
    for section in sections {
        let scenario = section.scenario;
        writeln!(page, "## {}: {}\n\n{}", scenario.name, scenario.title, scenario.about)?;
        let rows = section.cells.iter().flat_map(|cell| &cell.rows);
        let rounds = rows.map(|row| row.figures.len()).max().unwrap_or(0);
        if rounds < run.options.rounds {
            writeln!(page, "Rounds of this one: {rounds}.")?;
        }
        page.push('\n');
        for (name, _) in super::chart::charts(section) {
            writeln!(page, "![{}]({name})\n", scenario.title)?;
        }
        table(&mut page, section)?;
        verdicts(&mut page, section)?;
        stacks(&mut page, section)?;
        trades(&mut page, section)?;
        compressed(&mut page, section)?;
        super::cores::shared(&mut page, section)?;
    }
    if !run.failures.is_empty() {
        page.push_str("## What did not run\n\n");
        for failure in &run.failures {
            writeln!(page, "- {failure}")?;
        }
    }
    Ok(page)
}

/// What the figures were made on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unnamed CPU", |(_, name)| name.trim());
    format!("{model}, {cores} cores, Linux {}.", read("/proc/sys/kernel/osrelease").trim())
}

fn versions(run: &Run<'_>, page: &mut String) -> Outcome {
    let lock = std::fs::read_to_string(&run.options.lock)?;
    page.push_str("| participant | version | |\n|---|---|---|\n");
    for participant in run.participants(|_| true) {
        let version = servers::version(participant, &lock, &run.options.places.node);
        writeln!(
            page,
            "| {} | {} {version} | {} |",
            participant.name, participant.package, participant.about
        )?;
    }
    page.push('\n');
    Ok(())
}

/// The row that the others are compared with, where there is one.
fn base(cell: &Cell) -> Option<&Summary> {
    cell.row("floor").or_else(|| cell.row("h2"))
}

fn figure(row: &Summary, cell: &Cell, digits: usize) -> String {
    if let (Some(p50), Some(longest)) = (row.more("p50_us"), row.more("longest_us")) {
        let mut text = format!("{p50:.digits$} / {:.digits$} / {longest:.digits$}", row.median);
        if let Some(rate) = row.more("flood_per_second").filter(|rate| *rate > 0.0) {
            let _ = write!(text, " ({rate:.0}/s)");
        }
        return text;
    }
    let mut text = format!("{:.digits$}", row.median);
    if let Some(ratio) = row.more("ratio") {
        let _ = write!(text, ", {:.1} %", ratio * 100.0);
    }
    let base = base(cell).filter(|base| base.server != row.server);
    let _ = match base.and_then(|base| row.ratio_to(base)) {
        Some(Estimate { median, count: 1, .. }) => write!(text, " ({median:.2})"),
        Some(Estimate { median, low, high, .. }) => {
            write!(text, " ({median:.2}: {low:.2} to {high:.2})")
        }
        None => write!(text, " (±{:.0})", row.spread() * 100.0),
    };
    text
}

/// A ratio in a table of its own.
pub(super) fn with_interval(ratio: &Estimate) -> String {
    let Estimate { median, low, high, count } = ratio;
    match count {
        1 => format!("{median:.2}"),
        _ => format!("{median:.2} ({low:.2} to {high:.2})"),
    }
}

fn table(page: &mut String, section: &Section) -> Outcome {
    let rows = super::names(
        section.cells.iter().flat_map(|cell| cell.rows.iter().map(|row| row.server.as_str())),
    );
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|row| (super::place(row), *row));
    // Wide tables are cut into pieces that fit on a page, none much wider than another.
    let pieces = section.cells.len().div_ceil(6).max(1);
    for cells in section.cells.chunks(section.cells.len().div_ceil(pieces).max(1)) {
        write!(page, "| {} |", section.scenario.unit)?;
        for cell in cells {
            write!(page, " {} |", cell.name)?;
        }
        page.push_str("\n|---|");
        page.push_str(&"---|".repeat(cells.len()));
        page.push('\n');
        for server in &rows {
            if cells.iter().all(|cell| cell.row(server).is_none()) {
                continue;
            }
            let ours = server.starts_with("tautline");
            let mark = if ours { "**" } else { "" };
            write!(page, "| {mark}{server}{mark} |")?;
            for cell in cells {
                let text = cell.row(server).map(|row| figure(row, cell, section.scenario.digits));
                write!(page, " {} |", text.as_deref().unwrap_or("-"))?;
            }
            page.push('\n');
        }
        for (label, name) in [
            ("generator busy", "generator_utilisation"),
            ("server busy", "server_utilisation"),
            ("sessions resumed", "resumed"),
        ] {
            let range = |cell: &Cell| {
                let values = cell.rows.iter().filter_map(|row| row.more(name));
                let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| {
                    (low.min(value), high.max(value))
                });
                (low <= high).then(|| format!("{:.0} to {:.0} %", low * 100.0, high * 100.0))
            };
            if cells.iter().any(|cell| range(cell).is_some()) {
                write!(page, "| *{label}* |")?;
                for cell in cells {
                    write!(page, " {} |", range(cell).as_deref().unwrap_or("-"))?;
                }
                page.push('\n');
            }
        }
        page.push('\n');
    }
    notes(page, section)
}

/// What was negotiated, where that is a matter.
fn notes(page: &mut String, section: &Section) -> Outcome {
    let rows = section.cells.iter().flat_map(|cell| &cell.rows).filter(|row| !row.note.is_empty());
    let mut seen = Vec::new();
    for row in rows {
        if !seen.contains(&row.server) {
            writeln!(page, "- {}: `{}`", row.server, row.note)?;
            seen.push(row.server.clone());
        }
    }
    if !seen.is_empty() {
        page.push('\n');
    }
    Ok(())
}

/// Ours against the best rival in Rust and against the floor, cell by cell.
fn verdicts(page: &mut String, section: &Section) -> Outcome {
    let rust = |row: &&Summary| {
        let mut all = servers::ALL.iter();
        all.any(|it| it.kind == Kind::Rust && !it.is_stack() && it.name == row.server)
    };
    let larger = section.scenario.larger_is_better;
    // Of ratios of ours to theirs, that of the best of them.
    let better = |a: f64, b: f64| if larger { a.total_cmp(&b) } else { b.total_cmp(&a) };
    let mut lines = String::new();
    for cell in &section.cells {
        let ours = cell.row("tautline").or_else(|| cell.row("tautline-http2"));
        let Some(ours) = ours else { continue };
        let rivals = cell.rows.iter().filter(rust);
        let best = rivals
            .filter_map(|rival| Some((rival, ours.ratio_to(rival)?)))
            .min_by(|(_, a), (_, b)| better(a.median, b.median));
        let Some((best, ratio)) = best else { continue };
        let word = match (ratio.is_tie(), ratio.median < 1.0) {
            (true, _) => "tie",
            (false, smaller) if smaller != larger => "ahead",
            (false, _) => "behind",
        };
        let floor = base(cell).and_then(|floor| ours.ratio_to(floor));
        let floor = floor.map_or("-".to_owned(), |floor| with_interval(&floor));
        let (cell, best, ratio) = (&cell.name, &best.server, with_interval(&ratio));
        writeln!(lines, "| {cell} | {best} | {ratio} | {word} | {floor} |")?;
    }
    if !lines.is_empty() {
        page.push_str("| cell | best Rust rival | Tautline / rival | | Tautline / floor |\n|---|---|---|---|---|\n");
        page.push_str(&lines);
        page.push('\n');
    }
    Ok(())
}

/// What comes behind an HTTP server, relative to our own server, which reads requests itself.
fn stacks(page: &mut String, section: &Section) -> Outcome {
    let took_part = |name: &&str| section.cells.iter().any(|cell| cell.row(name).is_some());
    let names: Vec<_> = STACKS.iter().copied().filter(took_part).collect();
    let mut lines = String::new();
    for cell in &section.cells {
        let Some(bare) = cell.row("tautline") else { continue };
        let ratio = |name: &&str| cell.row(name).and_then(|row| row.ratio_to(bare));
        let ratios: Vec<_> = names.iter().map(ratio).collect();
        if ratios.iter().any(Option::is_some) {
            let texts = ratios.iter().map(|ratio| ratio.as_ref().map(with_interval));
            let texts: Vec<_> = texts.map(|text| text.unwrap_or("-".to_owned())).collect();
            writeln!(lines, "| {} | {} |", cell.name, texts.join(" | "))?;
        }
    }
    if !lines.is_empty() {
        let columns = "---|".repeat(names.len());
        page.push_str("Behind an HTTP server of somebody else, relative to `tautline`:\n\n");
        writeln!(page, "| cell | {} |\n|---|{columns}\n{lines}", names.join(" | "))?;
    }
    Ok(())
}

/// Where size is traded for time: who is cheaper than one of our settings, at a size that is no
/// larger.
fn trades(page: &mut String, section: &Section) -> Outcome {
    let ours = |row: &&Summary| row.server.starts_with("tautline");
    let mut lines = String::new();
    for cell in &section.cells {
        for row in cell.rows.iter().filter(ours) {
            let Some(ratio) = row.more("ratio") else { continue };
            let cheaper = |other: &&Summary| {
                let smaller = other.more("ratio").is_some_and(|other| other <= ratio * 1.005);
                let time = other.ratio_to(row);
                smaller && time.is_some_and(|time| time.median < 1.0 && !time.is_tie())
            };
            let all = cell.rows.iter().filter(|other| !ours(other)).filter(cheaper);
            let all: Vec<_> = all.map(|other| other.server.as_str()).collect();
            let all = if all.is_empty() { "nobody".to_owned() } else { all.join("; ") };
            writeln!(lines, "| {} | {} | {all} |", cell.name, row.server)?;
        }
    }
    if !lines.is_empty() {
        page.push_str("| cell | setting | cheaper at an equal or better ratio |\n|---|---|---|\n");
        page.push_str(&lines);
        page.push('\n');
    }
    Ok(())
}

/// What compression costs and saves, where a cell has a counterpart without it.
fn compressed(page: &mut String, section: &Section) -> Outcome {
    let mut lines = String::new();
    for cell in &section.cells {
        let Some(name) = cell.name.strip_suffix(COMPRESSED) else { continue };
        let Some(plain) = section.cells.iter().find(|other| other.name == name) else { continue };
        for row in &cell.rows {
            let Some(base) = plain.row(&row.server) else { continue };
            let Some(time) = row.ratio_to(base) else { continue };
            let bytes = |row: &Summary| row.more("wire_bytes").unwrap_or(0.0);
            let (server, time) = (&row.server, with_interval(&time));
            let (small, large) = (bytes(row), bytes(base));
            writeln!(lines, "| {name} | {server} | {time} | {small:.0} of {large:.0} |")?;
        }
    }
    if !lines.is_empty() {
        page.push_str(
            "| cell | | time compressed / plain | bytes of a frame |\n|---|---|---|---|\n",
        );
        page.push_str(&lines);
        page.push('\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::report::{Cell, Section, place, summary};
    use crate::scenario::{ALL_SCENARIOS, Measurement, Scenario};

    /// Rows of one cell, each with its figures, round by round.
    fn section(scenario: &'static Scenario, rows: &[(&str, Option<f64>, &[f64])]) -> Section {
        let row = |&(server, size, values): &(&str, Option<f64>, &[f64])| {
            let measured = |(round, &value): (usize, &f64)| Measurement {
                scenario: scenario.name,
                cell: "cell".to_owned(),
                server: server.to_owned(),
                round,
                value,
                more: size.map(|size| ("ratio", size)).into_iter().collect(),
                note: String::new(),
            };
            let all: Vec<_> = values.iter().enumerate().map(measured).collect();
            assert!(place(server) < usize::MAX, "{server} takes part");
            summary(server, &all.iter().collect::<Vec<_>>()).unwrap()
        };
        let rows = rows.iter().map(row).collect();
        Section { scenario, cells: vec![Cell { name: "cell".to_owned(), rows }] }
    }

    fn named(name: &str) -> &'static Scenario {
        ALL_SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap()
    }

    fn last_line(of: fn(&mut String, &Section) -> crate::Outcome, section: &Section) -> String {
        let mut page = String::new();
        of(&mut page, section).unwrap();
        page.trim_end().lines().last().unwrap_or_default().to_owned()
    }

    /// The host is twice as slow in the third round, and three times in the fifth.
    #[test]
    fn a_verdict_compares_within_rounds() {
        let rows: &[(&str, _, &[f64])] = &[
            ("floor", None, &[5.0, 5.0, 10.0, 5.0, 15.0, 5.0]),
            ("tautline", None, &[6.0, 5.5, 11.0, 5.5, 16.5, 5.0]),
            ("yawc", None, &[8.0, 8.0, 16.0, 8.0, 24.0, 8.0]),
            ("wtx", None, &[5.0, 5.0, 10.0, 5.0, 15.0, 4.0]),
        ];
        let slower = section(named("echo"), rows);
        let line = "| cell | wtx | 1.10 (1.10 to 1.25) | behind | 1.10 (1.00 to 1.20) |";
        assert_eq!(last_line(super::verdicts, &slower), line);
        let cell = &slower.cells[0];
        let figures: Vec<_> = cell.rows.iter().map(|row| super::figure(row, cell, 1)).collect();
        assert_eq!(figures[..2], ["5.0 (±100)", "5.8 (1.10: 1.00 to 1.20)"]);

        let ahead = section(named("echo"), &rows[1..3]);
        assert_eq!(
            last_line(super::verdicts, &ahead),
            "| cell | yawc | 0.69 (0.62 to 0.75) | ahead | - |"
        );
    }

    #[test]
    fn where_more_is_better_the_rival_with_the_most_is_the_best() {
        let rows: &[(&str, _, &[f64])] =
            &[("tautline", None, &[30.0]), ("yawc", None, &[20.0]), ("sockudo-ws", None, &[40.0])];
        let behind = section(named("mask"), rows);
        assert_eq!(
            last_line(super::verdicts, &behind),
            "| cell | sockudo-ws | 0.75 | behind | - |"
        );
        let ahead = section(named("mask"), &rows[..2]);
        assert_eq!(last_line(super::verdicts, &ahead), "| cell | yawc | 1.50 | ahead | - |");
    }

    /// Cheaper in each round counts, however the rounds differ; larger does not.
    #[test]
    fn a_trade_compares_within_rounds() {
        let rows: &[(&str, _, &[f64])] = &[
            ("tautline: fast", Some(0.30), &[10.0, 20.0, 40.0, 10.0, 20.0, 40.0]),
            ("yawc: fast", Some(0.30), &[9.0, 18.0, 36.0, 9.0, 18.0, 36.0]),
            ("bun: default", Some(0.29), &[9.0, 22.0, 36.0, 9.0, 18.0, 36.0]),
            ("node-ws: fast", Some(0.35), &[5.0, 5.0, 5.0, 5.0, 5.0, 5.0]),
        ];
        let line = "| cell | tautline: fast | yawc: fast |";
        assert_eq!(last_line(super::trades, &section(named("deflate"), rows)), line);
    }

    #[test]
    fn what_comes_behind_an_http_server_is_compared_with_the_bare_one() {
        let rows: &[(&str, _, &[f64])] = &[
            ("tautline", None, &[2.0, 4.0, 2.0]),
            ("tautline-axum", None, &[2.1, 4.2, 2.2]),
            ("fastwebsockets-hyper", None, &[1.0, 2.0, 1.0]),
            ("yawc", None, &[2.0, 4.0, 2.0]),
        ];
        let section = section(named("echo"), rows);
        let line = "| cell | 1.05 (1.05 to 1.10) | 0.50 (0.50 to 0.50) |";
        assert_eq!(last_line(super::stacks, &section), line);
        // It is no rival of the bare one.
        let verdict = "| cell | yawc | 1.00 (1.00 to 1.00) | tie | - |";
        assert_eq!(last_line(super::verdicts, &section), verdict);
    }

    #[test]
    fn over_http2_another_participant_is_ours_and_another_one_the_floor() {
        let rows: &[(&str, _, &[f64])] = &[
            ("h2", None, &[2.0, 4.0, 2.0]),
            ("tautline-http2", None, &[2.2, 4.4, 2.2]),
            ("yawc-http2", None, &[4.4, 8.8, 4.4]),
        ];
        let line = "| cell | yawc-http2 | 0.50 (0.50 to 0.50) | ahead | 1.10 (1.10 to 1.10) |";
        assert_eq!(last_line(super::verdicts, &section(named("http2"), rows)), line);
    }

    #[test]
    fn a_compressed_cell_is_compared_with_the_plain_one_of_the_same_participant() {
        let plain: &[(&str, _, &[f64])] =
            &[("tautline", None, &[2.0, 4.0, 2.0]), ("bun", None, &[3.0, 6.0, 3.0])];
        let packed: &[(&str, _, &[f64])] = &[("tautline", None, &[2.2, 4.4, 2.2])];
        let mut both = section(named("broadcast"), plain);
        let mut compressed = section(named("broadcast"), packed).cells.remove(0);
        compressed.name = "cell, compressed".to_owned();
        compressed.rows[0].more = vec![("wire_bytes", 80.0)];
        both.cells[0].rows[0].more = vec![("wire_bytes", 130.0)];
        both.cells.push(compressed);
        let line = "| cell | tautline | 1.10 (1.10 to 1.10) | 80 of 130 |";
        assert_eq!(last_line(super::compressed, &both), line);
    }
}
