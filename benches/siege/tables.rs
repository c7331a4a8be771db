//! The figures as tables of Markdown.

use crate::run::{Row, Window};

/// A healthy p99 may be so many times that of before.
const BOUND: f64 = 3.0;

pub(crate) fn print(rows: &[Row]) {
    println!("\nHealthy messages, us: p50 / p99 / p99.9 (p99 without the server):\n");
    println!(
        "| attack | before | during | after | p99 during / before | |\n|---|---|---|---|---|---|"
    );
    for row in rows {
        let ratio = row.during.p99 as f64 / row.before.p99.max(1) as f64;
        println!(
            "| {} | {} | {} | {} | {ratio:.2} | {} |",
            row.what,
            latency(&row.before),
            latency(&row.during),
            latency(&row.after),
            if ratio <= BOUND { "held" } else { "not held" }
        );
    }
    println!("\nThe server, and a client that is new meanwhile:\n");
    println!(
        "| attack | memory before / most / after, kB | connections at most | core busy | s | \
         a new client during, ms: median / longest, not let in | gone after, s |\n\
         |---|---|---|---|---|---|---|"
    );
    for row in rows {
        let [before, most, after] = row.memory;
        let [median, longest] = row.during.new.map(|time| time as f64 / 1e3);
        println!(
            "| {} | {before} / {most} / {after} | {} | {:.0} % | {:.0} | {median:.1} / {longest:.1}, {} | {:.1} |",
            row.what,
            row.connections,
            row.busy * 100.0,
            row.lasted.as_secs_f64(),
            row.during.failed,
            row.settled.as_secs_f64(),
        );
    }
    println!("\nWhat the limits did, and what the attacker saw:\n");
    println!(
        "| attack | connections per address | per site | rate | handshakes | per address | opened | \
         turned away | ended | ended by 1008 |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let [_, counts @ ..] = row.counts;
        let numbers: Vec<_> = counts.iter().chain(&row.attacker).map(u64::to_string).collect();
        println!("| {} | {} |", row.what, numbers.join(" | "));
    }
}

fn latency(window: &Window) -> String {
    let Window { p50, p99, p999, own, .. } = window;
    format!("{p50} / {p99} / {p999} ({own})")
}
