//! The first run of a whole platform, recorded once (`first-run.ndjson`) and played here through a
//! terminal emulator at four sizes: what a person sees is a snapshot, and what must hold of every
//! picture is checked over the whole run. Needs no engine.
//!
//! `MACULA_UPDATE_DOCS=1 cargo test --test terminal` also writes the pictures in docs/images.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

use macula::cli::ui::replay::Replay;
use macula::cli::ui::{Size, Style, up_screen};
use macula::event::{Event, Progress};
use macula::model::Invocation;
use serde_json::Value;

mod examples;
mod picture;

/// The smallest usual one, two of today's, and a narrow pane.
const SIZES: [(usize, usize); 4] = [(80, 24), (120, 40), (200, 50), (40, 20)];
/// From one picture to the next.
const TICK: Duration = Duration::from_millis(500);

/// Seconds: the engine is installed, the base is made, images are built, the last of them.
const MOMENTS: [u64; 4] = [25, 75, 240, 400];

const STYLE: Style = Style { color: true, unicode: true };

/// Events with their times since the beginning.
fn recorded() -> Vec<(Duration, Event)> {
    let lines = include_str!("first-run.ndjson").lines();
    lines
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect("each line is JSON");
            let at = value["at"].as_u64().expect("each event has its time");
            (Duration::from_millis(at), serde_json::from_value(value).expect("each line is an event"))
        })
        .collect()
}

/// The services of the recorded run that go on running.
fn services() -> BTreeSet<String> {
    let plans = recorded().into_iter().filter_map(|(_, event)| match event {
        Event::Started { steps, .. } => Some(steps),
        _ => None,
    });
    plans.flatten().filter(|step| step.service).map(|step| step.group).collect()
}

/// A terminal, and the run that is played on it.
struct Stage {
    replay: Replay,
    screen: vt100::Parser,
    events: std::vec::IntoIter<(Duration, Event)>,
    next: Option<(Duration, Event)>,
}

impl Stage {
    fn new((columns, rows): (usize, usize)) -> Self {
        let mut events = recorded().into_iter();
        let next = events.next();
        Self { replay: Replay::new(Size { columns, rows }, STYLE), screen: terminal(columns, rows), events, next }
    }

    /// Plays everything up to this time, and paints.
    fn play_to(&mut self, at: Duration) {
        while let Some((time, event)) = self.next.take_if(|(time, _)| *time <= at) {
            self.replay.report(time, event);
            self.next = self.events.next();
        }
        self.paint(at);
    }

    fn paint(&mut self, at: Duration) {
        let frame = self.replay.paint(at);
        self.screen.process(&frame);
    }

    fn is_over(&self) -> bool {
        self.next.is_none()
    }

    fn rows(&self) -> Vec<String> {
        let columns = self.screen.screen().size().1.get();
        self.screen.screen().rows(0, columns).map(|row| row.trim_end().to_owned()).collect()
    }

    fn text(&self) -> String {
        self.rows().join("\n").trim_end().to_owned()
    }
}

/// Plays the whole run at one size and hands out every picture.
fn each_picture(size: (usize, usize), mut look: impl FnMut(Duration, &mut Stage)) {
    let mut stage = Stage::new(size);
    let mut at = Duration::ZERO;
    while !stage.is_over() {
        at += TICK;
        stage.play_to(at);
        if !stage.is_over() {
            look(at, &mut stage);
        }
    }
}

/// An emulator of this size.
fn terminal(columns: usize, rows: usize) -> vt100::Parser {
    let size = |cells: usize| NonZeroU16::new(u16::try_from(cells).expect("a small number")).expect("at least one");
    vt100::Parser::new(size(rows), size(columns), 0)
}

fn spins(row: &str) -> bool {
    row.trim_start().starts_with(|c: char| ('\u{2801}'..='\u{28ff}').contains(&c))
}

/// A row without what a clock or a spinner changes by itself.
fn without_clocks(row: &str) -> String {
    let mut out = String::new();
    for word in row.split(' ') {
        let is_time =
            word.ends_with('s') && word.trim_end_matches('s').chars().all(|c| c.is_ascii_digit() || ".m".contains(c));
        let is_spinner = word.chars().count() == 1 && spins(word);
        if !is_time && !is_spinner {
            out.push_str(word);
            out.push(' ');
        }
    }
    out
}

#[test]
fn a_first_run_reads_well_at_every_size() {
    for (columns, rows) in SIZES {
        let mut stage = Stage::new((columns, rows));
        for seconds in MOMENTS {
            stage.play_to(Duration::from_secs(seconds));
            insta::assert_snapshot!(format!("first-run-{columns}x{rows}-{seconds:03}s"), stage.text());
        }
    }
}

#[test]
fn only_what_works_moves() {
    for size in SIZES {
        each_picture(size, |at, stage| {
            let before = stage.rows();
            stage.paint(at + Duration::from_millis(400));
            // the headline has the clock of the whole run, and who waits for long says why below
            let moves = |row: &String| !row.starts_with("Starting macula") && !row.starts_with("     ");
            for row in stage.rows().iter().filter(|row| moves(row) && !before.contains(row)) {
                assert!(spins(row), "{size:?} at {at:?}: this moves and does not work:\n{row}");
            }
            stage.paint(at);
        });
    }
}

#[test]
fn at_most_two_builds_work_at_once() {
    each_picture((200, 50), |at, stage| {
        let building = stage.rows().iter().filter(|row| spins(row) && row.contains(" building ")).count();
        assert!(building <= 2, "{building} at {at:?}:\n{}", stage.text());
    });
}

#[test]
fn the_sum_only_grows_and_agrees_with_the_rows() {
    let services = services();
    for size in SIZES {
        let mut last = 0;
        each_picture(size, |at, stage| {
            let rows = stage.rows();
            // before that the engine is installed
            let Some(head) = rows.iter().find(|row| row.starts_with("Starting macula")) else { return };
            let words: Vec<&str> = head.split_whitespace().collect();
            let place = words.iter().position(|word| *word == "of").expect("a sum");
            let done: usize = words[place - 1].parse().expect("a number");
            let all: usize = words[place + 1].parse().expect("a number");
            assert_eq!(all, services.len(), "{head}");
            assert!(last <= done && done <= all, "{size:?} at {at:?}: {last} before, {head}");
            last = done;
            if size == (200, 50) {
                let is_service =
                    |row: &&String| row.split_whitespace().nth(1).is_some_and(|name| services.contains(name));
                let started = rows.iter().filter(|row| row.starts_with(" ✔")).filter(is_service);
                assert_eq!(started.count(), done, "at {at:?}:\n{}", stage.text());
            }
        });
        assert!(last + 1 >= services.len(), "nearly all are started just before the end: {last}");
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for size in SIZES {
        each_picture(size, |at, stage| {
            let screen = stage.screen.screen();
            let wrapped = (0..screen.size().0.get()).find(|row| screen.row_wrapped(*row));
            assert_eq!(wrapped, None, "{size:?} at {at:?}:\n{}", stage.text());
            assert!(stage.rows().iter().filter(|row| !row.is_empty()).count() < size.1, "{size:?} at {at:?}: too high");
        });
    }
}

/// Something that a picture has to show.
fn is_seen(event: &Event) -> bool {
    match event {
        Event::StepStarted { .. } | Event::StepDone { .. } => true,
        Event::StepProgress { progress: Progress::Line { text }, .. } => !text.trim_start().starts_with("--->"),
        _ => false,
    }
}

/// The longest minutes are those in which a program of the host works: what it says is seen. Where it says
/// nothing there is nothing to see (the recording is a real one, of a machine with ten other things to do).
/// A narrow pane has no room for it.
#[test]
fn what_is_told_is_seen_within_five_seconds() {
    let told: Vec<Duration> =
        recorded().into_iter().filter(|(_, event)| is_seen(event)).map(|(time, _)| time).collect();
    for size in SIZES.into_iter().filter(|(columns, _)| *columns >= 80) {
        let mut shown = Vec::new();
        let mut since = Duration::ZERO;
        each_picture(size, |at, stage| {
            let now: Vec<String> = stage.rows().iter().map(|row| without_clocks(row)).collect();
            if now != shown {
                (shown, since) = (now, at);
            }
            let long_ago = at.saturating_sub(Duration::from_secs(5));
            assert!(
                !told.iter().any(|time| *time > since && *time <= long_ago),
                "{size:?}: nothing new from {since:?} to {at:?}:\n{}",
                stage.text()
            );
        });
    }
}

#[test]
fn the_last_picture_is_one_line() {
    let services = services();
    for size in SIZES {
        let mut stage = Stage::new(size);
        stage.play_to(Duration::from_secs(3600));
        let text = stage.text();
        let last = text.lines().rfind(|line| !line.starts_with("  ")).unwrap_or_default();
        assert!(last.starts_with("✔ macula is up"), "{text}");
        let rows = text.lines().filter(|line| services.iter().any(|name| line.starts_with(&format!(" ✔ {name} "))));
        assert_eq!(rows.count(), 0, "{text}");
        assert!(!stage.screen.screen().hide_cursor(), "the cursor is back");
    }
}

#[test]
fn the_pictures_of_the_documentation_are_current() {
    let mut stage = Stage::new((96, 24));
    stage.play_to(Duration::from_secs(240));
    picture::current("first-run.svg", "A first run of macula up after four minutes", stage.screen.screen());

    let mut stage = Stage::new((96, 24));
    stage.screen.process(b"$ macula up\r\n");
    stage.play_to(Duration::from_secs(3600));
    stage.screen.process(examples::up().replace('\n', "\r\n").as_bytes());
    picture::current("up.svg", "The last screen of macula up", stage.screen.screen());

    let mut screen = terminal(96, 24);
    screen.process(b"$ macula status\r\n");
    screen.process(examples::status().replace('\n', "\r\n").as_bytes());
    picture::current("status.svg", "macula status with a service that crashes", screen.screen());

    let others = [
        ("plan.svg", "macula plan after some changes", "macula plan", examples::plan()),
        ("mistakes.svg", "macula up with mistakes in a Compose file", "macula up", examples::mistakes()),
    ];
    for (file, title, typed, shown) in others {
        let mut screen = terminal(96, 40);
        screen.process(format!("$ {typed}\r\n").as_bytes());
        screen.process(shown.replace('\n', "\r\n").as_bytes());
        picture::current(file, title, screen.screen());
    }
}

#[test]
fn the_last_screen_fits_every_size() {
    for (columns, rows) in SIZES {
        let (entries, notices, next) = (examples::entries(), examples::notices(), examples::next());
        let shown = up_screen::screen(&entries, &notices, &next, &Invocation::default(), columns, STYLE);
        let mut screen = terminal(columns, 100);
        screen.process(shown.replace('\n', "\r\n").as_bytes());
        let used = screen.screen().rows(0, 200).filter(|row| !row.trim().is_empty()).count();
        assert!(used <= rows, "{columns}x{rows}:\n{shown}");
        assert!((0..100).all(|row| !screen.screen().row_wrapped(row)), "{columns}x{rows}:\n{shown}");
    }
}
