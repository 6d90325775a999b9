//! `volumes` and `tmpfs` of a service: `[source:]target[:options]`, and the mounts of the model.

use std::path::PathBuf;

use super::short::map;
use crate::config::files::clean;
use crate::config::yaml::{Node, Report, Shaper, Value, parse_bytes};
use crate::model::{EngineNeed, Mount};

/// Versions of the engine's API that know these.
const IMAGE_MOUNT: (u16, u16) = (1, 48);
const SUBPATH: (u16, u16) = (1, 45);

const HELP: &str = "write \"data:/var/lib/x\", \"./folder:/in/container:ro\", or the long form";

/// As the `docker` program reads it, on every system.
const DRIVE: &str = "one letter before a colon is a drive of Windows: give the volume a longer name, or write it in the \
                     long form, `{type: volume, source: x, target: /data}`";

/// A short volume as a long one, with its paths as they are compared.
pub(super) fn expand(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    let text = match node.value {
        Value::Text(text) => text,
        Value::Map(_) => return Some(plain_paths(node, shaper)),
        _ => return Some(node),
    };
    let parts = split(&text);
    if text.is_empty() || parts.iter().any(String::is_empty) {
        return shaper.wrong(span, format!("`{text}` has an empty part"), HELP);
    }
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, target, ""),
        [source, target] => (Some(source.as_str()), target, ""),
        [source, target, options] => (Some(source.as_str()), target, options.as_str()),
        _ => return shaper.wrong(span, format!("`{text}` has too many colons"), HELP),
    };
    let file = source.is_some_and(is_path);
    let (mut read_only, mut nocopy) = (false, false);
    let mut bind = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "nocopy" => nocopy = true,
            "z" | "Z" => bind.push(("selinux", Value::Text(option.to_owned()))),
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                bind.push(("propagation", Value::Text(option.to_owned())));
            }
            // on Docker Desktop only, and without effect there too
            "cached" | "delegated" | "consistent" => {}
            _ => shaper.warn(
                span,
                format!("macula does nothing with the option `{option}`"),
                "ro, rw, z, Z, nocopy or a propagation",
            ),
        }
    }
    let mut entries = vec![("type", Value::Text(if file { "bind" } else { "volume" }.to_owned()))];
    entries.extend(source.map(|source| ("source", Value::Text(source.to_owned()))));
    entries.push(("target", Value::Text(target.clone())));
    if read_only {
        entries.push(("read_only", Value::Bool(true)));
    }
    if file {
        bind.push(("create_host_path", Value::Bool(true)));
    }
    if !bind.is_empty() {
        entries.push(("bind", map(span, bind).value));
    }
    // a text as short as `/x` is taken for a target before it is looked at
    if !file && text.len() > 2 {
        let options = nocopy.then_some(("nocopy", Value::Bool(true)));
        entries.push(("volume", map(span, options).value));
    }
    Some(plain_paths(map(span, entries), shaper))
}

/// The source of a bind mount absolute, and the target without `.`, `..` and a slash at its end: by it two files mean the
/// same mount.
fn plain_paths(mut node: Node, shaper: &mut Shaper<'_>) -> Node {
    if let Some(entry) = node.as_map_mut().and_then(|map| map.get_mut("target"))
        && let Some(target) = entry.node.as_text().filter(|target| !target.is_empty())
    {
        entry.node.value = Value::Text(clean(target.as_ref()).to_string_lossy().into_owned());
    }
    let bind = node.get_text("type") == Some("bind");
    if bind
        && let Some(entry) = node.as_map_mut().and_then(|map| map.get_mut("source"))
        && let Some(source) = entry.node.as_text()
        && !is_windows_path(source)
    {
        let path = shaper.absolute(source).to_string_lossy().into_owned();
        entry.node.value = Value::Text(path);
    }
    node
}

/// Parts between colons, where the colon of `C:\` does not count.
fn split(text: &str) -> Vec<String> {
    if text.chars().count() <= 2 {
        return vec![text.to_owned()];
    }
    let mut parts = vec![String::new()];
    for letter in text.chars() {
        let Some(part) = parts.last_mut() else { break };
        let drive = part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
        if letter == ':' && !drive {
            parts.push(String::new());
        } else {
            part.push(letter);
        }
    }
    parts
}

fn is_windows_path(source: &str) -> bool {
    let mut letters = source.chars();
    source.starts_with("\\\\") || (letters.next().is_some_and(char::is_alphabetic) && letters.next() == Some(':'))
}

fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~']) || is_windows_path(source)
}

/// The mounts of a service, for the model: `volumes`, then `tmpfs`.
pub(super) fn build(service: &Node, name: &str, report: &mut Report) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for volume in service.items("volumes") {
        let Some(target) = volume.get_text("target") else { continue };
        let path = format!("services.{name}.volumes");
        if !target.starts_with('/') {
            let help = if is_windows_path(target) { DRIVE } else { HELP };
            report.error_help(volume.span, format!("{path}: the target `{target}` is not absolute"), help);
            continue;
        }
        let target = target.to_owned();
        let read_only = volume.get_bool("read_only").unwrap_or(false);
        match volume.get_text("type").unwrap_or_default() {
            "bind" => {
                let Some(source) = volume.get_text("source").filter(|source| !source.is_empty()) else {
                    report.error_help(
                        volume.span,
                        format!("{path}: a bind mount has no `source`"),
                        "name the folder or file of the host",
                    );
                    continue;
                };
                let bind = volume.get("bind");
                let option = |key: &str| bind.and_then(|bind| bind.get_text(key)).map(str::to_owned);
                mounts.push(Mount::Bind {
                    source: PathBuf::from(source),
                    target,
                    read_only,
                    // the specification's default, also of the long form
                    create_host_path: bind.and_then(|bind| bind.get_bool("create_host_path")).unwrap_or(true),
                    propagation: option("propagation"),
                    selinux: option("selinux"),
                });
            }
            "volume" => {
                let options = volume.get("volume");
                mounts.push(Mount::Volume {
                    source: volume.get_text("source").filter(|source| !source.is_empty()).map(str::to_owned),
                    target,
                    read_only,
                    no_copy: options.and_then(|options| options.get_bool("nocopy")).unwrap_or(false),
                    subpath: options.and_then(|options| options.get_text("subpath")).map(str::to_owned),
                });
            }
            "tmpfs" => {
                let options = volume.get("tmpfs");
                mounts.push(Mount::Tmpfs {
                    target,
                    size: options.and_then(|options| options.get_int("size")),
                    mode: options.and_then(|options| options.get_int("mode")).and_then(|mode| u32::try_from(mode).ok()),
                    options: if read_only { vec!["ro".to_owned()] } else { Vec::new() },
                });
            }
            "image" => {
                let Some(source) = volume.get_text("source").filter(|source| !source.is_empty()) else {
                    report.error_help(
                        volume.span,
                        format!("{path}: a mount of type `image` has no `source`"),
                        "name an image",
                    );
                    continue;
                };
                let subpath = volume.get("image").and_then(|image| image.get_text("subpath")).map(str::to_owned);
                mounts.push(Mount::Image { source: source.to_owned(), target, subpath });
            }
            other => report.warn(
                volume.span,
                format!("{path}: macula does nothing with mounts of type `{other}`"),
                "bind, volume, tmpfs or image",
            ),
        }
    }
    for line in service.items("tmpfs") {
        let Some(mount) = line.as_text().and_then(|text| tmpfs(text, line, name, report)) else { continue };
        // no engine takes two mounts on one path
        match mounts.iter().any(|other: &Mount| other.target() == mount.target()) {
            true => report.error_help(
                line.span,
                format!("services.{name}.tmpfs: {} has another mount", mount.target()),
                "remove one of the two",
            ),
            false => mounts.push(mount),
        }
    }
    mounts
}

/// What of a service's mounts not every engine can do, each with its place.
pub(super) fn needs(service: &Node, report: &Report) -> Vec<EngineNeed> {
    let mut all = Vec::new();
    for volume in service.items("volumes") {
        let is = |kind: &str| volume.get_text("type") == Some(kind);
        let subpath = is("volume") && volume.get("volume").is_some_and(|options| options.get_text("subpath").is_some());
        let (what, version) = match (is("image"), subpath) {
            (true, _) => ("a mount of an image", IMAGE_MOUNT),
            (_, true) => ("`subpath` of a volume", SUBPATH),
            _ => continue,
        };
        all.push(EngineNeed { what: format!("{}: {what}", report.place(volume.span)), version });
    }
    all
}

/// `50%`
fn is_percentage(text: &str) -> bool {
    let number = text.strip_suffix('%').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// `/run:size=64m,mode=1777,noexec`.
fn tmpfs(text: &str, node: &Node, name: &str, report: &mut Report) -> Option<Mount> {
    let path = format!("services.{name}.tmpfs");
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        report.error_help(
            node.span,
            format!("{path}: `{target}` is not absolute"),
            "write /run, or /run:size=64m,mode=1777",
        );
        return None;
    }
    let (mut size, mut mode, mut rest) = (None, None, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            // of the memory, for the kernel to count
            Some(("size", value)) if is_percentage(value) => rest.push(option.to_owned()),
            Some(("size", value)) => match parse_bytes(value) {
                Some(bytes) => size = Some(bytes),
                None => {
                    report.error_help(node.span, format!("{path}: `{value}` is not a valid size"), "write size=64m")
                }
            },
            Some(("mode", value)) => match u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777) {
                Some(bits) => mode = Some(bits),
                None => {
                    report.error_help(node.span, format!("{path}: `{value}` is not a valid mode"), "write mode=1777")
                }
            },
            _ => rest.push(option.to_owned()),
        }
    }
    Some(Mount::Tmpfs { target: clean(target.as_ref()).to_string_lossy().into_owned(), size, mode, options: rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml::Span;

    #[test]
    fn colons_part_a_volume_but_for_that_of_a_drive() {
        for (text, parts) in [
            ("/data", &["/data"][..]),
            ("data:/data", &["data", "/data"]),
            ("data:/data:ro", &["data", "/data", "ro"]),
            ("C:\\x:/x", &["C:\\x", "/x"]),
            ("1:/x", &["1", "/x"]),
            ("a:", &["a:"]),
            ("ab:", &["ab", ""]),
            (":/x", &["", "/x"]),
        ] {
            assert_eq!(split(text), parts, "{text}");
        }
        let paths = [".", "./x", "/x", "~", "~/x", "C:\\x", "\\\\share"];
        assert_eq!(paths.map(is_path), [true; 7]);
        assert_eq!(["data", "1:x", "ab:x", "\\x"].map(is_path), [false; 4]);
    }

    #[test]
    fn a_tmpfs_has_its_options() {
        let read = |text: &str| {
            let mut report = Report::new("/".as_ref());
            let mount = tmpfs(text, &Node::text(text, Span::default()), "web", &mut report);
            let said: Vec<String> = report.finish().0.into_iter().map(|error| error.message).collect();
            match mount {
                Some(Mount::Tmpfs { target, size, mode, options }) => {
                    format!("{target} {size:?} {mode:?} {options:?} {}", said.join("; "))
                }
                other => format!("{other:?} {}", said.join("; ")),
            }
        };
        for (text, expected) in [
            ("/run", "/run None None [] "),
            ("/a/../run/:size=64k,mode=7777,noexec", "/run Some(65536) Some(4095) [\"noexec\"] "),
            ("/run:size=50%,uid=5", "/run None None [\"size=50%\", \"uid=5\"] "),
            ("/run:mode=10000", "/run None None [] services.web.tmpfs: `10000` is not a valid mode"),
            ("/run:mode=8", "/run None None [] services.web.tmpfs: `8` is not a valid mode"),
            ("/run:size=%", "/run None None [] services.web.tmpfs: `%` is not a valid size"),
            ("/run:size=5x%", "/run None None [] services.web.tmpfs: `5x%` is not a valid size"),
            ("run", "None services.web.tmpfs: `run` is not absolute"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
