use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{PortBinding, Protocol, label};

/// One look at the world, taken before planning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Ours by label, and those whose names we want.
    pub networks: Vec<ObservedNetwork>,
    pub volumes: Vec<ObservedVolume>,
    pub containers: Vec<ObservedContainer>,
    /// Ours, and not complete: a run was interrupted between creating and naming them.
    pub unfinished: Vec<ObservedContainer>,
    /// By every reference that was asked for and is there.
    pub images: BTreeMap<String, ObservedImage>,
    /// Images that this run has got or built, by [`super::ImageSpec::key`]: what asks for that each time has it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fresh: BTreeSet<String>,
    /// What the bundle of this run has, by each of its names. It counts as being there: see [`Observed::bundle`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bundled: BTreeMap<String, Bundled>,
    /// Files read back from running containers: (container, path) -> digest of the content.
    pub files: BTreeMap<String, BTreeMap<String, String>>,
    /// Running containers that got new files from a run that was interrupted before it told them.
    pub unreloaded: BTreeSet<String>,
    /// Containers whose `post_start` failed after their last start, or was interrupted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unhooked: BTreeSet<String>,
    /// Services that were stopped by the user, or ran at the end of an `up`: one that has ended with 0 has not done its
    /// work, since many a server ends so when it is told to stop, by the engine's own end, too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lasting: BTreeSet<String>,
    /// Registry hosts that answered, of those that were asked.
    pub registries: BTreeMap<String, bool>,
    /// Host ports in the way: those that we want and somebody else holds.
    pub listeners: Vec<Listener>,
    /// What our own background process may listen on for this very platform: it lets go before a container gets it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub passed_on: BTreeSet<(SocketAddr, Protocol)>,
    /// Containers of all makers; looked at only when there are [`Observed::listeners`].
    pub neighbours: Vec<ObservedContainer>,
    /// Last good runs of tasks, by the job's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, super::TaskRun>,
}

impl Observed {
    pub fn container(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|container| container.name == name)
    }

    pub fn network(&self, name: &str) -> Option<&ObservedNetwork> {
        self.networks.iter().find(|network| network.name == name)
    }

    pub fn volume(&self, name: &str) -> Option<&ObservedVolume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// A bundle has this image: whatever the engine has under these names, the image of the bundle is what is used,
    /// and loaded before.
    pub fn bundle(&mut self, names: &[String], image: &ObservedImage) {
        for name in names {
            let present = self.images.get(name).is_some_and(|found| found.id == image.id);
            if !present {
                self.images.insert(name.clone(), image.clone());
            }
            self.bundled.insert(name.clone(), Bundled { id: image.id.clone(), present });
        }
    }

    /// The image that must be loaded before this name can be used.
    pub fn to_load(&self, name: &str) -> Option<&str> {
        self.bundled.get(name).filter(|bundled| !bundled.present).map(|bundled| bundled.id.as_str())
    }
}

/// An image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundled {
    pub id: String,
    /// The engine has it, under this name.
    pub present: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ObservedNetwork {
    pub id: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub subnets: Vec<ipnet::IpNet>,
    /// The bridge's own IPv4 address, where the engine says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// The bridge has no IPv4 address, and is to have none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub addressless: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ObservedVolume {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Seconds since the Unix epoch, where the engine says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<i64>,
    /// With its options: of engines that say them as they were told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
}

impl ObservedVolume {
    /// Anything but files that are copied in each time.
    pub fn holds_data(&self) -> bool {
        !self.labels.contains_key(label::FILES)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ObservedContainer {
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// As given at creation.
    pub image: String,
    pub image_id: String,
    pub state: ContainerState,
    pub health: Health,
    pub exit_code: Option<i64>,
    pub labels: BTreeMap<String, String>,
    /// Network name -> address.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// Network name -> id of the network that it was made for, on engines that go by it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, String>,
    /// Names of the networks that it is on, where the engine said so of one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<BTreeSet<String>>,
    pub ports: Vec<PortBinding>,
    /// Volumes by name, and folders of the host, that it may write to.
    pub writes: Vec<String>,
    /// Volumes by name that it may only read.
    #[serde(default)]
    pub reads: Vec<String>,
    /// Seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<i64>,
    /// Seconds since the Unix epoch; of one that the engine only lists, when it was made.
    pub started_at: Option<i64>,
    /// Seconds that it has run without a break or, of one that has ended, since then; where the engine says so in
    /// its list.
    pub state_for: Option<u64>,
    /// When it last ended, seconds since the Unix epoch.
    pub finished_at: Option<i64>,
    pub restart_count: i64,
    pub oom_killed: bool,
    /// What the engine said when it could not be started.
    pub error: String,
    /// The test of its health check, where the engine never runs it ([`Traits::health_checks`]).
    #[serde(default)]
    pub untested: Vec<String>,
}

impl ObservedContainer {
    /// It runs, or rests in the middle of its work: its ports are its own.
    pub fn holds_ports(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Paused)
    }

    /// Its restart policy has brought it back too often for a service that is coming up.
    pub fn keeps_ending(&self) -> bool {
        self.restart_count >= 3
    }

    /// The engine has tried to start it, and it has never run. Podman leaves the exit code at 0, and what lists
    /// containers without asking for each has no error's text.
    pub fn never_ran(&self) -> bool {
        self.state == ContainerState::Created
            && (!self.error.is_empty() || self.exit_code.is_some_and(|code| code != 0))
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// The service of this platform that it is one of the containers of. None of what was made for a single command, and
    /// of the relay: they are not counted, and none of them is one too many.
    pub fn replica_of(&self, platform: &str) -> Option<&str> {
        let helps = self.labels.contains_key(label::ONE_OFF) || self.labels.contains_key(label::RELAY);
        let ours = self.label(label::PLATFORM) == Some(platform);
        self.label(label::SERVICE).filter(|_| ours && !helps)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    #[default]
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    #[default]
    None,
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ObservedImage {
    pub id: String,
    pub labels: BTreeMap<String, String>,
    pub repo_digests: Vec<String>,
    /// Bytes.
    pub size: i64,
    /// RFC 3339.
    pub created: Option<String>,
    /// Paths that the image declares as volumes.
    pub volumes: Vec<String>,
    /// Of the processors that its programs are for, in Go's words: `amd64`. Empty: not known.
    #[serde(default)]
    pub architecture: String,
}

/// An image with a label of ours, under whatever names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImage {
    pub id: String,
    /// None: another image has taken its names.
    pub names: Vec<String>,
    /// A registry has it: it was pushed or pulled.
    pub in_registry: bool,
    pub labels: BTreeMap<String, String>,
    /// Bytes, with what it shares with others.
    pub size: i64,
    /// A container, running or not, was made from it.
    pub used: bool,
}

/// A socket of the host that listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub address: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
    pub pid: Option<u32>,
    pub process: Option<String>,
    #[serde(default)]
    pub stopped_by: StoppedBy,
}

/// How a process can be ended without harm to others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// It is another user's, or a part of something that would miss it or start it again.
    #[default]
    Unknown,
    /// It is this user's own program.
    Signal,
    /// It is a service of systemd's, of the machine or of this user.
    Unit { name: String, user: bool },
    /// It is this program in the background: every platform that it serves would miss it. It ends with the last one.
    Macula,
}

/// Programs that listen on behalf of containers.
const PROXIES: [&str; 6] = ["docker-proxy", "rootlesskit", "rootlessport", "slirp4netns", "pasta", "conmon"];

impl Listener {
    /// The program that listens on behalf of a container, where it is one: of a whole engine's in some.
    pub fn proxy(&self) -> Option<&str> {
        self.process.as_deref().filter(|process| PROXIES.contains(process))
    }

    /// The command that ends it, where there is one that hits nothing else.
    pub fn stop_command(&self) -> Option<Vec<String>> {
        if self.proxy().is_some() {
            return None;
        }
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        match (&self.stopped_by, self.pid) {
            (StoppedBy::Unit { name, user: true }, _) => words(&["systemctl", "--user", "stop", name]),
            (StoppedBy::Unit { name, user: false }, _) => words(&["sudo", "systemctl", "stop", name]),
            (StoppedBy::Signal, Some(pid)) => words(&["kill", &pid.to_string()]),
            (StoppedBy::Signal, None) | (StoppedBy::Unknown | StoppedBy::Macula, _) => None,
        }
    }

    /// This program in the background, whoever's.
    pub fn is_macula(&self) -> bool {
        self.stopped_by == StoppedBy::Macula
    }

    /// The same, or a process of root's, which is not told to everybody: the background process may be root's.
    pub fn may_be_macula(&self) -> bool {
        self.is_macula() || self.pid.is_none()
    }

    pub fn place(&self) -> (SocketAddr, Protocol) {
        (SocketAddr::new(self.address, self.port), self.protocol)
    }

    /// Whether this is what the engine has a container's port listened on.
    pub fn is_of(&self, bound: &PortBinding) -> bool {
        bound.host_port == Some(self.port) && bound.protocol == self.protocol && bound.host_ip == self.address
    }

    /// Nobody else can have this port where it is wanted.
    pub fn is_in_the_way_of(&self, port: &PortBinding) -> bool {
        port.host_port == Some(self.port)
            && port.protocol == self.protocol
            && (self.address == port.host_ip || self.address.is_unspecified() || port.host_ip.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundles_image_is_used_and_loaded_where_the_engine_has_another_one() {
        let image = |id: &str| ObservedImage { id: id.into(), ..ObservedImage::default() };
        let mut observed = Observed::default();
        observed.images.insert("here:1".into(), image("same"));
        observed.images.insert("older:1".into(), image("old"));
        let names = ["here:1", "older:1", "new:1"].map(str::to_owned);
        observed.bundle(&names, &image("same"));
        let loaded = ["here:1", "older:1", "new:1", "other:1"].map(|name| observed.to_load(name));
        assert_eq!(loaded, [None, Some("same"), Some("same"), None]);
        assert_eq!(names.map(|name| observed.images[&name].id.clone()), ["same"; 3]);
    }

    #[test]
    fn one_that_was_tried_and_has_not_run_is_told_from_one_that_was_only_made() {
        for (state, error, exit_code, expected) in [
            (ContainerState::Created, "", None, false),
            (ContainerState::Created, "", Some(0), false),
            (ContainerState::Created, "", Some(127), true),
            (ContainerState::Created, "no such file", Some(0), true),
            (ContainerState::Exited, "no such file", Some(127), false),
        ] {
            let found = ObservedContainer { state, error: error.into(), exit_code, ..ObservedContainer::default() };
            assert_eq!(found.never_ran(), expected, "{state:?} {error:?} {exit_code:?}");
        }
        let back = |restart_count| ObservedContainer { restart_count, ..ObservedContainer::default() };
        assert_eq!([2, 3].map(|times| back(times).keeps_ending()), [false, true]);
    }

    #[test]
    fn a_service_is_made_of_its_own_containers_alone() {
        let found = |labels: &[(&str, &str)]| ObservedContainer {
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..ObservedContainer::default()
        };
        let web = [(label::PLATFORM, "shop"), (label::SERVICE, "web")];
        assert_eq!(found(&web).replica_of("shop"), Some("web"));
        assert_eq!(found(&web).replica_of("other"), None);
        assert_eq!(found(&web[..1]).replica_of("shop"), None);
        for helper in [label::ONE_OFF, label::RELAY] {
            assert_eq!(found(&[web[0], web[1], (helper, "web")]).replica_of("shop"), None, "{helper}");
        }
    }
}
