//! Text as it is shown: made harmless, measured, cut and wrapped.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Style;
pub use crate::words::{bytes, bytes_of, count, duration, span as age};

/// Columns that the text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Output of programs as one line of text: without escape sequences and control characters. Of a
/// line that was overwritten (`\r`), the last state.
pub fn clean_line(text: &str) -> String {
    let text = text.trim_end();
    clean(text.rsplit(['\r', '\n']).next().unwrap_or_default(), false).trim_end().to_owned()
}

/// Like [`clean_line`] with colors kept (SGR sequences, which every line ends with none of), for
/// what services have written.
pub fn colored_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open = false;
    let text = text.trim_end();
    let mut rest = text.rsplit(['\r', '\n']).next().unwrap_or_default();
    while let Some(at) = rest.find("\x1b[") {
        let (before, sequence) = rest.split_at(at);
        out.push_str(&clean(before, false));
        let body = sequence.get(2..).unwrap_or_default();
        let end = body.find(|c: char| ('\x40'..='\x7e').contains(&c));
        let Some(end) = end else {
            rest = "";
            break;
        };
        let parameters = body.get(..end).unwrap_or_default();
        if body[end..].starts_with('m') && parameters.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':') {
            out.push_str(&format!("\x1b[{parameters}m"));
            open = !matches!(parameters, "" | "0");
        }
        rest = body.get(end + 1..).unwrap_or_default();
    }
    out.push_str(&clean(rest, false));
    let mut out = out.trim_end().to_owned();
    if open {
        out.push_str("\x1b[0m");
    }
    out
}

/// The same text where a terminal may have it: without control characters and sequences, but for
/// line ends, tabs and colors.
pub fn harmless(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let end = if line.ends_with('\n') { "\n" } else { "" };
        if line.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
            out.push_str(&colored_line(line));
            out.push_str(end);
        } else {
            out.push_str(line);
        }
    }
    out.into()
}

/// Like [`clean_line`] with the line ends kept.
pub fn clean_text(text: &str) -> String {
    clean(&text.replace("\r\n", "\n").replace('\r', "\n"), true).trim_end().to_owned()
}

fn clean(text: &str, keep_lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_escape(&mut chars),
            '\n' if keep_lines => out.push('\n'),
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            // bidirectional overrides could make a line read as something else
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            // asks for an emoji of two columns, which terminals do not agree on, nor the width of text with that of its
            // characters
            '\u{fe0f}' => {}
            c => out.push(c),
        }
    }
    out
}

/// The rest of an escape sequence (ECMA-48): CSI up to its final byte, OSC and its like up to BEL
/// or ST, else one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        Some('(' | ')' | '#' | ' ' | '%') => {
            chars.next();
        }
        _ => {}
    }
}

/// The text in at most `columns` columns; what is cut shows as `…` or `..`.
pub fn fit(text: &str, columns: usize, style: Style) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mark = cut_mark(columns, style);
    format!("{}{mark}", head(text, columns - width(mark)))
}

/// What stands for the part that was cut from a text, when there is room for it.
pub(super) fn cut_mark(columns: usize, style: Style) -> &'static str {
    let mark = style.symbol("…", "..");
    if width(mark) > columns { "" } else { mark }
}

/// The beginning of the text that takes at most `columns` columns.
pub(super) fn head(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken > columns
    });
    end.map_or(text, |(at, _)| text.get(..at).unwrap_or_default())
}

/// As [`fit`], with what is cut in the middle, where both ends have room to say something.
pub fn fit_middle(text: &str, columns: usize, style: Style) -> String {
    const ROOM: usize = 24;
    if columns < ROOM || width(text) <= columns {
        return fit(text, columns, style);
    }
    let mark = style.symbol("…", "..");
    let room = columns.saturating_sub(width(mark));
    let (front, back) = (room - room / 2, room / 2);
    let head = head(text, front);
    let mut tail: Vec<char> = Vec::new();
    let mut taken = 0;
    for c in text.chars().rev() {
        taken += c.width().unwrap_or(0);
        if taken > back {
            break;
        }
        tail.push(c);
    }
    let tail: String = tail.into_iter().rev().collect();
    format!("{head}{mark}{tail}")
}

/// Filled with blanks on the right up to `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Filled with blanks on the left up to `columns`.
pub fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The text in lines of at most `columns` columns, broken at blanks where there are any; its own
/// line ends are kept, and so is the indentation of its lines.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while width(rest) > columns {
            let mut taken = 0;
            let mut end = 0;
            let mut blank = None;
            for (at, c) in rest.char_indices() {
                taken += c.width().unwrap_or(0);
                if c == ' ' {
                    blank = Some(at);
                }
                // a single character wider than the line is still taken: each round makes progress
                if taken > columns && end > 0 {
                    break;
                }
                end = at + c.len_utf8();
            }
            let indented = rest.len() - rest.trim_start().len();
            let (cut, next) = match blank {
                Some(at) if at > indented => (at, at + 1),
                _ => (end, end),
            };
            lines.push(rest[..cut].trim_end().to_owned());
            rest = &rest[next..];
        }
        if !rest.is_empty() || line.is_empty() {
            lines.push(rest.to_owned());
        }
    }
    lines
}

/// The same, with words that have no room left in one piece: paths and names, which one wants to copy.
pub fn wrap_whole(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let (indent, words) = line.split_at(line.len() - line.trim_start().len());
        let mut now = indent.to_owned();
        let mut empty = true;
        for word in words.split(' ') {
            if !empty && width(&now) + 1 + width(word) > columns {
                lines.push(std::mem::replace(&mut now, word.to_owned()).trim_end().to_owned());
                continue;
            }
            if !empty {
                now.push(' ');
            }
            now.push_str(word);
            empty = false;
        }
        lines.push(now.trim_end().to_owned());
    }
    lines
}

/// A command with its purpose behind it, `macula up  (to start it)`: where both have no room side by side, the purpose
/// stands below. The command itself is never broken, or it could not be copied.
pub fn command_lines(text: &str, columns: usize) -> Vec<String> {
    match text.split_once("  (") {
        Some((command, why)) if width(text) > columns => {
            let why = wrap(&format!("({why}"), columns.saturating_sub(2)).into_iter().map(|line| format!("  {line}"));
            std::iter::once(command.to_owned()).chain(why).collect()
        }
        _ => vec![text.to_owned()],
    }
}

/// A guess, as people say one: `a few seconds`, `about 40s`, `about 1m30s`, `about 12 min`.
pub fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..8 => "a few seconds".into(),
        8..60 => format!("about {}s", (seconds + 2) / 5 * 5),
        60..300 => {
            let tens = (seconds + 5) / 10;
            format!("about {}m{:02}s", tens / 6, tens % 6 * 10)
        }
        _ => format!("about {} min", (seconds + 30) / 60),
    }
}

/// `40s`, `12m`, `3h`, `5d`: for tables.
pub fn short_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `350 MB`, `1.2 GB`: a guess, without digits that nobody can know.
pub fn bytes_roughly(count: u64) -> String {
    match count / 1_000_000 {
        0 => bytes(count),
        megabytes @ 1..20 => format!("{megabytes} MB"),
        megabytes @ 20..1000 => format!("{} MB", (megabytes + 5) / 10 * 10),
        megabytes => format!("{}.{} GB", megabytes / 1000, megabytes % 1000 / 100),
    }
}

/// `grafana, loki, tempo and 5 more`: the first few of a list.
pub fn some(names: &[String], most: usize) -> String {
    match names.get(most..) {
        None | Some([]) => names.join(", "),
        Some(rest) => format!("{} and {} more", names.get(..most).unwrap_or_default().join(", "), rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCII: Style = Style { color: false, unicode: false };
    const UNICODE: Style = Style { color: false, unicode: true };

    #[test]
    fn what_differs_stands_at_the_end_and_stays() {
        let line = "Selecting previously unselected package libpq5:amd64.";
        assert_eq!(fit_middle(line, 30, UNICODE), "Selecting previ… libpq5:amd64.");
        assert_eq!(fit_middle(line, 30, ASCII), "Selecting prev.. libpq5:amd64.");
        assert_eq!(fit_middle("short", 30, UNICODE), "short");
        assert!(width(&fit_middle("界界界界界界", 7, UNICODE)) <= 7);
    }

    #[test]
    fn a_path_is_never_broken() {
        let lines = wrap_whole("whole log: /home/me/.local/share/macula/log/build-shop.log  (it is long)", 24);
        assert_eq!(lines, ["whole log:", "/home/me/.local/share/macula/log/build-shop.log", " (it is long)"]);
        assert_eq!(wrap_whole("  one two three\n\nx", 11), ["  one two", "three", "", "x"]);
    }

    #[test]
    fn output_of_programs_is_made_harmless() {
        assert_eq!(clean_line("\x1b[32mok\x1b[0m\tdone\x07 \n"), "ok    done");
        assert_eq!(
            colored_line("\x1b[2J\x1b[31merror\x1b[0m: \x1b]0;title\x07no\x1b[5;5H"),
            "\x1b[31merror\x1b[0m: no"
        );
        assert_eq!(colored_line("\x1b[1;33mopen\x1b[999"), "\x1b[1;33mopen\x1b[0m");
        assert_eq!(colored_line("\x1b[?25l\x1b[>4;1mplain\x1bc"), "plain");
        assert_eq!(clean_line("10%\r50%\r100%\r\n"), "100%");
        assert_eq!(clean_line("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link\x1b(B"), "textlink");
        assert_eq!(clean_line("a\u{202e}b\x1b"), "ab");
        assert_eq!(clean_line("\u{26a0}\u{fe0f} x"), "\u{26a0} x");
        assert_eq!(clean_text("one\r\n\x1b[1mtwo\x1b[m\n"), "one\ntwo");
    }

    #[test]
    fn what_others_have_named_cannot_move_the_cursor() {
        assert_eq!(harmless("a\tb\nc"), "a\tb\nc");
        assert_eq!(harmless("\x1b[32mok\x1b[0m x\x1b[2J\x1b]0;t\x07y\nz\x1b[A\n"), "\x1b[32mok\x1b[0m xy\nz\n");
    }

    #[test]
    fn text_is_cut_by_columns_not_by_bytes() {
        assert_eq!(fit("grafana", 7, UNICODE), "grafana");
        assert_eq!(fit("grafana", 4, UNICODE), "gra…");
        assert_eq!(fit("grafana", 4, ASCII), "gr..");
        assert_eq!(fit("grafana", 1, ASCII), "g");
        assert_eq!(fit("grafana", 0, UNICODE), "");
        assert_eq!(fit("日本語", 5, UNICODE), "日本…");
        assert_eq!(fit("日本語", 4, UNICODE), "日…");
        let warned = clean_line("\u{26a0}\u{fe0f}\u{26a0}\u{fe0f}\u{26a0}\u{fe0f} abc");
        assert_eq!(width(&fit(&warned, 6, UNICODE)), 6);
        assert_eq!(pad("日本", 5), "日本 ");
        assert_eq!(pad_left("7", 3), "  7");
    }

    #[test]
    fn long_text_is_wrapped_at_blanks() {
        assert_eq!(wrap("the quick brown fox", 10), ["the quick", "brown fox"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("  indented and long", 11), ["  indented", "and long"]);
        assert_eq!(wrap("one\n\ntwo", 10), ["one", "", "two"]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
        assert_eq!(wrap("", 10), [""; 0]);
    }

    #[test]
    fn a_purpose_gives_way_to_its_command() {
        let text = "macula dns install  (to let this machine's programs find the names)";
        assert_eq!(command_lines(text, 80), [text]);
        assert_eq!(
            command_lines(text, 40),
            ["macula dns install", "  (to let this machine's programs find", "  the names)"]
        );
        assert_eq!(command_lines("docker stop a-very-long-name", 10), ["docker stop a-very-long-name"]);
    }

    #[test]
    fn guesses_have_no_digits_that_nobody_can_know() {
        let guesses = [3, 38, 57, 93, 170, 700].map(|seconds| roughly(Duration::from_secs(seconds)));
        assert_eq!(guesses, ["a few seconds", "about 40s", "about 55s", "about 1m30s", "about 2m50s", "about 12 min"]);
    }
}
