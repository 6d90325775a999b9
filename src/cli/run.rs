use std::time::{Duration, Instant};

use crate::app::{self, Nameless, ProgramRequest, own_environment, prepare_program, process_is_kept};
use crate::host::Command;
use crate::model::macula;

use super::consent::Asker;
use super::context::{Context, OfServices, StackOptions, current_folder};
use super::error::CliError;
use super::excerpt::located;
use super::interrupt;
use super::up::broken;

/// Run a program on this machine as part of the platform
///
/// Starts the services it needs, gives it their connection settings (as `macula env` prints them), a port in PORT
/// and the platform's certificates, and routes https://NAME.<domain> to it for as long as it runs: HTTP, gRPC,
/// WebSocket and server-sent events. Until it listens, that page says so. Its output is also kept for
/// `macula logs NAME`. Exits with the program's own exit code. A process that macula.yaml declares under `processes`
/// runs in this terminal by its name alone: `macula run web`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name below the platform's domain (default: the name of this folder)
    #[arg(long = "as", value_name = "NAME")]
    called: Option<String>,
    /// Port the program listens on (default: a free one, passed in PORT)
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Services to start first; only their settings are passed on (default: the settings of all services)
    #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
    needs: Vec<String>,
    /// Read more variables from this file, in Compose's format; they override the platform's
    #[arg(long, value_name = "PATH")]
    env_file: Vec<std::path::PathBuf>,
    #[command(flatten)]
    stacks: StackOptions,
    /// The program and its arguments, or the name of a process in macula.yaml
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Until the route is asked for again after the background process has gone.
const AGAIN: Duration = Duration::from_millis(300);
/// Between two looks at where the program listens.
const LISTENS: Duration = Duration::from_secs(2);
/// Looks; one that listens nowhere by then does something else.
const LOOKS: usize = 60;

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let named = OfServices { stacks: args.stacks, services: &args.needs };
    let (loaded, choices) = context.load_to_join(&named).await?;
    let mut name = args.called;
    let of_files = app::file_variables(&*context.host, &args.env_file).await?;
    let mut more: Vec<(String, String)> = of_files.into_iter().collect();
    let session = context.session("run").await;
    // a single word may be the name of a process that macula.yaml declares
    let declared = match args.command.as_slice() {
        [word] => loaded.platform.processes.get(word).cloned(),
        _ => None,
    };
    if declared.is_none() {
        is_there(context, &args.command)?;
    }
    let mut needs = args.needs;
    context.services_meant(&loaded.platform, &mut needs);
    let (mut words, mut folder, mut port) = (args.command, None, args.port);
    let mut without: Vec<String> = Vec::new();
    if let Some(process) = declared {
        if process_is_kept(&session, &loaded.platform.name, &process.name).await {
            return Err(app::Error::ProcessRuns { name: process.name }.into());
        }
        name = name.or_else(|| process.hosts.first().cloned()).or(Some(process.name.clone()));
        port = port.or(process.port);
        let own = own_environment(&session, &process).await?;
        let (values, gone): (Vec<_>, Vec<_>) = own.into_iter().partition(|(_, value)| value.is_some());
        // what the command line says goes before it
        more.splice(0..0, values.into_iter().filter_map(|(name, value)| Some((name, value?))));
        without.extend(gone.into_iter().map(|(name, _)| name));
        needs.extend(process.needs.iter().filter(|need| loaded.platform.service(need).is_some()).cloned());
        (words, folder) = (process.command, Some(process.folder));
    }
    let name = match name {
        Some(name) => name,
        None => folder_name()?,
    };
    let request = ProgramRequest { name, port, needs };
    let begun = Instant::now();
    let interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let program = prepare_program(&session, &loaded, choices, &request, &Asker { context }).await;
    let program = program.map_err(|error| match error {
        app::Error::Cancelled => broken(context, begun, error, Some(&loaded)),
        error => located(error, &loaded, context.excerpt_room()),
    })?;
    let mut held = match program.nameless {
        None => Some(program.take_name(&session, &loaded, false).await?),
        Some(_) => None,
    };
    match program.nameless {
        None => context.events().info(format!("{} leads to port {} of this machine", program.url, program.port)),
        Some(Nameless::NoDns) => {
            let up = context.line(macula("up --dns"));
            context
                .events()
                .warn(format!("the program gets no name, as `up --no-dns` asked for (`{up}` changes that)"));
        }
        Some(Nameless::NoIngress) => context.events().warn(format!(
            "the program gets no name, since the platform has no ingress: it is reached at {}",
            program.url
        )),
    }
    context.finish();
    let _in_use = session.in_use(&loaded.platform.name);
    let Some((executable, arguments)) = words.split_first() else { return Ok(()) };
    let mut settings = program.environment.clone();
    settings.retain(|name, _| !without.contains(name));
    settings.extend(colors(context));
    settings.extend(more);
    let command = Command { cwd: folder, ..Command::new(executable, arguments).settings(settings) };
    let keep_route = async {
        loop {
            match &mut held {
                Some(held) => held.lost().await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(AGAIN).await;
            // the next time, then
            if let Ok(again) = program.take_name(&session, &loaded, true).await {
                held = Some(again);
            }
        }
    };
    let tell_port = async {
        if program.nameless.is_none()
            && let Some(port) = other_port(context, &program).await
        {
            context.events().warn(format!(
                "the program listens on port {port} instead of {}, which is in PORT; with `--port {port}` its name leads there",
                program.port
            ));
        }
        std::future::pending::<()>().await;
    };
    program.begun(&*context.host).await;
    if context.cancel.is_cancelled() {
        program.ended(&*context.host).await;
        return Err(broken(context, begun, app::Error::Cancelled, Some(&loaded)));
    }
    // from here on a signal is the program's
    drop(interrupts);
    let code = tokio::select! {
        code = context.host.run_in_front(&command, &program.log) => code,
        () = keep_route => Ok(0),
        () = tell_port => Ok(0),
    };
    program.ended(&*context.host).await;
    match code? {
        0 => Ok(()),
        code => std::process::exit(code),
    }
}

/// The port that the program listens on for good, where it is not the one that it was given.
async fn other_port(context: &Context, program: &app::Program) -> Option<u16> {
    let mut before: Vec<u16> = Vec::new();
    for _ in 0..LOOKS {
        tokio::time::sleep(LISTENS).await;
        let ports = program.ports(&*context.host).await;
        if ports.contains(&program.port) {
            return None;
        }
        if let Some(port) = ports.iter().find(|port| before.contains(port)) {
            return Some(*port);
        }
        before = ports;
    }
    None
}

/// Before anything is brought up for it.
pub fn is_there(context: &Context, command: &[String]) -> Result<(), CliError> {
    match command.first() {
        Some(program) if context.host.which(program).is_none() => {
            let error = CliError::usage(format!("there is no program `{program}` on the PATH"))
                .hint("check its spelling, or name it with its folder, as in ./bin/serve");
            // as `docker compose run` is typed
            let words = command.iter().skip_while(|word| word.starts_with('-')).cloned();
            let line = words.fold(macula("exec --new"), |line, word| line.arg(word));
            Err(error.suggest(line.why("in a new container of a service")))
        }
        _ => Ok(()),
    }
}

/// The program writes to a pipe, so that its output can be kept; what we write to has colors all the same.
fn colors(context: &Context) -> Vec<(String, String)> {
    let decided = ["NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"].iter().any(|name| context.host.env(name).is_some());
    if decided || !context.terminal.stdout_is_tty {
        return Vec::new();
    }
    ["FORCE_COLOR", "CLICOLOR_FORCE"].map(|name| (name.to_owned(), "1".to_owned())).into()
}

fn folder_name() -> Result<String, CliError> {
    let folder = current_folder()?;
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = |character: char| if character.is_alphanumeric() { character } else { '-' };
    let name: String = name.chars().map(plain).collect();
    Ok(name.trim_matches('-').to_owned())
}
