//! A file of the user's as text, and what is wrong with one that is none.

use std::io;
use std::path::Path;

use super::files::{Files, MAX_TEXT};
use super::yaml::{FileId, Report, Span};

/// The text of a file. `None` when it cannot be read, which is then in the report: at `from`, where the
/// file is named, or at the very byte that is wrong.
pub(super) fn read_text(files: &dyn Files, path: &Path, from: Option<Span>, report: &mut Report) -> Option<String> {
    let file = report.file(path);
    let bytes = match files.read(path, MAX_TEXT) {
        Ok(bytes) => bytes,
        Err(error) => {
            let help = remedy(&error, "split it, or remove what is not needed", "check the path and its permissions");
            match from {
                Some(span) => report.error_help(span, format!("cannot read {}: {error}", path.display()), help),
                None => report.error_help(Span::whole(file), format!("cannot read this file: {error}"), help),
            }
            return None;
        }
    };
    match decode(bytes) {
        Ok(text) => Some(text),
        Err(bad) => {
            report.error_help(bad.at(file), bad.message, "save the file as UTF-8");
            None
        }
    }
}

/// What to do about a file that cannot be read: one that is too large, or whose place is the trouble.
pub(super) fn remedy(error: &io::Error, too_large: &'static str, place: &'static str) -> &'static str {
    match error.kind() {
        io::ErrorKind::FileTooLarge => too_large,
        io::ErrorKind::InvalidInput => "name a regular file",
        _ => place,
    }
}

/// A byte that is not text.
#[derive(Debug, PartialEq)]
struct Bad {
    line: u32,
    column: u32,
    message: String,
}

impl Bad {
    fn at(&self, file: FileId) -> Span {
        Span { file, line: self.line, column: self.column }
    }
}

/// Bytes as text: UTF-8, or UTF-16 where a byte order mark says so. The mark itself goes.
fn decode(bytes: Vec<u8>) -> Result<String, Bad> {
    let wide = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => Some((rest, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xfe, 0xff, rest @ ..] => Some((rest, u16::from_be_bytes as fn([u8; 2]) -> u16)),
        _ => None,
    };
    if let Some((rest, join)) = wide {
        let (pairs, odd) = rest.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| join(*pair)).collect();
        return match String::from_utf16(&units) {
            Ok(text) if odd.is_empty() => Ok(text),
            _ => Err(Bad { line: 0, column: 0, message: "this file is not valid UTF-16".to_owned() }),
        };
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.starts_with('\u{feff}') => Ok(text.chars().skip(1).collect()),
        Ok(text) => Ok(text),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let byte = error.as_bytes().get(valid).copied().unwrap_or_default();
            let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            Err(Bad {
                line: u32::try_from(line).unwrap_or(u32::MAX),
                column: u32::try_from(column).unwrap_or(u32::MAX),
                message: format!("the byte 0x{byte:02x} here is not valid UTF-8"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_decides_what_to_do_about_it() {
        let of = |kind: io::ErrorKind| remedy(&io::Error::from(kind), "split it", "check the path");
        assert_eq!(of(io::ErrorKind::NotFound), "check the path");
        assert_eq!(of(io::ErrorKind::PermissionDenied), "check the path");
        assert_eq!(of(io::ErrorKind::FileTooLarge), "split it");
        assert_eq!(of(io::ErrorKind::InvalidInput), "name a regular file");
    }

    #[test]
    fn bytes_become_text_or_are_named() {
        let bad = |line, column, message: &str| Err(Bad { line, column, message: message.to_owned() });
        let text = |text: &str| Ok(text.to_owned());
        for (bytes, want) in [
            (&b"a\n"[..], text("a\n")),
            (b"", text("")),
            (b"\xef\xbb\xbfa", text("a")),
            (b"\xff\xfea\0\xe9\0", text("aé")),
            (b"\xfe\xff\0a", text("a")),
            (b"\xff\xfea\0b", bad(0, 0, "this file is not valid UTF-16")),
            (b"\xff\xfe\0\xd8", bad(0, 0, "this file is not valid UTF-16")),
            (b"a\n\xc3\xa9b\xe9c\n", bad(2, 3, "the byte 0xe9 here is not valid UTF-8")),
            (b"\xe2\x82", bad(1, 1, "the byte 0xe2 here is not valid UTF-8")),
        ] {
            assert_eq!(decode(bytes.to_vec()), want, "{bytes:?}");
        }
    }
}
