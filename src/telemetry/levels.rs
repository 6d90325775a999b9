//! Which level a line of a log has, by what the line says itself: JSON, logfmt, and what loggers and servers write.

use std::collections::BTreeMap;

use super::batch::{level, severity_of};

/// Bytes of a line in which its level is looked for.
const HEAD: usize = 1024;
/// Words from the beginning among which a level may stand by itself: behind a time, a process id, a thread.
const WORDS: usize = 12;
/// Names of the field, in lower case.
const FIELDS: [&str; 7] = ["level", "severity", "lvl", "loglevel", "levelname", "log_level", "severity_text"];

/// The number of a line's level, as OpenTelemetry counts; 0: it names none.
pub fn severity_in(line: &str) -> u32 {
    let end = (0..=HEAD.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or_default();
    let head = uncolored(line.get(..end).unwrap_or_default());
    let found = of_field(&head);
    if found > 0 { found } else { of_klog(&head).unwrap_or_else(|| of_word(&head)) }
}

/// The name of that level; empty: it names none.
pub fn level_in(line: &str) -> &'static str {
    level(severity_in(line))
}

/// Which lines have a level at least. A line that goes on with the one before it (it begins with a blank and names no
/// level: a stack trace) goes with it.
#[derive(Debug, Default)]
pub struct Levels {
    least: u32,
    /// What became of the last line of each container.
    last: BTreeMap<String, bool>,
}

impl Levels {
    /// `least` 0: every line.
    pub fn at_least(least: u32) -> Self {
        Self { least, last: BTreeMap::new() }
    }

    pub fn keeps(&mut self, container: &str, line: &str) -> bool {
        if self.least == 0 {
            return true;
        }
        let found = severity_in(line);
        let goes_on = found == 0 && line.starts_with([' ', '\t']);
        let kept = match self.last.get(container) {
            Some(before) if goes_on => *before,
            _ => found >= self.least,
        };
        match self.last.get_mut(container) {
            Some(last) => *last = kept,
            None => {
                self.last.insert(container.to_owned(), kept);
            }
        }
        kept
    }
}

/// Without what colors it on a terminal.
fn uncolored(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            // up to the letter that ends it
            '\x1b' => {
                rest.find(char::is_ascii_alphabetic);
            }
            letter => out.push(letter),
        }
    }
    out
}

/// `"level":"error"`, `level=error`, `"level":50` (as pino and bunyan count).
fn of_field(head: &str) -> u32 {
    let lower = head.to_ascii_lowercase();
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut from = 0;
    while let Some(start) = lower.get(from..).and_then(|rest| rest.find(word)).map(|at| from + at) {
        let rest = lower.get(start..).unwrap_or_default();
        let length = rest.find(|letter| !word(letter)).unwrap_or(rest.len());
        from = start + length;
        if !FIELDS.contains(&rest.get(..length).unwrap_or_default()) {
            continue;
        }
        let after = rest.get(length..).unwrap_or_default();
        let value = after.trim_start_matches(['"', '\'', ' ']);
        let Some(value) = value.strip_prefix([':', '=']) else { continue };
        let value = value.trim_start_matches([' ', '"', '\'']);
        let value = value.get(..value.find(|letter| !word(letter)).unwrap_or(value.len())).unwrap_or_default();
        let found = match value.parse::<u32>() {
            Ok(number) => of_number(number),
            Err(_) => named(value),
        };
        if found > 0 {
            return found;
        }
    }
    0
}

fn of_number(number: u32) -> u32 {
    match number {
        10..=19 => 1,
        20..=29 => 5,
        30..=39 => 9,
        40..=49 => 13,
        50..=59 => 17,
        60 => 21,
        _ => 0,
    }
}

/// What .NET writes beside the usual names.
fn named(word: &str) -> u32 {
    if word.eq_ignore_ascii_case("fail") { 17 } else { severity_of(word) }
}

/// `E1129 12:00:00.000000`: the programs of Kubernetes.
fn of_klog(head: &str) -> Option<u32> {
    let (first, rest) = head.split_at_checked(1)?;
    let day = rest.get(..4)?;
    if !day.bytes().all(|byte| byte.is_ascii_digit()) || rest.as_bytes().get(4) != Some(&b' ') {
        return None;
    }
    match first {
        "I" => Some(9),
        "W" => Some(13),
        "E" => Some(17),
        "F" => Some(21),
        _ => None,
    }
}

/// A level that stands by itself: in capitals, in brackets, or before a colon. Small letters in a sentence are none.
fn of_word(head: &str) -> u32 {
    let words = head.split([' ', '\t', '|']).filter(|word| !word.is_empty()).take(WORDS);
    for (at, word) in words.enumerate() {
        let inner = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
        // `ERROR:root:`, `ERROR[main]`
        let inner = inner.get(..inner.find([':', '[', ']', '(']).unwrap_or(inner.len())).unwrap_or_default();
        let found = named(inner);
        if found == 0 {
            continue;
        }
        let capitals = inner.bytes().all(|byte| byte.is_ascii_uppercase());
        let set_apart = word.starts_with(['[', '<', '(']) || (word.contains(':') && at < 4);
        if capitals || set_apart {
            return found;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_write_has_a_level() {
        for (line, wanted) in [
            (r#"{"level":"error","trace_id":"ab","msg":"x"}"#, "error"),
            (r#"{"ts":1,"msg":"level of water","level": "WARN"}"#, "warn"),
            (r#"{"level":50,"time":1,"pid":7,"msg":"x"}"#, "error"),
            (r#"{"@timestamp":"x","log.level":"info"}"#, "info"),
            ("ts=2026-11-29T12:00:00Z level=debug msg=\"an error\"", "debug"),
            ("2026-11-29 12:00:00.000 UTC [31] ERROR:  relation \"x\" does not exist", "error"),
            ("2026-11-29 12:00:00.000 UTC [31] LOG:  checkpoint", ""),
            ("2026/11/29 12:00:00 [error] 29#29: *1 connect() failed", "error"),
            ("E1129 12:00:00.000000       1 reflector.go:1] failed", "error"),
            ("WARNING:root:watch out", "warn"),
            ("\x1b[2m2026-11-29T12:00:00Z\x1b[0m \x1b[31mERROR\x1b[0m shop: x", "error"),
            ("fail: Microsoft.AspNetCore.Server[13]", "error"),
            ("[NOTICE]   (1) : haproxy version is 2.6", "info"),
            ("2026-11-29T12:00:00.000Z  WARN 1 --- [main] o.s.b.Application : x", "warn"),
            ("GET /error 200 in 3 ms, no warning", ""),
            ("there was an error at level 3", ""),
            ("level", ""),
            ("", ""),
        ] {
            assert_eq!(level_in(line), wanted, "{line}");
        }
        assert_eq!(level_in(&format!("ERROR {}", "é".repeat(HEAD))), "error");
        assert_eq!(level_in(&format!("{} ERROR", "x".repeat(HEAD))), "", "far behind");
    }

    #[test]
    fn a_stack_trace_goes_with_its_error() {
        let mut levels = Levels::at_least(severity_of("warn"));
        let mut kept = |container: &str, line: &str| levels.keeps(container, line);
        assert!(!kept("shop", "  at nothing"));
        assert!(!kept("shop", "INFO started"));
        assert!(kept("shop", "ERROR it broke"));
        assert!(!kept("cart", "    at other"));
        assert!(kept("shop", "    at main"));
        assert!(kept("shop", "\tat main"));
        assert!(!kept("shop", "done"));
        assert!(!kept("shop", "    more of it"));
        assert!(Levels::default().keeps("shop", "whatever"));
    }
}
