//! `build` in all its forms.

use std::path::PathBuf;

use super::short::map;
use super::{flag, string_map, text};
use crate::config::yaml::{Entry, Map, Node, Report, Shaper, Value, is_remote_context};
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
pub(super) fn build(service: &Node, name: &str, embedded: bool, report: &mut Report) -> Option<Build> {
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
    Some(Build {
        context: context.filter(|_| !embedded).map(PathBuf::from),
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
    })
}
