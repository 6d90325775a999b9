//! A mistake in a file, with the line that it is in and a mark below it.

use unicode_width::UnicodeWidthChar;

use crate::config::Diagnostic;

/// How much of a long line is shown.
const WIDTH: usize = 100;

/// The diagnostic as text; its help comes last.
pub(super) fn annotated(diagnostic: &Diagnostic) -> String {
    let Some(source) = diagnostic.source.as_deref().filter(|line| !line.trim().is_empty()) else {
        return diagnostic.to_string();
    };
    let bare = Diagnostic { help: None, ..diagnostic.clone() };
    let number = diagnostic.line.to_string();
    let gutter = " ".repeat(number.len());
    let column = usize::try_from(diagnostic.column).unwrap_or(1).saturating_sub(1);
    let letters: Vec<char> = source.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    // of a long line the part around the mark
    let start = if column > WIDTH * 3 / 4 { column - WIDTH / 2 } else { 0 };
    let shown: Vec<char> = letters.iter().copied().skip(start).take(WIDTH).collect();
    let before: usize = shown.iter().take(column - start.min(column)).map(|letter| letter.width().unwrap_or(0)).sum();
    let mark = "^".repeat(word_length(letters.get(column..).unwrap_or_default()).min(WIDTH));
    let mut text = format!(
        "{bare}\n  {number} | {}\n  {gutter} | {}{mark}",
        shown.iter().collect::<String>().trim_end(),
        " ".repeat(before),
    );
    if let Some(help) = &diagnostic.help {
        text.push_str("\n    ");
        text.push_str(help);
    }
    text
}

/// The length of the word that begins here: a value in quotes, or what ends with a space, a comma or a
/// bracket.
fn word_length(rest: &[char]) -> usize {
    let end = match rest {
        [quote @ ('"' | '\''), inner @ ..] => inner.iter().position(|letter| letter == quote).map(|at| at + 2),
        ['[' | ']' | '{' | '}', ..] => Some(1),
        _ => rest.iter().position(|letter| letter.is_whitespace() || ",:]}".contains(*letter)),
    };
    end.unwrap_or(rest.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32, source: &str) -> String {
        annotated(&Diagnostic {
            file: "compose.yaml".into(),
            line,
            column,
            message: "wrong".into(),
            help: Some("right".into()),
            source: Some(source.into()),
        })
    }

    #[test]
    fn the_line_is_shown_with_a_mark() {
        let all = [
            at(4, 5, "    imgae: nginx"),
            at(12, 12, "    image: \"a b\" # c"),
            at(1, 7, "a: ü: b"),
            at(1, 4, "漢: [x,"),
            at(3, 1, "\tb: 1"),
            at(2, 200, &"x".repeat(300)),
            at(0, 0, ""),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        compose.yaml:4:5: wrong
          4 |     imgae: nginx
            |     ^^^^^
            right
        compose.yaml:12:12: wrong
          12 |     image: "a b" # c
             |            ^^^^^
            right
        compose.yaml:1:7: wrong
          1 | a: ü: b
            |       ^
            right
        compose.yaml:1:4: wrong
          1 | 漢: [x,
            |     ^
            right
        compose.yaml:3:1: wrong
          3 |  b: 1
            | ^
            right
        compose.yaml:2:200: wrong
          2 | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
            |                                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            right
        compose.yaml: wrong
            right
        "#);
    }
}
