use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Index into the report's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::config) struct FileId(pub(in crate::config) u32);

/// Where a value begins: line and column from 1; both 0 for the file as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::config) struct Span {
    pub(in crate::config) file: FileId,
    pub(in crate::config) line: u32,
    pub(in crate::config) column: u32,
}

impl Span {
    pub(in crate::config) fn whole(file: FileId) -> Self {
        Self { file, line: 0, column: 0 }
    }
}

/// One thing that is wrong, or worth a word, in a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Relative to the working folder where it lies below it; `built-in:NAME` for embedded files.
    pub file: PathBuf,
    /// From 1; 0 when the whole file is meant.
    pub line: u32,
    /// From 1, in characters; 0 when the whole file is meant.
    pub column: u32,
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// The line as it is in the file, where its text was read as YAML.
    pub source: Option<String>,
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: message`, and the help on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file.display(), self.message)?;
        } else {
            write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)?;
        }
        match &self.help {
            Some(help) => write!(f, "\n    {help}"),
            None => Ok(()),
        }
    }
}

/// What a file says is quoted in messages, and never tells a terminal what to do.
fn plain(text: String) -> String {
    let steers = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    match text.contains(steers) {
        true => text.chars().map(|c| if steers(c) { c.escape_default().to_string() } else { c.to_string() }).collect(),
        false => text,
    }
}

/// Everything that is wrong, in the order of files and lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Diagnostic>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects what is found while everything goes on, so that all of it is told at once.
#[derive(Debug)]
pub(in crate::config) struct Report {
    cwd: PathBuf,
    files: Vec<PathBuf>,
    /// The texts of the files that may be shown, by their number.
    sources: HashMap<FileId, Source>,
    errors: Vec<(Span, Diagnostic)>,
    warnings: Vec<(Span, Diagnostic)>,
    /// Nothing is said of keys that an engine has no use for: others have.
    pub(in crate::config) orchestrated: bool,
}

impl Report {
    /// Paths below `cwd` are shown relative to it.
    pub(in crate::config) fn new(cwd: &Path) -> Self {
        Self {
            cwd: cwd.to_owned(),
            files: Vec::new(),
            sources: HashMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            orchestrated: false,
        }
    }

    /// The number of a file in spans.
    pub(in crate::config) fn file(&mut self, path: &Path) -> FileId {
        let index = self.files.iter().position(|known| known == path).unwrap_or_else(|| {
            self.files.push(path.to_owned());
            self.files.len() - 1
        });
        FileId(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Keeps the text of a file, so that a message can show the line that it is about.
    pub(in crate::config) fn source(&mut self, file: FileId, text: &str) {
        self.sources.entry(file).or_insert_with(|| Source::new(text));
    }

    /// The value without quotes that stands at a place, as it is written.
    pub(in crate::config) fn plain_at(&self, span: Span) -> Option<String> {
        let line = line(&self.sources, span)?;
        let (begin, _) = line.char_indices().nth(usize::try_from(span.column).ok()?.checked_sub(1)?)?;
        let rest = line.get(begin..)?;
        let end = rest.find([' ', '\t', ',', '}', ']']).unwrap_or(rest.len());
        let plain = rest.get(..end)?;
        // an anchor, a tag or an alias stands before its value
        (!plain.is_empty() && !plain.starts_with(['"', '\'', '&', '!', '*'])).then(|| plain.to_owned())
    }

    /// Something is wrong in this line, and was told.
    pub(in crate::config) fn told(&self, span: Span) -> bool {
        self.errors.iter().any(|(at, _)| (at.file, at.line) == (span.file, span.line))
    }

    fn diagnostic(&self, span: Span, message: String, help: Option<String>) -> Diagnostic {
        let shown = shown(&self.cwd, &self.files, span);
        let (message, help) = (plain(message), help.map(plain));
        let source = line(&self.sources, span).map(str::to_owned);
        Diagnostic { file: shown, line: span.line, column: span.column, message, help, source }
    }

    pub(in crate::config) fn error_help(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let diagnostic = self.diagnostic(span, message.into(), Some(help.into()));
        self.errors.push((span, diagnostic));
    }

    pub(in crate::config) fn warn(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let diagnostic = self.diagnostic(span, message.into(), Some(help.into()));
        self.warnings.push((span, diagnostic));
    }

    /// How a place is named inside another message.
    pub(in crate::config) fn place(&self, span: Span) -> String {
        place(&self.cwd, &self.files, span)
    }

    /// How places are named after the report is closed.
    pub(in crate::config) fn places(&self) -> Places {
        Places { cwd: self.cwd.clone(), files: self.files.clone(), sources: Arc::new(self.sources.clone()) }
    }

    pub(in crate::config) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Errors and warnings, each in the order of files and lines and said once.
    pub(in crate::config) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        (sorted(self.errors), sorted(self.warnings))
    }
}

/// The files that spans count by.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct Places {
    cwd: PathBuf,
    files: Vec<PathBuf>,
    sources: Arc<HashMap<FileId, Source>>,
}

impl Places {
    /// `shop/compose.yaml:7:9`
    pub(in crate::config) fn place(&self, span: Span) -> String {
        place(&self.cwd, &self.files, span)
    }

    /// `shop/Dockerfile`
    pub(in crate::config) fn shown(&self, path: &Path) -> PathBuf {
        below(&self.cwd, path)
    }

    /// Something that turned out to be wrong there later.
    pub(in crate::config) fn diagnostic(&self, span: Span, message: String) -> Diagnostic {
        let file = shown(&self.cwd, &self.files, span);
        let source = line(&self.sources, span).map(str::to_owned);
        Diagnostic { file, line: span.line, column: span.column, message, help: None, source }
    }
}

/// The text of a file, and where its lines begin: a file may ask for one of them with each of its values.
#[derive(Debug, Clone)]
struct Source {
    text: String,
    lines: Vec<usize>,
}

impl Source {
    fn new(text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text: text.to_owned(), lines }
    }
}

fn line(sources: &HashMap<FileId, Source>, span: Span) -> Option<&str> {
    let line = usize::try_from(span.line).ok()?.checked_sub(1)?;
    let Source { text, lines } = sources.get(&span.file)?;
    text.get(*lines.get(line)?..)?.lines().next()
}

fn place(cwd: &Path, files: &[PathBuf], span: Span) -> String {
    let file = shown(cwd, files, span);
    match span.line {
        0 => file.display().to_string(),
        line => format!("{}:{line}:{}", file.display(), span.column),
    }
}

/// A file below `cwd` relative to it.
fn shown(cwd: &Path, files: &[PathBuf], span: Span) -> PathBuf {
    below(cwd, files.get(span.file.0 as usize).map(PathBuf::as_path).unwrap_or_else(|| Path::new("")))
}

fn below(cwd: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix(cwd) {
        Ok(relative) if !relative.as_os_str().is_empty() => relative.to_owned(),
        _ => path.to_owned(),
    }
}

fn sorted(mut found: Vec<(Span, Diagnostic)>) -> Vec<Diagnostic> {
    found.sort_by_key(|(span, _)| (span.file, span.line, span.column));
    let mut seen = HashSet::new();
    found.into_iter().map(|(_, diagnostic)| diagnostic).filter(|one| seen.insert(one.clone())).collect()
}

/// The known word that is nearest to a misspelt one, if any is near.
pub(in crate::config) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    // other tools write the same keys with dashes or in camel case
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let plain_word = plain(word);
    let limit = 1 + word.chars().count() / 5;
    known
        .into_iter()
        .map(|candidate| {
            let distance = if plain(candidate) == plain_word {
                0
            } else {
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase())
            };
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`.
pub(in crate::config) fn listed<'a>(words: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// Above this a list helps nobody.
pub(in crate::config) const MANY: usize = 24;

/// What to say of a word that is none of the known ones.
pub(in crate::config) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => {
            let mut all: Vec<&str> = known.into_iter().collect();
            all.sort_unstable();
            if all.is_empty() {
                "there is none".to_owned()
            } else if all.len() > MANY {
                // the likeliest of them
                all.sort_by_key(|candidate| strsim::damerau_levenshtein(word, candidate));
                all.truncate(8);
                format!("known here, among others: {}", listed(all, "and"))
            } else {
                format!("known here: {}", listed(all, "and"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_or_none() {
        let known = ["image", "init", "ingress", "stop_grace_period"];
        assert_eq!(nearest("imgae", known), Some("image"));
        assert_eq!(nearest("stopGracePeriod", known), Some("stop_grace_period"));
        assert_eq!(nearest("stop-grace-period", known), Some("stop_grace_period"));
        assert_eq!(nearest("wholly_else", known), None);
        // one slip, and one more for every five letters
        for (word, known, found) in [
            ("abcd", "abxd", true),
            ("abcd", "abxy", false),
            ("abcde", "abcxy", true),
            ("abcde", "abxyz", false),
            ("abcdefghij", "abcdefgxyz", true),
            ("abcdefghij", "abcdefwxyz", false),
        ] {
            assert_eq!(nearest(word, [known]).is_some(), found, "{word} {known}");
        }
        assert_eq!(nearest("stap", ["stip", "step", "start"]), Some("step"));
    }

    /// Each value of a file may ask for its line: 50,000 of them take a moment, not minutes.
    #[test]
    fn a_line_is_found_without_those_before_it() {
        let text: String = (1..=50_000).map(|number| format!("a: {number} # x\r\n")).collect();
        let mut report = Report::new(Path::new("/"));
        let file = report.file(Path::new("/x.yaml"));
        report.source(file, &text);
        let begin = std::time::Instant::now();
        for line in 1..=50_000 {
            assert_eq!(report.plain_at(Span { file, line, column: 4 }), Some(line.to_string()));
        }
        assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
        assert_eq!(report.plain_at(Span { file, line: 50_001, column: 1 }), None);
        assert_eq!(report.plain_at(Span { file, line: 1, column: 99 }), None);
    }

    #[test]
    fn a_line_is_told_of_once_an_error_stands_in_it() {
        let mut report = Report::new(Path::new("/"));
        let (file, other) = (report.file(Path::new("/x.yaml")), report.file(Path::new("/y.yaml")));
        report.error_help(Span { file, line: 3, column: 5 }, "first", "x");
        report.warn(Span { file, line: 4, column: 5 }, "second", "x");
        assert!(report.told(Span { file, line: 3, column: 5 }));
        assert!(report.told(Span { file, line: 3, column: 9 }));
        assert!(!report.told(Span { file, line: 4, column: 5 }));
        assert!(!report.told(Span { file: other, line: 3, column: 5 }));
    }

    #[test]
    fn a_diagnostic_reads_as_file_line_column() {
        let mut report = Report::new(Path::new("/home/u"));
        let file = report.file(Path::new("/home/u/compose.yaml"));
        report.error_help(Span { file, line: 3, column: 5 }, "unknown key `imgae`", "did you mean `image`?");
        report.error_help(Span { file, line: 1, column: 1 }, "first", "x");
        report.error_help(Span { file, line: 1, column: 1 }, "first", "x");
        let (errors, warnings) = report.finish();
        assert!(warnings.is_empty());
        insta::assert_snapshot!(ConfigErrors(errors), @r"
        compose.yaml:1:1: first
            x
        compose.yaml:3:5: unknown key `imgae`
            did you mean `image`?
        ");
    }
}
