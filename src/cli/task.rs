use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;

use crate::app::{self, TaskRow, TaskState, UpOptions, Wanted, jobs_of_task, task_output, tasks, with_arguments};
use crate::config::Loaded;
use crate::event::Events;
use crate::model::macula;
use crate::plan::Verb;
use crate::words;

use super::consent::{Asker, with_engine};
use super::context::{Context, StackOptions};
use super::error::CliError;
use super::interrupt;
use super::straight::Straight;
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Tone, text};
use super::up::broken;

/// Run a task of the stacks now, or list them with when they last ran
///
/// Tasks are what services declare under `x-macula.tasks`, and macula.yaml under `tasks`, such as a migration. `macula
/// up` runs one only if what it works on has changed; this command runs it in any case, after starting what it needs,
/// and prints what it writes as it comes. If it fails, the exit code is 7, what it wrote is kept, and the next `up` runs
/// it again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Task to run (default: list them)
    #[arg(value_name = "NAME")]
    task: Option<String>,
    #[command(flatten)]
    stacks: StackOptions,
    /// Further arguments for its command; such a run does not count as one of the task
    #[arg(value_name = "ARGS", last = true)]
    arguments: Vec<String>,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match &args.task {
        Some(name) => run_one(context, name, &args).await,
        None if !args.arguments.is_empty() => {
            Err(CliError::usage("these arguments belong to no task: name it first").suggest(macula("task")))
        }
        None => list(context, &args.stacks).await,
    }
}

async fn list(context: &Context, stacks: &StackOptions) -> Result<(), CliError> {
    let loaded = context.load_with_builds(stacks).await?;
    let session = context.session("task").await;
    let rows = tasks(&session, &loaded).await?;
    if context.json() {
        return context.print_json(&rows);
    }
    if rows.is_empty() {
        let how = "a service does so under `x-macula.tasks`, and macula.yaml under `tasks`";
        return context.print(&format!("no task is declared; {how}\n"));
    }
    let columns = [("TASK", Fit::Whole), ("SERVICE", Fit::Whole), ("LAST RUN", Fit::Whole), ("NEXT", Fit::Shrink)];
    let mut table = Table::new(columns);
    for row in &rows {
        let next = match &row.due {
            Some(why) => format!("runs at the next up: {why}"),
            None => "nothing to do".to_owned(),
        };
        let last = match row.state {
            TaskState::Failed => Cell::toned(last(row), Tone::Bad),
            _ => Cell::from(last(row)),
        };
        let service = row.service.as_deref().unwrap_or("this machine");
        table.row(vec![Cell::from(shown(row, &rows)), Cell::from(service), last, Cell::from(&next)]);
    }
    context.print(&table.render(context.out_style(), context.terminal.table_width()))
}

/// A name that runs this one and no other.
fn shown<'a>(row: &'a TaskRow, all: &[TaskRow]) -> &'a str {
    let same = all.iter().filter(|other| other.name == row.name).count();
    if same > 1 { &row.job } else { &row.name }
}

fn last(row: &TaskRow) -> String {
    let ago = row.ended.map(|seconds| format!("{} ago", words::span(seconds)));
    let word = match (row.state, row.exit_code) {
        (TaskState::Failed, Some(code)) => format!("failed (exit code {code})"),
        (state, _) => state.word().to_owned(),
    };
    match ago {
        Some(ago) => format!("{word}, {ago}"),
        None => word,
    }
}

/// The job that is meant.
fn meant(loaded: &Loaded, typed: &str) -> Result<String, CliError> {
    match jobs_of_task(&loaded.platform, typed).as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let all =
                loaded.platform.services().filter_map(|(_, service)| Some(&service.extension.task.as_ref()?.name));
            let known: Vec<String> = all.chain(loaded.platform.tasks.keys()).cloned().collect();
            let error = CliError::usage(format!("there is no task `{typed}`"));
            Err(match known.is_empty() {
                true => error.hint(
                    "a service declares its tasks under `x-macula.tasks` in its Compose file, and macula.yaml those of this \
                     machine under `tasks`",
                ),
                false => error.hint(format!("there are {}", text::some(&known, 8))).suggest(macula("task")),
            })
        }
        several => {
            let error = CliError::usage(format!("several stacks have a task `{typed}`"));
            Err(several.iter().fold(error, |error, job| error.suggest(macula("task").arg(job))))
        }
    }
}

/// What the step that runs it may be called.
fn steps_of(loaded: &Loaded, job: &str) -> Vec<String> {
    vec![Verb::Await.container(&loaded.platform.name.container(job, 1)), Verb::Run.task(job)]
}

async fn run_one(context: &Context, typed: &str, args: &Args) -> Result<(), CliError> {
    let (mut loaded, choices) = context.load_to_join(&args.stacks).await?;
    let job = meant(&loaded, typed)?;
    with_arguments(&mut loaded.platform, &job, &args.arguments);
    let begun = Instant::now();
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let mut session = with_engine(context, &loaded).await?;
    let straight = Arc::new(Straight::new(context.events(), steps_of(&loaded, &job), context.line_out()));
    if !context.for_programs() {
        session.events = Events::new(straight.clone());
    }
    let wanted = Wanted {
        services: vec![job.clone()],
        tasks: vec![job.clone()],
        may_fetch: context.may_ask(),
        ..Wanted::default()
    };
    let options = UpOptions { wanted, no_dns: None, choices };
    let ended = app::up(&session, &loaded, &options, &Asker { context }).await;
    // what it has written is the result, however it has ended; where something else has failed, there is none
    let ran = match &ended {
        Ok(_) => true,
        Err(app::Error::Failed(outcome)) => outcome.failed.iter().any(|failure| failure.group == job),
        Err(_) => false,
    };
    let told = straight.handed_on().context("write to standard output");
    // an engine that does not follow its logs may have told nothing
    let output = match (ran, &told) {
        (true, Ok(0)) => task_output(&session, &loaded.platform, &job).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let output = String::from_utf8_lossy(&output);
    if let Err(error) = ended {
        let error = broken(context, begun, error, Some(&loaded));
        if !context.json() {
            context.print(&output)?;
        }
        return Err(error);
    }
    told?;
    let dot = context.err_style().symbol("·", "-");
    context.finished(begun, true, false, format!("{typed} is done {dot} {}", text::duration(begun.elapsed())));
    match context.json() {
        true => context.print_json(&json!({"task": typed, "job": job, "exit_code": 0, "output": output})),
        false => context.print(&output),
    }
}
