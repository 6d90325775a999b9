//! What a shell proposes when Tab is pressed: the script asks this program each time, so that services,
//! platforms, profiles and stacks are those of this folder and machine.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::{CompleteEnv, Shells};

use crate::app::State;
use crate::config::{self, DiskFiles, Loaded};
use crate::doctor::CHECKS;
use crate::host::Host;
use crate::host::local::LocalHost;
use crate::model::PlatformName;

use super::context::Context;
use super::error::CliError;

/// Print the completion script of a shell
///
/// It proposes services, platforms, profiles and stacks, too. For the shell that runs now:
/// `source <(macula completions bash)`, `source <(macula completions zsh)` or
/// `macula completions fish | source`; in the shell's start-up file it is there in every new one.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

/// The variable by which the scripts ask.
const ASKED: &str = "MACULA_COMPLETE";

pub fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let mut script = Vec::new();
    let shell = args.shell.to_string();
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(&shell) else {
        return Err(CliError::usage(format!("there are no completions for {shell}")));
    };
    completer
        .write_registration(ASKED, "macula", "macula", "macula", &mut script)
        .context("write the completion script")?;
    context.print_data(&String::from_utf8_lossy(&script))
}

/// Answers a shell that asks; false: this is a run like any other.
pub fn answer(args: &[OsString]) -> Result<bool, clap::Error> {
    let folder = std::env::current_dir().ok();
    let words = args.to_vec();
    let factory = move || completing(super::command(), &Arc::new(Ground::of(&words)));
    CompleteEnv::with_factory(factory).var(ASKED).bin("macula").try_complete(args.to_vec(), folder.as_deref())
}

/// Of the command line so far: what decides which platform is meant.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Ground {
    name: Option<String>,
    file: Option<PathBuf>,
    stacks: Vec<PathBuf>,
    profiles: Vec<String>,
    no_discover: bool,
}

impl Ground {
    fn of(words: &[OsString]) -> Self {
        let mut ground = Self::default();
        let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        for (at, word) in words.iter().enumerate() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (word.as_str(), words.get(at + 1).cloned()),
            };
            // they have no short forms: those mean something else, as in `logs -f` and `logs -n 5`
            match (option, value) {
                ("--name", Some(value)) => ground.name = Some(value),
                ("--file", Some(value)) => ground.file = Some(value.into()),
                ("--stack", Some(value)) => ground.stacks.push(value.into()),
                ("--profile", Some(value)) => ground.profiles.extend(value.split(',').map(str::to_owned)),
                ("--no-discover", _) => ground.no_discover = true,
                _ => {}
            }
        }
        ground
    }

    /// Nothing where the files cannot be read: a shell that proposes nothing is better than one that
    /// shows errors in the middle of a line.
    fn load(&self) -> Option<Loaded> {
        let host = LocalHost::new();
        let mut profiles = self.profiles.clone();
        if profiles.is_empty() {
            let variable = host.env("MACULA_PROFILES").unwrap_or_default();
            profiles.extend(variable.split(',').map(str::to_owned));
        }
        profiles.retain(|name| !name.is_empty());
        // one that is being typed is unknown as yet
        let some = !profiles.is_empty();
        self.load_with(&host, profiles).or_else(|| some.then(|| self.load_with(&host, Vec::new())).flatten())
    }

    fn load_with(&self, host: &LocalHost, profiles: Vec<String>) -> Option<Loaded> {
        let variable = |name| host.env(name).filter(|value| !value.is_empty());
        let name = self.name.clone().or_else(|| variable("MACULA_NAME"));
        let mut request = config::Request {
            cwd: std::env::current_dir().ok()?,
            config_folder: Some(host.folders().config),
            env: host.environment(),
            file: self.file.clone().or_else(|| variable("MACULA_FILE").map(PathBuf::from)),
            name: name.and_then(|name| PlatformName::new(&name).ok()),
            stacks: self.stacks.clone(),
            profiles,
            discover: !self.no_discover,
            ..config::Request::default()
        };
        // what the command would work on, without a word of it: the choices of the last `up` hold for it, too
        let name = config::platform_name(&request, &DiskFiles).0;
        State::new(&host.folders().data, &name).remembered(&DiskFiles).apply(&mut request, &DiskFiles);
        request.name.get_or_insert(name);
        config::load(&request, &DiskFiles).ok()
    }

    fn services(&self) -> Vec<(String, String)> {
        let Some(loaded) = self.load() else { return Vec::new() };
        let services = loaded.platform.services();
        services.map(|(stack, service)| (service.name.clone(), stack.name.clone())).collect()
    }

    fn profiles(&self) -> Vec<(String, String)> {
        let known = self.load().map(|loaded| loaded.known_profiles).unwrap_or_default();
        known.into_iter().map(|name| (name, String::new())).collect()
    }

    fn stacks(&self) -> Vec<(String, String)> {
        let Some(loaded) = self.load() else { return Vec::new() };
        loaded.platform.stacks.iter().map(|stack| (stack.name.clone(), String::new())).collect()
    }
}

/// Those of this machine.
fn platforms() -> Vec<(String, String)> {
    let host = LocalHost::new();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    runtime.block_on(State::all(&host)).into_iter().map(|name| (name, String::new())).collect()
}

fn checks() -> Vec<(String, String)> {
    CHECKS.iter().map(|check| (check.name.to_owned(), check.about.to_owned())).collect()
}

/// The commands, with what may stand for their values.
fn completing(command: clap::Command, ground: &Arc<Ground>) -> clap::Command {
    let command = command.mut_args(|arg| {
        let what = arg.get_value_names().and_then(<[_]>::first).map(|name| name.to_string()).unwrap_or_default();
        let (platform, ground) = (arg.get_id() == "name" && arg.get_long() == Some("name"), ground.clone());
        match what.as_str() {
            "SERVICE" => arg.add(completer(move || ground.services())),
            "SERVICE=N" => arg.add(completer(move || with(ground.services(), "="))),
            "FROM" | "TO" => {
                let inside = completer(move || with(ground.services(), ":"));
                arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
                    let mut all = inside.complete(typed);
                    all.extend(PathCompleter::any().complete(typed));
                    all
                }))
            }
            "PROFILE" => arg.add(completer(move || ground.profiles())),
            "STACK" => arg.add(completer(move || ground.stacks())),
            "CHECK" => arg.add(completer(checks)),
            "NAME" if platform => arg.add(completer(platforms)),
            "NAME" if arg.get_id() == "wanted" => arg.add(completer(move || ground.services())),
            _ => arg,
        }
    });
    command.mut_subcommands(|child| completing(child, ground))
}

/// The names with what has to follow them.
fn with(names: Vec<(String, String)>, mark: &str) -> Vec<(String, String)> {
    names.into_iter().map(|(name, about)| (format!("{name}{mark}"), about)).collect()
}

/// Those that begin as the word does.
fn completer(known: impl Fn() -> Vec<(String, String)> + Send + Sync + 'static) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let typed = typed.to_string_lossy().into_owned();
        let fits = known().into_iter().filter(|(name, _)| name.starts_with(&typed));
        fits.map(|(name, about)| {
            let help = Some(about).filter(|about| !about.is_empty()).map(Into::into);
            CompletionCandidate::new(name).help(help)
        })
        .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_which_platform_is_meant() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let line = "macula -- macula --name pr-7 logs --stack=a/compose.yaml --stack b --profile x,y --profile=z ";
        let ground = Ground::of(&words(line));
        let stacks = vec![PathBuf::from("a/compose.yaml"), PathBuf::from("b")];
        let profiles = ["x", "y", "z"].map(str::to_owned).into();
        assert_eq!(ground, Ground { name: Some("pr-7".into()), stacks, profiles, ..Ground::default() });
        // these are no short forms of `--file` and `--name`
        assert_eq!(Ground::of(&words("macula -- macula logs -f web -n 5 ")), Ground::default());
        assert!(Ground::of(&words("macula -- macula up --no-discover ")).no_discover);
    }

    fn proposed(line: &[&str]) -> Vec<String> {
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        let mut command = completing(super::super::command(), &Arc::new(Ground::of(&words)));
        let found = clap_complete::engine::complete(&mut command, words.clone(), words.len() - 1, None).unwrap();
        found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn services_profiles_stacks_and_checks_are_proposed() {
        assert_eq!(proposed(&["macula", "logs", "postgres-r"]), ["postgres-roles"]);
        assert_eq!(proposed(&["macula", "logs", "-f", "postgres-r"]), ["postgres-roles"]);
        assert!(proposed(&["macula", "up", "--profile", ""]).contains(&"observability".to_owned()));
        assert_eq!(proposed(&["macula", "doctor", "container"]), ["container-runs"]);
        assert_eq!(proposed(&["macula", "stat"]), ["status"]);
        assert!(proposed(&["macula", "up", "--images", ""]).contains(&"local".to_owned()));
        assert_eq!(proposed(&["macula", "port", "postgres-r"]), ["postgres-roles"]);
        assert_eq!(proposed(&["macula", "scale", "postgres-r"]), ["postgres-roles="]);
        assert_eq!(proposed(&["macula", "up", "--scale", "postgres-r"]), ["postgres-roles="]);
        assert_eq!(proposed(&["macula", "cp", "postgres-r"]), ["postgres-roles:"]);
        assert!(proposed(&["macula", "cp", "postgres:/tmp", "./Cargo.t"]).contains(&"./Cargo.toml".to_owned()));
    }

    /// Every option with such a value has its proposals: none was forgotten.
    #[test]
    fn every_service_on_a_command_line_is_proposed() {
        fn walk(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let names = arg.get_value_names().unwrap_or_default();
                let known = ["SERVICE", "SERVICE=N", "FROM", "TO", "PROFILE", "STACK", "CHECK"];
                let wanted = names.iter().any(|name| known.contains(&name.as_str()));
                if wanted && arg.get::<ArgValueCompleter>().is_none() {
                    missing.push(format!("{path} {}", arg.get_id()));
                }
            }
            for child in command.get_subcommands() {
                walk(child, &format!("{path} {}", child.get_name()), missing);
            }
        }
        let mut missing = Vec::new();
        walk(&completing(super::super::command(), &Arc::default()), "macula", &mut missing);
        assert_eq!(missing, [""; 0]);
    }
}
