//! Errors of the steps that `up` carries out: which step, of what, and what the program that failed has said.

use std::collections::BTreeSet;

use crate::apply::{BuildFailure, Failure, StepError};
use crate::bundle::BundleError;
use crate::model::{Again, macula};
use crate::system::OwnImageError;

use super::cluster_error::cluster;
use super::engine_error::with_image_hints;
use super::error::{CliError, ErrorKind};
use super::start_error;
use super::ui::{Style, text};

/// Several steps may fail; the first one in the order of time decides the kind, unless it says less
/// than another one.
pub(super) fn failed(failures: &[Failure], skipped: &BTreeSet<String>) -> CliError {
    let mut errors: Vec<CliError> = failures.iter().map(one).collect();
    let mut new = match errors.len() {
        0 => return CliError::unexpected("some steps were not carried out"),
        1 => errors.remove(0),
        count => {
            let kinds = errors.iter().map(|error| error.kind);
            let kind = kinds.clone().find(|kind| *kind != ErrorKind::Unexpected).unwrap_or(ErrorKind::Unexpected);
            let mut all = CliError::new(kind, format!("{count} steps failed"));
            all.hints = errors.first_mut().map(|first| std::mem::take(&mut first.hints)).unwrap_or_default();
            for error in errors {
                let lines: Vec<String> =
                    std::iter::once(error.message).chain(error.details).chain(error.causes).collect();
                all.details.push(lines.join("\n"));
            }
            all
        }
    };
    // steps of the failed services themselves need no word
    if skipped.iter().any(|group| failures.iter().all(|failure| failure.group != *group)) {
        new = new.hint("what needs it was not started; everything else is kept as it is");
    }
    new
}

/// Columns of an instruction: it fits a narrow terminal.
const INSTRUCTION: usize = 72;

/// A failed build: which of its steps, the lines that say why, and where the rest is.
fn build(failure: &BuildFailure, source: &StepError) -> CliError {
    let kind = match source {
        StepError::Prepare { .. } => ErrorKind::Unexpected,
        _ => ErrorKind::Image,
    };
    let mut error = CliError::new(kind, format!("{} was not built: {}", failure.service, failure.what));
    // as a line of any other file: below its place, with its number
    let number = failure.place.as_ref().map(|place| format!("  {} ", place.line())).unwrap_or_default();
    let gutter = " ".repeat(number.len());
    let place = failure.place.iter().map(ToString::to_string);
    // the file has it in whole
    let short = |text: &String| text::fit(text, INSTRUCTION, Style { color: false, unicode: true });
    let instruction = failure.instruction.iter().map(|text| format!("{number}| {}", short(text)));
    let output = failure.lines.iter().map(|line| format!("{gutter}|   {line}"));
    let lines: Vec<String> = place.chain(instruction).chain(output).collect();
    if !lines.is_empty() {
        error.details.push(lines.join("\n"));
    }
    if let Some(log) = &failure.log {
        error.details.push(format!("whole log: {}", log.display()));
    }
    error.hint(format!("{} is left as it was; once the build is fixed, `up` continues from there", failure.service))
}

pub(super) fn own_image(error: &OwnImageError) -> CliError {
    match error {
        OwnImageError::Engine(error) => CliError::from(error.clone()),
        OwnImageError::NotHere(_) => CliError::of(ErrorKind::NoEngine, error)
            .doing("make the relay, without which nothing of this engine is reached from here"),
    }
}

fn one(failure: &Failure) -> CliError {
    let new = |kind| CliError::of(kind, &failure.error).doing(failure.step.clone());
    match &failure.error {
        StepError::Engine(error) => start_error::explained(&failure.group, error)
            .unwrap_or_else(|| CliError::from(error.clone()).doing(failure.step.clone())),
        StepError::Bundle(error) => bundle(error).doing(failure.step.clone()),
        StepError::NotReady { service, log_tail, .. } => {
            let mut error = CliError::of(ErrorKind::NotHealthy, &failure.error);
            if log_tail.is_empty() {
                error.details.push("it has written nothing to its log".into());
            } else {
                error.causes.push(format!("the end of its log:\n{}", log_tail.join("\n")));
            }
            error.suggest(macula("logs").arg(service))
        }
        StepError::Unreached { remedies, .. } | StepError::Unshared { remedies, .. } => {
            let new = CliError::of(ErrorKind::NotHealthy, &failure.error);
            remedies.iter().cloned().fold(new, CliError::remedy)
        }
        StepError::Refused { log_tail, .. } => {
            let mut error = CliError::of(ErrorKind::NotHealthy, &failure.error).doing(failure.step.clone());
            // a program may refuse without a word
            error.causes.extend(Some(log_tail.join("\n")).filter(|said| !said.trim().is_empty()));
            error.hint("fix what it names in your stack or template, then run the same command again")
        }
        StepError::Hook { log_tail, .. } => {
            let mut error = CliError::of(ErrorKind::NotHealthy, &failure.error).doing(failure.step.clone());
            match log_tail.is_empty() {
                true => error.details.push("it has written nothing".into()),
                false => error.causes.push(log_tail.join("\n")),
            }
            error
        }
        StepError::NoImage { reference, attempts } => {
            let mut error =
                CliError::new(ErrorKind::Image, format!("could not get the image {reference} from any source"));
            error.causes = attempts.iter().map(ToString::to_string).collect();
            // what each source said may lead to another remedy
            for attempt in attempts {
                error = with_image_hints(error, attempt);
            }
            error
        }
        StepError::Build { failure, source } => build(failure, source),
        StepError::Program { .. } | StepError::NoAgent { .. } | StepError::CannotBuild { .. } => new(ErrorKind::Image),
        StepError::Prepare { source, .. } | StepError::Base { source, .. } => {
            CliError::from(source.clone()).doing(failure.step.clone())
        }
        StepError::OwnImage(error) => own_image(error).doing(failure.step.clone()),
        StepError::Cluster(error) => cluster(error).doing(failure.step.clone()),
        StepError::AddOn { log_tail, .. } => {
            let mut error = new(ErrorKind::Cluster);
            if !log_tail.is_empty() {
                error.causes.push(format!("the end of its log:\n{}", log_tail.join("\n")));
            }
            error.suggest(macula("cluster status"))
        }
        StepError::Changing { .. } => new(ErrorKind::Unexpected).hint(
            "run the same command again once nothing writes there: it copies them again, and no container has them yet",
        ),
        StepError::NotPermitted { .. } => CliError::of(ErrorKind::Privilege, &failure.error)
            .hint("ports below 1024 need root on this machine; everything else is up")
            .hint("or publish on ports from 1024 on: `ingress: {http: 8080, https: 8443}` in macula.yaml")
            .suggest(macula("doctor low-ports --fix").why("to let every user, until the next boot")),
        StepError::File { .. } | StepError::Broken(_) => new(ErrorKind::Unexpected),
        StepError::Cancelled => new(ErrorKind::Interrupted),
    }
}

pub(super) fn bundle(error: &BundleError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match error {
        BundleError::Io { path, source } => CliError::io(format!("{}", path.display()), source),
        BundleError::NotABundle { .. } => of(ErrorKind::Image)
            .hint("an archive written by `docker save` is loaded by Docker itself")
            .shell(["docker", "load", "-i", "FILE"]),
        BundleError::Newer { .. } => {
            of(ErrorKind::Image).hint("load it with that version of macula, or save it again with this one")
        }
        BundleError::Cut { .. } => {
            of(ErrorKind::Image).hint("nothing was loaded from it: copy it again, or save it again")
        }
        BundleError::Damaged { .. } => of(ErrorKind::Image)
            .hint("no image with that file was loaded; those that were loaded are whole")
            .hint("copy the bundle again, or save it again"),
        BundleError::Held { .. } => of(ErrorKind::Conflict).hint("wait until that one has ended, or name another file"),
        BundleError::Clash { .. } | BundleError::Archive { .. } => {
            of(ErrorKind::Unexpected).hint("everything saved so far is kept").again(Again::AsItIs)
        }
    }
}
