//! Which of the paths that services mount the engine's machine has, where `x-macula.mounts` makes a difference of it.
//! Where the engine's machine is another one, or this process is in a container, the engine is asked: a container that is
//! never started mounts them, and what it has there is compared with what is here. The answers hold until the engine is
//! started again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compile::There;
use crate::daemon::reach::Table;
use crate::doctor::proof::Record;
use crate::engine::{Engine, EngineError, changed_here};
use crate::host::Host;
use crate::model::{ContainerSpec, EngineKind, Facts, Mount, MountSpec, MountsElsewhere, Platform};
use crate::system::own_image::LABEL;
use crate::system::{OwnImage, OwnImageError};
use crate::words;

use super::Error;
use super::apart::{MOUNTS, is_shared};
use super::mounts::{on_the_machine, own};
use super::session::Session;
use super::state::ENGINE_PATHS;

const FORMAT: u64 = 1;
/// Of file systems that keep whole seconds only.
const SECOND: i128 = 1_000_000_000;

/// What the engine has said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EnginePaths {
    format: u64,
    engine: Record,
    /// Where it was asked.
    endpoint: Option<String>,
    paths: BTreeMap<PathBuf, There>,
}

impl EnginePaths {
    fn file(folder: &Path) -> PathBuf {
        folder.join(ENGINE_PATHS)
    }

    /// As the last `up` has heard it from the engine that is asked now. One that was started again since is most often as
    /// it was, and asked again by the next `up`. `folder`: the platform's.
    pub(super) async fn read(session: &Session, facts: &Facts, folder: &Path) -> Option<Self> {
        let known = Self::stored(session.host(), folder).await?;
        (known.engine.engine == facts.engine && known.endpoint == session.endpoint()).then_some(known)
    }

    async fn stored(host: &dyn Host, folder: &Path) -> Option<Self> {
        let text = host.read(&Self::file(folder)).await.ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|known| known.format == FORMAT)
    }

    async fn keep(&self, host: &dyn Host, folder: &Path) -> Result<(), Error> {
        let path = Self::file(folder);
        let text = serde_json::to_vec_pretty(self).map_err(Error::other)?;
        host.write(&path, &text, 0o600).await.map_err(|source| Error::Io { path, source })
    }

    /// The engine has said that it does not have it.
    pub(super) fn lacks(&self, path: &Path) -> bool {
        self.paths.get(path).is_some_and(|there| *there != There::Same)
    }

    /// A path that nobody has asked for yet is like the others: an engine on another machine has none of ours.
    pub(super) fn there(&self, path: &Path) -> There {
        let elsewhere = self.paths.values().any(|there| *there != There::Same);
        let usual = if elsewhere { There::Nothing } else { There::Same };
        self.paths.get(path).copied().unwrap_or(usual)
    }
}

/// The paths of this machine that services mount which have said what becomes of what only this machine has. Nobody else
/// is affected by any of this.
pub(super) fn mounted(platform: &Platform) -> BTreeSet<PathBuf> {
    let services = platform.services().map(|(_, service)| service);
    let services = services.filter(|service| service.extension.mounts != MountsElsewhere::AsWritten);
    let mounts = services.flat_map(|service| &service.mounts);
    let sources = mounts.filter_map(|mount| match mount {
        Mount::Bind { source, .. } => Some(source.clone()),
        _ => None,
    });
    sources.collect()
}

/// The engine sees what this process sees. `home`: this process's own container.
pub(super) async fn is_here(host: &dyn Host, facts: &Facts, home: &str) -> bool {
    match &facts.data_root {
        Some(root) if home.is_empty() => host.exists(Path::new(root)).await,
        _ => false,
    }
}

/// What the last `up` has heard of an engine that is elsewhere.
pub(super) async fn elsewhere(session: &Session, platform: &Platform) -> Result<Option<EnginePaths>, Error> {
    let host = session.host();
    if mounted(platform).is_empty() {
        return Ok(None);
    }
    let folder = session.state(&platform.name).folder().to_owned();
    let facts = session.engine()?.facts().await?;
    let Some(known) = EnginePaths::read(session, &facts, &folder).await else { return Ok(None) };
    let home = Table::read(host, &folder).await.map(|table| table.home).unwrap_or_default();
    Ok(if is_here(host, &facts, &home).await { None } else { Some(known) })
}

/// Asks the engine for what nobody knows yet, and writes it down for all other commands.
pub(super) async fn ask(session: &Session, platform: &Platform) -> Result<(), Error> {
    let host = session.host();
    let mut open = mounted(platform);
    if open.is_empty() {
        return Ok(());
    }
    let engine = session.engine()?;
    let facts = engine.facts().await?;
    let folder = session.state(&platform.name).folder().to_owned();
    let table = Table::read(host, &folder).await;
    let home = table.as_ref().map(|table| table.home.as_str()).unwrap_or_default();
    if is_here(host, &facts, home).await {
        return Ok(());
    }
    let own = own(&*engine, home, platform).await?;
    let now = Record::now(&*engine, host, &facts).await;
    let known = EnginePaths::stored(host, &folder).await;
    let known = known.filter(|known| known.engine == now && known.endpoint == session.endpoint());
    let mut paths = known.map(|known| known.paths).unwrap_or_default();
    paths.retain(|path, there| match there {
        There::Same => true,
        // somebody may have made what was missing on both machines
        There::Nothing => changed_here(path).is_some(),
        // two times are no proof
        There::Other => changed_here(path).is_none(),
    });
    open.retain(|path| !paths.contains_key(path) && on_the_machine(&own, path).is_none());
    if open.is_empty() {
        return Ok(());
    }
    let image = match OwnImage::obtain(&*engine, host, &facts).await {
        Ok(image) => image,
        // nobody knows, and whoever wants copies is told so
        Err(OwnImageError::NotHere(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    paths.extend(look(&*engine, facts.engine_kind, &image, &open).await?);
    EnginePaths { format: FORMAT, engine: now, endpoint: session.endpoint(), paths }.keep(host, &folder).await
}

/// What is left out the engine has told nothing of.
async fn look(
    engine: &dyn Engine,
    kind: EngineKind,
    image: &OwnImage,
    paths: &BTreeSet<PathBuf>,
) -> Result<BTreeMap<PathBuf, There>, Error> {
    let all: Vec<&PathBuf> = paths.iter().collect();
    if kind == EngineKind::Podman {
        return look_from_root(engine, image, &all).await;
    }
    if all.len() > 1
        && let Look::Found(found) = look_at(engine, image, &all).await?
    {
        return Ok(found);
    }
    // an engine makes no container where one of them is missing, and names only the first
    let mut found = BTreeMap::new();
    for path in all {
        let there = match look_at(engine, image, &[path]).await? {
            Look::Found(found) => found.get(path).copied(),
            Look::Missing if changed_here(path).is_some() => Some(There::Nothing),
            Look::Missing => around(engine, image, path).await?,
            Look::Refused => None,
        };
        found.extend(there.map(|there| (path.clone(), there)));
    }
    Ok(found)
}

/// Podman makes each folder that it is to mount and does not have (seen on 5.4.2, asked as Docker is asked). Its machine's
/// root is there, and tells of all that is below.
async fn look_from_root(
    engine: &dyn Engine,
    image: &OwnImage,
    paths: &[&PathBuf],
) -> Result<BTreeMap<PathBuf, There>, Error> {
    let above = paths.iter().map(|path| path.ancestors().find(|above| changed_here(above).is_some()));
    let above: Vec<PathBuf> = above.map(|above| above.unwrap_or(Path::new("/")).to_owned()).collect();
    let asked: BTreeMap<&Path, String> =
        above.iter().map(|path| (path.as_path(), format!("{ROOT}{}", path.display()))).collect();
    let root = [(PathBuf::from("/"), ROOT.to_owned())];
    let Look::Found(found) = look_with(engine, image, &root, &asked).await? else { return Ok(BTreeMap::new()) };
    let there = |(path, above): (&&PathBuf, &PathBuf)| {
        let there = found.get(above).copied().unwrap_or(There::Nothing);
        // of what neither side has: in a folder that both share the engine makes it, and it is here, too
        let there = if above == *path || there == There::Same { there } else { There::Nothing };
        ((*path).clone(), there)
    };
    Ok(paths.iter().zip(&above).map(there).collect())
}

/// Of a path that neither side has: in a folder that both share the engine makes what is missing, and it is here, too.
async fn around(engine: &dyn Engine, image: &OwnImage, path: &Path) -> Result<Option<There>, Error> {
    let above = path.ancestors().find(|above| changed_here(above).is_some()).map(Path::to_owned);
    let Some(above) = above else { return Ok(Some(There::Nothing)) };
    Ok(match look_at(engine, image, &[&above]).await? {
        Look::Found(found) if found.get(&above) == Some(&There::Same) => Some(There::Same),
        Look::Found(_) | Look::Missing => Some(There::Nothing),
        Look::Refused => None,
    })
}

/// What came of one look.
enum Look {
    /// The paths that the engine tells of.
    Found(BTreeMap<PathBuf, There>),
    /// One of the paths is not on its machine.
    Missing,
    /// It makes no container with them for another reason, which says nothing of what is there.
    Refused,
}

/// Where the root of the engine's machine is mounted.
const ROOT: &str = "/look";

/// Each path mounted by itself.
async fn look_at(engine: &dyn Engine, image: &OwnImage, paths: &[&PathBuf]) -> Result<Look, Error> {
    let target = |at: usize| format!("/look/{at}");
    let mounts: Vec<(PathBuf, String)> =
        paths.iter().enumerate().map(|(at, path)| ((*path).clone(), target(at))).collect();
    let asked = mounts.iter().map(|(path, target)| (path.as_path(), target.clone())).collect();
    look_with(engine, image, &mounts, &asked).await
}

/// `asked`: paths of this machine, and where in the container those of the engine's machine are looked for.
async fn look_with(
    engine: &dyn Engine,
    image: &OwnImage,
    mounts: &[(PathBuf, String)],
    asked: &BTreeMap<&Path, String>,
) -> Result<Look, Error> {
    // processes in several containers may have one number
    let mut name = [0; 6];
    getrandom::fill(&mut name)?;
    let mount = |(source, target): &(PathBuf, String)| MountSpec::Bind {
        source: source.clone(),
        target: target.clone(),
        read_only: true,
        create_host_path: false,
        propagation: None,
        selinux: None,
    };
    let spec = ContainerSpec {
        name: format!("macula-look-{}", words::hex(name)),
        image: image.reference.clone(),
        entrypoint: Some(image.entrypoint.clone()),
        network_mode: Some("none".to_owned()),
        mounts: mounts.iter().map(mount).collect(),
        // one that a killed run has left goes with the next proof
        labels: [(LABEL.to_owned(), std::process::id().to_string())].into(),
        ..ContainerSpec::default()
    };
    match engine.create_container(&spec, &image.reference, &spec.labels).await {
        Ok(_) => {}
        Err(error @ (EngineError::Unreachable { .. } | EngineError::Timeout { .. } | EngineError::Gone { .. })) => {
            return Err(error.into());
        }
        Err(error) => {
            tracing::debug!(%error, "the engine makes no container with these paths");
            let paths: Vec<&PathBuf> = mounts.iter().map(|(source, _)| source).collect();
            return Ok(if is_missing(&format!("{error}"), &paths) { Look::Missing } else { Look::Refused });
        }
    }
    let found = compare(engine, &spec.name, asked).await;
    let removed = engine.discard_container(&spec.name).await;
    let found = found?;
    removed?;
    Ok(Look::Found(found))
}

async fn compare(
    engine: &dyn Engine,
    container: &str,
    asked: &BTreeMap<&Path, String>,
) -> Result<BTreeMap<PathBuf, There>, EngineError> {
    let mut found = BTreeMap::new();
    for (path, target) in asked {
        let mut there = None;
        // what is changed between the two looks is looked at again before it counts as another one
        for _ in 0..2 {
            let Some(theirs) = engine.changed_at(container, target).await? else { break };
            there = match changed_here(path) {
                Some(ours) if is_same(theirs, ours) => Some(There::Same),
                _ => Some(There::Other),
            };
            if there == Some(There::Same) {
                break;
            }
        }
        found.extend(there.map(|there| ((*path).to_owned(), there)));
    }
    Ok(found)
}

/// In the words of the engines: Docker's *bind source path does not exist*, Podman's *statfs /p: no such file or
/// directory*. An engine whose virtual machine does not share a path has other words.
fn is_missing(error: &str, paths: &[&PathBuf]) -> bool {
    error.contains("bind source path does not exist")
        || error.contains("no such file or directory")
            && paths.iter().any(|path| error.contains(&path.display().to_string()))
}

/// Two times of change, in nanoseconds, of one file, which one of the sides may know by the second only.
fn is_same(one: i128, other: i128) -> bool {
    let whole = |time: i128| time % SECOND == 0;
    one == other || ((whole(one) || whole(other)) && one.div_euclid(SECOND) == other.div_euclid(SECOND))
}

/// Where the engine was not asked: what a container does not have from its machine. Nothing outside of one, where a
/// virtual machine may have all of it.
pub(super) async fn guessed(host: &dyn Host, paths: &BTreeSet<PathBuf>) -> BTreeMap<PathBuf, There> {
    if !host.facts().container {
        return BTreeMap::new();
    }
    let mounts = String::from_utf8_lossy(&host.read(Path::new(MOUNTS)).await.unwrap_or_default()).into_owned();
    let there = |path: &PathBuf| if is_shared(&mounts, path) { There::Same } else { There::Other };
    paths.iter().map(|path| (path.clone(), there(path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{JOB_MOUNTS, session, shop};
    use crate::engine::Containers as _;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    #[test]
    fn the_same_file_was_changed_at_the_same_time() {
        let second = 1_700_000_000 * SECOND;
        for (one, other, same) in [
            (second + 5, second + 5, true),
            (second + 5, second + 6, false),
            // a file system of whole seconds on either side
            (second, second + 6, true),
            (second + 6, second, true),
            (second, second + SECOND, false),
            (second, second - 1, false),
        ] {
            assert_eq!(is_same(one, other), same, "{one} {other}");
        }
    }

    /// A machine whose program can be put into an image.
    fn machine() -> FakeHost {
        let maps = "00400000-00500000 r-xp 00000000 08:01 1 /usr/local/bin/macula\n";
        FakeHost::new().file("/proc/self/maps", maps).file("/proc/self/exe", "program")
    }

    #[tokio::test]
    async fn the_engine_is_asked_once_for_each_path() {
        let project = tempfile::tempdir().unwrap();
        let at = |name: &str| project.path().join(name);
        for name in ["same", "other", "only"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let (same, other) = (at("same"), at("other"));
        let there = [(same.as_path(), changed_here(&same).unwrap()), (other.as_path(), 7)];
        let engine = FakeEngine::new().elsewhere_with(&there);
        let session = session(machine(), &engine, "macula up");
        let stack = |names: &[&str]| {
            let mounts: Vec<String> = names.iter().map(|name| format!("{}:/{name}", at(name).display())).collect();
            let mounts = serde_json::to_string(&mounts).unwrap();
            format!("services:\n  web:\n    image: a\n    x-macula: {{mounts: copy}}\n    volumes: {mounts}\n")
        };
        let of = |names: &[&str]| shop(&machine(), "", &stack(names)).platform;
        let platform = of(&["same"]);
        let folder = session.state(&platform.name).folder().to_owned();
        ask(&session, &platform).await.unwrap();
        let known = EnginePaths::stored(session.host(), &folder).await.unwrap();
        assert_eq!(known.there(&same), There::Same);
        assert_eq!(known.there(&at("only")), There::Same, "it is as the others");
        let looks = || engine.journal().iter().filter(|line| line.contains("creating container macula-look")).count();
        assert_eq!(looks(), 1);

        let platform = of(&["same", "other", "only", "gone"]);
        ask(&session, &platform).await.unwrap();
        let known = EnginePaths::stored(session.host(), &folder).await.unwrap();
        let found: Vec<There> = ["same", "other", "only", "gone"].iter().map(|name| known.there(&at(name))).collect();
        assert_eq!(found, [There::Same, There::Other, There::Nothing, There::Nothing]);
        assert_eq!(known.there(&at("new")), There::Nothing);
        let asked = looks();
        ask(&session, &of(&["same", "only"])).await.unwrap();
        assert_eq!(looks(), asked, "it has said so");
        // another one of that name may have been the same one, changed just then
        ask(&session, &of(&["same", "other", "only"])).await.unwrap();
        assert_eq!(looks(), asked + 1);
        // what is on neither machine is asked for again, too
        ask(&session, &platform).await.unwrap();
        assert_eq!(looks(), asked + 5, "both at once, each by itself, and the folder around it");
        let left = engine.labelled(LABEL).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    /// It makes what it does not have, so that nothing but its root is mounted.
    #[tokio::test]
    async fn podman_is_asked_by_its_machines_root() {
        let project = tempfile::tempdir().unwrap();
        let at = |name: &str| project.path().join(name);
        for name in ["same", "other", "only"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let mounts = ["same", "other", "only", "gone/deep"].map(|name| format!("{}:/{name}", at(name).display()));
        let mounts = serde_json::to_string(&mounts).unwrap();
        let stack = format!("services: {{web: {{image: a, x-macula: {{mounts: copy}}, volumes: {mounts}}}}}\n");
        let platform = shop(&machine(), "", &stack).platform;
        for (folder, gone) in [(7, There::Nothing), (changed_here(project.path()).unwrap(), There::Same)] {
            let (same, other) = (at("same"), at("other"));
            let there =
                [(same.as_path(), changed_here(&same).unwrap()), (other.as_path(), 7), (project.path(), folder)];
            let docker = FakeEngine::new().facts().await.unwrap();
            let podman = Facts { engine: "Podman 5.4.2".into(), engine_kind: EngineKind::Podman, ..docker };
            let engine = FakeEngine::new().with_facts(podman).elsewhere_with(&there);
            let session = session(machine(), &engine, "macula up");
            ask(&session, &platform).await.unwrap();
            let known = EnginePaths::stored(session.host(), session.state(&platform.name).folder()).await.unwrap();
            let found = ["same", "other", "only", "gone/deep"].map(|name| known.there(&at(name)));
            assert_eq!(found, [There::Same, There::Other, There::Nothing, gone]);
            let made: Vec<String> = engine.journal().into_iter().filter(|line| line.contains("macula-look")).collect();
            assert_eq!(made.iter().filter(|line| line.starts_with("creating")).count(), 1, "{made:?}");
        }
    }

    #[tokio::test]
    async fn what_another_engine_has_said_is_not_read() {
        let engine = FakeEngine::new().elsewhere_with(&[]);
        let session = session(machine(), &engine, "macula up");
        let stack = "services: {web: {image: a, x-macula: {mounts: copy}, volumes: ['/p/conf:/c:ro']}}";
        let platform = shop(&machine(), "", stack).platform;
        ask(&session, &platform).await.unwrap();
        let folder = session.state(&platform.name).folder().to_owned();
        let facts = engine.facts().await.unwrap();
        let known = EnginePaths::read(&session, &facts, &folder).await.unwrap();
        let other = Facts { engine: "Docker 1.0".into(), ..facts.clone() };
        assert_eq!(EnginePaths::read(&session, &other, &folder).await, None);
        let elsewhere = EnginePaths { endpoint: Some("tcp://other:2375".into()), ..known };
        elsewhere.keep(session.host(), &folder).await.unwrap();
        assert_eq!(EnginePaths::read(&session, &facts, &folder).await, None);
    }

    #[test]
    fn an_error_of_another_kind_says_nothing_of_a_path() {
        let (conf, data) = (PathBuf::from("/p/conf"), PathBuf::from("/p/data"));
        for (error, missing) in [
            ("making x: invalid mount config for type \"bind\": bind source path does not exist: /p/conf", true),
            ("making x: statfs /p/data: no such file or directory", true),
            // of something else than these
            ("making x: runc: exec: no such file or directory", false),
            ("making x: mounts denied: the path /p/conf is not shared from the host", false),
            ("making x: invalid mount config for type \"bind\": stat /p/conf: permission denied", false),
        ] {
            assert_eq!(is_missing(error, &[&conf, &data]), missing, "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_in_a_shared_folder_is_made_in_it() {
        let project = tempfile::tempdir().unwrap();
        let there = [(project.path(), changed_here(project.path()).unwrap())];
        let engine = FakeEngine::new().elsewhere_with(&there);
        let session = session(machine(), &engine, "macula up");
        let data = project.path().join("deep/data");
        let stack = format!(
            "services: {{web: {{image: a, x-macula: {{mounts: copy}}, volumes: ['{}:/data']}}}}",
            data.display()
        );
        let platform = shop(&machine(), "", &stack).platform;
        ask(&session, &platform).await.unwrap();
        let known = EnginePaths::stored(session.host(), session.state(&platform.name).folder()).await.unwrap();
        assert_eq!(known.there(&data), There::Same);
    }

    /// An engine of this machine, and services that have not asked for anything.
    #[tokio::test]
    async fn an_engine_is_not_asked_without_need() {
        for (host, mounts) in [
            (machine().folder("/var/lib/docker"), "mounts: copy"),
            (machine().folder("/var/lib/docker"), "mounts: refuse"),
            (machine(), ""),
        ] {
            let engine = FakeEngine::new().elsewhere_with(&[]);
            let session = session(host, &engine, "macula up");
            let stack = format!("services: {{web: {{image: a, x-macula: {{{mounts}}}, volumes: ['/p/conf:/c:ro']}}}}");
            let platform = shop(&machine(), "", &stack).platform;
            ask(&session, &platform).await.unwrap();
            assert_eq!(engine.journal(), [""; 0], "{mounts}");
            assert_eq!(EnginePaths::stored(session.host(), session.state(&platform.name).folder()).await, None);
        }
    }

    #[tokio::test]
    async fn where_no_image_can_be_made_the_mounts_of_a_container_are_looked_at() {
        let paths: BTreeSet<PathBuf> = ["/home/ann/shop/conf", "/proj/conf"].map(PathBuf::from).into();
        let outside = FakeHost::new().file(MOUNTS, JOB_MOUNTS);
        assert!(guessed(&outside, &paths).await.is_empty());
        let inside = FakeHost::new().file(MOUNTS, JOB_MOUNTS).facts_with(|facts| facts.container = true);
        let there = guessed(&inside, &paths).await;
        assert_eq!(there.values().copied().collect::<Vec<_>>(), [There::Same, There::Other]);
    }
}
