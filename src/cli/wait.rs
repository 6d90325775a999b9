use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::app::{self, WaitFor, WaitRequest, Waited, jobs_of_task, wait_for};
use crate::model::macula;
use crate::words;

use super::context::{Context, StackOptions};
use super::error::{CliError, ErrorKind};
use super::interrupt;

/// Wait until services, processes, tasks, names or pages are ready (for scripts and CI)
///
/// Returns as soon as all of them are. If one is not ready in time, or has ended and nothing starts it again, the
/// exit code is 7 and the end of its log is shown. Nothing is started: that is the work of `macula up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Services, processes, tasks, host names or URLs (default: all services and processes)
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t = For::Healthy, value_name = "STATE")]
    want: For,
    /// How long to wait at most (30s, 5m, 1h)
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = words::typed_duration)]
    timeout: Duration,
    #[command(flatten)]
    stacks: StackOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum For {
    /// Services pass their probe or health check, or have run for 0.2 s if they have neither; jobs and tasks have ended
    /// with exit code 0; processes are ready as `up` waits for them; pages answer with a status below 400
    Healthy,
    /// Services have no container; processes do not run; pages no longer answer, or only with an error
    Gone,
    /// Names resolve on this machine
    Resolvable,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let begun = Instant::now();
    let want = match args.want {
        For::Healthy => WaitFor::Healthy,
        For::Gone => WaitFor::Gone,
        For::Resolvable => WaitFor::Resolvable,
    };
    let mut loaded = context.load(&args.stacks)?;
    // all of them are targets, too
    let no_target = args.targets.is_empty();
    if no_target || args.targets.iter().any(|target| !jobs_of_task(&loaded.platform, target).is_empty()) {
        // what tasks work on says whether their last run counts
        app::look_at_contexts(&mut loaded.platform, &context.host.folders().cache).await;
    }
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session("wait").await;
    let request = WaitRequest { targets: args.targets, want, timeout: args.timeout };
    let events = context.events();
    let met = |one: &Waited| {
        events.info(format!("{} is {} ({})", one.target, word(one, want), words::fine_duration(begun.elapsed())));
    };
    let results = match wait_for(&session, &loaded, &request, &met).await {
        Err(app::Error::Cancelled) => {
            let took = words::duration(begun.elapsed());
            return Err(CliError::new(ErrorKind::Interrupted, format!("Stopped waiting after {took}.")));
        }
        results => results?,
    };
    if context.json() {
        context.print_json(&results)?;
        return match results.iter().all(|result| result.met) {
            true => Ok(()),
            false => Err(CliError::told(ErrorKind::NotHealthy)),
        };
    }
    match failure(&results, want, begun.elapsed()) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// What a target is to be, in a sentence.
fn word(one: &Waited, want: WaitFor) -> &'static str {
    if one.task.is_some() { "done" } else { want.word() }
}

/// What is not as it should be, each with the reason and the end of its log.
fn failure(results: &[Waited], want: WaitFor, took: Duration) -> Option<CliError> {
    let unmet: Vec<&Waited> = results.iter().filter(|result| !result.met).collect();
    let took = words::fine_duration(took);
    let reason = |one: &Waited| one.reason.clone().unwrap_or_default();
    let mut error = match unmet.as_slice() {
        [] => return None,
        [one] => {
            CliError::not_healthy(format!("{} is not {} after {took}: {}", one.target, word(one, want), reason(one)))
        }
        several => {
            let message = format!("{} of {} are not {} after {took}", several.len(), results.len(), want.word());
            let new = CliError::not_healthy(message);
            several.iter().fold(new, |new, one| new.detail(format!("{}: {}", one.target, reason(one))))
        }
    };
    for one in unmet.iter().filter(|one| !one.log.is_empty()) {
        error.causes.push(format!("the end of the log of {}:\n{}", one.target, one.log.join("\n")));
    }
    let logged = unmet.iter().find(|one| !one.log.is_empty());
    let due = unmet.iter().find(|one| one.task == Some(false));
    if let Some(one) = unmet.iter().find(|one| one.stopped) {
        return Some(error.suggest(macula("start").arg(&one.target)));
    }
    Some(match (due, logged) {
        (Some(one), _) => error.suggest(macula("task").arg(&one.target).why("to run it now, with what it waits for")),
        (None, Some(one)) => error.suggest(macula("logs").arg(&one.target)),
        (None, None) => error.suggest(macula("status")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited(target: &str, met: bool, reason: Option<&str>, log: &[&str]) -> Waited {
        Waited {
            target: target.into(),
            met,
            seconds: 1.0,
            reason: reason.map(str::to_owned),
            log: log.iter().map(|line| (*line).to_owned()).collect(),
            task: None,
            stopped: false,
        }
    }

    #[test]
    fn what_is_not_ready_is_told_with_its_log() {
        let took = Duration::from_secs(3);
        let good = waited("db", true, None, &[]);
        assert_eq!(failure(std::slice::from_ref(&good), WaitFor::Healthy, took), None);
        let bad = waited("web", false, Some("it ended with exit code 3"), &["no such file"]);
        let one = failure(&[good.clone(), bad.clone()], WaitFor::Healthy, took).unwrap();
        assert_eq!(one.message, "web is not healthy after 3.0s: it ended with exit code 3");
        assert_eq!(one.causes, ["the end of the log of web:\nno such file"]);
        assert_eq!(one.kind, ErrorKind::NotHealthy);
        let other = waited("api.x", false, Some("it answers 503"), &[]);
        let two = failure(&[good, bad, other], WaitFor::Healthy, took).unwrap();
        assert_eq!(two.message, "2 of 3 are not healthy after 3.0s");
        assert_eq!(two.details, ["web: it ended with exit code 3", "api.x: it answers 503"]);
        let task = Waited { task: Some(false), ..waited("seed", false, Some("it has not run yet"), &[]) };
        let three = failure(&[task], WaitFor::Healthy, took).unwrap();
        assert_eq!(three.message, "seed is not done after 3.0s: it has not run yet");
        assert!(format!("{three:?}").contains("task"), "{three:?}");
        let halted = Waited { stopped: true, ..waited("web", false, Some("it was stopped by the user"), &[]) };
        let four = failure(&[halted], WaitFor::Healthy, took).unwrap();
        assert_eq!(four.message, "web is not healthy after 3.0s: it was stopped by the user");
        assert!(format!("{four:?}").contains("start"), "{four:?}");
    }
}
