//! A run as lines: what works first said in full, what waits in a few words. Pure.

use std::time::Duration;

use super::super::line::Line;
use super::super::run::{Group, Run, Standing, Step};
use super::super::{Style, Tone, text};
use crate::event::Doing;

/// Longer lines are hard to read, however wide the terminal is.
const WIDEST: usize = 118;
/// Columns of a progress bar.
const BAR: usize = 20;
/// Lines of a failure while others still run; the error at the end shows all.
const FAILURE_LINES: usize = 3;
/// A service that does not answer by then says why, on a line of its own.
const PATIENCE: Duration = Duration::from_secs(2);
const INDENT: &str = "     ";

/// How the run is looked at.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct View {
    pub style: Style,
    pub now: Duration,
    pub columns: usize,
    /// Rows of the terminal; `None`: the last picture, as long as it is.
    pub rows: Option<usize>,
    /// The last picture shows every row.
    pub verbose: bool,
    pub left: Option<Duration>,
}

/// How much is folded so that the picture fits; each level includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fold {
    Nothing,
    /// One line for each group.
    Details,
    /// One line for all groups that are through.
    Done,
    /// One line for all that wait.
    Waiting,
}

/// The picture: never wider than the terminal, and, while live, less high.
pub(in super::super) fn lines(run: &Run, view: &View) -> Vec<String> {
    let width = view.columns.saturating_sub(1).clamp(1, WIDEST);
    if view.rows.is_none() && !view.verbose && !run.command.is_empty() && run.outcome.is_some() {
        // what came of it is said in one line; results and errors follow below
        return footer(run, view).iter().map(|line| line.render(view.style, width)).collect();
    }
    // the cursor rests on a row of its own
    let room = view.rows.map_or(usize::MAX, |rows| rows.saturating_sub(1).max(1));
    let mut picture = Vec::new();
    for fold in [Fold::Nothing, Fold::Details, Fold::Done, Fold::Waiting] {
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
    out.extend(header(run, view, width));
    let names = run.groups.iter().map(|group| text::width(&group.name)).max().unwrap_or(0);
    let names = names.min(24).min(width / 3);
    if fold >= Fold::Done {
        out.extend(folded(run, view, "done", |_, standing| standing == Standing::Done));
    }
    for group in &run.groups {
        let hidden = match run.standing(group) {
            Standing::Done => fold >= Fold::Done,
            Standing::Waiting | Standing::Queued(_) | Standing::Skipped => fold >= Fold::Waiting,
            Standing::Working | Standing::Failed => false,
        };
        if !hidden {
            draw_group(run, group, view, names, width, fold, &mut out);
        }
    }
    if fold >= Fold::Waiting {
        let skipped = |group: &Group, standing| standing == Standing::Skipped && !group.was_started();
        let started = |group: &Group, standing| standing == Standing::Skipped && group.was_started();
        out.extend(folded(run, view, "started, not waited for", started));
        out.extend(folded(run, view, "not begun", skipped));
        let queued = |load: bool| {
            move |group: &Group, standing: Standing| {
                matches!(standing, Standing::Queued(_)) && group.is_queued_to_load() == load
            }
        };
        out.extend(folded(run, view, "queued for a build", queued(false)));
        out.extend(folded(run, view, "queued to be loaded", queued(true)));
        out.extend(folded(run, view, "waiting", |_, standing| standing == Standing::Waiting));
    }
    out.extend(footer(run, view));
    out
}

/// `Starting macula  3 of 11 services · 1m33s · about 1m40s left`
fn header(run: &Run, view: &View, width: usize) -> Option<Line> {
    if run.command.is_empty() {
        return None;
    }
    let (settled, all, what) = run.counts();
    let mut line = Line::default();
    line.push(Tone::Bold, title(&run.command, &run.platform));
    let took = match &run.outcome {
        Some(outcome) => Duration::from_millis(outcome.millis),
        None => view.now.saturating_sub(run.began),
    };
    let left = view.left.filter(|left| !left.is_zero());
    if let Some(left) = left
        && took + left > Duration::from_secs(5)
        && width >= 79
    {
        line.push(Tone::Plain, "  ")
            .push(Tone::Active, view.style.thin_bar(took.as_millis(), (took + left).as_millis(), BAR));
    }
    let dot = view.style.symbol(" · ", " - ");
    let left = left.filter(|left| *left + took > Duration::from_secs(5));
    let what = if what.is_empty() { String::new() } else { format!(" {what}{}", if all == 1 { "" } else { "s" }) };
    let sum = (all > 0).then(|| format!("{settled} of {all}{what}"));
    let long = [sum, Some(text::duration(took)), left.map(|left| format!("{} left", text::roughly(left)))];
    let short = [
        (all > 0).then(|| format!("{settled} of {all}")),
        Some(text::duration(took)),
        left.map(|left| format!("{} left", text::roughly(left).replace("about ", "~").replace("a few seconds", "~5s"))),
    ];
    let joined = |parts: [Option<String>; 3]| parts.into_iter().flatten().collect::<Vec<_>>().join(dot);
    let long = joined(long);
    let fits = line.width() + 2 + text::width(&long) <= width;
    line.push(Tone::Dim, format!("  {}", if fits { long } else { joined(short) }));
    Some(line)
}

/// `macula up` of a platform as people say it.
pub(in super::super) fn title(command: &str, platform: &str) -> String {
    let words = command.strip_prefix("macula ").unwrap_or(command);
    match words {
        // what comes before a command's own work, as the start of an engine
        "" => "Preparing this machine".to_owned(),
        "up" | "start" => format!("Starting {platform}"),
        "down" => format!("Taking {platform} down"),
        "stop" => format!("Stopping services of {platform}"),
        "restart" => format!("Restarting services of {platform}"),
        _ => format!("{words} {platform}"),
    }
}

/// How it ended.
fn footer(run: &Run, view: &View) -> Vec<Line> {
    let Some(outcome) = run.outcome.as_ref().filter(|outcome| !outcome.summary.is_empty()) else { return Vec::new() };
    // what is left out is said below; it is no failure
    let (tone, symbol) = if outcome.ok { (Tone::Good, view.style.done()) } else { (Tone::Bad, view.style.failed()) };
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
fn folded(run: &Run, view: &View, word: &str, wanted: impl Fn(&Group, Standing) -> bool) -> Option<Line> {
    let groups = run.groups.iter().filter(|group| wanted(group, run.standing(group)));
    let names: Vec<&str> = groups.map(|group| group.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let (tone, symbol) = match word {
        "done" => (Tone::Good, view.style.done()),
        "not begun" | "started, not waited for" => (Tone::Warn, view.style.skipped()),
        _ => (Tone::Dim, view.style.pending()),
    };
    let mut line = Line::default();
    line.push(Tone::Plain, " ").push(tone, symbol).push(Tone::Plain, format!(" {} {word}", names.len()));
    line.push(Tone::Dim, format!("  {}", names.join(", ")));
    Some(line)
}

/// What a row says behind its name.
#[derive(Default)]
struct Row {
    word: String,
    /// Only what works has its word in full brightness.
    tone: Tone,
    detail: Line,
    below: Vec<Line>,
}

fn draw_group(run: &Run, group: &Group, view: &View, names: usize, width: usize, fold: Fold, out: &mut Vec<Line>) {
    let style = view.style;
    let standing = run.standing(group);
    // a last picture without an outcome: it was broken off
    let over = view.rows.is_none();
    let (tone, symbol) = match standing {
        Standing::Working if over => (Tone::Warn, style.skipped()),
        Standing::Working => (Tone::Active, style.spinner(view.now)),
        Standing::Done => (Tone::Good, style.done()),
        Standing::Failed => (Tone::Bad, style.failed()),
        Standing::Skipped => (Tone::Warn, style.skipped()),
        Standing::Waiting | Standing::Queued(_) => (Tone::Dim, style.pending()),
    };
    let bright = if standing == Standing::Working { Tone::Bold } else { Tone::Plain };
    // behind the mark, the name, the word and the time
    let room = width.saturating_sub(3 + names + 2 + WORD + 1 + 6 + 2);
    let row = row(run, group, standing, view, over, room);
    let mut line = Line::default();
    let name = text::pad(&text::fit(&group.name, names, style), names);
    line.push(Tone::Plain, " ").push(tone, symbol).push(Tone::Plain, " ").push(bright, name);
    let took = taken(group, standing, view.now).map(text::duration).unwrap_or_default();
    let word = text::pad(&row.word, WORD);
    if standing == Standing::Working || standing == Standing::Done || standing == Standing::Failed {
        line.push(row.tone, format!("  {word}")).push(Tone::Dim, format!(" {}", text::pad_left(&took, 6)));
        line.push(Tone::Plain, "  ").append(row.detail);
    } else {
        line.push(row.tone, format!("  {}", row.word)).push(Tone::Dim, " ").append(row.detail);
    }
    if standing == Standing::Failed {
        failures(group, fold, width, &mut line, out);
        return;
    }
    out.push(line);
    if fold < Fold::Details {
        out.extend(row.below);
    }
}

/// The time after the word: of the whole row, or of the wait alone where its limit stands behind it.
fn taken(group: &Group, standing: Standing, now: Duration) -> Option<Duration> {
    let mut working = group.working();
    match (working.next(), working.next()) {
        (Some(step), None) if standing == Standing::Working && is_late(step, now) => Some(step.worked(now)),
        _ => group.worked(now),
    }
}

/// It waits for a service that takes its time.
fn is_late(step: &Step, now: Duration) -> bool {
    step.doing == Doing::Await && step.limit.is_some() && step.worked(now) >= PATIENCE
}

/// Columns of the word: `restarted` is the longest of the common ones.
const WORD: usize = 9;

fn row(run: &Run, group: &Group, standing: Standing, view: &View, over: bool, room: usize) -> Row {
    let mut row = Row { tone: Tone::Dim, ..Row::default() };
    match standing {
        Standing::Working if over => {
            row.word = "stopped".into();
            row.tone = Tone::Warn;
            let step = group.working().next().filter(|step| !step.text.is_empty());
            row.detail.push(Tone::Dim, step.map(|step| step.text.clone()).unwrap_or_default());
        }
        Standing::Working => working(group, view, &mut row, room),
        Standing::Done => {
            row.word = group.result().into();
            row.detail.push(Tone::Dim, group.note().unwrap_or_default());
        }
        Standing::Failed => {
            row.word = "failed".into();
            row.tone = Tone::Bad;
        }
        // its container runs: only the wait for it was given up
        Standing::Skipped if group.was_started() => {
            row.word = "started".into();
            row.detail.push(Tone::Dim, "not waited for");
        }
        Standing::Skipped => {
            row.word = "not begun".into();
            let because = group.skipped_because().filter(|why| !why.is_empty() && *why != "stopped");
            row.detail.push(
                Tone::Dim,
                because.map(|why| format!("{} {why}", view.style.symbol("·", "-"))).unwrap_or_default(),
            );
        }
        Standing::Queued(_) | Standing::Waiting if over => row.word = "not begun".into(),
        Standing::Queued(place) => {
            row.word = "queued".into();
            let what = if group.is_queued_to_load() { "to be loaded" } else { "for a build" };
            row.detail.push(Tone::Dim, format!("{what} ({})", ordinal(place)));
        }
        Standing::Waiting => {
            row.word = "waiting".into();
            let blockers = run.blockers(group);
            if !blockers.is_empty() {
                row.detail.push(Tone::Dim, format!("for {}", blockers.join(", ")));
            }
        }
    }
    row
}

fn ordinal(place: usize) -> String {
    match (place % 10, place % 100) {
        _ if place == 1 => "next".into(),
        (1, rest) if rest != 11 => format!("{place}st"),
        (2, rest) if rest != 12 => format!("{place}nd"),
        (3, rest) if rest != 13 => format!("{place}rd"),
        _ => format!("{place}th"),
    }
}

fn working(group: &Group, view: &View, row: &mut Row, room: usize) {
    let steps: Vec<&Step> = group.working().collect();
    row.tone = Tone::Plain;
    match steps.as_slice() {
        [] => {}
        [step] => {
            row.word = word_of(step, view.now);
            detail(step, view, &mut row.detail, room);
            if let Some(reason) = late(step, view.now) {
                let mut line = Line::default();
                line.push(Tone::Plain, INDENT).push(Tone::Dim, reason);
                row.below.push(line);
            }
        }
        steps => {
            row.word = word_of(steps[0], view.now);
            row.detail.push(Tone::Plain, format!("{} at once", steps.len()));
            let whole = view.columns.saturating_sub(1).clamp(1, WIDEST);
            row.below.extend(steps.iter().map(|step| child(step, view, whole)));
        }
    }
}

fn word_of(step: &Step, now: Duration) -> String {
    match step.doing {
        Doing::Cluster | Doing::Other => "working".into(),
        Doing::Await if step.worked(now) < PATIENCE => "starting".into(),
        _ => step.verb().to_owned(),
    }
}

/// Why a service does not answer, once that has taken a while.
fn late(step: &Step, now: Duration) -> Option<&str> {
    let waits = matches!(step.doing, Doing::Await | Doing::Job) && step.worked(now) >= PATIENCE;
    step.waiting.as_deref().filter(|_| waits)
}

/// How far a step is, in so many columns. What a program says is cut in its middle: packages and files,
/// by which two lines differ, stand at the end.
fn detail(step: &Step, view: &View, line: &mut Line, room: usize) {
    let style = view.style;
    match step.doing {
        Doing::Await if step.worked(view.now) >= PATIENCE => {
            if let Some(limit) = step.limit {
                line.push(Tone::Dim, format!("of {}", text::duration(limit)));
            }
            return;
        }
        Doing::Await => return,
        Doing::Stop if step.worked(view.now) >= PATIENCE => {
            line.push(Tone::Dim, "no reaction to the stop signal yet; killed when its grace period ends");
            return;
        }
        Doing::Cluster | Doing::Other if !step.text.is_empty() => {
            line.push(Tone::Plain, format!("{}  ", step.text));
        }
        _ => {}
    }
    if let Some(sum) = step.transfer.sum() {
        // the numbers first: they are what is cut last
        let amount = match sum.total {
            Some(total) => text::bytes_of(sum.current, total),
            None => text::bytes(sum.current),
        };
        line.push(Tone::Plain, format!("{amount} "));
        if let Some(total) = sum.total {
            line.push(Tone::Active, style.bar(sum.current, total, BAR));
        }
        line.push(Tone::Dim, format!(" {}", sum.phase));
        return;
    }
    if let Some(stage) = &step.stage {
        line.push(Tone::Plain, format!("{stage}  "));
    }
    if let Some(said) = step.line.as_ref().or(step.waiting.as_ref()) {
        let left = room.saturating_sub(line.width()).max(8);
        line.push(Tone::Dim, text::fit_middle(said, left, style));
    }
}

/// One of several steps under way in a group.
fn child(step: &Step, view: &View, room: usize) -> Line {
    let mut line = Line::default();
    line.push(Tone::Dim, format!("   {} ", view.style.symbol("└", "`")));
    line.push(Tone::Plain, step.text.as_str()).push(Tone::Plain, "  ");
    if step.doing != Doing::Other && step.doing != Doing::Cluster {
        detail(step, view, &mut line, room);
    } else if let Some(said) = step.line.as_ref().or(step.waiting.as_ref()) {
        line.push(Tone::Dim, said.as_str());
    }
    line
}

/// The first line of each failure on the group's line or below it. The whole of it stands in the
/// error at the end.
fn failures(group: &Group, fold: Fold, width: usize, line: &mut Line, out: &mut Vec<Line>) {
    let mut wrapped: Vec<String> = Vec::new();
    for (_, error) in group.failures() {
        let first = error.lines().next().unwrap_or_default();
        wrapped.extend(text::wrap(first, width.saturating_sub(INDENT.len())));
    }
    let room = width.saturating_sub(line.width());
    if wrapped.len() == 1 && wrapped.first().is_some_and(|text| text::width(text) <= room) {
        line.push(Tone::Bad, wrapped.remove(0));
    }
    out.push(std::mem::take(line));
    if fold < Fold::Details {
        wrapped.truncate(FAILURE_LINES);
        for part in wrapped {
            let mut line = Line::default();
            line.push(Tone::Plain, INDENT).push(Tone::Bad, part);
            out.push(line);
        }
    }
}
