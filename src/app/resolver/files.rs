//! The files of the resolver: where they lie, and what is kept of each platform.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::app::certificate::authorities_in;
use crate::app::state::{State, read};
use crate::dns::ZoneEntry;
use crate::host::{Host, Interest, Interests};
use crate::model::{DnsSettings, PlatformName};
use crate::telemetry::remote::Places;

use super::{Receiving, Wants};

/// Where the resolver's files lie.
#[derive(Debug, Clone)]
pub struct ResolverFiles {
    folder: PathBuf,
}

impl ResolverFiles {
    pub fn of(host: &dyn Host) -> Self {
        Self { folder: host.folders().data.join("dns") }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn control(&self) -> PathBuf {
        self.folder.join("resolver.sock")
    }

    /// Where programs of this machine ask for a name.
    pub fn routes(&self) -> PathBuf {
        self.folder.join("routes.sock")
    }

    /// Where it is told that what is passed on has changed.
    pub fn reach(&self) -> PathBuf {
        self.folder.join("reach.sock")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("resolver.log")
    }

    pub(in crate::app) fn process(&self) -> PathBuf {
        self.folder.join("resolver.json")
    }

    pub(in crate::app) fn lock(&self) -> PathBuf {
        self.folder.join("resolver.lock")
    }

    fn zones(&self) -> PathBuf {
        self.folder.join("zones")
    }

    pub(in crate::app) fn zone(&self, platform: &PlatformName) -> PathBuf {
        platform.file(&self.zones(), "json")
    }

    /// What was done to point the system at the resolver.
    pub fn install(&self) -> PathBuf {
        self.folder.join("install")
    }

    /// There once `up` has offered to point the system at the resolver.
    pub fn offered(&self) -> PathBuf {
        self.folder.join("offered")
    }

    /// The system's resolv.conf as it was, where ours stands in it now.
    pub(in crate::app) fn former_resolv_conf(&self) -> PathBuf {
        self.install().join("resolv.conf.before")
    }

    /// The platforms' names as recorded, by platform. A file that cannot be read is passed over: the
    /// next `up` of its platform writes it anew.
    pub async fn entries(&self, host: &dyn Host) -> Vec<(PlatformName, ZoneEntry)> {
        self.kept(host).await.into_iter().map(|(platform, kept)| (platform, kept.entry)).collect()
    }

    /// What the platforms want of the resolver, by platform.
    pub async fn settings(&self, host: &dyn Host) -> Vec<(PlatformName, DnsSettings)> {
        self.kept(host).await.into_iter().map(|(platform, kept)| (platform, kept.settings)).collect()
    }

    /// What the background process goes by: it looks when something has happened to one of these.
    pub(in crate::app) fn interests(&self, host: &Arc<dyn Host>) -> Interests {
        let (files, host) = (self.clone(), Arc::clone(host));
        Box::new(move || {
            let (files, host) = (files.clone(), Arc::clone(&host));
            Box::pin(async move {
                let data = host.folders().data;
                let mut all = vec![
                    Interest::File(files.control()),
                    Interest::Folder(files.zones()),
                    Interest::Folder(authorities_in(&data)),
                ];
                for platform in files.platforms(&*host).await {
                    all.extend(State::new(&data, &platform).looked_after().map(Interest::File));
                }
                all
            })
        })
    }

    async fn platforms(&self, host: &dyn Host) -> Vec<PlatformName> {
        let names = host.list(&self.zones()).await.unwrap_or_default();
        names.iter().filter_map(|file| PlatformName::new(file.strip_suffix(".json")?).ok()).collect()
    }

    /// The files of all platforms as they are.
    pub(in crate::app) async fn recorded(&self, host: &dyn Host) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for file in host.list(&self.zones()).await.unwrap_or_default() {
            let content = host.read(&self.zones().join(&file)).await.unwrap_or_default();
            all.push((file, content));
        }
        all.sort();
        all
    }

    /// Where telemetry is taken, by platform.
    pub async fn receiving(&self, host: &dyn Host) -> Vec<(PlatformName, Receiving)> {
        let all = self.kept(host).await.into_iter();
        all.filter_map(|(platform, kept)| Some((platform, kept.receiving?))).collect()
    }

    /// What is served of each platform: its names, and where its telemetry is taken.
    pub(in crate::app) async fn served(&self, host: &dyn Host) -> Vec<(PlatformName, ZoneEntry, Option<Receiving>)> {
        let all = self.kept(host).await.into_iter();
        all.map(|(platform, kept)| (platform, kept.entry, kept.receiving)).collect()
    }

    /// The same of one platform.
    pub async fn receiving_of(&self, host: &dyn Host, platform: &PlatformName) -> Option<Receiving> {
        read::<ZoneFile>(host, &self.zone(platform)).await.ok().flatten()?.receiving
    }

    /// Who has the telemetry of a platform beside this process.
    pub async fn asked(&self, host: &dyn Host, platform: &PlatformName) -> Places {
        let kept = read::<ZoneFile>(host, &self.zone(platform)).await.ok().flatten();
        kept.map(|kept| kept.asked).unwrap_or_default()
    }

    async fn kept(&self, host: &dyn Host) -> Vec<(PlatformName, ZoneFile)> {
        let mut all = Vec::new();
        for platform in self.platforms(host).await {
            if let Ok(Some(kept)) = read::<ZoneFile>(host, &self.zone(&platform)).await {
                all.push((platform, kept));
            }
        }
        all
    }

    /// The process that was started last, running or not.
    pub async fn last_process(&self, host: &dyn Host) -> Option<Process> {
        read(host, &self.process()).await.ok().flatten()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ZoneFile {
    pub(super) format: u64,
    pub(super) entry: ZoneEntry,
    /// What the platform wants of the resolver itself.
    #[serde(default)]
    pub(super) settings: DnsSettings,
    /// Where the background process takes its telemetry.
    #[serde(default)]
    pub(super) receiving: Option<Receiving>,
    /// Who else has it.
    #[serde(default)]
    pub(super) asked: Places,
}

/// Who started a resolver, and so who stops it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartedBy {
    /// Somebody who watches it: it is left alone.
    #[default]
    Hand,
    /// `up`: the last `down` stops it.
    Up,
    /// The system, which starts it again whenever it ends.
    Service,
}

/// The process of the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub format: u64,
    pub pid: u32,
    /// Seconds since the epoch.
    pub started: i64,
    pub version: String,
    pub started_by: StartedBy,
    /// What it was started with.
    #[serde(default)]
    pub wants: Wants,
}
