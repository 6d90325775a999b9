//! What is wrong with a text that is not YAML, in words that name the fault and where it lies. The
//! scanner's own messages speak of tokens and indicators.

use libyaml_safer::{Error, Mark};

use super::super::diagnostic::{FileId, Span};

pub(super) struct Fault {
    pub(super) mark: Mark,
    pub(super) message: String,
    pub(super) help: String,
}

const QUOTE: &str = "put the value in quotes if it begins with this character";
const TABS: &str = "indent with spaces, not with tabs";

/// The first character that no YAML file may have.
pub(super) fn control_character(text: &str, file: FileId) -> Option<(Span, String)> {
    let allowed = |letter: char| match letter {
        '\t' | '\n' | '\r' | '\u{85}' => true,
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        letter => !letter.is_control(),
    };
    let at = text.find(|letter| !allowed(letter))?;
    let (before, rest) = text.split_at(at);
    let letter = rest.chars().next()?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let span =
        Span { file, line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) };
    let name =
        if letter == '\0' { "a NUL byte".to_owned() } else { format!("the character U+{:04X}", u32::from(letter)) };
    Some((span, format!("{name} is not allowed in YAML")))
}

/// Is there anything before the mark in its line?
fn follows_text(text: &str, mark: Mark) -> bool {
    let line = usize::try_from(mark.line).ok().and_then(|line| text.lines().nth(line)).unwrap_or_default();
    line.chars().take(usize::try_from(mark.column).unwrap_or(0)).any(|letter| !letter.is_whitespace())
}

pub(super) fn explain(error: &Error, text: &str) -> Fault {
    let problem = error.problem();
    let mark = error.problem_mark().unwrap_or_default();
    let begun = error.context_mark();
    let line_of = |mark: Mark| mark.line + 1;
    let fault = |mark: Mark, message: String, help: String| Fault { mark, message, help };
    let here = text.chars().nth(usize::try_from(mark.index).unwrap_or(usize::MAX));

    match (problem, begun) {
        ("did not find expected ',' or ']'" | "did not find expected ',' or '}'", Some(begun)) => {
            let (open, close) = if problem.ends_with("']'") { ('[', ']') } else { ('{', '}') };
            if line_of(begun) == line_of(mark) {
                return fault(
                    mark,
                    format!("a `,` or the closing `{close}` is missing here"),
                    format!("quote the value if `{open}`, `{close}` or `,` are part of it"),
                );
            }
            fault(
                begun,
                format!("this `{open}` is never closed"),
                format!("the closing `{close}`, or a `,`, is missing before line {}", line_of(mark)),
            )
        }
        ("found unexpected end of stream" | "found unexpected document indicator", Some(begun)) => {
            let quote = text.chars().nth(usize::try_from(begun.index).unwrap_or(usize::MAX)).unwrap_or('"');
            fault(begun, format!("this quote is never closed: {quote}"), "end the text with the same quote".to_owned())
        }
        ("found unknown escape character", _) => {
            // the mark stands on the backslash
            let escape: String = text.chars().skip(usize::try_from(mark.index).unwrap_or(usize::MAX)).take(2).collect();
            fault(
                mark,
                format!("`{escape}` is not a valid escape in double quotes"),
                "double the backslash, or use single quotes".to_owned(),
            )
        }
        ("did not find expected hexdecimal number" | "found invalid Unicode character escape code", _) => fault(
            mark,
            "this escape in double quotes is not valid".to_owned(),
            "write \\xNN, \\uNNNN or \\UNNNNNNNN, or double the backslash".to_owned(),
        ),
        ("mapping values are not allowed in this context", _) => fault(
            mark,
            "a `:` that begins a value is not allowed here".to_owned(),
            "quote the text if the colon is part of it; a new key needs a line of its own".to_owned(),
        ),
        ("found character that cannot start any token", _) => match here {
            Some('\t') => fault(mark, "a tab cannot be used as indentation here".to_owned(), TABS.to_owned()),
            Some(letter) => fault(mark, format!("a value cannot begin with {letter}"), QUOTE.to_owned()),
            None => fault(mark, "a value is missing here".to_owned(), "write one, or remove the key".to_owned()),
        },
        (problem, _) if problem.contains("tab character") => {
            fault(mark, "a tab cannot be used as indentation here".to_owned(), TABS.to_owned())
        }
        ("did not find expected key", Some(_)) if matches!(here, Some(']' | '}')) => fault(
            mark,
            format!("this `{}` closes nothing", here.unwrap_or(']')),
            "remove it, or quote the text if it is part of it".to_owned(),
        ),
        ("did not find expected key", Some(_)) if here == Some(':') => {
            fault(mark, "a key is missing before this `:`".to_owned(), "write one, or quote the text".to_owned())
        }
        ("did not find expected key", Some(_)) if follows_text(text, mark) => fault(
            mark,
            "this follows a value that has ended".to_owned(),
            "remove it, or put the whole value in one pair of quotes".to_owned(),
        ),
        ("did not find expected key", Some(begun)) => fault(
            mark,
            format!("this does not belong to the mapping that begins in line {}", line_of(begun)),
            format!("its keys begin in column {}: check the indentation here and in the line above", begun.column + 1),
        ),
        ("did not find expected '-' indicator", Some(begun)) => fault(
            mark,
            format!("this does not belong to the list that begins in line {}", line_of(begun)),
            format!("its items begin with `- ` in column {}", begun.column + 1),
        ),
        ("could not find expected ':'", Some(begun)) => fault(
            begun,
            "a `:` is missing after this key".to_owned(),
            "write `key: value`, or indent the line if it continues the text above".to_owned(),
        ),
        ("block sequence entries are not allowed in this context", _) => fault(
            mark,
            "a list item (`- `) is not allowed here".to_owned(),
            "begin the list on the line below its key".to_owned(),
        ),
        ("mapping keys are not allowed in this context", _) => {
            fault(mark, "a `? ` key is not allowed here".to_owned(), QUOTE.to_owned())
        }
        ("did not find expected node content", _) => fault(
            mark,
            match here {
                Some(letter) if !letter.is_whitespace() => format!("a value is missing before `{letter}`"),
                _ => "a value is missing here".to_owned(),
            },
            "write one, or quote the character if it is part of the text".to_owned(),
        ),
        ("did not find expected alphabetic or numeric character", Some(begun)) => fault(
            begun,
            "the name of an anchor or alias has only letters, digits, `-` and `_`".to_owned(),
            "quote the text if `&` or `*` is part of it, as in \"*.js\"".to_owned(),
        ),
        ("did not find expected <document start>", _) => fault(
            mark,
            "this does not belong to the value above".to_owned(),
            "a file holds one mapping or list: check the indentation here and in the lines above".to_owned(),
        ),
        ("found undefined tag handle", _) => {
            fault(mark, "this tag is not declared".to_owned(), "remove it, or quote the text".to_owned())
        }
        (problem, begun) => fault(
            mark,
            match (error.context(), begun) {
                (Some(context), Some(begun)) => {
                    format!("not valid YAML: {problem} {context} in line {}", line_of(begun))
                }
                _ => format!("not valid YAML: {problem}"),
            },
            "check the indentation, the quotes and the brackets of this line and the one above".to_owned(),
        ),
    }
}
