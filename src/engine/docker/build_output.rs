//! What a builder says while it works, and what of it is shown when it fails.

use std::collections::VecDeque;

use bollard::errors::Error;

use super::errors;
use crate::engine::{EngineError, ImageError, ProgressSink};
use crate::event::Progress;

/// Lines of output that are shown with a failure.
const TAIL: usize = 15;

pub(super) fn failure(operation: &str, tag: &str, error: Error, output: &mut Output) -> EngineError {
    let message = match error {
        Error::DockerStreamError { error } => error,
        Error::DockerResponseServerError { message, .. } => message,
        other => return errors::engine_error(operation, other),
    };
    let message = message.trim().to_owned();
    if let full @ EngineError::DiskFull { .. } = errors::server_error(operation, None, &message) {
        return full;
    }
    EngineError::Image {
        operation: operation.to_owned(),
        source: ImageError::BuildFailed {
            reference: tag.to_owned(),
            message,
            log_tail: std::mem::take(output).into_tail(),
        },
    }
}

/// The builder's output comes in pieces that end anywhere.
#[derive(Default)]
pub(super) struct Output {
    open: String,
    tail: VecDeque<String>,
}

impl Output {
    pub(super) fn add(&mut self, text: &str, progress: ProgressSink<'_>) {
        self.open.push_str(text);
        while let Some((line, rest)) = self.open.split_once('\n') {
            let line = line.to_owned();
            self.open = rest.to_owned();
            self.line(&line, progress);
        }
    }

    pub(super) fn end(&mut self, progress: ProgressSink<'_>) {
        let line = std::mem::take(&mut self.open);
        self.line(&line, progress);
    }

    pub(super) fn line(&mut self, line: &str, progress: ProgressSink<'_>) {
        // programs that draw progress bars go back to the line's begin: what stands last counts
        let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
        // an arrow that leads to nothing: the builder goes back to the line's begin after it
        if line.trim().is_empty() || line.trim() == "--->" {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        progress(Progress::Line { text: line.to_owned() });
    }

    pub(super) fn into_tail(mut self) -> Vec<String> {
        self.end(&|_| {});
        self.tail.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines_and_its_end_kept() {
        let said = std::sync::Mutex::new(Vec::new());
        let sink = |progress| {
            if let Progress::Line { text } = progress {
                said.lock().unwrap().push(text);
            }
        };
        let mut output = Output::default();
        output.add("Step 1/2 : FROM x\n --->", &sink);
        output.add(" ab12\n ---> \n 10%\r 100%\r\n\n", &sink);
        output.add("no end", &sink);
        assert_eq!(*said.lock().unwrap(), ["Step 1/2 : FROM x", " ---> ab12", " 100%"]);
        for number in 0..20 {
            output.add(&format!("\nline {number}"), &sink);
        }
        let tail = output.into_tail();
        assert_eq!((tail.len(), tail[0].as_str(), tail[14].as_str()), (15, "line 5", "line 19"));
    }

    #[test]
    fn a_failed_build_shows_its_last_lines() {
        let mut output = Output::default();
        output.add("E: Unable to locate package nginx\n", &|_| {});
        let error = Error::DockerStreamError { error: "The command '/bin/sh -c apt-get' returned: 100".to_owned() };
        match failure("building x", "x:1", error, &mut output) {
            EngineError::Image { source: ImageError::BuildFailed { message, log_tail, .. }, .. } => {
                assert_eq!(message, "The command '/bin/sh -c apt-get' returned: 100");
                assert_eq!(log_tail, ["E: Unable to locate package nginx"]);
            }
            other => panic!("{other:?}"),
        }
        let full = Error::DockerStreamError { error: "write /x: no space left on device".to_owned() };
        assert!(matches!(failure("b", "x", full, &mut Output::default()), EngineError::DiskFull { .. }));
    }
}
