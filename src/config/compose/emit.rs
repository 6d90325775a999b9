//! Writes YAML exactly as go-yaml 3 does with an indent of two: which is how `docker compose config`
//! looks. The rules for quotes are those of libyaml's emitter.

use crate::config::yaml::scalar;

/// What is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Out {
    Null,
    /// A number or a truth value, in its final spelling.
    Plain(String),
    Text(String),
    List(Vec<Out>),
    /// In this order.
    Map(Vec<(String, Out)>),
}

/// The document, with its final newline.
pub(super) fn emit(out: &Out) -> String {
    let mut text = String::new();
    match out {
        Out::Map(map) if !map.is_empty() => block_map(map, 0, &mut text),
        other => {
            value(other, 0, &mut text);
        }
    }
    text
}

/// The order in which Go's YAML sorts the keys of a map: numbers in names by their value, and other
/// signs before letters.
pub(super) fn compare_keys(one: &str, other: &str) -> std::cmp::Ordering {
    let a: Vec<char> = one.chars().collect();
    let b: Vec<char> = other.chars().collect();
    let mut digits = false;
    for (index, (x, y)) in a.iter().zip(&b).enumerate() {
        if x == y {
            digits = x.is_numeric();
            continue;
        }
        match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => return x.cmp(y),
            (true, false) if digits => return std::cmp::Ordering::Less,
            (true, false) => return std::cmp::Ordering::Greater,
            (false, true) if digits => return std::cmp::Ordering::Greater,
            (false, true) => return std::cmp::Ordering::Less,
            (false, false) => {}
        }
        let lead = if (*x == '0' || *y == '0')
            && a.iter().take(index).rev().take_while(|letter| letter.is_ascii_digit()).any(|letter| *letter != '0')
        {
            1u128
        } else {
            0
        };
        let number = |letters: &[char]| {
            let run = letters.iter().skip(index).take_while(|letter| letter.is_ascii_digit()).take(30);
            run.fold((lead, 0usize), |(value, length), letter| {
                (value.saturating_mul(10).saturating_add(u128::from(letter.to_digit(10).unwrap_or(0))), length + 1)
            })
        };
        return number(&a).cmp(&number(&b)).then(x.cmp(y));
    }
    a.len().cmp(&b.len())
}

fn indent(level: usize, text: &mut String) {
    text.push_str(&"  ".repeat(level));
}

fn block_map(map: &[(String, Out)], level: usize, text: &mut String) {
    for (index, (key, out)) in map.iter().enumerate() {
        if index > 0 || !at_entry(text) {
            indent(level, text);
        }
        text.push_str(&scalar_text(key, 0, true));
        text.push(':');
        match out {
            Out::Map(inner) if !inner.is_empty() => {
                text.push('\n');
                block_map(inner, level + 1, text);
            }
            Out::List(items) if !items.is_empty() => {
                text.push('\n');
                block_list(items, level + 1, text);
            }
            other => {
                text.push(' ');
                value(other, level, text);
            }
        }
    }
}

/// Stands the writer right behind a `- `?
fn at_entry(text: &str) -> bool {
    text.ends_with("- ")
}

fn block_list(items: &[Out], level: usize, text: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !at_entry(text) {
            indent(level, text);
        }
        text.push_str("- ");
        match item {
            Out::Map(map) if !map.is_empty() => block_map(map, level + 1, text),
            Out::List(inner) if !inner.is_empty() => block_list(inner, level + 1, text),
            other => value(other, level, text),
        }
    }
}

/// A value that needs no lines of its own, and the end of the line.
fn value(out: &Out, level: usize, text: &mut String) {
    match out {
        Out::Null => text.push_str("null"),
        Out::Plain(plain) => text.push_str(plain),
        Out::Text(content) => text.push_str(&scalar_text(content, level, false)),
        Out::List(_) => text.push_str("[]"),
        Out::Map(_) => text.push_str("{}"),
    }
    if !text.ends_with('\n') || matches!(out, Out::Text(content) if !is_literal(content)) {
        text.push('\n');
    }
}

fn is_literal(content: &str) -> bool {
    content.contains('\n') && Shape::of(content).block_allowed
}

fn scalar_text(content: &str, level: usize, key: bool) -> String {
    let shape = Shape::of(content);
    if content.contains('\n') {
        return if shape.block_allowed && !key { literal(content, level) } else { double_quoted(content) };
    }
    if !scalar::reads_as_text(content) || is_base60(content) || is_old_bool(content) {
        return double_quoted(content);
    }
    if shape.plain_allowed && !(key && content.is_empty()) {
        content.to_owned()
    } else if shape.single_allowed {
        format!("'{}'", content.replace('\'', "''"))
    } else {
        double_quoted(content)
    }
}

/// Numbers of base 60 were numbers in YAML 1.1.
fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').map_or((unsigned, None), |(whole, part)| (whole, Some(part)));
    let mut parts = whole.split(':');
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let first = parts.next().is_some_and(|part| part.starts_with(|first: char| first.is_ascii_digit()) && digits(part));
    let mut count = 0;
    let rest = parts.all(|part| {
        count += 1;
        match part.as_bytes() {
            [one] => one.is_ascii_digit(),
            [tens, one] => (b'0'..=b'5').contains(tens) && one.is_ascii_digit(),
            _ => false,
        }
    });
    first && rest && count > 0 && fraction.is_none_or(digits)
}

fn is_old_bool(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "y" | "yes" | "on" | "n" | "no" | "off")
        && !matches!(text, "yEs" | "yeS" | "yES" | "YEs" | "YeS" | "oN" | "nO" | "oFF" | "oFf" | "ofF" | "OFf" | "OfF")
}

/// Which styles a text may be written in.
struct Shape {
    plain_allowed: bool,
    single_allowed: bool,
    block_allowed: bool,
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && letter != '\u{feff}'
}

impl Shape {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self { plain_allowed: true, single_allowed: true, block_allowed: false };
        }
        let letters: Vec<char> = text.chars().collect();
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut tabs, mut breaks) = (false, false, false);
        let (mut break_space, mut space_break) = (false, false);
        let (mut after_space, mut after_break, mut after_blank) = (false, false, true);
        for (index, letter) in letters.iter().copied().enumerate() {
            let before_blank = letters.get(index + 1).is_none_or(|next| matches!(next, ' ' | '\t') || is_break(*next));
            indicators |= if index == 0 {
                match letter {
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                        true
                    }
                    '?' | ':' | '-' => before_blank,
                    _ => false,
                }
            } else {
                match letter {
                    ':' => before_blank,
                    '#' => after_blank,
                    _ => false,
                }
            };
            if letter == '\t' {
                tabs = true;
            } else if !is_printable(letter) {
                special = true;
            }
            if letter == ' ' {
                break_space |= after_break;
                (after_space, after_break) = (true, false);
            } else if is_break(letter) {
                breaks = true;
                space_break |= after_space;
                (after_space, after_break) = (false, true);
            } else {
                (after_space, after_break) = (false, false);
            }
            after_blank = matches!(letter, ' ' | '\t') || is_break(letter);
        }
        let edge = |letter: Option<&char>| letter.is_some_and(|letter| *letter == ' ' || is_break(*letter));
        let trailing_space = letters.last() == Some(&' ');
        let outer = edge(letters.first()) || edge(letters.last());
        Self {
            plain_allowed: !(outer || break_space || space_break || tabs || special || breaks || indicators),
            single_allowed: !(break_space || space_break || tabs || special),
            block_allowed: !(trailing_space || space_break || special),
        }
    }
}

fn literal(content: &str, level: usize) -> String {
    let mut out = String::from("|");
    if content.starts_with(' ') || content.starts_with(is_break) {
        out.push('2');
    }
    let body = match content.strip_suffix('\n') {
        None => {
            out.push('-');
            content
        }
        Some(body) => {
            if body.is_empty() || body.ends_with(is_break) {
                out.push('+');
            }
            body
        }
    };
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(level + 1, &mut out);
            out.push_str(line);
        }
    }
    out.push('\n');
    out
}

fn double_quoted(content: &str) -> String {
    let mut out = String::from("\"");
    for letter in content.chars() {
        let short = match letter {
            '\0' => Some('0'),
            '\x07' => Some('a'),
            '\x08' => Some('b'),
            '\t' => Some('t'),
            '\n' => Some('n'),
            '\x0b' => Some('v'),
            '\x0c' => Some('f'),
            '\r' => Some('r'),
            '\x1b' => Some('e'),
            '"' => Some('"'),
            '\\' => Some('\\'),
            '\u{85}' => Some('N'),
            '\u{2028}' => Some('L'),
            '\u{2029}' => Some('P'),
            _ => None,
        };
        match short {
            Some(short) => {
                out.push('\\');
                out.push(short);
            }
            None if is_printable(letter) => out.push(letter),
            None => match u32::from(letter) {
                code @ 0..=0xff => out.push_str(&format!("\\x{code:02X}")),
                code @ 0x100..=0xffff => out.push_str(&format!("\\u{code:04X}")),
                code => out.push_str(&format!("\\U{code:08X}")),
            },
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::yaml::{self, Report, Value};

    fn text(text: &str) -> Out {
        Out::Text(text.to_owned())
    }

    #[test]
    fn texts_are_quoted_only_where_they_must_be() {
        let all = [
            "plain",
            "",
            "yes",
            "y",
            "1",
            "1.5",
            "0x1f",
            "null",
            "~",
            "true",
            "2020-01-01",
            "1:30",
            "12:34:56",
            "8080:80",
            "a: b",
            "a:b",
            "a #b",
            "a#b",
            "#a",
            "- a",
            "-a",
            "*a",
            "&a",
            "!a",
            "@a",
            "%a",
            "{a}",
            "[a]",
            "a, b",
            "'a'",
            "\"a\"",
            "it's",
            " a",
            "a ",
            "a\tb",
            "a\nb",
            "a\nb\n",
            "a\n\n",
            "\n",
            "  a\nb",
            "a \nb",
            "\u{1f600}",
            "é",
            "\u{7f}",
            "---",
            "<<",
            "a\\b",
            "?",
            ":",
            "http://x:80/y?z#w",
        ];
        let list = Out::List(all.iter().map(|one| text(one)).collect());
        insta::assert_snapshot!(emit(&Out::Map(vec![("list".to_owned(), list)])), @r#"
        list:
          - plain
          - ""
          - "yes"
          - "y"
          - "1"
          - "1.5"
          - "0x1f"
          - "null"
          - "~"
          - "true"
          - "2020-01-01"
          - "1:30"
          - "12:34:56"
          - 8080:80
          - 'a: b'
          - a:b
          - 'a #b'
          - a#b
          - '#a'
          - '- a'
          - -a
          - '*a'
          - '&a'
          - '!a'
          - '@a'
          - '%a'
          - '{a}'
          - '[a]'
          - a, b
          - '''a'''
          - '"a"'
          - it's
          - ' a'
          - 'a '
          - "a\tb"
          - |-
            a
            b
          - |
            a
            b
          - |+
            a

          - |2+

          - |2-
              a
            b
          - "a \nb"
          - "\U0001F600"
          - é
          - "\x7F"
          - '---'
          - <<
          - a\b
          - '?'
          - ':'
          - http://x:80/y?z#w
        "#);
    }

    #[test]
    fn nesting_is_indented_by_two() {
        let map =
            |entries: Vec<(&str, Out)>| Out::Map(entries.into_iter().map(|(key, out)| (key.to_owned(), out)).collect());
        let out = map(vec![
            ("a", map(vec![("b", Out::Null), ("c", Out::List(vec![]))])),
            (
                "d",
                Out::List(vec![
                    map(vec![("e", text("x")), ("f", Out::Plain("1".into()))]),
                    Out::List(vec![text("g"), text("h")]),
                    map(vec![]),
                ]),
            ),
            ("on", text("k: v")),
            ("text", text("one\n  two\n\nthree")),
        ]);
        insta::assert_snapshot!(emit(&out), @r#"
        a:
          b: null
          c: []
        d:
          - e: x
            f: 1
          - - g
            - h
          - {}
        "on": 'k: v'
        text: |-
          one
            two

          three
        "#);
    }

    #[test]
    fn what_older_readers_take_for_numbers_and_booleans() {
        for number in ["1:30", "1:5", "-1:30", "+190:20:30.15", "1_0:30", "1:30."] {
            assert!(is_base60(number), "{number}");
        }
        for other in
            ["", "130", "1:60", "1:300", ":30", "_1:30", "1:", "1:30:", "a:30", "1:3a", "1:a5", "1x:30", "1:30.x"]
        {
            assert!(!is_base60(other), "{other}");
        }
        for boolean in ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "no", "No", "NO", "off", "Off", "OFF"] {
            assert!(is_old_bool(boolean), "{boolean}");
        }
        for other in ["yEs", "oN", "nO", "oFf", "yess", "true", ""] {
            assert!(!is_old_bool(other), "{other}");
        }
    }

    #[test]
    fn keys_are_sorted_as_go_sorts_them() {
        let mut keys = ["b", "a10", "a9", "a_b", "ab", "A", "a-1", "a.1", "a01", "x-z", "_", "a", "1a", "10", "9"];
        keys.sort_by(|one, other| compare_keys(one, other));
        insta::assert_snapshot!(keys.join(" "), @"_ 1a 9 10 A a a-1 a.1 a_b a01 a9 a10 ab b x-z");
        // a zero that other digits precede is none in front
        assert_eq!(compare_keys("a19", "a100"), std::cmp::Ordering::Less);
    }

    proptest! {
        /// What is written reads back as the same text.
        #[test]
        fn texts_read_back(content in any::<String>(), lines in "[ -~\n]{0,40}") {
            for content in [content, lines] {
                let written = emit(&Out::Map(vec![("k".to_owned(), Out::List(vec![text(&content)]))]));
                let mut report = Report::new(std::path::Path::new("/"));
                let file = report.file(std::path::Path::new("/x"));
                let node = yaml::parse(&written, file, &mut report).ok_or_else(|| TestCaseError::fail(written.clone()))?;
                prop_assert_eq!(&node.items("k")[0].value, &Value::Text(content), "{}", written);
            }
        }

        #[test]
        fn the_order_of_keys_is_an_order(a in "[a-z0-9_.-]{0,6}", b in "[a-z0-9_.-]{0,6}") {
            prop_assert_eq!(compare_keys(&a, &b), compare_keys(&b, &a).reverse());
        }
    }
}
