//! What the store of telemetry takes and how soon it answers: `cargo bench --bench telemetry`; see benches/README.md.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a program of its own, for people at a terminal"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use macula::telemetry::batch::{Batch, LineRow, Origin, SpanRow};
use macula::telemetry::wire::otlp::{KeyValue, Span};
use macula::telemetry::{Limits, LineFilter, Snapshot, Store, TraceFilter};

const MILLION: u64 = 1_000_000;
/// Of a trace.
const SPANS: u64 = 10;
/// What one request brings.
const AT_ONCE: u64 = 500;
/// What a second brings, as the goal has it.
const RATE: u64 = 15_000;

/// Numbers that are the same in every run, and look like none.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn origin(number: u64) -> Origin {
    let text = |key: &str, value: String| KeyValue::text(key, value);
    let attributes = vec![
        text("service.name", format!("service-{number}")),
        text("service.version", "1.2.3".into()),
        text("host.name", "laptop".into()),
        text("telemetry.sdk.language", "python".into()),
    ];
    Origin { service: format!("service-{number}"), attributes, scope: "opentelemetry.instrumentation.wsgi".into() }
}

fn trace_id(number: u64) -> Vec<u8> {
    let mut numbers = Numbers(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    [numbers.next().to_be_bytes(), numbers.next().to_be_bytes()].concat()
}

fn spans(from: u64, numbers: &mut Numbers) -> Batch {
    let rows = (from..from + AT_ONCE).map(|number| {
        let (trace, place) = (number / SPANS, number % SPANS);
        let start = 1_790_000_000_000_000_000 + number * 100_000;
        let id = |number: u64| (number + 1).to_be_bytes().to_vec();
        let span = Span {
            trace_id: trace_id(trace),
            span_id: id(number),
            parent_span_id: if place == 0 { Vec::new() } else { id(trace * SPANS) },
            name: format!("GET /api/v1/carts/{{id}}/{place}"),
            kind: 2,
            start,
            end: start + numbers.next() % 50_000_000,
            attributes: vec![
                KeyValue::text("http.request.method", "GET"),
                KeyValue::text("url.path", format!("/api/v1/carts/{}", numbers.next() % 100_000)),
                KeyValue::text("http.response.status_code", "200"),
                KeyValue::text("client.address", format!("10.0.0.{}", numbers.next() % 256)),
                KeyValue::text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"),
            ],
            ..Span::default()
        };
        SpanRow { origin: 0, span }
    });
    Batch { origins: vec![origin(from / AT_ONCE % 8)], spans: rows.collect(), ..Batch::default() }
}

fn lines(from: u64, numbers: &mut Numbers) -> Batch {
    let rows = (from..from + AT_ONCE).map(|number| LineRow {
        time: 1_790_000_000_000_000_000 + number * 100_000,
        severity: 9,
        text: format!(
            "request {:08x} of user {} answered 200 in {} ms with {} bytes from the cache of the second shelf",
            numbers.next() & 0xffff_ffff,
            numbers.next() % 10_000,
            numbers.next() % 900,
            numbers.next() % 90_000,
        ),
        trace: trace_id(number / 20),
        ..LineRow::default()
    });
    Batch { origins: vec![origin(from / AT_ONCE % 8)], lines: rows.collect(), ..Batch::default() }
}

/// The middle of several times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn several<T>(count: u64, mut work: impl FnMut(u64) -> T) -> Duration {
    let times = (0..count).map(|number| {
        let begun = Instant::now();
        std::hint::black_box(work(number));
        begun.elapsed()
    });
    median(times.collect())
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Seconds of processor time that this process has had.
fn processor() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// MiB that this process holds.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn main() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("macula-bench-").tempdir()?;
    let path = folder.path().join("telemetry");
    let (store, _) = Store::open(&path, Limits { size: 4 << 30, ..Limits::default() })?;
    let mut numbers = Numbers(77);

    let (begun, used) = (Instant::now(), processor());
    for from in (0..MILLION).step_by(AT_ONCE as usize) {
        store.keep(spans(from, &mut numbers))?;
        store.keep(lines(from, &mut numbers))?;
    }
    let (took, used) = (begun.elapsed(), processor() - used);
    println!(
        "taken: {MILLION} spans and as many lines in {:.1} s, {used:.1} s of a core (their making included): {:.0} rows/core-second; \
         {RATE} a second are {:.1} % of a core",
        took.as_secs_f64(),
        2.0 * MILLION as f64 / used,
        100.0 * RATE as f64 * used / (2.0 * MILLION as f64),
    );
    println!("on the disk: {} MiB; in memory with it all: {} MiB", store.size() >> 20, memory());

    let snapshot = store.snapshot();
    let found = several(51, |number| {
        let id = trace_id(number * 1_900 % (MILLION / SPANS));
        snapshot.trace(&id).map(|spans| assert_eq!(spans.len() as u64, SPANS))
    });
    println!("a trace by its id among {MILLION} spans: {}", ms(found));
    let newest = TraceFilter { limit: 200, ..TraceFilter::default() };
    println!("the newest 200 traces: {}", ms(several(11, |_| snapshot.traces(&newest).len())));
    let rare = TraceFilter { slow: u64::MAX, limit: 20, ..TraceFilter::default() };
    println!("a filter that no trace passes: {}", ms(several(5, |_| snapshot.traces(&rare).len())));
    for (what, search) in [
        ("that no line has", "quetzalcoatl"),
        ("that is in a few", "user 7777 "),
        ("of common letters, in none", "tension in the reactor"),
    ] {
        let wanted = LineFilter { search: search.into(), limit: 500, ..LineFilter::default() };
        println!("a word {what} in {MILLION} lines: {}", ms(several(5, |_| snapshot.lines(&wanted).len())));
    }
    let id = trace_id(4_711);
    let wanted = LineFilter { trace: Some(id), limit: 500, ..LineFilter::default() };
    println!("the lines of a trace: {}", ms(several(11, |_| assert_eq!(snapshot.lines(&wanted).len(), 20))));
    println!("opened by another process: {}", ms(several(5, |_| Snapshot::read(&path).map(|kept| kept.blocks.len()))));
    drop(snapshot);
    drop(store);
    let begun = Instant::now();
    let (store, problem) = Store::open(&path, Limits { size: 4 << 30, ..Limits::default() })?;
    anyhow::ensure!(problem.is_none(), "the store was set aside: {problem:?}");
    println!("opened again: {}; in memory now: {} MiB", ms(begun.elapsed()), memory());
    std::fs::metadata(&path).context("the store's folder")?;
    drop(store);
    Ok(())
}
