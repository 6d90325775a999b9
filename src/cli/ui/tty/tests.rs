//! Scripts of events, painted to a small terminal at moments of their own.

use std::sync::atomic::{AtomicUsize, Ordering};

use insta::assert_snapshot;

use super::super::testing::vt::Vt;
use super::super::testing::{FakeClock, Out, Script, pipe};
use super::*;
use crate::event::StepInfo;

/// A tree without its thread: painted when the test says so.
struct Stage {
    shared: Shared,
    out: Out,
    clock: FakeClock,
    columns: Arc<AtomicUsize>,
    rows: Arc<AtomicUsize>,
    vt: Vt,
}

impl Stage {
    fn new(columns: usize, rows: usize) -> Self {
        let (mut streams, out, clock) = pipe();
        let (wide, high) = (Arc::new(AtomicUsize::new(columns)), Arc::new(AtomicUsize::new(rows)));
        let (c, r) = (wide.clone(), high.clone());
        streams.style = Style { color: true, unicode: true };
        streams.size = Arc::new(move || Size { columns: c.load(Ordering::SeqCst), rows: r.load(Ordering::SeqCst) });
        Self { shared: Shared::new(streams), out, clock, columns: wide, rows: high, vt: Vt::new(columns, rows) }
    }

    /// Plays the script and paints after each event and at its end.
    fn play(&mut self, script: Script) {
        for (at, event) in script.events() {
            self.clock.set(at);
            self.shared.report(event);
            self.paint();
        }
    }

    fn paint(&mut self) {
        self.shared.paint(None);
        self.vt.write(&self.out.take());
    }

    fn paint_at(&mut self, millis: u64) {
        self.clock.set(millis);
        self.paint();
    }

    fn resize(&mut self, columns: usize, rows: usize) {
        self.columns.store(columns, Ordering::SeqCst);
        self.rows.store(rows, Ordering::SeqCst);
        self.vt.resize(columns, rows);
    }

    fn finish(&mut self) {
        self.shared.settle();
        self.vt.write(&self.out.take());
    }
}

const STEPS: &[(&str, &str, &str, &[&str])] = &[
    ("network", "network", "create network macula", &[]),
    ("pull-a", "images", "pull grafana/grafana:12.1", &[]),
    ("pull-b", "images", "pull postgres:18", &[]),
    ("create", "grafana", "create container macula-grafana-1", &["network", "pull-a"]),
    ("ready", "grafana", "wait for macula-grafana-1", &["create"]),
    ("base", "postgres", "build macula/postgres", &[]),
    ("second", "minio", "build macula/minio", &[]),
    ("alloy", "alloy", "create container macula-alloy-1", &["ready"]),
];

fn under_way() -> Script {
    Script::starting("up", STEPS)
        .start(0, "network")
        .done(80, "network", 80, Some("10.89.0.0/24"))
        .start(100, "pull-a")
        .start(100, "pull-b")
        .start(100, "base")
        .start(100, "second")
        .queued(100, "second")
        .bytes(500, "pull-a", "aa", "Downloading", 20_000_000, 80_000_000)
        .bytes(500, "pull-a", "bb", "Downloading", 8_000_000, 8_000_000)
        .waiting(500, "pull-b", "the registry allows no more at once")
        .line(900, "base", "\x1b[1mSetting up libpq5 (18.1-1)\x1b[0m\n")
}

#[test]
fn a_run_under_way() {
    let mut stage = Stage::new(90, 24);
    stage.play(under_way());
    stage.paint_at(4200);
    assert_snapshot!(stage.vt.screen(), @r"
    Starting macula  0 of 2 services · 4.2s
     ⠹ images    pulling     4.1s  2 at once
       └ pull grafana/grafana:12.1  28.0/88.0 MB ██████░░░░░░░░░░░░░░ downloading
       └ pull postgres:18  the registry allows no more at once
     · minio     queued for a build (next)
     ✔ network   created     0.0s  10.89.0.0/24
     ⠹ postgres  building    4.1s  Setting up libpq5 (18.1-1)
     · alloy     waiting for grafana
     · grafana   waiting for images
    ");
    assert!(!stage.vt.cursor_visible);
}

#[test]
fn a_good_end_leaves_one_line_and_the_cursor() {
    let mut stage = Stage::new(90, 24);
    stage.play(Script::all_kinds());
    assert_snapshot!(stage.vt.history(), @r"
    using Docker 28.2.2
    warning: compose.yaml:4:7: `cpu_shares` is not acted on
    ✔ macula is up · 1 service · 11.0s
    ");
    assert!(stage.vt.cursor_visible);
    stage.finish();
    assert_eq!(stage.out.take(), "", "nothing is left to draw");
}

#[test]
fn with_more_detail_every_line_stays() {
    let mut stage = Stage::new(90, 24);
    stage.shared.verbose = true;
    stage.play(Script::all_kinds());
    assert_snapshot!(stage.vt.history(), @r"
    using Docker 28.2.2
    warning: compose.yaml:4:7: `cpu_shares` is not acted on
    Starting macula  1 of 2 services · 11.0s
     ✔ images   pulled      8.1s  88.0 MB
     ✔ network  created     0.0s
     ↷ alloy    not begun · docker.io cannot be reached
     ✔ grafana  started     2.7s
    ✔ macula is up · 1 service · 11.0s
    ");
}

#[test]
fn a_failure_shows_its_text_while_others_work() {
    let mut stage = Stage::new(70, 24);
    let mut events: Vec<(u64, Event)> = Script::failing().events().collect();
    events.pop();
    for (at, event) in events {
        stage.clock.set(at);
        stage.shared.report(event);
    }
    stage.paint();
    assert_snapshot!(stage.vt.history(), @r"
    Starting macula  1 of 3 services · 1.5s
     ↷ alloy  not begun · it needs loki
     ✖ loki   failed      1.5s
         stopped right after its start (exit code 1)
     ✔ web    started     0.2s
    ");
}

#[test]
fn a_failure_ends_in_one_line() {
    let mut stage = Stage::new(70, 24);
    stage.play(Script::failing());
    assert_snapshot!(stage.vt.history(), @"✖ 1 of 3 services up");
}

#[test]
fn what_was_broken_off_says_so() {
    let mut stage = Stage::new(90, 24);
    stage.play(under_way());
    stage.clock.set(3000);
    stage.finish();
    assert_snapshot!(stage.vt.history(), @r"
    Starting macula  0 of 2 services · 3.0s
     ↷ images    stopped     2.9s  pull grafana/grafana:12.1
     · minio     not begun
     ✔ network   created     0.0s  10.89.0.0/24
     ↷ postgres  stopped     2.9s  build macula/postgres
     · alloy     not begun
     · grafana   not begun
    ");
    assert!(stage.vt.cursor_visible);
}

/// Everything that moves from one picture to the next works.
#[test]
fn only_what_works_moves() {
    let mut stage = Stage::new(90, 24);
    stage.play(under_way());
    stage.paint_at(4200);
    let before = stage.vt.screen();
    stage.paint_at(5500);
    let after = stage.vt.screen();
    let moved: Vec<&str> = before.lines().zip(after.lines()).filter(|(a, b)| a != b).map(|(a, _)| a).collect();
    assert!(moved.iter().skip(1).all(|row| row.contains("pulling") || row.contains("building")), "{moved:?}");
    assert_eq!(moved.len(), 3, "the headline, the pulls and the build: {moved:?}");
}

#[test]
fn a_service_that_does_not_answer_says_why_and_until_when() {
    let mut stage = Stage::new(60, 24);
    let mut script = Script::starting("up", &[("ready", "web", "wait for web", &[])]);
    if let Some((_, Event::Started { steps, .. })) = script.first_mut() {
        steps[0].limit_millis = Some(120_000);
    }
    stage.play(script.start(0, "ready").waiting(
        1000,
        "ready",
        "health check: curl: (7) Failed to connect to localhost",
    ));
    assert_snapshot!(stage.vt.screen(), @r"
    Starting macula  0 of 1 service · 1.0s
     ⠹ web  starting    1.0s
    ");
    stage.paint_at(6100);
    assert_snapshot!(stage.vt.screen(), @r"
    Starting macula  0 of 1 service · 6.1s
     ⠦ web  not ready   6.1s  of 2m00s
         health check: curl: (7) Failed to connect to localhost
    ");
}

#[test]
fn a_narrow_terminal_cuts_the_lines() {
    let mut stage = Stage::new(40, 24);
    stage.play(under_way());
    assert_snapshot!(stage.vt.screen(), @r"
    Starting macula  0 of 2 services · 0.9s
     ⠙ images    pulling     0.8s  2 at on…
       └ pull grafana/grafana:12.1  28.0/8…
       └ pull postgres:18  the registry al…
     · minio     queued for a build (next)
     ✔ network   created     0.0s  10.89.0…
     ⠙ postgres  building    0.8s  Setting…
     · alloy     waiting for grafana
     · grafana   waiting for images
    ");
}

/// `count` services after one that is done, `running` of them started.
fn many(count: usize, running: usize) -> Script {
    let names: Vec<String> = (0..count).map(|at| format!("service-{at:02}")).collect();
    let steps: Vec<(&str, &str, &str, &[&str])> =
        names.iter().map(|name| (name.as_str(), name.as_str(), "start container", &[][..])).collect();
    let mut script = Script::starting("up", &steps);
    for name in names.iter().take(count / 2) {
        script = script.start(0, name).done(1000, name, 1000, None);
    }
    for name in names.iter().skip(count / 2).take(running) {
        script = script.start(1000, name);
    }
    script
}

#[test]
fn a_long_list_folds_what_is_through_and_what_is_to_come() {
    let mut stage = Stage::new(60, 10);
    stage.play(many(40, 3));
    stage.paint_at(2000);
    assert_snapshot!(stage.vt.history(), @r"
    Starting macula  20 of 40 services · 2.0s
     ✔ 20 done  service-00, service-01, service-02, service-03…
     ⠴ service-20  starting    1.0s
     ⠴ service-21  starting    1.0s
     ⠴ service-22  starting    1.0s
     · 17 waiting  service-23, service-24, service-25, service…
    ");
    stage.play(Script::default().finished(3000, true, "macula is up"));
    assert_eq!(stage.vt.history(), "✔ macula is up", "the last picture is folded");
}

#[test]
fn more_under_way_than_rows() {
    let mut stage = Stage::new(60, 6);
    stage.play(many(40, 20));
    stage.paint_at(2000);
    assert_snapshot!(stage.vt.history(), @r"
    Starting macula  20 of 40 services · 2.0s
     ✔ 20 done  service-00, service-01, service-02, service-03…
     ⠴ service-20  starting    1.0s
     ⠴ service-21  starting    1.0s
     … 18 more
    ");
}

#[test]
fn a_draft_gives_way_and_leaves_the_cursor_alone() {
    let mut stage = Stage::new(40, 4);
    let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    stage.shared.draft(&lines(&["one", "two"]));
    stage.shared.draft(&lines(&["one", "two", "three", "four", "five"]));
    let drawn = stage.out.take();
    assert!(!drawn.contains("\x1b[?25l"), "nothing would show it again");
    stage.vt.write(&drawn);
    assert_eq!(stage.vt.screen(), "one\ntwo\nfive");
    stage.shared.report(Event::Info { message: "a note".into() });
    stage.shared.draft(&lines(&["one"]));
    stage.vt.write(&stage.out.take());
    assert_eq!(stage.vt.screen(), "a note\none");
    stage.shared.draft(&[]);
    stage.finish();
    assert_eq!(stage.vt.screen(), "a note");
}

#[test]
fn an_image_of_a_bundle_waits_for_no_build() {
    let mut stage = Stage::new(60, 24);
    stage.play(Script::starting("up", &[("load", "web", "load web", &[])]).start(0, "load").queued(0, "load"));
    let screen = stage.vt.screen();
    assert!(screen.contains(" web  queued to be loaded (next)"), "{screen}");
}

#[test]
fn a_draft_with_wide_lines_leaves_no_rests() {
    let mut stage = Stage::new(20, 6);
    stage.vt.write("$ macula doctor\r\n");
    for made in ["1 of 9 made", "2 of 9 made"] {
        let lines = ["one".to_owned(), "x".repeat(45), "three".into(), "four".into(), made.into()];
        stage.shared.draft(&lines);
        stage.vt.write(&stage.out.take());
    }
    let wide = "x".repeat(20);
    assert_eq!(stage.vt.history(), format!("$ macula doctor\none\n{wide}\n{wide}\nxxxxx\n2 of 9 made"));
    stage.shared.draft(&[]);
    stage.finish();
    assert_eq!(stage.vt.history(), "$ macula doctor");
}

#[test]
fn only_lines_that_differ_are_written() {
    let mut stage = Stage::new(20, 24);
    let mut draw = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        stage.shared.draft(&lines);
        let drawn = stage.out.take();
        stage.vt.write(&drawn);
        (drawn, stage.vt.history())
    };
    let wide = "a line that takes two rows";
    draw(&["first", wide, "third", "old"]);
    let (drawn, seen) = draw(&["first", wide, "third", "new"]);
    assert_eq!(seen, "first\na line that takes tw\no rows\nthird\nnew");
    assert!(drawn.contains("new") && !drawn.contains("first") && !drawn.contains("rows"), "{drawn:?}");
    // what follows a line that takes fewer rows now stands elsewhere
    let (drawn, seen) = draw(&["first", "short", "third", "new"]);
    assert_eq!(seen, "first\nshort\nthird\nnew");
    assert!(drawn.contains("third") && !drawn.contains("first"), "{drawn:?}");
    // now and then all of it is written, in case somebody else wrote there
    let all = (0..30).filter(|at| draw(&["first", &format!("{at}")]).0.contains("first")).count();
    assert!((1..=3).contains(&all), "{all}");
}

#[test]
fn the_last_picture_is_written_whole() {
    let mut screen = Screen::new(false);
    let mut draw = |last: &str, live: bool| {
        let lines = ["first".to_owned(), last.to_owned()];
        screen.frame(&[], &lines, Size { columns: 20, rows: 24 }, live)
    };
    draw("old", true);
    assert!(!draw("new", true).contains("first"));
    assert!(draw("done", false).contains("first"));
}

#[test]
fn a_resize_leaves_no_rests() {
    let mut stage = Stage::new(90, 24);
    stage.vt.write("$ macula up\r\n");
    stage.play(under_way());
    let before = stage.vt.history();
    stage.resize(35, 24);
    stage.paint();
    assert_snapshot!(stage.vt.history(), @r"
    $ macula up
    Starting macula  0 of 2 · 0.9s
     ⠙ images    pulling     0.8s  2 …
       └ pull grafana/grafana:12.1  2…
       └ pull postgres:18  the regist…
     · minio     queued for a build (…
     ✔ network   created     0.0s  10…
     ⠙ postgres  building    0.8s  Se…
     · alloy     waiting for grafana
     · grafana   waiting for images
    ");
    stage.resize(90, 24);
    stage.paint();
    // the line above ours is the user's
    assert_eq!(stage.vt.history(), before);
}

#[test]
fn notes_stay_above_the_tree() {
    let mut stage = Stage::new(50, 24);
    stage.shared.report(Event::Info { message: "before".into() });
    stage.paint();
    stage.play(Script::starting("up", &STEPS[..1]).start(0, "network"));
    let long = "x".repeat(100);
    stage.play(
        Script::default()
            .at(10, Event::Warning { message: format!("{long} exactly two rows and a bit"), place: None })
            .at(20, Event::Info { message: "y".repeat(50) })
            .at(30, Event::Info { message: "two\nlines".into() })
            .done(40, "network", 40, None)
            .finished(50, true, "up in 0.0s")
            .at(60, Event::Info { message: "after".into() }),
    );
    assert_snapshot!(stage.vt.history(), @r"
    before
    warning:
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
    exactly two rows and a bit
    yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
    two
    lines
    ✔ up in 0.0s
    after
    ");
}

#[test]
fn who_was_started_is_not_called_not_begun() {
    let mut steps = Vec::new();
    for name in ["a", "b"] {
        for (verb, doing) in [("start", crate::event::Doing::Start), ("await", crate::event::Doing::Await)] {
            let after = if verb == "await" { vec![format!("start {name}")] } else { Vec::new() };
            let id = format!("{verb} {name}");
            steps.push(StepInfo { id, group: name.into(), doing, after, service: true, ..StepInfo::default() });
        }
    }
    let mut stage = Stage::new(60, 24);
    stage.shared.report(Event::Started {
        command: "macula up".into(),
        platform: "macula".into(),
        steps,
        unchanged: Vec::new(),
    });
    stage.play(
        Script::default()
            .start(0, "start a")
            .done(100, "start a", 100, None)
            .start(100, "await a")
            .skipped(2000, "await a", "stopped")
            .skipped(2000, "start b", "stopped")
            .skipped(2000, "await b", "stopped"),
    );
    assert_snapshot!(stage.vt.history(), @"
    Starting macula  0 of 2 services · 2.0s
     ↷ a  started not waited for
     ↷ b  not begun
    ");
}

#[test]
fn steps_without_a_plan_make_a_tree_of_their_own() {
    let mut stage = Stage::new(60, 24);
    stage.play(Script::default().start(0, "pull nginx:1.30").bytes(100, "pull nginx:1.30", "", "loading", 5000, 0));
    assert_snapshot!(stage.vt.history(), @" ⠙ pull nginx:1.30  working     0.1s  5.0 kB  loading");
    stage.finish();
    stage.play(Script::default().start(200, "second").done(900, "second", 700, Some("fine")));
    stage.finish();
    assert_snapshot!(stage.vt.history(), @r"
    ↷ pull nginx:1.30  stopped     0.1s
    ✔ second  done        0.7s  fine
    ");
}

#[test]
fn the_same_picture_is_not_drawn_twice() {
    let mut stage = Stage::new(60, 24);
    stage.play(many(4, 0));
    stage.shared.paint(None);
    assert_eq!(stage.out.take(), "");
}

#[test]
fn a_frame_is_one_synchronized_update() {
    let stage = Stage::new(60, 24);
    stage.shared.report(Event::StepStarted { id: "one".into() });
    stage.shared.paint(None);
    assert_snapshot!(stage.out.take().escape_debug().to_string(), @r#"\u{1b}[?2026h\u{1b}[?25l\u{1b}[J \u{1b}[36m⠋\u{1b}[0m \u{1b}[1mone\u{1b}[0m  working  \u{1b}[2m   0.0s\u{1b}[0m  \u{1b}[K\r\n\u{1b}[J\u{1b}[?2026l"#);
    stage.clock.set(1000);
    stage.shared.paint(None);
    assert_snapshot!(stage.out.take().escape_debug().to_string(), @r#"\u{1b}[?2026h\u{1b}[1A\r \u{1b}[36m⠹\u{1b}[0m \u{1b}[1mone\u{1b}[0m  working  \u{1b}[2m   1.0s\u{1b}[0m  \u{1b}[K\r\n\u{1b}[J\u{1b}[?2026l"#);
}

#[test]
fn with_its_thread_the_end_is_the_same() {
    let (streams, out, clock) = pipe();
    let tty = Tty::new(streams);
    Script::all_kinds().play(&tty, &clock, |_| {});
    tty.finish();
    let mut vt = Vt::new(80, 24);
    vt.write(&out.text());
    assert_snapshot!(vt.history(), @r"
    using Docker 28.2.2
    warning: compose.yaml:4:7: `cpu_shares` is not acted on
    + macula is up · 1 service · 11.0s
    ");
    assert!(vt.cursor_visible);
}

#[test]
fn dropped_in_the_middle_it_gives_the_cursor_back() {
    let (streams, out, clock) = pipe();
    let tty = Tty::new(streams);
    under_way().play(&tty, &clock, |_| {});
    drop(tty);
    let mut vt = Vt::new(80, 24);
    vt.write(&out.text());
    assert!(vt.cursor_visible);
    assert!(vt.history().contains("stopped"), "{}", vt.history());
}
