//! `--timings`: when each step ran, and which chain of steps decided how long it took. Pure.

use std::time::Duration;

use super::line::Line;
use super::{Style, Tone, text};
use crate::words;

/// One step that ran. Times in milliseconds from the start of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    pub group: String,
    pub text: String,
    pub start_ms: u64,
    pub duration_ms: u64,
    /// Whether it is one of those that decided how long the run took.
    pub critical: bool,
}

impl Span {
    fn end_ms(&self) -> u64 {
        self.start_ms.saturating_add(self.duration_ms)
    }
}

/// The steps in the order in which they began, each with a bar where it ran; `*` marks the
/// critical path. `width`: columns to fill.
pub fn waterfall(spans: &[Span], width: usize, style: Style) -> String {
    let critical = || spans.iter().filter(|span| span.critical);
    let whole = spans.iter().map(Span::end_ms).max().unwrap_or(0);
    let busy: u64 = critical().map(|span| span.duration_ms).sum();
    let mut out = format!(
        "{} in {}, {} of them on the critical path (*), which took {}\n",
        text::count(spans.len(), "step"),
        time(whole),
        critical().count(),
        time(busy),
    );
    let column = |of: fn(&Span) -> &str, most: usize| {
        spans.iter().map(|span| text::width(of(span))).max().unwrap_or(0).min(most)
    };
    let groups = column(|span| &span.group, 20);
    // mark, two times of 7 and the blanks between the columns
    let fixed = 2 + groups + 1 + 2 * 8 + 1;
    let left = width.saturating_sub(fixed);
    let texts = column(|span| &span.text, 44).min(left / 2);
    let bars = left.saturating_sub(texts + 1).clamp(10, 80);
    let mut order: Vec<&Span> = spans.iter().collect();
    order.sort_by_key(|span| (span.start_ms, span.end_ms()));
    for span in order {
        let tone = if span.critical { Tone::Warn } else { Tone::Active };
        let mut line = Line::default();
        line.push(tone, if span.critical { "* " } else { "  " });
        line.push(Tone::Bold, text::pad(&text::fit(&span.group, groups, style), groups));
        line.push(Tone::Plain, format!(" {}", text::pad(&text::fit(&span.text, texts, style), texts)));
        line.push(Tone::Dim, format!(" {}", text::pad_left(&time(span.start_ms), 7)));
        line.push(Tone::Plain, format!(" {} ", text::pad_left(&time(span.duration_ms), 7)));
        let (before, long) = bar(span, whole, bars);
        line.push(Tone::Plain, " ".repeat(before));
        line.push(tone, style.symbol("█", "#").repeat(long));
        out.push_str(line.render(style, width.max(fixed + 1 + bars + texts)).trim_end());
        out.push('\n');
    }
    out
}

/// One row for each group, with the parts of its work in one bar: its image, making and starting the
/// container, and waiting until it answers. The order is that in which they began.
pub fn by_group(spans: &[Span], width: usize, style: Style) -> String {
    let whole = spans.iter().map(Span::end_ms).max().unwrap_or(0);
    let mut groups: Vec<(&str, Vec<&Span>)> = Vec::new();
    let mut order: Vec<&Span> = spans.iter().collect();
    order.sort_by_key(|span| (span.start_ms, span.end_ms()));
    for span in order {
        match groups.iter_mut().find(|(name, _)| *name == span.group) {
            Some((_, parts)) => parts.push(span),
            None => groups.push((&span.group, vec![span])),
        }
    }
    let names = groups.iter().map(|(name, _)| text::width(name)).max().unwrap_or(0).min(24).min(width / 3);
    let fixed = 2 + names + 1 + 8 + 1;
    let cells = width.saturating_sub(fixed).clamp(10, 80);
    let marks = [style.symbol("█", "#"), style.symbol("▓", "+"), style.symbol("░", ".")];
    let mut out = format!(
        "{} in {} (-v: all of them); * decided how long it took\n  {} image  {} create and start  {} wait\n",
        text::count(spans.len(), "step"),
        time(whole),
        marks[0],
        marks[1],
        marks[2]
    );
    for (name, parts) in groups {
        let critical = parts.iter().any(|span| span.critical);
        let tone = if critical { Tone::Warn } else { Tone::Active };
        let mut row = vec![" "; cells];
        // longer work is drawn last: it is what the eye looks for
        let mut longest = parts.clone();
        longest.sort_by_key(|span| span.duration_ms);
        for span in longest {
            let (before, long) = bar(span, whole, cells);
            row.iter_mut().skip(before).take(long).for_each(|cell| *cell = marks[part(&span.text)]);
        }
        let worked: u64 = parts.iter().map(|span| span.duration_ms).sum();
        let mut line = Line::default();
        line.push(tone, if critical { "* " } else { "  " });
        line.push(Tone::Bold, text::pad(&text::fit(name, names, style), names));
        line.push(Tone::Plain, format!(" {} ", text::pad_left(&time(worked), 8)));
        line.push(tone, row.concat());
        out.push_str(line.render(style, width.max(fixed + cells)).trim_end());
        out.push('\n');
    }
    out
}

/// Which part of a service's way a step is, by its first word.
fn part(step: &str) -> usize {
    match step.split(' ').next().unwrap_or_default() {
        "build" | "pull" | "make" => 0,
        "await" => 2,
        _ => 1,
    }
}

/// Blanks before the bar, and its cells: at least one, and none beyond `cells`.
fn bar(span: &Span, whole: u64, cells: usize) -> (usize, usize) {
    let scale = |ms: u64| {
        let at = u128::from(ms) * u128::try_from(cells).unwrap_or_default() / u128::from(whole.max(1));
        usize::try_from(at).unwrap_or(cells)
    };
    let before = scale(span.start_ms).min(cells.saturating_sub(1));
    (before, scale(span.end_ms()).saturating_sub(before).max(1))
}

/// To the millisecond below a second: that is where ours lie.
fn time(ms: u64) -> String {
    words::fine_duration(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const ASCII: Style = Style { color: false, unicode: false };

    fn span(group: &str, text: &str, start_ms: u64, duration_ms: u64, critical: bool) -> Span {
        Span { group: group.into(), text: text.into(), start_ms, duration_ms, critical }
    }

    fn up() -> Vec<Span> {
        vec![
            span("network", "create network macula", 0, 60, false),
            span("images", "pull grafana/grafana:12.1", 2, 6200, true),
            span("grafana", "create container macula-grafana-1", 6205, 90, true),
            span("grafana", "start container macula-grafana-1", 6296, 240, true),
            span("grafana", "wait for macula-grafana-1", 6540, 2300, true),
            span("web", "create container macula-web-1", 61, 80, false),
            span("web", "wait for macula-web-1", 150, 4000, false),
        ]
    }

    #[test]
    fn bars_lie_where_the_steps_ran() {
        assert_snapshot!(waterfall(&up(), 110, ASCII), @r"
        7 steps in 8.8s, 4 of them on the critical path (*), which took 8.8s
          network create network macula                 0ms    60ms #
        * images  pull grafana/grafana:12.1             2ms    6.2s ##################################
          web     create container macula-web-1        61ms    80ms #
          web     wait for macula-web-1               150ms    4.0s #######################
        * grafana create container macula-grafana-1    6.2s    90ms                                   #
        * grafana start container macula-grafana-1     6.2s   240ms                                   ##
        * grafana wait for macula-grafana-1            6.5s    2.3s                                     #############
        ");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_texts() {
        let shown = waterfall(&up(), 60, ASCII);
        assert!(shown.lines().skip(1).all(|line| line.len() <= 60), "{shown}");
        assert_snapshot!(shown, @r"
        7 steps in 8.8s, 4 of them on the critical path (*), which took 8.8s
          network create network..     0ms    60ms #
        * images  pull grafana/g..     2ms    6.2s ###########
          web     create contain..    61ms    80ms #
          web     wait for macul..   150ms    4.0s #######
        * grafana create contain..    6.2s    90ms            #
        * grafana start containe..    6.2s   240ms            #
        * grafana wait for macul..    6.5s    2.3s            #####
        ");
    }

    #[test]
    fn a_service_is_one_bar_of_its_parts() {
        let spans = [
            span("network", "create network macula", 0, 60, false),
            span("grafana", "build image grafana", 2, 6200, true),
            span("grafana", "create container macula-grafana-1", 6205, 90, true),
            span("grafana", "start container macula-grafana-1", 6296, 700, true),
            span("grafana", "await container macula-grafana-1", 7000, 1800, true),
            span("web", "create container macula-web-1", 61, 80, false),
            span("web", "await container macula-web-1", 150, 4000, false),
        ];
        assert_snapshot!(by_group(&spans, 60, ASCII), @r"
        7 steps in 8.8s (-v: all of them); * decided how long it took
          # image  + create and start  . wait
          network     60ms +
        * grafana     8.7s ############################++++.........
          web         4.0s ...................
        ");
    }

    #[test]
    fn nothing_ran() {
        assert_snapshot!(waterfall(&[], 80, ASCII), @"0 steps in 0ms, 0 of them on the critical path (*), which took 0ms");
    }
}
