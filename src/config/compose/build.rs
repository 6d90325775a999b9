//! `build` in all its forms.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files::Sources;
use super::finish::value_key;
use super::short::map;
use super::{flag, string_map, text};
use crate::config::files::{Files, MAX_TEXT, join};
use crate::config::yaml::{Entry, Map, Node, Report, Shaper, Span, Value, is_remote_context, suggestion};
use crate::model::{Build, BuildNeed, BuildSecret, Dockerfile, FIRST_FORMAT, GitContext, NAMED_CONTEXTS, Need};

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
    let remote = context.as_deref().filter(|context| is_remote_context(context));
    let git = remote.and_then(GitContext::parse);
    if let Some(remote) = remote.filter(|_| git.is_none()) {
        let span = node.get("context").map_or(node.span, |context| context.span);
        let path = format!("services.{name}.build.context");
        let message = format!("{path}: macula builds from folders and Git repositories, not from `{remote}`");
        let help = "name a folder, or a repository as https://HOST/PATH.git#BRANCH:FOLDER";
        // without an image there is nothing else to run
        match service.get_text("image").is_some_and(|image| !image.is_empty()) {
            true => report.warn(span, message, help),
            false => report.error_help(span, message, help),
        }
        return None;
    }
    let context = context.filter(|_| git.is_none());
    if let (Some(_), Some(_)) = (node.get("dockerfile"), node.get("dockerfile_inline")) {
        report.error_help(
            node.span,
            format!("services.{name}.build: `dockerfile` and `dockerfile_inline` exclude each other"),
            "keep one of the two",
        );
    }
    let (syntax, mut needs) = match sources.embedded {
        true => (None, Vec::new()),
        false => dockerfile(node, context.as_deref(), sources.files, report),
    };
    let mut by_key = |key: &str, version, report: &mut Report| {
        let entry = node.as_map().and_then(|map| map.get(key)).filter(|entry| !entry.node.is_null());
        if let Some(entry) = entry {
            needs.push(BuildNeed {
                what: format!("{}: `build.{key}`", report.place(entry.key)),
                version,
                by_key: true,
            });
        }
    };
    by_key("secrets", FIRST_FORMAT, report);
    by_key("ssh", FIRST_FORMAT, report);
    by_key("additional_contexts", NAMED_CONTEXTS, report);
    Some(Build {
        context: context.filter(|_| !sources.embedded).map(PathBuf::from),
        git: git.filter(|_| !sources.embedded),
        content: None,
        dockerfile: text(node, "dockerfile"),
        dockerfile_inline: text(node, "dockerfile_inline"),
        args: string_map(node, "args"),
        target: text(node, "target"),
        labels: string_map(node, "labels"),
        network: text(node, "network"),
        platforms: platforms(service, node, name, sources, report),
        cache_from: node.texts("cache_from"),
        no_cache: flag(node, "no_cache"),
        pull: flag(node, "pull"),
        shm_size: node.get_int("shm_size").filter(|size| *size > 0),
        extra_hosts: super::hosts(node),
        tags: node.texts("tags"),
        ulimits: super::ulimits(node),
        contexts: named_contexts(node),
        secrets: secrets(node, name, sources, report),
        ssh: agents(node, name, report),
        syntax,
        needs,
    })
}

/// What to build for: the platform that the service runs on, as in Compose. Of several that are listed the builder
/// takes this machine's.
fn platforms(service: &Node, node: &Node, name: &str, sources: &Sources<'_>, report: &mut Report) -> Vec<String> {
    let listed = node.texts("platforms");
    let own = text(service, "platform");
    let Some(platform) = own.clone().or_else(|| sources.default_platform()) else {
        return if listed.len() > 1 { Vec::new() } else { listed };
    };
    if !listed.is_empty() && !listed.contains(&platform) {
        let (at, whose) = match own {
            Some(_) => (service.get("platform"), "the service's platform"),
            None => (node.get("platforms"), "the platform of DOCKER_DEFAULT_PLATFORM,"),
        };
        let span = at.map_or(node.span, |node| node.span);
        report.error_help(span, format!("services.{name}.build.platforms lacks {whose} {platform}"), "add it there");
    }
    vec![platform]
}

/// What its Dockerfile says: the front end, and what only BuildKit can do of it.
fn dockerfile(
    node: &Node,
    context: Option<&str>,
    files: &dyn Files,
    report: &mut Report,
) -> (Option<String>, Vec<BuildNeed>) {
    let inline = node.as_map().and_then(|map| map.get("dockerfile_inline"));
    let (text, file) = if let Some(entry) = inline {
        (entry.node.as_text().map(str::to_owned), Err(entry.key))
    } else if let Some(context) = context {
        let path = join(Path::new(context), Path::new(node.get_text("dockerfile").unwrap_or("Dockerfile")));
        // one that is not there, or not readable, is the build's own error
        let text = files.read(&path, MAX_TEXT).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        (text, Ok(path))
    } else {
        return (None, Vec::new());
    };
    let parsed = Dockerfile::parse(&text.unwrap_or_default());
    let needs = parsed.needs().into_iter().map(|Need { line, what, version }| {
        let what = match &file {
            Ok(path) => {
                let span = Span { file: report.file(path), line, column: 1 };
                format!("{}: {what}", report.place(span))
            }
            Err(key) => format!("{}: {what} in line {line} of `dockerfile_inline`", report.place(*key)),
        };
        BuildNeed { what, version, by_key: false }
    });
    let needs = needs.collect();
    (parsed.syntax, needs)
}

fn named_contexts(node: &Node) -> BTreeMap<String, String> {
    let mut contexts = BTreeMap::new();
    for (key, entry) in node.entries("additional_contexts") {
        let Some(text) = entry.node.as_text() else { continue };
        contexts.insert(key.to_owned(), text.to_owned());
    }
    contexts
}

/// `secrets` of a build: what the Dockerfile calls them, and where they come from.
fn secrets(node: &Node, name: &str, sources: &Sources<'_>, report: &mut Report) -> BTreeMap<String, BuildSecret> {
    let mut found = BTreeMap::new();
    for reference in node.items("secrets") {
        let Some(source) = reference.get_text("source") else { continue };
        let Some(declared) = sources.root.get("secrets").and_then(|all| all.get(source)) else {
            let names = sources.root.entries("secrets").map(|(name, _)| name);
            report.error_help(
                reference.span,
                format!("services.{name}.build.secrets: there is no `{source}` under `secrets`"),
                suggestion(source, names.collect::<Vec<_>>()),
            );
            continue;
        };
        let secret = if let Some(content) = declared.get_text("content") {
            Some(BuildSecret::Value(content.to_owned()))
        } else if let Some(variable) = declared.get_text("environment") {
            declared.get_text(&value_key(variable)).map(|value| BuildSecret::Value(value.to_owned()))
        } else {
            declared.get_text("file").map(|file| BuildSecret::File(PathBuf::from(file)))
        };
        match secret {
            Some(secret) => {
                let id = reference.get_text("target").unwrap_or(source);
                // Compose gives the whole path of a short form, and BuildKit asks for the last part
                let id = id.rsplit('/').next().unwrap_or(id);
                found.insert(id.to_owned(), secret);
            }
            None => report.error_help(
                reference.span,
                format!("services.{name}.build.secrets: `{source}` has no value"),
                "give it a `file`, or an `environment` variable that is set",
            ),
        }
    }
    found
}

fn agents(node: &Node, name: &str, report: &mut Report) -> BTreeMap<String, String> {
    let mut agents = string_map(node, "ssh");
    agents.retain(|id, path| {
        let known = *id == "default" || !path.is_empty();
        if !known {
            report.error_help(
                node.span,
                format!("services.{name}.build.ssh: `{id}` names no socket"),
                format!("write `{id}=/path/of/an/agent.sock`, or `default` for the agent of SSH_AUTH_SOCK"),
            );
        }
        known
    });
    agents
}
