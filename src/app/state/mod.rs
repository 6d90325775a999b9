//! What bears no labels: the secrets and the choice of the loopback block, in the user's data
//! folder under the platform's name.

mod engines;
mod files;
mod jobs;
mod passwords;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::compile::addons::AddOn;
use crate::compile::{Block, choose_block};
use crate::config::Files;
use crate::host::{Held, Host, Lock};
use crate::model::{ClusterRecord, Observed, Platform, PlatformName, SecretSource, Secrets, Service, TaskRun, label};

use super::Error;
use super::choices::Choices;
use super::lease::Lease;
pub(super) use engines::engine_at;
use files::{
    ChoicesFile, ClusterFile, FORMAT, FollowedFile, LeaseFile, PlatformFile, ProgramsFile, SecretsFile, UsedFile,
    keep_services, read_services, write_services,
};
pub(super) use files::{read, write};
pub use jobs::Job;
pub(super) use jobs::Left;
pub(super) use passwords::complete_secrets;

/// Bytes; what is longer was not written by `up`.
const CHOICES_LIMIT: u64 = 1 << 20;

/// The store of telemetry, and where one goes that cannot be read.
const TELEMETRY: &str = "telemetry";
const TELEMETRY_ASIDE: &str = "telemetry.aside";

/// Names of programs that are remembered: those before them have long ended.
const PROGRAMS: usize = 16;

/// Which of the paths that services mount the engine's machine has.
pub(super) const ENGINE_PATHS: &str = "mounts.json";
/// What the process says that keeps the platform's programs.
pub(super) const KEEPER_LOG: &str = "keeper.log";
pub(super) const KEEPER_RECORD: &str = "keeper.json";

/// Held while one of several platforms chooses its addresses. A name that no platform can have.
const CHOICE_LOCK: &str = ".addresses.lock";

/// The files of one platform.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// `data`: the user's data folder of macula.
    pub fn new(data: &Path, platform: &PlatformName) -> Self {
        Self { folder: platform.folder(data) }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn lock_file(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// Held while records in PowerDNS are changed.
    pub fn records_lock_file(&self) -> PathBuf {
        self.folder.join("records.lock")
    }

    pub(super) fn secrets_file(&self) -> PathBuf {
        self.folder.join("secrets").join("secrets.json")
    }

    /// The run of macula that changes the platform just now.
    pub async fn at_work(&self, host: &dyn Host) -> Option<Held> {
        let said = host.read(&self.lock_file()).await.unwrap_or_default();
        Held::parse(&said).filter(|held| held.pid.is_some_and(|pid| host.alive(pid)))
    }

    /// The ingress's certificate and its key.
    pub fn tls_folder(&self) -> PathBuf {
        self.folder.join("tls")
    }

    /// The built-in stacks as Compose files, which the labels of their containers name.
    pub(super) fn stacks_folder(&self) -> PathBuf {
        self.folder.join("stacks")
    }

    fn choices_file(&self) -> PathBuf {
        self.folder.join("choices.json")
    }

    /// Any of them makes the platform known. Passwords alone are enough: there may be data, on an engine that does not
    /// answer at present, that nothing else opens. So is a cluster alone, whose nodes would outlive everything that
    /// knows of them.
    fn witnesses(&self) -> [PathBuf; 3] {
        [self.platform_file(), self.secrets_file(), self.cluster_file()]
    }

    /// Whether the platform was brought up and not removed.
    pub(super) async fn exists(&self, host: &dyn Host) -> bool {
        for file in self.witnesses() {
            if host.exists(&file).await {
                return true;
            }
        }
        false
    }

    /// The same for who has no session.
    pub fn was_up(&self, files: &dyn Files) -> bool {
        self.witnesses().iter().any(|file| files.exists(file))
    }

    /// What the last `up` was told, for who has no session yet. A file that cannot be understood holds no choice: the next `up`
    /// replaces it.
    pub fn remembered(&self, files: &dyn Files) -> Choices {
        let text = files.read(&self.choices_file(), CHOICES_LIMIT).unwrap_or_default();
        let kept = serde_json::from_slice::<ChoicesFile>(&text).ok().filter(|kept| kept.format <= FORMAT);
        kept.map(|kept| kept.choices).unwrap_or_default()
    }

    /// The file of the choices, where it cannot be understood.
    pub fn damaged_choices(&self, files: &dyn Files) -> Option<PathBuf> {
        let file = self.choices_file();
        let text = files.read(&file, CHOICES_LIMIT).ok()?;
        serde_json::from_slice::<ChoicesFile>(&text).is_err().then_some(file)
    }

    /// What the last `up` was told. As in [`State::remembered`], a file that cannot be understood holds no choice; one of a
    /// newer macula is not replaced.
    pub(super) async fn choices(&self, host: &dyn Host) -> Result<Choices, Error> {
        match read::<ChoicesFile>(host, &self.choices_file()).await {
            Ok(kept) => Ok(kept.map(|file| file.choices).unwrap_or_default()),
            Err(Error::BadState { .. }) => Ok(Choices::default()),
            Err(error) => Err(error),
        }
    }

    /// Records it where it differs.
    pub(super) async fn keep_choices(&self, host: &dyn Host, choices: &Choices) -> Result<(), Error> {
        let kept = read::<ChoicesFile>(host, &self.choices_file()).await.ok().flatten();
        if kept.is_some_and(|kept| kept.choices == *choices) {
            return Ok(());
        }
        write(host, &self.choices_file(), &ChoicesFile { format: FORMAT, choices: choices.clone() }).await
    }

    fn brought_file(&self) -> PathBuf {
        self.folder.join("brought.json")
    }

    /// Services that were brought up and not taken down: one that has no container any more is missed. What cannot be
    /// understood names none.
    pub async fn brought(&self, host: &dyn Host) -> BTreeSet<String> {
        read_services(host, &self.brought_file()).await.unwrap_or_default()
    }

    /// Records them where they differ.
    pub(super) async fn keep_brought(&self, host: &dyn Host, services: BTreeSet<String>) -> Result<(), Error> {
        keep_services(host, self.brought_file(), services).await
    }

    fn ran_file(&self) -> PathBuf {
        self.folder.join("ran.json")
    }

    /// Services that ran at the end of an `up` and may end by themselves. What cannot be understood names none.
    pub(super) async fn ran(&self, host: &dyn Host) -> BTreeSet<String> {
        read_services(host, &self.ran_file()).await.unwrap_or_default()
    }

    /// Records them where they differ.
    pub(super) async fn keep_ran(&self, host: &dyn Host, services: BTreeSet<String>) -> Result<(), Error> {
        keep_services(host, self.ran_file(), services).await
    }

    pub(super) fn outside_file(&self) -> PathBuf {
        self.folder.join("outside.json")
    }

    /// Services with data that is in no volume of the platform's: a folder of the machine, or somebody else's volume.
    pub(super) async fn outside(&self, host: &dyn Host) -> Result<BTreeSet<String>, Error> {
        read_services(host, &self.outside_file()).await
    }

    /// Adds to them.
    pub(super) async fn note_outside(&self, host: &dyn Host, services: BTreeSet<String>) -> Result<(), Error> {
        let mut all = self.outside(host).await.unwrap_or_default();
        if services.is_subset(&all) {
            return Ok(());
        }
        all.extend(services);
        write_services(host, self.outside_file(), all).await
    }

    fn platform_file(&self) -> PathBuf {
        self.folder.join("platform.json")
    }

    /// The platform's loopback block: the one it was given, else a free one. Nothing is written.
    pub async fn block(&self, host: &dyn Host, platform: &Platform) -> Result<Block, Error> {
        self.block_beside(host, platform, async || Vec::new()).await
    }

    /// The same, where blocks are known that other users' platforms have; asked for only if needed.
    pub async fn block_beside(
        &self,
        host: &dyn Host,
        platform: &Platform,
        in_use: impl AsyncFnOnce() -> Vec<Block>,
    ) -> Result<Block, Error> {
        let none = || Error::NoBlock { name: platform.name.to_string() };
        if let Some(base) = platform.addresses.block {
            return Block::new(base).ok_or_else(none);
        }
        if let Some(file) = read::<PlatformFile>(host, &self.platform_file()).await? {
            return Block::new(file.block).ok_or_else(none);
        }
        if platform.name.is_default() {
            return choose_block(&platform.name, &[]).ok_or_else(none);
        }
        let mut taken = self.blocks_of_others(host).await;
        taken.extend(in_use().await);
        choose_block(&platform.name, &taken).ok_or_else(none)
    }

    /// The block that the platform was given, if it was ever brought up.
    pub(super) async fn kept_block(&self, host: &dyn Host) -> Option<Ipv4Addr> {
        Some(read::<PlatformFile>(host, &self.platform_file()).await.ok()??.block)
    }

    async fn blocks_of_others(&self, host: &dyn Host) -> Vec<Block> {
        let Some(data) = self.folder.parent() else { return Vec::new() };
        let mut taken = Vec::new();
        for name in host.list(data).await.unwrap_or_default() {
            let other = Self { folder: data.join(name) };
            if other.folder == self.folder {
                continue;
            }
            // a file that cannot be read claims nothing
            if let Ok(Some(file)) = read::<PlatformFile>(host, &other.platform_file()).await {
                taken.extend(Block::new(file.block));
            }
        }
        taken
    }

    /// Whether the platform has been up, and its data was not removed since.
    pub async fn is_known(&self, host: &dyn Host) -> bool {
        self.exists(host).await
    }

    /// The names of all platforms that have been up.
    pub async fn all(host: &dyn Host) -> Vec<String> {
        let data = host.folders().data;
        let mut known = Vec::new();
        for name in host.list(&data).await.unwrap_or_default() {
            if (Self { folder: data.join(&name) }).is_known(host).await {
                known.push(name);
            }
        }
        known
    }

    /// Records the choice of the block, so that another platform does not take it. False: another one
    /// has chosen it since, and nothing is recorded. One platform after the other.
    pub async fn keep_block(&self, host: &dyn Host, block: Block, fixed: bool) -> Result<bool, Error> {
        let data = self.folder.parent().unwrap_or(&self.folder);
        let _turn = Lock::acquire(host, &data.join(CHOICE_LOCK), "the choice of addresses", None, |_| {}).await?;
        let known = read::<PlatformFile>(host, &self.platform_file()).await?;
        let recorded = known.as_ref().is_some_and(|file| file.block == block.base());
        if !recorded && !fixed && block != Block::DEFAULT && self.blocks_of_others(host).await.contains(&block) {
            return Ok(false);
        }
        let no_dns = known.is_some_and(|file| file.no_dns);
        write(host, &self.platform_file(), &PlatformFile { format: FORMAT, block: block.base(), no_dns }).await?;
        Ok(true)
    }

    /// Whether the last `up` was to leave the names alone.
    pub async fn no_dns(&self, host: &dyn Host) -> Result<bool, Error> {
        Ok(read::<PlatformFile>(host, &self.platform_file()).await?.is_some_and(|file| file.no_dns))
    }

    /// Records it, once the block is recorded.
    pub async fn keep_no_dns(&self, host: &dyn Host, no_dns: bool) -> Result<(), Error> {
        match read::<PlatformFile>(host, &self.platform_file()).await? {
            Some(file) if file.no_dns != no_dns => {
                write(host, &self.platform_file(), &PlatformFile { no_dns, ..file }).await
            }
            _ => Ok(()),
        }
    }

    /// The secrets as recorded.
    pub async fn secrets(&self, host: &dyn Host) -> Result<Secrets, Error> {
        let file = read::<SecretsFile>(host, &self.secrets_file()).await?;
        Ok(Secrets(file.map(|file| file.services).unwrap_or_default()))
    }

    pub async fn keep_secrets(&self, host: &dyn Host, secrets: &Secrets) -> Result<(), Error> {
        let file = SecretsFile { format: FORMAT, services: secrets.0.clone() };
        write(host, &self.secrets_file(), &file).await
    }

    pub(super) async fn has_secrets(&self, host: &dyn Host) -> bool {
        host.exists(&self.secrets_file()).await
    }

    /// Where everything of the cluster's lies.
    pub fn cluster_folder(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    fn cluster_file(&self) -> PathBuf {
        self.folder.join("cluster.json")
    }

    /// What was done to the cluster; `None`: none was made.
    pub async fn cluster(&self, host: &dyn Host) -> Result<Option<ClusterRecord>, Error> {
        Ok(read::<ClusterFile>(host, &self.cluster_file()).await?.map(|file| file.cluster))
    }

    pub async fn keep_cluster(&self, host: &dyn Host, cluster: &ClusterRecord) -> Result<(), Error> {
        let file = ClusterFile { format: FORMAT, cluster: cluster.clone() };
        write(host, &self.cluster_file(), &file).await
    }

    fn followed_file(&self) -> PathBuf {
        self.cluster_folder().join("namespaces.json")
    }

    /// The add-on that has something for every namespace with a label; `None`: there is none.
    pub async fn followed(&self, host: &dyn Host) -> Result<Option<AddOn>, Error> {
        Ok(read::<FollowedFile>(host, &self.followed_file()).await?.map(|file| file.addon))
    }

    /// Hands it to the process that looks after namespaces that come later.
    pub async fn keep_followed(&self, host: &dyn Host, addon: &AddOn) -> Result<(), Error> {
        write(host, &self.followed_file(), &FollowedFile { format: FORMAT, addon: addon.clone() }).await
    }

    fn ingress_file(&self) -> PathBuf {
        self.cluster_folder().join("ingress.json")
    }

    /// The add-on with the cluster's ingress as it was applied last; `None`: it was not, or by an earlier version.
    pub async fn cluster_ingress(&self, host: &dyn Host) -> Result<Option<AddOn>, Error> {
        Ok(read::<FollowedFile>(host, &self.ingress_file()).await?.map(|file| file.addon))
    }

    /// Hands it to the process that renews certificates.
    pub async fn keep_cluster_ingress(&self, host: &dyn Host, addon: &AddOn) -> Result<(), Error> {
        write(host, &self.ingress_file(), &FollowedFile { format: FORMAT, addon: addon.clone() }).await
    }

    /// There is no cluster any more. Logs of one that failed stay.
    pub async fn forget_cluster(&self, host: &dyn Host) -> Result<(), Error> {
        let folder = self.cluster_folder();
        let own = [self.cluster_file(), self.followed_file(), self.ingress_file()];
        for path in own.into_iter().chain([folder.join("kind.yaml"), folder.join("kubeconfig")]) {
            host.remove(&path).await.map_err(|source| Error::Io { path, source })?;
        }
        Ok(())
    }

    /// The last runs of `up`, with what took how long.
    pub fn runs_file(&self) -> PathBuf {
        self.folder.join("runs.json")
    }

    fn stopped_file(&self) -> PathBuf {
        self.folder.join("stopped.json")
    }

    /// Services that the user has stopped, and not started again: an exit code does not tell.
    pub async fn stopped(&self, host: &dyn Host) -> Result<BTreeSet<String>, Error> {
        read_services(host, &self.stopped_file()).await
    }

    pub async fn keep_stopped(&self, host: &dyn Host, services: BTreeSet<String>) -> Result<(), Error> {
        write_services(host, self.stopped_file(), services).await
    }

    fn programs_file(&self) -> PathBuf {
        self.folder.join("programs.json")
    }

    /// Names of the programs that `macula run` has started lately. A file that cannot be understood names none.
    pub async fn programs(&self, host: &dyn Host) -> Vec<String> {
        read::<ProgramsFile>(host, &self.programs_file())
            .await
            .ok()
            .flatten()
            .map(|file| file.names)
            .unwrap_or_default()
    }

    /// Puts one more name among them.
    pub(super) async fn note_program(&self, host: &dyn Host, name: &str) -> Result<(), Error> {
        let mut names = self.programs(host).await;
        if names.iter().any(|known| known == name) {
            return Ok(());
        }
        names.push(name.to_owned());
        names.drain(..names.len().saturating_sub(PROGRAMS));
        write(host, &self.programs_file(), &ProgramsFile { format: FORMAT, names }).await
    }

    /// They are noted again when they are started again.
    pub(super) async fn forget_programs(&self, host: &dyn Host) -> Result<(), Error> {
        let path = self.programs_file();
        host.remove(&path).await.map_err(|source| Error::Io { path, source })
    }

    /// The engine is asked again by the next `up`.
    pub(super) async fn forget_engine_paths(&self, host: &dyn Host) -> Result<(), Error> {
        let path = self.folder.join(ENGINE_PATHS);
        host.remove(&path).await.map_err(|source| Error::Io { path, source })
    }

    /// What the background process looks after.
    pub(super) fn looked_after(&self) -> [PathBuf; 4] {
        [self.lease_file(), self.cluster_file(), self.followed_file(), self.folder.join(KEEPER_RECORD)]
    }

    fn lease_file(&self) -> PathBuf {
        self.folder.join("lease.json")
    }

    /// How long the platform stays; none: until `down`.
    pub async fn lease(&self, host: &dyn Host) -> Result<Option<Lease>, Error> {
        Ok(read::<LeaseFile>(host, &self.lease_file()).await?.map(|file| file.lease))
    }

    pub async fn keep_lease(&self, host: &dyn Host, lease: Option<&Lease>) -> Result<(), Error> {
        let path = self.lease_file();
        match lease {
            Some(lease) => write(host, &path, &LeaseFile { format: FORMAT, lease: lease.clone() }).await,
            None => host.remove(&path).await.map_err(|source| Error::Io { path, source }),
        }
    }

    fn used_file(&self) -> PathBuf {
        self.folder.join("used.json")
    }

    /// When the platform was used last; none: nobody has looked.
    pub async fn used(&self, host: &dyn Host) -> Option<i64> {
        Some(read::<UsedFile>(host, &self.used_file()).await.ok()??.at)
    }

    /// It was used at this time, or is to count as if it were. Nothing is written down where nobody wants to know.
    pub async fn note_use(&self, host: &dyn Host, at: i64) {
        let wanted = self.lease(host).await.ok().flatten().is_some_and(|lease| lease.idle.is_some());
        if wanted && self.used(host).await.is_none_or(|before| before < at) {
            // the next use, then
            let _ = write(host, &self.used_file(), &UsedFile { format: FORMAT, at }).await;
        }
    }

    /// Everything of the platform's, after its last volume is gone, and the folder where nothing else is in it. Where
    /// its cluster stays, so does what makes the platform known and says where the cluster is reached. `lasting`: the
    /// passwords that stay. The caller has the lock: who waits for it sees that the file is gone, and makes another.
    pub async fn forget(&self, host: &dyn Host, cluster_stays: bool, lasting: &Secrets) -> Result<(), Error> {
        self.forget_engine_paths(host).await?;
        self.forget_jobs(host).await?;
        let mut own = vec![self.stopped_file(), self.runs_file()];
        match lasting.0.is_empty() {
            true => own.extend([self.secrets_file(), self.outside_file()]),
            false => self.keep_secrets(host, lasting).await?,
        }
        own.extend([self.brought_file(), self.ran_file(), self.used_file(), self.programs_file()]);
        own.extend([self.folder.join(KEEPER_LOG), self.records_lock_file()]);
        for path in own {
            host.remove(&path).await.map_err(|source| Error::Io { path, source })?;
        }
        if !cluster_stays {
            // the nodes may have gone without us
            self.forget_cluster(host).await?;
            for path in [self.choices_file(), self.engines_file(), self.platform_file()] {
                host.remove(&path).await.map_err(|source| Error::Io { path, source })?;
            }
        }
        let folders = [self.folder.join(TELEMETRY), self.folder.join(TELEMETRY_ASIDE), TaskRun::folder(&self.folder)];
        for path in folders.into_iter().chain([self.tls_folder(), self.stacks_folder()]) {
            host.remove_folder(&path).await.map_err(|source| Error::Io { path, source })?;
        }
        let lock = self.lock_file();
        for name in host.list(&self.folder).await.unwrap_or_default() {
            let path = self.folder.join(name);
            // logs of a cluster that failed, a file of the user's: not ours to judge
            if path != lock && host.remove_empty_folder(&path).await.is_err() {
                return Ok(());
            }
        }
        // a folder that stays does no harm
        if host.remove(&lock).await.is_ok() {
            let _ = host.remove_empty_folder(&self.folder).await;
        }
        Ok(())
    }

    /// What programs have sent.
    pub fn telemetry_folder(&self) -> PathBuf {
        self.folder.join(TELEMETRY)
    }

    /// What a generated password that is missing means where data is there already: a new one
    /// would not open it.
    pub fn check_lost(
        &self,
        platform: &Platform,
        recorded: &Secrets,
        observed: &Observed,
        volumes_of: &dyn Fn(&Service) -> Vec<String>,
    ) -> Result<(), Error> {
        for (_, service) in platform.services() {
            let generates =
                service.extension.secrets.values().any(|source| matches!(source, SecretSource::Generate(_)));
            if !generates || recorded.0.get(&service.name).is_some_and(|known| !known.is_empty()) {
                continue;
            }
            // somebody else's volume of that name is a conflict, and the plan will say so
            let ours = |name: &String| {
                observed.volume(name).is_some_and(|found| {
                    found.labels.get(label::PLATFORM).map(String::as_str) == Some(platform.name.as_str())
                })
            };
            if let Some(volume) = volumes_of(service).into_iter().find(ours) {
                return Err(Error::SecretsLost { service: service.name.clone(), volume, path: self.secrets_file() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
