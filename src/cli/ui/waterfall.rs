//! `--timings`: when each step ran, and which chain of steps decided how long it took. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::style::Line;
use super::{Style, Tone, text};

/// One step that ran. Times in milliseconds from the start of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    pub id: String,
    pub group: String,
    pub text: String,
    pub start_ms: u64,
    pub duration_ms: u64,
    /// Ids of the steps that had to end before.
    pub after: Vec<String>,
}

impl Span {
    fn end_ms(&self) -> u64 {
        self.start_ms.saturating_add(self.duration_ms)
    }
}

/// Indices of the steps that decided the length of the run, first to last: from the step that
/// ended last, back over the latest of those that it waited for.
pub fn critical_path(spans: &[Span]) -> Vec<usize> {
    let places: HashMap<&str, usize> = spans.iter().enumerate().map(|(at, span)| (span.id.as_str(), at)).collect();
    // of those that end together, the one that lasted longer says more
    let latest = |candidates: &mut dyn Iterator<Item = usize>| {
        candidates
            .filter_map(|at| spans.get(at).map(|span| (span.end_ms(), span.duration_ms, std::cmp::Reverse(at))))
            .max()
            .map(|(_, _, at)| at.0)
    };
    let mut path = Vec::new();
    let mut next = latest(&mut (0..spans.len()));
    while let Some(at) = next {
        path.push(at);
        let before = spans.get(at).map(|span| span.after.as_slice()).unwrap_or_default();
        // a step met before would be a cycle
        let mut candidates =
            before.iter().filter_map(|id| places.get(id.as_str()).copied()).filter(|at| !path.contains(at));
        next = latest(&mut candidates);
    }
    path.reverse();
    path
}

/// The steps in the order in which they began, each with a bar where it ran; `*` marks the
/// critical path. `width`: columns to fill.
pub fn waterfall(spans: &[Span], width: usize, style: Style) -> String {
    let critical = critical_path(spans);
    let whole = spans.iter().map(Span::end_ms).max().unwrap_or(0);
    let busy: u64 = critical.iter().filter_map(|at| spans.get(*at)).map(|span| span.duration_ms).sum();
    let mut out = format!(
        "{} in {}, {} of them on the critical path (*), which took {}\n",
        text::count(spans.len(), "step"),
        time(whole),
        critical.len(),
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
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|at| spans.get(*at).map(|span| (span.start_ms, span.end_ms())));
    for at in order {
        let Some(span) = spans.get(at) else { continue };
        let on_path = critical.contains(&at);
        let tone = if on_path { Tone::Warn } else { Tone::Active };
        let mut line = Line::default();
        line.push(tone, if on_path { "* " } else { "  " });
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
    if ms < 1000 { format!("{ms}ms") } else { text::duration(Duration::from_millis(ms)) }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const ASCII: Style = Style { color: false, unicode: false };

    fn span(id: &str, group: &str, text: &str, start_ms: u64, duration_ms: u64, after: &[&str]) -> Span {
        let after = after.iter().map(|id| (*id).to_owned()).collect();
        Span { id: id.into(), group: group.into(), text: text.into(), start_ms, duration_ms, after }
    }

    fn up() -> Vec<Span> {
        vec![
            span("network", "network", "create network macula", 0, 60, &[]),
            span("image", "images", "pull grafana/grafana:12.1", 2, 6200, &[]),
            span("create", "grafana", "create container macula-grafana-1", 6205, 90, &["network", "image"]),
            span("start", "grafana", "start container macula-grafana-1", 6296, 240, &["create"]),
            span("ready", "grafana", "wait for macula-grafana-1", 6540, 2300, &["start"]),
            span("web", "web", "create container macula-web-1", 61, 80, &["network"]),
            span("web-ready", "web", "wait for macula-web-1", 150, 4000, &["web"]),
        ]
    }

    #[test]
    fn the_path_leads_back_over_the_latest() {
        let spans = up();
        let path: Vec<&str> = critical_path(&spans).into_iter().map(|at| spans[at].id.as_str()).collect();
        assert_eq!(path, ["image", "create", "start", "ready"]);
        assert_eq!(critical_path(&[]), [0; 0]);
    }

    #[test]
    fn a_cycle_and_unknown_steps_end_the_path() {
        let spans = [span("a", "", "", 0, 5, &["b", "gone"]), span("b", "", "", 0, 9, &["a"])];
        assert_eq!(critical_path(&spans), [0, 1]);
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
    fn nothing_ran() {
        assert_snapshot!(waterfall(&[], 80, ASCII), @"0 steps in 0ms, 0 of them on the critical path (*), which took 0ms");
    }
}
