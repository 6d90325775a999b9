//! A path of this container is another one on the engine's machine, or none at all: what lies below one of its mounts
//! is mounted from there, and of the rest services may have copies (`copies`). And paths that services want to find, and
//! that are not there, or have data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::engine::Engine;
use crate::host::Host;
use crate::model::{Facts, Mount, Origin, Platform, label};
use crate::plan::{Action, Plan};

use super::Error;
use super::error::MissingPath;

/// What is there is the machine's, and made anew at its start.
const OF_THE_MACHINE: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/var/run"];

/// What this process's own container has of the engine's machine: the path here, and the one there. `home`: its id;
/// nothing where it is in none, or where nothing is mounted by its path.
pub(super) async fn own(
    engine: &dyn Engine,
    home: &str,
    platform: &Platform,
) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let binds = |mount: &Mount| matches!(mount, Mount::Bind { .. });
    if home.is_empty() || !platform.services().any(|(_, service)| service.mounts.iter().any(binds)) {
        return Ok(Vec::new());
    }
    Ok(engine.mounts(home).await?)
}

/// Bind mounts as the engine's machine has them. `mounts`: see [`own`].
pub(super) fn translate(mounts: &[(PathBuf, PathBuf)], platform: &mut Platform) {
    for service in platform.stacks.iter_mut().flat_map(|stack| stack.services.values_mut()) {
        for mount in &mut service.mounts {
            if let Mount::Bind { source, .. } = mount
                && let Some(there) = on_the_machine(mounts, source)
            {
                *source = there;
            }
        }
    }
}

/// What services that get a container mount with `create_host_path: false`, and what is not there. The engine says so
/// too, but only once all before it are made. Nothing where the engine may be on another machine, or where something
/// in the plan may make the path.
pub(super) async fn missing(host: &dyn Host, facts: &Facts, platform: &Platform, plan: &Plan) -> Vec<MissingPath> {
    let same_machine = match &facts.data_root {
        Some(root) => host.exists(Path::new(root)).await,
        None => false,
    };
    if !same_machine || plan.steps.iter().any(|step| matches!(step.action, Action::RunTask { .. })) {
        return Vec::new();
    }
    let mut missing = Vec::new();
    for step in &plan.steps {
        let Action::CreateContainer { spec, .. } = &step.action else { continue };
        // what is built in is not the user's to mend
        let own = platform.service(&spec.service).filter(|(stack, _)| matches!(stack.origin, Origin::File(_)));
        let Some((_, service)) = own else { continue };
        for mount in &service.mounts {
            let Mount::Bind { source, target, create_host_path: false, .. } = mount else { continue };
            let found = MissingPath { service: service.name.clone(), path: source.clone(), target: target.clone() };
            if !missing.contains(&found)
                && !others_may_make(platform, &service.name, source)
                && is_missing(host, source).await
            {
                missing.push(found);
            }
        }
    }
    missing
}

/// Another service writes into a folder above it.
fn others_may_make(platform: &Platform, service: &str, path: &Path) -> bool {
    let above =
        |mount: &Mount| matches!(mount, Mount::Bind { source, read_only: false, .. } if path.starts_with(source));
    platform.services().any(|(_, other)| other.name != service && other.mounts.iter().any(above))
}

/// Whether it is certain: what lies in a folder that cannot be read may be there all the same.
async fn is_missing(host: &dyn Host, path: &Path) -> bool {
    if host.exists(path).await {
        return false;
    }
    for folder in path.ancestors().skip(1) {
        if host.exists(folder).await {
            return host.list(folder).await.is_ok();
        }
    }
    false
}

/// A container that writes there may leave data which nothing but its passwords opens: it is no socket, no device, and no
/// folder with the project itself. `place`: a path of the engine's machine, or the name of a volume; `labels`: the
/// container's.
pub(super) fn may_hold_data(place: &Path, labels: &BTreeMap<String, String>) -> bool {
    if !place.is_absolute() {
        return true;
    }
    let special = || std::fs::metadata(place).is_ok_and(|found| !found.is_dir() && !found.is_file());
    let of_the_machine = OF_THE_MACHINE.iter().any(|folder| place.starts_with(folder));
    !of_the_machine && !label::has_project(place, labels) && !special()
}

/// By the mount that is nearest to it.
pub(super) fn on_the_machine(mounts: &[(PathBuf, PathBuf)], path: &Path) -> Option<PathBuf> {
    let above = mounts.iter().filter(|(here, _)| path.starts_with(here));
    let (here, there) = above.max_by_key(|(here, _)| here.components().count())?;
    let rest = path.strip_prefix(here).ok()?;
    Some(if rest.as_os_str().is_empty() { there.clone() } else { there.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};
    use crate::host::fake::FakeHost;
    use crate::model::{ContainerSpec, EngineKind, ResourceId, ResourceKind};
    use crate::plan::{Cause, ImageSource, ImageUse, Step};

    #[test]
    fn a_path_is_that_of_the_nearest_mount() {
        let mounts = [("/builds", "/srv/runner"), ("/builds/shop/cache", "/srv/cache"), ("/x", "/var/lib/volumes/x")];
        let mounts = mounts.map(|(here, there)| (PathBuf::from(here), PathBuf::from(there)));
        let there = |path: &str| on_the_machine(&mounts, Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(there("/builds/shop/conf").as_deref(), Some("/srv/runner/shop/conf"));
        assert_eq!(there("/builds/shop/cache/a").as_deref(), Some("/srv/cache/a"));
        assert_eq!(there("/x").as_deref(), Some("/var/lib/volumes/x"));
        assert_eq!(there("/buildsite"), None);
        let text = "services: {shop: {image: a, volumes: ['./conf:/conf', '/buildsite:/site', 'data:/data']}}\n\
                    volumes: {data: {}}\n";
        let files = MemoryFiles::default()
            .with("/builds/shop/macula.yaml", "stacks: [compose.yaml]")
            .with("/builds/shop/compose.yaml", text);
        let request = Request { cwd: "/builds/shop".into(), only_own: true, ..Request::default() };
        let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        translate(&mounts, &mut platform);
        let (_, shop) = platform.service("shop").unwrap();
        let source = |mount: &Mount| match mount {
            Mount::Bind { source, .. } => Some(source.display().to_string()),
            _ => None,
        };
        let mut sources: Vec<String> = shop.mounts.iter().filter_map(source).collect();
        sources.sort();
        assert_eq!(sources, ["/buildsite", "/srv/runner/shop/conf"]);
    }

    #[test]
    fn sockets_devices_and_the_project_itself_are_no_data() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let labels = BTreeMap::from([(label::CONFIG_FILES.to_owned(), "/p/shop/compose.yaml".to_owned())]);
        for (place, expected) in [
            ("rows", true),
            ("/p/shop/rows", true),
            ("/p/shops", true),
            ("/var/lib/rows", true),
            (folder.path().to_str().unwrap(), true),
            (socket.to_str().unwrap(), false),
            ("/var/run/docker.sock", false),
            ("/dev/ttyUSB0", false),
            ("/p/shop", false),
            ("/p", false),
            ("/", false),
        ] {
            assert_eq!(may_hold_data(Path::new(place), &labels), expected, "{place}");
            // nobody knows of a project
            let nothing_known = may_hold_data(Path::new(place), &BTreeMap::new());
            assert_eq!(nothing_known, expected || label::has_project(Path::new(place), &labels), "{place}");
        }
    }

    #[tokio::test]
    async fn what_a_service_wants_to_find_is_looked_for_before_anything_is_made() {
        let text = "services:\n  shop:\n    image: a\n    volumes:\n      \
                    - {type: bind, source: /srv/there, target: /a, bind: {create_host_path: false}}\n      \
                    - {type: bind, source: /srv/gone, target: /b, bind: {create_host_path: false}}\n      \
                    - {type: bind, source: /srv/made, target: /c}\n      \
                    - {type: bind, source: /srv/out/page, target: /d, bind: {create_host_path: false}}\n      \
                    - /srv/short:/e\n  \
                    build:\n    image: a\n    volumes: [/srv/out:/out]\n";
        let files =
            MemoryFiles::default().with("/p/macula.yaml", "stacks: [compose.yaml]").with("/p/compose.yaml", text);
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        let shop = ContainerSpec { service: "shop".into(), name: "macula-shop-1".into(), ..ContainerSpec::default() };
        let image = ImageUse::Present { reference: "a".into(), source: ImageSource::Image };
        let step = |action| Step {
            id: "create".into(),
            resource: ResourceId::new(ResourceKind::Container, "macula-shop-1"),
            group: "shop".into(),
            action,
            cause: Cause::Missing,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        };
        let create = step(Action::CreateContainer { spec: Box::new(shop), image });
        let plan = Plan { steps: vec![create], ..Plan::default() };
        let host = FakeHost::new().folder("/var/lib/docker").folder("/srv/there");
        let facts =
            Facts { data_root: Some("/var/lib/docker".into()), ..Facts::of("Docker 20.10.24", EngineKind::Docker) };
        let found = missing(&host, &facts, &platform, &plan).await;
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["shop mounts /srv/gone, which does not exist"]);
        assert_eq!(found[0].target, "/b");
        // who gets no container misses nothing; neither does anybody on an engine elsewhere
        assert!(missing(&host, &facts, &platform, &Plan::default()).await.is_empty());
        let elsewhere = Facts::of("Docker 20.10.24", EngineKind::Docker);
        assert!(missing(&host, &elsewhere, &platform, &plan).await.is_empty());
    }
}
