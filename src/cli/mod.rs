//! Floor 9: what a user types and sees. One file a command; beside them the errors with their exit
//! codes and, in [`ui`], the looks.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub mod error;
pub mod ui;
mod uninstall;

mod add;
mod ci;
mod cluster;
mod cluster_error;
mod completions;
mod config;
mod consent;
mod containers;
mod context;
mod cp;
mod creds;
mod dns;
mod dns_error;
mod doctor;
mod down;
mod draft;
mod engine_error;
mod env;
mod events;
mod excerpt;
mod exec;
mod failure;
mod follow;
mod help;
mod images;
mod init;
mod interrupt;
mod job;
mod keeper;
mod lease;
mod lifecycle;
mod log;
mod logs;
mod ls;
mod man;
mod mcp;
mod near;
mod offer;
mod open;
mod plan;
mod port;
mod proof;
pub mod reference;
mod relay;
mod report;
mod run;
mod s3;
mod scale;
pub mod shapes;
mod slip;
mod stack;
mod start_error;
mod status;
mod step_error;
mod straight;
mod supply_error;
mod task;
mod top;
mod traces;
mod trust;
mod up;
mod upgrade;
mod upgrade_error;
mod validate;
mod wait;
mod watch;

use context::{Context, Global};
use error::{CliError, ErrorKind};
use ui::Terminal;

use crate::model::{Invocation, PlatformName, macula};

/// A whole platform on a laptop or in a CI job, with one command
///
/// `macula up` starts the services that every team needs (a registry, DNS, a database, metrics, a
/// drawing board) behind one ingress, under names of their own. `macula down` removes them and keeps
/// the data. Everything else you need is described in Compose files.
#[derive(Debug, Parser)]
#[command(name = "macula", version = VERSION, propagate_version = false, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 success, 1 unexpected error, 2 usage, 3 configuration, 4 no container engine, \
    5 conflict, 6 image, 7 not healthy, 8 root or confirmation required, 9 cluster, 10 changes pending \
    (plan --exit-code), 130 interrupted.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The release, and the commit that it was built from where that is known.
const VERSION: &str = match option_env!("MACULA_BUILD") {
    Some(build) => build,
    None => env!("CARGO_PKG_VERSION"),
};

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Down(down::Args),
    Plan(plan::Args),
    #[command(visible_alias = "ps", alias = "list")]
    Status(status::Args),
    Top(top::Args),
    Ls(ls::Args),
    Logs(logs::Args),
    Traces(traces::Args),
    Events(events::Args),
    Restart(lifecycle::RestartArgs),
    Stop(lifecycle::StopArgs),
    Start(lifecycle::StartArgs),
    #[command(aliases = ["shell", "ssh", "sh"])]
    Exec(exec::Args),
    Cp(cp::Args),
    Port(port::Args),
    Scale(scale::Args),
    Open(open::Args),
    Creds(creds::Args),
    Env(env::Args),
    Run(run::Args),
    Task(task::Args),
    Wait(wait::Args),
    Watch(watch::Args),
    Ci(job::Args),
    Report(report::Args),
    Mcp(mcp::Args),
    Doctor(doctor::Args),
    Dns(dns::Args),
    Cluster(cluster::Args),
    Images(images::Args),
    #[command(hide = true)]
    Man(man::Args),
    #[command(hide = true)]
    S3(s3::Args),
    #[command(hide = true)]
    ContainerProof(proof::Args),
    #[command(hide = true)]
    ContainerRelay(relay::Args),
    #[command(hide = true)]
    KeepProcesses(keeper::Args),
    Stack(stack::Args),
    Config(config::Args),
    Init(init::Args),
    Lease(lease::Args),
    Add(add::Args),
    Trust(trust::Args),
    Validate(validate::Args),
    Completions(completions::Args),
    Upgrade(upgrade::Args),
    Uninstall(uninstall::Args),
    Help(help::Args),
    // words of other programs, for fingers that know them
    #[command(hide = true)]
    Pull(images::PullArgs),
    #[command(hide = true)]
    Build(images::BuildArgs),
    #[command(hide = true)]
    Version,
    #[command(hide = true, aliases = ["remove", "delete"])]
    Rm(RemoveArgs),
}

/// Whatever follows; nothing is done with it.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct RemoveArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// Commands as the help shows them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Platform", &["up", "down", "plan", "status", "top", "ls", "validate", "doctor", "ci", "report", "lease", "mcp"]),
    (
        "Services",
        &[
            "logs", "events", "traces", "exec", "cp", "open", "port", "restart", "stop", "start", "scale", "creds",
            "env", "run", "task", "watch", "wait",
        ],
    ),
    ("Names and certificates", &["dns", "trust"]),
    ("Images and cluster", &["images", "cluster"]),
    ("Configuration", &["init", "add", "config", "stack", "completions", "upgrade", "uninstall", "help"]),
];

const EXAMPLES: &str = "\
Examples:
  macula up                      start the platform
  macula status                  show what is running, and where
  macula open grafana            open a service in the browser
  macula logs postgres -f        follow a service's log
  macula down                    stop and remove everything; data is kept
  macula --name pr-123 up        start a second platform next to the first";

/// What `macula` alone says: it fits the smallest usual screen.
const SHORT_HELP: &str = "\
Every day:
  up, down         start the platform, and take it away
  status, top      what is running, where, and what it takes
  logs, exec       what a service writes, and a shell in it
  open, creds      its page, and its password
  run, env         a program of yours, and the settings for it
  plan, doctor     what `up` would do, and what is wrong here

All commands and options: macula --help
";

/// The command line. An empty variable of the environment is one that was not set: that is how CI
/// systems hand on what has no value. Global options are shown once, in the help of `macula`.
#[allow(clippy::disallowed_methods, reason = "clap reads these variables itself, before there is a host")]
pub fn command() -> clap::Command {
    fn adjusted(command: clap::Command, global: &[clap::Arg]) -> clap::Command {
        let without_empty = |arg: clap::Arg| match arg.get_env() {
            Some(variable) if std::env::var_os(variable).is_some_and(|value| value.is_empty()) => {
                arg.env(Resettable::Reset)
            }
            _ => arg,
        };
        let command = command.mut_args(without_empty);
        command.mut_subcommands(|child| {
            let leaf = !child.has_subcommands();
            let child = child.args(global.iter().map(|arg| without_empty(arg.clone()).hide(true)));
            // a command that has a text of its own there keeps it
            let child = match (leaf, child.get_after_help().is_some()) {
                (true, false) => child.after_help("Global options: see `macula --help`."),
                _ => child,
            };
            adjusted(child, global)
        })
    }
    let root = Cli::command();
    let global: Vec<clap::Arg> = root.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let mut commands = String::new();
    for (title, names) in GROUPS {
        commands.push_str(&format!("{title}:\n"));
        for name in names {
            let about = root.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            commands.push_str(&format!("  {name:<12} {about}\n"));
        }
        commands.push('\n');
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{EXAMPLES}\n\n{commands}{{all-args}}{{after-help}}"
    );
    let template = template.replace("{all-args}", "{options-heading}{options}");
    adjusted(root, &global).help_template(template.replace("{options-heading}", "Options:\n"))
}

/// A wrong command line, told as every other error.
fn usage_error(error: clap::Error, args: &[OsString], stdout_closed: bool) -> ExitCode {
    if !error.use_stderr() {
        return help(&error, stdout_closed);
    }
    let kind = ErrorKind::Usage;
    let words: Vec<String> = args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let told = match error.get(ContextKind::InvalidSubcommand) {
        // a variable of the environment counts as a word for clap, which shows its help only where there is none
        _ if error.kind() == clap::error::ErrorKind::MissingSubcommand || words.is_empty() => {
            let (name, help) = match words.is_empty() {
                true => ("macula".to_owned(), short_help()),
                false => group_help(&words),
            };
            let _ = std::io::stderr().lock().write_all(help.as_bytes());
            CliError::new(kind, format!("`{name}` needs one of its commands"))
        }
        Some(ContextValue::String(typed)) => {
            let (groups, known) = place(&words, typed);
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            let told = slip::of_docker(&words, typed).filter(|_| groups.is_empty());
            told_of(told.unwrap_or_else(|| slip::unknown(typed, &groups, &known)), &words)
        }
        _ => match option_of_others(&error, &words) {
            Some(told) => told_of(told, &words),
            None => {
                let _ = error.print();
                let text = error.render().to_string();
                let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let details = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
                let mut told = CliError::new(kind, message);
                told.details = details.collect();
                told
            }
        },
    };
    if wants_json(&words) {
        let _ = writeln!(std::io::stdout(), "{}", told.to_json(&invocation(&words)));
    }
    ExitCode::from(kind.exit_code())
}

/// What is said of an option that other programs have.
fn option_of_others(error: &clap::Error, words: &[String]) -> Option<CliError> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(typed)) if error.kind() == clap::error::ErrorKind::UnknownArgument => {
            slip::option(words, typed)
        }
        _ => None,
    }
}

/// The same error, after it has been shown.
fn told_of(told: CliError, words: &[String]) -> CliError {
    let style = Terminal::of_this_process().style(color_wanted(words), ui::Stream::Stderr);
    let _ = std::io::stderr().lock().write_all(told.to_text(style, &invocation(words), None).as_bytes());
    told
}

fn short_help() -> String {
    let about = Cli::command().get_about().map(ToString::to_string).unwrap_or_default();
    format!("{about}\n\n{EXAMPLES}\n\n{SHORT_HELP}")
}

/// The group of commands that these words lead to, and its help.
fn group_help(words: &[String]) -> (String, String) {
    let mut group = command();
    group.build();
    for word in words {
        if let Some(below) = group.find_subcommand(word) {
            group = below.clone();
        }
    }
    (group.get_bin_name().unwrap_or("macula").to_owned(), group.render_help().to_string())
}

/// Help and version are results: where they cannot be written, that is an error. A reader that has gone away has
/// seen enough.
fn help(text: &clap::Error, stdout_closed: bool) -> ExitCode {
    let unread = match text.print() {
        Ok(()) if stdout_closed => "standard output is closed".to_owned(),
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => error.to_string(),
        _ => return ExitCode::SUCCESS,
    };
    let error = CliError::unexpected("write to standard output").detail(unread);
    let style = Terminal::of_this_process().style(ui::ColorChoice::Auto, ui::Stream::Stderr);
    let text = error.to_text(style, &Invocation::default(), None);
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(error.kind.exit_code())
}

/// `--color` of a command line that cannot be parsed.
fn color_wanted(words: &[String]) -> ui::ColorChoice {
    let pairs = words.iter().zip(words.iter().skip(1));
    let after = pairs.filter(|(option, _)| *option == "--color").map(|(_, value)| value.as_str());
    let joined = words.iter().filter_map(|word| word.strip_prefix("--color="));
    let value = after.chain(joined).last();
    value.and_then(|value| clap::ValueEnum::from_str(value, true).ok()).unwrap_or_default()
}

/// Of a command line that cannot be parsed only the platform's name can be repeated.
fn invocation(words: &[String]) -> Invocation {
    let pairs = words.iter().zip(words.iter().skip(1));
    let after = pairs.filter(|(option, _)| *option == "--name").map(|(_, value)| value.as_str());
    let joined = words.iter().filter_map(|word| word.strip_prefix("--name="));
    let name = after.chain(joined).last().and_then(|name| PlatformName::new(name).ok());
    Invocation { name, words: words.to_vec(), ..Invocation::default() }
}

/// The groups of commands that stand before a word, and the commands that there are in its place.
fn place(words: &[String], typed: &str) -> (Vec<String>, Vec<String>) {
    let mut here = command();
    let mut groups = Vec::new();
    for word in words.iter().take_while(|word| *word != typed) {
        if let Some(found) = here.find_subcommand(word).filter(|found| found.has_subcommands()) {
            groups.push(found.get_name().to_owned());
            here = found.clone();
        }
    }
    let shown = here.get_subcommands().filter(|one| !one.is_hide_set());
    let known = shown.flat_map(clap::Command::get_name_and_visible_aliases).map(str::to_owned).collect();
    (groups, known)
}

/// Whether `-o json` is on a command line that cannot be parsed.
fn wants_json(words: &[String]) -> bool {
    let pairs = words.iter().zip(words.iter().skip(1));
    words.iter().any(|word| word == "-ojson" || word == "-o=json" || word == "--output=json")
        || pairs.into_iter().any(|(option, value)| (option == "-o" || option == "--output") && value == "json")
}

/// The whole program: parse, run, say what went wrong. `stdout_closed`: nobody will read a result. Not generic over the
/// arguments: what is, is compiled where it is called, and everything below it with it.
pub fn main(args: Vec<OsString>, stdout_closed: bool) -> ExitCode {
    match completions::answer(&args) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(error) => return usage_error(error, &args, stdout_closed),
    }
    let parsed = command().try_get_matches_from(&args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage_error(error, &args, stdout_closed),
    };
    let name = cli.global.platform();
    let resolver = matches!(cli.command, Command::Dns(ref args) if args.serves());
    let context = Context::new(cli.global, name.as_ref().ok().cloned().flatten(), stdout_closed);
    if let Err(error) = name.map(drop).and_then(|()| context.start_log(resolver)) {
        return context.fail(&error);
    }
    let runtime = match runtime(&cli.command).enable_all().build() {
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

/// What only looks waits for the engine more than it works: passing each answer from thread to thread took it a
/// quarter of its time. So it is with what a relay passes on.
fn runtime(command: &Command) -> tokio::runtime::Builder {
    let looks = match command {
        Command::Plan(_)
        | Command::Status(_)
        | Command::Ls(_)
        | Command::Top(_)
        | Command::Open(_)
        | Command::Port(_)
        | Command::Creds(_)
        | Command::Env(_)
        | Command::Validate(_)
        | Command::Trust(_)
        | Command::ContainerRelay(_) => true,
        Command::Dns(args) => !args.serves(),
        _ => false,
    };
    if looks {
        return tokio::runtime::Builder::new_current_thread();
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2);
    builder
}

async fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Up(args) => up::run(context, args).await,
        Command::Down(args) => down::run(context, args).await,
        Command::Plan(args) => plan::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Top(args) => top::run(context, args).await,
        Command::Ls(args) => ls::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Traces(args) => traces::run(context, args).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Restart(args) => lifecycle::restart(context, args).await,
        Command::Stop(args) => lifecycle::stop(context, args).await,
        Command::Start(args) => lifecycle::start(context, args).await,
        Command::Exec(args) => exec::run(context, args).await,
        Command::Cp(args) => cp::run(context, args).await,
        Command::Port(args) => port::run(context, args).await,
        Command::Scale(args) => scale::run(context, args).await,
        Command::Open(args) => open::run(context, args).await,
        Command::Creds(args) => creds::run(context, args).await,
        Command::Env(args) => env::run(context, args).await,
        Command::Run(args) => run::run(context, args).await,
        Command::Task(args) => task::run(context, args).await,
        Command::Ci(args) => job::run(context, args).await,
        Command::Report(args) => report::run(context, args).await,
        Command::Mcp(args) => mcp::run(context, args).await,
        Command::Watch(args) => watch::run(context, args).await,
        Command::Wait(args) => wait::run(context, args).await,
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Dns(args) => dns::run(context, args).await,
        Command::Cluster(args) => cluster::run(context, args).await,
        Command::Images(args) => images::run(context, args).await,
        Command::Man(args) => Ok(man::run(&args)?),
        Command::S3(args) => Ok(s3::run(args).await?),
        Command::ContainerProof(args) => Ok(proof::run(args).await?),
        Command::ContainerRelay(args) => Ok(relay::run(context, args).await?),
        Command::KeepProcesses(args) => keeper::run(context, args).await,
        Command::Stack(args) => stack::run(context, args).await,
        Command::Config(args) => config::run(context, args).await,
        Command::Init(args) => init::run(context, args).await,
        Command::Lease(args) => lease::run(context, args).await,
        Command::Add(args) => add::run(context, args).await,
        Command::Trust(args) => trust::run(context, args).await,
        Command::Validate(args) => validate::run(context, args).await,
        Command::Completions(args) => completions::run(context, args),
        Command::Upgrade(args) => upgrade::run(context, args).await,
        Command::Uninstall(args) => uninstall::run(context, args).await,
        Command::Help(args) => help::run(context, &args),
        Command::Pull(args) => images::pull(context, args).await,
        Command::Build(args) => images::build(context, args).await,
        Command::Version if context.json() => context.print_json(&serde_json::json!({"version": VERSION})),
        Command::Version => context.print(&format!("macula {VERSION}\n")),
        Command::Rm(RemoveArgs { .. }) => Err(CliError::usage("macula has no command that removes single services")
            .hint("to leave a service out for good, set `services: {NAME: {enabled: false}}` in macula.yaml")
            .suggest(macula("stop SERVICE").why("to stop one service"))
            .suggest(macula("up --force-recreate SERVICE").why("to give it a new container; its volumes stay"))
            .suggest(macula("down --dry-run").why("to see what removing the whole platform would do"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_stands_in_one_group_of_the_help() {
        let shown: Vec<String> = command()
            .get_subcommands()
            .filter(|child| !child.is_hide_set())
            .map(|child| child.get_name().to_owned())
            .collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(shown.iter().map(String::as_str).collect::<BTreeSet<_>>(), grouped.iter().copied().collect());
        assert_eq!(shown.len(), grouped.len(), "one is in two groups");
    }

    #[test]
    fn a_word_is_looked_for_in_its_group() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (groups, known) = place(&words("--name a dns qurey x"), "qurey");
        assert_eq!(groups, ["dns"]);
        assert!(known.contains(&"query".to_owned()));
        assert!(place(&words("stauts"), "stauts").1.contains(&"ps".to_owned()));
    }

    #[test]
    fn words_of_other_programs_are_known() {
        for words in ["ps", "ls", "list", "version", "build", "pull web", "shell web", "ssh web", "rm web -f"] {
            let all = std::iter::once("macula").chain(words.split(' '));
            assert!(command().try_get_matches_from(all).is_ok(), "{words}");
        }
    }

    #[test]
    fn json_is_asked_for_in_any_spelling() {
        let asked = |line: &str| wants_json(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for line in ["up -o json --nope", "-ojson upp", "up --output=json", "--output json nope"] {
            assert!(asked(line), "{line}");
        }
        assert!(!asked("exec web json"));
    }
}
