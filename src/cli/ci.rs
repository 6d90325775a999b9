//! What CI systems make of a log: sections that fold, annotations of errors and warnings, a summary on the page of
//! the run. What others wrote (labels, logs, names) must not be taken for such a command.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::{Event, Place, Reporter};
use crate::words;

use super::error::CliError;

/// In the environment of the command of a job that is to clean up: an `up` in it is the job's.
pub const JOB_VARIABLE: &str = "MACULA_CI_JOB";

/// The system that this run belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ci {
    /// `summary`: the file whose text is shown on the page of the run.
    GitHub {
        summary: Option<String>,
    },
    GitLab,
}

/// How much an annotation matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error,
    Warning,
}

impl Ci {
    pub fn of(env: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let on = |name: &str| env(name).is_some_and(|value| value == "true");
        if on("GITHUB_ACTIONS") {
            let summary = env("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
            return Some(Self::GitHub { summary });
        }
        on("GITLAB_CI").then_some(Self::GitLab)
    }

    /// The lines that annotate a failure, where the system has such lines: one for each place in a file.
    pub fn failure(&self, error: &CliError) -> String {
        if error.places.is_empty() {
            return self.annotation(Level::Error, "macula", &error.message, None);
        }
        let lines = error.places.iter();
        lines.map(|(place, text)| self.annotation(Level::Error, "macula", text, Some(place))).collect()
    }

    /// One line, or nothing where the system has no annotations
    /// (<https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>).
    pub fn annotation(&self, level: Level, title: &str, message: &str, place: Option<&Place>) -> String {
        if matches!(self, Self::GitLab) {
            return String::new();
        }
        let kind = match level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let place = place.map(place_of).unwrap_or_default();
        format!("::{kind} {place}title={}::{}\n", property(title), escaped(message))
    }

    /// `text` as a section that folds; the title stays to be seen.
    pub fn section(&self, title: &str, text: &str) -> String {
        format!("{}{text}{}", self.begin(title, now()), self.end(now()))
    }

    fn begin(&self, title: &str, seconds: u64) -> String {
        let title = self.harmless(title);
        match self {
            Self::GitHub { .. } => format!("::group::{}\n", escaped(&title)),
            Self::GitLab => {
                let title: String = title.chars().filter(|letter| !letter.is_control()).collect();
                format!("\x1b[0Ksection_start:{seconds}:{}\r\x1b[0K{title}\n", section_name())
            }
        }
    }

    fn end(&self, seconds: u64) -> String {
        match self {
            Self::GitHub { .. } => "::endgroup::\n".to_owned(),
            Self::GitLab => format!("\x1b[0Ksection_end:{seconds}:{}\r\x1b[0K\n", section_name()),
        }
    }

    /// Text in which the system finds no command of its own. GitHub's runner takes `::` at the beginning of a line
    /// and `##[` anywhere in it; GitLab's takes `section_start:` and `section_end:` anywhere.
    pub fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::GitHub { .. } => {
                if !text.contains("::") && !text.contains("##[") {
                    return Cow::Borrowed(text);
                }
                let mut out = String::with_capacity(text.len() + 8);
                for line in text.split_inclusive(['\n', '\r']) {
                    let blank = line.len() - line.trim_start().len();
                    let (blank, rest) = line.split_at(blank);
                    out.push_str(blank);
                    match rest.strip_prefix("::") {
                        Some(rest) => out.push_str(&format!(": :{rest}").replace("##[", "# #[")),
                        None => out.push_str(&rest.replace("##[", "# #[")),
                    }
                }
                Cow::Owned(out)
            }
            Self::GitLab if text.contains("section_") => {
                Cow::Owned(text.replace("section_start:", "section_start :").replace("section_end:", "section_end :"))
            }
            Self::GitLab => Cow::Borrowed(text),
        }
    }

    /// Adds Markdown to the page of the run. A summary that cannot be written is no reason to fail.
    pub fn summarize(&self, markdown: &str) {
        let Self::GitHub { summary: Some(path) } = self else { return };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(Path::new(path));
        let _ = file.and_then(|mut file| file.write_all(format!("{markdown}\n").as_bytes()));
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Sections of one name would be taken for one: each run has its own.
fn section_name() -> String {
    format!("macula_{}", std::process::id())
}

/// `file=,line=,col=,`; a file as a whole has no line.
fn place_of(place: &Place) -> String {
    let file = std::path::absolute(&place.file).unwrap_or_else(|_| place.file.clone());
    let file = property(&file.display().to_string());
    match place.line {
        0 => format!("file={file},"),
        line => format!("file={file},line={line},col={},", place.column),
    }
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text of others within Markdown, in one line: it formats nothing and links nowhere.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            letter if letter.is_control() => out.push(' '),
            letter if "\\`*_{}[]()#+!|~@".contains(letter) => {
                out.push('\\');
                out.push(letter);
            }
            letter => out.push(letter),
        }
    }
    out
}

/// A table in Markdown; nothing where there are no rows.
pub fn markdown_table<const N: usize>(titles: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut out = String::new();
    for row in rows {
        if out.is_empty() {
            out = format!("| {} |\n|{}\n", titles.join(" | "), " --- |".repeat(N));
        }
        out.push_str(&format!("| {} |\n", row.map(|cell| markdown(&cell)).join(" | ")));
    }
    out
}

/// Writes to a log that a CI system reads, without the commands of others in it.
pub struct Harmless<W> {
    inner: W,
    ci: Ci,
}

impl<W: Write> Harmless<W> {
    pub fn new(inner: W, ci: Ci) -> Self {
        Self { inner, ci }
    }
}

impl<W: Write> Write for Harmless<W> {
    /// Whole lines come in one call.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let text = String::from_utf8_lossy(bytes);
        match self.ci.harmless(&text) {
            // bytes that are no text stay what they are
            Cow::Borrowed(_) => self.inner.write_all(bytes),
            Cow::Owned(text) => self.inner.write_all(text.as_bytes()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Folds what a run says into a section.
pub struct Folding {
    inner: Arc<dyn Reporter>,
    ci: Ci,
    run: Mutex<Run>,
}

/// The run that was announced.
#[derive(Debug, Default)]
struct Run {
    title: Option<String>,
    /// Its section has begun and has not ended.
    open: bool,
}

impl Folding {
    pub fn new(inner: Arc<dyn Reporter>, ci: Ci) -> Self {
        Self { inner, ci, run: Mutex::default() }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands before and after the event's own lines.
    fn around(&self, event: &Event) -> (String, String) {
        let mut run = self.run();
        match event {
            Event::Started { command, platform, steps, .. } => {
                let text = format!("{command}: platform {platform}, {}", words::count(steps.len(), "step"));
                // a second part of the same run stays in its section
                let begin = if run.open { String::new() } else { self.ci.begin(&text, now()) };
                run.open = true;
                run.title.get_or_insert(text);
                (begin, String::new())
            }
            Event::Finished { .. } => (String::new(), self.end(&mut run)),
            Event::Warning { message, place } => {
                (String::new(), self.ci.annotation(Level::Warning, "macula", message, place.as_ref()))
            }
            _ => (String::new(), String::new()),
        }
    }

    fn end(&self, run: &mut Run) -> String {
        if std::mem::take(&mut run.open) { self.ci.end(now()) } else { String::new() }
    }
}

/// Whoever closed standard error does not want to know.
fn put(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

impl Reporter for Folding {
    fn report(&self, event: Event) {
        if let Event::Finished { ok, summary, .. } = &event
            && let Some(title) = self.run().title.take()
        {
            let sign = if *ok { ":white_check_mark:" } else { ":x:" };
            self.ci.summarize(&format!("{sign} **{}**: {}\n", markdown(&title), markdown(summary)));
        }
        let (before, after) = self.around(&event);
        put(&before);
        self.inner.report(event);
        put(&after);
    }

    /// What comes now is a result, a question or an error: none of them is folded away.
    fn finish(&self) {
        self.inner.finish();
        let end = self.end(&mut self.run());
        put(&end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Reporter for Nobody {
        fn report(&self, _: Event) {}
    }

    const GITHUB: Ci = Ci::GitHub { summary: None };

    fn started() -> Event {
        Event::Started {
            command: "macula up".into(),
            platform: "macula".into(),
            steps: Vec::new(),
            unchanged: Vec::new(),
        }
    }

    fn finished() -> Event {
        Event::Finished { ok: true, degraded: false, millis: 1, summary: "up".into() }
    }

    fn nothing() -> (String, String) {
        (String::new(), String::new())
    }

    #[test]
    fn the_system_is_told_by_its_variable() {
        let with = |name: &'static str, value: &'static str| Ci::of(move |asked| (asked == name).then(|| value.into()));
        assert_eq!(with("GITHUB_ACTIONS", "true"), Some(GITHUB));
        assert_eq!(with("GITLAB_CI", "true"), Some(Ci::GitLab));
        assert_eq!(with("CI", "true"), None);
        assert_eq!(with("GITHUB_ACTIONS", ""), None);
    }

    #[test]
    fn a_run_is_one_group() {
        let folding = Folding::new(Arc::new(Nobody), GITHUB);
        assert_eq!(folding.around(&started()).0, "::group::macula up: platform macula, 0 steps\n");
        assert_eq!(folding.around(&started()), nothing(), "the cluster's part is no group of its own");
        assert_eq!(folding.around(&finished()).1, "::endgroup::\n");
        assert_eq!(folding.around(&finished()), nothing(), "nothing is open");
    }

    #[test]
    fn a_group_ends_before_a_question_and_an_error() {
        let folding = Folding::new(Arc::new(Nobody), GITHUB);
        folding.around(&started());
        folding.finish();
        assert_eq!(folding.around(&finished()), nothing());
        assert!(folding.run().title.is_some(), "the summary has a title all the same");
    }

    #[test]
    fn warnings_and_errors_are_annotated_in_one_line() {
        let folding = Folding::new(Arc::new(Nobody), GITHUB);
        let warning = Event::Warning { message: "100%\nsure".into(), place: None };
        assert_eq!(folding.around(&warning).1, "::warning title=macula::100%25%0Asure\n");
        assert_eq!(GITHUB.failure(&CliError::unexpected("no\nway")), "::error title=macula::no%0Away\n");
        assert_eq!(Ci::GitLab.failure(&CliError::unexpected("no")), "");
    }

    #[test]
    fn each_place_in_a_file_has_its_own_annotation() {
        let mut error = CliError::config("the configuration has 2 errors");
        let at = |line, column| Place { file: "/srv/a,b:c/compose.yaml".into(), line, column };
        error.places = vec![(at(4, 7), "no such key".into()), (at(0, 0), "not UTF-8".into())].into();
        assert_eq!(
            GITHUB.failure(&error),
            "::error file=/srv/a%2Cb%3Ac/compose.yaml,line=4,col=7,title=macula::no such key\n\
             ::error file=/srv/a%2Cb%3Ac/compose.yaml,title=macula::not UTF-8\n"
        );
    }

    #[test]
    fn what_others_wrote_is_no_command() {
        let others = [
            ("::stop-commands::x\n", ": :stop-commands::x\n"),
            ("a\r  ::add-mask::e\n\t::error::x", "a\r  : :add-mask::e\n\t: :error::x"),
            ("postgres | ##[add-mask]e", "postgres | # #[add-mask]e"),
            ("::##[group]", ": :# #[group]"),
            ("listens on [::]:80 and fd00::1", "listens on [::]:80 and fd00::1"),
        ];
        for (said, shown) in others {
            assert_eq!(GITHUB.harmless(said), shown);
            assert_eq!(GITHUB.harmless(shown), shown, "once is enough");
        }
        let end = "\x1b[0Ksection_end:1:macula_7\r\x1b[0K";
        assert_eq!(Ci::GitLab.harmless(end), "\x1b[0Ksection_end :1:macula_7\r\x1b[0K");
        let mut out = Vec::new();
        Harmless::new(&mut out, GITHUB).write_all(b"\xff::x::\n::x::\n").unwrap();
        assert_eq!(String::from_utf8_lossy(&out), "\u{fffd}::x::\n: :x::\n");
        let mut out = Vec::new();
        Harmless::new(&mut out, GITHUB).write_all(b"\xff\n").unwrap();
        assert_eq!(out, b"\xff\n");
    }

    #[test]
    fn gitlab_gets_sections() {
        let name = section_name();
        assert_eq!(
            Ci::GitLab.begin("macula\x1b[2J up", 7),
            format!("\x1b[0Ksection_start:7:{name}\r\x1b[0Kmacula[2J up\n")
        );
        assert_eq!(Ci::GitLab.end(9), format!("\x1b[0Ksection_end:9:{name}\r\x1b[0K\n"));
        assert_eq!(GITHUB.section("a", "b\n"), "::group::a\nb\n::endgroup::\n");
    }

    #[test]
    fn the_summary_is_appended() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("summary.md");
        let ci = Ci::GitHub { summary: Some(path.display().to_string()) };
        let folding = Folding::new(Arc::new(Nobody), ci.clone());
        folding.report(started());
        folding.finish();
        folding.report(finished());
        ci.summarize(&markdown_table(["service", "why"], [["a|b".to_owned(), "<img src=x>\nno `image`".to_owned()]]));
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            text,
            ":white_check_mark: **macula up: platform macula, 0 steps**: up\n\n\
             | service | why |\n| --- | --- |\n| a\\|b | &lt;img src=x&gt; no \\`image\\` |\n\n"
        );
    }
}
