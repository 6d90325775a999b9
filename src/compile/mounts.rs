//! What a container mounts, and the volumes that it takes for that.

use crate::model::{ContainerSpec, FileSpec, Mount, MountSpec, Platform, Service, Stack};

/// Behind the name of the container, in names of volumes for the files of one folder.
const FILES: &str = "-files-";

pub(super) fn volume_name(platform: &Platform, stack: &Stack, key: &str) -> String {
    match stack.volumes.get(key) {
        Some(declared) if declared.external => declared.name.clone().unwrap_or_else(|| key.to_owned()),
        Some(declared) if declared.name.is_some() => declared.name.clone().unwrap_or_default(),
        _ => platform.name.volume(key),
    }
}

pub(super) fn mounts_volume(spec: &ContainerSpec, name: &str) -> bool {
    spec.mounts.iter().any(|mount| matches!(mount, MountSpec::Volume { source, .. } if source == name))
}

/// Volumes that no stack declares, named after their container: those that hold its files, and those
/// that its stack mounts without a name.
pub(super) fn own_volumes(spec: &ContainerSpec) -> impl Iterator<Item = String> + '_ {
    let prefix = format!("{}-", spec.name);
    spec.mounts.iter().filter_map(move |mount| match mount {
        MountSpec::Volume { source, .. } if source.starts_with(&prefix) => Some(source.clone()),
        _ => None,
    })
}

/// Whether a volume of the container's own holds only what is copied in.
pub(super) fn holds_files(spec: &ContainerSpec, volume: &str) -> bool {
    volume.strip_prefix(&spec.name).is_some_and(|rest| rest.starts_with(FILES))
}

pub(super) fn mount_spec(platform: &Platform, stack: &Stack, container: &str, mount: &Mount) -> MountSpec {
    match mount {
        Mount::Bind { source, target, read_only, create_host_path, propagation, selinux } => MountSpec::Bind {
            source: source.clone(),
            target: target.clone(),
            read_only: *read_only,
            create_host_path: *create_host_path,
            propagation: propagation.clone(),
            selinux: selinux.clone(),
        },
        Mount::Volume { source, target, read_only, no_copy, subpath } => MountSpec::Volume {
            source: match source {
                Some(key) => volume_name(platform, stack, key),
                // an anonymous volume would be lost with its container
                None => format!("{container}-{}", slug(target)),
            },
            target: target.clone(),
            read_only: *read_only,
            no_copy: *no_copy,
            subpath: subpath.clone(),
        },
        Mount::Tmpfs { target, size, mode, options } => {
            MountSpec::Tmpfs { target: target.clone(), size: *size, mode: *mode, options: options.clone() }
        }
        Mount::Image { source, target, subpath } => {
            MountSpec::Image { source: source.clone(), target: target.clone(), subpath: subpath.clone() }
        }
    }
}

/// The archive API refuses a read-only root file system, and a tmpfs is empty when the container starts;
/// but it writes into volumes: one for each folder that holds a file. The engine fills it with what the
/// image has there.
pub(super) fn volumes_for_files(
    container: &str,
    files: &[FileSpec],
    mounts: &[MountSpec],
    read_only: bool,
) -> Vec<MountSpec> {
    let needs_one = |path: &str| {
        let target = |mount: &MountSpec| mount.target().trim_end_matches('/').to_owned();
        let above = |mount: &&MountSpec| path.strip_prefix(&target(mount)).is_some_and(|rest| rest.starts_with('/'));
        match mounts.iter().filter(above).max_by_key(|mount| target(mount).len()) {
            Some(MountSpec::Tmpfs { .. }) => true,
            Some(_) => false,
            None => read_only,
        }
    };
    let folders: std::collections::BTreeSet<&str> = files
        .iter()
        .filter(|file| needs_one(&file.path))
        .filter_map(|file| file.path.rsplit_once('/').map(|(folder, _)| folder))
        .filter(|folder| !folder.is_empty())
        .collect();
    // a folder inside another one needs no volume of its own
    let outermost = folders.iter().filter(|folder| {
        !folders.iter().any(|other| folder.strip_prefix(*other).is_some_and(|rest| rest.starts_with('/')))
    });
    outermost
        .map(|folder| MountSpec::Volume {
            source: format!("{container}{FILES}{}", slug(folder)),
            target: (*folder).to_owned(),
            read_only: false,
            no_copy: false,
            subpath: None,
        })
        .collect()
}

/// `/var/lib/x` -> `var-lib-x`
fn slug(path: &str) -> String {
    let text: String =
        path.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '-' }).collect();
    text.trim_matches('-').to_owned()
}

/// Names in the engine of the named volumes that a service mounts.
pub fn service_volumes(platform: &Platform, service: &Service) -> Vec<String> {
    named_volumes(platform, service, |_| true)
}

/// Those among them that it may write to: what it only reads was put there by another service.
pub fn written_volumes(platform: &Platform, service: &Service) -> Vec<String> {
    named_volumes(platform, service, |read_only| !read_only)
}

fn named_volumes(platform: &Platform, service: &Service, wanted: impl Fn(bool) -> bool) -> Vec<String> {
    let Some((stack, _)) = platform.service(&service.name) else { return Vec::new() };
    service
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            Mount::Volume { source: Some(key), read_only, .. } if wanted(*read_only) => {
                Some(volume_name(platform, stack, key))
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> FileSpec {
        FileSpec { path: path.into(), content: Vec::new(), uid: 0, gid: 0, mode: 0o644, secret: false, reload: false }
    }

    fn tmpfs(target: &str) -> MountSpec {
        MountSpec::Tmpfs { target: target.into(), size: None, mode: None, options: Vec::new() }
    }

    fn volume(target: &str) -> MountSpec {
        MountSpec::Volume { source: "v".into(), target: target.into(), read_only: false, no_copy: false, subpath: None }
    }

    #[test]
    fn files_lie_in_volumes_where_they_cannot_be_copied_in() {
        for (paths, mounts, read_only, expected) in [
            ("/etc/app/a", vec![], false, ""),
            ("/etc/app/a", vec![], true, "etc-app /etc/app"),
            // in the root folder there is no place for one
            ("/a", vec![], true, ""),
            ("/etc/app/a /etc/app/sub/b", vec![], true, "etc-app /etc/app"),
            ("/etc/app/a /etc/apps/b", vec![], true, "etc-app /etc/app, etc-apps /etc/apps"),
            ("/etc/app/a", vec![volume("/etc/app/")], true, ""),
            ("/etc/app/a", vec![volume("/etc/ap")], true, "etc-app /etc/app"),
            // empty at each start
            ("/run/app/a", vec![tmpfs("/run")], false, "run-app /run/app"),
            ("/run/app/a", vec![tmpfs("/run/apps")], false, ""),
            // the innermost is the one that it lies in
            ("/run/app/a", vec![tmpfs("/run"), volume("/run/app")], true, ""),
            ("/run/app/a", vec![tmpfs("/run/app"), volume("/run")], false, "run-app /run/app"),
        ] {
            let files: Vec<FileSpec> = paths.split(' ').map(file).collect();
            let made = volumes_for_files("c", &files, &mounts, read_only);
            let made: Vec<String> = made
                .iter()
                .map(|mount| match mount {
                    MountSpec::Volume { source, target, read_only: false, no_copy: false, subpath: None } => {
                        format!("{} {target}", source.strip_prefix(&format!("c{FILES}")).unwrap())
                    }
                    other => format!("{other:?}"),
                })
                .collect();
            assert_eq!(made.join(", "), expected, "{paths} {mounts:?}");
        }
    }

    #[test]
    fn a_service_writes_to_the_named_volumes_that_it_does_not_only_read() {
        use crate::model::{Origin, PlatformName, Volume};
        let named = |key: Option<&str>, read_only| Mount::Volume {
            source: key.map(str::to_owned),
            target: "/data".into(),
            read_only,
            no_copy: false,
            subpath: None,
        };
        let tmp = Mount::Tmpfs { target: "/tmp".into(), size: None, mode: None, options: Vec::new() };
        let mounts = vec![named(Some("rows"), false), named(None, false), tmp, named(Some("keys"), true)];
        let service = Service { name: "db".into(), mounts, ..Service::default() };
        let stack = Stack {
            scoped: false,
            name: "app".into(),
            origin: Origin::BuiltIn,
            services: [("db".to_owned(), service.clone())].into(),
            networks: std::collections::BTreeMap::new(),
            volumes: [("rows".to_owned(), Volume::default()), ("keys".to_owned(), Volume::default())].into(),
        };
        let platform = Platform::new(PlatformName::default(), vec![stack]);
        assert_eq!(service_volumes(&platform, &service), ["macula-rows", "macula-keys"]);
        assert_eq!(written_volumes(&platform, &service), ["macula-rows"]);
        let other = Service { name: "other".into(), ..service };
        assert_eq!(service_volumes(&platform, &other), [""; 0]);
    }
}
