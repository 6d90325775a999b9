//! A platform as it stands after the recorded run, for the screens that follow it.

use macula::cli::ui::left_out::Cause;
use macula::cli::ui::status_screen::{Mood, Row, Screen};
use macula::cli::ui::up_screen::{self, Entry, Notice};

use super::STYLE;

const WIDTH: usize = 95;

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

pub fn entries() -> Vec<Entry> {
    let entry = |name: &str, url: &str, address: &str, command: &str| Entry {
        name: name.into(),
        url: some(url),
        address: some(address),
        command: some(command),
        own: name == "shop",
    };
    vec![
        entry("excalidraw", "https://draw.macula.local", "", ""),
        entry("postgres", "", "127.0.0.6:5432", "macula creds postgres"),
        entry("powerdns", "https://dns.macula.local", "127.0.0.8:53", ""),
        entry("prometheus", "https://prometheus.macula.local", "127.0.0.1:9090", ""),
        entry("registry", "https://registry.macula.local", "127.0.0.1:5001", ""),
        entry("shop", "https://shop.macula.local", "", ""),
    ]
}

fn left_out() -> Cause {
    let services = ["grafana", "loki", "tempo", "alloy", "alloy-docker"].map(str::to_owned);
    Cause { services: services.into(), why: "docker.io cannot be reached".into() }
}

pub fn notices() -> Vec<Notice> {
    let mut all = up_screen::left_out(&[left_out()]);
    all.push(Notice {
        text: "names below macula.local do not resolve here yet".into(),
        command: some("macula dns install"),
    });
    all
}

pub fn next() -> Vec<String> {
    ["macula open shop", "macula logs -f", "eval \"$(macula env --format shell)\""].map(str::to_owned).into()
}

pub fn up() -> String {
    up_screen::screen(&entries(), &notices(), &next(), WIDTH, STYLE)
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
        head: ["macula", "up 12m", "9 running, 1 failing", "drift: none"].map(str::to_owned).into(),
        rows: vec![
            Row {
                mood: Mood::Bad,
                reason: some("crash loop: restarted 7 times"),
                command: some("macula logs shop"),
                ..row("shop", "restarting", "", "")
            },
            row("excalidraw", "healthy 12m", "https://draw.macula.local", ""),
            row("postgres", "healthy 12m", "", "127.0.0.6:5432"),
            row("powerdns", "healthy 11m", "https://dns.macula.local", "127.0.0.8:53"),
            row("prometheus", "healthy 12m", "https://prometheus.macula.local", "127.0.0.1:9090"),
            Row { mood: Mood::Idle, command: some("macula start cart"), ..row("cart", "stopped 20s ago", "", "") },
        ],
        quiet: ["node-exporter", "postgres-exporter", "s3-buckets"].map(str::to_owned).into(),
        left_out: vec![left_out()],
        ..Screen::default()
    };
    screen.lines(WIDTH, STYLE).iter().map(|line| format!("{line}\n")).collect()
}
