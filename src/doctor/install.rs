//! Getting an engine, and programs that builds need, from the system's own packages. Pure but for
//! looking at what is there; the caller asks the user, and [`super::fix()`] carries it out.

use std::path::PathBuf;
use std::time::Duration;

use super::{Action, Fix};
use crate::changes::{Change, Effect};
use crate::host::{Command, Host};

/// Ways to install a package, by the program that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
    Apk,
}

/// By program, not by the distribution's name: derivatives are many. Fedora has an apt too, so the
/// order counts.
const MANAGERS: [(&str, Manager); 5] = [
    ("dnf", Manager::Dnf),
    ("pacman", Manager::Pacman),
    ("zypper", Manager::Zypper),
    ("apk", Manager::Apk),
    ("apt-get", Manager::Apt),
];

/// A mirror may be slow, but not for ever.
const TIME_TO_INSTALL: Duration = Duration::from_secs(20 * 60);
/// Enough for a daemon with many containers to restore.
const TIME_TO_START: Duration = Duration::from_secs(60);
/// What dockerd writes its pid to.
const PID_FILE: &str = "/run/docker.pid";

impl Manager {
    fn of(host: &dyn Host) -> Option<Self> {
        MANAGERS.iter().find(|(program, _)| host.which(program).is_some()).map(|(_, manager)| *manager)
    }

    fn install(self, host: &dyn Host, packages: &[&str]) -> Vec<Change> {
        let command = |program: &str, options: &[&str], packages: &[&str]| {
            Command::new(program, options.iter().chain(packages).copied())
                .privileged()
                .timeout(TIME_TO_INSTALL)
                .to_its_end(log(host, "install.log"))
        };
        let (query, remove, lists, install): (&[&str], &[&str], _, _) = match self {
            Self::Apt => {
                // another apt (unattended upgrades, a desktop's updater) may hold its lock
                let apt = |options: &[&str], packages: &[&str]| {
                    command("apt-get", &[&["-o", "DPkg::Lock::Timeout=120"], options].concat(), packages)
                        .env("DEBIAN_FRONTEND", "noninteractive")
                        // Ubuntu's needrestart would otherwise restart the user's own services
                        .env("NEEDRESTART_MODE", "l")
                };
                let lists = apt(&["update", "-q"], &[]);
                let query = &["dpkg-query", "-W", "-f", "${db:Status-Status}"];
                (query, &["apt-get", "remove"], Some(lists), apt(&["install", "-y", "-q"], packages))
            }
            Self::Dnf => (&["rpm", "-q"], &["dnf", "remove"], None, command("dnf", &["install", "-y"], packages)),
            Self::Pacman => {
                // `-y` without an upgrade of everything makes a system of two halves, which Arch does not support
                let install = command("pacman", &["-S", "--noconfirm", "--needed"], packages);
                (&["pacman", "-Q"], &["pacman", "-R"], None, install)
            }
            Self::Zypper => {
                let install = command("zypper", &["--non-interactive", "install"], packages);
                (&["rpm", "-q"], &["zypper", "remove"], None, install)
            }
            Self::Apk => (&["apk", "info", "-e"], &["apk", "del"], None, command("apk", &["add"], packages)),
        };
        let of = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let effect = Effect::Packages { names: of(packages), query: of(query), remove: of(remove) };
        let lists = lists.map(|command| Change::passing(command, "the lists of packages were brought up to date"));
        lists.into_iter().chain([Change { command: install, effect }]).collect()
    }

    /// What the user can do where the packages cannot be had.
    fn otherwise(self, host: &dyn Host, packages: &[&str]) -> String {
        if self != Self::Pacman {
            return String::new();
        }
        let sudo = if host.facts().uid == 0 { "" } else { "sudo " };
        let command = format!("{sudo}pacman -Syu {}", packages.join(" "));
        format!("; if its lists are out of date, `{command}` upgrades the system and installs them")
    }

    /// Docker where the distribution has it: it is what others test with.
    fn engine(self, distribution: Option<&str>) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Apt => ("Docker", &["docker.io", "iptables"]),
            Self::Dnf if distribution == Some("fedora") => ("Docker", &["moby-engine"]),
            Self::Dnf if distribution == Some("amzn") => ("Docker", &["docker"]),
            // Red Hat and its kin have no Docker of their own
            Self::Dnf => ("Podman", &["podman"]),
            Self::Pacman | Self::Zypper | Self::Apk => ("Docker", &["docker", "iptables"]),
        }
    }
}

/// Installs a container engine, starts it, and waits until it answers. Only advice where we do not
/// know how.
pub async fn engine(host: &dyn Host) -> Fix {
    let facts = host.facts();
    if facts.os == "macos" {
        return Fix::advice(
            "install OrbStack (https://orbstack.dev), Colima (`brew install colima docker && colima start`) \
             or Docker Desktop (https://docs.docker.com/desktop/), start it, and run this again",
        );
    }
    let Some(manager) = Manager::of(host) else {
        return Fix::advice("install Docker or Podman (https://docs.docker.com/engine/install/) and run this again");
    };
    let (name, packages) = manager.engine(facts.distribution.as_deref());
    let mut packages = packages.to_vec();
    let bare_cgroups = !facts.systemd && facts.cgroup_version.is_none() && manager == Manager::Apt;
    if bare_cgroups {
        packages.push("cgroupfs-mount");
    }
    let mut actions: Vec<Action> = manager.install(host, &packages).into_iter().map(Action::Change).collect();
    if bare_cgroups {
        // no init has mounted them, and dockerd does not start without
        let mount = Command::new("cgroupfs-mount", [""; 0]).privileged();
        actions.push(Action::Change(Change::passing(mount, "the control groups were mounted")));
    }
    let mut text = format!("install {name} from the system's packages ({}) and start it", packages.join(", "));
    // Alpine has no usermod, and its root-only ways are known to those who run it on a desk
    if name == "Docker" && facts.uid != 0 && manager != Manager::Apk {
        text.push_str(&format!("; {} may then use it, after `newgrp docker` or a new login", facts.user));
        actions.push(Action::Change(allow(&facts.user, "docker")));
    }
    text.push_str(&manager.otherwise(host, &packages));
    let start = if name == "Podman" { start_podman(host).await } else { start_docker(host).await };
    actions.extend(start.actions);
    Fix { text, actions, safe: true }
}

/// Puts the user into the group that owns the engine's socket.
pub(super) fn allow(user: &str, group: &str) -> Change {
    let command = Command::new("usermod", ["-aG", group, user]).privileged();
    Change { command, effect: Effect::Member { user: user.to_owned(), group: group.to_owned() } }
}

/// Starts the Docker that is installed, through systemd where that runs the system.
pub async fn start_docker(host: &dyn Host) -> Fix {
    let facts = host.facts();
    if facts.os == "macos" {
        return Fix::advice("start it: `open -a OrbStack`, `colima start` or `open -a Docker`");
    }
    if facts.systemd {
        let enable = Command::new("systemctl", ["enable", "--now", "docker"]).privileged().timeout(TIME_TO_START);
        return Fix {
            text: "start Docker, now and at every boot".into(),
            actions: vec![
                Action::Change(Change { command: enable, effect: Effect::Unit { name: "docker", user: false } }),
                Action::AwaitEngine { patience: TIME_TO_START, log: None },
            ],
            safe: true,
        };
    }
    let log = log(host, "dockerd.log");
    let mut actions = Vec::new();
    if stale_pid_file(host).await {
        // dockerd forgives the pid of a dead process, but not that of a stranger
        let remove = Command::new("rm", ["-f", PID_FILE]).privileged();
        actions.push(Action::Change(Change::passing(remove, format!("{PID_FILE} of an ended dockerd was removed"))));
    }
    actions.push(Action::StartEngine { command: Command::new("dockerd", [""; 0]).privileged(), log: log.clone() });
    let text = format!("start dockerd in the background (no systemd here), its log in {}", log.display());
    actions.push(Action::AwaitEngine { patience: TIME_TO_START, log: Some(log) });
    Fix { text, actions, safe: true }
}

/// The pid file of a dockerd that was killed names a process that is not dockerd.
async fn stale_pid_file(host: &dyn Host) -> bool {
    let read = |path: String| async move { host.read(path.as_ref()).await.ok() };
    let Some(content) = read(PID_FILE.to_owned()).await else { return false };
    let Ok(pid) = String::from_utf8_lossy(&content).trim().parse::<u32>() else { return true };
    match read(format!("/proc/{pid}/comm")).await {
        Some(name) => name.trim_ascii_end() != b"dockerd",
        None => false,
    }
}

/// Starts the Podman that is installed: its API for this user, or the system's for root.
pub async fn start_podman(host: &dyn Host) -> Fix {
    let facts = host.facts();
    if facts.os == "macos" {
        return Fix::advice("start it: `podman machine start`");
    }
    let patience = TIME_TO_START;
    if facts.systemd {
        let mut arguments = vec!["enable", "--now", "podman.socket"];
        if facts.uid != 0 {
            arguments.insert(0, "--user");
        }
        let enable = Command::new("systemctl", arguments).timeout(TIME_TO_START);
        return Fix {
            text: "let Podman listen on its socket, now and after every login".into(),
            actions: vec![
                Action::Change(Change {
                    command: enable,
                    effect: Effect::Unit { name: "podman.socket", user: facts.uid != 0 },
                }),
                Action::AwaitEngine { patience, log: None },
            ],
            safe: true,
        };
    }
    let log = log(host, "podman.log");
    let command = Command::new("podman", ["system", "service", "--time=0"]);
    Fix {
        text: format!("start Podman's service in the background (no systemd here), its log in {}", log.display()),
        actions: vec![
            Action::StartEngine { command, log: log.clone() },
            Action::AwaitEngine { patience, log: Some(log) },
        ],
        safe: true,
    }
}

/// Of what is not a platform's: beside the platforms' folders.
fn log(host: &dyn Host, name: &str) -> PathBuf {
    host.folders().data.join("log").join(name)
}

/// Installs programs that a build needs on the host, `mmdebstrap` for one. `None`: we do not know
/// how to, here.
pub fn packages(host: &dyn Host, packages: &[&str]) -> Option<Fix> {
    let manager = Manager::of(host)?;
    let otherwise = manager.otherwise(host, packages);
    let text = format!("install {} from the system's packages{otherwise}", packages.join(", "));
    let actions = manager.install(host, packages).into_iter().map(Action::Change).collect();
    Some(Fix { text, actions, safe: true }.run_by(host.facts().uid))
}
