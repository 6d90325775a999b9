//! Scripts of events, painted to a small terminal at moments of their own.

use std::sync::atomic::AtomicUsize;

use insta::assert_snapshot;

use super::super::testing::vt::Vt;
use super::super::testing::{FakeClock, Out, Script, pipe};
use super::*;

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
    ("alloy", "alloy", "create container macula-alloy-1", &["ready"]),
];

fn under_way() -> Script {
    Script::starting("up", STEPS)
        .start(0, "network")
        .done(80, "network", 80, Some("10.89.0.0/24"))
        .start(100, "pull-a")
        .start(100, "pull-b")
        .start(100, "base")
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
    up macula  1 of 5  4.2s
     ✔ network    0.0s  10.89.0.0/24
     ⠹ images     4.1s  2 at once
       └ pull grafana/grafana:12.1  ██████░░░░░░░░░░░░░░ 28.0/88.0 MB downloading
       └ pull postgres:18  the registry allows no more at once
     · grafana          after images
     ⠹ postgres   4.1s  build macula/postgres  Setting up libpq5 (18.1-1)
     · alloy            after grafana
    ");
    assert!(!stage.vt.cursor_visible);
}

#[test]
fn a_good_end_leaves_every_line_and_the_cursor() {
    let mut stage = Stage::new(90, 24);
    stage.play(Script::all_kinds());
    assert_snapshot!(stage.vt.history(), @r"
    using Docker 28.2.2
    warning: compose.yaml:4:7: `cpu_shares` is not acted on
    up macula  4 of 4  11.0s
     ✔ network   0.0s
     ✔ images    8.1s  88.0 MB
     ✔ grafana   2.7s
     ↷ alloy           skipped: no image can be had and it is optional
    ✔ up in 11.0s
    ");
    assert!(stage.vt.cursor_visible);
    stage.finish();
    assert_eq!(stage.out.take(), "", "nothing is left to draw");
}

#[test]
fn a_failure_shows_its_text() {
    let mut stage = Stage::new(70, 24);
    stage.play(Script::failing());
    assert_snapshot!(stage.vt.history(), @r#"
    up macula  3 of 3  1.6s
     ✖ loki    1.5s  failed
         start container macula-loki-1: ended with 1; its last lines:
           level=error msg="no such schema"
           caller=main.go:74
     ↷ alloy         skipped: it needs loki
     ✔ web     0.2s
    ✖ 1 of 3 failed; what works is kept
    "#);
}

#[test]
fn what_was_broken_off_says_so() {
    let mut stage = Stage::new(90, 24);
    stage.play(under_way());
    stage.clock.set(3000);
    stage.finish();
    assert_snapshot!(stage.vt.history(), @r"
    up macula  1 of 5  3.0s
     ✔ network    0.0s  10.89.0.0/24
     ↷ images     2.9s  stopped: pull grafana/grafana:12.1
     · grafana          not begun
     ↷ postgres   2.9s  stopped: build macula/postgres
     · alloy            not begun
    ");
    assert!(stage.vt.cursor_visible);
}

#[test]
fn a_narrow_terminal_cuts_the_lines() {
    let mut stage = Stage::new(40, 24);
    stage.play(under_way());
    assert_snapshot!(stage.vt.screen(), @r"
    up macula  1 of 5  0.9s
     ✔ network    0.0s  10.89.0.0/24
     ⠙ images     0.8s  2 at once
       └ pull grafana/grafana:12.1  ██████…
       └ pull postgres:18  the registry al…
     · grafana          after images
     ⠙ postgres   0.8s  build macula/postg…
     · alloy            after grafana
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
    up macula  20 of 40  2.0s
     ✔ 20 done  service-00, service-01, service-02, service-03…
     ⠴ service-20   1.0s  start container
     ⠴ service-21   1.0s  start container
     ⠴ service-22   1.0s  start container
     · 17 to come  service-23, service-24, service-25, service…
    ");
    stage.play(Script::default().finished(3000, true, "up"));
    assert_eq!(stage.vt.history().lines().count(), 42, "the last picture is whole:\n{}", stage.vt.history());
}

#[test]
fn more_under_way_than_rows() {
    let mut stage = Stage::new(60, 6);
    stage.play(many(40, 20));
    stage.paint_at(2000);
    assert_snapshot!(stage.vt.history(), @r"
    up macula  20 of 40  2.0s
     ✔ 20 done  service-00, service-01, service-02, service-03…
     ⠴ service-20   1.0s  start container
     ⠴ service-21   1.0s  start container
     … 18 more
    ");
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
    up macula  1 of 5  0.9s
     ✔ network    0.0s  10.89.0.0/24
     ⠙ images     0.8s  2 at once
       └ pull grafana/grafana:12.1  █…
       └ pull postgres:18  the regist…
     · grafana          after images
     ⠙ postgres   0.8s  build macula/…
     · alloy            after grafana
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
            .at(10, Event::Warning { message: format!("{long} exactly two rows and a bit") })
            .at(20, Event::Info { message: "y".repeat(50) })
            .at(30, Event::Info { message: "two\nlines".into() })
            .done(40, "network", 40, None)
            .finished(50, true, "up in 0.0s")
            .at(60, Event::Info { message: "after".into() }),
    );
    assert_snapshot!(stage.vt.history(), @r"
    before
    warning: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
    xxxxxxxxx exactly two rows and a bit
    yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
    two
    lines
    up macula  1 of 1  0.0s
     ✔ network   0.0s
    ✔ up in 0.0s
    after
    ");
}

#[test]
fn steps_without_a_plan_make_a_tree_of_their_own() {
    let mut stage = Stage::new(60, 24);
    stage.play(Script::default().start(0, "pull nginx:1.30").bytes(100, "pull nginx:1.30", "", "loading", 5000, 0));
    assert_snapshot!(stage.vt.history(), @" ⠙ pull nginx:1.30   0.1s  5.0 kB loading");
    stage.finish();
    stage.play(Script::default().start(200, "second").done(900, "second", 700, Some("fine")));
    stage.finish();
    assert_snapshot!(stage.vt.history(), @r"
    ↷ pull nginx:1.30   0.1s  stopped
    ✔ second   0.7s  fine
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
    assert_snapshot!(stage.out.take().escape_debug().to_string(), @r#"\u{1b}[?2026h\u{1b}[?25l\u{1b}[J \u{1b}[36m⠋\u{1b}[0m \u{1b}[1mone\u{1b}[0m\u{1b}[2m   0.0s  \u{1b}[0m\u{1b}[K\r\n\u{1b}[J\u{1b}[?2026l"#);
    stage.clock.set(1000);
    stage.shared.paint(None);
    assert_snapshot!(stage.out.take().escape_debug().to_string(), @r#"\u{1b}[?2026h\u{1b}[1A\r \u{1b}[36m⠹\u{1b}[0m \u{1b}[1mone\u{1b}[0m\u{1b}[2m   1.0s  \u{1b}[0m\u{1b}[K\r\n\u{1b}[J\u{1b}[?2026l"#);
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
    up macula  4 of 4  11.0s
     + network   0.0s
     + images    8.1s  88.0 MB
     + grafana   2.7s
     - alloy           skipped: no image can be had and it is optional
    + up in 11.0s
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
    assert!(vt.history().contains("stopped: build macula/postgres"), "{}", vt.history());
}
