//! Tables. A row is a participant, a column a cell; with a figure stands what it is relative to the floor.

use std::fmt::Write;

use super::{Cell, Section, Summary};
use crate::Outcome;
use crate::scenario::Run;
use crate::servers::{self, Kind};

/// Differences below this are none, whatever the rounds say: two builds of the same code differ by as much.
const TIE: f64 = 0.03;

pub(super) fn page(run: &Run<'_>, sections: &[Section], network: &str) -> Outcome<String> {
    let mut page = String::from("# Results of the comparison\n\n");
    let command = if run.options.quick { " --quick" } else { "" };
    writeln!(
        page,
        "Made by `cargo xtask bench compare{command}`: {} rounds, interleaved; medians, with half of the range in per cent. \
         One thread for the server on one core, the load generator on another; loopback of {network}. {}\n",
        run.options.rounds,
        machine()
    )?;
    page.push_str("Only ratios within one run mean something: see [how it is measured](../performance.md).\n\n");
    versions(run, &mut page)?;
    for section in sections {
        let scenario = section.scenario;
        writeln!(page, "## {}: {}\n\n{}\n", scenario.name, scenario.title, scenario.about)?;
        for (name, _) in super::chart::charts(section) {
            writeln!(page, "![{}]({name})\n", scenario.title)?;
        }
        table(&mut page, section)?;
        verdicts(&mut page, section)?;
        trades(&mut page, section)?;
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
    cell.row("floor")
}

fn figure(row: &Summary, cell: &Cell, digits: usize) -> String {
    let mut text = format!("{:.digits$}", row.median);
    if let Some(ratio) = row.more("ratio") {
        let _ = write!(text, ", {:.1} %", ratio * 100.0);
    }
    let spread = format!("±{:.0}", row.spread() * 100.0);
    match base(cell) {
        Some(base) if base.server != row.server => {
            let _ = write!(text, " ({:.2}, {spread})", row.median / base.median);
        }
        _ => {
            let _ = write!(text, " ({spread})");
        }
    }
    text
}

fn table(page: &mut String, section: &Section) -> Outcome {
    let rows = super::names(
        section.cells.iter().flat_map(|cell| cell.rows.iter().map(|row| row.server.as_str())),
    );
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|row| (super::place(row), *row));
    // Wide tables are cut into pieces that fit on a page.
    for cells in section.cells.chunks(6) {
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
        for (label, name) in
            [("generator busy", "generator_utilisation"), ("server busy", "server_utilisation")]
        {
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
        all.any(|participant| participant.kind == Kind::Rust && participant.name == row.server)
    };
    let larger = section.scenario.larger_is_better;
    let better = |a: &f64, b: &f64| if larger { b.total_cmp(a) } else { a.total_cmp(b) };
    let mut lines = String::new();
    for cell in &section.cells {
        let best = cell.rows.iter().filter(rust).min_by(|a, b| better(&a.median, &b.median));
        let (Some(ours), Some(best)) = (cell.row("tautline"), best) else { continue };
        let ratio = ours.median / best.median;
        // The same code twice does not give the same figure: what lies within the rounds is called a tie.
        let margin = TIE.max((ours.spread() + best.spread()) / 2.0);
        let word = match (ratio - 1.0).abs() <= margin {
            true => "tie",
            false if (ratio < 1.0) != larger => "ahead",
            false => "behind",
        };
        let floor =
            base(cell).map_or("-".to_owned(), |floor| format!("{:.2}", ours.median / floor.median));
        writeln!(lines, "| {} | {} | {ratio:.2} | {word} | {floor} |", cell.name, best.server)?;
    }
    if !lines.is_empty() {
        page.push_str("| cell | best Rust rival | Tautline / rival | | Tautline / floor |\n|---|---|---|---|---|\n");
        page.push_str(&lines);
        page.push('\n');
    }
    Ok(())
}

/// Where size is traded for time: who is cheaper than one of our settings, at a size that is no larger.
fn trades(page: &mut String, section: &Section) -> Outcome {
    let ours = |row: &&Summary| row.server.starts_with("tautline");
    let mut lines = String::new();
    for cell in &section.cells {
        for row in cell.rows.iter().filter(ours) {
            let Some(ratio) = row.more("ratio") else { continue };
            let cheaper = |other: &&Summary| {
                let margin = TIE.max((row.spread() + other.spread()) / 2.0);
                let smaller = other.more("ratio").is_some_and(|other| other <= ratio * 1.005);
                smaller && other.median * (1.0 + margin) < row.median
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
