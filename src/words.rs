//! How values read in a sentence and how people type them: spans of time, bytes, counts, lists,
//! hexadecimal digits, words of a shell. Every floor may use it.

use std::fmt::Write;
use std::time::Duration;

/// `0.4s`, `12.3s`, `2m05s`, `1h02m`: how long something took.
pub fn duration(time: Duration) -> String {
    // cut, not rounded: 59.96 s is not yet a minute
    let tenths = time.as_millis() / 100;
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{}.{}s", tenths / 10, tenths % 10),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Like [`duration`], to the millisecond below a second.
pub fn fine_duration(time: Duration) -> String {
    if time.as_secs() == 0 { format!("{}ms", time.as_millis()) } else { duration(time) }
}

/// A span in its largest unit, for sentences: `35 seconds`, `40 minutes`, `3 days`, `14 months`.
pub fn span(seconds: u64) -> String {
    let (size, unit) = match seconds {
        0..120 => (1, "second"),
        120..7200 => (60, "minute"),
        7200..172_800 => (3600, "hour"),
        172_800..5_184_000 => (86_400, "day"),
        5_184_000..63_072_000 => (2_592_000, "month"),
        _ => (31_536_000, "year"),
    };
    count(usize::try_from(seconds / size).unwrap_or(usize::MAX), unit)
}

/// `1 step`, `2 steps`
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `512 B`, `41.2 MB`: powers of 1000, as disks and registries count.
pub fn bytes(count: u64) -> String {
    let unit = unit(count);
    format!("{} {}", in_unit(count, unit), UNITS[unit])
}

/// `41.2/88.0 MB`
pub fn bytes_of(part: u64, whole: u64) -> String {
    let unit = unit(whole);
    format!("{}/{} {}", in_unit(part, unit), in_unit(whole, unit), UNITS[unit])
}

const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];

fn unit(mut count: u64) -> usize {
    let mut unit = 0;
    while count >= 1000 && unit + 1 < UNITS.len() {
        count /= 1000;
        unit += 1;
    }
    unit
}

fn in_unit(count: u64, unit: usize) -> String {
    if unit == 0 {
        return count.to_string();
    }
    let size = (0..unit).fold(1, |size: u64, _| size * 1000);
    format!("{}.{}", count / size, count % size / (size / 10))
}

/// `512 MiB`, `1.5 GiB`: powers of 1024, as limits of memory are written.
pub fn memory(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        // tenths, rounded down: nobody is to be promised more than there is
        Some((name, unit)) => {
            let tenths = bytes / (unit / 10).max(1);
            if tenths < 100 && !tenths.is_multiple_of(10) {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            } else {
                format!("{} {name}", bytes / unit)
            }
        }
        None => format!("{bytes} bytes"),
    }
}

/// `a`, `a and b`, `a, b and c`
pub fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    joined(items, "and")
}

/// `a`, `a or b`, `a, b or c`
pub fn either(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    joined(items, "or")
}

fn joined(items: impl IntoIterator<Item = impl AsRef<str>>, word: &str) -> String {
    let items: Vec<_> = items.into_iter().collect();
    match items.as_slice() {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} {word} {}", first.join(", "), last.as_ref())
        }
    }
}

/// Without repetitions, in the order of the first ones.
pub fn unique<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    for item in items {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A word as a shell reads it back: quoted where it has to be.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A duration as Go's `time.ParseDuration` reads it (`1h30m`, `1.5s`, `300ms`, `0`), and in days and weeks (`1w2d`),
/// as Compose takes them; in nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: f64 = 0.0;
    let mut exact: i128 = 0;
    while !rest.is_empty() {
        let length = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, tail) = rest.split_at(length);
        let (unit, tail) =
            tail.split_at(tail.bytes().take_while(|byte| !byte.is_ascii_digit() && *byte != b'.').count());
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            "d" => 24 * 3600 * 1_000_000_000,
            "w" => 7 * 24 * 3600 * 1_000_000_000,
            _ => return None,
        };
        match number.parse::<i64>() {
            Ok(number) => exact = exact.checked_add(i128::from(number) * i128::from(scale))?,
            Err(_) => {
                let (whole, part) = number.split_once('.')?;
                if part.contains('.') || (whole.is_empty() && part.is_empty()) {
                    return None;
                }
                total += number.parse::<f64>().ok()? * scale as f64;
            }
        }
        rest = tail;
    }
    let total = i64::try_from(exact + total as i128).ok()?;
    Some(if negative { -total } else { total })
}

/// Nobody waits longer, and points of time that far off cannot be told.
const LONGEST: Duration = Duration::from_secs(10_000 * 86_400);

/// A duration as it is typed on a command line: as [`parse_duration`] reads it, or in seconds without a unit (`90`).
pub fn typed_duration(text: &str) -> Result<Duration, String> {
    let days =
        text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()).and_then(|days| days.checked_mul(86_400));
    let seconds = days.or_else(|| text.parse().ok()).map(Duration::from_secs);
    let nanoseconds = || parse_duration(text).and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    match seconds.or_else(|| nanoseconds().map(Duration::from_nanos)) {
        Some(long) if long > LONGEST => Err(format!("`{text}` is longer than {} days", LONGEST.as_secs() / 86_400)),
        Some(duration) => Ok(duration),
        None => Err(format!("`{text}` is not a valid duration; try 90s, 5m, 1h30m or 500ms")),
    }
}

/// [`typed_duration`] of something that has to last, with its unit: five seconds are never meant where it is said how
/// long a platform stays.
///
/// # Errors
/// What is not a duration, or none at all.
pub fn typed_span(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{text}` has no unit; write {text}m for minutes or {text}h for hours"));
    }
    match typed_duration(text)? {
        Duration::ZERO => Err(format!("`{text}` would end at once; try 90s, 5m or 1h30m")),
        span => Ok(span),
    }
}

/// The first two numbers of a version in what a program says: `v18.19.0`, `kind v0.27.0 go1.24`.
pub fn version(said: &str) -> Option<(u32, u32)> {
    said.split_whitespace().find_map(|word| {
        let word = word.strip_prefix('v').unwrap_or(word);
        let mut numbers = word.split(['.', '-', '+', '~']);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version("v18.19.0\n"), Some((18, 19)));
        assert_eq!(version("kind v0.27.0 go1.24.0 linux/amd64"), Some((0, 27)));
        assert_eq!(version("mmdebstrap 1.3.5"), Some((1, 3)));
        assert_eq!(version("who knows 7"), None);
    }

    #[test]
    fn spans_and_durations() {
        let all = [0.0, 0.42, 59.96, 125.0, 3720.0].map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(all, ["0.0s", "0.4s", "59.9s", "2m05s", "1h02m"]);
        assert_eq!(fine_duration(Duration::from_millis(7)), "7ms");
        assert_eq!(fine_duration(Duration::from_millis(1700)), "1.7s");
        let spans = [1, 90, 2400, 7200, 3 * 86_400, 420 * 86_400, 900 * 86_400].map(span);
        assert_eq!(spans, ["1 second", "90 seconds", "40 minutes", "2 hours", "3 days", "14 months", "2 years"]);
    }

    #[test]
    fn sizes() {
        assert_eq!(
            [0, 999, 1000, 41_250_000, u64::MAX].map(bytes),
            ["0 B", "999 B", "1.0 kB", "41.2 MB", "18446744.0 TB"]
        );
        assert_eq!(bytes_of(512_000, 88_000_000), "0.5/88.0 MB");
        assert_eq!(bytes_of(41_250_000, 88_000_000), "41.2/88.0 MB");
        assert_eq!([12, 512 << 20, 3 << 29, 8 << 30].map(memory), ["12 bytes", "512 MiB", "1.5 GiB", "8 GiB"]);
    }

    #[test]
    fn lists_and_words() {
        assert_eq!(list([""; 0]), "");
        assert_eq!(list(["a"]), "a");
        assert_eq!(list(["a", "b", "c"]), "a, b and c");
        assert_eq!(either(["a", "b"]), "a or b");
        assert_eq!(unique([1, 2, 1, 3, 2]), [1, 2, 3]);
        assert_eq!(hex([0, 0xab]), "00ab");
        assert_eq!([count(1, "step"), count(2, "step")], ["1 step", "2 steps"]);
        assert_eq!(["a/b", "", "a b", "it's", "$(x)"].map(shell_word), ["a/b", "''", "'a b'", r"'it'\''s'", "'$(x)'"]);
    }

    #[test]
    fn durations_as_people_type_them() {
        let seconds = |text: &str| typed_duration(text).map(|time| time.as_secs_f64());
        assert_eq!(
            ["90", "90s", "500ms", "5m", "1h30m", "2d", "1.5h", ".5s", "1.s"].map(|text| seconds(text).unwrap()),
            [90.0, 90.0, 0.5, 300.0, 5400.0, 172_800.0, 5400.0, 0.5, 1.0]
        );
        assert_eq!(typed_span("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(typed_span("5").unwrap_err(), "`5` has no unit; write 5m for minutes or 5h for hours");
        assert!(typed_span("0s").unwrap_err().starts_with("`0s` would end at once"));
        for text in ["", "s", "soon", "-5s", "5parsecs", "99999999999999999h", "99999999999999999999d"] {
            let error = seconds(text).unwrap_err();
            assert!(error.starts_with(&format!("`{text}` is not a valid duration")), "{error}");
        }
        assert_eq!(seconds("10000d"), Ok(864_000_000.0));
        for text in ["10001d", "9999999999999999999", "240001h"] {
            assert_eq!(seconds(text).unwrap_err(), format!("`{text}` is longer than 10000 days"));
        }
    }

    #[test]
    fn a_quoted_word_is_one_word_to_a_shell() {
        for word in ["", "a b", "it's", "$(id)", "`id`", "a;b", "*", "\\", "\"", "new\nline", "-n", "ä", "a\tb'c'"] {
            let line = format!("printf %s {}", shell_word(word));
            let done = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(done.stdout).unwrap(), word, "{line}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(word in any::<String>(), more in "[0-9.a-zµ-]{0,20}") {
            for text in [word, more] {
                let _ = (typed_duration(&text), parse_duration(&text), shell_word(&text));
            }
        }
    }
}
