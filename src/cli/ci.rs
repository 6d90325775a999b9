//! What CI systems make of a log: sections that fold, and annotations of errors and warnings.

use std::io::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::{Event, Reporter};
use crate::words;

/// The system that this run belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ci {
    /// `summary`: the file whose text is shown on the page of the run.
    GitHub {
        summary: Option<String>,
    },
    GitLab,
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

    /// The line that annotates a failure, where the system has such lines.
    pub fn error(&self, message: &str) -> Option<String> {
        matches!(self, Self::GitHub { .. }).then(|| annotation("error", message))
    }

    fn begin(&self, title: &str, seconds: u64) -> String {
        match self {
            Self::GitHub { .. } => format!("::group::{}\n", escaped(title)),
            Self::GitLab => format!("\x1b[0Ksection_start:{seconds}:macula\r\x1b[0K{title}\n"),
        }
    }

    fn end(&self, seconds: u64) -> String {
        match self {
            Self::GitHub { .. } => "::endgroup::\n".to_owned(),
            Self::GitLab => format!("\x1b[0Ksection_end:{seconds}:macula\r\x1b[0K\n"),
        }
    }
}

/// <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>
fn annotation(kind: &str, message: &str) -> String {
    format!("::{kind} title=macula::{}\n", escaped(message))
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Folds what a run says into a section.
pub struct Folding {
    pub inner: Arc<dyn Reporter>,
    pub ci: Ci,
    title: std::sync::Mutex<Option<String>>,
}

impl Folding {
    pub fn new(inner: Arc<dyn Reporter>, ci: Ci) -> Self {
        Self { inner, ci, title: std::sync::Mutex::default() }
    }

    /// What stands before and after the event's own lines.
    fn around(&self, event: &Event) -> (Option<String>, Option<String>) {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut title = self.title.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::Started { command, platform, steps, .. } => {
                let text = format!("{command}: platform {platform}, {}", words::count(steps.len(), "step"));
                // a second part of the same run stays in its section
                let begin = title.is_none().then(|| self.ci.begin(&text, now()));
                title.get_or_insert(text);
                (begin, None)
            }
            Event::Finished { .. } => (None, title.take().map(|_| self.ci.end(now()))),
            Event::Warning { message } if matches!(self.ci, Ci::GitHub { .. }) => {
                (None, Some(annotation("warning", message)))
            }
            _ => (None, None),
        }
    }
}

impl Reporter for Folding {
    fn report(&self, event: Event) {
        let put = |text: Option<String>| {
            if let Some(text) = text {
                // whoever closed standard error does not want to know
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
            }
        };
        let title = self.title.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let (Event::Finished { ok, summary, .. }, Ci::GitHub { summary: Some(path) }, Some(title)) =
            (&event, &self.ci, title)
        {
            let sign = if *ok { ":white_check_mark:" } else { ":x:" };
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            // a summary that cannot be written is no reason to fail
            let _ = file.and_then(|mut file| writeln!(file, "{sign} **{title}**: {summary}\n"));
        }
        let (before, after) = self.around(&event);
        put(before);
        self.inner.report(event);
        put(after);
    }

    fn finish(&self) {
        self.inner.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Reporter for Nobody {
        fn report(&self, _: Event) {}
    }

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

    #[test]
    fn the_system_is_told_by_its_variable() {
        let with = |name: &'static str, value: &'static str| Ci::of(move |asked| (asked == name).then(|| value.into()));
        assert_eq!(with("GITHUB_ACTIONS", "true"), Some(Ci::GitHub { summary: None }));
        assert_eq!(with("GITLAB_CI", "true"), Some(Ci::GitLab));
        assert_eq!(with("CI", "true"), None);
        assert_eq!(with("GITHUB_ACTIONS", ""), None);
    }

    #[test]
    fn a_run_is_one_group() {
        let folding = Folding::new(Arc::new(Nobody), Ci::GitHub { summary: None });
        assert_eq!(folding.around(&started()).0.as_deref(), Some("::group::macula up: platform macula, 0 steps\n"));
        assert_eq!(folding.around(&started()), (None, None), "the cluster's part is no group of its own");
        assert_eq!(folding.around(&finished()), (None, Some("::endgroup::\n".into())));
        assert_eq!(folding.around(&finished()), (None, None), "nothing is open");
    }

    #[test]
    fn warnings_and_errors_are_annotated_in_one_line() {
        let folding = Folding::new(Arc::new(Nobody), Ci::GitHub { summary: None });
        let warning = Event::Warning { message: "100%\nsure".into() };
        assert_eq!(folding.around(&warning).1.as_deref(), Some("::warning title=macula::100%25%0Asure\n"));
        assert_eq!(folding.ci.error("no\nway").as_deref(), Some("::error title=macula::no%0Away\n"));
        assert_eq!(Ci::GitLab.error("no"), None);
    }

    #[test]
    fn gitlab_gets_sections() {
        assert_eq!(Ci::GitLab.begin("macula up", 7), "\x1b[0Ksection_start:7:macula\r\x1b[0Kmacula up\n");
        assert_eq!(Ci::GitLab.end(9), "\x1b[0Ksection_end:9:macula\r\x1b[0K\n");
    }

    #[test]
    fn the_summary_is_appended() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("summary.md");
        let ci = Ci::GitHub { summary: Some(path.display().to_string()) };
        let folding = Folding::new(Arc::new(Nobody), ci);
        folding.report(started());
        folding.report(finished());
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, ":white_check_mark: **macula up: platform macula, 0 steps**: up\n\n");
    }
}
