//! `.env` and `env_file`, in the dialect of Docker Compose: comments, `export`, single quotes as
//! they stand, double quotes with escapes and over several lines, variables of earlier lines.

use std::collections::BTreeMap;

use super::interpolate::{InterpolationError, interpolate};

/// What is wrong, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct EnvFileError {
    /// From 1.
    pub(in crate::config) line: u32,
    pub(in crate::config) message: String,
    pub(in crate::config) help: String,
}

/// What an env file says.
#[derive(Debug, Default)]
pub(in crate::config) struct EnvFile {
    pub(in crate::config) values: BTreeMap<String, String>,
    /// Variables that have no value, with the lines that use them.
    pub(in crate::config) unset: Vec<(String, u32)>,
}

/// Reads an env file. `lookup` knows the variables from outside, which go before those of the file.
pub(in crate::config) fn parse(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<EnvFile, EnvFileError> {
    parse_after(text, lookup, BTreeMap::new())
}

/// [`parse`] for the next of several files that count together: with the values of the `earlier` ones, which its own
/// lines may replace.
pub(super) fn parse_after(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    earlier: BTreeMap<String, String>,
) -> Result<EnvFile, EnvFileError> {
    let text = text.replace("\r\n", "\n");
    let read = EnvFile { values: earlier, unset: Vec::new() };
    let mut reader = Reader { rest: &text, line: 1, read, lookup };
    while reader.skip_to_statement() {
        reader.statement()?;
    }
    Ok(reader.read)
}

/// `format: raw`: every line is `NAME=value`, and the value is taken as it stands; a name alone has the value that is
/// `known` of it.
pub(in crate::config) fn parse_raw(
    text: &str,
    known: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, EnvFileError> {
    let mut values = BTreeMap::new();
    for (line, number) in text.lines().map(str::trim_start).zip(1..).filter(|(line, _)| !line.starts_with('#')) {
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), known.get(line.trim_end()).cloned()),
        };
        if name.contains(char::is_whitespace) {
            let what = match line.contains('=') && may_be_shown(name) {
                true => format!("the variable `{name}`"),
                false => "what stands here".to_owned(),
            };
            let message = format!("{what} has white space in its name");
            let help = "write NAME=value without a space before the `=`, or leave `format: raw` out".to_owned();
            return Err(EnvFileError { line: number, message, help });
        }
        values.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(values)
}

struct Reader<'a> {
    rest: &'a str,
    line: u32,
    read: EnvFile,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

/// What a name has in it.
fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-' | '[' | ']')
}

/// Whether what stands before a `=` is a name, at most with a blank in it. Other letters are those of a value, such as a
/// key of several lines.
fn may_be_shown(name: &str) -> bool {
    name.chars().all(|letter| is_of_name(letter) || matches!(letter, ' ' | '\t'))
}

/// White space that ends no line.
fn is_space(letter: char) -> bool {
    matches!(letter, '\t' | '\x0b' | '\x0c' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

impl<'a> Reader<'a> {
    fn error(&self, message: String, help: &str) -> EnvFileError {
        EnvFileError { line: self.line, message, help: help.to_owned() }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += u32::try_from(taken.matches('\n').count()).unwrap_or(0);
        self.rest = rest;
        taken
    }

    fn skip_to_statement(&mut self) -> bool {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn statement(&mut self) -> Result<(), EnvFileError> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(is_space)
        {
            let trimmed = after.trim_start_matches(is_space);
            self.take(self.rest.len() - trimmed.len());
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let name = self.rest.get(..end).unwrap_or_default().trim_end();
        if let Some(wrong) = name.chars().find(|letter| !is_of_name(*letter)) {
            let wrong = if wrong.is_whitespace() { "a blank".to_owned() } else { format!("`{wrong}`") };
            let has_value = self.rest.get(end..).is_some_and(|rest| rest.starts_with(['=', ':']));
            let shown = has_value && may_be_shown(name);
            let name = if shown { format!("`{name}`") } else { "what stands here".to_owned() };
            let message = format!("{name} is not a valid name: it has {wrong} in it");
            return Err(self.error(message, "write NAME=value, one in a line"));
        }
        if name.is_empty() {
            return Err(self.error("a name is missing before `=`".to_owned(), "write NAME=value"));
        }
        let name = name.to_owned();
        let inherited = !self.rest.get(end..).is_some_and(|rest| rest.starts_with(['=', ':']));
        if inherited {
            // a name alone takes its value from outside
            if let Some(value) = (self.lookup)(&name) {
                self.read.values.insert(name, value);
            }
            self.take(end);
            return Ok(());
        }
        self.take(end + 1);
        self.take(self.rest.len() - self.rest.trim_start_matches(is_space).len());
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => self.unquoted()?,
        };
        self.read.values.insert(name, value);
        Ok(())
    }

    fn unquoted(&mut self) -> Result<String, EnvFileError> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = self.rest.get(..end).unwrap_or_default();
        let value = line.split_once(" #").map_or(line, |(value, _)| value).trim_end();
        // `NAME=# words` has an empty value only after a space: `NAME= # words`
        let done = self.expand(value)?;
        self.take(end);
        Ok(done)
    }

    fn quoted(&mut self, quote: char) -> Result<String, EnvFileError> {
        let mut value = String::new();
        let mut escaped = false;
        for (index, letter) in self.rest.char_indices().skip(1) {
            match (letter, escaped) {
                (letter, false) if letter == quote => {
                    let value = if quote == '"' { self.expand(&unescape(&value))? } else { value };
                    self.take(index + 1);
                    return Ok(value);
                }
                (letter, true) if letter == quote => value.push(letter),
                ('\\', false) => {
                    escaped = true;
                    continue;
                }
                (letter, true) => {
                    value.push('\\');
                    value.push(letter);
                }
                (letter, false) => value.push(letter),
            }
            escaped = false;
        }
        Err(self.error(format!("a value begins with {quote} that nothing ends"), "end the value with the same quote"))
    }

    fn expand(&mut self, value: &str) -> Result<String, EnvFileError> {
        let lookup = |name: &str| (self.lookup)(name).or_else(|| self.read.values.get(name).cloned());
        let mut unset = Vec::new();
        let done = interpolate(value, &lookup, &mut unset);
        self.read.unset.extend(unset.into_iter().map(|name| (name, self.line)));
        done.map_err(|InterpolationError { message, help, quotes }| {
            let blank = "the value has a `${` in it that begins no valid variable";
            EnvFileError { line: self.line, message: if quotes { blank.to_owned() } else { message }, help }
        })
    }
}

/// The text as messages may show it: passwords stand in such files.
pub(super) fn names_only(text: &str) -> String {
    let shown = |line: &str| match line.split_once(['=', ':']) {
        Some((name, _)) if may_be_shown(name) => format!("{}…", line.get(..=name.len()).unwrap_or_default()),
        None if line.trim().is_empty() => line.to_owned(),
        _ => "…".to_owned(),
    };
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// The escapes that count between double quotes: `\a \b \c \f \n \r \t \v \" \\`, `\$` and `\0` with
/// up to three octal digits. Any other backslash stays.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let mut letters = from.chars().skip(1);
        let letter = letters.next();
        let plain = match letter {
            Some('a') => Some('\x07'),
            Some('b') => Some('\x08'),
            Some('f') => Some('\x0c'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\x0b'),
            Some('"') => Some('"'),
            Some('\\') => Some('\\'),
            _ => None,
        };
        let mut length = 2;
        match (plain, letter) {
            (Some(plain), _) => out.push(plain),
            // left to the interpolation, for which two are one
            (None, Some('$')) => out.push_str("$$"),
            (None, Some('0')) => {
                let digits: String = letters.take_while(|letter| ('0'..='7').contains(letter)).take(3).collect();
                match u32::from_str_radix(&digits, 8).ok().filter(|_| digits.len() == 3).and_then(char::from_u32) {
                    Some(letter) => {
                        out.push(letter);
                        length += 3;
                    }
                    None => out.push_str("\\0"),
                }
            }
            (None, Some(letter)) => {
                out.push('\\');
                out.push(letter);
                length = 1 + letter.len_utf8();
            }
            (None, None) => {
                out.push('\\');
                length = 1;
            }
        }
        rest = from.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(text: &str) -> String {
        match parse(text, &|name| (name == "OUTER").then(|| "outer".to_owned())) {
            Ok(read) => {
                read.values.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join("\n")
            }
            Err(error) => format!("line {}: {} ({})", error.line, error.message, error.help),
        }
    }

    #[test]
    fn the_dialect_of_compose() {
        let text = "# words\nA=1\nexport B = two \nC='$A \\' #x'\nD=\"$A\\n\\$A \\\"q\\\" \\x\"\nE=a # rest\nF=a#b\nG=\nH: yaml\n\
                    I=\"two\nlines\"\nJ=${A}-${OUTER}-${NONE:-d}\nOUTER\nNOWHERE\nK=$$x\n1X=no\nL='a\nb'\r\nM=\"\\0101\"\n";
        insta::assert_snapshot!(run(text), @r#"
        1X="no"
        A="1"
        B="two"
        C="$A ' #x"
        D="1\n$A \"q\" \\x"
        E="a"
        F="a#b"
        G=""
        H="yaml"
        I="two\nlines"
        J="1-outer-d"
        K="$x"
        L="a\nb"
        M="A"
        OUTER="outer"
        "#);
    }

    #[test]
    fn a_later_file_knows_the_earlier_one_until_it_says_otherwise() {
        let earlier = [("A", "1"), ("B", "2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let outer = |name: &str| (name == "OUTER").then(|| "outer".to_owned());
        let read = parse_after("X=$A\nA=3\nY=$A$B\nOUTER=x\nZ=$OUTER\nB\n", &outer, earlier.into()).unwrap();
        let lines = read.values.iter().map(|(name, value)| format!("{name}={value}"));
        assert_eq!(lines.collect::<Vec<_>>(), ["A=3", "B=2", "OUTER=x", "X=1", "Y=32", "Z=outer"]);
    }

    #[test]
    fn escapes_between_double_quotes() {
        for (text, plain) in [
            (r"\a\b\f\n\r\t\v", "\x07\x08\x0c\n\r\t\x0b"),
            (r#"\"\\"#, "\"\\"),
            (r"\$", "$$"),
            (r"\0101b", "Ab"),
            (r"\0777", "\u{1ff}"),
            // fewer than three digits are none
            (r"\012", r"\012"),
            (r"\0189", r"\0189"),
            (r"\x\é.", r"\x\é."),
            (r"\", r"\"),
        ] {
            assert_eq!(unescape(text), plain, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let all = [
            "A=1\nB='x\ny",
            "A B=1",
            "A=1\n\n=2",
            "A=${X:?gone}",
            "a/b=1",
            "A=1\nB C\n",
            "A=x${3-secret}",
            "A=\"${X:-${secret\"",
            "A=-----BEGIN KEY-----\nMIIabc/def+x=\n",
        ];
        let all = all.map(run).join("\n");
        insta::assert_snapshot!(all, @r"
        line 2: a value begins with ' that nothing ends (end the value with the same quote)
        line 1: `A B` is not a valid name: it has a blank in it (write NAME=value, one in a line)
        line 3: a name is missing before `=` (write NAME=value)
        line 1: the variable X is not set: gone (set X in the environment or in .env next to the file)
        line 1: what stands here is not a valid name: it has `/` in it (write NAME=value, one in a line)
        line 2: what stands here is not a valid name: it has a blank in it (write NAME=value, one in a line)
        line 1: the value has a `${` in it that begins no valid variable (write ${NAME}, ${NAME:-default} or ${NAME:?message}; a dollar sign itself is $$)
        line 1: the value has a `${` in it that begins no valid variable (write ${NAME}, ${NAME:-default} or ${NAME:?message}; a dollar sign itself is $$)
        line 2: what stands here is not a valid name: it has `/` in it (write NAME=value, one in a line)
        ");
    }

    #[test]
    fn a_line_is_shown_without_its_value() {
        let text = "A=secret\nB \"2\nexport C: x\n# PASSWORD=old\n\n";
        assert_eq!(names_only(text), "A=…\n…\nexport C:…\n…\n");
        // a line without a name may be part of a value
        assert_eq!(names_only("A=\"x\nsecret\nMIIabc/def+x==\n\""), "A=…\n…\n…\n…");
    }

    #[test]
    fn raw_values_are_taken_as_they_stand() {
        let known = [("C".to_owned(), "c".to_owned())].into();
        let values = parse_raw("# c\nA=\"$x\" # y\nB\n  C\n", &known).unwrap();
        assert_eq!(values, [("A".to_owned(), "\"$x\" # y".to_owned()), ("C".to_owned(), "c".to_owned())].into());
        let error = parse_raw("A=1\nD = x\n", &known).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (2, "the variable `D ` has white space in its name"));
        for secret in ["-----BEGIN KEY-----", "it's me = x", "correct horse"] {
            let error = parse_raw(secret, &known).unwrap_err();
            assert_eq!(error.message, "what stands here has white space in its name", "{secret}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in any::<String>(), more in "[A-Z=\"'\\\\\n #$0-9{}a-z:-]{0,60}") {
            let _ = run(&text);
            let _ = run(&more);
        }

        #[test]
        fn a_single_quoted_value_stays(value in "[ -&(-\\[\\]-~\n]*") {
            let values = parse(&format!("A='{value}'"), &|_| None).unwrap();
            prop_assert_eq!(values.values.get("A"), Some(&value));
        }
    }
}
