//! What a build has written: kept whole, so that a failure can show the step that failed and the
//! lines that say why.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::engine::{EngineError, ImageError};
use crate::event::Progress;
use crate::host::RunError;
use crate::model::{Dockerfile, ImageBuild};

use super::files::dockerfile;
use super::{StepError, Tools};

/// A failed build, ready to be shown.
#[derive(Debug)]
pub struct BuildFailure {
    pub service: String,
    /// `step 3 of 3 ended with 2`, or `npm ended with 1`.
    pub what: String,
    /// Where the instruction stands.
    pub place: Option<BuildPlace>,
    /// The instruction, or the command of the host, that failed.
    pub instruction: Option<String>,
    /// Of its output: the lines that tell most, `…` where some are missing.
    pub lines: Vec<String>,
    /// The whole output.
    pub log: Option<PathBuf>,
}

/// A line of what an image is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildPlace {
    Dockerfile {
        path: PathBuf,
        line: u32,
    },
    /// `dockerfile_inline` of the service.
    Inline {
        line: u32,
    },
}

impl BuildPlace {
    pub fn line(&self) -> u32 {
        match self {
            Self::Dockerfile { line, .. } | Self::Inline { line } => *line,
        }
    }
}

impl std::fmt::Display for BuildPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dockerfile { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Inline { line } => write!(f, "line {line} of its dockerfile_inline"),
        }
    }
}

/// Lines that are kept of one build; a longer one has lost its beginning.
const KEPT: usize = 50_000;
/// Lines that a failure shows.
const SHOWN: usize = 14;
/// Of them, lines that speak of an error and stand too far above the end.
const ERRORS: usize = 5;

/// Collects the lines of one build.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<std::collections::VecDeque<String>>);

impl Said {
    pub fn hear(&self, progress: &Progress) {
        if let Progress::Line { text } = progress {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(text.clone());
        }
    }

    /// The error with what the build said; other troubles (a full disk, an engine that went away)
    /// stay as they are.
    pub async fn failed(self, tools: &Tools, service: &str, image: &ImageBuild, error: StepError) -> StepError {
        let lines: Vec<String> = self.0.into_inner().unwrap_or_else(PoisonError::into_inner).into();
        let mut failure = match &error {
            StepError::Engine(EngineError::Image { source: ImageError::BuildFailed { message, .. }, .. }) => {
                let dockerfile = dockerfile(tools, image).await.ok();
                of_builder(&lines, message, dockerfile.as_ref())
            }
            StepError::Prepare { source: RunError::Failed { command, status, .. }, .. } => {
                of_program(&lines, command, status)
            }
            _ => return error,
        };
        service.clone_into(&mut failure.service);
        if let Some(folder) = &tools.extras.logs {
            let path = folder.join(format!("build-{service}.log"));
            let whole = lines.join("\n") + "\n";
            // a log that cannot be kept is no reason to hide the failure
            if tools.host.write(&path, whole.as_bytes(), 0o600).await.is_ok() {
                failure.log = Some(path);
            }
        }
        StepError::Build { failure: Box::new(failure), source: Box::new(error) }
    }
}

fn of_builder(lines: &[String], message: &str, dockerfile: Option<&(String, Option<PathBuf>)>) -> BuildFailure {
    let begin = lines.iter().rposition(|line| step(line).is_some());
    let failing = begin.and_then(|at| step(lines.get(at)?));
    let output: Vec<&str> =
        lines.iter().skip(begin.map_or(0, |at| at + 1)).map(String::as_str).filter(|line| !is_noise(line)).collect();
    let code = exit_code(message);
    let ended = code.map_or_else(|| format!("failed: {message}"), |code| format!("ended with exit code {code}"));
    let what = match &failing {
        Some(step) => format!("step {} of {} {ended}", step.number, step.of),
        None => message.to_owned(),
    };
    let place = failing.as_ref().and_then(|step| {
        let (text, path) = dockerfile?;
        let line = line_of(text, step)?;
        Some(match path {
            Some(path) => BuildPlace::Dockerfile { path: path.clone(), line },
            None => BuildPlace::Inline { line },
        })
    });
    BuildFailure {
        service: String::new(),
        what,
        place,
        instruction: failing.map(|step| step.instruction),
        lines: telling(&output),
        log: None,
    }
}

fn of_program(lines: &[String], command: &str, status: &str) -> BuildFailure {
    let program = command.split(' ').find(|word| !word.contains('=') && *word != "sudo").unwrap_or(command);
    let prefix = format!("{program}: ");
    let output: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
    BuildFailure {
        service: String::new(),
        what: format!("`{program}` ended with {status}"),
        place: None,
        instruction: Some(command.to_owned()),
        lines: telling(&output),
        log: None,
    }
}

struct Instruction {
    number: usize,
    of: usize,
    instruction: String,
}

/// `Step 3/9 : RUN make` of Docker, `STEP 3/9: RUN make` of Podman.
fn step(line: &str) -> Option<Instruction> {
    let rest = line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP "))?;
    let (numbers, instruction) = rest.split_once(':')?;
    let (number, of) = numbers.trim().split_once('/')?;
    Some(Instruction { number: number.parse().ok()?, of: of.parse().ok()?, instruction: instruction.trim().to_owned() })
}

/// What the builder says of itself.
fn is_noise(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("---> ") || line.starts_with("--> ") || line.starts_with("Removing intermediate container")
}

/// The number at the end of the builder's message.
fn exit_code(message: &str) -> Option<u32> {
    let marks = ["returned a non-zero code: ", "exit status ", "exit code: "];
    let at = marks.iter().find_map(|mark| Some(message.rfind(mark)? + mark.len()))?;
    let digits: String = message.get(at..)?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The line of the instruction that failed. BuildKit counts those of a stage, the classic builder all.
fn line_of(dockerfile: &str, step: &Instruction) -> Option<u32> {
    let dockerfile = Dockerfile::parse(dockerfile);
    dockerfile.line_of(&step.instruction).or_else(|| {
        let counted = dockerfile.instructions.len() == step.of;
        dockerfile.instructions.get(step.number.checked_sub(1)?).filter(|_| counted).map(|found| found.line)
    })
}

/// All of a short output. Of a long one its end, and before it the lines that speak of an error.
fn telling(output: &[&str]) -> Vec<String> {
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    if output.len() <= SHOWN {
        return owned(output);
    }
    let errors_end = output.len() - (SHOWN - ERRORS - 2);
    let errors: Vec<usize> = (0..errors_end)
        .filter(|at| output.get(*at).is_some_and(|line| speaks_of_an_error(line)))
        .take(ERRORS)
        .collect();
    let end = output.len() - (SHOWN - errors.len() - 2).min(output.len());
    let mut shown = Vec::new();
    let mut next = 0;
    for at in errors.into_iter().chain(end..output.len()) {
        if at > next {
            shown.push(format!("… {} line{}", at - next, if at - next == 1 { "" } else { "s" }));
        }
        shown.extend(output.get(at).map(|line| (*line).to_owned()));
        next = at + 1;
    }
    shown
}

fn speaks_of_an_error(line: &str) -> bool {
    let lower = line.to_lowercase();
    ["error", "fatal", "undefined reference", "no such file", "not found", "permission denied", "panic", "failed"]
        .iter()
        .any(|word| lower.contains(word))
        || line.trim_start().starts_with("E: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_error_is_shown_although_much_was_written_after_it() {
        let mut said = lines("Step 1/3 : FROM base\n ---> 12\nStep 3/3 : RUN make\n ---> Running in a8\n");
        said.push("src/main.c:12:5: error: expected ';' before 'return'".into());
        said.extend((1..=20).map(|module| format!("compiling module {module}")));
        said.push("Removing intermediate container a8".into());
        let dockerfile =
            ("# a shop\nFROM base\n\nCOPY \\\n  . .\nRUN make\n".to_owned(), Some(PathBuf::from("shop/Dockerfile")));
        let message = "The command '/bin/sh -c make' returned a non-zero code: 2";
        let failure = of_builder(&said, message, Some(&dockerfile));
        assert_eq!(failure.what, "step 3 of 3 ended with exit code 2");
        assert_eq!(failure.place.map(|place| place.to_string()).as_deref(), Some("shop/Dockerfile:6"));
        assert_eq!(failure.instruction.as_deref(), Some("RUN make"));
        assert!(failure.lines.len() <= SHOWN);
        assert_eq!(failure.lines[0], "src/main.c:12:5: error: expected ';' before 'return'");
        assert_eq!(failure.lines[1], "… 9 lines");
        assert_eq!(failure.lines.last().unwrap(), "compiling module 20");
    }

    #[test]
    fn a_program_of_the_host_is_told_by_its_own_lines() {
        let said = lines("npm install --no-audit\nnpm: added 3 packages\nnpm: npm ERR! code ENOTFOUND\n");
        let failure = of_program(&said, "npm install --no-audit", "status 1");
        assert_eq!(failure.what, "`npm` ended with status 1");
        assert_eq!(failure.lines, ["added 3 packages", "npm ERR! code ENOTFOUND"]);
    }

    #[test]
    fn what_comes_before_the_program_is_not_its_name() {
        for (command, program) in
            [("sudo DEBIAN_FRONTEND=noninteractive apt-get -y install x", "apt-get"), ("make", "make"), ("A=1", "A=1")]
        {
            let failure = of_program(&[], command, "status 2");
            assert_eq!(failure.what, format!("`{program}` ended with status 2"));
            assert_eq!((failure.instruction.as_deref(), failure.lines.len()), (Some(command), 0));
        }
    }

    #[test]
    fn a_place_is_a_line_of_a_file_or_of_the_stack() {
        let said = lines("STEP 2/2: RUN make\nmake: nothing to do\n");
        let dockerfile = ("FROM base\nRUN make\n".to_owned(), None);
        let failure = of_builder(&said, "building at STEP \"RUN make\": exit status 2", Some(&dockerfile));
        let place = failure.place.unwrap();
        assert_eq!((place.line(), place.to_string().as_str()), (2, "line 2 of its dockerfile_inline"));
        assert_eq!((failure.what.as_str(), failure.lines.len()), ("step 2 of 2 ended with exit code 2", 1));
        let file = BuildPlace::Dockerfile { path: "Dockerfile".into(), line: 7 };
        assert_eq!((file.line(), file.to_string().as_str()), (7, "Dockerfile:7"));
        // no step, and no number
        let failure = of_builder(&lines("no such image\n"), "pulling failed", Some(&dockerfile));
        assert_eq!((failure.what.as_str(), failure.place, failure.instruction), ("pulling failed", None, None));
        assert_eq!(failure.lines, ["no such image"]);
        let failure = of_builder(&said, "killed", None);
        assert_eq!((failure.what.as_str(), failure.place), ("step 2 of 2 failed: killed", None));
    }

    #[test]
    fn of_a_long_output_its_end_is_shown_and_what_speaks_of_an_error() {
        let output = |count: usize, error: Option<usize>| {
            let line = |at: usize| if Some(at) == error { format!("error {at}") } else { format!("line {at}") };
            let all: Vec<String> = (0..count).map(line).collect();
            telling(&all.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let numbered = |first: usize, end: usize| (first..end).map(|at| format!("line {at}"));
        assert_eq!(output(SHOWN, None), numbered(0, 14).collect::<Vec<_>>());
        let cut: Vec<String> = ["… 3 lines".to_owned()].into_iter().chain(numbered(3, 15)).collect();
        assert_eq!(output(15, None), cut);
        let around = ["… 2 lines", "error 2", "… 1 line"].map(str::to_owned);
        let cut: Vec<String> = around.into_iter().chain(numbered(4, 15)).collect();
        assert_eq!(output(15, Some(2)), cut);
        for (line, speaks) in [
            ("src/a.c:1: error: expected", true),
            ("FATAL: no", true),
            ("a.c: undefined reference to `b'", true),
            ("sh: no such file", true),
            ("make: not found", true),
            ("Permission denied", true),
            ("thread panicked", true),
            ("3 tests failed", true),
            ("  E: Unable to locate package x", true),
            ("compiling E: x", false),
            ("done", false),
        ] {
            assert_eq!(speaks_of_an_error(line), speaks, "{line}");
        }
        for (line, noise) in [
            (" ---> 12ab", true),
            ("--> 12ab", true),
            ("Removing intermediate container a8", true),
            ("a ---> b", false),
            ("-> b", false),
        ] {
            assert_eq!(is_noise(line), noise, "{line}");
        }
    }

    #[test]
    fn both_builders_are_understood() {
        assert_eq!(step("STEP 2/4: RUN x").map(|step| (step.number, step.of)), Some((2, 4)));
        assert!(step("Step by step").is_none());
        assert_eq!(exit_code("building at STEP \"RUN x\": while running runtime: exit status 127"), Some(127));
        assert_eq!(exit_code("did not complete successfully: exit code: 12"), Some(12));
        assert_eq!(exit_code("The command 'x' returned a non-zero code: 1 (again)"), Some(1));
        assert_eq!(exit_code("exit status unknown"), None);
        assert_eq!(exit_code("the build ended without an image"), None);
        let at = |number, of, instruction: &str| {
            line_of("FROM a\nARG B\nRUN b\n", &Instruction { number, of, instruction: instruction.into() })
        };
        assert_eq!((at(2, 2, "RUN b"), at(2, 3, "ARG B=1"), at(2, 2, "RUN c")), (Some(3), Some(2), None));
    }
}
