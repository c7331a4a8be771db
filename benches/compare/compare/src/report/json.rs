//! JSON lines: one object for each measurement, the first for the run.

use std::fmt::Write;

use crate::scenario::Run;

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn lines(run: &Run<'_>, network: &str) -> String {
    let options = run.options;
    let left_out: Vec<String> = run.failures.iter().map(|what| quoted(what)).collect();
    let mut out = format!(
        "{{\"network\":{},\"rounds\":{},\"quick\":{},\"left_out\":[{}]}}\n",
        quoted(network),
        options.rounds,
        options.quick,
        left_out.join(",")
    );
    for m in &run.measurements {
        let unit = crate::scenario::ALL_SCENARIOS
            .iter()
            .find(|s| s.name == m.scenario)
            .map_or("", |s| s.unit);
        let _ = write!(
            out,
            "{{\"scenario\":{},\"cell\":{},\"server\":{},\"round\":{},\"value\":{},\"unit\":{}",
            quoted(m.scenario),
            quoted(&m.cell),
            quoted(&m.server),
            m.round + 1,
            m.value,
            quoted(unit)
        );
        for (name, value) in &m.more {
            let _ = write!(out, ",{}:{value}", quoted(name));
        }
        if !m.note.is_empty() {
            let _ = write!(out, ",\"note\":{}", quoted(&m.note));
        }
        out.push_str("}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_is_quoted() {
        assert_eq!(super::quoted("a \"b\"\\\n"), r#""a \"b\"\\\u000a""#);
    }
}
