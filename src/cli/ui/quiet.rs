//! Nothing but errors.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::{Streams, Tone, run::Run, text};
use crate::event::{Event, Reporter};

/// Says which step failed and why; all else is silence.
pub(super) struct Quiet(Mutex<(Streams, Run)>);

impl Quiet {
    pub fn new(streams: Streams) -> Self {
        Self(Mutex::new((streams, Run::default())))
    }
}

impl Reporter for Quiet {
    fn report(&self, event: Event) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (streams, run) = &mut *guard;
        match event {
            Event::Started { command, platform, steps } => {
                *run = Run::new(command, platform, steps, streams.clock.elapsed());
            }
            Event::StepFailed { id, error, .. } => {
                let what = match run.find(&id) {
                    Some((group, step)) => format!("{}: {}", group.name, step.text),
                    None => text::clean_line(&id),
                };
                let label = streams.style.paint(Tone::Bad, "error:");
                let _ = streams.err.write_all(format!("{label} {what}: {}\n", text::clean_text(&error)).as_bytes());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::testing::{Script, pipe};
    use super::*;

    #[test]
    fn only_failures_are_told() {
        let (streams, out, clock) = pipe();
        let quiet = Quiet::new(streams);
        Script::all_kinds().play(&quiet, &clock, |_| {});
        assert_eq!(out.take(), "");
        Script::failing().play(&quiet, &clock, |_| {});
        assert_snapshot!(out.take(), @r#"
        error: loki: start container macula-loki-1: ended with 1; its last lines:
          level=error msg="no such schema"
          caller=main.go:74
        "#);
    }
}
