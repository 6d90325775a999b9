//! Errors of the application as the user sees them: what failed, why, and what to type.

use std::path::Path;

use crate::app::{Error, MissingPath, ProcessFailure};
use crate::compile::targets::TargetError;
use crate::compile::{MountProblem, Why};
use crate::daemon::RouteError;
use crate::doctor::of_damaged;
use crate::host::LockError;
use crate::model::{Invocation, MaculaCommand, PlatformName, Remedy, macula};
use crate::pki::{AuthorityError, LeafError};
use crate::plan::OtherProject;

use super::cluster_error::cluster;
use super::dns_error::{change, install, resolver};
use super::engine_error::no_engine;
use super::error::{CliError, ErrorKind};
use super::near::near;
use super::step_error::{bundle, failed, own_image};
use super::supply_error::supply;
use super::ui::text;
use crate::words;

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoEngine(discovery) => no_engine(&discovery),
            Error::Engine(error) => error.into(),
            Error::Compile(errors) => {
                let mut new = Self::config("the configuration is invalid");
                new.details = errors.iter().map(ToString::to_string).collect();
                new
            }
            Error::UnknownStack { ref name, ref known } => {
                let new = Self::of(ErrorKind::Usage, &error);
                match near(name, known).first() {
                    Some(near) => new.hint(format!("did you mean {near}?")),
                    None => new.hint(format!("there are {}", text::some(known, NEAR))),
                }
            }
            Error::Deploy(ref deploy) => super::stack::explained(deploy),
            Error::Copy(ref copy) => super::cp::explained(copy),
            Error::Target(TargetError::Compile(errors)) => Error::Compile(errors).into(),
            Error::Target(TargetError::Refused { target, refusals }) => {
                let mut new = Self::config(format!("the stack cannot run on {target}"));
                new.details = refusals.iter().map(ToString::to_string).collect();
                new
            }
            Error::Conflicts(conflicts) => {
                let mut all: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
                // a single one is the headline itself
                let mut new = match all.as_slice() {
                    [_] => Self::conflict(all.remove(0)).detail("nothing was changed"),
                    _ => Self::conflict("nothing was changed: these resources belong to something else"),
                };
                new.details.extend(all);
                let remedies = words::unique(conflicts.into_iter().flat_map(|conflict| conflict.remedies));
                remedies.into_iter().take(3).fold(new, Self::remedy)
            }
            Error::NoSuchPaths(missing) => {
                let mut new = match missing.as_slice() {
                    [one] => Self::config(one.to_string()).detail("nothing was changed"),
                    _ => Self::config("nothing was changed: some services mount what does not exist"),
                };
                if missing.len() > 1 {
                    new.details.extend(missing.iter().map(ToString::to_string));
                }
                // whether a file or a folder is wanted, only their names tell
                let folder = |missing: &MissingPath| {
                    missing.path.extension().is_none() && Path::new(&missing.target).extension().is_none()
                };
                let (folders, others): (Vec<_>, Vec<_>) = missing.into_iter().partition(folder);
                let new = if others.is_empty() { new } else { new.hint("create what is missing, or correct the path") };
                let folders = words::unique(folders.into_iter().map(|missing| missing.path.display().to_string()));
                folders.into_iter().take(3).fold(new, |new, folder| new.shell(["mkdir", "-p", &folder]))
            }
            Error::Mounts(problems) => mounts(&problems),
            Error::OtherProjects { others, platform, domain } => other_projects(&others, &platform, &domain),
            Error::NoContainerRuns(finding) => {
                let mut new = Self::new(ErrorKind::NoEngine, "containers do not run on this engine; nothing was changed")
                    .detail(finding.summary);
                new.details.extend(finding.detail);
                let new = finding.fix.into_iter().fold(new, |new, fix| new.hint(fix.text));
                new.suggest(macula("doctor container-runs").why("to try again"))
            }
            Error::Supply(problems) => supply(&problems, None),
            Error::Unsupported { engine, services } => {
                let mut new = Self::config(format!("{engine} cannot do what the stacks say; nothing was changed"));
                new.details = services;
                new.hint("update the engine, or leave these keys out")
            }
            Error::Failed(outcome) => failed(&outcome.failed, &outcome.skipped),
            Error::Cancelled => Self::new(ErrorKind::Interrupted, "Stopped."),
            Error::UnknownService { names, known } if known.is_empty() => {
                Self::usage(format!("{} is not running: the platform has no containers", words::list(names)))
                    .suggest(macula("up"))
            }
            Error::UnknownService { names, known } => {
                let new = Self::usage(format!("no service is named {}", names.join(", ")));
                if let Some(path) = names.iter().find(|name| is_path(name)) {
                    return new.suggest(macula("up --stack").arg(path.clone()).why("to start a folder's Compose file"));
                }
                let near = words::unique(names.iter().flat_map(|name| near(name, &known)));
                let near: Vec<String> = near.into_iter().take(NEAR).collect();
                match near.as_slice() {
                    [] => new.hint(format!("there are {}", text::some(&known, NEAR))).suggest(macula("status --all")),
                    [one] => new.hint(format!("did you mean {one}?")),
                    _ => new.hint(format!("did you mean one of these? {}", near.join(", "))),
                }
            }
            Error::UnknownPlatform { ref name, ref known } => {
                let new = Self::of(ErrorKind::Usage, &error);
                let near = near(name, known);
                match (near.as_slice(), known.as_slice()) {
                    ([near, ..], _) => new.hint(format!("did you mean {near}?")),
                    ([], []) => new.suggest(macula("up").why("to start it")),
                    ([], known) => {
                        let others = format!("there are {}", text::some(known, NEAR));
                        new.hint(others).suggest(macula("up").why("to start one of this name"))
                    }
                }
            }
            Error::NoContainer { service } => {
                Self::usage(format!("{service} has not been started")).suggest(macula("up").arg(service))
            }
            Error::NewerState { .. } => {
                Self::of(ErrorKind::Config, &error).hint("use that version of macula, or move the file away if the platform is gone")
            }
            Error::BadState { ref path, .. } => Self::of(ErrorKind::Config, &error).hint(of_damaged(path)),
            Error::Io { path, source } => Self::io(format!("{}", path.display()), &source),
            Error::NoSuchWay { .. } => {
                Self::of(ErrorKind::Usage, &error).hint("it is one of auto, published, direct and relay, or not set")
            }
            Error::NotInside => Self::of(ErrorKind::NoEngine, &error).hint(
                "`reach: direct` is for a container that has the socket of its own engine; let `reach: auto` find the way",
            ),
            Error::OwnImage(ref source) => own_image(source),
            Error::Lock(LockError::Held { .. }) => Self::of(ErrorKind::Conflict, &error).hint("wait for that command, or stop it"),
            Error::Lock(LockError::Io(source)) => {
                let refused = source.kind() == std::io::ErrorKind::PermissionDenied;
                let error = Self::io("take the lock of the platform", &source);
                match refused {
                    true => error.hint("or set XDG_DATA_HOME to a folder that this user can write to"),
                    false => error,
                }
            }
            Error::Run(error) => error.into(),
            Error::Authority(AuthorityError::Damaged { ref path, .. }) => {
                Self::of(ErrorKind::Unexpected, &error).hint(format!(
                    "restore {} from a backup; or, to start over, remove the authority from this machine and move the file away",
                    path.display()
                ))
                .suggest(macula("trust uninstall").why("to start over"))
            }
            Error::Authority(AuthorityError::Clock { .. }) => {
                Self::of(ErrorKind::Unexpected, &error).hint("set this machine's clock")
            }
            Error::Authority(AuthorityError::Io(ref source))
            | Error::Certificate(LeafError::Io(ref source) | LeafError::Authority(AuthorityError::Io(ref source))) => {
                Self::io("keep the certificates", source)
            }
            Error::Authority(_) | Error::Certificate(_) | Error::Trust(_) => Self::of(ErrorKind::Unexpected, &error),
            Error::Foreign { .. } => Self::of(ErrorKind::Conflict, &error)
                .hint("run macula as that user, or with that data folder (`sudo -H`, XDG_DATA_HOME)")
                .hint("or choose another name with `--name`")
                .hint("if nobody needs it any more, `down --any-owner` removes it and keeps its data")
                .suggest(macula("status").why("to see what it is")),
            Error::OnAnotherEngine { ref platform, ref engines, ref folder, .. } => {
                let down = MaculaCommand::of(["--name", platform.as_str(), "down"]).line(&Invocation::default());
                let folder = words::shell_word(&folder.display().to_string());
                let new = Self::of(ErrorKind::Conflict, &error)
                    .hint(format!("where that engine is gone for good, `rm -r {folder}` forgets the platform"));
                engines.iter().fold(new, |new, engine| {
                    new.remedy(Remedy::Shell(format!("DOCKER_HOST={} {down}", words::shell_word(engine))))
                })
            }
            Error::AtWork { .. } => Self::of(ErrorKind::Conflict, &error)
                .hint("two users, or two jobs, share a name on one engine: give each its own with `--name`")
                .hint("or run macula as that user, or with that data folder (`sudo -H`, XDG_DATA_HOME)"),
            Error::TooOld { ref program, .. } => Self::of(ErrorKind::Image, &error)
                .hint(format!("install a newer {program}, and see that it comes first on the PATH"))
                .hint("or leave out what is built with it: `services: {NAME: {enabled: false}}` in macula.yaml"),
            Error::SecretsLost { ref path, .. } => Self::of(ErrorKind::Conflict, &error)
                .hint(format!("restore {} from a backup", path.display()))
                .hint("if you no longer need the data, `down --volumes` deletes it, and the next `up` starts from scratch"),
            Error::Cluster(error) => cluster(&error),
            // nothing is wrong with the command line: it is the platform that is not there yet
            Error::NoSecrets => Self::of(ErrorKind::NotHealthy, &error).suggest(macula("up")),
            Error::NoSubnet => {
                Self::of(ErrorKind::Conflict, &error).hint("set one in macula.yaml: `addresses: {subnet: 192.168.213.0/24}`")
            }
            Error::Resolver(error) => resolver(&error),
            Error::Install(error) => install(error),
            Error::Change(error) => change(&error),
            Error::Bundle(error) => bundle(&error),
            Error::Upgrade(error) => super::upgrade_error::explained(&error),
            Error::Route(RouteError::Taken { .. }) | Error::HostTaken { .. } => {
                Self::of(ErrorKind::Conflict, &error).hint("choose another name with `--as NAME`")
            }
            Error::ProgramName { .. } => {
                Self::of(ErrorKind::Usage, &error).hint("choose a name with `--as NAME`")
            }
            Error::Watch(crate::watch::WatchError::TooMany(_)) => Self::of(ErrorKind::Unexpected, &error)
                .hint("leave out folders that need not be watched: `ignore` of the rule, .gitignore, .dockerignore")
                .hint("or raise the limit")
                .shell(["sudo", "sysctl", "fs.inotify.max_user_watches=524288"]),
            Error::Watch(_) => Self::of(ErrorKind::Unexpected, &error),
            Error::NothingToBuild { .. } => {
                Self::of(ErrorKind::Config, &error).hint("give the service a `build`, or the rule another action")
            }
            Error::NothingToWatch { ref services } => {
                let whose = match services.as_slice() {
                    [] => "no service has".to_owned(),
                    [one] => format!("{one} does not have"),
                    several => format!("none of {} has", words::list(several)),
                };
                Self::of(ErrorKind::Config, &error)
                    .hint(format!("{whose} rules under `develop: {{watch: [...]}}` of the Compose file"))
            }
            Error::ExecFailed { ref said, .. } => {
                let mut new = Self::of(ErrorKind::NotHealthy, &error);
                if !said.is_empty() {
                    new.causes.push(said.clone());
                }
                new
            }
            Error::Down { .. } => Self::of(ErrorKind::NotHealthy, &error).suggest(macula("up")),
            Error::NothingLocked { ref reasons } => {
                let mut new = Self::of(ErrorKind::Image, &error);
                new.causes.extend(reasons.iter().take(NEAR).cloned());
                new
            }
            Error::Processes(failures) => processes(&failures),
            Error::ProcessNotKept { ref name } => {
                Self::of(ErrorKind::NotHealthy, &error).suggest(macula("up").arg(name).why("to start it"))
            }
            Error::ProcessRuns { ref name } => Self::of(ErrorKind::Conflict, &error)
                .suggest(macula("stop").arg(name).why("to run it in this terminal afterwards"))
                .suggest(macula("logs -f").arg(name).why("to see what it writes")),
            Error::KeeperNotStarted { ref log, .. } => {
                Self::of(ErrorKind::Unexpected, &error).hint(format!("its log is {}", log.display()))
            }
            Error::Keeper { .. } => Self::of(ErrorKind::Unexpected, &error)
                .suggest(macula("down").why("to end what it keeps; data is kept")),
            Error::EnvFile { .. } => Self::of(ErrorKind::Config, &error),
            Error::NoUrl { .. } => Self::of(ErrorKind::Usage, &error).hint("write it as http://HOST:PORT/PATH or with https"),
            Error::Nameless { .. } => Self::of(ErrorKind::Usage, &error)
                .hint("only services with a host under `x-macula: {ingress: [...]}` have names that can resolve"),
            // what the user was asked, and did not agree to, has its own words
            Error::Other(ref cause) => match cause.downcast_ref::<Self>() {
                Some(known) => known.clone(),
                None => Self::of(ErrorKind::Unexpected, &error),
            },
            Error::NoBlock { .. } | Error::Route(_) | Error::Random(_) | Error::Packing(_) => Self::of(ErrorKind::Unexpected, &error),
        }
    }
}

/// What services mount that is not there for the engine.
fn mounts(problems: &[MountProblem]) -> CliError {
    let mut new = match problems {
        [one] => CliError::config(one.to_string()).detail("nothing was changed"),
        _ => CliError::config("nothing was changed: some services mount what the engine's machine does not have"),
    };
    if problems.len() > 1 {
        new.details.extend(problems.iter().map(ToString::to_string));
    }
    let ways = words::unique(problems.iter().filter_map(|problem| match problem.why {
        Why::Missing => Some("create it on the engine's machine, or mount a named volume"),
        Why::Special(_) => {
            Some("leave the mount out where the engine is on another machine, for example in an override file")
        }
        Why::Refused => Some("remove `mounts: refuse`, or mount a named volume"),
        // it says so itself
        Why::Writable => None,
        Why::Large { .. } => Some(
            "mount a volume over what the container does not need of it (`node_modules`), mount a part of the folder, \
             take the files into the image with `build`, or copy them with `develop.watch`",
        ),
        Why::LongFile { .. } => Some("mount its folder, or a named volume"),
        Why::NotFromHere(_) => Some(
            "run macula on Linux with the engine's processor, or leave out `mounts: copy` here, for example in an override \
             file",
        ),
        Why::Inside(_) => Some("mount the folder that it lies in, or mount it at a path outside of the other mount"),
        Why::Unreadable(_) => Some("make it readable, or mount another folder"),
    }));
    ways.into_iter().fold(new, CliError::hint)
}

/// Two projects with services of the same names: both side by side, or one instead of the other.
fn other_projects(others: &[OtherProject], platform: &PlatformName, domain: &str) -> CliError {
    let mut all: Vec<String> = others.iter().map(ToString::to_string).collect();
    let mut new = match all.as_slice() {
        [_] => CliError::conflict(all.remove(0)).detail("nothing was changed"),
        _ => CliError::conflict("nothing was changed: these services belong to other projects"),
    };
    new.details.extend(all);
    let successor = others.first().and_then(|other| PlatformName::near(&other.successor));
    let new = match successor.filter(|name| platform.is_default() && name != platform) {
        Some(name) => {
            let both = format!("both side by side; names below {}", name.domain_below(domain));
            new.suggest(MaculaCommand::of(["--name", name.as_str(), "up"]).why(both))
        }
        // two names in one command would be one too many
        None => new.hint("to have both side by side, give this project a platform of its own with `--name`"),
    };
    new.suggest(macula("up --remove-orphans").why("to take the other project's place; its data stays"))
}

/// Programs of this machine that did not come up.
fn processes(failures: &[ProcessFailure]) -> CliError {
    let tail = |failure: &ProcessFailure| match failure.log_tail.as_slice() {
        [] => "it has written nothing".to_owned(),
        lines => format!("the end of its output:\n{}", lines.join("\n")),
    };
    let mut new = CliError::not_healthy(match failures {
        [one] => format!("{} is not up: {}", one.name, one.reason),
        several => format!("{} processes are not up", several.len()),
    });
    for failure in failures {
        let waits = failure.log_tail.is_empty() && failure.reason.starts_with("it was not started");
        match failures.len() {
            1 => new.causes.push(tail(failure)),
            _ if waits => new.details.push(format!("{}: {}", failure.name, failure.reason)),
            _ => new.details.push(format!("{}: {}\n{}", failure.name, failure.reason, tail(failure))),
        }
    }
    let new = new.hint("everything else is up, and stays so");
    match failures.first() {
        Some(first) => new
            .suggest(macula("up").arg(&first.name).why("to try again once it is fixed"))
            .suggest(macula("logs").arg(&first.name).why("to see all that it has written")),
        None => new,
    }
}

/// Names that are shown in place of all.
const NEAR: usize = 5;

/// A folder or a file, which no name of a service is.
fn is_path(name: &str) -> bool {
    name == "." || name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::app::ResolverError;
    use crate::cli::error::tests::shown;
    use crate::cluster::ClusterError;
    use crate::dns::ControlError;
    use crate::dns::install::InstallError;
    use crate::engine::discover::Discovery;
    use crate::host::RunError;

    #[test]
    fn a_platform_on_another_engine_is_taken_down_there() {
        let engines = ["tcp://ci:2375", "unix:///a b.sock"].map(str::to_owned).into();
        let (platform, endpoint) = (PlatformName::new("two").unwrap(), "unix:///run/docker.sock".to_owned());
        let error = Error::OnAnotherEngine { platform, engines, endpoint, folder: "/data/two".into() };
        assert_snapshot!(shown(error), @r"
        error: two was brought up on tcp://ci:2375 and unix:///a b.sock, and this is unix:///run/docker.sock
          hint: where that engine is gone for good, `rm -r /data/two` forgets the platform
          try: DOCKER_HOST=tcp://ci:2375 macula --name two down
          try: DOCKER_HOST='unix:///a b.sock' macula --name two down
        exit 5
        ");
    }

    #[test]
    fn a_folder_in_place_of_a_service_is_a_stack() {
        let unknown =
            |name: &str| Error::UnknownService { names: vec![name.to_owned()], known: vec!["web".to_owned()] };
        assert_eq!(proposed(unknown("/root/shop"), "up /root/shop"), ["up --stack /root/shop"]);
        assert_eq!(proposed(unknown("compose.yaml"), "up compose.yaml"), ["up --stack compose.yaml"]);
        assert_eq!(proposed(unknown("draw"), "up draw"), ["status --all"]);
    }

    #[test]
    fn two_projects_have_two_ways() {
        let other = |services: &[&str], folder: &str| OtherProject {
            name: "shop".into(),
            folder: folder.into(),
            successor: "My Blog".into(),
            services: services.iter().map(|name| (*name).to_owned()).collect(),
        };
        let error = |others: Vec<OtherProject>, platform: &str, domain: &str| {
            let platform = PlatformName::new(platform).unwrap();
            shown(Error::OtherProjects { others, platform, domain: domain.into() })
        };
        assert_snapshot!(error(vec![other(&["web"], "/root/shop")], "macula", "macula.local"), @r"
        error: web belongs to the project shop in /root/shop, which this up would replace
          nothing was changed
          try: macula --name my-blog up  (both side by side; names below my-blog.macula.local)
          try: macula up --remove-orphans  (to take the other project's place; its data stays)
        exit 5
        ");
        let two = vec![other(&["api", "web"], "/root/shop"), other(&["db"], "/old/shop")];
        assert_snapshot!(error(two, "pr-1", "pr-1.macula.local"), @r"
        error: nothing was changed: these services belong to other projects
          api and web belong to the project shop in /root/shop, which this up would replace
          db belongs to the project shop in /old/shop, which this up would replace
          hint: to have both side by side, give this project a platform of its own with `--name`
          try: macula up --remove-orphans  (to take the other project's place; its data stays)
        exit 5
        ");
    }

    /// The commands that an error proposes, without `macula`, for a run of `words`.
    fn proposed(error: impl Into<CliError>, words: &str) -> Vec<String> {
        let words = words.split(' ').map(str::to_owned).collect();
        let invocation = Invocation { words, ..Invocation::default() };
        let error = error.into();
        let commands = error.hints.iter().filter_map(|hint| hint.command(&invocation));
        commands.map(|command| command.strip_prefix("macula ").map(str::to_owned).unwrap_or(command)).collect()
    }

    /// A fact, and the commands that fail of it. What is proposed must be none of these, or people
    /// are sent round in a circle.
    #[test]
    fn no_hint_leads_back_to_the_same_error() {
        let absent = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let facts: Vec<(&str, CliError, &[&str])> = vec![
            (
                "no engine",
                no_engine(&Discovery::default()),
                &["up", "down", "plan", "status", "logs", "exec", "restart", "images list", "cluster create"],
            ),
            ("no secrets", Error::NoSecrets.into(), &["env", "creds"]),
            (
                "nothing runs",
                Error::UnknownService { names: vec!["web".into()], known: Vec::new() }.into(),
                &["logs", "exec", "restart", "stop", "start"],
            ),
            (
                "no resolver",
                Error::Resolver(ResolverError::Control(ControlError::NotRunning {
                    path: "/x".into(),
                    source: absent(),
                }))
                .into(),
                &["dns query", "dns trace", "dns list", "dns add", "dns install"],
            ),
            ("no zones", Error::Resolver(ResolverError::NoZones).into(), &["dns install", "dns serve"]),
            (
                "no cluster",
                Error::Cluster(ClusterError::Missing { name: "x".into() }).into(),
                &["cluster start", "cluster stop", "cluster load", "cluster kubeconfig"],
            ),
            (
                "powerdns is not up",
                Error::Resolver(ResolverError::NotUp { platform: "x".into() }).into(),
                &["dns add", "dns remove"],
            ),
        ];
        for (fact, error, failing) in facts {
            let commands = proposed(error, failing[0]);
            assert!(!commands.is_empty(), "{fact}: nothing is proposed");
            for command in commands {
                // the agreement makes the difference: an engine is installed then
                let installs = command == "up --yes";
                let circle = !installs
                    && failing
                        .iter()
                        .any(|failing| command == **failing || command.starts_with(&format!("{failing} ")));
                assert!(!circle, "{fact}: `macula {command}` fails of the same");
            }
        }
    }

    /// What needs root is repeated by macula, which knows what to write; never by hand.
    #[test]
    fn without_the_right_sudo_is_asked_first() {
        let error = RunError::Privilege { command: "sudo tee /etc/hosts".into() };
        assert_eq!(proposed(Error::Run(error.clone()), "dns install"), ["sudo -v && macula dns install"]);
        assert_eq!(
            proposed(Error::Install(InstallError::Run(error)), "dns install"),
            ["sudo -v && macula dns install", "dns list"]
        );
    }
}
