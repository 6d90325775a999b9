//! What BuildKit says while it builds, as the lines that the classic builder would write.

use std::collections::{BTreeMap, VecDeque};

use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};

use super::super::build_output::Output;
use crate::engine::ProgressSink;
use crate::event::Progress;

/// Lines that are kept of one step, to be shown again when it fails after others have written theirs.
const KEPT: usize = 200;

#[derive(Default)]
pub(super) struct Told {
    steps: BTreeMap<String, Step>,
    /// The step that wrote last.
    last: String,
    failed: Option<String>,
}

#[derive(Default)]
struct Step {
    /// `Step 2/4 : RUN make`; `None`: not one of the Dockerfile's.
    title: Option<String>,
    open: String,
    lines: VecDeque<String>,
}

impl Told {
    pub(super) fn hear(&mut self, status: &StatusResponse, output: &mut Output, progress: ProgressSink<'_>) {
        for vertex in &status.vertexes {
            self.vertex(vertex, output, progress);
        }
        for log in &status.logs {
            let Some(step) = self.steps.get_mut(&log.vertex) else { continue };
            step.open.push_str(&String::from_utf8_lossy(&log.msg));
            let mut lines: Vec<String> = step.open.split('\n').map(str::to_owned).collect();
            step.open = lines.pop().unwrap_or_default();
            for line in lines {
                self.line(&log.vertex, line, output, progress);
            }
        }
        // what a program wrote last has no line end where it was a prompt or a half sentence
        for vertex in status.vertexes.iter().filter(|vertex| vertex.completed.is_some()) {
            self.rest(&vertex.digest, output, progress);
        }
        for status in &status.statuses {
            let phase = match status.name.as_str() {
                "downloading" => "Downloading",
                "extract" | "extracting" => "Extracting",
                _ => continue,
            };
            progress(Progress::Bytes {
                part: status.id.clone(),
                current: u64::try_from(status.current).unwrap_or_default(),
                total: u64::try_from(status.total).unwrap_or_default(),
                phase: phase.to_owned(),
            });
        }
    }

    fn line(&mut self, digest: &str, line: String, output: &mut Output, progress: ProgressSink<'_>) {
        let Some(step) = self.steps.get_mut(digest) else { return };
        if self.last != digest {
            digest.clone_into(&mut self.last);
            if let Some(title) = &step.title {
                output.line(title, progress);
            }
        }
        if step.lines.len() == KEPT {
            step.lines.pop_front();
        }
        output.line(&line, progress);
        step.lines.push_back(line);
    }

    /// What a step has written without a line end.
    fn rest(&mut self, digest: &str, output: &mut Output, progress: ProgressSink<'_>) {
        let open = self.steps.get_mut(digest).map(|step| std::mem::take(&mut step.open));
        if let Some(line) = open.filter(|line| !line.is_empty()) {
            self.line(digest, line, output, progress);
        }
    }

    fn vertex(&mut self, vertex: &Vertex, output: &mut Output, progress: ProgressSink<'_>) {
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        let begins = step.title.is_none() && (vertex.started.is_some() || vertex.cached);
        if begins && let Some(title) = title(&vertex.name) {
            output.line(&title, progress);
            step.title = Some(title);
            self.last.clone_from(&vertex.digest);
        }
        if !vertex.error.is_empty() && !vertex.error.contains("context canceled") {
            self.failed.get_or_insert_with(|| vertex.digest.clone());
        }
    }

    /// The step that failed, at the end of what was written.
    pub(super) fn end(&mut self, output: &mut Output, progress: ProgressSink<'_>) {
        let Some(failed) = self.failed.clone() else { return };
        if failed == self.last {
            self.rest(&failed, output, progress);
            return;
        }
        let Some(Step { title: Some(title), open, lines }) = self.steps.get(&failed) else { return };
        output.line(title, progress);
        for line in lines.iter().chain([open]) {
            output.line(line, progress);
        }
    }
}

/// `[base 2/3] RUN make` as `Step 2/3 : RUN make`; nothing of what BuildKit does by itself.
fn title(name: &str) -> Option<String> {
    let (head, instruction) = name.strip_prefix('[')?.split_once("] ")?;
    let numbers = head.split(' ').next_back()?;
    let (number, of) = numbers.split_once('/')?;
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    // the digest that stands behind a name says nothing to people
    let name = instruction.split_once("@sha256:").filter(|_| instruction.starts_with("FROM "));
    let instruction = name.map_or(instruction, |(name, _)| name);
    (is_number(number) && is_number(of)).then(|| format!("Step {number}/{of} : {instruction}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bollard_buildkit_proto::google::protobuf::Timestamp;
    use bollard_buildkit_proto::moby::buildkit::v1::{VertexLog, VertexStatus};

    use super::*;

    fn vertex(name: &str, error: &str) -> Vertex {
        Vertex {
            digest: name.to_owned(),
            name: name.to_owned(),
            started: Some(Timestamp::default()),
            error: error.to_owned(),
            ..Vertex::default()
        }
    }

    fn log(name: &str, text: &str) -> VertexLog {
        VertexLog { vertex: name.to_owned(), msg: text.as_bytes().to_vec(), ..VertexLog::default() }
    }

    #[test]
    fn steps_side_by_side_are_told_apart_and_the_failing_one_comes_last() {
        let said = Mutex::new(Vec::new());
        let sink = |progress| {
            if let Progress::Line { text } = progress {
                said.lock().unwrap().push(text);
            }
        };
        let (mut told, mut output) = (Told::default(), Output::default());
        let mut hear = |vertexes: Vec<Vertex>, logs: Vec<VertexLog>| {
            let status = StatusResponse { vertexes, logs, ..StatusResponse::default() };
            told.hear(&status, &mut output, &sink);
        };
        let (internal, a, b) = ("[internal] load build definition", "[a 1/2] RUN one", "[b 2/2] RUN two");
        hear(
            vec![vertex(internal, ""), vertex(a, ""), vertex(b, "")],
            vec![log(a, "from a\nhalf "), log(b, "from b\n")],
        );
        hear(vec![vertex(a, "exit code: 3"), vertex(b, "context canceled")], vec![log(b, "last\n")]);
        told.end(&mut output, &sink);
        let expected = [
            "Step 1/2 : RUN one",
            "Step 2/2 : RUN two",
            "Step 1/2 : RUN one",
            "from a",
            "Step 2/2 : RUN two",
            "from b",
            "last",
            "Step 1/2 : RUN one",
            "from a",
            "half",
        ];
        assert_eq!(*said.lock().unwrap(), expected);
        let ended = |name: &str, error: &str| Vertex { completed: Some(Timestamp::default()), ..vertex(name, error) };
        for (vertexes, logs, expected) in [
            // it ends with its step, or with the build
            (vec![ended(a, "exit code: 1")], vec![log(a, "half")], vec!["Step 1/2 : RUN one", "half"]),
            (vec![vertex(a, "exit code: 1")], vec![log(a, "half")], vec!["Step 1/2 : RUN one", "half"]),
            (
                vec![ended(a, "exit code: 1"), vertex(b, "")],
                vec![log(a, "half"), log(b, "from b\nmore")],
                vec!["Step 1/2 : RUN one", "Step 2/2 : RUN two", "from b", "Step 1/2 : RUN one", "half"],
            ),
        ] {
            said.lock().unwrap().clear();
            let (mut told, mut output) = (Told::default(), Output::default());
            let status = StatusResponse { vertexes, logs, ..StatusResponse::default() };
            told.hear(&status, &mut output, &sink);
            told.end(&mut output, &sink);
            assert_eq!(*said.lock().unwrap(), expected);
        }
    }

    #[test]
    fn a_step_of_the_dockerfile_is_told_by_its_number() {
        for (name, expected) in [
            ("[1/2] FROM docker.io/library/a:1@sha256:00", Some("Step 1/2 : FROM docker.io/library/a:1")),
            ("[base 2/3] RUN make", Some("Step 2/3 : RUN make")),
            // a digest that a step works with is part of it
            ("[2/2] RUN get a@sha256:00", Some("Step 2/2 : RUN get a@sha256:00")),
            ("[internal] load build context", None),
            ("[a 1/b] RUN make", None),
            ("[a b/1] RUN make", None),
            ("exporting to image", None),
        ] {
            assert_eq!(title(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_fetched_is_told_in_bytes_and_a_step_once_it_begins() {
        let said = Mutex::new(Vec::new());
        let sink = |progress: Progress| said.lock().unwrap().push(progress);
        let (mut told, mut output) = (Told::default(), Output::default());
        let waiting = Vertex { started: None, ..vertex("[1/3] FROM a", "") };
        let cached = Vertex { started: None, cached: true, ..vertex("[2/3] RUN b", "") };
        let status = |name: &str, current, total| VertexStatus {
            id: "sha256:a".to_owned(),
            name: name.to_owned(),
            current,
            total,
            ..VertexStatus::default()
        };
        let statuses = vec![
            status("downloading", 3, 9),
            status("extract", 4, 9),
            status("extracting", -1, -1),
            status("resolving", 1, 1),
        ];
        let heard = StatusResponse { vertexes: vec![waiting, cached], statuses, ..StatusResponse::default() };
        told.hear(&heard, &mut output, &sink);
        // it is told once, whatever else comes of it
        let begun = StatusResponse { vertexes: vec![vertex("[2/3] RUN b", "")], ..StatusResponse::default() };
        told.hear(&begun, &mut output, &sink);
        let bytes = |current, total, phase: &str| Progress::Bytes {
            part: "sha256:a".to_owned(),
            current,
            total,
            phase: phase.to_owned(),
        };
        let expected = [
            Progress::Line { text: "Step 2/3 : RUN b".to_owned() },
            bytes(3, 9, "Downloading"),
            bytes(4, 9, "Extracting"),
            bytes(0, 0, "Extracting"),
        ];
        assert_eq!(*said.lock().unwrap(), expected);
    }
}
