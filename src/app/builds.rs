//! Builds of the user's, before they begin: what their folders hold, and whether this engine can do them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::compile::cannot_build;
use crate::config::{DiskFiles, Files};
use crate::engine::{ContextCache, Engine};
use crate::host::Host;
use crate::model::{Build, Dockerfile, Facts, Fingerprint, Platform, PrepareStep, Service, split_registry};
use crate::observe;
use crate::plan::{Choice, LeftOut, Supply, SupplyProblem};

/// How long a Dockerfile or its rules may be, bytes.
const LONGEST: u64 = 4 << 20;
/// How long a single file may be that a task works on, bytes.
const LARGEST: u64 = 256 << 20;

/// Notes what the services' builds are made of, so that a changed Dockerfile or file is a build to be
/// made again. What cannot be read stays unknown: its build will say so.
/// `cache` is the folder in which files that were read before are remembered.
pub async fn look_at_contexts(platform: &mut Platform, cache: &Path) {
    let build = |service: &Service| Some((service.build.clone()?, copied(service)));
    let builds = platform.services().filter_map(|(_, service)| build(service));
    let builds: Vec<(Build, Vec<PathBuf>)> = builds.filter(|(build, _)| build.context.is_some()).collect();
    let tasks = platform.services().filter_map(|(_, service)| service.extension.task.as_ref());
    let here = platform.tasks.values().flat_map(|task| task.changed.values());
    let watched: BTreeSet<PathBuf> = tasks.flat_map(|task| task.changed.values()).chain(here).cloned().collect();
    if builds.is_empty() && watched.is_empty() {
        return;
    }
    let file = cache.join("contexts.json");
    let look = tokio::task::spawn_blocking(move || {
        let mut known = ContextCache::read(&file);
        let mut seen: BTreeMap<(PathBuf, Option<String>), Option<String>> = BTreeMap::new();
        let contents: Vec<(Build, Vec<PathBuf>, Option<String>)> = builds
            .into_iter()
            .map(|(build, copied)| {
                let content = content(&build, &mut |folder, rules| {
                    let digest = |known: &mut ContextCache| known.digest(folder, rules).ok();
                    seen.entry((folder.to_owned(), rules.map(str::to_owned)))
                        .or_insert_with(|| digest(&mut known))
                        .clone()
                });
                let content = content.map(|content| with_copied(content, &copied, &mut known));
                (build, copied, content)
            })
            .collect();
        let read = |path: PathBuf| Some((path.clone(), content_of(&mut known, &path)?));
        let watched: BTreeMap<PathBuf, String> = watched.into_iter().filter_map(read).collect();
        // what is not remembered is read again next time
        if let Err(error) = known.write(&file) {
            tracing::debug!(%error, "cannot remember the build contexts");
        }
        (contents, watched)
    });
    let (contents, watched) = look.await.unwrap_or_default();
    let digests = |changed: &BTreeMap<String, PathBuf>| -> BTreeMap<String, String> {
        changed.iter().filter_map(|(name, path)| Some((name.clone(), watched.get(path)?.clone()))).collect()
    };
    for task in platform.tasks.values_mut() {
        task.contents = digests(&task.changed);
    }
    for service in platform.stacks.iter_mut().flat_map(|stack| stack.services.values_mut()) {
        let copied = copied(service);
        if let Some(build) = &mut service.build {
            let found = contents.iter().find(|(other, files, _)| other == build && *files == copied);
            build.content = found.and_then(|(.., content)| content.clone());
        }
        if let Some(task) = &mut service.extension.task {
            task.contents = digests(&task.changed);
        }
    }
}

/// What prepared steps take of the user's own files: it comes into the context whatever `.dockerignore` leaves out.
fn copied(service: &Service) -> Vec<PathBuf> {
    let Some(folder) = service.build.as_ref().and_then(|build| build.context.as_deref()) else { return Vec::new() };
    let from = |step: &PrepareStep| match step {
        PrepareStep::Copy { from, .. } => Some(folder.join(from)),
        _ => None,
    };
    service.extension.prepare.iter().filter_map(from).collect()
}

/// What a step has yet to make is not there, and changes with the step itself.
fn with_copied(content: String, copied: &[PathBuf], known: &mut ContextCache) -> String {
    let files: Vec<String> = copied.iter().filter_map(|path| content_of(known, path)).collect();
    if files.is_empty() { content } else { Fingerprint::of(&(content, files)).0 }
}

/// Of what a task works on; a folder counts with everything in it, whatever its `.dockerignore` leaves out.
fn content_of(known: &mut ContextCache, path: &Path) -> Option<String> {
    match DiskFiles.is_folder(path) {
        true => known.digest(path, Some("")).ok(),
        false => Some(Fingerprint::of_bytes(&DiskFiles.read(path, LARGEST).ok()?).0),
    }
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(DiskFiles.read(path, LONGEST).ok()?).ok()
}

/// Everything that a build reads: the Dockerfile, and the folders, as far as it takes files of them.
fn content(build: &Build, digest: &mut dyn FnMut(&Path, Option<&str>) -> Option<String>) -> Option<String> {
    let folder = build.context.as_deref()?;
    let dockerfile = match (&build.dockerfile_inline, build.dockerfile_path()) {
        (Some(inline), _) => Some(inline.clone()),
        // one that is not there is the build's own error
        (None, path) => path.and_then(|path| text(&path)),
    };
    let rules = build.ignore_file().and_then(|path| text(&path));
    let reads_context = dockerfile.as_deref().is_none_or(|text| Dockerfile::parse(text).reads_context());
    let context = match reads_context {
        true => Some(digest(folder, rules.as_deref())?),
        false => None,
    };
    let named: Vec<String> = build
        .contexts
        .values()
        .filter(|place| place.starts_with('/'))
        .map(|place| digest(Path::new(place), None))
        .collect::<Option<_>>()?;
    Some(Fingerprint::of(&(dockerfile, context, named)).0)
}

/// Services that take part and that an engine of this age cannot run.
pub(super) fn too_old(platform: &Platform, facts: &Facts, supply: &Supply) -> Vec<SupplyProblem> {
    let chosen = platform.services().filter(|(_, service)| supply.choices.contains_key(&service.name));
    let unmet = chosen.filter_map(|(_, service)| Some((service.name.clone(), unmet(service, facts)?)));
    unmet.map(|(service, reason)| SupplyProblem::TooOld { service, reason: reason.into() }).collect()
}

/// What a service asks for and an engine of this age does not know.
fn unmet(service: &Service, facts: &Facts) -> Option<String> {
    let (major, minor) = facts.api_version.split_once('.')?;
    let has: (u16, u16) = (major.parse().ok()?, minor.parse().ok()?);
    let need = service.needs.iter().find(|need| need.version > has)?;
    let (major, minor) = need.version;
    Some(format!(
        "{} needs version {major}.{minor} of the engine's API, and {} speaks {}",
        need.what, facts.engine, facts.api_version
    ))
}

/// Images that are built now and that this engine cannot build, each with its place in the file.
pub(super) async fn unbuildable(
    host: &dyn Host,
    engine: &dyn Engine,
    facts: &Facts,
    platform: &Platform,
    supply: &Supply,
) -> Vec<LeftOut> {
    let mut found = Vec::new();
    for (_, service) in platform.services() {
        let Some(Choice::Obtain { spec, pull: false, build: true }) = supply.choices.get(&service.name) else {
            continue;
        };
        let Some(build) = spec.build.as_ref().map(|build| &build.spec).filter(|build| build.unmet(facts).is_some())
        else {
            continue;
        };
        let frontend = match &build.syntax {
            Some(syntax) => {
                let here = engine.image(syntax).await.is_ok_and(|image| image.is_some());
                here || observe::reaches(host, split_registry(syntax).0).await
            }
            None => false,
        };
        if let Some((what, reason)) = cannot_build(build, facts, frontend) {
            found.push(LeftOut { service: service.name.clone(), reason: format!("{what} {reason}").into() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::shop;
    use crate::host::fake::FakeHost;
    use crate::model::{EngineKind, EngineNeed};

    #[tokio::test]
    async fn two_builds_of_one_folder_have_each_its_own_content() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("Dockerfile"), "FROM a\nCOPY site /x\n").unwrap();
        std::fs::write(folder.path().join("page.html"), "1").unwrap();
        let contents = async |both: bool| {
            let stack = "services: {copies: {image: a}, plain: {image: a}}\n";
            let mut platform = shop(&FakeHost::new(), "", stack).platform;
            let services = platform.stacks.iter_mut().flat_map(|stack| stack.services.values_mut());
            for service in services.filter(|service| both || service.name == "plain") {
                service.build = Some(Build { context: Some(folder.path().to_owned()), ..Build::default() });
                if service.name == "copies" {
                    let copy = PrepareStep::Copy { from: "page.html".into(), to: "site".into() };
                    service.extension.prepare = vec![copy];
                }
            }
            look_at_contexts(&mut platform, cache.path()).await;
            let content = |name| platform.service(name).unwrap().1.build.clone().and_then(|build| build.content);
            [content("copies"), content("plain")]
        };
        let [_, alone] = contents(false).await;
        let [copies, plain] = contents(true).await;
        assert!(alone.is_some() && copies.is_some());
        assert!(plain == alone && copies != alone);
    }

    #[test]
    fn what_an_old_engine_does_not_know_is_told_with_its_place() {
        let facts = |api: &str| Facts { api_version: api.into(), ..Facts::of("Docker 20.10.24", EngineKind::Docker) };
        let what = "shop/compose.yaml:4:9: a mount of an image".to_owned();
        let service = Service { needs: vec![EngineNeed { what, version: (1, 48) }], ..Service::default() };
        assert_eq!(
            unmet(&service, &facts("1.41")).unwrap(),
            "shop/compose.yaml:4:9: a mount of an image needs version 1.48 of the engine's API, and Docker 20.10.24 speaks 1.41"
        );
        assert_eq!(unmet(&service, &facts("1.48")), None);
        assert_eq!(unmet(&Service::default(), &facts("1.41")), None);
    }

    #[test]
    fn a_copied_file_counts_although_the_rules_leave_it_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("Dockerfile", "FROM a\nCOPY site /x\n");
        write(".dockerignore", "page.html\nother.html\n");
        write("page.html", "1");
        let build = Build { context: Some(folder.path().to_owned()), ..Build::default() };
        let mut service = Service { build: Some(build.clone()), ..Service::default() };
        // the second is made by a step, so that nothing of it is here
        let copy = |from: &str| PrepareStep::Copy { from: from.into(), to: "site".into() };
        service.extension.prepare = vec![copy("page.html"), copy("made")];
        let of = || {
            let digest = &mut |folder: &Path, rules: Option<&str>| ContextCache::default().digest(folder, rules).ok();
            with_copied(content(&build, digest).unwrap(), &copied(&service), &mut ContextCache::default())
        };
        let before = of();
        write("other.html", "1");
        assert_eq!(of(), before);
        write("page.html", "2");
        assert_ne!(of(), before);
        assert!(copied(&Service::default()).is_empty());
    }

    #[test]
    fn only_what_a_build_reads_makes_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let of = |build: &Build| {
            content(build, &mut |folder, rules| ContextCache::default().digest(folder, rules).ok()).unwrap()
        };
        let context = Some(folder.path().to_owned());
        let inline = |text: &str| Build {
            context: context.clone(),
            dockerfile_inline: Some(text.to_owned()),
            ..Build::default()
        };
        write("Dockerfile", "FROM a\nCOPY x /x\n");
        write("x", "1");
        write(".dockerignore", "Dockerfile*\ncompose.yaml\n");
        let file = Build { context: context.clone(), ..Build::default() };
        let (plain, copies) = (inline("FROM a\nRUN b\n"), inline("FROM a\nCOPY x /x\n"));
        let all = || [of(&file), of(&plain), of(&copies)];
        let before = all();
        write("compose.yaml", "services: {}");
        assert_eq!(all(), before);
        write("x", "2");
        let changed = all();
        assert!(changed[0] != before[0] && changed[1] == before[1] && changed[2] != before[2]);
        // it stays out of the context, and counts all the same
        write("Dockerfile", "FROM a\nRUN y\nCOPY x /x\n");
        assert_ne!(of(&file), changed[0]);
        // the Dockerfile's own rules stand in for those of the folder
        write("Dockerfile.dockerignore", "x\n");
        let own = of(&file);
        write("x", "3");
        assert_eq!(of(&file), own);
        // what has no end is not read: the build says why it cannot
        let endless = Build { dockerfile: Some("/dev/zero".into()), ..file };
        assert_ne!(of(&endless), own);
    }
}
