//! A run as lines: one for each group, below it what is under way or went wrong. Pure.

use std::time::Duration;

use super::super::run::{Group, Run, Standing, State, Step};
use super::super::style::Line;
use super::super::{Style, Tone, text};

/// Longer lines are hard to read, however wide the terminal is.
const WIDEST: usize = 118;
/// Columns of a progress bar.
const BAR: usize = 20;
/// Lines of a failure while others still run; the last picture shows all.
const FAILURE_LINES: usize = 6;

/// How the run is looked at.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct View {
    pub style: Style,
    pub now: Duration,
    pub columns: usize,
    /// Rows of the terminal; `None`: the last picture, as long as it is.
    pub rows: Option<usize>,
}

/// How much is folded so that the picture fits; each level includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fold {
    Nothing,
    /// One line for each group.
    Details,
    /// One line for all groups that are through.
    Done,
    /// One line for all that have not begun.
    Pending,
}

/// The picture: never wider than the terminal, and, while live, less high.
pub(in super::super) fn lines(run: &Run, view: &View) -> Vec<String> {
    let width = view.columns.saturating_sub(1).clamp(1, WIDEST);
    // the cursor rests on a row of its own
    let room = view.rows.map_or(usize::MAX, |rows| rows.saturating_sub(1).max(1));
    let mut picture = Vec::new();
    for fold in [Fold::Nothing, Fold::Details, Fold::Done, Fold::Pending] {
        picture = draw(run, view, width, fold);
        if picture.len() <= room {
            break;
        }
    }
    if picture.len() > room {
        let more = picture.len() - room + 1;
        picture.truncate(room.saturating_sub(1));
        let mut line = Line::default();
        line.push(Tone::Dim, format!(" {} {more} more", view.style.symbol("…", "..")));
        picture.push(line);
    }
    picture.iter().map(|line| line.render(view.style, width)).collect()
}

fn draw(run: &Run, view: &View, width: usize, fold: Fold) -> Vec<Line> {
    let mut out = Vec::new();
    out.extend(header(run, view));
    let names = run.groups.iter().map(|group| text::width(&group.name)).max().unwrap_or(0);
    let names = names.min(24).min(width / 3);
    if fold >= Fold::Done {
        out.extend(folded(run, view, Standing::Done));
    }
    for group in &run.groups {
        let hidden = match group.standing() {
            Standing::Done => fold >= Fold::Done,
            Standing::Pending | Standing::Skipped => fold >= Fold::Pending,
            Standing::Running | Standing::Failed => false,
        };
        if !hidden {
            draw_group(run, group, view, names, width, fold, &mut out);
        }
    }
    if fold >= Fold::Pending {
        out.extend(folded(run, view, Standing::Skipped));
        out.extend(folded(run, view, Standing::Pending));
    }
    out.extend(footer(run, view));
    out
}

/// `up macula  5 of 14  12.3s`
fn header(run: &Run, view: &View) -> Option<Line> {
    if run.command.is_empty() {
        return None;
    }
    let (settled, all) = run.counts();
    let mut line = Line::default();
    line.push(Tone::Bold, format!("{} {}", run.command, run.platform));
    if all > 0 {
        line.push(Tone::Dim, format!("  {settled} of {all}"));
    }
    let took = match &run.outcome {
        Some(outcome) => Duration::from_millis(outcome.millis),
        None => view.now.saturating_sub(run.began),
    };
    line.push(Tone::Dim, format!("  {}", text::duration(took)));
    Some(line)
}

/// How it ended.
fn footer(run: &Run, view: &View) -> Vec<Line> {
    let Some(outcome) = &run.outcome else { return Vec::new() };
    let (tone, symbol) = match (outcome.ok, outcome.degraded) {
        (false, _) => (Tone::Bad, view.style.failed()),
        (true, true) => (Tone::Warn, view.style.warning()),
        (true, false) => (Tone::Good, view.style.done()),
    };
    let width = view.columns.saturating_sub(1 + text::width(symbol) + 1).clamp(1, WIDEST);
    let mut out = Vec::new();
    for (at, part) in text::wrap(&outcome.summary, width).into_iter().enumerate() {
        let mut line = Line::default();
        match at {
            0 => line.push(tone, symbol).push(Tone::Bold, format!(" {part}")),
            _ => line.push(Tone::Plain, format!("  {part}")),
        };
        out.push(line);
    }
    out
}

/// `✔ 9 done  network, images, postgres`
fn folded(run: &Run, view: &View, standing: Standing) -> Option<Line> {
    let groups = run.groups.iter().filter(|group| group.standing() == standing);
    let names: Vec<&str> = groups.map(|group| group.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let (tone, symbol, word) = match standing {
        Standing::Done => (Tone::Good, view.style.done(), "done"),
        Standing::Skipped => (Tone::Warn, view.style.skipped(), "skipped"),
        _ => (Tone::Dim, view.style.pending(), "to come"),
    };
    let mut line = Line::default();
    line.push(Tone::Plain, " ").push(tone, symbol).push(Tone::Plain, format!(" {} {word}", names.len()));
    line.push(Tone::Dim, format!("  {}", names.join(", ")));
    Some(line)
}

fn draw_group(run: &Run, group: &Group, view: &View, names: usize, width: usize, fold: Fold, out: &mut Vec<Line>) {
    let style = view.style;
    let standing = group.standing();
    // a last picture without an outcome: it was broken off
    let over = view.rows.is_none();
    let (tone, symbol) = match standing {
        Standing::Running if over => (Tone::Warn, style.skipped()),
        Standing::Running => (Tone::Active, style.spinner(view.now)),
        Standing::Done => (Tone::Good, style.done()),
        Standing::Failed => (Tone::Bad, style.failed()),
        Standing::Skipped => (Tone::Warn, style.skipped()),
        Standing::Pending => (Tone::Dim, style.pending()),
    };
    let mut line = Line::default();
    let name = text::pad(&text::fit(&group.name, names, style), names);
    let settled = matches!(standing, Standing::Done | Standing::Pending);
    line.push(Tone::Plain, " ").push(tone, symbol).push(Tone::Plain, " ");
    line.push(if settled { Tone::Plain } else { Tone::Bold }, name);
    let took = group.elapsed(view.now).map(text::duration).unwrap_or_default();
    line.push(Tone::Dim, format!(" {}  ", text::pad_left(&took, 6)));
    let running: Vec<&Step> = group.running().collect();
    let mut below = Vec::new();
    match standing {
        Standing::Running if over => {
            let step = running.first().copied().or_else(|| next(group));
            let step = step.filter(|step| !step.text.is_empty());
            line.push(Tone::Warn, "stopped").push(Tone::Dim, step.map(|s| format!(": {}", s.text)).unwrap_or_default());
        }
        Standing::Running => match running.as_slice() {
            [] => waiting(run, group, &mut line),
            [step] => detail(step, style, &mut line),
            steps if fold >= Fold::Details => {
                let texts: Vec<&str> = steps.iter().map(|step| step.text.as_str()).collect();
                line.push(Tone::Plain, format!("{} at once: {}", steps.len(), texts.join(", ")));
            }
            steps => {
                line.push(Tone::Plain, format!("{} at once", steps.len()));
                below.extend(steps.iter().map(|step| child(step, view)));
            }
        },
        Standing::Done => {
            line.push(Tone::Dim, group.note().unwrap_or_default());
        }
        Standing::Failed => failures(group, fold, over, width, &mut line, &mut below),
        Standing::Skipped => {
            line.push(Tone::Warn, "skipped");
            line.push(Tone::Plain, group.skipped_because().map(|why| format!(": {why}")).unwrap_or_default());
        }
        Standing::Pending if over => {
            line.push(Tone::Dim, "not begun");
        }
        Standing::Pending => waiting(run, group, &mut line),
    }
    out.push(line);
    out.append(&mut below);
}

/// The step that comes next in a group.
fn next(group: &Group) -> Option<&Step> {
    group.steps.iter().find(|step| step.state == State::Pending)
}

/// Why nothing of a group is under way.
fn waiting(run: &Run, group: &Group, line: &mut Line) {
    let blockers = run.blockers(group);
    if blockers.is_empty() {
        line.push(Tone::Dim, next(group).map(|step| step.text.as_str()).unwrap_or_default());
    } else {
        line.push(Tone::Dim, format!("after {}", blockers.join(", ")));
    }
}

/// What a step does, and how far it is.
fn detail(step: &Step, style: Style, line: &mut Line) {
    line.push(Tone::Plain, step.text.as_str());
    let gap = if step.text.is_empty() { "" } else { "  " };
    if let Some(sum) = step.transfer.sum() {
        match sum.total {
            Some(total) => {
                line.push(Tone::Active, format!("{gap}{}", style.bar(sum.current, total, BAR)));
                line.push(Tone::Plain, format!(" {}", text::bytes_of(sum.current, total)));
            }
            None => {
                line.push(Tone::Plain, format!("{gap}{}", text::bytes(sum.current)));
            }
        }
        line.push(Tone::Dim, format!(" {}", sum.phase));
    } else if let Some(reason) = step.waiting.as_ref().or(step.line.as_ref()) {
        line.push(Tone::Dim, format!("{gap}{reason}"));
    }
}

/// One of several steps under way in a group.
fn child(step: &Step, view: &View) -> Line {
    let mut line = Line::default();
    line.push(Tone::Dim, format!("   {} ", view.style.symbol("└", "`")));
    detail(step, view.style, &mut line);
    line
}

/// The first failure on the group's line, its further lines and further failures below.
fn failures(group: &Group, fold: Fold, over: bool, width: usize, line: &mut Line, below: &mut Vec<Line>) {
    const INDENT: &str = "     ";
    let mut texts = group.failures().map(|(step, error)| match step.text.as_str() {
        "" => error.to_owned(),
        doing => format!("{doing}: {error}"),
    });
    let Some(first) = texts.next() else { return };
    let room = width.saturating_sub(line.width());
    let fits = text::width(first.lines().next().unwrap_or_default()) <= room;
    let (head, rest) = if fits || fold >= Fold::Details {
        first.split_once('\n').map_or((first.as_str(), ""), |(head, rest)| (head, rest))
    } else {
        ("failed", first.as_str())
    };
    line.push(Tone::Bad, head);
    if fold >= Fold::Details {
        return;
    }
    for text in std::iter::once(rest.to_owned()).chain(texts) {
        let mut wrapped = text::wrap(&text, width.saturating_sub(INDENT.len()));
        if !over && wrapped.len() > FAILURE_LINES {
            wrapped.truncate(FAILURE_LINES);
        }
        for part in wrapped {
            let mut line = Line::default();
            line.push(Tone::Plain, INDENT).push(Tone::Bad, part);
            below.push(line);
        }
    }
}
