//! Bar charts as SVG, written by hand: readable on a light and on a dark page, without a script or
//! a font of their own. A bar is a median, the line in it goes from quartile to quartile.

use std::fmt::Write;

use super::{Cell, Section, Summary};
use crate::servers::{self, Kind};

const WIDTH: f64 = 860.0;
const LABELS: f64 = 250.0;
const BAR: f64 = 15.0;
const STEP: f64 = 19.0;
/// Bars are cut here, in multiples of the smallest figure that is not a yardstick, so that one slow
/// library does not flatten the others.
const CUT: f64 = 5.0;

const STYLE: &str = "<style>\
text{font:12px system-ui,sans-serif;fill:#1f2328}.t{font-weight:600;font-size:13px}.v{font-size:11px}\
.yardstick{fill:#8c959f}.ours{fill:#0969da}.rust{fill:#c9853f}.javascript{fill:#9a7fd1}.w{stroke:#1f2328;stroke-width:1}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.w{stroke:#e6edf3}.ours{fill:#58a6ff}.yardstick{fill:#768390}}\
</style>";

/// File names with their charts. What would be too tall in one is cut into several.
pub(super) fn charts(section: &Section) -> Vec<(String, String)> {
    let pieces: Vec<&[Cell]> = section.cells.chunks(4).collect();
    let number = |at: usize| if pieces.len() > 1 { format!("-{}", at + 1) } else { String::new() };
    let chart = |(at, cells): (usize, &&[Cell])| {
        (format!("{}{}.svg", section.scenario.name, number(at)), draw(section, cells))
    };
    pieces.iter().enumerate().map(chart).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn class(row: &Summary) -> &'static str {
    let name = row.server.split(':').next().unwrap_or_default();
    let found = servers::ALL.iter().find(|participant| {
        participant.name == name || participant.name.strip_suffix("-b") == Some(name)
    });
    match found.map(|participant| participant.kind) {
        Some(Kind::Ours) => "ours",
        Some(Kind::Rust) => "rust",
        Some(Kind::JavaScript) => "javascript",
        Some(Kind::Yardstick) | None => "yardstick",
    }
}

fn draw(section: &Section, cells: &[Cell]) -> String {
    let mut body = String::new();
    let mut y = 24.0;
    let title = format!("{}, {}", section.scenario.title, section.scenario.unit);
    let _ = write!(body, "<text class=\"t\" x=\"8\" y=\"{y}\">{}</text>", escaped(&title));
    for cell in cells {
        y += 30.0;
        let _ = write!(body, "<text class=\"t\" x=\"8\" y=\"{y}\">{}</text>", escaped(&cell.name));
        y += 8.0;
        bars(&mut body, section, cell, &mut y);
    }
    let height = y + 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\">{STYLE}{body}</svg>\n",
        escaped(&title)
    )
}

fn bars(body: &mut String, section: &Section, cell: &Cell, y: &mut f64) {
    let largest = cell.rows.iter().map(|row| row.median).fold(0.0, f64::max);
    let smallest = cell.rows.iter().filter(|row| class(row) != "yardstick").map(|row| row.median);
    let cut = largest.min(smallest.fold(f64::MAX, f64::min) * CUT);
    let full = if section.scenario.larger_is_better { largest } else { cut };
    let room = WIDTH - LABELS - 120.0;
    let digits = section.scenario.digits;
    for row in &cell.rows {
        let length = |value: f64| (value / full.max(f64::MIN_POSITIVE)).min(1.0) * room;
        let (text_y, middle) = (*y + BAR - 3.0, *y + BAR / 2.0);
        let end = LABELS + length(row.median);
        let (low, high) = row.quartiles;
        let more = if row.median > full { " (cut)" } else { "" };
        let ratio =
            row.more("ratio").map_or(String::new(), |ratio| format!(", {:.1} %", ratio * 100.0));
        let _ = write!(
            body,
            "<text x=\"{:.1}\" y=\"{text_y:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{}\" x=\"{LABELS}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\
             <line class=\"w\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text class=\"v\" x=\"{:.1}\" y=\"{text_y:.1}\">{:.digits$}{ratio}{more}</text>",
            LABELS - 8.0,
            escaped(&row.server),
            class(row),
            length(row.median),
            LABELS + length(low),
            LABELS + length(high),
            end.max(LABELS + length(high)) + 6.0,
            row.median,
        );
        *y += STEP;
    }
}
