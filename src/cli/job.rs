use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::app::{self, Choices, Job, JobEnd, Noting, Session, UpOptions, Wanted, ci_log, environment_of};
use crate::bundle::Bundle;
use crate::config::Loaded;
use crate::host::Command;
use crate::model::Again;
use crate::words;

use super::ci::{JOB_VARIABLE, markdown};
use super::consent::{Asker, with_engine};
use super::context::{Context, Forgets, ImageOptions, ScaleOptions, Upping};
use super::error::{CliError, ErrorKind};
use super::run::is_there;
use super::up::bring_up_for;
use super::{interrupt, report};

/// Start the platform, run a command with its settings, and take the platform down again
///
/// For CI jobs and for tests on a clean platform. The command gets what `macula env` prints and the platform's
/// certificates. Its exit code is the exit code of this command. If it fails, or the platform does not start, a report
/// without secrets is written. At the end, whatever this command has started is removed: also the data, unless there
/// was some before. A platform that was up before stays up.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Services to start, with what they need; only their settings are passed on (default: all)
    #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
    needs: Vec<String>,
    /// Where to write the report if something fails (default: macula-report-NAME.tar in this folder)
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
    /// Write no report
    #[arg(long, conflicts_with = "report")]
    no_report: bool,
    /// Leave the platform up
    #[arg(long)]
    keep: bool,
    /// Health timeout per service, overriding each service's own (90s, 5m, 1h30m)
    #[arg(long, value_name = "TIME", value_parser = words::typed_duration)]
    timeout: Option<Duration>,
    /// Do not start the resolver or register this platform's names
    #[arg(long)]
    no_dns: bool,
    /// Leave the cluster as it is
    #[arg(long)]
    no_cluster: bool,
    /// Use the images of a file written by `images save`, loading each as it is needed
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    stacks: ImageOptions,
    #[command(flatten)]
    scale: ScaleOptions,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    is_there(context, &args.command)?;
    let options = Upping { options: &args.stacks, scale: &args.scale, remap: false, services: &args.needs };
    let (mut loaded, choices) = context.load_for_up(&options, Forgets::default())?;
    app::look_at_contexts(&mut loaded.platform, &context.host.folders().cache).await;
    let bundle = app::open_bundle(args.bundle.as_deref()).await?;
    let name = loaded.platform.name.clone();
    let session = {
        // an engine that is being installed is there before this ends
        let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
        with_engine(context, &loaded).await?
    };
    let session = Session { command: "macula ci".to_owned(), ..session };
    let asker = Asker { context };
    let job = match args.keep {
        true => None,
        false => Some(app::begin_job(&session, &name).await?),
    };
    let noting = Noting::new(&asker, &session, job.as_ref());
    let outcome = up_and_run(context, &session, &loaded, choices, bundle, &args, &noting).await;
    let stopped = match &outcome {
        Ok(ended) => ended.stopped,
        Err(error) => error.kind == ErrorKind::Interrupted,
    };
    let mut outcome = outcome.map(|ended| ended.code);
    // who stops a job gives it little time, which is for what has to be taken down
    if is_worth_a_report(&outcome) && !stopped && !args.no_report {
        let to = args.report.clone().unwrap_or_else(|| report::default_path(&name));
        context.events().info("writing the report ...");
        match write_report(context, &session, &loaded, &to).await {
            Ok(()) => context.events().info(format!("the report is in {}", to.display())),
            Err(error) => context.events().warn(format!("there is no report: {error}")),
        }
    }
    let after = match job {
        None => Ok(false),
        Some(job) => Box::pin(end(context, &session, &loaded, job, &noting)).await,
    };
    context.finish();
    if let (Err(error), Ok(true)) = (&mut outcome, &after)
        && error.kind == ErrorKind::Interrupted
    {
        *error =
            CliError::new(ErrorKind::Interrupted, "Stopped; nothing that was started is left.").again(Again::AsItIs);
    }
    if let (Some(ci), Ok(code)) = (&context.ci, &outcome) {
        let sign = if *code == 0 { ":white_check_mark:" } else { ":x:" };
        let command = markdown(&args.command.join(" "));
        ci.summarize(&format!("{sign} **macula ci**: {command} ended with exit code {code}\n"));
    }
    if let Err(error) = after {
        // somebody is there, and has stopped it
        if matches!(outcome, Ok(0)) && error.kind == ErrorKind::Interrupted {
            return Err(error);
        }
        // what the command found out counts more than what is left behind it
        context.events().warn(format!("{name} could not be taken down: {error}"));
        context.finish();
    }
    match outcome {
        Ok(0) => Ok(()),
        Ok(code) => std::process::exit(code),
        Err(error) => Err(error),
    }
}

/// One that says what was typed wrong, or that there is no engine, says all there is to say.
fn is_worth_a_report(outcome: &Result<i32, CliError>) -> bool {
    match outcome {
        Ok(code) => *code != 0,
        Err(error) => !matches!(error.kind, ErrorKind::Usage | ErrorKind::Config | ErrorKind::NoEngine),
    }
}

/// How the command ended.
struct Ended {
    code: i32,
    /// By Ctrl-C or its like, whatever code it made of that.
    stopped: bool,
}

/// Until somebody stops it: it may take minutes, and is worth less than a runner without leftovers.
async fn write_report(context: &Context, session: &Session, loaded: &Loaded, to: &Path) -> Result<(), CliError> {
    let cancel = CancellationToken::new();
    let _interrupts = interrupt::listen(cancel.clone(), context.events())?;
    let calm = Session { cancel: cancel.clone(), ..session.clone() };
    tokio::select! {
        written = Box::pin(report::write(context, &calm, &loaded.platform.name, Ok(loaded), to)) => written.map(drop),
        () = cancel.cancelled() => Err(CliError::new(ErrorKind::Interrupted, "it was stopped")),
    }
}

async fn up_and_run(
    context: &Context,
    session: &Session,
    loaded: &Loaded,
    choices: Choices,
    bundle: Option<Arc<Bundle>>,
    args: &Args,
    noting: &Noting<'_>,
) -> Result<Ended, CliError> {
    let mut needs = args.needs.clone();
    context.services_meant(&loaded.platform, &mut needs);
    let wanted = Wanted {
        services: needs.clone(),
        needed: needs.clone(),
        scaled: args.scale.services().collect(),
        no_cluster: args.no_cluster.then_some(true),
        dns: args.no_dns.then_some(false),
        may_fetch: context.may_ask(),
        timeout: args.timeout,
        bundle,
        ..Wanted::default()
    };
    let options = UpOptions { wanted, no_dns: args.no_dns.then_some(true), choices };
    bring_up_for(context, session, loaded, &options, noting).await?;
    let _in_use = session.in_use(&loaded.platform.name);
    let mut environment = environment_of(session, loaded, &needs).await?;
    environment.extend(noting.job().map(|job| (JOB_VARIABLE.to_owned(), job.to_owned())));
    // from here on a signal is the command's
    context.finish();
    let Some((executable, arguments)) = args.command.split_first() else {
        return Ok(Ended { code: 0, stopped: false });
    };
    let command = Command::new(executable, arguments).settings(environment);
    let log = ci_log(&*context.host, &loaded.platform.name);
    // that of the run before would be taken for this one's
    let _ = context.host.remove(&log).await;
    let heard = interrupt::arrived();
    tokio::pin!(heard);
    let run = context.host.run_in_front(&command, &log);
    tokio::pin!(run);
    let (code, stopped) = tokio::select! {
        biased;
        heard = &mut heard => {
            heard.context("listen for Ctrl-C")?;
            (run.await?, true)
        }
        code = &mut run => (code?, false),
    };
    if code != 0 {
        context.events().warn(format!("the command failed with exit code {code}"));
    }
    Ok(Ended { code, stopped })
}

/// Whether the platform was taken down. With a Ctrl-C of its own: the one that ended the command must not end this.
async fn end(
    context: &Context,
    session: &Session,
    loaded: &Loaded,
    job: Job,
    noting: &Noting<'_>,
) -> Result<bool, CliError> {
    let begun = Instant::now();
    let cancel = CancellationToken::new();
    let _interrupts = interrupt::listen(cancel.clone(), context.events())?;
    let (name, before) = (&loaded.platform.name, noting.before());
    let session = Session { cancel, ..session.clone() };
    match app::end_job(&session, name, job, before, noting.noted()).await {
        Ok(JobEnd::Down { volumes }) => {
            let data = if volumes { ", and its data removed" } else { "; its data is kept" };
            context.finished(begun, true, false, format!("{name} is down{data}"));
            return Ok(true);
        }
        Ok(JobEnd::UsedBy(held)) => {
            let who = held.describe(context.host.now());
            context.events().info(format!("{name} is used by another {who}, which takes it down"));
        }
        Ok(JobEnd::Stays) => {
            // else it has changed nothing
            if let Some(before) = before {
                let gone = app::status_at_a_glance(&session, loaded).await.is_ok_and(|rows| rows.is_empty());
                let why = match (before.running, gone) {
                    (_, true) => "was taken down meanwhile",
                    (true, false) => "was up before, so it stays up",
                    (false, false) => "was asked for by another `macula up` meanwhile, so it stays up",
                };
                context.events().info(format!("{name} {why}"));
            }
        }
        Ok(JobEnd::Nothing) => {}
        Err(error) => return Err(super::down::broken(context, begun, error)),
    }
    Ok(false)
}
