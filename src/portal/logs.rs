//! Logs as server-sent events: lines in packets, so that a container that writes much does not cost an event each.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout, timeout_at};

use crate::app::{LogEvent, LogFilter, Sieve, all_log_sources, read_logs};
use crate::engine::LogOptions;
use crate::model::PlatformName;
use crate::telemetry::batch::severity_of;
use crate::telemetry::levels::level_in;

use super::Shared;

/// Bytes of a line that are shown.
const LONGEST: usize = 8 << 10;
/// Lines of a packet, and how long one waits for more.
const PACKET: usize = 200;
const COLLECT: Duration = Duration::from_millis(80);
/// Nothing for that long: what was written before has been read.
const QUIET: Duration = Duration::from_millis(400);
/// One that never ceases is told of after that long.
const TALKS: Duration = Duration::from_secs(3);
/// Packets that wait for a slow browser.
const WAITING: usize = 8;
/// Lines that are looked through for a word or a level.
const SEARCHED: u64 = 50_000;
/// Lines that a page may ask for.
const MOST: u64 = 5_000;

/// What a page asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Empty: all.
    pub service: String,
    /// Last lines.
    pub tail: u64,
    /// Seconds back from now.
    pub since: Option<i64>,
    /// Only lines with this text, whatever their case.
    pub search: String,
    /// Only lines of this level or a worse one; empty: all.
    pub level: String,
    /// And what is written from now on.
    pub follow: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    service: String,
    time: String,
    stderr: bool,
    /// As the line itself says; empty: it does not.
    level: &'static str,
    text: String,
}

impl Shared {
    /// Packets of lines, until the receiver is dropped.
    pub async fn logs(&self, platform: &PlatformName, wanted: Wanted) -> Receiver<Value> {
        let (sender, receiver) = channel(WAITING);
        let session = self.session(platform).await;
        let services: Vec<String> = Some(wanted.service.clone()).filter(|name| !name.is_empty()).into_iter().collect();
        let sources = all_log_sources(&session, platform, &services).await;
        let since = wanted.since.map(|seconds| self.host.now().saturating_sub(seconds));
        let stop = self.stop.clone();
        match sources {
            Err(error) => {
                let note = json!({"note": error.to_string(), "broken": true});
                // the receiver is at hand: there is room
                let _ = sender.try_send(note);
            }
            Ok((engine, sources)) => {
                let filter = filter(&wanted.search, &wanted.level);
                let tail = if filter.is_all() { wanted.tail.min(MOST) } else { SEARCHED };
                let options = LogOptions { follow: wanted.follow, tail: Some(tail), since, ..LogOptions::default() };
                // the page is told how many lines were looked at, so that all of them have to come here
                let (host, every) = (self.host.clone(), LogFilter::default());
                let events = read_logs(engine, host, platform.clone(), services, sources, options, every);
                let sieve = Sieve::new(filter);
                tokio::spawn(async move {
                    tokio::select! {
                        () = pack(events, sender, sieve) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        }
        receiver
    }
}

/// Which lines a page wants, whatever their case.
fn filter(search: &str, level: &str) -> LogFilter {
    let grep = Some(search.to_lowercase()).filter(|text| !text.is_empty());
    LogFilter { grep, severity: severity_of(level) }
}

/// Until nothing more is written, or nobody reads. When all that was written before has been read, the page is told how
/// many lines that were: it may have seen none of them.
async fn pack(mut events: Receiver<LogEvent>, sender: Sender<Value>, mut sieve: Sieve) {
    let begun = Instant::now();
    let mut looked = Some(0u64);
    loop {
        let mut next = match looked {
            None => events.recv().await.map(Ok),
            Some(_) => timeout(QUIET, events.recv()).await.map_or_else(|quiet| Some(Err(quiet)), |event| event.map(Ok)),
        };
        if let Some(count) = looked
            && (!matches!(next, Some(Ok(_))) || begun.elapsed() >= TALKS)
        {
            looked = None;
            if sender.send(json!({"looked": count})).await.is_err() {
                return;
            }
        }
        if let Some(Err(_)) = next {
            next = events.recv().await.map(Ok);
        }
        let Some(Ok(first)) = next else { return };
        let until = Instant::now() + COLLECT;
        let mut lines = Vec::new();
        let mut notes = Vec::new();
        let mut next = Some(first);
        while let Some(event) = next.take() {
            match event {
                LogEvent::Line { source, time, stderr, text } => {
                    let text = shown(&text);
                    looked = looked.map(|count| count + 1);
                    if sieve.takes(&source.container, text.as_bytes()) {
                        lines.push(Line { service: source.service, time, stderr, level: level_in(&text), text });
                    }
                }
                LogEvent::Note { service, text } => notes.push(json!({"note": format!("{service} {text}")})),
                LogEvent::Broken(error) => notes.push(json!({"note": error.to_string(), "broken": true})),
            }
            if lines.len() < PACKET {
                next = timeout_at(until, events.recv()).await.ok().flatten();
            }
        }
        let packets = (!lines.is_empty()).then(|| json!({"lines": lines})).into_iter().chain(notes);
        for packet in packets {
            if sender.send(packet).await.is_err() {
                return;
            }
        }
    }
}

/// As text, without an end that no page could show. What a terminal would obey goes to the page as it is, which
/// shows text and nothing else.
fn shown(bytes: &[u8]) -> String {
    match bytes.get(..LONGEST).filter(|_| bytes.len() > LONGEST) {
        None => String::from_utf8_lossy(bytes).into_owned(),
        Some(start) => format!("{} … {} more bytes", String::from_utf8_lossy(start), bytes.len() - LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::LogSource;
    use crate::model::ContainerState;

    fn line(text: &[u8]) -> LogEvent {
        let source = LogSource {
            service: "shop".into(),
            container: "macula-shop-1".into(),
            id: "ab".into(),
            state: ContainerState::Running,
            exit_code: None,
            program: None,
        };
        LogEvent::Line { source, time: "2026-11-28T07:00:00Z".into(), stderr: false, text: text.to_vec() }
    }

    async fn packets(events: Vec<LogEvent>, search: &str, level: &str) -> Vec<Value> {
        let (from, to) = channel(1000);
        for event in events {
            from.send(event).await.unwrap();
        }
        drop(from);
        let (sender, mut receiver) = channel(100);
        pack(to, sender, Sieve::new(filter(search, level))).await;
        let mut all = Vec::new();
        while let Ok(packet) = receiver.try_recv() {
            all.push(packet);
        }
        all
    }

    #[tokio::test]
    async fn lines_come_in_packets() {
        let all = packets((0..450).map(|number| line(format!("{number}").as_bytes())).collect(), "", "").await;
        let sizes: Vec<usize> = all.iter().filter_map(|packet| Some(packet["lines"].as_array()?.len())).collect();
        assert_eq!(sizes, [200, 200, 50]);
        assert_eq!(all[3..], [json!({"looked": 450})]);
        let note = LogEvent::Note { service: "shop".into(), text: "ended (exit code 1)".into() };
        let all = packets(vec![line(b"Hello"), note, line(b"other")], "hell", "").await;
        assert_eq!(all[0]["lines"][0]["text"], "Hello");
        assert_eq!(
            (all[0]["lines"].as_array().unwrap().len(), &all[1]["note"]),
            (1, &json!("shop ended (exit code 1)"))
        );
    }

    #[tokio::test]
    async fn a_page_learns_that_no_line_is_as_it_wants() {
        let all = packets(vec![line(b"INFO up"), line(b"ERROR down"), line(b"  at main")], "", "warn").await;
        let found: Vec<_> = all[0]["lines"].as_array().unwrap().iter().map(|line| &line["text"]).collect();
        assert_eq!(found, ["ERROR down", "  at main"]);
        assert_eq!(all[0]["lines"][0]["level"], "error");
        assert_eq!(packets(vec![line(b"INFO up")], "", "warn").await, [json!({"looked": 1})]);
        assert_eq!(packets(vec![line(b"INFO up")], "down", "").await, [json!({"looked": 1})]);
        assert_eq!(packets(Vec::new(), "", "").await, [json!({"looked": 0})]);
    }

    #[test]
    fn what_is_no_text_or_too_long_is_shown_all_the_same() {
        assert_eq!(shown(b"</script>\x1b[31m"), "</script>\x1b[31m");
        assert_eq!(shown(&[0xff, b'a']), "\u{fffd}a");
        let long = shown(&vec![b'x'; 10 << 20]);
        assert!(long.len() < LONGEST + 40 && long.ends_with("x … 10477568 more bytes"), "{}", long.len());
    }
}
