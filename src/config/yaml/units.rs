//! Durations, sizes, command lines and addresses in the spellings that Compose takes.

use std::net::IpAddr;

pub(in crate::config) use crate::words::parse_duration;

/// Nanoseconds as Go prints a duration: `1m30s`, `1.5s`, `300ms`, `0s`.
pub(in crate::config) fn format_duration(nanoseconds: i64) -> String {
    fn fraction(value: u64, unit: u64) -> String {
        let part = value % unit;
        if part == 0 {
            return (value / unit).to_string();
        }
        let width = unit.ilog10() as usize;
        format!("{}.{}", value / unit, format!("{part:0width$}").trim_end_matches('0'))
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let value = nanoseconds.unsigned_abs();
    if value == 0 {
        return "0s".to_owned();
    }
    if value < 1_000 {
        return format!("{sign}{value}ns");
    }
    if value < 1_000_000 {
        return format!("{sign}{}µs", fraction(value, 1_000));
    }
    if value < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(value, 1_000_000));
    }
    let minutes = value / 60_000_000_000;
    let seconds = fraction(value % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A size as `docker` reads it, always in powers of 1024: `512`, `64m`, `1.5 GB`, `2GiB`. In bytes.
pub(in crate::config) fn parse_bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let length = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(length);
    let number: f64 = number.parse().ok()?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let bytes = number * 1024f64.powi(power);
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

/// A command line in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Words {
    pub(in crate::config) words: Vec<String>,
    /// What stands from an unquoted `;`, `&`, `|`, `<` or `>` on; Compose drops it.
    pub(in crate::config) dropped: Option<String>,
}

/// Splits a command line as Compose does: quotes and backslashes count, variables and globs do not.
/// `None`: a quote or a backslash without its end.
pub(in crate::config) fn split_words(line: &str) -> Option<Words> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut begun = false;
    let (mut single, mut double, mut escaped, mut command, mut back) = (false, false, false, false, false);
    for (index, letter) in line.char_indices() {
        if escaped {
            word.push(letter);
            escaped = false;
            begun = true;
            continue;
        }
        match letter {
            '\\' if !single => escaped = true,
            ' ' | '\t' | '\r' | '\n' if !(single || double || command || back) => {
                if begun {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            '(' if !(single || double || back) && word.ends_with('$') => {
                command = true;
                word.push('(');
            }
            ')' if command && !(single || double) => {
                command = false;
                word.push(')');
            }
            // these hold words together as quotes do, and stay
            '`' if !(single || double || command) => {
                back = !back;
                word.push('`');
                begun = true;
            }
            '"' if !single && !command => {
                double = !double;
                begun = true;
            }
            '\'' if !double && !command => {
                single = !single;
                begun = true;
            }
            ';' | '&' | '|' | '<' | '>' if !(single || double || command || back) => {
                if letter == '>' && word.starts_with(|first: char| first.is_ascii_digit()) {
                    begun = false;
                }
                if begun {
                    words.push(word);
                }
                return Some(Words { words, dropped: line.get(index..).map(str::to_owned) });
            }
            letter => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if single || double || escaped || command || back {
        return None;
    }
    if begun {
        words.push(word);
    }
    Some(Words { words, dropped: None })
}

/// An address, with or without the brackets of IPv6.
pub(in crate::config) fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

/// The name of a project as Compose makes it from any text.
pub(in crate::config) fn project_name(text: &str) -> String {
    let kept: String = text
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_and_print_as_in_go() {
        for (text, want) in [
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5s", "1.5s"),
            ("300ms", "300ms"),
            ("1500us", "1.5ms"),
            ("0", "0s"),
            ("1h30m5s", "1h30m5s"),
            ("-2m", "-2m0s"),
            ("25h", "25h0m0s"),
            ("7ns", "7ns"),
            ("999ns", "999ns"),
            ("1us", "1µs"),
            ("2500ns", "2.5µs"),
            ("1ms", "1ms"),
            ("1s", "1s"),
            ("59m", "59m0s"),
            ("1d", "24h0m0s"),
            ("1.5d", "36h0m0s"),
            ("1w2d", "216h0m0s"),
        ] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Some(want), "{text}");
        }
        for text in ["", "5", "1x", "s", "1..5s", "1 s", ".s", "99999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, want) in [
            ("1", 1),
            ("1k", 1024),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("2 GiB", 2 << 30),
            ("10MB", 10 << 20),
            ("3t", 3 << 40),
            ("8191PiB", 8191 << 50),
        ] {
            assert_eq!(parse_bytes(text), Some(want), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1.2.3", "1mm", "8192p"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn command_lines_are_split_as_compose_splits_them() {
        let all: Vec<String> = [
            "nginx -g 'daemon off;'",
            r#"sh -c "echo \"a b\"""#,
            r"a\ b c",
            "",
            "  x  ",
            "''",
            "a;b c",
            "run $(date +%s) x",
            "x 2>/dev/null",
            "'open",
            "back\\",
            "a \"b'c\" 'd\"e'",
            ")",
            "(a b)",
            "x \"$(a b\" c",
            "\"a;b\" 'c;d' $(x;y)",
            "--rule=Host-`a b` c",
            "x `a; b | c` d",
            "x `open",
            "\"`\" a",
        ]
        .iter()
        .map(|line| format!("{line} -> {:?}", split_words(line).map(|words| (words.words, words.dropped))))
        .collect();
        insta::assert_snapshot!(all.join("\n"), @r#"
        nginx -g 'daemon off;' -> Some((["nginx", "-g", "daemon off;"], None))
        sh -c "echo \"a b\"" -> Some((["sh", "-c", "echo \"a b\""], None))
        a\ b c -> Some((["a b", "c"], None))
         -> Some(([], None))
          x   -> Some((["x"], None))
        '' -> Some(([""], None))
        a;b c -> Some((["a"], Some(";b c")))
        run $(date +%s) x -> Some((["run", "$(date +%s)", "x"], None))
        x 2>/dev/null -> Some((["x"], Some(">/dev/null")))
        'open -> None
        back\ -> None
        a "b'c" 'd"e' -> Some((["a", "b'c", "d\"e"], None))
        ) -> Some(([")"], None))
        (a b) -> Some((["(a", "b)"], None))
        x "$(a b" c -> Some((["x", "$(a b", "c"], None))
        "a;b" 'c;d' $(x;y) -> Some((["a;b", "c;d", "$(x;y)"], None))
        --rule=Host-`a b` c -> Some((["--rule=Host-`a b`", "c"], None))
        x `a; b | c` d -> Some((["x", "`a; b | c`", "d"], None))
        x `open -> None
        "`" a -> Some((["`", "a"], None))
        "#);
    }

    #[test]
    fn names_of_projects() {
        assert_eq!(project_name("_My Project.1"), "myproject1");
    }

    #[test]
    fn only_a_number_in_front_of_a_redirection_goes_with_it() {
        for (line, words, dropped) in [
            ("x 2>y", "x", ">y"),
            ("x y>z", "x y", ">z"),
            ("x 2;y", "x 2", ";y"),
            ("x 2<y", "x 2", "<y"),
            ("x 2|y", "x 2", "|y"),
            ("x 2&", "x 2", "&"),
            ("x >y", "x", ">y"),
        ] {
            let split = split_words(line).unwrap();
            assert_eq!(split.words.join(" "), words, "{line}");
            assert_eq!(split.dropped.as_deref(), Some(dropped), "{line}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in any::<String>(), more in "[0-9.a-zµ ;'\"\\\\$()-]{0,20}") {
            for text in [text, more] {
                let _ = (parse_duration(&text), parse_bytes(&text), split_words(&text), parse_address(&text));
                let _ = project_name(&text);
            }
        }

        #[test]
        fn a_printed_duration_reads_back(nanoseconds in any::<i64>().prop_filter("its negative has no place", |n| *n > i64::MIN)) {
            // fractions go through floats, as in Go only nearly
            let back = parse_duration(&format_duration(nanoseconds)).unwrap();
            prop_assert!((i128::from(back) - i128::from(nanoseconds)).abs() < 64);
        }

        #[test]
        fn words_in_single_quotes_stay(words in prop::collection::vec("[ -&(-~]{1,8}", 0..5)) {
            let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split_words(&line).unwrap().words, words);
        }
    }
}
