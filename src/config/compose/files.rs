//! `configs` and `secrets`: what stands in them, and where it goes.

use std::path::{Path, PathBuf};

use super::finish::value_key;
use super::interpolate::Variables;
use crate::config::files::{Files, MAX_CONTENT};
use crate::config::read::remedy;
use crate::config::yaml::{Node, Report, Shaper, Value, suggestion};
use crate::model::{FileMount, Mount};

/// A mode in quotes is octal; without quotes YAML has read it.
pub(super) fn mode(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let Value::Text(text) = &node.value else { return Some(node) };
    match i64::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) => Some(Node::new(Value::Int(mode), node.span)),
        Err(_) => shaper.wrong(node.span, format!("`{text}` is not a valid mode"), "write 0440"),
    }
}

/// Everything that [`build`] looks things up in.
pub(super) struct Sources<'a> {
    pub(super) root: &'a Node,
    pub(super) variables: &'a Variables,
    pub(super) files: &'a dyn Files,
    /// The folder from which relative paths count.
    pub(super) folder: &'a Path,
    /// The stack is embedded in the binary, and has no folder.
    pub(super) embedded: bool,
    /// What is external is with the orchestrator.
    pub(super) orchestrated: bool,
}

impl Sources<'_> {
    /// What services run on that say nothing themselves. What comes with macula is made for this machine.
    pub(super) fn default_platform(&self) -> Option<String> {
        let platform = self.variables.get("DOCKER_DEFAULT_PLATFORM").filter(|platform| !platform.is_empty());
        platform.filter(|_| !self.embedded).cloned()
    }
}

/// The files that a service gets from `configs` and `secrets`, with their content. Those whose place lies in a bind mount
/// become `mounts` themselves.
pub(super) fn build(
    service: &Node,
    name: &str,
    sources: &Sources<'_>,
    mounts: &mut Vec<Mount>,
    report: &mut Report,
) -> Vec<FileMount> {
    let mut copied = Vec::new();
    for (kind, secret) in [("configs", false), ("secrets", true)] {
        for reference in service.items(kind) {
            let Some(source) = reference.get_text("source") else {
                report.error_help(
                    reference.span,
                    format!("services.{name}.{kind}: `source` is missing"),
                    format!("name one of `{kind}`"),
                );
                continue;
            };
            let known = sources.root.get(kind).and_then(|all| all.get(source));
            let Some(declared) = known else {
                let names = sources.root.entries(kind).map(|(name, _)| name);
                report.error_help(
                    reference.span,
                    format!("services.{name}.{kind}: there is no `{source}` under `{kind}`"),
                    suggestion(source, names.collect::<Vec<_>>()),
                );
                continue;
            };
            let external = (sources.orchestrated && super::flag(declared, "external"))
                .then(|| declared.get_text("name").unwrap_or(source).to_owned());
            let contents = match &external {
                Some(_) => Some(vec![Content::default()]),
                None => content(declared, &format!("{kind}.{source}"), sources, report),
            };
            let Some(contents) = contents else { continue };
            let id = |key: &str, report: &mut Report| match reference.get_text(key).map(str::parse::<u32>) {
                Some(Err(_)) => {
                    report.error_help(
                        reference.span,
                        format!("services.{name}.{kind}: `{key}` is not a number"),
                        "write \"101\"",
                    );
                    0
                }
                Some(Ok(id)) => id,
                None => 0,
            };
            let (uid, gid) = (id("uid", report), id("gid", report));
            let given = reference.get_text("target").unwrap_or(source);
            let target = match (given.starts_with('/'), secret) {
                (true, _) => given.to_owned(),
                (false, true) => format!("/run/secrets/{given}"),
                (false, false) => format!("/{given}"),
            };
            let given_mode = reference.get_int("mode").and_then(|mode| u32::try_from(mode).ok());
            for Content { below, bytes, file } in contents {
                let (target, source) = match below.is_empty() {
                    true => (target.clone(), source.to_owned()),
                    false => (format!("{target}/{below}"), format!("{source}/{below}")),
                };
                // a swarm and a cluster have no folders of this machine
                if let Some(file) = file.as_ref().filter(|_| !sources.orchestrated)
                    && let Some(outer) = bind_around(mounts, &target)
                {
                    // one that is mounted right there comes first, as in Compose
                    if Path::new(&outer) != Path::new(&target) {
                        if below.is_empty() && ["uid", "gid", "mode"].iter().any(|key| reference.get(key).is_some()) {
                            report.warn(
                                reference.span,
                                format!(
                                    "services.{name}: {target} is mounted, and has the owner and the mode of its file"
                                ),
                                "take `uid`, `gid` and `mode` away",
                            );
                        }
                        mounts.push(over(file, target));
                    }
                    continue;
                }
                // Compose mounts the file itself, which may be a program
                let usual = match file.is_some_and(|file| sources.files.is_executable(&file)) {
                    true => 0o555,
                    false => 0o444,
                };
                let mode = given_mode.unwrap_or(usual);
                let external = external.clone();
                copied.push(FileMount { target, content: bytes, uid, gid, mode, secret, source, external });
            }
        }
    }
    copied
}

/// Where the bind mount is that a path lies in, if that is the innermost of its mounts.
fn bind_around(mounts: &[Mount], path: &str) -> Option<String> {
    let above = mounts.iter().filter(|mount| Path::new(path).starts_with(mount.target()));
    match above.max_by_key(|mount| mount.target().len())? {
        Mount::Bind { target, .. } => Some(target.clone()),
        _ => None,
    }
}

/// A file over what its place in a folder of this machine holds: a copy would be written into that folder.
fn over(file: &Path, target: String) -> Mount {
    Mount::Bind {
        source: file.to_owned(),
        target,
        read_only: true,
        create_host_path: false,
        propagation: None,
        selinux: None,
    }
}

/// What one file of a config or a secret is.
#[derive(Default)]
struct Content {
    /// Its path below the target, empty for the target itself.
    below: String,
    bytes: Vec<u8>,
    /// Where it was read.
    file: Option<PathBuf>,
}

fn content(declared: &Node, path: &str, sources: &Sources<'_>, report: &mut Report) -> Option<Vec<Content>> {
    let one = |bytes: Vec<u8>| Some(vec![Content { bytes, ..Content::default() }]);
    if super::flag(declared, "external") {
        report.error_help(
            declared.span,
            format!("{path}: an external one comes from a swarm, and there is none"),
            "give it a `file`, `content` or `environment`",
        );
        return None;
    }
    if let Some(content) = declared.get_text("content") {
        return one(content.as_bytes().to_vec());
    }
    if let Some(variable) = declared.get_text("environment") {
        return match declared.get_text(&value_key(variable)) {
            Some(value) => one(value.as_bytes().to_vec()),
            None => {
                report.error_help(
                    declared.span,
                    format!("{path}: the variable {variable} is not set"),
                    format!("set {variable} in the environment or in .env"),
                );
                None
            }
        };
    }
    let text = declared.get("file")?;
    let file = Path::new(text.as_text()?);
    // a variable that must have a value, and has none, stands as it was written
    if file.to_string_lossy().contains("${") && report.told(text.span) {
        return None;
    }
    let read = if sources.files.is_folder(file) {
        folder(file, sources.files)
    } else {
        let read = sources.files.read(file, MAX_CONTENT);
        read.map(|bytes| vec![Content { below: String::new(), bytes, file: Some(file.to_owned()) }])
    };
    match read {
        Ok(contents) => Some(contents),
        Err(error) => {
            report.error_help(
                declared.span,
                format!("{path}: cannot read {}: {error}", file.display()),
                remedy(
                    &error,
                    "mount a file of this size with `volumes:`",
                    "the path counts from the folder of the stack file",
                ),
            );
            None
        }
    }
}

/// A folder as the files in it, as Compose mounts one.
fn folder(folder: &Path, files: &dyn Files) -> std::io::Result<Vec<Content>> {
    let mut contents = Vec::new();
    let mut left = MAX_CONTENT;
    for path in files.list(folder)? {
        // a link to a folder: its files have no place here
        if files.is_folder(&path) {
            continue;
        }
        let bytes = files.read(&path, left).map_err(|error| named(&path, &error))?;
        left = left.saturating_sub(bytes.len() as u64);
        let below = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        contents.push(Content { below, bytes, file: Some(path) });
    }
    Ok(contents)
}

fn named(path: &Path, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crate::config::{DiskFiles, Loaded, MemoryFiles, Request, canonical, load_with};
    use crate::model::{BuildSecret, Mount};

    fn request(folder: &str) -> Request {
        Request { cwd: "/".into(), stacks: vec![folder.into()], ..Request::default() }
    }

    fn files(loaded: &Loaded) -> Vec<String> {
        let files = &loaded.platform.service("a").unwrap().1.files;
        files.iter().map(|file| format!("{} {:o}", file.target, file.mode)).collect()
    }

    #[test]
    fn a_file_whose_place_lies_in_a_bind_mount_is_mounted_over_it() {
        let stack = "services:
  a:
    image: x
    volumes: ['./data:/data', './own:/one/own.conf', 'vol:/data/deep']
    configs:
    - {source: k, target: /data/app.conf}
    - {source: k, target: /one/own.conf}
    - {source: k, target: /data/deep/k}
    - {source: text, target: /data/text}
    secrets: [{source: k, target: /data/.env}]
volumes: {vol: {}}
configs: {k: {file: ./k}, text: {content: x}}
secrets: {k: {file: ./k}}
";
        let on_disk = MemoryFiles::default().with("/p/compose.yaml", stack).with("/p/k", "x");
        let of = |orchestrated: bool| {
            let request = Request { orchestrated, ..request("/p") };
            let loaded = load_with(&request, &on_disk, &[]).unwrap_or_else(|errors| panic!("{errors}"));
            let mounts = loaded.platform.service("a").unwrap().1.mounts.iter().map(|mount| match mount {
                Mount::Bind { source, target, read_only, create_host_path, .. } => {
                    format!("{} {target} {read_only} {create_host_path}", source.display())
                }
                other => other.target().to_owned(),
            });
            let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
            (mounts.collect::<Vec<_>>(), files(&loaded), warnings.join("\n"))
        };
        let (mounts, copied, warnings) = of(false);
        assert_eq!(
            mounts,
            [
                "/p/data /data false true",
                "/p/own /one/own.conf false true",
                "/data/deep",
                "/p/k /data/app.conf true false",
                "/p/k /data/.env true false"
            ]
        );
        assert_eq!(copied, ["/data/deep/k 444", "/data/text 444"]);
        insta::assert_snapshot!(warnings, @"
        p/compose.yaml:2:3: services.a: the file /data/text is written into the host's /p/data
            put it elsewhere, make the bind mount a volume, or let it come from a `file`
        ");
        // where nothing of this machine is mounted
        let (mounts, copied, warnings) = of(true);
        assert_eq!((mounts.len(), copied.len(), warnings.as_str()), (3, 5, ""));
    }

    #[test]
    fn a_program_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let stack = "name: shop
services: {a: {image: x, configs: [{source: run, target: /run.sh}, plain, {source: run, target: /own, mode: '0440'}]}}
configs: {run: {file: ./run.sh}, plain: {file: ./plain}}
";
        for (name, content) in [("compose.yaml", stack), ("run.sh", "#!/bin/sh\n"), ("plain", "x")] {
            std::fs::write(at(name), content).unwrap();
        }
        std::fs::set_permissions(at("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let loaded = load_with(&request(&folder.path().to_string_lossy()), &DiskFiles, &[]);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(files(&loaded), ["/run.sh 555", "/plain 444", "/own 440"]);
    }

    #[test]
    fn an_included_file_has_the_values_of_its_own_variables() {
        let stack = "services:
  a: {image: x, build: {context: ., secrets: [s]}, secrets: [s], configs: [c]}
secrets: {s: {environment: DB_PASS}}
configs:
  c: {environment: DB_PASS}
";
        let on_disk = MemoryFiles::default()
            .with("/p/compose.yaml", "include: [sub/compose.yaml]\nconfigs: {d: {environment: DB_PASS}}\n")
            .with("/p/sub/compose.yaml", format!("{stack}  d: {{environment: DB_PASS}}\n"))
            .with("/p/sub/.env", "DB_PASS=x\n");
        let loaded = load_with(&request("/p"), &on_disk, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        let service = loaded.platform.service("a").unwrap().1;
        assert_eq!(service.files.iter().map(|file| file.content.as_slice()).collect::<Vec<_>>(), [b"x", b"x"]);
        assert_eq!(service.build.as_ref().unwrap().secrets["s"], BuildSecret::Value("x".into()));
        let printed = canonical(&loaded.projects[0]);
        assert!(printed.contains("environment: DB_PASS") && !printed.contains('#'), "{printed}");
    }
}
