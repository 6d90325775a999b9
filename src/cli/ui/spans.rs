//! A trace in the terminal: its spans as a tree, each with a bar where it ran, and its log lines. Pure.

use std::time::Duration;

use super::line::Line;
use super::{Style, Tone, text};
use crate::telemetry::view::{Line as LogLine, Row, Trace};
use crate::words;

/// Levels of a tree that are indented.
const DEEPEST: usize = 12;

/// `width`: columns to fill. `whole`: with the attributes and events of each span.
pub fn render(trace: &Trace, width: usize, style: Style, whole: bool) -> String {
    let failed = trace.spans.iter().filter(|row| row.error).count();
    let mut out = format!(
        "{} of {} in {}{}\n",
        text::count(trace.spans.len(), "span"),
        words::list(trace.services.iter().map(|service| text::clean_line(service))),
        time(trace.duration_us),
        if failed == 0 { String::new() } else { format!(", {failed} failed") },
    );
    let name = |row: &Row| format!("{}{}", "  ".repeat(row.depth.min(DEEPEST)), text::clean_line(&row.name));
    let widest = |all: &mut dyn Iterator<Item = usize>, most: usize| all.max().unwrap_or(0).min(most);
    let services = widest(&mut trace.spans.iter().map(|row| text::width(&text::clean_line(&row.service))), 16);
    // mark, two times of 8 and the blanks between the columns
    let fixed = 2 + services + 1 + 2 * 9 + 1;
    let left = width.saturating_sub(fixed);
    let names = widest(&mut trace.spans.iter().map(|row| text::width(&name(row))), 48).min(left / 2);
    let cells = left.saturating_sub(names + 1).clamp(10, 80);
    for row in &trace.spans {
        let tone = if row.error { Tone::Bad } else { Tone::Active };
        let mut line = Line::default();
        line.push(tone, if row.error { "! " } else { "  " });
        let service = text::fit(&text::clean_line(&row.service), services, style);
        line.push(Tone::Bold, text::pad(&service, services));
        line.push(Tone::Plain, format!(" {}", text::pad(&text::fit(&name(row), names, style), names)));
        line.push(Tone::Dim, format!(" {}", text::pad_left(&time(row.offset_us), 8)));
        line.push(Tone::Plain, format!(" {} ", text::pad_left(&time(row.duration_us), 8)));
        let (before, long) = bar(row, trace.duration_us, cells);
        line.push(Tone::Plain, " ".repeat(before));
        line.push(tone, style.symbol("█", "#").repeat(long));
        out.push_str(line.render(style, width.max(fixed + 1 + cells + names)).trim_end());
        out.push('\n');
        if row.error && !row.message.is_empty() {
            let indent = " ".repeat(2 + services + 1);
            out.push_str(&format!("{indent}{}\n", style.paint(Tone::Bad, &several(&row.message, &indent))));
        }
        for detail in details(row, whole) {
            let indent = " ".repeat(2 + services + 1);
            out.push_str(&format!("{indent}{}\n", style.paint(Tone::Dim, &several(&detail, &indent))));
        }
    }
    if !trace.lines.is_empty() {
        out.push('\n');
        trace.lines.iter().for_each(|line| out.push_str(&log_line(line, style)));
    }
    out
}

/// What else a span says: the traces that it links to, and the rest where it is asked for.
fn details(row: &Row, whole: bool) -> Vec<String> {
    let mut all: Vec<String> =
        row.links.iter().map(|link| format!("see trace {}, span {}", link.trace, link.span)).collect();
    if !whole {
        return all;
    }
    all.extend(pairs(&row.attributes));
    for event in &row.events {
        let more = pairs(&event.attributes).join(", ");
        let more = if more.is_empty() { more } else { format!(": {more}") };
        all.push(format!("{} at {}{more}", event.name, time(event.offset_us)));
    }
    all
}

/// `http.status_code=500`
fn pairs(attributes: &serde_json::Value) -> Vec<String> {
    let pair = |(key, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    };
    attributes.as_object().into_iter().flatten().map(pair).collect()
}

/// One line of a log, as `logs` shows them.
pub fn log_line(line: &LogLine, style: Style) -> String {
    let tone = match line.level {
        "error" | "fatal" => Tone::Bad,
        "warn" => Tone::Warn,
        _ => Tone::Dim,
    };
    let level = style.paint(tone, &text::pad(line.level, 5));
    let service = style.paint(Tone::Bold, &text::clean_line(&line.service));
    format!("{} {level} {service} {}\n", style.paint(Tone::Dim, &line.time), several(&line.text, "    "))
}

/// What may have several lines, the later ones further in.
fn several(text: &str, indent: &str) -> String {
    let lines: Vec<String> = text.lines().map(text::clean_line).collect();
    lines.join(&format!("\n{indent}"))
}

/// Blanks before the bar, and its cells: at least one, and none beyond `cells`.
fn bar(row: &Row, whole: u64, cells: usize) -> (usize, usize) {
    let scale = |us: u64| {
        let at = u128::from(us) * u128::try_from(cells).unwrap_or_default() / u128::from(whole.max(1));
        usize::try_from(at).unwrap_or(cells).min(cells)
    };
    let before = scale(row.offset_us).min(cells.saturating_sub(1));
    (before, scale(row.offset_us.saturating_add(row.duration_us)).saturating_sub(before).max(1))
}

/// To the microsecond below a millisecond.
pub fn time(us: u64) -> String {
    if us < 1000 { format!("{us}us") } else { words::fine_duration(Duration::from_micros(us)) }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::telemetry::view::{Event, Link};

    const ASCII: Style = Style { color: false, unicode: false };

    fn row(depth: usize, service: &str, name: &str, offset_us: u64, duration_us: u64) -> Row {
        Row {
            span: "a".repeat(16),
            parent: None,
            depth,
            service: service.into(),
            name: name.into(),
            kind: "server",
            offset_us,
            duration_us,
            error: false,
            message: String::new(),
            scope: String::new(),
            attributes: json!({}),
            resource: json!({}),
            events: Vec::new(),
            links: Vec::new(),
        }
    }

    fn trace() -> Trace {
        let mut failed = row(2, "cart", "SELECT \x1b[31mfrom carts", 12_000, 700);
        (failed.error, failed.message) = (true, "no such table\ncarts".into());
        Trace {
            trace: "b".repeat(32),
            start: "2026-11-28T07:00:00.000000Z".into(),
            duration_us: 40_000,
            services: vec!["cart".into(), "shop".into()],
            spans: vec![row(0, "shop", "GET /", 0, 40_000), row(1, "cart", "GET /cart", 10_000, 25_000), failed],
            calls: Vec::new(),
            lines: vec![LogLine {
                time: "2026-11-28T07:00:00.012000Z".into(),
                level: "error",
                service: "cart".into(),
                text: "no such\x1b]0;title\x07 table".into(),
                trace: None,
                span: None,
                attributes: json!({}),
            }],
        }
    }

    #[test]
    fn a_span_names_its_links_and_on_demand_all_that_it_says() {
        let mut all = trace();
        all.spans.truncate(1);
        all.lines.clear();
        let first = all.spans.first_mut().unwrap();
        first.links = vec![Link { trace: "c".repeat(32), span: "d".repeat(16) }];
        first.attributes = json!({"http.route": "/", "tries": 2});
        first.events = vec![Event { offset_us: 900, name: "retry".into(), attributes: json!({"after": "1s"}) }];
        assert_snapshot!(render(&all, 60, ASCII, false), @"
        1 span of cart and shop in 40ms
          shop GET /      0us     40ms ############################
               see trace cccccccccccccccccccccccccccccccc, span dddddddddddddddd
        ");
        assert_snapshot!(render(&all, 60, ASCII, true), @"
        1 span of cart and shop in 40ms
          shop GET /      0us     40ms ############################
               see trace cccccccccccccccccccccccccccccccc, span dddddddddddddddd
               http.route=/
               tries=2
               retry at 900us: after=1s
        ");
    }

    #[test]
    fn spans_are_a_tree_with_bars() {
        assert_snapshot!(render(&trace(), 80, ASCII, false), @r"
        3 spans of cart and shop in 40ms, 1 failed
          shop GET /                      0us     40ms ################################
          cart   GET /cart               10ms     25ms         ####################
        ! cart     SELECT from carts     12ms    700us          #
               no such table
               carts

        2026-11-28T07:00:00.012000Z error cart no such table
        ");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_names() {
        let shown = render(&trace(), 60, ASCII, false);
        assert!(shown.lines().skip(1).take(4).all(|line| line.len() <= 60), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}
