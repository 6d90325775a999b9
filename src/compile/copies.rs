//! Bind mounts where the engine is elsewhere, of services that ask for it: what only this machine has is copied there. A
//! folder becomes a volume that is filled before anybody has it, a file is copied into the container as a config is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::{AnyError, CopiedFolder, FileMount, Mount, MountsElsewhere, Service, Stack, Volume, label};
use crate::words;

/// What of these is mounted is the engine's machine's, whatever is here.
const OF_THE_KERNEL: [&str; 2] = ["/proc", "/sys"];
/// Whoever mounts one of these means the machine's, where it has one: the engine's socket, a time zone.
const OF_THE_SYSTEM: [&str; 6] = ["/dev", "/etc", "/lib", "/run", "/usr", "/var"];
/// How much is copied of one folder.
pub const MOST_FILES: u64 = 50_000;
/// The same in bytes.
pub const MOST_BYTES: u64 = 256_000_000;
/// How long a file may be that is mounted by itself: it is sent to the engine as a whole.
pub const LONGEST_FILE: u64 = 64_000_000;

/// What this machine has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    Nothing,
    File,
    Folder,
    /// A socket, a pipe, a device: in words.
    Special(&'static str),
}

/// What the engine's machine has at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum There {
    Nothing,
    /// The very same file or folder.
    Same,
    Other,
}

/// Why a bind mount can be neither mounted nor copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("which exists neither on this machine nor on the engine's")]
    Missing,
    #[error("which is {0} on this machine and cannot be copied to the engine's")]
    Special(&'static str),
    #[error("which the engine's machine does not have, and its `x-macula.mounts` is `refuse`")]
    Refused,
    #[error("which its container may write to; only what it reads is copied (add `:ro`, or mount a named volume)")]
    Writable,
    #[error(
        "which is too large to be copied to the engine's machine: at least {} in {} (limit: {} and 50,000 files)",
        words::bytes(*bytes), words::count(usize::try_from(*files).unwrap_or(usize::MAX), "file"), words::bytes(MOST_BYTES)
    )]
    Large { files: u64, bytes: u64 },
    #[error(
        "which is too large to be copied to the engine's machine: a single file of {} (limit: {})",
        words::bytes(*bytes), words::bytes(LONGEST_FILE)
    )]
    LongFile { bytes: u64 },
    #[error("which cannot be copied to the engine's machine from here: {0}")]
    NotFromHere(String),
    #[error("whose place in the container lies in another mount ({0}), and nothing is copied into that")]
    Inside(String),
    #[error("which cannot be read to be copied to the engine's machine: {0}")]
    Unreadable(AnyError),
}

/// A bind mount that keeps its service from being started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service} mounts {shown}, {why}")]
pub struct MountProblem {
    pub service: String,
    /// Where it is mounted in the container.
    pub target: String,
    pub path: PathBuf,
    pub shown: String,
    pub why: Why,
}

/// Whether what a service mounts is copied; else it is mounted as it is written. `there`: nothing where nobody knows.
pub fn is_copied(
    path: &Path,
    here: Here,
    there: Option<There>,
    (setting, read_only): (MountsElsewhere, bool),
) -> Result<bool, Why> {
    let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    let of_the_machine = path.parent().is_none() || below(&OF_THE_KERNEL);
    match (there, here) {
        _ if of_the_machine || setting == MountsElsewhere::AsWritten => Ok(false),
        (None | Some(There::Same), _) => Ok(false),
        // the engine's machine has something that only it has
        (Some(There::Other), Here::Nothing) => Ok(false),
        (Some(There::Other), _) if below(&OF_THE_SYSTEM) => Ok(false),
        (Some(There::Nothing), Here::Nothing) => Err(Why::Missing),
        (Some(_), Here::Special(what)) => Err(Why::Special(what)),
        (Some(_), Here::File | Here::Folder) => match setting {
            MountsElsewhere::AsWritten => Ok(false),
            // what a container writes would be lost with the next change here
            MountsElsewhere::Copy if read_only => Ok(true),
            MountsElsewhere::Copy => Err(Why::Writable),
            MountsElsewhere::Refuse => Err(Why::Refused),
        },
    }
}

/// The same where nothing can be carried to the engine's machine, for this reason: nothing can be looked for there either.
pub fn is_copied_without_help(
    path: &Path,
    here: Here,
    there: Option<There>,
    (setting, read_only): (MountsElsewhere, bool),
    reason: &str,
) -> Result<bool, Why> {
    let machines = OF_THE_KERNEL.iter().chain(&OF_THE_SYSTEM).any(|folder| path.starts_with(folder));
    match is_copied(path, here, there, (setting, read_only)) {
        Ok(true) => Err(Why::NotFromHere(reason.to_owned())),
        Ok(false) if setting == MountsElsewhere::Copy && there.is_none() && path.parent().is_some() && !machines => {
            Err(Why::NotFromHere(reason.to_owned()))
        }
        other => other,
    }
}

/// A path as its stack file would have it, whose folder is `base`.
pub fn shown(path: &Path, base: Option<&Path>) -> String {
    match base.and_then(|base| path.strip_prefix(base).ok()) {
        Some(below) if below.as_os_str().is_empty() => ".".to_owned(),
        Some(below) => format!("./{}", below.display()),
        None => path.display().to_string(),
    }
}

/// What a mount becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<F> {
    Folder(CopiedFolder),
    File(F),
    /// A part of the folder that it is mounted into.
    Inside,
}

/// What mounts become before anything is read, by their place among a service's; of a file its path here and in the container.
pub type Parts = BTreeMap<usize, Part<(PathBuf, String)>>;

/// What the copied mounts of a service become, by their place among its mounts; and which of them cannot be copied for
/// where they lie. `kinds`: which are copied, and whether each is a folder. Nothing is read.
pub fn parts(service: &Service, kinds: &BTreeMap<usize, bool>, base: Option<&Path>) -> (Parts, Vec<(usize, Why)>) {
    let target = |mount: &Mount| mount.target().trim_end_matches('/').to_owned();
    let targets: Vec<String> = service.mounts.iter().map(target).collect();
    let inside = |path: &str, folder: &str| {
        let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
        (!rest.is_empty()).then(|| rest.to_owned())
    };
    // the innermost of the mounts that a path lies in
    let holder = |path: &str| {
        let all = targets.iter().enumerate().filter_map(|(at, target)| Some((at, target, inside(path, target)?)));
        all.max_by_key(|(_, target, _)| target.len()).map(|(at, _, below)| (at, below))
    };
    let mut all = BTreeMap::new();
    let mut refused = Vec::new();
    let mut with: Vec<(usize, String, PathBuf)> = Vec::new();
    for (at, mount) in service.mounts.iter().enumerate() {
        let (Mount::Bind { source, target, .. }, Some(folder)) = (mount, kinds.get(&at)) else { continue };
        let part = match (folder, holder(target.trim_end_matches('/'))) {
            (true, _) => Part::Folder(CopiedFolder {
                path: source.clone(),
                shown: shown(source, base),
                ..CopiedFolder::default()
            }),
            (false, Some((outer, below))) if kinds.get(&outer) == Some(&true) => {
                with.push((outer, below, source.clone()));
                Part::Inside
            }
            // it would be written into data, or into a folder of the engine's machine
            (false, Some((outer, _))) if !matches!(service.mounts.get(outer), Some(Mount::Tmpfs { .. })) => {
                refused.push((at, Why::Inside(targets.get(outer).cloned().unwrap_or_default())));
                continue;
            }
            (false, _) => Part::File((source.clone(), target.clone())),
        };
        all.insert(at, part);
    }
    for target in &targets {
        if let Some((at, below)) = holder(target)
            && let Some(Part::Folder(folder)) = all.get_mut(&at)
        {
            folder.without.insert(below);
        }
    }
    for (at, below, path) in with {
        if let Some(Part::Folder(folder)) = all.get_mut(&at) {
            folder.with.insert(below, path);
        }
    }
    (all, refused)
}

/// Puts what was read in the place of the mounts. What is not in `read` stays as it is written.
pub fn lay(stack: &mut Stack, service: &str, mut read: BTreeMap<usize, Part<FileMount>>) {
    let Some(service) = stack.services.get_mut(service) else { return };
    let mut mounts = Vec::new();
    let mut files = Vec::new();
    for (at, mount) in std::mem::take(&mut service.mounts).into_iter().enumerate() {
        match (read.remove(&at), mount) {
            (Some(Part::Folder(folder)), Mount::Bind { target, .. }) => {
                let key = folder.volume();
                let labels = [
                    (label::FILES, "true".to_owned()),
                    (label::COPY_OF, folder.path.to_string_lossy().into_owned()),
                    (label::CONTENT, folder.digest.clone()),
                    (label::SERVICE, service.name.clone()),
                ];
                stack.volumes.entry(key.clone()).or_insert_with(|| Volume {
                    labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
                    copy: Some(folder),
                    ..Volume::default()
                });
                mounts.push(Mount::Volume { source: Some(key), target, read_only: true, no_copy: true, subpath: None });
            }
            (Some(Part::File(file)), _) => files.push(file),
            (Some(Part::Inside), _) => {}
            (_, mount) => mounts.push(mount),
        }
    }
    service.mounts = mounts;
    service.files.extend(files);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Origin;

    #[test]
    fn what_only_this_machine_has_is_copied_or_refused() {
        use Here::{File, Folder, Special};
        use MountsElsewhere::{AsWritten, Copy, Refuse};
        use There::{Nothing, Other, Same};
        let socket = Special("a socket");
        for (path, here, there, expected) in [
            // what nobody knows, and what the engine has
            ("/p/conf", Folder, None, Ok(false)),
            ("/p/conf", Folder, Some(Same), Ok(false)),
            ("/p/app.sock", socket, Some(Same), Ok(false)),
            // files and folders of this machine, also where the other one has something else of that name
            ("/p/conf", Folder, Some(Nothing), Ok(true)),
            ("/p/conf", Folder, Some(Other), Ok(true)),
            ("/p/a.conf", File, Some(Nothing), Ok(true)),
            // data of the engine's own machine
            ("/srv/models", Here::Nothing, Some(Other), Ok(false)),
            ("/srv/models", Here::Nothing, Some(Nothing), Err(Why::Missing)),
            ("/p/app.sock", socket, Some(Nothing), Err(Why::Special("a socket"))),
            ("/p/app.sock", socket, Some(Other), Err(Why::Special("a socket"))),
            // what machines have is meant, not this one's, unless only this one has it
            ("/var/run/docker.sock", socket, Some(Other), Ok(false)),
            ("/etc/localtime", File, Some(Other), Ok(false)),
            ("/etc/shop.conf", File, Some(Nothing), Ok(true)),
            ("/dev/ttyUSB0", Special("a device"), Some(Nothing), Err(Why::Special("a device"))),
            ("/proc", Folder, Some(Other), Ok(false)),
            ("/sys/class/net", Folder, Some(Nothing), Ok(false)),
            ("/", Folder, Some(Other), Ok(false)),
            // a name that only begins so
            ("/variable", Folder, Some(Other), Ok(true)),
        ] {
            let found = |setting, read_only| is_copied(Path::new(path), here, there, (setting, read_only));
            let instead = |why| if expected == Ok(true) { Err(why) } else { expected.clone() };
            assert_eq!(found(Copy, true), expected, "{path} {here:?} {there:?}");
            assert_eq!(found(Copy, false), instead(Why::Writable), "{path} {here:?} {there:?}, to be written to");
            for read_only in [true, false] {
                assert_eq!(found(Refuse, read_only), instead(Why::Refused), "{path} {here:?} {there:?}, refused");
                assert_eq!(found(AsWritten, read_only), Ok(false), "{path} {here:?} {there:?}, not asked for");
            }
        }
    }

    #[test]
    fn a_copy_that_cannot_be_made_from_here_is_refused() {
        use Here::{File, Folder, Nothing};
        use MountsElsewhere::{AsWritten, Copy, Refuse};
        let not = || Err(Why::NotFromHere("no program".into()));
        for (path, here, there, setting, expected) in [
            // whether the engine has it nobody knows
            ("/p/conf", Folder, None, Copy, not()),
            ("/p/conf", Nothing, None, Copy, not()),
            ("/p/a.conf", File, Some(There::Other), Copy, not()),
            ("/p/conf", Folder, Some(There::Same), Copy, Ok(false)),
            ("/etc/localtime", File, None, Copy, Ok(false)),
            ("/proc", Folder, None, Copy, Ok(false)),
            ("/", Folder, None, Copy, Ok(false)),
            ("/p/conf", Folder, None, Refuse, Ok(false)),
            ("/p/conf", Folder, Some(There::Other), Refuse, Err(Why::Refused)),
            ("/p/conf", Folder, None, AsWritten, Ok(false)),
        ] {
            let found = is_copied_without_help(Path::new(path), here, there, (setting, true), "no program");
            assert_eq!(found, expected, "{path} {here:?} {there:?} {setting:?}");
        }
    }

    #[test]
    fn a_problem_says_what_is_mounted_and_why_not() {
        let said = |why| {
            let path = PathBuf::from("/p/data");
            let shown = shown(&path, Some(Path::new("/p")));
            MountProblem { service: "shop".into(), target: "/data".into(), path, shown, why }.to_string()
        };
        let all = [
            said(Why::Missing),
            said(Why::Special("a socket")),
            said(Why::Refused),
            said(Why::Writable),
            said(Why::Large { files: 61_234, bytes: 41_200_000 }),
            said(Why::LongFile { bytes: 70_000_000 }),
            said(Why::Inside("/srv".into())),
            said(Why::NotFromHere("the engine runs on another processor than this program".into())),
            said(Why::Unreadable(AnyError::said("permission denied"))),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        shop mounts ./data, which exists neither on this machine nor on the engine's
        shop mounts ./data, which is a socket on this machine and cannot be copied to the engine's
        shop mounts ./data, which the engine's machine does not have, and its `x-macula.mounts` is `refuse`
        shop mounts ./data, which its container may write to; only what it reads is copied (add `:ro`, or mount a named volume)
        shop mounts ./data, which is too large to be copied to the engine's machine: at least 41.2 MB in 61234 files (limit: 256.0 MB and 50,000 files)
        shop mounts ./data, which is too large to be copied to the engine's machine: a single file of 70.0 MB (limit: 64.0 MB)
        shop mounts ./data, whose place in the container lies in another mount (/srv), and nothing is copied into that
        shop mounts ./data, which cannot be copied to the engine's machine from here: the engine runs on another processor than this program
        shop mounts ./data, which cannot be read to be copied to the engine's machine: permission denied
        ");
        assert_eq!(shown(Path::new("/p"), Some(Path::new("/p"))), ".");
        assert_eq!(shown(Path::new("/q/x"), Some(Path::new("/p"))), "/q/x");
    }

    fn bind(source: &str, target: &str) -> Mount {
        Mount::Bind {
            source: source.into(),
            target: target.into(),
            read_only: true,
            create_host_path: true,
            propagation: None,
            selinux: None,
        }
    }

    fn anonymous(target: &str) -> Mount {
        Mount::Volume { source: None, target: target.into(), read_only: false, no_copy: false, subpath: None }
    }

    fn service(mounts: Vec<Mount>) -> Service {
        Service { name: "shop".into(), mounts, ..Service::default() }
    }

    /// `folders` and `files`: places among the mounts that are copied.
    fn found(service: &Service, folders: &[usize], files: &[usize]) -> Vec<String> {
        let kinds = folders.iter().map(|at| (*at, true)).chain(files.iter().map(|at| (*at, false))).collect();
        let text = |(at, part): (&usize, &Part<(PathBuf, String)>)| match part {
            Part::Folder(folder) => {
                let without: Vec<&str> = folder.without.iter().map(String::as_str).collect();
                let with: Vec<String> =
                    folder.with.iter().map(|(at, path)| format!("{at} <- {}", path.display())).collect();
                format!("{at} {} without [{}] with [{}]", folder.shown, without.join(", "), with.join(", "))
            }
            Part::File((path, target)) => format!("{at} {} -> {target}", path.display()),
            Part::Inside => format!("{at} inside"),
        };
        let (parts, refused) = parts(service, &kinds, Some(Path::new("/p")));
        let refused = refused.iter().map(|(at, why)| format!("{at} {why}"));
        parts.iter().map(text).chain(refused).collect()
    }

    #[test]
    fn what_is_mounted_over_a_folder_is_no_part_of_its_copy() {
        let node = service(vec![bind("/p", "/app"), anonymous("/app/node_modules")]);
        assert_eq!(found(&node, &[0], &[]), ["0 . without [node_modules] with []"]);
        // by the innermost: what is deeper is hidden there already
        let deep = service(vec![
            bind("/p/src", "/app/src/"),
            anonymous("/app/src/gen/x"),
            bind("/p", "/app"),
            bind("/q/gen", "/app/src/gen"),
            anonymous("/application"),
        ]);
        assert_eq!(
            found(&deep, &[0, 2], &[]),
            ["0 ./src without [gen] with []", "2 . without [src] with []"],
            "one that is mounted as it is counts, too"
        );
        assert_eq!(found(&deep, &[], &[]), [""; 0]);
    }

    #[test]
    fn a_file_is_copied_into_its_container_or_into_the_folder_around_it() {
        let all = service(vec![
            bind("/p/nginx.conf", "/etc/nginx/nginx.conf"),
            bind("/p/site", "/srv"),
            bind("/p/.env.ci", "/srv/conf/.env"),
            bind("/p/x", "/var/x"),
        ]);
        assert_eq!(
            found(&all, &[1], &[0, 2, 3]),
            [
                "0 /p/nginx.conf -> /etc/nginx/nginx.conf",
                "1 ./site without [conf/.env] with [conf/.env <- /p/.env.ci]",
                "2 inside",
                "3 /p/x -> /var/x",
            ]
        );
    }

    #[test]
    fn nothing_is_copied_into_what_another_mount_holds() {
        let data = |source: Option<&str>| Mount::Volume {
            source: source.map(str::to_owned),
            target: "/data/".into(),
            read_only: false,
            no_copy: false,
            subpath: None,
        };
        let memory = Mount::Tmpfs { target: "/data".into(), size: None, mode: None, options: Vec::new() };
        let refused = "0 whose place in the container lies in another mount (/data), and nothing is copied into that";
        for (outer, expected) in [
            (data(Some("db")), refused),
            (data(None), refused),
            (bind("/q", "/data"), refused),
            // its folder becomes a volume of the container's own
            (memory, "0 /p/x -> /data/deep/x"),
        ] {
            let service = service(vec![bind("/p/x", "/data/deep/x"), outer]);
            assert_eq!(found(&service, &[], &[0]), [expected]);
            // a folder is mounted over it, as it would be
            let folder = found(&service, &[0], &[]);
            assert_eq!(folder, ["0 ./x without [] with []"]);
        }
    }

    #[test]
    fn the_parts_take_the_place_of_the_mounts() {
        let file = |target: &str| FileMount {
            target: target.into(),
            content: b"x".to_vec(),
            uid: 0,
            gid: 0,
            mode: 0o644,
            secret: false,
            source: String::new(),
            external: None,
        };
        let folder = |path: &str| CopiedFolder { path: path.into(), digest: "1".into(), ..CopiedFolder::default() };
        let mounts =
            vec![bind("/p/a.conf", "/etc/a.conf"), bind("/p/site", "/srv"), bind("/p/x", "/srv/x"), bind("/q", "/q")];
        let mut stack = Stack {
            scoped: false,
            name: "shop".into(),
            origin: Origin::File("/p/compose.yaml".into()),
            services: [("shop".to_owned(), service(mounts))].into_iter().collect(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
        };
        let read = [(0, Part::File(file("/etc/a.conf"))), (1, Part::Folder(folder("/p/site"))), (2, Part::Inside)];
        lay(&mut stack, "shop", read.into());
        let key = folder("/p/site").volume();
        let service = &stack.services["shop"];
        let volume = Mount::Volume {
            source: Some(key.clone()),
            target: "/srv".into(),
            read_only: true,
            no_copy: true,
            subpath: None,
        };
        assert_eq!(service.mounts, [volume, bind("/q", "/q")]);
        assert_eq!(service.files, [file("/etc/a.conf")]);
        let declared = &stack.volumes[&key];
        assert_eq!(declared.labels[label::COPY_OF], "/p/site");
        assert_eq!(declared.labels[label::FILES], "true", "it goes with the platform");
        assert_eq!(declared.copy, Some(folder("/p/site")));
    }
}
