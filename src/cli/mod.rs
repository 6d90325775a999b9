//! Floor 8: what a user types and sees. One file a command; beside them the errors with their exit
//! codes and, in [`ui`], the looks.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub mod error;
pub mod ui;

mod cluster;
mod completions;
mod config;
mod context;
mod creds;
mod dns;
mod doctor;
mod down;
mod env;
mod exec;
mod failure;
mod images;
mod interrupt;
mod lifecycle;
mod logs;
mod man;
mod offer;
mod open;
mod plan;
pub mod reference;
mod s3;
mod stack;
mod status;
mod trust;
mod up;
mod validate;

use context::{Context, Global};
use error::{CliError, ErrorKind};

/// A whole platform on a laptop or in a CI job, with one command.
///
/// `macula up` starts the services that every team wants (a registry, DNS, a database, metrics, a
/// drawing board) behind one ingress, under names of their own; `macula down` takes them away and
/// keeps the data. What is wanted beyond that stands in Compose files.
#[derive(Debug, Parser)]
#[command(name = "macula", version, propagate_version = false, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 unexpected, 2 usage, 3 configuration, 4 no engine, 5 conflict, 6 image, \
    7 not healthy, 8 privilege, 9 cluster, 10 changes pending (plan --exit-code), 130 stopped by Ctrl-C."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Down(down::Args),
    Plan(plan::Args),
    Status(status::Args),
    Logs(logs::Args),
    Restart(lifecycle::RestartArgs),
    Stop(lifecycle::StopArgs),
    Start(lifecycle::StartArgs),
    Exec(exec::Args),
    Open(open::Args),
    Creds(creds::Args),
    Env(env::Args),
    Doctor(doctor::Args),
    Dns(dns::Args),
    Cluster(cluster::Args),
    Images(images::Args),
    #[command(hide = true)]
    Man(man::Args),
    #[command(hide = true)]
    S3(s3::Args),
    Stack(stack::Args),
    Config(config::Args),
    Trust(trust::Args),
    Validate(validate::Args),
    Completions(completions::Args),
}

/// The command line. An empty variable of the environment is one that was not set: that is how CI
/// systems hand on what has no value.
fn command() -> clap::Command {
    fn without_empty(command: clap::Command) -> clap::Command {
        command
            .mut_args(|arg| match arg.get_env() {
                Some(variable) if std::env::var_os(variable).is_some_and(|value| value.is_empty()) => {
                    arg.env(Resettable::Reset)
                }
                _ => arg,
            })
            .mut_subcommands(without_empty)
    }
    without_empty(Cli::command())
}

/// The whole program: parse, run, say what went wrong.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // clap writes help to standard output and errors to standard error, with exit codes 0 and 2
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(ErrorKind::Usage.exit_code()));
        }
    };
    let name = cli.global.platform();
    let context = Context::new(cli.global, name.as_ref().ok().cloned().flatten());
    if let Err(error) = name {
        return context.fail(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return context.fail(&CliError::io("start the runtime", &error)),
    };
    let result = runtime.block_on(run(&context, cli.command));
    context.finish();
    // a look-up or a connection that still waits is no reason to keep the user waiting
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => context.fail(&error),
    }
}

async fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Up(args) => up::run(context, args).await,
        Command::Down(args) => down::run(context, args).await,
        Command::Plan(args) => plan::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Restart(args) => lifecycle::restart(context, args).await,
        Command::Stop(args) => lifecycle::stop(context, args).await,
        Command::Start(args) => lifecycle::start(context, args).await,
        Command::Exec(args) => exec::run(context, args).await,
        Command::Open(args) => open::run(context, args).await,
        Command::Creds(args) => creds::run(context, args).await,
        Command::Env(args) => env::run(context, args).await,
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Dns(args) => dns::run(context, args).await,
        Command::Cluster(args) => cluster::run(context, args).await,
        Command::Images(args) => images::run(context, args).await,
        Command::Man(args) => man::run(&args),
        Command::S3(args) => s3::run(args).await,
        Command::Stack(args) => stack::run(context, args).await,
        Command::Config(args) => config::run(context, args).await,
        Command::Trust(args) => trust::run(context, args).await,
        Command::Validate(args) => validate::run(context, args).await,
        Command::Completions(args) => completions::run(context, args),
    }
}
