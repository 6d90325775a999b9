//! The first run of a whole platform, recorded once (`first-run.ndjson`) and played here through a
//! terminal emulator at four sizes: what a person sees is a snapshot, and what must hold of every
//! picture is checked over the whole run. Needs no engine.
//!
//! `MACULA_UPDATE_DOCS=1 cargo test --test terminal` also writes the pictures in docs/images.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::num::NonZeroU16;
use std::time::Duration;

use macula::cli::ui::replay::Replay;
use macula::cli::ui::{Size, Style, up_screen};
use macula::event::Event;
use serde_json::Value;

mod examples;
mod picture;

/// The smallest usual one, two of today's, and a narrow pane.
const SIZES: [(usize, usize); 4] = [(80, 24), (120, 40), (200, 50), (40, 20)];
/// From one picture to the next.
const TICK: Duration = Duration::from_millis(500);

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
        for seconds in [2, 9, 60, 150] {
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
            for (was, is) in before.iter().zip(stage.rows()).skip(1) {
                if *was != is {
                    assert!(spins(&is), "{size:?} at {at:?}: this moves and does not work:\n{was}\n{is}");
                }
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
    for size in SIZES {
        let mut last = 0;
        each_picture(size, |at, stage| {
            let rows = stage.rows();
            let head = rows.iter().find(|row| row.starts_with("Starting macula")).expect("a headline");
            let words: Vec<&str> = head.split_whitespace().collect();
            let place = words.iter().position(|word| *word == "of").expect("a sum");
            let done: usize = words[place - 1].parse().expect("a number");
            let all: usize = words[place + 1].parse().expect("a number");
            assert_eq!(all, 11, "{head}");
            assert!(last <= done && done <= all, "{size:?} at {at:?}: {last} before, {head}");
            last = done;
            if size == (200, 50) {
                let jobs = ["network", "base image", "-schema", "-roles", "s3-buckets", "s3-users"];
                let started =
                    rows.iter().filter(|row| row.starts_with(" ✔") && !jobs.iter().any(|job| row.contains(job)));
                assert_eq!(started.count(), done, "at {at:?}:\n{}", stage.text());
            }
        });
        assert!(last >= 10, "nearly all are started just before the end: {last}");
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

/// The longest minutes are those in which a program of the host works. A narrow pane has no room for
/// what it says.
#[test]
fn no_five_seconds_pass_in_which_only_clocks_move() {
    for size in SIZES.into_iter().filter(|(columns, _)| *columns >= 80) {
        let mut shown = Vec::new();
        let mut since = Duration::ZERO;
        each_picture(size, |at, stage| {
            let now: Vec<String> = stage.rows().iter().map(|row| without_clocks(row)).collect();
            if now != shown {
                (shown, since) = (now, at);
            }
            assert!(
                at - since <= Duration::from_secs(5),
                "{size:?}: nothing new from {since:?} to {at:?}:\n{}",
                stage.text()
            );
        });
    }
}

#[test]
fn the_last_picture_is_one_line() {
    for size in SIZES {
        let mut stage = Stage::new(size);
        stage.play_to(Duration::from_secs(3600));
        assert_eq!(stage.text().lines().count(), 1, "{}", stage.text());
        assert!(stage.text().starts_with("✔ macula is up"), "{}", stage.text());
        assert!(!stage.screen.screen().hide_cursor(), "the cursor is back");
    }
}

#[test]
fn the_pictures_of_the_documentation_are_current() {
    let mut stage = Stage::new((96, 24));
    stage.play_to(Duration::from_secs(60));
    picture::current("first-run.svg", "A first run of macula up after a minute", stage.screen.screen());

    let mut stage = Stage::new((96, 24));
    stage.screen.process(b"$ macula up\r\n");
    stage.play_to(Duration::from_secs(3600));
    stage.screen.process(examples::up().replace('\n', "\r\n").as_bytes());
    picture::current("up.svg", "The last screen of macula up", stage.screen.screen());

    let mut screen = terminal(96, 24);
    screen.process(b"$ macula status\r\n");
    screen.process(examples::status().replace('\n', "\r\n").as_bytes());
    picture::current("status.svg", "macula status with a service that crashes", screen.screen());
}

#[test]
fn the_last_screen_fits_every_size() {
    for (columns, rows) in SIZES {
        let shown = up_screen::screen(&examples::entries(), &examples::notices(), &examples::next(), columns, STYLE);
        let mut screen = terminal(columns, 100);
        screen.process(shown.replace('\n', "\r\n").as_bytes());
        let used = screen.screen().rows(0, 200).filter(|row| !row.trim().is_empty()).count();
        assert!(used <= rows, "{columns}x{rows}:\n{shown}");
        assert!((0..100).all(|row| !screen.screen().row_wrapped(row)), "{columns}x{rows}:\n{shown}");
    }
}
