use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::app::{self, Error, Session, log_sources};
use crate::engine::AttachedExec;
use crate::model::{ContainerState, PlatformName, macula};

use super::consent::{Asker, with_engine};
use super::containers::{Containers, not_running};
use super::context::{Context, OfServices};
use super::error::CliError;
use super::interrupt;
use super::start_error::{self, Trouble};
use super::ui::text;
use super::up::broken;

/// Run a command in a service's container, or open a shell in it
///
/// The exit code is that of the command. With `--new` the container is one of its own, made for the command and removed
/// after it, so that the service need not run: what it needs is started first, and it has the service's image, settings
/// and volumes, but not its name and ports.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Service, or the host name it answers to
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Run it in a new container of the service, which is removed afterwards
    #[arg(long, conflicts_with = "index")]
    new: bool,
    /// Command and arguments (default: a shell)
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Attach standard input (the default; accepted for those used to `-it`)
    #[arg(short = 'i', long, hide = true)]
    interactive: bool,
    #[arg(short = 't', long, hide = true, conflicts_with = "no_tty")]
    tty: bool,
    /// Do not allocate a terminal
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// User to run the command as
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Folder to run the command in
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Set an environment variable (repeatable)
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Run with extended privileges
    #[arg(long)]
    privileged: bool,
    /// Which container of a service with several, counted from 1
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    index: usize,
}

/// What to say to whoever names no service.
async fn which(session: &Session, name: &PlatformName) -> CliError {
    let error = CliError::usage("name the service to run it in");
    let Ok((_, sources)) = log_sources(session, name, &[]).await else {
        return error.suggest(macula("status"));
    };
    let mut running: Vec<String> = sources
        .into_iter()
        .filter(|source| source.state == ContainerState::Running)
        .map(|source| source.service)
        .collect();
    running.dedup();
    match running.first() {
        None => CliError::usage(format!("nothing of {name} is running")).suggest(macula("up")),
        Some(first) => error.hint(format!("there are {}", text::some(&running, 8))).suggest(macula("exec").arg(first)),
    }
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    if args.new {
        return run_apart(context, args).await;
    }
    let name = context.platform_name()?;
    let session = context.session("exec").await;
    let Some(service) = &args.service else { return Err(which(&session, &name).await) };
    let found = Containers::of(context, &session, &name, service).await?;
    let source = found.at(args.index)?;
    if source.state != ContainerState::Running {
        return Err(not_running(&found.service, source));
    }
    let container = source.container.clone();
    let mut request = request(context, args);
    if request.command.is_empty() {
        request.command = app::shell();
    }
    context.finish();
    let _in_use = session.in_use(&name);
    ended_with(found.engine.exec_attached(&container, &request).await?)
}

fn request(context: &Context, args: Args) -> AttachedExec {
    AttachedExec {
        command: args.command,
        tty: !args.no_tty && context.terminal.stdin_is_tty && context.terminal.stdout_is_tty,
        stdin: true,
        env: args.env,
        user: args.user,
        workdir: args.workdir,
        privileged: args.privileged,
    }
}

fn ended_with(code: i64) -> Result<(), CliError> {
    match code {
        0 => Ok(()),
        code => std::process::exit(i32::try_from(code).unwrap_or(1)),
    }
}

/// `--new`
async fn run_apart(context: &Context, args: Args) -> Result<(), CliError> {
    let named = OfServices { services: args.service.as_slice(), ..OfServices::default() };
    let (loaded, choices) = context.load_to_join(&named).await?;
    let Some(service) = &args.service else {
        let some: Vec<String> = loaded.platform.service_names();
        return Err(CliError::usage("name the service to take the image and settings from")
            .hint(format!("there are {}", text::some(&some, 8))));
    };
    let mut meant = vec![service.clone()];
    context.services_meant(&loaded.platform, &mut meant);
    let service = meant.swap_remove(0);
    if loaded.platform.service(&service).is_none() {
        return Err(Error::UnknownService { names: vec![service], known: loaded.platform.service_names() }.into());
    }
    let interrupts = Mutex::new(Some(interrupt::listen(context.cancel.clone(), context.events())?));
    let session = with_engine(context, &loaded).await?;
    let _in_use = session.in_use(&loaded.platform.name);
    let request = request(context, args);
    let asker = Asker { context };
    let ready = || {
        context.finish();
        // from now on signals are for the command
        interrupts.lock().unwrap_or_else(PoisonError::into_inner).take();
    };
    let begun = Instant::now();
    let ended = app::one_off(&session, &loaded, choices, &service, &request, &asker, &ready).await;
    // as `exec` ends, and every shell: what was typed is wrong, and not the file
    if let Err(Error::Engine(error)) = &ended
        && let Some((why, code)) = match start_error::trouble(error) {
            Some(Trouble::NoProgram(program)) => {
                Some((format!("the image of {service} has no program `{program}`"), 127))
            }
            Some(Trouble::NotExecutable(program)) => {
                Some((format!("`{program}` in the image of {service} is not executable"), 126))
            }
            _ => None,
        }
    {
        let _ = context.fail(&CliError::usage(why));
        return ended_with(code);
    }
    ended_with(ended.map_err(|error| broken(context, begun, error, Some(&loaded)))?)
}
