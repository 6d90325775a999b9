//! `build` in all its forms.

use std::path::{Path, PathBuf};

use super::dockerfile::needs_buildkit;
use super::files::Sources;
use super::short::map;
use super::{flag, string_map, text};
use crate::config::files::{Files, MAX_TEXT, join};
use crate::config::yaml::{Entry, Map, Node, Report, Shaper, Span, Value, is_remote_context};
use crate::model::Build;

/// `build: ./folder`.
pub(super) fn expand(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(match node.value {
        Value::Text(_) => map(node.span, [("context", node.value)]),
        _ => node,
    })
}

/// `additional_contexts`, as a list of `name=path` or a mapping.
pub(super) fn contexts(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let Value::List(lines) = node.value else { return Some(node) };
    let mut out = Map::new();
    for line in lines {
        let text = line.scalar_text().unwrap_or_default();
        match text.split_once('=') {
            Some((name, path)) => {
                out.insert(name.to_owned(), Entry { key: line.span, node: Node::text(path, line.span) });
            }
            None => {
                shaper.wrong::<()>(line.span, format!("`{text}` has no `=`"), "write name=path");
            }
        }
    }
    Some(Node::new(Value::Map(out), node.span))
}

/// The build of a service, for the model. An embedded stack has no folder to build from.
pub(super) fn build(service: &Node, name: &str, sources: &Sources<'_>, report: &mut Report) -> Option<Build> {
    let node = service.get("build")?;
    let context = text(node, "context");
    if let Some(remote) = context.as_deref().filter(|context| is_remote_context(context)) {
        report.warn(
            node.span,
            format!("services.{name}.build.context: macula builds from folders only, not from `{remote}`"),
            "clone it, and name the folder",
        );
        return None;
    }
    if let (Some(_), Some(_)) = (node.get("dockerfile"), node.get("dockerfile_inline")) {
        report.error_help(
            node.span,
            format!("services.{name}.build: `dockerfile` and `dockerfile_inline` exclude each other"),
            "keep one of the two",
        );
    }
    let needs_buildkit = match sources.embedded {
        true => None,
        false => buildkit(service, node, context.as_deref(), name, sources.files, report),
    };
    if let Some(second) = node.items("platforms").get(1) {
        report.warn(
            second.span,
            format!("services.{name}.build.platforms: macula builds for the first platform only"),
            "name the one that this machine runs",
        );
    }
    Some(Build {
        context: context.filter(|_| !sources.embedded).map(PathBuf::from),
        content: None,
        dockerfile: text(node, "dockerfile"),
        dockerfile_inline: text(node, "dockerfile_inline"),
        args: string_map(node, "args"),
        target: text(node, "target"),
        labels: string_map(node, "labels"),
        network: text(node, "network"),
        platforms: node.texts("platforms"),
        cache_from: node.texts("cache_from"),
        no_cache: flag(node, "no_cache"),
        pull: flag(node, "pull"),
        shm_size: node.get_int("shm_size").filter(|size| *size > 0),
        extra_hosts: super::service::hosts(node),
        tags: node.texts("tags"),
        needs_buildkit,
    })
}

/// What Docker's classic builder cannot do of a build, with its place. Where the image can be pulled
/// instead it is only worth a warning.
fn buildkit(
    service: &Node,
    node: &Node,
    context: Option<&str>,
    name: &str,
    files: &dyn Files,
    report: &mut Report,
) -> Option<String> {
    let mut found: Option<(Span, String)> = None;
    for key in ["secrets", "ssh", "additional_contexts"] {
        let entry = node.as_map().and_then(|map| map.get(key));
        if let Some(entry) = entry.filter(|entry| !entry.node.is_null()) {
            report.warn(
                entry.key,
                format!("services.{name}.build.{key}: not supported by macula; ignored"),
                "it needs BuildKit, and macula builds with the engine's classic builder",
            );
            found.get_or_insert((entry.key, format!("`build.{key}`")));
        }
    }
    let inline = node.as_map().and_then(|map| map.get("dockerfile_inline"));
    if let Some(entry) = inline {
        if let Some((line, what)) = entry.node.as_text().and_then(needs_buildkit) {
            found = Some((entry.key, format!("{what} in line {line} of `dockerfile_inline`")));
        }
    } else if let Some(context) = context {
        let path = join(Path::new(context), Path::new(node.get_text("dockerfile").unwrap_or("Dockerfile")));
        // one that is not there, or not readable, is the build's own error
        let text = files.read(&path, MAX_TEXT).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((line, what)) = text.as_deref().and_then(needs_buildkit) {
            found = Some((Span { file: report.file(&path), line, column: 1 }, what));
        }
    }
    let (span, what) = found?;
    if service.get_text("image").is_some_and(|image| !image.is_empty()) {
        report.warn(
            span,
            format!("services.{name}: {what} needs BuildKit, which Docker's classic builder is not"),
            "the image is pulled; with Docker it cannot be built where no registry has it",
        );
        return None;
    }
    Some(format!("{}: {what}", report.place(span)))
}
