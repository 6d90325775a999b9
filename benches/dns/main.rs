//! The resolver beside its peers, all pinned to one core and asked the same in turns.
//!
//! `cargo bench --bench dns -- [--rounds 5] [--seconds 1] [--names 50,5000] [--only knot,nsd]
//! [--parts udp,tcp,cached]`. Peers come from packages (`apt-get install knot nsd unbound dnsmasq-base
//! bind9 pdns-server pdns-backend-bind`); those that are absent are named as skipped. See
//! benches/README.md for how to read the table.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a program of its own, for people at a terminal"
)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

mod load;
mod peers;
mod roles;

use load::Questions;
use peers::{Peer, Setup};

/// The servers' core and the load generator's.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

struct Options {
    rounds: usize,
    seconds: f64,
    names: Vec<usize>,
    only: Option<Vec<String>>,
    parts: Vec<String>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "--role") {
        roles::run(&arguments[1..]);
        return;
    }
    // `cargo test --benches` only wants to see that it starts
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let options = options(&arguments);
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        println!("skipped: it takes two cores, one for the server and one for the load");
        return;
    }
    if !pin_self() {
        println!("note: taskset is absent, nothing is pinned");
    }
    println!("load average {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let part = |name: &str| options.parts.iter().any(|part| part == name);
    let mut port = 25_300;
    let mut ours = BTreeMap::new();
    for &names in &options.names {
        let mut next = || {
            port += 1;
            port
        };
        if part("udp") || part("tcp") {
            let setup = Setup { names, upstream: None, folder: folder.path().join(format!("local-{names}")) };
            let mut peers = start(&options, &setup, &peers::LOCAL, &mut next);
            let questions = load::local(names);
            if part("udp") {
                let table = measure(&options, &mut peers, &questions, false);
                print_table(&format!("UDP, {names} names"), &table, &["knot", "nsd", "unbound", "dnsmasq", "echo"]);
                ours.insert(names, rate(&table, "macula"));
            }
            if part("tcp") {
                peers.retain(|peer| !matches!(peer.name, "echo" | "dnsmasq" | "pdns" | "bind"));
                let table = measure(&options, &mut peers, &questions, true);
                print_table(
                    &format!("TCP, 10 pipelined connections, {names} names"),
                    &table,
                    &["unbound", "knot", "nsd"],
                );
            }
        }
    }
    if part("cached") {
        let mut next = || {
            port += 1;
            port
        };
        let upstream = next();
        let folder = folder.path().join("cached");
        let _upstream = peers::role("upstream", upstream, &["--names", "0"], None).expect("the upstream server");
        let setup = Setup { names: 500, upstream: Some(upstream), folder };
        let mut peers = start(&options, &setup, &peers::CACHED, &mut next);
        let table = measure(&options, &mut peers, &load::cached(500), false);
        print_table("UDP, forwarded and cached, 500 names", &table, &["unbound", "dnsmasq"]);
    }
    if let (Some(few), Some(many)) = (ours.values().next(), ours.values().last())
        && ours.len() > 1
    {
        println!("\nmacula with the most names / with the fewest: {:.2}", many / few);
    }
}

fn options(arguments: &[String]) -> Options {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    Options {
        rounds: value("--rounds").and_then(|text| text.parse().ok()).unwrap_or(5),
        seconds: value("--seconds").and_then(|text| text.parse().ok()).unwrap_or(1.0),
        names: value("--names")
            .map(|text| list(text).iter().filter_map(|item| item.parse().ok()).collect())
            .unwrap_or_else(|| vec![50, 5000]),
        only: value("--only").map(list),
        parts: value("--parts").map_or_else(|| ["udp", "tcp", "cached"].map(str::to_owned).to_vec(), list),
    }
}

fn pin_self() -> bool {
    let status = Command::new("taskset")
        .args(["-cp", &LOAD_CORE.to_string(), &std::process::id().to_string()])
        .stdout(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Starts what is there, says what is not, and leaves out what answers wrongly.
fn start(options: &Options, setup: &Setup, names: &[&'static str], next: &mut dyn FnMut() -> u16) -> Vec<Peer> {
    std::fs::create_dir_all(&setup.folder).expect("a folder for the configuration");
    let mut started = Vec::new();
    for name in names {
        let wanted = options.only.as_ref().is_none_or(|only| only.iter().any(|one| one == name));
        if !wanted && *name != "macula" {
            continue;
        }
        match peers::start(name, setup, next()) {
            Err(reason) => println!("skipped: {name}: {reason}"),
            Ok(peer) => match load::check(peer.port, setup.upstream.is_some(), peer.name == "echo") {
                Err(reason) => println!("skipped: {name} answers wrongly: {reason}"),
                Ok(()) => started.push(peer),
            },
        }
    }
    started
}

/// One server's numbers, a round each.
#[derive(Default)]
struct Row {
    /// Answers a second of wall-clock time.
    rates: Vec<f64>,
    /// Answers a second of the server's processor time.
    per_core: Vec<f64>,
    busy: Vec<f64>,
    p99_micros: f64,
    memory: u64,
    lost: u64,
}

fn measure(options: &Options, peers: &mut [Peer], questions: &Questions, tcp: bool) -> Vec<(&'static str, Row)> {
    let mut table: Vec<(&'static str, Row)> = peers.iter().map(|peer| (peer.name, Row::default())).collect();
    let time = Duration::from_secs_f64(options.seconds);
    // one round that does not count fills caches on all sides
    for round in 0..=options.rounds {
        for (peer, (_, row)) in peers.iter().zip(&mut table) {
            let before = peer.processor_time();
            let load = if tcp { load::tcp(peer.port, questions, time) } else { load::udp(peer.port, questions, time) };
            let used = (peer.processor_time() - before).max(1e-3);
            if round > 0 {
                row.rates.push(load.answers as f64 / load.elapsed.as_secs_f64());
                row.per_core.push(load.answers as f64 / used);
                row.busy.push(used / load.elapsed.as_secs_f64());
                row.lost += load.lost;
            }
        }
    }
    for (peer, (_, row)) in peers.iter().zip(&mut table) {
        row.p99_micros = if tcp { f64::NAN } else { load::p99(peer.port, questions) };
        row.memory = peer.memory();
    }
    table
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Answers a second of processor time: what a saturated core gives, also on a machine where others
/// take some of the wall-clock time.
fn rate(table: &[(&str, Row)], name: &str) -> f64 {
    table.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, row)| median(&row.per_core))
}

fn print_table(title: &str, table: &[(&'static str, Row)], against: &[&str]) {
    println!("\n{title}");
    println!(
        "{:<10} {:>12} {:>12} {:>6} {:>14} {:>9} {:>9} {:>6}",
        "server", "answers/s", "/core-second", "busy", "core-s/million", "p99 us", "MiB", "lost"
    );
    for (name, row) in table {
        println!(
            "{name:<10} {:>12.0} {:>12.0} {:>5.0}% {:>14.2} {:>9.0} {:>9.1} {:>6}",
            median(&row.rates),
            median(&row.per_core),
            100.0 * median(&row.busy),
            1e6 / median(&row.per_core),
            row.p99_micros,
            row.memory as f64 / f64::from(1 << 20),
            row.lost
        );
    }
    let ours = rate(table, "macula");
    let ratios: Vec<String> = against
        .iter()
        .map(|name| (name, ours / rate(table, name)))
        .filter(|(_, ratio)| ratio.is_finite())
        .map(|(name, ratio)| format!("{ratio:.2} x {name}"))
        .collect();
    println!("macula: {}", ratios.join(", "));
}
