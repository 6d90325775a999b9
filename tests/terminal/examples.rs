//! A platform as it stands after the recorded run, for the screens that follow it.

use std::path::Path;
use std::process::Command;

use macula::app::{Change, ChangeKind};
use macula::cli::ui::left_out::Cause;
use macula::cli::ui::plan_screen;
use macula::cli::ui::status_screen::{Mood, Row, Screen};
use macula::cli::ui::up_screen::{self, Entry, Notice};
use macula::model::{Invocation, MaculaCommand, macula};

use super::STYLE;

const WIDTH: usize = 95;

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn command(words: &'static str) -> Option<MaculaCommand> {
    (!words.is_empty()).then(|| macula(words))
}

pub fn entries() -> Vec<Entry> {
    let entry = |name: &str, url: &str, address: &str, words: &'static str| Entry {
        name: name.into(),
        url: some(url),
        address: some(address),
        command: command(words),
        own: name == "shop",
        nameless: true,
    };
    vec![
        entry("excalidraw", "https://draw.macula.local", "", ""),
        entry("postgres", "", "127.0.0.6:5432", "creds postgres"),
        entry("powerdns", "https://dns.macula.local", "127.0.0.8:53", ""),
        entry("prometheus", "https://prometheus.macula.local", "127.0.0.1:9090", ""),
        entry("registry", "https://registry.macula.local", "127.0.0.1:5001", ""),
        entry("shop", "https://shop.macula.local", "", ""),
    ]
}

fn left_out() -> Cause {
    let services = ["grafana", "loki", "tempo", "alloy", "alloy-docker"].map(str::to_owned);
    Cause { services: services.into(), why: "docker.io cannot be reached".into(), fix: None }
}

pub fn notices() -> Vec<Notice> {
    let mut all = up_screen::left_out(&[left_out()]);
    all.push(Notice {
        text: "*.macula.local does not resolve on this machine yet".into(),
        command: command("dns install"),
    });
    all
}

pub fn next() -> Vec<String> {
    ["macula open shop", "macula logs -f", "eval \"$(macula env --format shell)\""].map(str::to_owned).into()
}

pub fn up() -> String {
    up_screen::screen(&entries(), &notices(), &next(), &Invocation::default(), WIDTH, STYLE)
}

pub fn plan() -> String {
    let change = |name: &str, kind, details: &[&str]| {
        let details = details.iter().map(|detail| (*detail).to_owned()).collect();
        Change { name: name.into(), kind, details, job: false }
    };
    let changes = [
        change("old-shop", ChangeKind::Remove, &["no longer wanted"]),
        change("worker", ChangeKind::Create, &["build its image"]),
        change("ingress", ChangeKind::Reload, &["new name worker.macula.local"]),
        change(
            "shop",
            ChangeKind::Recreate,
            &["environment LOG_LEVEL: \"info\" -> \"debug\"", "environment API_KEY: (hidden) -> (hidden)"],
        ),
    ];
    plan_screen::screen(&changes, 16, Some("macula up"), WIDTH, STYLE)
}

/// What the program itself says of mistakes in a file.
pub fn mistakes() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "services:\n  shop:\n    imgae: node:24\n    restart: sometimes\n    depends_on: [postgress]\n  \
                worker:\n    build: ./worker\n    healthcheck: {interval: 5 seconds}\n";
    std::fs::write(folder.path().join("compose.yaml"), text).expect("the folder can be written");
    let at_home = |variable: &str| (variable.to_owned(), folder.path().join("home"));
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_macula")));
    command.args(["up", "--color", "always"]).current_dir(folder.path()).env_clear().env("LC_ALL", "C.UTF-8");
    command.envs(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"].map(at_home));
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    String::from_utf8(output.stderr).expect("it writes UTF-8")
}

pub fn status() -> String {
    let row = |name: &str, state: &str, url: &str, address: &str| Row {
        name: name.into(),
        state: state.into(),
        url: some(url),
        address: some(address),
        ..Row::default()
    };
    let screen = Screen {
        head: ["macula", "up 12m", "9 running, 1 failing", "nothing to change"].map(str::to_owned).into(),
        rows: vec![
            Row {
                mood: Mood::Bad,
                reason: some("crash loop: restarted 7 times"),
                command: command("logs shop"),
                ..row("shop", "restarting", "", "")
            },
            row("excalidraw", "healthy 12m", "https://draw.macula.local", ""),
            row("postgres", "healthy 12m", "", "127.0.0.6:5432"),
            row("powerdns", "healthy 11m", "https://dns.macula.local", "127.0.0.8:53"),
            row("prometheus", "healthy 12m", "https://prometheus.macula.local", "127.0.0.1:9090"),
            Row { mood: Mood::Idle, command: command("start cart"), ..row("cart", "stopped 20s ago", "", "") },
        ],
        quiet: ["node-exporter", "postgres-exporter"].map(str::to_owned).into(),
        finished: vec!["s3-buckets".to_owned()],
        left_out: vec![left_out()],
        ..Screen::default()
    };
    screen.lines(WIDTH, STYLE).iter().map(|line| format!("{line}\n")).collect()
}
