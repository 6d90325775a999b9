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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::resolver::agree;
    use crate::host::fake::FakeHost;
    use crate::model::{Platform, Zone};

    #[test]
    fn each_file_has_its_place() {
        let host = FakeHost::new();
        let files = ResolverFiles::of(&host);
        assert_eq!(files.folder(), host.folders().data.join("dns"));
        let all = [
            files.control(),
            files.routes(),
            files.reach(),
            files.log(),
            files.process(),
            files.lock(),
            files.zone(&PlatformName::default()),
            files.install(),
            files.offered(),
            files.former_resolv_conf(),
        ];
        let below = all.map(|path| path.strip_prefix(files.folder()).unwrap().display().to_string());
        assert_eq!(
            below,
            [
                "resolver.sock",
                "routes.sock",
                "reach.sock",
                "resolver.log",
                "resolver.json",
                "resolver.lock",
                "zones/macula.json",
                "install",
                "offered",
                "install/resolv.conf.before",
            ]
        );
    }

    #[tokio::test]
    async fn what_is_kept_of_each_platform_is_told_as_far_as_it_can_be_read() {
        let host = FakeHost::new();
        let files = ResolverFiles::of(&host);
        let [blog, shop, gone] = ["blog", "shop", "gone"].map(|name| PlatformName::new(name).unwrap());
        assert!(files.entries(&host).await.is_empty() && files.recorded(&host).await.is_empty());
        let kept = |domain: &str, receiving: Option<Receiving>| ZoneFile {
            format: 1,
            entry: ZoneEntry::new(Zone::new(domain, 1)),
            settings: DnsSettings { rebind_allow: vec![domain.to_owned()], ..DnsSettings::default() },
            asked: Places { loki: receiving.as_ref().and_then(|receiving| receiving.loki), ..Places::default() },
            receiving,
        };
        let loki = std::net::SocketAddr::from(([127, 0, 0, 3], 3100));
        let receiving = Receiving {
            otlp: None,
            loki: Some(loki),
            addresses: [loki].into(),
            size: 7,
            age: std::time::Duration::from_secs(9),
        };
        let (of_blog, of_shop) = (kept("blog.test", None), kept("shop.test", Some(receiving.clone())));
        let text = |kept: &ZoneFile| serde_json::to_vec(kept).unwrap();
        for (name, content) in [
            ("shop.json", text(&of_shop)),
            ("blog.json", text(&of_blog)),
            ("broken.json", b"{".to_vec()),
            ("newer.json", br#"{"format": 9}"#.to_vec()),
            ("No name.json", text(&of_blog)),
            ("copy.json.bak", text(&of_blog)),
        ] {
            host.put(files.zones().join(name), content);
        }
        let both = [blog.clone(), shop.clone()];
        let of_both = |blog, shop| both.clone().into_iter().zip([blog, shop]).collect::<Vec<_>>();
        assert_eq!(files.entries(&host).await, of_both(of_blog.entry.clone(), of_shop.entry.clone()));
        let settings = files.settings(&host).await;
        assert_eq!(settings, vec![(blog.clone(), of_blog.settings.clone()), (shop.clone(), of_shop.settings.clone())]);
        assert_eq!(files.receiving(&host).await, vec![(shop.clone(), receiving.clone())]);
        let served = files.served(&host).await;
        let expected = [(blog.clone(), of_blog.entry, None), (shop.clone(), of_shop.entry, Some(receiving.clone()))];
        assert_eq!(served, expected);
        let asked = Places { loki: Some(loki), ..Places::default() };
        for (name, receiving, asked) in
            [(&blog, None, Places::default()), (&shop, Some(receiving), asked), (&gone, None, Places::default())]
        {
            assert_eq!(files.receiving_of(&host, name).await, receiving, "{name}");
            assert_eq!(files.asked(&host, name).await, asked, "{name}");
        }
        // a domain leads to one platform, if that is still there; changes of its own are nobody else's
        host.put(State::new(&host.folders().data, &shop).folder().join("platform.json"), b"{}");
        let taken = async |name: &PlatformName, domain: &str| {
            let platform = Platform { domain: domain.to_owned(), ..Platform::new(name.clone(), Vec::new()) };
            agree(&host, &platform).await.err().map(|error| error.to_string())
        };
        insta::assert_snapshot!(
            taken(&gone, "shop.test").await.unwrap(),
            @"shop.test is the domain of the platform shop, which is up: its names would lead to this one"
        );
        let free = [(&shop, "shop.test"), (&gone, "gone.test"), (&gone, "more.shop.test"), (&gone, "blog.test")];
        for (name, domain) in free {
            assert_eq!(taken(name, domain).await, None, "{name} {domain}");
        }
        // whatever is there, as it is
        let recorded = files.recorded(&host).await;
        let names: Vec<&str> = recorded.iter().map(|(name, _)| name.as_str()).collect();
        let all = ["No name.json", "blog.json", "broken.json", "copy.json.bak", "newer.json", "shop.json"];
        assert_eq!(names, all);
        assert_eq!(recorded[2].1, b"{");
    }

    #[tokio::test]
    async fn the_last_process_is_known_whether_it_runs_or_not() {
        let host = FakeHost::new();
        let files = ResolverFiles::of(&host);
        assert_eq!(files.last_process(&host).await, None);
        let process = Process {
            format: 1,
            pid: 7,
            started: 8,
            version: "1.0.0".into(),
            started_by: StartedBy::Up,
            wants: Wants { usual: true, ..Wants::default() },
        };
        host.put(files.process(), serde_json::to_vec(&process).unwrap());
        assert_eq!(files.last_process(&host).await, Some(process));
    }

    #[tokio::test]
    async fn the_background_process_goes_by_what_it_serves_and_looks_after() {
        let host: Arc<dyn Host> =
            Arc::new(FakeHost::new().file("/home/dev/.local/share/macula/dns/zones/shop.json", "{}"));
        let files = ResolverFiles::of(&*host);
        let data = host.folders().data;
        let looked_after = State::new(&data, &PlatformName::new("shop").unwrap()).looked_after();
        let mut expected = vec![
            Interest::File(files.control()),
            Interest::Folder(files.folder().join("zones")),
            Interest::Folder(authorities_in(&data)),
        ];
        expected.extend(looked_after.map(Interest::File));
        assert_eq!(files.interests(&host)().await, expected);
    }
}
