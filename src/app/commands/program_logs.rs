//! What programs of this machine have written, line by line with its time. They write to plain files; beside each
//! stands until when it had which length ([`crate::host::times_of`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use crate::engine::{EngineError, LogLine, LogOptions};
use crate::host::{Host, times_of};

/// How often a follower looks at the file.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes by which a place in a log is found again.
const END: usize = 4 << 10;

/// As far as a log was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    length: usize,
    /// The last of it: a log loses its beginning when it gets too long.
    end: Vec<u8>,
}

impl Told {
    fn of(told: &[u8]) -> Self {
        let end = told.get(told.len().saturating_sub(END)..).unwrap_or_default();
        Self { length: told.len(), end: end.to_vec() }
    }

    /// Where in the log is what was not told yet; none: it is another log.
    fn found_in(&self, content: &[u8]) -> Option<usize> {
        let from = self.length.saturating_sub(self.end.len());
        if content.get(from..self.length) == Some(self.end.as_slice()) {
            return Some(self.length);
        }
        let at = content.windows(self.end.len().max(1)).rposition(|part| part == self.end)?;
        Some(at + self.end.len())
    }
}

/// Everything so far, as the engine would tell it: the time, a blank, the text. `follow`: a line without an end is left
/// for later.
pub(super) async fn history(host: &dyn Host, log: &Path, options: &LogOptions, follow: bool) -> (Vec<LogLine>, Told) {
    let content = host.read(log).await.unwrap_or_default();
    let times = host.read(&times_of(log)).await.unwrap_or_default();
    let last = host.modified(log).await.unwrap_or_default().saturating_mul(1000);
    let whole =
        if follow { content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) } else { content.len() };
    let content = content.get(..whole).unwrap_or_default();
    let mut lines = timed(content, &String::from_utf8_lossy(&times), last);
    let seconds = |millis: i64| millis.div_euclid(1000);
    lines.retain(|(millis, _)| {
        options.since.is_none_or(|since| seconds(*millis) >= since)
            && options.until.is_none_or(|until| seconds(*millis) <= until)
    });
    let most = options.tail.map_or(usize::MAX, |tail| usize::try_from(tail).unwrap_or(usize::MAX));
    let skipped = lines.len().saturating_sub(most);
    let lines = lines.into_iter().skip(skipped).map(|(millis, text)| line(millis, text));
    (lines.collect(), Told::of(content))
}

/// Pure: each line with the time by which it was written. `last`: of what was written after the last note.
fn timed<'c>(content: &'c [u8], times: &str, last: i64) -> Vec<(i64, &'c [u8])> {
    let note = |line: &str| {
        let (length, millis) = line.split_once(' ')?;
        Some((length.parse::<usize>().ok()?, millis.parse::<i64>().ok()?))
    };
    let mut notes = times.lines().filter_map(note).peekable();
    let mut end = 0;
    let mut all: Vec<(i64, &[u8])> = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        while notes.next_if(|(length, _)| *length < end).is_some() {}
        let millis = notes.peek().map_or(last, |(_, millis)| *millis);
        // clocks are set back, and lines stay in their order
        let millis = all.last().map_or(millis, |(before, _)| millis.max(*before));
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        all.push((millis, text.strip_suffix(b"\r").unwrap_or(text)));
    }
    all
}

fn line(millis: i64, text: &[u8]) -> LogLine {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    let mut bytes = format!("{} ", time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ")).into_bytes();
    bytes.extend_from_slice(text);
    LogLine { stderr: false, bytes }
}

/// Tells every whole line from there on, until nobody listens.
pub(super) async fn follow<S: Clone>(
    host: Arc<dyn Host>,
    log: PathBuf,
    mut told: Told,
    source: S,
    sender: Sender<(S, Result<Option<LogLine>, EngineError>)>,
) {
    let (mut length, mut lost) = (None, false);
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        // one that stays as long as it was has nothing new
        let now = host.length(&log).await.ok();
        if now.is_some() && now == length {
            continue;
        }
        length = now;
        let content = host.read(&log).await.unwrap_or_default();
        let from = match told.found_in(&content) {
            Some(from) => from,
            // it may be cut just now
            None if !lost => {
                (length, lost) = (None, true);
                continue;
            }
            // it was begun anew
            None => 0,
        };
        lost = false;
        let new = content.get(from..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let now = jiff::Timestamp::now().as_millisecond();
        for text in new.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if sender.send((source.clone(), Ok(Some(line(now, text))))).await.is_err() {
                return;
            }
        }
        told = Told::of(content.get(..from + whole).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[test]
    fn a_line_has_the_time_by_which_it_was_whole() {
        let text = |all: Vec<(i64, &[u8])>| -> String {
            all.iter().map(|(millis, text)| format!("{millis} {}\n", String::from_utf8_lossy(text))).collect()
        };
        let content = b"one\ntwo\r\nthree\nfour";
        assert_eq!(text(timed(content, "4 100\n8 200\n15 300\n", 900)), "100 one\n300 two\n300 three\n900 four\n");
        assert_eq!(text(timed(content, "", 900)), "900 one\n900 two\n900 three\n900 four\n");
        assert_eq!(text(timed(b"a\nb\n", "2 100\nx\n4 50\n", 900)), "100 a\n100 b\n", "a clock that was set back");
    }

    #[tokio::test]
    async fn the_end_of_a_log_is_told_as_an_engine_tells_it() {
        let host = FakeHost::new().file("/run/web.log", "one\ntwo\nthr").file("/run/web.times", "4 1000\n8 2500\n");
        let log = Path::new("/run/web.log");
        let told = async |options: LogOptions, follow: bool| {
            let (lines, told) = history(&host, log, &options, follow).await;
            (lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect::<Vec<_>>(), told)
        };
        let second = "1970-01-01T00:00:02.500000000Z two";
        let (lines, end) = told(LogOptions::default(), true).await;
        assert_eq!(lines, ["1970-01-01T00:00:01.000000000Z one", second]);
        assert_eq!(end, Told { length: 8, end: b"one\ntwo\n".to_vec() });
        let (lines, _) = told(LogOptions { tail: Some(1), ..LogOptions::default() }, true).await;
        assert_eq!(lines, [second]);
        let (lines, _) = told(LogOptions { since: Some(2), ..LogOptions::default() }, true).await;
        assert_eq!(lines, [second]);
        let (lines, end) = told(LogOptions::default(), false).await;
        assert_eq!((lines.len(), end), (3, Told { length: 11, end: b"one\ntwo\nthr".to_vec() }));
    }

    #[test]
    fn the_place_is_found_again_in_a_log_that_was_cut() {
        let lines = |from: u32, to: u32| (from..to).map(|line| format!("line {line}\n")).collect::<String>();
        let all = lines(0, 1000);
        let found = |content: String| Told::of(all.as_bytes()).found_in(content.as_bytes());
        assert_eq!(found(lines(0, 1003)), Some(all.len()));
        // a new line more, and many more than there were
        for to in [1001, 9000] {
            assert_eq!(found(lines(400, to)), Some(lines(400, 1000).len()));
        }
        assert_eq!((found(lines(999, 1003)), found(String::new())), (None, None));
        assert_eq!(Told::default().found_in(b"one\n"), Some(0));
    }

    #[tokio::test]
    async fn who_follows_is_told_each_line_once() {
        let host = FakeHost::new().file("/run/web.log", "one\n");
        let (sender, mut lines) = tokio::sync::mpsc::channel(8);
        tokio::spawn(follow(Arc::new(host.clone()), PathBuf::from("/run/web.log"), Told::of(b"one\n"), "web", sender));
        let mut next = async || {
            let told = tokio::time::timeout(LOOK * 100, lines.recv()).await.unwrap();
            let line = String::from_utf8(told.unwrap().1.unwrap().unwrap().bytes).unwrap();
            line.split_once(' ').unwrap().1.to_owned()
        };
        host.put("/run/web.log", "one\ntwo\nthr");
        assert_eq!(next().await, "two");
        host.put("/run/web.log", "one\ntwo\nthree\nfour\n");
        assert_eq!((next().await, next().await), ("three".to_owned(), "four".to_owned()));
        // begun anew
        host.put("/run/web.log", "four\nfive\n");
        assert_eq!((next().await, next().await), ("four".to_owned(), "five".to_owned()));
    }
}
