use crate::app::{Error, log_sources};
use crate::engine::AttachedExec;
use crate::model::ContainerState;

use super::context::Context;
use super::error::CliError;
use super::ui::text;

/// Run a command in a service's container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// With standard input and a terminal: the default, and here for the fingers that know `-it`
    #[arg(short = 'i', long, hide = true)]
    interactive: bool,
    #[arg(short = 't', long, hide = true, conflicts_with = "no_tty")]
    tty: bool,
    /// Without a terminal, even where there is one
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// As this user
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// In this folder
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Set a variable; may be given several times
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// With all privileges
    #[arg(long)]
    privileged: bool,
    /// In this container of a service that has several, from 1
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    index: usize,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let name = context.platform_name()?;
    let session = context.session("exec").await;
    let (engine, sources) = log_sources(&session, &name, std::slice::from_ref(&args.service)).await?;
    if sources.is_empty() {
        return Err(Error::NoContainer { service: args.service }.into());
    }
    let Some(source) = args.index.checked_sub(1).and_then(|at| sources.get(at)) else {
        let all = text::count(sources.len(), "container");
        return Err(CliError::usage(format!("{} has {all}: there is no number {}", args.service, args.index))
            .hint(format!("--index is a number from 1 to {}", sources.len())));
    };
    if source.state != ContainerState::Running {
        return Err(
            CliError::usage(format!("{} does not run", args.service)).suggest(format!("macula up {}", args.service))
        );
    }
    let request = AttachedExec {
        command: args.command,
        tty: !args.no_tty && context.terminal.stdin_is_tty && context.terminal.stdout_is_tty,
        stdin: true,
        env: args.env,
        user: args.user,
        workdir: args.workdir,
        privileged: args.privileged,
    };
    context.finish();
    match engine.exec_attached(&source.container, &request).await? {
        0 => Ok(()),
        code => std::process::exit(i32::try_from(code).unwrap_or(1)),
    }
}
