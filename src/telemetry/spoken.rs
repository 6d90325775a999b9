//! The level that a line of a log says of itself, in the ways that are in use.

use serde_json::Value;

use super::batch::severity_of;

/// Words at the beginning of a line among which a level is looked for: a time, a thread, a logger.
const WORDS: usize = 6;
/// Characters of a line that are looked at for anything but JSON.
const HEAD: usize = 400;

/// The severity (the numbers of OTLP, 1 to 24) that a line names; 0 where it names none.
///
/// Known are JSON with `level`, `severity` or `lvl` (the numbers of pino and bunyan too), logfmt with the same keys, and a level among
/// the first words, in brackets or with a colon.
pub fn severity_in(line: &str) -> u32 {
    let line = line.trim_start();
    if line.starts_with('{')
        && let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line)
    {
        return KEYS.iter().find_map(|key| object.get(*key)).map_or(0, of_value);
    }
    let end = line.char_indices().nth(HEAD).map_or(line.len(), |(at, _)| at);
    let head = line.get(..end).unwrap_or(line);
    let words = || head.split([' ', '\t', '|']).filter(|word| !word.is_empty());
    let keyed = words().find_map(|word| {
        let (key, value) = word.split_once('=')?;
        KEYS.contains(&key.to_ascii_lowercase().as_str()).then(|| severity_of(value.trim_matches('"')))
    });
    if let Some(found) = keyed {
        return found;
    }
    let named = words().take(WORDS).map(|word| {
        let marked = word.starts_with('[') || word.ends_with([':', ']']);
        let bare = word.trim_matches(['[', ']', ':', '(', ')', '<', '>']);
        // `error` within a sentence is no level; `ERROR`, `[error]` and `error:` are
        if marked || bare.bytes().all(|byte| byte.is_ascii_uppercase()) { of_word(bare) } else { 0 }
    });
    named.into_iter().find(|severity| *severity > 0).unwrap_or(0)
}

const KEYS: [&str; 3] = ["level", "severity", "lvl"];

fn of_value(value: &Value) -> u32 {
    match value {
        Value::String(name) => severity_of(name),
        Value::Object(object) => object.get("name").map_or(0, of_value),
        // 10 is pino's and bunyan's trace, 60 their fatal
        Value::Number(number) => match number.as_u64() {
            Some(number @ 10..=69) => u32::try_from(number / 10).map_or(0, |tens| (tens - 1) * 4 + 1),
            _ => 0,
        },
        _ => 0,
    }
}

/// PostgreSQL calls what is worth knowing `LOG`.
fn of_word(word: &str) -> u32 {
    match word {
        "LOG" => severity_of("info"),
        word => severity_of(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::batch::level;

    #[test]
    fn a_line_says_its_level_in_the_usual_ways() {
        let lines = [
            (r#"{"time": 1, "level": "ERROR", "msg": "no"}"#, "error"),
            (r#"{"severity":"warning"}"#, "warn"),
            (r#"{"level":50,"msg":"pino"}"#, "error"),
            (r#"{"level":30}"#, "info"),
            (r#"{"level":{"name":"debug"}}"#, "debug"),
            (r#"{"msg":"level=error"}"#, ""),
            ("time=2026-11-29 level=warn msg=\"slow\"", "warn"),
            ("ts=1 lvl=\"crit\"", "fatal"),
            ("2026-11-29 12:00:00,000 ERROR app.db - gone", "error"),
            ("2026-11-29T12:00:00Z  INFO shop::api: ready", "info"),
            ("2026/11/29 12:00:00 [error] 7#7: *1 open() failed", "error"),
            ("[2026-11-29 12:00:00 +0000] [1] [CRITICAL] WORKER TIMEOUT", "fatal"),
            ("WARNING: this is a development server", "warn"),
            ("error: no such file", "error"),
            ("2026-11-29 12:00:00.1 UTC [31] LOG:  checkpoint starting", "info"),
            ("2026-11-29 12:00:00.1 UTC [31] FATAL:  no such role", "fatal"),
            ("there was an error in it", ""),
            ("GET / 200", ""),
            ("", ""),
            ("{not json ERROR", "error"),
        ];
        for (line, wanted) in lines {
            assert_eq!(level(severity_in(line)), wanted, "{line}");
        }
    }
}
