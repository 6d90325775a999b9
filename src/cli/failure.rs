//! Errors of the application as the user sees them: what failed, why, and what to type.

use crate::app::{Error, ResolverError};
use crate::apply::{BuildFailure, Failure, StepError};
use crate::bundle::BundleError;
use crate::cluster::{ClusterError, KubeconfigError};
use crate::dns::install::InstallError;
use crate::dns::{ControlError, RecordsError, ServerError};
use crate::engine::ImageError;
use crate::engine::discover::{Discovery, Refusal, Source};
use crate::host::LockError;
use crate::pki::{AuthorityError, LeafError};
use crate::plan::SupplyProblem;

use super::error::{CliError, ErrorKind, with_image_hints};
use super::ui::text;

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoEngine(discovery) => no_engine(&discovery),
            Error::Engine(error) => error.into(),
            Error::Compile(errors) => {
                let mut new = Self::config("the configuration cannot be put together");
                new.details = errors.iter().map(ToString::to_string).collect();
                new
            }
            Error::Conflicts(conflicts) => {
                let mut new = Self::conflict("nothing was changed: these resources belong to something else");
                new.details = conflicts.iter().map(ToString::to_string).collect();
                let mut hints: Vec<&str> = conflicts.iter().filter_map(|conflict| conflict.hint.as_deref()).collect();
                hints.dedup();
                hints.into_iter().take(3).fold(new, |new, hint| new.hint(hint))
            }
            Error::Supply(problems) => supply(&problems),
            Error::Failed(outcome) => failed(&outcome.failed, outcome.skipped.len()),
            Error::Cancelled => Self::new(ErrorKind::Interrupted, "Stopped."),
            Error::UnknownService { names, known } if known.is_empty() => {
                Self::usage(format!("{} has no container, and nothing else of the platform has one", names.join(", ")))
                    .suggest("macula up")
            }
            Error::UnknownService { names, known } => {
                let new = Self::usage(format!("no service is called {}", names.join(", ")));
                let near: Vec<String> = names.iter().flat_map(|name| near(name, &known)).take(NEAR).collect();
                match near.as_slice() {
                    [] => new.hint(format!("there are {}", text::some(&known, NEAR))).suggest("macula status --all"),
                    [one] => new.hint(format!("did you mean {one}?")),
                    _ => new.hint(format!("did you mean one of these? {}", near.join(", "))),
                }
            }
            Error::UnknownPlatform { ref name, ref known } => {
                let new = Self::usage(error.to_string());
                let near = near(name, known);
                match (near.as_slice(), known.as_slice()) {
                    ([near, ..], _) => new.hint(format!("did you mean {near}?")),
                    ([], []) => new.hint("no platform has been started on this machine yet"),
                    ([], known) => new.hint(format!("there are {}", text::some(known, NEAR))),
                }
            }
            Error::NotGiven { .. } => {
                Self::usage(error.to_string()).hint("name its file with --stack PATH, or under `stacks` in macula.yaml")
            }
            Error::NoContainer { service } => {
                Self::usage(format!("{service} has no container")).suggest(format!("macula up {service}"))
            }
            Error::NewerState { .. } => {
                Self::config(error.to_string()).hint("use that macula, or move the file away if the platform is gone")
            }
            Error::BadState { .. } => {
                Self::config(error.to_string()).hint("it was changed by hand or half copied; put it back from a backup")
            }
            Error::Io { path, source } => Self::io(format!("{}", path.display()), &source),
            Error::Lock(LockError::Held { .. }) => Self::conflict(error.to_string()).hint("wait for it, or stop it"),
            Error::Lock(LockError::Io(source)) => Self::io("take the lock of the platform", &source),
            Error::Run(error) => error.into(),
            Error::Authority(AuthorityError::Damaged { ref path, .. }) => {
                Self::unexpected(error.to_string()).hint(format!(
                    "put {} back from a backup; or, to begin anew: `macula trust uninstall`, then move the file away",
                    path.display()
                ))
            }
            Error::Authority(AuthorityError::Clock { .. }) => {
                Self::unexpected(error.to_string()).hint("set the clock of this machine right")
            }
            Error::Authority(AuthorityError::Io(ref source))
            | Error::Certificate(LeafError::Io(ref source) | LeafError::Authority(AuthorityError::Io(ref source))) => {
                Self::io("keep the certificates", source)
            }
            Error::Authority(_) | Error::Certificate(_) | Error::Trust(_) => Self::unexpected(error.to_string()),
            Error::Foreign { ref platform, .. } => Self::conflict(error.to_string())
                .hint("run macula as that user, or with that data folder (sudo -H, XDG_DATA_HOME)")
                .hint("or choose another name with --name")
                .hint(format!("or, if nobody needs it: macula --name {platform} down --any-owner")),
            Error::SecretsLost { ref path, .. } => Self::conflict(error.to_string())
                .hint(format!("put {} back from a backup", path.display()))
                .hint("or, if the data may go: macula down --volumes"),
            Error::Cluster(error) => cluster(&error),
            Error::NoSecrets => Self::usage(error.to_string()).suggest("macula up"),
            Error::NoSubnet => {
                Self::conflict(error.to_string()).hint("name one in macula.yaml: addresses: {subnet: 192.168.213.0/24}")
            }
            Error::Resolver(error) => resolver(&error),
            Error::Install(error) => install(error),
            Error::Bundle(error) => bundle(&error),
            Error::NoBlock { .. } | Error::Other(_) => Self::unexpected(error.to_string()),
        }
    }
}

fn resolver(error: &ResolverError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match error {
        ResolverError::NotStarted { log, .. } => of(ErrorKind::Unexpected)
            .hint(format!("its log is {}", log.display()))
            .hint("`macula dns` runs it in this terminal, where it says more"),
        ResolverError::StillThere { pid } => of(ErrorKind::Conflict).suggest(format!("kill {pid}")),
        ResolverError::Control(ControlError::NotRunning { .. }) => {
            CliError::not_healthy("the resolver does not run").suggest("macula up")
        }
        ResolverError::Control(_) => of(ErrorKind::Unexpected).suggest("macula dns status"),
        ResolverError::Server(ServerError::AddressInUse { .. }) => of(ErrorKind::Conflict)
            .hint("it may be the resolver of another user of this machine, or another name server")
            .hint("`macula doctor` names the program; `--listen 127.0.0.1:0` takes any free port"),
        ResolverError::Server(ServerError::AlreadyRunning { .. }) => {
            CliError::conflict("a resolver of yours runs already")
                .hint("one serves all platforms; it is told of changes while it runs")
                .suggest("macula dns status")
        }
        ResolverError::Server(ServerError::NotPermitted { .. }) => {
            of(ErrorKind::Privilege).hint("ports below 1024 need root; `macula dns install --service system` has them")
        }
        ResolverError::Server(_) | ResolverError::Records(RecordsError::Refused { .. }) => of(ErrorKind::Unexpected),
        ResolverError::Setting { .. } => of(ErrorKind::Usage),
        ResolverError::Silent { .. } => of(ErrorKind::NotHealthy).suggest("macula dns status"),
        ResolverError::NoZones => of(ErrorKind::NotHealthy).suggest("macula up"),
        ResolverError::Taken { holder, .. } => {
            let error = of(ErrorKind::Conflict)
                .hint("`dns: {listen: [\"127.0.0.9:5399\"]}` in macula.yaml gives yours an address of its own");
            match holder.pid {
                Some(pid) if holder.is_macula() => error
                    .hint(
                        "one resolver serves a machine; it belongs to another data folder and ends with its platforms",
                    )
                    .suggest(format!("kill {pid}")),
                Some(_) => error,
                None => error.hint("one resolver serves a machine: that user can stop it with `macula down`"),
            }
        }
        ResolverError::TwoUpstreams { .. } => of(ErrorKind::Conflict).hint(
            "name the same servers under `dns: {upstream: [...]}` in both macula.yaml files, or in one of them only",
        ),
        ResolverError::InTerminal => of(ErrorKind::Conflict).hint("stop it there (Ctrl-C), and run this again"),
        ResolverError::Content(_) => of(ErrorKind::Usage),
        ResolverError::NoPowerDns { .. } => of(ErrorKind::Usage).hint("the built-in stack `dns` has it"),
        ResolverError::NotUp { .. } => of(ErrorKind::Usage).suggest("macula up"),
        ResolverError::OwnName { .. } => {
            of(ErrorKind::Conflict).hint("take another name; `macula dns list` shows those that are taken")
        }
        ResolverError::Records(RecordsError::Unreachable { .. }) => {
            of(ErrorKind::NotHealthy).suggest("macula up powerdns")
        }
        ResolverError::Records(RecordsError::Key | RecordsError::NoZone { .. }) => {
            of(ErrorKind::Unexpected).suggest("macula logs powerdns")
        }
    }
}

fn install(error: InstallError) -> CliError {
    let of = |kind| CliError::of(kind, &error);
    match &error {
        InstallError::Run(error) => error.clone().into(),
        InstallError::Io { path, source } => CliError::io(format!("change {}", path.display()), source),
        InstallError::Foreign { path } => {
            of(ErrorKind::Conflict).hint(format!("look at {} and move it away, if it may go", path.display()))
        }
        InstallError::Unfit { .. } => of(ErrorKind::Usage).hint("`--method auto` takes what fits"),
        InstallError::Receipt { path, .. } => of(ErrorKind::Unexpected).hint(format!(
            "what was changed is kept beside {}: the files ending in .before are what was there",
            path.display()
        )),
        InstallError::NotUndone(_) => of(ErrorKind::Unexpected).suggest("macula dns uninstall"),
        InstallError::Check { .. } => of(ErrorKind::NotHealthy).suggest("macula dns status"),
        InstallError::NotHeld { tried } => {
            let mut new = of(ErrorKind::NotHealthy).suggest("macula dns status");
            new.details = tried.iter().map(|tried| format!("{}: {}", tried.rung, tried.reason)).collect();
            new
        }
    }
}

fn bundle(error: &BundleError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match error {
        BundleError::Io { path, source } => CliError::io(format!("{}", path.display()), source),
        BundleError::NotABundle { .. } => {
            of(ErrorKind::Image).hint("an archive of `docker save` is loaded with `docker load -i FILE`")
        }
        BundleError::Newer { .. } => of(ErrorKind::Image).hint("load it with that macula, or save it with this one"),
        BundleError::Cut { .. } | BundleError::Damaged { .. } => {
            of(ErrorKind::Image).hint("nothing was loaded from it; copy or save it once more")
        }
        BundleError::Clash { .. } | BundleError::Archive { .. } => {
            of(ErrorKind::Unexpected).hint("what was saved is kept; the same command goes on from here")
        }
    }
}

/// No cluster: each reason has a remedy of its own.
fn cluster(error: &ClusterError) -> CliError {
    let new = CliError::of(ErrorKind::Cluster, error);
    let without = "`macula up --no-cluster` goes without one";
    match error {
        ClusterError::NoProgram { .. } => new
            .hint("fetched is kind 0.33.0, and checked; another one is named by MACULA_KIND or `cluster.program` in macula.yaml")
            .hint(without)
            .suggest("macula cluster create --yes"),
        ClusterError::NoClient { client, .. } => {
            new.hint(format!("install it: on Debian and Ubuntu `apt-get install {client}-cli` or `{client}.io`")).hint(without)
        }
        ClusterError::Fetch { .. } => new
            .hint("fetch it by hand, and name it by MACULA_KIND or `cluster.program` in macula.yaml")
            .hint(without),
        ClusterError::Checksum { .. } => new
            .hint("it was thrown away: a proxy may have answered in its place, or somebody changed it")
            .suggest("macula cluster create --yes"),
        ClusterError::NodeImage { attempts, .. } => {
            let mut new = new;
            for attempt in attempts {
                new = match attempt {
                    ImageError::Unreachable { .. } => new
                        .hint("check the network and the proxy variables of the engine, or bring the image over from another machine (`docker save`, `docker load`)"),
                    other => with_image_hints(new, other),
                };
            }
            let mut seen = Vec::new();
            new.hints.retain(|hint| {
                let first = !seen.contains(hint);
                seen.push(hint.clone());
                first
            });
            new.hint("another node image: MACULA_NODE_IMAGE, or `cluster: {node_image: ...}` in macula.yaml").hint(without)
        }
        ClusterError::CgroupV1 => new
            .hint("boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line")
            .hint("or take a node of Kubernetes 1.34: `cluster: {node_image: kindest/node:v1.34.11}` in macula.yaml"),
        ClusterError::NotPrivileged { .. } => new
            .hint("an engine in a container, a rootless one without delegation, or one with a policy cannot run nodes")
            .hint(without)
            .suggest("macula doctor privileged"),
        ClusterError::Inotify { .. } => new.suggest("macula doctor --fix inotify"),
        ClusterError::NoRoom { .. } => {
            new.hint("a node takes some 2 GiB of memory and 3 GiB of disk").suggest("macula doctor disk-space memory")
        }
        ClusterError::PortTaken { .. } => new
            .hint("stop the program that holds it, or give this platform a name of its own with `--name`")
            .hint(without),
        ClusterError::Exists { name } => new
            .hint(format!("delete it, if it may go: kind delete cluster --name {name}"))
            .hint("or give ours another name: `cluster: {name: ...}` in macula.yaml"),
        ClusterError::Missing { .. } => new.suggest("macula cluster create"),
        ClusterError::NotReady { logs, .. } | ClusterError::Failed { logs, .. } => {
            let new = match logs {
                Some(folder) => new.hint(format!("the logs of its nodes are in {}", folder.display())),
                None => new,
            };
            new.hint("`cluster.timeout` in macula.yaml gives it more time").suggest("macula cluster create --retain")
        }
        ClusterError::NoSuchImage { reference } => new.suggest(format!("docker pull {reference}")),
        ClusterError::Kubeconfig(KubeconfigError::Locked { path }) => {
            new.hint(format!("if nothing else runs: rm {}", path.display()))
        }
        ClusterError::Kubeconfig(KubeconfigError::Malformed { .. }) => {
            new.hint("it was left as it is; mend it, then `macula cluster kubeconfig --merge`")
        }
        ClusterError::Engine(error) => error.clone().into(),
        ClusterError::Kubeconfig(_) | ClusterError::Run(_) | ClusterError::Io(_) => new,
    }
}

/// Names that are shown in place of all.
const NEAR: usize = 5;

/// Those that somebody may have meant, the nearest first.
fn near(name: &str, known: &[String]) -> Vec<String> {
    let mut all: Vec<(usize, &String)> = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            // a part of a longer name is as good as a slip of the finger
            *distance <= 2 || (name.len() >= 3 && (candidate.contains(name) || name.contains(candidate.as_str())))
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, candidate)| candidate.clone()).collect()
}

/// No engine: the attempt that came closest says what to do.
pub fn no_engine(discovery: &Discovery) -> CliError {
    let mut new = CliError::new(ErrorKind::NoEngine, "could not connect to a container engine");
    for attempt in &discovery.attempts {
        let Err(refusal) = &attempt.outcome else { continue };
        let text = match refusal {
            Refusal::Absent => continue,
            Refusal::PermissionDenied { group: Some(group) } => {
                format!("{}: permission denied (members of the group {group} may open it)", attempt.endpoint)
            }
            Refusal::PermissionDenied { group: None } => format!("{}: permission denied", attempt.endpoint),
            Refusal::NotListening => format!("{}: the socket exists, but nothing is listening on it", attempt.endpoint),
            Refusal::TooOld { api } => {
                format!("{}: it supports API {api}; 1.41 or later is required", attempt.endpoint)
            }
            Refusal::Other(text) => format!("{}: {text}", attempt.endpoint),
        };
        new.causes.push(text);
    }
    if new.causes.is_empty() {
        let tried: Vec<&str> = discovery.attempts.iter().map(|attempt| attempt.endpoint.as_str()).collect();
        if discovery.attempts.iter().any(|attempt| attempt.source == Source::DockerHost) {
            new.causes.push(format!("DOCKER_HOST names {}, which does not exist", tried.join(", ")));
            return new.hint("`unset DOCKER_HOST` goes back to the engine of this machine").suggest("macula doctor");
        }
        new.message = "macula needs Docker or Podman, and neither is running here".to_owned();
        new = new
            .hint("`macula doctor -v` lists the sockets that were tried")
            .suggest("macula up --yes      (installs and starts Docker)");
    }
    new.suggest("macula doctor")
}

fn supply(problems: &[SupplyProblem]) -> CliError {
    let other = problems.iter().any(|problem| matches!(problem, SupplyProblem::OtherProvider { .. }));
    let kind = if other { ErrorKind::Conflict } else { ErrorKind::Image };
    let what = if other {
        "the data of some services was written by another version, and is left as it is"
    } else {
        "images are missing; nothing was changed"
    };
    let mut new = CliError::new(kind, what);
    new.details = problems.iter().map(ToString::to_string).collect();
    if other {
        return new
            .hint("take the data out with the service's own dump and put it into the new one, or go back to the image that wrote it")
            .hint("`macula images list` shows which images are here; --images build|local|auto chooses");
    }
    new.hint("to take an image from elsewhere: images: {overrides: {\"IMAGE\": \"ANOTHER\"}} in macula.yaml")
        .suggest("macula images list")
}

/// Several steps may fail; the first one in the order of time decides the kind.
fn failed(failures: &[Failure], skipped: usize) -> CliError {
    let mut errors = failures.iter().map(one);
    let Some(mut new) = errors.next() else {
        return CliError::unexpected("some steps were not carried out");
    };
    if failures.len() > 1 {
        // the kind that says most, whichever step was first
        let kinds: Vec<ErrorKind> = failures.iter().map(|failure| one(failure).kind).collect();
        let kind = kinds.iter().copied().find(|kind| *kind != ErrorKind::Unexpected).unwrap_or(new.kind);
        let mut all = CliError::new(kind, format!("{} steps failed", failures.len()));
        all.hints = std::mem::take(&mut new.hints);
        for error in std::iter::once(new).chain(errors) {
            let lines: Vec<String> = std::iter::once(error.message).chain(error.details).chain(error.causes).collect();
            all.details.push(lines.join("\n"));
        }
        new = all;
    }
    if skipped > 0 {
        new = new.hint("what needs it was not started; everything else is kept as it is");
    }
    new
}

/// A failed build: which of its steps, the lines that say why, and where the rest is.
fn build(failure: &BuildFailure, source: &StepError) -> CliError {
    let kind = match source {
        StepError::Prepare { .. } => ErrorKind::Unexpected,
        _ => ErrorKind::Image,
    };
    let mut error = CliError::new(kind, format!("{} was not built: {}", failure.service, failure.what));
    error.details.extend(failure.place.clone());
    let instruction = failure.instruction.iter().map(|text| format!("| {text}"));
    let lines: Vec<String> = instruction.chain(failure.lines.iter().map(|line| format!("|   {line}"))).collect();
    if !lines.is_empty() {
        error.details.push(lines.join("\n"));
    }
    if let Some(log) = &failure.log {
        error.details.push(format!("whole log: {}", log.display()));
    }
    error.hint(format!("once it is fixed, `macula up` goes on from there; {} is left as it was", failure.service))
}

fn one(failure: &Failure) -> CliError {
    let new = |kind| CliError::new(kind, failure.error.to_string()).doing(failure.step.clone());
    match &failure.error {
        StepError::Engine(error) => CliError::from(error.clone()).doing(failure.step.clone()),
        StepError::NotReady { service, log_tail, .. } => {
            let mut error = CliError::not_healthy(failure.error.to_string());
            if log_tail.is_empty() {
                error.causes.push("it has written nothing to its log".into());
            } else {
                error.causes.push(format!("the end of its log:\n{}", log_tail.join("\n")));
            }
            error.suggest(format!("macula logs {service}"))
        }
        StepError::NoImage { reference, attempts } => {
            let mut error = CliError::new(ErrorKind::Image, format!("no source gave the image {reference}"));
            error.causes = attempts.iter().map(ToString::to_string).collect();
            // what each source said may lead to another remedy
            for attempt in attempts {
                error = with_image_hints(error, attempt);
            }
            let mut seen = Vec::new();
            error.hints.retain(|hint| {
                !seen.contains(hint) && {
                    seen.push(hint.clone());
                    true
                }
            });
            error
        }
        StepError::Build { failure, source } => build(failure, source),
        StepError::Program { .. } => new(ErrorKind::Image),
        StepError::Prepare { source, .. } | StepError::Base { source, .. } => {
            CliError::from(source.clone()).doing(failure.step.clone())
        }
        StepError::Cluster(error) => cluster(error).doing(failure.step.clone()),
        StepError::AddOn { log_tail, .. } => {
            let mut error = new(ErrorKind::Cluster);
            if !log_tail.is_empty() {
                error.causes.push(format!("the end of its log:\n{}", log_tail.join("\n")));
            }
            error.suggest("macula cluster status")
        }
        StepError::File { .. } | StepError::Broken(_) => new(ErrorKind::Unexpected),
        StepError::Cancelled => new(ErrorKind::Interrupted),
    }
}
